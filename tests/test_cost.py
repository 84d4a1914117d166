"""The cost model finds the line, the bend and the break-even size that were planted."""

import math

import numpy as np
import pytest

from tests.samples import make
from zclab.explain import cost, published
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
    ("saved", "kind", "at"),
    [
        ((-10, -5, 5), cost.BETWEEN, 1500),
        ((1, 2, 3), cost.ALWAYS, math.nan),
        ((-1, -2, -3), cost.NEVER, math.nan),
        ((-1, 2, -3), cost.UNCLEAR, math.nan),
        ((1, -2, -3), cost.UNCLEAR, math.nan),
        ((1, -2, 2), cost.BETWEEN, 1500),
    ],
)
def test_crossing(saved, kind, at):
    """Savings above zero at the end have a break-even size, others a word."""
    found = cost.crossing(np.array([500.0, 1000, 2000]), np.array(saved, dtype=float))

    assert found == (kind, pytest.approx(at, nan_ok=True))


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
