"""Which word a planted effect gets: faster, slower, equivalent, or none of them."""

from collections import Counter
from collections.abc import Mapping

from zclab.prove.coverage import BLOCKS
from zclab.prove.power import verdicts
from zclab.prove.proof import MODEL, Finding, Proof, Share, Watch
from zclab.prove.weathers import HOST
from zclab.stats import CONFIDENCE, MARGIN_POINTS, Verdict

POINTS = 2000
PLANTED = (-5.0, -2.0, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0, 5.0)  # percent
WRONG = 100 * (1 - CONFIDENCE)  # percent of the verdicts that may be wrong

NOTES = (
    f"As in power: {BLOCKS} blocks, weather host, and the noise floor of the point's "
    "own control. Wrong: faster though the planted effect is not above 0, slower "
    f"though it is not below, equivalent though it is {MARGIN_POINTS:g} point or more. "
    "No difference found is never wrong, only of little use.",
)


def run(*, points: int = POINTS, blocks: int = BLOCKS, seed: int = 4) -> Proof:
    """Return how often each planted effect gets each word.

    Args:
        points: synthetic points of each effect.
        blocks: of each point.
        seed: same seed, same figures.

    """
    watch = Watch()
    words = confusion(points=points, blocks=blocks, seed=seed)
    findings = []
    for gain, counts in words.items():
        wrong = Share(
            sum(counts[word] for word in Verdict if is_wrong(word, gain)), points
        )
        findings.append(
            Finding(
                claim=f"wrong words for a planted {gain:+g} %",
                wanted=f"at most {WRONG:.0f} %",
                figure=wrong.figure,
                interval=wrong.spread,
                n=f"{points:,} points: {_told(counts)}",
                holds=wrong.percent <= WRONG,
            )
        )
    return Proof(
        part="verdicts",
        command="zclab prove verdicts",
        findings=tuple(findings),
        kernel=MODEL,
        seconds=watch.seconds,
        notes=NOTES,
    )


def confusion(
    *, points: int = POINTS, blocks: int = BLOCKS, seed: int = 4
) -> dict[float, Counter[Verdict]]:
    """Return how many points got each word, by their planted gain in percent."""
    return {
        gain: Counter(
            one.verdict
            for one in verdicts(
                HOST, gain, points=points, blocks=blocks, seed=seed + number
            )
        )
        for number, gain in enumerate(PLANTED)
    }


def is_wrong(word: Verdict, gain_percent: float) -> bool:
    """Return whether a word is false of a true gain."""
    return {
        Verdict.FASTER: gain_percent <= 0,
        Verdict.SLOWER: gain_percent >= 0,
        Verdict.EQUIVALENT: abs(gain_percent) >= MARGIN_POINTS,
        Verdict.UNDECIDED: False,
    }[word]


def _told(counts: Mapping[Verdict, int]) -> str:
    return ", ".join(f"{counts[word]} {word}" for word in Verdict if counts[word])
