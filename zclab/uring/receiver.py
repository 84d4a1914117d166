"""A receiver: its own process, drains sockets in C, counts into shared memory."""

from collections.abc import Callable, Sequence

from zclab.uring._shim import ffi, lib
from zclab.uring.inbox import Inbox, Tally, Usage

__all__ = ["Receiver", "Tally", "Usage"]


class Receiver(Inbox):
    """Drains `fds` on one CPU until closed.

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
        super().__init__(len(fds), name="receiver")

        def run() -> int:
            error: int = lib.zclab_receive(
                ffi.new("int[]", list(fds)),
                ffi.new("unsigned int[]", list(units) or [0] * len(fds)),
                len(fds),
                self._inbox,
                self._tallies,
            )
            return error

        self._fork(run, cpu=cpu, die_with_parent=die_with_parent)
