"""The cost model finds the line, the bend and the break-even size that were planted."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.samples import HOST, make
from zclab.explain import cost, figures, ladder, published, table
from zclab.params import CONTROL, Mode, Path, Protocol, grid
from zclab.truth import Truth

SIZES = (600, 1200, 2000, 3000, 6000, 9000, 16000, 32000, 65507)
ARMS = (Mode.SEND, Mode.SEND_ZC, Mode.SEND_ZC_FIXED)
PLAIN = Truth()  # what the samples' baseline costs
FIXED_NS, BYTE_NS = 1700.0, 0.01  # of the arm that breaks even at 4000 B
BREAK_EVEN = (FIXED_NS - PLAIN.base_ns) / (PLAIN.byte_ns - BYTE_NS)


def plain_ns(size):
    return PLAIN.base_ns + PLAIN.byte_ns * size


def planted(size, arm):
    """Return the true cost of an arm in ns."""
    return {
        Mode.SEND_ZC: FIXED_NS + BYTE_NS * size,
        Mode.SEND_ZC_FIXED: 1000.0 + 0.04 * max(size - 9000, 0),
    }.get(arm, plain_ns(size))


def gain(point, arm):
    size = point.io_size_bytes
    return 100 * (plain_ns(size) / planted(size, arm) - 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run of one series, with a line, a bend and the plain send."""
    points = grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=SIZES,
        modes=ARMS,
        batch=8,
    )
    return make(
        tmp_path_factory.mktemp("cost"), plan_points=points, planned=60, gain=gain
    )


def test_line(run):
    """Fixed cost and slope are inside their intervals; the control has no line."""
    found = cost.lines(run).set_index("arm")

    assert CONTROL not in found.index
    for arm, fixed, byte in (
        ("send", PLAIN.base_ns, PLAIN.byte_ns),
        ("send_zc", FIXED_NS, BYTE_NS),
    ):
        row = found.loc[arm]
        # The samples' blocks have a level in common, by which all costs are scaled.
        scale = row["fixed_ns"] / fixed
        assert scale == pytest.approx(1, rel=0.1)
        low, high = row["kib_low"], row["kib_high"]
        assert low <= row["kib_ns"] <= high
        assert low * 0.9 <= byte * cost.KIB <= high * 1.1
        assert row["fixed_low"] <= row["fixed_ns"] <= row["fixed_high"]


def test_bend(run):
    """Only the arm whose slope changes is said to bend, and near where it does."""
    bends = cost.lines(run).set_index("arm")["bend"]

    assert bends["send_zc_fixed"].startswith("at 9000 B from ")
    assert not bends["send_zc"]


def test_residuals(run):
    """The bent arm is not what its line says, the straight one is."""
    found = cost.residuals(run)
    worst = found.groupby("arm")["residual_percent"].apply(lambda x: x.abs().max())

    assert worst["send_zc_fixed"] > 10
    assert worst["send_zc"] < 5
    assert len(found) == len(ARMS) * len(SIZES)


def test_break_even(run):
    """The planted size is found; an arm that always pays has none."""
    found = cost.break_even(run).set_index("arm")

    zc = found.loc["send_zc"]
    assert zc["kind"] == cost.BETWEEN
    assert zc["bytes_low"] <= BREAK_EVEN <= zc["bytes_high"]
    assert zc["break_even_bytes"] == pytest.approx(BREAK_EVEN, rel=0.15)
    assert found.loc["send_zc_fixed", "kind"] == cost.ALWAYS
    assert math.isnan(found.loc["send_zc_fixed", "break_even_bytes"])


@pytest.mark.parametrize(
    ("saved", "at"),
    [
        ((-10, -5, 5), 1500),
        ((1, 2, 3), math.nan),
        ((-1, -2, -3), math.nan),
        ((-1, 2, -3), math.nan),
        ((1, -2, -3), math.nan),
        ((1, -2, 2), 1500),
    ],
)
def test_crossing(saved, at):
    """Savings above zero at the end have a size at which they cross it."""
    found = cost.crossing(np.array([500.0, 1000, 2000]), np.array(saved, dtype=float))

    assert found == pytest.approx(at, nan_ok=True)


WIN, OPEN, LOSS = (5, 1, 9), (5, -1, 9), (-5, -9, -1)


@pytest.mark.parametrize(
    ("ends", "kind", "low", "high", "text"),
    [
        ((WIN, WIN, WIN), cost.ALWAYS, math.nan, math.nan, "always, 500 B and above"),
        ((LOSS, LOSS, LOSS), cost.NEVER, math.nan, math.nan, "never, up to 2000 B"),
        ((LOSS, LOSS, WIN), cost.BETWEEN, 1000, 2000, "between 1000 and 2000 B"),
        ((LOSS, OPEN, WIN), cost.BETWEEN, 500, 2000, "between 500 and 2000 B"),
        (
            (WIN, LOSS, WIN),
            cost.BETWEEN,
            1000,
            2000,
            "between 1000 and 2000 B; also at 500 B",
        ),
        ((OPEN, WIN, WIN), cost.BETWEEN, 0, 1000, "at 1000 B or below"),
        (
            (LOSS, WIN, LOSS),
            cost.UNCLEAR,
            math.nan,
            math.nan,
            "not up to 2000 B; pays at 1000 B",
        ),
        # By the medians alone: always, above 500 B, and above 1000 B.
        (
            (OPEN, OPEN, OPEN),
            cost.UNDECIDED,
            math.nan,
            math.nan,
            "not decided, 500 to 2000 B",
        ),
        (
            (LOSS, OPEN, OPEN),
            cost.UNDECIDED,
            math.nan,
            math.nan,
            "not decided, 500 to 2000 B; costs more at 500 B",
        ),
        (
            (LOSS, WIN, OPEN),
            cost.UNDECIDED,
            math.nan,
            math.nan,
            "not decided, 500 to 2000 B; costs more at 500 B; pays at 1000 B",
        ),
        # Not to the end, and never, but for one size.
        (
            (OPEN, WIN, LOSS),
            cost.UNDECIDED,
            math.nan,
            math.nan,
            "not decided, 500 to 2000 B; costs more at 2000 B; pays at 1000 B",
        ),
        (
            (LOSS, LOSS, OPEN),
            cost.UNDECIDED,
            math.nan,
            math.nan,
            "not decided, 500 to 2000 B; costs more at 500 to 1000 B",
        ),
    ],
)
def test_crossed(ends, kind, low, high, text):
    """A word on all sizes takes all of them to be decided, by their intervals."""
    found = cost.crossed(
        np.array([500.0, 1000, 2000]), *np.array(ends, dtype=np.float64).T
    )

    assert found["kind"] == kind
    assert (found["bytes_low"], found["bytes_high"]) == (
        pytest.approx(low, nan_ok=True),
        pytest.approx(high, nan_ok=True),
    )
    assert cost.break_even_text(found) == text


def test_noise_breaks_even_nowhere(tmp_path):
    """Where no size is decided, no size and no word is made of medians."""
    made = make(
        tmp_path,
        plan_points=of_sizes((600, 4000, 8000)),
        planned=12,
        gain=lambda *_: 0.0,
        noise=0.2,
        seed=3,
    )

    found = cost.break_even(made)

    assert set(found["kind"]) == {cost.UNDECIDED}
    assert found["break_even_bytes"].isna().all()


def test_the_break_even_size_is_by_the_intervals_of_the_tables(run):
    """Where a table says faster, the model says that it pays."""
    (one,) = cost.series(run)
    rows = table.summary(run).set_index(["io_size_bytes", "arm"])

    for i, size in enumerate(SIZES):
        for j, arm in enumerate(one.arms):
            if arm == "send":
                continue
            row = rows.loc[(size, arm)]
            assert one.saved_ns[i, j] == row["saved_ns"]
            assert one.saved_low_ns[i, j] == row["saved_low"]
            assert one.saved_high_ns[i, j] == row["saved_high"]


def of_sizes(sizes, modes=ARMS, **factors):
    """Return points on the sink over UDP."""
    wanted = {"path": Path.SINK, "protocol": Protocol.UDP, "family": 4, "batch": 8}
    return grid(sizes=sizes, modes=modes, **{**wanted, **factors})


def test_five_blocks_are_in_no_series(tmp_path):
    """Fewer than six have no interval of a median, and so no line and no word."""
    made = make(tmp_path, plan_points=of_sizes((600, 4000, 8000)), planned=5)

    assert cost.series(made) == []
    assert cost.break_even(made).empty
    assert cost.lines(made).empty


def test_points_that_differ_in_modes_are_one_series(tmp_path):
    """The arms are those that all have; ladder and figures draw it."""
    sizes = (600, 2000, 4000, 8000)
    fewer = (Mode.SEND, Mode.SEND_ZC_FIXED)
    made = make(
        tmp_path,
        plan_points=of_sizes(sizes) + of_sizes((1200, 3000, 6000), modes=fewer),
        planned=8,
    )

    (one,) = cost.series(made)

    assert one.sizes.tolist() == [600, 1200, 2000, 3000, 4000, 6000, 8000]
    assert one.arms == ("send", "send_zc_fixed", CONTROL)
    assert len(cost.lines(made)) == 2
    assert any("By the cost lines" in text for text in ladder.needed(made))
    assert figures.cost_residuals(made).axes


def test_few_placements_do_not_make_an_interval_narrow(tmp_path):
    """Three placements at three levels leave the cost open from first to last."""
    made = make(tmp_path, plan_points=of_sizes((600, 4000, 8000)), planned=60)
    samples = made.samples
    placement = samples["block"] // 20
    made = replace(
        made,
        samples=samples.assign(
            placement=placement,
            ns_per_request=samples["ns_per_request"] * (1 + 0.5 * placement),
        ),
    )

    (one,) = cost.series(made)
    low, high = cost.ends(one.drawn_ns[:, :, one.arms.index("send")])

    assert (high / low > 1.7).all()


@pytest.mark.parametrize(
    ("page", "unit"), [(4096, "per page of 4 KiB"), (65536, "per page of 64 KiB")]
)
def test_a_page_is_that_of_the_host(run, page, unit):
    """Pinning is priced by the page that was recorded; 4 KiB where none was."""
    told = replace(run, host={**run.host, "page_bytes": page})
    found = cost.prices(told).set_index("what")
    plain = cost.prices(run).set_index("what")

    assert "page_bytes" not in run.host
    assert found.loc["pinning", "unit"] == unit
    assert plain.loc["pinning", "unit"] == "per page of 4 KiB"
    assert found.loc["pinning", "price_ns"] == pytest.approx(
        page / 4096 * plain.loc["pinning", "price_ns"]
    )


def stepping(folder, sizes=(7800, 8000), *, step_ns=400.0, host=None, **changes):
    """Return a run whose plain send costs so much more from 7814 B on."""
    wanted = {"planned": 40, "noise": 0.002, "gain": lambda *_: 0.0}
    made = make(folder, plan_points=of_sizes(sizes), host=host, **{**wanted, **changes})
    samples = made.samples
    more = samples["point"].astype(str).map(
        {point.name: point.io_size_bytes > 7813 for point in made.plan.points}
    ) & samples["arm"].isin(["send", CONTROL])
    return replace(
        made,
        samples=samples.assign(
            ns_per_request=samples["ns_per_request"] + step_ns * more
        ),
    )


def test_head_step(tmp_path):
    """The planted step is found, in plain send alone, and told as no copy saved."""
    made = stepping(tmp_path, (600, 4000, 7800, 8000))

    (row,) = cost.head_steps(made).to_dict("records")
    text = cost.head_step(made)

    assert (row["smaller"], row["larger"], row["limit"]) == (7800, 8000, 7813)
    copied = 200 * PLAIN.byte_ns
    assert row["step_low"] <= 400 + copied <= row["step_high"]
    assert row["fixed_low"] <= copied <= row["fixed_high"]
    assert row["saved_low"] <= 400 <= row["saved_high"]
    assert row["n"] == 40
    assert re.match(
        r"From 7800 to 8000 B plain send costs \d+ ns \[\d+, \d+\] more ", text
    )
    assert "(n=40), which 200 B of copy cannot: beyond about 7813 B the linear" in text
    assert "; send_zc_fixed, whose head stays small, " in text
    assert re.search(r"What send_zc_fixed saves grows there by (39|40)\d ns \[", text)
    before, after = (round(row[f"saved_{which}"]) for which in ("before", "after"))
    assert text.endswith(f"{before:+d} to {after:+d}.")
    assert text.isascii()


def test_no_head_step_is_told(tmp_path):
    """Where plain send does not surely cost more beyond the size, nothing is said."""
    made = stepping(tmp_path, step_ns=0.0)

    (row,) = cost.head_steps(made).to_dict("records")
    assert row["step_low"] <= 0 <= row["step_high"]
    assert cost.head_step(made) == ""


@pytest.mark.parametrize(
    ("sizes", "changes"),
    [
        ((4000, 8000), {}),  # what bytes cost is not told from a step
        ((7850, 8000), {}),  # both beyond
        ((7800, 8000), {"planned": 5}),
        ((7800, 8000), {"host": {**HOST, "page_bytes": 65536}}),
    ],
)
def test_what_no_run_can_tell_of_the_head(tmp_path, sizes, changes):
    """Sizes far apart, on one side, without an interval, or with other caches."""
    made = stepping(tmp_path, sizes, **changes)

    assert cost.head_step(made) == ""


def test_the_head_of_other_packets(tmp_path):
    """Options and situations make other packets; without zerocopy the step stays."""
    given = of_sizes((7800, 8000), given=(("segment", 1472),))
    fragments = of_sizes((7800, 8000), situation="mtu=1500")
    made = make(tmp_path / "other", plan_points=given + fragments, planned=8)
    alone = stepping(tmp_path / "alone")
    plain = alone.samples["arm"].isin(["send", CONTROL])
    alone = replace(alone, samples=alone.samples[plain])

    assert cost.head_step(made) == ""
    assert cost.head_step(alone).endswith("largest cache, 8 KiB.")


def test_head_limit():
    """The size at which the step was seen with IPv4; a longer header, a smaller one."""
    assert cost.head_limit(4, 4096) == 7813
    assert cost.head_limit(6, 4096) < 7813
    assert cost.head_limit(4, 65536) > 65507


@pytest.fixture(scope="module")
def stepped(tmp_path_factory):
    """Return a run in which zerocopy pays in a window, and for good after a step."""
    points = grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=SIZES,
        modes=(Mode.SEND, Mode.SEND_ZC),
        batch=8,
    )
    folder = tmp_path_factory.mktemp("steps")
    return make(
        folder,
        plan_points=points,
        planned=60,
        gain=lambda point, _: STEPS.get(point.io_size_bytes, 8),
    )


STEPS = {600: -8, 1200: -8, 2000: 3, 3000: 3, 6000: -8, 9000: -1}


def test_break_even_at_a_step(stepped):
    """The interval is no narrower than the sizes, and what pays below is named."""
    (row,) = cost.break_even(stepped).to_dict("records")

    assert (row["kind"], row["bytes_low"], row["bytes_high"]) == (
        cost.BETWEEN,
        9000,
        16000,
    )
    assert 9000 < row["break_even_bytes"] < 10000  # a step at 15999 is as likely
    assert row["windows"] == "2000 to 3000 B"
    assert cost.break_even_text(row) == (
        "between 9000 and 16000 B; also at 2000 to 3000 B"
    )


def test_one_run_one_table(run):
    """The bootstrap draws the same each time."""
    assert cost.break_even(run).equals(cost.break_even(run))


def test_published_lines():
    """v5's dummy rows: plain send has a slope, zerocopy none to speak of."""
    found = cost.implied().set_index(["table", "column"])

    dummy = found.loc["v5-dummy"]
    assert dummy.loc["non-zc", "kib_ns"] > 20
    assert abs(dummy.loc["zc", "kib_ns"]) < 2
    assert "8000 B 769" in dummy.loc["non-zc", "per_row"]


def test_carried_percent():
    """The same ns are more percent where a request costs less."""
    assert cost.carried_percent(352, 769) == pytest.approx(84.4, abs=0.1)
    assert cost.carried_percent(352, 2000) < 22
    assert cost.carried_percent(800, 700) == math.inf
    assert cost.carried_percent(-100, 500) < 0


def test_published_costs_know_their_unit():
    """MB/s are not requests/s: cost and saving give the ratio that was printed."""
    claims = published.claims().dropna(subset=["published_saved_ns"])
    base, saved = claims["published_base_ns"], claims["published_saved_ns"]

    assert {"MB/s", "requests/s"} <= set(claims["unit"])
    ratio = (base / (base - saved)).to_list()
    assert ratio == pytest.approx(claims["published_ratio"].to_list())
    tcp = claims.set_index("claim").loc["v5-tcp-localhost/4096/zc"]
    assert tcp["published_base_ns"] == pytest.approx(4096 / (7597 * 2**20) * 1e9)
