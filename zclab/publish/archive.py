"""Reports on disk: manifest, found again by id, verified byte for byte."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zclab import store
from zclab.errors import DataError, InputError
from zclab.explain import joined
from zclab.publish import finding, mail
from zclab.store import Run

FORMAT_VERSION = 1
INDEX = "index.html"
MAIL = "mail.txt"

CHANGED = (
    "is not what was written; do not quote this report, build it again from its run"
)


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
        head = finding.OUTCOME if folder.name == finding.NAME else INDEX
        if text and (folder / store.MANIFEST).is_file() and (folder / head).is_file():
            return folder
    raise InputError(
        f"report {text!r} does not exist under {parent} or as a folder; "
        "see the ids there, or make one: make report"
    )


def mail_text(folder: Path) -> str:
    """Return the mail of a report as it lies there, edited or not.

    Raises:
        InputError: it has none, as one of a synthetic run has.

    """
    manifest = store.read_json(folder / store.MANIFEST)
    if manifest.get("synthetic"):
        raise InputError(mail.no_mail(manifest["report"]))
    try:
        return (folder / MAIL).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{folder / MAIL}: {error.strerror}; rebuild it: zclab report"
        ) from None


def listing(parent: Path | None = None) -> list[Path]:
    """Return the folders of all reports, oldest run first."""
    parent = parent if parent is not None else store.reports_dir()
    if not parent.is_dir():
        return []
    return sorted(
        path
        for path in parent.iterdir()
        if (path / store.MANIFEST).is_file() and not path.name.startswith(".")
    )


def verify(folder: Path) -> list[str]:
    """Check a report against its manifest, its runs and its mail; return what held.

    Raises:
        DataError: a file is missing, added or changed, a run is not the one that
            was reported, or the data now makes another mail.

    """
    manifest = store.check_manifest(
        folder, broken=CHANGED, missing="; build the report again from its run"
    )
    if manifest["format_version"] != FORMAT_VERSION:
        raise DataError(
            f"{folder.name} has format {manifest['format_version']}, this zclab reads "
            f"{FORMAT_VERSION}; build the report again from its run"
        )
    store.check_files(folder, manifest["sha256"], broken=CHANGED)
    held = [f"{len(manifest['sha256'])} files as written"]
    runs = [_verify_run(folder, entry) for entry in manifest["runs"]]
    held += [f"run {run.name} as reported" for run in runs]
    run = joined.join([store.load(path) for path in runs])
    if mail.synthetic(run):
        return [*held, f"no {MAIL}, as no packet was sent"]
    if manifest["report"] == finding.NAME:
        text = finding.render(run, store.read_json(folder / finding.OUTCOME))
    else:
        text = mail.render(run, manifest["report"])
    if text.encode() != (folder / MAIL).read_bytes():
        built_by = manifest["zclab"].get("commit") or manifest["zclab"]["version"]
        raise DataError(
            f"{folder.name}: {MAIL} is not what this zclab makes of the data; "
            f"the report was built by zclab {built_by}"
        )
    return [*held, f"{MAIL} rebuilt from the data, byte for byte"]


def write_manifest(
    run: Run, folder: Path, code: dict[str, Any], name: str = ""
) -> None:
    """Write the hashes of a report's files and runs; nothing may be added after.

    Args:
        run: what is reported.
        folder: where the report is.
        code: what wrote it.
        name: of a report that is not named as its run.

    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    store.write_manifest(
        folder,
        {
            "format_version": FORMAT_VERSION,
            "report": name or run.id,
            "built_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "runs": [_identity(part) for part in joined.parts(run)],
            "zclab": code,
            **({"synthetic": True} if mail.synthetic(run) else {}),
        },
        [str(path.relative_to(folder)) for path in files],
    )


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
