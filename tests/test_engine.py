"""The engine for real: every mode on every path where it works, option by option.

Nothing here looks at speed. What is asserted are counts: that nothing is lost, that
the kernel copies where it must and nowhere else, and that payload arrives as sent.
"""

import socket

import pytest

from tests.live import needs_uring
from zclab import store
from zclab.errors import CapabilityError
from zclab.measure import sweep
from zclab.options import Options, parse
from zclab.params import Mode, Path, Plan, Point, Protocol
from zclab.uring import probe
from zclab.uring.ring import LATENCY_FLOORS_NS, Ring, RingSetup
from zclab.uring.sender import Sender

pytestmark = needs_uring

SLICE = {"warmup_ns": 0, "budget_ns": 500_000_000, "requests_max": 600}


def here(mode: Mode) -> bool:
    """Return whether this kernel has the mode."""
    try:
        probe.mode(mode)
    except CapabilityError:
        return False
    return True


def take(tmp_path, *points: Point) -> store.Run:
    """Return a run of two short blocks of each point."""
    plan = Plan(
        profile="test",
        points=points,
        seed=3,
        blocks=2,
        slice_ns=2_000_000,
        warmup_ns=200_000,
    )
    try:
        return store.load(sweep.take(plan, out=tmp_path))
    except CapabilityError as error:
        pytest.skip(str(error))


def all_modes() -> tuple[str, ...]:
    """Return the modes this kernel has; send is always one of them."""
    return tuple(str(mode) for mode in Mode if here(mode))


def send(sending: socket.socket, mode: str, options: str = "", **more):
    """Return the counts of some 600 requests of 1200 B, 8 to a batch."""
    given = Options.of(parse(options))
    if mode == Mode.MSG_ZEROCOPY:
        sending.setsockopt(socket.SOL_SOCKET, 60, 1)  # SO_ZEROCOPY
    size, batch = more.get("size", 1200), given.batch or 8
    with Ring([sending.fileno()], RingSetup.of(given).holding(64 * 65536)) as ring:
        return Sender(
            ring, 0, mode=Mode(mode), io_size_bytes=size, batch=batch, options=given
        ).slice(**SLICE)


def test_every_mode_is_probed_and_named():
    """A mode that is missing is refused with the release that brought it."""
    for mode in Mode:
        if not here(mode):
            with pytest.raises(CapabilityError, match=rf"{mode} needs Linux \d"):
                probe.mode(mode)
    assert here(Mode.SEND)
    assert here(Mode.SEND_SYNC)


def test_modes_on_the_sink_and_on_veth_copied_share(tmp_path):
    """Each zerocopy mode: no copy on the sink, every one over veth; payload intact."""
    modes = all_modes()
    run = take(
        tmp_path,
        *(
            Point(
                path=path,
                protocol=Protocol.UDP,
                family=6,
                io_size_bytes=4800,
                batch=8,
                modes=modes,
                given=parse("verify=on") if path is Path.VETH else (),
            )
            for path in (Path.SINK, Path.VETH)
        ),
    )
    samples = run.samples
    zerocopy = samples[samples["mode"].map(lambda mode: Mode(mode).zerocopy)]
    shares = zerocopy.groupby(["path", "mode"])["copied_share"].agg(["min", "max"])

    assert (shares.loc["sink"] == 0).all(axis=None)
    assert (shares.loc["veth"] == 1).all(axis=None)
    assert len(shares.loc["sink"]) == len(shares.loc["veth"])
    plain = samples[~samples["mode"].map(lambda mode: Mode(mode).zerocopy)]
    assert (plain["notifications"] == 0).all()
    assert (samples.loc[samples["path"] == "veth", "corrupt"] == 0).all()


def test_modes_over_tcp_arrive_in_order(tmp_path):
    """Over TCP every byte of every mode arrives, stamped, in order."""
    run = take(
        tmp_path,
        Point(
            path=Path.VETH,
            protocol=Protocol.TCP,
            family=4,
            io_size_bytes=4096,
            batch=1,
            modes=all_modes(),
            given=parse("verify=on"),
        ),
    )

    assert (run.samples["received_bytes"] == run.samples["sent_total_bytes"]).all()
    assert (run.samples["corrupt"] == 0).all()
    assert (run.samples["receiver_cpu_sys_ns"] >= 0).all()


@pytest.mark.parametrize(
    "options",
    [
        "file=off",
        "ring=off",
        "taskrun=default:submit_all=off",
        "taskrun=coop",
        "taskrun=defer",
        "sqpoll=on:sqpoll_cpu=any",
        "drain=batch",
        "drain=each",
        "lag=1",
        "batch=1",
        "batch=512",
        "buffers=7:offset=100",
        "pages=thp",
        "report_usage=off",
        "waitall=off",
        "clock=1",
        "sq=64:cq=64:batch=64",
        "latency=on",
        "more=3",
    ],
)
@pytest.mark.parametrize("mode", ["send", "send_zc", "send_zc_fixed"])
def test_no_option_loses_a_count(udp, mode, options):
    """Whatever the option: completions, bytes and notifications fit each other."""
    try:
        counts = send(udp, mode, options)
    except CapabilityError as error:
        pytest.skip(str(error))

    assert counts["requests"] >= 600
    assert counts["bytes"] == counts["requests"] * 1200
    zerocopy = 0 if mode == "send" else counts["requests"]
    assert counts["zc_requests"] == counts["notifications"] == zerocopy
    told = mode != "send" and "report_usage=off" not in options
    assert counts["copied"] == (zerocopy if told else 0)
    assert counts["failed"] == counts["short_sends"] == 0


@pytest.mark.parametrize("mode", ["send_sync", "msg_zerocopy"])
@pytest.mark.parametrize("options", ["", "lag=1", "drain=each", "more=3", "buffers=5"])
def test_modes_without_the_ring(udp, mode, options):
    """sendmsg(2): notifications come as ranges, none is missing, loopback copies."""
    counts = send(udp, mode, options)

    assert counts["requests"] >= 600
    noted = counts["requests"] if mode == "msg_zerocopy" else 0
    assert counts["notifications"] == counts["copied"] == noted
    assert 0 <= counts["ranges"] <= noted


@pytest.mark.parametrize("mode", ["sendmsg", "sendmsg_zc", "sendmsg_zc_fixed"])
@pytest.mark.parametrize("iovecs", [1, 3, 16])
def test_iovecs_cover_the_payload(mode, iovecs):
    """Pieces of any number put together are the payload, to the last byte."""
    if not here(Mode(mode)):
        pytest.skip(f"{mode} is not here")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending,
    ):
        receiving.bind(("127.0.0.1", 0))
        sending.connect(receiving.getsockname())
        send(sending, mode, f"iovecs={iovecs}", size=1201)
        got = receiving.recv(65536)

    assert got == bytes(ord("a") + i % 26 for i in range(1201))


def test_mixed_draws_by_weight(udp):
    """The modes of a mix come as often as their weights say."""
    counts = send(udp, "mixed", "mix=3*send+send_zc")

    assert counts["zc_requests"] / counts["requests"] == pytest.approx(0.25, abs=0.1)


def test_latency_histogram_is_complete(udp):
    """Every notification has a latency; without asking there is no histogram."""
    counts = send(udp, "send_zc", "latency=on")

    assert sum(counts["latency"]) == counts["notifications"]
    assert len(counts["latency"]) == len(LATENCY_FLOORS_NS)
    assert list(LATENCY_FLOORS_NS[8:]) == sorted(set(LATENCY_FLOORS_NS[8:]))
    assert send(udp, "send_zc")["latency"] is None


def test_segments_are_datagrams(tmp_path):
    """UDP_SEGMENT: one request is several datagrams, and none of them is copied."""
    arms = ("send", "send:segment=1400", "send_zc_fixed:segment=1400")
    sink, veth = (
        Point(
            path=path,
            protocol=Protocol.UDP,
            family=4,
            io_size_bytes=14000,
            batch=4,
            modes=arms,
            given=parse("verify=on") if path is Path.VETH else (),
        )
        for path in (Path.SINK, Path.VETH)
    )
    samples = take(tmp_path, sink, veth).samples
    cut = samples[samples["arm"].str.contains("segment")]

    assert (cut["datagrams"] == 10 * cut["requests"]).all()
    zerocopy = cut[(cut["path"] == "sink") & (cut["notifications"] > 0)]
    assert (zerocopy["copied_share"] == 0).all()
    assert (samples.loc[samples["path"] == "veth", "corrupt"] == 0).all()


def test_addresses_flows_and_threads(tmp_path):
    """Unconnected sockets, several sockets and several threads lose nothing."""
    point = Point(
        path=Path.LO,
        protocol=Protocol.UDP,
        family=6,
        io_size_bytes=1200,
        batch=8,
        modes=(
            "send",
            "send_zc:addressed=on",
            "sendmsg:addressed=on",
            "send_zc_fixed:flows=3",
            "send_zc:threads=2:flows=2",
            "msg_zerocopy:flows=2",
        ),
        given=parse("verify=on"),
    )
    samples = take(tmp_path, point).samples
    arrived = samples["received_bytes"] + samples["receiver_drops"] * 1200

    assert (arrived == samples["sent_total_bytes"]).all()
    assert (samples["corrupt"] == 0).all()
    zerocopy = samples[samples["zc_requests"] > 0]
    assert (zerocopy["notifications"] == zerocopy["zc_requests"]).all()


def test_cork_gathers_a_batch(tmp_path):
    """A corked batch arrives as one datagram that holds all its requests."""
    point = Point(
        path=Path.LO,
        protocol=Protocol.UDP,
        family=4,
        io_size_bytes=1000,
        batch=8,
        modes=("send", "send:cork=on", "send_sync:cork=on", "send:more=4"),
        given=parse("verify=on"),
    )
    samples = take(tmp_path, point).samples.set_index("arm")

    for arm, gathered in {"send:cork=on": 8, "send:more=4": 4}.items():
        mine = samples.loc[arm]
        assert (mine["datagrams"] * gathered == mine["requests"]).all()
        per_datagram = mine["received_bytes"] / mine["received"]
        assert (per_datagram == gathered * 1000).all()
    assert (samples["corrupt"] == 0).all()


def test_reordered_tcp_is_seen(tmp_path):
    """Stamps tell a reordered stream from one in order; asked for, it is no error."""
    point = Point(
        path=Path.LO,
        protocol=Protocol.TCP,
        family=4,
        io_size_bytes=65536,
        batch=64,
        modes=("send",),
        given=parse("verify=on:reorder=on:sndbuf=8192"),
    )
    samples = take(tmp_path, point).samples

    assert (samples["received_bytes"] == samples["sent_total_bytes"]).all()
    assert (samples["corrupt"] > 0).all()
