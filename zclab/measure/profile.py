"""What a run should be: a profile, a plan of the user's own, or a grid."""

import time
from dataclasses import replace
from functools import cache
from pathlib import Path as FilePath

from zclab import planfile
from zclab.errors import CapabilityError, InputError
from zclab.measure.target import Target
from zclab.params import Mode, Path, Plan, Point, Stop
from zclab.planfile import MOST_BLOCKS

# Of a grid given on the command line: what design and README promise per point.
CUSTOM_STOP = Stop(precision=0.5, point_budget_s=20)


@cache
def available(mode: Mode) -> bool:
    """Return whether this kernel has a mode; `zclab modes` says why not."""
    from zclab.uring import probe  # noqa: PLC0415 - a plan is read without the shim

    try:
        probe.mode(mode)
    except CapabilityError:
        return False
    return True


def plan(name: str, seed: int = 0) -> Plan:
    """Return the plan of a profile.

    Args:
        name: one of `planfile.profiles()`.
        seed: of the order of points and arms; 0 draws one from the clock, and the
            plan records it.

    Raises:
        InputError: no such profile.

    """
    return planfile.profile(name, available=available, seed=seed or drawn_seed())


def from_file(path: FilePath, seed: int = 0) -> Plan:
    """Return the plan of a user's file; a seed given here counts more than its own.

    Raises:
        InputError: the file cannot be read, or what in it is wrong.

    """
    found = planfile.read(path, available=available, seed=drawn_seed())
    return replace(found, seed=seed) if seed else found


def custom(points: tuple[Point, ...], *, seed: int = 0) -> Plan:
    """Return a plan of any points; seed 0 draws one."""
    return Plan(
        profile="custom",
        points=points,
        seed=seed or drawn_seed(),
        blocks=MOST_BLOCKS,
        slice_ns=0,
        stop=CUSTOM_STOP,
    )


def asked(
    profile: str, plan_file: str, precision: float, budget_s: float, seed: int
) -> Plan:
    """Return the plan that a notebook's parameters ask for; 0 and "" mean unset.

    Raises:
        InputError: what is wrong with them.

    """
    if plan_file:
        found = from_file(FilePath(plan_file), seed)
    else:
        found = plan(profile or "quick", seed)
    return adjusted(found, precision=precision, budget_s=budget_s)


def adjusted(
    plan: Plan, *, precision: float = 0.0, budget_s: float = 0.0, blocks: int = 0
) -> Plan:
    """Return a plan with another stop rule; 0 leaves what the plan has.

    Args:
        plan: the plan.
        precision: half-width that is narrow enough, in percent points.
        budget_s: machine seconds of the whole run.
        blocks: blocks per point; a fixed number, unless precision or budget is given.

    Raises:
        InputError: a value is out of range, or they do not go together.

    """
    if blocks and not (precision or budget_s):
        return replace(plan, blocks=blocks, stop=None)
    stop = plan.stop
    if precision:
        stop = replace(stop, precision=precision) if stop else Stop(precision=precision)
    if budget_s:
        if stop is None:
            raise InputError(
                f"profile {plan.profile} has a fixed number of blocks, which takes the "
                "time it takes; give --precision along with --budget"
            )
        stop = replace(stop, budget_s=budget_s)
    most = max(plan.blocks, MOST_BLOCKS) if stop and not plan.stop else plan.blocks
    return replace(plan, stop=stop, blocks=blocks or most)


def fitted(plan: Plan, target: Target | None, *, strict: bool = False) -> Plan:
    """Return a plan as it fits the target of its nic points, if it has any.

    Args:
        plan: the plan.
        target: where its nic points send.
        strict: refuse points that do not fit, instead of leaving them out.

    Raises:
        InputError: nothing of it fits, or only one of plan and target is for a device.
        CapabilityError: the device is down.

    """
    if target is None and all(point.path is not Path.NIC for point in plan.points):
        return plan
    from zclab.measure.path import nic  # noqa: PLC0415 - needs Linux

    wanted = nic.required(plan, target)
    return nic.fitted(plan, wanted, strict=strict) if wanted else plan


def drawn_seed() -> int:
    """Return a seed from the clock; it is never 0."""
    return time.time_ns() // 1_000_000 % (1 << 31) + 1
