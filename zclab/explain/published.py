"""The published tables, and which point and arm of a run is each one's twin.

The numbers live in `data/reference/*.csv`, one row per printed cell, and nowhere
else, each with its source, what was stated of it and what was not, and its mainline
counterpart or why it has none; see `data/reference/README.md`.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from zclab import store
from zclab.errors import DataError, InputError
from zclab.explain import table as tables

CELL_COLUMNS = {
    "table": "string",
    "row": "int64",
    "io_size_bytes": "int64",
    "column": "string",
    "baseline": "string",
    "value": "float64",
    "unit": "string",
    "printed_gain_percent": "float64",
    "protocol": "string",
    "family": "string",
    "batch": "string",
    "stated": "string",
    "unstated": "string",
    "counterpart": "string",
    "source": "string",
    "see_also": "string",
}

THRESHOLD_COLUMNS = {
    "name": "string",
    "says": "string",
    "arm": "string",
    "basis": "string",
    "low_bytes": "float64",
    "high_bytes": "float64",
    "protocol": "string",
    "path": "string",
    "stated": "string",
    "unstated": "string",
    "counterpart": "string",
    "source": "string",
}

UNSTATED = "unstated"
NONE = "none: "  # how a counterpart begins where there is none; the reason follows

LORE = "https://lore.kernel.org/r/"
_LINKS = {
    "commit:": "https://git.kernel.org/torvalds/c/",
    "file:": "https://docs.kernel.org/",
    "issue:": "https://github.com/",
}

# What one printed unit is in requests per second. MB/s are told apart: they are MiB,
# as the field's own tools count them (bytes >> 20).
_MIB = 1 << 20
_PER_S = {"requests/s": 1.0, "K requests/s": 1e3, "Kqps": 1e3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """Where a run has the counterpart of a published table.

    Attributes:
        title: what the table is called in text.
        baseline: the column that stands for plain send in the table's shape.
        path: path of the twin points.
        family: IP version that is taken where the mail states none.
        batch: requests per submit, likewise.
        arms: published column -> arm of the run, for the columns that have one.
        bases: published column -> arm that its arm is compared with, where that is
            not plain send.
        zerocopy: whether the published sends were zerocopy, so that copied ones are
            no twin.
        not_comparable: why no row of it is compared, though it may be measured.
        if_zerocopy: that reason where nothing of ours was copied, if it is another.
        not_measured: why there is nothing to compare with; empty if there is.
        one_run: whether one run can measure it at all.
        overstated: by what the printed rates are too high, as far as is known.
        givens: options that a twin's arms may share.
        instead: what is the twin in a run that has no point of this one.

    """

    title: str
    path: str
    protocol: str
    arms: Mapping[str, str]
    baseline: str = "non-zc"
    family: int = 4
    batch: int = 8
    bases: Mapping[str, str] = field(default_factory=dict)
    zerocopy: bool = True
    not_comparable: str = ""
    if_zerocopy: str = ""
    not_measured: str = ""
    one_run: bool = True
    overstated: float = 1.0
    givens: tuple[str, ...] = ("",)
    instead: "Twin | None" = None


# Mainline posts one notification per request, which is v5's "zc + flush"; the
# program behind the v5 tables sent registered buffers in batches of 8 by default
# (isilence/liburing, branch zc_v4, examples/io_uring-sendzc.c). The mail itself
# states neither family nor batch, so these are preferences, not conditions.
_FLUSH = {"zc + flush": "send_zc_fixed"}
_SYNC = "send_sync"

NO_NIC = "no NIC path in this run"

# Options that a plan may name over lo or veth, where a host's own control may pace.
_CONTROLS = ("", "congestion=reno", "congestion=cubic")

# What differs in kind wherever v5's TCP rows are taken again. Its UDP "zc" posts no
# notification at all; for stacking see cover.1713369317.git.asml.silence@gmail.com.
_TCP_THEN = (
    "the mail does not say how often this zc was notified, and Linux before 6.10 did "
    "not stack notifications"
)

# Over loopback all is copied on a kernel that was not patched for it.
_TCP_LOOPBACK = Twin(
    title="v5, TCP on localhost",
    path="lo",
    protocol="tcp",
    batch=1,
    arms={"zc": "send_zc_fixed"},
    givens=_CONTROLS,
    not_comparable="needs a kernel patched to allow localhost zerocopy",
    if_zerocopy=f"nothing was copied, as on v5's patched kernel, but {_TCP_THEN}",
)

_WITHOUT_NIC = Twin(
    title="v5, NIC", path="nic", protocol="udp", arms=_FLUSH, not_measured=NO_NIC
)

_RFC2_NIC = {
    "msg_zerocopy -z": "msg_zerocopy",
    "io_uring -n1 -f": "send_zc_fixed",
    "io_uring -n8 -f": "send_zc_fixed",
}

_WITHOUT_RFC2_NIC = Twin(
    title="RFC v2, NIC",
    baseline="io_uring -n8 -z0",
    path="nic",
    protocol="udp",
    family=6,
    arms=_RFC2_NIC,
    not_measured=NO_NIC,
)

_WITHOUT_801_NIC = Twin(
    title="liburing issue 801, TCP over a NIC",
    baseline="-z0",
    path="nic",
    protocol="tcp",
    arms={"-z1": "send_zc_fixed"},
    not_measured=NO_NIC,
)

_TWO_KERNELS = "one kernel in a run, and the rows compare two, before and from 6.10 on"

# Those that this project set out to reproduce; the others are history.
CORE = ("v5-dummy", "v5-nic", "v5-tcp-localhost", "feb2025-selftest")

TWINS: Mapping[str, Twin] = {
    "v5-dummy": Twin(
        title="v5, dummy device", path="sink", protocol="udp", arms=_FLUSH
    ),
    "v5-nic": Twin(
        title="v5, NIC",
        path="nic",
        protocol="udp",
        arms=_FLUSH,
        givens=("", "addressed=on"),
        instead=_WITHOUT_NIC,
    ),
    "v5-tcp-localhost": Twin(
        title="v5, TCP on localhost",
        path="sink+answered",
        protocol="tcp",
        arms={"zc": "send_zc_fixed"},
        givens=("", "reorder=on"),
        not_comparable=f"{_TCP_THEN}; its rates also include a receive on the "
        "sender's CPU, and over the sink nobody receives",
        instead=_TCP_LOOPBACK,
    ),
    # At -t 1, which its script passes, the selftest counts 1.2 s as 1 s.
    "feb2025-selftest": Twin(
        title="February 2025, selftest over veth",
        baseline="NONZC",
        path="veth",
        protocol="udp",
        family=6,
        batch=64,
        arms={"ZC": "send_zc", "ZC_FIXED": "send_zc_fixed", "MIXED": "mixed"},
        zerocopy=False,
        overstated=1.2,
    ),
    "rfc1-dummy": Twin(
        title="RFC v1, dummy device",
        baseline="msg_zerocopy (non-zc)",
        path="sink",
        protocol="udp",
        arms={
            "msg_zerocopy -z": "msg_zerocopy",
            "io_uring flush n1": "send_zc_fixed",
            "io_uring flush n8": "send_zc_fixed",
        },
        bases={
            "msg_zerocopy -z": _SYNC,
            "io_uring flush n1": "msg_zerocopy",
            "io_uring flush n8": "msg_zerocopy",
        },
    ),
    "rfc2-dummy": Twin(
        title="RFC v2, dummy device",
        baseline="io_uring -n8 -z0",
        path="sink",
        protocol="udp",
        arms={
            "msg_zerocopy (zc)": "msg_zerocopy",
            "io_uring -n1 -f": "send_zc_fixed",
            "io_uring -n8 -f": "send_zc_fixed",
        },
        bases={"msg_zerocopy (zc)": _SYNC},
    ),
    "rfc2-nic": Twin(
        title="RFC v2, NIC",
        baseline="io_uring -n8 -z0",
        path="nic",
        protocol="udp",
        family=6,
        arms=_RFC2_NIC,
        bases={"msg_zerocopy -z": _SYNC},
        givens=("", "addressed=on"),
        instead=_WITHOUT_RFC2_NIC,
    ),
    "stacking-tcp": Twin(
        title="Notification stacking, TCP",
        baseline="before",
        path="sink+answered",
        protocol="tcp",
        batch=1,
        arms={"after": "send_zc"},
        not_measured=_TWO_KERNELS,
        one_run=False,
    ),
    "stacking-100g": Twin(
        title="Notification stacking, 100G link",
        baseline="before",
        path="nic",
        protocol="tcp",
        batch=1,
        arms={"after": "send_zc"},
        not_measured=_TWO_KERNELS,
        one_run=False,
    ),
    # At -t 20 its program counts 20.2 s as 20 s, as the selftest that it came from.
    "liburing-801": Twin(
        title="liburing issue 801, TCP over a NIC",
        baseline="-z0",
        path="nic",
        protocol="tcp",
        arms={"-z1": "send_zc_fixed"},
        givens=("reorder=on",),
        overstated=1.01,
        instead=_WITHOUT_801_NIC,
    ),
    "msg-zerocopy-veth": Twin(
        title="MSG_ZEROCOPY, 2017, veth",
        baseline="without zerocopy",
        path="veth",
        protocol="tcp",
        batch=1,
        arms={"with zerocopy": "msg_zerocopy"},
        bases={"with zerocopy": _SYNC},
        givens=_CONTROLS,
    ),
    # Half of it is UDP; nothing of it has a counterpart, so no point is looked for.
    "zc-notification": Twin(
        title="MSG_ZEROCOPY's notifications, 2024",
        baseline="ZCopy",
        path="veth",
        protocol="tcp",
        arms={},
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
    frames = [_table(name, CELL_COLUMNS) for name in TWINS]
    return pd.concat(frames, ignore_index=True)


def thresholds() -> pd.DataFrame:
    """Return what is published of the size from which zerocopy pays, one row each.

    Columns are those of `THRESHOLD_COLUMNS`; the size lies from low_bytes to
    high_bytes, which are one where a single size was named.

    Raises:
        DataError: the table is missing or does not have these columns.

    """
    return _table("thresholds", THRESHOLD_COLUMNS)


def _table(name: str, columns: Mapping[str, str]) -> pd.DataFrame:
    path = folder() / f"{name}.csv"
    return _read(path, _stamp(path), tuple(columns.items()))


def _stamp(path: Path) -> int:
    """Return when a table was last changed, in ns."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing; restore it: git checkout -- data/reference"
        ) from None


@lru_cache(maxsize=32)  # a report asks for the tables some forty times
def _read(
    path: Path, _changed_ns: int, columns: tuple[tuple[str, str], ...]
) -> pd.DataFrame:
    names = [name for name, _ in columns]
    try:
        frame = pd.read_csv(path, dtype=dict(columns))
    except ValueError as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if list(frame.columns) != names:
        raise DataError(
            f"{path} has columns {','.join(frame.columns)}; it needs {','.join(names)}"
        )
    texts = [name for name, kind in columns if kind == "string"]
    return frame.fillna(dict.fromkeys(texts, ""))


def link(source: str) -> str:
    """Return the address of a source.

    Args:
        source: a Message-ID, `commit:` and its hash, `file:` and its path in the
            kernel's tree, or `issue:` and its path at GitHub.

    """
    kind, _, name = source.rpartition(":")
    if kind == "file":
        name = name.removeprefix("Documentation/").replace(".rst", ".html")
    return f"{_LINKS[f'{kind}:'] if kind else LORE}{name}"


def claims() -> pd.DataFrame:
    """Return one row per published cell that is compared with another of its table.

    Columns: those of `cells`, and `claim` (its id), `baseline_value`,
    `published_percent` (as printed, else from the two values), `printed`,
    `published_ratio` (the two values' quotient), `published_base_ns` (what a request
    took with the other cell) and `published_saved_ns` (of it; both NaN where the unit
    does not give that time).
    """
    frame = cells()
    base = frame.rename(columns={"value": "baseline_value"})
    keys = ["table", "io_size_bytes", "column"]
    rows = frame[frame["baseline"] != ""].merge(
        base[[*keys, "baseline_value"]],
        left_on=["table", "io_size_bytes", "baseline"],
        right_on=keys,
        suffixes=("", "_of_base"),
    )
    rows = rows.drop(columns="column_of_base")
    ratio = rows["value"] / rows["baseline_value"]
    rows["printed"] = rows["printed_gain_percent"].notna()
    rows["published_percent"] = rows["printed_gain_percent"].fillna((ratio - 1) * 100)
    rows["published_ratio"] = ratio
    printed = rows.to_dict("records")
    rows["published_base_ns"] = [_ns(row, row["baseline_value"]) for row in printed]
    rows["published_saved_ns"] = rows["published_base_ns"] - [
        _ns(row, row["value"]) for row in printed
    ]
    rows["claim"] = [
        f"{table}/{size}/{column.replace(' ', '')}"
        for table, size, column in zip(
            rows["table"], rows["io_size_bytes"], rows["column"], strict=True
        )
    ]
    return rows


def _ns(row: Mapping[Hashable, Any], value: float) -> float:
    """Return the ns per request that a printed value means; NaN where it does not."""
    unit, size = str(row["unit"]), int(row["io_size_bytes"])
    factor = _MIB / size if unit == "MB/s" else _PER_S.get(unit, math.nan)
    return 1e9 / (value * factor) * TWINS[str(row["table"])].overstated


def twin(table: str, points: pd.DataFrame | None = None) -> Twin:
    """Return the twin of a published table, among some points if they are given.

    Args:
        table: name of a published table.
        points: rows with path and protocol, and arm and copied_share where it is known.

    Raises:
        InputError: there is no such table.

    """
    if table not in TWINS:
        raise InputError(
            f"published table {table!r} is unknown; use one of: {', '.join(TWINS)}"
        )
    found = TWINS[table]
    while points is not None and found.instead:
        alike = (points["path"] == found.path) & (points["protocol"] == found.protocol)
        if alike.any():
            break
        found = found.instead
    if points is not None and found.if_zerocopy and _kept(found, points):
        return replace(found, not_comparable=found.if_zerocopy)
    return found


def _kept(wanted: Twin, points: pd.DataFrame) -> bool:
    """Return whether the arms of a twin are known to have been copied nowhere."""
    if "copied_share" not in points:
        return False
    alike = (points["path"] == wanted.path) & (points["protocol"] == wanted.protocol)
    shares = points.loc[
        alike & points["arm"].isin(wanted.arms.values()), "copied_share"
    ]
    return bool(
        len(shares) and shares.notna().all() and (shares < tables.ZEROCOPY_BELOW).all()
    )


def twin_point(
    points: pd.DataFrame, table: str, io_size_bytes: int, column: str = ""
) -> str | None:
    """Return the name of the point that a published row compares with, if any.

    Family and batch are those that the mail states; where it states none, what comes
    nearest to the twin's is taken. Among those left, points with the wanted arms.

    Args:
        points: rows with point, path, protocol, family, io_size_bytes, batch, given
            and arm.
        table: name of a published table.
        io_size_bytes: the published row's size.
        column: of the table; by default any that has a counterpart.

    """
    wanted = twin(table, points)
    found = points[
        (points["path"] == wanted.path)
        & (points["protocol"] == wanted.protocol)
        & (points["io_size_bytes"] == io_size_bytes)
        & points["given"].isin(wanted.givens)
    ]
    if found.empty:
        return None
    column = column or next(iter(wanted.arms), "")
    family, batch = stated(table, io_size_bytes, column)
    found = found[found["family"].isin([family] if family else [4, 6])]
    if batch:
        found = found[found["batch"] == batch]
    if found.empty:
        return None
    arms = {wanted.arms.get(column, ""), wanted.bases.get(column, "")} - {""}
    order = sorted(
        found.groupby("point", sort=False).first().reset_index().itertuples(),
        key=lambda p: (
            not arms <= set(found.loc[found["point"] == p.point, "arm"]),
            p.batch != wanted.batch,
            p.family != wanted.family,
            p.batch,
        ),
    )
    return str(order[0].point)


def stated(table: str, io_size_bytes: int, column: str) -> tuple[int, int]:
    """Return IP version and batch that a mail states of a cell, 0 where it does not."""
    frame = _table(table, CELL_COLUMNS)
    mine = frame[frame["column"] == column]
    sized = mine[mine["io_size_bytes"] == io_size_bytes]
    rows = sized if len(sized) else mine
    if rows.empty:
        return 0, 0
    family, batch = (
        0 if rows[name].iloc[0] == UNSTATED else int(rows[name].iloc[0])
        for name in ("family", "batch")
    )
    return family, batch


def command(table: str, sizes: Sequence[int], column: str) -> str:
    """Return the command that would measure the twins of some cells of a column.

    It is empty where one run cannot, whatever it measures.
    """
    wanted = TWINS[table]
    if not wanted.one_run:
        return ""
    family, batch = stated(table, sizes[0], column)
    path = wanted.path.partition("+")[0]  # tcp over the sink is answered anyway
    arm = wanted.arms.get(column, "send_zc_fixed")
    modes = dict.fromkeys(("send", wanted.bases.get(column, "send"), arm))
    card = "--dev DEV --dst DST " if path == "nic" else ""
    if card and wanted.protocol == "tcp":  # it takes somebody who receives
        card += "--peer HOST:PORT "
    batch = batch or wanted.batch
    options = []
    if wanted.protocol == "tcp" and batch > 1:  # refused unless they may reorder
        options.append("reorder=on")
    if wanted.protocol == "tcp" and path in ("veth", "lo"):  # the host's own may pace
        options.append("congestion=reno")
    given = f" --options {':'.join(options)}" if options else ""
    return (
        f"zclab measure --path {path} {card}--protocol {wanted.protocol} "
        f"--family {family or wanted.family} "
        f"--sizes {','.join(str(size) for size in sizes)} "
        f"--modes {','.join(modes)} --batch {batch}{given}"
    )
