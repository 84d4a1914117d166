"""How long a plan will take: from runs that are there, a look, or its bounds."""

import pytest

from tests import samples
from zclab import store
from zclab.measure import estimate, host, sweep
from zclab.params import Mode, Path, Plan, Protocol, Stop, grid
from zclab.truth import Truth

POINTS = grid(
    path=Path.SINK,
    protocol=Protocol.UDP,
    family=4,
    sizes=(1200, 8000),
    modes=(Mode.SEND, Mode.SEND_ZC),
    batch=8,
)


def plan(**changes) -> Plan:
    values = {"profile": "test", "points": POINTS, "seed": 1, "blocks": 200}
    return Plan(**{**values, **changes})


@pytest.fixture
def nothing_known(tmp_path, monkeypatch):
    monkeypatch.setenv("ZCLAB_HOME", str(tmp_path))


def test_a_fixed_plan_takes_its_blocks(nothing_known):
    """Without a stop rule the sum is blocks of slices, warm-ups and what is between."""
    found = estimate.of(plan())

    least = 2 * 200 * 3 * 0.011
    assert least < found.seconds < 1.3 * least
    assert not found.bound


def test_what_is_unknown_is_told_as_a_bound(nothing_known):
    """Where nothing tells the spread, a point's budget is what it takes at most."""
    found = estimate.of(plan(stop=Stop(precision=0.5, point_budget_s=2)))

    assert found.bound
    assert all(1.9 < one.seconds <= 2 for one in found.points)
    assert found.words.startswith("at most")


def test_a_run_s_budget_bounds_the_sum(nothing_known):
    """The seconds of a run's budget are the most that measuring takes."""
    found = estimate.of(plan(stop=Stop(precision=0.5, budget_s=3), blocks=5000))

    assert found.seconds == pytest.approx(found.set_up_s + 3)


def test_a_look_holds_within_a_fifth(nothing_known):
    """Looked at, a plan takes the blocks that it then takes, in the model's seconds."""
    asked = plan(
        stop=Stop(precision=0.3), blocks=5000, synthetic=Truth(noise=0.03, shared=0.1)
    )
    seen = []
    found = estimate.of(asked, look=seen.append)

    run = store.load(sweep.take(asked))
    first = run.samples.groupby(["point", "block"], observed=True)["block_ns"].first()
    assert seen
    assert {one.basis for one in found.points} == {estimate.LOOKED_AT}
    assert found.seconds == pytest.approx(first.sum() / 1e9, rel=0.2)


def test_an_earlier_run_of_this_host_is_used(tmp_path, monkeypatch):
    """The newest run of this host that has a point tells what a block of it takes."""
    monkeypatch.setenv("ZCLAB_HOME", str(tmp_path))
    monkeypatch.setattr(host, "alias", lambda: "host-0000")
    run = samples.make(store.runs_dir(), plan_points=POINTS, planned=30)
    found = estimate.of(plan(stop=Stop(precision=0.5)))

    assert {one.basis for one in found.points} == {run.id}
    assert not found.bound


def test_other_arms_are_another_point(tmp_path, monkeypatch):
    """A run in which the point had other arms tells nothing."""
    monkeypatch.setenv("ZCLAB_HOME", str(tmp_path))
    monkeypatch.setattr(host, "alias", lambda: "host-0000")
    other = grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=(1200, 8000),
        modes=(Mode.SEND, Mode.MIXED),
        batch=8,
    )
    samples.make(store.runs_dir(), plan_points=other, planned=10)

    assert estimate.of(plan(stop=Stop(precision=0.5, budget_s=3))).bound
