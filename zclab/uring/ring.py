"""One io_uring with its files and its buffer; all arms of a path send from it."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from zclab.errors import MeasureError, SendError
from zclab.uring._shim import ffi, lib

_SETUP_FLAGS = {  # io_uring_setup(2)
    1 << 7: "SUBMIT_ALL",
    1 << 8: "COOP_TASKRUN",
    1 << 12: "SINGLE_ISSUER",
    1 << 13: "DEFER_TASKRUN",
}

_BREACHES = {
    lib.ZCLAB_BREACH_UNKNOWN_REQUEST: "a CQE for a request that was never sent",
    lib.ZCLAB_BREACH_NOTIFICATION_FIRST: "a notification before its completion",
    lib.ZCLAB_BREACH_NOTIFICATION_TWICE: "a second notification for one request",
    lib.ZCLAB_BREACH_NOTIFICATION_MORE: "a notification that announces more CQEs",
    lib.ZCLAB_BREACH_COMPLETION_TWICE: "a second completion for one request",
    lib.ZCLAB_BREACH_PLAIN_MORE: "a plain send that announces a notification",
}

_CURES = {
    errno.ENOMEM: "rings, registered and pinned pages are charged to the "
    "locked-memory limit; raise it: ulimit -l",
    errno.EMSGSIZE: "the datagram does not fit; use a smaller size",
    errno.EOPNOTSUPP: "this socket does not support zerocopy",
    errno.ETIME: "nothing completed for 5 s: the path is stuck",
    errno.ECONNREFUSED: "nobody receives on the other side",
}

# Touching the sizes makes cffi compare the compiled structs with the declared.
_COUNTS = tuple(
    name
    for name, _ in ffi.typeof("struct zclab_counts").fields
    if name not in ("error", "breach") and ffi.sizeof("struct zclab_counts")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RingFacts:
    """What the kernel granted."""

    setup_flags: tuple[str, ...]
    sq_entries: int
    cq_entries: int
    registered_ring: bool


class Ring:
    """A ring with a registered file per socket and one registered buffer.

    All calls must come from the thread that made it (IORING_SETUP_SINGLE_ISSUER).
    Close it, or use it as a context.

    Args:
        fds: connected sockets; they stay the caller's to close.
        buffer_bytes: size of the buffer; no request may be larger.

    Raises:
        SendError: the ring or a registration was refused.

    """

    def __init__(self, fds: Sequence[int], *, buffer_bytes: int) -> None:
        holder = ffi.new("struct zclab_ring **")
        facts = ffi.new("struct zclab_ring_facts *")
        err = lib.zclab_ring_open(
            ffi.new("int[]", list(fds)), len(fds), buffer_bytes, holder, facts
        )
        if err:
            what = f"setting up a ring with {len(fds)} sockets and {buffer_bytes} B"
            raise SendError(-err, what, _CURES.get(-err, ""))
        self._ring: Any = holder[0]
        self.facts = RingFacts(
            setup_flags=tuple(
                name for bit, name in _SETUP_FLAGS.items() if facts.setup_flags & bit
            ),
            sq_entries=facts.sq_entries,
            cq_entries=facts.cq_entries,
            registered_ring=bool(facts.registered_ring),
        )

    def slice(
        self, send: dict[str, int], *, warmup_ns: int, budget_ns: int, what: str
    ) -> dict[str, int]:
        """Send for about `budget_ns` after an untimed warm-up; return the counters.

        The interpreter's lock is released throughout.

        Args:
            send: the fields of `struct zclab_send` in shim.h.
            warmup_ns: untimed sends before the clock starts.
            budget_ns: length of the timed part.
            what: named in errors.

        Returns:
            The counts of `struct zclab_counts` in shim.h; times in ns.

        Raises:
            SendError: a request failed.
            MeasureError: the kernel broke the two-CQE contract.

        """
        counts = ffi.new("struct zclab_counts *")
        err = lib.zclab_ring_slice(
            self._ring,
            ffi.new("struct zclab_send *", send),
            warmup_ns,
            budget_ns,
            counts,
        )
        if counts.breach:
            raise MeasureError(
                f"{what}: the kernel sent {_BREACHES[counts.breach]}; "
                "this is a kernel or zclab defect, please report it"
            )
        if err:
            raise SendError(-err, f"sending {what}", _CURES.get(-err, ""))
        return {name: int(getattr(counts, name)) for name in _COUNTS}

    def close(self) -> None:
        """Give the ring and the buffer back; further calls do nothing."""
        if self._ring is not None:
            lib.zclab_ring_close(self._ring)
            self._ring = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
