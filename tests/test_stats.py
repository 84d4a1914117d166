"""Intervals and paired effects, against brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from scipy.signal import lfilter

from zclab import stats

SIZES = (6, 7, 10, 20, 31, 60, 101, 300)


def brute_force_rank(n: int, confidence: float) -> int:
    """Return the largest k for which [x_k, x_(n+1-k)] has that coverage."""
    weights = [math.comb(n, i) for i in range(n + 1)]
    total = 2**n
    best = 0
    for k in range(1, n // 2 + 1):
        outside = 2 * sum(weights[:k])  # fewer than k values on one side
        if 1 - outside / total >= confidence:
            best = k
    return best


@pytest.mark.parametrize("n", SIZES)
def test_the_interval_is_the_narrowest_pair_of_order_statistics(n: int) -> None:
    """The bounds are the innermost order statistics whose coverage is enough."""
    values = np.random.default_rng(n).normal(size=n)
    found = stats.median_interval(values)
    k = brute_force_rank(n, stats.CONFIDENCE)
    ordered = np.sort(values)

    assert (ordered[k - 1], ordered[n - k]) == (found.low, found.high)
    assert n == found.n


@pytest.mark.parametrize("n", [6, 15, 60])
def test_the_interval_covers_the_median_as_often_as_it_says(n: int) -> None:
    """Over skewed samples with a known median, 95 in 100 intervals hold it."""
    random = np.random.default_rng(7)
    truth = math.log(2)  # median of the unit exponential
    hits = 0
    for _ in range(200):
        found = stats.median_interval(random.exponential(size=n))
        hits += found.low <= truth <= found.high

    # Four standard errors of 200 draws below 0.95.
    assert hits / 200 > 0.95 - 4 * math.sqrt(0.95 * 0.05 / 200)


@pytest.mark.parametrize("n", range(1, 6))
def test_too_few_blocks_give_no_interval_but_a_warning(n: int) -> None:
    """Below six values the bounds are infinite and the warning says how many it needs.

    2 * 0.5**5 is above 0.05, so five values cannot give 95 %.
    """
    found = stats.median_interval(list(range(n)))

    assert (-math.inf, math.inf) == (found.low, found.high)
    assert "needs 6 blocks" in found.warnings[0]
    assert stats.needed() == 6


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.9375, 0.95, 0.99, 0.999])
def test_so_many_blocks_are_needed(confidence: float) -> None:
    """It is the first n whose range covers the median that often."""
    n = stats.needed(confidence)

    assert 1 - 2 * 0.5**n >= confidence > 1 - 2 * 0.5 ** (n - 1)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_values_that_are_no_numbers_are_refused(values: list[float]) -> None:
    """No values, or one that is not finite, is an error and not a number."""
    with pytest.raises(ValueError, match="finite"):
        stats.median_interval(values)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=40),
    st.floats(-1e3, 1e3),
)
def test_the_interval_moves_with_its_values(values: list[float], by: float) -> None:
    """The median lies inside its interval, and both shift with the values."""
    found = stats.median_interval(values)
    moved = stats.median_interval([value + by for value in values])

    assert found.low <= found.center <= found.high
    assert moved.low == pytest.approx(found.low + by, abs=1e-6)
    assert moved.high == pytest.approx(found.high + by, abs=1e-6)


def gain_percent(arm_ns: np.ndarray, base_ns: np.ndarray) -> stats.Interval:
    """Return the gain of an arm in percent, where all blocks are independent."""
    return stats.median_interval(stats.log_gain(arm_ns, base_ns)).map(stats.percent)


@given(st.floats(0.2, 5.0), st.integers(6, 60), st.integers(0, 1000))
def test_what_slows_a_whole_block_cancels(ratio: float, n: int, seed: int) -> None:
    """Pairing finds an exact ratio under block noise of any size."""
    mood = np.exp(np.random.default_rng(seed).normal(0, 2, size=n))
    found = gain_percent(1000 * mood / ratio, 1000 * mood)

    assert found.center == pytest.approx((ratio - 1) * 100)
    assert found.high - found.low == pytest.approx(0, abs=1e-6)


def test_pairing_is_within_the_block() -> None:
    """Shuffling one arm's blocks widens the interval of a noisy host many times."""
    random = np.random.default_rng(3)
    mood = np.exp(random.normal(0, 0.3, size=60))
    base, arm = 1000 * mood, 800 * mood * np.exp(random.normal(0, 0.01, size=60))
    paired = gain_percent(arm, base)
    unpaired = gain_percent(random.permutation(arm), base)

    assert pytest.approx(paired.center, abs=1) == 25
    assert unpaired.high - unpaired.low > 10 * (paired.high - paired.low)


@given(st.integers(6, 50), st.integers(0, 1000))
def test_the_gain_of_swapped_arms_is_the_inverse_ratio(n: int, seed: int) -> None:
    """If A gains g over B, B gains 1/(1+g)-1 over A, bounds swapped."""
    random = np.random.default_rng(seed)
    a, b = random.uniform(1, 2, size=n), random.uniform(1, 2, size=n)
    there, back = gain_percent(a, b), gain_percent(b, a)

    def inverse(percent: float) -> float:
        return 100 / (1 + percent / 100) - 100

    assert back.low == pytest.approx(inverse(there.high))
    assert back.high == pytest.approx(inverse(there.low))


def test_an_arm_against_itself_shows_nothing() -> None:
    """A/A on one set of values is exactly zero, and does not exclude it."""
    values = np.random.default_rng(1).uniform(1, 2, size=20)
    found = gain_percent(values, values)

    assert (found.low, found.center, found.high) == (0, 0, 0)
    assert not found.excludes_zero


def test_false_alarms_of_the_control_are_at_most_one_in_twenty() -> None:
    """Of 200 A/A comparisons no more than 5 %, within error, exclude zero."""
    random = np.random.default_rng(11)
    alarms = 0
    for _ in range(200):
        noise = np.exp(random.normal(0, 0.05, size=(2, 60)))
        alarms += gain_percent(noise[0], noise[1]).excludes_zero

    assert alarms / 200 < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 200)


def test_saved_ns_is_positive_where_the_arm_is_faster() -> None:
    """An arm at 800 ns against 1000 ns saves 200 ns a request."""
    found = stats.compare(np.full(9, 800.0), np.full(9, 1000.0)).saved

    assert found.center == 200
    assert found.excludes_zero


def test_map_keeps_the_order_of_the_bounds() -> None:
    """A falling function swaps the bounds, so that low stays below high."""
    found = stats.median_interval([1, 2, 3, 4, 5, 6, 7]).map(lambda x: -x)

    assert found.low < found.center < found.high


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [8, 11, 40, 44, 300, 1001])
def test_the_interval_is_that_of_scipy(n: int, confidence: float) -> None:
    """Ranks that are remembered give the bounds that scipy computes each time."""
    values = np.random.default_rng(n).normal(size=n).round(1)
    found = stats.median_interval(values, confidence)
    test = scipy_stats.quantile_test(values, q=float(np.median(values)), p=0.5)
    theirs = test.confidence_interval(confidence_level=confidence)

    assert (theirs.low, theirs.high) == (found.low, found.high)
    assert float(np.median(values)) == found.center


def test_difference_of_two_intervals() -> None:
    """Half widths 3 and 4 make 5; an unequal side counts on its own side only."""
    assert stats.difference((10, 7, 13), (20, 16, 24)) == (10, 5, 15)
    assert stats.difference((0, 0, 3), (10, 6, 10)) == (10, 5, 10)
    assert stats.difference((0, -4, 0), (10, 10, 13)) == (10, 10, 15)


@pytest.mark.parametrize(
    "unknown", [(0, -math.inf, math.inf), (0, -100, math.inf), (0, -math.inf, 1)]
)
def test_what_has_no_interval_gives_none(unknown: stats.Ends) -> None:
    """One end that is not known leaves neither end, on whichever side it stands."""
    known = (1.0, 0.0, 2.0)

    assert stats.difference(unknown, known) == (1, -math.inf, math.inf)
    assert stats.difference(known, unknown) == (-1, -math.inf, math.inf)


def test_half_a_width_is_without_bound_when_n_is_too_small() -> None:
    """It is half of high minus low, infinite below six values."""
    assert stats.half_width(stats.median_interval([1, 2, 3, 4, 5, 6])) == 2.5
    assert stats.half_width(gain_percent(np.ones(5), np.ones(5))) == math.inf


def paired_noise(n: int, seed: int, correlation: float = 0.0) -> np.ndarray:
    """Return AR(1) noise of n blocks, as a log ratio with a spread of 3 %."""
    draws = np.random.default_rng(seed).normal(0, 0.03, size=n + 50)
    return lfilter([1], [1, -correlation], draws)[50:]


@given(st.lists(st.floats(0.1, 9) | st.floats(-9, -0.1), min_size=1, max_size=12))
def test_the_sign_test_is_that_of_all_signs(values: list[float]) -> None:
    """P is the share of all 2**n sign patterns that are at least as lopsided."""
    n = len(values)
    seen = abs(sum(np.sign(values)))
    patterns = itertools.product([-1, 1], repeat=n)
    as_far = sum(abs(sum(pattern)) >= seen for pattern in patterns)

    assert stats.sign_test(values).p == pytest.approx(as_far / 2**n)


@given(st.integers(6, 80), st.integers(1, 80), st.integers(0, 300), st.floats(-1, 1))
def test_sign_test_and_interval_agree(
    n: int, worth: int, seed: int, shift: float
) -> None:
    """P is below 5 % exactly where the interval leaves out zero, corrected or not."""
    values = np.random.default_rng(seed).normal(shift, 1, size=n).round(1)
    interval = stats.median_interval(values, effective_n=worth)

    assert interval.excludes_zero == (
        stats.sign_test(values, effective_n=worth).p < 0.05
    )


@pytest.mark.parametrize("n", [40, 100, 300])
def test_fewer_effective_blocks_widen_the_interval(n: int) -> None:
    """The bounds move outwards as the effective n falls, to infinity below six."""
    values = np.random.default_rng(n).normal(size=n)
    widths = [
        stats.half_width(stats.median_interval(values, effective_n=worth))
        for worth in (n, n // 2, n // 4, 5)
    ]

    assert stats.half_width(stats.median_interval(values)) == widths[0]
    assert sorted(set(widths)) == widths
    assert widths[-1] == math.inf


def test_too_few_values_for_a_test_are_told() -> None:
    """Five signs cannot reach 5 %."""
    assert "needs 6" in stats.sign_test([1, 2, 3, 4, 5]).warnings[0]


def brute_force_holm(p_values: list[float]) -> list[float]:
    """Return for each p the least level at which Holm's procedure rejects it."""
    levels = sorted({min(1, p * k) for p in p_values for k in range(1, 9)} | {1})

    def rejects(level: float) -> set[int]:
        gone: set[int] = set()
        for i in sorted(range(len(p_values)), key=p_values.__getitem__):
            if min(1, p_values[i] * (len(p_values) - len(gone))) > level:
                break
            gone.add(i)
        return gone

    return [
        min(level for level in levels if i in rejects(level))
        for i in range(len(p_values))
    ]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_step_down_procedure(p_values: list[float]) -> None:
    """Adjusted p values are the levels at which the procedure rejects."""
    assert brute_force_holm(p_values) == pytest.approx(list(stats.holm(p_values)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_adjusted_p_values_are_never_smaller(p_values: list[float]) -> None:
    """Among others a p value counts for less, never for more."""
    plain = np.array(p_values)

    assert (plain <= stats.holm(plain) + 1e-12).all()


def test_what_was_not_tested_is_no_comparison() -> None:
    """NaN stays NaN and adjusts no other p value."""
    found = stats.holm([0.01, math.nan, 0.02])

    assert found[[0, 2]] == pytest.approx([0.02, 0.02])
    assert math.isnan(found[1])
    assert np.isnan(stats.holm([math.nan])).all()


def test_independent_blocks_count_in_full_and_dependent_ones_do_not() -> None:
    """AR(1) of 0.5 leaves about n/2 for the median: its signs correlate by 1/3."""
    free = [stats.effective_n(paired_noise(300, seed)) for seed in range(100)]
    bound = [stats.effective_n(paired_noise(300, seed, 0.5)) for seed in range(100)]

    assert np.median(free) == 300
    assert 100 < np.median(bound) < 180
    assert stats.effective_n(np.ones(50)) == 50


@pytest.mark.parametrize("n", [40, 100, 300])
@pytest.mark.parametrize("correlation", [0.0, 0.2, 0.5])
def test_intervals_of_dependent_blocks_still_cover(n: int, correlation: float) -> None:
    """With AR(1) blocks the corrected interval misses as rarely as it should."""
    misses = 0
    for seed in range(500):
        values = paired_noise(n, seed, correlation)
        worth = stats.effective_n(values)
        misses += stats.median_interval(values, effective_n=worth).excludes_zero
    # Six in a hundred, and three standard errors of 500 draws; without the
    # correction 17 in a hundred miss at 0.5.
    assert misses / 500 < 0.06 + 3 * math.sqrt(0.06 * 0.94 / 500)


def test_a_trend_is_told_and_noise_is_not() -> None:
    """Rho and p are scipy's; a constant series has neither trend nor error."""
    values = paired_noise(60, 1) + np.linspace(0, 0.05, 60)
    found = stats.trend(values)
    theirs = scipy_stats.spearmanr(np.arange(60), values)

    assert (found.rho, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert found.last > found.first
    assert stats.trend(np.ones(9)).p == 1
    assert stats.trend(np.arange(9.0)).p == 0


def test_outliers_are_beyond_ten_robust_sigmas() -> None:
    """Only the far value is one, however far it is; among equal values none is."""
    values = [*paired_noise(50, 2), 1e9]

    assert list(np.flatnonzero(stats.outlying(values))) == [50]
    assert not stats.outlying([1.0] * 9 + [2.0]).any()


@pytest.mark.parametrize(("n", "seed"), [(40, 1), (100, 2), (300, 3)])
def test_the_detectable_effect_is_found_as_often_as_it_says(n: int, seed: int) -> None:
    """Planted in 400 series, the minimum detectable effect is found in nine of ten."""
    random = np.random.default_rng(seed)
    quantile = scipy_stats.norm.ppf(0.5 + stats._noether(0.95, 0.9) / 2 / math.sqrt(n))
    found = sum(
        stats.median_interval(random.normal(quantile, 1, size=n)).excludes_zero
        for _ in range(400)
    )
    told = np.mean([stats.detectable(random.normal(0, 1, size=n)) for _ in range(200)])

    # Three standard errors of 400 draws; ranks are discrete, which costs at n=40.
    assert 0.9 - 0.045 - 0.02 * (n == 40) < found / 400 < 0.9 + 0.045
    # What a series says of itself is the larger of two directions, so a bit more.
    assert quantile * 0.95 < told < quantile * 1.3


def test_too_few_blocks_find_no_effect_for_sure() -> None:
    """The normal quantiles ask for eleven blocks; ten can detect nothing so often."""
    assert stats.detectable(np.arange(10.0)) == math.inf
    assert stats.detectable(np.arange(11.0)) < math.inf
    assert stats.detectable(np.arange(100.0), effective_n=10) == math.inf


@pytest.mark.parametrize(
    ("low", "high", "floor", "expected"),
    [
        (1.0, 2.0, 0.5, stats.Verdict.FASTER),
        (-2.0, -1.0, 0.5, stats.Verdict.SLOWER),
        (0.2, 0.8, 0.5, stats.Verdict.FASTER),
        (0.2, 0.8, 0.9, stats.Verdict.EQUIVALENT),
        (-0.8, 0.9, 0.0, stats.Verdict.EQUIVALENT),
        (-0.8, 1.0, 0.0, stats.Verdict.UNDECIDED),
        (0.2, 1.8, 1.9, stats.Verdict.UNDECIDED),
        (-math.inf, math.inf, 0.5, stats.Verdict.UNDECIDED),
    ],
)
def test_the_verdict_is_read_off_the_interval(
    low: float, high: float, floor: float, expected: stats.Verdict
) -> None:
    """Different where zero is left out, else equivalent within a point, else open."""
    gain = stats.Interval(center=0.0, low=low, high=high, n=10)

    assert stats.verdict(gain, floor) is expected
    assert stats.equivalent(gain) == (low > -1 and high < 1)


def costs_of(ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return costs of arm and baseline with these log ratios."""
    return 1000 * np.exp(-ratios), np.full(len(ratios), 1000.0)


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        (0.0, stats.Verdict.EQUIVALENT),
        (1.0, stats.Verdict.FASTER),
        (-1.0, stats.Verdict.SLOWER),
    ],
)
def test_planted_effects_get_their_verdict(
    planted: float, expected: stats.Verdict
) -> None:
    """At 300 blocks and 3 % of noise, 1 % is found and 0 % is called equivalent."""
    shift = math.log1p(planted / 100)
    found = [
        stats.compare(*costs_of(paired_noise(300, seed) + shift)) for seed in range(100)
    ]
    right = np.mean([each.verdict is expected for each in found])
    called = [each.equivalent for each in found]

    assert right > 0.85
    assert planted or np.mean(called) > 0.95


def test_a_comparison_agrees_with_its_parts() -> None:
    """Gain, saving and p are those of the functions, where blocks are independent."""
    arm, base = costs_of(paired_noise(100, 4) + 0.1)
    found = stats.compare(arm, base)

    assert found.effective_n == 100
    assert gain_percent(arm, base) == found.gain
    assert stats.median_interval(base - arm) == found.saved
    assert stats.sign_test(base - arm).p == found.p_sign
    assert math.isnan(found.p_adjusted)
    assert found.warnings == ()


def test_warnings_say_what_troubles_a_comparison() -> None:
    """Drift, dependence, outliers and too few blocks are each told, with numbers."""
    noise = paired_noise(300, 5)
    drifting = stats.compare(*costs_of(noise + np.linspace(0, 0.1, 300)))
    assert any(text.startswith("drift: ") for text in drifting.warnings)
    bound = stats.compare(*costs_of(paired_noise(300, 5, 0.7)))
    assert any("300 blocks count as" in text for text in bound.warnings)
    spoilt = stats.compare(*costs_of(np.where(np.arange(300) < 3, 2, noise + 0.05)))
    assert (
        "outliers: 3 of 300 blocks are over 10 sigma away, all kept "
        "(without them: the same finding)" in spoilt.warnings
    )
    few = stats.compare(*costs_of(noise[:5]))
    assert "needs 6 blocks" in few.warnings[0]
    unseen = stats.compare(*costs_of(noise[:8]))
    assert "too small to see: n=8 blocks find no gain reliably" in unseen.warnings


def test_an_outlier_that_makes_the_finding_is_told() -> None:
    """Seven equal signs find an effect; without the far one there is none."""
    ratios = np.array([0.01, 0.012, 0.011, 0.013, 0.009, 2.0])
    found = stats.compare(*costs_of(ratios))

    assert found.verdict is stats.Verdict.FASTER
    assert (
        "outliers: 1 of 6 blocks are over 10 sigma away, all kept "
        "(without them: no difference found)" in found.warnings
    )


def test_what_is_left_without_outliers_is_still_in_placements() -> None:
    """Six placements that differ find nothing, with the far block and without it."""
    made = np.random.default_rng(7)
    groups = [i % 6 for i in range(120)]
    levels = np.array([0.03, -0.012, 0.025, 0.015, -0.01, 0.02])
    ratios = levels[groups] + made.normal(0, 0.001, size=120)
    ratios[17] = 2.0
    found = stats.compare(*costs_of(ratios), groups=groups)

    assert stats.effective_n(ratios) == 120
    assert found.verdict is stats.Verdict.UNDECIDED
    assert any("(without them: the same finding)" in text for text in found.warnings)


def test_values_that_are_alike_in_groups_count_as_the_groups():
    """Ten groups of five equal values are worth ten values at the most."""
    made = np.random.default_rng(2)
    values = np.repeat(made.normal(size=10), 5)

    assert stats.clustered_n(values, np.repeat(np.arange(10), 5).tolist()) <= 10


def test_groups_that_differ_by_chance_do_not_count():
    """Independent values in groups are worth their number, in most series."""
    made = np.random.default_rng(3)
    groups = np.repeat(np.arange(12), 5).tolist()
    worth = [stats.clustered_n(made.normal(size=60), groups) for _ in range(200)]

    assert np.mean(np.asarray(worth) == 60) > 0.7
    assert max(worth) <= 60


@pytest.mark.parametrize("groups", [[0] * 20, list(range(20))])
def test_one_group_or_only_single_ones_tell_nothing(groups):
    """Without two groups of which one has two values, n is all there is."""
    values = np.random.default_rng(4).normal(size=20)

    assert stats.clustered_n(values, groups) == 20


def test_caution_never_counts_more():
    """The cautious number is below the plain one, also where groups seem equal."""
    made = np.random.default_rng(5)
    groups = np.repeat(np.arange(8), 5).tolist()
    for _ in range(100):
        values = made.normal(size=40)

        cautious = stats.clustered_n(values, groups, cautious=True)
        assert cautious < stats.clustered_n(values, groups)


def test_intervals_of_grouped_values_cover():
    """Where groups differ, an interval that knows them misses as often as it should."""
    made = np.random.default_rng(6)
    groups = np.repeat(np.arange(12), 10).tolist()
    blind = seeing = 0
    for _ in range(400):
        values = made.normal(size=120) + np.repeat(made.normal(size=12), 10)
        n = stats.independent_n(values, groups)
        seeing += stats.median_interval(values, effective_n=n).excludes_zero
        blind += stats.median_interval(values).excludes_zero

    assert seeing <= 30  # 20 are expected, 31 would be at one in a hundred
    assert blind > 80
