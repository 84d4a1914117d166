"""The ladder: from one case to the other, one factor at a time.

There are two cases. In February 2025 zerocopy lost, over veth to a live receiver; in
v5's table it won, into a device that drops. A *rung* is a point that differs from its
case in one factor. Its effect is a difference of differences: the gain over plain send
at the rung, less the gain at the case it starts from.

Two points of a run share no blocks, so nothing can be paired between them. The gain of
either is paired within blocks and has its interval, which allows for placements; the
interval of the difference follows from the two by the rule of Zou and Donner: each end
is as far from the centre as the root of the summed squares of what the ends of its
parts are from theirs. It takes points to be independent. All points of one run are
taken in the same rounds, so what they share, such as drift, makes it too wide rather
than too narrow.

Source: Zou and Donner, Construction of confidence limits about effect measures,
Statistics in Medicine 27 (2008), 1693-1702.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from zclab import options as opts
from zclab import presets, stats
from zclab.explain import cost, published, table
from zclab.explain.facts import lookup
from zclab.params import BASELINE, CONTROL, Path, Point, Protocol
from zclab.preflight import RULES
from zclab.store import Run

HOW = "zclab measure --profile why"

ZC, FIXED = "send_zc", "send_zc_fixed"
ARMS = (ZC, FIXED)  # of which effects are told; `mixed` is made of them

FEBRUARY = Point(
    path=Path.VETH, protocol=Protocol.UDP, family=6, io_size_bytes=65435, batch=64
)
V5 = Point(path=Path.SINK, protocol=Protocol.UDP, family=4, io_size_bytes=8000, batch=8)
CASES: Mapping[str, Point] = {"February 2025": FEBRUARY, "v5": V5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval."""

    center: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0

    def columns(self, name: str, prefix: str) -> dict[str, float]:
        """Return it as the columns `name`, `prefix`_low and `prefix`_high."""
        return {
            name: self.center,
            f"{prefix}_low": self.low,
            f"{prefix}_high": self.high,
        }


def combined(*parts: tuple[float, Estimate]) -> Estimate:
    """Return a sum of independent estimates, each times its factor.

    Source: Zou and Donner (see above), equations 7 and 8.
    """
    center = sum(factor * one.center for factor, one in parts)
    below = above = 0.0
    for factor, one in parts:
        down, up = one.center - one.low, one.high - one.center
        if factor < 0:
            down, up = up, down
        below, above = math.hypot(below, factor * down), math.hypot(above, factor * up)
    return Estimate(center=center, low=center - below, high=center + above)


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


_RECEIVER = (
    "What a local socket receives is copied before delivery, on the sender's CPU; "
    "dropped before that, the pages are given back uncopied.",
    "skb_orphan_frags_rx in ip_local_deliver_finish, ip6_input_finish: 1f8b977ab32d; "
    "408e230c-d098-4ecf-a5b1-1fae9daadb93@gmail.com",
)
_HOP = (
    "A sink frees the packet in its transmit function; veth carries it to its peer "
    "first, through a soft interrupt.",
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
_REGISTERED = (
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
        _RECEIVER,
        situation="peer-drop",
    )
    yield _rung(
        start,
        "sink",
        ("far end", "veth, live receiver", "device that drops"),
        _RECEIVER,
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
        _RECEIVER,
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
        yield _rung(start, name, words, _ruled(rule), situation=situation)
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
_SINK = replace(FEBRUARY, path=Path.SINK)
_SMALL_BATCH = replace(_SINK, batch=8)
STEPS: tuple[tuple[str, Point, tuple[str, str]], ...] = (
    ("February 2025: veth,\nlive receiver", FEBRUARY, ("", "")),
    ("the peer drops", replace(FEBRUARY, situation="peer-drop"), _RECEIVER),
    ("no veth: sink", _SINK, _HOP),
    ("batch 64 to 8", _SMALL_BATCH, _BATCH),
    ("IPv6 to IPv4", replace(_SMALL_BATCH, family=4), _FAMILY),
    ("65435 to 8000 B:\nv5's case", V5, _SIZE),
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
            _SINK,
            replace(FEBRUARY, batch=8),
            _SMALL_BATCH,
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A run's summary, looked up by point and arm."""

    rows: Mapping[tuple[str, str], Mapping[str, Any]]

    @classmethod
    def of(cls, summary: pd.DataFrame) -> "_Seen":
        rows = summary.to_dict("records")
        return cls({(str(row["point"]), str(row["arm"])): row for row in rows})

    def row(self, point: Point, arm: str) -> Mapping[str, Any] | None:
        return self.rows.get((point.name, arm))

    def gain(self, point: Point, arm: str) -> Estimate | None:
        return self._estimate(point, arm, "gain_percent", "gain")

    def saved(self, point: Point, arm: str) -> Estimate | None:
        return self._estimate(point, arm, "saved_ns", "saved")

    def ns(self, point: Point, arm: str) -> Estimate | None:
        return self._estimate(point, arm, "ns_per_request", "ns")

    def _estimate(
        self, point: Point, arm: str, name: str, prefix: str
    ) -> Estimate | None:
        row = self.row(point, arm)
        if row is None or math.isnan(row[name]):
            return None
        return Estimate(
            center=row[name], low=row[f"{prefix}_low"], high=row[f"{prefix}_high"]
        )


_NOTHING = Estimate(center=math.nan, low=math.nan, high=math.nan)


def _change(before: Estimate | None, after: Estimate | None) -> Estimate:
    if before is None or after is None:
        return _NOTHING
    return combined((1, after), (-1, before))


def rungs(run: Run, summary: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one row per rung and arm that the run has both ends of.

    Columns: case, rung, factor, before, after, arm, start, end (names of points),
    copied_before, copied_after (0 to 1, NA when unknown); gain_before, gain_after
    (percent); effect_points, effect_low, effect_high (points of gain); effect_ns,
    ns_low, ns_high (ns saved per request more than before); arm_ns, arm_low, arm_high
    (what the arm itself costs more, ns); plain_ns, plain_low, plain_high (what plain
    send costs more, ns); finding (`helps`, `hurts` or `no difference found`); n
    (blocks, the fewer of both ends), mechanism, source.

    The rungs *registered* compare two arms of one point, paired within its blocks.

    Args:
        run: any run.
        summary: what `table.summary` returns of it, if that is at hand.

    """
    summary = table.summary(run) if summary is None else summary
    seen = _Seen.of(summary)
    rows = [
        row
        for rung in RUNGS
        for arm in ARMS
        if (row := _row(seen, rung, arm)) is not None
    ]
    if rows:
        rows += _registered(run, seen)
    order = {name: i for i, name in enumerate(CASES)}
    rows.sort(key=lambda row: order[row["case"]])
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype({"copied_before": "Float64", "copied_after": "Float64"})


COLUMNS = (
    *("case", "rung", "factor", "before", "after", "arm", "start", "end"),
    *("copied_before", "copied_after", "gain_before", "gain_after"),
    *("effect_points", "effect_low", "effect_high"),
    *("effect_ns", "ns_low", "ns_high"),
    *("arm_ns", "arm_low", "arm_high", "plain_ns", "plain_low", "plain_high"),
    *("finding", "n", "mechanism", "source"),
)


def _row(seen: _Seen, rung: Rung, arm: str) -> dict[str, Any] | None:
    before, after = seen.row(rung.start, arm), seen.row(rung.end, arm)
    if before is None or after is None or math.isnan(after["gain_percent"]):
        return None
    effect = _change(seen.gain(rung.start, arm), seen.gain(rung.end, arm))
    return {
        "case": rung.case,
        "rung": rung.id,
        "factor": rung.factor,
        "before": rung.before,
        "after": rung.after,
        "arm": arm,
        "start": rung.start.name,
        "end": rung.end.name,
        "copied_before": before["copied_share"],
        "copied_after": after["copied_share"],
        "gain_before": before["gain_percent"],
        "gain_after": after["gain_percent"],
        **effect.columns("effect_points", "effect"),
        **_change(seen.saved(rung.start, arm), seen.saved(rung.end, arm)).columns(
            "effect_ns", "ns"
        ),
        **_change(seen.ns(rung.start, arm), seen.ns(rung.end, arm)).columns(
            "arm_ns", "arm"
        ),
        **_change(seen.ns(rung.start, BASELINE), seen.ns(rung.end, BASELINE)).columns(
            "plain_ns", "plain"
        ),
        "finding": _finding(effect),
        "n": min(before["n"], after["n"]),
        "mechanism": rung.mechanism,
        "source": rung.source,
    }


def _finding(effect: Estimate) -> str:
    if not effect.excludes_zero:
        return table.NO_DIFFERENCE
    return "helps" if effect.center > 0 else "hurts"


def _registered(run: Run, seen: _Seen) -> Iterator[dict[str, Any]]:
    """Yield the rung from unregistered to registered buffers, of each case."""
    by_point = table.pairs(run)
    for case, point in CASES.items():
        ns = by_point.get(point.name)
        before, after = seen.row(point, ZC), seen.row(point, FIXED)
        if ns is None or before is None or after is None:
            continue
        both = ns[[BASELINE, ZC, FIXED]].dropna()
        plain = both[BASELINE].to_numpy(dtype=np.float64)
        zc, fixed = (both[arm].to_numpy(dtype=np.float64) for arm in ARMS)
        groups = table.groups(both.index)
        effect = _median(100 * (plain / fixed - plain / zc), groups)
        saved = _median(zc - fixed, groups)
        yield {
            "case": case,
            "rung": "registered",
            "factor": "buffers",
            "before": "unregistered",
            "after": "registered",
            "arm": f"{ZC} to {FIXED}",
            "start": point.name,
            "end": point.name,
            "copied_before": before["copied_share"],
            "copied_after": after["copied_share"],
            "gain_before": before["gain_percent"],
            "gain_after": after["gain_percent"],
            **effect.columns("effect_points", "effect"),
            **saved.columns("effect_ns", "ns"),
            **combined((-1, saved)).columns("arm_ns", "arm"),
            **Estimate(center=0, low=0, high=0).columns("plain_ns", "plain"),
            "finding": _finding(effect),
            "n": len(both),
            "mechanism": _REGISTERED[0],
            "source": _REGISTERED[1],
        }


def _median(values: stats.Floats, groups: Sequence[int] | None) -> Estimate:
    """Return a median with the interval that dependence widens."""
    worth = stats.independent_n(values, groups)
    found = stats.median_interval(values, effective_n=worth)
    return Estimate(center=found.center, low=found.low, high=found.high)


def has_rungs(run: Run) -> bool:
    """Whether the run has a rung of either case."""
    return bool(len(rungs(run)))


def left_out(run: Run) -> list[tuple[str, str]]:
    """Return the rungs that the run does not have, each with the reason.

    What this host refused is in the plan, with what it said; the rest was not asked
    for. Empty where the run has no rung at all.
    """
    known = {point.name for point in run.plan.points}
    excluded = dict(run.plan.excluded)
    if not any(rung.end.name in known for rung in RUNGS):
        return []
    measured = set(run.samples["point"])
    found = []
    for rung in RUNGS:
        name = rung.end.name
        if name in measured and rung.start.name in measured:
            continue
        missing = name if name not in measured else rung.start.name
        why = excluded.get(missing) or (
            "no block of it was taken" if missing in known else "it is not in the plan"
        )
        found.append((f"{rung.case}, {rung.id}: {missing}", why))
    return found


def steps(run: Run, summary: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the way from one case to the other, one row per step and arm.

    Columns: step (from 0), label, point, arm, copied (0 to 1, NA when unknown),
    gain_percent, gain_low, gain_high, saved_ns, plain_ns (ns per request of `send`);
    effect_points, effect_low, effect_high (against the step before it that was
    measured; NaN for the first), n, mechanism, source. Steps that were not measured are
    left out.
    """
    summary = table.summary(run) if summary is None else summary
    seen = _Seen.of(summary)
    rows = []
    for arm in ARMS:
        last: Estimate | None = None
        for number, (label, point, said) in enumerate(STEPS):
            row, gain = seen.row(point, arm), seen.gain(point, arm)
            plain = seen.row(point, BASELINE)
            if row is None or gain is None or plain is None:
                continue
            rows.append(
                {
                    "step": number,
                    "label": label,
                    "point": point.name,
                    "arm": arm,
                    "copied": row["copied_share"],
                    **gain.columns("gain_percent", "gain"),
                    "saved_ns": row["saved_ns"],
                    "plain_ns": plain["ns_per_request"],
                    **_change(last, gain).columns("effect_points", "effect"),
                    "n": row["n"],
                    "mechanism": said[0],
                    "source": said[1],
                }
            )
            last = gain
    frame = pd.DataFrame(rows, columns=STEP_COLUMNS)
    return frame.astype({"copied": "Float64"})


STEP_COLUMNS = (
    *("step", "label", "point", "arm", "copied"),
    *("gain_percent", "gain_low", "gain_high", "saved_ns", "plain_ns"),
    *("effect_points", "effect_low", "effect_high", "n", "mechanism", "source"),
)


def interactions(run: Run, summary: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return what pairs of factors do together beyond the sum of what each does.

    Columns: first, second, arm, first_points, second_points (what each does alone,
    percent points of gain), both_points (together), beyond_points, beyond_low,
    beyond_high (together less the sum), beyond_ns, ns_low, ns_high (the same of ns
    saved), adds_up (False where the interval of beyond_points or of beyond_ns leaves
    zero out), n. A row of `veth to sink` and `registered` compares the arms of two
    points.
    """
    summary = table.summary(run) if summary is None else summary
    seen = _Seen.of(summary)
    rows = [
        row
        for pair in PAIRS
        for arm in ARMS
        if (row := _together(seen, pair, arm)) is not None
    ]
    rows += _sink_registered(run)
    return pd.DataFrame(rows, columns=PAIR_COLUMNS)


PAIR_COLUMNS = (
    *("first", "second", "arm", "first_points", "second_points", "both_points"),
    *("beyond_points", "beyond_low", "beyond_high"),
    *("beyond_ns", "ns_low", "ns_high", "adds_up", "n"),
)


def _together(seen: _Seen, pair: Pair, arm: str) -> dict[str, Any] | None:
    gains = [seen.gain(point, arm) for point in pair.cells]
    saved = [seen.saved(point, arm) for point in pair.cells]
    rows = [seen.row(point, arm) for point in pair.cells]
    if None in gains or None in saved:
        return None
    neither, first, second, both = (one.center for one in gains if one)
    return {
        "first": pair.first,
        "second": pair.second,
        "arm": arm,
        "first_points": first - neither,
        "second_points": second - neither,
        "both_points": both - neither,
        **_beyond(
            combined(*zip(_SIGNS, (one for one in gains if one), strict=True)),
            combined(*zip(_SIGNS, (one for one in saved if one), strict=True)),
        ),
        "n": min(row["n"] for row in rows if row),
    }


_SIGNS = (1.0, -1.0, -1.0, 1.0)


def _beyond(points: Estimate, ns: Estimate) -> dict[str, Any]:
    return {
        **points.columns("beyond_points", "beyond"),
        **ns.columns("beyond_ns", "ns"),
        "adds_up": not (points.excludes_zero or ns.excludes_zero),
    }


def _sink_registered(run: Run) -> Iterator[dict[str, Any]]:
    """Yield whether registering is worth the same on the sink as over veth."""
    by_point = table.pairs(run)
    here, there = by_point.get(FEBRUARY.name), by_point.get(_SINK.name)
    if here is None or there is None or not {*ARMS} <= {*here} & {*there}:
        return
    worth: list[tuple[Estimate, Estimate]] = []
    gains: list[dict[str, float]] = []
    for frame in (here, there):
        both = frame[[BASELINE, *ARMS]].dropna()
        plain, zc, fixed = (both[arm].to_numpy(dtype=np.float64) for arm in both)
        groups = table.groups(both.index)
        worth.append(
            (
                _median(100 * (plain / fixed - plain / zc), groups),
                _median(zc - fixed, groups),
            )
        )
        gains.append(
            {
                ZC: float(100 * (np.median(plain / zc) - 1)),
                FIXED: float(100 * (np.median(plain / fixed) - 1)),
            }
        )
    yield {
        "first": "veth to sink",
        "second": "registered",
        "arm": f"{ZC} to {FIXED}",
        "first_points": gains[1][ZC] - gains[0][ZC],
        "second_points": worth[0][0].center,
        "both_points": gains[1][FIXED] - gains[0][ZC],
        **_beyond(_change(worth[0][0], worth[1][0]), _change(worth[0][1], worth[1][1])),
        "n": min(len(here), len(there)),
    }


def published_gain() -> tuple[float, int, float]:
    """Return v5's largest gain into a dummy device: percent, size in B, ns saved."""
    claims = published.claims()
    rows = claims[claims["table"] == "v5-dummy"]
    row = rows.loc[rows["published_percent"].idxmax()]
    return (
        float(row["published_percent"]),
        int(row["io_size_bytes"]),
        float(row["published_saved_ns"]),
    )


def reach(run: Run, summary: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return how far this host gets toward v5's largest gain, the furthest first.

    One row per point and arm in which nothing is copied. Columns: point, arm,
    gain_percent, gain_low, gain_high; saved_ns, saved_low, saved_high; plain_ns (of
    `send`); needed_ns, needed_low, needed_high (what a plain send may cost at most, if
    as many ns are saved, for that gain); spare_ns, spare_low, spare_high (what it costs
    more than that; below zero where the gain is reached; from the paired blocks); n.
    """
    summary = table.summary(run) if summary is None else summary
    wanted, _, _ = published_gain()
    share = (100 + wanted) / wanted  # plain cost over ns saved, at that gain
    by_point = table.pairs(run)
    rows = []
    for row in summary.to_dict("records"):
        if row["arm"] in (BASELINE, CONTROL) or math.isnan(row["saved_ns"]):
            continue
        copied = row["copied_share"]
        if (
            pd.isna(copied)
            or copied >= table.ZEROCOPY_BELOW
            or not row["notifications"]
        ):
            continue
        both = by_point[row["point"]][[BASELINE, row["arm"]]].dropna()
        plain, mine = (both[name].to_numpy(dtype=np.float64) for name in both)
        spare = _median(plain - share * (plain - mine), table.groups(both.index))
        rows.append(
            {
                **{name: row[name] for name in _REACHED},
                "plain_ns": float(np.median(plain)),
                "needed_ns": share * row["saved_ns"],
                "needed_low": share * row["saved_low"],
                "needed_high": share * row["saved_high"],
                **spare.columns("spare_ns", "spare"),
                "n": row["n"],
            }
        )
    columns = (*_REACHED, *_NEEDED, "n")
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values("gain_percent", ascending=False, ignore_index=True)


_REACHED = (
    *("point", "arm", "gain_percent", "gain_low", "gain_high"),
    *("saved_ns", "saved_low", "saved_high"),
)
_NEEDED = (
    *("plain_ns", "needed_ns", "needed_low", "needed_high"),
    *("spare_ns", "spare_low", "spare_high"),
)


def needed(run: Run, summary: pd.DataFrame | None = None) -> list[str]:
    """Return in sentences what must be true here for v5's largest gain; maybe none."""
    frame = reach(run, summary)
    if frame.empty:
        return []
    wanted, size, saved_there = published_gain()
    found = []
    best = frame.iloc[0]
    reached = "reaches" if best["gain_low"] >= wanted else "is short of"
    found.append(
        f"Furthest here gets {best['arm']} at {best['point']}: "
        f"{table.gain_text(best)}, which {reached} v5's {table.signed(wanted, 0)}% "
        f"(n={best['n']})."
    )
    mine = frame[(frame["point"] == V5.name) & (frame["arm"] == FIXED)]
    for _, row in mine.iterrows():
        if not row["saved_low"] > 0:
            nothing = "no saving" if row["saved_high"] <= 0 else "no saving for certain"
            found.append(
                f"At v5's case, {size} B into the sink, {FIXED} has {nothing} here "
                f"({table.saved_text(row)} ns, n={row['n']}), so no fixed cost can be "
                f"named that would make it {table.signed(wanted, 0)}%."
            )
            continue
        found.append(
            f"At v5's case, {size} B into the sink, {FIXED} saves "
            f"{table.saved_text(row)} ns of {row['plain_ns']:.0f} (v5: "
            f"{table.signed(saved_there, 0)} ns). Those ns would be "
            f"{table.signed(wanted, 0)}% if a plain send cost "
            f"{row['needed_ns']:.0f} ns [{row['needed_low']:.0f}, "
            f"{row['needed_high']:.0f}]: its fixed cost would have to be "
            f"{row['spare_ns']:.0f} ns [{row['spare_low']:.0f}, "
            f"{row['spare_high']:.0f}] less (n={row['n']})."
        )
    found += _by_lines(run, wanted)
    return found


def _by_lines(run: Run, wanted: float) -> Iterator[str]:
    """Yield from what size on the cost model has the gain that is wanted."""
    lines = cost.lines(run)
    if lines.empty:
        return
    here = lines[
        (lines["path"] == str(V5.path))
        & (lines["situation"] == "")
        & (lines["family"] == V5.family)
        & (lines["batch"] == V5.batch)
        & (lines["given"] == "")
    ].set_index("arm")
    if not {BASELINE, FIXED} <= set(here.index):
        return
    plain, fixed = here.loc[BASELINE], here.loc[FIXED]
    ratio = 1 + wanted / 100
    most = (
        100 * (plain["kib_ns"] / fixed["kib_ns"] - 1)
        if fixed["kib_ns"] > 0
        else math.inf
    )
    told = (
        f"By the cost lines of that series ({plain['sizes']} sizes) {BASELINE} costs "
        f"{plain['fixed_ns']:.0f} ns and {plain['kib_ns']:.1f} per KiB, {FIXED} "
        f"{fixed['fixed_ns']:.0f} and {fixed['kib_ns']:.1f}"
    )
    slope = plain["kib_ns"] - ratio * fixed["kib_ns"]
    if slope <= 0:
        yield (
            f"{told}: no size gives {table.signed(wanted, 0)}%, at most "
            f"{table.signed(most, 0)}%."
        )
        return
    size = max(0.0, (ratio * fixed["fixed_ns"] - plain["fixed_ns"]) / slope) * cost.KIB
    beyond = " (more than one datagram holds)" if size > 65507 else ""
    yield f"{told}: {table.signed(wanted, 0)}% from {size:.0f} B on{beyond}."


def answer(run: Run, summary: pd.DataFrame | None = None) -> str:
    """Return the sentence that answers "can you help me reproduce this?".

    It has the figures of the run with their intervals; what was not measured is not
    in it. Where the run has neither case, it says how to take one.
    """
    summary = table.summary(run) if summary is None else summary
    seen = _Seen.of(summary)
    wanted, size, saved_there = published_gain()
    lost, dropped = seen.row(FEBRUARY, FIXED), seen.row(STEPS[1][1], FIXED)
    sunk, won = seen.row(_SINK, FIXED), seen.row(V5, FIXED)
    if lost is None and won is None:
        return f"This run has neither of the two cases; take them: {HOW}."
    parts = []
    if lost is not None:
        parts.append(
            f"{FEBRUARY.io_size_bytes} B {FIXED} over veth to a live receiver is "
            f"{_gain(lost)} against send with {_copied(lost)} copied"
        )
    if dropped is not None:
        parts.append(
            f"{_gain(dropped)} with {_copied(dropped)} copied when the peer drops it "
            "before delivery"
        )
    if sunk is not None:
        parts.append(f"{_gain(sunk)} with {_copied(sunk)} copied into a sink")
    if won is not None:
        parts.append(
            f"v5's {size} B into a sink are {_gain(won)}, {_saved(won)} ns saved "
            f"(published {table.signed(wanted, 0)}%, {table.signed(saved_there, 0)} ns)"
        )
    reproduced = won is not None and won["gain_low"] > 0 and _zerocopy(won)
    delivered = lost is not None and not _zerocopy(lost)
    if reproduced and delivered:
        opening = "Yes, but not over veth, where the kernel copies what it delivers"
    elif reproduced:
        opening = "Yes, into a device that drops"
    elif won is None:
        opening = "Only the loss, as v5's case was not measured"
    elif won["gain_high"] <= 0:
        opening = "Not on this host"
    else:
        opening = "Undecided on this host"
    release = lookup(run.host, "kernel", "release")
    on = f"on Linux {release}, " if release else ""
    blocks = [int(row["n"]) for row in (lost, dropped, sunk, won) if row is not None]
    n = str(min(blocks))
    if max(blocks) > min(blocks):
        n += f" to {max(blocks)}"
    return f"{opening}: {on}{'; '.join(parts)} (95% intervals, n={n} blocks)."


def _zerocopy(row: Mapping[str, Any]) -> bool:
    share = row["copied_share"]
    return not pd.isna(share) and bool(share < table.ZEROCOPY_BELOW)


def _gain(row: Mapping[str, Any]) -> str:
    return table.gain_text(pd.Series(row))


def _saved(row: Mapping[str, Any]) -> str:
    return table.saved_text(pd.Series(row))


def _copied(row: Mapping[str, Any]) -> str:
    return table.share_text(row["copied_share"])


def words(run: Run, summary: pd.DataFrame | None = None) -> list[str]:
    """Return what the ladder says in sentences, for mail and page; empty without it.

    The answer, what helps the first case most, what hurts the second most, which
    pairs do not add up, and what was left out.
    """
    summary = table.summary(run) if summary is None else summary
    frame = rungs(run, summary)
    if frame.empty:
        return []
    found = [answer(run, summary)]
    for case, word, verb in (
        ("February 2025", "helps", "What helps the February 2025 case"),
        ("v5", "hurts", "What takes v5's gain away"),
    ):
        mine = frame[
            (frame["case"] == case)
            & (frame["finding"] == word)
            & (frame["arm"] == FIXED)
            & (frame["start"] == CASES[case].name)
        ]
        mine = mine.sort_values("effect_points", key=abs, ascending=False).head(NAMED)
        if len(mine):
            told = "; ".join(_told(row) for row in mine.to_dict("records"))
            found.append(f"{verb}, {FIXED}, points of gain: {told}.")
    pairs = interactions(run, summary)
    apart = pairs[~pairs["adds_up"].astype(bool)]
    if len(apart):
        told = "; ".join(
            f"{row['first']} with {row['second']}, {row['arm']} "
            f"{effect_text(row, 'beyond_points', 'beyond')} points"
            for row in apart.head(NAMED).to_dict("records")
        )
        found.append(f"Effects that do not add up, together less the sum: {told}.")
    found += needed(run, summary)[:2]
    missing = left_out(run)
    if missing:
        names = "; ".join(f"{name} ({why})" for name, why in missing[:NAMED])
        more = f"; and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        found.append(f"Rungs left out: {names}{more}.")
    return found


NAMED = 4


def _told(row: Mapping[str, Any]) -> str:
    return (
        f"{row['factor']} {row['before']} -> {row['after']} "
        f"{effect_text(row, 'effect_points', 'effect')}"
    )


def effect_text(row: Mapping[Any, Any], name: str, prefix: str, digits: int = 1) -> str:
    """Return an effect with its interval, like `+21.8 [+21.4, +22.2]`."""
    center, low, high = row[name], row[f"{prefix}_low"], row[f"{prefix}_high"]
    if math.isnan(center):
        return "-"
    if math.isinf(low) or math.isinf(high):
        return f"{table.signed(center, digits)} [too few blocks]"
    return (
        f"{table.signed(center, digits)} "
        f"[{table.signed(low, digits)}, {table.signed(high, digits)}]"
    )
