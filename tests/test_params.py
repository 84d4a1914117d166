"""Points and plans refuse what cannot be measured, in one line."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zclab.errors import InputError
from zclab.params import (
    BATCH_MAX,
    UDP_MAX_BYTES,
    Mode,
    Path,
    Plan,
    Point,
    Protocol,
    arm_mode,
    grid,
    parse_enum,
)

POINT = Point(
    path=Path.SINK, protocol=Protocol.UDP, family=4, io_size_bytes=1200, batch=8
)
PLAN = Plan(profile="custom", points=(POINT,), seed=1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"io_size_bytes": 0}, "size 0"),
        ({"io_size_bytes": -1}, "size -1"),
        ({"io_size_bytes": UDP_MAX_BYTES + 1}, "65507"),
        ({"batch": 0}, "batch 0"),
        ({"batch": 100_000}, "512"),
        ({"family": 5}, "family 5"),
        ({"protocol": Protocol.TCP, "situation": "own-address,answered"}, "leave one"),
        ({"protocol": Protocol.TCP, "path": Path.LO}, "reorders"),
        ({"modes": (Mode.SEND_ZC,)}, "baseline"),
        ({"modes": (Mode.SEND, Mode.SEND)}, "twice"),
    ],
)
def test_bad_points(change, says):
    """A point outside what can be measured is refused, and the line says what."""
    with pytest.raises(InputError, match=says) as caught:
        replace(POINT, **change)

    assert "\n" not in str(caught.value)


def test_limits_are_inside():
    """The largest datagram and the largest batch are allowed."""
    point = replace(POINT, io_size_bytes=UDP_MAX_BYTES, batch=BATCH_MAX)

    assert point.name == "sink-udp4-65507B-n512"


def test_unknown_name_lists_the_known():
    """A name that no member has is answered with those there are."""
    with pytest.raises(InputError, match="send, send_zc, send_zc_fixed, mixed"):
        parse_enum(Mode, "zc", "mode")


def test_control_sends_as_the_baseline():
    """The control arm is the baseline under a second name."""
    assert POINT.arms == ("send", "send_zc", "send_zc_fixed", "mixed", "control")
    assert arm_mode("control") is Mode.SEND


@given(
    seed=st.integers(0, 2**63 - 1),
    blocks=st.integers(1, 10_000),
    sizes=st.sets(st.integers(1, UDP_MAX_BYTES), min_size=1, max_size=5),
)
def test_json_round_trip(seed, blocks, sizes):
    """A plan that went through JSON is the same plan with the same hash."""
    points = grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=6,
        sizes=sorted(sizes),
        modes=tuple(Mode),
        batch=8,
    )
    plan = Plan(profile="custom", points=points, seed=seed, blocks=blocks)

    back = Plan.from_json(json.loads(json.dumps(plan.to_json())))

    assert plan == back
    assert plan.hash == back.hash


def test_hash_tells_plans_apart():
    """Another seed is another plan."""
    assert PLAN.hash != replace(PLAN, seed=2).hash


def test_counts():
    """A plan knows its samples before it runs."""
    plan = replace(PLAN, blocks=10)

    assert plan.samples == 50


@pytest.mark.parametrize(
    "change",
    [{"points": ()}, {"points": (POINT, POINT)}, {"blocks": 0}, {"seed": -1}],
)
def test_bad_plans(change):
    """A plan without points, with one point twice or without blocks is refused."""
    with pytest.raises(InputError):
        replace(PLAN, **change)


def test_damaged_json_is_named():
    """JSON that lacks a field is refused, not guessed at."""
    values = PLAN.to_json()
    del values["points"][0]["batch"]

    with pytest.raises(InputError, match="batch"):
        Plan.from_json(values)
