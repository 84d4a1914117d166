"""What a run shows, in sentences: each is computed, with its interval and n.

Was it zerocopy, where does it win and lose, what is of both mails, and why. The words
follow the numbers: what the kernel copied is not called zerocopy, and a cause is given
only where the copied shares tell it. Verdicts on published rows are those of `claims`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from zclab import stats
from zclab.explain import breakdown, claims, facts, published, table
from zclab.params import BASELINE, Mode
from zclab.store import Run

ANSWER = "408e230c-d098-4ecf-a5b1-1fae9daadb93@gmail.com"
NO_RECEIVER = "veth+peer-drop"  # the place that is veth but for its receiver
LEAST_SHARE = 0.05  # of what is lost; buckets with less are not named


def sentences(run: Run, frame: pd.DataFrame) -> list[str]:
    """Return the findings in words, most important first; all of it is computed.

    Partial run, copied share by path, wins, losses, what differs by less than a
    point, no difference, what holds for all comparisons together, February 2025, v5,
    and the cause where veth and sink were both measured at the selftest's
    size. A part that the run has nothing on is one short sentence or left out.

    Args:
        run: what the sentences are on.
        frame: what `table.summary` returned of it.

    """
    rows = claims.compared(frame, run)
    return [
        *_partial(run),
        *_copied(run, frame),
        *_findings(frame, table.FASTER, "wins"),
        *_findings(frame, table.SLOWER, "loses"),
        *equivalents(frame),
        *_no_difference(frame),
        *as_a_whole(frame),
        *_selftest(rows),
        *causes(frame, rows, breakdown.of_host(run)),
        *_v5(rows, run),
    ]


def causes(
    frame: pd.DataFrame,
    rows: pd.DataFrame,
    seen: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """Return why veth and sink differ, and how cost grows with size, in words.

    Args:
        frame: what `table.summary` returned.
        rows: what `claims.compared` returned.
        seen: what `breakdown.of_host` returned; without one of veth the sentence
            names the command that makes it.

    """
    return [*why(frame, seen), *_by_size(frame, rows)]


def _partial(run: Run) -> Iterator[str]:
    if not run.complete:
        yield (
            f"This run is partial: {run.blocks_done} of {run.plan.total_blocks} "
            "planned blocks are in it."
        )


def judged(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `summary` that wins and losses are told from.

    `mixed` is one only where a point has neither of the modes that it mixes: a
    mixture wins or loses by its parts.
    """
    pure = (str(Mode.SEND_ZC_FIXED), str(Mode.SEND_ZC))
    zc = frame[frame["mode"].isin([str(mode) for mode in Mode if mode.zerocopy])]
    has_pure = zc.groupby("point")["arm"].transform(lambda arms: arms.isin(pure).any())
    kept = zc[zc["arm"].isin(pure) | ~has_pure.astype(bool)]
    return kept.assign(order=kept["arm"].map({arm: i for i, arm in enumerate(pure)}))


def _findings(frame: pd.DataFrame, finding: str, verb: str) -> Iterator[str]:
    """Yield one sentence per path, protocol, family and batch with that finding."""
    rows = judged(frame)
    rows = rows[rows["finding"] == finding]
    if rows.empty:
        yield f"SEND_ZC {verb} at no measured point."
        return
    keys = ["path", "protocol", "family", "batch", "given"]
    for _, group in rows.groupby(keys, sort=False):
        parts = [
            _effects(arm, mine)
            for arm, mine in group.sort_values("order", kind="stable").groupby(
                "arm", sort=False
            )
        ]
        first = group.iloc[0]
        yield (
            f"SEND_ZC {verb} on {table.where(first)}: {'; '.join(parts)} "
            f"(against send, n={table.range_text(group['n'])} blocks){_though(group)}."
        )


def _effects(arm: object, rows: pd.DataFrame) -> str:
    """Return the effects of one arm over its sizes, its smallest and largest."""
    rows = rows.sort_values("io_size_bytes")
    if len(rows) <= 2:
        return f"{arm} " + " and ".join(
            f"{table.gain_text(row)} at {row['io_size_bytes']} B"
            for _, row in rows.iterrows()
        )
    by_size = rows.sort_values("gain_percent", key=abs, kind="stable")
    least, most = by_size.iloc[0], by_size.iloc[-1]
    sizes = [str(size) for size in rows["io_size_bytes"]]
    if len(sizes) > 4:
        named = f"{len(sizes)} sizes from {sizes[0]} to {sizes[-1]} B"
    else:
        named = f"{', '.join(sizes[:-1])} and {sizes[-1]} B"
    return (
        f"{arm} at {named}, "
        f"from {table.gain_text(least)} at {least['io_size_bytes']} B "
        f"to {table.gain_text(most)} at {most['io_size_bytes']} B"
    )


def _though(rows: pd.DataFrame) -> str:
    """Return a clause that keeps copied sends from being called zerocopy."""
    shares = rows["copied_share"].dropna()
    if not len(shares) or shares.max() < table.ZEROCOPY_BELOW:
        return ""
    if shares.min() >= table.COPIED_FROM:
        return f"; but the kernel copied these ({table.share_text(shares.min())})"
    return f"; but up to {table.share_text(shares.max())} of these say copied"


def equivalents(frame: pd.DataFrame) -> Iterator[str]:
    """Yield one sentence on what differs from send by less than a point, if any."""
    rows = judged(frame)
    rows = rows[rows["finding"] == table.EQUIVALENT]
    if not rows.empty:
        yield f"Differs from send by less than 1 point: {_listed(rows)}."


def _no_difference(frame: pd.DataFrame) -> Iterator[str]:
    rows = judged(frame)
    rows = rows[rows["finding"] == table.NO_DIFFERENCE]
    if rows.empty:
        return
    seen = rows["mde_percent"].max()
    missed = ""
    if seen < math.inf:
        missed = f" Gains below {seen:.1f} points are often missed there."
    yield f"No difference found: {_listed(rows)}.{missed}"


def _listed(rows: pd.DataFrame) -> str:
    return "; ".join(
        f"{row['arm']} at {row['io_size_bytes']} B on {table.where(row)} "
        f"({table.gain_text(row)}, n={row['n']})"
        for _, row in rows.iterrows()
    )


def as_a_whole(frame: pd.DataFrame) -> Iterator[str]:
    """Yield one sentence on which findings hold for all comparisons together.

    All arms count, `mixed` as well; the sentence says so where there is one.
    """
    tested = frame[frame["p_holm"].notna()]
    decided = tested[tested["finding"].isin([table.FASTER, table.SLOWER])]
    if decided.empty:
        return
    lost = decided[decided["p_holm"] > 1 - stats.CONFIDENCE]
    words = "all of these hold"
    if len(lost) > 4:
        words = f"{len(decided) - len(lost)} of these hold"
    elif len(lost):
        names = ", ".join(f"{row.arm} at {row.point}" for row in lost.itertuples())
        words = f"these hold but for {names}"
    mixed = ", mixed included," if (tested["mode"] == Mode.MIXED).any() else ""
    yield (
        f"Of {len(tested)} comparisons with send{mixed} {len(decided)} are faster or "
        "slower; "
        f"{words} at 5% for the run as a whole (sign test, Holm)."
    )


def _copied(run: Run, frame: pd.DataFrame) -> Iterator[str]:
    """Yield one sentence on whether it was zerocopy at all, path by path."""
    by_path = frame[frame["notifications"] > 0].groupby("path", sort=False)
    parts = [_copied_on(run, path, group) for path, group in by_path]
    if parts:
        text = "; ".join(parts)
        yield f"Was it zerocopy at all? {text[0].upper()}{text[1:]}."


def _copied_on(run: Run, path: object, group: pd.DataFrame) -> str:
    shares = group["copied_share"]
    if shares.isna().any():
        asked = run.plan.report_usage
        why = "the kernel does not report it" if asked else "it was not asked for"
        return f"on {path} unknown: {why}"
    # A share by witness is of the witnesses, however many were timed.
    witnessed = group["witnesses"] > 0
    counted = group["witnesses"].where(witnessed, group["notifications"])
    total = int(counted.sum())
    mean = float((shares * counted).sum()) / total
    what = f"{total} notifications"
    if witnessed.any():
        over = "" if witnessed.all() else ", over TCP those"
        what += f"{over} of requests with MSG_EOR beside the timed slices,"
    said = f"{table.share_text(mean)} of {what} say copied"
    if shares.max() < table.ZEROCOPY_BELOW:
        return f"on {path} yes: {said}"
    if shares.min() >= table.COPIED_FROM:
        return f"on {path} no: {said}"
    return f"on {path} in part: {said}{_by_point(group)}"


def _by_point(group: pd.DataFrame) -> str:
    """Return the copied share of each point, and what a share over TCP is worth."""
    parts = [
        f"{point} {table.shares_text(rows['copied_share'])}"
        for point, rows in group.groupby("point", sort=False)
    ]
    text = f" ({', '.join(parts)}"
    # Since 6.10 requests that share an skb are chained, and only the chain's head
    # is marked used (io_uring/notif.c: io_link_skb, io_tx_ubuf_complete). A witness
    # has an skb of its own.
    by_flag = (group["protocol"] == "tcp") & (group["witnesses"] == 0)
    if (by_flag & (group["copied_share"] < 1)).any():
        text += "; over TCP a share below 100% also counts sends that shared an skb"
    return f"{text})"


def _v5(rows: pd.DataFrame, run: Run) -> Iterator[str]:
    dummy = rows[(rows["table"] == "v5-dummy") & (rows["column"] == "zc + flush")]
    here = dummy[dummy["point"] != ""]
    if here.empty:
        yield "The v5 cover letter cannot be compared: no sink point at its sizes."
        return
    yield (
        "Against v5's dummy table, column zc + flush "
        f"(n={table.range_text(here['n'])}): "
        f"{claims.tally(dummy['verdict'])}. "
        + "; ".join(
            _beside(row, f"{row['io_size_bytes']} B") for _, row in here.iterrows()
        )
        + f". {unlike(run)}"
    )
    parts = [
        f"{row['io_size_bytes']} B {table.signed(row['published_saved_ns'], 0)} then, "
        f"{table.saved_text(row)} here"
        for _, row in here.iterrows()
    ]
    yield (
        "In ns saved per request, which depend on what a copy, a page and a "
        f"notification cost here: {claims.tally(dummy['verdict_ns'])}. "
        f"{'; '.join(parts)}."
    )


# What a sink has more or less than dummy, by its rung, or its kind where none is known.
_UNLIKE_DUMMY = {
    "dummy": "the device is alike",
    "ifb": "the sink is an ifb, which takes one transmit lock more than dummy",
    "veth-drop": "the sink is a veth pair, and packets go on to the peer's ingress",
    "veth-down": "the sink is a veth pair with the peer down, which frees the packet "
    "in its transmit function as dummy does",
}


def unlike(run: Run) -> str:
    """Return what sets this run apart from v5's dummy table, as far as it is known."""
    sink = facts.lookup(run.host, "paths", "sink") or {}
    rung = sink.get("rung") or sink.get("kind")
    other = f"the sink is a {rung}" if rung else "the sink's device was not recorded"
    parts = [_UNLIKE_DUMMY.get(str(rung), other)]
    if run.host.get("hypervisor"):
        parts.append("this is a VM")
    parts.append("v5's batch, flags and hardware are not stated")
    return f"Not alike: {'; '.join(parts)}."


def _by_size(frame: pd.DataFrame, rows: pd.DataFrame) -> Iterator[str]:
    """Yield how cost grows with size, then and here: the claim behind the percents."""
    here = rows[(rows["table"] == "v5-dummy") & (rows["point"] != "")]
    here = here.sort_values("io_size_bytes")
    if len(here) < 2:
        return
    small, large = here.iloc[0], here.iloc[-1]
    cells = published.cells()
    cells = cells[cells["table"] == "v5-dummy"]
    then = 1e9 / cells.set_index(["io_size_bytes", "column"])["value"]
    ours = frame.set_index(["point", "arm"])
    twin = published.TWINS["v5-dummy"]
    arms = (str(BASELINE), small["arm"])
    ends = [(end["point"], arm) for end in (small, large) for arm in arms]
    if not ours.loc[ends, "ns_high"].lt(math.inf).all():
        return  # so few blocks have no interval
    parts = []
    for column, arm in zip((twin.baseline, small["column"]), arms, strict=True):
        costs = [
            claims.cost_text(row)
            for row in (ours.loc[(end["point"], arm)] for end in (small, large))
        ]
        theirs = (then[(end["io_size_bytes"], column)] for end in (small, large))
        parts.append(
            f"{column} from {' to '.join(f'{ns:.0f}' for ns in theirs)} ns then, "
            f"{arm} from {' to '.join(costs)} ns here"
        )
    yield (
        f"Shape: from {small['io_size_bytes']} to {large['io_size_bytes']} B the cost "
        f"of a request went: {'; '.join(parts)} (n={table.range_text(here['n'])})."
    )


def _beside(row: pd.Series, label: str) -> str:
    said = table.percent_text(round(row["published_percent"], 1))
    return f"{label}: {said} then, {table.gain_text(row)} here ({row['verdict']})"


def _selftest(rows: pd.DataFrame) -> Iterator[str]:
    mine = rows[rows["table"] == "feb2025-selftest"]
    here = mine[mine["point"] != ""]
    if here.empty:
        yield (
            "The February 2025 mail cannot be compared: its selftest's point "
            "(veth, UDP/IPv6, batch 64) is not in this run."
        )
        return
    parts = "; ".join(_beside(row, row["column"]) for _, row in here.iterrows())
    yield (
        f"Against the February 2025 selftest (veth, UDP/IPv6, "
        f"{here.iloc[0]['io_size_bytes']} B, batch 64, "
        f"n={table.range_text(here['n'])}): {parts}."
    )


def cause(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `summary` that tell the cause: one point on veth and on sink.

    They are alike in protocol, family, size and batch, those of the selftest's table,
    and only the receiver differs. Empty unless both points were measured.
    """
    twin = published.TWINS["feb2025-selftest"]
    told = published.claims()
    size = told.loc[told["table"] == "feb2025-selftest", "io_size_bytes"].iloc[0]
    alike = frame[
        frame["path"].isin(["veth", "sink"])
        & (frame["protocol"] == twin.protocol)
        & (frame["family"] == twin.family)
        & (frame["io_size_bytes"] == size)
        & (frame["batch"] == twin.batch)
        & (frame["given"] == "")
    ]
    return alike if alike["path"].nunique() == 2 else alike.iloc[:0]


def why(
    frame: pd.DataFrame, seen: Sequence[Mapping[str, Any]] | None = None
) -> Iterator[str]:
    """Yield why veth and sink differ, if both were measured; arguments as `causes`.

    Without `seen` nothing is said of the parts of the difference.
    """
    rows = judged(cause(frame))
    both = {
        arm: group.set_index("path")
        for arm, group in rows.sort_values("order").groupby("arm", sort=False)
        if group["path"].nunique() == 2
    }
    if not both:
        return
    arm, ours = next(iter(both.items()))
    veth, sink = ours.loc["veth"], ours.loc["sink"]
    told = (
        f"{veth['io_size_bytes']} B {arm} over UDP/IPv{veth['family']}, batch "
        f"{veth['batch']}, is {table.gain_text(veth)} against send on veth with "
        f"{_share(veth)} of notifications copied ({table.signed(veth['saved_ns'], 0)} "
        f"ns saved), and {table.gain_text(sink)} on the sink with {_share(sink)} "
        f"({table.signed(sink['saved_ns'], 0)} ns; n={table.range_text(ours['n'])})"
    )
    others = _unreceived(frame, veth)
    for _, row in others.iterrows():
        told += (
            f"; on veth with a peer that drops before IP {table.gain_text(row)} with "
            f"{_share(row)} ({table.signed(row['saved_ns'], 0)} ns; n={row['n']})"
        )
    uncopied = max([sink["copied_share"], *others["copied_share"]], key=_or_all)
    copied = (veth["copied_share"], uncopied)
    if pd.isna(copied[0]) or pd.isna(copied[1]):
        yield f"Why is open, as the copied share is unknown: {told}."
    elif copied[0] >= table.COPIED_FROM and copied[1] < table.ZEROCOPY_BELOW:
        parts = "" if seen is None else f" {_parts(veth, seen)}"
        yield (
            f"Why: {told}. That is the cause that the patches' author named in the "
            f"thread ({ANSWER}): on the way to a local socket skb_orphan_frags_rx() "
            "allocates pages and copies into them, and the notification is due all the "
            f"same.{parts}"
        )
    else:
        yield f"The copied shares do not explain the difference: {told}."


def _unreceived(frame: pd.DataFrame, veth: pd.Series) -> pd.DataFrame:
    """Return the row of the same send over veth without a receiver, if any."""
    alike = frame["path"] == NO_RECEIVER
    for name in ("protocol", "family", "io_size_bytes", "batch", "given", "arm"):
        alike &= frame[name] == veth[name]
    return frame[alike]


def _parts(veth: pd.Series, seen: Sequence[Mapping[str, Any]]) -> str:
    """Return what perf saw the loss over veth go to, or what would see it."""
    arm, plain = str(veth["arm"]), str(BASELINE)
    for one in seen:
        if one["name"] != veth["point"]:
            continue
        ns = breakdown.frame(one).pivot_table(
            index="bucket", columns="arm", values="ns"
        )
        if not {arm, plain} <= set(ns.columns):
            continue
        more = (ns[arm] - ns[plain]).sort_values(ascending=False, kind="stable")
        lost = float(more.sum())
        named = more[more > lost * LEAST_SHARE]
        if lost <= 0:
            continue
        most = named[: int((named.cumsum() <= lost / 2).sum()) + 1]
        told = ", ".join(f"{bucket} {ns:+.0f}" for bucket, ns in named.items())
        said = (
            f"perf, apart from these samples and without an interval (zclab "
            f"breakdown), has {arm} {lost:+.0f} ns dearer than send on veth: {told}."
        )
        if named.sum() > lost / 2:
            said += f" So most of it is {' and '.join(most.index)}."
        return said
    return (
        "Its parts were not measured apart; this does: zclab breakdown --path veth "
        f"--protocol {veth['protocol']} --family {veth['family']} "
        f"--sizes {veth['io_size_bytes']} --batch {veth['batch']}."
    )


def _or_all(share: Any) -> float:
    """Return a copied share to rank by; what is not known may be all."""
    return math.inf if pd.isna(share) else float(share)


def _share(row: pd.Series) -> str:
    return table.share_text(row["copied_share"])
