"""Places: each path in each situation is a site of its own in one run."""

import subprocess
import sys
from dataclasses import replace

import pytest

from tests.live import needs_uring
from zclab import store
from zclab.errors import CapabilityError
from zclab.measure import host, sweep
from zclab.measure.process import Worker
from zclab.params import Path, Plan, Point, Protocol
from zclab.truth import Truth

HERE = {
    ("sink", ""): 0,
    ("sink", "mtu=1500"): 1,
    ("sink", "tap"): 1,
    ("sink", "own-address"): 1,
    ("veth", ""): 1,
    ("veth", "peer-drop"): 0,
}
POINTS = tuple(
    Point(
        path=Path(path),
        protocol=Protocol.UDP,
        family=4,
        io_size_bytes=4000,
        batch=8,
        modes=("send", "send_zc"),
        situation=given,
    )
    for path, given in HERE
)
PLAN = Plan(profile="places", points=POINTS, seed=1, blocks=3, slice_ns=2_000_000)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a real run of one point in several situations."""
    try:
        return store.load(sweep.take(PLAN, out=tmp_path_factory.mktemp("runs")))
    except CapabilityError as error:
        pytest.skip(str(error))


@needs_uring
def test_each_place_has_its_facts(run):
    """Facts are by place, and say what was made; each sample names its situation."""
    assert set(run.host["paths"]) == set(PLAN.places)
    assert run.complete
    for point in POINTS:
        facts = run.host["paths"][point.place]
        mine = run.samples[run.samples["point"] == point.name]
        assert facts["situation"] == point.situation
        assert facts["live"] is point.has_receiver
        assert set(mine["situation"]) == {point.situation}
        assert set(mine["path"]) == {str(point.path)}


@needs_uring
def test_each_place_copies_as_it_should(run):
    """In one run the same datagram is copied where its situation makes it so."""
    zerocopy = run.samples[run.samples["arm"] == "send_zc"]
    for point, copied in zip(POINTS, HERE.values(), strict=True):
        mine = zerocopy[zerocopy["point"] == point.name]
        assert (mine["copied"] == copied * mine["notifications"]).all(), point.name


@needs_uring
def test_nobody_is_waited_for_where_nobody_receives(run):
    """With peer-drop there is no receiver, and no column of one."""
    (point,) = (one for one in POINTS if one.situation == "peer-drop")
    mine = run.samples[run.samples["point"] == point.name]

    assert run.host["paths"][point.place]["receiver"] is None
    assert mine[["received_bytes", "received", "receiver_drops"]].isna().all(axis=None)


@needs_uring
def test_taps_are_counted_after_each_slice(run):
    """`packet_taps` is what there was: one where the situation opened it."""
    counts = run.samples.groupby("point", observed=True)["packet_taps"].unique()

    for point in POINTS:
        assert list(counts[point.name]) == [int(point.situation == "tap")]


@needs_uring
def test_the_device_counts_the_slices(run):
    """What a veth counted is at least what was sent by the sample, warm-up and all."""
    (point,) = (one for one in POINTS if one.situation == "peer-drop")
    mine = run.samples[run.samples["point"] == point.name]
    sent = mine["sent_total_bytes"] // point.io_size_bytes

    assert (mine["device_tx_packets"] >= sent).all()
    assert (mine["device_tx_bytes"] >= mine["sent_total_bytes"]).all()
    assert (mine["device_tx_dropped"] == 0).all()


@needs_uring
@pytest.mark.parametrize(
    ("where", "given", "family"),
    [
        (Path.SINK, "own-address", 4),
        (Path.SINK, "own-address", 6),
        (Path.LO, "mtu=1500,tap", 4),
        (Path.VETH, "mtu=1500", 6),
        (Path.VETH, "tx-checksum=off", 4),
    ],
)
def test_tcp_in_situations(where, given, family, tmp_path):
    """TCP arrives whole in every situation that has a receiver, and is copied."""
    point = replace(
        POINTS[0],
        path=where,
        situation=given,
        protocol=Protocol.TCP,
        family=family,
        batch=1,
    )
    try:
        taken = sweep.take(replace(PLAN, points=(point,), blocks=2), out=tmp_path)
    except CapabilityError as error:
        pytest.skip(str(error))
    samples = store.load(taken).samples
    zerocopy = samples[samples["arm"] == "send_zc"]

    assert (samples["received_bytes"] == samples["sent_total_bytes"]).all()
    assert (zerocopy["copied"] == zerocopy["notifications"]).all()


# What a sniffer does that is started beside a run: enter its network, open a tap.
SNIFFER = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
for kind in ("user", "net"):
    theirs, mine = (f"/proc/{pid}/ns/{kind}" for pid in (sys.argv[1], "self"))
    if os.readlink(theirs) != os.readlink(mine):
        if libc.setns(os.open(theirs, os.O_RDONLY), 0):
            sys.exit(os.strerror(ctypes.get_errno()))
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
print("open", flush=True)
sys.stdin.read()
"""


@needs_uring
def test_a_tap_that_comes_and_goes_is_seen():
    """A socket opened beside the sender copies from then on, and no longer than it is.

    `packet_taps` of each sample tells; so does the copied share.
    """
    plan = replace(PLAN, points=POINTS[:1])
    (point,) = plan.points

    def seen(worker, number):
        samples = worker.block(point, ["send_zc"], number, 2_000_000, 30.0)
        return [
            (one["packet_taps"], one["copied"] / one["notifications"])
            for one in samples
        ]

    found = []
    with Worker(plan, point.place, host.cpus()) as worker:
        try:
            worker.ready()
        except CapabilityError as error:
            pytest.skip(str(error))
        found += seen(worker, 0)
        with subprocess.Popen(
            [sys.executable, "-c", SNIFFER, str(worker.sender_pid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as sniffer:
            assert sniffer.stdout.readline() == "open\n"
            found += seen(worker, 1)
            sniffer.communicate()
        found += seen(worker, 2)

    assert found == [(0, 0.0), (1, 1.0), (0, 0.0)]


def test_a_model_has_places_too(tmp_path):
    """A synthetic truth may differ by situation; the plain path's holds where not."""
    truth = Truth(
        gains={"sink/send_zc": 5, "sink+tap/send_zc": -20},
        copied={"sink+tap": 1.0},
        noise=0.001,
        shared=0.0,
    )
    plan = replace(PLAN, points=POINTS[:3], synthetic=truth, slice_ns=10_000_000)
    run = store.load(sweep.take(plan, out=tmp_path))
    zerocopy = run.samples[run.samples["arm"] == "send_zc"]
    shares = zerocopy.groupby("situation", observed=True)["copied_share"].mean()
    costs = zerocopy.groupby("situation", observed=True)["ns_per_request"].median()

    assert set(run.host["paths"]) == set(plan.places)
    assert dict(shares) == {"": 0.0, "mtu=1500": 0.0, "tap": 1.0}
    assert costs["mtu=1500"] == pytest.approx(costs[""], rel=0.02)
    assert costs["tap"] / costs[""] == pytest.approx(1.05 / 0.8, rel=0.02)
