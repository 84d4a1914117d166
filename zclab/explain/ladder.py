"""The ladder: from one case to the other, one factor at a time.

There are two cases. In February 2025 zerocopy lost, over veth to a live receiver; in
v5's table it won, into a device that drops. A *rung* is a point that differs from its
case in one factor. Its effect is a difference of differences: the gain over plain send
at the rung, less the gain at the case it starts from.

Two points of a run share no blocks, so nothing can be paired between them. The gain of
either is paired within blocks and has its interval, which allows for placements; the
interval of the difference follows from the two by `stats.difference`. It takes points
to be independent. All points of one run are taken in the same rounds, so what they
share, such as drift, makes it too wide rather than too narrow.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from zclab import stats
from zclab.explain import claims, cost, published, table
from zclab.explain.facts import lookup
from zclab.explain.rung import (
    CASES,
    FEBRUARY,
    PAIRS,
    REGISTERED,
    RUNGS,
    SINK,
    STEPS,
    V5,
    Pair,
    Rung,
)
from zclab.params import BASELINE, CONTROL, Path, Point
from zclab.store import Run

HOW = "zclab measure --profile why"

ZC, FIXED = "send_zc", "send_zc_fixed"
ARMS = (ZC, FIXED)  # of which effects are told; `mixed` is made of them


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

    def __neg__(self) -> "Estimate":
        return Estimate(center=-self.center, low=-self.high, high=-self.low)

    def __sub__(self, other: "Estimate") -> "Estimate":
        ends = ((one.center, one.low, one.high) for one in (other, self))
        center, low, high = stats.difference(*ends)
        return Estimate(center=center, low=low, high=high)

    def columns(self, name: str, prefix: str) -> dict[str, float]:
        """Return it as the columns `name`, `prefix`_low and `prefix`_high."""
        return {
            name: self.center,
            f"{prefix}_low": self.low,
            f"{prefix}_high": self.high,
        }


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
    return after - before


def rungs(run: Run, summary: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one row per rung and arm that the run has both ends of.

    Columns: case, rung, factor, before, after, arm, start, end (names of points),
    copied_before, copied_after (0 to 1, NA when unknown); gain_before, gain_after
    (percent); effect_points, effect_low, effect_high (points of gain); effect_ns,
    ns_low, ns_high (ns saved per request more than before); arm_ns, arm_low, arm_high
    (what the arm itself costs more, ns); plain_ns, plain_low, plain_high (what plain
    send costs more, ns); finding (`helps`, `hurts` or `no difference found`); p_holm
    (how likely chance alone is, adjusted for all effects of the ladder); n (blocks, the
    fewer of both ends), mechanism, source.

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
    adjusted = stats.holm([_p(row) for row in rows])
    for row, p in zip(rows, adjusted, strict=True):
        row["p_holm"] = float(p)
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
    *("finding", "p_holm", "n", "mechanism", "source"),
)


def _p(row: Mapping[str, Any]) -> float:
    """Return a p value that is below 5 % where the interval leaves zero out.

    From the end that is nearer to zero, as if the estimate were normal.
    """
    center, near = row["effect_points"], row["effect_low"]
    if center < 0:
        center, near = -center, -row["effect_high"]
    if not math.isfinite(near):
        return math.nan
    if center == near:
        return 0.0 if center else 1.0
    return float(2 * ndtr(-center / ((center - near) / -ndtri(cost.TAIL))))


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
            **(-saved).columns("arm_ns", "arm"),
            **Estimate(center=0, low=0, high=0).columns("plain_ns", "plain"),
            "finding": _finding(effect),
            "n": len(both),
            "mechanism": REGISTERED[0],
            "source": REGISTERED[1],
        }


def _median(values: stats.Floats, groups: Sequence[int] | None) -> Estimate:
    """Return a median with the interval that dependence widens."""
    worth = stats.independent_n(values, groups)
    found = stats.median_interval(values, effective_n=worth)
    return Estimate(center=found.center, low=found.low, high=found.high)


def taken(run: Run) -> bool:
    """Whether the run has more rungs than the far ends, which every profile has."""
    measured = set(run.samples["point"])
    return sum(rung.end.name in measured for rung in RUNGS) >= LEAST_RUNGS


LEAST_RUNGS = 6


def rung_points(run: Run) -> set[str]:
    """Return the names of the points that are only rungs, and neither of the cases."""
    names = {rung.end.name for rung in RUNGS}
    names |= {point.name for pair in PAIRS for point in pair.cells}
    names -= {FEBRUARY.name, SINK.name, V5.name}
    plain = {
        point.name
        for point in run.plan.points
        if point.path is Path.SINK and not point.given and not point.situation
    }
    return names - plain


def left_out(run: Run) -> list[tuple[str, str]]:
    """Return the rungs that the run does not have, each with the reason.

    What this host refused is in the plan, with what it said; those that were not asked
    for are counted in the last row. Empty where the run has no rung at all.
    """
    known = {point.name for point in run.plan.points}
    excluded = dict(run.plan.excluded)
    if not any(rung.end.name in known for rung in RUNGS):
        return []
    measured = set(run.samples["point"])
    found: list[tuple[str, str]] = []
    unasked = 0
    for rung in RUNGS:
        name = rung.end.name
        if name in measured and rung.start.name in measured:
            continue
        missing = name if name not in measured else rung.start.name
        if missing not in excluded and missing not in known:
            unasked += 1
            continue
        why = excluded.get(missing, "no block of it was taken")
        found.append((f"{rung.case}, {rung.id}: {missing}", why))
    if unasked:
        found.append((f"{unasked} rungs", f"not in this run's plan; take them: {HOW}"))
    return found


def steps(run: Run, summary: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the way from one case to the other, one row per step and arm.

    Columns: step (from 0), label, point, arm, copied (0 to 1, NA when unknown),
    gain_percent, gain_low, gain_high, saved_ns, plain_ns (ns per request of `send`);
    effect_points, effect_low, effect_high (against the step before it that was
    measured; NaN for the first), n, mechanism, source. Steps that were not measured are
    left out, and what they change is in the label of the next one.
    """
    summary = table.summary(run) if summary is None else summary
    seen = _Seen.of(summary)
    rows = []
    for arm in ARMS:
        last: Estimate | None = None
        skipped: list[str] = []
        for number, (label, point, said) in enumerate(STEPS):
            row, gain = seen.row(point, arm), seen.gain(point, arm)
            plain = seen.row(point, BASELINE)
            if row is None or gain is None or plain is None:
                skipped.append(label)
                continue
            rows.append(
                {
                    "step": number,
                    "label": ",\n".join((*skipped, label)) if last else label,
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
            last, skipped = gain, []
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
    neither, first, second, both = (one for one in gains if one)
    no_ns, first_ns, second_ns, both_ns = (one for one in saved if one)
    return {
        "first": pair.first,
        "second": pair.second,
        "arm": arm,
        "first_points": first.center - neither.center,
        "second_points": second.center - neither.center,
        "both_points": both.center - neither.center,
        **_beyond(
            (both - second) - (first - neither),
            (both_ns - second_ns) - (first_ns - no_ns),
        ),
        "n": min(row["n"] for row in rows if row),
    }


def _beyond(points: Estimate, ns: Estimate) -> dict[str, Any]:
    return {
        **points.columns("beyond_points", "beyond"),
        **ns.columns("beyond_ns", "ns"),
        "adds_up": not (points.excludes_zero or ns.excludes_zero),
    }


def _sink_registered(run: Run) -> Iterator[dict[str, Any]]:
    """Yield whether registering is worth the same on the sink as over veth."""
    by_point = table.pairs(run)
    here, there = by_point.get(FEBRUARY.name), by_point.get(SINK.name)
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
    """Return v5's largest gain into a dummy device: percent, size in B, ns saved.

    Of the rows that have a counterpart: with a notification per request, as mainline
    always posts one.
    """
    rows = published.claims()
    rows = rows[rows["table"] == DUMMY]
    rows = rows[rows["column"].isin(published.TWINS[DUMMY].arms)]
    row = rows.loc[rows["published_percent"].idxmax()]
    return (
        float(row["published_percent"]),
        int(row["io_size_bytes"]),
        float(row["published_saved_ns"]),
    )


DUMMY = "v5-dummy"

REACHES, SHORT, NOT_TOLD = "reaches", "short of", "not told"


def outcome(row: Mapping[str, Any]) -> str:
    """Return whether a gain reaches v5's largest, by its whole interval.

    Args:
        row: a row of `table.summary`, or of `reach`.

    """
    wanted, _, _ = published_gain()
    low, high = row["gain_low"], row["gain_high"]
    if math.isnan(low) or math.isinf(high):
        return NOT_TOLD
    return REACHES if low >= wanted else SHORT if high < wanted else NOT_TOLD


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
    theirs = f"v5's {table.signed(wanted, 0)}%"
    reached = {
        REACHES: f"which reaches {theirs}",
        SHORT: f"which is short of {theirs}",
        NOT_TOLD: f"of which the interval does not tell whether it reaches {theirs}",
    }[outcome(best.to_dict())]
    found.append(
        f"Furthest here gets {best['arm']} at {best['point']}: "
        f"{table.gain_text(best)}, {reached} (n={best['n']})."
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
    in it. Where the run has neither case, it says how to take one. Of v5's case it has
    the verdict of `claims` on the row that has a counterpart.
    """
    summary = table.summary(run) if summary is None else summary
    seen = _Seen.of(summary)
    wanted, size, saved_there = published_gain()
    lost, dropped = seen.row(FEBRUARY, FIXED), seen.row(STEPS[1][1], FIXED)
    sunk, won = seen.row(SINK, FIXED), seen.row(V5, FIXED)
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
            f"v5's case, {size} B into a sink, is {_gain(won)}, {_saved(won)} ns saved "
            f"with {_copied(won)} copied (published {table.signed(wanted, 0)}%, "
            f"{table.signed(saved_there, 0)} ns, with a notification per request as "
            f"here: {_verdict(won)})"
        )
    opening = _opening(lost, sunk, won)
    release = lookup(run.host, "kernel", "release")
    on = f"on Linux {release}, " if release else ""
    blocks = [int(row["n"]) for row in (lost, dropped, sunk, won) if row is not None]
    n = str(min(blocks))
    if max(blocks) > min(blocks):
        n += f" to {max(blocks)}"
    return f"{opening}: {on}{'; '.join(parts)} (95% intervals, n={n} blocks)."


def _opening(
    lost: Mapping[str, Any] | None,
    sunk: Mapping[str, Any] | None,
    won: Mapping[str, Any] | None,
) -> str:
    """Return what the answer begins with.

    Args:
        lost: the row of `table.summary` of February's case, if it was measured.
        sunk: of the same send into a sink.
        won: of v5's case.

    """
    if won is None:
        slower = lost is not None and lost["gain_high"] < 0
        found = "Only the loss" if slower else "Not told"
        return f"{found}, as v5's case was not measured"
    word = _verdict(won)
    large = sunk is not None and sunk["gain_low"] > 0 and _zerocopy(sunk)
    if word == claims.NOT_COMPARABLE:
        return "Not told, as the kernel copied at v5's case here"
    if word == claims.CONTRADICTED:
        return "Not on this host"
    if word == claims.UNDECIDED:
        large_only = "Yes with large sends into a sink, undecided at v5's size"
        return large_only if large else "Undecided on this host"
    delivered = lost is not None and not _zerocopy(lost)
    except_veth = "but not over veth, where the kernel copies what it delivers"
    if word == claims.REPRODUCED:
        return f"Yes, {except_veth if delivered else 'into a device that drops'}"
    wanted, _, _ = published_gain()
    less = won["gain_percent"] < wanted
    how_far = "short of" if less else "beyond"
    return (
        "In direction only: zerocopy wins into a device that drops, "
        f"{how_far} v5's {table.signed(wanted, 0)}%"
        + (f", {except_veth}" if delivered else "")
    )


def _verdict(won: Mapping[str, Any]) -> str:
    """Return the verdict of `claims` on v5's largest gain.

    Args:
        won: the row of `table.summary` of v5's case.

    """
    wanted, _, _ = published_gain()
    if not claims.kept_zerocopy(won["copied_share"]):
        return claims.NOT_COMPARABLE
    if math.isnan(won["gain_percent"]):
        return claims.UNDECIDED
    return claims.verdict(
        wanted,
        won["gain_low"],
        won["gain_percent"],
        won["gain_high"],
        floor=won["floor_percent"],
        least=claims.TOLERANCE_POINTS,
    )


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

    The answer, what helps the first case most, what hurts the second most (only what
    holds for all effects of the ladder together), which pairs do not add up, what v5's
    gain would take, and what was left out.
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
            & (frame["p_holm"] <= 1 - stats.CONFIDENCE)
        ]
        mine = mine.sort_values("effect_points", key=abs, ascending=False).head(NAMED)
        told = "; ".join(_told(row) for row in mine.to_dict("records"))
        told = told or f"nothing that holds for all {len(frame)} effects together"
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
        by_reason: dict[str, list[str]] = {}
        for name, why in missing:
            by_reason.setdefault(why, []).append(name)
        told = "; ".join(
            f"{', '.join(names)} ({why})" for why, names in by_reason.items()
        )
        found.append(f"Rungs left out: {told}.")
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


def text(run: Run, summary: pd.DataFrame | None = None) -> dict[str, str]:
    """Return the rungs of each case as an ASCII table of at most 72 columns.

    Columns: rung, copied before and after, effect on the gain of both modes in points.
    """
    frame = rungs(run, summary)
    found = {}
    for case, mine in frame.groupby("case", sort=False):
        lines = [("rung", "copied", *(f"{arm} [95%]" for arm in ARMS))]
        for name, rows in mine.groupby("rung", sort=False):
            by_arm = rows.set_index("arm")
            shares = dict.fromkeys(
                table.share_text(rows.iloc[0][column])
                for column in ("copied_before", "copied_after")
            )
            cells = [
                effect_text(by_arm.loc[arm], "effect_points", "effect", 0)
                if arm in by_arm.index
                else "-"
                for arm in ARMS
            ]
            if name == "registered":
                cells = ["", effect_text(rows.iloc[0], "effect_points", "effect", 0)]
            lines.append((str(name), " > ".join(shares), *cells))
        found[str(case)] = table.grid(lines, left=(0, 1))
    return found
