"""preflight: what the kernel will copy or refuse, told before anything is sent."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from zclab.cli import nic
from zclab.cli.app import (
    Arms,
    Batch,
    OfFamily,
    OnPath,
    OverProtocol,
    PlanFile,
    Profile,
    SendOptions,
    Sizes,
    With,
    app,
)
from zclab.cli.terminal import echo_columns, say
from zclab.errors import CapabilityError, InputError, MeasureError


@app.command(epilog="Example: zclab preflight --sizes 1472,1473 --with mtu=1500")
def preflight(  # noqa: PLR0917 - typer calls it by keyword
    profile: Profile = "",
    path: OnPath = "",
    protocol: OverProtocol = "",
    family: OfFamily = "",
    sizes: Sizes = "",
    modes: Arms = "",
    options: SendOptions = "",
    batch: Batch = "",
    situation: With = "",
    plan_file: PlanFile = None,
    facts: Annotated[
        str,
        typer.Option(
            help="Take the facts of a run, by its id or folder, instead of making the "
            "paths; and its plan, where none is named.",
            metavar="RUN",
        ),
    ] = "",
    dev: nic.Dev = "",
    dst: nic.Dst = "",
    peer: nic.Peer = "",
    token_file: nic.TokenFile = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for scripts.")
    ] = False,
    rules: Annotated[
        bool, typer.Option("--rules", help="Print the rules as Markdown; end.")
    ] = False,
    page: Annotated[
        bool, typer.Option("--page", help="Print docs/paths.md; end.")
    ] = False,
) -> None:
    """Tell what the kernel will copy or refuse, by which rule, and the cure.

    The paths are made in network namespaces, their facts are read, and they are taken
    down again; no payload is sent, over a device (--path nic) one byte at the most. The
    points are those of a profile, of your own plan, or of a grid, as `zclab measure`
    takes them. Of a lenient plan what this host refuses is told on stderr, and the
    others are predicted; it ends with 77 only if nothing is left.
    """
    from zclab import preflight as rulebook
    from zclab.cli.measure import plan_of, typed_of

    grid = {
        "path": path,
        "protocol": protocol,
        "family": family,
        "sizes": sizes,
        "modes": modes,
        "options": options,
        "batch": batch,
        "with": situation,
    }
    if rules or page:
        _page(whole=page)
        return
    device = {"dev": dev, "dst": dst, "peer": peer}
    target = nic.target_of(device, token_file)
    named = profile or plan_file or typed_of(grid)
    if facts and target:
        raise InputError(f"--facts {facts} are those of a run; leave --dev out")
    plan, host = _stored(facts) if facts else (None, None)
    if named or plan is None:
        plan = plan_of(profile, plan_file, typed_of(grid), {}, target=target)
    if host is None:
        plan, host = _read(plan, target)
    told = list(rulebook.of_plan(plan, host))
    if as_json:
        typer.echo(json.dumps([one.to_json() for one in told], indent=2))
        return
    _print(told)


def _page(*, whole: bool) -> None:
    from zclab import preflight as rulebook
    from zclab.prove import paths

    typer.echo(paths.markdown() if whole else "\n".join(rulebook.table()), nl=not whole)


def _stored(name: str) -> tuple[Any, Mapping[str, Any]]:
    """Return plan and facts of a run that is there."""
    from zclab import store

    run = store.load(store.find(name))
    return run.plan, run.host


def _read(plan: Any, target: Any) -> tuple[Any, Mapping[str, Any]]:
    """Make the places of a plan; return it, and the facts of the host and of each.

    A lenient plan is without what this host refuses, of which each is told.
    """
    from zclab.measure import site

    if plan.synthetic:
        raise InputError(
            f"plan {plan.profile} is synthetic: its copied share is planted, no kernel "
            "decides; name another plan"
        )
    try:
        return plan, site.facts(plan, target)
    except (CapabilityError, MeasureError):
        if not plan.lenient:
            raise
    refused = site.refusals(plan, target, sends=False)
    for name, why in refused.items():
        say(f"left out: {name}: {why}")
    plan = site.left_of(plan, refused)
    return plan, site.facts(plan, site.needed(plan, target))


def _print(told: Sequence[Any]) -> None:
    arms = any(one.arms for one in told)
    rows = [("point", *["arms"] * arms, "predicted", "rule", "")]
    for one in told:
        said = one.said
        besides = f"besides: {', '.join(said.besides)}" if said.besides else ""
        more = "; ".join(filter(None, (said.numbers, besides)))
        named = [one.arms or "all"] * arms
        rows.append((one.point.name, *named, said.word, said.rule.id, more))
    echo_columns(rows)
    for rule in dict.fromkeys(one.said.rule for one in told):
        typer.echo(f"{rule.id}: {rule.says}")
        if rule.function:
            typer.echo(f"    by {rule.function}")
        if rule.cure:
            typer.echo(f"    cure: {rule.cure}")
