"""Whether a run that is killed again and again ends as if nobody had touched it."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as Folder

from zclab import store
from zclab.errors import CapabilityError, DataError, MeasureError
from zclab.measure import host
from zclab.prove import proof
from zclab.prove.proof import Finding, Proof, Watch

KILLS = 100
LONGEST_S = 5.0  # that a process lives, if it does not end before
GONE_S = 5.0  # after which no process of a killed run may be there
FINISH_S = 300.0

PLAN = """\
# Two paths with packets, one with bytes; short slices, so that much is written.
blocks: 150
slice_ms: 2
warmup_ms: 0.5
seed: 11
points:
  - path: sink
    sizes: [1200, 8000]
    modes: [send, send_zc_fixed]
  - path: veth
    sizes: [8000]
    modes: [send, send_zc]
  - path: lo
    protocol: tcp
    sizes: [4096]
    modes: [send, send_zc]
"""

NOTES = (
    "`zclab measure --plan` in a session of its own, killed at a random moment up to "
    f"{LONGEST_S:g} s after its start (half of the times the whole group, half of the "
    "times the one process that the others are to follow), then `--resume`, killed "
    "again, until the run is complete; then a new run.",
    "Complete: the plan's hash is the one asked for, the seal holds, and every point "
    "has each of its blocks once, each with all of its arms once.",
)


@dataclass(slots=True)
class Count:
    """What became of the runs so far."""

    kills: int = 0
    runs: int = 0
    sittings: list[int] = field(default_factory=list)
    before_run: int = 0  # kills before there was a folder
    lost: int = 0  # blocks that had been there and were not after a kill
    wrong: list[str] = field(default_factory=list)
    left_behind: int = 0  # processes


def run(*, kills: int = KILLS, seed: int = 7) -> Proof:
    """Return what became of runs that were killed `kills` times in all.

    Raises:
        CapabilityError: io_uring, namespaces or a device are missing.
        MeasureError: a run that nobody kills does not end.

    """
    watch, draw, count = Watch(), random.Random(seed), Count()
    parent = proof.folder() / "kills"
    shutil.rmtree(parent, ignore_errors=True)
    parent.mkdir(parents=True)
    plan = parent / "kills.yaml"
    plan.write_text(PLAN)
    while count.kills < kills:
        _one_run(parent / str(count.runs), plan, draw, count, kills)
    return Proof(
        part="kills",
        command="zclab prove kills",
        findings=_findings(count),
        kernel=host.facts()["kernel"]["release"],
        seconds=watch.seconds,
        notes=NOTES,
    )


def _one_run(
    out: Folder, plan: Folder, draw: random.Random, count: Count, kills: int
) -> None:
    """Kill one run until it is complete, or was killed often enough; then judge it."""
    blocks = 0
    while True:
        found = store.listing(out)
        words = ["--resume", str(found[0])] if found else ["--plan", str(plan)]
        words += [] if found else ["--out", str(out)]
        last = count.kills >= kills
        ended = _start(words, None if last else draw, count)
        found = store.listing(out)
        if not found:
            count.before_run += 1
            continue
        now = _blocks(found[0], count)
        count.lost += max(0, blocks - now)
        blocks = max(blocks, now)
        if ended:
            break
    count.runs += 1
    _judge(found[0], count)


def _start(words: list[str], draw: random.Random | None, count: Count) -> bool:
    """Start or resume a run; return whether it ended by itself and was not killed."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "zclab.cli", "measure", *words],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, said = process.communicate(
            timeout=FINISH_S if draw is None else draw.uniform(0.05, LONGEST_S)
        )
    except subprocess.TimeoutExpired:
        if draw is None:
            raise MeasureError(f"the run did not end within {FINISH_S:.0f} s") from None
        _kill(process, whole=draw.random() < 0.5)
        count.kills += 1
        count.left_behind += _still_there(process.pid)
        return False
    if process.returncode == CapabilityError.exit_code:
        raise CapabilityError(said.strip().removeprefix("zclab: "))
    if process.returncode and "complete" not in said:
        raise MeasureError(f"a run ended with {process.returncode}: {said.strip()}")
    return True


def _kill(process: "subprocess.Popen[str]", *, whole: bool) -> None:
    if whole:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate()


def _still_there(session: int) -> int:
    """Return how many processes of a session are left when they had time to end."""
    deadline = time.monotonic() + GONE_S
    while (left := sum(1 for _ in _of(session))) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _of(session: int) -> Iterator[str]:
    """Yield the pids of a session's processes; those that only wait to be reaped not.

    Source: proc(5), /proc/pid/stat: state is the third, session the sixth field.
    """
    for entry in Folder("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            yield entry.name


def _blocks(folder: Folder, count: Count) -> int:
    """Return the blocks that can be read; a run without any yet has none."""
    try:
        return store.load(folder).blocks_done
    except DataError as error:
        if "no finished block" not in str(error):
            count.wrong.append(str(error))
        return 0


def _judge(folder: Folder, count: Count) -> None:
    """Note whatever is not as it would be had nobody killed the run."""
    try:
        store.verify(folder)
        found = store.load(folder)
    except DataError as error:
        count.wrong.append(str(error))
        return
    count.sittings.append(found.sittings)
    samples = found.samples
    wanted = Counter(
        (point.name, block, arm)
        for point in found.plan.points
        for block in range(found.plan.blocks)
        for arm in point.arms
    )
    keys = zip(samples["point"], samples["block"], samples["arm"], strict=True)
    if Counter(keys) != wanted:
        count.wrong.append(f"{found.id}: its samples are not those of the plan")
    if not found.complete or found.plan_hash != found.plan.hash:
        count.wrong.append(f"{found.id}: not complete, or of another plan")


def _findings(count: Count) -> tuple[Finding, ...]:
    n = f"{count.kills} kills, {count.runs} runs"
    wrong = f" ({count.wrong[0]})" if count.wrong else ""
    return (
        Finding(
            claim="killed and resumed runs that are not whole in the end" + wrong,
            wanted="0",
            figure=str(len(count.wrong)),
            n=n,
            holds=not count.wrong,
        ),
        Finding(
            claim="finished blocks lost by a kill",
            wanted="0",
            figure=str(count.lost),
            n=n,
            holds=not count.lost,
        ),
        Finding(
            claim=f"processes left {GONE_S:g} s after a kill",
            wanted="0",
            figure=str(count.left_behind),
            n=n,
            holds=not count.left_behind,
        ),
        Finding(
            claim="sittings that a run took, the most",
            figure=str(max(count.sittings, default=0)),
            n=f"{count.before_run} of the kills before there was a run",
        ),
    )
