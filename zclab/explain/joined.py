"""Several runs read as one, where that is honest: other points, one machine.

Nothing is pooled. Each point keeps the blocks of the one run that measured it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zclab import context as contexts
from zclab import store
from zclab.errors import InputError
from zclab.explain.facts import lookup
from zclab.params import Plan
from zclab.store import Run

SYNTHETIC = "SYNTHETIC: made by a model, no packet was sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined(Run):
    """Runs with different points, as one. `folder` and `host` are the first run's."""

    parts: tuple[Run, ...]

    @property
    def id(self) -> str:
        """The first run's id, and how many more there are."""
        return f"{self.folder.name}+{len(self.parts) - 1}"

    @property
    def complete(self) -> bool:
        """Whether each of the runs is."""
        return all(run.complete for run in self.parts)

    @property
    def sittings(self) -> int:
        """How often the runs were begun and resumed, in all."""
        return sum(run.sittings for run in self.parts)

    @property
    def synthetic(self) -> bool:
        """Whether a model made them; runs of a model join no others."""
        return any(run.synthetic for run in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedPlan(Plan):
    """Plans as one. What is not said here is the first plan's.

    Points, samples, blocks and what was left out are of all. The rule to stop is the
    first that a plan has, and it is lenient where one of them is.
    """

    plans: tuple[Plan, ...]

    def _check_stop(self) -> None:
        """Nothing to check: each plan was, with its own rule and points."""

    @property
    def samples(self) -> int:
        """Samples of the complete runs."""
        return sum(plan.samples for plan in self.plans)

    @property
    def total_blocks(self) -> int:
        """Blocks of the complete runs, over all points."""
        return sum(plan.total_blocks for plan in self.plans)


def parts(run: Run) -> tuple[Run, ...]:
    """Return the runs that `run` is made of; itself when it is one."""
    return run.parts if isinstance(run, Joined) else (run,)


def read(text: str) -> Run:
    """Return the run that an id, a folder or `latest` names; commas join several.

    Raises:
        InputError: there is no such run, or they cannot be joined.
        DataError: a run is damaged.

    """
    return join([store.load(store.find(name.strip())) for name in text.split(",")])


def context(run: Run) -> str:
    """Return which run this is, in a few lines: id, machine, extent, warnings."""
    machine = (lookup(run.host, "kernel", "release"), lookup(run.host, "cpu", "model"))
    resumed = [part for part in parts(run) if part.sittings > 1]
    return "\n".join(
        [
            *([f"made     {SYNTHETIC}"] if run.synthetic else []),
            *(f"run      {part.id}" for part in parts(run)),
            f"host     {', '.join(str(fact) for fact in machine if fact)}",
            f"plan     {run.plan.profile}, {len(run.plan.points)} points, "
            f"seed {run.plan.seed}",
            f"blocks   {run.blocks_done} of {'at most ' if run.plan.stop else ''}"
            f"{run.plan.total_blocks}, {len(run.samples)} samples",
            f"state    {'complete' if run.complete else 'PARTIAL'}, "
            f"{'sealed and verified' if run.sealed else 'not sealed'}",
            *(
                f"sittings {part.sittings}, in one context"
                + (f" ({part.id})" if part is not run else "")
                for part in resumed
            ),
            *(f"warning  {text}" for text in run.warnings),
        ]
    )


def join(runs: Sequence[Run]) -> Run:
    """Return several runs as one, or the only one as it is.

    Raises:
        InputError: no run, the same point in two runs, or runs of differing context:
            the message names the fact.

    """
    if not runs:
        raise InputError("no run was named; give a run id or latest")
    if len(runs) == 1:
        return runs[0]
    _check_points(runs)
    _check_contexts(runs)
    first = runs[0]
    return Joined(
        folder=first.folder,
        plan=_plan(runs),
        plan_hash="+".join(run.plan_hash for run in runs),
        host=_host(runs),
        samples=store.together([run.samples for run in runs]),
        sealed=all(run.sealed for run in runs),
        blocks_done=sum(run.blocks_done for run in runs),
        warnings=tuple(f"{run.id}: {text}" for run in runs for text in run.warnings),
        hosts=tuple(host for run in runs for host in run.hosts),
        stopped={name: why for run in runs for name, why in run.stopped.items()},
        finished=all(run.finished for run in runs),
        slices={name: ns for run in runs for name, ns in run.slices.items()},
        parts=tuple(runs),
    )


def _check_points(runs: Sequence[Run]) -> None:
    owner: dict[str, str] = {}
    for run in runs:
        for point in run.plan.points:
            if point.name in owner:
                raise InputError(
                    f"point {point.name} is in both {owner[point.name]} and {run.id}; "
                    "the blocks of two runs are never pooled: report them apart"
                )
            owner[point.name] = run.id


def _check_contexts(runs: Sequence[Run]) -> None:
    found = contexts.first_difference(
        [(run.id, host) for run in runs for host in run.hosts]
    )
    if found:
        one, other, facts = found
        raise InputError(f"{one} and {other} differ in {facts}; report them apart")


def _plan(runs: Sequence[Run]) -> JoinedPlan:
    first = runs[0].plan
    return JoinedPlan(
        profile="+".join(dict.fromkeys(run.plan.profile for run in runs)),
        points=tuple(point for run in runs for point in run.plan.points),
        seed=first.seed,
        blocks=first.blocks,
        slice_ns=first.slice_ns,
        warmup_ns=first.warmup_ns,
        report_usage=all(run.plan.report_usage for run in runs),
        stop=next((run.plan.stop for run in runs if run.plan.stop), None),
        excluded=_excluded(runs),
        lenient=any(run.plan.lenient for run in runs),
        synthetic=first.synthetic,
        plans=tuple(run.plan for run in runs),
    )


def _excluded(runs: Sequence[Run]) -> tuple[tuple[str, str], ...]:
    """Return what each plan leaves out, without what another one measured."""
    there = {point.name for run in runs for point in run.plan.points}
    left_out = (one for run in runs for one in run.plan.excluded)
    return tuple(dict.fromkeys(one for one in left_out if one[0] not in there))


def _host(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the first run's facts, with the paths of all."""
    host = dict(runs[0].host)
    found: dict[str, Any] = {}
    for run in runs:
        found.update(lookup(run.host, "paths") or {})
    return {**host, "paths": found}
