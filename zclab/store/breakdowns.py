"""Breakdowns on disk: what perf saw of each arm of a point; one JSON file each."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zclab.errors import DataError
from zclab.store.files import CHANGED, home, json_text, read_json, write_json

SUM = "sha256"  # of the file's JSON without this key


def folder() -> Path:
    """Return the folder of the breakdowns."""
    return home() / "data" / "breakdowns"


def write(found: dict[str, Any], *, out: Path | None = None) -> Path:
    """Store what `measure.perf.record` returned; return the file.

    It is named by time, host alias and point, and carries a sum of its content.
    """
    stamp = datetime.now(UTC)
    values = {**found, "created": stamp.isoformat(timespec="seconds")}
    values[SUM] = _sum(values)
    parent = out or folder()
    parent.mkdir(parents=True, exist_ok=True)
    alias = found["host"]["alias"]
    path = parent / f"{stamp:%Y%m%dT%H%M%SZ}-{alias}-{found['name']}.json"
    write_json(path, values)
    return path


def load(path: Path) -> dict[str, Any]:
    """Return a stored breakdown.

    Raises:
        DataError: it cannot be read, or is not what was stored.

    """
    values: dict[str, Any] = read_json(path)
    if not isinstance(values, dict) or values.get(SUM) != _sum(values):
        raise DataError(f"{path} {CHANGED}")
    return values


def listing(parent: Path | None = None) -> list[Path]:
    """Return the stored breakdowns, oldest first."""
    here = parent or folder()
    return sorted(here.glob("*.json")) if here.is_dir() else []


def _sum(values: dict[str, Any]) -> str:
    content = {key: value for key, value in values.items() if key != SUM}
    return hashlib.sha256(json_text(content).encode()).hexdigest()
