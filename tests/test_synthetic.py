"""The synthetic lab: a planted truth, and samples that follow from it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from zclab import schema, synthetic
from zclab.errors import InputError
from zclab.params import Path, Plan, Point, Protocol
from zclab.synthetic import Lab
from zclab.truth import Truth

QUIET = Truth(noise=0, shared=0)
WILD = Truth(
    gains={"send_zc": 25.0},
    drift=0.5,
    wave=0.2,
    autocorrelation=0.7,
    burst_rate=0.02,
)


def point(path=Path.VETH, **values):
    """Return a point of UDP sends."""
    given = {"family": 4, "io_size_bytes": 1000, "batch": 8, **values}
    return Point(path=path, protocol=Protocol.UDP, **given)


def plan(truth=WILD, *points, **values):
    """Return a plan with a truth."""
    found = points or (point(),)
    given = {"seed": 5, "blocks": 20, **values}
    return Plan(profile="test", points=found, synthetic=truth, **given)


def ns(samples):
    return {one["arm"]: one["elapsed_ns"] / one["requests"] for one in samples}


def test_truth_survives_json():
    """A truth is read back as it was written, and is hashable."""
    truth = Truth(gains={"veth/send_zc": -29, "send_zc": 5}, copied={"sink": None})

    again = Truth.from_json(json.loads(json.dumps(truth.to_json())))

    assert again == truth
    assert hash(again) == hash(truth)
    assert Truth.from_json({}) == Truth()


def test_one_spelling_of_a_truth():
    """Neither the order of the gains nor the type of a number makes another truth."""
    one = Truth(gains={"send_zc": 5, "mixed": 1.0}, drift=1)
    other = Truth(gains=(("mixed", 1), ("send_zc", 5.0)), drift=1.0)

    assert one == other
    assert json.dumps(one.to_json()) == json.dumps(other.to_json())


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"noize": 1}, "noize is unknown; use: base_ns"),
        ({"noise": "a"}, "noise is 'a'; use a number from 0 to 2"),
        ({"noise": True}, "noise is True"),
        ({"shared": math.nan}, "shared is nan"),
        ({"autocorrelation": 1}, "from -0.99 to 0.99"),
        ({"gains": {"send": 3}}, "a gain of send over itself"),
        ({"gains": {"veth/send": 3}}, "a gain of send over itself"),
        ({"gains": [1]}, "not a mapping"),
        ({"gains": {"send_zc": -100}}, "gains[send_zc] is -100"),
        ({"copied": {"veth": 2}}, "copied[veth] is 2; use a number from 0 to 1"),
        ([], "not a mapping"),
    ],
)
def test_bad_truth_is_one_line(values, complaint):
    """What cannot be a truth is an error that says what can."""
    with pytest.raises(InputError) as caught:
        Truth.from_json(values)

    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_more_specific_gain_counts():
    """A gain of the point goes before that of the path, and that before the arm's."""
    truth = Truth(gains={"send_zc": 1, "veth/send_zc": 2, "p/send_zc": 3})

    assert truth.gain_percent("send_zc") == 1
    assert truth.gain_percent("send_zc", path="veth") == 2
    assert truth.gain_percent("send_zc", path="veth", point="p") == 3
    assert truth.gain_percent("send_zc:lag=8", path="sink") == 1
    assert truth.gain_percent("mixed", path="veth") == 0


def test_noise_shrinks_with_the_slice():
    """Four times the slice halves the noise, down to the floor."""
    truth = Truth(noise=0.02, noise_floor=0.005)

    assert truth.noise_of(40_000_000) == pytest.approx(0.01)
    assert truth.noise_of(10**12) == 0.005


@pytest.mark.parametrize("path", Path)
def test_samples_fit_the_schema(path):
    """A sample of a model has every stored column that a block can fill."""
    here = point(path=path, modes=("send", "send_zc:latency=on", "mixed"))
    with Lab(plan(WILD, here), path) as lab:
        samples = lab.block(here, list(here.arms), 0, 10_000_000)

    for one in samples:
        schema.check_sample(one)
    assert [one["position"] for one in samples] == [0, 1, 2, 3]


def test_a_quiet_lab_tells_the_truth():
    """Without troubles every sample has exactly the cost that was planted."""
    truth = replace(QUIET, gains=(("send_zc", 25.0),), base_ns=1000, byte_ns=0.5)
    here = point()
    found = ns(Lab(plan(truth), Path.VETH).block(here, list(here.arms), 3, 10_000_000))

    assert found["send"] == pytest.approx(1500, rel=1e-6)
    assert found["control"] == pytest.approx(1500, rel=1e-6)
    assert found["send_zc"] == pytest.approx(1200, rel=1e-6)


def test_a_block_depends_on_its_number_alone():
    """A lab that goes on at block 7 gives what one gives that began at 0."""
    here, made = point(), plan()
    first, second = Lab(made, Path.VETH), Lab(made, Path.VETH)
    order = list(here.arms)
    for number in range(7):
        first.block(here, order, number, 10_000_000)

    assert first.block(here, order, 7, 10_000_000) == second.block(
        here, order, 7, 10_000_000
    )


def test_weather_differs_by_seed_point_and_pilot():
    """No two seeds, points or blocks share their noise, and a pilot has its own."""
    here, there = point(), point(io_size_bytes=1001)
    noise = Truth(byte_ns=0)

    def cost(made, at, number):
        samples = Lab(made, Path.VETH).block(at, list(at.arms), number, 10_000_000)
        return ns(samples)["send"]

    made = plan(noise, here, there)
    found = {
        cost(made, here, 1),
        cost(made, here, 2),
        cost(made, here, -1),
        cost(made, there, 1),
        cost(replace(made, seed=6), here, 1),
    }

    assert len(found) == 5


def test_the_clock_is_virtual():
    """Its seconds are those that a machine would have needed, and cost none."""
    here = point()
    lab = Lab(plan(QUIET), Path.VETH)
    samples = lab.block(here, list(here.arms), 0, 2_000_000_000)

    assert 10 < lab.clock() < 11
    assert {one["block_ns"] for one in samples} == {round(lab.clock() * 1e9)}


def test_copied_share_is_planted():
    """Notifications say copied by the path's share; null where the kernel does not."""
    here, modes = point(), ["send", "send_zc"]
    half = replace(QUIET, copied=(("veth", 0.5),))
    unknown = replace(QUIET, copied=(("veth", None),))

    plain, zc = Lab(plan(half), Path.VETH).block(here, modes, 0, 10_000_000)
    _, untold = Lab(plan(unknown), Path.VETH).block(here, modes, 0, 10_000_000)

    assert plain["copied"] == 0
    assert zc["copied"] == pytest.approx(zc["notifications"] / 2, abs=1)
    assert untold["copied"] is None


def test_a_real_plan_has_no_lab():
    """Without a truth there is nothing to make samples from."""
    real = replace(plan(), synthetic=None)

    with pytest.raises(InputError, match="no truth"):
        Lab(real, Path.VETH)


def test_costs_are_of_the_same_model():
    """Lab and generator have one distribution: means and spreads agree."""
    here = point()
    made = plan(WILD, here, blocks=2000)
    lab = Lab(made, Path.VETH)
    blocks = [
        ns(lab.block(here, made.order(here, number), number, 10_000_000))
        for number in range(made.blocks)
    ]
    of_lab = np.log([one["send"] / one["send_zc"] for one in blocks])
    many = synthetic.costs(WILD, here.arms, 200, 50, 1, io_size_bytes=1000)
    of_costs = np.log(many[:, :, 0] / many[:, :, 1]).ravel()

    assert np.median(of_lab) == pytest.approx(math.log(1.25), abs=0.003)
    assert np.median(of_costs) == pytest.approx(math.log(1.25), abs=0.001)
    quartiles = [np.subtract(*np.percentile(x, (75, 25))) for x in (of_lab, of_costs)]
    assert quartiles[0] == pytest.approx(quartiles[1], rel=0.1)


def test_costs_repeat():
    """The same seed gives the same numbers, another seed others."""
    one, same, other = (
        synthetic.costs(WILD, ("send", "control"), 10, 3, seed) for seed in (1, 1, 2)
    )

    assert one.shape == (3, 10, 2)
    assert (one == same).all()
    assert (one != other).all()


def test_noise_has_the_planted_memory():
    """Samples in the order of time have the autocorrelation that was asked for."""
    truth = Truth(shared=0, autocorrelation=0.6)
    logs = np.log(synthetic.costs(truth, ("send",), 500, 40, 3)[:, :, 0])
    centred = logs - logs.mean()

    found = (centred[:, 1:] * centred[:, :-1]).mean() / (centred**2).mean()

    assert found == pytest.approx(0.6, abs=0.03)
    assert logs.std() == pytest.approx(truth.noise, rel=0.03)


def test_bursts_have_the_planted_length():
    """Bursts come and last as often and as long as was asked for."""
    truth = replace(
        QUIET, burst_rate=0.02, burst_samples=4.0, burst_factor=2.0, base_ns=1000
    )
    slow = synthetic.costs(truth, ("send",), 1000, 100, 4)[:, :, 0] > 1500
    begins = (slow[:, 1:] & ~slow[:, :-1]).sum()

    assert slow.mean() == pytest.approx(0.02 / (0.02 + 0.25), rel=0.1)
    assert slow.sum() / begins == pytest.approx(4, rel=0.1)


def test_drift_grows_with_the_blocks():
    """Drift is in log per 1000 blocks."""
    ns_of = synthetic.costs(replace(QUIET, drift=0.5), ("send",), 1001, 1, 1)

    assert math.log(ns_of[0, 1000, 0] / ns_of[0, 0, 0]) == pytest.approx(0.5)


def test_the_host_is_marked():
    """Nobody takes the facts of a synthetic host for those of a machine."""
    facts = synthetic.host()

    assert facts["synthetic"] is True
    assert facts["alias"] == "synthetic"
    assert json.loads(json.dumps(facts)) == facts
    assert "no packet" in synthetic.path_facts(Path.SINK)["says"]
