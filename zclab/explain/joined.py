"""Several runs read as one, where that is honest: other points, one machine.

Nothing is pooled. Each point keeps the blocks of the one run that measured it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from zclab import store
from zclab.errors import InputError
from zclab.explain.facts import lookup
from zclab.params import Plan
from zclab.store import Run

# Facts that must agree, where both runs have them: ns per request depend on each.
SAME_MACHINE = (("alias",), ("kernel", "release"), ("cpu", "model"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined(Run):
    """Runs with different points, as one. `folder` and `host` are the first run's."""

    parts: tuple[Run, ...]

    @property
    def id(self) -> str:
        """The first run's id, and how many more there are."""
        return f"{self.folder.name}+{len(self.parts) - 1}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedPlan(Plan):
    """Plans as one. All but points, samples and blocks is the first plan's."""

    plans: tuple[Plan, ...]

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
    machine = [lookup(run.host, *keys) for keys in SAME_MACHINE[1:]]
    return "\n".join(
        [
            *(f"run      {part.id}" for part in parts(run)),
            f"host     {', '.join(str(fact) for fact in machine if fact)}",
            f"plan     {run.plan.profile}, {len(run.plan.points)} points, "
            f"seed {run.plan.seed}",
            f"blocks   {run.blocks_done} of {run.plan.total_blocks}, "
            f"{len(run.samples)} samples",
            f"state    {'complete' if run.complete else 'PARTIAL'}, "
            f"{'sealed and verified' if run.sealed else 'not sealed'}",
            *(f"warning  {text}" for text in run.warnings),
        ]
    )


def join(runs: Sequence[Run]) -> Run:
    """Return several runs as one, or the only one as it is.

    Raises:
        InputError: no run, the same point in two runs, or runs of two machines.

    """
    if not runs:
        raise InputError("no run was named; give a run id or latest")
    if len(runs) == 1:
        return runs[0]
    _check_points(runs)
    _check_machine(runs)
    first = runs[0]
    return Joined(
        folder=first.folder,
        plan=_plan(runs),
        plan_hash="+".join(run.plan_hash for run in runs),
        host=_host(runs),
        samples=pd.concat([run.samples for run in runs], ignore_index=True),
        sealed=all(run.sealed for run in runs),
        blocks_done=sum(run.blocks_done for run in runs),
        warnings=tuple(f"{run.id}: {text}" for run in runs for text in run.warnings),
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


def _check_machine(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        for fact in SAME_MACHINE:
            mine, theirs = lookup(first.host, *fact), lookup(run.host, *fact)
            if None not in (mine, theirs) and mine != theirs:
                raise InputError(
                    f"{first.id} and {run.id} differ in {' '.join(fact)} "
                    f"({mine}, {theirs}); report them apart"
                )


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
        plans=tuple(run.plan for run in runs),
    )


def _host(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the first run's facts, with the paths of all."""
    host = dict(runs[0].host)
    found: dict[str, Any] = {}
    for run in runs:
        found.update(lookup(run.host, "paths") or {})
    return {**host, "paths": found}
