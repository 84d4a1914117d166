"""The figures: what is drawn is what was measured, in the colours of the modes."""

import dataclasses
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path as Folder

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import samples
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from zclab import stats, store
from zclab.explain import cost, figures, table
from zclab.params import CONTROL, Mode

mpl.use("Agg")

Draw = Callable[[store.Run], Figure]

ALL: tuple[Draw, ...] = (
    figures.cost_by_size,
    figures.gain,
    figures.copied,
    figures.why,
    figures.cost_lines,
    figures.cost_residuals,
    figures.break_even,
)


@pytest.fixture(scope="module", autouse=True)
def _style() -> Iterator[None]:
    with mpl.rc_context():
        figures.use_style()
        yield
    plt.close("all")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> store.Run:
    return samples.make(tmp_path_factory.mktemp("runs"), planned=20)


@pytest.fixture(scope="module")
def frame(run: store.Run) -> pd.DataFrame:
    return table.summary(run)


@pytest.fixture(scope="module")
def drawn(run: store.Run) -> dict[Draw, Figure]:
    return {draw: draw(run) for draw in ALL}


def words(figure: Figure) -> str:
    """Return all text of a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


def facets(figure: Figure) -> dict[str, Axes]:
    """Return the axes by the first line of their titles."""
    return {axes.get_title(): axes for axes in figure.axes}


def test_a_figure_is_returned_and_not_left_open(
    run: store.Run, drawn: dict[Draw, Figure]
) -> None:
    """A notebook shows the value; pyplot does not show it a second time."""
    assert plt.get_fignums() == []
    for figure in drawn.values():
        assert isinstance(figure, Figure)
        assert run.id in words(figure)


@pytest.mark.parametrize("draw", ALL)
def test_labels_do_not_overlap(drawn: dict[Draw, Figure], draw: Draw) -> None:
    """No tick label of an axis touches its neighbour, no title another one."""
    check_labels(drawn[draw])


@pytest.mark.parametrize("draw", [figures.cost_by_size, figures.gain])
def test_many_sizes_have_room(tmp_path: Folder, draw: Draw) -> None:
    """Sizes close to each other share the room: some ticks go without a label."""
    few = samples.points()[0]
    sizes = (64, 600, 1200, 1472, 2000, 3000, 4000, 8000, 16000, 32000, 65507)
    many = tuple(dataclasses.replace(few, io_size_bytes=size) for size in sizes)
    figure = draw(samples.make(tmp_path, plan_points=many, planned=6))
    check_labels(figure)

    assert "65507" in words(figure)


def check_labels(figure: Figure) -> None:
    """Assert that neither tick labels nor titles of a figure overlap."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        labels = [t for t in axes.get_xticklabels() if t.get_text()]
        boxes = [t.get_window_extent() for t in labels]
        for left, right in pairwise(boxes):
            assert not left.overlaps(right)
    titles = [a.title.get_window_extent() for a in figure.axes if a.get_title()]
    for left, right in pairwise(titles):
        assert not left.overlaps(right)


def test_cost_is_drawn_at_the_medians(
    drawn: dict[Draw, Figure], frame: pd.DataFrame
) -> None:
    """The line of send on the sink goes through its median ns per request."""
    axes = facets(drawn[figures.cost_by_size])["sink\nUDP/IPv4, batch 8"]
    mine = frame[
        (frame["path"] == "sink") & (frame["family"] == 4) & (frame["arm"] == "send")
    ]
    line = next(
        line
        for line in axes.get_lines()
        if to_hex(line.get_color()) == figures.COLOURS["send"].lower()
        and len(line.get_xdata())
    )

    assert line.get_xdata() == pytest.approx(mine["io_size_bytes"])
    assert line.get_ydata() == pytest.approx(mine["ns_per_request"])
    assert axes.get_xscale() == "log"
    assert "[ns/request]" in axes.get_ylabel()


def test_cost_needs_two_sizes(drawn: dict[Draw, Figure]) -> None:
    """Paths with one size have no facet; a run of such paths says so."""
    titles = facets(drawn[figures.cost_by_size])

    assert set(titles) == {"sink\nUDP/IPv4, batch 8", "lo\nTCP/IPv4, batch 1"}


def test_gain_has_a_facet_per_path_and_protocol(drawn: dict[Draw, Figure]) -> None:
    """Veth, both sinks and lo are apart, and each has a zero line."""
    titles = facets(drawn[figures.gain])

    assert len(titles) == 4
    for axes in titles.values():
        zero = [line for line in axes.get_lines() if set(line.get_ydata()) == {0}]
        assert zero


def test_gain_draws_the_interval_and_the_floor_of_stats(
    drawn: dict[Draw, Figure], frame: pd.DataFrame
) -> None:
    """Error bars end where stats says, the grey box is the control's interval."""
    axes = facets(drawn[figures.gain])["veth\nUDP/IPv6, batch 64"]
    row = frame.set_index(["path", "arm"]).loc[("veth", "send_zc")]
    control = frame.set_index(["path", "arm"]).loc[("veth", CONTROL)]
    ends = [
        (np.nanmin(line.get_ydata()), np.nanmax(line.get_ydata()))
        for line in axes.get_lines()
        if to_hex(line.get_color()) == figures.COLOURS["send_zc"].lower()
    ]
    box = axes.collections[0].get_paths()[0].vertices[:, 1]

    assert any(
        (row["gain_low"], row["gain_high"]) == pytest.approx(pair) for pair in ends
    )
    assert (box.min(), box.max()) == pytest.approx(
        (control["gain_low"], control["gain_high"])
    )


def drawn_ends(axes: Axes, arm: str) -> set[tuple[float, float]]:
    """Return the ends of all lines in an arm's colour, error bars among them."""
    return {
        (round(float(np.nanmin(y)), 9), round(float(np.nanmax(y)), 9))
        for line in axes.get_lines()
        if to_hex(line.get_color()) == figures.COLOURS[arm].lower()
        and np.isfinite(y := np.asarray(line.get_ydata(), dtype=float)).any()
    } | {
        (round(float(segment[:, 1].min()), 9), round(float(segment[:, 1].max()), 9))
        for lines in axes.collections
        if isinstance(lines, LineCollection)
        and to_hex(lines.get_color()[0]) == figures.COLOURS[arm].lower()
        for segment in lines.get_segments()
    }


def test_error_bars_allow_for_placements(tmp_path: Folder) -> None:
    """In placements that differ the bars are as wide as the tables' intervals."""
    points = tuple(
        dataclasses.replace(samples.points()[0], io_size_bytes=size)
        for size in (600, 8000)
    )
    run = samples.make(tmp_path, plan_points=points, planned=72, noise=0.001)
    placement = run.samples["block"] % 24
    level = 1 + 0.01 * (placement * 7 % 24) * (run.samples["arm"] != "send")
    run = dataclasses.replace(
        run,
        samples=run.samples.assign(
            placement=placement, ns_per_request=run.samples["ns_per_request"] * level
        ),
    )
    frame = table.summary(run)
    (gains,) = figures.gain(run).axes
    (costs,) = figures.cost_by_size(run).axes

    assert (frame["n_effective"].dropna() < 40).all()
    assert (frame["n_effective"].dropna() >= stats.needed()).all()
    boxes = [
        (vertices.min(), vertices.max())
        for box in gains.collections
        for vertices in [box.get_paths()[0].vertices[:, 1]]
    ]
    for row in frame.itertuples():
        if row.arm == CONTROL:
            assert (row.gain_low, row.gain_high) in [pytest.approx(b) for b in boxes]
            continue
        ends = [pytest.approx(pair) for pair in drawn_ends(costs, row.arm)]
        assert (row.ns_low, row.ns_high) in ends
        if row.arm != "send":
            ends = [pytest.approx(pair) for pair in drawn_ends(gains, row.arm)]
            assert (row.gain_low, row.gain_high) in ends


def test_send_alone_breaks_even_with_nothing(tmp_path: Folder) -> None:
    """A run without a zerocopy mode says so in the figure of break-even sizes."""
    points = tuple(
        dataclasses.replace(samples.points()[0], io_size_bytes=size, modes=(Mode.SEND,))
        for size in (600, 4000, 8000)
    )
    run = samples.make(tmp_path, plan_points=points, planned=8)

    assert "nothing was measured beside send" in words(figures.break_even(run))


def test_copied_bars_are_the_shares(drawn: dict[Draw, Figure]) -> None:
    """Nothing on the sink, all on veth and lo, and the numbers are written there."""
    axes = drawn[figures.copied].axes[0]
    heights = {round(bar.get_height()) for bars in axes.containers for bar in bars}

    assert heights == {0, 100}
    assert "0%" in words(axes.figure)


def test_a_mode_may_be_missing_on_a_path(tmp_path: Folder) -> None:
    """Each bar keeps its own label where a path lacks a mode."""
    sink, lo = samples.points()[0], samples.points()[7]
    fewer = dataclasses.replace(lo, modes=(Mode.SEND, Mode.SEND_ZC_FIXED))
    run = samples.make(tmp_path, plan_points=(sink, fewer), planned=8)
    axes = figures.copied(run).axes[0]
    bars = sorted(
        (bar.get_x(), bar.get_height()) for bars in axes.containers for bar in bars
    )
    labels = sorted((text.xy[0], text.get_text()) for text in axes.texts)

    assert [round(height) for _, height in bars] == [0, 0, 0, 100]
    assert [label for _, label in labels] == ["0%", "0%", "0%", "100%"]


def test_an_unknown_share_is_a_question_mark(tmp_path: Folder) -> None:
    """Unknown is not drawn as zero without a word."""
    run = samples.make(tmp_path, planned=8, copied={"sink": None})
    figure = figures.copied(run)

    assert "?: the kernel did not say" in words(figure)


def test_why_sets_gain_beside_copies(drawn: dict[Draw, Figure]) -> None:
    """Two panels with veth and sink, titled with the point they share."""
    figure = drawn[figures.why]
    left, right = figure.axes

    assert [t.get_text() for t in left.get_xticklabels()] == ["veth", "sink"]
    assert [t.get_text() for t in right.get_xticklabels()] == ["veth", "sink"]
    assert "65435 B over UDP/IPv6, batch 64" in words(figure)


def test_residuals_are_those_of_the_lines(
    run: store.Run, drawn: dict[Draw, Figure]
) -> None:
    """Each size has a mark at its percent over the line, filled where that is out."""
    left_over = cost.residuals(run)
    axes = drawn[figures.cost_residuals].axes[0]

    marks = [line for line in axes.get_lines() if line.get_marker() not in ("None", "")]
    heights = np.concatenate([mark.get_ydata() for mark in marks])
    assert sorted(heights) == pytest.approx(sorted(left_over["residual_percent"]))
    filled = [m for m in marks if m.get_markerfacecolor() != "white"]
    assert sum(len(m.get_ydata()) for m in filled) == left_over["beyond"].sum()
    assert "[%]" in axes.get_ylabel()


def test_one_colour_per_mode() -> None:
    """Every mode and the control have one, no two the same."""
    assert set(figures.COLOURS) == {*Mode, CONTROL}
    assert len(set(figures.COLOURS.values())) == len(figures.COLOURS)


@pytest.mark.parametrize("draw", ALL)
@pytest.mark.parametrize("index", [0, 5])
def test_little_data_is_drawn_or_said_to_be_missing(
    tmp_path: Folder, draw: Draw, index: int
) -> None:
    """One point with two blocks gives a figure or a sentence, not an error."""
    point = samples.points()[index]
    run = samples.make(tmp_path, plan_points=(point,), planned=2)
    figure = draw(run)
    figure.draw_without_rendering()

    assert figure.axes


def test_too_few_blocks_have_no_error_bar() -> None:
    """Below six values the interval is not drawn."""
    assert np.isnan(figures.interval([1.0, 2.0])).all()
    found = stats.median_interval([1, 2, 3, 4, 5, 6])
    assert figures.interval([1, 2, 3, 4, 5, 6]) == (found.low, found.high)


def test_one_run_gives_one_file(tmp_path: Folder) -> None:
    """Drawn twice, the SVG is byte for byte the same."""
    run = samples.make(tmp_path, plan_points=samples.points()[5:7], planned=6)
    for name in ("a.svg", "b.svg"):
        figures.why(run).savefig(tmp_path / name, metadata={"Date": None})

    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
