"""What ten seconds of machine time tell: paired blocks, and the tools' usual way."""

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from zclab import store
from zclab.explain import table
from zclab.measure import host, site, sweep
from zclab.params import BASELINE, Mode, Path, Plan, Point, Protocol, Stop, grid
from zclab.prove import proof
from zclab.prove.proof import Finding, Proof, Watch
from zclab.stats import Interval, half_width

REPEATS = 8
SECONDS = 10.0
HALF_WIDTH = 0.5  # percent points, at most
ARM = Mode.SEND_ZC_FIXED
PEER_SLICE_NS = 1_000_000_000
DEADLINE_S = 60.0

POINTS: tuple[Point, ...] = grid(
    path=Path.SINK,
    protocol=Protocol.UDP,
    family=4,
    sizes=(1200, 8000),
    modes=(BASELINE, ARM),
    batch=8,
)

NOTES = (
    f"{REPEATS} repeats, both ways in turn. Paired: a point of its own run, all "
    f"{SECONDS:g} s spent, the pilot's second beside them; the largest half-width of "
    "the repeats counts, and the spread is that of their medians.",
    "The tools' way: one mode after the other, 1 s each, five times; the gain is that "
    "of the medians. It has no interval, so its repeats are all that tells its spread.",
)


def run(*, repeats: int = REPEATS, seconds: float = SECONDS, seed: int = 6) -> Proof:
    """Return half-widths and spreads of both ways, at 1200 and 8000 B on the sink.

    The paired runs are kept under build/prove/precision/.

    Raises:
        CapabilityError: io_uring, namespaces or a device are missing.

    """
    watch = Watch()
    ours: dict[str, list[Interval]] = {point.name: [] for point in POINTS}
    theirs: dict[str, list[float]] = {point.name: [] for point in POINTS}
    for repeat in range(repeats):
        for point in POINTS:
            ours[point.name].append(_paired(point, seconds, seed + repeat))
            theirs[point.name].append(_one_after_the_other(point, seconds))
    return Proof(
        part="precision",
        command="zclab prove precision",
        findings=tuple(_findings(ours, theirs, seconds)),
        kernel=host.facts()["kernel"]["release"],
        seconds=watch.seconds,
        notes=NOTES,
    )


def _paired(point: Point, seconds: float, seed: int) -> Interval:
    """Return the gain in percent that the seconds give."""
    plan = Plan(
        profile="precision",
        points=(point,),
        seed=seed,
        blocks=1_000_000,
        slice_ns=0,
        stop=Stop(precision=0.01, point_budget_s=seconds),
    )
    summary = table.summary(
        store.load(sweep.take(plan, out=proof.folder() / "precision"))
    )
    row = summary[summary["arm"] == ARM].iloc[0]
    return Interval(
        center=float(row["gain_percent"]),
        low=float(row["gain_low"]),
        high=float(row["gain_high"]),
        n=int(row["n"]),
    )


def _one_after_the_other(point: Point, seconds: float) -> float:
    """Return the gain in percent of the medians of slices of 1 s, taken in turn."""
    plan = Plan(profile="peer", points=(point,), seed=1, slice_ns=PEER_SLICE_NS)
    order = [str(BASELINE), str(ARM)]
    costs: dict[str, list[float]] = {arm: [] for arm in order}
    with ExitStack() as stack:
        here = site.prepare(plan, stack).sites[point.place]
        for number in range(max(1, round(seconds / len(order)))):
            samples = here.block(point, order, number, PEER_SLICE_NS, DEADLINE_S)
            for arm, ns in sweep.costs(samples).items():
                costs[arm].append(ns)
    medians = [statistics.median(costs[arm]) for arm in order]
    return 100 * (medians[0] / medians[1] - 1)


def _findings(
    ours: Mapping[str, Sequence[Interval]],
    theirs: Mapping[str, Sequence[float]],
    seconds: float,
) -> list[Finding]:
    found = []
    for point in POINTS:
        size, mine = point.io_size_bytes, ours[point.name]
        n = f"{len(mine)} repeats"
        widths = [half_width(one) for one in mine]
        gains = [one.center for one in mine]
        middle = statistics.median(gains)
        outside = sum(not one.low <= middle <= one.high for one in mine)
        found += [
            Finding(
                claim=f"sink, {size} B, {ARM} over {BASELINE}, paired, {seconds:g} s: "
                "half-width of the 95 % interval, the widest of all repeats",
                wanted=f"<= {HALF_WIDTH:g} points",
                figure=f"{max(widths):.2f} points",
                interval=f"median {statistics.median(widths):.2f}",
                n=n,
                holds=max(widths) <= HALF_WIDTH,
            ),
            _spread(f"sink, {size} B, paired: spread of the gains", gains, n),
            Finding(
                claim=f"sink, {size} B, paired: intervals without the median of the "
                "gains",
                figure=str(outside),
                n=n,
            ),
            _spread(
                f"sink, {size} B, one mode after the other: spread of the gains",
                theirs[point.name],
                n,
            ),
        ]
    return found


def _spread(claim: str, gains: Sequence[float], n: str) -> Finding:
    return Finding(
        claim=claim,
        figure=f"{max(gains) - min(gains):.2f} points",
        interval=f"{min(gains):+.1f} to {max(gains):+.1f} %",
        n=n,
    )
