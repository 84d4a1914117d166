"""Who gets the next blocks, and when a point has enough."""

import itertools
import math
import random

import numpy as np
import pytest

from zclab import stop
from zclab.errors import InputError
from zclab.params import CONTROL, Mode, Path, Plan, Protocol, Stop, grid
from zclab.stop import Allocation

POINTS = grid(
    path=Path.SINK,
    protocol=Protocol.UDP,
    family=4,
    sizes=(1200, 8000),
    modes=(Mode.SEND, Mode.SEND_ZC),
    batch=8,
)
SMALL, LARGE = (point.name for point in POINTS)


def plan(**changes) -> Plan:
    values = {"profile": "test", "points": POINTS, "seed": 3, "blocks": 400}
    return Plan(**{**values, **changes})


def run(allocation: Allocation, noise: dict[str, float], *, took_s=0.01, seed=1):
    """Feed an allocation until it is finished; return the points in their order."""
    made, draw = np.random.default_rng(seed), random.Random(seed)
    taken = []
    while points := allocation.next_round(draw):
        for point in points:
            if allocation.has_stopped(point.name):
                continue
            costs = {
                arm: 1000 * math.exp(made.normal(0, noise[point.name]))
                for arm in point.arms
            }
            allocation.record(point.name, costs, took_s)
            taken.append(point.name)
    return taken


def test_without_a_stop_rule_every_point_has_all_blocks():
    """A fixed plan gives each point its blocks, one in every round."""
    allocation = Allocation(plan(blocks=30))
    taken = run(allocation, {SMALL: 0.01, LARGE: 0.1})

    assert allocation.done == {SMALL: 30, LARGE: 30}
    assert all(set(taken[i : i + 2]) == {SMALL, LARGE} for i in range(0, 60, 2))
    assert {one["reason"] for one in allocation.stopped.values()} == {stop.BLOCKS}


def test_a_point_stops_when_it_is_narrow_enough():
    """The quiet point stops early by precision, the noisy one takes all its blocks."""
    allocation = Allocation(plan(stop=Stop(precision=0.5)))
    run(allocation, {SMALL: 0.002, LARGE: 0.2})

    assert allocation.stopped[SMALL]["reason"] == stop.PRECISION
    assert allocation.stopped[SMALL]["blocks"] == 40
    assert allocation.stopped[SMALL]["half_width"] <= 0.5
    assert allocation.stopped[LARGE]["reason"] == stop.BLOCKS
    assert allocation.stopped[LARGE]["half_width"] > 0.5
    assert allocation.finished


def test_the_widest_contrast_decides():
    """A point goes on for its noisy arm, unless the plan names the other one."""
    costs = np.random.default_rng(5)

    def take(contrasts):
        allocation = Allocation(plan(stop=Stop(precision=0.5, contrasts=contrasts)))
        for _ in range(40):
            noise = {"send": 0.001, "send_zc": 0.2, CONTROL: 0.001}
            found = {a: 100 * math.exp(costs.normal(0, s)) for a, s in noise.items()}
            allocation.record(SMALL, found, 0.01)
        return allocation.has_stopped(SMALL)

    assert not take(())
    assert take((CONTROL,))


def test_a_point_s_budget_is_not_exceeded():
    """A point ends before the block that would cost more than its seconds."""
    rule = Stop(precision=0.01, point_budget_s=1.0)
    allocation = Allocation(plan(stop=rule))
    run(allocation, {SMALL: 0.1, LARGE: 0.1}, took_s=0.03)

    for one in allocation.stopped.values():
        assert one["reason"] == stop.POINT_BUDGET
        assert 0.97 <= one["spent_s"] <= 1.0


def test_a_run_s_budget_goes_where_it_narrows_most():
    """Once all have their least, the noisier of two equally dear points gets more."""
    rule = Stop(precision=0.01, budget_s=4.0)
    allocation = Allocation(plan(stop=rule, blocks=5000))
    run(allocation, {SMALL: 0.01, LARGE: 0.1}, took_s=0.01)

    assert 3.9 <= allocation.spent_s <= 4.0
    done = allocation.done
    assert done[SMALL] + done[LARGE] == 400
    assert done[LARGE] > 2 * done[SMALL] >= 80
    assert {one["reason"] for one in allocation.stopped.values()} == {stop.BUDGET}


def test_budget_before_the_least():
    """A budget too small even for the least blocks ends all points, and says so."""
    allocation = Allocation(plan(stop=Stop(precision=0.5, budget_s=0.1)))
    run(allocation, {SMALL: 0.01, LARGE: 0.01}, took_s=0.01)

    assert sum(allocation.done.values()) == 10
    assert {one["reason"] for one in allocation.stopped.values()} == {stop.BUDGET}


def test_same_blocks_same_decisions():
    """An allocation that is fed what another took goes on as that one did."""
    rule = Stop(precision=0.6)
    whole = Allocation(plan(stop=rule))
    fed = Allocation(plan(stop=rule))
    made = np.random.default_rng(9)
    blocks = [
        (name, {arm: math.exp(made.normal(0, 0.03)) for arm in POINTS[0].arms})
        for _ in range(60)
        for name in (SMALL, LARGE)
    ]
    for name, costs in blocks:
        whole.record(name, costs, 0.01)
        fed.record(name, costs, 0.01)

        assert fed.done == whole.done
        assert fed.stopped == whole.stopped
        assert fed.left() == whole.left()


def test_blocks_without_a_request_do_not_count_for_the_width():
    """A cost that is not a number is a block, but no value of the interval."""
    allocation = Allocation(plan(stop=Stop(precision=0.5)))
    for _ in range(100):
        allocation.record(SMALL, {"send": 1.0, "send_zc": math.nan}, 0.01)

    assert allocation.done[SMALL] == 100
    assert not allocation.has_stopped(SMALL)
    assert math.isinf(allocation.half_width(SMALL))


def test_looks_are_few():
    """Widths are looked at on a grid that grows, some forty times in 2000 blocks."""
    seen = list(itertools.takewhile(lambda n: n <= 2000, stop.looks(40)))

    assert seen[:3] == [40, 44, 49]
    assert seen == sorted(set(seen))
    assert 35 <= len(seen) <= 45


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"precision": 0.0}, "precision 0 is out of range"),
        ({"precision": 0.5, "least": 3}, "least 3 is out of range"),
        ({"precision": 0.5, "budget_s": -1}, "budget_s -1 is out of range"),
        ({"precision": 0.5, "budget_s": math.nan}, "budget_s nan is out of range"),
    ],
)
def test_bad_rules(rule, complaint):
    """A rule out of range is one line that names the value."""
    with pytest.raises(InputError, match=complaint):
        Stop(**rule)


def test_a_rule_without_a_contrast():
    """A point whose arms are no contrast is refused before anything runs."""
    with pytest.raises(InputError, match="has nothing to stop by"):
        plan(stop=Stop(precision=0.5, contrasts=("send_zc_fixed",)))


def test_the_rule_is_part_of_the_hash():
    """Another precision is another plan; no rule at all is the plan it always was."""
    fixed, half, one = (
        plan(),
        plan(stop=Stop(precision=0.5)),
        plan(stop=Stop(precision=1)),
    )

    assert len({fixed.hash, half.hash, one.hash}) == 3
    assert "stop" not in fixed.to_json()
    assert Plan.from_json(half.to_json()) == half
