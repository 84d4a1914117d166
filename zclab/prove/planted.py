"""A synthetic run beside its truth: what was planted, and what was found."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from zclab.errors import InputError
from zclab.explain import table
from zclab.params import BASELINE, Mode, Path, Plan, Protocol, Stop, grid
from zclab.store import Run
from zclab.truth import Truth

SIZES = (1200, 8000)
MODES = (BASELINE, Mode.SEND_ZC, Mode.SEND_ZC_FIXED)
MOST_BLOCKS = 2000


def plan(truth: Truth, precision: float, seed: int) -> Plan:
    """Return a small plan of a truth: two sizes on the sink, three modes, the control.

    Args:
        truth: what is to be found.
        precision: half-width to stop at, percent points.
        seed: of the model, and of the order of points and arms.

    Raises:
        InputError: one of them is out of range.

    """
    points = grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=SIZES,
        modes=MODES,
        batch=8,
    )
    return Plan(
        profile="planted",
        points=points,
        seed=seed,
        blocks=MOST_BLOCKS,
        stop=Stop(precision=precision),
        synthetic=truth,
    )


def beside(run: Run) -> pd.DataFrame:
    """Return the planted gain of every arm beside the interval found for it.

    Raises:
        InputError: the run is of a kernel, whose truth nobody knows.

    """
    truth = run.plan.synthetic
    if truth is None:
        raise InputError(f"{run.id} is no synthetic run: its truth is not known")
    summary = table.summary(run)
    rows = summary[summary["arm"] != BASELINE].to_dict("records")
    return pd.DataFrame(list(_rows(rows, truth.gain_percent)))


def _rows(rows: list[dict[str, Any]], gain_of: Any) -> Iterator[dict[str, Any]]:
    for row in rows:
        planted = gain_of(row["arm"], path=row["path"], point=row["point"])
        covers = row["gain_low"] <= planted <= row["gain_high"]
        yield {
            "IO size [B]": row["io_size_bytes"],
            "mode": row["arm"],
            "planted": f"{planted:+.1f}%",
            "found": f"{row['gain_percent']:+.1f}%",
            "95 % interval": f"[{row['gain_low']:+.1f}, {row['gain_high']:+.1f}]",
            "covers it": "yes" if covers else "no",
            "finding": row["finding"],
            "n": row["n"],
        }
