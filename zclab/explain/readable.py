"""The tables of notebooks and report as people read them: text, units in headers.

Each takes the frame of `table.summary`, which is then computed once for a page.
"""

import math

import pandas as pd

from zclab.explain import claims, joined, prediction, published, table
from zclab.params import CONTROL
from zclab.store import Run


def control(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the A/A comparison, one row per point; its gain should include zero."""
    frame = summary[summary["arm"] == CONTROL]
    covers = (frame["gain_low"] <= 0) & (frame["gain_high"] >= 0)
    return pd.DataFrame(
        {
            **_point(frame),
            "gain of send over send [95 %]": _each(frame, table.gain_text),
            "noise floor": [f"{floor:.1f} points" for floor in frame["floor_percent"]],
            "zero inside": covers.map({True: "yes", False: "no"}).to_list(),
            "n": frame["n"].astype(str).to_list(),
        }
    )


def certainty(summary: pd.DataFrame) -> pd.DataFrame:
    """Return how sure each finding is, one row per comparison, the control's left out.

    *worth* is how many independent blocks the n count as; *finds* is the gain that is
    found nine times in ten at that number of blocks.
    """
    frame = summary[summary["p_holm"].notna()]
    return pd.DataFrame(
        {
            **_point(frame),
            "mode": frame["arm"].to_list(),
            "gain over send [95 %]": _each(frame, table.gain_text),
            "finding": frame["finding"].to_list(),
            "p": frame["p"].map(table.p_text).to_list(),
            "p (Holm)": frame["p_holm"].map(table.p_text).to_list(),
            "finds [points]": frame["mde_percent"].map(table.mde_text).to_list(),
            "n": frame["n"].astype(str).to_list(),
            "worth": frame["n_effective"].astype(str).to_list(),
        }
    )


def warnings(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the warnings of some rows of a summary, and the arms they are about."""
    found = table.warnings(summary)
    return pd.DataFrame(
        {
            "warning": [text for text, _ in found],
            "about": [", ".join(names) for _, names in found],
        }
    )


def stopped(run: Run) -> pd.DataFrame:
    """Return what stopped each point of the plans that stop by themselves, if any.

    *reached* is half the width of the widest interval that the plan stops by, when it
    was last looked at.
    """
    rows = [
        {
            "point": point.name,
            "stopped by": told.get("reason", "not yet"),
            "blocks": str(told.get("blocks", "-")),
            "reached [points]": _points(told.get("half_width")),
            "wanted [points]": f"{part.plan.stop.precision:g}",
        }
        for part in joined.parts(run)
        if part.plan.stop
        for point in part.plan.points
        for told in [part.stopped.get(point.name, {})]
    ]
    return pd.DataFrame(rows)


def _points(half_width: float | None) -> str:
    known = half_width is not None and math.isfinite(half_width)
    return f"{half_width:.2f}" if known else "-"


def cause(summary: pd.DataFrame) -> pd.DataFrame:
    """Return copied share beside gain at the selftest's point, on veth and on the sink.

    Empty unless the run has both.
    """
    frame = claims.cause(summary)
    frame = frame[~frame["arm"].isin([CONTROL])]
    return pd.DataFrame(
        {
            "path": frame["path"].to_list(),
            "mode": frame["arm"].to_list(),
            "ns/request": [f"{cost:.0f}" for cost in frame["ns_per_request"]],
            "gain over send [95 %]": _each(frame, table.gain_text),
            "saved [ns, 95 %]": _each(frame, table.saved_text),
            "copied": [
                table.share_text(share) if notified else "-"
                for share, notified in zip(
                    frame["copied_share"], frame["notifications"], strict=True
                )
            ],
            "n": frame["n"].astype(str).to_list(),
        }
    )


def compared(summary: pd.DataFrame) -> pd.DataFrame:
    """Return every published gain beside ours, with its verdict and the reason."""
    frame = claims.compared(summary)
    return pd.DataFrame(
        {
            **_claim(frame),
            "published": [
                table.percent_text(percent)
                for percent in frame["published_percent"].round(1)
            ],
            "here [95 %]": _each(frame, table.gain_text),
            "copied": [
                table.share_text(share) if point else "-"
                for share, point in zip(
                    frame["copied_share"], frame["point"], strict=True
                )
            ],
            "n": ["-" if pd.isna(n) else str(n) for n in frame["n"]],
            "verdict": frame["verdict"].to_list(),
            "reason": frame["reason"].to_list(),
        }
    )


def saved(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the ns saved per request, published and ours, where both are known.

    The index is that of `compared`, of which these are some rows.
    """
    frame = claims.compared(summary)
    frame = frame[
        frame["published_saved_ns"].notna()
        & frame["saved_ns"].notna()
        & ~frame["verdict_ns"].isin([claims.NOT_COMPARABLE, claims.NOT_MEASURED])
    ]
    return pd.DataFrame(
        {
            **_claim(frame),
            "published [ns]": [
                table.signed(ns, 0) for ns in frame["published_saved_ns"]
            ],
            "here [ns, 95 %]": _each(frame, table.saved_text),
            "n": frame["n"].astype(str).to_list(),
            "verdict": frame["verdict_ns"].to_list(),
        },
        index=frame.index,
    )


def _claim(frame: pd.DataFrame) -> dict[str, list[str]]:
    return {
        "table": [published.twin(name).title for name in frame["table"]],
        "IO size [B]": frame["io_size_bytes"].astype(str).to_list(),
        "column": frame["column"].to_list(),
    }


def confronted(run: Run, summary: pd.DataFrame) -> pd.DataFrame:
    """Return the predicted and the observed copied share; like sizes share a row.

    A column `modes` is there where a point's modes differ in what is predicted of them.
    """
    frame = prediction.confront(run, summary)
    alike = [name for name in frame.columns if name != "io_size_bytes"]
    sizes = (
        frame.astype({"io_size_bytes": str})
        .groupby(alike, sort=False)["io_size_bytes"]
        .agg(", ".join)
        .reset_index()
    )
    return pd.DataFrame(
        {
            **_point(sizes),
            **({"modes": sizes["arms"].to_list()} if sizes["arms"].any() else {}),
            "predicted": sizes["predicted"].to_list(),
            "copied": sizes["observed"].to_list(),
            "verdict": sizes["verdict"].to_list(),
            "rule": sizes["rule"].to_list(),
            "predicted because": sizes["because"].to_list(),
        }
    )


def _point(frame: pd.DataFrame) -> dict[str, list[str]]:
    return {
        "path": frame["path"].to_list(),
        "protocol": [
            f"{protocol.upper()}/IPv{family}"
            for protocol, family in zip(frame["protocol"], frame["family"], strict=True)
        ],
        "IO size [B]": frame["io_size_bytes"].astype(str).to_list(),
        "batch": frame["batch"].astype(str).to_list(),
    }


def _each(frame: pd.DataFrame, text: object) -> list[str]:
    assert callable(text)
    return [text(row) for _, row in frame.iterrows()]
