"""Published rows against a run: a verdict for each, and the findings in words.

The rule, for percent and for ns saved per request apart, on our median with its
95 % interval, paired within the block against plain send (or against the arm that
stands for the row's own baseline). *Near* means that the published value lies within
our interval widened on both sides by the tolerance: 5 points (25 ns) or a quarter of
the published value, whichever is more. Hosts four years apart do not agree better,
even when nothing is wrong.

- `not measured`: the run has no point that the row can be compared with; the command
  that would measure one is told.
- `not comparable`: what was sent differs in kind; the reason says how.
- `reproduced`: near, and our effect has the same sign.
- `direction only`: not near, but our effect has the same sign.
- `contradicted`: not near, and our effect has the other sign, or there is none: the
  whole interval is within the tolerance of zero.
- `undecided`: all else. Ours could be the published effect, or none at all.

There is no effect where our interval includes zero or, for percent, lies within the
noise floor of the point: the larger end of the interval of the A/A control, in either
direction. A published percent that is below this floor, or below the gain that the
point finds nine times in ten, is said to be so before anything else.

A published percent is the printed one; where the mail prints none, the two values'.
Rates are never compared across hosts, ns saved are: but zerocopy spares what a request
costs for its bytes, the copy and the memory that is copied into. So the reason says
where the published saving is more than all by which plain send grew with size here.
What the kernel copied is never called zerocopy, whatever its speed.

Sizes from which zerocopy pays are compared by `verdict_on_size`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from zclab import stats
from zclab.explain import breakdown, cost, published, table
from zclab.params import BASELINE, Mode
from zclab.store import Run

REPRODUCED = "reproduced"
DIRECTION_ONLY = "direction only"
UNDECIDED = "undecided"
CONTRADICTED = "contradicted"
NOT_COMPARABLE = "not comparable"
NOT_MEASURED = "not measured"

VERDICTS = (
    REPRODUCED,
    DIRECTION_ONLY,
    UNDECIDED,
    CONTRADICTED,
    NOT_COMPARABLE,
    NOT_MEASURED,
)

TOLERANCE_POINTS = 5.0
TOLERANCE_NS = 25.0
TOLERANCE_SHARE = 0.25

SIZE_FACTOR = 1.5  # sizes that differ by no more than this are near

LEAST_SHARE = 0.05  # of what is lost; buckets with less are not named

ANSWER = "408e230c-d098-4ecf-a5b1-1fae9daadb93@gmail.com"


def verdict(
    said: float, low: float, center: float, high: float, *, floor: float, least: float
) -> str:
    """Return the verdict of the module's rule on one published value.

    Args:
        said: the published value; below zero where zerocopy was slower.
        low: our interval's lower end, in the unit of `said`.
        center: our median.
        high: our interval's upper end.
        floor: noise floor in the same unit.
        least: smallest tolerance in the same unit.

    """
    tolerance = max(least, TOLERANCE_SHARE * abs(said))
    near = low - tolerance <= said <= high + tolerance
    nothing = _is_nothing(low, high, floor)
    if not nothing and (said > 0) == (center > 0):
        return REPRODUCED if near else DIRECTION_ONLY
    if near or (nothing and max(abs(low), abs(high)) > tolerance):
        return UNDECIDED
    return CONTRADICTED


def _is_nothing(low: float, high: float, floor: float) -> bool:
    """Return whether an interval shows no effect: it has zero, or is in the floor."""
    return low <= 0 <= high or max(abs(low), abs(high)) <= floor


def verdict_on_size(
    said_low: float,
    said_high: float,
    kind: str,
    low: float,
    high: float,
    *,
    effects: Mapping[int, int],
) -> str:
    """Return the verdict on a published size from which on zerocopy pays.

    At a measured size zerocopy *wins* or *loses* where there is an effect as in the
    module's rule: its interval leaves out zero and reaches beyond the noise floor.
    *Near* is within the published range, widened by `SIZE_FACTOR` on both sides. That
    is the tolerance: no size measured inside it decides where ours lies in it.

    - `reproduced`: our whole interval is near. Where the mail says that no size loses:
      zerocopy pays at every size measured, and the smallest one wins and is near.
    - `contradicted`: otherwise, and of the sizes measured from the published one on
      the first with an effect loses. Where the mail says that no size loses, any of
      them that does. Where it says that smaller ones do: zerocopy pays at every size
      measured, and one below all that is near wins.
    - `direction only`: otherwise, and none of our interval is near, and the mail says
      that smaller sizes lose: so it is here, but up to another size.
    - `undecided`: all else.

    Args:
        said_low: published size in bytes; 0 where it pays at any size below said_high.
        said_high: the same, or the other end of what was published.
        kind: of `cost.break_even`.
        low: lower end of our interval, bytes; NaN unless `kind` is between.
        high: its upper end.
        effects: by each size measured, in any order: 1 it wins, -1 it loses, 0 neither.

    """
    below, above = said_low / SIZE_FACTOR, said_high * SIZE_FACTOR
    if kind == cost.BETWEEN and below <= low and high <= above:
        return REPRODUCED
    if kind == cost.ALWAYS and said_low <= 0 and effects:
        smallest = min(effects)
        if effects[smallest] > 0 and smallest <= above:
            return REPRODUCED
    if _against(said_low, said_high, kind, effects) is not None:
        return CONTRADICTED
    if kind == cost.BETWEEN and said_low > 0 and (low > above or high < below):
        return DIRECTION_ONLY
    return UNDECIDED


def _against(
    said_low: float, said_high: float, kind: str, effects: Mapping[int, int]
) -> int | None:
    """Return the size that contradicts a published one, as `verdict_on_size` says."""
    told = [size for size in sorted(effects) if effects[size]]
    beyond = [size for size in told if size >= said_high]
    losing = [size for size in beyond if effects[size] < 0]
    if losing and (said_low <= 0 or losing[0] == beyond[0]):
        return losing[0]
    early = [size for size in told if size < said_low / SIZE_FACTOR]
    return early[0] if early and kind == cost.ALWAYS else None


def compare(run: Run) -> pd.DataFrame:
    """Return one row per published zerocopy cell, in the order of the mails.

    Columns: claim, table, io_size_bytes, column; published_percent, printed (whether
    the mail prints it), published_ratio, published_saved_ns (NaN where it cannot be
    told);
    point, arm, n, gain_percent, gain_low, gain_high, saved_ns, saved_low, saved_high,
    floor_percent, mde_percent, copied_share (ours; missing where there is none);
    verdict and reason for the percent, verdict_ns and reason_ns for the ns saved;
    command (what would measure the row, where it is not measured); source.
    """
    return compared(table.summary(run), run)


def compared(frame: pd.DataFrame, run: Run | None = None) -> pd.DataFrame:
    """Return what `compare` does, from what `table.summary` returned.

    Without the run, rows whose baseline is another arm than plain send are not
    measured.
    """
    by_point = table.pairs(run) if run else {}
    rows = []
    for claim in published.claims().to_dict("records"):
        ours = _ours(frame, claim, by_point)
        word, reason = judge(claim, ours, published.twin(str(claim["table"]), frame))
        if word == NOT_MEASURED:  # what this run has beside it is another comparison
            ours = None
        word_ns = _judge_ns(claim, ours, word)
        rows.append(
            {
                "claim": claim["claim"],
                "table": claim["table"],
                "io_size_bytes": claim["io_size_bytes"],
                "column": claim["column"],
                "published_percent": claim["published_percent"],
                "printed": claim["printed"],
                "published_ratio": claim["published_ratio"],
                "published_saved_ns": claim["published_saved_ns"],
                **_our_columns(ours),
                "verdict": word,
                "verdict_ns": word_ns,
                "reason": reason,
                "reason_ns": _grown(claim, ours, word_ns, frame),
                "command": _command(claim, word),
                "source": claim["source"],
            }
        )
    result = pd.DataFrame(rows)
    result["copied_share"] = result["copied_share"].astype("Float64")
    result["n"] = result["n"].astype("Int64")
    return result


def _command(claim: Mapping[Any, Any], word: str) -> str:
    if word != NOT_MEASURED:
        return ""
    size, column = int(claim["io_size_bytes"]), str(claim["column"])
    return published.command(str(claim["table"]), [size], column)


OURS = (
    "point",
    "arm",
    "n",
    "gain_percent",
    "gain_low",
    "gain_high",
    "saved_ns",
    "saved_low",
    "saved_high",
    "floor_percent",
    "mde_percent",
    "copied_share",
)


def _our_columns(ours: pd.Series | None) -> dict[str, object]:
    if ours is None:
        empty = {"point": "", "arm": "", "n": pd.NA, "copied_share": pd.NA}
        return {name: empty.get(name, math.nan) for name in OURS}
    return {name: ours[name] for name in OURS}


def _ours(
    frame: pd.DataFrame, claim: Mapping[Any, Any], by_point: Mapping[str, pd.DataFrame]
) -> pd.Series | None:
    """Return our row of the claim's twin point and arm, if the run has it."""
    name, column = str(claim["table"]), str(claim["column"])
    twin = published.twin(name, frame)
    arm = twin.arms.get(column)
    size = int(claim["io_size_bytes"])
    point = published.twin_point(frame, name, size, column)
    found = frame[(frame["point"] == point) & (frame["arm"] == arm)]
    if found.empty or math.isnan(found.iloc[0]["gain_percent"]):
        return None
    basis = twin.bases.get(column)
    if basis is None:
        return found.iloc[0]
    return _over(found.iloc[0], by_point.get(str(point)), basis)


def _over(row: pd.Series, ns: pd.DataFrame | None, basis: str) -> pd.Series | None:
    """Return a row of `summary` with its effect over another arm than plain send."""
    if ns is None or not {row["arm"], basis} <= set(ns.columns):
        return None
    found = table.against(ns, row["arm"], basis, row["floor_percent"])
    if found is None:
        return None
    row = row.copy()
    row["n"], row["mde_percent"] = found.gain.n, found.mde_percent
    for name, center, interval in (
        ("gain", "gain_percent", found.gain),
        ("saved", "saved_ns", found.saved),
    ):
        row[center] = interval.center
        row[f"{name}_low"], row[f"{name}_high"] = interval.low, interval.high
    return row


def judge(
    claim: Mapping[Any, Any], ours: pd.Series | None, twin: published.Twin
) -> tuple[str, str]:
    """Return the verdict on a claim's percent, and in a sentence or two why.

    Args:
        claim: a row of `published.claims`.
        ours: the row of `table.summary` that it is compared with, if there is one.
        twin: of the claim's table.

    """
    if twin.not_measured:
        return NOT_MEASURED, f"There is {twin.not_measured}."
    if str(claim["counterpart"]).startswith(published.NONE):
        why = str(claim["counterpart"]).removeprefix(published.NONE)
        return NOT_COMPARABLE, _capital(f"{why}.")
    if twin.not_comparable:
        return NOT_COMPARABLE, _capital(f"{twin.not_comparable}{_seen(ours)}.")
    if ours is None:
        return NOT_MEASURED, f"This run has no point with {_wanted(claim, twin)}."
    if twin.zerocopy and not kept_zerocopy(ours["copied_share"]):
        return NOT_COMPARABLE, (
            f"The published sends were zerocopy; here "
            f"{table.share_text(ours['copied_share'])} of notifications say copied."
        )
    said = float(claim["published_percent"])
    word = verdict(
        said,
        ours["gain_low"],
        ours["gain_percent"],
        ours["gain_high"],
        floor=ours["floor_percent"],
        least=TOLERANCE_POINTS,
    )
    return word, f"{_limit(said, ours)}{_reason(word, said, ours)}"


def _wanted(claim: Mapping[Any, Any], twin: published.Twin) -> str:
    """Return what a point must have to be the twin of a claim, in words."""
    parts = [twin.path, twin.protocol.upper(), f"{claim['io_size_bytes']} B"]
    if claim["family"] != published.UNSTATED:
        parts.append(f"IPv{claim['family']}")
    if claim["batch"] != published.UNSTATED:
        parts.append(f"batch {claim['batch']}")
    basis = twin.bases.get(str(claim["column"]))
    arms = " and ".join(filter(None, (twin.arms[str(claim["column"])], basis)))
    return f"{', '.join(parts)} and {arms}"


def _limit(said: float, ours: pd.Series) -> str:
    """Return a sentence where an effect is too small to be argued about here."""
    floor, least = ours["floor_percent"], ours["mde_percent"]
    known = [limit for limit in (floor, least) if math.isfinite(limit)]
    if not known or abs(said) >= max(known):
        return ""
    what = "this point's noise floor" if abs(said) < floor else "what this point finds"
    return (
        f"{table.percent_text(round(said, 1))} is below {what} (floor {floor:.1f}, "
        f"found nine times in ten: {table.mde_text(least)} points). "
    )


def _seen(ours: pd.Series | None) -> str:
    """Return what our notifications said about copying, as a clause."""
    if ours is None:
        return ""
    share = ours["copied_share"]
    if pd.isna(share):
        return "; whether ours were copied is unknown"
    if share == 1:
        return "; here every notification says copied"
    return f"; here {table.share_text(share)} of notifications say copied"


def kept_zerocopy(share: Any) -> bool:
    """Return False where the copied share contradicts zerocopy; unknown does not."""
    return bool(pd.isna(share) or share < table.ZEROCOPY_BELOW)


def _reason(word: str, said: float, ours: pd.Series) -> str:
    here = table.gain_text(ours)
    there = table.percent_text(round(said, 1))
    floor = ours["floor_percent"]
    if math.isinf(ours["gain_high"]):
        return f"With n={ours['n']} blocks there is no interval yet."
    tolerance = max(TOLERANCE_POINTS, TOLERANCE_SHARE * abs(said))
    if word == UNDECIDED:
        return (
            f"Our {here} does not tell {there} from nothing, at a tolerance of "
            f"{tolerance:.1f} points and a noise floor of {floor:.1f}."
        )
    if word == REPRODUCED:
        return f"{there} lies within {tolerance:.1f} points of our {here}."
    if word == CONTRADICTED:
        return f"The mail says {there}, we see {here}."
    size = "larger" if abs(ours["gain_percent"]) > abs(said) else "smaller"
    return (
        f"Same sign, {size} here: {there} is over {tolerance:.1f} points "
        f"from our {here}."
    )


def _judge_ns(claim: Mapping[Any, Any], ours: pd.Series | None, word: str) -> str:
    """Return the verdict on the ns saved; empty where the mail gives no ns."""
    said = float(claim["published_saved_ns"])
    if math.isnan(said):
        return ""
    if ours is None or word in (NOT_COMPARABLE, NOT_MEASURED):
        return word
    return verdict(
        said,
        ours["saved_low"],
        ours["saved_ns"],
        ours["saved_high"],
        floor=0.0,
        least=TOLERANCE_NS,
    )


def _grown(
    claim: Mapping[Any, Any], ours: pd.Series | None, word: str, frame: pd.DataFrame
) -> str:
    """Return a sentence where bytes cost less here than the mail's saving; or none.

    What they cost is measured: by how much the baseline is dearer than at the
    smallest size of the same conditions.
    """
    if ours is None or word in ("", NOT_COMPARABLE, NOT_MEASURED):
        return ""
    said = float(claim["published_saved_ns"])
    twin = published.TWINS[str(claim["table"])]
    basis = twin.bases.get(str(claim["column"]), str(BASELINE))
    alike = frame["arm"] == basis
    for name in ("path", "situation", "protocol", "family", "batch", "given"):
        alike &= frame[name] == ours[name]
    costs = frame[alike].sort_values("io_size_bytes")
    at = costs[costs["point"] == ours["point"]]
    if at.empty or costs.iloc[0]["point"] == ours["point"]:
        return ""
    small, here = costs.iloc[0], at.iloc[0]
    if said <= here["ns_high"] - small["ns_low"]:
        return ""
    return (
        f"Here {basis} costs {cost_text(small)} ns at {small['io_size_bytes']} B and "
        f"{cost_text(here)} at {here['io_size_bytes']} B: it grew by less than the "
        f"{said:.0f} ns that were saved there."
    )


def cost_text(row: pd.Series) -> str:
    """Return the ns per request of a row of `table.summary`, with the interval."""
    return f"{row['ns_per_request']:.0f} [{row['ns_low']:.0f}, {row['ns_high']:.0f}]"


def sizes(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """Return each published break-even size beside those of the run, if it has any.

    Columns: name, says, said (bytes, as text), path, protocol, family, batch, arm,
    basis, pays_from (ours in words, with the interval), copied_share, verdict, reason,
    source. One row per series of the run that a claim fits, one without where none
    does; see `verdict_on_size`.
    """
    found = cost.series(run)
    by_point = table.pairs(run)
    rows = []
    for claim in published.thresholds().to_dict("records"):
        fits = [one for one in found if _fits(claim, one)]
        rows += [
            _size_row(claim, _crossed(claim, one, frame, by_point)) for one in fits
        ]
        if not fits:
            rows.append(_size_row(claim, None))
    result = pd.DataFrame(rows)
    result["copied_share"] = result["copied_share"].astype("Float64")
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crossed:
    """Where a series of the run breaks even, of one arm over another.

    `gains` are rows of `table.summary`, with the effect over that other arm.
    """

    label: dict[str, Any]
    kind: str
    at: float
    low: float
    high: float
    smallest: int
    largest: int
    copied_share: Any
    gains: Mapping[int, pd.Series]

    @property
    def effects(self) -> dict[int, int]:
        """What `verdict_on_size` wants of each size."""
        return {
            size: 0
            if _is_nothing(row["gain_low"], row["gain_high"], row["floor_percent"])
            else int(math.copysign(1, row["gain_percent"]))
            for size, row in self.gains.items()
        }

    @property
    def text(self) -> str:
        """What `cost.break_even_text` says of it."""
        return cost.break_even_text(
            {
                "kind": self.kind,
                "break_even_bytes": self.at,
                "bytes_low": self.low,
                "bytes_high": self.high,
                "windows": "",
                "smallest": self.smallest,
                "largest": self.largest,
            }
        )


def _fits(claim: Mapping[Any, Any], one: cost.Series) -> bool:
    point = one.points[0]
    return (
        claim["protocol"] in ("any", str(point.protocol))
        and claim["path"] in ("any", str(point.path))
        and {claim["arm"], claim["basis"]} <= set(one.arms)
    )


def _crossed(
    claim: Mapping[Any, Any],
    one: cost.Series,
    frame: pd.DataFrame,
    by_point: Mapping[str, pd.DataFrame],
) -> _Crossed:
    arm, basis = (one.arms.index(claim[name]) for name in ("arm", "basis"))
    if claim["basis"] == BASELINE:
        saved, drawn = one.saved_ns[:, arm], one.drawn_saved_ns[:, :, arm]
    else:  # of the medians: pairs are kept against plain send alone
        saved = one.median_ns[:, basis] - one.median_ns[:, arm]
        drawn = one.drawn_ns[:, :, basis] - one.drawn_ns[:, :, arm]
    kind, at = cost.crossing(one.sizes, saved)
    low = high = math.nan
    if kind == cost.BETWEEN:
        least, most = cost.ends(drawn)
        loses = one.sizes[(most < 0) & (one.sizes < at)]
        unsure = one.sizes[least <= 0]
        beyond = one.sizes[one.sizes > max(unsure, default=0.0)]
        low, high = max(loses, default=0.0), min(beyond, default=math.inf)
    names = [point.name for point in one.points]
    mine = frame[frame["point"].isin(names) & (frame["arm"] == claim["arm"])]
    return _Crossed(
        label=one.label,
        kind=kind,
        at=at,
        low=low,
        high=high,
        smallest=int(one.sizes[0]),
        largest=int(one.sizes[-1]),
        copied_share=mine["copied_share"].max(),
        gains=_gains(mine, str(claim["basis"]), by_point),
    )


def _gains(
    rows: pd.DataFrame, basis: str, by_point: Mapping[str, pd.DataFrame]
) -> dict[int, pd.Series]:
    """Return by size the rows of an arm with their effect over another one."""
    found = {}
    for _, row in rows.iterrows():
        ours: pd.Series | None = row
        if basis != BASELINE:
            ours = _over(row, by_point.get(str(row["point"])), basis)
        if ours is not None and not math.isnan(ours["gain_percent"]):
            found[int(row["io_size_bytes"])] = ours
    return found


def _size_row(claim: Mapping[Any, Any], found: _Crossed | None) -> dict[str, Any]:
    word, reason = _judge_size(claim, found)
    label = found.label if found else {}
    low, high = int(claim["low_bytes"]), int(claim["high_bytes"])
    return {
        "name": claim["name"],
        "says": claim["says"],
        "said": f"{high} B" if low == high else f"{low} to {high} B",
        **{
            name: str(label.get(name, ""))
            for name in ("path", "situation", "protocol", "family", "batch")
        },
        "arm": claim["arm"],
        "basis": claim["basis"],
        "pays_from": found.text if found else "-",
        "copied_share": found.copied_share if found else pd.NA,
        "verdict": word,
        "reason": reason,
        "source": claim["source"],
    }


def size_words(sized: pd.DataFrame) -> list[str]:
    """Return rows of `sizes` that were compared, a sentence each."""
    return [
        f"{row['said']} ({row['says']}): {row['verdict']}, {row['arm']} against "
        f"{row['basis']} on {row['path']}, {row['protocol'].upper()}/IPv"
        f"{row['family']}, batch {row['batch']}: {row['pays_from']}. {row['reason']}"
        for row in sized.to_dict("records")
    ]


def _judge_size(claim: Mapping[Any, Any], found: _Crossed | None) -> tuple[str, str]:
    if found is None:
        path = "sink" if claim["path"] == "any" else claim["path"]
        return NOT_MEASURED, (
            f"This run has no series of {cost.LEAST_SIZES} sizes with {claim['arm']} "
            f"and {claim['basis']}"
            + (f" on {path}." if claim["path"] != "any" else ".")
        )
    if not kept_zerocopy(found.copied_share):
        return NOT_COMPARABLE, (
            f"{_capital(table.share_text(found.copied_share))} of notifications say "
            "copied, so no copy is saved at any size."
        )
    said_low, said_high = claim["low_bytes"], claim["high_bytes"]
    effects = found.effects
    word = verdict_on_size(
        said_low, said_high, found.kind, found.low, found.high, effects=effects
    )
    told = {
        REPRODUCED: f"Within a factor of {SIZE_FACTOR:g}.",
        DIRECTION_ONLY: "Small sends lose and large ones win in both, but not from "
        "the same size on.",
        UNDECIDED: f"The sizes measured, {found.smallest} to {found.largest} B, do "
        "not tell.",
    }
    size = _against(said_low, said_high, found.kind, effects)
    if word == CONTRADICTED and size is not None:
        row = found.gains[size]
        verb = "wins" if effects[size] > 0 else "loses"
        return word, f"It {verb} at {size} B: {table.gain_text(row)}, n={row['n']}."
    return word, told[word]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def verdict_sentences(run: Run) -> list[str]:
    """Return the findings in words, most important first; all of it is computed.

    Partial run, copied share by path, wins, losses, what differs by less than a
    point, no difference, what holds for all comparisons together, February 2025, v5,
    and the cause where veth and sink were both measured at the selftest's
    size. A part that the run has nothing on is one short sentence or left out.
    """
    return sentences(run, table.summary(run))


def sentences(run: Run, frame: pd.DataFrame) -> list[str]:
    """Return what `verdict_sentences` does, from what `table.summary` returned."""
    return [
        *_partial(run),
        *_copied(run, frame),
        *_findings(frame, table.FASTER, "wins"),
        *_findings(frame, table.SLOWER, "loses"),
        *equivalents(frame),
        *_no_difference(frame),
        *as_a_whole(frame),
        *conclusions(run, frame),
    ]


def conclusions(run: Run, frame: pd.DataFrame) -> list[str]:
    """Return the sentences on both mails, the cause and the shape."""
    rows = compared(frame, run)
    seen = breakdown.of_host(run)
    return [*_selftest(rows), *causes(frame, rows, seen), *_v5(rows, run)]


def causes(
    frame: pd.DataFrame,
    rows: pd.DataFrame,
    seen: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """Return why veth and sink differ, and how cost grows with size, in words.

    Args:
        frame: what `table.summary` returned.
        rows: what `compared` returned.
        seen: what `breakdown.of_host` returned; without one of veth the sentence
            names the command that makes it.

    """
    return [*_why(frame, seen), *_by_size(frame, rows)]


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
            f"(against send, n={_range(group['n'])} blocks){_though(group)}."
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


def _range(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"


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
    total = int(group["notifications"].sum())
    mean = float((shares * group["notifications"]).sum()) / total
    said = f"{table.share_text(mean)} of {total} notifications say copied"
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
    # is marked used (io_uring/notif.c: io_link_skb, io_tx_ubuf_complete).
    if (group["protocol"] == "tcp").any():
        text += "; over TCP a share below 100% also counts sends that shared an skb"
    return f"{text})"


def _v5(rows: pd.DataFrame, run: Run) -> Iterator[str]:
    dummy = rows[(rows["table"] == "v5-dummy") & (rows["column"] == "zc + flush")]
    here = dummy[dummy["point"] != ""]
    if here.empty:
        yield "The v5 cover letter cannot be compared: no sink point at its sizes."
        return
    yield (
        f"Against v5's dummy table, column zc + flush (n={_range(here['n'])}): "
        f"{_tally(dummy['verdict'])}. "
        + "; ".join(
            _beside(row, f"{row['io_size_bytes']} B") for _, row in here.iterrows()
        )
        + f". {_not_alike(run)}"
    )
    parts = [
        f"{row['io_size_bytes']} B {table.signed(row['published_saved_ns'], 0)} then, "
        f"{table.saved_text(row)} here"
        for _, row in here.iterrows()
    ]
    yield (
        "In ns saved per request, which the fixed cost of a request does not enter: "
        f"{_tally(dummy['verdict_ns'])}. {'; '.join(parts)}."
    )


def _not_alike(run: Run) -> str:
    """Return what sets this run apart from v5's dummy table, as far as it is known."""
    kind = run.host.get("paths", {}).get("sink", {}).get("kind")
    known = {
        "ifb": "the sink is an ifb, which takes one transmit lock more than dummy",
        "dummy": "the device is alike",
    }
    parts = [known.get(kind, "the sink's device was not recorded")]
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
    parts = []
    twin = published.TWINS["v5-dummy"]
    for column, arm in (
        (twin.baseline, str(BASELINE)),
        (small["column"], small["arm"]),
    ):
        costs = [
            cost_text(row)
            for row in (ours.loc[(end["point"], arm)] for end in (small, large))
        ]
        ends = (then[(end["io_size_bytes"], column)] for end in (small, large))
        parts.append(
            f"{column} from {' to '.join(f'{ns:.0f}' for ns in ends)} ns then, "
            f"{arm} from {' to '.join(costs)} ns here"
        )
    yield (
        f"Shape: from {small['io_size_bytes']} to {large['io_size_bytes']} B the cost "
        f"of a request went: {'; '.join(parts)} (n={_range(here['n'])})."
    )


def _tally(verdicts: pd.Series) -> str:
    """Return how many rows have each verdict, like `3 reproduced, 1 undecided`."""
    counts = ((word, int((verdicts == word).sum())) for word in VERDICTS)
    return ", ".join(f"{count} {word}" for word, count in counts if count)


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
        f"{here.iloc[0]['io_size_bytes']} B, batch 64, n={_range(here['n'])}): {parts}."
    )


def cause(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `summary` that tell the cause: one point on veth and on sink.

    They are alike in protocol, family, size and batch, those of the selftest's table,
    and only the receiver differs. Empty unless both points were measured.
    """
    twin = published.TWINS["feb2025-selftest"]
    claims = published.claims()
    size = claims.loc[claims["table"] == "feb2025-selftest", "io_size_bytes"].iloc[0]
    alike = frame[
        frame["path"].isin(["veth", "sink"])
        & (frame["protocol"] == twin.protocol)
        & (frame["family"] == twin.family)
        & (frame["io_size_bytes"] == size)
        & (frame["batch"] == twin.batch)
        & (frame["given"] == "")
    ]
    return alike if alike["path"].nunique() == 2 else alike.iloc[:0]


def _why(frame: pd.DataFrame, seen: Sequence[Mapping[str, Any]]) -> Iterator[str]:
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
    facts = (
        f"the same {veth['io_size_bytes']} B {arm} over UDP/IPv{veth['family']} is "
        f"{table.gain_text(veth)} on veth with {_share(veth)} of notifications copied, "
        f"and {table.gain_text(sink)} on the sink with {_share(sink)} "
        f"(n={_range(ours['n'])})"
    )
    copied = (veth["copied_share"], sink["copied_share"])
    if pd.isna(copied[0]) or pd.isna(copied[1]):
        yield f"Why is open, as the copied share is unknown: {facts}."
    elif copied[0] >= table.COPIED_FROM and copied[1] < table.ZEROCOPY_BELOW:
        yield (
            f"Why: {facts}. That is the cause that the patches' author named in the "
            f"thread ({ANSWER}): on the way to a local socket skb_orphan_frags_rx() "
            "copies after all, late, into pages that it allocates first; holding the "
            "sender's was for nothing, and a notification is due all the same. The "
            f"notifications confirm the copy. {_parts(veth, seen)}"
        )
    else:
        yield f"The copied shares do not explain the difference: {facts}."


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
        return (
            f"perf, apart from these samples and without an interval (zclab "
            f"breakdown), has {arm} {lost:+.0f} ns dearer than send on veth: {told}. "
            f"So most of it is {' and '.join(most.index)}."
        )
    return (
        "What part of the difference is allocating, holding pages, copying or "
        "notifying was not measured apart; this does: zclab breakdown --path veth "
        f"--protocol {veth['protocol']} --family {veth['family']} "
        f"--sizes {veth['io_size_bytes']} --batch {veth['batch']}."
    )


def _share(row: pd.Series) -> str:
    return table.share_text(row["copied_share"])
