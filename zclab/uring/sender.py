"""A sender: one socket of a ring, one mode, timed slice by slice."""

import resource

from zclab.errors import CapabilityError, MeasureError
from zclab.params import Mode
from zclab.uring._shim import lib
from zclab.uring.ring import Ring

SLOTS = 1024  # requests in flight that the shim can track; see shim.c
LAG = 128  # as liburing's example: outstanding notifications before it fetches them
CLOCK_INTERVAL = 32  # requests between clock reads: about 1 ns a request
PAGE_BYTES = resource.getpagesize()

_MODES = {
    Mode.SEND: lib.ZCLAB_SEND,
    Mode.SEND_ZC: lib.ZCLAB_SEND_ZC,
    Mode.SEND_ZC_FIXED: lib.ZCLAB_SEND_ZC_FIXED,
    Mode.MIXED: lib.ZCLAB_MIXED,
}


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


class Sender:
    """Sends in one mode on one socket of a ring.

    Args:
        ring: the ring; it stays the caller's to close.
        file: index of the socket among the ring's.
        mode: how a request is sent.
        io_size_bytes: payload of one request.
        batch: requests per submit.
        seed: of the draw of mode `mixed`; any positive number.
        report_usage: ask for the copied flag; needs Linux 6.2.
        where: named in errors, for example the point's name.

    """

    def __init__(
        self,
        ring: Ring,
        file: int,
        *,
        mode: Mode,
        io_size_bytes: int,
        batch: int,
        seed: int = 1,
        report_usage: bool = True,
        where: str = "",
        memlock_bytes: int | None = None,
    ) -> None:
        self._ring = ring
        self._what = f"{mode} {io_size_bytes} B {where}".rstrip()
        if memlock_bytes is None:
            memlock_bytes, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        limit = outstanding_limit(io_size_bytes, memlock_bytes)
        if limit < batch and mode in (Mode.SEND_ZC, Mode.MIXED):
            raise CapabilityError(
                f"{self._what}, batch {batch}: a batch pins more than the "
                f"locked-memory limit of {memlock_bytes >> 10} KiB allows; raise it "
                f"(ulimit -l) or use a batch of at most {limit}"
            )
        self.outstanding_max = max(batch, limit)
        self.notification_lag = max(1, min(LAG, self.outstanding_max - batch))
        self._send = {
            "file": file,
            "mode": _MODES[mode],
            "io_size_bytes": io_size_bytes,
            "batch": batch,
            "notification_lag": self.notification_lag,
            "outstanding_max": self.outstanding_max,
            "clock_interval": CLOCK_INTERVAL,
            "report_usage": report_usage,
            "seed": seed,
        }

    def slice(self, *, warmup_ns: int, budget_ns: int) -> dict[str, int]:
        """Send for about `budget_ns` after an untimed warm-up; return the counters.

        Returns:
            The counts of `struct zclab_counts` in shim.h; times in ns.

        Raises:
            SendError: a request failed.
            MeasureError: the kernel broke the two-CQE contract, or counts that
                must agree do not.

        """
        counts = self._ring.slice(
            self._send, warmup_ns=warmup_ns, budget_ns=budget_ns, what=self._what
        )
        check(counts, self._what)
        # Each slice of mode mixed draws on from its own place in the sequence.
        self._send["seed"] = self._send["seed"] % (1 << 61) + 1
        return counts


def check(counts: dict[str, int], what: str) -> None:
    """Raise MeasureError when the counters of one slice contradict each other."""
    if counts["notifications"] != counts["zc_requests"]:
        raise MeasureError(
            f"{what}: {counts['zc_requests']} zerocopy requests completed but "
            f"{counts['notifications']} notifications came"
        )
    if counts["cq_overflow"]:
        raise MeasureError(
            f"{what}: the completion queue overflowed {counts['cq_overflow']} times"
        )
    if not counts["requests"]:
        raise MeasureError(f"{what}: not one request completed in the slice")
