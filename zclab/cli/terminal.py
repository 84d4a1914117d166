"""What is printed in common: lines to stderr, columns, a bar with an ETA."""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer


def say(text: str) -> None:
    """Print to stderr, where the log belongs; stdout carries results."""
    typer.echo(text, err=True)


def echo_columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows with their columns aligned; the last one is as long as it likes."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(n) for cell, n in zip(row[:-1], widths[:-1], strict=True)]
        typer.echo("  " + "  ".join([*cells, row[-1]]))


class Shown:
    """How far a run is, as a bar needs it: a sweep's Progress is one."""

    def __init__(self, done: int, total: int, left_s: float) -> None:
        self.done = done
        self.total = total
        self.left_s = left_s


def paced(show: Callable[[Any], None]) -> Callable[[int, int], None]:
    """Return what takes (done, total) and shows that the rest goes on at that pace."""
    import time

    start = time.monotonic()

    def paced(done: int, total: int) -> None:
        passed = time.monotonic() - start
        show(Shown(done, total, passed / max(done, 1) * (total - done)))

    return paced


@contextmanager
def bar() -> Iterator[Callable[[Any], None]]:
    """Show a bar with an ETA on a terminal, a line per tenth elsewhere.

    Where points stop by themselves the total is an expectation that moves.
    """
    import datetime

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _tenths()
        return
    with Progress(
        TextColumn("measuring"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("blocks,"),
        TimeElapsedColumn(),
        TextColumn("passed,"),
        TextColumn("{task.fields[left]} left"),
        console=console,
        # A redraw costs the measured machine; four a second are enough to see it move.
        refresh_per_second=4,
    ) as progress:
        task = progress.add_task("measuring", total=None, left="-:--:--")

        def show(now: Any) -> None:
            left = str(datetime.timedelta(seconds=round(now.left_s)))
            progress.update(task, completed=now.done, total=now.total, left=left)

        yield show


def _tenths() -> Callable[[Any], None]:
    import time

    start = time.monotonic()
    told = [0]

    def show(now: Any) -> None:
        tenth = 10 * now.done // now.total
        if tenth > told[0]:
            told[0] = tenth
            passed = time.monotonic() - start
            say(
                f"measuring: block {now.done} of {now.total}, {passed:.0f} s passed, "
                f"about {now.left_s:.0f} s left"
            )

    return show


def run_tool(command: Sequence[str]) -> None:
    """Run a tool in the checkout; end with its status if that is not 0."""
    from zclab import store

    status = subprocess.run(command, cwd=store.home(), check=False).returncode
    if status:
        raise typer.Exit(status)
