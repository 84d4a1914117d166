"""The tables of notebooks and report as people read them: text, units in headers.

Each takes the frame of `table.summary`, which is then computed once for a page.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from zclab import situation
from zclab.explain import (
    bottleneck,
    breakdown,
    claims,
    conclusions,
    cost,
    joined,
    ladder,
    prediction,
    published,
    replication,
    table,
)
from zclab.explain.facts import lookup
from zclab.params import CONTROL, Point
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


def limits(run: Run) -> pd.DataFrame:
    """Return what limits each arm where something receives, or a card sends."""
    return bottleneck.readable(bottleneck.limits(run))


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


def slices(run: Run) -> str:
    """Return how long slices were, in ms: `10 ms`, or `1-10 ms` where that differs.

    The lengths are the plan's, or those that its pilot chose, point by point.
    """
    lengths = {
        length
        for part in joined.parts(run)
        for length in (part.slices.values() or (part.plan.slice_ns,))
    }
    ends = dict.fromkeys(f"{ns / 1e6:g}" for ns in (min(lengths), max(lengths)))
    return f"{'-'.join(ends)} ms"


def _points(half_width: float | None) -> str:
    known = half_width is not None and math.isfinite(half_width)
    return f"{half_width:.2f}" if known else "-"


def cause(summary: pd.DataFrame) -> pd.DataFrame:
    """Return copied share beside gain at the selftest's point, on veth and on the sink.

    Empty unless the run has both.
    """
    frame = conclusions.cause(summary)
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


def compared(found: pd.DataFrame) -> pd.DataFrame:
    """Return every published gain beside ours, with its verdict and the reason.

    Args:
        found: what `claims.compared` returned.

    """
    return pd.DataFrame(
        {
            **_claim(found),
            "published": [
                table.percent_text(percent)
                for percent in found["published_percent"].round(1)
            ],
            "here [95 %]": _each(found, table.gain_text),
            "copied": [
                table.share_text(share) if point else "-"
                for share, point in zip(
                    found["copied_share"], found["point"], strict=True
                )
            ],
            "n": ["-" if pd.isna(n) else str(n) for n in found["n"]],
            "verdict": found["verdict"].to_list(),
            "reason": found["reason"].to_list(),
        }
    )


def saved(found: pd.DataFrame) -> pd.DataFrame:
    """Return the ns saved per request, published and ours, where both are known.

    The index is that of `compared`, of which these are some rows.
    """
    frame = found[
        found["published_saved_ns"].notna()
        & found["saved_ns"].notna()
        & ~found["verdict_ns"].isin([claims.NOT_COMPARABLE, claims.NOT_MEASURED])
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
            "reason": frame["reason_ns"].to_list(),
        },
        index=frame.index,
    )


def sizes(run: Run, summary: pd.DataFrame) -> pd.DataFrame:
    """Return the published sizes from which zerocopy pays, beside those found here."""
    frame = claims.sizes(run, summary)
    return pd.DataFrame(
        {
            "published": frame["says"].to_list(),
            "size": frame["said"].to_list(),
            "mode": [f"{row.arm} against {row.basis}" for row in frame.itertuples()],
            "path": [
                table.where(row) if row["path"] else "-" for _, row in frame.iterrows()
            ],
            "pays here from": frame["pays_from"].to_list(),
            "verdict": frame["verdict"].to_list(),
            "reason": frame["reason"].to_list(),
        }
    )


def lines(run: Run) -> pd.DataFrame:
    """Return the fitted cost of each arm: per request and per KiB, with intervals."""
    frame = cost.lines(run)
    if frame.empty:
        return frame
    return pd.DataFrame(
        {
            **_series(frame),
            "mode": frame["arm"].to_list(),
            "per request [ns, 95 %]": _ends(frame, "fixed", 0),
            "per KiB [ns, 95 %]": _ends(frame, "kib", 2),
            "worst residual": [f"{worst:.1f} %" for worst in frame["worst_percent"]],
            "bends": [text or "-" for text in frame["bend"]],
            "sizes": frame["sizes"].astype(str).to_list(),
        }
    )


def prices(run: Run) -> pd.DataFrame:
    """Return what a copied KiB, a pinned page and a notification cost here."""
    frame = cost.prices(run)
    if frame.empty:
        return frame
    return pd.DataFrame(
        {
            **_series(frame),
            "what": frame["what"].to_list(),
            "unit": frame["unit"].to_list(),
            "price [ns, 95 %]": _ends(frame, "price", 1),
            "how": frame["how"].to_list(),
        }
    )


def break_even(run: Run) -> pd.DataFrame:
    """Return from what size on each zerocopy mode costs less than plain send."""
    frame = cost.break_even(run)
    if frame.empty:
        return frame
    return pd.DataFrame(
        {
            **_series(frame),
            "mode": frame["arm"].to_list(),
            "pays from a size [95 %]": _each(frame, cost.break_even_text),
            "by the lines [B]": [
                "-" if math.isnan(size) else f"{size:.0f}"
                for size in frame["line_bytes"]
            ],
            "sizes": [
                f"{row.smallest} to {row.largest} B" for row in frame.itertuples()
            ],
        }
    )


def implied() -> pd.DataFrame:
    """Return the cost per request and per KiB that the published rates imply."""
    frame = cost.implied()
    return pd.DataFrame(
        {
            "table": [published.twin(name).title for name in frame["table"]],
            "column": frame["column"].to_list(),
            "per request [ns]": [f"{ns:.0f}" for ns in frame["fixed_ns"]],
            "per KiB [ns]": [f"{ns:.2f}" for ns in frame["kib_ns"]],
            "worst residual": [f"{worst:.1f} %" for worst in frame["worst_percent"]],
            "rows [ns]": frame["per_row"].to_list(),
        }
    )


def carried(run: Run) -> pd.DataFrame:
    """Return the published ns saved as percent of this host's cost, and the reverse."""
    frame = cost.carried(run)
    if frame.empty:
        return frame

    def percents(column: str) -> list[str]:
        return [
            "all of it" if math.isinf(value) else f"{table.signed(value, 1)} %"
            for value in frame[column]
        ]

    def ns(column: str) -> list[str]:
        return [table.signed(value, 0) for value in frame[column]]

    return pd.DataFrame(
        {
            **_claim(frame),
            "published": percents("published_percent"),
            "it saved [ns]": ns("published_saved_ns"),
            "which here were": percents("theirs_here_percent"),
            "here": percents("gain_percent"),
            "we saved [ns]": ns("saved_ns"),
            "which there were": percents("ours_there_percent"),
        }
    )


def buckets(found: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return breakdowns as one table: ns per request by bucket, point and mode."""
    frames = [
        breakdown.texts(one).set_index("").add_prefix(f"{one['name']}: ")
        for one in found
    ]
    if not frames:
        return pd.DataFrame()
    joined_frame = pd.concat(frames, axis=1).fillna("-")
    order = [*breakdown.BUCKETS, *breakdown.SUMS]
    rows = [name for name in order if name in joined_frame.index]
    return joined_frame.loc[rows].reset_index().rename(columns={"": "bucket [ns]"})


def bucket_meanings(found: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return what each bucket of breakdowns holds; those without a sample left out."""
    seen = {name for one in found for name in breakdown.texts(one)[""]}
    names = [name for name in breakdown.BUCKETS if name in seen]
    return pd.DataFrame(
        {
            "bucket": names,
            "what it holds": [breakdown.MEANINGS[name] for name in names],
        }
    )


def _series(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Return the columns that name a series; options only where there are some.

    Args:
        frame: one that has the columns of `cost.Series.label`.

    """
    found = {
        "path": [
            situation.place(row.path, row.situation) for row in frame.itertuples()
        ],
        "protocol": [
            f"{row.protocol.upper()}/IPv{row.family}" for row in frame.itertuples()
        ],
        "batch": frame["batch"].astype(str).to_list(),
    }
    if frame["given"].any():
        found["options"] = frame["given"].to_list()
    return found


def _ends(frame: pd.DataFrame, name: str, digits: int) -> list[str]:
    return [
        f"{table.signed(row[f'{name}_ns'], digits)} "
        f"[{table.signed(row[f'{name}_low'], digits)}, "
        f"{table.signed(row[f'{name}_high'], digits)}]"
        for row in frame.to_dict("records")
    ]


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


def steps(run: Run, summary: pd.DataFrame) -> pd.DataFrame:
    """Return the way from February 2025 to v5's case, a row per step and mode."""
    frame = ladder.steps(run, summary)
    if frame.empty:
        return pd.DataFrame()
    return pd.DataFrame(
        {
            "step": [label.replace("\n", " ") for label in frame["label"]],
            "mode": frame["arm"].to_list(),
            "copied": frame["copied"].map(table.share_text).to_list(),
            "send [ns]": [f"{ns:.0f}" for ns in frame["plain_ns"]],
            "gain over send [95 %]": _each(frame, table.gain_text),
            "the step [points, 95 %]": _effects(frame, "effect_points", "effect", 1),
            "n": frame["n"].astype(str).to_list(),
        }
    )


def rungs(run: Run, summary: pd.DataFrame) -> pd.DataFrame:
    """Return what one factor at a time does, from either case, a row per mode."""
    frame = ladder.rungs(run, summary)
    if frame.empty:
        return pd.DataFrame()
    return pd.DataFrame(
        {
            "from": frame["case"].to_list(),
            "factor": frame["factor"].to_list(),
            "change": [f"{row.before} > {row.after}" for row in frame.itertuples()],
            "mode": frame["arm"].to_list(),
            "copied": [
                f"{table.share_text(before)} > {table.share_text(after)}"
                for before, after in zip(
                    frame["copied_before"], frame["copied_after"], strict=True
                )
            ],
            "effect [points, 95 %]": _effects(frame, "effect_points", "effect", 1),
            "saved [ns, 95 %]": _effects(frame, "effect_ns", "ns", 0),
            "mode costs [ns, 95 %]": _effects(frame, "arm_ns", "arm", 0),
            "send costs [ns, 95 %]": _effects(frame, "plain_ns", "plain", 0),
            "finding": frame["finding"].to_list(),
            "p (Holm)": frame["p_holm"].map(table.p_text).to_list(),
            "n": frame["n"].astype(str).to_list(),
        }
    )


def mechanisms(run: Run, summary: pd.DataFrame) -> pd.DataFrame:
    """Return what the kernel does differently at each rung, and where that is read."""
    frame = ladder.rungs(run, summary)
    if frame.empty:
        return pd.DataFrame()
    once = frame.drop_duplicates(["factor", "mechanism"])
    return pd.DataFrame(
        {
            "factor": once["factor"].to_list(),
            "what the kernel does": once["mechanism"].to_list(),
            "source": once["source"].to_list(),
        }
    )


def left_out(run: Run) -> pd.DataFrame:
    """Return the rungs that the run does not have, each with the reason."""
    return pd.DataFrame(ladder.left_out(run), columns=["rung", "why"])


def interactions(run: Run, summary: pd.DataFrame) -> pd.DataFrame:
    """Return what pairs of factors do together beyond the sum of each."""
    frame = ladder.interactions(run, summary)
    if frame.empty:
        return pd.DataFrame()
    alone = {
        name: [table.signed(points) for points in frame[f"{name}_points"]]
        for name in ("first", "second", "both")
    }
    return pd.DataFrame(
        {
            "first": frame["first"].to_list(),
            "second": frame["second"].to_list(),
            "mode": frame["arm"].to_list(),
            "first alone": alone["first"],
            "second alone": alone["second"],
            "both [points]": alone["both"],
            "beyond the sum [points, 95 %]": _effects(
                frame, "beyond_points", "beyond", 1
            ),
            "in ns saved [95 %]": _effects(frame, "beyond_ns", "ns", 0),
            "adds up": frame["adds_up"].map({True: "as far as seen", False: "no"}),
            "n": frame["n"].astype(str).to_list(),
        }
    )


def reach(run: Run, summary: pd.DataFrame) -> pd.DataFrame:
    """Return the points that get furthest toward v5's largest gain, and what lacks."""
    frame = ladder.reach(run, summary).head(REACHED)
    if frame.empty:
        return pd.DataFrame()
    return pd.DataFrame(
        {
            "point": frame["point"].to_list(),
            "mode": frame["arm"].to_list(),
            "gain over send [95 %]": _each(frame, table.gain_text),
            "saved [ns, 95 %]": _each(frame, table.saved_text),
            "send [ns]": [f"{ns:.0f}" for ns in frame["plain_ns"]],
            "send may cost [ns, 95 %]": _effects(frame, "needed_ns", "needed", 0),
            "too much by [ns, 95 %]": _effects(frame, "spare_ns", "spare", 0),
            "n": frame["n"].astype(str).to_list(),
        }
    )


REACHED = 8


def _effects(frame: pd.DataFrame, name: str, prefix: str, digits: int) -> list[str]:
    return [
        ladder.effect_text(row, name, prefix, digits)
        for row in frame.to_dict("records")
    ]


def answered(run: Run) -> pd.DataFrame:
    """Return how TCP over the sink went: what was copied, sent again, and how answered.

    One row per point and zerocopy arm, and for each baseline; empty where no responder
    was. Rates and shares are of all slices together, warm-ups included. How busy the
    responder was is percent of the one CPU that it runs on, over warm-up, slice and
    drain, at most 100, as ticks are counted; it looks for headers without sleeping, so
    near 100 is no bottleneck.
    """
    samples = run.samples[run.samples["responder_segments"].notna()]
    by_arm = dict(iter(samples.groupby(["point", "arm"], observed=True)))
    return pd.DataFrame(
        [
            _answered(point, arm, by_arm[point.name, arm])
            for point in run.plan.points
            for arm in point.modes
            if (point.name, arm) in by_arm
        ]
    )


def _answered(point: Point, arm: str, mine: pd.DataFrame) -> dict[str, str]:
    sums = mine.select_dtypes("number").sum().astype("float64")
    sent = sums["sent_total_bytes"] / point.io_size_bytes
    segments, witnesses = sums["responder_segments"], sums["witness_notifications"]
    took = sums["receiver_cpu_user_ns"] + sums["receiver_cpu_sys_ns"]
    received_ns = bottleneck.receiving_ns(sums) if sums["bytes"] else math.inf
    notified = sums["notifications"]
    return {
        "point": point.name,
        "arm": arm,
        "copied": table.share_text(sums["witness_copied"] / witnesses)
        if witnesses
        else "-",
        "flagged": table.share_text(sums["copied"] / notified) if notified else "-",
        "requests/segment": f"{sent / max(1, segments):.1f}",
        "segments/ACK": f"{segments / max(1, sums['responder_acks']):.1f}",
        "sent again": f"{sums['tcp_retransmits']:.0f}",
        "slices with a timeout": f"{(mine['tcp_timeouts'] > 0).sum()} of {len(mine)}",
        "lost by the log": f"{sums['responder_lost']:.0f}",
        "responder busy [% of its CPU]": f"{100 * min(1, took / received_ns):.0f}"
        if math.isfinite(received_ns)
        else "-",
    }


def lettered(runs: Sequence[Run]) -> pd.DataFrame:
    """Return which letter stands for which run, and on what it was taken."""
    return pd.DataFrame(
        {
            "run": list(replication.labels(runs)),
            "id": [run.id for run in runs],
            "kernel": [str(lookup(run.host, "kernel", "release")) for run in runs],
            "CPU": [str(lookup(run.host, "cpu", "model")) for run in runs],
            "plan": [run.plan.profile for run in runs],
            "state": ["complete" if run.complete else "PARTIAL" for run in runs],
        }
    )


def agreement(gains: pd.DataFrame) -> pd.DataFrame:
    """Return how far apart the runs are, one row per comparison.

    Args:
        gains: what `replication.gains` returned.

    """
    found = replication.agreement(gains)
    return pd.DataFrame(
        {
            "point": found["point"].to_list(),
            "mode": found["arm"].to_list(),
            "runs": found["runs"].to_list(),
            "agreement": found["agreement"].to_list(),
            "apart [95 %]": [
                replication.apart_text(row) for row in found.to_dict("records")
            ],
        }
    )


def judged(runs: Sequence[Run], found: pd.DataFrame) -> pd.DataFrame:
    """Return the published rows that some run can judge, with each run's verdict.

    Args:
        runs: two or more.
        found: what `replication.verdicts` returned of them.

    """
    if found.empty:
        return found
    table_names = [published.twin(str(name)).title for name in found["table"]]
    columns = {
        "table": table_names,
        "row": [f"{row.io_size_bytes} B {row.column}" for row in found.itertuples()],
        "published": [
            table.percent_text(percent)
            for percent in found["published_percent"].round(1)
        ],
    }
    for letter in replication.labels(runs):
        columns[f"{letter} [95 %]"] = found[f"gain {letter}"].to_list()
        columns[f"verdict {letter}"] = found[f"verdict {letter}"].to_list()
    return pd.DataFrame(columns)


def travelled(gains: pd.DataFrame) -> pd.DataFrame:
    """Return percents and ns saved beside each other, one row per comparison and run.

    Args:
        gains: what `replication.gains` returned.

    """
    return pd.DataFrame(
        {
            "point": gains["point"].to_list(),
            "mode": gains["arm"].to_list(),
            "run": gains["run"].to_list(),
            "send [ns]": [f"{ns:.0f}" for ns in gains["baseline_ns"]],
            "gain over send [95 %]": _each(gains, table.gain_text),
            "saved ns [95 %]": _each(gains, table.saved_text),
            "copied": [table.share_text(share) for share in gains["copied_share"]],
            "n": gains["n"].astype(str).to_list(),
        }
    )
