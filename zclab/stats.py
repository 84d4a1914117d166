"""Intervals, tests and paired effects. Every result carries its n and its warnings.

Nothing assumes a distribution: intervals are order statistics, p values come from
signs, trends from ranks. Blocks that are not independent count as fewer
(`effective_n`), and interval, p value and detectable effect all follow that smaller
number. No value is ever dropped; outliers are counted, and said.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy import stats as scipy_stats

CONFIDENCE = 0.95
POWER = 0.90  # of the minimum detectable effect
MARGIN_POINTS = 1.0  # "differs by less than 1 point"
OUTLIER_SIGMAS = 10.0  # robust ones, from the median absolute deviation
# What a warning takes: one of 50 comparisons then warns by chance in one run of 20.
ALARM = 0.001
FEW = 2 / 3  # an effective n below this share of n is told

TOO_SMALL = "too small to see"  # begins the warning of what a comparison can miss

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
    values: Sequence[float] | Floats,
    confidence: float = CONFIDENCE,
    *,
    effective_n: int | None = None,
) -> Interval:
    """Return the median of `values` and an interval that assumes no distribution.

    The interval inverts the sign test (order statistics of the binomial), so its
    coverage is at least `confidence` for independent values.

    Args:
        values: in any order and unit.
        confidence: coverage of the interval, 0 to 1.
        effective_n: how many independent values they are worth, where fewer: the
            bounds are then the quantiles that so many values would give.

    Raises:
        ValueError: no values, or one that is not finite.

    Source: the ranks of scipy.stats.quantile_test; Conover, Practical Nonparametric
    Statistics, 3rd ed., section 3.2. With `effective_n`: Gastwirth and Rubin, Effect
    of dependence on the level of some one-sample tests, JASA 66 (1971), 816-820.

    """
    array = np.sort(np.asarray(values, dtype=np.float64))
    n = int(array.size)
    # NaN and infinities end up at an end.
    if n == 0 or not (math.isfinite(array[0]) and math.isfinite(array[-1])):
        raise ValueError("median_interval wants at least one value, all finite")
    worth = n if effective_n is None else min(n, effective_n)
    low, high = -math.inf, math.inf
    warnings: tuple[str, ...] = ()
    if worth >= needed(confidence):
        below, above = _bounds(n, worth, confidence)
        low, high = float(array[below]), float(array[above])
    else:
        warnings = (_too_few(n, worth, confidence),)
    return Interval(center=_middle(array), low=low, high=high, n=n, warnings=warnings)


def _too_few(n: int, worth: int, confidence: float) -> str:
    counted = f"n={n}" if worth == n else f"n={n}, worth {worth}"
    return (
        f"{counted}: a {confidence:.0%} interval of a median "
        f"needs {needed(confidence)} blocks"
    )


def _middle(ordered: Floats) -> float:
    n = len(ordered)
    return float(ordered[(n - 1) // 2] + ordered[n // 2]) / 2


@cache
def _bounds(n: int, worth: int, confidence: float) -> tuple[int, int]:
    """Return which of n sorted values, from 0, are the bounds of their median."""
    rank = int(scipy_stats.binom(worth, 0.5).ppf((1 - confidence) / 2))
    # Rank r of m values is at the share (r - 1/2)/m of them; of n likewise.
    below = (n * (2 * rank - 1) + worth) // (2 * worth) - 1
    return below, n - 1 - below


Ends = tuple[float, float, float]  # center, low, high


def difference(one: Ends, other: Ends) -> Ends:
    """Return `other` less `one`, two independent estimates, with its 95 % interval.

    From their intervals alone, whatever the shape of these: each end is as far from the
    center as the root of the summed squares of what the ends of the two are from
    theirs. Infinite on both sides where an end of one of them is: there is no interval
    then. Differences of differences follow from differences.

    Args:
        one: center, low and high, in any unit.
        other: the same, in that unit.

    Source: Zou and Donner, Construction of confidence limits about effect measures: a
    general approach, Statistics in Medicine 27 (2008), 1693-1702, equations 7 and 8.

    """
    (a, a_low, a_high), (b, b_low, b_high) = one, other
    apart = b - a
    if not all(map(math.isfinite, (a_low, a_high, b_low, b_high))):
        return apart, -math.inf, math.inf
    return (
        apart,
        apart - math.hypot(b - b_low, a_high - a),
        apart + math.hypot(b_high - b, a - a_low),
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """What a test says.

    Attributes:
        p: chance of a result at least as extreme where there is no effect.
        n: number of values; of both sides together where two are compared.
        warnings: to be printed wherever p is.

    """

    p: float
    n: int
    warnings: tuple[str, ...] = ()


def sign_test(
    differences: Sequence[float] | Floats, *, effective_n: int | None = None
) -> Test:
    """Return the two-sided sign test of "the median difference is zero".

    Its p is below 1 - confidence exactly where `median_interval` excludes zero; for
    that, a difference of zero counts against both directions.

    Args:
        differences: paired differences, or log ratios.
        effective_n: how many independent ones they are worth, where fewer.

    Raises:
        ValueError: no differences.

    Source: Conover, section 3.4; scipy.special.bdtr.

    """
    array = np.asarray(differences, dtype=np.float64)
    n = int(array.size)
    if n == 0:
        raise ValueError("sign_test wants at least one difference")
    worth = n if effective_n is None else max(1, min(n, effective_n))
    against = n - max(int((array > 0).sum()), int((array < 0).sum()))
    # The inverse of the rank in _bounds, so that test and interval agree.
    against = -(-((2 * against + 1) * worth + n) // (2 * n)) - 1
    p = min(1.0, 2 * float(special.bdtr(float(against), worth, 0.5)))
    warnings = () if worth >= needed() else (_too_few(n, worth, CONFIDENCE),)
    return Test(p=p, n=n, warnings=warnings)


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Return p values adjusted so that one false alarm among all is as rare as p says.

    NaN stays NaN and does not count as a comparison.

    Source: Holm, A simple sequentially rejective multiple test procedure,
    Scandinavian Journal of Statistics 6 (1979), 65-70.

    """
    adjusted = np.array(p_values, dtype=np.float64)
    there = ~np.isnan(adjusted)
    if there.any():
        adjusted[there] = _holm(adjusted[there])
    return adjusted


def _holm(p_values: Floats) -> Floats:
    order = np.argsort(p_values)
    left = np.arange(p_values.size, 0, -1)  # hypotheses not yet rejected
    stepped = np.maximum.accumulate(p_values[order] * left)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def effective_n(values: Sequence[float] | Floats) -> int:
    """Return how many independent values a series is worth for its median.

    It is n / (1 + 2 * sum of the autocorrelations), of the signs of what is above and
    below the median, as those alone make the median's interval; summed in pairs of
    lags as long as a pair is positive. Never more than n. Where lag 1 is within one
    standard error of zero it is n: always correcting would miss too rarely, only
    correcting what is significant too often. By simulation, 95 % intervals then miss
    about 3 to 6 % at 40 to 300 values with a lag-1 correlation of 0 to 0.5.

    Args:
        values: in the order in which they were measured.

    Source: Gastwirth and Rubin (1971), as in `median_interval`; where to cut the sum:
    Geyer, Practical Markov chain Monte Carlo, Statistical Science 7 (1992), 473-483.

    """
    array = np.asarray(values, dtype=np.float64)
    n = int(array.size)
    signs = np.sign(array - _middle(np.sort(array)))
    signs -= signs.mean()
    power = float(signs @ signs)
    if n < 8 or power == 0 or float(signs[1:] @ signs[:-1]) / power <= n**-0.5:
        return n
    total = 0.0
    for lag in range(1, int(10 * math.log10(n)), 2):  # as far as R's acf() looks
        pair = float(signs[lag:] @ signs[:-lag] + signs[lag + 1 :] @ signs[: -lag - 1])
        if pair <= 0:
            break
        total += pair / power
    return max(1, int(n / (1 + 2 * total)))


def clustered_n(
    values: Sequence[float] | Floats, groups: Sequence[int], *, cautious: bool = False
) -> int:
    """Return how many independent values a series in groups is worth for its median.

    What a whole group has in common, such as where a process happens to lie in memory,
    is averaged by the number of groups and not by that of the values. So n is divided
    by 1 + (m - 1) * rho, with m the size of the groups and rho the correlation inside
    them: of the signs of what is above and below the median, by analysis of variance.
    Where that is within one standard error of zero, it is n, as in `effective_n`. As
    few groups tell rho badly, what it adds is inflated as Student's t is over the
    normal.

    Args:
        values: in any order.
        groups: the group of each.
        cautious: take rho two standard errors higher than found, and never for zero: a
            number that is not large by luck.

    Source: Kish, Survey Sampling (1965), section 5.4; rho as in Donner and Koval,
    Biometrics 36 (1980), 19-25.

    """
    array = np.asarray(values, dtype=np.float64)
    _, which, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    n, k = int(array.size), len(sizes)
    if k < 2 or k == n:
        return n
    signs = np.sign(array - _middle(np.sort(array)))
    sums = np.bincount(which, weights=signs)
    between = float((sums**2 / sizes).sum() - signs.sum() ** 2 / n) / (k - 1)
    within = float((signs**2).sum() - (sums**2 / sizes).sum()) / (n - k)
    typical = (n - float((sizes.astype(np.float64) ** 2).sum()) / n) / (k - 1)
    spread = between + (typical - 1) * within
    rho = (between - within) / spread if spread > 0 else 0.0
    size = float((sizes.astype(np.float64) ** 2).sum()) / n
    error = math.sqrt(2 / (n * (size - 1)))
    if cautious:
        rho = max(rho, 0) + 2 * error
    elif rho <= error:
        return n
    student = float(special.stdtrit(k - 1, 0.975) / special.ndtri(0.975)) ** 2
    return max(1, int(n / (1 + (size - 1) * rho * student)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """How a series goes with time: Spearman's rho, and medians of its ends.

    Attributes:
        rho: rank correlation with the block number, -1 to 1.
        p: of "no trend", two-sided.
        first: median of the first third, in the unit of the values.
        last: median of the last third.

    """

    rho: float
    p: float
    first: float
    last: float


def trend(values: Sequence[float] | Floats) -> Trend:
    """Return the trend of values over the blocks in which they were measured.

    Source: Spearman's rho against time, with Student's t; Conover, section 5.4.

    Raises:
        ValueError: fewer than three values.

    """
    array = np.asarray(values, dtype=np.float64)
    n, third = int(array.size), int(array.size) // 3
    if n < 3:
        raise ValueError("trend wants at least three values")
    first = _middle(np.sort(array[:third]))
    last = _middle(np.sort(array[-third:]))
    ranks = scipy_stats.rankdata(array) - (n + 1) / 2
    times = np.arange(n) - (n - 1) / 2
    scale = math.sqrt(float(ranks @ ranks) * float(times @ times))
    rho = float(ranks @ times) / scale if scale else 0.0
    rest = 1 - rho * rho
    t = math.inf if rest <= 0 else abs(rho) * math.sqrt((n - 2) / rest)
    return Trend(rho=rho, p=2 * float(special.stdtr(n - 2, -t)), first=first, last=last)


def outlying(values: Sequence[float] | Floats) -> npt.NDArray[np.bool_]:
    """Return which values lie over `OUTLIER_SIGMAS` robust sigmas from the median.

    Sigma is 1.4826 times the median absolute deviation. None is, where more than half
    of the values are equal.

    Source: Hampel, The influence curve and its role in robust estimation, JASA 69
    (1974), 383-393.

    """
    array = np.asarray(values, dtype=np.float64)
    away = np.abs(array - _middle(np.sort(array)))
    sigma = 1.4826 * _middle(np.sort(away))
    outside: npt.NDArray[np.bool_] = (away > OUTLIER_SIGMAS * sigma) & (sigma > 0)
    return outside


def detectable(
    values: Sequence[float] | Floats,
    *,
    effective_n: int | None = None,
    confidence: float = CONFIDENCE,
    power: float = POWER,
) -> float:
    """Return the smallest shift of the median that the sign test finds that often.

    A shift d is found with that power when a share p = 1/2 + (z_a + z_b) / (2 sqrt(n))
    of the shifted values has its sign; z_a is the normal quantile of the confidence
    (two-sided), z_b that of the power. So d is the distance from the median to the
    p quantile of the values, the longer one of the two directions. The unit is that
    of the values; it is infinite where n is too small for any shift.

    Source: Noether, Sample size determination for some common nonparametric tests,
    JASA 82 (1987), 645-647, solved for the shift instead of n.

    """
    array = np.sort(np.asarray(values, dtype=np.float64))
    n = int(array.size)
    worth = n if effective_n is None else max(1, min(n, effective_n))
    share = 0.5 + _noether(confidence, power) / (2 * math.sqrt(worth))
    if share >= 1:
        return math.inf
    center = _middle(array)
    return max(_quantile(array, share) - center, center - _quantile(array, 1 - share))


@cache
def _noether(confidence: float, power: float) -> float:
    return float(special.ndtri((1 + confidence) / 2) + special.ndtri(power))


def _quantile(ordered: Floats, share: float) -> float:
    """Return a quantile of sorted values, between two of them where it falls there."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))


class Verdict(StrEnum):
    """What a comparison shows."""

    FASTER = "faster"
    SLOWER = "slower"
    EQUIVALENT = "equivalent"  # differs by less than `MARGIN_POINTS`
    UNDECIDED = "no difference found"  # neither different nor equivalent


def noise_floor(control: Interval | None) -> float:
    """Return the larger end of the control's interval in percent, either direction.

    It is 0 without a control and infinite when the control has too few blocks.
    """
    if control is None:
        return 0.0
    return max(abs(control.low), abs(control.high))


def equivalent(gain: Interval, margin: float = MARGIN_POINTS) -> bool:
    """Return whether a gain in percent is less than `margin` points, in any direction.

    It is when the whole interval is: two one-sided tests, at half of 1 - confidence
    each. A 90 % interval would do for 5 %; the printed one is taken, so that whoever
    reads the table comes to the same verdict.

    Source: Schuirmann, A comparison of the two one-sided tests procedure and the
    power approach, J. Pharmacokinetics and Biopharmaceutics 15 (1987), 657-680.

    """
    return -margin < gain.low and gain.high < margin


def verdict(
    gain: Interval, floor_percent: float = 0.0, margin: float = MARGIN_POINTS
) -> Verdict:
    """Return what a gain in percent shows.

    Faster or slower: the interval leaves out zero and reaches beyond the noise floor.
    Else equivalent: it lies within the margin. Else undecided.
    """
    reaches = max(abs(gain.low), abs(gain.high)) > floor_percent
    if gain.excludes_zero and reaches:
        return Verdict.FASTER if gain.low > 0 else Verdict.SLOWER
    return Verdict.EQUIVALENT if equivalent(gain, margin) else Verdict.UNDECIDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An arm against the baseline, paired within the block.

    Attributes:
        gain: in requests per second, percent.
        saved: ns per request.
        verdict: what `gain` shows, the noise floor considered.
        equivalent: whether it differs by less than `MARGIN_POINTS`; so may an arm that
            is faster or slower.
        p_sign: of the sign test.
        p_adjusted: the same for all comparisons of a table; NaN until it is known.
        mde_percent: the gain found with `POWER` at `CONFIDENCE`; inf: n is too small.
        effective_n: how many independent blocks the n are worth.
        warnings: to be printed wherever the numbers are.

    """

    gain: Interval
    saved: Interval
    verdict: Verdict
    equivalent: bool
    p_sign: float
    mde_percent: float
    effective_n: int
    p_adjusted: float = math.nan
    warnings: tuple[str, ...] = ()


def independent_n(
    values: Sequence[float] | Floats, groups: Sequence[int] | None = None
) -> int:
    """Return the number of independent values that an interval may count on.

    The lesser of `effective_n` and, where there are groups, `clustered_n`.

    Args:
        values: in the order in which they were measured.
        groups: the placement that each was measured in; None for a single one.

    """
    alone = effective_n(values)
    return alone if groups is None else min(alone, clustered_n(values, groups))


def compare(
    arm_ns: Floats,
    baseline_ns: Floats,
    *,
    groups: Sequence[int] | None = None,
    floor_percent: float = 0.0,
    margin: float = MARGIN_POINTS,
) -> Comparison:
    """Return everything that is said of an arm against the baseline.

    Args:
        arm_ns: ns per request, one value per block, in the order of the blocks.
        baseline_ns: those of the baseline in the same blocks.
        groups: the placement of each block; None for a single one.
        floor_percent: the noise floor of the point (`noise_floor` of its control).
        margin: what equivalent arms differ by at most, percent points.

    Raises:
        ValueError: no blocks, or a cost that is not finite.

    """
    ratios = log_gain(arm_ns, baseline_ns)
    worth = independent_n(ratios, groups)
    gain = median_interval(ratios, effective_n=worth).map(percent)
    found = verdict(gain, floor_percent, margin)
    mde = percent(detectable(ratios, effective_n=worth))
    return Comparison(
        gain=gain,
        saved=median_interval(baseline_ns - arm_ns, effective_n=worth),
        verdict=found,
        equivalent=equivalent(gain, margin),
        p_sign=sign_test(ratios, effective_n=worth).p,
        mde_percent=mde,
        effective_n=worth,
        warnings=(
            *gain.warnings,
            *_weak(gain, found, mde),
            *_dependent(len(ratios), worth),
            *_drifting(ratios, gain),
            *_outliers(ratios, found, groups, floor=floor_percent, margin=margin),
        ),
    )


def _weak(gain: Interval, found: Verdict, mde: float) -> Iterator[str]:
    """Yield what a gain may hide, or owe to luck, at this number of blocks."""
    if found is Verdict.UNDECIDED and math.isinf(mde) and not gain.warnings:
        yield f"{TOO_SMALL}: n={gain.n} blocks find no gain reliably"
    elif found is Verdict.UNDECIDED and mde < math.inf:
        yield f"{TOO_SMALL}: gains below {mde:.1f} points are often missed here"
    elif found is not Verdict.EQUIVALENT and abs(gain.center) < mde < math.inf:
        # What is found by luck is found too large: Gelman and Carlin, Perspectives
        # on Psychological Science 9 (2014), 641-651.
        yield f"near the limit: gains below {mde:.1f} points are often missed here"


def _dependent(n: int, worth: int) -> Iterator[str]:
    if worth < FEW * n:
        yield f"dependence: {n} blocks count as {worth}, intervals widened"


def _drifting(ratios: Floats, gain: Interval) -> Iterator[str]:
    """Yield a warning where the gain drifts by more than its interval tells."""
    if len(ratios) < needed():
        return
    seen = trend(ratios)
    first, last = percent(seen.first), percent(seen.last)
    if seen.p < ALARM and abs(last - first) > half_width(gain):
        yield f"drift: {first:+.1f}% in the first third, {last:+.1f}% in the last"


def _outliers(
    ratios: Floats,
    found: Verdict,
    groups: Sequence[int] | None,
    *,
    floor: float,
    margin: float,
) -> Iterator[str]:
    """Yield how many blocks lie far out, and whether they make the finding."""
    outside = outlying(ratios)
    count = int(outside.sum())
    if count:
        rest = ratios[~outside]
        left = None if groups is None else list(np.asarray(groups)[~outside])
        worth = independent_n(rest, left)
        gain = median_interval(rest, effective_n=worth).map(percent)
        without = verdict(gain, floor, margin)
        then = "the same finding" if without is found else str(without)
        yield (
            f"outliers: {count} of {len(ratios)} blocks are over "
            f"{OUTLIER_SIGMAS:.0f} sigma away, all kept "
            f"(without them: {then})"
        )
