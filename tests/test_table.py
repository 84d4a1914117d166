"""The tables of a run, on synthetic runs with known effects."""

import dataclasses
import math
import time
from pathlib import Path as Folder

import numpy as np
import pandas as pd
import pytest
import samples

from zclab import stats, store
from zclab.errors import DataError
from zclab.explain import published, table
from zclab.params import Mode, Path, Point, Protocol


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> store.Run:
    return samples.make(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def frame(run: store.Run) -> pd.DataFrame:
    return table.summary(run)


def one_point(path: Path = Path.SINK, size: int = 1200) -> tuple[Point, ...]:
    return (
        Point(
            path=path,
            protocol=Protocol.UDP,
            family=4,
            io_size_bytes=size,
            batch=8,
        ),
    )


def test_there_is_one_row_per_point_and_arm(
    run: store.Run, frame: pd.DataFrame
) -> None:
    """The rows are the plan's points in order, each with its arms in order."""
    expected = [(p.name, arm) for p in run.plan.points for arm in p.arms]

    assert expected == list(zip(frame["point"], frame["arm"], strict=True))
    assert (frame["n"] == run.plan.blocks).all()


def test_known_effects_are_found(frame: pd.DataFrame) -> None:
    """Every synthetic effect lies in its interval, give or take one in twenty."""
    zc = frame[frame["arm"].isin(samples.GAINS["sink"])]
    truth = np.array([samples.GAINS[r.path][r.arm] for r in zc.itertuples()])
    inside = (zc["gain_low"] <= truth) & (truth <= zc["gain_high"])

    assert inside.mean() > 0.8
    assert zc["gain_percent"].to_numpy() == pytest.approx(truth, abs=1.0)
    assert set(zc["finding"]) == {table.FASTER, table.SLOWER}


def test_the_baseline_has_no_gain_and_the_control_no_finding(
    frame: pd.DataFrame,
) -> None:
    """Send is compared with nothing; A/A shows no difference by its own floor."""
    assert frame.loc[frame["arm"] == "send", "gain_percent"].isna().all()
    control = frame[frame["arm"] == "control"]
    assert set(control["finding"]) <= {table.NO_DIFFERENCE, table.EQUIVALENT}
    ends = control[["gain_low", "gain_high"]].abs().max(axis=1)
    assert ends.to_list() == control["floor_percent"].to_list()


def test_the_summary_agrees_with_stats_on_the_samples(
    run: store.Run, frame: pd.DataFrame
) -> None:
    """One row, computed by hand from the samples, is what the summary says."""
    point = run.plan.points[0].name
    mine = run.samples[run.samples["point"] == point].sort_values("block")
    arm = mine.loc[mine["arm"] == "send_zc", "ns_per_request"].to_numpy()
    base = mine.loc[mine["arm"] == "send", "ns_per_request"].to_numpy()
    row = frame[(frame["point"] == point) & (frame["arm"] == "send_zc")].iloc[0]

    gain = stats.median_interval(stats.log_gain(arm, base)).map(stats.percent)
    assert gain.low == row["gain_low"]
    assert stats.median_interval(base - arm).high == row["saved_high"]
    assert np.median(arm) == row["ns_per_request"]
    assert 1e9 / np.median(arm) == pytest.approx(row["requests_per_s"])


def test_the_order_of_the_samples_does_not_matter(run: store.Run) -> None:
    """Pairing goes by block number, not by the row's place in the file."""
    shuffled = run.samples.sample(frac=1, random_state=1)
    other = dataclasses.replace(run, samples=shuffled)

    pd.testing.assert_frame_equal(table.summary(run), table.summary(other))


def test_copied_share_is_over_notifications(frame: pd.DataFrame) -> None:
    """It is 0 on the sink, 1 where all say copied, and missing for plain sends."""
    zc = frame[frame["notifications"] > 0]

    assert {0.0} == set(zc.loc[zc["path"] == "sink", "copied_share"])
    assert {1.0} == set(zc.loc[zc["path"] != "sink", "copied_share"])
    assert frame.loc[frame["mode"] == "send", "copied_share"].isna().all()


def test_an_unknown_copied_share_stays_unknown(tmp_path: Folder) -> None:
    """On a kernel that does not report it, the share is missing, never zero."""
    run = samples.make(
        tmp_path, plan_points=one_point(), planned=8, copied={"sink": None}
    )
    frame = table.summary(run)

    assert frame["copied_share"].isna().all()
    assert "unknown" in table.compact(table.summary(run), "sink")["copied"].to_list()


def test_too_few_blocks_decide_nothing(tmp_path: Folder) -> None:
    """With five blocks there is no interval, no finding, and a warning."""
    run = samples.make(tmp_path, plan_points=one_point(), planned=5)
    frame = table.summary(run)
    zc = frame[frame["arm"] == "send_zc_fixed"].iloc[0]

    assert zc["finding"] == table.NO_DIFFERENCE
    assert "needs 6 blocks" in zc["warnings"]
    assert "too small" in table.gain_text(zc)


def test_counters_that_should_be_zero_become_warnings(tmp_path: Folder) -> None:
    """-EAGAIN, short sends, overflows and lost notifications are told with the row."""
    run = samples.make(tmp_path, plan_points=one_point(), planned=8)
    row = run.samples.index[run.samples["arm"] == "send_zc"][0]
    run.samples.loc[row, ["eagain", "short_sends", "cq_overflow"]] = [3, 2, 1]
    run.samples.loc[row, "notifications"] -= 1
    frame = table.summary(run).set_index("arm")

    said = frame.loc["send_zc", "warnings"]
    assert "3 completions with -EAGAIN; 2 short sends; 1 CQEs overflowed" in said
    assert "notifications for" in said
    assert frame.loc["send_zc_fixed", "warnings"] == ""


def test_a_sample_without_requests_is_left_out_and_told(tmp_path: Folder) -> None:
    """A slice in which nothing completed does not become an infinite cost."""
    run = samples.make(tmp_path, plan_points=one_point(), planned=8)
    row = run.samples.index[run.samples["arm"] == "send_zc"][0]
    run.samples.loc[row, ["requests", "ns_per_request"]] = [0, math.inf]
    frame = table.summary(run).set_index("arm")

    assert frame.loc["send_zc", "n"] == 7
    assert "1 samples without a completed request" in frame.loc["send_zc", "warnings"]


def test_a_partial_run_shows_the_points_it_has(tmp_path: Folder) -> None:
    """Points that were never reached have no row."""
    run = samples.make(tmp_path, planned=8, stop_after=1)

    assert {run.plan.points[0].name} == set(table.summary(run)["point"])


def test_equal_arms_are_equivalent_and_their_p_is_no_news(tmp_path: Folder) -> None:
    """Planted at 0 %, arms differ by less than a point; Holm's p rejects none."""
    run = samples.make(tmp_path, planned=60, gain=lambda point, arm: 0.0, noise=0.005)
    frame = table.summary(run)
    zc = frame[frame["p_holm"].notna()]

    assert set(zc["finding"]) <= {table.EQUIVALENT, table.FASTER, table.SLOWER}
    assert (zc["finding"] == table.EQUIVALENT).mean() > 0.8
    assert zc["equivalent"].all()
    assert (zc["p_holm"] > 0.05).all()
    assert zc["mde_percent"].between(0.1, 1.0).all()


def test_holm_is_over_all_comparisons_but_the_controls(
    run: store.Run, frame: pd.DataFrame
) -> None:
    """Baseline and control have no adjusted p; the others' is that of `stats.holm`."""
    plain = frame["arm"].isin(["send", "control"])

    assert frame.loc[plain, "p_holm"].isna().all()
    assert frame.loc[~plain, "p_holm"].to_list() == list(
        stats.holm(frame.loc[~plain, "p"].to_numpy())
    )
    assert frame.loc[frame["arm"] == "send", "n_effective"].isna().all()
    assert not frame.loc[frame["arm"] == "send", "equivalent"].any()
    # Blocks are independent here, and by luck a few series look as if they were not.
    assert (frame.loc[~plain, "n_effective"] == run.plan.blocks).mean() > 0.6


def test_a_find_among_many_is_warned_of(tmp_path: Folder) -> None:
    """Where Holm's p takes a finding back, its row says among how many."""
    rows = [
        {"arm": arm, "p": p, "finding": table.FASTER, "warnings": []}
        for arm, p in (("send_zc", 0.03), ("mixed", 0.6), ("control", 0.01))
    ]
    table._adjust(rows)

    assert rows[0]["p_holm"] == pytest.approx(0.06)
    assert rows[0]["warnings"] == [
        "chance: among 2 comparisons its p of 0.03 is worth 0.06 (Holm)"
    ]
    assert rows[2]["warnings"] == []


def test_gains_below_the_floor_and_unseen_ones_are_warned_of(tmp_path: Folder) -> None:
    """A gain that equal arms could show says so; so does a row that shows nothing."""
    run = samples.make(tmp_path, plan_points=one_point(), planned=40, noise=0.05)
    block = run.samples.set_index(["arm", "block"])["ns_per_request"]
    run.samples.loc[run.samples["arm"] == "control", "ns_per_request"] = list(
        block["send"].sort_index() * np.tile([0.97, 0.99], 20)
    )
    run.samples.loc[run.samples["arm"] == "mixed", "ns_per_request"] = list(
        block["send"].sort_index() * np.tile([0.985, 0.98], 20)
    )
    run.samples.loc[run.samples["arm"] == "send_zc", "ns_per_request"] = list(
        block["send"].sort_index() * np.tile([0.9, 1.1], 20)
    )
    frame = table.summary(run).set_index("arm")

    assert "noise floor: equal arms differ by up to 3.1" in frame["warnings"]["mixed"]
    assert "the control differs from send" in frame["warnings"]["control"]
    assert "too small to see: gains below" in frame["warnings"]["send_zc"]
    assert frame["finding"]["send_zc"] == table.NO_DIFFERENCE


def test_like_warnings_are_joined_with_their_range() -> None:
    """Numbers become ranges, signed ones stay apart, and each row is named."""
    frame = pd.DataFrame(
        {
            "point": ["p", "p", "q", "q"],
            "arm": ["a", "b", "a", "b"],
            "warnings": ["2 of 300 x", "10 of 300 x; drift +1.0", "drift +2.0", ""],
        }
    )

    assert table.warnings(frame) == [
        ("2 to 10 of 300 x", ["p a", "p b"]),
        ("drift +1.0", ["p b"]),
        ("drift +2.0", ["q a"]),
    ]


def test_a_block_with_two_samples_of_an_arm_is_refused(run: store.Run) -> None:
    """No sample is silently preferred to another."""
    twice = pd.concat([run.samples, run.samples.head(1)], ignore_index=True)

    with pytest.raises(DataError, match="two samples of one arm"):
        table.pairs(dataclasses.replace(run, samples=twice))


@pytest.mark.parametrize(
    ("p", "expected"),
    [(1e-9, "<0.0001"), (0.00123, "0.0012"), (0.043, "0.043"), (0.5, "0.50")],
)
def test_a_p_value_has_two_digits(p: float, expected: str) -> None:
    """Below one in ten thousand the digits mean nothing."""
    assert expected == table.p_text(p)
    assert table.p_text(math.nan) == "-"


def test_extreme_numbers_still_fit_a_mail(tmp_path: Folder) -> None:
    """Gains over 100 % keep to 72 columns."""
    run = samples.make(
        tmp_path, planned=8, gain=lambda p, arm: 400.0 if "zc" in arm else 0.0
    )
    run.samples["ns_per_request"] /= 4
    rows = table.summary(run)
    first = rows[rows["point"] == rows["point"].iloc[0]]

    assert max(map(len, table.gains(first).splitlines())) <= 72


def test_the_compact_table_has_units_in_its_headers(run: store.Run) -> None:
    """It is all strings, and empty for a path that was not measured."""
    compact = table.compact(table.summary(run), "veth")

    assert {"ns/request", "gain vs send [95 %]", "copied"} <= set(compact.columns)
    assert compact.map(lambda cell: isinstance(cell, str)).all(axis=None)
    assert table.compact(table.summary(run), "nic").empty


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, "0%"),
        (1.0, "100%"),
        (0.0004, "<0.1%"),
        (0.9996, ">99.9%"),
        (0.5, "50.0%"),
        (pd.NA, "unknown"),
    ],
)
def test_a_share_never_rounds_to_none_or_all(share: object, expected: str) -> None:
    """0% and 100% mean exactly that."""
    assert expected == table.share_text(share)


def test_thirteen_thousand_samples_take_under_two_seconds(tmp_path: Folder) -> None:
    """Loading and summarising a quick run is quick."""
    folder = samples.make(tmp_path, planned=300).folder
    begin = time.monotonic()
    run = store.load(folder)
    table.summary(run)
    took = time.monotonic() - begin

    assert len(run.samples) > 13_000
    assert took < 2


def test_modes_are_those_of_the_plan(tmp_path: Folder) -> None:
    """A point with two modes has these and the control."""
    point = Point(
        path=Path.LO,
        protocol=Protocol.TCP,
        family=4,
        io_size_bytes=1200,
        batch=1,
        modes=(Mode.SEND, Mode.SEND_ZC),
    )
    run = samples.make(tmp_path, plan_points=(point,), planned=8)

    assert table.summary(run)["arm"].to_list() == ["send", "send_zc", "control"]


def test_situations_of_one_path_stay_apart(tmp_path: Folder) -> None:
    """A point in a situation is no row of the plain path's, and its label says so."""
    points = tuple(
        dataclasses.replace(samples.points(tcp=False)[1], situation=given)
        for given in ("", "mtu=1500", "mtu=1500,tap")
    )
    run = samples.make(tmp_path, plan_points=points, planned=12)
    frame = table.summary(run)

    assert frame["path"].unique().tolist() == [
        "sink",
        "sink+mtu=1500",
        "sink+mtu=1500+tap",
    ]
    assert frame.groupby("path")["point"].nunique().tolist() == [1, 1, 1]
    assert table.where(frame.iloc[-1]).startswith("sink+mtu=1500+tap, UDP/IPv4")
    assert set(table.compact(frame, "sink")["arm"]) == set(points[0].arms)
    assert len(table.compact(frame, "sink")) == len(points[0].arms)
    assert published.twin_point(frame, "v5-dummy", points[0].io_size_bytes) == (
        points[0].name
    )
