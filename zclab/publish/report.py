"""Reports: assembled from runs, found again, and verified byte for byte.

A report is a folder that needs nothing outside itself to be read:

    index.html              the page; its figures are inside it
    mail.txt                the answer to the list
    figures/                each figure as SVG and PNG
    notebooks/              the executed notebooks, and each as a page
    manifest.json           the runs and their hashes, and the SHA-256 of every file
    manifest.sha256         SHA-256 of manifest.json
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib

from zclab import __version__, store
from zclab.errors import DataError, InputError
from zclab.explain import figures, joined
from zclab.publish import mail, notebooks, page
from zclab.store import Run

FORMAT_VERSION = 1
INDEX = "index.html"
MAIL = "mail.txt"
MANIFEST = "manifest.json"
MANIFEST_SUM = "manifest.sha256"
FIGURES = "figures"
NOTEBOOKS = "notebooks"

EXPLAINING = ("00-host", "20-v5-tables", "30-why")
DRAWN = {
    "gain": figures.gain,
    "cost_by_size": figures.cost_by_size,
    "copied": figures.copied,
    "why": figures.why,
}

AGAIN = "do not quote this report, build it again from its run"

Told = Callable[[str], None]


def build(
    folders: Sequence[Path],
    *,
    measured_notebook: Path | None = None,
    out: Path | None = None,
    progress: Told | None = None,
) -> Path:
    """Build the report of one or several runs and return its folder.

    It appears whole or not at all; an earlier report of the same runs is replaced.

    Args:
        folders: the runs; points may not be in two of them.
        measured_notebook: the executed notebook that took the run, kept with it.
        out: folder in which the report's folder is made; reports/ by default.
        progress: told in a few words what happens next.

    Raises:
        InputError: runs that cannot be joined, or a folder that cannot be written.
        DataError: a run is damaged.

    """
    tell = progress or (lambda text: None)
    run = joined.join([store.load(folder) for folder in folders])
    parent = out if out is not None else store.reports_dir()
    target = parent / run.id
    _check_target(target, run)
    names = sorted({*EXPLAINING, *(["10-measure"] if measured_notebook else [])})
    with _staged(target) as stage:
        if measured_notebook is not None:
            shutil.copy(measured_notebook, stage / NOTEBOOKS / "10-measure.ipynb")
        tell(f"running {len(EXPLAINING)} notebooks, drawing figures")
        with ThreadPoolExecutor(1) as pool:
            # The notebooks stay in this thread, where Ctrl-C arrives.
            written = pool.submit(_write, run, stage, names, code := _code())
            _execute(run, stage / NOTEBOOKS)
            written.result()
        _write_pages(stage, names)
        _write_manifest(run, stage, code)
    return target


def find(text: str, parent: Path | None = None) -> Path:
    """Return the folder that a report id, a path, or `latest` names.

    Raises:
        InputError: there is none.

    """
    parent = parent if parent is not None else store.reports_dir()
    if text == "latest":
        reports = listing(parent)
        if not reports:
            raise InputError(
                f"there is no report under {parent}; make one: make report"
            )
        return reports[-1]
    for folder in (parent / text, Path(text)):
        if text and (folder / MANIFEST).is_file() and (folder / MAIL).is_file():
            return folder
    raise InputError(
        f"report {text!r} does not exist under {parent} or as a folder; "
        "see the ids there, or make one: make report"
    )


def listing(parent: Path | None = None) -> list[Path]:
    """Return the folders of all reports, oldest run first."""
    parent = parent if parent is not None else store.reports_dir()
    if not parent.is_dir():
        return []
    return sorted(
        path
        for path in parent.iterdir()
        if (path / MANIFEST).is_file() and not path.name.startswith(".")
    )


def verify(folder: Path) -> list[str]:
    """Check a report against its manifest, its runs and its mail; return what held.

    Raises:
        DataError: a file is missing, added or changed, a run is not the one that
            was reported, or the data now makes another mail.

    """
    manifest = _verify_manifest(folder)
    held = _verify_files(folder, manifest)
    runs = [_verify_run(folder, entry) for entry in manifest["runs"]]
    held += [f"run {run.name} as reported" for run in runs]
    run = joined.join([store.load(path) for path in runs])
    if mail.render(run, manifest["report"]).encode() != (folder / MAIL).read_bytes():
        built_by = manifest["zclab"].get("commit") or manifest["zclab"]["version"]
        raise DataError(
            f"{folder.name}: {MAIL} is not what this zclab makes of the data; "
            f"the report was built by zclab {built_by}"
        )
    return [*held, f"{MAIL} rebuilt from the data, byte for byte"]


def _check_target(target: Path, run: Run) -> None:
    """Refuse to replace the report of other runs, which `+N` in the id could name."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write a report under {target.parent}: {error.strerror}; "
            "name another folder with --out"
        ) from None
    if (target / MANIFEST).is_file():
        theirs = [entry["run"] for entry in store.read_json(target / MANIFEST)["runs"]]
        if theirs != [part.id for part in joined.parts(run)]:
            raise InputError(
                f"{target} is the report of other runs ({', '.join(theirs)}); "
                "move it away or write elsewhere with --out"
            )
    elif target.exists():
        raise InputError(f"{target} exists and is not a report; move it away")


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """Give a folder that takes the place of `target` when the block ends well."""
    _sweep_stages(target)
    stage = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        for folder in (stage, stage / FIGURES, stage / NOTEBOOKS):
            folder.mkdir()
    except OSError as error:
        raise InputError(
            f"cannot write a report under {target.parent}: {error.strerror}; "
            "name another folder with --out"
        ) from None
    try:
        yield stage
        old = stage.with_name(f"{stage.name}.old")
        if target.exists():
            target.rename(old)
        stage.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _sweep_stages(target: Path) -> None:
    """Remove what earlier builds of this report left behind when they were killed."""
    for path in target.parent.glob(f".{target.name}.*"):
        pid = path.name.removeprefix(f".{target.name}.").split(".")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            if path.name.endswith(".old") and not target.exists():
                path.rename(target)  # killed between the two renames
            else:
                shutil.rmtree(path, ignore_errors=True)


def _execute(run: Run, folder: Path) -> None:
    """Run the explaining notebooks on a run, all at once."""
    text = ",".join(_name(part.folder) for part in joined.parts(run))
    notebooks.execute_all(
        [
            notebooks.Job(
                name=name, parameters={"run": text}, output=folder / f"{name}.ipynb"
            )
            for name in EXPLAINING
        ]
    )


def _name(folder: Path) -> str:
    """Return how a run is named to a notebook: by id where that is enough."""
    inside = folder.resolve().parent == store.runs_dir().resolve()
    return folder.name if inside else str(folder.resolve())


def _write(run: Run, folder: Path, names: list[str], code: dict[str, Any]) -> None:
    """Write everything of a report that does not wait for its notebooks."""
    _draw(run, folder / FIGURES)
    (folder / MAIL).write_text(mail.render(run, run.id), encoding="utf-8")
    text = page.index(run, folder / FIGURES, names, code)
    (folder / INDEX).write_text(text, encoding="utf-8")


def _write_pages(folder: Path, names: list[str]) -> None:
    """Write each executed notebook as HTML beside it."""
    for name in names:
        path = folder / NOTEBOOKS / f"{name}.ipynb"
        path.with_suffix(".html").write_text(page.notebook(path), encoding="utf-8")


def _draw(run: Run, folder: Path) -> None:
    matplotlib.use("agg")  # whatever the screen: nothing is shown
    figures.use_style()
    for name, draw in DRAWN.items():
        figure = draw(run)
        # Without a date, so that one run makes one file.
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        figure.savefig(folder / f"{name}.png", dpi=160, metadata={"Software": None})


def _write_manifest(run: Run, folder: Path, code: dict[str, Any]) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    store.write_json(
        folder / MANIFEST,
        {
            "format_version": FORMAT_VERSION,
            "report": run.id,
            "built_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "runs": [_identity(part) for part in joined.parts(run)],
            "zclab": code,
            "sha256": {
                str(path.relative_to(folder)): store.sha256(path)
                for path in sorted(files)
            },
        },
    )
    line = f"{store.sha256(folder / MANIFEST)}  {MANIFEST}\n"
    (folder / MANIFEST_SUM).write_text(line)


def _identity(run: Run) -> dict[str, Any]:
    """Return what a run is known by again: its seal, or its journal if it has none."""
    name = store.MANIFEST if run.sealed else store.JOURNAL
    home = store.home().resolve()
    inside = run.folder.resolve().is_relative_to(home)
    return {
        "run": run.id,
        "folder": str(run.folder.resolve().relative_to(home)) if inside else "",
        "complete": run.complete,
        "file": name,
        "sha256": store.sha256(run.folder / name),
    }


def _code() -> dict[str, Any]:
    """Return version and commit of the code that builds the report."""
    return {
        "version": __version__,
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def _git(*arguments: str) -> str:
    """Return what git says about the checkout; nothing where there is none."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _verify_manifest(folder: Path) -> dict[str, Any]:
    try:
        expected = (folder / MANIFEST_SUM).read_bytes()
        found = store.sha256(folder / MANIFEST)
    except FileNotFoundError as error:
        raise DataError(
            f"{folder.name}: {Path(error.filename).name} is missing; "
            "build the report again from its run"
        ) from None
    if expected != f"{found}  {MANIFEST}\n".encode():
        raise DataError(f"{folder.name}: {MANIFEST} is not what was written; {AGAIN}")
    manifest: dict[str, Any] = store.read_json(folder / MANIFEST)
    if manifest["format_version"] != FORMAT_VERSION:
        raise DataError(
            f"{folder.name} has format {manifest['format_version']}, this zclab reads "
            f"{FORMAT_VERSION}; build the report again from its run"
        )
    return manifest


def _verify_files(folder: Path, manifest: dict[str, Any]) -> list[str]:
    sums: dict[str, str] = manifest["sha256"]
    found = {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    } - {MANIFEST, MANIFEST_SUM}
    if found != sums.keys():
        odd = ", ".join(sorted(found ^ sums.keys()))
        raise DataError(f"{folder.name}: files differ from the manifest: {odd}")
    for name, expected in sums.items():
        if store.sha256(folder / name) != expected:
            raise DataError(f"{folder.name}: {name} is not what was written; {AGAIN}")
    return [f"{len(sums)} files as written"]


def _verify_run(folder: Path, entry: dict[str, Any]) -> Path:
    """Return the folder of a run of the report, after checking that it is that run."""
    run = _find_run(folder, entry)
    if entry["file"] == store.MANIFEST:
        store.verify(run)
    path = run / entry["file"]
    if not path.is_file() or store.sha256(path) != entry["sha256"]:
        raise DataError(
            f"{folder.name}: run {entry['run']} is not as it was reported "
            f"({entry['file']} differs); build the report again"
        )
    return run


def _find_run(folder: Path, entry: dict[str, Any]) -> Path:
    for name in (entry["run"], str(store.home() / entry["folder"])):
        try:
            return store.find(name)
        except InputError:
            continue
    raise DataError(
        f"{folder.name}: run {entry['run']} is not under {store.runs_dir()}; "
        "put it there to verify the report"
    )
