"""The synthetic million is a run like others, only made quickly."""

import json

import pytest

from zclab import schema, store, synthetic
from zclab.explain import table
from zclab.params import Path
from zclab.prove import scale


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a small run of the kind that the proof times."""
    plan = scale.plan_of(20_000)
    return store.load(scale.make(plan, tmp_path_factory.mktemp("scale")))


def test_it_is_a_marked_run_with_the_planned_effects(run):
    """The run is complete, says that it is synthetic, and shows what was planted."""
    frame = table.summary(run)
    gains = frame.groupby("arm")["gain_percent"].median()

    assert run.complete
    assert run.synthetic
    assert "-synthetic-" in run.id
    assert synthetic.WARNING in run.warnings
    assert abs(gains["send_zc_fixed"] - 20) < 2
    assert abs(gains["control"]) < 1
    assert len(frame) == scale.POINTS * 5


def test_samples_are_those_of_the_lab(run):
    """Samples fit the registry, and but for the noise are what the lab would give."""
    stored = run.samples[list(schema.STORED)]
    block = json.loads(stored.head(5).to_json(orient="records"))
    point = run.plan.points[0]
    lab = synthetic.Lab(run.plan, Path.SINK)
    order = [sample["arm"] for sample in block]
    likes = lab.block(point, order, 0, run.plan.slice_ns)
    noisy = {"requests", "elapsed_ns", "block_ns", "started_ns"}
    noisy |= {*scale._BY_REQUEST, *scale._BY_TIME}

    for sample, like in zip(block, likes, strict=True):
        schema.check_sample(sample)
        assert {k: v for k, v in sample.items() if k not in noisy} == {
            k: v for k, v in {**like, "sitting": 0}.items() if k not in noisy
        }


def test_the_proof_has_its_figures():
    """The proof tells seconds and memory, of a process of its own."""
    proof = scale.run(samples=2_000, times=1)

    claims = {finding.claim: finding for finding in proof.findings}
    assert claims["load, pair and tabulate"].n == "2,000 samples, slowest of 1"
    assert claims["peak memory"].figure.endswith("GiB")
    assert proof.kernel == "synthetic"
