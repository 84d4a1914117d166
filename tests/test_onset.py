"""A change of the copied share in mid-run is found, and nothing else is."""

from dataclasses import replace

import numpy as np
import pytest
import samples

from zclab import store
from zclab.explain import onset
from zclab.params import Path, Protocol, grid

POINTS = grid(
    path=Path.SINK,
    protocol=Protocol.UDP,
    family=4,
    sizes=(1200, 8000),
    modes=("send", "send_zc", "send_zc_fixed"),
    batch=8,
)
TCP = grid(
    path=Path.LO,
    protocol=Protocol.TCP,
    family=4,
    sizes=(4096,),
    modes=("send", "send_zc"),
    batch=1,
)


def run_of(parent, points=POINTS, blocks=60):
    return samples.make(parent, plan_points=points, planned=blocks)


def with_shares(run, shares, taps=None):
    """Return a run whose zerocopy samples have these copied shares, block by block."""
    frame = run.samples.copy()
    share = frame["block"].map(dict(enumerate(shares)))
    copied = (share * frame["notifications"]).round()
    frame["copied"] = copied.astype("Int64")
    if taps is not None:
        frame["packet_taps"] = frame["block"].map(dict(enumerate(taps))).astype("Int64")
    return replace(run, samples=frame)


def test_a_tap_opened_in_mid_run(tmp_path):
    """The block, the time, the shares and the cause are told for each point."""
    run = run_of(tmp_path)
    changed = with_shares(run, [0.0] * 37 + [0.4] + [1.0] * 22, [0] * 37 + [1] * 23)

    found = onset.found(changed)

    assert [one.point for one in found] == [point.name for point in POINTS]
    assert {one.block for one in found} == {37}
    assert {(one.before, one.after) for one in found} == {(0.0, 1.0)}
    first = run.samples[run.samples["block"] == 37]["started_ns"].min()
    begin = run.samples["started_ns"].min()
    assert found[0].seconds == pytest.approx((first - begin) / 1e9, abs=1)
    assert found[0].sentence.startswith(
        "copied share of sink-udp4-1200B-n8 changed from 0% to 100% at block 37 ("
    )
    assert found[0].sentence.endswith(": a packet tap was opened")


def test_a_tap_opened_and_closed(tmp_path):
    """Both ends of a stretch are found; the second says closed."""
    taps = [0] * 20 + [1] * 10 + [0] * 30
    changed = with_shares(run_of(tmp_path), map(float, taps), taps)

    found = [one for one in onset.found(changed) if one.point == POINTS[0].name]

    assert [one.block for one in found] == [20, 30]
    assert "opened" in found[0].cause
    assert "closed" in found[1].cause


def test_a_change_without_a_cause(tmp_path):
    """Where no tap changed with it, the cause is not guessed."""
    shares = [1.0] * 30 + [0.0] * 30
    run = run_of(tmp_path)

    silent = onset.found(with_shares(run, shares, [1] * 60))
    old = onset.found(with_shares(run, shares))

    assert "not known" in silent[0].cause
    if run.samples["packet_taps"].isna().all():
        assert "not counted" in old[0].cause


@pytest.mark.parametrize(
    "shares",
    [
        [0.0] * 60,
        [1.0] * 60,
        [0.0] * 30 + [1.0, 1.0] + [0.0] * 28,  # two blocks are an accident
        [0.5] * 60,
        [0.0] * 58 + [1.0] * 2,
        [i % 2 for i in range(60)],
    ],
)
def test_no_change_is_made_up(tmp_path, shares):
    """Steady shares, lone blocks and shares in between are no change."""
    assert onset.found(with_shares(run_of(tmp_path), map(float, shares))) == []


def test_arms_that_change_alone(tmp_path):
    """Where only some arms change they are named; a block later is together."""
    run = run_of(tmp_path)
    changed = with_shares(run, [0.0] * 30 + [1.0] * 30)
    frame = changed.samples
    other = (frame["arm"] == "send_zc") & (frame["block"] == 30)
    frame.loc[other, "copied"] = 0
    alone = frame["arm"] == "send_zc_fixed"
    steady = frame.assign(
        copied=frame["copied"].where(~alone, frame["notifications"])
    ).astype({"copied": "Int64"})

    together = onset.found(changed)
    single = onset.found(replace(run, samples=steady))

    assert [(one.block, one.arms) for one in together] == [(30, "")] * 2
    assert [(one.block, one.arms) for one in single] == [(31, "send_zc")] * 2
    assert " (send_zc) changed" in single[0].sentence


def test_tcp_shares_that_waver(tmp_path):
    """Over TCP the flag over-reports: only a share of all, steadily, is a copy."""
    draw = np.random.default_rng(3)
    wavering = draw.uniform(0.02, 0.98, 200).tolist()
    run = run_of(tmp_path, TCP, blocks=200)

    quiet = onset.found(with_shares(run, wavering))
    tapped = onset.found(with_shares(run, wavering[:120] + [1.0] * 80))

    assert quiet == []
    assert [one.block for one in tapped] == [120]


def test_stored_runs_did_not_change(checkout):
    """The runs in git are of one piece."""
    folders = [
        *(checkout / "data" / "runs").glob("*/"),
        *(checkout / "tests" / "data").glob("*/"),
    ]
    runs = [store.load(folder) for folder in folders if (folder / "plan.json").exists()]

    assert len(runs) >= 2
    assert [onset.found(run) for run in runs] == [[]] * len(runs)


def test_many_changes_are_counted(tmp_path):
    """Of more changes than asked for the others are told by their number."""
    taps = ([0] * 10 + [1] * 10) * 3
    changed = with_shares(run_of(tmp_path), map(float, taps), taps)

    told = onset.sentences(changed, 3)

    assert len(onset.found(changed)) == 10
    assert len(told) == 4
    assert told[-1] == "7 more changes of a copied share"
