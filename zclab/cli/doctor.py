"""The command doctor: what makes a measurement here lie or noisy, and the cures."""

import json
from typing import Annotated, Any

import typer

from zclab.cli.app import app
from zclab.cli.terminal import say
from zclab.errors import InputError


@app.command(
    epilog="Example: zclab doctor --profile quick, or as root: "
    "zclab doctor --apply -- zclab report",
)
def doctor(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            help="With --apply: what runs under the settings, after `--`.",
            metavar="[-- COMMAND...]",
            show_default=False,
        ),
    ] = None,
    *,
    dev: Annotated[
        str,
        typer.Option(
            "--dev", help="Look at this network device as well.", metavar="DEVICE"
        ),
    ] = "",
    profile: Annotated[
        str,
        typer.Option(
            "--profile",
            "-p",
            help="The plan that is to be measured: MTU, limits and modes are held "
            "against it.",
            metavar="NAME",
        ),
    ] = "quick",
    every: Annotated[
        bool, typer.Option("--all", help="Show what is fine, too.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print JSON with all findings; fields: docs/doctor.md."
        ),
    ] = False,
    apply: Annotated[
        bool,
        typer.Option(
            "--apply",
            help="Set what is safe and can be put back (see docs/doctor.md) while "
            "COMMAND runs, or until Ctrl-C.",
        ),
    ] = False,
) -> None:
    """Say what here makes a measurement lie or noisy, and how to cure it.

    Watches the machine for a second. Exit 1 when something lies, else 0; with --apply
    it is COMMAND's. Settings that a killed --apply left in force are put back first.
    """
    if command and not apply:
        raise InputError(f"{command[0]} goes with --apply: doctor --apply -- COMMAND")
    if apply and (as_json or every):
        raise InputError("--apply goes without --json and --all; ask for them first")
    from zclab.doctor import examination, patient, treatment

    put_back()
    met = patient.meet(dev, profile)
    findings = examination.examine(met)
    if apply:
        changes = treatment.changes(findings)
        for found in findings:
            if found.level == "lies":
                say(f"zclab: {found.id} lies: {found.seen}; {found.cure}")
        if not changes:
            say("zclab: nothing to set here")
        raise typer.Exit(
            treatment.hold(changes, command or [], lambda line: say(f"zclab: {line}"))
        )
    if as_json:
        typer.echo(json.dumps(examination.to_json(met, findings), indent=2))
    else:
        _echo(findings, every)
    raise typer.Exit(examination.exit_code(findings))


def _echo(findings: Any, every: bool) -> None:
    """Print findings, each with what it does and its cure; fine ones in a line."""
    counts: dict[str, int] = {}
    for found in findings:
        counts[found.level] = counts.get(found.level, 0) + 1
        if found.level == "fine":
            if every:
                typer.echo(f"{found.level:8}{found.id}: {found.seen}")
                typer.echo(f"{'':8}  read: {', '.join(found.read)}")
            continue
        typer.echo(f"{found.level:8}{found.id}: {found.seen}")
        if found.read:
            typer.echo(f"{'':8}  read: {', '.join(found.read)}")
        typer.echo(f"{'':8}  does: {found.effect} [{found.source}]")
        typer.echo(f"{'':8}  cure: {found.cure}")
    told = ", ".join(f"{count} {level}" for level, count in counts.items())
    more = "" if every or "fine" not in counts else "; --all shows what is fine"
    typer.echo(f"{told}{more}")


def put_back() -> None:
    """Put back what a `doctor --apply` left that was killed, and say so."""
    from zclab.doctor import undo

    for line in undo.recover():
        say(f"zclab: {line}")
