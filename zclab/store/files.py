"""The files of runs and reports: their names and places, JSON, sums, manifests."""

import errno
import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from zclab.errors import DataError, InputError

PLAN = "plan.json"
HOST_BEFORE = "host-before.json"
HOST_RESUMED = "host-resumed-{}.json"
HOST_AFTER = "host-after.json"
JOURNAL = "journal.jsonl"
SAMPLES = "samples.parquet"
MANIFEST = "manifest.json"
MANIFEST_SUM = "manifest.sha256"
PART = ".part"  # ends the name of a file that is not yet what its name says

ASIDE = frozenset({MANIFEST, MANIFEST_SUM})  # what no manifest has the sum of

CHANGED = (
    "is not what was sealed; "
    "do not quote this run, get it again from where it was taken"
)

# What a write says when no more fits: the disk, a file-size limit, a quota.
FULL = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})


def home() -> Path:
    """Return the folder that holds data/ and reports/.

    It is $ZCLAB_HOME, else the checkout that this package was installed from,
    else the current folder.
    """
    named = os.environ.get("ZCLAB_HOME")
    if named:
        return Path(named)
    checkout = Path(__file__).resolve().parent.parent.parent
    return checkout if (checkout / "notebooks").is_dir() else Path.cwd()


def runs_dir() -> Path:
    """Return the folder of the runs."""
    return home() / "data" / "runs"


def reference_dir() -> Path:
    """Return the folder of the published tables."""
    return home() / "data" / "reference"


def reports_dir() -> Path:
    """Return the folder of the reports."""
    return home() / "reports"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex; the file may be larger than memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, content: bytes) -> None:
    """Write a file as a whole: at any moment it is the old one or the new one."""
    part = path.with_name(path.name + PART)
    part.unlink(missing_ok=True)  # one that a seal left may be read-only
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def json_text(values: Any) -> str:
    """Return JSON that reads and diffs well."""
    return json.dumps(values, indent=2, sort_keys=True) + "\n"


def write_json(path: Path, values: Any) -> None:
    """Write JSON that reads and diffs well, atomically."""
    replace(path, json_text(values).encode())


def read_json(path: Path) -> Any:
    """Return the JSON of a file.

    Raises:
        DataError: the file is missing or is not JSON.

    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"{path} is missing; the run is incomplete") from None
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); was it edited?") from None


def write_manifest(folder: Path, values: dict[str, Any], files: Iterable[str]) -> None:
    """Write the manifest of a run or report: `values` and the SHA-256 of `files`.

    The manifest's own SHA-256 lies beside it, so that no byte can change unseen.
    """
    sums = {name: sha256(folder / name) for name in files}
    write_json(folder / MANIFEST, {**values, "sha256": sums})
    line = f"{sha256(folder / MANIFEST)}  {MANIFEST}\n"
    replace(folder / MANIFEST_SUM, line.encode())


def check_manifest(folder: Path, *, broken: str, missing: str = "") -> dict[str, Any]:
    """Return the manifest of a run or report after checking its own hash.

    Args:
        folder: the run or report.
        broken: said after a changed file's name: that it was changed, and the cure.
        missing: said after a missing file's name.

    Raises:
        DataError: the manifest or its hash is missing, or they disagree.

    """
    try:
        expected = (folder / MANIFEST_SUM).read_bytes()
        found = sha256(folder / MANIFEST)
    except FileNotFoundError as error:
        name = Path(error.filename).name
        raise DataError(f"{folder.name}: {name} is missing{missing}") from None
    if expected != f"{found}  {MANIFEST}\n".encode():
        raise DataError(f"{folder.name}: {MANIFEST} {broken}")
    manifest: dict[str, Any] = read_json(folder / MANIFEST)
    return manifest


def check_files(
    folder: Path, sums: dict[str, str], *, broken: str, aside: frozenset[str] = ASIDE
) -> None:
    """Raise DataError unless `folder` holds just the files of `sums`, unchanged.

    Args:
        folder: the run or report.
        sums: SHA-256 by name, from its manifest.
        broken: said after a changed file's name.
        aside: names that may be there besides.

    """
    found = {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    } - aside
    if found != sums.keys():
        odd = ", ".join(sorted(found ^ sums.keys()))
        raise DataError(f"{folder.name}: files differ from the manifest: {odd}")
    for name, expected in sums.items():
        if sha256(folder / name) != expected:
            raise DataError(f"{folder.name}: {name} {broken}")


def is_sealed(folder: Path) -> bool:
    """Return whether a run was sealed to the end."""
    return (folder / MANIFEST).is_file() and not (folder / JOURNAL).exists()


def find(text: str, parent: Path | None = None) -> Path:
    """Return the folder that a run id, a path, or `latest` names.

    Raises:
        InputError: there is none.

    """
    parent = parent if parent is not None else runs_dir()
    if text == "latest":
        runs = listing(parent)
        if not runs:
            raise InputError(f"there is no run under {parent}; take one: zclab measure")
        return runs[-1]
    for folder in (parent / text, Path(text)):
        if text and (folder / PLAN).is_file():
            return folder
    raise InputError(
        f"run {text!r} does not exist under {parent} or as a folder; "
        "see the ids there, or take a run: zclab measure"
    )


def name_of(folder: Path) -> str:
    """Return the text by which `find` knows a run from anywhere: its id or its path."""
    inside = folder.resolve().parent == runs_dir().resolve()
    return folder.name if inside else str(folder.resolve())


def listing(parent: Path | None = None) -> list[Path]:
    """Return the folders of all runs, oldest first."""
    parent = parent if parent is not None else runs_dir()
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if (path / PLAN).is_file())


def folders_of(alias: str, parent: Path | None = None) -> list[Path]:
    """Return the folders of the runs of a host, newest first.

    Args:
        alias: the host's, which is in the names of its runs.
        parent: folder of the runs; data/runs by default.

    """
    return [
        folder for folder in reversed(listing(parent)) if f"-{alias}-" in folder.name
    ]


def hosts(folder: Path) -> tuple[dict[str, Any], ...]:
    """Return the host's facts at the start of each sitting of a run."""
    found = [read_json(folder / HOST_BEFORE)]
    while (path := folder / HOST_RESUMED.format(len(found))).is_file():
        found.append(read_json(path))
    return tuple(found)


def undo_seal(folder: Path) -> None:
    """Remove what a seal adds, and what a kill left half-written.

    Only while there is a journal, which is then the run.
    """
    made = (SAMPLES, HOST_AFTER, MANIFEST, MANIFEST_SUM)
    for path in [*(folder / name for name in made), *folder.glob(f"*{PART}")]:
        path.unlink(missing_ok=True)


def not_written(folder: Path, error: OSError, *, blocks: int) -> InputError:
    """Return what to say when the disk takes no more of a run."""
    why = error.strerror or str(error)
    is_full = error.errno in FULL
    inside = folder.parent.resolve() == runs_dir().resolve()
    name = folder.name if inside else folder
    return InputError(
        f"{'the disk is full' if is_full else 'the disk failed'} ({why}); "
        f"{blocks} finished blocks are kept in {folder.name}: "
        f"{'free space' if is_full else 'mend it'}, then zclab measure --resume {name}"
    )
