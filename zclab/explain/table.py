"""A run as tables: one row per point and arm, in the shapes that people read.

An arm is *faster* or *slower* when its interval leaves out zero and reaches beyond
the noise floor: the larger end, in either direction, of the interval of the control
arm (the baseline measured a second time). Else it is *equivalent* when the interval
lies within a point of zero. All else is "no difference found".
"""

import itertools
import math
import re
import string
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from zclab import options as opts
from zclab import stats
from zclab.errors import DataError
from zclab.explain import processor
from zclab.params import BASELINE, CONTROL, Point, arm_mode
from zclab.store import Run

FASTER = str(stats.Verdict.FASTER)
SLOWER = str(stats.Verdict.SLOWER)
EQUIVALENT = str(stats.Verdict.EQUIVALENT)
NO_DIFFERENCE = str(stats.Verdict.UNDECIDED)

# Shares of notifications that say "copied" between which nothing is called by one
# word. A single failed send also says copied (io_uring/notif.c), hence not 0 and 1.
ZEROCOPY_BELOW = 0.01
COPIED_FROM = 0.99

MIB = 1 << 20

PLACEMENT = "placement"  # level of the index of `pairs`

Codes = npt.NDArray[np.int_]


def pairs(run: Run) -> dict[str, pd.DataFrame]:
    """Return ns per request by point, one row per block and one column per arm.

    The index is (placement, block), in the order of the blocks. A sample in which
    no request completed is left out (NaN). Points are in the order of the plan,
    those without a sample left out; arms are in the order of the point.

    Raises:
        DataError: a block has two samples of one arm.

    """
    samples = run.samples
    points, names = _codes(samples["point"])
    arms, labels = _codes(samples["arm"])
    order = np.argsort(points, kind="stable")
    ends = np.searchsorted(points[order], np.arange(len(names) + 1))
    mine = {
        name: order[ends[i] : ends[i + 1]]
        for i, name in enumerate(names)
        if ends[i] < ends[i + 1]
    }
    blocks = samples["block"].to_numpy()
    placements = samples["placement"].fillna(0).to_numpy(dtype=np.int64)
    ns = samples["ns_per_request"].to_numpy(dtype=np.float64)
    return {
        point.name: _pivot(point, placements[at], blocks[at], arms[at], labels, ns[at])
        for point in run.plan.points
        if (at := mine.get(point.name)) is not None
    }


def _codes(texts: pd.Series) -> tuple[Codes, list[str]]:
    """Return a column of few texts as small numbers, and what each stands for."""
    found = texts.astype("category").cat
    # 16 bits are sorted by radix, at a tenth of the time.
    small = np.int16 if len(found.categories) < 1 << 15 else np.int64
    return found.codes.to_numpy(dtype=small), [str(name) for name in found.categories]


def _pivot(  # noqa: PLR0917 - columns of one frame
    point: Point,
    placements: Any,
    blocks: Any,
    arms: Codes,
    labels: list[str],
    ns: stats.Floats,
) -> pd.DataFrame:
    numbers, firsts, rows = np.unique(blocks, return_index=True, return_inverse=True)
    cells = rows * len(labels) + arms
    if np.bincount(cells).max(initial=0) > 1:
        raise DataError(
            f"{point.name}: a block has two samples of one arm; the run is damaged, "
            "take it anew"
        )
    grid = np.full((len(numbers), len(labels)), np.nan)
    grid[rows, arms] = np.where(np.isfinite(ns), ns, np.nan)
    there = {labels[code]: code for code in np.unique(arms)}
    columns = [arm for arm in point.arms if arm in there]
    return pd.DataFrame(
        grid[:, [there[arm] for arm in columns]],
        index=pd.MultiIndex.from_arrays(
            (placements[firsts], numbers), names=(PLACEMENT, "block")
        ),
        columns=pd.Index(columns, name="arm"),
    )


def summary(run: Run) -> pd.DataFrame:
    """Return one row per point and arm, in the order of the plan.

    Columns: point, path (in a situation its place, `sink+mtu=1500`), situation,
    protocol, family, io_size_bytes, batch, given (options that all arms of the point
    share), arm, mode, n (blocks); ns_per_request, ns_low,
    ns_high (ns); requests_per_s; gain_percent, gain_low, gain_high (percent, paired
    within the block, NaN for the baseline);
    saved_ns, saved_low, saved_high (ns, likewise); floor_percent (the noise floor of
    the point); finding; p (sign test), p_holm (adjusted for all comparisons of the
    run, the control's not among them); mde_percent (the gain that is found nine times
    in ten); equivalent (whether the arm differs by less than a point, be it faster,
    slower or neither); n_effective (how many independent blocks the n are worth, as
    the intervals allow for); copied_share, flagged_share, delivered_share (0 to 1, NA
    when unknown);
    witnesses (notifications that copied_share is of, 0 where it is of the timed ones:
    see `flag_note`); cpu_ns_per_request (ns); notifications; warnings (joined by "; ").

    Points without a sample are left out, as they are in a partial run.
    """
    sums = _sums(run)
    by_point = pairs(run)
    stalled = _stalled(run.samples)
    rows = [
        row
        for point in run.plan.points
        if point.name in by_point
        for row in _point_rows(
            point, by_point[point.name], stalled.get(point.name, frozenset())
        )
    ]
    _adjust(rows)
    frame = pd.DataFrame([{**row, **_counted(row, sums)} for row in rows])
    shares = ("copied_share", "flagged_share", "delivered_share")
    return frame.astype({**dict.fromkeys(shares, "Float64"), "n_effective": "Int64"})


def _stalled(samples: pd.DataFrame) -> dict[str, frozenset[int]]:
    """Return by point the blocks in which TCP waited for an ACK in vain."""
    found = samples[samples["tcp_timeouts"].fillna(0) > 0]
    return {
        str(point): frozenset(int(block) for block in mine)
        for point, mine in found.groupby("point")["block"]
    }


def _point_rows(
    point: Point, ns: pd.DataFrame, stalled: frozenset[int] = frozenset()
) -> Iterator[dict[str, Any]]:
    """Yield what the paired costs of one point say, one dictionary per arm."""
    control = _compare(ns, CONTROL, 0.0)
    floor = stats.noise_floor(control.gain if control else None)
    for arm in ns.columns:
        values = ns[arm].dropna()
        if values.empty:
            continue
        cost = _cost(values)
        found = _compare(ns, arm, floor)
        yield {
            **point.factors,
            "path": point.place,
            "given": opts.spell(point.given),
            "arm": arm,
            "mode": str(arm_mode(arm)),
            "n": cost.n,
            "ns_per_request": cost.center,
            "ns_low": cost.low,
            "ns_high": cost.high,
            "requests_per_s": 1e9 / cost.center,  # of the median cost
            **_effect(found, floor),
            "warnings": [
                *cost.warnings,
                *_effect_warnings(arm, found, floor),
                *_stall_warnings(ns, arm, stalled),
            ],
        }


def _stall_warnings(
    ns: pd.DataFrame, arm: str, stalled: frozenset[int]
) -> Iterator[str]:
    """Yield what a point's blocks with a timeout did to the gain of one arm."""
    if not stalled or arm in (BASELINE, CONTROL):
        return
    rest = ns[~ns.index.get_level_values("block").isin(stalled)]
    found = _compare(rest, arm, 0.0)
    told = (
        f"gain {signed(found.gain.center)}% [{signed(found.gain.low)}, "
        f"{signed(found.gain.high)}] without them"
        if found and math.isfinite(found.gain.high)
        else "too few are without"
    )
    # A comma, as warnings are joined by semicolons.
    yield f"{len(stalled)} of {len(ns)} blocks had a TCP timeout, {told}"


def groups(index: pd.Index) -> list[int] | None:
    """Return the placement of each row of `pairs`; None where that is not known."""
    if PLACEMENT not in index.names:
        return None
    found: list[int] = index.get_level_values(PLACEMENT).tolist()
    return found


def _cost(values: pd.Series) -> stats.Interval:
    """Return the median cost with its interval, which dependence widens.

    At most to the range: the host's moods, which pairing cancels, are in it.
    """
    costs = values.to_numpy(dtype=np.float64)
    worth = max(stats.needed(), stats.independent_n(costs, groups(values.index)))
    return stats.median_interval(costs, effective_n=worth)


def _compare(ns: pd.DataFrame, arm: str, floor: float) -> stats.Comparison | None:
    """Return an arm against the baseline, or None where they share no block."""
    if arm == BASELINE or not {arm, str(BASELINE)} <= set(ns.columns):
        return None
    return against(ns, arm, str(BASELINE), floor)


def against(
    ns: pd.DataFrame, arm: str, basis: str, floor: float = 0.0
) -> stats.Comparison | None:
    """Return an arm against another, or None where they share no block.

    Args:
        ns: one of `pairs`.
        arm: a column of it.
        basis: the column that it is compared with.
        floor: the noise floor of the point, in percent.

    """
    both = ns[[arm, basis]].to_numpy(dtype=np.float64)
    known = ~np.isnan(both).any(axis=1)
    if not known.any():
        return None
    return stats.compare(
        both[known, 0],
        both[known, 1],
        groups=groups(ns.index[known]),
        floor_percent=floor,
    )


def _effect(found: stats.Comparison | None, floor: float) -> dict[str, Any]:
    """Return the columns of a row that come from its comparison with the baseline."""
    return {
        **_interval("gain_percent", "gain", found.gain if found else None),
        **_interval("saved_ns", "saved", found.saved if found else None),
        "floor_percent": floor,
        "finding": str(found.verdict) if found else "",
        "p": found.p_sign if found else math.nan,
        "p_holm": math.nan,  # known when all comparisons are
        "mde_percent": found.mde_percent if found else math.nan,
        "equivalent": bool(found and found.equivalent),
        "n_effective": found.effective_n if found else pd.NA,
    }


def _adjust(rows: Sequence[dict[str, Any]]) -> None:
    """Set `p_holm` of the rows, and warn where it takes a finding back."""
    tested = [row for row in rows if row["arm"] not in (BASELINE, CONTROL)]
    adjusted = stats.holm([row["p"] for row in tested])
    count = int((~np.isnan(adjusted)).sum())
    for row, p_holm in zip(tested, adjusted, strict=True):
        row["p_holm"] = float(p_holm)
        if row["finding"] in (FASTER, SLOWER) and p_holm > 1 - stats.CONFIDENCE:
            row["warnings"].append(
                f"chance: among {count} comparisons its p of {p_text(row['p'])} "
                f"is worth {p_text(p_holm)} (Holm)"
            )


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


def _sums(run: Run) -> dict[tuple[str, str], dict[str, int]]:
    """Return the sums of the counters over the blocks, per point and arm."""
    samples = run.samples
    points, names = _codes(samples["point"])
    arms, labels = _codes(samples["arm"])
    each = points.astype(np.int32) * len(labels) + arms
    sizes = np.bincount(each)
    groups = np.flatnonzero(sizes)
    order = np.argsort(each, kind="stable")
    begins = np.cumsum(sizes[groups]) - sizes[groups]
    sums = {
        name: np.add.reduceat(values[order], begins).tolist()
        for name, values in _counters(run)
    }
    return {
        (names[group // len(labels)], labels[group % len(labels)]): {
            name: values[i] for name, values in sums.items()
        }
        for i, group in enumerate(groups.tolist())
    }


def _counters(run: Run) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """Yield the columns that are summed up, 0 where a sample has no value."""
    samples = run.samples

    def whole(name: str) -> npt.NDArray[np.int64]:
        values: npt.NDArray[np.int64]
        values = samples[name].to_numpy(dtype=np.int64, na_value=0)
        return values

    for name in (
        *("requests", "zc_requests", "notifications", "copied", "received_bytes"),
        *("eagain", "failed", "disordered", "short_sends", "cq_overflow"),
        *("witness_notifications", "witness_copied", "responder_lost"),
    ):
        yield name, whole(name)
    yield "empty", (whole("requests") == 0).astype(np.int64)
    untold = (whole("notifications") > 0) & samples["copied"].isna().to_numpy()
    yield "untold", untold.astype(np.int64)
    yield "cpu_ns", processor.sender_cpu_ns(run).astype(np.int64)
    received = samples["received_bytes"].notna().to_numpy()
    yield "sent_bytes", np.where(received, whole("sent_total_bytes"), 0)


def _counted(
    row: dict[str, Any], sums: dict[tuple[str, str], dict[str, int]]
) -> dict[str, object]:
    """Return the columns of a row that are from counters, its warnings completed."""
    mine = sums[row["point"], row["arm"]]
    known = mine["notifications"] and not mine["untold"]
    sent, requests = mine["sent_bytes"], mine["requests"]
    flagged = mine["copied"] / mine["notifications"] if known else pd.NA
    witnesses = mine["witness_notifications"]
    return {
        "copied_share": mine["witness_copied"] / witnesses if witnesses else flagged,
        "flagged_share": flagged,
        "witnesses": witnesses,
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
        ("responder_lost", "packets that the responder's log had no room for"),
    ):
        if mine[counter]:
            yield f"{mine[counter]} {meaning}"
    asked, noted = mine["zc_requests"], mine["notifications"]
    if asked != noted:
        yield f"{noted} notifications for {asked} zerocopy requests"


def _effect_warnings(
    arm: str, found: stats.Comparison | None, floor: float
) -> Iterator[str]:
    if found is None:
        return
    gain = found.gain
    # One control in twenty does this by chance; many of them mean a biased order.
    if arm == CONTROL and gain.excludes_zero:
        yield (
            f"the control differs from {BASELINE}: A/A gain "
            f"[{signed(gain.low)}, {signed(gain.high)}]%"
        )
    elif gain.excludes_zero and abs(gain.center) <= floor < math.inf:
        yield f"noise floor: equal arms differ by up to {floor:.1f} points here"
    for text in found.warnings:
        # That blocks are few is said of the cost; what a control hides, by the floor.
        hidden = arm == CONTROL and text.startswith(stats.TOO_SMALL)
        if text not in gain.warnings and not hidden:
            yield text


_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_SIGNED = re.compile(r"[+-]\d")


def warnings(frame: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Return each warning of some rows of `summary`, and the `point arm` it is about.

    Warnings that differ in plain numbers only are one, with the range of each number.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for row in frame[frame["warnings"] != ""].itertuples():
        for text in str(row.warnings).split("; "):
            # A range of signed numbers would hide which belong together.
            alike = text if _SIGNED.search(text) else _NUMBER.sub("#", text)
            found.setdefault(alike, []).append((text, f"{row.point} {row.arm}"))
    return [
        (_ranged([text for text, _ in each]), [at for _, at in each])
        for each in found.values()
    ]


def range_text(values: pd.Series) -> str:
    """Return the least and the largest of whole numbers, like `66 to 1761`."""
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"


def _ranged(texts: Sequence[str]) -> str:
    """Return texts that differ in numbers as one, with a range where they differ."""
    columns = zip(*(_NUMBER.findall(text) for text in texts), strict=True)
    ends = iter([(min(c, key=float), max(c, key=float)) for c in columns])

    def span(_: re.Match[str]) -> str:
        low, high = next(ends)
        return low if float(low) == float(high) else f"{low} to {high}"

    return _NUMBER.sub(span, texts[0])


def where(row: pd.Series) -> str:
    """Return place, protocol, family, batch and options of a row of `summary`."""
    given = f", {row['given']}" if row["given"] else ""
    return (
        f"{row['path']}, {row['protocol'].upper()}/IPv{row['family']}, "
        f"batch {row['batch']}{given}"
    )


def signed(value: float, digits: int = 1) -> str:
    """Return a number with its sign, in ASCII; a rounded zero has a plus."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "+") if float(text) == 0 else text


def p_text(p: float) -> str:
    """Return a p value in two digits, `<0.0001` below that, or a dash where none is."""
    if math.isnan(p):
        return "-"
    return "<0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def mde_text(mde: float) -> str:
    """Return a minimum detectable effect in points, or a dash where there is none."""
    return "-" if not math.isfinite(mde) else f"{mde:.1f}" if mde >= 0.05 else "<0.1"


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


def flag_note(rows: pd.DataFrame) -> str:
    """Return in a sentence what the copied share of some rows is of; mostly nothing.

    Over TCP the flag also marks requests that shared an skb with another, copied or
    not. There the share is that of requests that were sent beside the timed ones, each
    with an skb of its own. Where both shares are alike nothing needs to be said.
    """
    over = (rows["flagged_share"] - rows["copied_share"]).fillna(0) > ZEROCOPY_BELOW
    mine = rows[(rows["witnesses"] > 0) & over]
    if mine.empty:
        return ""
    places = ", ".join(dict.fromkeys(mine["path"]))
    return (
        f"Copied on {places} is of MSG_EOR requests beside the timed slices, as since "
        "Linux 6.10 those that share an skb are flagged, too; flagged when timed: "
        f"{shares_text(mine['flagged_share'])}."
    )


def grid(rows: Sequence[tuple[str, ...]], left: tuple[int, ...] = ()) -> str:
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


def percent_text(value: float) -> str:
    """Return a published percent in its own precision, or a dash."""
    if math.isnan(value):
        return "-"
    digits = 0 if float(value).is_integer() else 1
    return f"{signed(value, digits)}%"


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
    return grid(lines)


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
    return grid(lines, left=(1,))


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
    something receives or acknowledges, `flagged` only where `copied` is by witness, and
    `options` (those that all arms of a point share) only where a point has some.

    Args:
        frame: what `summary` returned.
        path: name of the path, or of the place.

    """
    frame = frame[frame["path"] == path]
    readable = pd.DataFrame(
        {
            "protocol": [f"{r.protocol.upper()}/IPv{r.family}" for r in _rows(frame)],
            "IO size [B]": [str(r.io_size_bytes) for r in _rows(frame)],
            "batch": [str(r.batch) for r in _rows(frame)],
            "options": [r.given for r in _rows(frame)],
            "arm": [r.arm for r in _rows(frame)],
            "requests/s": [f"{r.requests_per_s:,.0f}" for r in _rows(frame)],
            "ns/request": [f"{r.ns_per_request:.0f}" for r in _rows(frame)],
            "gain vs send [95 %]": [gain_text(r) for _, r in frame.iterrows()],
            "saved ns [95 %]": [saved_text(r) for _, r in frame.iterrows()],
            "copied": [
                share_text(r.copied_share) if r.notifications else "-"
                for r in _rows(frame)
            ],
            "flagged": [
                share_text(r.flagged_share) if r.witnesses else "-"
                for r in _rows(frame)
            ],
            "delivered": [
                "-" if pd.isna(r.delivered_share) else share_text(r.delivered_share)
                for r in _rows(frame)
            ],
            "CPU ns/request": [f"{r.cpu_ns_per_request:.0f}" for r in _rows(frame)],
            "finding": [r.finding or "-" for r in _rows(frame)],
            "p (Holm)": [p_text(r.p_holm) for r in _rows(frame)],
            "MDE [points]": [mde_text(r.mde_percent) for r in _rows(frame)],
            "n": [str(r.n) for r in _rows(frame)],
        }
    )
    empty = {
        "options": (frame["given"] == "").all(),
        "delivered": frame["delivered_share"].isna().all(),
        "flagged": (frame["witnesses"] == 0).all(),
    }
    return readable.drop(columns=[name for name, is_so in empty.items() if is_so])


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
