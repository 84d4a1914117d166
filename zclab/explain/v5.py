"""The published tables in their own shape: the same rows and columns, ours beneath.

All of it is ASCII and at most 72 columns wide. Rates are there because the mails have
them; they are of different hosts and never compared. What is compared is the gain, and
the ns saved: see `claims`.
"""

import math
from collections.abc import Iterator

import pandas as pd

from zclab import situation as situations
from zclab.explain import published, table
from zclab.explain.claims import NOT_COMPARABLE, NOT_MEASURED
from zclab.params import BASELINE

SELFTEST = "feb2025-selftest"
TCP = "v5-tcp-localhost"
DUMMY, NIC = "v5-dummy", "v5-nic"
NAMES = (NIC, DUMMY, TCP, SELFTEST)  # as the mails have them

# Of both UDP tables, whose column "zc" is a dash here.
NO_TWIN = "v5's zc over UDP posts no notification: no counterpart in mainline (-)."
FLUSH = "zc + flush"  # its column with a notification for each request


def points(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return `io_size_bytes` and `point` of each row of a published table.

    The point is None where the run has no twin; rows are in the mail's order.

    Args:
        frame: what `table.summary` returned.
        name: of a published table.

    """
    published.twin(name)
    cells = published.cells()
    sizes = dict.fromkeys(cells.loc[cells["table"] == name, "io_size_bytes"])
    rows = [(size, published.twin_point(frame, name, size)) for size in sizes]
    return pd.DataFrame(rows, columns=["io_size_bytes", "point"])


def shaped(frame: pd.DataFrame, name: str) -> str:
    """Return a published table with ours beneath each of its rows.

    A cell that the run has no number for is a dash.

    Args:
        frame: what `table.summary` returned.
        name: of one of `NAMES`.

    Raises:
        InputError: there is no such published table.

    """
    published.twin(name)
    if name == SELFTEST:
        return table.grid(list(_selftest(frame)), left=(0,))
    if name == TCP:
        return table.grid(list(_tcp(frame)))
    return table.grid(list(_rows(frame, name)))


def _rows(frame: pd.DataFrame, name: str) -> Iterator[tuple[str, ...]]:
    cells = published.cells()
    cells = cells[cells["table"] == name]
    columns = list(dict.fromkeys(cells["column"]))
    arms = published.twin(name, frame).arms
    yield ("IO size", "", *columns[:-1], f"{columns[-1]}, 95% interval")
    for size, mine in cells.groupby("io_size_bytes", sort=False):
        said = mine.set_index("column")
        yield (str(size), "v5", *(_printed(said.loc[column]) for column in columns))
        point = published.twin_point(frame, name, int(str(size)))
        base = _arm(frame, point, str(BASELINE))
        found = []
        for column in columns:
            ours = _arm(frame, point, arms.get(column, ""))
            if column == columns[0]:
                found.append("-" if base is None else _rate(base["requests_per_s"]))
            elif ours is not None and base is not None:
                rate = _rate(_paired_rate(ours, base))
                found.append(f"{rate} {_gain(ours)}")
            else:
                found.append("-")
        yield ("", "here", *found)


def _printed(cell: pd.Series) -> str:
    """Return a cell as the mail prints it."""
    percent = cell["printed_gain_percent"]
    told = "" if math.isnan(percent) else f" ({table.percent_text(percent)})"
    return f"{cell['value']:.0f}{told}"


def _tcp(frame: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """Yield the TCP table in MB/s, with each path of ours that has one of its rows."""
    claims = published.claims()
    claims = claims[claims["table"] == TCP]
    twins: list[published.Twin] = []
    twin: published.Twin | None = published.TWINS[TCP]
    while twin:
        twins.append(twin)
        twin = twin.instead
    here = [one for one in twins if (frame["path"] == one.path).any()] or twins[:1]
    yield ("IO size", "", "non-zc MB/s", "zc MB/s, 95% interval", "copied")
    for claim in claims.to_dict("records"):
        size = int(claim["io_size_bytes"])
        told = f"{claim['value']:.0f} ({table.signed(claim['published_percent'])}%)"
        yield (str(size), "v5", f"{claim['baseline_value']:.0f}", told, "")
        for one in here:
            mine = frame[frame["path"] == one.path]
            point = published.twin_point(mine, TCP, size)
            base = _arm(mine, point, str(BASELINE))
            ours = _arm(mine, point, one.arms[claim["column"]])
            path = situations.path_of(one.path)
            if base is None or ours is None:
                yield ("", path, "-", "-", "-")
                continue
            yield (
                "",
                path,
                _mib(base["requests_per_s"], size),
                f"{_mib(_paired_rate(ours, base), size)} {_gain(ours)}",
                table.share_text(ours["copied_share"]),
            )


def _selftest(frame: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """Yield the selftest's modes: his rate and its ratio to plain send, then ours."""
    cells = published.cells()
    cells = cells[cells["table"] == SELFTEST]
    twin = published.twin(SELFTEST)
    size = int(cells["io_size_bytes"].iloc[0])
    point = published.twin_point(frame, SELFTEST, size)
    plain = float(cells.loc[cells["column"] == twin.baseline, "value"].iloc[0])
    base = _arm(frame, point, str(BASELINE))
    yield ("mode", "then", "ratio", "here", "ratio, 95% interval", "copied")
    for cell in cells.itertuples():
        said = (cell.column, f"{cell.value:.0f}", f"{cell.value / plain:.3f}")
        ours = _arm(frame, point, twin.arms.get(str(cell.column), str(BASELINE)))
        if base is None or ours is None:
            yield (*said, "-", "-", "-")
        elif cell.column == twin.baseline:
            yield (*said, _mib(base["requests_per_s"], size), "1.000", "")
        else:
            yield (
                *said,
                _mib(_paired_rate(ours, base), size),
                ratio_text(ours),
                table.share_text(ours["copied_share"]),
            )


def ratio_text(row: pd.Series) -> str:
    """Return a gain as a ratio of rates, with its interval: `0.728 [0.726, 0.732]`."""
    ends = (row["gain_percent"], row["gain_low"], row["gain_high"])
    center, low, high = (f"{1 + end / 100:.3f}" for end in ends)
    if math.isinf(row["gain_high"]):
        return f"{center} [n={row['n']}]"
    return f"{center} [{low}, {high}]"


def verdicts(compared: pd.DataFrame, name: str, *, shaped: bool = True) -> list[str]:
    """Return the verdict on each measured row of a published table, a sentence each.

    Rows that are not comparable share one. The last says what the ns of the mail take
    for granted, where there are any.

    Args:
        compared: what `claims.compared` returned.
        name: of a published table.
        shaped: whether percents and copied shares stand in the table's shape, and
            need not be told again.

    """
    mine = compared[compared["table"] == name]
    here = mine[mine["point"] != ""]
    apart = here["verdict"] == NOT_COMPARABLE
    judged = here[~apart]
    counted = not shaped or judged["n"].nunique() > 1  # one n is in the caption
    told = [
        _verdict(row, _label(row, mine), shaped=shaped)
        + (f"; n={row['n']}." if counted else ".")
        for _, row in judged.iterrows()
    ]
    reasons = here["reason"]
    if shaped:  # what was copied has a column
        reasons = reasons.str.replace(r"; here [^;]*\.$", ".", regex=True)
    for reason, rows in here[apart].groupby(reasons, sort=False):
        counts = ", ".join(f"n={n}" for n in rows["n"])
        told.append(f"{_cells(rows)} ({counts}): {NOT_COMPARABLE}. {reason}")
    if (judged["verdict_ns"] != "").any():
        told += _assumed(name)
    return told


def lacking(compared: pd.DataFrame, name: str) -> list[str]:
    """Return which rows of a published table were not measured, and what would do so.

    Those that are so for one reason share a sentence. That a column has no counterpart
    is not told: no run can have one.
    """
    rest = compared[(compared["table"] == name) & (compared["point"] == "")]
    rest = rest[rest["column"].isin(published.TWINS[name].arms)]
    # The sizes are told of all together.
    reasons = [
        row.reason.replace(f", {row.io_size_bytes} B", "") for row in rest.itertuples()
    ]
    rest = rest.assign(reason=reasons)
    found = []
    for (word, reason), rows in rest.groupby(["verdict", "reason"], sort=False):
        measure = commands(rows, name)
        how = f"Measure: {'; '.join(measure)}" if measure else reason
        found.append(f"{_cells(rows)}: {word}. {how}")
    return found


def _cells(rows: pd.DataFrame) -> str:
    """Return the columns and sizes of some rows, like `zc + flush at 8000, 600 B`."""
    columns = ", ".join(dict.fromkeys(rows["column"]))
    sizes = ", ".join(str(size) for size in dict.fromkeys(rows["io_size_bytes"]))
    return f"{columns} at {sizes} B"


def _label(row: pd.Series, rows: pd.DataFrame) -> str:
    """Return size and column of a row, without what all those of its table share."""
    parts = []
    if rows["io_size_bytes"].nunique() > 1:
        parts.append(f"{row['io_size_bytes']} B")
    if not parts or rows.loc[rows["point"] != "", "column"].nunique() > 1:
        parts.append(str(row["column"]))
    return " ".join(parts)


def _assumed(name: str) -> Iterator[str]:
    """Yield what a table's ns rest on besides its numbers; see `data/reference`."""
    cells = published.cells()
    units = set(cells.loc[cells["table"] == name, "unit"])
    over = published.twin(name).overstated
    parts = []
    if "MB/s" in units:
        parts.append("its MB are MiB")
    if over != 1:
        parts.append(f"it counted {over:g} s as 1 s, so that its rates are too high")
    if parts:
        yield f"ns then: if {' and '.join(parts)}."


def notification_ns(name: str, io_size_bytes: int) -> float:
    """Return by how many ns v5's zc + flush was dearer than its zc, at one size.

    That is what one notification for each request cost there.

    Args:
        name: of a table with both columns.
        io_size_bytes: one of its sizes.

    """
    cells = published.cells()
    mine = cells[(cells["table"] == name) & (cells["io_size_bytes"] == io_size_bytes)]
    ns = 1e9 / mine.set_index("column")["value"]
    return float(ns[FLUSH] - ns["zc"])


def commands(rows: pd.DataFrame, name: str) -> list[str]:
    """Return the commands that measure those rows of a table that were not.

    Columns that need the same point share one; a column without a counterpart has
    none.
    """
    missing = rows[rows["verdict"] == NOT_MEASURED]
    arms = published.TWINS[name].arms
    found = {}
    for column, mine in missing.groupby("column", sort=False):
        if column in arms:
            sizes = list(dict.fromkeys(mine["io_size_bytes"]))
            found[published.command(name, sizes, str(column))] = True
    return list(filter(None, found))  # of what no single run measures there is none


def _verdict(row: pd.Series, label: str, *, shaped: bool) -> str:
    text = f"{label}: {row['verdict']}"
    if not shaped:
        then = table.signed(row["published_percent"], 1)
        text += f", {table.gain_text(row)} here, {then}% then"
    if row["verdict_ns"]:
        text += (
            f"; ns saved {table.saved_text(row)}, "
            f"{table.signed(row['published_saved_ns'], 0)} then"
        )
        if row["verdict_ns"] != row["verdict"]:
            text += f": {row['verdict_ns']}"
    if not shaped:
        text += f"; copied {table.share_text(row['copied_share'])}"
    return text


def _gain(row: pd.Series) -> str:
    """Return a gain as narrow as a table needs it."""
    return table.gain_text(row).replace(" is too small", "")


def _rate(requests_per_s: float) -> str:
    """Return a rate in as many digits as the median of one run is worth."""
    return f"{requests_per_s / 1000:.0f}k"


def _mib(requests_per_s: float, size: int) -> str:
    return f"{requests_per_s * size / table.MIB:.0f}"


def _paired_rate(row: pd.Series, base: pd.Series) -> float:
    """Return the baseline's rate times the paired gain.

    A median of the arm's own rates would not be paired, and its quotient with the
    baseline's would be another number than the gain printed beside it.
    """
    return float(base["requests_per_s"] * (1 + row["gain_percent"] / 100))


def _arm(frame: pd.DataFrame, point: str | None, arm: str) -> pd.Series | None:
    found = frame[(frame["point"] == point) & (frame["arm"] == arm)]
    return None if found.empty else found.iloc[0]
