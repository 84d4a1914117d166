"""Published rows against synthetic runs whose true effects are known."""

import dataclasses
import math
import re
from pathlib import Path as Folder

import pandas as pd
import pytest
import samples
from faithful import as_published
from hypothesis import given
from hypothesis import strategies as st

from zclab import store
from zclab.errors import DataError
from zclab.explain import claims, conclusions, cost, published, readable, table
from zclab.params import Path, Point, Protocol, grid

TCP_UNIT = "0f54508f-e819-e367-84c2-7aa0d7767097@gmail.com"
ROOT = Folder(__file__).resolve().parents[1]
SEED = ROOT / "tests" / "data" / "seed-tables.txt"
ARM = "send_zc_fixed"


@pytest.fixture(scope="module")
def faithful(tmp_path_factory: pytest.TempPathFactory) -> store.Run:
    """Return a run in which every effect is the published one."""
    return samples.make(tmp_path_factory.mktemp("runs"), gain=as_published)


@pytest.fixture(scope="module")
def rows(faithful: store.Run) -> pd.DataFrame:
    """Return what is compared of the faithful run, by claim."""
    return by_claim(faithful)


def by_claim(run: store.Run) -> pd.DataFrame:
    return claims.compare(run).set_index("claim")


def quoted(source: str) -> str:
    """Return the lines that are quoted of a mail, a commit or a file."""
    parts = re.split(
        r"^(?:Message-I[Dd]: <(.*)>|commit (\w+) .*|(Documentation/.*|.*/issues/\d+))$",
        SEED.read_text(),
        flags=re.M,
    )
    name = re.sub("^(commit|file|issue):", "", source)
    for i in range(1, len(parts), 4):
        if name in parts[i : i + 3]:
            return str(parts[i + 3])
    raise AssertionError(f"nothing is quoted of {source}")


def seed_cells() -> list[tuple[float, float | None]]:
    """Return (value, printed percent) of every cell of the quoted tables."""
    found: list[tuple[float, float | None]] = []
    seed = SEED.read_text().partition("\nMessage-ID: <0f54508f")[0]
    for line in seed.splitlines():
        if re.match(r"\d+ \|", line):
            for cell in line.split("|")[1:]:
                value, percent = re.fullmatch(
                    r"(\d+)(?: \(([-+][\d.]+)%\))?", cell.strip()
                ).groups()  # type: ignore[union-attr]
                found.append((float(value), float(percent) if percent else None))
        elif match := re.fullmatch(r"(?:NONZC|ZC|ZC_FIXED|MIXED) (\d+)", line):
            found.append((float(match[1]), None))
    return found


def test_the_reference_tables_are_the_mails_numbers() -> None:
    """Cell by cell, in order within its value, nothing more and nothing less."""
    cells = published.cells()
    cells = cells[cells["table"].isin(published.CORE)]
    percents = [
        None if math.isnan(percent) else percent
        for percent in cells["printed_gain_percent"]
    ]
    ours = list(zip(cells["value"], percents, strict=True))

    assert sorted(ours, key=str) == sorted(seed_cells(), key=str)
    assert len(ours) == 12 + 12 + 4 + 4


def test_each_size_and_column_is_the_mails() -> None:
    """A value stands at the size, and under the column, that it has in the mail."""
    cells = published.cells()
    text = SEED.read_text()
    columns = ["non-zc", "zc", "zc + flush"]
    v5 = cells[cells["table"].str.startswith("v5-")]
    for cell in v5.itertuples():
        line = re.search(
            rf"^{cell.io_size_bytes} \|.*\b{cell.value:.0f}\b.*$", text, re.M
        )
        assert line is not None, cell
        place = columns.index(cell.column) + 1
        assert line[0].split("|")[place].split()[0] == f"{cell.value:.0f}"
    for cell in cells[cells["table"] == "feb2025-selftest"].itertuples():
        assert f"\n{cell.column} {cell.value:.0f}\n" in text


def test_every_cell_is_in_the_lines_of_its_source() -> None:
    """The value stands in what is quoted of the mail, or commit, that it names."""
    for cell in published.cells().itertuples():
        for source in (cell.source, *cell.see_also.split()):
            if source in {cell.source, TCP_UNIT}:
                assert re.search(rf"\b{cell.value:.0f}\b", quoted(source)), cell


def test_each_value_of_the_older_tables_is_at_its_size_and_column() -> None:
    """Line by line: RFC v2 beside its test's name, the others in their order."""
    cells = published.cells()
    size = ""
    lines: dict[tuple[str, str], list[str]] = {}
    for line in quoted("cover.1640029579.git.asml.silence@gmail.com").splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) == 3 and parts[1].startswith(("io_uring", "msg_zerocopy")):
            size = parts[0] or size
            lines.setdefault((size, parts[1]), []).append(parts[2])
        elif len(parts) == 3 and parts[1].isdigit():
            lines.setdefault(("dummy", parts[0]), []).append(parts[1])
    nic = cells[cells["table"] == "rfc2-nic"]
    dummy = cells[cells["table"] == "rfc2-dummy"]

    assert len(lines) == len(nic) + len(dummy) == 53
    for cell in nic.itertuples():
        told = lines[str(cell.io_size_bytes), cell.column]
        assert told == [f"{cell.value:.0f}"]
    for cell in dummy.itertuples():
        assert lines["dummy", cell.column] == [f"{cell.value:.0f}"]


def test_the_unit_of_tcp_on_localhost_is_the_authors() -> None:
    """He gives it in an earlier mail above the same table; ns saved follow from it."""
    text = quoted(TCP_UNIT)
    rows = published.claims().set_index("claim")

    assert "Numbers are in MB/s" in text
    assert set(rows.loc[rows["table"] == "v5-tcp-localhost", "unit"]) == {"MB/s"}
    saved = rows.loc["v5-tcp-localhost/4096/zc", "published_saved_ns"]
    assert saved == pytest.approx(4096 / 2**20 * 1e9 * (1 / 7597 - 1 / 11228))


def test_every_cell_says_what_it_is() -> None:
    """Source, unit, what was stated, what was not, and a counterpart or why not."""
    cells = published.cells()

    for name in ("unit", "stated", "unstated", "counterpart", "source"):
        assert (cells[name] != "").all(), name
    for cell in cells[cells["baseline"] != ""].itertuples():
        arms = published.TWINS[cell.table].arms
        has_none = cell.counterpart.startswith(published.NONE)
        assert has_none == (cell.column not in arms), cell


def test_thresholds_are_quoted_or_follow_from_the_tables() -> None:
    """10 KB and 3000 B are in their sources; the others lie between two rows."""
    rows = published.thresholds().set_index("name")

    assert "10 KB" in quoted(rows.loc["msg-zerocopy-10k", "source"])
    assert "3000 byte" in quoted(rows.loc["axboe-3000", "source"])
    # That is of what TCP alone does: a UDP packet has the buffer of one request.
    assert "coalescing of sent buffers" in quoted(rows.loc["axboe-3000", "source"])
    assert rows.loc["axboe-3000", ["protocol", "path"]].to_list() == ["tcp", "any"]
    claims_of = published.claims().set_index(["table", "column"])
    for name, table_name, column in (
        ("v5-nic-flush", "v5-nic", "zc + flush"),
        ("rfc2-nic-flush", "rfc2-nic", "io_uring -n8 -f"),
        ("v5-dummy-flush", "v5-dummy", "zc + flush"),
    ):
        mine = claims_of.loc[[(table_name, column)]]
        wins = mine["published_percent"] > 0
        losing = mine.loc[~wins, "io_size_bytes"].max() if not wins.all() else 0
        assert losing == rows.loc[name, "low_bytes"]
        assert mine.loc[wins, "io_size_bytes"].min() == rows.loc[name, "high_bytes"]


def test_printed_percents_are_those_of_the_values() -> None:
    """To within a point: the mail cuts one off and rounds another oddly."""
    rows = published.claims()
    printed = rows[rows["printed"]]
    ratio = (printed["value"] / printed["baseline_value"] - 1) * 100

    assert len(printed) == 24
    assert (ratio - printed["published_percent"]).abs().max() < 1


def test_published_numbers_are_typed_nowhere_else() -> None:
    """Neither code nor notebooks repeat a published value of four digits or more."""
    values = {f"{v:.0f}" for v in published.cells()["value"] if v >= 1000}
    pattern = re.compile(rf"(?<![\w.])({'|'.join(sorted(values))})(?![\w.])")
    files = [*ROOT.glob("zclab/**/*.py"), *ROOT.glob("notebooks/*.ipynb")]
    found = {
        f"{path.relative_to(ROOT)}: {number}"
        for path in files
        for number in pattern.findall(path.read_text())
    }

    assert found == set()
    assert len(files) > 10


@pytest.mark.parametrize(
    ("said", "low", "center", "high", "expected"),
    [
        (71, 69, 70, 71, claims.REPRODUCED),
        (71, 50, 52, 54, claims.REPRODUCED),  # within a quarter of 71
        (71, 20, 22, 24, claims.DIRECTION_ONLY),
        (4, 5, 6, 7, claims.REPRODUCED),
        (4, 10, 11, 12, claims.DIRECTION_ONLY),  # over 5 points away
        (4, -3, -2, -1, claims.UNDECIDED),  # other sign, within 5 points
        (4, -6, -5, -3, claims.CONTRADICTED),
        (-29, 1, 2, 3, claims.CONTRADICTED),
        (0.4, -9, -8, -6, claims.CONTRADICTED),  # tiny, and still under the rule
        (0.4, 1, 2, 3, claims.REPRODUCED),
        (71, -1, 20, 41, claims.UNDECIDED),
        (71, 0.1, 0.2, 0.4, claims.CONTRADICTED),  # no effect: within the floor
        (16, -0.8, -0.4, 0.1, claims.CONTRADICTED),  # a tight nothing
        (-4, -0.4, -0.2, -0.1, claims.UNDECIDED),
        (4, -math.inf, 4, math.inf, claims.UNDECIDED),
    ],
)
def test_the_rule(
    said: float, low: float, center: float, high: float, expected: str
) -> None:
    """The written rule, case by case."""
    word = claims.verdict(said, low, center, high, floor=0.5, least=5)

    assert word == expected


@given(
    st.floats(-90, 300),
    st.floats(-90, 300),
    st.floats(0, 20),
    st.floats(0, 5),
)
def test_the_rule_is_symmetric_in_sign(
    said: float, center: float, half: float, floor: float
) -> None:
    """Turning both effects round never changes the verdict."""
    if said == 0 or center == 0:
        return
    there = claims.verdict(
        said, center - half, center, center + half, floor=floor, least=5
    )
    back = claims.verdict(
        -said, -center - half, -center, -center + half, floor=floor, least=5
    )

    assert there == back


# What zerocopy does at each measured size, and in which of them it breaks even.
WIN, NEITHER, LOSS = 1, 0, -1
TO_NONE = (cost.NEVER, math.nan, math.nan)
TO_ALL = (cost.ALWAYS, math.nan, math.nan)
UNKNOWN = (cost.UNDECIDED, math.nan, math.nan)


def between(low: float, high: float) -> tuple[str, float, float]:
    """Return what `cost.break_even` says of a size between two."""
    return cost.BETWEEN, low, high


@pytest.mark.parametrize(
    ("effects", "ours", "expected"),
    [
        # our interval against 3000 B, near is 2000 to 4500 B
        ({2000: LOSS, 2500: WIN}, between(2000, 2500), claims.REPRODUCED),
        ({2000: LOSS, 4500: WIN}, between(2000, 4500), claims.REPRODUCED),
        ({3000: LOSS, 4500: WIN}, between(3000, 4500), claims.REPRODUCED),
        ({4000: LOSS, 4500: WIN}, between(4000, 4500), claims.REPRODUCED),
        # below: it pays from a smaller size on than the mail says
        ({600: LOSS, 1200: WIN, 8000: WIN}, between(600, 1200), claims.DIRECTION_ONLY),
        # a bracket that holds the size, and nothing measured at it or above loses
        ({1200: LOSS, 8000: WIN}, between(1200, 8000), claims.UNDECIDED),
        ({1200: LOSS, 3000: WIN, 8000: WIN}, between(1200, 3000), claims.UNDECIDED),
        # at and above: what is measured there loses before anything wins
        ({3000: LOSS, 8000: WIN}, between(3000, 8000), claims.CONTRADICTED),
        ({4000: LOSS, 8000: WIN}, between(4000, 8000), claims.CONTRADICTED),
        ({8000: LOSS, 16000: WIN}, between(8000, 16000), claims.CONTRADICTED),
        (
            {3000: LOSS, 4000: LOSS, 8000: LOSS, 16000: WIN},
            between(8000, 16000),
            claims.CONTRADICTED,
        ),
        # a size that is won comes first, and a larger one is lost: no contradiction
        (
            {2000: LOSS, 4000: WIN, 8000: LOSS, 16000: WIN},
            between(8000, 16000),
            claims.DIRECTION_ONLY,
        ),
        # an interval with zero decides nothing, neither way
        ({1200: LOSS, 4000: NEITHER, 8000: WIN}, between(1200, 8000), claims.UNDECIDED),
        (
            {4000: NEITHER, 6000: LOSS, 8000: WIN},
            between(6000, 8000),
            claims.CONTRADICTED,
        ),
        ({600: NEITHER, 4000: NEITHER}, TO_NONE, claims.UNDECIDED),
        ({600: NEITHER, 4000: NEITHER}, TO_ALL, claims.UNDECIDED),
        # no win at all
        ({600: LOSS, 4000: LOSS, 65507: LOSS}, TO_NONE, claims.CONTRADICTED),
        ({600: LOSS, 4000: LOSS, 65507: NEITHER}, TO_NONE, claims.CONTRADICTED),
        ({600: LOSS, 1200: LOSS}, TO_NONE, claims.UNDECIDED),
        # wins at all sizes
        ({600: WIN, 4000: WIN}, TO_ALL, claims.CONTRADICTED),
        ({2000: WIN, 4000: WIN}, TO_ALL, claims.UNDECIDED),
        ({4000: WIN, 8000: WIN}, TO_ALL, claims.UNDECIDED),
        # not up to the largest
        (
            {1200: LOSS, 4000: WIN, 8000: LOSS},
            (cost.UNCLEAR, math.nan, math.nan),
            claims.UNDECIDED,
        ),
        # open ends: nothing below surely loses, nothing above surely wins
        ({2000: NEITHER, 2500: WIN}, between(0, 2500), claims.UNDECIDED),
        ({600: NEITHER, 1200: WIN, 8000: WIN}, between(0, 1200), claims.UNDECIDED),
        ({600: LOSS, 4000: NEITHER}, UNKNOWN, claims.UNDECIDED),
        ({600: NEITHER, 4000: LOSS, 8000: NEITHER}, UNKNOWN, claims.CONTRADICTED),
        ({2500: LOSS, 4000: NEITHER}, between(2500, math.inf), claims.UNDECIDED),
        ({4000: LOSS, 9000: NEITHER}, between(4000, math.inf), claims.CONTRADICTED),
        ({}, TO_NONE, claims.UNDECIDED),
    ],
)
def test_the_rule_on_sizes(
    effects: dict[int, int], ours: tuple[str, float, float], expected: str
) -> None:
    """The written rule on 3000 B, case by case, in whatever order sizes come."""
    for order in (sorted(effects), sorted(effects, reverse=True)):
        shuffled = {size: effects[size] for size in order}
        word = claims.verdict_on_size(3000, 3000, *ours, effects=shuffled)
        assert word == expected


@pytest.mark.parametrize(
    ("effects", "ours", "expected"),
    [
        ({600: WIN, 4000: WIN}, TO_ALL, claims.REPRODUCED),
        ({800: WIN, 4000: NEITHER}, TO_ALL, claims.REPRODUCED),
        ({600: NEITHER, 4000: WIN}, TO_ALL, claims.UNDECIDED),
        ({1200: WIN, 4000: WIN}, TO_ALL, claims.UNDECIDED),
        ({400: LOSS, 800: WIN}, between(400, 800), claims.REPRODUCED),
        ({600: LOSS, 4000: WIN}, between(600, 4000), claims.CONTRADICTED),
        ({600: WIN, 1200: LOSS, 4000: WIN}, between(1200, 4000), claims.CONTRADICTED),
        ({600: NEITHER, 4000: WIN}, between(0, 4000), claims.UNDECIDED),
        ({600: LOSS, 4000: LOSS}, TO_NONE, claims.CONTRADICTED),
        ({200: LOSS, 400: LOSS}, TO_NONE, claims.UNDECIDED),
    ],
)
def test_the_rule_where_no_size_is_said_to_lose(
    effects: dict[int, int], ours: tuple[str, float, float], expected: str
) -> None:
    """v5's dummy rows win from the smallest one on, 600 B."""
    assert claims.verdict_on_size(0, 600, *ours, effects=effects) == expected


@given(
    st.dictionaries(
        st.integers(1, 65507), st.sampled_from([WIN, NEITHER, LOSS]), min_size=1
    ),
    st.floats(1, 65507),
)
def test_losing_up_to_the_first_win_contradicts_a_size(
    effects: dict[int, int], said: float
) -> None:
    """At whatever other sizes; and a size without an effect changes nothing."""
    beyond = [size for size in sorted(effects) if size >= said]
    until = next((i for i, size in enumerate(beyond) if effects[size] > 0), len(beyond))
    loses = bool(beyond[:until]) and all(effects[s] < 0 for s in beyond[:until])
    word = claims.verdict_on_size(said, said, *TO_NONE, effects=effects)
    known = {size: effect for size, effect in effects.items() if effect}

    assert word == claims.CONTRADICTED or not loses
    assert word == claims.verdict_on_size(said, said, *TO_NONE, effects=known)


def sized(
    folder: Folder, gains: dict[int, float], protocol: Protocol = Protocol.TCP
) -> pd.DataFrame:
    """Return the verdicts on sizes, where send_zc_fixed gains so on a sink."""
    tcp = protocol is Protocol.TCP
    run = samples.make(
        folder,
        planned=20,
        noise=0.002,
        plan_points=grid(
            path=Path.SINK,
            protocol=protocol,
            family=4,
            sizes=gains,
            modes=samples.ALL,
            batch=1 if tcp else 8,
            situation="answered" if tcp else "",
        ),
        gain=lambda point, arm: (
            gains[point.io_size_bytes] if arm == "send_zc_fixed" else 0.0
        ),
    )
    return claims.sizes(run, table.summary(run)).set_index("name")


def test_a_size_that_loses_above_the_published_one_is_told(tmp_path: Folder) -> None:
    """3000 B is contradicted by 4000 B, with the gain there, its interval and n."""
    found = sized(tmp_path, {600: -9.0, 4000: -6.5, 8000: 12.0})
    row = found.loc["axboe-3000"]

    assert row["verdict"] == claims.CONTRADICTED
    assert re.fullmatch(
        r"It loses at 4000 B: -6\.\d% \[-6\.\d, -6\.\d\], n=20\.", row["reason"]
    )


def test_a_size_that_is_said_to_win_is_held_against_its_protocol(
    tmp_path: Folder,
) -> None:
    """v5's 600 B is of UDP, and what was said of TCP is not judged by it."""
    found = sized(tmp_path, {600: -9.0, 4000: -6.5, 8000: 12.0}, Protocol.UDP)

    assert found.loc["v5-dummy-flush", "reason"].startswith("It loses at 600 B: -9")
    assert found.loc["axboe-3000", "verdict"] == claims.NOT_MEASURED


def test_losing_at_1200_and_winning_at_4096_agrees_with_3000(tmp_path: Folder) -> None:
    """As TCP over the sink does, at three sizes: 3000 B lies between."""
    found = sized(tmp_path, {1200: -9.0, 4096: 12.0, 8192: 30.0})

    assert found.loc["axboe-3000", "verdict"] == claims.UNDECIDED
    assert found.loc["axboe-3000", "pays_from"] == "between 1200 and 4096 B"
    found = sized(tmp_path / "narrow", {2400: -9.0, 4096: 12.0, 8192: 30.0})
    assert found.loc["axboe-3000", "verdict"] == claims.REPRODUCED


def test_a_size_below_all_that_win_is_told(tmp_path: Folder) -> None:
    """Where all win, 3000 B is contradicted by the smallest and 600 B reproduced."""
    gains = {600: 9.0, 4000: 10.0, 8000: 12.0}
    found = sized(tmp_path / "tcp", gains)

    assert found.loc["axboe-3000", "verdict"] == claims.CONTRADICTED
    assert found.loc["axboe-3000", "reason"].startswith("It wins at 600 B: +")
    found = sized(tmp_path / "udp", gains, Protocol.UDP)
    assert found.loc["v5-dummy-flush", "verdict"] == claims.REPRODUCED


def test_a_size_without_an_effect_decides_nothing(tmp_path: Folder) -> None:
    """0 % at 4000 B: whether 3000 B pays is open, and the sizes taken are named."""
    row = sized(tmp_path, {600: -9.0, 4000: 0.0, 8000: 12.0}).loc["axboe-3000"]

    assert row["verdict"] == claims.UNDECIDED
    assert row["reason"] == "The sizes measured, 600 to 8000 B, do not tell."


def plain_sink(**factors: object) -> tuple[Point, ...]:
    """Return three sizes on the sink over UDP."""
    wanted: dict[str, object] = {"protocol": Protocol.UDP, "family": 4, "batch": 8}
    return grid(
        path=Path.SINK,
        sizes=(600, 4000, 8000),
        modes=samples.ALL,
        **{**wanted, **factors},  # type: ignore[arg-type]
    )


def test_only_the_sizes_that_were_copied_are_said_to_be(tmp_path: Folder) -> None:
    """Of zerocopy at one size and copies at the others, each is told."""
    run = samples.make(tmp_path, plan_points=plain_sink(), planned=8)
    large = run.samples["point"].astype(str).map(lambda name: "-600B-" not in name)
    counted = run.samples["notifications"].where(large, run.samples["copied"])
    mixed = dataclasses.replace(run, samples=run.samples.assign(copied=counted))
    everywhere = dataclasses.replace(
        run, samples=run.samples.assign(copied=run.samples["notifications"])
    )

    def told(one: store.Run) -> tuple[str, str]:
        rows = claims.sizes(one, table.summary(one)).set_index("name")
        row = rows.loc["v5-dummy-flush"]
        return row["verdict"], row["reason"]

    assert told(mixed) == (
        claims.NOT_COMPARABLE,
        "At 4000, 8000 B 100% of notifications say copied, so no copy is saved there.",
    )
    assert told(everywhere) == (
        claims.NOT_COMPARABLE,
        "100% of notifications say copied, so no copy is saved at any size.",
    )


def test_sizes_are_judged_of_plain_series(tmp_path: Folder) -> None:
    """What was done on purpose, by a situation or an option, is no claim's series."""
    run = samples.make(
        tmp_path,
        plan_points=plain_sink()
        + plain_sink(situation="mtu=1500")
        + plain_sink(given=(("drain", "each"),))
        + plain_sink(protocol=Protocol.TCP, batch=1, given=(("congestion", "reno"),))
        + plain_sink(protocol=Protocol.TCP, batch=1, situation="ack-every=1"),
        planned=8,
    )
    sized = claims.sizes(run, table.summary(run))
    judged = sized[sized["path"] != ""]
    told = claims.size_words(judged)

    assert set(zip(judged["path"], judged["given"], strict=True)) == {
        ("sink", ""),
        ("sink+answered", "congestion=reno"),
    }
    assert any(
        "on sink+answered, TCP/IPv4, batch 1, congestion=reno:" in t for t in told
    )
    shown = readable.sizes(run, table.summary(run))["path"]
    assert "sink+answered, TCP/IPv4, batch 1, congestion=reno" in shown.to_list()
    series = readable.lines(run)
    assert {"sink", "sink+mtu=1500", "sink+answered"} <= set(series["path"])


def test_ns_saved_below_the_noise_floor_are_none(faithful: store.Run) -> None:
    """What equal arms differ by in percent is as many ns of what send costs."""
    frame = table.summary(faithful)
    claim = "v5-dummy/8000/zc+flush"
    loud = frame.assign(floor_percent=60.0)

    def word(rows: pd.DataFrame) -> str:
        return str(claims.compared(rows).set_index("claim").loc[claim, "verdict_ns"])

    assert claims.floor_ns(2.0, 700.0) == pytest.approx(14.0)
    row = frame[(frame["point"] == "sink-udp4-8000B-n8") & (frame["arm"] == ARM)].iloc[
        0
    ]
    plain = frame[(frame["point"] == row["point"]) & (frame["arm"] == "send")].iloc[0]
    assert row["saved_high"] < 0.6 * plain["ns_per_request"]
    assert word(frame) != claims.UNDECIDED
    assert word(loud) in {claims.UNDECIDED, claims.CONTRADICTED}


def test_a_faithful_run_reproduces_what_can_be_compared(rows: pd.DataFrame) -> None:
    """Four dummy rows and three selftest rows; the others say why not."""
    dummy = rows.loc[[name for name in rows.index if name.endswith("zc+flush")]]
    dummy = dummy[dummy["table"] == "v5-dummy"]

    assert set(dummy["verdict"]) == {claims.REPRODUCED}
    assert set(rows.loc[rows["table"] == "feb2025-selftest", "verdict"]) == {
        claims.REPRODUCED
    }
    assert rows["table"].isin(published.CORE).sum() == 21
    assert len(rows) == len(published.claims())


def test_the_opposite_run_contradicts(tmp_path: Folder) -> None:
    """With every sign turned, all comparable rows are contradicted."""
    run = samples.make(
        tmp_path,
        gain=lambda point, arm: -as_published(point, arm) / 2,
        noise=0.002,
    )
    rows = claims.compare(run)
    judged = rows[~rows["verdict"].isin([claims.NOT_COMPARABLE, claims.NOT_MEASURED])]

    assert len(judged) == 7
    assert set(judged["verdict"]) == {claims.CONTRADICTED}


def test_the_nic_is_not_measured_and_v5s_zc_has_no_twin(rows: pd.DataFrame) -> None:
    """Neither gets a number of ours, and both say why."""
    nic = rows[rows["table"] == "v5-nic"]
    zc = rows[(rows["table"] == "v5-dummy") & (rows["column"] == "zc")]

    assert set(nic["verdict"]) == {claims.NOT_MEASURED}
    assert nic["reason"].str.contains("no NIC path").all()
    assert set(zc["verdict"]) == {claims.NOT_COMPARABLE}
    assert zc["reason"].str.contains("one per request").all()
    assert nic["gain_percent"].isna().all()
    assert zc["gain_percent"].isna().all()


def test_tcp_on_localhost_shows_our_number_and_no_verdict_on_it(
    rows: pd.DataFrame,
) -> None:
    """All notifications say copied there, so it is not what v5 measured."""
    row = rows.loc["v5-tcp-localhost/4096/zc"]

    assert row["verdict"] == claims.NOT_COMPARABLE
    assert "every notification says copied" in row["reason"]
    assert row["gain_percent"] == pytest.approx(48, abs=1)
    assert row["verdict_ns"] == claims.NOT_COMPARABLE


def test_a_copied_sink_is_not_compared(tmp_path: Folder) -> None:
    """Where a tap or a small MTU makes the sink copy, the numbers are no zerocopy."""
    run = samples.make(tmp_path, gain=as_published, copied={"sink": 1.0})
    row = by_claim(run).loc["v5-dummy/8000/zc+flush"]
    text = " ".join(conclusions.sentences(run, table.summary(run)))

    assert row["verdict"] == claims.NOT_COMPARABLE
    assert "100%" in row["reason"]
    assert "On sink no: 100% of" in text
    assert "the kernel copied these" in text
    assert "The copied shares do not explain" in text


def test_published_ns_saved_come_from_requests_per_second(rows: pd.DataFrame) -> None:
    """8000 B on the dummy device saved 320 ns with a notification per request."""
    assert rows.loc["v5-dummy/8000/zc+flush", "published_saved_ns"] == pytest.approx(
        319.7, abs=0.1
    )
    assert rows.loc["v5-dummy/8000/zc", "published_saved_ns"] == pytest.approx(
        352.0, abs=0.1
    )
    # Its MB are MiB, and at -t 1 it counts 1.2 s as 1 s.
    assert rows.loc["feb2025-selftest/65435/ZC", "published_saved_ns"] == pytest.approx(
        1.2e9 * 65435 / 2**20 * (1 / 8379 - 1 / 5910)
    )
    assert math.isnan(
        rows.loc["msg-zerocopy-veth/65435/withzerocopy", "published_saved_ns"]
    )


def test_the_selftests_ratios_are_those_of_its_rates(rows: pd.DataFrame) -> None:
    """ZC, ZC_FIXED and MIXED lose 29.5, 24.9 and 24.2 percent."""
    said = rows.loc[rows["table"] == "feb2025-selftest", "published_percent"]

    assert said.to_list() == pytest.approx([-29.5, -24.9, -24.2], abs=0.05)


def test_a_selftest_point_with_another_batch_is_no_twin(tmp_path: Folder) -> None:
    """The mail states -n 64, so batch 8 does not stand in for it."""
    only = [point for point in samples.points() if point.path is Path.VETH]
    other = Point(
        path=Path.VETH,
        protocol=only[0].protocol,
        family=only[0].family,
        io_size_bytes=only[0].io_size_bytes,
        batch=8,
    )
    run = samples.make(tmp_path, plan_points=(other,), planned=8)
    row = by_claim(run).loc["feb2025-selftest/65435/ZC"]

    assert row["verdict"] == claims.NOT_MEASURED
    assert "batch 64" in row["reason"]


def test_a_saving_is_held_against_what_bytes_cost_here(tmp_path: Folder) -> None:
    """By both medians of plain send, measured; no line is fitted for it."""
    run = samples.make(tmp_path, gain=as_published)
    rows = by_claim(run)
    frame = table.summary(run)
    plain = frame[(frame["arm"] == "send") & (frame["batch"] == 8)]
    costs = plain.set_index("io_size_bytes")
    told = rows.loc["v5-dummy/8000/zc+flush", "reason_ns"]
    grew = costs.loc[8000, "ns_high"] - costs.loc[600, "ns_low"]
    said = rows.loc["v5-dummy/8000/zc+flush", "published_saved_ns"]

    assert bool(told) == (said > grew)
    assert rows.loc["v5-dummy/600/zc+flush", "reason_ns"] == ""
    run.samples["ns_per_request"] = run.samples["ns_per_request"].clip(500, 600)
    told = by_claim(run).loc["v5-dummy/8000/zc+flush", "reason_ns"]
    assert re.fullmatch(
        r"Here send costs \d+ \[\d+, \d+\] ns at 600 B and \d+ \[\d+, \d+\] at "
        r"8000 B: it grew by less than the 320 ns that were saved there\.",
        told,
    )


def test_what_is_not_there_is_not_claimed(tmp_path: Folder) -> None:
    """Without any effect nothing is won or lost, and large claims are contradicted."""
    run = samples.make(tmp_path, gain=lambda point, arm: 0.0, seed=2)
    rows = claims.compare(run)
    large = rows["published_percent"].abs() > 1.19 * claims.TOLERANCE_POINTS
    judged = ~rows["verdict"].isin([claims.NOT_COMPARABLE, claims.NOT_MEASURED])
    text = " ".join(conclusions.sentences(run, table.summary(run)))

    assert set(rows["verdict"][judged & large]) == {claims.CONTRADICTED}
    assert set(rows["verdict"][judged & ~large]) == {claims.UNDECIDED}
    assert "No difference found" in text
    assert text.count("wins at no measured point") == 1
    assert text.count("loses at no measured point") == 1


def test_one_block_decides_nothing(tmp_path: Folder) -> None:
    """A run stopped after one block has no verdict and no wins."""
    run = samples.make(tmp_path, stop_after=1)
    rows = by_claim(run)

    assert rows.loc["v5-dummy/600/zc+flush", "verdict"] == claims.UNDECIDED
    assert "no interval yet" in rows.loc["v5-dummy/600/zc+flush", "reason"]
    assert "wins at no measured point" in " ".join(
        conclusions.sentences(run, table.summary(run))
    )


def test_a_missing_table_says_how_to_get_it_back(
    tmp_path: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with what, where and what to do."""
    monkeypatch.setattr(published, "folder", lambda: tmp_path)

    with pytest.raises(DataError, match=r"v5-dummy.csv is missing; .*git checkout"):
        published.cells()


@pytest.mark.parametrize("text", ["table,row\nv5-dummy,1\n", "a,b\n1,2,3\n4\n", ""])
def test_a_damaged_table_is_refused(
    tmp_path: Folder, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Wrong columns, ragged lines and an empty file name the file."""
    (tmp_path / "v5-dummy.csv").write_text(text)
    monkeypatch.setattr(published, "folder", lambda: tmp_path)

    with pytest.raises(DataError, match=r"v5-dummy\.csv"):
        published.cells()
