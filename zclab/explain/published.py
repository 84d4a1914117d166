"""The published tables, and which point and arm of a run is each one's twin.

The numbers live in `data/reference/*.csv`, one row per printed cell, and nowhere
else; see `data/reference/README.md` for where they are from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from zclab import store
from zclab.errors import DataError, InputError

CELL_COLUMNS = {
    "table": "string",
    "row": "int64",
    "io_size_bytes": "int64",
    "column": "string",
    "value": "float64",
    "unit": "string",
    "printed_gain_percent": "float64",
    "protocol": "string",
    "family": "string",
    "batch": "string",
    "conditions": "string",
    "message_id": "string",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """Where a run has the counterpart of a published table.

    Attributes:
        title: what the table is called in text.
        path: path of the twin points; empty when no path of zclab is one.
        family: IP version; taken where the run has a choice if `exact` is false.
        batch: requests per submit; likewise.
        exact: whether the mail states family and batch, so that others are no twin.
        arms: published column -> arm of the run, for the columns that have one.
        not_comparable: published column -> why it has no counterpart.
        not_measured: why there is nothing to compare with; empty if there is.
        givens: options that a twin's arms may share.
        instead: what is the twin in a run that has no point of this one.

    """

    title: str
    baseline: str
    path: str
    protocol: str
    family: int
    batch: int
    exact: bool
    arms: Mapping[str, str]
    not_comparable: Mapping[str, str]
    not_measured: str = ""
    givens: tuple[str, ...] = ("",)
    instead: "Twin | None" = None


# Mainline posts one notification per request, which is v5's "zc + flush"; the
# program behind the v5 tables sent registered buffers in batches of 8 by default
# (isilence/liburing, branch zc_v4, examples/io_uring-sendzc.c). The mail itself
# states neither family nor batch, so these are preferences, not conditions.
NO_TWIN = (
    "in v5's zc column no notification is ever posted; "
    "mainline posts one per request, so nothing in it corresponds"
)
NO_NIC = "no NIC path in this run"

# Over loopback all is copied on a kernel that was not patched for it.
_TCP_LOOPBACK = Twin(
    title="v5, TCP on localhost",
    baseline="non-zc",
    path="lo",
    protocol="tcp",
    family=4,
    batch=1,
    exact=False,
    arms={"zc": "send_zc_fixed"},
    not_comparable={"zc": "needs a kernel patched to allow localhost zerocopy"},
)

_WITHOUT_NIC = Twin(
    title="v5, NIC",
    baseline="non-zc",
    path="",
    protocol="udp",
    family=4,
    batch=8,
    exact=False,
    arms={"zc + flush": "send_zc_fixed"},
    not_comparable={"zc": NO_TWIN},
    not_measured=NO_NIC,
)

TWINS: Mapping[str, Twin] = {
    "v5-dummy": Twin(
        title="v5, dummy device",
        baseline="non-zc",
        path="sink",
        protocol="udp",
        family=4,
        batch=8,
        exact=False,
        arms={"zc + flush": "send_zc_fixed"},
        not_comparable={"zc": NO_TWIN},
    ),
    "v5-nic": Twin(
        title="v5, NIC",
        baseline="non-zc",
        path="nic",
        protocol="udp",
        family=4,
        batch=8,
        exact=False,
        arms={"zc + flush": "send_zc_fixed"},
        not_comparable={"zc": NO_TWIN},
        givens=("", "addressed=on"),
        instead=_WITHOUT_NIC,
    ),
    "v5-tcp-localhost": Twin(
        title="v5, TCP on localhost",
        baseline="non-zc",
        path="sink+answered",
        protocol="tcp",
        family=4,
        batch=8,
        exact=False,
        arms={"zc": "send_zc_fixed"},
        not_comparable={},
        givens=("", "reorder=on"),
        instead=_TCP_LOOPBACK,
    ),
    "feb2025-selftest": Twin(
        title="February 2025, selftest over veth",
        baseline="NONZC",
        path="veth",
        protocol="udp",
        family=6,
        batch=64,
        exact=True,
        arms={"ZC": "send_zc", "ZC_FIXED": "send_zc_fixed", "MIXED": "mixed"},
        not_comparable={},
    ),
}


def folder() -> Path:
    """Return the folder of the reference tables: home's own, else the checkout's."""
    own = store.reference_dir()
    if own.is_dir():
        return own
    return Path(__file__).resolve().parents[2] / "data" / "reference"


def cells() -> pd.DataFrame:
    """Return every printed cell, one row each, with the columns of `CELL_COLUMNS`.

    Raises:
        DataError: a table is missing or does not have these columns.

    """
    paths = [folder() / f"{name}.csv" for name in TWINS]
    return pd.concat([_read(path, _stamp(path)) for path in paths], ignore_index=True)


def _stamp(path: Path) -> int:
    """Return when a table was last changed, in ns."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing; restore it: git checkout -- data/reference"
        ) from None


@lru_cache(maxsize=16)  # a report asks for the tables some forty times
def _read(path: Path, _changed_ns: int) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, dtype=CELL_COLUMNS)
    except ValueError as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if list(frame.columns) != list(CELL_COLUMNS):
        raise DataError(
            f"{path} has columns {','.join(frame.columns)}; "
            f"it needs {','.join(CELL_COLUMNS)}"
        )
    return frame


def claims() -> pd.DataFrame:
    """Return one row per published cell that is compared with its row's baseline.

    Columns: those of `cells`, and `claim` (its id), `baseline_value`,
    `published_percent` (as printed, else from the two values), `printed`,
    `published_saved_ns` (only for requests/s: 1e9/baseline - 1e9/value; NaN else).
    """
    frame = cells()
    baselines = {name: twin.baseline for name, twin in TWINS.items()}
    is_base = frame["column"] == frame["table"].map(baselines)
    base = frame[is_base].rename(columns={"value": "baseline_value"})
    # Tables with a baseline per row join on it; the selftest's list has one for all.
    keys = ["table", "io_size_bytes"]
    rows = frame[~is_base].merge(base[[*keys, "baseline_value"]], on=keys)
    ratio = rows["value"] / rows["baseline_value"]
    rows["printed"] = rows["printed_gain_percent"].notna()
    rows["published_percent"] = rows["printed_gain_percent"].fillna((ratio - 1) * 100)
    saved = 1e9 / rows["baseline_value"] - 1e9 / rows["value"]
    rows["published_saved_ns"] = saved.where(rows["unit"] == "requests/s")
    rows["claim"] = [
        f"{table}/{size}/{column.replace(' ', '')}"
        for table, size, column in zip(
            rows["table"], rows["io_size_bytes"], rows["column"], strict=True
        )
    ]
    return rows


def twin(table: str, points: pd.DataFrame | None = None) -> Twin:
    """Return the twin of a published table, among some points if they are given.

    Raises:
        InputError: there is no such table.

    """
    try:
        found = TWINS[table]
        while points is not None and found.instead:
            if (
                (points["path"] == found.path) & (points["protocol"] == found.protocol)
            ).any():
                break
            found = found.instead
        return found
    except KeyError:
        known = ", ".join(TWINS)
        raise InputError(
            f"published table {table!r} is unknown; use one of: {known}"
        ) from None


def twin_point(points: pd.DataFrame, table: str, io_size_bytes: int) -> str | None:
    """Return the name of the point that a published row compares with, if any.

    Args:
        points: rows with point, path, protocol, family, io_size_bytes, batch and given.
        table: name of a published table.
        io_size_bytes: the published row's size.

    """
    wanted = twin(table, points)
    found = points[
        (points["path"] == wanted.path)
        & (points["protocol"] == wanted.protocol)
        & (points["io_size_bytes"] == io_size_bytes)
        & points["given"].isin(wanted.givens)
    ]
    if wanted.exact:
        found = found[
            (found["family"] == wanted.family) & (found["batch"] == wanted.batch)
        ]
    if found.empty:
        return None
    order = sorted(
        found.itertuples(),
        key=lambda p: (p.batch != wanted.batch, p.family != wanted.family, p.batch),
    )
    return str(order[0].point)
