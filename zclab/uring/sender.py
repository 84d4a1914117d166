"""A sender: sockets of a ring, one mode, timed slice by slice."""

import resource
from typing import Any

from zclab import options as opts
from zclab.errors import CapabilityError, MeasureError, SendError
from zclab.options import SLOTS, Options
from zclab.params import Mode
from zclab.uring._shim import ffi, lib
from zclab.uring.ring import PAGE_BYTES, Counts, Ring

LAG = 128  # as liburing's example: outstanding notifications before it fetches them
LAG_MSG_ZEROCOPY = 32  # as the kernel's msg_zerocopy test: its option -l
VERIFIED_SLOTS = 64  # requests in flight of a verified arm, or two batches

MODES = {
    Mode.SEND: lib.ZCLAB_SEND,
    Mode.SENDMSG: lib.ZCLAB_SENDMSG,
    Mode.SEND_VEC: lib.ZCLAB_SEND_VEC,
    Mode.SEND_ZC: lib.ZCLAB_SEND_ZC,
    Mode.SEND_ZC_FIXED: lib.ZCLAB_SEND_ZC_FIXED,
    Mode.SEND_ZC_VEC: lib.ZCLAB_SEND_ZC_VEC,
    Mode.SENDMSG_ZC: lib.ZCLAB_SENDMSG_ZC,
    Mode.SENDMSG_ZC_FIXED: lib.ZCLAB_SENDMSG_ZC_FIXED,
    Mode.MIXED: lib.ZCLAB_MIXED,
    Mode.SEND_SYNC: lib.ZCLAB_SEND_SYNC,
    Mode.MSG_ZEROCOPY: lib.ZCLAB_MSG_ZEROCOPY,
}
_DRAIN = {
    "lag": lib.ZCLAB_DRAIN_LAG,
    "batch": lib.ZCLAB_DRAIN_BATCH,
    "each": lib.ZCLAB_DRAIN_EACH,
}
_ON_ERROR = {"stop": lib.ZCLAB_ON_ERROR_STOP, "count": lib.ZCLAB_ON_ERROR_COUNT}


def outstanding_limit(io_size_bytes: int, memlock_bytes: int) -> int:
    """Return how many notifications may be outstanding; 0 to SLOTS.

    Each unregistered request charges the pages of its payload, and two more for
    its ends, to RLIMIT_MEMLOCK until it is notified. A quarter of the limit is
    left to rings and registered buffers, which are charged too.

    Args:
        io_size_bytes: payload of one request.
        memlock_bytes: the soft limit; negative for unlimited.

    Source: io_uring_enter(2), IORING_OP_SEND_ZC, ENOMEM; io_notif_account_mem().

    """
    if memlock_bytes < 0:
        return SLOTS
    pages = io_size_bytes // PAGE_BYTES + 2
    affordable = memlock_bytes * 3 // 4 // (pages * PAGE_BYTES)
    return min(SLOTS, affordable)


def stride_bytes(io_size_bytes: int, options: Options) -> int:
    """Return the bytes from one buffer to the next: whole pages."""
    return -(-(options.offset + io_size_bytes) // PAGE_BYTES) * PAGE_BYTES


def area_bytes(io_size_bytes: int, options: Options, buffers: int) -> int:
    """Return the memory that so many buffers take, and a spare page behind them.

    Plain send of the last bytes of a mapping cost 78 ns more (4094 B of one page,
    636 ns; with the page 558), so one arm alone would pay for where the memory ends.
    The CPU reads ahead, it seems.
    """
    return stride_bytes(io_size_bytes, options) * buffers + PAGE_BYTES


class Shape:
    """How many requests of an arm may be in flight, and the memory they send from.

    Attributes:
        outstanding_max: notifications outstanding at most.
        lag: outstanding notifications from which they are fetched.
        buffers: buffers taken in turn.
        stride: bytes from one buffer to the next: whole pages.
        area_bytes: memory that all of them take, and a spare page behind them.

    """

    def __init__(
        self,
        *,
        mode: Mode,
        io_size_bytes: int,
        batch: int,
        options: Options,
        memlock_bytes: int | None = None,
        what: str = "",
    ) -> None:
        if memlock_bytes is None:
            memlock_bytes, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        # Threads pin at once, and the limit is that of all together.
        limit = outstanding_limit(io_size_bytes, memlock_bytes // options.threads)
        if limit < batch and (mode.pins or mode is Mode.MIXED):
            raise CapabilityError(
                f"{what or mode}, batch {batch}: a batch pins more than the "
                f"locked-memory limit of {memlock_bytes >> 10} KiB allows; raise it "
                f"(ulimit -l) or use a batch of at most {limit}"
            )
        self.outstanding_max = max(batch, limit)
        self.buffers = options.buffers
        if options.verify:
            wanted = min(SLOTS, max(2 * batch, VERIFIED_SLOTS))
            self.outstanding_max = max(batch, min(limit // 2, wanted))
            self.buffers = self.outstanding_max
        default = LAG_MSG_ZEROCOPY if mode is Mode.MSG_ZEROCOPY else LAG
        lag = options.lag or default
        if options.sqpoll and not options.lag:
            lag = SLOTS  # its thread posts notifications without being asked
        if not options.lag:  # so that they are fetched before they must be awaited
            lag = max(1, min(lag, self.outstanding_max - batch))
        self.lag = lag
        if options.drain == "batch" and mode.by_ring:
            self.lag = 0
        elif options.drain == "batch":
            self.lag = batch
        self.stride = stride_bytes(io_size_bytes, options)
        self.area_bytes = area_bytes(io_size_bytes, options, self.buffers)


class Sender:
    """Sends in one mode on `options.flows` sockets of a ring.

    Args:
        ring: the ring; it stays the caller's to close.
        file: index of the first socket among the ring's.
        mode: how a request is sent.
        io_size_bytes: payload of one request.
        batch: requests per submit; mode send_sync and msg_zerocopy have no batches.
        options: everything else.
        seed: of the draw of mode `mixed`; any positive number.
        report_usage: the kernel can report copies (6.2); if not, it is not asked.
        address: packed address of an unconnected socket's destination.
        cork_option: protocol and number of the socket option that corks, for
            `options.cork` and `options.more`.
        where: named in errors, for example the point's name.
        memlock_bytes: the locked-memory limit; by default the process's own.

    """

    def __init__(
        self,
        ring: Ring,
        file: int,
        *,
        mode: Mode,
        io_size_bytes: int,
        batch: int,
        options: Options | None = None,
        seed: int = 1,
        report_usage: bool = True,
        address: bytes = b"",
        cork_option: tuple[int, int] = (0, 0),
        where: str = "",
        memlock_bytes: int | None = None,
    ) -> None:
        options = Options() if options is None else options
        self._ring = ring
        self.what = f"{mode} {io_size_bytes} B {where}".rstrip()
        self.shape = Shape(
            mode=mode,
            io_size_bytes=io_size_bytes,
            batch=batch,
            options=options,
            memlock_bytes=memlock_bytes,
            what=self.what,
        )
        self._overflows = options.cq < Options().cq  # asked for, so no error
        self._latency = options.latency and mode.by_ring
        weights = opts.weights(options.mix) if mode is Mode.MIXED else {}
        self._send: dict[str, Any] = {
            "mode": MODES[mode],
            "weights": _by_op(weights),
            "file": file,
            "flows": options.flows,
            "registered_file": options.file,
            "io_size_bytes": io_size_bytes,
            "batch": batch,
            "iovecs": options.iovecs,
            "buffer_offset": options.offset,
            "buffer_stride": self.shape.stride,
            "buffers": self.shape.buffers,
            "drain": _DRAIN[options.drain],
            "lag": self.shape.lag,
            "outstanding_max": self.shape.outstanding_max,
            "clock_interval": options.clock,
            "report_usage": report_usage and options.report_usage,
            "waitall": options.waitall,
            "eor": options.eor,
            "more": options.more,
            "cork": options.cork,
            "cork_level": cork_option[0],
            "cork_option": cork_option[1],
            "address_bytes": len(address),
            "address": address.ljust(lib.ZCLAB_ADDRESS_BYTES, b"\0"),
            "latency": self._latency,
            "unit_bytes": unit_bytes(options, io_size_bytes),
            "on_error": _ON_ERROR[options.on_error],
            "seed": seed,
        }

    def slice(
        self,
        *,
        warmup_ns: int,
        budget_ns: int,
        start_at_ns: int = 0,
        requests_max: int = 0,
        stop: Any = None,
    ) -> Counts:
        """Send for about `budget_ns` after an untimed warm-up; return the counters.

        The arguments and the result are those of `Ring.slice`; `latency` is None
        when it was not asked for.

        Raises:
            SendError: a request failed.
            MeasureError: the kernel broke the two-CQE contract, or counts that
                must agree do not.

        """
        try:
            counts = self._ring.slice(
                self._send,
                warmup_ns=warmup_ns,
                budget_ns=budget_ns,
                start_at_ns=start_at_ns,
                requests_max=requests_max,
                stop=stop,
                what=self.what,
            )
        except SendError as error:
            if error.counts and not self._latency:
                error.counts["latency"] = None
            raise
        if not self._latency:
            counts["latency"] = None
        check(counts, self.what, overflows=self._overflows)
        # Each slice of mode mixed draws on from its own place in the sequence.
        self._send["seed"] = self._send["seed"] % (1 << 61) + 1
        return counts


def unit_bytes(options: Options, io_size_bytes: int) -> int:
    """Return what is stamped and verified as one piece; 0 without verification."""
    return (options.segment or io_size_bytes) if options.verify else 0


def _by_op(weights: dict[str, int]) -> list[int]:
    by_op = [0] * lib.ZCLAB_OPS
    for name, weight in weights.items():
        by_op[MODES[Mode(name)]] = weight
    return by_op


def check(counts: Counts, what: str, *, overflows: bool = False) -> None:
    """Raise MeasureError when the counters of one slice contradict each other.

    Args:
        counts: what `Ring.slice` returned.
        what: named in the error.
        overflows: the completion queue is small on purpose.

    """
    noted = counts["notifications"]
    if noted != counts["zc_requests"] and not counts.get("stopped"):
        raise MeasureError(
            f"{what}: {counts['zc_requests']} zerocopy requests completed but "
            f"{noted} notifications came"
        )
    if counts["cq_overflow"] and not overflows:
        raise MeasureError(
            f"{what}: the completion queue overflowed {counts['cq_overflow']} times"
        )
    latency = counts.get("latency")
    if latency is not None and sum(latency) != noted:
        raise MeasureError(
            f"{what}: {noted} notifications came but {sum(latency)} have a latency"
        )
    if not counts["requests"] and not counts.get("failed"):
        raise MeasureError(f"{what}: not one request completed in the slice")


assert ffi.sizeof("struct zclab_send")  # compares the compiled struct with the declared
