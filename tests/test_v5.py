"""The published tables in their own shape, with ours beneath."""

import re
from pathlib import Path as Folder

import pandas as pd
import pytest
import samples

from zclab import store
from zclab.errors import InputError
from zclab.explain import claims, published, table, v5
from zclab.options import parse
from zclab.params import Path, Point, Protocol

DUMMY = """\
IO size |      |  non-zc |             zc |   zc + flush, 95% interval
   8000 |   v5 | 1299916 | 2396600 (+84%) |             2224219 (+71%)
        | here |       - |              - |                          -
   4000 |   v5 | 1869230 | 2344146 (+25%) |             2170069 (+16%)
        | here |       - |              - |                          -
   1200 |   v5 | 2071617 | 2361960 (+14%) |              2203052 (+6%)
        | here |    613k |              - | 858k +40.0% [+40.0, +40.0]
    600 |   v5 | 2106794 | 2381527 (+13%) |              2195295 (+4%)
        | here |       - |              - |                          -"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> store.Run:
    """Return a run with a twin of every core table but the NIC's."""
    tcp = tuple(
        Point(
            path=Path.SINK,
            protocol=Protocol.TCP,
            family=4,
            io_size_bytes=size,
            batch=8,
            situation="answered",
            given=parse("reorder=on"),
        )
        for size in (1200, 4096)
    )
    return samples.make(
        tmp_path_factory.mktemp("runs"), plan_points=samples.points() + tcp
    )


@pytest.fixture(scope="module")
def frame(run: store.Run) -> pd.DataFrame:
    """Return the summary of it."""
    return table.summary(run)


def test_the_dummy_table_is_the_mails(tmp_path: Folder) -> None:
    """Golden text: its rows as printed, ours beneath, dashes where we lack."""
    run = samples.make(
        tmp_path, plan_points=samples.points()[1:2], planned=9, noise=1e-9
    )
    run.samples["ns_per_request"] = 1632.0
    run.samples.loc[run.samples["arm"] == "send_zc_fixed", "ns_per_request"] = (
        1632.0 / 1.4
    )
    text = v5.shaped(table.summary(run), "v5-dummy")

    assert text == DUMMY


@pytest.mark.parametrize("name", v5.NAMES)
def test_every_table_fits_a_mail(frame: pd.DataFrame, name: str) -> None:
    """Each is ASCII, at most 72 columns, and has the same columns in each line."""
    lines = v5.shaped(frame, name).splitlines()

    assert all(line.isascii() and len(line) <= 72 for line in lines)
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize("name", v5.NAMES)
def test_every_printed_cell_is_there(frame: pd.DataFrame, name: str) -> None:
    """Nothing of the mail's table is left out or rounded."""
    text = v5.shaped(frame, name)
    cells = published.cells()
    for cell in cells[cells["table"] == name].itertuples():
        assert re.search(rf"\b{cell.value:.0f}\b", text), cell


def test_extreme_numbers_still_fit(tmp_path: Folder) -> None:
    """Millions of requests a second and gains over 100 % keep to 72 columns."""
    run = samples.make(
        tmp_path, planned=8, gain=lambda p, arm: 400.0 if "zc" in arm else 0.0
    )
    run.samples["ns_per_request"] /= 4
    rows = table.summary(run)
    for name in v5.NAMES:
        assert max(map(len, v5.shaped(rows, name).splitlines())) <= 72


def test_v5s_zc_over_udp_is_a_dash_and_the_footnote_says_why(
    run: store.Run, frame: pd.DataFrame
) -> None:
    """No number of ours stands there, and none is made from others; TCP's has one."""
    lines = v5.shaped(frame, "v5-dummy").splitlines()
    here = [line.split("|")[3].strip() for line in lines if "| here |" in line]
    rows = claims.compared(frame, run).set_index("claim")

    assert here == ["-"] * 4
    assert rows.loc["v5-dummy/8000/zc", "verdict"] == claims.NOT_COMPARABLE
    assert "no notification" in v5.NO_TWIN
    for name in ("v5-dummy", "v5-nic"):
        assert "zc" not in published.TWINS[name].arms
    arm = published.TWINS[v5.TCP].arms["zc"]
    assert arm == "send_zc_fixed"


def test_tcp_over_the_sink_stands_above_loopback(frame: pd.DataFrame) -> None:
    """Both are beneath v5's row, each with its copied share."""
    lines = v5.shaped(frame, "v5-tcp-localhost").splitlines()
    labels = [line.split("|")[1].strip() for line in lines]

    assert labels == ["", "v5", "sink", "lo", "v5", "sink", "lo"]
    assert lines[2].endswith("0%")
    assert lines[3].endswith("100%")


def test_tcp_is_shown_by_the_sink_and_neither_it_nor_loopback_is_compared(
    run: store.Run, tmp_path: Folder
) -> None:
    """The row has the sink's number; without it lo's, each with its reason."""
    row = claims.compare(run).set_index("claim").loc["v5-tcp-localhost/4096/zc"]
    without = samples.make(tmp_path, planned=8)
    other = claims.compare(without).set_index("claim").loc["v5-tcp-localhost/4096/zc"]

    assert row["verdict"] == claims.NOT_COMPARABLE
    assert row["point"].startswith("sink+answered")
    assert "0% of notifications say copied" in row["reason"]
    assert other["verdict"] == claims.NOT_COMPARABLE
    assert "every notification says copied" in other["reason"]


def test_the_selftests_ratios_stand_beside_ours(frame: pd.DataFrame) -> None:
    """0.705, 0.751 and 0.758 of plain send then; planted 0.71, 0.75 and 0.8 here."""
    lines = v5.shaped(frame, "feb2025-selftest").splitlines()
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]

    assert [row[2] for row in cells[1:]] == ["1.000", "0.705", "0.751", "0.758"]
    ours = [float(row[4].partition(" ")[0]) for row in cells[1:]]
    assert ours == pytest.approx([1, 0.71, 0.75, 0.80], abs=0.01)
    assert cells[1][4] == "1.000"


def test_what_the_ns_take_for_granted_is_said(
    run: store.Run, frame: pd.DataFrame
) -> None:
    """One line where ns were compared: none for requests/s, nor where none were."""
    found = claims.compared(frame, run)
    last = v5.verdicts(found, "feb2025-selftest")[-1]

    assert last == (
        "ns then: if its MB are MiB and it counted 1.2 s as 1 s, so that its rates are "
        "too high."
    )
    tcp = v5.verdicts(found, "v5-tcp-localhost")
    assert not any("ns then" in text for text in tcp)  # it is not comparable
    assert not any("ns then" in text for text in v5.verdicts(found, "v5-dummy"))
    lacking = found[found["point"] == ""]
    for name in published.TWINS:
        assert v5.verdicts(lacking, name) == []


def test_verdicts_name_what_was_not_measured_and_how_to(
    run: store.Run, frame: pd.DataFrame
) -> None:
    """The NIC's rows share a sentence with the command; it parses as zclab's."""
    found = claims.compared(frame, run)
    (text,) = v5.lacking(found, "v5-nic")

    assert "not measured" in text
    assert "--path nic --dev DEV --dst DST" in text
    assert "--sizes 4000,1500,1000,600" in text
    assert "zc at" not in text  # of that no run can have a counterpart
    assert v5.verdicts(found, "v5-nic") == []
    assert v5.lacking(found, "v5-dummy") == []


def test_a_verdict_repeats_nothing_of_the_shape(
    run: store.Run, frame: pd.DataFrame
) -> None:
    """Percent and copied share are told where no shape has them."""
    found = claims.compared(frame, run)
    brief = v5.verdicts(found, "v5-dummy")
    whole = v5.verdicts(found, "v5-dummy", shaped=False)

    assert [text.partition(":")[0] for text in brief] == [
        "8000 B", "4000 B", "1200 B", "600 B"
    ]  # fmt: skip
    assert all("ns saved +" in text and "%" not in text for text in brief)
    assert all("% then" in text and "copied 0%" in text for text in whole)
    assert all(text.endswith("; n=40.") for text in whole)
    assert not any("n=" in text for text in brief)  # it is in the caption
    uneven = found.assign(n=found["n"].where(found["io_size_bytes"] != 8000, 39))
    assert v5.verdicts(uneven, "v5-dummy")[0].endswith(" then; n=39.")
    assert v5.verdicts(found, v5.SELFTEST)[0].startswith("ZC: reproduced; ns saved -")
    (tcp,) = v5.verdicts(found, v5.TCP)
    assert tcp.startswith("zc at 1200, 4096 B (n=40, n=40): not comparable. ")
    assert "; here " not in tcp


def test_what_a_notification_cost_is_v5s_own_difference() -> None:
    """About 130 ns on its card and 36 on dummy: 1e9/555366 - 1e9/598550, and so on."""
    assert v5.notification_ns("v5-nic", 600) == pytest.approx(129.9, abs=0.1)
    assert v5.notification_ns("v5-dummy", 600) == pytest.approx(35.6, abs=0.1)


def test_commands_are_of_the_rows_own_conditions() -> None:
    """Family and batch are those that a mail states; modes have the row's baseline."""
    command = published.command("rfc2-dummy", [4096], "io_uring -n1 -f")
    other = published.command("rfc1-dummy", [65435], "msg_zerocopy -z")

    assert "--family 4 --sizes 4096" in command
    assert command.endswith("--modes send,send_zc_fixed --batch 1")
    assert "--modes send,send_sync,msg_zerocopy" in other


def test_an_unknown_table_is_refused_with_the_known_ones(frame: pd.DataFrame) -> None:
    """The message lists the tables there are."""
    with pytest.raises(InputError, match="v5-dummy, v5-nic"):
        v5.shaped(frame, "v6")
