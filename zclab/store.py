"""Runs on disk: journal, seal, load, verify. The only meeting place of the halves.

A run is a folder. While it is being taken it has `plan.json`, `host-before.json`
and `journal.jsonl`, one line per finished block. Sealing turns the journal into
`samples.parquet`, hashes every file into `manifest.json`, makes the files read-only
and, last, removes the journal: while there is a journal, the journal is the run. So
a run that was killed, even while it was being sealed, loads as partial.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from zclab import schema
from zclab.errors import DataError, InputError
from zclab.params import Plan

PLAN = "plan.json"
HOST_BEFORE = "host-before.json"
HOST_AFTER = "host-after.json"
JOURNAL = "journal.jsonl"
SAMPLES = "samples.parquet"
MANIFEST = "manifest.json"
MANIFEST_SUM = "manifest.sha256"

CHANGED = (
    "is not what was sealed; "
    "do not quote this run, get it again from where it was taken"
)

SYNC_EVERY_S = 1.0  # a power cut loses at most this much; SIGKILL loses nothing


def home() -> Path:
    """Return the folder that holds data/ and reports/.

    It is $ZCLAB_HOME, else the checkout that this package was installed from,
    else the current folder.
    """
    named = os.environ.get("ZCLAB_HOME")
    if named:
        return Path(named)
    checkout = Path(__file__).resolve().parent.parent
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
    """Return the SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_json(path: Path, values: Any) -> None:
    """Write JSON that reads and diffs well, atomically."""
    text = json.dumps(values, indent=2, sort_keys=True) + "\n"
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


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
    (folder / MANIFEST_SUM).write_text(f"{sha256(folder / MANIFEST)}  {MANIFEST}\n")


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


def check_files(folder: Path, sums: dict[str, str], *, broken: str) -> None:
    """Raise DataError unless `folder` holds just the files of `sums`, unchanged."""
    found = {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    } - {MANIFEST, MANIFEST_SUM}
    if found != sums.keys():
        odd = ", ".join(sorted(found ^ sums.keys()))
        raise DataError(f"{folder.name}: files differ from the manifest: {odd}")
    for name, expected in sums.items():
        if sha256(folder / name) != expected:
            raise DataError(f"{folder.name}: {name} {broken}")


class Journal:
    """A run that is being taken. Use it as a context; it seals at the end.

    Leaving the context by an exception seals what was measured as partial.
    """

    def __init__(self, folder: Path, plan: Plan, host: dict[str, Any]) -> None:
        self.folder = folder
        self.plan = plan
        self.warnings: list[str] = []
        self.host_after: dict[str, Any] = {}
        self.blocks_done = 0
        self._started = datetime.now(UTC)
        self._synced = time.monotonic()
        self._file = (folder / JOURNAL).open("x", encoding="utf-8")
        write_json(folder / HOST_BEFORE, host)
        # Last, as a folder is a run by its plan: one killed before is none.
        write_json(folder / PLAN, {"hash": plan.hash, "plan": plan.to_json()})

    @classmethod
    def create(
        cls, plan: Plan, host: dict[str, Any], *, alias: str, out: Path | None = None
    ) -> "Journal":
        """Make the folder of a new run, named by UTC time, host alias and profile.

        Raises:
            InputError: the folder cannot be made.

        """
        parent = out if out is not None else runs_dir()
        while True:
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            folder = parent / f"{stamp}-{alias}-{plan.profile}"
            try:
                parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir()
                return cls(folder, plan, host)
            except FileExistsError:
                if not parent.is_dir():
                    raise InputError(f"{parent} is not a folder; name one") from None
                time.sleep(0.2)  # a run id is never reused: wait for the next second
            except OSError as error:
                raise InputError(
                    f"cannot write a run under {parent}: {error.strerror}; "
                    "name another folder with --out"
                ) from None

    def append(self, samples: Sequence[dict[str, Any]]) -> None:
        """Add one finished block: one line, handed to the kernel before returning.

        Raises:
            DataError: a sample does not fit the schema.

        """
        for sample in samples:
            schema.check_sample(sample)
        self._file.write(json.dumps(samples, separators=(",", ":")) + "\n")
        self._file.flush()
        self.blocks_done += 1
        if time.monotonic() - self._synced > SYNC_EVERY_S:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # On a full disk the lines that were written before still make a run.
        with contextlib.suppress(OSError):
            self._file.flush()
            os.fsync(self._file.fileno())
        with contextlib.suppress(OSError):
            self._file.close()
        if kind is not None:
            self.warnings.append(f"stopped by {kind.__name__} before the plan's end")
        seal(self.folder, host_after=self.host_after, warnings=self.warnings)


def _journal_blocks(path: Path) -> tuple[list[list[dict[str, Any]]], bool]:
    """Return the finished blocks of a journal, and whether its last line was torn."""
    blocks: list[list[dict[str, Any]]] = []
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise DataError(f"{path} is missing and the run is not sealed") from None
    torn = lines.pop() != b""  # a whole journal ends in a newline
    for number, line in enumerate(lines, 1):
        try:
            samples = json.loads(line)
            for sample in samples:
                schema.check_sample(sample, version=schema.READABLE[0])
        except (ValueError, TypeError, AttributeError, DataError) as error:
            raise DataError(f"{path}:{number} is damaged: {error}") from None
        blocks.append(samples)
    return blocks, torn


def _arrow_schema() -> Any:

    kinds = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}
    return pa.schema(
        [pa.field(c.name, kinds[c.kind], nullable=c.nullable) for c in schema.COLUMNS]
    )


def seal(
    folder: Path, *, host_after: dict[str, Any], warnings: Iterable[str] = ()
) -> None:
    """Turn the journal of `folder` into Parquet, hash all files, make them read-only.

    The journal goes last, when all that replaces it is on the disk.

    Raises:
        DataError: the run is sealed already, or its journal is damaged.

    """
    if is_sealed(folder):
        raise DataError(f"{folder} is sealed already; a redo is a new run")
    stored = read_json(folder / PLAN)
    plan = Plan.from_json(stored["plan"])
    blocks, _ = _journal_blocks(folder / JOURNAL)
    samples = [sample for block in blocks for sample in block]
    table = pa.Table.from_pylist(samples, schema=_arrow_schema())
    pq.write_table(table, folder / SAMPLES, compression="zstd")
    write_json(folder / HOST_AFTER, host_after)
    files = (PLAN, HOST_BEFORE, HOST_AFTER, SAMPLES)
    write_manifest(
        folder,
        {
            "format_version": schema.FORMAT_VERSION,
            "run": folder.name,
            "plan_hash": stored["hash"],
            "sealed_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "blocks_planned": plan.total_blocks,
            "blocks_done": len(blocks),
            "samples_planned": plan.samples,
            "samples_done": len(samples),
            "warnings": list(warnings),
        },
        files,
    )
    for path in folder.iterdir():
        path.chmod(0o444)
        _sync(path)
    _sync(folder)
    (folder / JOURNAL).unlink()


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_sealed(folder: Path) -> bool:
    """Return whether a run was sealed to the end."""
    return (folder / MANIFEST).is_file() and not (folder / JOURNAL).exists()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run, read. `samples` has the columns of `schema`, derived ones included."""

    folder: Path
    plan: Plan
    plan_hash: str
    host: dict[str, Any]
    samples: pd.DataFrame
    sealed: bool
    blocks_done: int
    warnings: tuple[str, ...]

    @property
    def id(self) -> str:
        """The run id: the name of its folder."""
        return self.folder.name

    @property
    def complete(self) -> bool:
        """Whether every planned block is there."""
        return self.sealed and self.blocks_done == self.plan.total_blocks


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


def listing(parent: Path | None = None) -> list[Path]:
    """Return the folders of all runs, oldest first."""
    parent = parent if parent is not None else runs_dir()
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if (path / PLAN).is_file())


def verify(folder: Path) -> list[str]:
    """Check a run against its seal; return one line per fact that was checked.

    Raises:
        DataError: a file is missing, added or changed, or the run is not sealed.

    """
    if not is_sealed(folder):
        raise DataError(
            f"{folder.name} is not sealed: it was interrupted; its finished blocks "
            f"can be reported (zclab report {folder.name}) but not verified"
        )
    manifest = check_manifest(folder, broken=CHANGED)
    check_files(folder, manifest["sha256"], broken=CHANGED)
    if manifest["format_version"] not in schema.READABLE:
        known = ", ".join(map(str, schema.READABLE))
        raise DataError(
            f"{folder.name} has format {manifest['format_version']}, this zclab reads "
            f"{known}; use the zclab that took it"
        )
    return [
        *(f"{name} as sealed" for name in (MANIFEST, *sorted(manifest["sha256"]))),
        f"{manifest['samples_done']} of {manifest['samples_planned']} samples",
    ]


def load(folder: Path) -> Run:
    """Return the run in `folder`, verified if sealed, from its journal if not.

    Raises:
        DataError: a sealed run was changed, or a journal is damaged in its middle.

    """
    sealed = is_sealed(folder)
    if sealed:
        verify(folder)
    stored = read_json(folder / PLAN)
    plan = Plan.from_json(stored["plan"])
    if plan.hash != stored["hash"]:
        raise DataError(f"{folder.name}: {PLAN} was edited; its hash does not match")
    if sealed:
        frame, blocks_done, warnings = _read_sealed(folder)
    else:
        frame, blocks_done, warnings = _read_journal(folder)
    if frame.empty:
        raise DataError(f"{folder.name} has no finished block; take a new run")
    return Run(
        folder=folder,
        plan=plan,
        plan_hash=stored["hash"],
        host=read_json(folder / HOST_BEFORE),
        samples=derive(frame),
        sealed=sealed,
        blocks_done=blocks_done,
        warnings=tuple(warnings),
    )


def _read_sealed(folder: Path) -> tuple[pd.DataFrame, int, list[str]]:

    manifest = read_json(folder / MANIFEST)
    frame = _frame(pq.read_table(folder / SAMPLES))
    return frame, manifest["blocks_done"], manifest["warnings"]


def _read_journal(folder: Path) -> tuple[pd.DataFrame, int, list[str]]:

    blocks, torn = _journal_blocks(folder / JOURNAL)
    warnings = ["the run was killed before it was sealed"]
    if torn:
        warnings.append("the journal's last line was torn and is left out")
    samples = [sample for block in blocks for sample in block]
    table = pa.Table.from_pylist(samples, schema=_arrow_schema())
    return _frame(table), len(blocks), warnings


def _frame(table: Any) -> pd.DataFrame:
    """Return samples with the columns of the schema; null in those that came later."""
    nullable_int = {pa.int64(): pd.Int64Dtype()}.get
    whole = _arrow_schema()
    for column in schema.COLUMNS:
        if column.name not in table.column_names:
            kind = whole.field(column.name).type
            table = table.append_column(column.name, pa.nulls(len(table), kind))
    table = table.select([column.name for column in schema.COLUMNS])
    frame: pd.DataFrame = table.to_pandas()
    for column in schema.COLUMNS:
        values = table.column(column.name)
        if column.kind == "int" and (column.nullable or values.null_count):
            frame[column.name] = values.to_pandas(types_mapper=nullable_int)
    return frame


def derive(samples: pd.DataFrame) -> pd.DataFrame:
    """Return `samples` with the derived columns of `schema.DERIVED` added."""
    frame = samples.copy()
    frame["ns_per_request"] = frame["elapsed_ns"] / frame["requests"]
    frame["requests_per_s"] = frame["requests"] / frame["elapsed_ns"] * 1e9
    cpu = frame["cpu_user_ns"] + frame["cpu_sys_ns"]
    frame["cpu_ns_per_request"] = cpu / frame["requests"]
    noted = frame["notifications"].where(frame["notifications"] > 0)
    frame["copied_share"] = (frame["copied"].astype("Float64") / noted).astype(
        "Float64"
    )
    return frame
