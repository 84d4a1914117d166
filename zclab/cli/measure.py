"""Commands that measure: measure, plans."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from zclab.cli import doctor, nic
from zclab.cli.app import (
    Arms,
    Batch,
    Budget,
    OfFamily,
    OnPath,
    Out,
    OverProtocol,
    PlanFile,
    Precision,
    Profile,
    Seed,
    SendOptions,
    Sizes,
    With,
    app,
)
from zclab.cli.terminal import bar, echo_columns, say
from zclab.errors import InputError, StoppedError


@app.command(epilog="Example: zclab measure --path sink --sizes 600,8000 --batch 8")
def measure(  # noqa: PLR0917 - typer calls it by keyword
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
    precision: Precision = "",
    budget: Budget = "",
    blocks: Annotated[
        str, typer.Option(help="A fixed number of blocks per point, or the most.")
    ] = "",
    seed: Seed = "",
    resume: Annotated[
        str,
        typer.Option(
            help="Continue an interrupted run, by its id or folder; its own plan.",
            metavar="RUN",
        ),
    ] = "",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the points and how long they will take; end. Points that are "
            "new here are looked at for some seconds each; not so over a device, "
            "where nothing is sent, and what would be is told.",
        ),
    ] = False,
    dev: nic.Dev = "",
    dst: nic.Dst = "",
    peer: nic.Peer = "",
    token_file: nic.TokenFile = None,
    port: nic.Port = "",
    rate: nic.Rate = "",
    seconds: nic.Seconds = "",
    out: Out = None,
) -> None:
    """Take a run: all points of a profile, of your own plan, or of a grid given here.

    Without any option it takes the profile `quick`. With one of --path, --protocol,
    --family, --sizes, --modes, --options, --batch or --with it measures one point per
    size instead: by default udp over IPv4 on the sink, 1200, 4000 and 8000 bytes, the
    selftest's modes, batch 8 (tcp: batch 1), to half a percent point or for 20 s a
    point. The plan is fixed and hashed before the first sample. Ctrl-C keeps the
    finished blocks, and --resume goes on from there. The run's folder is printed at
    the end.
    """
    from zclab import store
    from zclab.measure import sweep

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
    changes = {"precision": precision, "budget": budget, "blocks": blocks, "seed": seed}
    device = {
        "dev": dev,
        "dst": dst,
        "peer": peer,
        "port": port,
        "rate": rate,
        "seconds": seconds,
    }
    target = nic.target_of(device, token_file)
    doctor.put_back()
    if resume:
        _resume(
            resume,
            target,
            typed_of(grid)
            | typed_of(changes)
            | ({"dry-run": "yes"} if dry_run else {}),
            (profile, plan_file),
            out,
        )
        return
    plan = plan_of(profile, plan_file, typed_of(grid), changes, target=target)
    if dry_run:
        _tell_estimate(plan, target)
        return
    parent = out if out is not None else store.runs_dir()
    with kept(parent), bar() as show:
        folder = sweep.take(plan, out=out, progress=show, warn=_warn, target=target)
    typer.echo(folder)


def _warn(text: str) -> None:
    say(f"zclab: warning: {text}")


def _resume(
    name: str,
    target: Any,
    given: dict[str, str],
    sources: tuple[str, Path | None],
    out: Path | None,
) -> None:
    """Continue a run; a plan may be named only to be compared with the run's own."""
    from zclab import store
    from zclab.measure import sweep

    if given or out:
        word = next(iter(given), "out")
        raise InputError(
            f"--resume {name} goes on with the run's own plan; leave --{word} out"
        )
    folder = store.find(name)
    plan = plan_of(*sources, {}, {}, target=target) if any(sources) else None
    with kept(folder.parent, resumed=folder), bar() as show:
        sweep.resume(folder, plan=plan, progress=show, warn=_warn, target=target)
    typer.echo(folder)


def _tell_estimate(plan: Any, target: Any = None) -> None:
    """Print the points of a plan, what each will take, and the sum.

    Over a device nothing is sent for it.
    """
    from zclab.errors import CapabilityError
    from zclab.measure import estimate

    if target is not None:
        _tell_points(plan, estimate.of(plan))
        from zclab.measure.path import nic as device

        typer.echo(device.foretold(plan, target))
        typer.echo("nothing was sent")
        return
    try:
        with bar() as show:
            found = estimate.of(plan, look=show)
    except CapabilityError as error:
        say(f"zclab: {error}")
        found = estimate.of(plan)
    _tell_points(plan, found)


def _tell_points(plan: Any, found: Any) -> None:
    rows = [("point", "arms", "blocks", "seconds", "known from")]
    for one in found.points:
        most = "at most " if one.bound else ""
        rows.append(
            (
                one.point.name,
                str(len(one.point.arms)),
                f"{most}{one.blocks}",
                f"{most}{one.seconds:.0f}",
                one.basis or "nothing yet",
            )
        )
    echo_columns(rows)
    for name, why in plan.excluded:
        typer.echo(f"  left out: {name}: {why}")
    if plan.stop:
        bounds = (
            f"{plan.blocks} blocks",
            f"{plan.stop.point_budget_s:g} s a point" * bool(plan.stop.point_budget_s),
            f"{plan.stop.budget_s:g} s in all" * bool(plan.stop.budget_s),
        )
        typer.echo(
            f"a point stops at +-{plan.stop.precision:g} percent points, after "
            f"{plan.stop.least} blocks or more; bounds: "
            f"{', '.join(filter(None, bounds))}"
        )
    typer.echo(f"{found.words}; seed {plan.seed}; plan {plan.hash}")


@contextmanager
def kept(parent: Path, resumed: Path | None = None) -> Iterator[None]:
    """When a measurement is stopped, say where its finished blocks are, if any."""
    from zclab import store

    before = set(store.listing(parent)) - {resumed}
    try:
        yield
    except KeyboardInterrupt:
        new = sorted(set(store.listing(parent)) - before)
        if not new:
            raise StoppedError("stopped before the first block") from None
        raise StoppedError(
            f"stopped; finished blocks are kept. Go on: zclab measure --resume "
            f"{new[-1]}; or report them: zclab report {new[-1]}"
        ) from None


def plan_of(
    profile: str,
    plan_file: Path | None,
    grid: dict[str, str],
    changes: dict[str, str],
    *,
    target: Any = None,
) -> Any:
    """Return the plan that the options ask for.

    Args:
        profile: the name of one, or empty.
        plan_file: a plan of the user's own.
        grid: the factors of a grid, as typed; empty for none.
        changes: precision, budget, blocks and seed, as typed.
        target: where path nic sends; what of a plan's points cannot be sent there is
            left out, what of a grid's is refused.

    """
    from zclab.measure import profile as profiles
    from zclab.params import parse_int

    sources = {
        f"--profile {profile}": bool(profile),
        f"--plan {plan_file}": plan_file is not None,
        f"--{next(iter(grid), '')}": bool(grid),
    }
    named = [source for source, is_given in sources.items() if is_given]
    if len(named) > 1:
        raise InputError(
            f"{named[0]} and {named[1]} exclude each other; a plan has its own points"
        )
    typed = typed_of(changes)
    seed = parse_int(typed.get("seed", "0"), "seed")
    if plan_file:
        plan = profiles.from_file(plan_file, seed)
    elif grid:
        if target is not None:
            grid = {"family": "6" if ":" in target.destination else "4"} | grid
        plan = profiles.custom(points_of(grid), seed=seed)
    else:
        plan = profiles.plan(profile or "quick", seed)
    plan = profiles.adjusted(
        plan,
        precision=positive(typed, "precision"),
        budget_s=positive(typed, "budget"),
        blocks=int(positive(typed, "blocks", whole=True)),
    )
    return profiles.fitted(plan, target, strict=bool(grid))


def positive(typed: dict[str, str], name: str, *, whole: bool = False) -> float:
    """Return a number above 0 that was typed, or 0 where none was."""
    from zclab.params import parse_int

    if name not in typed:
        return 0.0
    try:
        value = parse_int(typed[name], name) if whole else float(typed[name])
    except ValueError:
        raise InputError(f"{name} {typed[name]!r} is not a number") from None
    if not 0 < value < float("inf"):
        raise InputError(f"{name} {typed[name]} is out of range; use more than 0")
    return value


@app.command(epilog="Example: zclab plans quick > mine.yaml")
def plans(
    name: Annotated[
        str,
        typer.Argument(help="Print this plan's file.", metavar="[NAME]"),
    ] = "",
) -> None:
    """List the plans that come with zclab, or print one to write your own from.

    `zclab measure --plan mine.yaml --dry-run` then says what yours would take.
    """
    from zclab import planfile

    if name:
        typer.echo(planfile.profile_text(name), nl=False)
        return
    for known in planfile.profiles():
        typer.echo(f"{known}\n    {planfile.describe(known)}")


def points_of(grid: dict[str, str]) -> Any:
    """Return the points of a grid given as text, with the documented defaults."""
    from zclab import options as opts
    from zclab import params

    protocol = params.parse_enum(
        params.Protocol, grid.get("protocol", "udp"), "protocol"
    )
    tcp = protocol is params.Protocol.TCP
    return params.grid(
        path=params.parse_enum(
            params.Path, grid.get("path", "lo" if tcp else "sink"), "path"
        ),
        protocol=protocol,
        family=params.parse_int(grid.get("family", "4"), "family"),
        sizes=[
            params.parse_int(text, "size")
            for text in grid.get("sizes", "1200,4000,8000").split(",")
        ],
        modes=tuple(
            text.strip()
            for text in grid.get("modes", ",".join(params.TABLE_MODES)).split(",")
        ),
        given=opts.parse(grid.get("options", "")),
        batch=params.parse_int(grid.get("batch", "1" if tcp else "8"), "batch"),
        situation=grid.get("with", ""),
    )


def typed_of(changes: dict[str, str]) -> dict[str, str]:
    """Return the options that were given at all."""
    return {name: text for name, text in changes.items() if text}
