"""Reports: assembled from runs, found again, and verified byte for byte.

A report is a folder that needs nothing outside itself to be read:

    index.html              the page; its figures are inside it
    mail.txt                the answer to the list; none about a synthetic run
    figures/                each figure as SVG and PNG
    notebooks/              the executed notebooks, and each as a page
    manifest.json           the runs and their hashes, and the SHA-256 of every file
    manifest.sha256         SHA-256 of manifest.json
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

from zclab import checkout, store
from zclab.errors import InputError
from zclab.explain import figures, joined, ladder
from zclab.publish import archive, mail, notebooks, page
from zclab.store import Run

FIGURES = "figures"
NOTEBOOKS = "notebooks"

MEASURING = "10-measure"
EXPLAINING = ("00-host", "20-v5-tables", "30-why", "40-cost")
DRAWN = {
    "gain": figures.gain,
    "cost_by_size": figures.cost_by_size,
    "copied": figures.copied,
    "why": figures.why,
}
OF_LADDER = {"waterfall": figures.waterfall, "rungs": figures.rungs}

Told = Callable[[str], None]


def build(
    folders: Sequence[Path],
    *,
    measured_notebook: Path | None = None,
    out: Path | None = None,
    progress: Told | None = None,
) -> Path:
    """Build the report of one or several runs and return its folder.

    It appears whole or not at all; an earlier report of the same runs is replaced, and
    the executed notebook that took the run is handed on from one to the next.

    Args:
        folders: the runs; points may not be in two of them.
        measured_notebook: the executed notebook that took the run, kept with it; by
            default the one that an earlier report of the run has.
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
    measured = measured_notebook or target / NOTEBOOKS / f"{MEASURING}.ipynb"
    names = sorted({*EXPLAINING, *([MEASURING] if measured.is_file() else [])})
    with _staged(target) as stage:
        if measured.is_file():
            shutil.copy(measured, stage / NOTEBOOKS / f"{MEASURING}.ipynb")
        tell(f"running {len(EXPLAINING)} notebooks, drawing figures")
        with ThreadPoolExecutor(1) as pool:
            # The notebooks stay in this thread, where Ctrl-C arrives.
            written = pool.submit(_write, run, stage, names, code := checkout.code())
            _execute(run, stage / NOTEBOOKS)
            written.result()
        _write_pages(stage, names)
        archive.write_manifest(run, stage, code)
    return target


def _check_target(target: Path, run: Run) -> None:
    """Refuse to replace the report of other runs, which `+N` in the id could name."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write a report under {target.parent}: {error.strerror}; "
            "name another folder with --out"
        ) from None
    if (target / store.MANIFEST).is_file():
        theirs = [
            entry["run"] for entry in store.read_json(target / store.MANIFEST)["runs"]
        ]
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
    text = ",".join(store.name_of(part.folder) for part in joined.parts(run))
    notebooks.execute_all(
        [
            notebooks.Job(
                name=name, parameters={"run": text}, output=folder / f"{name}.ipynb"
            )
            for name in EXPLAINING
        ]
    )


def _write(run: Run, folder: Path, names: list[str], code: dict[str, Any]) -> None:
    """Write everything of a report that does not wait for its notebooks."""
    _draw(run, folder / FIGURES)
    if not mail.synthetic(run):
        (folder / archive.MAIL).write_text(mail.render(run, run.id), encoding="utf-8")
    text = page.index(run, folder / FIGURES, names, code)
    (folder / archive.INDEX).write_text(text, encoding="utf-8")


def _write_pages(folder: Path, names: list[str]) -> None:
    """Write each executed notebook as HTML beside it."""
    for name in names:
        path = folder / NOTEBOOKS / f"{name}.ipynb"
        path.with_suffix(".html").write_text(page.notebook(path), encoding="utf-8")


def _draw(run: Run, folder: Path) -> None:
    matplotlib.use("agg")  # whatever the screen: nothing is shown
    figures.use_style()
    drawn = DRAWN | (OF_LADDER if ladder.taken(run) else {})
    for name, draw in drawn.items():
        figure = draw(run)
        # Without a date, so that one run makes one file.
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        figure.savefig(folder / f"{name}.png", dpi=160, metadata={"Software": None})
