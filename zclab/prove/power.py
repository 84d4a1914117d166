"""Whether an effect of 1 % is found, and none is called equivalent."""

from dataclasses import replace

import numpy as np

from zclab import stats, synthetic
from zclab.params import BASELINE, CONTROL, TABLE_MODES, Mode
from zclab.prove.coverage import BLOCKS, POINTS
from zclab.prove.proof import MODEL, Finding, Proof, Share, Watch
from zclab.prove.weathers import HOST
from zclab.stats import Verdict
from zclab.truth import Truth

ARMS = (*TABLE_MODES, CONTROL)
PLANTED = Mode.SEND_ZC
LEAST = 90.0  # percent of the points in which 1 % must be found

NOTES = (
    f"Points have the arms of the published tables and the control, {BLOCKS} blocks "
    f"of 10 ms slices (the default), in the weather host. {PLANTED} has the effect. "
    "Found: its verdict is faster, or slower for a loss, with the noise floor of the "
    "point's own control.",
    "Seen: the interval leaves out 0. Some of these are not found, as their interval "
    "does not reach beyond what two equal arms differ by in the same point.",
)


def run(*, points: int = POINTS, blocks: int = BLOCKS, seed: int = 2) -> Proof:
    """Return how often planted effects of 1, 0.5 and 0 % get the verdict they should.

    Args:
        points: synthetic points of each line.
        blocks: of each point.
        seed: same seed, same figures.

    """
    watch = Watch()
    findings = []
    for gain in (1.0, -1.0, 0.5):
        right = Verdict.FASTER if gain > 0 else Verdict.SLOWER
        found = verdicts(HOST, gain, points=points, blocks=blocks, seed=seed)
        seen = Share(sum(one.gain.excludes_zero for one in found), points)
        share = Share(sum(one.verdict is right for one in found), points)
        must = abs(gain) >= 1
        findings.append(
            _finding(f"a planted {gain:+g} % is found", share, LEAST if must else None)
        )
        findings.append(_finding(f"a planted {gain:+g} % is seen", seen, None))
    found = verdicts(HOST, 0.0, points=points, blocks=blocks, seed=seed)
    equal = Share(sum(one.verdict is Verdict.EQUIVALENT for one in found), points)
    findings.append(_finding("a planted 0 % is called equivalent", equal, LEAST))
    return Proof(
        part="power",
        command="zclab prove power",
        findings=tuple(findings),
        kernel=MODEL,
        seconds=watch.seconds,
        notes=NOTES,
    )


def verdicts(
    truth: Truth, gain_percent: float, *, points: int, blocks: int, seed: int
) -> list[stats.Comparison]:
    """Return what is said of an arm in points where its gain is planted.

    Args:
        truth: the weather; its gains are replaced.
        gain_percent: the true gain of `PLANTED`.
        points: synthetic points.
        blocks: of each.
        seed: same seed, same verdicts.

    """
    planted = replace(truth, gains=((str(PLANTED), gain_percent),))
    arms = [str(arm) for arm in ARMS]
    ns = synthetic.costs(planted, arms, blocks, points, seed)
    base, arm, control = (
        ns[:, :, arms.index(name)] for name in (BASELINE, PLANTED, CONTROL)
    )
    return [_judge(base[i], arm[i], control[i]) for i in range(points)]


def _judge(
    base_ns: stats.Floats, arm_ns: stats.Floats, control_ns: stats.Floats
) -> stats.Comparison:
    """Return what a table says of an arm, its point's control considered."""
    floor = stats.noise_floor(stats.compare(control_ns, base_ns).gain)
    return stats.compare(arm_ns, base_ns, floor_percent=floor)


def spread_percent(truth: Truth, *, points: int = 1000, seed: int = 0) -> float:
    """Return the robust standard deviation of a block's log gain, in percent."""
    ns = synthetic.costs(truth, [str(arm) for arm in ARMS], 10, points, seed)
    logs = np.log(ns[:, :, 0] / ns[:, :, -1])
    return float(100 * 1.4826 * np.median(np.abs(logs)))


def _finding(claim: str, share: Share, least: float | None) -> Finding:
    return Finding(
        claim=claim,
        wanted=f"at least {least:g} %" if least else "",
        figure=share.figure,
        interval=share.spread,
        n=f"{share.n:,} points",
        holds=share.percent >= least if least else None,
    )
