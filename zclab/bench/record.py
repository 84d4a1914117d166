"""A record: what a duel gave, on disk, and the ratios that follow from it.

Rates are of datagrams (or, over TCP, requests): those that a request makes times
the requests, over the time that its contender tells.
"""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zclab import stats, store
from zclab.bench.cell import Kind, Table
from zclab.bench.duel import Duel
from zclab.bench.peer import Peer
from zclab.errors import DataError
from zclab.stats import Interval

FORMAT = 1

Record = dict[str, Any]
Cell = Mapping[str, Any]


def folder() -> Path:
    """Return the folder of the records, of the peer's source, and of partial pages."""
    return store.home() / "build" / "bench"


def of(
    duel: Duel,
    peer: Peer,
    host: Mapping[str, Any],
    *,
    command: str,
    pairs: int,
    seconds: int,
    seed: int,
) -> Record:
    """Return all that is kept of a duel; JSON values only."""
    return {
        "format": FORMAT,
        "taken_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": command,
        "pairs": pairs,
        "seconds": peer.whole_seconds(seconds),
        "seed": seed,
        "stopped": duel.stopped,
        "host": dict(host),
        "paths": duel.facts,
        "peer": peer.to_json(),
        "cells": [bout.to_json() for bout in duel.bouts],
    }


def write(record: Record) -> Path:
    """Write a record under its time and its host's alias; return the file."""
    parent = folder()
    parent.mkdir(parents=True, exist_ok=True)
    stamp = record["taken_at"].replace("-", "").replace(":", "")
    while (path := parent / f"{stamp}-{record['host']['alias']}.json").exists():
        time.sleep(0.2)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    store.write_json(path, record)
    return path


def read(path: Path) -> Record:
    """Return the record in a file.

    Raises:
        DataError: it is missing, damaged, or of another format.

    """
    record: Record = store.read_json(path)
    if record.get("format") != FORMAT:
        raise DataError(f"{path} is no record of the bench of format {FORMAT}")
    return record


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One contender of a cell, over the rounds that count.

    Attributes:
        rate: datagrams (over TCP: requests) per second, median.
        cpus: CPU time over time, median; the peer's with its start.

    """

    name: str
    rate: float
    cpus: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Ours against theirs in the same rounds; the ratio is ours over theirs."""

    ours: Side
    theirs: Side
    ratio: Interval


def rates(cell: Cell, index: int) -> list[float]:
    """Return datagrams per second of one contender, NaN in rounds without it."""
    datagrams = cell["contenders"][index]["datagrams"]
    samples = [samples[index] for samples in cell["rounds"]]
    return [
        sample["requests"] * datagrams / sample["ns"] * 1e9 if sample else math.nan
        for sample in samples
    ]


def of_kind(cell: Cell, kind: Kind) -> list[int]:
    """Return which contenders of a cell are of one kind."""
    return [
        index
        for index, contender in enumerate(cell["contenders"])
        if contender["kind"] == kind
    ]


def score(
    cell: Cell, ours: Sequence[int], theirs: Sequence[int], *, chosen: bool = False
) -> Score | None:
    """Return the best of `ours` against the best of `theirs`; None without samples.

    Args:
        cell: of a record.
        ours: contenders to choose from.
        theirs: likewise.
        chosen: there is a choice. Then the best are chosen by the median of every
            other round, and compared in the rounds between: a choice made by the
            same numbers would flatter the side with more to choose from.

    """
    every = range(len(cell["rounds"]))
    elect, judge = (every[::2], every[1::2]) if chosen else (every, every)
    one, other = _best(cell, ours, elect), _best(cell, theirs, elect)
    if one is None or other is None:
        return None
    mine, yours = rates(cell, one), rates(cell, other)
    both = [i for i in judge if math.isfinite(mine[i]) and math.isfinite(yours[i])]
    if not both:
        return None
    logs = [math.log(mine[i] / yours[i]) for i in both]
    return Score(
        ours=_side(cell, one, both),
        theirs=_side(cell, other, both),
        ratio=stats.median_interval(logs).map(math.exp),
    )


def _best(cell: Cell, indices: Sequence[int], rounds: Sequence[int]) -> int | None:
    """Return the contender with the highest median rate in `rounds`."""
    medians = {}
    for index in indices:
        found = rates(cell, index)
        finite = [found[i] for i in rounds if math.isfinite(found[i])]
        if finite:
            medians[index] = statistics.median(finite)
    return max(medians, key=lambda index: medians[index]) if medians else None


def _side(cell: Cell, index: int, rounds: Sequence[int]) -> Side:
    samples = [cell["rounds"][i][index] for i in rounds]
    found = rates(cell, index)
    return Side(
        name=cell["contenders"][index]["name"],
        rate=statistics.median(found[i] for i in rounds),
        cpus=statistics.median(s["cpu_ns"] / s["ns"] for s in samples),
    )


def cells_of(record: Record, table: Table) -> list[Cell]:
    """Return the cells of one table, in the order of the page."""
    return [cell for cell in record["cells"] if cell["table"] == table]
