"""Published rows against a run: a verdict for each, by one written rule.

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
direction. For ns the floor is as many percent of what the baseline costs there. A
published percent that is below this floor, or below the gain that the
point finds nine times in ten, is said to be so before anything else.

A published percent is the printed one; where the mail prints none, the two values'.
Rates are never compared across hosts, ns saved are: but zerocopy spares what a request
costs for its bytes, the copy and the memory that is copied into. So the reason says
where the published saving is more than all by which plain send grew with size here.
What the kernel copied is never called zerocopy, whatever its speed.

Sizes from which zerocopy pays are compared by `verdict_on_size`; what is said of it all
is in `conclusions`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from zclab import situation, stats
from zclab.explain import cost, published, table
from zclab.params import BASELINE
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


def tally(verdicts: pd.Series) -> str:
    """Return how many rows have each verdict, like `3 reproduced, 1 undecided`."""
    counts = ((word, int((verdicts == word).sum())) for word in VERDICTS)
    return ", ".join(f"{count} {word}" for word, count in counts if count)


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
      that smaller sizes lose: so one surely does here, but up to another size.
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
    if (
        kind == cost.BETWEEN
        and min(low, said_low) > 0
        and (low > above or high < below)
    ):
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
        word_ns = _judge_ns(claim, ours, word, frame)
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


def _judge_ns(
    claim: Mapping[Any, Any], ours: pd.Series | None, word: str, frame: pd.DataFrame
) -> str:
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
        floor=floor_ns(ours["floor_percent"], _basis_ns(claim, ours, frame)),
        least=TOLERANCE_NS,
    )


def floor_ns(floor_percent: float, basis_ns: float) -> float:
    """Return a noise floor in ns: by how much equal arms of that cost may differ.

    Args:
        floor_percent: of the point, as in `table.summary`.
        basis_ns: what the arm that is compared with costs there, ns per request.

    """
    return floor_percent / 100 * basis_ns


def _basis(claim: Mapping[Any, Any]) -> str:
    """Return the arm that stands for the baseline of a claim's row."""
    twin = published.TWINS[str(claim["table"])]
    return twin.bases.get(str(claim["column"]), str(BASELINE))


def _basis_ns(claim: Mapping[Any, Any], ours: pd.Series, frame: pd.DataFrame) -> float:
    """Return what that arm costs at our point, ns per request."""
    here = (frame["point"] == ours["point"]) & (frame["arm"] == _basis(claim))
    return float(frame.loc[here, "ns_per_request"].iloc[0])


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
    basis = _basis(claim)
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

    Columns: name, says, said (bytes, as text), path (the place), protocol, family,
    batch, given, arm, basis, pays_from (ours in words, with the interval), copied_share
    (the largest of its sizes), verdict, reason, source, stated, unstated (by
    claims of any protocol). One row per plain series of the run that a claim fits, one
    without where none does; see `verdict_on_size`.
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
    at: Mapping[str, Any]
    gains: Mapping[int, pd.Series]

    @property
    def copied_share(self) -> Any:
        """The largest of its sizes, as far as they are known."""
        return self._shares.max()

    @property
    def _shares(self) -> pd.Series:
        shares = {size: row["copied_share"] for size, row in self.gains.items()}
        return pd.Series(shares, dtype="Float64")

    @property
    def copied(self) -> str:
        """Which sizes were no zerocopy, as a sentence; empty for none."""
        shares = self._shares
        copied = shares[[not kept_zerocopy(share) for share in shares]]
        if copied.empty:
            return ""
        told = f"{table.shares_text(copied)} of notifications say copied"
        whole = copied.min() >= table.COPIED_FROM
        so = "so no copy is saved" if whole else "so not all of it was zerocopy"
        if len(copied) == len(shares):
            return f"{told}, {so} at any size."
        sizes = ", ".join(map(str, sorted(copied.index)))
        return f"At {sizes} B {told}, {so} there."

    @property
    def effects(self) -> dict[int, int]:
        """What `verdict_on_size` wants of each size."""
        return {
            size: 0
            if _is_nothing(row["gain_low"], row["gain_high"], row["floor_percent"])
            else int(math.copysign(1, row["gain_percent"]))
            for size, row in self.gains.items()
        }


# Options that a claim leaves open: which congestion control, and how what is sent
# through a nic without a peer finds its way.
OPEN = frozenset({"congestion", "addressed"})


def _fits(claim: Mapping[Any, Any], one: cost.Series) -> bool:
    """Return whether a claim is about a series: nothing was done to it on purpose."""
    point = one.points[0]
    plain = situation.completed("", path=str(point.path), protocol=str(point.protocol))
    return (
        point.situation == plain
        and {name for name, _ in point.given} <= OPEN
        and claim["protocol"] in ("any", str(point.protocol))
        and claim["path"] in ("any", str(point.path))
        and {claim["arm"], claim["basis"]} <= set(one.arms)
    )


def _crossed(
    claim: Mapping[Any, Any],
    one: cost.Series,
    frame: pd.DataFrame,
    by_point: Mapping[str, pd.DataFrame],
) -> _Crossed:
    names = [point.name for point in one.points]
    frames = [by_point[name] for name in names]
    saved = cost.saving(frames, str(claim["arm"]), str(claim["basis"]))
    mine = frame[frame["point"].isin(names) & (frame["arm"] == claim["arm"])]
    place = situation.place(str(one.label["path"]), str(one.label["situation"]))
    return _Crossed(
        label={**one.label, "path": place},
        at=cost.crossed(one.sizes, *saved),
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
        "stated": claim["stated"],
        "unstated": claim["unstated"] if claim["protocol"] == "any" else "",
        "said": f"{high} B" if low == high else f"{low} to {high} B",
        **{
            name: str(label.get(name, ""))
            for name in ("path", "protocol", "family", "batch", "given")
        },
        "arm": claim["arm"],
        "basis": claim["basis"],
        "pays_from": cost.break_even_text(found.at) if found else "-",
        "copied_share": found.copied_share if found else pd.NA,
        "verdict": word,
        "reason": reason,
        "source": claim["source"],
    }


def size_words(sized: pd.DataFrame) -> list[str]:
    """Return rows of `sizes` that were compared, a sentence each."""
    return [
        f"{row['said']} ({_says(row)}): {row['verdict']}, {row['arm']} against "
        f"{row['basis']} on {table.where(row)}: {row['pays_from']}. {row['reason']}"
        for _, row in sized.iterrows()
    ]


def _says(row: pd.Series) -> str:
    """Return a claim with what it leaves open, where that is even the protocol."""
    if not row["unstated"]:
        return str(row["says"])
    return f"{row['says']}; not stated: {row['unstated'].replace('; ', ', ')}"


def _judge_size(claim: Mapping[Any, Any], found: _Crossed | None) -> tuple[str, str]:
    if found is None:
        where = f" on {claim['path']}" if claim["path"] != "any" else ""
        return NOT_MEASURED, (
            f"This run has no plain series of {cost.LEAST_SIZES} sizes, each with "
            f"{stats.needed()} blocks or more of {claim['arm']} and {claim['basis']}"
            f"{where}."
        )
    if found.copied:
        return NOT_COMPARABLE, found.copied
    said_low, said_high = claim["low_bytes"], claim["high_bytes"]
    effects = found.effects
    kind, low, high = (found.at[name] for name in ("kind", "bytes_low", "bytes_high"))
    word = verdict_on_size(said_low, said_high, kind, low, high, effects=effects)
    told = {
        REPRODUCED: f"Within a factor of {SIZE_FACTOR:g}.",
        DIRECTION_ONLY: "Small sends lose and large ones win in both, but not from "
        "the same size on.",
        UNDECIDED: f"The sizes measured, {found.at['smallest']} to "
        f"{found.at['largest']} B, do not tell.",
    }
    size = _against(said_low, said_high, kind, effects)
    if word == CONTRADICTED and size is not None:
        row = found.gains[size]
        verb = "wins" if effects[size] > 0 else "loses"
        return word, f"It {verb} at {size} B: {table.gain_text(row)}, n={row['n']}."
    return word, told[word]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
