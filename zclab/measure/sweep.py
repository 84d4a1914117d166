"""Takes a run: plan, workers, blocks in random order, journal, seal."""

import json
import os
import random
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Self

from zclab import errors, store
from zclab.errors import InputError, MeasureError
from zclab.measure import host
from zclab.params import Path, Plan, Point
from zclab.uring import probe

SETUP_DEADLINE_S = 60.0
NOISY_LOAD = 1.0  # load average per CPU from which the run warns


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is; `elapsed_s` counts from the first block."""

    run: FilePath
    done: int
    total: int
    elapsed_s: float


class Worker:
    """The process of one path, seen from the sweep."""

    def __init__(self, plan: Plan, path: Path, cpus: tuple[int, int]) -> None:
        self.path = path
        self._process = subprocess.Popen(
            # -P: the zclab of this process, not one of the current folder.
            [sys.executable, "-P", "-m", "zclab.measure.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._send(
            {
                "plan": plan.to_json(),
                "path": str(path),
                "cpus": cpus,
                "parent": os.getpid(),
            }
        )

    def ready(self) -> dict[str, Any]:
        """Wait until the path is up; return its facts.

        Raises:
            CapabilityError: the path cannot be had here.
            MeasureError: the worker failed.

        """
        facts: dict[str, Any] = self._receive(SETUP_DEADLINE_S)["ready"]
        return facts

    def block(
        self, point: Point, order: list[str], number: int, deadline_s: float
    ) -> list[dict[str, Any]]:
        """Run one block of `point`; return its samples in the order measured."""
        self._send({"point": point.name, "order": order, "block": number})
        samples: list[dict[str, Any]] = self._receive(deadline_s)["samples"]
        return samples

    def _send(self, values: dict[str, Any]) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # what it died of is read from its answer
            self._process.stdin.write(json.dumps(values) + "\n")
            self._process.stdin.flush()

    def _receive(self, deadline_s: float) -> dict[str, Any]:
        assert self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(deadline_s):
                raise MeasureError(
                    f"the worker of path {self.path} gave no answer for "
                    f"{deadline_s:.0f} s; it was ended"
                )
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise MeasureError(
                f"the worker of path {self.path} ended with status {status}"
            )
        values: dict[str, Any] = json.loads(line)
        if "error" in values:
            kind: type[Exception] = getattr(errors, values["kind"])
            raise kind(values["error"])
        return values

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the process; at once if something went wrong."""
        with suppress(BrokenPipeError):
            if self._process.stdin:
                self._process.stdin.close()
        if kind is not None:
            self._process.kill()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if kind is None and self._process.returncode:
            raise MeasureError(
                f"the worker of path {self.path} ended with status "
                f"{self._process.returncode} after its last block"
            )


def take(
    plan: Plan,
    *,
    out: FilePath | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> FilePath:
    """Execute `plan`, seal the run and return its folder.

    Whatever ends it early, the finished blocks are sealed as a partial run and
    the exception goes on.

    Args:
        plan: what to measure.
        out: folder in which the run's folder is made; data/runs by default.
        progress: called after every block.

    Raises:
        CapabilityError: io_uring, SEND_ZC, namespaces or a device are missing.
        MeasureError: the kernel or the path broke a rule that zclab checks.
        InputError: the run cannot be written.

    """
    probe.support()
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"{out} is not a folder; name one with --out")
    before = host.facts()
    with ExitStack() as stack:
        cpus = host.cpus()
        workers = {
            path: stack.enter_context(Worker(plan, path, cpus)) for path in plan.paths
        }
        facts = {str(path): worker.ready() for path, worker in workers.items()}
        before["paths"] = facts
        before["sender"] = next(iter(facts.values()))["sender"]
        _warm_up(plan, workers)
        journal = stack.enter_context(
            store.Journal.create(plan, before, alias=before["alias"], out=out)
        )
        journal.warnings.extend(_warnings(before))
        _measure(plan, workers, journal, progress)
        journal.host_after = host.facts()
        journal.warnings.extend(_warnings_after(before, journal.host_after))
    return journal.folder


def _deadline_s(plan: Plan, point: Point) -> float:
    """Return a bound that only a stuck worker exceeds."""
    slices = len(point.arms) * (plan.slice_ns + plan.warmup_ns) / 1e9
    return 30.0 + 10 * slices


def _warm_up(plan: Plan, workers: dict[Path, Worker]) -> None:
    """Run one block of each point that is not recorded: caches, neighbours, pages."""
    for point in plan.points:
        worker = workers[point.path]
        worker.block(point, list(point.arms), 0, _deadline_s(plan, point))


def _measure(
    plan: Plan,
    workers: dict[Path, Worker],
    journal: store.Journal,
    progress: Callable[[Progress], None] | None,
) -> None:
    """Run all blocks: every round visits each point once, in random order.

    So a run that ends early has about as many blocks of every point, and slow
    drift of the host falls on all sizes and paths alike.
    """
    order = random.Random(plan.seed)
    start = time.monotonic()
    for number in range(plan.blocks):
        for point in order.sample(plan.points, len(plan.points)):
            arms = order.sample(point.arms, len(point.arms))
            journal.append(
                workers[point.path].block(point, arms, number, _deadline_s(plan, point))
            )
            if progress:
                progress(
                    Progress(
                        run=journal.folder,
                        done=journal.blocks_done,
                        total=plan.total_blocks,
                        elapsed_s=time.monotonic() - start,
                    )
                )


def _warnings(before: dict[str, Any]) -> list[str]:
    warnings = []
    usable = before["cpu"]["usable"]
    if usable < 2:
        warnings.append("one CPU: sender and receiver share it on live paths")
    if before["load_1m"] > NOISY_LOAD * usable:
        warnings.append(
            f"load average {before['load_1m']} on {usable} CPUs before the run"
        )
    if before["hypervisor"]:
        warnings.append("virtual machine: other guests may take CPU time")
    taps = max(facts["host_packet_taps"] for facts in before["paths"].values())
    if taps:
        warnings.append(
            f"{taps} packet taps on the host (/proc/net/packet): kernels without taps "
            "per network namespace copy every zerocopy packet for them, here too"
        )
    if not before["sender"]["report_usage"]:
        warnings.append("copied is unknown: this kernel is older than 6.2")
    return warnings


def _warnings_after(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    ticks = after["steal_ticks"] - before["steal_ticks"]
    passed = (after["uptime_s"] - before["uptime_s"]) * os.sysconf("SC_CLK_TCK")
    share = ticks / max(passed * before["cpu"]["online"], 1)
    if share > 0.01:
        return [f"the hypervisor took {share:.1%} of the CPU time during the run"]
    return []
