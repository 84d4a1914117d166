"""The published tables that are no mail's, and what every claim needs to be told."""

import math
import re
import shlex

import pandas as pd
import pytest
import samples

from tests.test_claims import quoted
from zclab import store
from zclab.cli import measure
from zclab.errors import DataError, InputError
from zclab.explain import claims, published
from zclab.params import Path, Protocol, grid

CELLS = published.cells()
ROWS = published.claims().set_index("claim")
KINDS = ("TCP v4", "TCP v6", "UDP v4", "UDP v6")


def of(name: str) -> pd.DataFrame:
    """Return the cells of a table."""
    return CELLS[CELLS["table"] == name]


def test_stacking_on_a_link_is_the_mails_lines():
    """Each size has its two values in one line, and the quotient that he prints."""
    cells = of("stacking-100g")
    lines = [
        line.split()
        for line in quoted(cells["source"].iloc[0]).splitlines()
        if line[:1].isdigit()
    ]

    assert len(lines) == cells["io_size_bytes"].nunique() == 6
    for size, before, after, times in lines:
        mine = cells[cells["io_size_bytes"] == int(size)].set_index("column")
        assert mine.loc["before", "value"] == float(before)
        assert mine.loc["after", "value"] == float(after)
        ratio = ROWS.loc[f"stacking-100g/{size}/after", "published_ratio"]
        assert ratio == pytest.approx(float(times.rstrip("x")), abs=0.1)


def test_notifications_are_the_mails_lines():
    """Column by column: both methods, at either limit, with the printed ratio."""
    cells = of("zc-notification").set_index("column")
    text = quoted(cells["source"].iloc[0])
    for part in text.split("cfg_notification_limit = ")[1:]:
        limit, *lines = part.strip().splitlines()
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
        told = {first: rest for first, *rest in rows}
        assert told["Test Type / Protocol"] == list(KINDS)
        for at, kind in enumerate(KINDS):
            column = f"ZCopy {kind} limit {limit}"
            old, new = cells.loc[column], cells.loc[f"New {column}"]
            assert old["value"] == float(told["ZCopy (MB)"][at])
            assert new["value"] == float(told["New ZCopy (MB)"][at])
            ratio = float(told["New ZCopy / ZCopy"][at].rstrip("%"))
            assert new["printed_gain_percent"] == pytest.approx(ratio - 100)
            assert (old["protocol"], old["family"]) == (kind[:3].lower(), kind[-1])
            assert new["baseline"] == column
    assert len(cells) == 2 * len(KINDS) * 2


def test_the_issue_is_what_was_reported():
    """MB/s of each -z; requests/s are no measure of it, plain sends being short."""
    cells = of("liburing-801").set_index("column")
    found = re.findall(
        r"-z(\d) tcp\ntx=(\d+) \(MB=(\d+)\), tx/s=\d+ \(MB/s=(\d+)\)",
        quoted(cells["source"].iloc[0]),
    )
    size = int(cells["io_size_bytes"].iloc[0])

    assert len(found) == len(cells) == 2
    for zerocopy, requests, mib, per_s in found:
        assert cells.loc[f"-z{zerocopy}", "value"] == float(per_s)
        whole = int(requests) * size / 2**20 - float(mib) < 1
        assert whole == (zerocopy == "1")


def test_ns_of_the_issue_are_those_of_its_real_time():
    """At -t 20 its program sent for 20.2 s and divided by 20."""
    row = ROWS.loc["liburing-801/32768/-z1"]
    base, ours = (1.01 * 1e9 * 32768 / 2**20 / rate for rate in (2317, 2021))

    assert row["published_base_ns"] == pytest.approx(base)
    assert row["published_saved_ns"] == pytest.approx(base - ours)
    assert row["published_percent"] == pytest.approx(100 * (2021 / 2317 - 1))


def test_units_that_give_no_time_give_no_ns():
    """MB of an unknown time, and Mbit without per second, are no ns."""
    unknown = ROWS[ROWS["unit"].isin(["MB", "Mbit"])]

    assert set(unknown["table"]) == {
        "stacking-100g",
        "msg-zerocopy-veth",
        "zc-notification",
    }
    assert unknown["published_saved_ns"].isna().all()
    assert unknown["published_base_ns"].isna().all()


def test_every_source_has_an_address():
    """Mails are at lore, commits and files at kernel.org, issues at GitHub."""
    assert published.link("a@b") == "https://lore.kernel.org/r/a@b"
    assert published.link("commit:f214") == "https://git.kernel.org/torvalds/c/f214"
    assert (
        published.link("file:Documentation/networking/msg_zerocopy.rst")
        == "https://docs.kernel.org/networking/msg_zerocopy.html"
    )
    assert (
        published.link(of("liburing-801")["source"].iloc[0])
        == "https://github.com/axboe/liburing/issues/801"
    )
    sources = {*CELLS["source"], *published.thresholds()["source"]}
    assert all(re.fullmatch(r"https://[\w.]+/\S+", published.link(s)) for s in sources)


def test_every_table_is_in_a_file_and_every_file_is_a_table():
    """No table is left out of what is compared, and none has two rows of one name."""
    files = {path.stem for path in published.folder().glob("*.csv")}

    assert files - {"thresholds"} == set(published.TWINS)
    assert set(CELLS["table"]) == set(published.TWINS)
    assert not CELLS.duplicated(["table", "io_size_bytes", "column"]).any()
    assert ROWS.index.is_unique
    assert len(ROWS) == (CELLS["baseline"] != "").sum()


def test_the_readme_names_every_file():
    """Each table is told of in data/reference/README.md."""
    text = (published.folder() / "README.md").read_text(encoding="utf-8")

    assert [n for n in published.TWINS if f"`{n}.csv`" not in text] == []


@pytest.mark.parametrize("name", list(published.TWINS))
def test_what_would_measure_a_row_is_taken_as_typed(name):
    """The command of each row parses to points, of which one is the row's twin.

    Rows that compare two kernels have none: a run is of one.
    """
    for row in ROWS[ROWS["table"] == name].to_dict("records"):
        if str(row["counterpart"]).startswith(published.NONE):
            continue
        size, column = int(row["io_size_bytes"]), str(row["column"])
        words = shlex.split(published.command(name, [size], column))
        if name in {"stacking-tcp", "stacking-100g"}:
            assert words == []
            continue
        typed = dict(zip(words[2::2], words[3::2], strict=True))
        given = {word.removeprefix("--"): typed[word] for word in typed}
        if given["path"] == "nic":  # without one its options are as for the sink
            assert (given.pop("dev"), given.pop("dst")) == ("DEV", "DST")
            assert ("peer" in given) == (row["protocol"] == "tcp")
            given.pop("peer", "")
            given["path"] = "sink"

        plan = measure.plan_of("", None, given, {})

        assert {point.io_size_bytes for point in plan.points} == {size}
        assert {str(point.protocol) for point in plan.points} == {row["protocol"]}


def over_tcp(path: str, **columns: object) -> pd.DataFrame:
    """Return a frame of one TCP row over a path, as `twin` takes it."""
    row = {"path": path, "protocol": "tcp", "arm": "send_zc_fixed", **columns}
    return pd.DataFrame([row])


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (over_tcp("sink+answered", copied_share=0.0), "nobody receives"),
        (over_tcp("lo", copied_share=1.0), "needs a kernel patched"),
        (over_tcp("lo", copied_share=0.5), "needs a kernel patched"),
        (over_tcp("lo", copied_share=pd.NA), "needs a kernel patched"),
        (over_tcp("lo"), "needs a kernel patched"),
        (over_tcp("lo", copied_share=0.0), "nothing was copied, as on v5's patched"),
        (over_tcp("veth", copied_share=0.0), "needs a kernel patched"),
    ],
)
def test_tcp_on_localhost_says_why_it_is_not_compared(points, reason):
    """By what ours were: a stock kernel's copies, a patched one's, or the sink's."""
    name = "v5-tcp-localhost"
    reasons = published.twin(name, points).not_comparable

    assert reason in reasons
    kept = "copied, as" in reasons or "nobody" in reasons
    assert ("how often this zc was notified" in reasons) == kept


def test_no_run_gets_a_verdict_on_tcp_on_localhost(tmp_path):
    """Not even where nothing was copied; our number and the share stand there."""
    points = samples.points() + grid(
        path=Path.SINK,
        protocol=Protocol.TCP,
        family=4,
        sizes=(1200, 4096),
        modes=samples.ALL,
        batch=1,
        situation="answered",
    )
    run = samples.make(tmp_path, plan_points=points, planned=8)

    rows = claims.compare(run)
    rows = rows[rows["table"] == "v5-tcp-localhost"]

    assert set(rows["verdict"]) == set(rows["verdict_ns"]) == {claims.NOT_COMPARABLE}
    assert rows["point"].str.startswith("sink+answered").all()
    assert rows["gain_percent"].notna().all()
    assert rows["reason"].str.endswith("; here 0% of notifications say copied.").all()


def test_the_issue_has_a_twin_over_a_nic_alone():
    """It needs the NIC, batch 8, and sends that may reorder."""
    points = pd.DataFrame(
        {
            "point": ["plain", "wanted", "one"],
            "path": "nic",
            "protocol": "tcp",
            "family": 4,
            "io_size_bytes": 32768,
            "batch": [8, 8, 1],
            "given": ["", "reorder=on", "reorder=on"],
            "arm": "send_zc_fixed",
        }
    )
    name = "liburing-801"

    assert not published.twin(name, points).not_measured
    assert published.twin_point(points, name, 32768, "-z1") == "wanted"
    assert published.twin_point(points[points["batch"] == 1], name, 32768) is None
    lo = points.assign(path="lo")
    assert published.twin(name, lo).not_measured == published.NO_NIC


def test_no_run_leaves_one_out(tmp_path):
    """Each claim has a verdict on any run, and those of another kind say so."""
    run = samples.make(tmp_path, planned=8)

    rows = claims.compare(run).set_index("claim")

    assert set(rows.index) == set(ROWS.index)
    words = rows.groupby("table")["verdict"].agg(set)
    assert words["zc-notification"] == {claims.NOT_COMPARABLE}
    assert words["liburing-801"] == {claims.NOT_MEASURED}
    two_kernels = rows[rows["table"].str.startswith("stacking-")]
    assert set(two_kernels["verdict"]) == {claims.NOT_MEASURED}
    assert two_kernels["command"].eq("").all()
    told = rows[rows["table"] == "zc-notification"]
    assert told["command"].eq("").all()
    assert told["point"].eq("").all()


def test_unknown_and_damaged_tables_are_refused(tmp_path, monkeypatch):
    """One line says which there are, and how to get a table back."""
    with pytest.raises(InputError, match="zc-notification"):
        published.twin("nope")
    monkeypatch.setattr(store, "reference_dir", lambda: tmp_path)
    with pytest.raises(DataError, match="git checkout -- data/reference"):
        published.cells()


def test_ratio_and_percent_are_of_the_two_values():
    """What is printed may be rounded; the ratio is always that of the values."""
    for row in ROWS.to_dict("records"):
        assert row["published_ratio"] == row["value"] / row["baseline_value"]
        assert not math.isnan(row["published_percent"])
