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

# The factors of a grid.
OnPath = Annotated[str, typer.Option("--path", help="sink, veth, lo or nic.")]
OverProtocol = Annotated[str, typer.Option("--protocol", help="udp or tcp.")]
OfFamily = Annotated[str, typer.Option("--family", help="4 or 6.")]
Sizes = Annotated[
    str,
    typer.Option(
        "--sizes", help="Bytes per send, separated by commas.", metavar="LIST"
    ),
]
Arms = Annotated[
    str,
    typer.Option(
        "--modes",
        help="Arms, separated by commas: modes, each with options of its own if "
        "you like, as in send,send_zc_fixed:pages=thp; see `zclab modes`.",
        metavar="LIST",
    ),
]
SendOptions = Annotated[
    str,
    typer.Option(
        "--options",
        help="Options that all arms share, as in taskrun=coop:sndbuf=65536; "
        "see `zclab options`.",
        metavar="NAME=VALUE:...",
    ),
]
Batch = Annotated[str, typer.Option("--batch", help="Requests per submit, 1 to 512.")]
With = Annotated[
    str,
    typer.Option(
        "--with",
        help="What is done to the path: mtu=1500, sg=off, tx-checksum=off, tap, tun, "
        "own-address, peer-drop, rung=...",
        metavar="LIST",
    ),
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
