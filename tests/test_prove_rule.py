"""The proof of the rule for published rows: it must be able to fail."""

import itertools
import math
from collections import Counter

import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from zclab.explain import claims
from zclab.explain.claims import (
    CONTRADICTED,
    DIRECTION_ONLY,
    NOT_COMPARABLE,
    NOT_MEASURED,
    REPRODUCED,
    UNDECIDED,
)
from zclab.prove import rule
from zclab.prove.proof import Finding
from zclab.prove.rule import Planted

SMALL = {"truths": 40, "blocks": 40, "seed": 8}
POINTS = claims.TOLERANCE_POINTS

effects = st.floats(-60, 150).filter(lambda one: abs(one) > 0.01)


def findings(*rows: Planted, word: str = REPRODUCED) -> list[Finding]:
    """Return what the matrix says of planted truths of one class."""
    return list(rule.matrix("percent", word, list(rows)))


def truth(verdict: str, *, clear: bool = True, planted: str = REPRODUCED) -> Planted:
    """Return a truth and what was said of it."""
    return Planted(planted=planted, verdict=verdict, clear=clear)


def failing(**size: int) -> set[str]:
    """Return the classes that the proof finds wrong, with what they are judged by."""
    return {
        one.claim.partition(":")[0].removeprefix("planted ")
        for one in rule.run(**{**SMALL, **size}).findings
        if one.holds is False
    }


def test_the_matrix_counts_all_and_judges_the_clear():
    """All verdicts are told; only clear ones are right or wrong."""
    clear = [truth(REPRODUCED)] * 3 + [truth(UNDECIDED)]
    unclear = [truth(UNDECIDED, clear=False)] * 2 + [truth(REPRODUCED, clear=False)]

    (one,) = findings(*clear, *unclear)

    assert one.figure == "75.0 %"
    assert one.n == "4 clear of 7 truths: 4 reproduced, 3 undecided"
    assert one.wanted == "at least 95 %"


@pytest.mark.parametrize(("wrong", "n", "holds"), [(1, 20, True), (1, 19, False)])
def test_the_bound(wrong, n, holds):
    """19 of 20 are enough, 18 of 19 are not."""
    rows = [truth(CONTRADICTED)] * wrong + [truth(REPRODUCED)] * (n - wrong)

    assert findings(*rows)[0].holds is holds


def test_where_nothing_is_clear_nothing_is_wanted():
    """A class of which no truth is clear is told, and neither holds nor fails."""
    (one,) = findings(*[truth(UNDECIDED, clear=False)] * 5)

    assert (one.figure, one.holds, one.wanted) == ("never clear", None, "")
    assert one.n == "5 truths: 5 undecided"


# In percent: the tolerance is 5 points, or a quarter of the published effect.
@pytest.mark.parametrize(
    ("said", "true", "noise", "word", "clear"),
    [
        (20, 22, 2.9, REPRODUCED, True),  # 3 points from the tolerance's end
        (20, 22, 3.1, REPRODUCED, False),
        (20, 40, 14.9, DIRECTION_ONLY, True),
        (20, 40, 15.1, DIRECTION_ONLY, False),
        (20, 10, 4.9, DIRECTION_ONLY, True),
        (20, 10, 5.1, DIRECTION_ONLY, False),
        (20, -10, 9.9, CONTRADICTED, True),  # other sign; 0 is as far
        (20, -10, 10.1, CONTRADICTED, False),
        (20, 0, 0.1, CONTRADICTED, False),
        (80, 62, 1.9, REPRODUCED, True),  # a quarter of 80 is 20
        (80, 62, 2.1, REPRODUCED, False),
        (3, -1, 0.9, UNDECIDED, True),  # both signs are within the tolerance
        (3, -1, 1.1, UNDECIDED, False),
        (-20, -22, 2.9, REPRODUCED, True),
        (-20, -40, 15.1, DIRECTION_ONLY, False),
        (-20, 10, 9.9, CONTRADICTED, True),
    ],
)
def test_what_is_clear(said, true, noise, word, clear):
    """Clear is what no effect within the noise would make another class of."""
    assert rule.exactly(said, true, POINTS) == word
    assert rule.is_clear(said, true, noise, POINTS) is clear


@given(said=effects, true=effects, noise=st.floats(0.01, 200))
def test_clear_is_farther_than_the_noise_from_every_border(said, true, noise):
    """Borders are 0 and both ends of the tolerance; nothing else matters."""
    tolerance = max(POINTS, claims.TOLERANCE_SHARE * abs(said))
    borders = (0.0, said - tolerance, said + tolerance)
    nearest = min(abs(true - border) for border in borders)
    assume(abs(nearest - noise) > 1e-6)

    assert rule.is_clear(said, true, noise, POINTS) == (noise < nearest)


@given(said=effects, true=effects)
def test_the_rule_says_the_class_of_what_is_known_exactly(said, true):
    """Without noise the verdict is the class, which is written down apart from it."""
    tolerance = max(POINTS, claims.TOLERANCE_SHARE * abs(said))
    assume(abs(abs(said - true) - tolerance) > 1e-6)

    word = claims.verdict(said, true, true, true, floor=0.0, least=POINTS)

    assert word == rule.exactly(said, true, POINTS)


def test_classes_have_the_wanted_size():
    """Of each class so many are drawn; what is saved in ns may change its class."""
    found = rule.planted(**SMALL)
    sizes = {unit: Counter(one.planted for one in rows) for unit, rows in found.items()}

    kinds = (*rule.CLASSES, NOT_COMPARABLE, NOT_MEASURED)
    assert sizes["percent"] == dict.fromkeys(kinds, SMALL["truths"])
    assert set(sizes["ns saved"]) == set(rule.CLASSES)
    assert sizes["ns saved"].total() == len(rule.CLASSES) * SMALL["truths"]
    assert min(sizes["ns saved"].values()) >= 0.9 * SMALL["truths"]


def test_the_same_seed_gives_the_same_truths():
    """Seeds give the same truths and verdicts; another seed gives others."""
    small = {"truths": 8, "blocks": 20}
    first = rule.run(**small, seed=1)

    assert rule.run(**small, seed=1).findings == first.findings
    assert rule.run(**small, seed=2).findings != first.findings


def test_the_rule_holds():
    """As it is, no class is wrong, and those that decide are tried at all."""
    found = rule.run(**SMALL).findings

    assert {one.claim for one in found if one.holds is False} == set()
    tried = {one.claim.partition(",")[0] for one in found if one.holds}
    assert tried >= {
        f"planted {word}"
        for word in (REPRODUCED, DIRECTION_ONLY, CONTRADICTED, NOT_COMPARABLE)
    }


RIGHT = claims.verdict


def without_sign(said, low, _center, high, *, floor, least):
    """Judge as if a loss were as good as a gain."""
    del floor
    tolerance = max(least, claims.TOLERANCE_SHARE * abs(said))
    near = low - tolerance <= said <= high + tolerance
    return REPRODUCED if near else DIRECTION_ONLY


def without_tolerance(said, low, center, high, *, floor, least):
    """Judge by the interval alone."""
    del least
    same = (said > 0) == (center > 0) and not low <= 0 <= high
    if same and max(abs(low), abs(high)) > floor:
        return REPRODUCED if low <= said <= high else DIRECTION_ONLY
    return UNDECIDED if low <= said <= high else CONTRADICTED


def with_four_tolerances(said, low, center, high, *, floor, least):
    """Judge as near what is four times as far as the rule allows."""
    more = 3 * max(least, claims.TOLERANCE_SHARE * abs(said))
    near = RIGHT(said, said - more, said, said + more, floor=floor, least=least)
    word = RIGHT(said, low, center, high, floor=floor, least=least)
    wide = max(low - said, said - high) <= more + least
    return near if word == DIRECTION_ONLY and wide else word


def without_a_word(*_, **__):
    """Judge nothing."""
    return UNDECIDED


def by_mixed_up_words(*args, **kwargs):
    """Judge rightly, and say the other word for the same sign."""
    word = RIGHT(*args, **kwargs)
    return {REPRODUCED: DIRECTION_ONLY, DIRECTION_ONLY: REPRODUCED}.get(word, word)


@pytest.mark.parametrize(
    ("wrong", "fails"),
    [
        (without_sign, {CONTRADICTED}),
        (without_tolerance, {REPRODUCED}),
        (with_four_tolerances, {DIRECTION_ONLY}),
        (without_a_word, {REPRODUCED, DIRECTION_ONLY, CONTRADICTED}),
        (by_mixed_up_words, {REPRODUCED, DIRECTION_ONLY}),
    ],
)
def test_a_wrong_rule_fails(monkeypatch, wrong, fails):
    """Planted classes do not follow the rule, so that a wrong one misses them."""
    monkeypatch.setattr(claims, "verdict", wrong)

    found = failing()

    units = ("percent", "ns saved")
    assert found == {f"{word}, judged by {unit}" for word in fails for unit in units}


def test_a_rule_that_is_wrong_now_and_then_fails(monkeypatch):
    """One wrong verdict in ten is more than 95 % allow."""
    calls = itertools.count()

    def sloppy(*args, **kwargs):
        word = RIGHT(*args, **kwargs)
        return word if next(calls) % 10 else UNDECIDED

    monkeypatch.setattr(claims, "verdict", sloppy)

    assert f"{DIRECTION_ONLY}, judged by percent" in failing(truths=80)


def test_taking_copies_for_zerocopy_fails(monkeypatch):
    """Points that are no counterpart in kind must be told, whatever their effect."""
    monkeypatch.setattr(claims, "kept_zerocopy", lambda _share: True)

    assert failing() == {f"{NOT_COMPARABLE}, judged by percent"}


def test_noise_is_half_the_interval_and_the_floor(monkeypatch):
    """What is clear is asked of the point's own noise."""
    row = {"gain_low": 6.0, "gain_high": 10.0, "floor_percent": 1.5, "copied_share": 0}
    ours = pd.Series({"gain_percent": 8.0, "n": 40, "mde_percent": 1.0, **row})
    asked = []
    monkeypatch.setattr(rule, "is_clear", lambda *values: bool(asked.append(values)))

    rule._by_percent(20.0, 8.5, ours)

    assert asked == [(20.0, 8.5, 3.5, POINTS)]


@pytest.mark.parametrize("noise", [math.inf, math.nan])
def test_without_an_interval_nothing_is_clear(noise):
    """Points of too few blocks have no interval, so their noise has no bound."""
    assert not rule.is_clear(20, -10, noise, POINTS)
    assert not rule.is_clear(20, 20, noise, POINTS)
