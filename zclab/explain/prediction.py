"""What must the kernel copy? Predicted by the rules, then confronted with the run.

The prediction (`zclab.preflight`) uses nothing that was measured: only the point and
the facts of its device. Where it and the notifications disagree, one of the two is
wrong, and that is a finding.
"""

from collections.abc import Iterator, Sequence

import pandas as pd

from zclab import preflight
from zclab.explain import table
from zclab.explain.facts import lookup
from zclab.params import Point
from zclab.preflight import Prediction
from zclab.store import Run

AGREES = "as predicted"
CONTRADICTS = "NOT as predicted"
UNREADABLE = "the flag cannot tell"  # over TCP, where requests share a packet buffer
NOT_TOLD = "-"

COLUMNS = (
    "path",
    "protocol",
    "family",
    "io_size_bytes",
    "batch",
    "arms",
    "predicted",
    "observed",
    "verdict",
    "rule",
    "because",
)


def confront(run: Run, summary: pd.DataFrame) -> pd.DataFrame:
    """Return prediction and observation side by side.

    One row per point of `summary`; several, where its arms have options that make a
    difference. Columns: path, protocol, family, io_size_bytes, batch, arms (empty for
    all), predicted (a word), observed (share of notifications that say copied, over
    these arms), verdict, rule (its id), because.
    """
    paths = lookup(run.host, "paths") or {}
    release = str(lookup(run.host, "kernel", "release") or "")
    rows: list[dict[str, object]] = []
    for point in run.plan.points:
        mine = summary[summary["point"] == point.name]
        found = preflight.by_prediction(point, paths, release)
        alone = len(found) == 1
        for said, arms in found.items():
            rows += _rows(point, mine, said, arms, release=release, alone=alone)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(
    point: Point,
    mine: pd.DataFrame,
    said: Prediction,
    arms: Sequence[str],
    *,
    release: str,
    alone: bool,
) -> Iterator[dict[str, object]]:
    rows = mine[mine["arm"].isin(arms)]
    if rows.empty:
        return
    shares = rows["copied_share"].dropna()
    readable = bool(
        (rows["witnesses"] > 0)[rows["notifications"] > 0].all()
    ) or not any(
        preflight.over_reports(point.protocol, release, point.options(arm))
        for arm in arms
    )
    yield {
        "path": point.place,
        "protocol": str(point.protocol),
        "family": point.family,
        "io_size_bytes": point.io_size_bytes,
        "batch": point.batch,
        "arms": "" if alone else ", ".join(arms),
        "predicted": said.word,
        "observed": table.shares_text(shares),
        "verdict": verdict(said, shares, readable=readable),
        "rule": said.rule.id,
        "because": said.because,
    }


def verdict(said: Prediction, shares: pd.Series, *, readable: bool = True) -> str:
    """Return whether copied shares are as predicted, in a word.

    Args:
        said: the prediction.
        shares: copied shares of the arms that it is about, from 0 to 1.
        readable: whether a share between 0 and 1 means what it says; not over TCP since
            6.10 (`preflight.over_reports`).

    """
    if shares.empty or (said.copied is None and said.works is not False):
        return NOT_TOLD
    low, high = float(shares.min()), float(shares.max())
    if said.works is False:  # what is refused has no notification that counts
        return CONTRADICTS
    if said.copied:
        return AGREES if low >= table.COPIED_FROM else CONTRADICTS
    if high <= table.ZEROCOPY_BELOW:
        return AGREES
    if readable or high >= table.COPIED_FROM:
        return CONTRADICTS
    return UNREADABLE


def contradictions(run: Run, summary: pd.DataFrame) -> list[str]:
    """Return a sentence for each row of `confront` that is not as predicted."""
    rows = confront(run, summary)
    return [
        f"{row['path']}, {str(row['protocol']).upper()}/IPv{row['family']}, "
        f"{row['io_size_bytes']} B, batch {row['batch']}"
        f"{', ' * bool(row['arms'])}{row['arms']}: predicted {row['predicted']} "
        f"({row['rule']}: {row['because']}), but {row['observed']} of the "
        "notifications say copied"
        for _, row in rows[rows["verdict"] == CONTRADICTS].iterrows()
    ]
