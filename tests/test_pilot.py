"""The slice length that promises the narrowest interval for the seconds it takes."""

import random

import pytest

from zclab.errors import MeasureError
from zclab.measure import pilot
from zclab.measure.pilot import CANDIDATES_NS, DEFAULT_NS, best
from zclab.params import Mode, Path, Plan, Protocol, Stop, grid
from zclab.synthetic import Lab
from zclab.truth import Truth


def spread(sd: dict[int, float], passes: int = 200) -> dict[int, list[float]]:
    draw = random.Random(1)
    return {ns: [draw.gauss(0.1, sd[ns]) for _ in range(passes)] for ns in sd}


def seconds(overhead_ns: int = 0) -> dict[int, float]:
    return {ns: (ns + overhead_ns) / 1e9 for ns in CANDIDATES_NS}


def test_white_noise_and_no_overhead_keep_the_default():
    """Where each length promises the same, none is better than the default."""
    gains = spread({ns: 0.02 * (DEFAULT_NS / ns) ** 0.5 for ns in CANDIDATES_NS})

    assert best(gains, seconds()) == DEFAULT_NS


def test_noise_that_does_not_average_away_wants_short_slices():
    """What changes from slice to slice is averaged by more of them."""
    gains = spread(dict.fromkeys(CANDIDATES_NS, 0.05))

    assert best(gains, seconds()) == CANDIDATES_NS[0]


def test_overhead_wants_longer_slices():
    """With white noise and dear slices the longest is cheapest."""
    gains = spread({ns: 0.02 * (DEFAULT_NS / ns) ** 0.5 for ns in CANDIDATES_NS})

    assert best(gains, seconds(overhead_ns=300_000_000)) == CANDIDATES_NS[-1]


@pytest.mark.parametrize(
    ("least_ns", "expected"), [(3_000_000, 5_000_000), (10**9, CANDIDATES_NS[-1])]
)
def test_a_slice_has_room_for_some_submits(least_ns, expected):
    """A length that holds too few submits is not taken, however good it looks."""
    gains = spread(dict.fromkeys(CANDIDATES_NS, 0.05))

    assert best(gains, seconds(), least_ns=least_ns) == expected


def test_one_burst_does_not_decide():
    """A single wild pass leaves the choice as it was."""
    gains = spread({ns: 0.02 * (DEFAULT_NS / ns) ** 0.5 for ns in CANDIDATES_NS})
    gains[DEFAULT_NS][0] = 5.0

    assert best(gains, seconds()) == DEFAULT_NS


def test_an_arm_whose_requests_all_fail_is_named():
    """Where nothing completed there is no time per request, and the errnos are told."""
    points = grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=(1200,),
        modes=(Mode.SEND, "send_zc:on_error=count"),
        batch=8,
    )
    plan = Plan(profile="test", points=points, seed=1, slice_ns=0, synthetic=Truth())

    class Failing(Lab):
        def block(self, point, order, number, slice_ns, deadline_s):
            samples = super().block(point, order, number, slice_ns, deadline_s)
            for sample in samples:
                if sample["arm"] != Mode.SEND:
                    sample |= {"requests": 0, "errors": "EINVAL:64 ENOBUFS:2"}
            return samples

    says = r"send_zc:on_error=count on sink-udp4-.*EINVAL:64 ENOBUFS:2"
    with (
        Failing(plan, Path.SINK) as lab,
        pytest.raises(MeasureError, match=says),
    ):
        pilot.choose(plan, {Path.SINK: lab})


def test_it_is_asked_for_blocks_that_are_not_the_run_s():
    """The pilot takes blocks below 0, of the baseline and one contrast."""
    points = grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=(1200,),
        modes=(Mode.SEND, Mode.SEND_ZC, Mode.MIXED),
        batch=8,
    )
    plan = Plan(
        profile="test",
        points=points,
        seed=1,
        slice_ns=0,
        stop=Stop(precision=1, contrasts=("send_zc",)),
        synthetic=Truth(),
    )
    asked = []

    class Watched(Lab):
        def block(self, point, order, number, slice_ns, deadline_s):
            asked.append((number, frozenset(order), slice_ns))
            return super().block(point, order, number, slice_ns, deadline_s)

    with Watched(plan, Path.SINK) as lab:
        chosen = pilot.choose(plan, {Path.SINK: lab})

    assert set(chosen) == {points[0].name}
    assert chosen[points[0].name] in CANDIDATES_NS
    assert all(number < 0 for number, _, _ in asked)
    assert {arms for _, arms, _ in asked} == {frozenset({"send", "send_zc"})}
    assert {slice_ns for _, _, slice_ns in asked} == set(CANDIDATES_NS)
