"""Prediction beside observation: contradictions are printed, never hidden."""

from dataclasses import replace

import pandas as pd
import pytest
import samples

from zclab import preflight
from zclab.explain import onset, prediction, readable, table
from zclab.params import Path, Protocol, grid
from zclab.preflight import RULES, Prediction
from zclab.publish import mail, page

COPIED, KEPT = (
    Prediction(works=True, copied=copied, rule=RULES[rule])
    for copied, rule in ((1.0, "tap"), (0.0, "sink"))
)
REFUSED = preflight.of_socket("AF_UNIX")
OPEN = Prediction(works=True, copied=None, rule=RULES["xdp-native"])


@pytest.mark.parametrize(
    ("said", "shares", "readable", "word"),
    [
        (KEPT, [0.0, 0.0], True, prediction.AGREES),
        (KEPT, [0.0, 1.0], True, prediction.CONTRADICTS),
        (KEPT, [0.8], True, prediction.CONTRADICTS),
        (KEPT, [0.8], False, prediction.UNREADABLE),
        (KEPT, [1.0], False, prediction.CONTRADICTS),
        (KEPT, [0.0], False, prediction.AGREES),
        (COPIED, [1.0], True, prediction.AGREES),
        (COPIED, [1.0], False, prediction.AGREES),
        (COPIED, [0.8], False, prediction.CONTRADICTS),
        (COPIED, [], True, prediction.NOT_TOLD),
        (OPEN, [0.0], True, prediction.NOT_TOLD),
        (REFUSED, [0.0], True, prediction.CONTRADICTS),
    ],
)
def test_verdict(said, shares, readable, word):
    """Over TCP a share below 1 neither agrees with no copy nor contradicts it."""
    found = prediction.verdict(
        said, pd.Series(shares, dtype="float64"), readable=readable
    )

    assert found == word


def test_agreement_is_silent(tmp_path):
    """A run in which all is as predicted has no such section in its mail."""
    run = samples.make(tmp_path, planned=8)

    assert prediction.contradictions(run, table.summary(run)) == []
    assert "Not as predicted" not in mail.render(run, run.id)


def test_contradictions_are_in_the_mail(tmp_path):
    """Each contradicted point is in the mail with its rule, and the mail stays fit."""
    run = samples.make(tmp_path, planned=8, copied={"sink": 1.0})
    told = prediction.contradictions(run, table.summary(run))

    text = mail.render(run, run.id)

    sizes = [one.io_size_bytes for one in run.plan.points if one.path is Path.SINK]
    assert len(told) == len(sizes) == 6
    assert all("predicted zerocopy (sink: " in one for one in told)
    flat = " ".join(text.split())
    assert all(f"{size} B, batch" in flat for size in sizes)
    assert "Not as predicted:" in text
    assert mail.lint(text) == []


def test_contradictions_are_on_the_page(tmp_path, monkeypatch):
    """The page says of each contradicted point what was predicted, and why."""
    monkeypatch.setattr(page, "inline_svg", lambda *_: "")
    run = samples.make(tmp_path, planned=8, copied={"sink": 1.0})
    quiet = samples.make(tmp_path, planned=8, seed=2)

    code = {"version": "0", "commit": "", "dirty": False}

    found = page.index(run, tmp_path, [], code)
    other = page.index(quiet, tmp_path, [], code)

    assert found.count("predicted zerocopy (sink: ") == 6
    assert "No point contradicts it" not in found
    assert "No point contradicts it" in other


def test_a_change_in_mid_run_is_in_the_mail(tmp_path):
    """The mail says when a tap was opened."""
    run = samples.make(tmp_path, planned=20)
    frame = run.samples.copy()
    later = (frame["path"] == "sink") & (frame["block"] >= 12)
    frame.loc[later, "copied"] = frame.loc[later, "notifications"]
    frame["packet_taps"] = (frame["block"] >= 12).astype("Int64")

    text = mail.render(replace(run, samples=frame), run.id)

    flat = " ".join(text.split())
    assert "changed from 0% to 100% at block 12" in flat
    assert ": a packet tap was opened" in flat
    assert f"{6 - onset.NAMED_AT_MOST} more changes of a copied share" in flat
    assert mail.lint(text) == []


def test_arms_that_differ_have_rows(tmp_path):
    """Arms of which different things are predicted are confronted one by one."""
    points = grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=(4000,),
        modes=("send", "send_zc", "send_zc:segment=1000"),
        batch=8,
    )
    host = {**samples.HOST, "paths": {"sink": {"kind": "ifb", "mtu": 1500}}}
    run = samples.make(tmp_path, plan_points=points, planned=8, host=host)
    summary = table.summary(run)

    rows = prediction.confront(run, summary).set_index("arms")

    assert rows.loc["send_zc", "rule"] == "fragmented"
    assert rows.loc["send_zc", "verdict"] == prediction.CONTRADICTS
    assert rows.loc["send_zc:segment=1000", "rule"] == "segmented"
    assert rows.loc["send_zc:segment=1000", "verdict"] == prediction.AGREES
    assert "modes" in readable.confronted(run, summary)
