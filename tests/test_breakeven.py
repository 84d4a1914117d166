"""The direct search for a break-even size, on costs that are known."""

import math

import pytest

from zclab.explain import cost
from zclab.prove import breakeven
from zclab.prove.breakeven import Bracket


def step(size):
    """Return the sign of a saving that becomes one at 7814 B."""
    return 1 if size >= 7814 else -1


def window(size):
    """Return that of one with a window below the break-even size of 21000 B."""
    return 1 if 12000 <= size < 16000 or size >= 21000 else -1


def vague(size):
    """Return that of one that is not decided from 9000 to 12000 B."""
    return -1 if size < 9000 else 0 if size < 12000 else 1


@pytest.mark.parametrize(
    ("sign", "from_on", "narrow"),
    [(step, 7814, 0.01), (step, 7814, 0.0), (window, 21000, 0.01)],
)
def test_the_size_is_in_the_bracket(sign, from_on, narrow):
    """The bracket holds the size from which on all larger ones pay, and is narrow."""
    found = breakeven.search(sign, 64, 65507, narrow=narrow)

    assert found.low < from_on <= found.high
    assert found.high - found.low <= max(narrow * found.high, 1)


def test_what_is_undecided_stays_in_the_bracket():
    """The bracket reaches from what surely costs more to what surely costs less."""
    found = breakeven.search(vague, 64, 65507)

    assert found.low < 9000
    assert 12000 <= found.high <= 12000 * 1.02


def test_enough_leaves_the_bracket_wide():
    """A search that is ended has a bracket that still holds the size."""
    found = breakeven.search(step, 64, 65507, enough=lambda: True)

    assert (found.low, found.high) == (4094, 8188)


def test_each_size_is_measured_once():
    """No size is looked at twice, and the looks are counted."""
    seen = []

    found = breakeven.search(lambda size: seen.append(size) or step(size), 64, 65507)

    assert len(seen) == len(set(seen)) == found.looks


@pytest.mark.parametrize(
    ("sign", "text"), [(lambda _: -1, "never"), (lambda _: 1, "[below all, 64] B")]
)
def test_nothing_to_search(sign, text):
    """Where zerocopy never or always pays the search says so."""
    assert breakeven.search(sign, 64, 65507).text == text


@pytest.mark.parametrize(
    ("kind", "low", "high", "bracket", "agrees"),
    [
        (cost.BETWEEN, 7800, 7850, (7804, 7868), True),
        (cost.BETWEEN, 7227, 7284, (7804, 7868), False),
        (cost.BETWEEN, 20000, 22000, (20900, 21100), True),
        (cost.BETWEEN, 20000, math.inf, (20900, 21100), False),  # tells nothing
        (cost.BETWEEN, 7800, 7850, (255, 32753), False),  # likewise
        (cost.ALWAYS, math.nan, math.nan, (0, 64), True),
        (cost.ALWAYS, math.nan, math.nan, (700, 710), False),
        (cost.NEVER, math.nan, math.nan, (65507, math.inf), True),
        (cost.NEVER, math.nan, math.nan, (700, 710), False),
        (cost.UNCLEAR, math.nan, math.nan, (0, 64), False),
        (cost.UNDECIDED, math.nan, math.nan, (65507, math.inf), False),
    ],
)
def test_agreement(kind, low, high, bracket, agrees):
    """A run and a search agree where both say the same, and say something."""
    row = {"kind": kind, "bytes_low": low, "bytes_high": high}
    found = Bracket(low=bracket[0], high=bracket[1], looks=1)

    assert breakeven.agree(row, found) is agrees
