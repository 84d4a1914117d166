"""A responder: its own process, plays the receiver's side of TCP from headers alone."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from zclab.uring._shim import ffi, lib
from zclab.uring.inbox import Inbox

FIRST_PORT = 8000  # of the first tally; the tools' default


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How the receiver's side is played.

    Attributes:
        mss: announced; 0 for the most of which two, the least that Linux sends as one
            packet, have a length that fits an IP header.
        window_bytes: announced; so much is in flight at most.
        sack: selective acknowledgements (RFC 2018).
        timestamps: RFC 7323; cost the sender 12 bytes a segment.
        ack_every: an acknowledgement after so many segments at the latest.
        ack_delay_ns: and so long after the first of them; 0 for as soon as no other
            segment is there to be read.
            A process on the next CPU could answer at once, and TCP would send many
            small segments, as it holds a part of one back until all before it is
            acknowledged (Nagle). No receiver at the end of a wire answers so soon.
        spin_ns: how long it looks for more before it sleeps, so that the sender
            need not wake it up.
        withhold: one segment in so many is taken as never seen; 0 for none.
        seed: of that draw.

    """

    mss: int = 0
    window_bytes: int = 1 << 30
    sack: bool = True
    timestamps: bool = False
    ack_every: int = 64
    ack_delay_ns: int = 20_000
    spin_ns: int = 50_000
    withhold: int = 0
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Replies:
    """What a responder saw and said so far; the fields are those of shim.h."""

    messages: int = 0
    segments: int = 0
    bytes: int = 0
    gaps: int = 0
    repeated: int = 0
    crowded: int = 0
    beyond: int = 0
    withheld: int = 0
    acks: int = 0
    repeated_acks: int = 0
    syns: int = 0
    fins: int = 0
    resets: int = 0
    refusals: int = 0
    flows: int = 0
    flows_most: int = 0
    overruns: int = 0
    lost: int = 0
    others: int = 0
    oversized: int = 0
    unreadable: int = 0
    unwritten: int = 0
    largest: int = 0

    def __sub__(self, other: Self) -> Self:
        return type(self)(
            **{f.name: getattr(self, f.name) - getattr(other, f.name) for f in _COUNTED}
        )


_COUNTED = fields(Replies)


class Responder(Inbox):
    """Answers TCP on one CPU until closed, for a device that drops all data.

    Args:
        log: descriptor that gives nfnetlink_log messages with the headers of what is
            sent; not blocking, nor need it be.
        tun: descriptor into which answers are written as IP packets.
        ports: how many ports from `FIRST_PORT` on have a tally; others are answered
            all the same.
        reply: how to answer.
        cpu: the CPU to run on; None: any.
        die_with_parent: called first in the child.

    """

    def __init__(
        self,
        log: int,
        tun: int,
        *,
        ports: int,
        reply: Reply,
        cpu: int | None,
        die_with_parent: Callable[[int], None],
    ) -> None:
        replies = ffi.sizeof("struct zclab_replies")
        super().__init__(ports, name="responder", extra_bytes=replies)
        self._replies = ffi.cast("struct zclab_replies *", self._extra)
        self.reply = reply
        given: dict[str, Any] = asdict(reply) | {"first_port": FIRST_PORT}

        def run() -> int:
            error: int = lib.zclab_respond(
                log,
                tun,
                ffi.new("struct zclab_reply *", given),
                self._inbox,
                self._replies,
                self._tallies,
                ports,
            )
            return error

        self._fork(run, cpu=cpu, die_with_parent=die_with_parent)

    def replies(self) -> Replies:
        """Return what it saw and said so far.

        Raises:
            MeasureError: it is gone.

        """
        self.check()
        return Replies(
            **{f.name: int(getattr(self._replies, f.name)) for f in _COUNTED}
        )
