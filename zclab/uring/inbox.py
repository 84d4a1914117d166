"""An inbox: what a process that takes data tells through shared memory."""

import mmap
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from zclab.errors import MeasureError
from zclab.uring._shim import ffi

_TALLY_BYTES = ffi.sizeof("struct zclab_tally")
_INBOX_BYTES = ffi.sizeof("struct zclab_inbox")
_LINE_BYTES = 64  # of the cache: what two write does not share one
_IDLE_S = 0.02  # so long `usage` waits for it to have taken all that is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one socket gave so far, and, of verified payload, what was wrong in it.

    Attributes:
        received: datagrams (UDP), reads (TCP), or segments whose headers were seen.
        bytes: payload.
        accepted: connections of a listening socket.
        closed: connections that the sender closed.
        corrupt: verified units with a wrong byte.
        disordered: verified units that came after a later one, or twice (UDP);
            segments that came after a missing one (responder).

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
    """What the process took so far; times in ns."""

    cpu_user_ns: int
    cpu_sys_ns: int
    switches: int


class Inbox:
    """A forked process that takes data on one CPU, and what it tells.

    It is forked, so make it before the first ring and while the calling process has
    one thread. It dies with its parent (prctl(2), PR_SET_PDEATHSIG).

    Args:
        count: tallies that it keeps.
        extra_bytes: memory that it shares besides.
        name: what messages call it.

    """

    def __init__(self, count: int, *, name: str, extra_bytes: int = 0) -> None:
        # One page-aligned shared area: the head, what is extra, and one tally per
        # socket, each in a cache line of its own.
        extra = -(-extra_bytes // _LINE_BYTES) * _LINE_BYTES
        self._area = mmap.mmap(-1, _INBOX_BYTES + extra + _TALLY_BYTES * count)
        base = ffi.from_buffer(self._area)
        self._base = base
        self._inbox = ffi.cast("struct zclab_inbox *", base)
        self._extra = base + _INBOX_BYTES
        self._tallies = ffi.cast("struct zclab_tally *", base + _INBOX_BYTES + extra)
        self._name = name
        self.count = count
        self.pid = 0

    def _fork(
        self,
        run: Callable[[], int],
        *,
        cpu: int | None,
        die_with_parent: Callable[[int], None],
    ) -> None:
        """Fork, and have the child do nothing but `run`, which returns 0 or -errno."""
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                die_with_parent(parent)
                if cpu is not None:
                    os.sched_setaffinity(0, {cpu})
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                status = -run()
            finally:
                os._exit(status)

    def check(self) -> None:
        """Raise MeasureError when the process is gone."""
        if self.pid and os.waitpid(self.pid, os.WNOHANG)[0]:
            self.pid = 0
            raise MeasureError(f"the {self._name} ended in the middle of the run")

    def tally(self, index: int) -> Tally:
        """Return what socket `index` gave so far.

        Raises:
            MeasureError: the process failed on this socket or is gone.

        """
        self.check()
        tally = self._tallies[index]
        if tally.error:
            raise MeasureError(f"the {self._name} failed: {os.strerror(tally.error)}")
        return Tally(**{f.name: int(getattr(tally, f.name)) for f in _TALLIED})

    def usage(self) -> Usage:
        """Return what the process took until it last began to wait for data.

        It counts data as it takes it, and tells what that took when there is no more:
        so that is awaited here. One that is never done has told of an earlier wait.
        """
        inbox = self._inbox
        end = time.monotonic() + _IDLE_S
        while True:
            turns = int(inbox.turns)
            usage = Usage(
                cpu_user_ns=int(inbox.cpu_user_ns),
                cpu_sys_ns=int(inbox.cpu_sys_ns),
                switches=int(inbox.switches),
            )
            waits = turns % 2 == 1 and turns == inbox.turns
            if waits or time.monotonic() > end:
                return usage
            time.sleep(20e-6)

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
                f"the {self._name} ended with status "
                f"{os.waitstatus_to_exitcode(status)}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
