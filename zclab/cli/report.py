"""Commands about evidence: report, compare, mail, verify, dictionary."""

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from zclab.cli import doctor, nic
from zclab.cli.app import Budget, PlanFile, Precision, Profile, Seed, app
from zclab.cli.measure import kept, plan_of, positive, typed_of
from zclab.cli.terminal import Shown, bar, say
from zclab.errors import DataError, InputError

REPLICATION = "60-replication"


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
    dev: nic.Dev = "",
    dst: nic.Dst = "",
    peer: nic.Peer = "",
    token_file: nic.TokenFile = None,
    port: nic.Port = "",
    rate: nic.Rate = "",
    seconds: nic.Seconds = "",
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
    if runs:
        folders = [store.find(run) for run in runs]
        say(f"Reporting {', '.join(folder.name for folder in folders)} ...")
    else:
        changes = {"precision": precision, "budget": budget, "seed": seed}
        folder, measured = _measure_by_notebook(profile, plan_file, changes, target)
        folders = [folder]
        say(f"Measured {folder}; writing the report ...")
    from zclab.publish import report as reports  # slow to import: it draws

    made = reports.build(folders, measured_notebook=measured, out=out)
    for name in ("index.html", "mail.txt"):  # no mail is made about a model
        if (made / name).exists():
            typer.echo(made / name)


def _measure_by_notebook(
    profile: str, plan_file: Path | None, changes: dict[str, str], target: Any
) -> tuple[Path, Path]:
    """Run 10-measure; return the run's folder and the executed notebook."""
    from zclab import store
    from zclab.measure import estimate
    from zclab.uring import probe

    # It refuses what is wrong, and first.
    plan = plan_of(profile, plan_file, {}, changes, target=target)
    if plan.synthetic is None:
        probe.support()
    expected = estimate.of(plan)
    say(
        f"Measuring plan {plan.profile}: {len(plan.points)} points, "
        f"{expected.words} ..."
    )
    from zclab.publish import notebooks  # slow to import: it brings Jupyter

    output = store.home() / "build" / "10-measure.ipynb"
    parameters = {
        "profile": "" if plan_file else plan.profile,
        "plan_file": str(plan_file.resolve()) if plan_file else "",
        "precision": positive(changes_typed := typed_of(changes), "precision"),
        "budget_s": positive(changes_typed, "budget"),
        "seed": plan.seed,
    }
    hand = target.handed() if target else nullcontext()
    with kept(store.runs_dir()), bar() as show, hand:
        heard = _Heard(show)
        done = notebooks.execute("10-measure", parameters, output, heard=heard.hear)
    return store.find(done.answers["run"]), output


class _Heard:
    """Reads the meter's lines that a measuring notebook prints."""

    _LINE = re.compile(r"block (\d+) of (\d+), \d+ s(?:, about (\d+) s left)?")

    def __init__(self, show: Callable[[Any], None]) -> None:
        self._show = show

    def hear(self, text: str) -> None:
        for done, total, left in self._LINE.findall(text):
            self._show(Shown(int(done), int(total), float(left or 0)))


@app.command(epilog="Example: zclab compare RUN RUN --html both.html")
def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Run ids or folders, two or more; without any, the newest run and all "
            "that share a point with it.",
            metavar="[RUN]...",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write notebooks/60-replication as a page too, with its figure.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Hold runs of several hosts, kernels or days beside each other.

    What differs between the hosts, whether the runs judge the published tables alike,
    and each gain that two of them measured at the same point. Nothing is pooled. The
    text is fit for a mail.
    """
    from zclab import store
    from zclab.explain import replication
    from zclab.publish import replication as beside

    found = replication.read(",".join(runs or []))
    typer.echo(beside.render(found), nl=False)
    if html is None:
        return
    say(f"Running {REPLICATION} for {html} ...")
    from zclab.publish import notebooks, page  # slow to import: it brings Jupyter

    names = ",".join(store.name_of(run.folder) for run in found)
    with TemporaryDirectory() as folder:
        output = Path(folder) / f"{REPLICATION}.ipynb"
        done = notebooks.execute(REPLICATION, {"runs": names}, output)
        text = page.notebook(done.path)
    try:
        html.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {html}: {error.strerror}") from None


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
        say(f"zclab: {problem}")
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
            say(f"{folder.name}: left out, it was interrupted and never sealed")
    return [
        *((folder, store.verify) for folder in runs if store.is_sealed(folder)),
        *((folder, archive.verify) for folder in archive.listing()),
    ]


@app.command(epilog="Example: zclab dictionary > docs/dictionary.md")
def dictionary() -> None:
    """Print the data dictionary: every stored column with unit and meaning."""
    from zclab import schema

    typer.echo(schema.dictionary(), nl=False)
