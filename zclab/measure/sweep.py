"""Takes a run: plan, sites, blocks in random order, journal, seal."""

import os
import random
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from zclab import preflight, store, synthetic
from zclab.errors import CapabilityError, InputError, MeasureError
from zclab.measure import pilot, site
from zclab.measure.site import Ground
from zclab.measure.target import Target
from zclab.params import LEAST_BLOCKS, Plan, Point
from zclab.stop import Allocation

# A new placement after so many rounds: eight of them in the least blocks of a point, so
# that what placements differ by can be told, and fewer later, as each costs some time.
RENEW_ROUNDS = 5
RENEW_ROUNDS_LATER = 10
WARM_UP_NS = 1_000_000  # a slice of it, after the first

NOISY_LOAD = 1.0  # load average per CPU from which the run warns


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        done: blocks finished, those of earlier sittings too.
        total: blocks when it is done; expected ones, where points stop by themselves.
        elapsed_s: since the first block of this sitting.
        left_s: seconds that the rest will probably take.

    """

    run: FilePath
    done: int
    total: int
    elapsed_s: float
    left_s: float


Show = Callable[[Progress], None]
Warn = Callable[[str], None]


def take(
    plan: Plan,
    *,
    out: FilePath | None = None,
    progress: Show | None = None,
    warn: Warn | None = None,
    target: Target | None = None,
) -> FilePath:
    """Execute `plan`, seal the run and return its folder.

    Whatever ends it early, the finished blocks are sealed as a partial run and
    the exception goes on; `resume` continues it.

    Args:
        plan: what to measure.
        out: folder in which the run's folder is made; data/runs by default.
        progress: called after every block.
        warn: called before the first block with each thing the run warns of.
        target: where the nic path sends; kept out of the run.

    Raises:
        CapabilityError: io_uring, SEND_ZC, namespaces or a device are missing.
        MeasureError: the kernel or the path broke a rule that zclab checks.
        InputError: the run cannot be written.

    """
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"{out} is not a folder; name one with --out")
    with ExitStack() as stack:
        field = _ready(plan, stack, target)
        host = field.ground.host
        journal = stack.enter_context(
            store.Journal.create(
                field.plan,
                host,
                alias=host["alias"],
                out=out,
                slices={} if plan.slice_ns else field.slices,
            )
        )
        _go_on(field, journal, progress, warn)
    return journal.folder


def resume(
    folder: FilePath,
    *,
    plan: Plan | None = None,
    progress: Show | None = None,
    warn: Warn | None = None,
    target: Target | None = None,
) -> FilePath:
    """Continue an interrupted run where it ended, seal it and return its folder.

    Args:
        folder: the run.
        plan: what it should be a run of; None for whatever its plan says.
        progress: called after every block.
        warn: called before the first block with each thing the run warns of.
        target: where the nic path sends.

    Raises:
        InputError: the run is complete, of another plan, or was taken elsewhere: the
            message names what differs.
        DataError: the run is damaged.
        CapabilityError: as for `take`.
        MeasureError: as for `take`.

    """
    stored = store.resumable(folder, plan)
    with ExitStack() as stack:
        ground = site.prepare(stored, stack, target)
        journal = stack.enter_context(store.Journal.reopen(folder, ground.host))
        field = _Field.of(stored, ground, journal.slices)
        field.warm_up()
        _go_on(field, journal, progress, warn)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A plan on its sites, with the slice lengths that hold for this run."""

    plan: Plan
    ground: Ground
    slices: dict[str, int]

    @classmethod
    def of(cls, plan: Plan, ground: Ground, known: dict[str, int]) -> "_Field":
        """Return the field; the pilot runs where plan and run fix no slice length."""
        slices = dict(known)
        if not slices and plan.slice_ns:
            slices = {point.name: plan.slice_ns for point in plan.points}
        return cls(
            plan=plan,
            ground=ground,
            slices=slices or pilot.choose(plan, ground.sites),
        )

    def warm_up(self) -> None:
        """Run one block of each point that is not recorded: caches, neighbours."""
        for point in self.plan.points:
            self.block(point, 0)

    def renew(self) -> None:
        """Begin a new placement at every place, and touch each point once."""
        for here in self.ground.sites.values():
            here.renew()
        for point in self.plan.points:
            self.ground.sites[point.place].block(
                point, list(point.arms), -1, WARM_UP_NS, 30.0
            )

    def block(self, point: Point, number: int) -> list[dict[str, Any]]:
        """Return the samples of one block, with the machine time that it took."""
        site = self.ground.sites[point.place]
        slice_ns = self.slices[point.name]
        # A bound that only a stuck worker exceeds.
        slices_s = len(point.arms) * (slice_ns + self.plan.warmup_ns) / 1e9
        start = site.clock()
        samples = site.block(
            point,
            self.plan.order(point, number),
            number,
            slice_ns,
            30.0 + 10 * slices_s,
        )
        block_ns = round((site.clock() - start) * 1e9)
        return [{**sample, "block_ns": block_ns} for sample in samples]


def _ready(plan: Plan, stack: ExitStack, target: Target | None) -> _Field:
    """Return a plan on its sites, warmed up; a lenient one without what is refused."""
    try:
        with ExitStack() as trial:
            field = _Field.of(plan, site.prepare(plan, trial, target), {})
            field.warm_up()
            stack.enter_context(trial.pop_all())
        return field
    except (CapabilityError, MeasureError):
        if not plan.lenient:
            raise
    plan = site.without_refused(plan, target)
    target = site.needed(plan, target)
    field = _Field.of(plan, site.prepare(plan, stack, target), {})
    field.warm_up()
    return field


def costs(samples: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Return ns per request by arm; NaN where no request completed."""
    return {
        sample["arm"]: (
            sample["elapsed_ns"] / sample["requests"]
            if sample["requests"]
            else float("nan")
        )
        for sample in samples
    }


def _go_on(
    field: _Field,
    journal: store.Journal,
    progress: Show | None,
    warn: Warn | None,
) -> None:
    """Take what is missing, and note what the host was like before and after."""
    host = field.ground.host
    warnings = _warnings(host)
    if not host.get("synthetic"):
        warnings += preflight.warnings(field.plan, host)
    journal.warnings.extend(warnings)
    if warn:
        for warning in warnings:
            warn(warning)
    allocation = Allocation(field.plan)
    number = 0
    for samples in journal.samples_before:
        _record(allocation, samples)
        number = samples[0]["placement"] + 1
    try:
        _measure(field, journal, allocation, number, progress)
    finally:
        journal.stopped = allocation.stopped
        journal.finished = allocation.finished
    journal.host_after = field.ground.host_now()
    journal.warnings.extend(_warnings_after(host, journal.host_after))


def _record(allocation: Allocation, samples: list[dict[str, Any]]) -> None:
    first = samples[0]
    allocation.record(
        first["point"], costs(samples), first["block_ns"] / 1e9, first["placement"]
    )


def placement(rounds: int) -> int:
    """Return how many placements were begun, after the first, in so many rounds."""
    later = max(0, rounds - LEAST_BLOCKS)
    return min(rounds, LEAST_BLOCKS) // RENEW_ROUNDS + later // RENEW_ROUNDS_LATER


def placements(blocks: int) -> list[int]:
    """Return the placement of each block of a point that is in every round."""
    return [placement(number) for number in range(blocks)]


def _measure(
    field: _Field,
    journal: store.Journal,
    allocation: Allocation,
    number: int,
    progress: Show | None,
) -> None:
    """Take blocks, round by round, until every point has enough.

    A round visits the points in random order. So a run that ends early has about as
    many blocks of one point as of another, and slow drift of the host falls on all.
    The first placement has the number that is given.
    """
    rounds = 0
    before, spent_before = sum(allocation.done.values()), allocation.spent_s
    while points := allocation.next_round(
        random.Random(f"{field.plan.seed} round {sum(allocation.done.values())}")
    ):
        if rounds and placement(rounds) > placement(rounds - 1):
            field.renew()
            number += 1
        rounds += 1
        for point in points:
            if allocation.has_stopped(point.name):
                continue  # by a block of this very round
            samples = field.block(point, allocation.done[point.name])
            for sample in samples:
                sample["placement"] = number
            journal.append(samples)
            _record(allocation, samples)
            if progress:
                done, left = sum(allocation.done.values()), allocation.left()
                elapsed_s = allocation.spent_s - spent_before
                progress(
                    Progress(
                        run=journal.folder,
                        done=done,
                        total=done + left,
                        elapsed_s=elapsed_s,
                        left_s=elapsed_s / (done - before) * left,
                    )
                )


def _warnings(before: dict[str, Any]) -> list[str]:
    if before.get("synthetic"):
        return [synthetic.WARNING]
    warnings = []
    usable = before["cpu"]["usable"]
    if usable < 2:
        warnings.append("one CPU: sender and receiver share it on live paths")
    if before["load_1m"] > NOISY_LOAD * usable:
        warnings.append(
            f"load average {before['load_1m']} on {usable} CPUs before the run"
        )
    if before["hypervisor"]:
        warnings.append("virtual machine: other guests may take CPU time")
    taps = max(facts["host_packet_taps"] or 0 for facts in before["paths"].values())
    if taps:
        warnings.append(
            f"{taps} packet taps on the host (/proc/net/packet): kernels without taps "
            "per network namespace copy every zerocopy packet for them, here too"
        )
    warnings += [
        f"{place} is the host's own, beside all else that uses it: {why}"
        for place, facts in before["paths"].items()
        if (why := facts.get("namespaces_refused"))
    ]
    if not before["sender"]["report_usage"]:
        warnings.append("copied is unknown: this kernel is older than 6.2")
    return warnings


def _warnings_after(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    if before.get("synthetic"):
        return []
    ticks = after["steal_ticks"] - before["steal_ticks"]
    passed = (after["uptime_s"] - before["uptime_s"]) * os.sysconf("SC_CLK_TCK")
    share = ticks / max(passed * before["cpu"]["online"], 1)
    if share > 0.01:
        return [f"the hypervisor took {share:.1%} of the CPU time during the run"]
    return []
