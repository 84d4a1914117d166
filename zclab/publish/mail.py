"""The report as a mail to the lists: plain ASCII, 72 columns, the same every time.

`render` uses nothing but the run and the report's id, no clock and no machine, so
that `zclab verify` can build the mail again and compare it byte for byte.

Form: Documentation/process/submitting-patches.rst and email-clients.rst (plain text,
numbers for gains and costs, readable without any link), and the tables that readers
of the v5 cover letter know.
"""

import math
import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from zclab import options as opts
from zclab import planfile, preflight, stats
from zclab import situation as situations
from zclab.errors import InputError
from zclab.explain import (
    bottleneck,
    capture,
    claims,
    conclusions,
    cost,
    joined,
    ladder,
    onset,
    opening,
    prediction,
    published,
    readable,
    rung,
    table,
    v5,
)
from zclab.explain.facts import lookup, mitigations_text
from zclab.params import BASELINE, CONTROL, TABLE_MODES, Mode, Plan
from zclab.params import Path as PacketPath
from zclab.publish.plaintext import COLUMNS, ascii_only, bullets, wrap
from zclab.situation import ANSWERED
from zclab.store import Run

SYSTEM_LINES = 13

# It answers the thread of both mails, as a reply to the last one in the archive.
HEADERS = (
    "Subject: Re: [PATCH net-next v5 00/27] io_uring zerocopy send",
    "To: io-uring@vger.kernel.org, netdev@vger.kernel.org",
    "Cc: asml.silence@gmail.com, axboe@kernel.dk, ruanjinjie@huawei.com",
    f"In-Reply-To: <{conclusions.ANSWER}>",
)

SYSTEM = "System:"
NOT_SHOWN = "Not shown:"
REPRODUCE = "To reproduce:"
COMMAND = "    "  # the indent of a command; its continuation lines have more


def render(run: Run, report_id: str) -> str:
    """Return the text of the mail about a run; `lint` finds nothing in it.

    Raises:
        InputError: the run is synthetic.

    """
    if synthetic(run):
        raise InputError(no_mail(report_id))
    frame = table.summary(run)
    compared = claims.compared(frame, run)
    told: set[str] = set()
    shown = list(shapes(frame, told))
    rest = _tabled(run, frame)
    rest = rest[~rest["point"].isin(_whole(frame, [name for name, *_ in shown]))]
    sections = [
        HEADERS,
        *_partial(run),
        [line for text in summary(frame) for line in wrap(text, "", "  ")],
        bullets(
            [
                *(_in_thread(text) for text in conclusions.why(frame)),
                *opening.brief(run, frame, compared),
            ]
        ),
        _words(run, frame, compared),
        *_claims(run, frame, compared, shown),
        bullets(
            [
                *_sizes(run, frame),
                *conclusions.equivalents(frame),
                *_not_all_hold(frame),
            ]
        ),
        *_unforeseen(run, frame),
        _system(run),
        *_tables(rest, told, few=bool(shown)),
        *_ladder(run, frame),
        *_limits(run),
        *_warnings(run, frame),
        [NOT_SHOWN, *bullets(_not_shown(run, frame, compared))],
        _reproduce(run, report_id),
    ]
    texts = [ascii_only("\n".join(lines)) for lines in sections if lines]
    return "\n\n".join(texts) + "\n"


def synthetic(run: Run) -> bool:
    """Return whether a model made the run, or one of those joined in it."""
    return any(part.synthetic for part in joined.parts(run))


def no_mail(report_id: str) -> str:
    """Return why there is no mail about a synthetic run, and what to do, in a line."""
    return (
        f"{report_id} is synthetic: a model made it, no packet was sent, and so there "
        "is no mail about it; measure a kernel: zclab measure"
    )


def _partial(run: Run) -> Iterator[list[str]]:
    if not run.complete:
        yield wrap(
            f"PARTIAL RUN: {run.blocks_done} of "
            f"{'at most ' * bool(run.plan.stop)}{run.plan.total_blocks} planned "
            "blocks were measured."
        )


def summary(frame: pd.DataFrame) -> list[str]:
    """Return a line for each place and protocol: was it copied, and the gains by size.

    They are those of registered buffers, else of the best zerocopy arm there is.
    Intervals are not among them.
    """
    zc = frame[frame["notifications"] > 0]
    found = [
        _in_short(rows) for _, rows in zc.groupby(["path", "protocol"], sort=False)
    ]
    return found or ["Not one zerocopy mode was measured, so nothing is known copied."]


def _in_short(rows: pd.DataFrame) -> str:
    """Return what one place and protocol showed, the widest range of sizes by size."""
    first = rows.iloc[0]
    arms = dict.fromkeys(rows["arm"])
    arm = next((one for one in _BEST_FIRST if one in arms), "")
    arm = arm or str(rows.groupby("arm")["gain_percent"].median().fillna(0).idxmax())
    mine = rows[rows["arm"] == arm]
    setups = [each for _, each in mine.groupby(["family", "batch", "given"])]
    most = max(setups, key=len).sort_values("io_size_bytes")
    others = mine[~mine.index.isin(most.index)]
    share = rows["copied_share"]
    known = share.notna().all()
    copied = f"{table.shares_text(share)} copied" if known else "copied unknown"
    text = (
        f"{first['path']}, {str(first['protocol']).upper()}: {copied}; "
        f"{arm} {', '.join(_at_size(row) for _, row in _telling(most).iterrows())}"
    )
    others = others[others["gain_percent"].notna()]
    rest = others["gain_percent"]
    if rest.empty:
        return text
    if len(rest) == 1:
        return f"{text}; {_at_size(others.iloc[0])}, {_setup(others.iloc[0])}"
    ends = dict.fromkeys(table.signed(end, 0) for end in (rest.min(), rest.max()))
    return f"{text}; {'% to '.join(ends)}% at {len(rest)} other points"


def _setup(row: pd.Series) -> str:
    """Return what tells a point of a place and protocol from those of other sizes."""
    given = f", {row['given']}" if row["given"] else ""
    return f"IPv{row['family']}, batch {row['batch']}{given}"


_BEST_FIRST = (str(Mode.SEND_ZC_FIXED), str(Mode.SEND_ZC))
_ALL_TOLD = 4  # sizes; of more only the ends and those around a change of sign


def _telling(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, in order of size, that say where the sign of the gain changes.

    Of many sizes they are the first, the last, and those on both sides of the first
    and the last change.
    """
    if len(rows) <= _ALL_TOLD:
        return rows
    over = (rows["gain_percent"] > 0).to_numpy()
    turns = [i for i in range(1, len(over)) if over[i] != over[i - 1]]
    kept = {0, len(over) - 1}
    for turn in turns[:1] + turns[-1:]:
        kept |= {turn - 1, turn}
    return rows.iloc[sorted(kept)]


def _at_size(row: pd.Series) -> str:
    """Return a gain without its interval, and whether it is no finding."""
    if math.isnan(row["gain_percent"]):
        return f"unknown at {row['io_size_bytes']} B"
    found = row["finding"] in (table.FASTER, table.SLOWER)
    doubt = "" if found else " (no finding)"
    return f"{table.signed(row['gain_percent'], 0)}%{doubt} at {row['io_size_bytes']} B"


def _words(run: Run, frame: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """Return what the words of the tables mean, for who never heard of zclab."""
    sink = _sink(run)
    device = _SINKS.get(sink.get("rung", ""), f"the device {sink.get('kind')}, which")
    drops = f"Sink: {device} drops every packet. " if sink.get("kind") else ""
    answered = frame["situation"].map(lambda one: ANSWERED in situations.facts(one))
    if answered.any():
        drops += "sink+answered: TCP into it, and a responder acknowledges. "
    return wrap(
        "send_zc_fixed: SEND_ZC from a registered buffer. "
        f"{_mixed(frame)}{drops}Gain: requests/s over send, the "
        "median over the blocks, paired within each, and its [95% interval]. Block: "
        "one slice of each arm, in random order; n of them. MDE: the smallest gain "
        "that is found 9 times in 10. Rates here are the baseline's median times the "
        f"gain, not to be compared across hosts. {_rule(compared)}"
    )


# What the verdicts of `claims.verdict` mean, where a value of ours was judged.
_VERDICTS = {
    claims.REPRODUCED: "near, same sign",
    claims.DIRECTION_ONLY: "same sign, not near",
    claims.CONTRADICTED: "not near, and the other sign or no effect",
    claims.UNDECIDED: "the published effect or none, ours does not tell",
}


def _rule(compared: pd.DataFrame) -> str:
    """Return what those of the verdicts mean that were given."""
    given = {*compared["verdict"], *compared["verdict_ns"]}
    told = [
        f"{word.capitalize()}: {means}."
        for word, means in _VERDICTS.items()
        if word in given
    ]
    if not told:
        return ""
    return (
        "Near: the published value is in our interval widened by the larger of "
        f"{claims.TOLERANCE_POINTS:g} points ({claims.TOLERANCE_NS:g} ns) and "
        f"{claims.TOLERANCE_SHARE:.0%} of it. {' '.join(told)}"
    )


def _mixed(frame: pd.DataFrame) -> str:
    """Return what mode mixed is, where it is among the rows."""
    if not (frame["mode"] == str(Mode.MIXED)).any():
        return ""
    return "mixed: each request draws one of the three. "


# What drops on the rungs that are no device which does so by itself.
_SINKS = {
    "veth-drop": "a veth pair, whose peer's ingress",
    "veth-down": "a veth pair with the peer down, which",
}


def _sink(run: Run) -> dict[str, Any]:
    """Return the recorded facts of the plain sink; empty where there is none."""
    return _paths(run).get("sink", {})


def _unforeseen(run: Run, frame: pd.DataFrame) -> Iterator[list[str]]:
    """Yield what contradicts the rules of copying, and shares that changed meanwhile.

    A contradiction is a finding, so none of them is left out.
    """
    texts = [
        *prediction.contradictions(run, frame),
        *onset.sentences(run, onset.NAMED_AT_MOST),
    ]
    if texts:
        where = (
            " (rules: docs/paths.md)" if lookup(run.host, "software", "remote") else ""
        )
        yield [f"Not as predicted{where}:", *bullets(texts)]


def _in_thread(text: str) -> str:
    """Return a text without the reference to the mail that this one answers."""
    return text.replace(f" ({conclusions.ANSWER})", "")


def _not_all_hold(frame: pd.DataFrame) -> list[str]:
    """Return which findings do not hold for the run as a whole; empty if all do."""
    found = frame["finding"].isin([table.FASTER, table.SLOWER])
    if (found & (frame["p_holm"] > 1 - stats.CONFIDENCE)).any():
        return list(conclusions.as_a_whole(frame))
    return []


def _system(run: Run) -> list[str]:
    """Return the block of facts about the host; what was not recorded is left out.

    Where there are more places than lines, the last ones are counted.
    """
    above = [
        ("kernel", [*_facts(run, _KERNEL), _guest(run), *_parameters(run)]),
        ("cpu", _cpu(run)),
    ]
    below = [
        ("peer", _peer(run)),
        ("ring", _ring(run)),
        ("sqe", _sqe(run)),
        ("zclab", _software(run)),
    ]
    head = [line for name, found in above for line in _lines(name, found)]
    tail = [line for name, found in below if (line := _line(name, found))]
    places = [
        line
        for name, facts in _paths(run).items()
        if (line := _line(name, _path_facts(facts)))
    ]
    room = SYSTEM_LINES - 1 - len(head) - len(tail)
    if len(places) > room:
        more = f"  and {len(places) - room + 1} more, see host-before.json"
        places = [*places[: room - 1], more]
    return [SYSTEM, *head, *places, *tail]


def _lines(name: str, facts: Iterable[str]) -> list[str]:
    """Return the facts on one line, and on a second and third those that do not fit."""
    rest = list(filter(None, facts))
    lines: list[str] = []
    while rest and len(lines) < _LINES_OF_ONE:
        line = _line("" if lines else name, rest)
        told = set(line[_LABEL:].split(", "))
        left = [fact for fact in rest if not set(fact.split(", ")) <= told]
        if not line or left == rest:
            break  # a fact that is longer than a line
        lines.append(line)
        rest = left
    return lines


def _parameters(run: Run) -> list[str]:
    return [str(word) for word in lookup(run.host, "kernel", "cmdline") or ()]


def _peer(run: Run) -> list[str]:
    """Return the facts of the host that received; none where it was this one."""
    device = lookup(run.host, "peer", "device") or {}
    found = (
        lookup(run.host, "peer", "kernel", "release"),
        lookup(run.host, "peer", "cpu", "model"),
        lookup(run.host, "peer", "cpu", "governor"),
    )
    return [*(str(fact) for fact in found if fact), *_path_facts(device)]


def _guest(run: Run) -> str:
    name = lookup(run.host, "hypervisor")
    if not name:
        return ""
    return "in a VM" if name == "unnamed" else f"in a VM ({name})"


_KERNEL = (("kernel", "release"), ("machine",))
_LINES_OF_ONE = 3
_LABEL = 10  # columns of the names in the system block, and the space behind them


def _facts(run: Run, wanted: Iterable[tuple[str, ...]]) -> list[str]:
    found = (lookup(run.host, *keys) for keys in wanted)
    return [str(fact) for fact in found if fact is not None]


def _prefixed(run: Run, prefix: str, *keys: str) -> str:
    fact = lookup(run.host, *keys)
    return "" if fact is None else f"{prefix} {fact}"


def _line(name: str, facts: Iterable[str]) -> str:
    """Return the facts that fit one line, the important ones first; maybe none."""
    line = f"  {name:<{_LABEL - 3}}"
    empty = len(line)
    for fact in filter(None, facts):
        longer = f"{line} {fact}" if len(line) == empty else f"{line}, {fact}"
        if len(longer) <= COLUMNS:
            line = longer
    return line if len(line) > empty else ""


def _cpu(run: Run) -> list[str]:
    online = lookup(run.host, "cpu", "online")
    numbers = [
        f"{word} {number}"
        for key, word in _CPU_NUMBERS
        if (number := lookup(run.host, "cpu", key)) is not None
    ]
    return [
        *_facts(run, [("cpu", "model")]),
        " ".join(numbers),
        f"{online} online" if online else "",
        _prefixed(run, "governor", "cpu", "governor"),
        _prefixed(run, "clock", "clocksource"),
        *_mitigations(run),
    ]


def _mitigations(run: Run) -> list[str]:
    text = mitigations_text(run)
    return ["no mitigations"] if text == "none" else text.split(", ")


# "AMD EPYC" is many CPUs; these say which.
_CPU_NUMBERS = (("family", "family"), ("model_number", "model"), ("stepping", "step"))


def _paths(run: Run) -> dict[str, dict[str, Any]]:
    """Return the recorded facts of the paths, those of the plan first."""
    found = lookup(run.host, "paths") or {}
    names = dict.fromkeys([*run.plan.places, *found])
    return {name: found[name] for name in names if isinstance(found.get(name), dict)}


_NAMED = (
    ("kind", ""),
    ("firmware", "firmware "),
    ("link_mbit", "Mbit/s "),
    ("mtu", "mtu "),
    ("qdisc", ""),
)


def _path_facts(path: dict[str, Any]) -> list[str]:
    named = [
        f"{label}{path[key]}" for key, label in _NAMED if path.get(key) is not None
    ]
    if controls := preflight.controls(path):
        named.append(f"tcp {'+'.join(dict.fromkeys(controls.values()))}")
    taps = path.get("packet_taps")
    if taps is not None:
        named.append(f"{taps or 'no'} tap{'s' if taps > 1 else ''}")
    if path.get("sender_cpu") is not None:
        named.append(f"cpu tx {path['sender_cpu']}")
    if path.get("receiver_cpu") is not None:
        if path.get("sender_cpu") is not None:
            named[-1] += f" rx {path['receiver_cpu']}"
        else:
            named.append(f"cpu rx {path['receiver_cpu']}")
    elif "receiver" in path and path["receiver"] is None:
        named.append("no receiver")
    return named


def _ring(run: Run) -> list[str]:
    flags = lookup(run.host, "sender", "ring_flags") or ()
    return [" ".join(str(flag) for flag in flags)]


def _sqe(run: Run) -> list[str]:
    """Return the flags of the requests."""
    sender = lookup(run.host, "sender") or {}
    return [
        "IORING_SEND_ZC_REPORT_USAGE" if sender.get("report_usage") else "",
        "IOSQE_FIXED_FILE" if sender.get("registered_file") else "",
    ]


def _software(run: Run) -> list[str]:
    size = lookup(run.host, "sender", "sndbuf_bytes")
    return [
        _version(run),
        _prefixed(run, "liburing", "software", "liburing"),
        *_facts(run, [("software", "compiler")]),
        f"sndbuf {size >> 20} MiB" if size else "",
        f"{readable.slices(run)} slices",
    ]


def _version(run: Run) -> str:
    return str(lookup(run.host, "software", "zclab") or "")


def _claims(
    run: Run,
    frame: pd.DataFrame,
    compared: pd.DataFrame,
    shown: list[tuple[str, list[str], str]],
) -> Iterator[list[str]]:
    """Yield each published table with ours beneath, and the verdict on each row.

    Tables that the run has nothing of are under what is not shown.

    Args:
        run: what is reported.
        frame: what `table.summary` returned of it.
        compared: what `claims.compared` returned of both.
        shown: what `shapes` yielded.

    """
    for name, caption, text in shown:
        yield caption
        yield text.splitlines()
        beneath = (
            *v5.verdicts(compared, name),
            *v5.lacking(compared, name),
            *_unregistered(frame, name),
            *_beneath_it(run, name),
        )
        yield bullets(filter(None, beneath))
    older = compared[~compared["table"].isin(v5.NAMES) & (compared["point"] != "")]
    for name in dict.fromkeys(older["table"]):
        said = v5.verdicts(older, str(name), shaped=False)
        said += v5.lacking(compared, str(name))
        yield [f"{published.twin(str(name)).title}:", *bullets(said)]


def _sizes(run: Run, frame: pd.DataFrame) -> Iterator[str]:
    """Yield the verdict on each size from which zerocopy was said to pay."""
    sized = claims.sizes(run, frame)
    # Those that follow from a table's rows stand beneath that table already.
    own = ~sized["stated"].str.startswith("from the rows of")
    for text in claims.size_words(sized[own & (sized["pays_from"] != "-")]):
        yield f"Pays from: {text}"


def _unregistered(frame: pd.DataFrame, name: str) -> Iterator[str]:
    """Yield what buffers that are not registered gained at the points of a table."""
    rows = _beneath(frame, name)
    arm = str(Mode.SEND_ZC)
    if arm in set(rows["arm"]):
        return
    mine = frame[frame["point"].isin(rows["point"]) & (frame["arm"] == arm)]
    mine = mine[~mine["point"].isin(_many_armed(frame))]
    told = [
        f"{place if mine['path'].nunique() > 1 else ''} "
        f"{', '.join(_narrow(row) for _, row in each.iterrows())}".strip()
        for place, each in mine.groupby("path", sort=False)
    ]
    if told:
        yield f"{arm} there, in percent: {'; '.join(told)}."


def _narrow(row: pd.Series) -> str:
    """Return size and gain in percent, with as few characters as they take."""
    gain = table.gain_text(row).replace("%", "").replace(", ", ",")
    return f"{row['io_size_bytes']} B {gain}"


def _beneath_it(run: Run, name: str) -> Iterator[str]:
    """Yield what else must be known to hold a table against the published one."""
    if name == v5.DUMMY:
        yield conclusions.unlike(run)
        yield cost.head_step(run)
    if name == v5.TCP:
        yield bottleneck.resent(run)


def _many_armed(frame: pd.DataFrame) -> set[str]:
    """Return the points with arms beyond the selftest's, which have tables of them."""
    many = ~frame["arm"].isin({*TABLE_MODES, CONTROL})
    keys = ["path", "protocol", "family", "batch", "given"]
    return set(
        frame[many.groupby([frame[key] for key in keys]).transform("any")]["point"]
    )


def _whole(frame: pd.DataFrame, names: list[str]) -> set[str]:
    """Return the points of which published tables, or the lines below, show all."""
    found: set[str] = set()
    for name in names:
        found |= set(_beneath(frame, name)["point"])
    return found - _many_armed(frame)


def shapes(frame: pd.DataFrame, told: set[str]) -> Iterator[tuple[str, list[str], str]]:
    """Yield name, caption and text of each published table that has a row of ours."""
    for name in v5.NAMES:
        rows = _beneath(frame, name)
        if (rows["arm"] == BASELINE).all():
            continue
        title = f"{published.twin(name).title}, {_UNITS.get(name, 'requests/s')}"
        more = (
            _names(name, rows),
            *_caveat(name, rows),
            _note_once(rows, told),
            *(_delivered(mine) for _, mine in rows.groupby("path", sort=False)),
        )
        yield name, _caption(title, rows, *more), v5.shaped(frame, name)


def _beneath(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the rows of `summary` that stand in a published table's shape."""
    places = [frame]
    if name == v5.TCP:  # it shows each path that can be beside it
        places = [mine for _, mine in frame.groupby("path", sort=False)]
    found = [frame.iloc[:0]]
    for mine in places:
        points = set(v5.points(mine, name)["point"].dropna())
        arms = {str(BASELINE), *published.twin(name, mine).arms.values()}
        found.append(mine[mine["point"].isin(points) & mine["arm"].isin(arms)])
    rows = pd.concat(found)
    first = published.twin(name, frame).path
    return rows.sort_values("path", key=lambda paths: paths != first, kind="stable")


_UNITS = {v5.SELFTEST: "MB/s then and MiB/s here", v5.TCP: "MB/s then and MiB/s here"}


def _tables(
    frame: pd.DataFrame, told: set[str], *, few: bool = False
) -> Iterator[list[str]]:
    """Yield caption and table, alternating, of every point.

    Args:
        frame: rows of `table.summary`.
        told: what was said once.
        few: whether one or two sizes of a kind have a line each, and no table.

    """
    keys = ["path", "protocol", "family", "batch", "given"]
    lines = []
    for _, rows in frame.groupby(keys, sort=False):
        if not set(rows["arm"]) <= {*TABLE_MODES, CONTROL}:
            title = "Every arm" + _once(told, ": ns a request and gain in percent")
            note = _note_once(rows, told)
            yield _caption(title, rows, _spelt(rows), note)
            yield table.arms(rows).splitlines()
            continue
        if (rows["notifications"] == 0).all():
            continue
        if few and rows["io_size_bytes"].nunique() <= 2:
            lines += list(_point_lines(rows))
            continue
        title = "Every size" + _once(
            told, ": gain over send in percent, A/A noise floor in points"
        )
        more = (_shares(rows), _note_once(rows, told), _delivered(rows))
        yield _caption(title, rows, *more)
        yield table.gains(rows).splitlines()
    if lines:
        yield ["In no table:", *bullets(lines)]


def _point_lines(rows: pd.DataFrame) -> Iterator[str]:
    """Yield a line for each point: where it was, its gains, copied share and n."""
    for _, mine in rows.groupby("point", sort=False):
        judged = conclusions.judged(mine).sort_values("order", kind="stable")
        gains = [f"{row['arm']} {table.gain_text(row)}" for _, row in judged.iterrows()]
        if judged.empty:
            continue  # plain sends alone
        first = judged.iloc[0]
        yield (
            f"{first['io_size_bytes']} B on {table.where(first)}: {', '.join(gains)}; "
            f"{table.shares_text(judged['copied_share'])} copied, "
            f"n={table.range_text(judged['n'])}. {_delivered(mine)}"
        )


def _once(told: set[str], text: str) -> str:
    """Return a text the first time that a mail tells it, and nothing afterwards."""
    if text in told:
        return ""
    told.add(text)
    return text


def _shares(rows: pd.DataFrame) -> str:
    """Return the copied share of each arm that has one."""
    zc = rows[rows["notifications"] > 0]
    by_arm = {
        str(arm): table.shares_text(mine["copied_share"])
        for arm, mine in zc.groupby("arm", sort=False)
    }
    if len(set(by_arm.values())) <= 1:
        return f"Copied: {next(iter(by_arm.values()), table.share_text(None))}."
    return f"Copied: {'; '.join(f'{arm} {share}' for arm, share in by_arm.items())}."


def _tabled(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that have tables of their own: rungs are in the ladder's."""
    if not ladder.taken(run):
        return frame
    return frame[~frame["point"].isin(ladder.rung_points(run))]


def _ladder(run: Run, frame: pd.DataFrame) -> Iterator[list[str]]:
    """Yield what one factor at a time does: a table per case, then sentences."""
    if not ladder.taken(run):
        return
    found = ladder.rungs(run, frame)
    for case, text in ladder.text(run, frame).items():
        point, mine = rung.CASES[case], found[found["case"] == case]
        n = table.range_text(mine["n"])
        yield wrap(
            f"One factor at a time from the case of {case}: path {point.path}, "
            f"{point.protocol.upper()}/IPv{point.family}, {point.io_size_bytes} B, "
            f"batch {point.batch}, n={n} blocks. Points of gain after the "
            "change less those before, [95% interval]; copied before > after. The last "
            "column of registered: over unregistered. Rungs: zclab plans why."
        )
        yield text.splitlines()
    yield ["The ladder:", *bullets(ladder.words(run, frame))]


def _limits(run: Run) -> Iterator[list[str]]:
    """Yield caption and table, alternating, of what limits the points of a card."""
    found = bottleneck.limits(run)
    for rows, text in bottleneck.texts(found):
        first = rows.iloc[0]
        n = table.range_text(rows["n"])
        given = f"{first['given']}, " if first["given"] else ""
        yield wrap(
            "What limits each arm, by shares of CPU time, link and loss. Path "
            f"{first['path']}, {first['protocol'].upper()}/IPv{first['family']}, batch "
            f"{first['batch']}, {given}n={n} blocks. "
            "CPU: how busy the sender was; ns/KiB: its CPU time, vs send with the 95% "
            "interval. Where the limit is the wire, ns/KiB counts and not the gain. "
            "Copied: as above."
        )
        yield text.splitlines()


def _spelt(rows: pd.DataFrame) -> str:
    """Return what the letters of the arms with options stand for, if any has one."""
    spelt = [
        f"{name.partition(' ')[2]} {arm.partition(':')[2]}"
        for arm, name in table.arm_names(rows).items()
        if name != arm
    ]
    return f"Options: {'; '.join(spelt)}." if spelt else ""


def _note_once(rows: pd.DataFrame, told: set[str]) -> str:
    """Return what the copied share is of where it is not of the flag; in full once."""
    note = table.flag_note(rows)
    if not note:
        return ""
    return (
        note if _once(told, "MSG_EOR") else "Copied is of MSG_EOR requests, as above."
    )


def _names(name: str, rows: pd.DataFrame) -> str:
    """Return which of our modes stands under which of the mail's words."""
    twin = published.twin(name, rows)
    pairs = {twin.baseline: str(BASELINE), **twin.arms}
    said = ", ".join(f"{word} = {arm}" for word, arm in pairs.items() if word != arm)
    return f"Here {said}."


def _caveat(name: str, rows: pd.DataFrame) -> Iterator[str]:
    """Yield what keeps a table from being compared, or must be known to do so."""
    if name in (v5.DUMMY, v5.NIC):
        yield _shares(rows)  # the others have a column of it
        yield v5.NO_TWIN
    if name != v5.TCP:
        return
    if (rows["situation"].map(lambda one: ANSWERED in situations.facts(one))).any():
        yield (
            "sink+answered has no receiver, and part of freeing and notifying is off "
            "the sender's CPU; with one its gain may be smaller."
        )
    shares = rows.loc[(rows["path"] == "lo") & (rows["notifications"] > 0)]
    yield from _loopback(shares["copied_share"])
    yield "v5's percent are computed."


def _loopback(shares: pd.Series) -> Iterator[str]:
    """Yield how a kernel's lo is unlike v5's, which was patched to be zerocopy."""
    if shares.empty:
        return
    patched = "v5's kernel was patched to allow zerocopy on lo"
    if shares.isna().any():
        yield f"{patched}; whether this one copies there is not known."
    elif shares.min() >= table.COPIED_FROM:
        yield f"{patched}, this one copies there."
    elif shares.max() < table.ZEROCOPY_BELOW:
        yield f"{patched}, and so is this one: nothing is copied there."
    else:
        yield f"{patched}; this one copies in part."


def _caption(title: str, rows: pd.DataFrame, *more: str) -> list[str]:
    """Return what every table must say of itself."""
    first = rows.iloc[0]
    paths = ", ".join(dict.fromkeys(rows["path"]))
    families = "+".join(f"IPv{family}" for family in dict.fromkeys(rows["family"]))
    batches = ", ".join(str(batch) for batch in dict.fromkeys(rows["batch"]))
    n = table.range_text(rows["n"])
    given = f", {first['given']}" if first["given"] else ""
    found = _detectable(rows)
    told = (
        f"{title}. Path {paths}, {first['protocol'].upper()}/{families}, "
        f"batch {batches}{given}. n={n}{found}."
    )
    return wrap(" ".join(filter(None, (told, *more))))


def _detectable(rows: pd.DataFrame) -> str:
    """Return the gains that are found nine times in ten, from the finest point on."""
    mde = rows.loc[rows["p_holm"].notna(), "mde_percent"]
    mde = mde[mde < math.inf]
    if mde.empty:
        return ""
    span = dict.fromkeys(map(table.mde_text, (mde.min(), mde.max())))
    return f", MDE {' to '.join(span)} points"


def _delivered(rows: pd.DataFrame) -> str:
    """Return how much reached the receiver: UDP senders are not told of its drops.

    TCP loses nothing for good; of it only what was not acknowledged in time is told.
    """
    shares = rows["delivered_share"].dropna()
    if shares.empty:
        return ""
    if (rows["protocol"] == "tcp").all() and shares.min() >= table.COPIED_FROM:
        return ""
    answered = ANSWERED in situations.facts(str(rows["situation"].iloc[0]))
    word = "Acknowledged" if answered else "Delivered"
    return f"{word}: {table.shares_text(shares)} of the bytes."


def _warnings(run: Run, frame: pd.DataFrame) -> Iterator[list[str]]:
    """Yield the warnings of run and rows, and what changed meanwhile, each once."""
    texts = [
        *dict.fromkeys(run.warnings),  # of a run that was joined, once for each part
        *capture.findings(run),
        *_of_rows(frame),
    ]
    if texts:
        yield ["Warnings:", *bullets(texts)]


def _of_rows(frame: pd.DataFrame) -> Iterator[str]:
    """Yield the warnings of rows; those alike but for numbers are the first, counted.

    Left out is that blocks depend on each other, as what they are worth is told before,
    and outliers without which the finding is the same.
    """
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for text, names in table.warnings(frame):
        if not (text.startswith("dependence:") or _SAME_WITHOUT in text):
            alike = re.sub(r"[+-]?\d+(\.\d+)?", "#", text)
            found.setdefault(alike, []).append((text, names))
    for each in found.values():
        text, names = each[0]
        rest = sum(len(others) for _, others in each[1:])
        yield f"{text} ({few(names)}{f'; {rest} more with other numbers' * bool(rest)})"


_SAME_WITHOUT = "without them: the same finding"  # of `stats`, on outliers


def few(names: list[str], most: int = 2) -> str:
    """Return names as text; of more than `most` all but the last ones by number."""
    more = f" and {len(names) - most + 1} more" if len(names) > most else ""
    return ", ".join(names[: most - 1] if more else names) + more


def _not_shown(run: Run, frame: pd.DataFrame, compared: pd.DataFrame) -> Iterator[str]:
    """Yield what a reader may miss, computed from what the run lacks."""
    paths = set(frame["path"])
    older = []
    for name in published.TWINS:
        mine = compared[compared["table"] == name]
        title = published.twin(name).title
        if (mine["point"] != "").any():
            continue  # what is missing stands beneath the rest
        if name not in published.CORE:
            older.append(title)
        for text in v5.lacking(compared, name) if name in published.CORE else ():
            remark = _REMARK if name == v5.NIC else ""
            yield f"{title}{remark}: {text}"
    if older:
        names = ", ".join(dict.fromkeys(title.partition(",")[0] for title in older))
        yield f"Not measured or not comparable: {names}."
    absent = [path for path in ("sink", "veth", "lo") if path not in paths]
    if absent:
        yield f"The paths {', '.join(absent)}: not in this run."
    if "sink" in paths:
        yield _no_transmit(run)
    if "nic" in paths and not lookup(run.host, "peer"):
        yield "What arrived: no peer received, so losses beyond the card are unknown."
    options = ":".join({*frame["arm"], *frame["given"]})
    one = "flows=" not in options and "threads=" not in options
    kinds = (
        # From memory a copy costs more than from the cache.
        "cold data (one buffer is sent over and over)" * ("buffers=" not in options),
        "latency",
        "more than one flow" * one,
        "the cost at the receiver",
        "another boot or day",
    )
    told = ", ".join(filter(None, kinds))
    yield f"{told[0].upper()}{told[1:]}."


_REMARK = ", and its remark on TCP there (5-10% worse at 1200 B)"


def _no_transmit(run: Run) -> str:
    """Return what a sink lacks, and what that does to what is saved over it."""
    lacks = _sink(run).get("leaves_out")
    what = f"leaves out {lacks}" if lacks else "drops every packet before any DMA"
    size = 600  # the smallest that both of v5's tables have
    there, dummy = (v5.notification_ns(name, size) for name in (v5.NIC, v5.DUMMY))
    return (
        f"A real transmit: the sink {what}. A card adds its own cost for each packet, "
        f"fragment and notification (v5's notification at {size} B: {there:.0f} ns on "
        f"its NIC, {dummy:.0f} on dummy), so neither percent nor ns saved carry over."
    )


def _reproduce(run: Run, report_id: str) -> list[str]:
    found = lookup(run.host, "software", "commit")
    commit = str(found)[:12] if found else ""
    dirty = " and uncommitted changes" if lookup(run.host, "software", "dirty") else ""
    parts = joined.parts(run)
    ids = ", ".join(part.id for part in parts)
    facts = (
        f"zclab {_version(run)} commit {commit or 'not recorded'}{dirty}; run {ids}; "
        f"plan {parts[0].plan.hash[:12]}, {_extent(parts[0].plan)}."
    )
    return [
        REPRODUCE,
        *wrap(facts, "  ", "  "),
        *commands(run),
        "  With the run's data:",
        f"{COMMAND}make verify RUN={report_id}",
    ]


def commands(run: Run) -> list[str]:
    """Return the commands, indented, that take a run again by the code that did."""
    commit = str(lookup(run.host, "software", "commit") or "main")[:12]
    remote = lookup(run.host, "software", "remote")
    clone = [f"{COMMAND}git clone {remote} zclab && cd zclab"] if remote else []
    return [
        *(line for each in clone for line in _fitting(each)),
        f"{COMMAND}git checkout {commit}",
        *_again(joined.parts(run)),
    ]


def _extent(plan: Plan) -> str:
    """Return how many blocks a plan asks for, in words."""
    if plan.stop is None:
        return f"{plan.blocks} blocks a point"
    return f"blocks until +-{plan.stop.precision:g} points or the budget's end"


def _again(parts: tuple[Run, ...]) -> list[str]:
    """Return the command that takes the same plan again, continued where too long."""
    return _fitting(" && ".join(_measure(part) for part in parts))


def _fitting(command: str) -> list[str]:
    """Return a command as indented lines, continued where one is too long."""
    room = COLUMNS - len(COMMAND) - 4
    lines = textwrap.wrap(
        command.strip(), room, break_on_hyphens=False, break_long_words=False
    )
    first, *more = [f"{line} \\" for line in lines[:-1]] + lines[-1:]
    return [COMMAND + first, *(f"{COMMAND}  {line}" for line in more)]


def _measure(run: Run) -> str:
    plan = run.plan
    stop = _stop(plan)
    fixed = "" if plan.stop else f"--blocks {plan.blocks} "
    carded = any(point.path is PacketPath.NIC for point in plan.points)
    target = _target(run) if carded else ""
    if plan.profile not in ("custom", *planfile.profiles()):
        return (
            f"zclab measure --plan {plan.profile}.yaml {target}{stop}{fixed}"
            f"--seed {plan.seed}"
        )
    if plan.profile != "custom" and fixed:  # a report's measurement has no such option
        return (
            f"zclab measure --profile {plan.profile} {target}{fixed}--seed {plan.seed}"
        )
    if plan.profile != "custom":
        return (
            f"make report PROFILE={plan.profile} "
            f'ARGS="{target}{stop}--seed {plan.seed}"'
        )
    point = plan.points[0]
    sizes = ",".join(str(point.io_size_bytes) for point in plan.points)
    given = f"--options {opts.spell(point.given)} " if point.given else ""
    if point.situation:
        given = f"--with {point.situation} {given}"
    modes = ",".join(point.modes)
    if len(modes) > COLUMNS // 2:  # so that a line can be broken
        modes = f'"{", ".join(point.modes)}"'
    return (
        f"zclab measure --path {point.path} --protocol {point.protocol} "
        f"--family {point.family} --sizes {sizes} --modes {modes} "
        f"{given}"
        f"{target}"
        f"--batch {point.batch} {stop or fixed}"
        f"--seed {plan.seed}"
    )


def _target(run: Run) -> str:
    """Return the options that name a device and what is behind it, for a reader's."""
    peer = "--peer $PEER " if lookup(run.host, "peer") else ""
    return f"--dev $DEV --dst $DST {peer}"


def _stop(plan: Plan) -> str:
    """Return the options that say when a point stops, if it does by itself."""
    if plan.stop is None:
        return ""
    budget = f"--budget {plan.stop.budget_s:g} " if plan.stop.budget_s else ""
    return f"--precision {plan.stop.precision:g} {budget}"


def lint(text: str) -> list[str]:
    """Return what is wrong with a mail, one line per problem; empty when it is fine."""
    return [*_lint_lines(text), *_lint_sections(text), *_lint_tables(text)]


def _lint_lines(text: str) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.isascii():
            yield f"line {number} is not ASCII"
        if len(line) > COLUMNS:
            yield f"line {number} has {len(line)} columns; {COLUMNS} are the most"
        if "\t" in line:
            yield f"line {number} has a tab"
    if not text.startswith("Subject: "):
        yield "the first line is not a subject; begin with 'Subject: '"


def _paragraphs(text: str) -> list[list[str]]:
    return [part.split("\n") for part in text.strip("\n").split("\n\n")]


def _lint_sections(text: str) -> Iterator[str]:
    body = _paragraphs(text)[1:]
    if body and body[0][0].startswith("PARTIAL"):
        body = body[1:]
    said = re.sub(r"\n +", " ", "\n".join(body[0])) if body else ""
    if not said or not all("copied" in line for line in said.split("\n")):
        yield (
            "the summary does not say of each place what was copied, directly after "
            "the headers"
        )
    sections = {part[0]: part[1:] for part in body}
    system = sections.get(SYSTEM)
    if not system:
        yield f"there is no '{SYSTEM}' block"
    elif len(system) + 1 > SYSTEM_LINES:
        yield f"the '{SYSTEM}' block has over {SYSTEM_LINES} lines"
    if not sections.get(NOT_SHOWN):
        yield f"there is no '{NOT_SHOWN}' section with what is left out"
    yield from _lint_reproduce(sections.get(REPRODUCE))


def _lint_reproduce(lines: list[str] | None) -> Iterator[str]:
    if not lines:
        yield f"there is no '{REPRODUCE}' section"
        return
    commands = [line for line in lines if re.match(rf"{COMMAND}\S", line)]
    if len(commands) < 3:
        yield f"'{REPRODUCE}' has {len(commands)} commands; it needs three"
    facts = " ".join(line.strip() for line in lines if line not in commands)
    for fact in ("commit", "run"):
        if not re.search(rf"\b{fact} \w+", facts):
            yield f"'{REPRODUCE}' does not name the {fact}"


# What the caption before each table must say, and how it is recognised.
TABLE_FACTS = {
    "path": r"\b[Pp]ath \w",
    "protocol": r"\b(UDP|TCP)/",
    "family": r"/IPv[46]",
    "batch": r"\bbatch \d",
    "n": r"\bn=\d",
    "copied share": r"\b[Cc]opied\b",  # a column of it will do
}
INTERVAL = r"\b95% interval\b"  # what brackets are is said once, before the first table


def _lint_tables(text: str) -> Iterator[str]:
    parts = _paragraphs(text)
    tables = [i for i, part in enumerate(parts) if " | " in part[0]]
    if not tables:
        yield "there is no table"
        return
    before = " ".join(line for part in parts[: tables[0]] for line in part)
    if not re.search(INTERVAL, before):
        yield "no interval is named before the first table"
    for i in tables:
        caption = " ".join([*(parts[i - 1] if i else ()), parts[i][0]])
        for fact, pattern in TABLE_FACTS.items():
            if not re.search(pattern, caption):
                yield f"the table '{parts[i][0].strip()}' does not name its {fact}"
