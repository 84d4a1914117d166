"""The figures of a report. Each takes a run and returns a Figure; none shows it.

Blocks are the observations: seaborn gets one row per block, draws the median, and as
the error bar the interval that the tables have, which allows for placements.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from zclab import options as opts
from zclab import stats
from zclab.explain import breakdown as breakdowns
from zclab.explain import conclusions, cost, ladder, replication, rung, table
from zclab.params import BASELINE, CONTROL, Mode
from zclab.store import Run

# Okabe and Ito's palette, told apart with any colour vision; one colour per mode
# in every figure.
COLOURS = {
    "send": "#0072B2",
    "send_zc": "#E69F00",
    "send_zc_fixed": "#009E73",
    "mixed": "#CC79A7",
    "sendmsg": "#56B4E9",
    "sendmsg_zc": "#D55E00",
    "sendmsg_zc_fixed": "#6A9A1F",
    "send_vec": "#17BECF",
    "send_zc_vec": "#B8860B",
    "send_sync": "#000000",
    "msg_zerocopy": "#7B3294",
    "control": "#7F7F7F",
}
MARKERS = {
    "send": "o",
    "send_zc": "s",
    "send_zc_fixed": "D",
    "mixed": "^",
    "sendmsg": "p",
    "sendmsg_zc": "<",
    "sendmsg_zc_fixed": ">",
    "send_vec": "P",
    "send_zc_vec": "X",
    "send_sync": "h",
    "msg_zerocopy": "*",
    "control": "v",
}
MODES = tuple(str(mode) for mode in Mode)

SLOTS = 12  # sizes beside each other in one row of the gain figure

NOTHING = "This run has nothing to draw here"


def use_style() -> None:
    """Set the look that all figures share."""
    sns.set_theme(style="ticks", context="notebook", font_scale=0.85)
    mpl.rcParams.update(
        {
            "axes.grid": True,
            "axes.grid.axis": "y",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": "medium",
            "figure.dpi": 110,
            "grid.color": "#E5E5E5",
            "savefig.bbox": "tight",
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "zclab",  # one run, one file
        }
    )


def interval(
    values: Sequence[float] | pd.Series,
    placements: Sequence[int] | None = None,
    *,
    least: int = 1,
) -> tuple[float, float]:
    """Return the ends of the median's interval, NaN when there are too few values.

    Args:
        values: in the order of their blocks; where these hang together the interval
            is as wide as in the tables.
        placements: that of each; None for a single one.
        least: what they are worth at the least, however much they hang together.

    """
    worth = max(least, stats.independent_n(values, placements))
    found = stats.median_interval(values, effective_n=worth)
    if math.isinf(found.low) or math.isinf(found.high):
        return math.nan, math.nan
    return found.low, found.high


def _error_bar(
    blocks: pd.DataFrame, *, least: int = 1
) -> Callable[[pd.Series], tuple[float, float]]:
    """Return what seaborn calls for the interval of some values of `_blocks`.

    Seaborn sorts them by their size. Their index says which blocks they are of, and it
    rises with these.
    """
    placements = blocks[table.PLACEMENT]

    def ends(values: pd.Series) -> tuple[float, float]:
        ordered = values.sort_index()
        return interval(ordered, placements[ordered.index].to_list(), least=least)

    return ends


def _blocks(run: Run) -> pd.DataFrame:
    """Return ns per request and gain in percent, one row per point, arm and block.

    The index rises with the blocks of each point and arm.
    """
    frames = []
    by_point = table.pairs(run)
    for point in run.plan.points:
        if point.name not in by_point:
            continue
        ns = by_point[point.name]
        gain = ns.rdiv(ns[BASELINE], axis=0).sub(1).mul(100)
        long = ns.melt(ignore_index=False, value_name="ns_per_request")
        long["gain_percent"] = gain.melt()["value"].to_numpy()
        frames.append(
            long.assign(
                point=point.name,
                path=point.place,
                group=_group(point),
                io_size_bytes=point.io_size_bytes,
            )
        )
    return pd.concat(frames).dropna(subset="ns_per_request").reset_index()


def _group(point: Any) -> str:
    return (
        f"{point.place}\n"
        f"{point.protocol.upper()}/IPv{point.family}, batch {point.batch}"
        + (f"\n{opts.spell(point.given)}" if point.given else "")
    )


def _arms(blocks: pd.DataFrame) -> list[str]:
    """Return the arms, control left out: modes in their order, then those with options.

    The order of the modes is the same in every figure, and so are their colours.
    """
    there = dict.fromkeys(blocks["arm"])
    plain = [mode for mode in MODES if mode in there]
    return plain + [arm for arm in there if arm not in MODES and arm != CONTROL]


def _compared(blocks: pd.DataFrame) -> list[str]:
    """Return the arms that are compared with the baseline."""
    return [arm for arm in _arms(blocks) if arm != BASELINE]


def _colours(arms: Sequence[str]) -> dict[str, Any]:
    """Return a colour for each arm; those with options get one in their order."""
    others = [arm for arm in arms if arm not in COLOURS]
    return {**COLOURS, **dict(zip(others, sns.husl_palette(len(others)), strict=True))}


def _markers(arms: Sequence[str]) -> dict[str, str]:
    """Return a marker for each arm: with options it is that of its mode."""
    return {arm: MARKERS[arm.partition(":")[0]] for arm in [*arms, CONTROL]}


def _empty(why: str) -> Figure:
    figure, axes = plt.subplots(figsize=(6, 1.2))
    axes.axis("off")
    axes.text(0.5, 0.5, f"{NOTHING}: {why}.", ha="center", va="center")
    return _done(figure)


def _done(figure: Figure, caption: str = "") -> Figure:
    """Set the caption under the figure and take it out of pyplot's hands.

    A notebook would otherwise draw it twice: as its value and at the cell's end.
    """
    if caption:
        figure.text(0.0, -0.02, caption, ha="left", va="top", fontsize="small")
    plt.close(figure)
    return figure


def _caption(run: Run, blocks: pd.DataFrame) -> str:
    counts = blocks.groupby(["point", "arm"])["block"].count()
    n = str(counts.min())
    if counts.max() != counts.min():
        n += f" to {counts.max()}"
    text = f"Median and its 95 % interval over n={n} blocks. Run {run.id}"
    return text + ("." if run.complete else ", partial.")


def _size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """Put a log2 axis with a tick at each size, labelled where there is room."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(sizes)))
    axes.xaxis.set_minor_locator(NullLocator())
    labelled = _with_room(sizes)
    axes.set_xticks(list(sizes), [str(s) if s in labelled else "" for s in sizes])


def _with_room(sizes: Sequence[int]) -> set[int]:
    """Return the sizes whose labels keep an eighth of the axis apart, from the largest.

    Args:
        sizes: at least two, rising.

    """
    room = math.log2(sizes[-1] / sizes[0]) / 8
    kept = [sizes[-1]]
    for size in reversed(sizes):
        if math.log2(kept[-1] / size) >= room:
            kept.append(size)
    return set(kept)


def cost_by_size(run: Run) -> Figure:
    """Return ns per request against IO size, a line per arm.

    One facet per path, protocol, family and batch with at least two sizes.
    """
    blocks = _blocks(run).query("arm != @CONTROL")
    sizes = blocks.groupby("group")["io_size_bytes"].transform("nunique")
    blocks = blocks[sizes >= 2]
    if blocks.empty:
        return _empty("no path was measured at two sizes")
    grid = sns.relplot(
        data=blocks,
        kind="line",
        x="io_size_bytes",
        y="ns_per_request",
        hue="arm",
        style="arm",
        hue_order=(order := _arms(blocks)),
        style_order=order,
        palette=_colours(order),
        markers=_markers(order),
        dashes=False,
        estimator="median",
        errorbar=_error_bar(blocks, least=stats.needed()),
        err_style="bars",
        err_kws={"capsize": 3},
        col="group",
        col_wrap=min(3, blocks["group"].nunique()),
        height=3.8,
        aspect=1.35,
        facet_kws={"sharex": False, "sharey": False},
    )
    grid.set_titles("{col_name}")
    grid.set_axis_labels("IO size [B], log2", "cost [ns/request]")
    grid.legend.set_title("arm")
    for name, axes in grid.axes_dict.items():
        here = blocks.loc[blocks["group"] == name, "io_size_bytes"]
        _size_axis(axes, sorted(here.unique()))
        axes.set_ylim(bottom=0)
    return _done(grid.figure, _caption(run, blocks))


def gain(run: Run) -> Figure:
    """Return the gain over send in percent per size and arm, with its interval.

    The grey box at each size is the control's interval: the noise floor.
    """
    blocks = _blocks(run)
    zc = blocks[blocks["arm"].isin(_compared(blocks))]
    if zc.empty:
        return _empty("nothing was measured beside send")
    sizes = zc.groupby("group", sort=False)["io_size_bytes"].nunique()
    rows = _packed({str(name): max(2, int(n)) for name, n in sizes.items()})
    across = max(sum(row.values()) for row in rows)
    slot = max(0.95, 0.22 * len(_compared(blocks)))  # so that arms lie side by side
    figure = plt.figure(
        figsize=(1.5 + slot * across, 3.9 * len(rows)), layout="constrained"
    )
    grid = figure.add_gridspec(len(rows), across)
    first: Axes | None = None
    for number, row in enumerate(rows):
        place = 0
        for name, width in row.items():
            axes = figure.add_subplot(grid[number, place : place + width], sharey=first)
            _gain_facet(axes, blocks[blocks["group"] == name], name)
            axes.set_ylabel("" if place else "gain over send [%]")
            axes.tick_params(labelleft=place == 0)
            first, place = first or axes, place + width
    _legend(figure, zc, floor=True)
    return _done(figure, _caption(run, zc))


def _packed(widths: dict[str, int]) -> list[dict[str, int]]:
    """Return facets in rows of at most `SLOTS` sizes, in order, with their widths."""
    rows: list[dict[str, int]] = [{}]
    for name, width in widths.items():
        if rows[-1] and sum(rows[-1].values()) + width > SLOTS:
            rows.append({})
        rows[-1][name] = min(width, SLOTS)
    return rows


def _gain_facet(axes: Axes, blocks: pd.DataFrame, title: str) -> None:
    """Draw the gains of one path, protocol, family and batch."""
    blocks = blocks.sort_values("io_size_bytes", kind="stable")
    blocks = blocks.assign(size=blocks["io_size_bytes"].astype(str))
    zc = blocks[blocks["arm"].isin(_compared(blocks))]
    order = list(dict.fromkeys(zc["size"]))
    _gain_points(axes, zc, "size", order)
    control = blocks[blocks["arm"] == CONTROL]
    for place, size in enumerate(order):
        _floor(axes, control[control["size"] == size], place)
    axes.set(title=title, xlabel="IO size [B]")
    if len(order) > SLOTS:
        axes.tick_params(axis="x", rotation=90)


def _gain_points(axes: Axes, blocks: pd.DataFrame, x: str, order: list[str]) -> None:
    arms = _compared(blocks)
    markers = _markers(arms)
    sns.pointplot(
        data=blocks,
        x=x,
        y="gain_percent",
        hue="arm",
        order=order,
        hue_order=arms,
        palette=_colours(arms),
        markers=[markers[arm] for arm in arms],
        estimator="median",
        errorbar=_error_bar(blocks),
        capsize=0.1,
        dodge=min(0.8, 0.3 + 0.05 * len(arms)) if len(arms) > 1 else False,
        linestyle="none",
        markersize=5,
        err_kws={"linewidth": 1.3},
        legend=False,
        ax=axes,
    )
    axes.axhline(0, color="black", linewidth=0.8, zorder=1)
    axes.set_xlim(-0.6, len(order) - 0.4)


def _floor(axes: Axes, control: pd.DataFrame, place: int) -> None:
    """Draw the control's interval at one place of the x axis."""
    if control.empty:
        return
    low, high = _error_bar(control)(control["gain_percent"].dropna())
    if not math.isnan(low):
        axes.fill_between(
            [place - 0.42, place + 0.42],
            low,
            high,
            color=COLOURS[CONTROL],
            alpha=0.5,
            linewidth=0.6,
            zorder=0,
        )


def _legend(
    figure: Figure, blocks: pd.DataFrame, *, floor: bool, everyone: bool = False
) -> None:
    """Put one legend of the arms right of all axes; the baseline too for everyone."""
    labels = _arms(blocks) if everyone else _compared(blocks)
    colours, markers = _colours(labels), _markers(labels)
    handles: list[Any] = [
        Line2D([], [], color=colours[arm], marker=markers[arm], linestyle="none")
        for arm in labels
    ]
    if floor:
        handles.append(Patch(color=COLOURS[CONTROL], alpha=0.5))
        labels.append("control (A/A)")
    figure.legend(
        handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False
    )


def _shares(frame: pd.DataFrame) -> pd.DataFrame:
    """Return copied share in percent per path and zerocopy arm, over notifications."""
    zc = frame[frame["notifications"] > 0].copy()
    # Over TCP the share is of the witnesses, not of the timed requests.
    zc["notifications"] = zc["witnesses"].where(
        zc["witnesses"] > 0, zc["notifications"]
    )
    zc["copied"] = zc["copied_share"] * zc["notifications"]
    rows = []
    for (path, arm), group in zc.groupby(["path", "arm"], sort=False):
        share: object = pd.NA
        if group["copied"].notna().all():
            share = group["copied"].sum() / group["notifications"].sum()
        total = int(group["notifications"].sum())
        rows.append({"path": path, "arm": arm, "share": share, "notifications": total})
    shares = pd.DataFrame(rows, columns=["path", "arm", "share", "notifications"])
    return shares.assign(percent=pd.to_numeric(shares["share"]).astype("Float64") * 100)


def _share_bars(axes: Axes, shares: pd.DataFrame, order: list[str]) -> None:
    arms = _compared(shares)
    drawn = shares.assign(percent=shares["percent"].astype("float64").fillna(0.0))
    sns.barplot(
        data=drawn,
        x="path",
        y="percent",
        hue="arm",
        order=order,
        hue_order=arms,
        palette=_colours(arms),
        saturation=1,
        errorbar=None,
        legend=False,
        ax=axes,
    )
    said = shares.set_index(["path", "arm"])["share"]
    for arm, bars in zip(arms, axes.containers, strict=True):
        at = [path for path in order if (path, arm) in said.index]
        labels = [_bar_text(said[path, arm]) for path in at]
        axes.bar_label(cast(BarContainer, bars), labels, padding=2, fontsize="x-small")
    axes.set(ylim=(0, 112), ylabel="notifications that say copied", xlabel="path")
    axes.yaxis.set_major_locator(FixedLocator([0, 25, 50, 75, 100]))
    axes.yaxis.set_major_formatter(PercentFormatter(100))


def _bar_text(share: object) -> str:
    text = table.share_text(share)
    return "?" if text == "unknown" else text


def copied(run: Run) -> Figure:
    """Return the share of notifications that say copied, per path and mode."""
    frame = table.summary(run)
    shares = _shares(frame)
    if shares.empty:
        return _empty("no notification came")
    order = list(dict.fromkeys(shares["path"]))
    figure, axes = plt.subplots(
        figsize=(2.2 + 1.6 * len(order), 3.6), layout="constrained"
    )
    _share_bars(axes, shares, order)
    axes.set_title("Was it zerocopy? 0 % is, 100 % is not")
    _legend(figure, shares, floor=False)
    total = int(shares["notifications"].sum())
    unknown = " ?: the kernel did not say." if shares["share"].isna().any() else ""
    return _done(figure, f"Over {total:,} notifications.{unknown} Run {run.id}.")


def why(run: Run) -> Figure:
    """Return veth against sink at the selftest's size: gain beside copied share."""
    frame = conclusions.cause(table.summary(run))
    if frame.empty:
        return _empty("it needs the selftest's size on veth and on the sink")
    blocks = _blocks(run)
    blocks = blocks[blocks["point"].isin(frame["point"])]
    zc = blocks[blocks["arm"].isin(_compared(blocks))]
    order = ["veth", "sink"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.8), layout="constrained")
    _gain_points(left, zc, "path", order)
    for place, path in enumerate(order):
        at_path = blocks["path"] == path
        _floor(left, blocks[at_path & (blocks["arm"] == CONTROL)], place)
    left.set(ylabel="gain over send [%]", xlabel="path", title="Does it win?")
    _share_bars(right, _shares(frame), order)
    right.set_title("Was it zerocopy?")
    _legend(figure, zc, floor=True)
    first = frame.iloc[0]
    figure.suptitle(
        f"{first['io_size_bytes']} B over {first['protocol'].upper()}/"
        f"IPv{first['family']}, batch {first['batch']}: live receiver (veth) "
        "and none (sink)",
        fontsize="medium",
    )
    return _done(figure, _caption(run, zc))


_NO_SERIES = (
    f"no path of this run has {cost.LEAST_SIZES} sizes of {stats.needed()} blocks or "
    "more"
)


def cost_lines(run: Run) -> Figure:
    """Return ns per request over size, one axes per series, with the fitted lines."""
    found = cost.series(run)
    if not found:
        return _empty(_NO_SERIES)
    figure, beside = _per_series(found, "ns per request")
    for axes, one in beside:
        dense = np.geomspace(one.sizes[0], one.sizes[-1], 200)
        arms = [arm for arm in one.arms if arm != CONTROL]
        colours, markers = _colours(arms), _markers(arms)
        for arm in arms:
            ns = one.median_ns[:, one.arms.index(arm)]
            axes.plot(one.sizes, ns, markers[arm], color=colours[arm], markersize=5)
            fixed, slope = cost.fit(one.sizes, ns)
            axes.plot(dense, fixed + slope * dense, color=colours[arm], linewidth=1)
        axes.set_ylim(0, None)
    arms_of_all = pd.DataFrame({"arm": [arm for one in found for arm in one.arms]})
    _legend(figure, arms_of_all, floor=False, everyone=True)
    return _done(figure, f"Points: medians. Lines: a + b x bytes. Run {run.id}.")


def cost_residuals(run: Run) -> Figure:
    """Return how far each size lies from its line, in percent, one axes per series.

    A filled mark has the line outside of the 95 % interval of its median cost.
    """
    found = cost.series(run)
    if not found:
        return _empty(_NO_SERIES)
    left_over = cost.residuals(run)
    figure, beside = _per_series(found, "measured over the line [%]")
    for axes, one in beside:
        arms = [arm for arm in one.arms if arm != CONTROL]
        colours, markers = _colours(arms), _markers(arms)
        mine = _of_series(left_over, one)
        for arm, rows in mine.groupby("arm", sort=False):
            name = str(arm)
            sizes, percent = rows["io_size_bytes"], rows["residual_percent"]
            axes.plot(sizes, percent, color=colours[name], linewidth=0.8)
            for beyond, each in rows.groupby("beyond"):
                axes.plot(
                    each["io_size_bytes"],
                    each["residual_percent"],
                    markers[name],
                    color=colours[name],
                    markersize=5,
                    markerfacecolor=colours[name] if beyond else "white",
                )
        axes.axhline(0, color="black", linewidth=0.8, zorder=1)
    _legend(figure, left_over, floor=False, everyone=True)
    return _done(
        figure,
        "Medians over a + b x bytes; filled where the line is outside of their 95 % "
        f"interval. Run {run.id}.",
    )


def _of_series(rows: pd.DataFrame, one: cost.Series) -> pd.DataFrame:
    """Return the rows that belong to a series, by the factors its points share."""
    for name, value in one.label.items():
        rows = rows[rows[name] == value]
    return rows


def break_even(run: Run) -> Figure:
    """Return ns saved over size, and where it crosses zero, one axes per series."""
    found = cost.series(run)
    if not found:
        return _empty(_NO_SERIES)
    crossings = cost.break_even(run)
    if crossings.empty:
        return _empty("nothing was measured beside send")
    figure, beside = _per_series(found, "ns saved per request")
    for axes, one in beside:
        arms = [arm for arm in one.arms if arm not in (BASELINE, CONTROL)]
        colours, markers = _colours(arms), _markers(arms)
        for arm in arms:
            number = one.arms.index(arm)
            low, high = one.saved_low_ns[:, number], one.saved_high_ns[:, number]
            known = np.isfinite(low) & np.isfinite(high)
            axes.fill_between(
                one.sizes,
                low,
                high,
                where=known,
                color=colours[arm],
                alpha=0.25,
                linewidth=0,
            )
            axes.plot(
                one.sizes,
                one.saved_ns[:, number],
                color=colours[arm],
                marker=markers[arm],
                markersize=5,
                linewidth=1,
            )
            mine = _of_series(crossings[crossings["arm"] == arm], one)
            for size in mine["break_even_bytes"].dropna():
                axes.annotate(
                    f"{size:.0f} B",
                    (size, 0),
                    xytext=(0, (-18, 12, -32, 26)[number % 4]),
                    textcoords="offset points",
                    color=colours[arm],
                    ha="center",
                    fontsize="small",
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
                )
        axes.axhline(0, color="black", linewidth=0.8, zorder=1)
        axes.set_yscale("symlog", linthresh=100)
    _legend(figure, crossings, floor=False)
    return _done(
        figure,
        f"Medians of paired differences, 95 % interval; ns as logarithms beyond 100. "
        f"Run {run.id}.",
    )


def _per_series(
    found: Sequence[cost.Series], ylabel: str
) -> tuple[Figure, list[tuple[Axes, cost.Series]]]:
    """Return a figure with axes over size, as logarithms, beside each series."""
    figure, grid = plt.subplots(
        1,
        len(found),
        figsize=(1.4 + 4.6 * len(found), 3.8),
        layout="constrained",
        squeeze=False,
    )
    for axes, one in zip(grid[0], found, strict=True):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(_thinned(one.sizes)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.tick_params(axis="x", rotation=90)
        axes.set(xlabel="IO size [B]", ylabel=ylabel, title=_series_title(one))
    return figure, list(zip(grid[0], found, strict=True))


def _thinned(sizes: stats.Floats) -> list[float]:
    """Return the sizes that can be labelled on a logarithmic axis."""
    found: list[float] = []
    for size in sizes:
        if not found or size / found[-1] > 1.25:
            found.append(float(size))
    return found


def _series_title(one: cost.Series) -> str:
    point = one.points[0]
    return _group(point).replace("\n", ", ", 1)


BUCKET_COLOURS = dict(
    zip(
        breakdowns.BUCKETS,
        sns.color_palette("tab20", len(breakdowns.BUCKETS)),
        strict=True,
    )
)


def breakdown(found: Sequence[Mapping[str, Any]]) -> Figure:
    """Return where the time of a request goes: a stacked bar for each arm.

    Args:
        found: breakdowns, as `store.breakdowns.load` returns them; one axes each.

    """
    if not found:
        return _empty("no breakdown of this host; make one: zclab breakdown")
    figure, grid = plt.subplots(
        1,
        len(found),
        figsize=(2.4 + 3.4 * len(found), 4.4),
        layout="constrained",
        squeeze=False,
    )
    for axes, one in zip(grid[0], found, strict=True):
        ns = breakdowns.frame(one).pivot_table(
            index="arm", columns="bucket", values="ns", sort=False
        )[list(breakdowns.BUCKETS)]
        ns.plot.bar(
            stacked=True, ax=axes, color=BUCKET_COLOURS, width=0.7, legend=False
        )
        measured = breakdowns.closure(one)["measured_ns"]
        axes.plot(range(len(ns)), measured, "k_", markersize=28, markeredgewidth=1.5)
        axes.set(title=one["name"], xlabel="", ylabel="ns per request")
        axes.tick_params(axis="x", rotation=0)
    handles: list[Any] = [
        Patch(color=BUCKET_COLOURS[name]) for name in breakdowns.BUCKETS
    ]
    handles.append(Line2D([], [], color="black", marker="_", linestyle="none"))
    figure.legend(
        handles[::-1],
        ["measured", *breakdowns.BUCKETS[::-1]],
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
    )
    return _done(figure, "perf, cpu-clock; apart from the timed samples.")


def waterfall(run: Run) -> Figure:
    """Return the way from February 2025 to v5's case, one factor a step.

    A bar goes from the gain of the step before to that of the step; the line on its end
    is the 95 % interval of that gain. Above it what the step changed, with the interval
    of the change.
    """
    steps = ladder.steps(run)
    arms = [arm for arm in ladder.ARMS if (steps["arm"] == arm).sum() > 1]
    if not arms:
        return _empty(f"it takes a ladder: {ladder.HOW}")
    figure, grid = plt.subplots(
        len(arms),
        1,
        figsize=(9.5, 3.7 * len(arms)),
        layout="constrained",
        squeeze=False,
    )
    for axes, arm in zip(grid[:, 0], arms, strict=True):
        _waterfall(axes, steps[steps["arm"] == arm].to_dict("records"))
        axes.set(title=arm, ylabel="gain over send [%]")
    n = table.range_text(steps["n"])
    return _done(
        figure,
        f"Medians over n={n} blocks; lines and brackets: 95 % intervals. "
        f"Run {run.id}" + ("." if run.complete else ", partial."),
    )


def _waterfall(axes: Axes, steps: Sequence[Mapping[Any, Any]]) -> None:
    labels = []
    last = 0.0
    for place, step in enumerate(steps):
        gain, low, high = step["gain_percent"], step["gain_low"], step["gain_high"]
        colour = _ENDS if not place else _RISES if gain >= last else _FALLS
        axes.bar(place, gain - last, bottom=last, width=0.6, color=colour)
        axes.plot([place - 0.3, place + 1.3], [gain, gain], "k:", linewidth=0.8)
        top = max(last, gain)
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([place, place], [low, high], "k-", linewidth=1.3)
            top = max(top, high)
        said = _percent(step)
        if place:
            change = ladder.effect_text(step, "effect_points", "effect", 0)
            said = change.replace(" ", "\n", 1)
        _above(axes, said, place, top)
        labels.append(f"{step['label']}\ncopied {table.share_text(step['copied'])}")
        last = gain
    axes.bar(len(steps), last, width=0.6, color=_ENDS)
    _above(axes, _percent(steps[-1]), len(steps), max(last, 0.0))
    case = next((name for name in rung.CASES if steps[-1]["point"] == _named(name)), "")
    labels.append(f"{case}: sink" if case else "in the end")
    axes.set_xticks(range(len(labels)), labels, fontsize="x-small")
    axes.axhline(0, color="black", linewidth=0.8, zorder=1)
    axes.margins(y=0.2)


def _named(case: str) -> str:
    return rung.CASES[case].name


def _percent(step: Mapping[Any, Any]) -> str:
    return table.gain_text(pd.Series(step)).partition(" ")[0]


def _above(axes: Axes, said: str, place: int, top: float) -> None:
    axes.annotate(
        said,
        (place, top),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        fontsize="x-small",
    )


_ENDS, _RISES, _FALLS = "#7F7F7F", "#009E73", "#D55E00"  # of the same palette


def rungs(run: Run) -> Figure:
    """Return what each factor does to the gain, one axes per case; largest first."""
    frame = ladder.rungs(run)
    if frame.empty:
        return _empty(f"it takes a ladder: {ladder.HOW}")
    cases = list(dict.fromkeys(frame["case"]))
    longest = max(frame[frame["case"] == case]["rung"].nunique() for case in cases)
    figure, grid = plt.subplots(
        1,
        len(cases),
        figsize=(1 + 5.8 * len(cases), 1.2 + 0.36 * longest),
        layout="constrained",
        squeeze=False,
    )
    for axes, case in zip(grid[0], cases, strict=True):
        _rungs(axes, frame[frame["case"] == case])
        axes.set(title=f"from the case of {case}", xlabel="points of gain")
    arms = [*ladder.ARMS, _REGISTERING]
    colours, markers = _rung_looks()
    handles: list[Any] = [
        Line2D([], [], color=colours[arm], marker=markers[arm], linestyle="none")
        for arm in arms
    ]
    figure.legend(
        handles, arms, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False
    )
    return _done(
        figure,
        "Gain after the change less gain before, 95 % intervals; points beyond 10 as "
        f"logarithms. n={table.range_text(frame['n'])} blocks. Run {run.id}"
        + ("." if run.complete else ", partial."),
    )


_REGISTERING = f"{ladder.ZC} to {ladder.FIXED}"


def _rung_looks() -> tuple[dict[str, str], dict[str, str]]:
    return (
        {**COLOURS, _REGISTERING: COLOURS["control"]},
        {**MARKERS, _REGISTERING: MARKERS["control"]},
    )


def _rungs(axes: Axes, frame: pd.DataFrame) -> None:
    size = frame.groupby("rung", sort=False)["effect_points"].agg(
        lambda effects: effects.abs().max()
    )
    order = list(size.sort_values(kind="stable").index)
    words = {
        row["rung"]: f"{row['factor']}: {row['before']} > {row['after']}"
        for row in frame.to_dict("records")
    }
    colours, markers = _rung_looks()
    for row in frame.to_dict("records"):
        side = {ladder.ZC: 0.15, ladder.FIXED: -0.15}.get(row["arm"], 0.0)
        place, colour = order.index(row["rung"]) + side, colours[row["arm"]]
        low, high = row["effect_low"], row["effect_high"]
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([low, high], [place, place], color=colour, linewidth=1.3)
        axes.plot(
            row["effect_points"],
            place,
            markers[row["arm"]],
            color=colour,
            markersize=4.5,
        )
    axes.axvline(0, color="black", linewidth=0.8, zorder=1)
    axes.set_xscale("symlog", linthresh=10)
    axes.xaxis.set_major_formatter("{x:+.0f}")
    axes.set_yticks(range(len(order)), [words[name] for name in order])
    axes.tick_params(axis="y", labelsize="small")
    axes.grid(visible=True, axis="x")


def forest(runs: Sequence[Run], gains: pd.DataFrame) -> Figure:
    """Return the gains of several runs beside each other, one axes per place.

    A line is one arm at one size; on it each run has its median and 95 % interval.

    Args:
        runs: two or more.
        gains: what `replication.gains` returned of them.

    """
    frame = gains.assign(where=gains.apply(table.where, axis=1))
    groups = list(dict.fromkeys(frame["where"]))
    columns = min(3, len(groups))
    lines = [
        frame[frame["where"] == name].groupby(["point", "arm"]).ngroups
        for name in groups
    ]
    heights = [
        1.1 + 0.3 * max(lines[at : at + columns])
        for at in range(0, len(groups), columns)
    ]
    figure, grid = plt.subplots(
        len(heights),
        columns,
        figsize=(1 + 4.6 * columns, sum(heights)),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    letters = list(replication.labels(runs))
    colours = dict(
        zip(letters, sns.color_palette("colorblind", len(letters)), strict=True)
    )
    for axes, name in zip(grid.flat, groups, strict=False):
        _forest(axes, frame[frame["where"] == name], letters, colours)
        axes.set(title=name, xlabel="gain over send [%]")
    for axes in list(grid.flat)[len(groups) :]:
        axes.axis("off")
    handles = [
        Line2D([], [], color=colours[letter], marker="o", linestyle="none")
        for letter in letters
    ]
    names = [f"{letter}  {run}" for letter, run in replication.labels(runs).items()]
    figure.legend(
        handles, names, loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False
    )
    n = table.range_text(frame["n"])
    return _done(figure, f"Median and its 95 % interval over n={n} blocks a run.")


_FAR = 50.0  # percent: beyond it the axis is logarithmic
_GAIN_TICKS = (-90, -50, -25, 0, 25, 50, 100, 200, 400, 1000, 10_000)


def _forest(
    axes: Axes, frame: pd.DataFrame, letters: Sequence[str], colours: Mapping[str, Any]
) -> None:
    lines = list(dict.fromkeys(zip(frame["io_size_bytes"], frame["arm"], strict=True)))
    step = 0.6 / len(letters)
    for row in frame.to_dict("records"):
        side = (letters.index(row["run"]) - (len(letters) - 1) / 2) * step
        place = lines.index((row["io_size_bytes"], row["arm"])) + side
        colour = colours[row["run"]]
        low, high = row["gain_low"], row["gain_high"]
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([low, high], [place, place], color=colour, linewidth=1.5)
        axes.plot(row["gain_percent"], place, "o", color=colour, markersize=4.5)
    axes.axvline(0, color="black", linewidth=0.8, zorder=1)
    if frame["gain_percent"].abs().max() > _FAR:
        axes.set_xscale("symlog", linthresh=_FAR)
        axes.xaxis.set_major_locator(FixedLocator(_GAIN_TICKS))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:+.0f}")
    axes.set_yticks(range(len(lines)), [f"{arm}, {size} B" for size, arm in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)  # the first one on top
    axes.tick_params(axis="y", labelsize="small")
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
