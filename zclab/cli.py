"""The command line. The only room that prints, and the only one that meets all."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from zclab import __version__
from zclab.errors import (
    EXIT_FAILURE,
    EXIT_INPUT,
    EXIT_STOPPED,
    DataError,
    InputError,
    MeasureError,
    StoppedError,
    ZclabError,
)

# typer brings its own copy of click from 0.20 on, so the class is reached through
# the one name that all its versions export.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

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


@app.command(epilog="Example: zclab measure --path sink --sizes 600,8000 --batch 8")
def measure(  # noqa: PLR0917 - typer calls it by keyword
    profile: Profile = "",
    path: Annotated[str, typer.Option(help="sink, veth or lo.")] = "",
    protocol: Annotated[str, typer.Option(help="udp or tcp.")] = "",
    family: Annotated[str, typer.Option(help="4 or 6.")] = "",
    sizes: Annotated[
        str, typer.Option(help="Bytes per send, separated by commas.", metavar="LIST")
    ] = "",
    modes: Annotated[
        str,
        typer.Option(
            help="Arms, separated by commas: modes, each with options of its own if "
            "you like, as in send,send_zc_fixed:pages=thp; see `zclab modes`.",
            metavar="LIST",
        ),
    ] = "",
    options: Annotated[
        str,
        typer.Option(
            help="Options that all arms share, as in taskrun=coop:sndbuf=65536; "
            "see `zclab options`.",
            metavar="NAME=VALUE:...",
        ),
    ] = "",
    batch: Annotated[str, typer.Option(help="Requests per submit, 1 to 512.")] = "",
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
            "new here are looked at for some seconds each.",
        ),
    ] = False,
    out: Out = None,
) -> None:
    """Take a run: all points of a profile, of your own plan, or of a grid given here.

    Without any option it takes the profile `quick`. With one of --path, --protocol,
    --family, --sizes, --modes, --options or --batch it measures one point per size
    instead: by default udp over IPv4 on the sink, 1200, 4000 and 8000 bytes, the
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
    }
    changes = {"precision": precision, "budget": budget, "blocks": blocks, "seed": seed}
    if resume:
        _resume(
            resume,
            _typed(grid) | _typed(changes) | ({"dry-run": "yes"} if dry_run else {}),
            profile,
            plan_file,
            out,
        )
        return
    plan = _plan(profile, plan_file, _typed(grid), changes)
    if dry_run:
        _tell_estimate(plan)
        return
    parent = out if out is not None else store.runs_dir()
    with _kept(parent), _bar() as show:
        folder = sweep.take(plan, out=out, progress=show)
    typer.echo(folder)


def _resume(
    name: str,
    given: dict[str, str],
    profile: str,
    plan_file: Path | None,
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
    plan = _plan(profile, plan_file, {}, {}) if profile or plan_file else None
    with _kept(folder.parent, resumed=folder), _bar() as show:
        sweep.resume(folder, plan=plan, progress=show)
    typer.echo(folder)


def _tell_estimate(plan: Any) -> None:
    """Print the points of a plan, what each will take, and the sum."""
    from zclab.errors import CapabilityError
    from zclab.measure import estimate

    try:
        with _bar() as show:
            found = estimate.of(plan, look=show)
    except CapabilityError as error:
        _say(f"zclab: {error}")
        found = estimate.of(plan)
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
    _echo_columns(rows)
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
def _kept(parent: Path, resumed: Path | None = None) -> Iterator[None]:
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


def _plan(
    profile: str,
    plan_file: Path | None,
    grid: dict[str, str],
    changes: dict[str, str],
) -> Any:
    """Return the plan that the options ask for.

    Args:
        profile: the name of one, or empty.
        plan_file: a plan of the user's own.
        grid: the factors of a grid, as typed; empty for none.
        changes: precision, budget, blocks and seed, as typed.

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
    typed = _typed(changes)
    seed = parse_int(typed.get("seed", "0"), "seed")
    if plan_file:
        plan = profiles.from_file(plan_file, seed)
    elif grid:
        plan = profiles.custom(_points(grid), seed=seed)
    else:
        plan = profiles.plan(profile or "quick", seed)
    return profiles.adjusted(
        plan,
        precision=_positive(typed, "precision"),
        budget_s=_positive(typed, "budget"),
        blocks=int(_positive(typed, "blocks", whole=True)),
    )


def _positive(typed: dict[str, str], name: str, *, whole: bool = False) -> float:
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


def _points(grid: dict[str, str]) -> Any:
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
    )


@app.command(epilog="Example: zclab report --profile quick")
def report(  # noqa: PLR0917 - typer calls it by keyword
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Run ids or folders, or `latest`; without any, measure first.",
            metavar="[RUN]...",
        ),
    ] = None,
    profile: Profile = "",
    plan_file: PlanFile = None,
    precision: Precision = "",
    budget: Budget = "",
    seed: Seed = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the report's folder."),
    ] = None,
) -> None:
    """Write a report: index.html and mail.txt, from runs or from a new measurement.

    A new measurement goes through notebooks/10-measure.ipynb. The notebooks, the
    figures and a manifest of hashes lie beside the report.
    """
    from zclab import store

    measured: Path | None = None
    if runs:
        folders = [store.find(run) for run in runs]
        _say(f"Reporting {', '.join(folder.name for folder in folders)} ...")
    else:
        changes = {"precision": precision, "budget": budget, "seed": seed}
        folder, measured = _measure_by_notebook(profile, plan_file, changes)
        folders = [folder]
        _say(f"Measured {folder}; writing the report ...")
    from zclab.publish import report as reports  # slow to import: it draws

    made = reports.build(folders, measured_notebook=measured, out=out)
    for name in ("index.html", "mail.txt"):  # no mail is made about a model
        if (made / name).exists():
            typer.echo(made / name)


def _measure_by_notebook(
    profile: str, plan_file: Path | None, changes: dict[str, str]
) -> tuple[Path, Path]:
    """Run 10-measure; return the run's folder and the executed notebook."""
    from zclab import store
    from zclab.measure import estimate
    from zclab.uring import probe

    plan = _plan(profile, plan_file, {}, changes)  # refuses what is wrong, and first
    if plan.synthetic is None:
        probe.support()
    expected = estimate.of(plan)
    _say(
        f"Measuring plan {plan.profile}: {len(plan.points)} points, "
        f"{expected.words} ..."
    )
    from zclab.publish import notebooks  # slow to import: it brings Jupyter

    output = store.home() / "build" / "10-measure.ipynb"
    parameters = {
        "profile": "" if plan_file else plan.profile,
        "plan_file": str(plan_file.resolve()) if plan_file else "",
        "precision": _positive(changes_typed := _typed(changes), "precision"),
        "budget_s": _positive(changes_typed, "budget"),
        "seed": plan.seed,
    }
    with _kept(store.runs_dir()), _bar() as show:
        heard = _Heard(show)
        done = notebooks.execute("10-measure", parameters, output, heard=heard.hear)
    return store.find(done.answers["run"]), output


def _typed(changes: dict[str, str]) -> dict[str, str]:
    """Return the options that were given at all."""
    return {name: text for name, text in changes.items() if text}


class _Shown:
    """How far a run is, as a bar needs it: a sweep's Progress is one."""

    def __init__(self, done: int, total: int, left_s: float) -> None:
        self.done = done
        self.total = total
        self.left_s = left_s


def _paced(show: Callable[[Any], None]) -> Callable[[int, int], None]:
    """Return what takes (done, total) and shows that the rest goes on at that pace."""
    import time

    start = time.monotonic()

    def paced(done: int, total: int) -> None:
        passed = time.monotonic() - start
        show(_Shown(done, total, passed / max(done, 1) * (total - done)))

    return paced


class _Heard:
    """Reads the meter's lines that a measuring notebook prints."""

    _LINE = re.compile(r"block (\d+) of (\d+), \d+ s(?:, about (\d+) s left)?")

    def __init__(self, show: Callable[[Any], None]) -> None:
        self._show = show

    def hear(self, text: str) -> None:
        for done, total, left in self._LINE.findall(text):
            self._show(_Shown(int(done), int(total), float(left or 0)))


@contextmanager
def _bar() -> Iterator[Callable[[Any], None]]:
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
            _say(
                f"measuring: block {now.done} of {now.total}, {passed:.0f} s passed, "
                f"about {now.left_s:.0f} s left"
            )

    return show


@app.command(epilog="Example: zclab mail latest > mail.txt")
def mail(
    report: Annotated[
        str, typer.Argument(help="Report id or folder, or `latest`.", metavar="REPORT")
    ],
) -> None:
    """Print a report's mail after checking that it is fit for a list.

    Edit the report's mail.txt by hand if you like; what a reader needs to judge the
    numbers may not go missing, and the check says what does.
    """
    from zclab.publish import archive
    from zclab.publish import mail as mails

    folder = archive.find(report)
    text = archive.mail_text(folder)
    problems = mails.lint(text)
    if problems:
        raise InputError(
            f"{folder / archive.MAIL} is not fit to be sent: {'; '.join(problems)}"
        )
    typer.echo(text, nl=False)


@app.command(epilog="Example: zclab verify latest")
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Run or report ids or folders; without any, all that are here.",
            metavar="[RUN|REPORT]...",
        ),
    ] = None,
) -> None:
    """Check runs and reports against their hashes; rebuild each report's mail."""
    from zclab import store

    checks = _named(names) if names else _all()
    problems = []
    for folder, check in checks:
        try:
            for fact in check(folder):
                typer.echo(f"{folder.name}: {fact}")
        except DataError as error:
            problems.append(error)
    for problem in problems[:-1]:
        _say(f"zclab: {problem}")
    if problems:
        raise problems[-1]
    if not checks:
        typer.echo(f"nothing to verify under {store.home()}")


Check = tuple[Path, Callable[[Path], list[str]]]


def _named(names: Sequence[str]) -> list[Check]:
    """Return each run or report that is named; an id may name one of each."""
    from zclab import store
    from zclab.publish import archive

    checks: list[Check] = []
    for name in names:
        found: list[Check] = []
        problems: list[str] = []
        for find, check in ((store.find, store.verify), (archive.find, archive.verify)):
            try:
                found.append((find(name), check))
            except InputError as error:
                problems.append(str(error))
        if not found:
            raise InputError(f"{name!r} names no run and no report: {problems[0]}")
        checks.extend(found)
    return checks


def _all() -> list[Check]:
    from zclab import store
    from zclab.publish import archive

    runs = store.listing()
    for folder in runs:
        if not store.is_sealed(folder):
            _say(f"{folder.name}: left out, it was interrupted and never sealed")
    return [
        *((folder, store.verify) for folder in runs if store.is_sealed(folder)),
        *((folder, archive.verify) for folder in archive.listing()),
    ]


@app.command(epilog="Example: zclab dictionary > docs/dictionary.md")
def dictionary() -> None:
    """Print the data dictionary: every stored column with unit and meaning."""
    from zclab import schema

    typer.echo(schema.dictionary(), nl=False)


# The tools' letters are not typer's, and -h is part of a word like -Ieth0.
_LETTERS: dict[str, Any] = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": ["--help"],
}


# \b keeps the line breaks of what follows it.
_TX_HELP = """Send as the field's tools do: their letters, then udp or tcp.

selftest is the kernel's io_uring_zerocopy_tx, liburing its send-zerocopy example.
It sends from here to a real address (-D), prints the tool's own line (selftest on
stderr, liburing on stdout), and then, on stdout, what was measured and copied.
Unlike the tools it asks the kernel whether it copied.

\b
both      -4 or -6, -D address, -p port (8000), -s bytes (65435),
          -t seconds (4; 0.2 s more are sent), -n requests per submit (8)
selftest  -m 0 send, 1 send_zc, 2 send_zc_fixed, 3 mixed (2), -c 1 UDP_CORK
liburing  -z 1 zerocopy (1), -b 1 registered buffer (1), -l 1 huge pages (0),
          -d DEFER_TASKRUN, -C cpu, -T threads (1), -I device,
          -R receive instead; not offered: -y, -v
"""


@app.command(
    epilog="Example: zclab tx -6 -D ::1 -m 2 -n 8 -t 1 udp",
    context_settings=_LETTERS,
    help=_TX_HELP,
)
def tx(
    context: typer.Context,
    like: Annotated[
        str,
        typer.Option(
            help="Whose letters they are: selftest or liburing; by default the letters "
            "tell, and those that both have are read as liburing's.",
            metavar="TOOL",
        ),
    ] = "",
    differences: Annotated[
        bool,
        typer.Option(
            "--differences", help="List what the tools do otherwise than zclab; end."
        ),
    ] = False,
) -> None:
    """Send as the field's tools do."""
    if differences:
        _tell_differences()
        return
    if not context.args or context.args == ["-h"]:
        typer.echo(context.get_help())
        return
    from zclab.measure import preset
    from zclab.measure import tx as transmission

    call = preset.parse(context.args, like)
    for warning in call.warnings:
        _say(f"zclab: {warning}")
    if call.serves:
        received = transmission.receive(call, _say)
        typer.echo(received.line)
        stopped = received.stopped
    else:
        sent = transmission.send(call)
        typer.echo(sent.line, err=sent.line_to_stderr)
        for line in sent.lines:
            typer.echo(line)
        if sent.failure:
            raise MeasureError(sent.failure)
        stopped = sent.stopped
    if stopped:
        raise StoppedError("stopped early; the numbers are of the time until then")


def _tell_differences() -> None:
    """Print what each preset changes and, once it was measured, what that costs."""
    from zclab import presets
    from zclab.options import OPTIONS

    groups = [
        (f"{p.name} at -n 8: {p.says}", p.differences(8)) for p in presets.PRESETS
    ]
    groups.append(("added by zclab: the tools do not ask", (presets.ADDED,)))
    for title, found in groups:
        typer.echo(title)
        rows = [("option", "tool", "zclab", "meaning")]
        for one in found:
            plain = "; only with -z 0" if one.mode is not presets.BASIS else ""
            rows.append((one.name, *one.texts, OPTIONS[one.name].meaning + plain))
        _echo_columns(rows)
        typer.echo()
    _tell_costs()


def _tell_costs() -> None:
    """Print what each difference costs in the newest run that measured them."""
    from zclab import presets
    from zclab.explain import options as explained

    run = explained.newest(presets.PROFILE)
    if run is None:
        typer.echo("what each of them costs here: zclab measure --profile presets")
        return
    _echo_costs(
        run,
        {
            p.arm(point.batch): f"{p.name}, all of it"
            for p in presets.PRESETS
            for point in run.plan.points
        },
    )


def _echo_costs(run: Any, names: dict[str, str]) -> None:
    """Print what the options of a run cost; `names` are other words for arms."""
    from zclab.explain import options as explained

    costs = explained.costs(run)
    if costs.empty:
        raise InputError(
            f"{run.id} has no mode both with and without options; measure one: "
            "zclab measure --profile options"
        )
    typer.echo(
        "cost of each beside the same mode without: median of the differences within\n"
        f"blocks, 95% interval, and in percent of the time without; run {run.id}"
    )
    for point, rows in costs.groupby("point", sort=False):
        typer.echo(f"{point}, n={rows['n'].min()}")
        _echo_columns(
            [
                (names.get(row["arm"], row["arm"]), explained.cost_text(row))
                for _, row in rows.iterrows()
            ]
        )
        for _, row in rows[rows["warnings"] != ""].iterrows():
            typer.echo(f"  warning: {row['arm']}: {row['warnings']}")


@app.command(epilog="Example: zclab costs latest")
def costs(
    run: Annotated[
        str, typer.Argument(help="Run id or folder, or `latest`.", metavar="RUN")
    ],
) -> None:
    """Print what each option of a run costs beside the same mode without it.

    Any run will do in which an arm with options lies beside its mode without them;
    `zclab measure --profile options` takes one of twenty options on the sink.
    """
    from zclab import store

    _echo_costs(store.load(store.find(run)), {})


def _echo_columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows with their columns aligned; the last one is as long as it likes."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(n) for cell, n in zip(row[:-1], widths[:-1], strict=True)]
        typer.echo("  " + "  ".join([*cells, row[-1]]))


@app.command(
    epilog="Example: zclab replay -- 6 udp -m 1 -n 64", context_settings=_LETTERS
)
def replay(context: typer.Context) -> None:
    """Do what the kernel's io_uring_zerocopy_tx.sh does, without root, on two CPUs.

    4 or 6, udp or tcp, then letters of the selftest (see zclab tx); without any the
    script's whole list. The sender and its receiver are in two network namespaces of
    their own, a veth pair between them, where the kernel always copies. Printed are
    the script's lines, what was measured and copied, and what arrived.
    """
    if context.args == ["-h"]:
        typer.echo(context.get_help())
        return
    from zclab.measure import replay as replays

    replays.replay(context.args, typer.echo)


@app.command(epilog="Example: zclab options")
def options() -> None:
    """List the options of a sender: name, default, unit, meaning."""
    from zclab import options as opts

    for row in opts.table():
        unit = f" {row['unit']}" if row["unit"] else ""
        needs = f" [{row['needs']}]" if row["needs"] else ""
        typer.echo(f"{row['name']}={row['default']}{unit}")
        typer.echo(f"    {row['meaning']}{needs}")


@app.command(epilog="Example: zclab modes")
def modes() -> None:
    """List the modes, and whether this kernel has each; exit 77 without io_uring."""
    from zclab.errors import CapabilityError
    from zclab.params import Mode
    from zclab.uring import probe

    probe.support()
    for mode in Mode:
        try:
            probe.mode(mode)
            found = "here"
        except CapabilityError as error:
            found = str(error)
        typer.echo(f"{mode:18}{found}")


@app.command(
    epilog="Example: zclab test -k stats",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def test(context: typer.Context) -> None:
    """Run the tests; further arguments go to pytest."""
    _run([sys.executable, "-m", "pytest", *context.args])


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
        str, typer.Option(help="The peer's -t: a sample takes that and 200 ms.")
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
    with _bar() as show:
        done = event.hold(asked, progress=_paced(show))
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
        _echo_columns(rows)
        return
    failed = []
    for name, part in chosen.items():
        _say(f"proving {name}: {part.says}; about {part.seconds} s ...")
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
    _run(["make", "--no-print-directory", "-C", "tests/c", *context.args])


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
        _run(command)


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
    _run([sys.executable, "-m", "jupyterlab", folder, *root, *context.args])


@app.command(epilog="Example: zclab setup")
def setup() -> None:
    """Check the system's packages, the environment and the shim; mend what is old."""
    _run([sys.executable, str(Path(__file__).with_name("bootstrap.py"))])


@app.command(epilog="Example: zclab clean")
def clean() -> None:
    """Remove what was set up and built; never data or reports."""
    _run([sys.executable, str(Path(__file__).with_name("bootstrap.py")), "clean"])


def _run(command: Sequence[str]) -> None:
    """Run a tool in the checkout; end with its status if that is not 0."""
    from zclab import store

    status = subprocess.run(command, cwd=store.home(), check=False).returncode
    if status:
        raise typer.Exit(status)


def _say(text: str) -> None:
    """Print to stderr, where the log belongs; stdout carries results."""
    typer.echo(text, err=True)


def _terminated(number: int, _: FrameType | None) -> None:
    """Turn a polite end into the same clean way out that Ctrl-C takes."""
    raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")


def main() -> None:
    """Run the command line; every expected error is one line and an exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        status = app(standalone_mode=False) or 0
        if status == EXIT_STOPPED:  # typer's own answer to Ctrl-C, without words
            raise KeyboardInterrupt
        sys.exit(status)
    except ZclabError as error:
        _say(f"zclab: {error}")
        sys.exit(error.exit_code)
    except _UsageError as error:
        message = str(error).rstrip(".") or type(error).__name__
        _say(f"zclab: {message}; see zclab --help")
        sys.exit(EXIT_INPUT)
    except OSError as error:  # a full disk, a folder of somebody else
        what = error.filename or "a file or a system call"
        _say(f"zclab: {what}: {error.strerror or error}")
        sys.exit(EXIT_FAILURE)
    except (KeyboardInterrupt, typer.Abort) as stop:
        _say(f"zclab: {str(stop) or 'stopped'}")
        sys.exit(EXIT_STOPPED)


if __name__ == "__main__":
    main()
