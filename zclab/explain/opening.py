"""The five sentences that a report opens with, for a reader who has one minute.

Where it was measured, the February 2025 case, v5's dummy rows, from what size on
zerocopy pays, and what to do. Each is made from the run, with its n and intervals;
where the run cannot say one of them, the sentence says what would.
"""

import math
from collections.abc import Iterator

import pandas as pd

from zclab.explain import claims, cost, facts, published, table, v5
from zclab.params import BASELINE, CONTROL, Mode
from zclab.store import Run

FIXED, PINNED = str(Mode.SEND_ZC_FIXED), str(Mode.SEND_ZC)
SERIES = 2  # of break-even sizes, named at most


def sentences(run: Run, frame: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """Return the five sentences.

    Args:
        run: what is reported.
        frame: what `table.summary` returned of it.
        compared: what `claims.compared` returned of both.

    """
    return [
        _where(run, frame),
        _february(frame, compared),
        _dummy(compared),
        _pays(run, frame),
        _advice(run, frame),
    ]


def _where(run: Run, frame: pd.DataFrame) -> str:
    release = facts.lookup(run.host, "kernel", "release") or "of unknown release"
    model = facts.lookup(run.host, "cpu", "model")
    host = f"Linux {release}"
    if facts.lookup(run.host, "hypervisor"):
        host += " in a VM"
    if model:
        host += f", {model}"
    return (
        f"{host}: SEND_ZC against SEND at {frame['point'].nunique()} points "
        f"(n={_range(frame['n'])} blocks each), {_copies(frame)}."
    )


def _copies(frame: pd.DataFrame) -> str:
    """Return on which places it was zerocopy, by its notifications."""
    zc = frame[frame["notifications"] > 0]
    words: dict[str, list[str]] = {}
    for place, mine in zc.groupby("path", sort=False):
        shares = mine["copied_share"]
        if shares.isna().any():
            word = "not known to be zerocopy or not"
        elif shares.max() < table.ZEROCOPY_BELOW:
            word = f"zerocopy ({table.shares_text(shares)} copied)"
        elif shares.min() >= table.COPIED_FROM:
            word = f"copied all the same ({table.shares_text(shares)})"
        else:
            word = f"in part zerocopy ({table.shares_text(shares)} copied)"
        words.setdefault(word, []).append(str(place))
    if not words:
        return "but no zerocopy mode among them"
    told = (f"{word} on {_listed(places)}" for word, places in words.items())
    return "; ".join(told)


def _february(frame: pd.DataFrame, compared: pd.DataFrame) -> str:
    rows = compared[compared["table"] == v5.SELFTEST]
    here = rows[rows["point"] != ""]
    if here.empty:
        columns = rows["column"].iloc[0]
        size = int(rows["io_size_bytes"].iloc[0])
        command = published.command(v5.SELFTEST, [size], columns)
        return (
            f"The February 2025 case is not in this run; this measures it: {command}."
        )
    parts = [
        f"{row['column']} {v5.ratio_text(row)} of plain send here, "
        f"{row['published_ratio']:.3f} then"
        for _, row in here.iterrows()
    ]
    return (
        f"The February 2025 selftest (veth, {here['io_size_bytes'].iloc[0]} B, "
        f"n={_range(here['n'])}): {_tally(here['verdict'])}; {'; '.join(parts)}; "
        f"{table.shares_text(here['copied_share'])} copied{_without_receiver(frame)}."
    )


def _without_receiver(frame: pd.DataFrame) -> str:
    """Return what the same send gains where nothing receives, as a clause."""
    rows = claims.judged(claims.cause(frame))
    rows = rows[rows["path"] == "sink"].sort_values("order")
    if rows.empty:
        return ""
    row = rows.iloc[0]
    return (
        f"; the same {row['arm']} into a sink, with no receiver: "
        f"{table.gain_text(row)} with {table.share_text(row['copied_share'])} copied "
        f"(n={row['n']})"
    )


def _dummy(compared: pd.DataFrame) -> str:
    rows = compared[
        (compared["table"] == "v5-dummy") & (compared["column"] == "zc + flush")
    ]
    here = rows[rows["point"] != ""].sort_values("io_size_bytes", ascending=False)
    if here.empty:
        sizes = [int(size) for size in rows["io_size_bytes"]]
        command = published.command("v5-dummy", sizes, "zc + flush")
        return f"v5's dummy rows are not in this run; this measures them: {command}."
    ends = here.iloc[sorted({0, len(here) - 1})]
    parts = [
        f"{row['io_size_bytes']} B {table.gain_text(row)} here, "
        f"{table.percent_text(row['published_percent'])} then, which is "
        f"{table.saved_text(row)} ns saved here and "
        f"{table.signed(row['published_saved_ns'], 0)} then"
        for _, row in ends.iterrows()
    ]
    return (
        f"v5's dummy rows with a notification per request (n={_range(here['n'])}): "
        f"{_tally(here['verdict'])} in percent, {_tally(here['verdict_ns'])} in ns "
        f"saved; {'; '.join(parts)}{_bound(here)}."
    )


def _bound(here: pd.DataFrame) -> str:
    reasons = [text for text in here["reason_ns"] if text]
    if not reasons:
        return ""
    return f"; {reasons[0][:1].lower()}{reasons[0][1:].rstrip('.')}"


def _pays(run: Run, frame: pd.DataFrame) -> str:
    found = cost.break_even(run)
    if len(found):
        kept = [_kept(frame, row) for row in found.to_dict("records")]
        found = found[kept]
    if found.empty:
        return (
            "From what size on zerocopy pays this run cannot say: it has no three "
            "sizes alike on a path that kept zerocopy; this can: zclab report "
            "--profile cost."
        )
    keys = ["path", "situation", "protocol", "family", "batch", "given"]
    parts = []
    for _, mine in list(found.groupby(keys, sort=False))[:SERIES]:
        first = mine.iloc[0]
        at = "; ".join(
            f"{row['arm']} {cost.break_even_text(row)}"
            for row in mine.sort_values("arm", ascending=False).to_dict("records")
            if row["arm"] in (FIXED, PINNED)
        )
        rows = frame[_alike(frame, first)]
        parts.append(
            f"on {table.where(rows.iloc[0])} (n={_range(rows['n'])}): {at or 'unknown'}"
        )
    return f"Zerocopy pays from this size on, {', and '.join(parts)}."


def _alike(frame: pd.DataFrame, row: "pd.Series | dict[object, object]") -> "pd.Series":
    """Return which rows of a summary are of a series."""
    same = frame["path"].str.partition("+")[0] == row["path"]
    for name in ("situation", "protocol", "family", "batch", "given"):
        same &= frame[name] == row[name]
    return same


def _kept(frame: pd.DataFrame, row: "dict[object, object]") -> bool:
    """Return whether an arm of a series is known to have been zerocopy."""
    mine = frame[_alike(frame, row) & (frame["arm"] == row["arm"])]["copied_share"]
    return bool(len(mine) and mine.notna().all() and mine.max() < table.ZEROCOPY_BELOW)


def _advice(run: Run, frame: pd.DataFrame) -> str:
    parts = [*_avoid(frame), *_register(run, frame)]
    if not parts:
        return (
            "What to do this run cannot say: no path in it is known to have copied or "
            "to have kept zerocopy; this can: zclab report."
        )
    return (
        f"What to do: {'; '.join(parts)}; and before any number, ask for "
        "IORING_SEND_ZC_REPORT_USAGE and see whether it was zerocopy at all."
    )


def _avoid(frame: pd.DataFrame) -> Iterator[str]:
    """Yield where plain send is the better one: it is copied and slower."""
    rows = frame[~frame["arm"].isin([BASELINE, CONTROL]) & (frame["notifications"] > 0)]
    copied = rows[rows["copied_share"].fillna(0) >= table.COPIED_FROM]
    slower = copied[copied["finding"] == table.SLOWER]
    if slower.empty:
        return
    worst = slower.loc[slower["gain_percent"].idxmin()]
    yield (
        f"send plainly on {_listed(list(dict.fromkeys(slower['path'])))}, where all is "
        f"copied and the notification paid on top (slower in {len(slower)} of "
        f"{len(copied)}, at worst {table.gain_text(worst)}: {worst['arm']}, "
        f"{worst['io_size_bytes']} B, {worst['path']}, n={worst['n']})"
    )


def _register(run: Run, frame: pd.DataFrame) -> Iterator[str]:
    """Yield where zerocopy wins and loses uncopied, and what registering adds there."""
    rows = frame[frame["copied_share"].notna()]
    rows = rows[rows["copied_share"] < table.ZEROCOPY_BELOW]
    fixed = rows[rows["arm"] == FIXED]
    wins = fixed[fixed["finding"] == table.FASTER]
    if fixed.empty:
        return
    if wins.empty:
        best = fixed.loc[fixed["gain_percent"].idxmax()]
        yield (
            "send plainly at the sizes of this run: a registered buffer won nowhere, "
            f"though nothing was copied; its best was {_at(best)}"
        )
        return
    told = [
        _by_size(mine[mine["finding"] == table.FASTER], mine)
        for _, mine in fixed.groupby("protocol", sort=False)
        if (mine["finding"] == table.FASTER).any()
    ]
    text = f"where nothing is copied send from a registered buffer: {', '.join(told)}"
    least = wins.loc[wins["io_size_bytes"].idxmin()]
    ns = table.pairs(run).get(str(least["point"]))
    both = ns is not None and {FIXED, PINNED} <= set(ns.columns)
    found = table.against(ns, FIXED, PINNED) if ns is not None and both else None
    if found and math.isfinite(found.saved.low):
        text += (
            f" (registering saves {found.saved.center:.0f} "
            f"[{found.saved.low:.0f}, {found.saved.high:.0f}] ns of a request at "
            f"{least['io_size_bytes']} B, {least['path']}, n={least['n']})"
        )
    yield text


def _by_size(wins: pd.DataFrame, all_sizes: pd.DataFrame) -> str:
    """Return the smallest size that wins over one protocol, and the largest that loses.

    Args:
        wins: its rows that are faster, one at least.
        all_sizes: all its rows of the mode.

    """
    least = wins.loc[wins["io_size_bytes"].idxmin()]
    text = f"over {str(least['protocol']).upper()} {_at(least)}"
    losses = all_sizes[all_sizes["finding"] == table.SLOWER]
    if losses.empty:
        return text
    return f"{text}, but not {_at(losses.loc[losses['io_size_bytes'].idxmax()])}"


def _at(row: pd.Series) -> str:
    return (
        f"at {row['io_size_bytes']} B ({table.gain_text(row)}, {row['path']}, "
        f"n={row['n']})"
    )


def _tally(verdicts: pd.Series) -> str:
    counts = ((word, int((verdicts == word).sum())) for word in claims.VERDICTS)
    return ", ".join(f"{count} {word}" for word, count in counts if count)


def _listed(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _range(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"
