"""The app that every command joins, and options that several share."""

from pathlib import Path
from typing import Annotated

import typer

from zclab import __version__

app = typer.Typer(
    name="zclab",
    help="The reproducibility lab for io_uring zerocopy send: measure, explain, mail.",
    epilog="Start with: zclab report",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Profile = Annotated[
    str,
    typer.Option(
        "--profile",
        "-p",
        help="A plan that comes with zclab: quick, v5, full, smoke and others; see "
        "`zclab plans`.",
        metavar="NAME",
    ),
]
PlanFile = Annotated[
    Path | None,
    typer.Option("--plan", help="A plan of your own: a YAML file.", metavar="FILE"),
]
Precision = Annotated[
    str,
    typer.Option(
        help="Percent points: a point stops when each gain's 95 % interval is no "
        "wider than this to either side.",
        metavar="POINTS",
    ),
]
Budget = Annotated[
    str,
    typer.Option(
        help="Seconds of measuring for the whole run; what there is goes where it "
        "narrows most.",
        metavar="SECONDS",
    ),
]
Seed = Annotated[
    str,
    typer.Option(
        "--seed", help="Seed of the random order; by default one is drawn and kept."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder for the run's folder.", metavar="DIR"),
]


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.")
    ] = False,
) -> None:
    if version:
        typer.echo(f"zclab {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
