"""What the options of a run cost: each beside the same mode without it."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from zclab import stats, store
from zclab.explain.table import FASTER, SLOWER, against, pairs, signed
from zclab.params import Point, arm_mode
from zclab.store import Run

_OPPOSITE = {stats.Verdict.FASTER: SLOWER, stats.Verdict.SLOWER: FASTER}


def newest(profile: str, parent: Path | None = None) -> Run | None:
    """Return the newest sealed run of a profile, or None."""
    for folder in reversed(store.listing(parent)):
        plan = store.read_json(folder / store.PLAN)["plan"]
        if plan["profile"] == profile and store.is_sealed(folder):
            return store.load(folder)
    return None


def costs(run: Run) -> pd.DataFrame:
    """Return what arms with options cost beside the same mode without.

    One row per point and arm. Columns: point, io_size_bytes, batch, arm, n (blocks);
    cost_ns, cost_low, cost_high (ns per request more than without: the median of the
    differences within blocks); cost_percent, percent_low, percent_high (the same of
    the time that a request takes without); finding (`slower` where an option costs);
    warnings (joined by "; ").
    """
    by_point = pairs(run)
    return pd.DataFrame(
        [
            row
            for point in run.plan.points
            if point.name in by_point
            for row in _point_costs(point, by_point[point.name])
        ]
    )


def _point_costs(point: Point, ns: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for arm in point.modes:
        basis = str(arm_mode(arm))
        if arm == basis or not {arm, basis} <= set(ns.columns):
            continue
        # The gain of doing without is the cost of doing with.
        found = against(ns, basis, arm)
        if found is None:
            continue
        cost, percent = found.saved, found.gain
        yield {
            "point": point.name,
            "io_size_bytes": point.io_size_bytes,
            "batch": point.batch,
            "arm": arm,
            "n": cost.n,
            "cost_ns": cost.center,
            "cost_low": cost.low,
            "cost_high": cost.high,
            "cost_percent": percent.center,
            "percent_low": percent.low,
            "percent_high": percent.high,
            "finding": _OPPOSITE.get(found.verdict, str(found.verdict)),
            "warnings": "; ".join(found.warnings),
        }


def cost_text(row: pd.Series) -> str:
    """Return a cost with its intervals: `+81 ns [+65, +97] +5.4% [+4.3, +6.6]`."""
    ns, percent = row["cost_ns"], row["cost_percent"]
    if math.isinf(row["cost_low"]):
        return f"{signed(ns, 0)} ns {signed(percent)}% [n={row['n']} is too small]"
    return (
        f"{signed(ns, 0)} ns [{signed(row['cost_low'], 0)}, "
        f"{signed(row['cost_high'], 0)}] {signed(percent)}% "
        f"[{signed(row['percent_low'])}, {signed(row['percent_high'])}]"
    )
