"""When did it begin to be copied? A change of the copied share in mid-run.

Whether the kernel copies does not depend on chance: a point is copied or it is not, in
every block. So a share that is steadily low and then steadily high has a cause, such as
a packet tap that was opened meanwhile, and the blocks before it and after it are of two
experiments. Gains over such a run mean little; this module says where to cut it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from zclab import preflight
from zclab.explain import joined, table
from zclab.explain.facts import lookup
from zclab.params import Point, arm_mode
from zclab.store import Run

STEADY_BLOCKS = 3  # so many in a row are no accident
# Shares of a block at which it counts as not copied, and as copied. In between lies the
# block in which it changed.
LOW, HIGH = 0.1, 0.9
# Where the flag over-reports, only a share of all is copied (preflight.over_reports).
LOW_STACKED, HIGH_STACKED = 0.95, 0.999

TAPS = "packet_taps"
NAMED_AT_MOST = 3  # changes that the mail tells one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Onset:
    """A change of the copied share of one point.

    Attributes:
        point: its name.
        arms: those concerned, separated by commas; empty for all that ask.
        block: the first block that differs.
        seconds: from the first slice of the sitting to the first of that block.
        sitting: of the run; 0 unless it was resumed.
        before, after: copied share over the steady blocks on either side, 0 to 1.
        taps: packet taps before and after, where the run counted them.

    """

    point: str
    arms: str
    block: int
    seconds: float
    sitting: int
    before: float
    after: float
    taps: tuple[int, int] | None

    @property
    def cause(self) -> str:
        """What changed with it, as a clause; what is not known is said."""
        if self.taps is None:
            return "packet taps were not counted in this run"
        before, after = self.taps
        if before == after:
            return "the cause is not known: no packet tap was opened or closed with it"
        number = f"{abs(after - before)} packet taps were"
        if abs(after - before) == 1:
            number = "a packet tap was"
        return f"{number} {'opened' if after > before else 'closed'}"

    @property
    def sentence(self) -> str:
        """The change in a sentence without a full stop."""
        arms = f" ({self.arms})" if self.arms else ""
        sitting = f" of sitting {self.sitting}" if self.sitting else ""
        return (
            f"copied share of {self.point}{arms} changed from "
            f"{table.share_text(self.before)} to {table.share_text(self.after)} at "
            f"block {self.block} ({self.seconds:.1f} s{sitting}): {self.cause}"
        )


def found(run: Run) -> list[Onset]:
    """Return the changes of all points of a run, or of those joined in it, by time."""
    return [one for part in joined.parts(run) for one in _of_run(part)]


def _of_run(run: Run) -> list[Onset]:
    release = str(lookup(run.host, "kernel", "release") or "")
    by_point = dict(tuple(run.samples.groupby("point", sort=False, observed=True)))
    sittings = run.samples["sitting"].fillna(0).astype("int64")
    starts = run.samples.groupby(sittings)["started_ns"].min()
    changes = [
        one
        for point in run.plan.points
        if point.name in by_point
        for one in _of(point, by_point[point.name], starts, release)
    ]
    return sorted(changes, key=lambda one: (one.sitting, one.seconds))


def sentences(run: Run, most: int | None = None) -> list[str]:
    """Return the changes in words; of more than `most` the others by their number."""
    told = [one.sentence for one in found(run)]
    if most is None or len(told) <= most:
        return told
    return [*told[:most], f"{len(told) - most} more changes of a copied share"]


def words(run: Run) -> str:
    """Return all changes, one a line, or that there was none."""
    told = [f"{text}." for text in sentences(run)]
    return "\n".join(told) or "The copied share of no point changed in mid-run."


def _of(
    point: Point, samples: pd.DataFrame, starts: pd.Series, release: str
) -> Iterator[Onset]:
    """Yield the changes of a point; arms that change together are one change."""
    asking = [arm for arm in point.modes if arm_mode(arm).zerocopy]
    told = samples[(samples["notifications"] > 0) & samples["copied"].notna()]
    changes = [
        one
        for arm in asking
        for one in _of_arm(point, arm, told[told["arm"] == arm], starts, release)
    ]
    changes.sort(key=lambda one: one.block)
    while changes:
        # Within one block the arms come one after the other, so some change a block
        # later than others.
        first = changes[0]
        together = [one for one in changes if one.block <= first.block + 1]
        changes = changes[len(together) :]
        arms = dict.fromkeys(one.arms for one in together)
        yield replace(first, arms="" if len(arms) == len(asking) else ", ".join(arms))


def _of_arm(
    point: Point, arm: str, told: pd.DataFrame, starts: pd.Series, release: str
) -> Iterator[Onset]:
    if told.empty:
        return
    blocks = _blocks(told)
    stacked = preflight.over_reports(point.protocol, release, point.options(arm))
    bounds = (LOW_STACKED, HIGH_STACKED) if stacked else (LOW, HIGH)
    for left, right in pairwise(steady(blocks["share"].tolist(), *bounds)):
        first = left[1]  # blocks between the two are those in which it changed
        row = blocks.iloc[first]
        yield Onset(
            point=point.name,
            arms=arm,
            block=int(blocks.index[first]),
            seconds=(row["started_ns"] - starts[row["sitting"]]) / 1e9,
            sitting=int(row["sitting"]),
            before=_share(blocks.iloc[slice(*left)]),
            after=_share(blocks.iloc[slice(*right)]),
            taps=_taps(blocks.iloc[slice(*left)], blocks.iloc[slice(*right)]),
        )


def _blocks(told: pd.DataFrame) -> pd.DataFrame:
    """Return the samples of an arm by block."""
    grouped = told.groupby("block")
    frame = pd.DataFrame(
        {
            "copied": grouped["copied"].sum().astype("float64"),
            "notifications": grouped["notifications"].sum().astype("float64"),
            "started_ns": grouped["started_ns"].min().astype("float64"),
            "sitting": grouped["sitting"].first().fillna(0).astype("int64"),
        }
    )
    frame["share"] = frame["copied"] / frame["notifications"]
    taps: Any = grouped[TAPS].max() if TAPS in told else np.nan
    frame[TAPS] = taps
    return frame.sort_index()


def steady(
    shares: Sequence[float], low: float = LOW, high: float = HIGH
) -> list[tuple[int, int]]:
    """Return the stretches (first, end) in which a share is steadily low or high.

    Neighbours in the list differ: one is low, the other high. What lies between two of
    them is shorter than `STEADY_BLOCKS`, or neither low nor high.
    """
    found: list[tuple[int, int, bool]] = []
    first = 0
    levels = [None if low < share < high else share >= high for share in shares]
    for at in range(1, len(levels) + 1):
        if at < len(levels) and levels[at] == levels[first]:
            continue
        level = levels[first]
        if level is not None and at - first >= STEADY_BLOCKS:
            if found and found[-1][2] == level:
                found[-1] = (found[-1][0], at, level)
            else:
                found.append((first, at, level))
        first = at
    return [(begin, end) for begin, end, _ in found]


def _share(blocks: pd.DataFrame) -> float:
    return float(blocks["copied"].sum() / blocks["notifications"].sum())


def _taps(left: pd.DataFrame, right: pd.DataFrame) -> tuple[int, int] | None:
    """Return the taps of two stretches, None where they were not counted."""
    before, after = left[TAPS].dropna(), right[TAPS].dropna()
    if before.empty or after.empty:
        return None
    return int(before.median()), int(after.median())
