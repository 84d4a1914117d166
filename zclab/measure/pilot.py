"""The pilot: finds the slice length of each point before the first sample is taken.

A long slice averages the noise of its own requests away; a short one buys more blocks
for the same seconds, and blocks average what changes from slice to slice. Which weighs
more differs by path and request, so a few untold passes at each length are compared by
the width that they promise per second. So few tell little of one length, so a variance
that has a part for every slice and a part for every request is fitted to all of them.
The lengths are kept with the plan and stay what they are; no sample of the pilot enters
the run, so choosing cannot favour an arm.
"""

import math
import random
import statistics
from collections.abc import Mapping

import numpy as np
from scipy.optimize import nnls

from zclab.measure.site import Site, check_completed
from zclab.params import BASELINE, CONTROL, Plan, Point

CANDIDATES_NS = (1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000)
DEFAULT_NS = 10_000_000
PASSES = 12
BETTER = 0.8  # of the default's width: less is chance with so few passes
SUBMITS_LEAST = 8  # a slice shorter than this many submits times mostly its ends
DEADLINE_S = 60.0


def choose(plan: Plan, sites: Mapping[str, Site]) -> dict[str, int]:
    """Return the slice length in ns for each point, by its name.

    It measures for about a second per point.

    Raises:
        MeasureError: every request of an arm failed; the message has the errors.

    """
    return {point.name: _of(plan, point, sites[point.place]) for point in plan.points}


def _of(plan: Plan, point: Point, site: Site) -> int:
    arms = [BASELINE, _partner(plan, point)]
    draw = random.Random(f"{plan.seed} pilot {point.name}")
    gains: dict[int, list[float]] = {ns: [] for ns in CANDIDATES_NS}
    seconds = dict.fromkeys(CANDIDATES_NS, 0.0)
    submit_ns = 0.0
    for number in range(PASSES):
        for slice_ns in draw.sample(CANDIDATES_NS, len(CANDIDATES_NS)):
            start = site.clock()
            order = draw.sample(arms, len(arms))
            # Below 0: no block of the run, and for a model other weather each time.
            samples = site.block(point, order, -1 - number, slice_ns, DEADLINE_S)
            seconds[slice_ns] += site.clock() - start
            for sample in samples:
                check_completed(sample)
            found = {sample["arm"]: sample for sample in samples}
            costs = [found[arm]["elapsed_ns"] / found[arm]["requests"] for arm in arms]
            gains[slice_ns].append(math.log(costs[0] / costs[1]))
            submit_ns = max(submit_ns, costs[0] * point.batch)
    return best(gains, seconds, least_ns=SUBMITS_LEAST * submit_ns)


def _partner(plan: Plan, point: Point) -> str:
    """Return the arm that is looked at beside the baseline."""
    contrasts = plan.stop.of(point) if plan.stop else point.modes[1:]
    return contrasts[-1] if contrasts else CONTROL


def best(
    gains: Mapping[int, list[float]],
    seconds: Mapping[int, float],
    *,
    least_ns: float = 0.0,
) -> int:
    """Return the slice length that promises the narrowest interval in equal time.

    Args:
        gains: paired log gains by slice length.
        seconds: machine seconds that they took, by slice length.
        least_ns: shortest length that will do.

    """
    lengths = sorted(gains)
    variances = _fitted(lengths, [_spread(gains[ns]) ** 2 for ns in lengths])
    widths = {
        ns: math.sqrt(variance * seconds[ns])
        for ns, variance in zip(lengths, variances, strict=True)
    }
    fitting = [ns for ns in lengths if ns >= least_ns] or [lengths[-1]]
    default = DEFAULT_NS if DEFAULT_NS in fitting else fitting[0]
    winner = min(fitting, key=lambda ns: widths[ns])
    return winner if widths[winner] < BETTER * widths[default] else default


def _fitted(lengths: list[int], variances: list[float]) -> list[float]:
    """Return a + b / length fitted to variances, neither below zero.

    Each counts by its relative error, as the error of a variance goes with it.
    """
    known = np.maximum(variances, 1e-12)
    ones = np.ones(len(lengths))
    parts = np.column_stack((ones, DEFAULT_NS / np.asarray(lengths)))
    found, _ = nnls(parts / known[:, None], ones)
    return [float(variance) for variance in parts @ found]


def _spread(values: list[float]) -> float:
    """Return the mean distance from the median, of all but the furthest sixth.

    So one burst does not decide. The median distance would decide even less, but a
    timer tick falls into some of the short slices and not into others, and then it
    tells only which of the two were more.
    """
    center = statistics.median(values)
    distances = sorted(abs(value - center) for value in values)
    return statistics.fmean(distances[: max(1, len(distances) * 5 // 6)])
