"""Sealing: a finished run becomes Parquet, hashed and read-only; and back again.

While there is a journal, the journal is the run, and whatever else lies there does
not count. Sealing removes it last, reopening makes it first. So a kill at any moment
leaves one whole run.
"""

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from zclab import schema
from zclab.errors import DataError
from zclab.params import Plan
from zclab.store import lines
from zclab.store.files import (
    ASIDE,
    CHANGED,
    HOST_AFTER,
    HOST_BEFORE,
    JOURNAL,
    MANIFEST,
    PART,
    PLAN,
    SAMPLES,
    check_files,
    check_manifest,
    is_sealed,
    not_written,
    read_json,
    sync,
    undo_seal,
    write_json,
    write_manifest,
)

# Samples that are in memory at once; a row group of the Parquet file.
CHUNK = 16_384


@cache
def arrow_schema() -> Any:
    """Return the columns of `schema` as Arrow has them; texts are dictionaries."""
    kinds = {"str": pa.dictionary(pa.int32(), pa.string()), "int": pa.int64()}
    return pa.schema(
        [
            pa.field(c.name, kinds[c.kind], nullable=c.nullable or c.since > 1)
            for c in schema.COLUMNS
        ]
    )


def tables(blocks: Iterable[lines.Block]) -> Iterator[Any]:
    """Yield Arrow tables of the samples of some blocks, about `CHUNK` rows each."""
    samples: list[dict[str, Any]] = []
    for block in blocks:
        samples += block
        if len(samples) >= CHUNK:
            yield pa.Table.from_pylist(samples, schema=arrow_schema())
            samples = []
    if samples:
        yield pa.Table.from_pylist(samples, schema=arrow_schema())


def write_samples(folder: Path, found: Iterable[Any]) -> int:
    """Write Arrow tables as the samples of a run; return how many samples.

    The file has its name only when it is whole.
    """
    part, count = folder / (SAMPLES + PART), 0
    part.unlink(missing_ok=True)
    with (
        part.open("wb") as file,
        pq.ParquetWriter(file, arrow_schema(), compression="zstd") as writer,
    ):
        for table in found:
            writer.write_table(table)
            count += len(table)
    sync(part)
    part.replace(folder / SAMPLES)
    return count


def seal(
    folder: Path,
    *,
    host_after: dict[str, Any],
    warnings: Iterable[str] = (),
    stopped: dict[str, Any] | None = None,
    finished: bool = False,
) -> None:
    """Turn the journal of `folder` into Parquet, hash all files, make them read-only.

    Args:
        folder: the run.
        host_after: the host's facts after the last sample.
        warnings: what should be said with every number of the run.
        stopped: why each point that stopped did, by name.
        finished: whether all have.

    Raises:
        DataError: the run is sealed already, or its journal is damaged.
        InputError: the disk is full; the journal is then still the run.

    """
    if is_sealed(folder):
        raise DataError(f"{folder} is sealed already; a redo is a new run")
    found = lines.Lines(folder)
    said = {"warnings": [*warnings], "stopped": stopped or {}, "finished": finished}
    try:
        undo_seal(folder)
        count = write_samples(folder, tables(found))
        done = {"blocks_done": found.count, "samples_done": count}
        finish(folder, host_after, said | done)
        (folder / JOURNAL).unlink()
        sync(folder)
    except OSError as error:
        with suppress(OSError):
            if (folder / JOURNAL).exists():
                undo_seal(folder)
        raise not_written(folder, error, blocks=found.count) from error


def finish(folder: Path, host_after: dict[str, Any], values: dict[str, Any]) -> None:
    """Write the manifest of a run whose samples are written; make all read-only."""
    stored = read_json(folder / PLAN)
    plan = Plan.from_json(stored["plan"])
    write_json(folder / HOST_AFTER, host_after)
    resumed = sorted(path.name for path in folder.glob("host-resumed-*.json"))
    write_manifest(
        folder,
        {
            "format_version": schema.FORMAT_VERSION,
            "run": folder.name,
            "plan_hash": stored["hash"],
            "sealed_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "blocks_planned": plan.total_blocks,
            "samples_planned": plan.samples,
            "sittings": 1 + len(resumed),
            **values,
        },
        (PLAN, HOST_BEFORE, *resumed, HOST_AFTER, SAMPLES),
    )
    for path in folder.iterdir():
        if path.name != JOURNAL:  # which goes on, should this be the last step
            path.chmod(0o444)
            sync(path)
    sync(folder)


def unseal(folder: Path) -> None:
    """Turn a sealed run back into a journal, so that it can go on.

    Raises:
        DataError: the run was changed since it was sealed.
        OSError: the journal cannot be written; the run is then as it was.

    """
    if is_sealed(folder):
        verify(folder)
        part = folder / (JOURNAL + PART)
        part.unlink(missing_ok=True)
        try:
            _write_lines(folder, part)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        part.replace(folder / JOURNAL)
        sync(folder)


def _write_lines(folder: Path, path: Path) -> None:
    """Write the samples of a sealed run as the lines that they came from."""
    found = lines.first_sum((folder / PLAN).read_bytes())
    rows = (
        row
        for batch in pq.ParquetFile(folder / SAMPLES).iter_batches(CHUNK)
        for row in batch.to_pylist()
    )
    by_block = itertools.groupby(rows, lambda row: (row["point"], row["block"]))
    with path.open("xb") as file:
        for _, samples in by_block:
            raw, found = lines.line(found, list(samples))
            file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def verified(folder: Path) -> dict[str, Any]:
    """Return the manifest of a run after checking all files against it.

    Raises:
        DataError: a file is missing, added or changed, or the run is not sealed.

    """
    if not is_sealed(folder):
        raise DataError(
            f"{folder.name} is not sealed: it was interrupted; its finished blocks "
            f"can be reported (zclab report {folder.name}) but not verified, and it "
            f"can go on (zclab measure --resume {folder.name})"
        )
    manifest = check_manifest(folder, broken=CHANGED)
    check_files(
        folder, manifest["sha256"], broken=CHANGED, aside=ASIDE | {JOURNAL + PART}
    )
    if manifest["format_version"] not in schema.READABLE:
        known = ", ".join(map(str, schema.READABLE))
        raise DataError(
            f"{folder.name} has format {manifest['format_version']}, this zclab reads "
            f"{known}; use the zclab that took it"
        )
    return manifest


def verify(folder: Path) -> list[str]:
    """Check a run against its seal; return one line per fact that was checked.

    Raises:
        DataError: a file is missing, added or changed, or the run is not sealed.

    """
    manifest = verified(folder)
    return [
        *(f"{name} as sealed" for name in (MANIFEST, *sorted(manifest["sha256"]))),
        f"{manifest['samples_done']} of {manifest['samples_planned']} samples",
    ]
