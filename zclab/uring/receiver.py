"""A receiver: its own process, drains sockets in C, counts into shared memory."""

import mmap
import os
import signal
import time
from collections.abc import Callable, Sequence

from zclab.errors import MeasureError
from zclab.uring._shim import ffi, lib

_TALLY_BYTES = ffi.sizeof("struct zclab_tally")


class Receiver:
    """Drains `fds` on one CPU until closed.

    The process is forked, so make it before the first ring and while the calling
    process has one thread. It dies with its parent (prctl(2), PR_SET_PDEATHSIG).

    Args:
        fds: receiving sockets, UDP or connected TCP; in the child they stay open,
            in the parent they stay the caller's.
        cpu: the CPU to run on.
        die_with_parent: called first in the child.

    """

    def __init__(
        self, fds: Sequence[int], *, cpu: int, die_with_parent: Callable[[int], None]
    ) -> None:
        # One page-aligned shared area: the stop word in a cache line of its own,
        # then one tally per socket.
        self._area = mmap.mmap(-1, 64 + _TALLY_BYTES * len(fds))
        base = ffi.from_buffer(self._area)
        self._base = base
        self._stop = ffi.cast("uint64_t *", base)
        self._tallies = ffi.cast("struct zclab_tally *", base + 64)
        self.count = len(fds)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                die_with_parent(parent)
                os.sched_setaffinity(0, {cpu})
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                array = ffi.new("int[]", list(fds))
                status = -lib.zclab_receive(array, len(fds), self._tallies, self._stop)
            finally:
                os._exit(status)

    def received(self, index: int) -> tuple[int, int]:
        """Return (datagrams or reads, bytes) that socket `index` gave so far.

        Raises:
            MeasureError: the receiver failed on this socket or is gone.

        """
        if self.pid and os.waitpid(self.pid, os.WNOHANG)[0]:
            self.pid = 0
            raise MeasureError("the receiver ended in the middle of the run")
        tally = self._tallies[index]
        if tally.error:
            raise MeasureError(f"the receiver failed: {os.strerror(tally.error)}")
        return int(tally.received), int(tally.bytes)

    def await_bytes(
        self, index: int, total: int, *, lost: Callable[[], int], deadline_s: float
    ) -> bool:
        """Wait until socket `index` gave `total` bytes less what is `lost()`.

        It gives up, and returns False, at the deadline, or early when nothing more
        arrives for a fifth of it.
        """
        end = time.monotonic() + deadline_s
        seen, patience = -1, end
        while True:
            _, now = self.received(index)
            if now >= total - lost():
                return True
            moment = time.monotonic()
            if now != seen:
                seen, patience = now, moment + deadline_s / 5
            if moment > min(end, patience):
                return False
            time.sleep(50e-6)

    def close(self) -> None:
        """Stop the process and wait for it."""
        if not self.pid:
            return
        self._stop[0] = 1
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            status = 0
        self.pid = 0
        if os.waitstatus_to_exitcode(status):
            raise MeasureError(
                f"the receiver ended with status {os.waitstatus_to_exitcode(status)}"
            )
