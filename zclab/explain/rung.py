"""Rungs: the two cases, and the points that differ from them in one factor.

They are what `zclab/plans/why.yaml` measures; `ladder` compares them. Each has the
kernel's mechanism in a sentence, and where to read of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from zclab import options as opts
from zclab import presets
from zclab.params import Path, Point, Protocol
from zclab.preflight import RULES

FEBRUARY = Point(
    path=Path.VETH, protocol=Protocol.UDP, family=6, io_size_bytes=65435, batch=64
)
V5 = Point(path=Path.SINK, protocol=Protocol.UDP, family=4, io_size_bytes=8000, batch=8)
CASES: Mapping[str, Point] = {"February 2025": FEBRUARY, "v5": V5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One factor, changed.

    Attributes:
        id: one word that no other rung of its case has.
        case: one of `CASES`.
        factor: what is changed.
        before: its value at `start`, in words.
        after: likewise, at `end`.
        start: the point that it is compared with; its modes do not count.
        end: the point with the factor changed.
        mechanism: what the kernel does differently, in a sentence.
        source: where that is to be read.

    """

    id: str
    case: str
    factor: str
    before: str
    after: str
    start: Point
    end: Point
    mechanism: str
    source: str


def _ruled(rule: str) -> tuple[str, str]:
    """Return a rule of copying as mechanism and source."""
    found = RULES[rule]
    return found.says[:1].upper() + found.says[1:] + ".", (
        f"{found.function}: {found.source}" if found.function else found.source
    )


RECEIVER = (
    "What a local socket receives is copied before delivery, on the sender's CPU; "
    "dropped before that, the pages are given back uncopied.",
    f"{RULES['delivered'].function}: 1f8b977ab32d; "
    "408e230c-d098-4ecf-a5b1-1fae9daadb93@gmail.com",
)
_HOP = (
    "A dummy or ifb frees the packet in its transmit function; veth carries it to its "
    "peer first, through a soft interrupt.",
    "dummy_xmit, ifb_xmit; veth_xmit, process_backlog: drivers/net, net/core/dev.c",
)
_FAMILY = (
    "Both versions of IP link the sender's pages into one packet; headers, routes and "
    "addresses differ.",
    "__ip_append_data: c445f31b3cfa; __ip6_append_data: 1fd3ae8c906c",
)
_SIZE = (
    "The copy grows with the bytes; the notification is per request and does not.",
    "__ip_append_data; io_uring/notif.c; msg_zerocopy.rst",
)
_BATCH = (
    "One io_uring_enter(2) submits a batch, so each request bears a share of it: the "
    "smaller the fixed cost, the more of it a saved copy is.",
    "io_submit_sqes: io_uring_enter(2)",
)
_DRAIN = (
    "The sender sleeps until each buffer is released before it sends again, which "
    "plain sends need not.",
    "io_tx_ubuf_complete, io_cqring_wait: io_uring/notif.c; io_uring_prep_send_zc(3)",
)
_TASKRUN = (
    "A notification is task work: by default it interrupts the sender, with coop it "
    "waits for the next system call, with defer until it is asked for.",
    "io_req_task_work_add: io_uring_setup(2), IORING_SETUP_DEFER_TASKRUN",
)
_GSO = (
    "One send makes many datagrams, and what lies below the socket sees one packet of "
    "them; the MTU bounds a segment and not the send.",
    "udp_send_skb, udp_v6_send_skb, skb_segment: udp(7), UDP_SEGMENT",
)
_BUFFERS = (
    "Plain send reads its data, from whatever cache or memory has it; zerocopy into a "
    "device that drops never touches it.",
    "_copy_from_iter; msg_zerocopy.rst, deferred copies",
)
REGISTERED = (
    "Registered pages were pinned once; unregistered ones are looked up, pinned and "
    "charged to the locked memory at each request.",
    "io_import_reg_buf against iov_iter_get_pages2, io_notif_account_mem: "
    "io_uring_register(2)",
)
_TOOL = (
    "All of the tool's habits at once: task work, queue length, registered file and "
    "ring, when notifications are fetched, pinning.",
    "zclab/presets.py; zclab options",
)


def _rungs() -> Iterator[Rung]:
    yield from _of_february()
    yield from _of_v5()


def _rung(
    start: Point,
    name: str,
    words: tuple[str, str, str],
    said: tuple[str, str],
    **changes: Any,
) -> Rung:
    given = changes.pop("options", None)
    if given is not None:
        changes["given"] = given if isinstance(given, tuple) else opts.parse(given)
    case = "February 2025" if start.path is Path.VETH else "v5"
    factor, before, after = words
    return Rung(
        id=name,
        case=case,
        factor=factor,
        before=before,
        after=after,
        start=start,
        end=replace(start, **changes),
        mechanism=said[0],
        source=said[1],
    )


def _of_february() -> Iterator[Rung]:
    start = FEBRUARY
    yield _rung(
        start,
        "peer-drop",
        ("receiver", "live", "dropped at the peer"),
        RECEIVER,
        situation="peer-drop",
    )
    yield _rung(
        start,
        "sink",
        ("far end", "veth, live receiver", "device that drops"),
        RECEIVER,
        path=Path.SINK,
    )
    yield _rung(start, "ipv4", ("family", "IPv6", "IPv4"), _FAMILY, family=4)
    yield from _shared(start, segment=1452, buffers=8, cold=(1024, 2048))
    yield _rung(start, "size", ("size", "65435 B", "1452 B"), _SIZE, io_size_bytes=1452)
    small = replace(start, io_size_bytes=1452)
    yield _rung(
        small,
        "mtu-fits",
        ("MTU, 1452 B", "65535", "1500: it fits"),
        ("A datagram that fits the MTU is one packet with either.", _SIZE[1]),
        situation="mtu=1500",
    )
    for batch in (8, 1):
        yield _rung(
            start, f"batch-{batch}", ("batch", "64", str(batch)), _BATCH, batch=batch
        )


def _of_v5() -> Iterator[Rung]:
    start = V5
    yield _rung(
        start,
        "veth",
        ("far end", "device that drops", "veth, live receiver"),
        RECEIVER,
        path=Path.VETH,
    )
    yield _rung(
        start,
        "peer-drop",
        ("far end", "device that drops", "veth, dropped at the peer"),
        _HOP,
        path=Path.VETH,
        situation="peer-drop",
    )
    yield _rung(start, "ipv6", ("family", "IPv4", "IPv6"), _FAMILY, family=6)
    yield from _shared(start, segment=1472, buffers=64, cold=(8192, 16384))
    for size in (65435, 4000, 1472):
        yield _rung(
            start,
            f"size-{size}",
            ("size", "8000 B", f"{size} B"),
            _SIZE,
            io_size_bytes=size,
        )
    small = replace(start, io_size_bytes=1472)
    yield _rung(
        small,
        "mtu-fits",
        ("MTU, 1472 B", "65535", "1500: it fits"),
        ("A datagram that fits the MTU is one packet with either.", _SIZE[1]),
        situation="mtu=1500",
    )
    for batch in (64, 1):
        yield _rung(
            start, f"batch-{batch}", ("batch", "8", str(batch)), _BATCH, batch=batch
        )


def _shared(
    start: Point, *, segment: int, buffers: int, cold: tuple[int, int]
) -> Iterator[Rung]:
    """Yield the rungs that both cases have."""
    fragments = ("MTU", "65535", "1500: fragments")
    for name, words, rule, situation in (
        ("mtu", fragments, "fragmented", "mtu=1500"),
        ("sg", ("scatter-gather", "on", "off"), "no-sg", "sg=off"),
        (
            "tx-checksum",
            ("checksum offload", "on", "off"),
            "no-checksum",
            "tx-checksum=off",
        ),
        ("tap", ("packet tap", "none", "one open"), "tap", "tap"),
    ):
        said, source = _ruled(rule)
        if start.path is Path.VETH:
            said += " Over veth that copy comes in place of the one before delivery."
        yield _rung(start, name, words, (said, source), situation=situation)
    yield _rung(
        start,
        "drain-each",
        ("notifications", "fetched in passing", "each awaited"),
        _DRAIN,
        options="drain=each",
    )
    for word in ("coop", "default"):
        yield _rung(
            start,
            f"taskrun-{word}",
            ("task work", "defer", word),
            _TASKRUN,
            options=f"taskrun={word}",
        )
    yield _rung(
        start,
        "gso",
        ("UDP_SEGMENT", "off", f"{segment} B"),
        _GSO,
        options=f"segment={segment}",
    )
    for count in (buffers, *cold):
        yield _rung(
            start,
            f"buffers-{count}",
            ("buffers", "one, hot", f"{count} in turn"),
            _BUFFERS,
            options=f"buffers={count}",
        )
    for preset in presets.PRESETS:
        yield _rung(
            start,
            f"as-{preset.name.replace(' ', '')}",
            ("sent as by", "zclab", preset.name),
            _TOOL,
            options=preset.options(start.batch),
        )


RUNGS = tuple(_rungs())

# From one case to the other; each step changes one factor of the step before.
SINK = replace(FEBRUARY, path=Path.SINK)
SMALL_BATCH = replace(SINK, batch=8)
STEPS: tuple[tuple[str, Point, tuple[str, str]], ...] = (
    ("February 2025: veth,\nlive receiver", FEBRUARY, ("", "")),
    ("the peer drops", replace(FEBRUARY, situation="peer-drop"), RECEIVER),
    ("no veth: sink", SINK, _HOP),
    ("batch 64 to 8", SMALL_BATCH, _BATCH),
    ("IPv6 to IPv4", replace(SMALL_BATCH, family=4), _FAMILY),
    ("65435 to 8000 B", V5, _SIZE),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two factors that are changed alone and together.

    Attributes:
        first: what the first factor does, in words.
        second: likewise.
        cells: the points with neither, the first, the second, and both changed.

    """

    first: str
    second: str
    cells: tuple[Point, Point, Point, Point]


def _pair(
    first: str, second: str, one: Mapping[str, Any], two: Mapping[str, Any]
) -> Pair:
    """Return a pair of changes to v5's case."""

    def cell(*changes: Mapping[str, Any]) -> Point:
        merged: dict[str, Any] = {}
        given: dict[str, opts.Value] = {}
        for change in changes:
            rest = dict(change)
            given |= dict(opts.parse(rest.pop("options", "")))
            merged |= rest
        return replace(V5, given=opts.parse(opts.spell(given.items())), **merged)

    return Pair(
        first=first, second=second, cells=(cell(), cell(one), cell(two), cell(one, two))
    )


PAIRS = (
    _pair(
        "batch 8 to 1",
        "task work by default",
        {"batch": 1},
        {"options": "taskrun=default"},
    ),
    _pair("batch 8 to 1", "each awaited", {"batch": 1}, {"options": "drain=each"}),
    _pair(
        "8000 to 65435 B",
        "UDP_SEGMENT of 1472 B",
        {"io_size_bytes": 65435},
        {"options": "segment=1472"},
    ),
    _pair(
        "MTU 1500",
        "UDP_SEGMENT of 1472 B",
        {"situation": "mtu=1500"},
        {"options": "segment=1472"},
    ),
    Pair(
        first="veth to sink",
        second="batch 64 to 8",
        cells=(
            FEBRUARY,
            SINK,
            replace(FEBRUARY, batch=8),
            SMALL_BATCH,
        ),
    ),
)
