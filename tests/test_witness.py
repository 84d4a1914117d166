"""What a reader is told of TCP over the sink, on synthetic runs: shares and stalls."""

import dataclasses

import pandas as pd
import pytest
import samples

from zclab import preflight, store
from zclab.explain import claims, prediction, published, readable, table, v5
from zclab.params import Path, Protocol, grid
from zclab.publish import mail

FACTS = {
    "kind": "ifb",
    "rung": "ifb",
    "mtu": 65535,
    "packet_taps": 0,
    "destination": "neighbour",
    "drops": "device",
    "live": False,
    "receiver": "responder",
    "features": {
        "scatter-gather": True,
        "tx-checksumming": True,
        "tx-scatter-gather": True,
        "tx-checksum-ip-generic": True,
        "generic-segmentation-offload": True,
    },
}
GAINS = {"send_zc": -30.0, "send_zc_fixed": 48.0}
FLAGGED = 0.8


def run_of(parent, *, witnessed=True, timeouts=(), copied=0):
    """Return a run over sink and lo; its sink flags most, and copies as is said."""
    points = (
        *grid(
            path=Path.SINK,
            protocol=Protocol.TCP,
            family=4,
            sizes=(1200, 4096),
            modes=("send", "send_zc", "send_zc_fixed"),
            batch=1,
        ),
        *grid(
            path=Path.LO,
            protocol=Protocol.TCP,
            family=4,
            sizes=(1200, 4096),
            modes=("send", "send_zc", "send_zc_fixed"),
            batch=1,
        ),
    )
    host = {**samples.HOST, "paths": {**samples.HOST["paths"], "sink+answered": FACTS}}
    run = samples.make(
        parent,
        plan_points=points,
        host=host,
        gain=lambda point, arm: GAINS.get(arm, 0.0) * (point.path is Path.SINK),
        copied={"sink": FLAGGED},
    )
    frame = run.samples.copy()
    sink = frame["situation"] == "answered"
    for name in ("tcp_timeouts", "tcp_retransmits", "responder_lost", "responder_gaps"):
        frame.loc[sink, name] = 0
    frame.loc[sink, "responder_segments"] = 100
    frame.loc[sink, "responder_acks"] = 20
    frame.loc[sink & frame["block"].isin(timeouts), "tcp_timeouts"] = 1
    if witnessed:
        first = sink & (frame["block"] == 0) & (frame["zc_requests"] > 0)
        frame.loc[first, "witness_notifications"] = 256
        frame.loc[first, "witness_copied"] = copied
    return dataclasses.replace(run, samples=frame)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> store.Run:
    return run_of(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def frame(run) -> pd.DataFrame:
    return table.summary(run)


def of(frame, path="sink+answered", arm="send_zc_fixed", size=4096):
    found = frame[
        (frame["path"] == path)
        & (frame["arm"] == arm)
        & (frame["io_size_bytes"] == size)
    ]
    return found.iloc[0]


def test_the_witness_tells_what_was_copied(frame):
    """Copied is the witnesses' share, flagged that of the timed slices."""
    row = of(frame)

    assert row["copied_share"] == 0
    assert row["flagged_share"] == pytest.approx(FLAGGED, abs=0.01)
    assert row["witnesses"] == 256


def test_without_a_witness_the_flag_is_all_there_is(tmp_path, frame):
    """Over lo, and in a run that has no witness, both shares are one."""
    assert of(frame, "lo")["copied_share"] == of(frame, "lo")["flagged_share"] == 1
    bare = of(table.summary(run_of(tmp_path, witnessed=False)))
    assert bare["copied_share"] == bare["flagged_share"] > 0.7


def test_both_are_printed_with_the_rule(run, frame):
    """Table, notebook and mail show both shares, and say what the copied one is of."""
    shown = table.compact(frame, "sink+answered")
    text = " ".join(mail.render(run, run.id).split())

    assert set(shown["copied"]) == {"0%", "-"}
    assert "80.0%" in set(shown["flagged"])
    assert "flagged" not in table.compact(frame, "lo")
    assert "MSG_EOR" in table.flag_note(frame)
    assert "flagged when timed: 80.0%" in table.flag_note(frame)
    assert table.flag_note(frame[frame["path"] == "lo"]) == ""
    assert "Copied on sink+answered is of MSG_EOR requests" in text
    assert "sink+answered, TCP: 0% copied; " in text


def test_v5s_tcp_table_has_its_twin_on_the_sink(frame):
    """It is shown beside v5's row, which is not comparable for what is not the copy."""
    rows = claims.compared(frame).set_index("claim")
    row = rows.loc["v5-tcp-localhost/4096/zc"]

    assert published.twin("v5-tcp-localhost", frame).path == "sink+answered"
    assert row["verdict"] == claims.NOT_COMPARABLE
    assert "notified" in row["reason"]
    assert row["copied_share"] == 0
    assert "4096" in v5.shaped(frame, "v5-tcp-localhost")


def test_a_run_over_lo_alone_keeps_its_twin(frame):
    """What is copied there is shown and not judged, as before."""
    lo = frame[frame["path"] == "lo"]
    row = claims.compared(lo).set_index("claim").loc["v5-tcp-localhost/4096/zc"]

    assert published.twin("v5-tcp-localhost", lo).path == "lo"
    assert row["verdict"] == claims.NOT_COMPARABLE


def test_a_copy_by_witness_is_not_compared(tmp_path):
    """Where the witnesses were copied the sink is no zerocopy, and that is said."""
    frame = table.summary(run_of(tmp_path, copied=256))
    row = claims.compared(frame).set_index("claim").loc["v5-tcp-localhost/4096/zc"]

    assert of(frame)["copied_share"] == 1
    assert row["verdict"] == claims.NOT_COMPARABLE


def test_prediction_reads_the_witness(run, frame):
    """With witnesses the flag can tell, and it agrees with the rules."""
    told = prediction.confront(run, frame).set_index(["path", "io_size_bytes"])
    rule = preflight.RULES["sink"].id

    assert told.loc[("sink+answered", 4096), "verdict"] == prediction.AGREES
    assert told.loc[("sink+answered", 4096), "rule"] == rule
    assert told.loc[("sink+answered", 4096), "observed"] == "0%"


def test_blocks_with_a_timeout_are_told(tmp_path):
    """The warning has their number and the gain without them; none is left out."""
    frame = table.summary(run_of(tmp_path, timeouts=(3, 7)))
    row = of(frame)

    assert "2 of 40 blocks had a TCP timeout, gain +4" in row["warnings"]
    assert "without them" in row["warnings"]
    assert row["n"] == 40
    assert "timeout" not in of(frame, arm="send")["warnings"]
    assert "timeout" not in of(frame, "lo")["warnings"]


def test_only_timeouts_leave_too_few(tmp_path):
    """Where nearly all blocks had one, no gain without them is made up."""
    row = of(table.summary(run_of(tmp_path, timeouts=range(38))))

    assert "38 of 40 blocks had a TCP timeout, too few are without" in row["warnings"]


def test_the_notebook_says_how_it_was_answered(run):
    """One row per point and mode, in the order of the plan; none for lo."""
    shown = readable.answered(run)

    assert list(shown["arm"]) == ["send", "send_zc", "send_zc_fixed"] * 2
    assert set(shown["segments/ACK"]) == {"5.0"}
    assert set(shown["slices with a timeout"]) == {"0 of 40"}
    assert list(shown["copied"])[:3] == ["-", "0%", "0%"]
    none = dataclasses.replace(run, samples=run.samples.iloc[:0])
    assert readable.answered(none).empty
