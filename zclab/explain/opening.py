"""The five sentences that a report opens with, for a reader who has one minute.

Where it was measured, the February 2025 case, v5's dummy rows, from what size on
zerocopy pays, and what to do. Each is made from the run, with its n and intervals;
where the run cannot say one of them, the sentence says what would.
"""

from collections.abc import Iterator

import pandas as pd

from zclab.explain import (
    bottleneck,
    claims,
    conclusions,
    cost,
    facts,
    joined,
    published,
    table,
    v5,
)
from zclab.params import BASELINE, CONTROL, Mode, Path
from zclab.store import Run

FIXED, PINNED = str(Mode.SEND_ZC_FIXED), str(Mode.SEND_ZC)
SERIES = 2  # of break-even sizes, named at most
SETUP = ["path", "situation", "protocol", "family", "batch", "given"]
LOCAL = ("lo", "veth")  # places whose packets end at a socket of this host
BY_PRECISION = "precision"  # the reason of a point that stopped by its interval


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
        _dummy(frame, compared),
        _pays(run, frame),
        _advice(run, frame),
    ]


def brief(run: Run, frame: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """Return the sentences without what a mail tells elsewhere, which has all tables.

    That is from what size on zerocopy pays, as the last sentence has sizes, too, and
    what February's sends are without a receiver.
    """
    return [
        _where(run, frame),
        _february(frame, compared, whole=False),
        _dummy(frame, compared),
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
    points = frame["point"].nunique()
    text = (
        f"{host}: {points} point{'s' * (points != 1)}, "
        f"n={table.range_text(frame['n'])} blocks each{_worth(frame)}{_reached(run)}"
    )
    zc = frame[frame["notifications"] > 0]
    if zc.empty:
        return f"{text}; no zerocopy mode among them."
    return "; ".join([text, *_defined(zc)]) + "."


def _worth(frame: pd.DataFrame) -> str:
    """Return how many independent blocks the intervals rest on, where it is fewer."""
    known = frame[frame["n_effective"].notna()]
    if known.empty or (known["n_effective"] >= known["n"]).all():
        return ""
    return f", worth {table.range_text(known['n_effective'])} independent ones"


def _reached(run: Run) -> str:
    """Return how many points reached the precision asked for; nothing if all did."""
    told = [
        (part.plan.stop.precision, part.stopped[point.name]["reason"])
        for part in joined.parts(run)
        if part.plan.stop
        for point in part.plan.points
        if point.name in part.stopped
    ]
    if not told:
        return ""
    count = sum(reason == BY_PRECISION for _, reason in told)
    if count == len(told):
        return ""
    asked = " or ".join(f"{each:g}" for each in sorted({each for each, _ in told}))
    return f", time ended {len(told) - count} of {len(told)} before +-{asked} points"


def _defined(zc: pd.DataFrame) -> Iterator[str]:
    """Yield what copied means, by the flag or by witness; nothing if it is unknown.

    Args:
        zc: the rows that have notifications.

    """
    if zc["copied_share"].isna().all():
        return
    text = "copied: notifications with IORING_NOTIF_USAGE_ZC_COPIED"
    beside = "of MSG_EOR requests sent beside the timed slices"
    witnessed = zc["witnesses"] > 0
    if witnessed.all():
        yield f"{text}, {beside}"
    elif not witnessed.any():
        yield text
    else:
        tcp = zc["protocol"] == "tcp"
        places = _listed(list(dict.fromkeys(zc.loc[witnessed, "path"])))
        where = "over TCP" if (witnessed == tcp).all() else f"on {places}"
        yield f"{text}, {where} those {beside}"


def _february(
    frame: pd.DataFrame, compared: pd.DataFrame, *, whole: bool = True
) -> str:
    rows = compared[compared["table"] == v5.SELFTEST]
    here = rows[rows["point"] != ""]
    if here.empty:
        columns = rows["column"].iloc[0]
        size = int(rows["io_size_bytes"].iloc[0])
        command = published.command(v5.SELFTEST, [size], columns)
        return (
            f"The February 2025 case is not in this run; this measures it: {command}."
        )
    twin = published.TWINS[v5.SELFTEST]
    return (
        f"The February 2025 selftest's sends ({twin.path}, {twin.protocol.upper()}/"
        f"IPv{twin.family}, {here['io_size_bytes'].iloc[0]} B, batch {twin.batch}), "
        "with other ring flags, a registered file and pinned CPUs (zclab replay has "
        f"the selftest's own): {_both(here)}; "
        f"{table.shares_text(here['copied_share'])} copied"
        f"{_without_receiver(frame) if whole else ''}."
    )


def _both(here: pd.DataFrame) -> str:
    """Return the verdicts by percent and by ns, which need not agree.

    Args:
        here: rows of a published table.

    """
    percent, ns = claims.tally(here["verdict"]), claims.tally(here["verdict_ns"])
    if percent == ns:
        return f"{percent}, in percent and in ns saved alike"
    return f"{percent} in percent, {ns} in ns saved"


def _without_receiver(frame: pd.DataFrame) -> str:
    """Return what the same send gains where nothing receives, as a clause."""
    rows = conclusions.judged(conclusions.cause(frame))
    rows = rows[rows["path"] == "sink"].sort_values("order")
    if rows.empty:
        return ""
    row = rows.iloc[0]
    return (
        f"; into a sink, with no receiver, the same {row['arm']} is "
        f"{table.gain_text(row)} with {table.share_text(row['copied_share'])} copied "
        f"(n={row['n']})"
    )


def _dummy(frame: pd.DataFrame, compared: pd.DataFrame) -> str:
    mine = compared[compared["table"] == "v5-dummy"]
    rows = mine[mine["column"] == v5.FLUSH]
    here = rows[rows["point"] != ""].sort_values("io_size_bytes", ascending=False)
    unlike = _without_notification(mine)
    if here.empty:
        sizes = [int(size) for size in rows["io_size_bytes"]]
        command = published.command("v5-dummy", sizes, v5.FLUSH)
        return (
            f"v5's dummy rows are not in this run: {unlike}; this measures that: "
            f"{command}."
        )
    parts = [unlike, _both(here), *_dearer(frame, here)]
    return f"v5's dummy rows (n={table.range_text(here['n'])}): {'; '.join(parts)}."


def _without_notification(rows: pd.DataFrame) -> str:
    """Return which of v5's columns mainline can be held against, as a clause.

    Args:
        rows: of v5's dummy table.

    """
    most = rows.loc[rows.loc[rows["column"] == "zc", "published_percent"].idxmax()]
    size = most["io_size_bytes"]
    at = (rows["column"] == v5.FLUSH) & (rows["io_size_bytes"] == size)
    flush = rows[at].iloc[0]
    return (
        f"its zc ({table.percent_text(most['published_percent'])} at {size} B) had no "
        f"notification, mainline always posts one, so only its {v5.FLUSH} "
        f"({table.percent_text(flush['published_percent'])}) has a counterpart"
    )


def _dearer(frame: pd.DataFrame, here: pd.DataFrame) -> Iterator[str]:
    """Yield that more ns are saved than then and yet a smaller percent, where it is so.

    The percent is of what plain send costs; both are told of the largest such size.

    Args:
        frame: what `table.summary` returned.
        here: rows of v5's dummy table that the run has, the largest size first.

    """
    more = here["saved_low"] > here["published_saved_ns"]
    less = here["gain_high"] < here["published_percent"]
    odd = here[more & less & (here["gain_low"] > 0)]
    if odd.empty:
        return
    row = odd.iloc[0]
    plain = frame[frame["arm"] == BASELINE].set_index("point").loc[row["point"]]
    then = published.claims().set_index("claim").loc[row["claim"], "published_base_ns"]
    yield (
        f"at {row['io_size_bytes']} B more ns are saved than then but a smaller "
        f"percent, as plain send takes {claims.cost_text(plain)} ns here and took "
        f"{then:.0f}"
    )


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
    parts = []
    for _, mine in list(found.groupby(SETUP, sort=False))[:SERIES]:
        first = mine.iloc[0]
        at = "; ".join(
            f"{row['arm']} {cost.break_even_text(row)}"
            for row in mine.sort_values("arm", ascending=False).to_dict("records")
            if row["arm"] in (FIXED, PINNED)
        )
        rows = frame[_alike(frame, first)]
        parts.append(
            f"on {table.where(rows.iloc[0])} (n={table.range_text(rows['n'])}): "
            f"{at or 'unknown'}"
        )
    return f"Zerocopy pays from this size on, {', and '.join(parts)}."


def _alike(frame: pd.DataFrame, row: "pd.Series | dict[object, object]") -> "pd.Series":
    """Return which rows of a summary are of a series."""
    same = frame["path"].str.partition("+")[0] == row["path"]
    for name in SETUP[1:]:
        same &= frame[name] == row[name]
    return same


def _kept(frame: pd.DataFrame, row: "dict[object, object]") -> bool:
    """Return whether an arm of a series is known to have been zerocopy."""
    mine = frame[_alike(frame, row) & (frame["arm"] == row["arm"])]["copied_share"]
    return bool(len(mine) and mine.notna().all() and mine.max() < table.ZEROCOPY_BELOW)


def _advice(run: Run, frame: pd.DataFrame) -> str:
    cpu = _cpu(run, frame)
    avoided = list(_avoid(frame, cpu))
    where = "elsewhere" if avoided else "where nothing is copied send"
    parts = [*avoided, *_register(frame, cpu, where)]
    if not parts:
        return (
            "What to do this run cannot say: nothing in it is known to be copied and "
            "slower, and of no registered buffer the gain where nothing is copied; "
            "this can: zclab report."
        )
    return f"What to do: {'; '.join(parts)}. {_ask(frame)}."


def _ask(frame: pd.DataFrame) -> str:
    """Return how to know whether it was zerocopy, and where the flag says too much."""
    text = "First ask by IORING_SEND_ZC_REPORT_USAGE if it is copied"
    if not (frame["protocol"] == "tcp").any():
        return text
    return (
        f"{text}, over TCP with MSG_EOR (since 6.10 the flag is also set on requests "
        "that share an skb)"
    )


def _cpu(run: Run, frame: pd.DataFrame) -> dict[int, tuple[bool, str]]:
    """Return by row what its arm takes of the sender's CPU, where that is clear.

    Where the sender waits for something else, a gain in requests/s may be bought with
    its CPU time, and a loss may save it.

    Returns:
        The row's index: whether it takes more than send does, and how much.

    """
    known = {
        (row["point"], row["arm"]): row
        for row in bottleneck.shares(run).to_dict("records")
    }
    found = {}
    for row in frame[~frame["arm"].isin([BASELINE, CONTROL])].itertuples():
        more = known.get((row.point, row.arm))
        verdict = bottleneck.finding(more) if more else None
        if more and verdict in (table.FASTER, table.SLOWER):
            found[row.Index] = (
                verdict == table.SLOWER,
                f"{bottleneck.more_text(more)} a request",
            )
    return found


def _avoid(frame: pd.DataFrame, cpu: dict[int, tuple[bool, str]]) -> Iterator[str]:
    """Yield where plain send is the better one, and where what is copied differs.

    A place is one to send plainly on if all is copied there, some of it slower, and
    none of it faster or cheaper in CPU time.
    """
    rows = frame[~frame["arm"].isin([BASELINE, CONTROL]) & (frame["notifications"] > 0)]
    copied = rows["copied_share"].fillna(0) >= table.COPIED_FROM
    slower = copied & (rows["finding"] == table.SLOWER)
    faster = rows["finding"] == table.FASTER
    cheaper = pd.Series([_cheaper(i, cpu) for i in rows.index], rows.index, dtype=bool)
    hurt = rows["path"].isin(rows.loc[slower, "path"])
    unlike = rows["path"].isin(rows.loc[faster | cheaper | ~copied, "path"])
    if (hurt & ~unlike).any():
        mine = hurt & ~unlike
        yield f"send plainly {_where_copied(rows[mine], rows[mine & slower])}"
    if (hurt & unlike).any():
        mine = hurt & unlike
        others = {
            "faster in": faster,
            "for less of the sender's CPU in": cheaper,
            "not all copied in": ~copied,
        }
        counts = {words: (mine & each).sum() for words, each in others.items()}
        yield (
            f"on {_places(rows[mine])} it depends: copied and slower in "
            f"{_worst(rows[mine], rows[mine & slower])}, but "
            + ", ".join(f"{words} {count}" for words, count in counts.items() if count)
        )


def _where_copied(rows: pd.DataFrame, slower: pd.DataFrame) -> str:
    """Return where all was copied and sends are slower, and what that is an example of.

    Args:
        rows: of places on which all was copied.
        slower: those of them that are slower.

    """
    places = _places(rows)
    if not set(rows["path"]) <= set(LOCAL):
        return f"on {places}, where all is copied: slower in {_worst(rows, slower)}"
    return (
        "where the packet ends at a socket of the same host (lo, or a veth with a "
        "local receiver; not one that leads through a bridge to a card): copied on "
        f"{places}, slower in {len(slower)} of {len(rows)}"
    )


def _places(rows: pd.DataFrame) -> str:
    return _listed(list(dict.fromkeys(rows["path"])))


def _worst(rows: pd.DataFrame, slower: pd.DataFrame) -> str:
    """Return how many of some rows are slower, and the worst of them."""
    worst = slower.loc[slower["gain_percent"].idxmin()]
    return f"{len(slower)} of {len(rows)}, at worst {worst['arm']} {_at(worst)}"


def _register(
    frame: pd.DataFrame, cpu: dict[int, tuple[bool, str]], where: str
) -> Iterator[str]:
    """Yield at which sizes registered buffers win and lose uncopied, by protocol.

    Args:
        frame: what `table.summary` returned.
        cpu: what `_cpu` returned.
        where: how a sentence begins that recommends them.

    """
    rows = frame[frame["copied_share"].notna() & frame["gain_percent"].notna()]
    rows = rows[rows["copied_share"] < table.ZEROCOPY_BELOW]
    fixed = rows[rows["arm"] == FIXED]
    wins = fixed[fixed["finding"] == table.FASTER]
    if fixed.empty:
        return
    if wins.empty:
        yield _no_win(rows, fixed, cpu)
        return
    told = ", ".join(
        text
        for _, mine in fixed.groupby("protocol", sort=False)
        if (text := _by_setup(mine, cpu))
    )
    if all(_bought(i, cpu) for i in wins.index):
        yield (
            "where nothing is copied a registered buffer gains requests/s, but for "
            f"more CPU: {told}"
        )
        return
    card = (fixed["path"] == str(Path.NIC)).any()
    beyond = "" if card else "; no card was measured"
    yield f"{where} from a registered buffer: {told}{beyond}"


def _no_win(
    rows: pd.DataFrame, fixed: pd.DataFrame, cpu: dict[int, tuple[bool, str]]
) -> str:
    """Return what to do where no registered buffer is faster, though uncopied.

    Plain send is recommended where it is known not to be worse: not for what differs
    by less than was found, nor where CPU time can be saved.

    Args:
        rows: all that was not copied.
        fixed: those of them from registered buffers.
        cpu: what `_cpu` returned.

    """
    settled = fixed["finding"].isin([table.SLOWER, table.EQUIVALENT]).all()
    better = (rows["finding"] == table.FASTER).any()
    saving = fixed[[_cheaper(i, cpu) for i in fixed.index]]
    better |= any(_cheaper(i, cpu) for i in rows.index)
    best = fixed.loc[fixed["gain_percent"].idxmax()]
    told = f"its best was {_at(best)}{_though(best, cpu)}"
    if len(saving) and best.name not in saving.index:
        one = saving.loc[saving["gain_percent"].idxmax()]
        told += f"; another {_at(one)}{_though(one, cpu)}"
    return (
        f"{'send plainly at the sizes of this run: ' * bool(settled and not better)}"
        f"a registered buffer {'gained' if settled else 'was not found to gain'} "
        f"requests/s {'nowhere' if settled else 'anywhere'}, though nothing was "
        f"copied; {told}"
    )


def _by_setup(rows: pd.DataFrame, cpu: dict[int, tuple[bool, str]]) -> str:
    """Return where one protocol wins and loses, by size where only the size differs.

    It is told of the setup in which most sizes do, if possible of one that wins for no
    more CPU; of the others what is against sending so. Nothing if none wins or loses.

    Args:
        rows: of one mode and protocol.
        cpu: what `_cpu` returned.

    """
    told = rows[rows["finding"].isin([table.FASTER, table.SLOWER])]
    setups = [mine for _, mine in told.groupby(SETUP, sort=False)]
    if not setups:
        return ""

    def rank(mine: pd.DataFrame) -> tuple[bool, int]:
        wins = mine.index[mine["finding"] == table.FASTER]
        return not all(_bought(i, cpu) for i in wins), len(mine)

    first = max(setups, key=rank)
    alike = (rows[SETUP] == first[SETUP].iloc[0]).all(axis=1)
    protocol = str(first["protocol"].iloc[0]).upper()
    text = f"over {protocol} {_by_size(rows[alike], cpu)}"
    others = rows[~alike]
    losses = others[others["finding"] == table.SLOWER]
    wins = others[others["finding"] == table.FASTER]
    dearer = sum(_bought(i, cpu) for i in wins.index)
    parts = []
    if dearer:
        parts.append(f"faster for more of the sender's CPU in {dearer}")
    if len(losses):
        parts.append(f"slower in {_worst(others, losses)}")
    return f"{text}, in other setups {', '.join(parts)}" if parts else text


def _by_size(rows: pd.DataFrame, cpu: dict[int, tuple[bool, str]]) -> str:
    """Return the size from which on one setup wins, and the largest that loses.

    A win that takes more CPU than plain send is told as such, and after the others.

    Args:
        rows: of one mode and setup; one at least is faster or slower.
        cpu: what `_cpu` returned.

    """
    wins = rows[rows["finding"] == table.FASTER]
    bought = wins[[_bought(i, cpu) for i in wins.index]]
    clear, losses = wins.drop(bought.index), rows[rows["finding"] == table.SLOWER]
    parts = []
    if len(clear):
        least = clear.loc[clear["io_size_bytes"].idxmin()]
        above = rows["io_size_bytes"] > least["io_size_bytes"]
        all_win = above.any() and rows.index[above].isin(clear.index).all()
        parts.append(f"{_sized(least, 'from' if all_win else 'at')}")
    if len(losses):
        most = losses.loc[losses["io_size_bytes"].idxmax()]
        parts.append(f"not {_sized(most)}{_though(most, cpu)}")
    if len(bought):
        least = bought.loc[bought["io_size_bytes"].idxmin()]
        parts.append(
            f"{_sized(least)} only for more of the sender's CPU: {cpu[least.name][1]}"
        )
    first, *others = parts
    return first + "".join(f" ({other})" for other in others)


def _bought(index: int, cpu: dict[int, tuple[bool, str]]) -> bool:
    """Return whether a row takes more of the sender's CPU than plain send."""
    return index in cpu and cpu[index][0]


def _cheaper(index: int, cpu: dict[int, tuple[bool, str]]) -> bool:
    """Return whether a row takes less of the sender's CPU than plain send."""
    return index in cpu and not cpu[index][0]


def _though(row: pd.Series, cpu: dict[int, tuple[bool, str]]) -> str:
    """Return that a row which does not win saves CPU all the same, as a clause."""
    if not _cheaper(row.name, cpu):
        return ""
    return f", though for less of the sender's CPU: {cpu[row.name][1]}"


def _at(row: pd.Series) -> str:
    return (
        f"at {row['io_size_bytes']} B ({table.gain_text(row)}, {table.where(row)}, "
        f"n={row['n']})"
    )


def _sized(row: pd.Series, word: str = "at") -> str:
    on = "" if word == "at" else " on"
    return f"{word} {row['io_size_bytes']} B{on}"


def _listed(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
