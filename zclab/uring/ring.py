"""An io_uring with its files and the memory that its arms send from."""

import errno
import resource
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from zclab.errors import CapabilityError, MeasureError, SendError
from zclab.options import Options
from zclab.uring._shim import ffi, lib

PAGE_BYTES = resource.getpagesize()

_SETUP_FLAGS = {  # io_uring_setup(2)
    1 << 1: "SQPOLL",
    1 << 7: "SUBMIT_ALL",
    1 << 8: "COOP_TASKRUN",
    1 << 12: "SINGLE_ISSUER",
    1 << 13: "DEFER_TASKRUN",
    1 << 16: "NO_SQARRAY",
}

_TASKRUN = {
    "best": lib.ZCLAB_TASKRUN_BEST,
    "default": lib.ZCLAB_TASKRUN_DEFAULT,
    "coop": lib.ZCLAB_TASKRUN_COOP,
    "defer": lib.ZCLAB_TASKRUN_DEFER,
}
_PAGES = {
    "normal": lib.ZCLAB_PAGES_NORMAL,
    "thp": lib.ZCLAB_PAGES_THP,
    "hugetlb": lib.ZCLAB_PAGES_HUGETLB,
}

_BREACHES = {
    lib.ZCLAB_BREACH_UNKNOWN_REQUEST: "a notification for a request that was not sent",
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
    errno.ECONNRESET: "the receiver closed the connection",
    errno.EPIPE: "the receiver closed the connection",
    errno.ENETUNREACH: "the device went down, or has no route",
    errno.ENETDOWN: "the device went down",
}

# Touching the sizes makes cffi compare the compiled structs with the declared.
_PLAIN = tuple(
    name
    for name, _ in ffi.typeof("struct zclab_counts").fields
    if name not in {"errors", "error_counts", "breach", "latency"}
    and ffi.sizeof("struct zclab_counts")
)
LATENCY_FLOORS_NS = tuple(
    int(lib.zclab_latency_floor_ns(bucket))
    for bucket in range(lib.ZCLAB_LATENCY_BUCKETS)
)

Counts = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RingSetup:
    """What a ring is made with; arms whose setups are alike share one ring."""

    taskrun: str = "best"
    submit_all: bool = True
    sqpoll: bool = False
    sqpoll_cpu: int = -1
    registered_ring: bool = True
    sq_entries: int = 512
    cq_entries: int = 2048
    pages: str = "normal"
    buffer_bytes: int = PAGE_BYTES
    registered_bytes: int | None = None  # None: all

    @classmethod
    def of(cls, options: Options, *, sqpoll_cpu: int = -1) -> Self:
        """Return the setup that options ask for; its buffers are not sized yet."""
        return cls(
            taskrun=options.taskrun,
            submit_all=options.submit_all,
            sqpoll=options.sqpoll,
            sqpoll_cpu=sqpoll_cpu if options.sqpoll else -1,
            registered_ring=options.ring,
            sq_entries=options.sq,
            cq_entries=options.cq,
            pages=options.pages,
        )

    def holding(self, buffer_bytes: int, registered_bytes: int | None = None) -> Self:
        """Return the same with so many bytes of buffers, and the first registered."""
        return replace(
            self, buffer_bytes=buffer_bytes, registered_bytes=registered_bytes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RingFacts:
    """What the kernel granted; `huge_bytes` of the buffers lie in huge pages."""

    setup_flags: tuple[str, ...]
    sq_entries: int
    cq_entries: int
    registered_ring: bool
    buffer_bytes: int
    registered_bytes: int
    huge_bytes: int


def _huge_bytes(address: int) -> int:
    """Return how much of the mapping at `address` is in huge pages (proc(5), smaps)."""
    inside, found = False, 0
    try:
        lines = Path("/proc/self/smaps").read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        head, _, rest = line.partition(" ")
        if "-" in head and not head.endswith(":"):
            low, _, high = head.partition("-")
            inside = int(low, 16) <= address < int(high, 16)
        elif inside and head in {"AnonHugePages:", "Private_Hugetlb:"}:
            found += int(rest.split()[0]) << 10
    return found


class Ring:
    """A ring with a registered file per socket and one registered area of memory.

    All calls must come from the thread that made it (IORING_SETUP_SINGLE_ISSUER).
    Close it, or use it as a context.

    Args:
        fds: sockets; they stay the caller's to close.
        setup: what to make it with; no request may be larger than its area.

    Raises:
        SendError: the ring or a registration was refused.
        CapabilityError: it needs a newer kernel, or there are no huge pages.

    """

    def __init__(self, fds: Sequence[int], setup: RingSetup) -> None:
        holder = ffi.new("struct zclab_ring **")
        facts = ffi.new("struct zclab_ring_facts *")
        err = lib.zclab_ring_open(
            _setup(setup), ffi.new("int[]", list(fds)), len(fds), holder, facts
        )
        if err:
            raise _refused(-err, setup, len(fds))
        self._ring: Any = holder[0]
        huge = 0 if setup.pages == "normal" else _huge_bytes(facts.buffer_address)
        self.facts = RingFacts(
            setup_flags=tuple(
                name for bit, name in _SETUP_FLAGS.items() if facts.setup_flags & bit
            ),
            sq_entries=facts.sq_entries,
            cq_entries=facts.cq_entries,
            registered_ring=bool(facts.registered_ring),
            buffer_bytes=facts.buffer_bytes,
            registered_bytes=facts.registered_bytes,
            huge_bytes=huge,
        )
        if setup.pages != "normal" and huge < setup.buffer_bytes:
            self.close()
            raise CapabilityError(
                f"pages={setup.pages}: only {huge >> 10} KiB of the buffers came in "
                "huge pages; see /sys/kernel/mm/transparent_hugepage/enabled"
            )

    def slice(
        self,
        send: dict[str, Any],
        *,
        warmup_ns: int,
        budget_ns: int,
        what: str,
        start_at_ns: int = 0,
        requests_max: int = 0,
        stop: Any = None,
    ) -> Counts:
        """Send for about `budget_ns` after an untimed warm-up; return the counters.

        The interpreter's lock is released throughout.

        Args:
            send: the fields of `struct zclab_send` in shim.h.
            warmup_ns: untimed sends before the clock starts.
            budget_ns: length of the timed part.
            what: named in errors.
            start_at_ns: CLOCK_MONOTONIC at which to begin; 0: at once.
            requests_max: timed requests from which on it ends; 0: no bound.
            stop: a `stop_word`; once it is set the slice ends.

        Returns:
            The counts of `struct zclab_counts` in shim.h, times in ns; `errors` as
            {errno: count}, `latency` as counts by bucket of `LATENCY_FLOORS_NS`.

        Raises:
            SendError: a request failed; its `counts` are complete all the same.
            MeasureError: the kernel broke the two-CQE contract.

        """
        counts = ffi.new("struct zclab_counts *")
        span = ffi.new(
            "struct zclab_span *",
            {
                "start_at_ns": start_at_ns,
                "warmup_ns": warmup_ns,
                "budget_ns": budget_ns,
                "requests_max": requests_max,
            },
        )
        err = lib.zclab_ring_slice(
            self._ring,
            ffi.new("struct zclab_send *", send),
            span,
            ffi.NULL if stop is None else stop,
            counts,
        )
        if counts.breach:
            raise MeasureError(
                f"{what}: the kernel sent {_BREACHES[counts.breach]}; "
                "this is a kernel or zclab defect, please report it"
            )
        found = _counts(counts)
        if err and not (found["stopped"] and -err == errno.ECANCELED):
            raise SendError(-err, f"sending {what}", _CURES.get(-err, ""), found)
        return found

    def close(self) -> None:
        """Give the ring and the buffer back; further calls do nothing."""
        if self._ring is not None:
            lib.zclab_ring_close(self._ring)
            self._ring = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def stop_word() -> Any:
    """Return a word for `Ring.slice`; set its element 0 to 1 from any thread."""
    return ffi.new("uint64_t[1]")


def _counts(counts: Any) -> Counts:
    found: Counts = {name: int(getattr(counts, name)) for name in _PLAIN}
    found["errors"] = {
        int(number): int(count)
        for number, count in zip(counts.errors, counts.error_counts, strict=True)
        if number
    }
    found["latency"] = list(counts.latency)
    return found


def _setup(setup: RingSetup) -> Any:
    return ffi.new(
        "struct zclab_setup *",
        {
            "taskrun": _TASKRUN[setup.taskrun],
            "submit_all": setup.submit_all,
            "sqpoll": setup.sqpoll,
            "sqpoll_cpu": setup.sqpoll_cpu,
            "registered_ring": setup.registered_ring,
            "sq_entries": setup.sq_entries,
            "cq_entries": setup.cq_entries,
            "pages": _PAGES[setup.pages],
            "buffer_bytes": setup.buffer_bytes,
            "registered_bytes": (
                setup.buffer_bytes
                if setup.registered_bytes is None
                else setup.registered_bytes
            ),
        },
    )


def _refused(number: int, setup: RingSetup, sockets: int) -> Exception:
    """Return what to raise when a ring cannot be made."""
    if number == errno.ENOMEM and setup.pages == "hugetlb":
        pages = -(-setup.buffer_bytes // (2 << 20))
        return CapabilityError(
            f"pages=hugetlb: {pages} reserved pages of 2 MiB are wanted and not free; "
            "as root: sysctl vm.nr_hugepages=N, or use pages=thp"
        )
    if number == errno.EINVAL:
        wanted = {"coop": "5.19", "defer": "6.1"}.get(setup.taskrun)
        flags = ffi.new("unsigned int *")
        if wanted and lib.zclab_probe_ring(_setup(setup), flags) == -errno.EINVAL:
            return CapabilityError(
                f"taskrun={setup.taskrun} needs Linux {wanted}; this kernel refuses it"
            )
    registered = setup.registered_bytes
    what = f"setting up a ring with {sockets} sockets and " + (
        f"{setup.buffer_bytes if registered is None else registered} B registered"
    )
    refused = SendError(number, what, _CURES.get(number, ""))
    return CapabilityError(str(refused)) if number == errno.ENOMEM else refused
