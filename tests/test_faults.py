"""What goes wrong in mid-slice: it ends, it says what it was, and no count is lost."""

import errno
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path as Folder

import pytest

from tests.live import in_namespaces, needs_uring
from zclab import store
from zclab.errors import SendError
from zclab.options import Options, parse
from zclab.params import Mode
from zclab.uring.ring import Ring, RingSetup, stop_word
from zclab.uring.sender import Sender
from zclab.uring.team import Team

pytestmark = needs_uring

RING_MODES = ("send", "send_zc", "send_zc_fixed", "sendmsg_zc")
ALL_KINDS = (*RING_MODES, "send_sync", "msg_zerocopy")
LONG = {"warmup_ns": 0, "budget_ns": 20_000_000_000}


def sender(ring: Ring, mode: str, size: int, batch: int, options: str = "") -> Sender:
    """Return a sender on the only socket of a ring."""
    given = Options.of(parse(options))
    return Sender(
        ring, 0, mode=Mode(mode), io_size_bytes=size, batch=batch, options=given
    )


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return a connected pair over loopback: sending, receiving."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sending = socket.create_connection(server.getsockname())
        receiving, _ = server.accept()
    sending.setsockopt(socket.SOL_SOCKET, 60, 1)  # SO_ZEROCOPY
    return sending, receiving


def complete(counts: dict) -> bool:
    """Return whether every zerocopy request was notified of."""
    return counts["notifications"] == counts["zc_requests"]


@pytest.mark.parametrize("mode", ALL_KINDS)
def test_receiver_closes_in_mid_slice(mode):
    """A TCP receiver that goes away ends the slice; what was sent is accounted for."""
    sending, receiving = tcp_pair()

    def leave():
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            receiving.recv(1 << 20)
        receiving.close()

    with sending, Ring([sending.fileno()], RingSetup(buffer_bytes=4096)) as ring:
        thread = threading.Thread(target=leave)
        thread.start()
        with pytest.raises(SendError) as caught:
            sender(ring, mode, 4096, 1).slice(**LONG)
        thread.join()

    assert caught.value.errno in {errno.EPIPE, errno.ECONNRESET}
    assert "receiver closed" in str(caught.value)
    counts = caught.value.counts
    assert counts["requests"] > 0
    assert complete(counts)
    assert sum(counts["errors"].values()) == counts["failed"] >= 1


@pytest.mark.parametrize("mode", ALL_KINDS)
def test_nobody_receives(mode):
    """UDP to a closed port: refused, by name; or counted, if it was asked for."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending,
    ):
        taken.bind(("127.0.0.1", 0))
        sending.connect(taken.getsockname())
        sending.setsockopt(socket.SOL_SOCKET, 60, 1)
        taken.close()
        with Ring([sending.fileno()], RingSetup(buffer_bytes=1200)) as ring:
            with pytest.raises(SendError, match=r"ECONNREFUSED.*nobody") as caught:
                sender(ring, mode, 1200, 8).slice(**LONG)
            counts = sender(ring, mode, 1200, 8, "on_error=count").slice(
                warmup_ns=0, budget_ns=1_000_000_000, requests_max=400
            )

    assert complete(caught.value.counts)
    assert complete(counts)
    assert set(counts["errors"]) == {errno.ECONNREFUSED}
    assert counts["errors"][errno.ECONNREFUSED] == counts["failed"] > 0
    assert counts["requests"] + counts["failed"] >= 400


@pytest.mark.parametrize("mode", ALL_KINDS)
def test_a_tiny_socket_buffer_only_slows_down(mode):
    """With the smallest SO_SNDBUF every byte still arrives, and every notification."""
    sending, receiving = tcp_pair()
    sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    got = bytearray()

    def drain():
        while data := receiving.recv(1 << 20):
            got.extend(data)

    thread = threading.Thread(target=drain)
    thread.start()
    with sending, receiving:
        with Ring([sending.fileno()], RingSetup(buffer_bytes=2000)) as ring:
            counts = sender(ring, mode, 2000, 1).slice(
                warmup_ns=0, budget_ns=5_000_000_000, requests_max=20
            )
        sending.shutdown(socket.SHUT_WR)
        thread.join(10)

    assert len(got) == counts["sent_total_bytes"]
    assert complete(counts)


@pytest.mark.parametrize("mode", ["send_zc", "send_zc_fixed", "mixed"])
def test_completion_queue_too_small(mode):
    """CQEs that do not fit are counted, and none of them is lost."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending,
    ):
        receiving.bind(("127.0.0.1", 0))
        sending.connect(receiving.getsockname())
        options = "sq=64:cq=64:batch=64"
        ring_setup = RingSetup.of(Options.of(parse(options))).holding(4096)
        with Ring([sending.fileno()], ring_setup) as ring:
            counts = sender(ring, mode, 1200, 64, options).slice(
                warmup_ns=0, budget_ns=5_000_000_000, requests_max=6400
            )

    assert counts["cq_overflow"] > 0
    assert counts["requests"] >= 6400
    assert complete(counts)


@pytest.mark.parametrize("mode", ALL_KINDS)
def test_device_goes_down_in_mid_slice(mode):
    """The sends after it fail with the errno; none before it is left without notice."""
    found = in_namespaces(f"""
import threading
from pyroute2 import IPRoute
from zclab.errors import SendError
from zclab.uring.ring import Ring, RingSetup
from zclab.uring.sender import Sender
route = up(Path.SINK, {{4}})
point = Point(path=Path.SINK, protocol=Protocol.UDP, family=4, io_size_bytes=1200,
              batch=8)
flow = route.open(point, "{mode}")
def down():
    with IPRoute() as network:
        index = network.link_lookup(ifname=route.device)[0]
        network.link("set", index=index, state="down")
timer = threading.Timer(0.1, down)
with Ring([flow.sending.fileno()], RingSetup(buffer_bytes=4096)) as ring:
    sender = Sender(ring, 0, mode=Mode("{mode}"), io_size_bytes=1200, batch=8)
    timer.start()
    try:
        counts = sender.slice(warmup_ns=0, budget_ns=10_000_000_000)
        answer({{"errno": 0, "counts": counts}})
    except SendError as error:
        answer({{"errno": error.errno, "counts": error.counts}})
timer.join()
flow.close()
""")

    assert found["errno"] in {errno.ENETUNREACH, errno.ENETDOWN, errno.EINVAL}
    assert found["counts"]["requests"] > 0
    assert complete(found["counts"])


@pytest.mark.parametrize("mode", ALL_KINDS)
@pytest.mark.parametrize("stuck", [False, True])
def test_stop_word_ends_a_slice(mode, stuck):
    """The stop word ends a slice at once, also one that waits for a slow receiver."""
    sending, receiving = tcp_pair()

    def drain():
        while receiving.recv(1 << 20):
            pass

    thread = threading.Thread(target=drain)
    if not stuck:
        thread.start()
    stop = stop_word()

    def make():
        ring = Ring([sending.fileno()], RingSetup(buffer_bytes=65536))
        return sender(ring, mode, 65536, 1), ring.close

    with sending, receiving:
        with Team([make]) as team:
            threading.Timer(0.3, lambda: stop.__setitem__(0, 1)).start()
            start = time.monotonic()
            counts = team.slice(**LONG, stop=stop)
            took = time.monotonic() - start
        sending.shutdown(socket.SHUT_WR)
        if not stuck:
            thread.join(10)

    assert counts["stopped"] == 1
    assert took < 2
    assert counts["requests"] > 0


def limited(kib: int):
    """Return what sets the locked-memory limit in a child."""
    return lambda: resource.setrlimit(resource.RLIMIT_MEMLOCK, (kib << 10, kib << 10))


@pytest.mark.parametrize("kib", [0, 64])
def test_hardly_any_locked_memory(tmp_path, kib):
    """With 0 or 64 KiB of locked memory a run is refused, in one line with the cure."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "zclab.cli", "measure", "--path", "sink"),
            *("--sizes", "8000", "--blocks", "2", "--out", tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=limited(kib),
    )

    assert done.returncode == 77, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "ulimit -l" in done.stderr


def test_little_locked_memory_bounds_what_is_outstanding(tmp_path):
    """With 1 MiB fewer notifications are outstanding at once; the run is complete."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "zclab.cli", "measure", "--path", "sink"),
            *("--sizes", "8000", "--blocks", "2", "--out", tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=limited(1024),
    )
    if done.returncode == 77:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    run = store.load(Folder(done.stdout.strip()))

    assert run.complete
    lag = run.host["paths"]["sink"]["sender"]["notification_lag"]
    assert max(lag.values()) <= 128


STOPPED = """
import sys
from pathlib import Path as Folder
from zclab.measure import sweep
from zclab.params import Path, Plan, Point, Protocol
point = Point(path=Path.SINK, protocol=Protocol.UDP, family=4, io_size_bytes=1200,
              batch=8, modes=("send", "send_zc"))
plan = Plan(profile="test", points=(point,), seed=1, blocks=50, slice_ns=1_000_000_000)
try:
    sweep.take(plan, out=Folder(sys.argv[1]),
               progress=lambda p: print(p.done, flush=True))
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_ctrl_c_in_mid_slice(tmp_path):
    """The slice in hand is thrown away, the blocks before it are sealed as partial."""
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    if not process.stdout.readline():
        pytest.skip("no run could be started here")
    time.sleep(0.4)
    os.killpg(process.pid, signal.SIGINT)
    status = process.wait(10)

    run = store.load(store.listing(tmp_path)[0])
    assert status == 130
    assert run.sealed
    assert not run.complete
    assert run.blocks_done == 1
    assert len(run.samples) == 3
    assert any("KeyboardInterrupt" in warning for warning in run.warnings)
    json.loads((run.folder / store.MANIFEST).read_text())
