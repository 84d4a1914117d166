"""A run as tables: one row per point and arm, in the shapes that people read.

An effect is *decided* when its interval leaves out zero and reaches beyond the
noise floor: the larger end, in either direction, of the interval of the control
arm (the baseline measured a second time). All else is "no difference found".
"""

import itertools
import math
import string
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from zclab import options as opts
from zclab import stats
from zclab.explain import published
from zclab.params import BASELINE, CONTROL, Point, arm_mode
from zclab.store import Run

FASTER = "faster"
SLOWER = "slower"
NO_DIFFERENCE = "no difference found"

# Shares of notifications that say "copied" between which nothing is called by one
# word. A single failed send also says copied (io_uring/notif.c), hence not 0 and 1.
ZEROCOPY_BELOW = 0.01
COPIED_FROM = 0.99

MIB = 1 << 20


def paired(run: Run, point: Point) -> pd.DataFrame:
    """Return ns per request, one row per block and one column per arm.

    A sample in which no request completed is left out (NaN).
    """
    frame = run.samples[run.samples["point"] == point.name]
    ns = frame.pivot(index="block", columns="arm", values="ns_per_request")
    ns = ns.replace([np.inf, -np.inf], np.nan)
    return ns.reindex(columns=[arm for arm in point.arms if arm in ns.columns])


def summary(run: Run) -> pd.DataFrame:
    """Return one row per point and arm, in the order of the plan.

    Columns: point, path, protocol, family, io_size_bytes, batch, given (options that
    all arms of the point share), arm, mode, n (blocks); ns_per_request, ns_low,
    ns_high (ns); requests_per_s; gain_percent, gain_low, gain_high (percent, paired
    within the block, NaN for the baseline);
    saved_ns, saved_low, saved_high (ns, likewise); floor_percent (the noise floor of
    the point); finding; copied_share, delivered_share (0 to 1, NA when unknown);
    cpu_ns_per_request (ns); notifications; warnings (joined by "; ").

    Points without a sample are left out, as they are in a partial run.
    """
    sums = _sums(run.samples)
    rows = [row for point in run.plan.points for row in _point_rows(run, point)]
    frame = pd.DataFrame([{**row, **_counted(row, sums)} for row in rows])
    for name in ("copied_share", "delivered_share"):
        frame[name] = frame[name].astype("Float64")
    return frame


def _point_rows(run: Run, point: Point) -> Iterator[dict[str, Any]]:
    """Yield what the paired costs of one point say, one dictionary per arm."""
    ns = paired(run, point)
    gains = {arm: _effect(ns, arm) for arm in ns.columns if arm != BASELINE}
    floor = noise_floor(gains[CONTROL][0] if CONTROL in gains else None)
    for arm in ns.columns:
        values = ns[arm].dropna().to_numpy(dtype=np.float64)
        if values.size == 0:
            continue
        cost = stats.median_interval(values)
        gain, saved = gains.get(arm, (None, None))
        yield {
            **point.factors,
            "given": opts.spell(point.given),
            "arm": arm,
            "mode": str(arm_mode(arm)),
            "n": cost.n,
            "ns_per_request": cost.center,
            "ns_low": cost.low,
            "ns_high": cost.high,
            "requests_per_s": 1e9 / cost.center,  # of the median cost
            **_interval("gain_percent", "gain", gain),
            **_interval("saved_ns", "saved", saved),
            "floor_percent": floor,
            "finding": "" if gain is None else finding(gain, floor),
            "warnings": (*cost.warnings, *_control_warnings(arm, gain)),
        }


def _effect(
    ns: pd.DataFrame, arm: str
) -> tuple[stats.Interval | None, stats.Interval | None]:
    if BASELINE not in ns.columns:
        return None, None
    both = ns[[arm, BASELINE]].dropna()
    if both.empty:
        return None, None
    mine = both[arm].to_numpy(dtype=np.float64)
    base = both[BASELINE].to_numpy(dtype=np.float64)
    return stats.gain_percent(mine, base), stats.saved_ns(mine, base)


def _interval(
    center: str, prefix: str, found: stats.Interval | None
) -> dict[str, float]:
    if found is None:
        return {center: math.nan, f"{prefix}_low": math.nan, f"{prefix}_high": math.nan}
    return {
        center: found.center,
        f"{prefix}_low": found.low,
        f"{prefix}_high": found.high,
    }


def noise_floor(control: stats.Interval | None) -> float:
    """Return the larger end of the control's interval in percent, either direction.

    It is 0 without a control arm and infinite when the control has too few blocks.
    """
    if control is None:
        return 0.0
    return max(abs(control.low), abs(control.high))


def finding(gain: stats.Interval, floor_percent: float) -> str:
    """Return what a gain in percent shows: faster, slower, or no difference found."""
    within = max(abs(gain.low), abs(gain.high)) <= floor_percent
    if not gain.excludes_zero or within:
        return NO_DIFFERENCE
    return FASTER if gain.low > 0 else SLOWER


def _sums(samples: pd.DataFrame) -> dict[tuple[str, str], dict[str, int]]:
    """Return the sums of the counters over the blocks, per point and arm."""
    received = samples["received_bytes"].notna()
    counters = pd.DataFrame(
        {
            "point": samples["point"],
            "arm": samples["arm"],
            "empty": samples["requests"] == 0,
            "requests": samples["requests"],
            "zc_requests": samples["zc_requests"],
            "notifications": samples["notifications"],
            "copied": samples["copied"].fillna(0),
            "untold": (samples["notifications"] > 0) & samples["copied"].isna(),
            "cpu_ns": samples["cpu_user_ns"] + samples["cpu_sys_ns"],
            "received_bytes": samples["received_bytes"].fillna(0),
            "sent_bytes": samples["sent_total_bytes"].where(received, 0),
            "eagain": samples["eagain"],
            "failed": samples["failed"].fillna(0),
            "disordered": samples["disordered"].fillna(0),
            "short_sends": samples["short_sends"],
            "cq_overflow": samples["cq_overflow"],
        }
    )
    sums = counters.groupby(["point", "arm"]).sum().astype("int64")
    return dict(zip(sums.index, sums.to_dict("records"), strict=True))


def _counted(
    row: dict[str, Any], sums: dict[tuple[str, str], dict[str, int]]
) -> dict[str, object]:
    """Return the columns of a row that are from counters, its warnings completed."""
    mine = sums[row["point"], row["arm"]]
    known = mine["notifications"] and not mine["untold"]
    sent, requests = mine["sent_bytes"], mine["requests"]
    return {
        "copied_share": mine["copied"] / mine["notifications"] if known else pd.NA,
        "delivered_share": mine["received_bytes"] / sent if sent else pd.NA,
        "cpu_ns_per_request": mine["cpu_ns"] / requests if requests else math.nan,
        "notifications": mine["notifications"],
        "warnings": "; ".join((*row["warnings"], *_sample_warnings(mine))),
    }


def _sample_warnings(mine: dict[str, int]) -> Iterator[str]:
    for counter, meaning in (
        ("empty", "samples without a completed request left out"),
        ("eagain", "completions with -EAGAIN"),
        ("short_sends", "short sends"),
        ("failed", "failed requests"),
        ("disordered", "verified units out of order"),
        ("cq_overflow", "CQEs overflowed the completion queue"),
    ):
        if mine[counter]:
            yield f"{mine[counter]} {meaning}"
    asked, noted = mine["zc_requests"], mine["notifications"]
    if asked != noted:
        yield f"{noted} notifications for {asked} zerocopy requests"


def _control_warnings(arm: str, gain: stats.Interval | None) -> Iterator[str]:
    # One control in twenty does this by chance; many of them mean a biased order.
    if arm == CONTROL and gain is not None and gain.excludes_zero:
        yield (
            f"the control differs from {BASELINE}: A/A gain "
            f"[{signed(gain.low)}, {signed(gain.high)}]%"
        )


def where(row: pd.Series) -> str:
    """Return path, protocol, family, batch and options of a row of `summary`."""
    given = f", {row['given']}" if row["given"] else ""
    return (
        f"{row['path']}, {row['protocol'].upper()}/IPv{row['family']}, "
        f"batch {row['batch']}{given}"
    )


def signed(value: float, digits: int = 1) -> str:
    """Return a number with its sign, in ASCII; a rounded zero has a plus."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "+") if float(text) == 0 else text


def gain_text(row: pd.Series) -> str:
    """Return a gain with its interval, like `+21.8% [+21.4, +22.2]`.

    One digit after the point; none where one of the three reaches 100.
    """
    values = (row["gain_percent"], row["gain_low"], row["gain_high"])
    if math.isnan(values[0]):
        return "-"
    if math.isinf(values[1]) or math.isinf(values[2]):
        return f"{signed(values[0])}% [n={row['n']} is too small]"
    digits = 1 if max(map(abs, values)) < 99.95 else 0
    center, low, high = (signed(value, digits) for value in values)
    return f"{center}% [{low}, {high}]"


def share_text(share: object) -> str:
    """Return a share of 0 to 1 as percent, or `unknown`."""
    if share is None or pd.isna(share):
        return "unknown"
    percent = 100 * float(share)  # type: ignore[arg-type]
    if 0 < percent < 0.1:
        return "<0.1%"
    if 99.9 < percent < 100:
        return ">99.9%"
    return f"{percent:.0f}%" if percent in (0, 100) else f"{percent:.1f}%"


def shares_text(shares: pd.Series) -> str:
    """Return the range of some shares as percent, or `unknown` if one of them is."""
    if shares.empty or shares.isna().any():
        return share_text(None)
    texts = (share_text(shares.min()), share_text(shares.max()))
    return " to ".join(dict.fromkeys(texts))


def _grid(rows: Sequence[tuple[str, ...]], left: tuple[int, ...] = ()) -> str:
    """Return rows as ASCII columns joined by ` | `; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = (
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append(" | ".join(padded).rstrip())
    return "\n".join(lines)


def v5_points(frame: pd.DataFrame, table_name: str) -> pd.DataFrame:
    """Return `io_size_bytes` and `point` of each row of a v5-shaped table.

    The rows are those of the published table, `point` being None where the run has
    no twin, and the run's further sizes that were taken alike; largest first.

    Args:
        frame: what `summary` returned.
        table_name: name of a published table.

    """
    wanted = published.twin(table_name)
    claims = published.claims()
    sizes = set(claims.loc[claims["table"] == table_name, "io_size_bytes"])
    alike = frame[
        (frame["path"] == wanted.path)
        & (frame["protocol"] == wanted.protocol)
        & (frame["family"] == wanted.family)
        & (frame["batch"] == wanted.batch)
        & (frame["given"] == "")
    ]
    if not wanted.exact:
        sizes |= set(alike["io_size_bytes"])
    rows = [
        (size, published.twin_point(frame, table_name, size))
        for size in sorted(sizes, reverse=True)
    ]
    return pd.DataFrame(rows, columns=["io_size_bytes", "point"])


def v5_shaped(run: Run, table_name: str) -> str:
    """Return a published table's shape with our numbers, and its own percent beside.

    ASCII, at most 72 columns, rates in requests/s (MiB/s for the selftest's table).
    A cell that the run has no number for is a dash.

    Raises:
        InputError: there is no such published table.

    """
    return shaped(summary(run), table_name)


def shaped(frame: pd.DataFrame, table_name: str) -> str:
    """Return what `v5_shaped` does, from what `summary` returned."""
    if table_name == "feb2025-selftest":
        return _selftest_shaped(frame, table_name)
    claims = published.claims()
    claims = claims[claims["table"] == table_name].set_index(
        ["io_size_bytes", "column"]
    )
    wanted = published.twin(table_name)
    ((column, arm),) = wanted.arms.items()
    rows = [("IO size", wanted.baseline, f"{column}, 95% interval", "copied", "v5")]
    for _, (size, point) in v5_points(frame, table_name).iterrows():
        known = (size, column) in claims.index
        said = claims.loc[(size, column), "published_percent"] if known else math.nan
        base, mine = _arm(frame, point, str(BASELINE)), _arm(frame, point, arm)
        rows.append(
            (
                str(size),
                "-" if base is None else _rate(base["requests_per_s"]),
                "-" if mine is None else _rate_text(mine, base),
                "-" if mine is None else share_text(mine["copied_share"]),
                percent_text(said),
            )
        )
    return _grid(rows)


def _rate(requests_per_s: float) -> str:
    """Return a rate in as many digits as the median of one run is worth."""
    return f"{requests_per_s / 1000:.0f}k"


def _paired_rate(row: pd.Series, base: pd.Series | None) -> float:
    """Return the baseline's rate times the paired gain.

    A median of the arm's own rates would not be paired, and its quotient with the
    baseline's would be another number than the gain printed beside it.
    """
    if base is None or math.isnan(row["gain_percent"]):
        return float(row["requests_per_s"])
    return float(base["requests_per_s"] * (1 + row["gain_percent"] / 100))


def _rate_text(row: pd.Series, base: pd.Series | None) -> str:
    gain, _, interval = gain_text(row).partition(" ")
    rate = _rate(_paired_rate(row, base))
    return f"{rate} {f'({gain})':>8} {interval:>14}"


def percent_text(value: float) -> str:
    """Return a published percent in its own precision, or a dash."""
    if math.isnan(value):
        return "-"
    digits = 0 if float(value).is_integer() else 1
    return f"{signed(value, digits)}%"


def _arm(frame: pd.DataFrame, point: str | None, arm: str) -> pd.Series | None:
    found = frame[(frame["point"] == point) & (frame["arm"] == arm)]
    return None if found.empty else found.iloc[0]


def _selftest_shaped(frame: pd.DataFrame, table_name: str) -> str:
    wanted = published.twin(table_name)
    claims = published.claims()
    claims = claims[claims["table"] == table_name]
    size = int(claims["io_size_bytes"].iloc[0])
    point = published.twin_point(frame, table_name, size)
    said = dict(zip(claims["column"], claims["published_percent"], strict=True))
    columns = {wanted.baseline: str(BASELINE), **wanted.arms}
    header = ("mode", "MiB/s", f"gain over {wanted.baseline}, 95% interval")
    rows = [(*header, "copied", "Feb 2025")]
    base = _arm(frame, point, str(BASELINE))
    for column, arm in columns.items():
        mine = _arm(frame, point, arm)
        zc = column in said
        rows.append(
            (
                column,
                "-" if mine is None else f"{_paired_rate(mine, base) * size / MIB:.0f}",
                gain_text(mine) if mine is not None and zc else "-" if zc else "",
                "" if mine is None or not zc else share_text(mine["copied_share"]),
                percent_text(said[column]) if zc else "",
            )
        )
    return _grid(rows, left=(0,))


def gains(rows: pd.DataFrame) -> str:
    """Return the gains of some points as an ASCII table, one line per size.

    Gains are in percent with their intervals, the noise floor in points. `mixed` has
    a column only where the modes that it mixes have none. At most 72 columns.

    Args:
        rows: rows of `summary` that differ in size and arm only.

    """
    modes = [arm for arm in ("send_zc", "send_zc_fixed") if arm in set(rows["arm"])]
    modes = modes or [arm for arm in dict.fromkeys(rows["arm"]) if arm == "mixed"]
    lines = [("IO size", f"{BASELINE} ns", *modes, "floor")]
    for size in sorted(set(rows["io_size_bytes"]), reverse=True):
        mine = rows[rows["io_size_bytes"] == size].set_index("arm")
        cost = mine["ns_per_request"].get(str(BASELINE), math.nan)
        cells = [_bare_gain(mine, arm) for arm in modes]
        floor = mine["floor_percent"].iloc[0]
        lines.append((str(size), f"{cost:.0f}", *cells, f"{floor:.1f}"))
    return _grid(lines)


def arms(rows: pd.DataFrame) -> str:
    """Return every arm of some points as an ASCII table, one line per size and arm.

    An arm with options has a letter, which `arm_names` explains. At most 72 columns.

    Args:
        rows: rows of `summary` that differ in size and arm only.

    """
    names = arm_names(rows)
    lines = [("IO size", "arm", "ns", "gain over send", "copied")]
    for size in sorted(set(rows["io_size_bytes"]), reverse=True):
        mine = rows[rows["io_size_bytes"] == size].set_index("arm")
        for arm in mine.index:
            row = mine.loc[arm]
            lines.append(
                (
                    str(size),
                    names[arm],
                    f"{row['ns_per_request']:.0f}",
                    _bare_gain(mine, arm) if arm != BASELINE else "",
                    share_text(row["copied_share"]) if row["notifications"] else "",
                )
            )
    return _grid(lines, left=(1,))


def arm_names(rows: pd.DataFrame) -> dict[str, str]:
    """Return a short name for each arm: its mode, and a letter for its options."""
    found = {arm: arm.partition(":")[0] for arm in dict.fromkeys(rows["arm"])}
    with_options = [arm for arm in found if ":" in arm]
    letters = itertools.product(["", *string.ascii_lowercase], string.ascii_lowercase)
    for arm, letter in zip(with_options, letters, strict=False):
        found[arm] += f" ({''.join(letter)})"
    return found


def _bare_gain(rows: pd.DataFrame, arm: str) -> str:
    if arm not in rows.index:
        return "-"
    text = gain_text(rows.loc[arm]).replace("%", "").replace(", ", ",")
    return text.replace(" is too small", "")


def compact(frame: pd.DataFrame, path: str) -> pd.DataFrame:
    """Return the table of one path as people read it: strings, units in the header.

    Empty when the run has no sample of that path. `delivered` is there only where
    something receives.

    Args:
        frame: what `summary` returned.
        path: name of the path.

    """
    frame = frame[frame["path"] == path]
    readable = pd.DataFrame(
        {
            "protocol": [f"{r.protocol.upper()}/IPv{r.family}" for r in _rows(frame)],
            "IO size [B]": [str(r.io_size_bytes) for r in _rows(frame)],
            "batch": [str(r.batch) for r in _rows(frame)],
            "arm": [r.arm for r in _rows(frame)],
            "requests/s": [f"{r.requests_per_s:,.0f}" for r in _rows(frame)],
            "ns/request": [f"{r.ns_per_request:.0f}" for r in _rows(frame)],
            "gain vs send [95 %]": [gain_text(r) for _, r in frame.iterrows()],
            "saved ns [95 %]": [saved_text(r) for _, r in frame.iterrows()],
            "copied": [
                share_text(r.copied_share) if r.notifications else "-"
                for r in _rows(frame)
            ],
            "delivered": [
                "-" if pd.isna(r.delivered_share) else share_text(r.delivered_share)
                for r in _rows(frame)
            ],
            "CPU ns/request": [f"{r.cpu_ns_per_request:.0f}" for r in _rows(frame)],
            "n": [str(r.n) for r in _rows(frame)],
        }
    )
    if frame["delivered_share"].isna().all():
        return readable.drop(columns="delivered")
    return readable


def _rows(frame: pd.DataFrame) -> list[Any]:
    return list(frame.itertuples(index=False))


def saved_text(row: pd.Series) -> str:
    """Return the ns saved per request with their interval, like `+352 [+340, +361]`."""
    if math.isnan(row["saved_ns"]):
        return "-"
    if math.isinf(row["saved_low"]):
        return f"{signed(row['saved_ns'], 0)} [n={row['n']} is too small]"
    return (
        f"{signed(row['saved_ns'], 0)} "
        f"[{signed(row['saved_low'], 0)}, {signed(row['saved_high'], 0)}]"
    )
