"""Whether an effect of 1 % is found, and none is called equivalent."""

from dataclasses import replace

import numpy as np

from zclab import stats, synthetic
from zclab.measure import sweep
from zclab.measure.pilot import DEFAULT_NS
from zclab.measure.profile import CUSTOM_STOP
from zclab.params import BASELINE, CONTROL, TABLE_MODES, Mode, Stop
from zclab.prove import stopping
from zclab.prove.coverage import POINTS
from zclab.prove.proof import MODEL, Finding, Proof, Share, Watch
from zclab.prove.weathers import HOST
from zclab.stats import Verdict
from zclab.truth import Truth

ARMS = (*TABLE_MODES, CONTROL)
PLANTED = Mode.SEND_ZC
LEAST = 90.0  # percent of the points in which 1 % must be found

WARMUP_NS = 1_000_000

NOTES = (
    "Points have the arms of the published tables and the control, slices of 10 ms, in "
    "the weather host, and the budget that a point has if nobody says otherwise: it "
    f"stops at {CUSTOM_STOP.precision:g} percent points, or after "
    f"{CUSTOM_STOP.point_budget_s:g} s. {PLANTED} has the effect. "
    "Found: its verdict is faster, or slower for a loss, with the noise floor of the "
    "point's own control.",
    "Seen: the interval leaves out 0. Some of these are not found, as their interval "
    "does not reach beyond what two equal arms differ by in the same point.",
)


def affordable(truth: Truth, rule: Stop, arms: int) -> int:
    """Return the blocks of a model's point that a rule's seconds pay for."""
    block_ns = arms * (DEFAULT_NS + WARMUP_NS + truth.overhead_ns)
    return int(rule.point_budget_s * 1e9 / block_ns)


def run(*, points: int = POINTS, rule: Stop = CUSTOM_STOP, seed: int = 2) -> Proof:
    """Return how often planted effects of 1, 0.5 and 0 % get the verdict they should.

    Args:
        points: synthetic points of each line.
        rule: what stops each point.
        seed: same seed, same figures.

    """
    watch = Watch()
    blocks = affordable(HOST, rule, len(ARMS))
    findings = []
    for gain in (1.0, -1.0, 0.5):
        right = Verdict.FASTER if gain > 0 else Verdict.SLOWER
        found = verdicts(HOST, gain, points=points, blocks=blocks, rule=rule, seed=seed)
        seen = Share(sum(one.gain.excludes_zero for one in found), points)
        share = Share(sum(one.verdict is right for one in found), points)
        must = abs(gain) >= 1
        findings.append(
            _finding(f"a planted {gain:+g} % is found", share, LEAST if must else None)
        )
        findings.append(_finding(f"a planted {gain:+g} % is seen", seen, None))
    found = verdicts(HOST, 0.0, points=points, blocks=blocks, rule=rule, seed=seed)
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
    truth: Truth,
    gain_percent: float,
    *,
    points: int,
    blocks: int,
    seed: int,
    rule: Stop | None = None,
) -> list[stats.Comparison]:
    """Return what is said of an arm in points where its gain is planted.

    Args:
        truth: the weather; its gains are replaced.
        gain_percent: the true gain of `PLANTED`.
        points: synthetic points.
        blocks: of each; with a rule the most.
        seed: same seed, same verdicts.
        rule: what stops a point before it has them all.

    """
    planted = replace(truth, gains=((str(PLANTED), gain_percent),))
    arms = [str(arm) for arm in ARMS]
    where = sweep.placements(blocks)
    ns = synthetic.costs(planted, arms, blocks, points, seed, placements=where)
    order = [arms.index(name) for name in (BASELINE, PLANTED, CONTROL)]
    found = []
    for point in ns:
        taken = point[: stopped_at(point, rule)] if rule else point
        base, arm, control = (taken[:, index] for index in order)
        found.append(_judge(base, arm, control))
    return found


def stopped_at(ns: stats.Floats, rule: Stop) -> int:
    """Return after how many blocks a point stops, as `stop.Allocation` would.

    Args:
        ns: costs, blocks x `ARMS`.
        rule: what stops it.

    """
    logs = np.log(ns[:, :1] / ns[:, 1:-1])  # all but the control
    return stopping.stopped_at(logs.T, rule.precision, rule.least)


def _judge(
    base_ns: stats.Floats, arm_ns: stats.Floats, control_ns: stats.Floats
) -> stats.Comparison:
    """Return what a table says of an arm, its point's control considered."""
    where = sweep.placements(len(base_ns))
    control = stats.compare(control_ns, base_ns, groups=where)
    floor = stats.noise_floor(control.gain)
    return stats.compare(arm_ns, base_ns, groups=where, floor_percent=floor)


def _finding(claim: str, share: Share, least: float | None) -> Finding:
    return Finding(
        claim=claim,
        wanted=f"at least {least:g} %" if least else "",
        figure=share.figure,
        interval=share.spread,
        n=f"{share.n:,} points",
        holds=share.percent >= least if least else None,
    )
