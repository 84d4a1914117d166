"""The rule for published rows, against truths that are planted: class against verdict.

A truth is a published effect and a true one. Its class is what the rule says of the
true effect itself, known without noise. It is written down here a second time, from
the words of `claims`: a class that came from the code under test would be as wrong as
that, and the two would always agree. The lab measures the true effect in bad weather,
and the verdict is on what was measured.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from zclab import stats, synthetic
from zclab.explain import claims, published, table
from zclab.measure import sweep
from zclab.params import BASELINE, CONTROL
from zclab.prove.proof import MODEL, Finding, Proof, Share, Watch
from zclab.prove.weathers import HOST
from zclab.truth import Truth

TRUTHS = 1000  # of each class
BLOCKS = 100
LEAST = 95.0  # percent of the clear truths that must get their class
ARM = "send_zc_fixed"
DRAWN = 40  # candidates per truth wanted, of which most are of common classes

CLASSES = (
    claims.REPRODUCED,
    claims.DIRECTION_ONLY,
    claims.UNDECIDED,
    claims.CONTRADICTED,
)

NOTES = (
    f"Each point has {BLOCKS} blocks of {BASELINE}, {ARM} and the control in the "
    "weather host. Half of the published effects are drawn from about the tolerance, "
    "the others from -40 to 120 %, or as many ns; the true ones about them, from "
    "anywhere, and about nothing, until each class has its number. The verdicts are "
    "those of `claims.judge`, with the noise floor of the point's own control, and for "
    "the ns saved those of `claims.verdict`.",
    "What is saved in ns is a share of what a send costs, and in this weather that "
    "drifts by some tens of percent. The true ns are those of the median cost of the "
    "point, so a few truths are of another class than the one they were drawn for.",
    "Class: what the rule says of the true effect, without noise. Clear: no effect "
    "that differs from the true one by less than the noise has another class; the "
    "noise is half the width of the interval plus the noise floor. Only of these can "
    "the verdict be wrong, of all others it may fall either way: all are in the rows "
    "of the matrix.",
    "Undecided as a class: the published effect is within the tolerance of the true "
    "one, which has the other sign or is none; nobody can tell them apart.",
    "Not comparable: the same points, but 2 to 100 % of their notifications say "
    "copied. Not measured: a point without the arm. Both are always clear: they do not "
    "depend on the effect.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A truth, and what was said of it.

    Attributes:
        planted: class of the true effect.
        verdict: on what was measured.
        clear: whether the noise could not have changed the class.

    """

    planted: str
    verdict: str
    clear: bool


def run(*, truths: int = TRUTHS, blocks: int = BLOCKS, seed: int = 6) -> Proof:
    """Return how often each class of planted truths gets its verdict.

    Args:
        truths: of each class.
        blocks: of each point.
        seed: same seed, same figures.

    """
    watch = Watch()
    found = planted(truths=truths, blocks=blocks, seed=seed)
    findings = [
        finding
        for unit, rows in found.items()
        for word in dict.fromkeys(row.planted for row in rows)
        for finding in matrix(unit, word, [r for r in rows if r.planted == word])
    ]
    return Proof(
        part="rule",
        command="zclab prove rule",
        findings=tuple(findings),
        kernel=MODEL,
        seconds=watch.seconds,
        notes=NOTES,
    )


def matrix(unit: str, word: str, rows: list[Planted]) -> Iterator[Finding]:
    """Yield a row of the confusion matrix, and how many of the clear ones are right."""
    counts = pd.Series([row.verdict for row in rows]).value_counts()
    told = ", ".join(f"{counts[w]} {w}" for w in claims.VERDICTS if w in counts)
    clear = [row for row in rows if row.clear]
    if not clear:
        yield Finding(
            claim=f"planted {word}, judged by {unit}",
            figure="never clear",
            n=f"{len(rows):,} truths: {told}",
        )
        return
    right = Share(sum(row.verdict == word for row in clear), len(clear))
    yield Finding(
        claim=f"planted {word}, judged by {unit}: right where the class is clear",
        wanted=f"at least {LEAST:g} %",
        figure=right.figure,
        interval=right.spread,
        n=f"{len(clear):,} clear of {len(rows):,} truths: {told}",
        holds=right.percent >= LEAST,
    )


def planted(
    *, truths: int, blocks: int, seed: int, weather: Truth = HOST
) -> dict[str, list[Planted]]:
    """Return every truth with its verdict, by what it was judged by."""
    random = np.random.default_rng(seed)
    plain_ns = weather.cost_ns(str(BASELINE), 1200)
    said, true = _drawn(truths, random, -40, 120, claims.TOLERANCE_POINTS)
    rows = _rows(weather, true, blocks, seed)
    percent = [
        _by_percent(*each)
        for each in zip(said, true, [r for r, _ in rows], strict=True)
    ]
    percent += _by_kind(said[:truths], [row for row, _ in rows[:truths]], random)
    # Twice as many ns as a request costs are no saving, so the ends differ.
    told, saved = _drawn(
        truths, random, -0.7 * plain_ns, 0.55 * plain_ns, claims.TOLERANCE_NS
    )
    gains = 100 * (plain_ns / (plain_ns - saved) - 1)
    by_ns = [
        _by_ns(said_ns, base_ns * share, row, base_ns)
        for said_ns, share, (row, base_ns) in zip(
            told, saved / plain_ns, _rows(weather, gains, blocks, seed + 1), strict=True
        )
    ]
    return {"percent": percent, "ns saved": by_ns}


def _rows(
    weather: Truth, true: Any, blocks: int, seed: int
) -> list[tuple[pd.Series, float]]:
    """Return what a table says of points with these gains, and what a send cost."""
    ns = synthetic.costs(
        weather,
        (str(BASELINE), ARM, str(CONTROL)),
        blocks,
        len(true),
        seed,
        placements=sweep.placements(blocks),
    )
    # The effect scales the arm's costs, and nothing else: one weather serves all.
    ns[:, :, 1] /= 1 + true[:, np.newaxis] / 100
    return [(_row(point), float(np.median(point[:, [0, 2]]))) for point in ns]


def _drawn(
    truths: int, random: np.random.Generator, low: float, high: float, least: float
) -> tuple[Any, Any]:
    """Return published and true effects, `truths` of each class.

    Args:
        truths: of each class.
        random: source of all randomness.
        low: smallest published effect.
        high: largest.
        least: smallest tolerance, in the same unit.

    """
    count = truths * DRAWN
    small = random.random(count) < 0.5
    said = np.where(
        small,
        random.uniform(-1.2 * least, 1.2 * least, count),
        random.uniform(low, high, count),
    )
    tolerance = np.maximum(least, claims.TOLERANCE_SHARE * np.abs(said))
    near = np.clip(said + random.uniform(-1.2, 1.2, count) * tolerance, low, high)
    wide = random.uniform(low, high, count)
    none = np.where(random.random(count) < 0.5, 0.0, random.uniform(-1, 1, count))
    true = np.choose(random.integers(0, 3, count), (near, wide, none))
    words = np.array(
        [exactly(s, t, least) for s, t in zip(said, true, strict=True)], dtype=object
    )
    chosen = np.concatenate([np.flatnonzero(words == one)[:truths] for one in CLASSES])
    return said[chosen], true[chosen]


def exactly(said: float, true: float, least: float) -> str:
    """Return the class of a true effect: the rule's word where nothing is uncertain.

    Args:
        said: the published effect.
        true: the true one, in the same unit.
        least: smallest tolerance, likewise.

    """
    near = abs(said - true) <= max(least, claims.TOLERANCE_SHARE * abs(said))
    if said * true > 0:
        return claims.REPRODUCED if near else claims.DIRECTION_ONLY
    return claims.UNDECIDED if near else claims.CONTRADICTED


def is_clear(said: float, true: float, noise: float, least: float) -> bool:
    """Return whether no effect within the noise of the true one has another class."""
    if not math.isfinite(noise):  # too few blocks for an interval
        return False
    word = exactly(said, true, least)
    about = np.linspace(true - noise, true + noise, 41)
    return all(exactly(said, float(one), least) == word for one in about)


def _row(ns: stats.Floats) -> pd.Series:
    """Return what a table says of a point's arm, copied by nobody."""
    where = sweep.placements(len(ns))
    base, arm, control = ns.T
    floor = stats.noise_floor(stats.compare(control, base, groups=where).gain)
    one = stats.compare(arm, base, groups=where, floor_percent=floor)
    return pd.Series(
        {
            "n": one.gain.n,
            "gain_percent": one.gain.center,
            "gain_low": one.gain.low,
            "gain_high": one.gain.high,
            "saved_ns": one.saved.center,
            "saved_low": one.saved.low,
            "saved_high": one.saved.high,
            "floor_percent": floor,
            "mde_percent": one.mde_percent,
            "copied_share": 0.0,
        }
    )


def _claim(said: float) -> dict[str, Any]:
    return {
        "published_percent": said,
        "counterpart": ARM,
        "column": "zc + flush",
        "io_size_bytes": 1200,
        "family": published.UNSTATED,
        "batch": published.UNSTATED,
    }


def _by_percent(said: float, true: float, row: pd.Series) -> Planted:
    word, _ = claims.judge(_claim(said), row, published.TWINS["v5-dummy"])
    noise = (row["gain_high"] - row["gain_low"]) / 2 + row["floor_percent"]
    return Planted(
        planted=exactly(said, true, claims.TOLERANCE_POINTS),
        verdict=word,
        clear=is_clear(said, true, noise, claims.TOLERANCE_POINTS),
    )


def _by_ns(said: float, true: float, row: pd.Series, base_ns: float) -> Planted:
    word = claims.verdict(
        said,
        row["saved_low"],
        row["saved_ns"],
        row["saved_high"],
        floor=(floor := claims.floor_ns(row["floor_percent"], base_ns)),
        least=claims.TOLERANCE_NS,
    )
    noise = (row["saved_high"] - row["saved_low"]) / 2 + floor
    return Planted(
        planted=exactly(said, true, claims.TOLERANCE_NS),
        verdict=word,
        clear=is_clear(said, true, noise, claims.TOLERANCE_NS),
    )


def _by_kind(
    said: Any, rows: list[pd.Series], random: np.random.Generator
) -> Iterator[Planted]:
    """Yield points that are no counterpart in kind, and such that are not there."""
    twin = published.TWINS["v5-dummy"]
    for number, row in zip(said, rows, strict=True):
        copied = row.copy()
        copied["copied_share"] = random.uniform(2 * table.ZEROCOPY_BELOW, 1)
        word, _ = claims.judge(_claim(number), copied, twin)
        yield Planted(planted=claims.NOT_COMPARABLE, verdict=word, clear=True)
    for number in said:
        word, _ = claims.judge(_claim(number), None, twin)
        yield Planted(planted=claims.NOT_MEASURED, verdict=word, clear=True)
