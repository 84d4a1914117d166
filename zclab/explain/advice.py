"""Should SEND_ZC be used for this, and how? An answer with its evidence, from a run.

Yes, where a zerocopy mode is *faster* by the words of `table`; no, where every one that
was measured is slower, or differs by less than a point; else undecided, and then what
would have been found is told. Requests/s tell of a mode only where the sender was busy:
where it waited for a wire, a receiver or acknowledgements (`bottleneck`), the CPU time
of a request decides, by the same words. Both are told.

Where the size itself is not in the run, its neighbours answer if they are near and
agree. What to change first follows from the rules of copying (`preflight`) and from the
points of the run that differ in one thing.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

import pandas as pd

from zclab import context, options, preflight, store
from zclab.errors import DataError, InputError
from zclab.explain import bottleneck, cost, table
from zclab.explain.facts import lookup
from zclab.params import BASELINE, Mode, Path, Point
from zclab.store import Run
from zclab.store.journal import read_plan

YES, NO, UNDECIDED = "yes", "no", "undecided"

FIXED, UNFIXED = str(Mode.SEND_ZC_FIXED), str(Mode.SEND_ZC)
ARMS = (FIXED, UNFIXED)
LONGER = 4  # times the blocks: half as wide an interval
NEAR = 2.0  # a neighbour's size over the size, or under, at the most
CONGESTION = "congestion"
# Options of the points of plans that nobody asks about: how a nic's are sent without a
# peer, and a control that does not pace.
UNASKED = ("addressed", CONGESTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to change.

    Attributes:
        what: in the imperative.
        why: what says so: a rule's id with its function, or the figures.

    """

    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The answer.

    Attributes:
        point: what was asked about.
        answer: yes, no or undecided.
        modes: those to use, best first; empty unless yes.
        because: the reason in a clause.
        rows: of `table.summary`, what was measured of each zerocopy mode; of two sizes
            where the one asked for is between them. Beside its columns: cpu_percent,
            cpu_low, cpu_high, cpu_floor, sender_share and bottleneck of `limits`
            (unknown where that has no row); busy, whether the sender had its CPU for
            most of the time, in this mode and in plain send.
        from_size: by mode, from what size on it pays, in words.
        first: what to change, in this order.
        run: id of the run.
        kernel: its release.
        congestion: the congestion control that its points asked for; empty: none, so
            that of the host.
        caveats: what is to be said with it: of the run, and of these numbers.

    """

    point: Point
    answer: str
    modes: tuple[str, ...]
    because: str
    rows: tuple[dict[str, Any], ...]
    from_size: dict[str, str]
    first: tuple[Step, ...]
    run: str
    kernel: str
    congestion: str
    caveats: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values; what is unknown is null."""
        return {
            "question": self.point.factors,
            "answer": self.answer,
            "modes": list(self.modes),
            "because": self.because,
            "measured": [
                {name: _plain(row[name]) for name in _MEASURED} for row in self.rows
            ],
            "pays_from": self.from_size,
            "first": [{"what": step.what, "why": step.why} for step in self.first],
            "evidence": {
                "run": self.run,
                "kernel": self.kernel,
                "congestion": self.congestion or None,
            },
            "caveats": list(self.caveats),
        }


_MEASURED = (
    "point",
    "io_size_bytes",
    "arm",
    "gain_percent",
    "gain_low",
    "gain_high",
    "saved_ns",
    "saved_low",
    "saved_high",
    "cpu_ns_per_request",
    "cpu_percent",
    "cpu_low",
    "cpu_high",
    "sender_share",
    "bottleneck",
    "copied_share",
    "n",
    "finding",
    "mde_percent",
)


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    if isinstance(value, str):
        return value
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else number


def alike(point: Point, question: Point) -> bool:
    """Return whether a point differs from what is asked in its size and modes alone.

    How a nic's are sent and the congestion control are no part of a question.
    """
    return _key(point) == _key(question)


def _key(point: Point) -> tuple[Any, ...]:
    given = tuple(one for one in point.given if one[0] not in UNASKED)
    return point.place, point.protocol, point.family, point.batch, given


def answers(plan_points: Sequence[Point], question: Point) -> tuple[Point, ...]:
    """Return the points that can answer: that of the size, or its near neighbours.

    Args:
        plan_points: the points of a run.
        question: what is asked.

    Returns:
        One point, two (a smaller and a larger one, sent with the same options), or
        none. Those with the options of the question come before others.

    """
    there: dict[Any, list[Point]] = {question.given: []}
    for point in plan_points:
        if alike(point, question) and set(ARMS) & set(point.modes):
            there.setdefault(point.given, []).append(point)
    nearest = (_nearest(points, question.io_size_bytes) for points in there.values())
    return next(filter(None, nearest), ())


def _nearest(points: Sequence[Point], size: int) -> tuple[Point, ...]:
    """Return the point of a size, or its two near neighbours, if there are any."""
    found = {point.io_size_bytes: point for point in points}
    if size in found:
        return (found[size],)
    below = max((one for one in found if size / NEAR <= one < size), default=0)
    above = min((one for one in found if size < one <= size * NEAR), default=0)
    return (found[below], found[above]) if below and above else ()


def fitting(
    question: Point, today: Mapping[str, Any], parent: FilePath | None = None
) -> tuple[Run | None, list[str]]:
    """Return the newest run of this host that decides, and what was passed over.

    Args:
        question: what is asked.
        today: facts of the host and of the question's place.
        parent: folder of the runs; data/runs by default.

    Returns:
        The run, or None; and a sentence for each run that has the points and was not
        taken.

    """
    passed: list[str] = []
    alias, now = lookup(today, "alias"), context.of(today)
    for folder in store.folders_of(alias, parent):
        try:
            plan = read_plan(folder)
            if plan.synthetic or not answers(plan.points, question):
                continue
            host = store.hosts(folder)[-1]
            if found := context.differing([context.of(host), now]):
                passed.append(f"run {folder.name}: {context.told(found)} differ")
                continue
            run = store.load(folder)
            if of(run, question, today=today).answer != UNDECIDED:
                return run, passed
            passed.append(f"run {folder.name} does not decide it")
        except (DataError, InputError) as error:
            passed.append(f"run {folder.name}: {error}")
    return None, passed


def of(run: Run, question: Point, *, today: Mapping[str, Any] | None = None) -> Advice:
    """Return what a run says to a question.

    Args:
        run: the run.
        question: what is asked; its modes do not matter.
        today: facts of the host and the place as they are now; those of the run by
            default.

    Raises:
        InputError: no point of the run can answer; the message says which it has.

    """
    measured = set(run.samples["point"].unique())
    points = answers([p for p in run.plan.points if p.name in measured], question)
    if not points:
        raise InputError(_unanswered(run, question))
    summary = table.summary(run)
    names = [point.name for point in points]
    rows = _rows(run, summary[summary["point"].isin(names)])
    answer, modes = _answer(rows)
    sizes = _from_size(run, points[0])
    return Advice(
        point=question,
        answer=answer,
        modes=modes,
        because=_because(answer, modes, rows, question),
        rows=tuple(rows),
        from_size={row["arm"]: cost.break_even_text(row) for row in sizes},
        first=tuple(
            _first(
                run,
                points,
                summary,
                replace(question, modes=(BASELINE, *ARMS)),
                answer=(answer, modes),
                rows=rows,
                sizes=sizes,
                today=today or run.host,
            )
        ),
        run=run.id,
        kernel=str(lookup(run.host, "kernel", "release") or "unknown"),
        congestion=str(dict(points[0].given).get(CONGESTION, "")),
        caveats=tuple(dict.fromkeys(_caveats(run, rows))),
    )


def _rows(run: Run, summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of zerocopy modes, with what the sender's CPU says of them."""
    limits = bottleneck.limits(run).set_index(["point", "arm"])[list(_OF_CPU)]
    found = summary.join(limits, on=["point", "arm"])
    idle = found["sender_share"] < bottleneck.BUSY
    waits = found.loc[idle & (found["arm"] == BASELINE), "point"]
    found["busy"] = ~(idle | found["point"].isin(waits))
    mine = found[found["arm"].isin(ARMS)].to_dict("records")
    return [{str(name): row[name] for name in row} for row in mine]


_OF_CPU = (
    *("cpu_percent", "cpu_low", "cpu_high", "cpu_floor"),
    *("sender_share", "bottleneck"),
)


def _finding(row: Mapping[str, Any]) -> str:
    """Return faster, slower, equivalent or neither: by CPU time, if that decides."""
    return str(row["finding"] if row["busy"] else bottleneck.finding(row))


def _gain(row: Mapping[str, Any]) -> float:
    """Return by how much a row is better than plain send, in percent, likewise."""
    return float(row["gain_percent"] if row["busy"] else -row["cpu_percent"])


def _apart(row: Mapping[str, Any]) -> bool:
    """Return whether requests/s and CPU time per request point different ways."""
    both = {row["finding"], str(bottleneck.finding(row))}
    return both == {table.FASTER, table.SLOWER}


def _unanswered(run: Run, question: Point) -> str:
    sizes = sorted(p.io_size_bytes for p in run.plan.points if alike(p, question))
    there = ", ".join(map(str, sizes))
    has = (
        f"it has {there} B there, none of them near, or no zerocopy mode"
        if there
        else f"it has {', '.join(dict.fromkeys(map(_where, run.plan.points)))}"
    )
    return (
        f"run {run.id} has nothing on {_where(question)}, {question.io_size_bytes} B: "
        f"{has}; leave --run out to measure it"
    )


def _where(point: Point) -> str:
    return f"{point.place} {point.protocol}/IPv{point.family} batch {point.batch}"


def _answer(rows: Sequence[dict[str, Any]]) -> tuple[str, tuple[str, ...]]:
    """Return the answer, and the modes that are faster at every size asked of."""
    faster, slow = [], []
    for arm in ARMS:
        mine = [row for row in rows if row["arm"] == arm]
        findings = {_finding(row) for row in mine}
        if not mine:
            continue
        if findings == {table.FASTER}:
            faster.append((min(map(_gain, mine)), arm))
        else:
            slow.append(_refused(mine, arm))
    if faster:
        return YES, tuple(arm for _, arm in sorted(faster, reverse=True))
    return (NO if slow and all(slow) else UNDECIDED), ()


def _refused(rows: Sequence[dict[str, Any]], arm: str) -> bool:
    """Return whether an arm was measured, and is known not to be better anywhere."""
    findings = {_finding(row) for row in rows if row["arm"] == arm}
    return bool(findings) and findings <= {table.SLOWER, table.EQUIVALENT}


def _because(
    answer: str,
    modes: Sequence[str],
    rows: Sequence[dict[str, Any]],
    question: Point,
) -> str:
    words = {arm: _better(rows, arm) for arm in sorted({row["arm"] for row in rows})}
    alike = len(set(words.values())) == 1
    if answer == YES:
        which = [f"{arm} {words[arm][0]} than {BASELINE}" for arm in modes]
        others = [
            f"{arm} {short if alike else f'{never} than {BASELINE}'}"
            if _refused(rows, arm)
            else f"of {arm} it is not decided"
            for arm, (_, short, never) in words.items()
            if arm not in modes
        ]
        return "; ".join([*which, *others])
    if answer == NO and alike and len(words) > 1:
        (better, *_) = next(iter(words.values()))
        return f"no zerocopy mode {better} than {BASELINE}"
    if answer == NO:
        return "; ".join(
            f"{arm} {never} than {BASELINE}" for arm, (*_, never) in words.items()
        )
    sizes = {row["io_size_bytes"] for row in rows}
    if len(sizes) > 1:
        return (
            f"{question.io_size_bytes} B was not measured, and its neighbours "
            f"{' and '.join(str(size) for size in sorted(sizes))} B do not both "
            "decide it"
        )
    return "; ".join(_undecided(rows, words))


def _undecided(
    rows: Sequence[dict[str, Any]], words: Mapping[str, tuple[str, str, str]]
) -> Iterator[str]:
    """Yield which modes of one size are decided, and what is known of the others.

    Args:
        rows: of that size, at least one of them undecided; or none.
        words: what `_better` says of each mode.

    """
    if not rows:
        yield "no request of a zerocopy mode completed"
        return
    unsure = [row for row in rows if not _refused(rows, row["arm"])]
    for arm, (*_, never) in words.items():
        if _refused(rows, arm):
            yield f"{arm} {never} than {BASELINE}"
    which = f"of {unsure[0]['arm']} " if len(unsure) < len(rows) else ""
    yield f"{which}no difference found that is beyond doubt"
    if all(row["busy"] for row in unsure):
        worst = max(row["mde_percent"] for row in unsure)
        yield (
            f"a gain of {table.mde_text(worst)} points would have been, nine times in "
            "ten"
            if math.isfinite(worst)
            else f"{min(row['n'] for row in unsure)} blocks find no gain reliably"
        )
        return
    told = "; ".join(
        f"{row['arm']} {bottleneck.more_text(row) or 'not known'}"
        for row in unsure
        if not row["busy"]
    )
    yield f"the sender's CPU a request, over {BASELINE}: {told}"


def _better(rows: Sequence[dict[str, Any]], arm: str) -> tuple[str, str, str]:
    """Return that an arm is better, that it is not, in short and in whole."""
    busy = {bool(row["busy"]) for row in rows if row["arm"] == arm}
    if busy == {True}:
        return "is faster", "is not", "is not faster"
    less = "less of the sender's CPU a request"
    if busy == {False}:
        return f"takes {less}", "does not", f"does not take {less}"
    return (
        f"is faster, or where the sender waits takes {less},",
        "does not",
        f"is not faster, or where the sender waits does not take {less},",
    )


def _from_size(run: Run, point: Point) -> list[dict[str, Any]]:
    """Return the rows of `cost.break_even` for the series that a point is in."""
    found = cost.break_even(run)
    if found.empty:
        return []
    mine = found[
        (found["path"] == str(point.path))
        & (found["situation"] == point.situation)
        & (found["protocol"] == str(point.protocol))
        & (found["family"] == point.family)
        & (found["batch"] == point.batch)
        & (found["given"] == options.spell(point.given))
        & found["arm"].isin(ARMS)
    ]
    return [{str(name): row[name] for name in row} for row in mine.to_dict("records")]


def _first(
    run: Run,
    points: Sequence[Point],
    summary: pd.DataFrame,
    question: Point,
    *,
    answer: tuple[str, tuple[str, ...]],
    rows: Sequence[dict[str, Any]],
    sizes: Sequence[dict[str, Any]],
    today: Mapping[str, Any],
) -> Iterator[Step]:
    """Yield what to change: what copies, then the buffer, the batch, and the size."""
    said, modes = answer
    yield from _uncopied(question, points, summary, today)
    yield from _registered(run, points, modes)
    yield from _otherwise(summary, points[-1])
    if not modes:
        yield from _larger(sizes, question)
    if said == UNDECIDED:
        asked = replace(
            points[0], io_size_bytes=question.io_size_bytes, modes=question.modes
        )
        yield Step(
            what="measure longer, on a quieter host (zclab doctor): "
            + _command(asked, rows),
            why="what was measured does not decide it",
        )


def _command(point: Point, rows: Sequence[dict[str, Any]]) -> str:
    """Return the command that measures a point for longer than some rows took.

    A precision is one of requests/s: where CPU time decides, the blocks are counted.
    """
    given = options.spell(point.given)
    longer = (
        "--precision 0.3 --budget 120"
        if all(row["busy"] for row in rows)
        else f"--blocks {LONGER * max(row['n'] for row in rows)}"
    )
    return " ".join(
        [
            f"zclab measure --path {point.path} --protocol {point.protocol} "
            f"--family {point.family} --sizes {point.io_size_bytes} "
            f"--modes {','.join(point.modes)} --batch {point.batch}",
            *([f"--options {given}"] if given else []),
            *([f"--with {point.situation}"] if point.situation else []),
            *(["--dev $DEV --dst $DST"] if point.path is Path.NIC else []),
            longer,
        ]
    )


def _uncopied(
    question: Point,
    points: Sequence[Point],
    summary: pd.DataFrame,
    today: Mapping[str, Any],
) -> Iterator[Step]:
    """Yield the cure of each rule by which the kernel copies or refuses here."""
    release = str(lookup(today, "kernel", "release") or "")
    told = preflight.by_prediction(question, lookup(today, "paths") or {}, release)
    copies = False
    for said in told:
        if said.works is False or said.copied == 1:
            copies = True
            yield Step(
                what=said.rule.cure or "nothing helps here",
                why=f"{said.word}: {said.because} [{said.rule.id}]",
            )
            for other in said.besides:
                rule = preflight.RULES[other]
                yield Step(what=rule.cure, why=f"besides: {rule.says} [{other}]")
    mine = summary[
        summary["point"].isin([p.name for p in points]) & summary["arm"].isin(ARMS)
    ]
    shares = mine["copied_share"].dropna()
    if not copies and len(shares) and shares.min() >= table.COPIED_FROM:
        yield Step(
            what="find out what copies: zclab doctor, then zclab preflight",
            why="the notifications say copied, and no rule tells why",
        )


def _registered(
    run: Run, points: Sequence[Point], modes: Sequence[str]
) -> Iterator[Step]:
    """Yield that buffers be registered, where that was faster than not to."""
    if modes and FIXED not in modes:
        return
    by_point = table.pairs(run)
    found = [
        table.against(ns, FIXED, UNFIXED)
        for ns in (by_point[point.name] for point in points)
        if {FIXED, UNFIXED} <= set(ns.columns)
    ]
    if found and all(one and one.gain.low > 0 for one in found):
        saved = found[0].saved if found[0] else None
        assert saved
        yield Step(
            what="register the buffers (IORING_RECVSEND_FIXED_BUF)",
            why=f"{FIXED} takes {saved.center:.0f} ns [{saved.low:.0f}, "
            f"{saved.high:.0f}] less than {UNFIXED}"
            + ("" if modes else f", though it is not faster than {BASELINE}"),
        )


def _otherwise(summary: pd.DataFrame, point: Point) -> Iterator[Step]:
    """Yield the batch, or the options, at which the best zerocopy mode costs less.

    Only points of the run that are alike in all else. Their intervals of ns per request
    must lie apart, as they are not paired.
    """
    zerocopy = summary[summary["arm"].isin(ARMS)]
    mine = zerocopy[zerocopy["point"] == point.name]
    given = options.spell(point.given)
    others = zerocopy[
        (zerocopy["path"] == point.place)
        & (zerocopy["protocol"] == str(point.protocol))
        & (zerocopy["family"] == point.family)
        & (zerocopy["io_size_bytes"] == point.io_size_bytes)
        & ((zerocopy["batch"] == point.batch) != (zerocopy["given"] == given))
    ]
    if mine.empty or others.empty:
        return
    now = mine.loc[mine["ns_per_request"].idxmin()]
    best = others.loc[others["ns_per_request"].idxmin()]
    if best["ns_high"] < now["ns_low"]:
        changed = (
            f"batch {best['batch']} instead of {point.batch}"
            if best["batch"] != point.batch
            else f"options {best['given'] or 'none'}"
        )
        yield Step(
            what=f"{changed}: {best['arm']} then costs {best['ns_per_request']:.0f} ns "
            f"a request, here {now['arm']} {now['ns_per_request']:.0f} ns",
            why=f"over {BASELINE} it is {table.gain_text(best)} there, "
            f"{table.gain_text(now)} here",
        )


def _larger(sizes: Sequence[dict[str, Any]], question: Point) -> Iterator[Step]:
    """Yield larger sends, where the run knows from what size on these pay."""
    known = [
        row
        for row in sizes
        if row["kind"] == cost.BETWEEN and row["bytes_high"] > question.io_size_bytes
    ]
    if known:
        row = min(known, key=lambda row: float(row["bytes_high"]))
        yield Step(
            what=f"larger sends; {row['arm']} pays from a size "
            f"{cost.break_even_text(row)}",
            why="the sizes of the same run; over UDP one send may hold several "
            "datagrams: UDP_SEGMENT, segment= in zclab",
        )


def _caveats(run: Run, rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    if run.synthetic:
        yield "SYNTHETIC: a model, no packet was sent"
    if not run.complete:
        yield "the run is partial"
    release = str(lookup(run.host, "kernel", "release") or "")
    flagged = [row for row in rows if not row["witnesses"]]
    if any(preflight.over_reports(row["protocol"], release) for row in flagged):
        yield "copied: over TCP on this kernel a share below 100% says nothing"
    yield from _of_cpu(rows)
    for row in rows:
        for text in filter(None, row["warnings"].split("; ")):
            yield f"{row['io_size_bytes']} B, {row['arm']}: {text}"
    yield from run.warnings


def _of_cpu(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield where requests/s are not the sender's, and where its CPU disagrees."""
    for row in rows:
        where = f"{row['io_size_bytes']} B, {row['arm']}"
        if not row["busy"]:
            yield (
                f"{where}: the sender was not busy all the time, with it or with "
                f"{BASELINE}, so its CPU time a request decides and not requests/s"
            )
        if _apart(row):
            more = "more" if row["finding"] == table.FASTER else "less"
            yield (
                f"{where}: {row['finding']} by requests/s, and yet {more} CPU time a "
                f"request: {bottleneck.more_text(row)}"
            )


def lines(advice: Advice) -> Iterator[str]:
    """Yield an answer as a terminal shows it."""
    point = advice.point
    yield (
        f"SEND_ZC for {point.io_size_bytes} B, {str(point.protocol).upper()}/"
        f"IPv{point.family}, batch {point.batch}, on {point.place}: "
        f"{_in_words(advice)}"
    )
    yield f"  {advice.because}"
    for row in advice.rows:
        yield (
            f"  {row['io_size_bytes']} B, {row['arm']}: "
            f"{table.gain_text(pd.Series(row))} over {BASELINE}, saves "
            f"{table.saved_text(pd.Series(row))} ns a request, copied "
            f"{table.share_text(row['copied_share'])}, n={row['n']}: {row['finding']}"
        )
        more = bottleneck.more_text(row)
        yield (
            f"    sender's CPU: {row['cpu_ns_per_request']:.0f} ns a request"
            f"{f', {more} over {BASELINE}' if more else ''}{_limit(row)}"
        )
    if advice.from_size:
        yield "from what size on:"
        for arm, text in advice.from_size.items():
            yield f"  {arm}: {text}"
    else:
        yield "from what size on: not known from this run, it has too few sizes"
    if advice.first:
        yield "what to change first:"
        for number, step in enumerate(advice.first, 1):
            yield f"  {number}. {step.what}"
            yield f"     {step.why}"
    else:
        yield "what to change first: nothing that the rules or this run know of"
    control = f", congestion={advice.congestion}" if advice.congestion else ""
    yield f"evidence: run {advice.run}, Linux {advice.kernel}{control}; 95 % intervals"
    for caveat in advice.caveats:
        yield f"  {caveat}"


def _limit(row: Mapping[str, Any]) -> str:
    """Return how busy the sender was, and what limits it, where something else may."""
    if math.isnan(row["sender_share"]):
        return ""
    return f"; busy for {100 * row['sender_share']:.0f}%, limit: {row['bottleneck']}"


def _in_words(advice: Advice) -> str:
    if advice.answer != YES:
        return advice.answer
    if FIXED not in advice.modes:
        return "yes, with plain buffers"
    if UNFIXED in advice.modes:
        return "yes with registered buffers"
    if _refused(advice.rows, UNFIXED):
        return "yes, but only with registered buffers"
    measured = any(row["arm"] == UNFIXED for row in advice.rows)
    plain = "undecided with plain ones" if measured else "plain ones were not measured"
    return f"yes with registered buffers; {plain}"
