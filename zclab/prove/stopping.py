"""Whether stopping when the interval is narrow enough makes it miss more often."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from zclab import stats, stop, synthetic
from zclab.measure import sweep
from zclab.params import BASELINE, Mode
from zclab.prove import coverage
from zclab.prove.proof import MODEL, Finding, Proof, Share, Watch
from zclab.prove.weathers import CALM, HOST, PLACED
from zclab.truth import Truth

LEAST = 40  # blocks that a plan gives every point if it does not say
MOST = 1000
WITHIN = 1.0  # points of coverage that stopping may cost
PLANTED = Mode.SEND_ZC
GAIN = 1.0  # percent

# Weather and precision: where nearly all stop soon, where it takes about 300 blocks,
# and where it takes about a quarter of that.
CASES: tuple[tuple[str, Truth, float], ...] = (
    ("calm", CALM, 0.5),
    ("placed", PLACED, 0.2),
    ("host", HOST, 0.5),
    ("host", HOST, 1.0),
)

NOTES = (
    f"Each point has `send` and one contrast of {GAIN:+g} %, so that the width of that "
    f"one interval decides: at {LEAST} blocks, then whenever there are a tenth more "
    f"(`zclab/stop.py`), at most {MOST}.",
    "Fixed: the interval of another point of the same weather at the number of blocks "
    "where this one stopped. So both sides have the same numbers of blocks, and on one "
    "of them those numbers know nothing of the data.",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What stopping did to the points of one case.

    Attributes:
        blocks: at which each stopped.
        adaptive: intervals that miss where they stopped.
        fixed: intervals that miss at these numbers of blocks in other points.
        bias_points: mean of the estimated gains less the true one, percent points.
        bias_error: standard error of that mean.

    """

    blocks: npt.NDArray[np.int64]
    adaptive: Share
    fixed: Share
    bias_points: float
    bias_error: float


def run(*, points: int = coverage.POINTS, most: int = MOST, seed: int = 3) -> Proof:
    """Return coverage with stopping and without, case by case.

    Args:
        points: synthetic points of each case.
        most: blocks of a point that never stops.
        seed: same seed, same figures.

    """
    watch = Watch()
    findings: list[Finding] = []
    for name, truth, precision in CASES:
        found = outcome(truth, precision, points=points, most=most, seed=seed)
        findings.extend(_findings(f"{name}, precision {precision:g}", found))
    return Proof(
        part="stopping",
        command="zclab prove stopping",
        findings=tuple(findings),
        kernel=MODEL,
        seconds=watch.seconds,
        notes=NOTES,
    )


def outcome(
    truth: Truth, precision: float, *, points: int, most: int = MOST, seed: int
) -> Outcome:
    """Return what stopping at a precision does to points of a weather.

    Args:
        truth: the weather; its gains are replaced.
        precision: half-width to stop at, percent points.
        points: synthetic points.
        most: blocks of a point that never stops.
        seed: same seed, same outcome.

    """
    planted = replace(truth, gains=((str(PLANTED), GAIN),))
    true = float(np.log1p(GAIN / 100))
    blocks = np.empty(points, dtype=np.int64)
    gains = np.empty(points)
    adaptive = fixed = done = 0
    for number, part in enumerate(_parts(points)):
        ns = synthetic.costs(
            planted,
            (BASELINE, PLANTED),
            most,
            part,
            seed + number,
            placements=sweep.placements(most),
        )
        logs = np.log(ns[:, :, 0] / ns[:, :, 1])
        for i in range(part):
            n = stopped_at(logs[i], precision)
            found = coverage.interval(logs[i, :n] - true)
            other = coverage.interval(logs[i - 1, :n] - true)
            adaptive += found.excludes_zero
            fixed += other.excludes_zero
            blocks[done], gains[done] = n, found.center
            done += 1
    return Outcome(
        blocks=blocks,
        adaptive=Share(adaptive, points),
        fixed=Share(fixed, points),
        bias_points=100 * float(gains.mean()),
        bias_error=100 * float(gains.std(ddof=1) / np.sqrt(points)),
    )


def stopped_at(log_gains: stats.Floats, precision: float, least: int = LEAST) -> int:
    """Return the number of blocks at which a point stops, as `stop.Allocation` does.

    Args:
        log_gains: of its contrasts, one row each, for as many blocks as it may have;
            those of its only one may be a row alone.
        precision: half-width to stop at, percent points.
        least: blocks before the first look.

    """
    rows = np.atleast_2d(log_gains)
    most = int(rows.shape[1])
    for n in stop.looks(least):
        if n >= most:
            break
        where = sweep.placements(n)
        if all(stop.stopping_width(row[:n], where) <= precision for row in rows):
            return n
    return most


def _parts(points: int) -> Iterator[int]:
    """Yield numbers of points that add up, none too many to hold in memory."""
    while points > 0:
        yield min(points, synthetic.CHUNK)
        points -= synthetic.CHUNK


def _findings(case: str, found: Outcome) -> Iterator[Finding]:
    n = f"{found.adaptive.n:,} points"
    cost = found.adaptive.percent - found.fixed.percent
    low, middle, high = np.percentile(found.blocks, (5, 50, 95))
    yield Finding(
        claim=f"95 % intervals that miss with stopping, {case}",
        figure=found.adaptive.figure,
        interval=found.adaptive.spread,
        n=n,
        wanted=f"{coverage.LOW:g} to {coverage.HIGH:g} %",
        holds=coverage.LOW <= found.adaptive.percent <= coverage.HIGH,
    )
    yield Finding(
        claim=f"the same with as many blocks fixed, {case}",
        figure=found.fixed.figure,
        interval=found.fixed.spread,
        n=n,
    )
    yield Finding(
        claim=f"coverage that stopping costs, {case}",
        figure=f"{cost:+.2f} points",
        n=n,
        wanted=f"less than {WITHIN:g} point",
        holds=abs(cost) < WITHIN,
    )
    yield Finding(
        claim=f"mean error of a {GAIN:+g} % gain with stopping, {case}",
        figure=f"{found.bias_points:+.3f} points",
        interval=f"+- {1.96 * found.bias_error:.3f}",
        n=n,
    )
    yield Finding(
        claim=f"blocks when it stopped, {case}",
        figure=f"{middle:.0f}",
        interval=f"{low:.0f} to {high:.0f} in 90 %",
        n=n,
    )
