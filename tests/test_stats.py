"""Intervals and paired effects, against brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

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


@given(st.floats(0.2, 5.0), st.integers(6, 60), st.integers(0, 1000))
def test_what_slows_a_whole_block_cancels(ratio: float, n: int, seed: int) -> None:
    """Pairing finds an exact ratio under block noise of any size."""
    mood = np.exp(np.random.default_rng(seed).normal(0, 2, size=n))
    found = stats.gain_percent(1000 * mood / ratio, 1000 * mood)

    assert found.center == pytest.approx((ratio - 1) * 100)
    assert found.high - found.low == pytest.approx(0, abs=1e-6)


def test_pairing_is_within_the_block() -> None:
    """Shuffling one arm's blocks widens the interval of a noisy host many times."""
    random = np.random.default_rng(3)
    mood = np.exp(random.normal(0, 0.3, size=60))
    base, arm = 1000 * mood, 800 * mood * np.exp(random.normal(0, 0.01, size=60))
    paired = stats.gain_percent(arm, base)
    unpaired = stats.gain_percent(random.permutation(arm), base)

    assert pytest.approx(paired.center, abs=1) == 25
    assert unpaired.high - unpaired.low > 10 * (paired.high - paired.low)


@given(st.integers(6, 50), st.integers(0, 1000))
def test_the_gain_of_swapped_arms_is_the_inverse_ratio(n: int, seed: int) -> None:
    """If A gains g over B, B gains 1/(1+g)-1 over A, bounds swapped."""
    random = np.random.default_rng(seed)
    a, b = random.uniform(1, 2, size=n), random.uniform(1, 2, size=n)
    there, back = stats.gain_percent(a, b), stats.gain_percent(b, a)

    def inverse(percent: float) -> float:
        return 100 / (1 + percent / 100) - 100

    assert back.low == pytest.approx(inverse(there.high))
    assert back.high == pytest.approx(inverse(there.low))


def test_an_arm_against_itself_shows_nothing() -> None:
    """A/A on one set of values is exactly zero, and does not exclude it."""
    values = np.random.default_rng(1).uniform(1, 2, size=20)
    found = stats.gain_percent(values, values)

    assert (found.low, found.center, found.high) == (0, 0, 0)
    assert not found.excludes_zero


def test_false_alarms_of_the_control_are_at_most_one_in_twenty() -> None:
    """Of 200 A/A comparisons no more than 5 %, within error, exclude zero."""
    random = np.random.default_rng(11)
    alarms = 0
    for _ in range(200):
        noise = np.exp(random.normal(0, 0.05, size=(2, 60)))
        alarms += stats.gain_percent(noise[0], noise[1]).excludes_zero

    assert alarms / 200 < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 200)


def test_saved_ns_is_positive_where_the_arm_is_faster() -> None:
    """An arm at 800 ns against 1000 ns saves 200 ns a request."""
    found = stats.saved_ns(np.full(9, 800.0), np.full(9, 1000.0))

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


def test_half_a_width_is_without_bound_when_n_is_too_small() -> None:
    """It is half of high minus low, infinite below six values."""
    assert stats.half_width(stats.median_interval([1, 2, 3, 4, 5, 6])) == 2.5
    assert stats.half_width(stats.gain_percent(np.ones(5), np.ones(5))) == math.inf
