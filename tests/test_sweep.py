"""A run taken for real: complete, in the planned order, sealed, nothing left."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path as Folder

import pytest

from tests.live import needs_uring
from zclab import planfile, store
from zclab.errors import CapabilityError, MeasureError
from zclab.measure import host, profile, sweep
from zclab.params import Mode, Path, Plan, Protocol, grid
from zclab.uring import probe

pytestmark = needs_uring

POINTS = (
    *grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=(1200, 8000),
        modes=tuple(Mode),
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
    *grid(
        path=Path.LO,
        protocol=Protocol.TCP,
        family=4,
        sizes=(4096,),
        modes=(Mode.SEND, Mode.SEND_ZC),
        batch=1,
    ),
)
LONG_RUN = (
    sys.executable,
    "-m",
    "zclab.cli",
    *["measure", "-p", "smoke", "--blocks", "500"],
)
PLAN = Plan(profile="test", points=POINTS, seed=7, blocks=3, slice_ns=2_000_000)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a small run over all three paths, taken once."""
    seen = []
    try:
        folder = sweep.take(
            PLAN, out=tmp_path_factory.mktemp("runs"), progress=seen.append
        )
    except CapabilityError as error:
        pytest.skip(str(error))
    assert [p.done for p in seen] == list(range(1, PLAN.total_blocks + 1))
    return store.load(folder)


def test_run_is_complete(run):
    """Every planned sample is there, and the seal holds."""
    assert run.complete
    assert len(run.samples) == PLAN.samples
    assert store.verify(run.folder)


def test_copied_share_by_path(run):
    """Zero on the sink, one on veth and on loopback, in every single sample."""
    zc = run.samples[run.samples["notifications"] > 0]
    shares = zc.groupby("path")["copied_share"].agg(["min", "max"])

    assert tuple(shares.loc["sink"]) == (0.0, 0.0)
    assert tuple(shares.loc["veth"]) == (1.0, 1.0)
    assert tuple(shares.loc["lo"]) == (1.0, 1.0)


def test_tcp_loses_nothing(run):
    """Over TCP the receiver took exactly the bytes that were sent."""
    tcp = run.samples[run.samples["protocol"] == "tcp"]

    assert (tcp["received_bytes"] == tcp["sent_total_bytes"]).all()


def test_udp_accounts_for_what_is_missing(run):
    """Over veth what was sent was received or counted as dropped, never more."""
    udp = run.samples[(run.samples["path"] == "veth")]
    taken = udp["received_bytes"] + udp["receiver_drops"] * udp["io_size_bytes"]

    assert (taken <= udp["sent_total_bytes"]).all()
    assert udp["received_bytes"].sum() > 0


def test_order_is_the_seed_s(run):
    """Points and arms come in the order that the seed draws, round by round."""
    expected = []
    for number in range(PLAN.blocks):
        draw = random.Random(f"{PLAN.seed} round {number * len(PLAN.points)}")
        expected += [
            (point.name, number, arm)
            for point in draw.sample(PLAN.points, len(PLAN.points))
            for arm in PLAN.order(point, number)
        ]
    samples = run.samples[["point", "block", "arm"]]

    assert expected == list(samples.itertuples(index=False, name=None))


def test_host_facts_name_no_one(run):
    """Host facts are there, and no hostname or address of this machine is."""
    text = json.dumps(run.host)

    assert run.host["kernel"]["release"] == os.uname().release
    assert os.uname().nodename not in text.replace(os.uname().release, "")
    assert set(run.host["paths"]) == {"sink", "veth", "lo"}


def test_missing_capability_leaves_no_run(monkeypatch, tmp_path):
    """When io_uring is refused no folder of a run is made."""

    def refuse():
        raise CapabilityError("io_uring is disabled here")

    monkeypatch.setattr(probe, "support", refuse)
    with pytest.raises(CapabilityError):
        sweep.take(PLAN, out=tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_dead_worker_ends_the_run_with_its_blocks(tmp_path):
    """A worker that is killed is an error, and the finished blocks are sealed."""
    plan = replace(PLAN, points=POINTS[:1], blocks=500)

    def kill_worker(progress):
        if progress.done == 5:
            for pid in children(os.getpid()):
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(MeasureError, match="ended with status"):
        sweep.take(plan, out=tmp_path, progress=kill_worker)

    (folder,) = tmp_path.iterdir()
    run = store.load(folder)
    assert run.sealed
    assert not run.complete
    assert run.blocks_done == 5


def test_dead_receiver_is_noticed(tmp_path):
    """A receiver that dies ends the run: its drops would pass for a live receiver."""
    plan = replace(PLAN, points=POINTS[2:3], blocks=500)

    def kill_receiver(progress):
        if progress.done == 5:
            (worker,) = direct_children(os.getpid())
            (placement,) = direct_children(worker)
            (receiver,) = direct_children(placement)
            os.kill(receiver, signal.SIGKILL)

    with pytest.raises(MeasureError, match="receiver ended"):
        sweep.take(plan, out=tmp_path, progress=kill_receiver)

    (folder,) = tmp_path.iterdir()
    assert store.load(folder).blocks_done >= 5


def test_any_seed_can_be_measured(tmp_path):
    """The largest seed that a plan may have is measured like any other."""
    plan = replace(PLAN, points=POINTS[:1], blocks=1, seed=(1 << 63) - 1)

    assert store.load(sweep.take(plan, out=tmp_path)).complete


def direct_children(pid):
    """Return the pids of the processes that any thread of `pid` started."""
    found = []
    for task in Folder(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(text) for text in task.read_text().split()]
        except OSError:
            continue
    return found


def children(pid):
    """Return the pids of all processes below `pid`."""
    direct = direct_children(pid)
    return [*direct, *(below for child in direct for below in children(child))]


def alive(pid):
    """Return whether a process is there and is not just waiting to be reaped."""
    try:
        return (
            Folder(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )
    except OSError:
        return False


def namespaces(pids=("[0-9]*",)):
    """Return the network namespaces that these processes, or any, are in."""
    found = set()
    for pid in pids:
        for path in Folder("/proc").glob(f"{pid}/ns/net"):
            try:
                found.add(path.readlink().name)
            except OSError:
                continue
    return found


def await_true(condition, seconds=10.0):
    """Wait until `condition()` holds; fail at the deadline."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the deadline passed"
        time.sleep(0.02)


@pytest.mark.parametrize("delay_s", [0.0, 0.15, 0.5])
def test_sigkill_leaves_blocks_and_nothing_else(tmp_path, delay_s):
    """After SIGKILL of the whole group the blocks are readable and no process is left.

    The namespaces go with the processes, and the devices with the namespaces.
    """
    before = namespaces()
    process = subprocess.Popen(
        [*LONG_RUN, "--out", str(tmp_path)],
        start_new_session=True,
        stderr=subprocess.PIPE,
    )
    await_true(lambda: list(tmp_path.glob("*/journal.jsonl")) or process.poll())
    if process.poll() == 77:
        pytest.skip(process.stderr.read().decode())
    await_true(lambda: next(tmp_path.glob("*/journal.jsonl")).stat().st_size > 0)
    time.sleep(delay_s)
    below = children(process.pid)
    made = namespaces(below) - before
    assert made
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    await_true(lambda: not any(map(alive, below)))
    assert not made & namespaces()
    (folder,) = tmp_path.iterdir()
    run = store.load(folder)
    assert not run.sealed
    assert run.blocks_done > 0
    assert "killed" in run.warnings[0]


def test_ctrl_c_seals_and_says_so(tmp_path):
    """SIGINT ends a run with exit 130, one line, and the finished blocks sealed."""
    process = subprocess.Popen(
        [*LONG_RUN, "--out", str(tmp_path)],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    await_true(lambda: list(tmp_path.glob("*/journal.jsonl")) or process.poll())
    if process.poll() == 77:
        pytest.skip(process.stderr.read())
    await_true(lambda: next(tmp_path.glob("*/journal.jsonl")).stat().st_size > 0)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "Traceback" not in said
    (folder,) = tmp_path.iterdir()
    assert f"Go on: zclab measure --resume {folder}" in said
    assert f"report them: zclab report {folder}" in said
    assert store.load(folder).sealed


def test_profiles_are_plans():
    """Every profile is a valid plan whose seed is recorded, drawn if none is given."""
    for name in planfile.profiles():
        assert profile.plan(name, 3).seed == 3
        assert profile.plan(name).seed > 0


def test_quick_asks_what_both_mails_ask():
    """The profile quick has the dummy, the February 2025 and the TCP rows."""
    names = {point.name for point in profile.plan("quick", 1).points}

    assert names == {
        *(f"sink-udp4-{size}B-n8" for size in (600, 1200, 4000, 7800, 8000, 65507)),
        "veth-udp6-65435B-n64",
        "veth+peer-drop-udp6-65435B-n64",
        "sink-udp6-65435B-n64",
        *(f"lo-tcp4-{size}B-n1-congestion=reno" for size in (1200, 4096)),
        *(f"sink+answered-tcp4-{size}B-n1" for size in (1200, 2400, 4096)),
    }


def test_sender_and_receiver_are_apart():
    """With two usable CPUs sender and receiver get one each."""
    sender, receiver = host.cpus()

    assert (sender != receiver) == (len(os.sched_getaffinity(0)) > 1)


def test_alias_is_stable_and_anonymous(monkeypatch):
    """The alias is the same each time and holds nothing of the hostname."""
    monkeypatch.delenv("ZCLAB_HOST_ALIAS", raising=False)

    assert host.alias() == host.alias()
    assert os.uname().nodename not in host.alias().removeprefix("host-")
    monkeypatch.setenv("ZCLAB_HOST_ALIAS", "my box/1")
    assert host.alias() == "my-box-1"


def test_warned(tmp_path):
    """What a run warns of is told before its first block, and is in its manifest."""
    point = replace(POINTS[0], situation="tap", modes=(Mode.SEND, Mode.SEND_ZC))
    plan = replace(PLAN, points=(point,), blocks=1)
    told = []

    def counting(_):
        told.append("a block")

    folder = sweep.take(plan, out=tmp_path, progress=counting, warn=told.append)

    assert any("[tap" in line and "copied" in line for line in told)
    assert told[-1] == "a block"
    assert set(told[:-1]) <= set(store.load(folder).warnings)
