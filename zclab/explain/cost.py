"""The cost model: ns = a + b x bytes for each arm; from what size on zerocopy pays.

A *series* is the points of a run that differ in nothing but their size. For each of
its arms a line is fitted to the medians by least relative squares, so that 1 % of the
smallest size counts as much as 1 % of the largest. Intervals come from a bootstrap that
draws whole placements, since samples of one placement are no independent evidence.

The break-even size is not taken from two lines, which may both bend, but from the
paired differences themselves: between the last measured size at which plain send is
cheaper and the next one, where it is not. Its interval reaches from one of these sizes
to the other, as nothing is known of the cost between them: it has steps. Plain send
over UDP costs some 100 ns more once its packet head no longer fits kmalloc's largest
cache (8 KiB: with a payload of 7814 B), and less again where the head gives way to
fragments of pages (16005 B). Unregistered pages cost a step each. Measured on Linux
6.18; kmalloc_reserve, __ip_append_data.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8, 13.
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
from zclab.params import BASELINE, CONTROL, Point
from zclab.store import Run

KIB = 1024
DRAWS = 400
SEED = 20220712  # any; fixed, so that one run always gives one table
LEAST_SIZES = 3  # a line through two points fits whatever they say
LEAST_GROUPS = 6  # fewer placements than this are too few to draw from
TAIL = (1 - stats.CONFIDENCE) / 2
BEND_TAIL = 0.001  # the knot is the best of many

NEVER, ALWAYS, BETWEEN, UNCLEAR = "never", "always", "between", "not to the end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points that differ in nothing but size, with the medians and their bootstrap.

    Attributes:
        points: in order of size.
        arms: those that every point has.
        median_ns: ns per request; one row per size, one column per arm.
        drawn_ns: the same of each bootstrap draw; draws x sizes x arms.
        saved_ns: medians of the paired differences, plain send minus arm.
        drawn_saved_ns: the same of each draw.

    """

    points: tuple[Point, ...]
    arms: tuple[str, ...]
    median_ns: stats.Floats
    drawn_ns: stats.Floats
    saved_ns: stats.Floats
    drawn_saved_ns: stats.Floats

    @property
    def sizes(self) -> stats.Floats:
        """Sizes in bytes."""
        return np.array([p.io_size_bytes for p in self.points], dtype=np.float64)

    @property
    def label(self) -> dict[str, Any]:
        """The factors that all its points share, as columns of a table."""
        factors = dict(self.points[0].factors)
        for name in ("point", "io_size_bytes"):
            del factors[name]
        return {**factors, "given": opts.spell(self.points[0].given)}


def series(run: Run) -> list[Series]:
    """Return the series of a run that have enough sizes for a line, in plan order."""
    by_point = table.pairs(run)
    found: dict[tuple[Any, ...], list[Point]] = {}
    for point in run.plan.points:
        if point.name in by_point and BASELINE in by_point[point.name]:
            factors = dict(point.factors, given=point.given, modes=point.modes)
            key = tuple(
                value
                for name, value in factors.items()
                if name not in ("point", "io_size_bytes")
            )
            found.setdefault(key, []).append(point)
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
    basis = arms.index(BASELINE)
    medians, drawn, saved, drawn_saved = [], [], [], []
    random = np.random.default_rng(SEED)
    for point in points:
        frame = by_point[point.name][list(arms)].dropna()
        ns = frame.to_numpy(dtype=np.float64)
        differences = ns[:, [basis]] - ns
        medians.append(np.median(ns, axis=0))
        saved.append(np.median(differences, axis=0))
        rows = list(_draws(frame, random))
        drawn.append([np.median(ns[row], axis=0) for row in rows])
        drawn_saved.append([np.median(differences[row], axis=0) for row in rows])
    return Series(
        points=tuple(points),
        arms=arms,
        median_ns=np.array(medians),
        drawn_ns=np.array(drawn).transpose(1, 0, 2),
        saved_ns=np.array(saved),
        drawn_saved_ns=np.array(drawn_saved).transpose(1, 0, 2),
    )


def _draws(frame: pd.DataFrame, random: np.random.Generator) -> Iterator[Any]:
    """Yield the rows of each draw: whole placements, or blocks where those are few."""
    groups = table.groups(frame.index)
    rows = np.arange(len(frame))
    members = [rows[np.array(groups) == group] for group in sorted(set(groups or ()))]
    if len(members) < LEAST_GROUPS:
        members = [rows[i : i + 1] for i in rows]
    for _ in range(DRAWS):
        chosen = random.integers(0, len(members), len(members))
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

    Columns: those of `Series.label`, arm, kind (`between`; `never` or `always` within
    the sizes measured; `not to the end`, where it pays at some sizes, but not at the
    largest), break_even_bytes (interpolated), bytes_low (the largest size at which it
    surely costs more, 0 for none), bytes_high (the size from which on it surely costs
    less, infinite for none; all three NaN unless `between`), windows (smaller sizes at
    which it surely costs less, as text), line_bytes (where the two fitted lines cross,
    NaN where they do not), smallest, largest (sizes measured). Surely: by the 95 %
    interval at that size.
    """
    rows = []
    for one in series(run):
        basis = one.arms.index(BASELINE)
        for number, arm in enumerate(one.arms):
            if arm in (BASELINE, CONTROL):
                continue
            saved, drawn = one.saved_ns[:, number], one.drawn_saved_ns[:, :, number]
            kind, at = crossing(one.sizes, saved)
            low = high = math.nan
            pays, costs = (end > 0 for end in (ends(drawn)[0], -ends(drawn)[1]))
            from_on = _from_on(pays)
            if kind == BETWEEN:
                low = float(max(one.sizes[costs & (one.sizes < at)], default=0.0))
                high = float(one.sizes[from_on]) if from_on < len(pays) else math.inf
            rows.append(
                {
                    **one.label,
                    "arm": arm,
                    "kind": kind,
                    "break_even_bytes": at,
                    "bytes_low": low,
                    "bytes_high": high,
                    "windows": _windows(one.sizes, pays, from_on),
                    "line_bytes": _lines_cross(one, number, basis),
                    "smallest": int(one.sizes[0]),
                    "largest": int(one.sizes[-1]),
                }
            )
    return pd.DataFrame(rows)


def break_even_text(row: Any) -> str:
    """Return a row of `break_even` in words: `between 7800 and 7850 B`, or why not."""
    also = f"; also at {row['windows']}" if row["windows"] else ""
    if row["kind"] == ALWAYS:
        return f"always, {row['smallest']} B and above"
    if row["kind"] == NEVER:
        return f"never, up to {row['largest']} B"
    if row["kind"] == UNCLEAR:
        return f"not up to {row['largest']} B{also}"
    low, high = row["bytes_low"], row["bytes_high"]
    if math.isinf(high):
        return f"above {low or row['smallest']:.0f} B{also}"
    if low <= 0:
        return f"at {high:.0f} B or below"
    return f"between {low:.0f} and {high:.0f} B{also}"


def crossing(sizes: stats.Floats, saved_ns: stats.Floats) -> tuple[str, float]:
    """Return how ns saved over sizes cross zero, and the size of the last time.

    The size is NaN where it does not cross, or is not above zero at the end. Between
    two sizes the saving is taken to be linear.
    """
    pays = saved_ns > 0
    if pays.all():
        return ALWAYS, math.nan
    if not pays.any():
        return NEVER, math.nan
    if not pays[-1]:
        return UNCLEAR, math.nan
    i = np.flatnonzero(~pays)[-1]
    share = -saved_ns[i] / (saved_ns[i + 1] - saved_ns[i])
    return BETWEEN, float(sizes[i] + share * (sizes[i + 1] - sizes[i]))


def _from_on(pays: Any) -> int:
    """Return the first of the trues at the end; their count where there is none."""
    others = np.flatnonzero(~pays)
    return int(others[-1]) + 1 if len(others) else 0


def _windows(sizes: stats.Floats, pays: Any, end: int) -> str:
    """Return the sizes before `end` that pay, neighbours as a range, in words."""
    found: list[list[float]] = []
    for i in np.flatnonzero(pays[:end]):
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
    for one in series(run):
        for what, unit, column, factor, more, less, how in _CONTRASTS:
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


# What is priced, per what, fixed cost (0) or slope (1), bytes, dearer arm, other arm.
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
        "pinning",
        "per page of 4 KiB",
        1,
        4 * KIB,
        "send_zc",
        "send_zc_fixed",
        "slope of send_zc less that of send_zc_fixed",
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
