"""Which points get the next blocks, and when a point has enough of them.

A point stops when the 95 % interval of each of its contrasts is as narrow as the plan
asks, or when its blocks or its seconds are spent. Each look at a width is a chance to
stop on an interval that is narrow by luck, which would cost coverage. So widths are
looked at on a geometric grid of block counts only, and a second width, which luck moves
less, must be narrower still. `zclab prove stopping` measures what is left of that cost.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from zclab import stats
from zclab.params import BASELINE, Plan, Point, Stop

PRECISION = "precision"
BLOCKS = "blocks"
POINT_BUDGET = "point budget"
BUDGET = "budget"

GROWTH = 1.1  # from one look to the next

# The steadier width is that of a much wider interval, scaled to 95 %: its ends are
# further apart, so more values lie between and luck moves it less; and placements are
# taken to differ more than they seem to. It must be below this share of the precision.
# Without it stopping costs points of coverage (`zclab prove stopping`).
STEADY_CONFIDENCE = 0.9995
STEADY_SCALE = float(ndtri(0.975) / ndtri((1 + STEADY_CONFIDENCE) / 2))
STEADY_SHARE = 0.9

EXPECTED = 1.15 / STEADY_SHARE  # caution over some hundred blocks, to reckon with


def looks(least: int) -> Iterator[int]:
    """Yield the numbers of blocks at which widths are looked at, without end."""
    n = least
    while True:
        yield n
        n = max(n + 1, math.ceil(n * GROWTH))


def half_width_percent(
    log_gains: "np.typing.ArrayLike", placements: Sequence[int] | None = None
) -> float:
    """Return half the width of the gain's 95 % interval, in percent points.

    It is the interval that is reported, widened where the blocks are not independent.

    Args:
        log_gains: log(ns of the baseline / ns of the arm), one value per block.
        placements: that of each block; None for a single one.

    Returns:
        inf when there are too few blocks for an interval.

    """
    return _widths(log_gains, placements)[0]


def stopping_width(
    log_gains: "np.typing.ArrayLike", placements: Sequence[int] | None = None
) -> float:
    """Return the width that must not exceed the precision, in percent points.

    It is the half-width that is reported, or what `STEADY_SHARE` asks of the steadier
    one, whichever is larger. Arguments as for `half_width_percent`.
    """
    return max(_widths(log_gains, placements))


def expected_width(
    log_gains: "np.typing.ArrayLike", placements: Sequence[int] | None = None
) -> float:
    """Return the width to reckon with where it is extrapolated to more blocks.

    The caution of `stopping_width` goes down faster than with 1/sqrt(n), so it would
    ask for too many. Arguments as for `half_width_percent`.
    """
    return half_width_percent(log_gains, placements) * EXPECTED


def _widths(
    log_gains: "np.typing.ArrayLike", placements: Sequence[int] | None
) -> tuple[float, float]:
    """Return the half-width that is reported, and the steadier one over its share."""
    values = np.asarray(log_gains, dtype=np.float64)
    known = np.isfinite(values)
    values = values[known]
    groups = None if placements is None else np.asarray(placements)[known].tolist()
    if values.size == 0:
        return math.inf, math.inf
    worth = stats.independent_n(values, groups)
    found = stats.median_interval(values, effective_n=worth).map(stats.percent)
    reported = stats.half_width(found)
    if not math.isfinite(reported):
        return math.inf, math.inf
    if groups and len(set(groups)) > 1:
        worth = min(worth, stats.clustered_n(values, groups, cautious=True))
    wide = stats.median_interval(values, STEADY_CONFIDENCE, effective_n=worth).map(
        stats.percent
    )
    return reported, stats.half_width(wide) * STEADY_SCALE / STEADY_SHARE


@dataclass(slots=True)
class _Tally:
    """What is known of one point so far."""

    point: Point
    looks: Iterator[int]
    log_gains: dict[str, list[float]]
    placements: list[int]
    next_look: int = 0
    blocks: int = 0
    spent_s: float = 0.0
    half_width: float = math.inf  # of the widest contrast, at the last look
    width: float = math.inf  # the `stopping_width` that goes with it
    looked_at: int = 0  # blocks at that look
    reason: str = ""

    def look(self) -> None:
        """Take the width of the widest contrast, and set the next look."""
        found = [_widths(gains, self.placements) for gains in self.log_gains.values()]
        self.half_width = max((reported for reported, _ in found), default=math.inf)
        self.width = max(map(max, found), default=math.inf)
        self.looked_at = self.blocks
        while self.next_look <= self.blocks:
            self.next_look = next(self.looks)

    @property
    def block_s(self) -> float:
        """Machine seconds of one block, on average."""
        return self.spent_s / self.blocks if self.blocks else 0.0

    def width_at(self, blocks: int) -> float:
        """Return the width expected after so many blocks: it goes with 1/sqrt."""
        if not self.looked_at:
            return math.inf
        return self.expected * math.sqrt(self.looked_at / max(blocks, 1))

    @property
    def expected(self) -> float:
        """The width to reckon with: as `expected_width`, of the widest contrast."""
        return self.half_width * EXPECTED

    def wanted(self, stop: Stop, most: int) -> int:
        """Return the blocks that the point probably still takes."""
        if not self.looked_at or math.isinf(self.expected):
            return max(stop.least - self.blocks, 1)
        need = math.ceil(self.looked_at * (self.expected / stop.precision) ** 2)
        more = max(need, self.next_look) - self.blocks
        if stop.point_budget_s and self.block_s:
            left = (stop.point_budget_s - self.spent_s) / self.block_s
            more = min(more, math.ceil(left))
        return max(1, min(more, most - self.blocks))


class Allocation:
    """Hands out the blocks of a plan, round by round, until every point has enough.

    The owner asks for a round, takes the blocks in the order given, and records each.
    It keeps no clock and no random state: fed with the same blocks it does the same.

    Args:
        plan: what is measured.

    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        least = plan.stop.least if plan.stop else plan.blocks
        self._tallies = {
            point.name: _Tally(
                point=point,
                looks=(grid := looks(least)),
                log_gains={arm: [] for arm in plan.stop.of(point)} if plan.stop else {},
                placements=[],
                next_look=next(grid),
            )
            for point in plan.points
        }

    @property
    def spent_s(self) -> float:
        """Machine seconds of all recorded blocks."""
        return sum(tally.spent_s for tally in self._tallies.values())

    @property
    def done(self) -> dict[str, int]:
        """Blocks recorded so far, by name of the point."""
        return {name: tally.blocks for name, tally in self._tallies.items()}

    def has_stopped(self, name: str) -> bool:
        """Return whether a point takes no further block."""
        return bool(self._tallies[name].reason)

    @property
    def finished(self) -> bool:
        """Whether every point has stopped."""
        return all(tally.reason for tally in self._tallies.values())

    @property
    def stopped(self) -> dict[str, dict[str, Any]]:
        """What stopped each point that has: reason, blocks, half_width, spent_s.

        `half_width` is that of the widest contrast over all blocks of the point, in
        percent points; None for a fixed number of blocks, or too few of them.
        """
        return {
            name: {
                "reason": tally.reason,
                "blocks": tally.blocks,
                "half_width": (
                    round(tally.half_width, 4)
                    if math.isfinite(tally.half_width)
                    else None
                ),
                "spent_s": round(tally.spent_s, 3),
            }
            for name, tally in self._tallies.items()
            if tally.reason
        }

    def half_width(self, name: str) -> float:
        """Return the half-width of a point's widest contrast now, in percent points."""
        tally = self._tallies[name]
        return max(
            (
                half_width_percent(gains, tally.placements)
                for gains in tally.log_gains.values()
            ),
            default=math.inf,
        )

    def left(self) -> int:
        """Return the blocks that the run probably still takes."""
        plan, stop = self._plan, self._plan.stop
        active = self._active()
        if stop is None:
            return sum(plan.blocks - tally.blocks for tally in active)
        wanted = {t.point.name: t.wanted(stop, plan.blocks) for t in active}
        blocks = sum(wanted.values())
        seconds = sum(wanted[t.point.name] * t.block_s for t in active)
        if stop.budget_s and seconds > stop.budget_s - self.spent_s:
            share = max(stop.budget_s - self.spent_s, 0) / seconds
            blocks = max(1, math.ceil(blocks * share))
        return blocks if active else 0

    def record(
        self,
        name: str,
        costs: Mapping[str, float],
        took_s: float,
        placement: int = 0,
    ) -> None:
        """Take note of one finished block.

        Args:
            name: of the point.
            costs: ns per request by arm; NaN or inf where no request completed.
            took_s: machine seconds of the block.
            placement: number of the placement that it was sent from.

        """
        tally = self._tallies[name]
        tally.placements.append(placement)
        tally.blocks += 1
        tally.spent_s += took_s
        base = costs.get(BASELINE, math.nan)
        for arm, gains in tally.log_gains.items():
            ratio = base / costs[arm] if costs.get(arm) else math.nan
            gains.append(math.log(ratio) if ratio > 0 else math.nan)
        self._judge(tally)

    def _judge(self, tally: _Tally) -> None:
        plan, stop = self._plan, self._plan.stop
        if stop and tally.blocks >= tally.next_look:
            tally.look()
            if tally.width <= stop.precision:
                tally.reason = PRECISION
                return
        if tally.blocks >= plan.blocks:
            self._end(tally, BLOCKS)
        elif stop and 0 < stop.point_budget_s < tally.spent_s + tally.block_s:
            self._end(tally, POINT_BUDGET)

    @staticmethod
    def _end(tally: _Tally, reason: str) -> None:
        """Stop a point for another reason than its width, which is looked at last."""
        if tally.log_gains and tally.looked_at != tally.blocks:
            tally.look()
        tally.reason = reason

    def _active(self) -> list[_Tally]:
        return [tally for tally in self._tallies.values() if not tally.reason]

    def next_round(self, draw: random.Random) -> list[Point]:
        """Return the points of the next blocks, in random order; empty when finished.

        A round has each point that has not stopped once. Where the run's budget will
        not do for all of them, a round of the same length goes where each second
        narrows an interval most, so a point may be in it twice and another not at all.
        """
        stop = self._plan.stop
        active = self._active()
        if stop and stop.budget_s:
            for tally in active:
                if self.spent_s + tally.block_s > stop.budget_s:
                    self._end(tally, BUDGET)
            active = self._active()
        picked = [tally.point for tally in active]
        if stop and stop.budget_s and self._scarce(stop, active):
            picked = _narrowing_most(active, stop.budget_s - self.spent_s)
        return draw.sample(picked, len(picked))

    def _scarce(self, stop: Stop, active: list[_Tally]) -> bool:
        """Whether the run's budget is less than all its points will want."""
        if any(not tally.looked_at for tally in active):
            return False  # first every point gets its least
        wanted = sum(t.wanted(stop, self._plan.blocks) * t.block_s for t in active)
        return wanted > stop.budget_s - self.spent_s


def _narrowing_most(active: list[_Tally], left_s: float) -> list[Point]:
    """Return as many points as are active, each where a block now narrows most.

    A half-width goes with 1/sqrt(n), so one more block of t seconds narrows it by
    about h / (2 n) at a price of t.
    """
    blocks = {tally.point.name: tally.blocks for tally in active}
    picked: list[Point] = []
    for _ in active:
        best = max(
            active,
            key=lambda tally: (
                tally.width_at(blocks[tally.point.name])
                / (2 * blocks[tally.point.name] * max(tally.block_s, 1e-9))
            ),
        )
        left_s -= best.block_s
        if left_s < 0 and picked:
            break
        blocks[best.point.name] += 1
        picked.append(best.point)
    return picked
