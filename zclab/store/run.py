"""Runs as they are read: facts, warnings, and the samples as one frame."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from zclab import context, schema
from zclab.errors import DataError, InputError
from zclab.params import Plan
from zclab.store.files import (
    PLAN,
    SAMPLES,
    folders_of,
    hosts,
    is_sealed,
    read_json,
)
from zclab.store.journal import BEFORE, is_complete, read_plan
from zclab.store.lines import Lines
from zclab.store.sealed import arrow_schema, tables, verified


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run, read.

    Attributes:
        folder: where it is.
        plan: what it executed.
        plan_hash: hash of the plan.
        host: facts of the host and the paths before the first sample.
        samples: one row per sample, the columns of `schema`, derived ones included;
            texts are categories, in alphabetical order.
        sealed: whether it was sealed and is as it was then.
        blocks_done: blocks of all points.
        warnings: what is to be said with every number of it.
        hosts: facts at the start of each sitting; `host` is the first.
        stopped: why each point that stopped by itself did, by name.
        finished: whether all have.
        slices: timed length in ns by point.

    """

    folder: Path
    plan: Plan
    plan_hash: str
    host: dict[str, Any]
    samples: pd.DataFrame
    sealed: bool
    blocks_done: int
    warnings: tuple[str, ...]
    hosts: tuple[dict[str, Any], ...] = ()
    stopped: dict[str, Any] = field(default_factory=dict)
    finished: bool = False
    slices: dict[str, int] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The run id: the name of its folder."""
        return self.folder.name

    @property
    def complete(self) -> bool:
        """Whether all is there that the plan asks for."""
        return self.sealed and is_complete(
            self.plan, blocks_done=self.blocks_done, finished=self.finished
        )

    @property
    def sittings(self) -> int:
        """How often it was begun: 1, and one more with each resume."""
        return max(len(self.hosts), 1)

    @property
    def synthetic(self) -> bool:
        """Whether a model made it, and no packet was sent."""
        return self.plan.synthetic is not None


def load(folder: Path) -> Run:
    """Return the run in `folder`, verified if sealed, from its journal if not.

    Raises:
        DataError: a sealed run was changed, or a journal is damaged in its middle.

    """
    sealed = is_sealed(folder)
    manifest = verified(folder) if sealed else {}
    plan = read_plan(folder)
    found = hosts(folder)
    if sealed:
        samples = _read(folder / SAMPLES, list(schema.STORED))
        blocks_done, warnings = manifest["blocks_done"], manifest["warnings"]
    else:
        samples, blocks_done, warnings = _read_journal(folder, found)
    if samples.empty:
        raise DataError(
            f"{folder.name} has no finished block; "
            f"let it go on: zclab measure --resume {folder.name}"
        )
    fixed = {point.name: plan.slice_ns for point in plan.points if plan.slice_ns}
    return Run(
        folder=folder,
        plan=plan,
        plan_hash=plan.hash,
        host=found[0],
        samples=derive(samples),
        sealed=sealed,
        blocks_done=blocks_done,
        warnings=tuple(warnings),
        hosts=found,
        stopped=manifest.get("stopped", {}),
        finished=manifest.get("finished", False),
        slices=read_json(folder / PLAN).get("slices") or fixed,
    )


def _read_journal(
    folder: Path, found: Sequence[dict[str, Any]]
) -> tuple[pd.DataFrame, int, list[str]]:
    lines = Lines(folder)
    samples = _frame(pa.Table.from_batches([], arrow_schema()))
    whole = list(tables(lines))
    if whole:
        samples = _frame(pa.concat_tables(whole))
    warnings = [text for host in found for text in host.get(BEFORE, ())]
    warnings.append("the run was killed before it was sealed")
    if lines.torn:
        warnings.append("the journal's last line was torn and is left out")
    return samples, lines.count, list(dict.fromkeys(warnings))


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of a Parquet file of samples; null in those that came later.

    A few columns at a time, so that Arrow's copy of all is never in memory with ours.
    """
    file = pq.ParquetFile(path)
    there = set(file.schema_arrow.names)
    found: dict[str, Any] = {}
    for start in range(0, len(columns), 8):
        names = columns[start : start + 8]
        table = file.read([name for name in names if name in there])
        found.update(_arrays(table, names, file.metadata.num_rows))
    return pd.DataFrame(found, copy=False)


def _frame(table: Any) -> pd.DataFrame:
    """Return samples with the columns of the schema; null in those that came later."""
    return pd.DataFrame(_arrays(table, list(schema.STORED), len(table)), copy=False)


def _arrays(table: Any, names: Sequence[str], rows: int) -> dict[str, Any]:
    found = {}
    for name in names:
        if name in table.column_names:
            values = table.column(name)
        else:
            values = _before(name, rows)
        column = schema.STORED[name]
        if column.kind == "str":
            found[name] = _categories(values)
        elif column.nullable or values.null_count:
            found[name] = pd.arrays.IntegerArray(
                _numbers(values.fill_null(0)), _mask(values)
            )
        else:
            found[name] = _numbers(values)
    return found


def _before(name: str, rows: int) -> Any:
    """Return a column that came later than the run, as an older run has it."""
    kind = arrow_schema().field(name).type
    before = schema.STORED[name].before
    if before is None:
        return pa.chunked_array([pa.nulls(rows, kind)])
    codes = pa.array(np.zeros(rows, dtype=np.int32))
    return pa.chunked_array([pa.DictionaryArray.from_arrays(codes, [before])])


def _numbers(values: Any) -> Any:
    """Return an Arrow column without nulls as an array that may be written to.

    Most counters of troubles are 0 throughout. Memory that is not touched costs
    nothing, and to touch it is most of what loading takes.
    """
    found = np.zeros(len(values), dtype=np.int64)
    start = 0
    for chunk in values.chunks:
        mine = chunk.to_numpy(zero_copy_only=False)
        if mine.any():
            found[start : start + len(chunk)] = mine
        start += len(chunk)
    return found


def _mask(values: Any) -> Any:
    if not values.null_count:
        return np.zeros(len(values), dtype=bool)
    return np.array(values.is_null().to_numpy(), dtype=bool)


def _categories(values: Any) -> pd.Categorical:
    """Return an Arrow column of texts as categories in alphabetical order.

    Arrow has them in order of appearance, which is random: of two like runs all that
    is grouped would come in two orders.
    """
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    whole = values.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], whole.type)
    names = np.array(whole.dictionary.to_pylist(), dtype=object)
    order = np.argsort(names)
    ranks = np.empty(len(names) + 1, dtype=np.int32)
    ranks[order] = np.arange(len(names))
    ranks[-1] = -1  # null
    codes = whole.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return pd.Categorical.from_codes(ranks[codes], categories=list(names[order]))


def _copied_share(frame: pd.DataFrame) -> Any:
    noted = frame["notifications"].to_numpy(dtype=np.float64)
    copied = frame["copied"].to_numpy(dtype=np.float64, na_value=np.nan)
    unknown = np.isnan(copied) | ~(noted > 0)
    share = np.divide(copied, noted, out=np.ones_like(noted), where=~unknown)
    return pd.arrays.FloatingArray(share, unknown)


# Each derived column of `schema`: what it needs, and its formula.
_FORMULAS: dict[str, tuple[tuple[str, ...], Callable[[pd.DataFrame], Any]]] = {
    "ns_per_request": (
        ("elapsed_ns", "requests"),
        lambda frame: frame["elapsed_ns"] / frame["requests"],
    ),
    "requests_per_s": (
        ("elapsed_ns", "requests"),
        lambda frame: frame["requests"] / frame["elapsed_ns"] * 1e9,
    ),
    "cpu_ns_per_request": (
        ("cpu_user_ns", "cpu_sys_ns", "requests"),
        lambda frame: (frame["cpu_user_ns"] + frame["cpu_sys_ns"]) / frame["requests"],
    ),
    "copied_share": (("copied", "notifications"), _copied_share),
}


def derive(samples: pd.DataFrame) -> pd.DataFrame:
    """Return `samples` with the derived columns of `schema.DERIVED` added."""
    return samples.assign(**{name: call for name, (_, call) in _FORMULAS.items()})


def frame(
    folders: Iterable[Path], columns: Sequence[str], *, mixed: bool = False
) -> pd.DataFrame:
    """Return some columns of the samples of several runs, with a column `run` first.

    `run` holds the run ids, as categories. Sealed runs are verified; of each only the
    columns that are needed are read.

    Args:
        folders: the runs.
        columns: names of `schema`, stored or derived.
        mixed: take runs of differing context, which are then told apart by `run`.

    Raises:
        InputError: no run, one run twice, no such column, or contexts that differ
            though not `mixed`: the message names the fact.
        DataError: a run is damaged.

    """
    found = list(folders)
    _check_columns(found, columns)
    if not mixed:
        _check_contexts(found)
    needed = [name for name in schema.STORED if name in _inputs(columns)]
    parts = []
    for folder in found:
        if is_sealed(folder):
            verified(folder)
            parts.append(_read(folder / SAMPLES, needed))
        else:
            parts.append(load(folder).samples[needed])
    whole = together(parts)
    for name in columns:
        if name in _FORMULAS:
            whole[name] = _FORMULAS[name][1](whole)
    codes = np.repeat(np.arange(len(found)), [len(part) for part in parts])
    names = [folder.name for folder in found]
    whole.insert(0, "run", pd.Categorical.from_codes(codes, categories=names))
    return whole[["run", *columns]]


def runs_of(alias: str) -> Iterator[Run]:
    """Yield the real runs of a host that can be read, newest first."""
    for folder in folders_of(alias):
        try:
            run = load(folder)
        except DataError:
            continue
        if not run.synthetic:
            yield run


def together(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return frames of samples under each other; texts stay categories."""
    if len(parts) == 1:
        return parts[0].copy(deep=False)
    found = {}
    for name in parts[0].columns:
        columns = [part[name] for part in parts]
        if all(isinstance(column.dtype, pd.CategoricalDtype) for column in columns):
            found[name] = pd.api.types.union_categoricals(columns, sort_categories=True)
        else:
            found[name] = pd.concat(columns, ignore_index=True)
    return pd.DataFrame(found, copy=False)


def _inputs(columns: Sequence[str]) -> set[str]:
    """Return the stored columns that some columns are made of."""
    return {
        needed
        for name in columns
        for needed in (_FORMULAS[name][0] if name in _FORMULAS else (name,))
    }


def _check_columns(folders: Sequence[Path], columns: Sequence[str]) -> None:
    if not folders:
        raise InputError("no run was named; give a run id or latest")
    names = [folder.name for folder in folders]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"run {twice[0]} is named twice; name it once")
    unknown = sorted(set(columns) - schema.STORED.keys() - _FORMULAS.keys())
    if unknown:
        raise InputError(
            f"samples have no column {unknown[0]}; the columns are in "
            "docs/dictionary.md"
        )


def _check_contexts(folders: Sequence[Path]) -> None:
    """Raise InputError unless all runs were taken in one context."""
    found = context.first_difference(
        [(folder.name, host) for folder in folders for host in hosts(folder)]
    )
    if found:
        one, other, facts = found
        raise InputError(
            f"{one} and {other} differ in {facts}; look apart, or say mixed=True"
        )
