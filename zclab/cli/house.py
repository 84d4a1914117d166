"""Commands about zclab itself: test, bench, prove, sanitize, lint, lab, set-up."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from zclab.cli.app import app
from zclab.cli.terminal import bar, echo_columns, paced, run_tool, say
from zclab.errors import MeasureError, StoppedError

_BOOTSTRAP = str(Path(__file__).parents[1] / "bootstrap.py")


@app.command(
    epilog="Example: zclab test -k stats",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def test(context: typer.Context) -> None:
    """Run the tests; further arguments go to pytest."""
    run_tool([sys.executable, "-m", "pytest", *context.args])


@app.command(epilog="Example: zclab bench --cells 'udp-600-*' --pairs 10")
def bench(
    peer: Annotated[
        Path | None,
        typer.Option(
            help="liburing's examples/send-zerocopy; by default the distribution's, "
            "fetched with apt and built under build/.",
            metavar="PATH",
        ),
    ] = None,
    pairs: Annotated[str, typer.Option(help="Rounds; 20 or more for docs/.")] = "40",
    seconds: Annotated[
        str,
        typer.Option(
            help="The peer's -t: a sample takes that and 200 ms; TCP 1 at least."
        ),
    ] = "0",
    cells: Annotated[
        str,
        typer.Option(
            help="Cells to measure, separated by commas, with wildcards: "
            "udp-600-*,tuned-8000.",
            metavar="LIST",
        ),
    ] = "*",
    seed: Annotated[str, typer.Option(help="Seed of the random order.")] = "1",
) -> None:
    """Compare zclab's sender with liburing's example; write docs/bench.md.

    Without --cells and with at least 20 rounds the page goes to docs/, else to
    build/bench/, where the samples are in either case. Ctrl-C keeps the rounds that
    are finished.
    """
    from zclab.bench import event
    from zclab.params import parse_int

    asked = event.Asked(
        peer=peer,
        pairs=parse_int(pairs, "pairs"),
        seconds=parse_int(seconds, "seconds"),
        cells=cells,
        seed=parse_int(seed, "seed"),
    )
    with bar() as show:
        done = event.hold(asked, progress=paced(show))
    typer.echo(done.page)
    if done.stopped:
        raise StoppedError("stopped; the finished rounds are in the page and beside it")


@app.command(epilog="Example: zclab prove coverage power")
def prove(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Parts; without any, all of them.", metavar="[PART]..."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--list", help="List the parts and their seconds; end.")
    ] = False,
) -> None:
    """Put zclab's own claims to the test; write docs/rigor.md.

    Do the intervals cover what they should, does stopping early bias them, is a
    planted effect found, do equal arms look equal on this machine, does a run survive
    being killed? Some parts are simulations, the others measure and want a machine
    that does nothing else. The newest result of each part is kept under build/prove/,
    and the page is made of them. Exit 1 when a claim does not hold.
    """
    from zclab.prove import page, parts, proof

    chosen = parts.chosen(names or [])
    if show:
        rows = [
            (name, f"{part.seconds} s", "real" if part.real else "model", part.says)
            for name, part in chosen.items()
        ]
        echo_columns(rows)
        return
    failed = []
    for name, part in chosen.items():
        say(f"proving {name}: {part.says}; about {part.seconds} s ...")
        found = part.run()
        proof.write(found)
        for line in found.lines():
            typer.echo(line)
        failed += [] if found.holds else [name]
    typer.echo(page.write())
    if failed:
        raise MeasureError(f"not everything holds: {', '.join(failed)}")


@app.command(
    epilog="Example: zclab sanitize fuzz FUZZ_SECONDS=900",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def sanitize(context: typer.Context) -> None:
    """Run the C tests of the shim: sanitizers, valgrind, leak cycles, libFuzzer.

    Further arguments go to tests/c/Makefile: its parts (gcc, clang, cycles, valgrind,
    fuzz) and LIBURING=PATH for a second liburing. What a missing tool leaves out is
    said in a line of its own.
    """
    run_tool(["make", "--no-print-directory", "-C", "tests/c", *context.args])


@app.command(epilog="Example: zclab lint")
def lint() -> None:
    """Check style, types and that the notebook sources are stripped."""
    from zclab.publish import notebooks

    python = [sys.executable, "-m"]
    sources = [str(path) for path in sorted(notebooks.folder().glob("*.ipynb"))]
    for command in (
        [*python, "ruff", "check"],
        [*python, "ruff", "format", "--check"],
        [*python, "mypy"],
        [*python, "nbstripout", "--keep-id", "--verify", *sources],
    ):
        run_tool(command)


@app.command(
    epilog="Example: zclab lab --no-browser",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def lab(context: typer.Context) -> None:
    """Open the notebooks in JupyterLab; further arguments go to it."""
    from zclab.publish import notebooks

    # Jupyter refuses root unless told; test machines often have nobody else.
    root = ["--allow-root"] if os.geteuid() == 0 else []
    folder = str(notebooks.folder())
    run_tool([sys.executable, "-m", "jupyterlab", folder, *root, *context.args])


@app.command(epilog="Example: zclab setup")
def setup() -> None:
    """Check the system's packages, the environment and the shim; mend what is old."""
    run_tool([sys.executable, _BOOTSTRAP])


@app.command(epilog="Example: zclab clean")
def clean() -> None:
    """Remove what was set up and built; never data or reports."""
    run_tool([sys.executable, _BOOTSTRAP, "clean"])
