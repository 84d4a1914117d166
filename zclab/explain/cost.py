"""The cost model: ns = a + b x bytes for each arm; from what size on zerocopy pays.

A *series* is the points of a run that differ in nothing but their size. For each of
its arms a line is fitted to the medians by least relative squares, so that 1 % of the
smallest size counts as much as 1 % of the largest. Its intervals come from a bootstrap
that draws whole placements, since samples of one placement are no independent evidence.
Of fewer than six placements single blocks are drawn, and no more of them than they are
worth (`stats.independent_n`): placements that are alike would else be drawn too rarely
for their spread to show. A point with fewer than six blocks is in no series.

The break-even size is not taken from two lines, which may both bend, but from the
paired differences themselves, with the interval that the tables have: between the last
measured size at which plain send is surely cheaper and the one from which on it surely
is not. Its interval reaches from one of these sizes to the other, as nothing is known
of the cost between them: it has steps. Where a word would be said of all sizes, every
one of them must be decided.

Plain send over UDP costs more once its packet's linear head no longer fits kmalloc's
largest cache (two pages: with pages of 4 KiB and IPv4 from a payload of 7814 B on), and
less again where the head gives way to fragments of pages (16005 B). How much more is
the host's: `head_steps`. Unregistered pages cost a step each. Where the steps lie was
measured on Linux 6.18; kmalloc_reserve, __ip_append_data.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8, 13;
of fewer draws than values: Bickel, Goetze and van Zwet, Resampling fewer than n
observations, Statistica Sinica 7 (1997), 1-31.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from zclab import options as opts
from zclab import stats
from zclab.explain import published, table
from zclab.explain.facts import lookup
from zclab.packet import header_bytes
from zclab.params import BASELINE, CONTROL, Path, Point, Protocol
from zclab.store import Run

KIB = 1024
DRAWS = 400
SEED = 20220712  # any; fixed, so that one run always gives one table
LEAST_SIZES = 3  # a line through two points fits whatever they say
LEAST_GROUPS = 6  # fewer placements than this are too few to draw from
TAIL = (1 - stats.CONFIDENCE) / 2
BEND_TAIL = 0.001  # the knot is the best of many

NEVER, ALWAYS, BETWEEN, UNCLEAR = "never", "always", "between", "not to the end"
UNDECIDED = "not decided"
PAGE_BYTES = 4096  # where a run did not record it


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points that differ in nothing but size, with the medians and their bootstrap.

    Attributes:
        points: in order of size.
        arms: those that every point has.
        median_ns: ns per request; one row per size, one column per arm.
        drawn_ns: the same of each bootstrap draw; draws x sizes x arms.
        saved_ns: medians of the paired differences, plain send minus arm.
        saved_low_ns: lower ends of their intervals, those of `table.summary`.
        saved_high_ns: upper ends.

    """

    points: tuple[Point, ...]
    arms: tuple[str, ...]
    median_ns: stats.Floats
    drawn_ns: stats.Floats
    saved_ns: stats.Floats
    saved_low_ns: stats.Floats
    saved_high_ns: stats.Floats

    @property
    def sizes(self) -> stats.Floats:
        """Sizes in bytes."""
        return np.array([p.io_size_bytes for p in self.points], dtype=np.float64)

    @property
    def label(self) -> dict[str, Any]:
        """The factors that all its points share, as columns of a table."""
        return _label(self.points[0])


def _label(point: Point) -> dict[str, Any]:
    """Return what a point shares with those that differ from it in size alone."""
    factors = {
        name: value
        for name, value in point.factors.items()
        if name not in ("point", "io_size_bytes")
    }
    return {**factors, "given": opts.spell(point.given)}


def series(run: Run) -> list[Series]:
    """Return the series of a run that have enough sizes for a line, in plan order.

    Points that differ in their modes as well are of one series, with the arms that all
    of them have.
    """
    by_point = {
        name: frame
        for name, frame in table.pairs(run).items()
        if len(frame.dropna()) >= stats.needed()
    }
    found: dict[tuple[Any, ...], list[Point]] = {}
    for point in run.plan.points:
        if point.name in by_point and BASELINE in by_point[point.name]:
            found.setdefault(tuple(_label(point).values()), []).append(point)
    return [
        _series(sorted(points, key=lambda point: point.io_size_bytes), by_point)
        for points in found.values()
        if len(points) >= LEAST_SIZES
    ]


def _series(points: Sequence[Point], by_point: dict[str, pd.DataFrame]) -> Series:
    arms = tuple(
        arm
        for arm in points[0].arms
        if all(arm in by_point[point.name] for point in points)
    )
    medians, drawn = [], []
    random = np.random.default_rng(SEED)
    for point in points:
        frame = by_point[point.name][list(arms)].dropna()
        ns = frame.to_numpy(dtype=np.float64)
        medians.append(np.median(ns, axis=0))
        drawn.append([np.median(ns[row], axis=0) for row in _draws(frame, random)])
    frames = [by_point[point.name] for point in points]
    saved, low, high = np.moveaxis(
        np.array([saving(frames, arm, str(BASELINE)) for arm in arms]), 0, -1
    )
    return Series(
        points=tuple(points),
        arms=arms,
        median_ns=np.array(medians),
        drawn_ns=np.array(drawn).transpose(1, 0, 2),
        saved_ns=saved,
        saved_low_ns=low,
        saved_high_ns=high,
    )


def saving(
    frames: Sequence[pd.DataFrame], arm: str, basis: str
) -> tuple[stats.Floats, stats.Floats, stats.Floats]:
    """Return the ns that an arm saves over another, and the ends of the intervals.

    Args:
        frames: some of `table.pairs`, one per size; each has both arms.
        arm: a column of theirs.
        basis: the column that it is compared with; arm itself saves nothing.

    """
    ends = []
    for frame in frames:
        found = table.against(frame, arm, basis) if arm != basis else None
        one = found.saved if found else None
        ends.append((one.center, one.low, one.high) if one else (0.0, 0.0, 0.0))
    center, low, high = np.array(ends, dtype=np.float64).T
    return center, low, high


def _draws(frame: pd.DataFrame, random: np.random.Generator) -> Iterator[Any]:
    """Yield the rows of each draw: whole placements, or blocks where those are few.

    As many blocks as they are worth: fewer than there are, where they hang together.
    """
    groups = table.groups(frame.index)
    rows = np.arange(len(frame))
    members = [rows[np.array(groups) == group] for group in sorted(set(groups or ()))]
    count = len(members)
    if count < LEAST_GROUPS:
        members = [rows[i : i + 1] for i in rows]
        worth = (
            stats.independent_n(frame[arm].to_numpy(dtype=np.float64), groups)
            for arm in frame
        )
        count = max(stats.needed(), min(worth))
    for _ in range(DRAWS):
        chosen = random.integers(0, len(members), count)
        yield np.concatenate([members[i] for i in chosen])


def lines(run: Run) -> pd.DataFrame:
    """Return the fitted line of each arm of each series.

    Columns: those of `Series.label`, arm, sizes (how many), fixed_ns (a), fixed_low,
    fixed_high; kib_ns (b, per KiB), kib_low, kib_high; worst_percent (the largest
    residual, in percent of the cost); bend (where the slope changes, or empty).
    """
    rows = []
    for one in series(run):
        for number, arm in enumerate(one.arms):
            if arm == CONTROL:
                continue
            median, drawn = one.median_ns[:, number], one.drawn_ns[:, :, number]
            fixed, slope = fit(one.sizes, median)
            fits = np.array([fit(one.sizes, draw) for draw in drawn])
            residual = median - (fixed + slope * one.sizes)
            rows.append(
                {
                    **one.label,
                    "arm": arm,
                    "sizes": len(one.sizes),
                    **_ends("fixed", fixed, fits[:, 0]),
                    **_ends("kib", slope * KIB, fits[:, 1] * KIB),
                    "worst_percent": float(np.max(np.abs(residual) / median) * 100),
                    "bend": _bend(one.sizes, median, drawn),
                }
            )
    return pd.DataFrame(rows)


def fit(sizes: stats.Floats, ns: stats.Floats) -> tuple[float, float]:
    """Return a (ns) and b (ns per byte) of the least relative squares."""
    design = np.column_stack([np.ones_like(sizes), sizes]) / ns[:, None]
    (fixed, slope), *_ = np.linalg.lstsq(design, np.ones_like(ns), rcond=None)
    return float(fixed), float(slope)


def _bent(sizes: stats.Floats, ns: stats.Floats, knot: float) -> stats.Floats:
    """Return a, b, and what b changes by from `knot` on."""
    hinge = np.maximum(sizes - knot, 0)
    design = np.column_stack([np.ones_like(sizes), sizes, hinge]) / ns[:, None]
    found, *_ = np.linalg.lstsq(design, np.ones_like(ns), rcond=None)
    return np.asarray(found, dtype=np.float64)


def _bend(sizes: stats.Floats, ns: stats.Floats, drawn: stats.Floats) -> str:
    """Return where a second slope fits clearly better, in words; empty if nowhere."""
    if len(sizes) < LEAST_SIZES + 3:
        return ""

    def misfit(knot: float) -> float:
        fixed, slope, change = _bent(sizes, ns, knot)
        fitted = fixed + slope * sizes + change * np.maximum(sizes - knot, 0)
        return float(np.sum(((ns - fitted) / ns) ** 2))

    knot = min(sizes[2:-2], key=misfit)
    changes = np.array([_bent(sizes, draw, knot)[2] for draw in drawn])
    low, high = np.quantile(changes, [BEND_TAIL, 1 - BEND_TAIL])
    if low <= 0 <= high:
        return ""
    _, slope, change = _bent(sizes, ns, knot)
    return (
        f"at {knot:.0f} B from {slope * KIB:.1f} to {(slope + change) * KIB:.1f} "
        "ns per KiB"
    )


def ends(drawn: stats.Floats) -> tuple[stats.Floats, stats.Floats]:
    """Return the ends of the 95 % interval of each value, from draws x values."""
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL], axis=0)
    return low, high


def _ends(name: str, center: float, drawn: stats.Floats) -> dict[str, float]:
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL])
    return {
        f"{name}_ns": center,
        f"{name}_low": float(min(low, center)),
        f"{name}_high": float(max(high, center)),
    }


def residuals(run: Run) -> pd.DataFrame:
    """Return what the lines leave over: one row per point and arm.

    Columns: those of `Series.label`, arm, io_size_bytes, ns, fitted_ns, residual_ns,
    residual_percent, beyond (whether the fitted cost lies outside the 95 % interval
    of the measured one).
    """
    rows = []
    for one in series(run):
        for number, arm in enumerate(one.arms):
            if arm == CONTROL:
                continue
            median = one.median_ns[:, number]
            fixed, slope = fit(one.sizes, median)
            low, high = ends(one.drawn_ns[:, :, number])
            for i, size in enumerate(one.sizes):
                fitted = fixed + slope * size
                rows.append(
                    {
                        **one.label,
                        "arm": arm,
                        "io_size_bytes": int(size),
                        "ns": float(median[i]),
                        "fitted_ns": fitted,
                        "residual_ns": float(median[i] - fitted),
                        "residual_percent": float((median[i] / fitted - 1) * 100),
                        "beyond": bool(not low[i] <= fitted <= high[i]),
                    }
                )
    return pd.DataFrame(rows)


def break_even(run: Run) -> pd.DataFrame:
    """Return from what size on each zerocopy arm costs less than plain send.

    From there on it does so at every larger size that was measured; below it there may
    be others at which it does, between steps of the cost.

    Columns: those of `Series.label`, arm, those of `crossed`, line_bytes (where the two
    fitted lines cross, NaN where they do not). Empty where no series has a zerocopy
    arm.
    """
    rows = []
    for one in series(run):
        basis = one.arms.index(BASELINE)
        for number, arm in enumerate(one.arms):
            if arm in (BASELINE, CONTROL):
                continue
            saved = one.saved_ns, one.saved_low_ns, one.saved_high_ns
            rows.append(
                {
                    **one.label,
                    "arm": arm,
                    **crossed(one.sizes, *(ns[:, number] for ns in saved)),
                    "line_bytes": _lines_cross(one, number, basis),
                }
            )
    return pd.DataFrame(rows)


def crossed(
    sizes: stats.Floats, saved: stats.Floats, low: stats.Floats, high: stats.Floats
) -> dict[str, Any]:
    """Return from what size on ns are saved, as far as the intervals decide it.

    - kind: `between`, where from some size on ns are surely saved at all, but not at
      all sizes measured; `always` or `never`, where they surely are at every size, or
      surely are not; `not to the end`, where every size is decided, and the largest
      loses; else `not decided`.
    - break_even_bytes: interpolated between medians; NaN where these do not cross.
    - bytes_low: the largest size below at which it surely costs more, 0 for none.
    - bytes_high: the size from which on it surely costs less. All three NaN unless
      `between`.
    - windows: sizes before these at which it surely costs less, as text.
    - losses: sizes at which it surely costs more, as text.
    - smallest, largest: sizes measured, bytes.

    Args:
        sizes: in bytes, rising.
        saved: ns saved at each.
        low: lower ends of their 95 % intervals.
        high: upper ends.

    """
    pays, costs = low > 0, high < 0
    others = np.flatnonzero(~pays)
    from_on = int(others[-1]) + 1 if len(others) else 0
    kind = UNDECIDED
    if pays.all():
        kind = ALWAYS
    elif costs.all():
        kind = NEVER
    elif from_on < len(sizes):
        kind = BETWEEN
    elif (pays | costs).all():
        kind = UNCLEAR
    between = kind == BETWEEN
    return {
        "kind": kind,
        "break_even_bytes": crossing(sizes, saved) if between else math.nan,
        "bytes_low": float(max(sizes[costs], default=0.0)) if between else math.nan,
        "bytes_high": float(sizes[from_on]) if between else math.nan,
        "windows": _ranges(sizes, np.flatnonzero(pays[:from_on])),
        "losses": _ranges(sizes, np.flatnonzero(costs)),
        "smallest": int(sizes[0]),
        "largest": int(sizes[-1]),
    }


def break_even_text(row: Any) -> str:
    """Return a row of `break_even` in words: `between 7800 and 7850 B`, or why not."""
    pays, costs = row["windows"], row["losses"]
    if row["kind"] == ALWAYS:
        return f"always, {row['smallest']} B and above"
    if row["kind"] == NEVER:
        return f"never, up to {row['largest']} B"
    if row["kind"] == UNCLEAR:
        return f"not up to {row['largest']} B; pays at {pays}"
    if row["kind"] == UNDECIDED:
        return (
            f"not decided, {row['smallest']} to {row['largest']} B"
            + (f"; costs more at {costs}" if costs else "")
            + (f"; pays at {pays}" if pays else "")
        )
    also = f"; also at {pays}" if pays else ""
    low, high = row["bytes_low"], row["bytes_high"]
    if low <= 0:
        return f"at {high:.0f} B or below{also}"
    return f"between {low:.0f} and {high:.0f} B{also}"


def crossing(sizes: stats.Floats, saved_ns: stats.Floats) -> float:
    """Return the size at which ns saved cross zero for the last time.

    NaN where they do not, or are not above zero at the end. Between two sizes the
    saving is taken to be linear.
    """
    pays = saved_ns > 0
    if pays.all() or not pays[-1]:
        return math.nan
    i = np.flatnonzero(~pays)[-1]
    share = -saved_ns[i] / (saved_ns[i + 1] - saved_ns[i])
    return float(sizes[i] + share * (sizes[i + 1] - sizes[i]))


def _ranges(sizes: stats.Floats, which: Any) -> str:
    """Return some of the sizes in words, neighbours as a range."""
    found: list[list[float]] = []
    for i in which:
        if found and found[-1][-1] == sizes[i - 1]:
            found[-1].append(sizes[i])
        else:
            found.append([sizes[i]])
    return ", ".join(
        f"{each[0]:.0f} to {each[-1]:.0f} B" if len(each) > 1 else f"{each[0]:.0f} B"
        for each in found
    )


def prices(run: Run) -> pd.DataFrame:
    """Return what single things cost on this host, from contrasts of the lines.

    Columns: those of `Series.label`, what, unit, price_ns, price_low, price_high (ns),
    how (which contrast). Only for series that have the arms of a contrast. A price is
    of the whole line: where the lines bend, it is an average over the sizes measured.
    """
    rows = []
    page = page_bytes(run)
    for one in series(run):
        for what, unit, column, factor, more, less, how in _contrasts(page):
            if not {more, less} <= set(one.arms):
                continue
            over, under = one.arms.index(more), one.arms.index(less)

            def price(
                ns: stats.Floats,
                *,
                of: tuple[int, int] = (over, under),
                part: int = column,
                times: int = factor,
                sizes: stats.Floats = one.sizes,
            ) -> float:
                first, second = (fit(sizes, ns[:, arm])[part] for arm in of)
                return (first - second) * times

            drawn = np.array([price(draw) for draw in one.drawn_ns])
            rows.append(
                {
                    **one.label,
                    "what": what,
                    "unit": unit,
                    **_ends("price", price(one.median_ns), drawn),
                    "how": how,
                }
            )
    return pd.DataFrame(rows)


def page_bytes(run: Run) -> int:
    """Return the size of a page on the run's host, in bytes; 4096 if it is unknown."""
    return int(lookup(run.host, "page_bytes") or PAGE_BYTES)


def _contrasts(page: int) -> tuple[tuple[str, str, int, int, str, str, str], ...]:
    """Return what is priced, on pages of so many bytes.

    Each: what, per what, fixed cost (0) or slope (1), times how many bytes, dearer arm,
    other arm, how.
    """
    pinned = (
        "pinning",
        f"per page of {page / KIB:g} KiB",
        1,
        page,
        "send_zc",
        "send_zc_fixed",
        "slope of send_zc less that of send_zc_fixed",
    )
    return (_CONTRASTS[0], pinned, *_CONTRASTS[1:])


_CONTRASTS = (
    (
        "copying",
        "per KiB",
        1,
        KIB,
        "send",
        "send_zc_fixed",
        "slope of send less that of send_zc_fixed",
    ),
    (
        "an unregistered buffer",
        "per request",
        0,
        1,
        "send_zc",
        "send_zc_fixed",
        "fixed cost of send_zc less that of send_zc_fixed",
    ),
    (
        "notification and bookkeeping",
        "per request",
        0,
        1,
        "send_zc_fixed",
        "send",
        "fixed cost of send_zc_fixed less that of send, whose packet heads differ too",
    ),
)


def _lines_cross(one: Series, arm: int, basis: int) -> float:
    fixed, slope = fit(one.sizes, one.median_ns[:, arm])
    plain_fixed, plain_slope = fit(one.sizes, one.median_ns[:, basis])
    if plain_slope <= slope:
        return math.nan
    found = (fixed - plain_fixed) / (plain_slope - slope)
    return found if found > 0 else math.nan


SHARED_BYTES = 320  # struct skb_shared_info at the end of a head, on 64 bits
# Beside payload and headers: what is left free for the link's header (16 for Ethernet)
# and, by version of IP, for its alignment (15) or a fragment header (8).
ROOM_BYTES = {4: 16 + 15, 6: 16 + 8}
BESIDE = 1.05  # sizes that differ by no more than this cost alike but for a step
_LINEAR = (Path.SINK, Path.VETH, Path.LO)  # whose MTU makes one packet of a send


def head_limit(family: int, page: int) -> int:
    """Return the largest payload in bytes whose packet's head kmalloc has a cache for.

    Of plain send over UDP, where one packet takes all of it and the device asks for no
    room of its own.

    Source: kmalloc_reserve, KMALLOC_MAX_CACHE_SIZE (two pages); __ip_append_data,
    __ip6_append_data. The one for IPv4 and pages of 4 KiB is measured, Linux 6.18.
    """
    headers = header_bytes(family, Protocol.UDP)
    return 2 * page - SHARED_BYTES - headers - ROOM_BYTES[family]


def head_steps(run: Run, summary: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return what plain send and send_zc_fixed cost more beyond `head_limit`.

    One row for each two points that are alike but for their sizes, which lie on both
    sides of the limit and beside each other; those into a sink first. Columns: those of
    `Series.label`, smaller, larger (sizes in bytes), limit; step_ns, step_low,
    step_high (plain send, the larger size less the smaller); fixed_ns, fixed_low,
    fixed_high (send_zc_fixed, likewise); saved_ns, saved_low, saved_high (what it saves
    more over plain send; NaN like the three before where it was not measured);
    saved_before and saved_after (what it saves at either size), n.

    Args:
        run: any run.
        summary: what `table.summary` returns of it, if that is at hand.

    """
    alike: dict[tuple[Any, ...], list[Point]] = {}
    for point in run.plan.points:
        plain = not point.given and not point.situation
        if point.protocol is Protocol.UDP and point.path in _LINEAR and plain:
            alike.setdefault((point.path, point.family, point.batch), []).append(point)
    both = []
    for points in alike.values():
        limit = head_limit(points[0].family, page_bytes(run))
        under = [point for point in points if point.io_size_bytes <= limit]
        over = [point for point in points if point.io_size_bytes > limit]
        smaller = max(under, key=lambda point: point.io_size_bytes, default=None)
        larger = min(over, key=lambda point: point.io_size_bytes, default=None)
        if not smaller or not larger:
            continue
        if larger.io_size_bytes <= BESIDE * smaller.io_size_bytes:
            both.append((smaller, larger, limit))
    if not both:
        return pd.DataFrame()
    frame = table.summary(run) if summary is None else summary
    seen = frame.set_index(["point", "arm"])
    rows = [row for one in both if (row := _head_step(seen, *one)) is not None]
    rows.sort(key=lambda row: row["path"] != Path.SINK)
    return pd.DataFrame(rows)


def _head_step(
    seen: pd.DataFrame, smaller: Point, larger: Point, limit: int
) -> dict[str, Any] | None:
    """Return a row of `head_steps`; None without six blocks of plain send at each."""

    def step(arm: str, center: str, prefix: str) -> stats.Ends:
        ends = []
        for point in (smaller, larger):
            if (point.name, arm) not in seen.index:
                return math.nan, math.nan, math.nan
            row = seen.loc[(point.name, arm)]
            ends.append(tuple(row[[center, f"{prefix}_low", f"{prefix}_high"]]))
        return stats.difference(*ends)

    plain = step(str(BASELINE), "ns_per_request", "ns")
    if not math.isfinite(plain[1]):
        return None
    found = {
        "step": plain,
        "fixed": step("send_zc_fixed", "ns_per_request", "ns"),
        "saved": step("send_zc_fixed", "saved_ns", "saved"),
    }
    counted = [int(seen.loc[(p.name, BASELINE), "n"]) for p in (smaller, larger)]
    saved = seen["saved_ns"].get
    return {
        **_label(smaller),
        "smaller": smaller.io_size_bytes,
        "larger": larger.io_size_bytes,
        "limit": limit,
        **{
            f"{name}_{end}": value
            for name, values in found.items()
            for end, value in zip(("ns", "low", "high"), values, strict=True)
        },
        "saved_before": saved((smaller.name, "send_zc_fixed"), math.nan),
        "saved_after": saved((larger.name, "send_zc_fixed"), math.nan),
        "n": min(counted),
    }


def head_step(run: Run, summary: pd.DataFrame | None = None) -> str:
    """Return what of a saving is an allocation and not the copy, in a few sentences.

    Empty where the run cannot tell: it takes two sizes, such as 7800 and 8000 B, and an
    interval above zero; see `head_steps`, of which this is the first row.
    """
    rows = head_steps(run, summary)
    if rows.empty or rows.iloc[0]["step_low"] <= 0:
        return ""
    row = rows.iloc[0]
    smaller, larger, page = row["smaller"], row["larger"], page_bytes(run)
    cache = f"{2 * page // KIB} KiB"
    told = (
        f"From {smaller} to {larger} B plain send costs {_step_text(row, 'step')} more "
        f"(n={row['n']}), which {larger - smaller} B of copy cannot: beyond about "
        f"{row['limit']} B the linear head of its packet passes kmalloc's largest "
        f"cache, {cache}"
    )
    if math.isnan(row["fixed_ns"]):
        return f"{told}."
    told = f"{told}; send_zc_fixed, whose head stays small, {_step_text(row, 'fixed')}."
    if not row["saved_low"] > 0:
        return told
    return (
        f"{told} What send_zc_fixed saves grows there by {_step_text(row, 'saved')}, "
        f"{row['saved_before']:+.0f} to {row['saved_after']:+.0f}."
    )


def _step_text(row: Any, name: str) -> str:
    center, low, high = (row[f"{name}_{end}"] for end in ("ns", "low", "high"))
    if not math.isfinite(low):
        return f"{center:.0f} ns [too few blocks]"
    return f"{center:.0f} ns [{low:.0f}, {high:.0f}]"


def implied() -> pd.DataFrame:
    """Return the lines that the published rates imply, by table and column.

    Columns: table, column, sizes, fixed_ns, kib_ns, worst_percent, per_row (ns of each
    row, as text). Only tables in requests/s with at least three sizes.
    """
    cells = published.cells()
    cells = cells[cells["unit"] == "requests/s"]
    rows = []
    for (name, column), mine in cells.groupby(["table", "column"], sort=False):
        if len(mine) < LEAST_SIZES:
            continue
        ordered = mine.sort_values("io_size_bytes")
        sizes = ordered["io_size_bytes"].to_numpy(dtype=np.float64)
        ns = 1e9 / ordered["value"].to_numpy(dtype=np.float64)
        fixed, slope = fit(sizes, ns)
        rows.append(
            {
                "table": name,
                "column": column,
                "sizes": len(sizes),
                "fixed_ns": fixed,
                "kib_ns": slope * KIB,
                "worst_percent": float(
                    np.max(np.abs(ns - fixed - slope * sizes) / ns) * 100
                ),
                "per_row": ", ".join(
                    f"{size:.0f} B {cost:.0f}"
                    for size, cost in zip(sizes, ns, strict=True)
                ),
            }
        )
    return pd.DataFrame(rows)


def carried_percent(saved_ns: float, plain_ns: float) -> float:
    """Return the gain in percent that ns saved would be on a host of that plain cost.

    Infinite where more would be saved than a request costs there.
    """
    if saved_ns >= plain_ns:
        return math.inf
    return 100 * (plain_ns / (plain_ns - saved_ns) - 1)


def carried(run: Run) -> pd.DataFrame:
    """Return each published saving as a percent of this host's cost, and the reverse.

    Columns: claim, table, column, io_size_bytes, published_percent,
    published_saved_ns, plain_ns (of `send` here), theirs_here_percent, gain_percent and
    saved_ns (ours), ours_there_percent (our ns on the published baseline). Rows that
    this run has no twin for are left out.
    """
    from zclab.explain import claims  # noqa: PLC0415 - it builds on table as this does

    summary = table.summary(run)
    plain = summary[summary["arm"] == BASELINE].set_index("point")["ns_per_request"]
    facts = published.claims().set_index("claim")
    rows = []
    for one in claims.compared(summary).to_dict("records"):
        if one["point"] not in plain.index or math.isnan(one["published_saved_ns"]):
            continue
        theirs_ns = float(facts.loc[one["claim"], "published_base_ns"])
        here_ns = float(plain[one["point"]])
        rows.append(
            {
                "claim": one["claim"],
                "table": one["table"],
                "column": one["column"],
                "io_size_bytes": one["io_size_bytes"],
                "published_percent": one["published_percent"],
                "published_saved_ns": one["published_saved_ns"],
                "plain_ns": here_ns,
                "theirs_here_percent": carried_percent(
                    one["published_saved_ns"], here_ns
                ),
                "gain_percent": one["gain_percent"],
                "saved_ns": one["saved_ns"],
                "ours_there_percent": carried_percent(one["saved_ns"], theirs_ns),
            }
        )
    return pd.DataFrame(rows)
