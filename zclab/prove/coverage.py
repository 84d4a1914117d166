"""How often a 95 % interval misses the truth, where both arms are the same (A/A)."""

from collections.abc import Sequence

import numpy as np

from zclab import stats, synthetic
from zclab.measure import sweep
from zclab.params import BASELINE, CONTROL
from zclab.prove.proof import MODEL, Finding, Proof, Share, Watch
from zclab.prove.weathers import HOST, PLACED, WEATHERS
from zclab.truth import Truth

POINTS = 10_000
BLOCKS = 300  # of a plan that does not say
FEW, SOME = 40, 100  # what a stop rule leaves at least, and what it often leaves
LOW, HIGH = 3.0, 6.0  # percent of the intervals that may miss

NOTES = (
    "Miss: the interval of `control` over `send`, which cost the same, leaves out 0. "
    "The weathers are in `zclab/prove/weathers.py`: calm has white noise; placed has "
    "little of it, but placements, each with its own luck in memory; host and foul "
    "have drift, a slow wave, bursts and autocorrelation, as the sink and veth of a "
    "2-CPU virtual machine.",
    "The order of the arms is drawn anew for each block. So which of two equal arms "
    "wins a block is a toss of a coin, whatever the host does to both, and the ranks "
    "of the interval are exact. It misses less than 5 %: whole numbers of blocks have "
    "no ranks for just 5 % (of 40, 100 and 300 blocks they miss 3.8, 3.5 and 4.3 %), "
    "and `independent_n` widens where equal signs follow one another, or fall to one "
    "placement, by chance.",
    "One mode after the other: the same statistics of the same weather, all slices of "
    "`send` first and those of `control` then, as the peers' tools are run.",
)


def run(*, points: int = POINTS, seed: int = 1) -> Proof:
    """Return the share of intervals that miss 0 in A/A points, by weather and n.

    Args:
        points: synthetic points of each line.
        seed: same seed, same figures.

    """
    watch = Watch()
    findings = [
        _finding(name, blocks, misses(truth, blocks, points, seed))
        for name, truth in WEATHERS.items()
        for blocks in (FEW, SOME, BLOCKS)
    ]
    findings.append(_unplaced(unplaced(PLACED, BLOCKS, points, seed)))
    findings.append(_apart(apart(HOST, BLOCKS, points, seed)))
    return Proof(
        part="coverage",
        command="zclab prove coverage",
        findings=tuple(findings),
        kernel=MODEL,
        seconds=watch.seconds,
        notes=NOTES,
    )


def unplaced(truth: Truth, blocks: int, points: int, seed: int) -> Share:
    """Return how many would miss if the intervals knew nothing of placements."""
    ns = _costs(truth, blocks, points, seed)
    logs = np.log(ns[:, :, 0] / ns[:, :, 1])
    found = (
        stats.median_interval(one, effective_n=stats.effective_n(one)) for one in logs
    )
    return Share(sum(one.excludes_zero for one in found), points)


def _costs(truth: Truth, blocks: int, points: int, seed: int) -> stats.Floats:
    return synthetic.costs(
        truth,
        (BASELINE, CONTROL),
        blocks,
        points,
        seed,
        placements=sweep.placements(blocks),
    )


def misses(truth: Truth, blocks: int, points: int, seed: int) -> Share:
    """Return how many A/A points have an interval that leaves out 0."""
    ns = _costs(truth, blocks, points, seed)
    return Share(missed(np.log(ns[:, :, 0] / ns[:, :, 1])), points)


def apart(truth: Truth, blocks: int, points: int, seed: int) -> Share:
    """Return the same where one arm is taken after the other instead of in blocks."""
    ns = synthetic.costs(
        truth, (BASELINE, CONTROL), blocks, points, seed, shuffled=False
    )
    first, then = np.split(ns.reshape(points, 2 * blocks), 2, axis=1)
    return Share(missed(np.log(first / then)), points)


def missed(logs: stats.Floats, truth_log: float | Sequence[float] = 0.0) -> int:
    """Return how many points' intervals leave out the truth.

    Args:
        logs: log gains, shape (points, blocks).
        truth_log: the true log gain, of all points or of each.

    """
    truths = np.broadcast_to(np.asarray(truth_log, dtype=np.float64), len(logs))
    return sum(
        interval(point - true).excludes_zero
        for point, true in zip(logs, truths, strict=True)
    )


def interval(logs: stats.Floats) -> stats.Interval:
    """Return the interval of a point's log gain as tables have it."""
    groups = sweep.placements(len(logs))
    return stats.median_interval(logs, effective_n=stats.independent_n(logs, groups))


def _finding(name: str, blocks: int, share: Share) -> Finding:
    return Finding(
        claim=f"95 % intervals that miss, {name}, {blocks} blocks",
        wanted=f"{LOW:g} to {HIGH:g} %" if blocks == BLOCKS else "",
        figure=share.figure,
        interval=share.spread,
        n=f"{share.n:,} points",
        holds=LOW <= share.percent <= HIGH if blocks == BLOCKS else None,
    )


def _unplaced(share: Share) -> Finding:
    return Finding(
        claim=f"the same without regard to placements, placed, {BLOCKS} blocks",
        figure=share.figure,
        interval=share.spread,
        n=f"{share.n:,} points",
    )


def _apart(share: Share) -> Finding:
    return Finding(
        claim=f"the same of one mode after the other, host, {BLOCKS} slices each",
        figure=share.figure,
        interval=share.spread,
        n=f"{share.n:,} points",
    )
