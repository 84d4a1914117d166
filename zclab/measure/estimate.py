"""How long a plan will take here, from what its points took before.

Where this host has measured a point already, its newest run tells how long a block
takes and how many blocks the precision needs. What is new here can be looked at with a
few blocks that are not kept; else it is estimated from its slices alone, and by what it
may cost at the most.
"""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

import numpy as np
import pandas as pd

from zclab import store
from zclab.measure import pilot, sweep
from zclab.measure.target import Target
from zclab.params import BASELINE, Path, Plan, Point, Protocol, Stop
from zclab.stop import expected_width
from zclab.store import Run

# What a slice takes besides its warm-up and its timed part: drain, receiver, answer.
SLICE_NS = {
    Path.SINK: 350_000,
    Path.VETH: 800_000,
    Path.LO: 800_000,
    Path.NIC: 800_000,
}
TCP_SLICE_NS = 3_000_000  # a drain waits for an ACK, now and then a delayed one
SET_UP_S = 1.0
RENEWAL_S = 0.06  # of one place

LOOKED_AT = "a look just now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What one point will probably take.

    Attributes:
        blocks: of the point; at the most, when `bound`.
        block_s: machine seconds of one block.
        bound: whether nothing is known of its spread, so that its budget is taken.
        basis: the run that this is known from; empty for none.

    """

    point: Point
    blocks: int
    block_s: float
    bound: bool
    basis: str

    @property
    def seconds(self) -> float:
        """Machine seconds of the point."""
        return self.blocks * self.block_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a plan will probably take, point by point.

    Attributes:
        set_up_s: seconds of setting up: paths, pilot, warm-up, later placements.
        seconds: of it all, bounded by the plan's budget.

    """

    points: tuple[Expected, ...]
    set_up_s: float
    seconds: float

    @property
    def bound(self) -> bool:
        """Whether some point's share is what it costs at the most."""
        return any(one.bound for one in self.points)

    @property
    def words(self) -> str:
        """The sum in words: how many seconds, and whether that is the most."""
        return (
            f"{'at most' if self.bound else 'about'} {self.seconds:.0f} s, "
            f"{self.set_up_s:.0f} s of them for setting up"
        )


def of(
    plan: Plan, *, look: sweep.Show | None = None, target: Target | None = None
) -> Estimate:
    """Return what `plan` will probably take on this host.

    Args:
        plan: the plan.
        look: given, points whose spread matters and is unknown are measured for some
            seconds each, on paths of their own, and this is called after every block.
        target: where the nic path sends.

    Raises:
        CapabilityError: it was to look, and io_uring, namespaces or a device are
            missing.

    """
    known = _known(plan)
    new = tuple(point for point in plan.points if point.name not in known)
    if look and plan.stop and new:
        known |= _looked_at(plan, new, look, target)
    points = tuple(
        _expected(plan, point, known.get(point.name)) for point in plan.points
    )
    set_up_s = 0.0 if plan.synthetic else _set_up_s(plan, points)
    measuring_s = sum(one.seconds for one in points)
    if plan.stop and plan.stop.budget_s:
        measuring_s = min(measuring_s, plan.stop.budget_s)
    return Estimate(points=points, set_up_s=set_up_s, seconds=set_up_s + measuring_s)


Known = dict[str, tuple[str, pd.DataFrame]]  # by point: where from, and its samples


def _looked_at(
    plan: Plan,
    points: tuple[Point, ...],
    look: sweep.Show,
    target: Target | None,
) -> Known:
    """Measure each point's least blocks, and keep nothing of it."""
    assert plan.stop
    short = replace(plan, points=points, blocks=plan.stop.least, stop=None)
    with tempfile.TemporaryDirectory() as folder:
        run = store.load(
            sweep.take(short, out=FilePath(folder), progress=look, target=target)
        )
    taken = set(run.samples["point"])  # what a lenient plan was refused is not there
    return {
        point.name: (LOOKED_AT, run.samples[run.samples["point"] == point.name])
        for point in points
        if point.name in taken
    }


def _set_up_s(plan: Plan, points: tuple[Expected, ...]) -> float:
    """Return the seconds of a run that its budget does not count."""
    seconds = SET_UP_S + sum(one.block_s for one in points)
    if plan.slice_ns == 0:
        seconds += sum(_pilot_s(plan, point) for point in plan.points)
    return seconds + _renewals_s(plan, max(one.blocks for one in points))


def _renewals_s(plan: Plan, rounds: int) -> float:
    """Return the seconds of the placements that so many rounds begin."""
    count = sweep.placement(rounds)
    arms = sum(len(point.arms) for point in plan.points)
    slices_s = arms * (sweep.WARM_UP_NS + plan.warmup_ns) / 1e9
    return count * (len(plan.places) * RENEWAL_S + slices_s)


def _overhead_ns(plan: Plan, point: Point) -> int:
    own = TCP_SLICE_NS if point.protocol is Protocol.TCP else SLICE_NS[point.path]
    return plan.warmup_ns + own


def _pilot_s(plan: Plan, point: Point) -> float:
    lengths = [ns + _overhead_ns(plan, point) for ns in pilot.CANDIDATES_NS]
    return 2 * pilot.PASSES * sum(lengths) / 1e9


def _known(plan: Plan) -> Known:
    """Return the samples of each point in the newest run of this host that has it.

    Runs that cannot be read are left out, and so are points with other arms.
    """
    found: Known = {}
    wanted = {point.name: point for point in plan.points}
    for run in _runs(plan):
        for point in run.plan.points:
            if wanted.get(point.name) == point and point.name not in found:
                mine = run.samples[run.samples["point"] == point.name]
                if mine["block_ns"].notna().any():
                    found[point.name] = (run.id, mine)
        if found.keys() == wanted.keys():
            break
    return found


def _runs(plan: Plan) -> Iterator[Run]:
    """Yield the runs of this host, newest first; none for a synthetic plan."""
    if plan.synthetic:
        return
    from zclab.measure import host  # noqa: PLC0415 - needs Linux

    yield from store.runs_of(host.alias())


def _expected(
    plan: Plan, point: Point, known: tuple[str, pd.DataFrame] | None
) -> Expected:
    slice_ns = plan.slice_ns or pilot.DEFAULT_NS
    block_s = len(point.arms) * (slice_ns + _overhead_ns(plan, point)) / 1e9
    blocks, basis = None, ""
    if known and (not plan.slice_ns or set(known[1]["slice_ns"]) == {plan.slice_ns}):
        basis, samples = known
        block_s = float(samples.groupby("block")["block_ns"].first().mean()) / 1e9
        blocks = _needed(plan.stop, point, samples) if plan.stop else None
    most = _most(plan.stop, plan.blocks, block_s)
    least = plan.stop.least if plan.stop else most
    return Expected(
        point=point,
        blocks=most if blocks is None else min(max(least, blocks), most),
        block_s=block_s,
        bound=plan.stop is not None and blocks is None,
        basis=basis,
    )


def _most(stop: Stop | None, blocks: int, block_s: float) -> int:
    """Return the blocks that a point gets at the most."""
    bounds = [s for s in (stop.point_budget_s, stop.budget_s) if s] if stop else []
    return min([blocks, *(max(1, int(seconds / block_s)) for seconds in bounds)])


def _needed(stop: Stop, point: Point, samples: pd.DataFrame) -> int | None:
    """Return the blocks after which every contrast will be narrow enough."""
    ns = samples.pivot(index="block", columns="arm", values="ns_per_request")
    ns = ns.replace([np.inf, -np.inf], np.nan)
    placements = samples.groupby("block")["placement"].first()[ns.index].tolist()
    widths = [
        expected_width(
            np.log(ns[BASELINE] / ns[arm]).to_numpy(dtype=np.float64), placements
        )
        for arm in stop.of(point)
        if arm in ns.columns and BASELINE in ns.columns
    ]
    if not widths or not math.isfinite(max(widths)):
        return None
    return math.ceil(len(ns) * (max(widths) / stop.precision) ** 2)
