"""Intervals and paired effects. Every result carries its n and its warnings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats as scipy_stats

CONFIDENCE = 0.95

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A median with its exact order-statistic interval.

    Attributes:
        low: lower bound, -inf when n is too small for one.
        high: upper bound, +inf when n is too small for one.
        n: number of values.
        warnings: to be printed wherever the numbers are.

    """

    center: float
    low: float
    high: float
    n: int
    warnings: tuple[str, ...] = ()

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0

    def map(self, function: Any) -> "Interval":
        """Return the interval of `function(x)`, which must be monotonic."""
        ends = sorted((function(self.low), function(self.high)))
        return Interval(
            center=function(self.center),
            low=ends[0],
            high=ends[1],
            n=self.n,
            warnings=self.warnings,
        )


def needed(confidence: float = CONFIDENCE) -> int:
    """Return the smallest n whose sample range is an interval of that confidence."""
    return math.ceil(math.log2(2 / (1 - confidence)))


def median_interval(
    values: Sequence[float] | Floats, confidence: float = CONFIDENCE
) -> Interval:
    """Return the median of `values` and an interval that assumes no distribution.

    The interval inverts the sign test (order statistics of the binomial), so its
    coverage is at least `confidence` for independent values.

    Raises:
        ValueError: no values, or one that is not finite.

    Source: the ranks of scipy.stats.quantile_test; Conover, Practical Nonparametric
    Statistics, 3rd ed., section 3.2.

    """
    array = np.sort(np.asarray(values, dtype=np.float64))
    n = int(array.size)
    # NaN and infinities end up at an end.
    if n == 0 or not (math.isfinite(array[0]) and math.isfinite(array[-1])):
        raise ValueError("median_interval wants at least one value, all finite")
    center = float(array[(n - 1) // 2] + array[n // 2]) / 2
    if n < needed(confidence):
        warning = (
            f"n={n}: a {confidence:.0%} interval of a median "
            f"needs {needed(confidence)} blocks"
        )
        return Interval(
            center=center, low=-math.inf, high=math.inf, n=n, warnings=(warning,)
        )
    below, above = _bounds(n, confidence)
    return Interval(
        center=center, low=float(array[below]), high=float(array[above]), n=n
    )


@cache
def _bounds(n: int, confidence: float) -> tuple[int, int]:
    """Return which of n sorted values, from 0, are the bounds of their median."""
    heads = scipy_stats.binom(n, 0.5)
    tail = (1 - confidence) / 2
    return int(heads.ppf(tail)) - 1, int(heads.isf(tail))


def half_width(interval: Interval) -> float:
    """Return half the width of an interval in its unit; inf when n is too small."""
    return (interval.high - interval.low) / 2


def log_gain(arm_ns: Floats, baseline_ns: Floats) -> Floats:
    """Return log(baseline / arm) per block: above 0 where the arm is faster.

    Args:
        arm_ns: ns per request of the arm, one value per block.
        baseline_ns: ns per request of the baseline in the same blocks.

    """
    gains: Floats = np.log(baseline_ns / arm_ns)
    return gains


def percent(log_ratio: float) -> float:
    """Return a log ratio as a difference in percent: -100 for -inf, inf for inf."""
    return 100.0 * math.expm1(log_ratio) if log_ratio < math.inf else math.inf


def gain_percent(
    arm_ns: Floats, baseline_ns: Floats, confidence: float = CONFIDENCE
) -> Interval:
    """Return the gain in requests per second of the arm over the baseline, percent.

    It is the median over blocks of the log ratio within the block, so whatever
    slows a whole block down cancels.
    """
    return median_interval(log_gain(arm_ns, baseline_ns), confidence).map(percent)


def saved_ns(
    arm_ns: Floats, baseline_ns: Floats, confidence: float = CONFIDENCE
) -> Interval:
    """Return the ns per request that the arm saves: median of paired differences."""
    return median_interval(baseline_ns - arm_ns, confidence)
