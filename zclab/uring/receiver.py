"""A receiver: its own process, drains sockets in C, counts into shared memory."""

import mmap
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Self

from zclab.errors import MeasureError
from zclab.uring._shim import ffi, lib

_TALLY_BYTES = ffi.sizeof("struct zclab_tally")
_INBOX_BYTES = ffi.sizeof("struct zclab_inbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one socket gave so far, and, of verified payload, what was wrong in it.

    Attributes:
        received: datagrams (UDP) or reads (TCP).
        bytes: payload.
        accepted: connections of a listening socket.
        closed: connections that the sender closed.
        corrupt: verified units with a wrong byte.
        disordered: verified units that came after a later one, or twice (UDP).

    """

    received: int = 0
    bytes: int = 0
    accepted: int = 0
    closed: int = 0
    corrupt: int = 0
    disordered: int = 0

    def __sub__(self, other: Self) -> Self:
        return type(self)(
            **{f.name: getattr(self, f.name) - getattr(other, f.name) for f in _TALLIED}
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in _TALLIED}
        )


_TALLIED = fields(Tally)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the receiver's process took so far; times in ns."""

    cpu_user_ns: int
    cpu_sys_ns: int
    switches: int


class Receiver:
    """Drains `fds` on one CPU until closed.

    The process is forked, so make it before the first ring and while the calling
    process has one thread. It dies with its parent (prctl(2), PR_SET_PDEATHSIG).

    Args:
        fds: receiving sockets, UDP, connected TCP or listening TCP; in the child
            they stay open, in the parent they stay the caller's.
        cpu: the CPU to run on; None: any.
        units: for each socket the bytes of a verified unit, or 0; none are verified
            by default.
        die_with_parent: called first in the child.

    """

    def __init__(
        self,
        fds: Sequence[int],
        *,
        cpu: int | None,
        die_with_parent: Callable[[int], None],
        units: Sequence[int] = (),
    ) -> None:
        # One page-aligned shared area: the head, then one tally per socket, each in
        # a cache line of its own.
        self._area = mmap.mmap(-1, _INBOX_BYTES + _TALLY_BYTES * len(fds))
        base = ffi.from_buffer(self._area)
        self._base = base
        self._inbox = ffi.cast("struct zclab_inbox *", base)
        self._tallies = ffi.cast("struct zclab_tally *", base + _INBOX_BYTES)
        self.count = len(fds)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                die_with_parent(parent)
                if cpu is not None:
                    os.sched_setaffinity(0, {cpu})
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                status = -lib.zclab_receive(
                    ffi.new("int[]", list(fds)),
                    ffi.new("unsigned int[]", list(units) or [0] * len(fds)),
                    len(fds),
                    self._inbox,
                    self._tallies,
                )
            finally:
                os._exit(status)

    def tally(self, index: int) -> Tally:
        """Return what socket `index` gave so far.

        Raises:
            MeasureError: the receiver failed on this socket or is gone.

        """
        if self.pid and os.waitpid(self.pid, os.WNOHANG)[0]:
            self.pid = 0
            raise MeasureError("the receiver ended in the middle of the run")
        tally = self._tallies[index]
        if tally.error:
            raise MeasureError(f"the receiver failed: {os.strerror(tally.error)}")
        return Tally(**{f.name: int(getattr(tally, f.name)) for f in _TALLIED})

    def usage(self) -> Usage:
        """Return what the receiver took; up to date whenever it waits for data."""
        return Usage(
            cpu_user_ns=int(self._inbox.cpu_user_ns),
            cpu_sys_ns=int(self._inbox.cpu_sys_ns),
            switches=int(self._inbox.switches),
        )

    def await_bytes(
        self,
        indices: Sequence[int],
        total: int,
        *,
        lost: Callable[[], int],
        deadline_s: float,
    ) -> bool:
        """Wait until the sockets `indices` gave `total` bytes less what is `lost()`.

        It gives up, and returns False, at the deadline, or early when nothing more
        arrives for a fifth of it.
        """
        end = time.monotonic() + deadline_s
        seen, patience = -1, end
        while True:
            now = sum(self.tally(index).bytes for index in indices)
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
        self._inbox.stop = 1
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            status = 0
        self.pid = 0
        if os.waitstatus_to_exitcode(status):
            raise MeasureError(
                f"the receiver ended with status {os.waitstatus_to_exitcode(status)}"
            )
