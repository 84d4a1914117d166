"""Real sends through the shim; the counters keep the two-CQE contract."""

import socket
import threading
import time

import pytest

from tests.live import needs_uring
from zclab.errors import CapabilityError, MeasureError, SendError
from zclab.options import SLOTS, Options
from zclab.params import TABLE_MODES, Mode
from zclab.uring.inbox import Inbox
from zclab.uring.ring import Ring, RingSetup
from zclab.uring.sender import PAGE_BYTES, Sender, Shape, check, outstanding_limit

pytestmark = needs_uring

SLICE = {"warmup_ns": 200_000, "budget_ns": 2_000_000}


@pytest.mark.parametrize("mode", TABLE_MODES)
@pytest.mark.parametrize("batch", [1, 8, 64])
def test_counts_agree(udp, mode, batch):
    """Requests, bytes, notifications and submits of a slice fit each other."""
    with Ring([udp.fileno()], RingSetup(buffer_bytes=1200)) as ring:
        sender = Sender(ring, 0, mode=mode, io_size_bytes=1200, batch=batch)
        counts = sender.slice(**SLICE)

    assert counts["requests"] == counts["submits"] * batch
    assert counts["bytes"] == counts["requests"] * 1200
    assert counts["sent_total_bytes"] > counts["bytes"]
    assert counts["elapsed_ns"] >= SLICE["budget_ns"]
    assert counts["short_sends"] == counts["eagain"] == counts["cq_overflow"] == 0
    if mode is Mode.SEND:
        assert counts["zc_requests"] == counts["notifications"] == 0
    elif mode is Mode.MIXED:
        assert 0.5 < counts["zc_requests"] / counts["requests"] < 0.85
    else:
        assert counts["zc_requests"] == counts["requests"]


def test_cpu_time_does_not_wait_for_a_tick(udp):
    """A slice shorter than a tick, in which nothing else ran, was all CPU time."""
    with Ring([udp.fileno()], RingSetup(buffer_bytes=1200)) as ring:
        sender = Sender(ring, 0, mode=Mode.SEND, io_size_bytes=1200, batch=8)
        slices = [sender.slice(warmup_ns=0, budget_ns=500_000) for _ in range(100)]
    alone = [
        counts
        for counts in slices
        if not counts["switches_voluntary"] + counts["switches_forced"]
    ]

    assert alone
    for counts in alone:
        # Interrupts, and a hypervisor that takes the CPU, may be counted or not.
        share = (counts["cpu_user_ns"] + counts["cpu_sys_ns"]) / counts["elapsed_ns"]
        assert 0.1 < share < 1.2


def test_usage_is_awaited_while_data_is_taken(monkeypatch):
    """What was counted may not be told of yet: usage is read when that is done."""
    monkeypatch.setattr("zclab.uring.inbox._IDLE_S", 60)
    inbox = Inbox(1, name="receiver")
    head = inbox._inbox
    head.turns = 2  # it was told of data, and takes it

    def end_turn():
        head.cpu_user_ns, head.cpu_sys_ns, head.switches = 3, 4, 5
        head.turns += 1

    thread = threading.Timer(1e-3, end_turn)
    thread.start()
    usage = inbox.usage()
    thread.join()

    assert (usage.cpu_user_ns, usage.cpu_sys_ns, usage.switches) == (3, 4, 5)


def test_usage_of_one_that_never_waits_is_the_last_told(monkeypatch):
    """One that is always busy does not hold up who asks."""
    monkeypatch.setattr("zclab.uring.inbox._IDLE_S", 0)
    inbox = Inbox(1, name="receiver")
    inbox._inbox.turns, inbox._inbox.cpu_sys_ns = 2, 7

    assert inbox.usage().cpu_sys_ns == 7


@pytest.mark.parametrize("mode", [Mode.SEND_ZC, Mode.SEND_ZC_FIXED, Mode.MIXED])
def test_loopback_is_always_copied(udp, mode):
    """On loopback every notification says copied: the receiver gets a copy."""
    with Ring([udp.fileno()], RingSetup(buffer_bytes=8000)) as ring:
        counts = Sender(ring, 0, mode=mode, io_size_bytes=8000, batch=8).slice(**SLICE)

    assert counts["notifications"] == counts["zc_requests"] > 0
    assert counts["copied"] == counts["notifications"]


def test_without_report_usage_nothing_says_copied(udp):
    """The copied flag is only ever set where it was asked for."""
    with Ring([udp.fileno()], RingSetup(buffer_bytes=8000)) as ring:
        counts = Sender(
            ring,
            0,
            mode=Mode.SEND_ZC,
            io_size_bytes=8000,
            batch=8,
            options=Options(report_usage=False),
        ).slice(**SLICE)

    assert counts["notifications"] > 0
    assert counts["copied"] == 0


def test_tcp_bytes_arrive():
    """Over TCP the receiver gets every byte that the completions claim, in order."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sending = socket.create_connection(server.getsockname())
        receiving, _ = server.accept()
    got = bytearray()

    def drain():
        while data := receiving.recv(1 << 20):
            got.extend(data)

    thread = threading.Thread(target=drain)
    thread.start()
    with sending, receiving:
        with Ring([sending.fileno()], RingSetup(buffer_bytes=5200)) as ring:
            counts = Sender(
                ring, 0, mode=Mode.SEND_ZC, io_size_bytes=5200, batch=1
            ).slice(**SLICE)
        sending.shutdown(socket.SHUT_WR)
        thread.join(10)

    assert counts["sent_total_bytes"] == len(got)
    pattern = bytes(ord("a") + i % 26 for i in range(5200))  # the shim's buffer
    assert bytes(got) == pattern * (len(got) // 5200)


def test_many_senders_share_a_ring(udp):
    """Several modes and sizes on one ring do not disturb each other's counts."""
    with Ring([udp.fileno(), udp.fileno()], RingSetup(buffer_bytes=4000)) as ring:
        first = Sender(ring, 0, mode=Mode.SEND_ZC, io_size_bytes=600, batch=8)
        second = Sender(ring, 1, mode=Mode.SEND, io_size_bytes=4000, batch=1)
        for _ in range(5):
            assert first.slice(**SLICE)["bytes"] % 600 == 0
            assert second.slice(**SLICE)["notifications"] == 0


def test_refused_send_names_errno_and_cure():
    """A send that the kernel refuses carries the errno, what was tried and a cure."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as lonely:
        lonely.bind(("127.0.0.1", 0))
        lonely.connect(("127.0.0.1", lonely.getsockname()[1]))
        with Ring([lonely.fileno()], RingSetup(buffer_bytes=65536)) as ring:
            sender = Sender(ring, 0, mode=Mode.SEND, io_size_bytes=65536, batch=1)
            with pytest.raises(SendError, match=r"send 65536 B.*EMSGSIZE.*smaller"):
                sender.slice(**SLICE)


def test_unix_sockets_do_not_take_zerocopy():
    """A socket without zerocopy support is an error, not a silent copy."""
    left, right = socket.socketpair()
    with left, right, Ring([left.fileno()], RingSetup(buffer_bytes=100)) as ring:
        sender = Sender(ring, 0, mode=Mode.SEND_ZC, io_size_bytes=100, batch=1)
        with pytest.raises(SendError, match="EOPNOTSUPP"):
            sender.slice(**SLICE)


def test_stuck_path_ends(udp):
    """A path on which nothing completes ends in an error, not in a hang."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sending = socket.create_connection(server.getsockname())
        receiving, _ = server.accept()
    with (
        sending,
        receiving,
        Ring([sending.fileno()], RingSetup(buffer_bytes=1 << 20)) as ring,
    ):
        sender = Sender(ring, 0, mode=Mode.SEND, io_size_bytes=1 << 20, batch=1)
        start = time.monotonic()
        with pytest.raises(SendError, match="stuck"):
            sender.slice(warmup_ns=0, budget_ns=60_000_000_000)

    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("notifications", 9, "notifications came"),
        ("cq_overflow", 1, "overflowed"),
        ("requests", 0, "not one request"),
    ],
)
def test_contradicting_counts_are_errors(field, value, says):
    """Counts that cannot be together raise, naming the point."""
    good = {"requests": 10, "zc_requests": 10, "notifications": 10, "cq_overflow": 0}
    check(good, "p")

    with pytest.raises(MeasureError, match=says):
        check(good | {field: value}, "p")


def test_outstanding_limit_follows_the_memory_limit():
    """What may be outstanding fits in three quarters of the locked-memory limit."""
    limit = outstanding_limit(65435, 8 << 20)

    assert limit >= 64
    assert limit * (65435 // 4096 + 2) * 4096 <= 6 << 20
    assert outstanding_limit(1200, -1) == SLOTS


def test_batch_beyond_the_memory_limit_is_refused(udp):
    """A batch that the locked-memory limit cannot hold is refused with the cure."""
    with (
        Ring([udp.fileno()], RingSetup(buffer_bytes=65507)) as ring,
        pytest.raises(CapabilityError, match="ulimit -l"),
    ):
        Sender(
            ring,
            0,
            mode=Mode.SEND_ZC,
            io_size_bytes=65507,
            batch=512,
            memlock_bytes=8 << 20,
        )


@pytest.mark.parametrize("size", [1, 4094, 4096, 65507])
def test_a_page_lies_behind_the_buffers(size):
    """No buffer ends where the mapping does: plain send alone would pay for that."""
    shape = Shape(mode=Mode.SEND, io_size_bytes=size, batch=8, options=Options())

    assert shape.area_bytes - shape.buffers * shape.stride == PAGE_BYTES
    assert shape.stride >= size
