"""An interrupted run that is continued ends as if nobody had interrupted it."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest

from tests.live import needs_uring
from zclab import store
from zclab.errors import InputError
from zclab.measure import sweep
from zclab.params import Mode, Path, Plan, Protocol, Stop, grid
from zclab.truth import Truth

POINTS = (
    *grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=(1200, 8000),
        modes=(Mode.SEND, Mode.SEND_ZC),
        batch=8,
    ),
    *grid(
        path=Path.VETH,
        protocol=Protocol.UDP,
        family=6,
        sizes=(8000,),
        modes=(Mode.SEND, Mode.SEND_ZC),
        batch=8,
    ),
)
# Noisy enough that its points stop at different blocks.
TRUTH = Truth(noise=0.03, gains=(("send_zc", 4.0),))
PLAN = Plan(
    profile="test",
    points=POINTS,
    seed=4,
    blocks=300,
    stop=Stop(precision=1.0),
    synthetic=TRUTH,
)

FIXED = replace(PLAN, blocks=60, stop=None)


def stop_after(blocks: int):
    """Return a progress that is Ctrl-C after so many blocks."""

    def show(progress: sweep.Progress) -> None:
        if progress.done >= blocks:
            raise KeyboardInterrupt

    return show


def interrupted(out, blocks: int, plan: Plan = PLAN):
    """Take a run that Ctrl-C ends after so many blocks; return its folder."""
    with pytest.raises(KeyboardInterrupt):
        sweep.take(plan, out=out, progress=stop_after(blocks))
    (folder,) = out.iterdir()
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> store.Run:
    """Return the run that nobody interrupted."""
    return store.load(sweep.take(FIXED, out=tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize("after", [1, 40, 121, 170])
def test_a_resumed_run_is_the_whole_run(tmp_path, whole, after):
    """Blocks, orders and costs are those of a run without interruption."""
    folder = interrupted(tmp_path, after, FIXED)
    assert not store.load(folder).complete

    sweep.resume(folder)

    run = store.load(folder)
    assert run.complete
    assert run.sittings == 2
    assert run.blocks_done == FIXED.total_blocks
    assert run.plan_hash == whole.plan_hash
    columns = ["point", "block", "position", "arm", "requests", "elapsed_ns"]
    by = ["point", "block", "position"]
    pd.testing.assert_frame_equal(
        run.samples[columns].sort_values(by, ignore_index=True),
        whole.samples[columns].sort_values(by, ignore_index=True),
        check_categorical=False,
    )


def test_interrupted_twice(tmp_path):
    """A run may be continued as often as it is interrupted, and then stops as usual.

    Not always at the same blocks: a sitting begins with a placement of its own.
    """
    folder = interrupted(tmp_path, 30)
    with pytest.raises(KeyboardInterrupt):
        sweep.resume(folder, progress=stop_after(90))
    sweep.resume(folder)

    run = store.load(folder)
    assert run.complete
    assert run.sittings == 3
    assert {one["reason"] for one in run.stopped.values()} <= {"precision", "blocks"}
    for name, one in run.stopped.items():
        blocks = run.samples[run.samples["point"] == name]["block"]
        assert set(blocks) == set(range(one["blocks"]))
    assert set(run.samples["sitting"]) == {0, 1, 2}


def test_a_complete_run_is_not_continued(whole):
    """There is nothing to go on with, and the seal stays."""
    with pytest.raises(InputError, match="complete"):
        sweep.resume(whole.folder)

    assert store.verify(whole.folder)


def test_another_plan_is_refused(tmp_path):
    """A run goes on with its own plan only; the run stays as it was."""
    folder = interrupted(tmp_path, 10)
    with pytest.raises(InputError, match="plan"):
        sweep.resume(folder, plan=replace(PLAN, seed=5))

    assert store.verify(folder)


def test_progress_goes_on(tmp_path):
    """The meter of a resumed run counts the blocks that were there."""
    folder = interrupted(tmp_path, 50)
    seen = []
    sweep.resume(folder, progress=seen.append)

    assert seen[0].done == 51
    assert seen[-1].done == seen[-1].total
    assert all(one.left_s >= 0 for one in seen)


@needs_uring
def test_killed_and_resumed_for_real(tmp_path):
    """A real run that SIGKILL ended goes on, with the lengths that its pilot chose."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "precision: 0.05\npoint_budget_s: 1.5\nslice_ms: auto\n"
        "points: [{sizes: [1200, 8000], modes: [send, send_zc_fixed]}]\n"
    )
    out = tmp_path / "runs"
    measure = [sys.executable, "-m", "zclab.cli", "measure"]
    process = subprocess.Popen(
        [*measure, "--plan", str(plan), "--out", str(out)],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if "measuring: block" in line:
            os.killpg(process.pid, signal.SIGKILL)
    if process.wait() == 77:
        pytest.skip("no namespaces here")
    assert process.returncode == -signal.SIGKILL
    (folder,) = out.iterdir()
    slices = json.loads((folder / store.PLAN).read_text())["slices"]
    before = store.load(folder).blocks_done
    assert before > 0

    done = subprocess.run(
        [*measure, "--resume", str(folder)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    run = store.load(folder)
    assert run.complete
    assert run.sittings == 2
    assert run.blocks_done > before
    assert run.slices == slices
    blocks = run.samples.groupby("point", observed=True)["block"].unique()
    assert all(sorted(found) == list(range(len(found))) for found in blocks)
