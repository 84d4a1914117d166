"""The same points in several runs: of other hosts, other kernels, other days.

Nothing is pooled: each run keeps its own n and interval, and what is compared are the
gains over plain send, never rates. A run's interval covers that run; how far runs of
one context lie apart is what it leaves out, and can only be seen here.

The interval of the difference of two independent gains is that of `stats.difference`:
from the two intervals alone, so that no distribution is assumed here either.
"""

import math
import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from zclab import context as contexts
from zclab import stats, store
from zclab.errors import DataError, InputError
from zclab.explain import claims, table
from zclab.params import BASELINE, CONTROL, Plan
from zclab.store import Run
from zclab.store.journal import read_plan

SAME = "same direction"
OPPOSITE = "opposite"
NOT_IN_ALL = "an effect in some only"
NONE = "no effect in any"

WORDS = (SAME, NOT_IN_ALL, OPPOSITE, NONE)

MOST = len(string.ascii_uppercase)

SOURCES = ("software commit", "software dirty", "software zclab")


def labels(runs: Sequence[Run]) -> dict[str, str]:
    """Return a capital letter for each run, and the run's id.

    Raises:
        InputError: fewer than two runs, more than there are letters, or one run twice.

    """
    ids = [run.id for run in runs]
    if len(ids) < 2:
        raise InputError("one run has nothing beside it; name two or more")
    if len(ids) > MOST:
        raise InputError(f"{len(ids)} runs were named; {MOST} is the most")
    folders = [run.folder.resolve() for run in runs]
    for folder in folders:
        if folders.count(folder) > 1:
            raise InputError(f"{folder.name} was named twice; a run agrees with itself")
    return dict(zip(string.ascii_uppercase, ids, strict=False))


def differing(runs: Sequence[Run]) -> pd.DataFrame:
    """Return the facts in which the runs' contexts differ: fact, and a column per run.

    A fact that a run does not know is missing (None), which alone is no difference.
    """
    found = contexts.differing([contexts.of(run.host) for run in runs])
    rows = [
        {"fact": name, **dict(zip(labels(runs), values, strict=True))}
        for name, values in found.items()
    ]
    return pd.DataFrame(rows, columns=["fact", *labels(runs)])


def one_context(runs: Sequence[Run]) -> bool:
    """Return whether nothing that bears on a request differs, zclab's commit aside."""
    facts = differing(runs)["fact"]
    return bool(facts.isin(SOURCES).all())


def summaries(runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
    """Return what `table.summary` returns of each run, by its letter."""
    return {
        letter: table.summary(run)
        for letter, run in zip(labels(runs), runs, strict=True)
    }


def gains(
    runs: Sequence[Run], each: Mapping[str, pd.DataFrame] | None = None
) -> pd.DataFrame:
    """Return the comparisons with plain send that at least two of the runs have.

    Columns: run (its letter), baseline_ns (what plain send costs there, ns) and those
    of `table.summary`. A point is the same in two runs where its name is: path,
    protocol, family, size, batch and options. Rows are in the order of the first run's
    plan, then of the next one's; those of one comparison are beside each other.

    Args:
        runs: two or more.
        each: what `summaries` returns of them, if that is at hand.

    Raises:
        InputError: no two of the runs have a point in common.

    """
    found = summaries(runs) if each is None else each
    frames = [frame.assign(run=letter) for letter, frame in found.items()]
    frame = pd.concat(frames, ignore_index=True)
    plain = frame[frame["arm"] == str(BASELINE)].set_index(["run", "point"])
    frame = frame.join(
        plain["ns_per_request"].rename("baseline_ns"), on=["run", "point"]
    )
    frame = frame[
        ~frame["arm"].isin([str(BASELINE), str(CONTROL)])
        & frame["gain_percent"].notna()
    ]
    key = ["point", "arm"]
    shared = frame[frame.groupby(key)["run"].transform("nunique") > 1]
    if shared.empty:
        raise InputError(
            "no two of these runs measured the same mode at the same point; take "
            "them with one plan"
        )
    order = shared.groupby(key, sort=False).ngroup()
    return (
        shared.assign(order=order)
        .sort_values(["order", "run"], kind="stable", ignore_index=True)
        .drop(columns="order")
    )


def agreement(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per comparison of `gains`: whether the runs agree on it.

    Columns: point, path, arm, io_size_bytes, runs (letters of those that have it);
    agreement; one and other (the runs with the smallest and the largest gain);
    apart_points, apart_low, apart_high (the larger less the smaller, percent points).

    Of more than two runs there is no such interval, and its ends are infinite: the
    extremes of several lie far apart by chance alone, which the interval of two that
    were not chosen by their gains does not allow for.

    - `same direction`: faster in each run, or slower in each.
    - `opposite`: faster in one, slower in another.
    - `an effect in some only`: and none, or none found, in others.
    - `no effect in any`.
    """
    rows = []
    for (point, arm), mine in frame.groupby(["point", "arm"], sort=False):
        ordered = mine.sort_values("gain_percent", kind="stable")
        least, most = ordered.iloc[0], ordered.iloc[-1]
        apart, low, high = stats.difference(_ends(least), _ends(most))
        if len(ordered) > 2:
            low, high = -math.inf, math.inf
        rows.append(
            {
                "point": point,
                "path": least["path"],
                "arm": arm,
                "io_size_bytes": int(least["io_size_bytes"]),
                "runs": "".join(mine["run"]),
                "agreement": _word(set(mine["finding"])),
                "one": least["run"],
                "other": most["run"],
                "apart_points": apart,
                "apart_low": low,
                "apart_high": high,
            }
        )
    return pd.DataFrame(rows)


def _ends(row: pd.Series) -> tuple[float, float, float]:
    return float(row["gain_percent"]), float(row["gain_low"]), float(row["gain_high"])


def _word(findings: set[str]) -> str:
    effects = findings & {table.FASTER, table.SLOWER}
    if not effects:
        return NONE
    if len(effects) > 1:
        return OPPOSITE
    return SAME if len(findings) == 1 else NOT_IN_ALL


def verdicts(
    runs: Sequence[Run], each: Mapping[str, pd.DataFrame] | None = None
) -> pd.DataFrame:
    """Return the published rows that at least one run can judge.

    Columns: table, io_size_bytes, column, published_percent; per run, by its letter:
    gain (text), verdict; and agree, whether all that can judge it judge alike. The
    arguments are those of `gains`.
    """
    known = summaries(runs) if each is None else each
    found = {
        letter: claims.compared(summary, run)
        for (letter, summary), run in zip(known.items(), runs, strict=True)
    }
    first = next(iter(found.values()))
    idle = {claims.NOT_MEASURED, claims.NOT_COMPARABLE}
    rows: list[dict[str, Any]] = []
    for at in range(len(first)):
        mine = {letter: frame.iloc[at] for letter, frame in found.items()}
        words = {letter: str(row["verdict"]) for letter, row in mine.items()}
        judging = {word for word in words.values() if word not in idle}
        if not judging:
            continue
        said = first.iloc[at]
        names = ("table", "io_size_bytes", "column", "published_percent")
        rows.append(
            {
                **{name: said[name] for name in names},
                **{
                    f"gain {letter}": table.gain_text(row)
                    for letter, row in mine.items()
                },
                **{f"verdict {letter}": word for letter, word in words.items()},
                "agree": len(judging) == 1,
            }
        )
    return pd.DataFrame(rows)


def sentences(
    runs: Sequence[Run], frame: pd.DataFrame, judged: pd.DataFrame
) -> list[str]:
    """Return what the runs say together, a sentence each.

    Args:
        runs: two or more.
        frame: what `gains` returned of them.
        judged: what `verdicts` returned of them.

    """
    agreed = agreement(frame)
    return [
        *_counted(agreed),
        *_judged(judged),
        *_copying(frame),
        *_travelled(frame),
        *_between(runs, agreed),
    ]


def _counted(agreed: pd.DataFrame) -> Iterator[str]:
    counts = ((word, int((agreed["agreement"] == word).sum())) for word in WORDS)
    told = ", ".join(f"{word} in {count}" for word, count in counts if count)
    yield f"Of {len(agreed)} comparisons with send: {told}."
    against = agreed[agreed["agreement"] == OPPOSITE]
    for row in against.to_dict("records"):
        yield f"Opposite: {row['arm']} at {row['point']}, {apart_text(row)}."


def _judged(found: pd.DataFrame) -> Iterator[str]:
    if found.empty:
        return
    alike = int(found["agree"].sum())
    yield (
        f"Of {len(found)} published rows that these runs can judge, {alike} have one "
        "verdict in all that can."
    )


def _copying(frame: pd.DataFrame) -> Iterator[str]:
    known = frame.dropna(subset="copied_share")
    shares = known.groupby(["point", "arm"], sort=False)["copied_share"]
    moved = shares.max() - shares.min() >= table.ZEROCOPY_BELOW
    names = [f"{arm} at {point}" for point, arm in moved[moved].index]
    if names:
        yield f"The copied share differs: {'; '.join(names)}."
    elif len(moved):
        yield "The copied share is the same in all, point by point."


def travelled(frame: pd.DataFrame) -> pd.DataFrame:
    """Return by which factor runs that agree differ, in percent and in ns saved.

    Columns: point, arm, percent_factor, ns_factor: the effect that is farther from
    zero over the one that is nearest to it, 1 or more. Comparisons of `gains` that are
    not in the `same direction` in all have none, and are left out.
    """
    rows = []
    for (point, arm), mine in frame.groupby(["point", "arm"], sort=False):
        if _word(set(mine["finding"])) != SAME:
            continue
        percents, saved = mine["gain_percent"].abs(), mine["saved_ns"].abs()
        rows.append(
            {
                "point": point,
                "arm": arm,
                "percent_factor": percents.max() / percents.min(),
                "ns_factor": saved.max() / saved.min(),
            }
        )
    return pd.DataFrame(rows, columns=["point", "arm", "percent_factor", "ns_factor"])


def _travelled(frame: pd.DataFrame) -> Iterator[str]:
    found = travelled(frame)
    if found.empty:
        return
    percent, ns = found["percent_factor"], found["ns_factor"]
    yield (
        f"Where the direction is the same, the effects differ by a factor of "
        f"{percent.median():.1f} in percent and of {ns.median():.1f} in ns saved "
        f"(medians of {len(found)} comparisons)."
    )


def _between(runs: Sequence[Run], agreed: pd.DataFrame) -> Iterator[str]:
    """Yield how far runs of one context are apart: what no interval of one covers."""
    if not one_context(runs):
        return
    apart = agreed["apart_points"]
    told = (
        "Nothing that bears on a request differs between these runs: their gains are "
        f"{apart.median():.1f} points apart in the median and {apart.max():.1f} at most"
    )
    of_two = agreed[agreed["runs"].str.len() == 2]
    if len(of_two):
        beyond = int((of_two["apart_low"] > 0).sum())
        told += (
            f", and in {beyond} of {len(of_two)} comparisons of two runs by more than "
            "both intervals allow (by chance in one of 20)"
        )
    yield f"{told}."


def apart_text(row: Any) -> str:
    """Return how far apart two runs are: `B less A +18.9 [+18.2, +20.0] points`."""
    ends = (row["apart_points"], row["apart_low"], row["apart_high"])
    if math.isinf(ends[1]):
        return f"{row['other']} less {row['one']} {table.signed(ends[0])} points"
    center, low, high = (table.signed(end) for end in ends)
    return f"{row['other']} less {row['one']} {center} [{low}, {high}] points"


def read(text: str) -> list[Run]:
    """Return the runs that ids or folders name, joined by commas.

    Empty text: the newest sealed run, and all others that share a point with it.

    Raises:
        InputError: there is no such run, or one was made by a model.
        DataError: a run is damaged.

    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    folders = [store.find(name) for name in names] if names else _alike()
    runs = [store.load(folder) for folder in folders]
    for run in runs:
        if run.synthetic:
            raise InputError(f"{run.id} was made by a model; compare runs of kernels")
    return runs


def _alike() -> list[Path]:
    """Return the newest sealed run and those that share a point with it, oldest first.

    Only plans are read for it.
    """
    plans = {
        folder: plan
        for folder in store.listing()
        if store.is_sealed(folder)
        and (plan := _plan_of(folder))
        and plan.synthetic is None
    }
    if not plans:
        raise InputError(
            f"there is no run under {store.runs_dir()}; take one: zclab measure"
        )
    newest = list(plans.values())[-1]
    wanted = {point.name for point in newest.points}
    return [
        folder
        for folder, plan in plans.items()
        if wanted & {point.name for point in plan.points}
    ][-MOST:]


def _plan_of(folder: Path) -> Plan | None:
    """Return the plan of a run; None of one that this version does not read."""
    try:
        return read_plan(folder)
    except DataError:
        return None
