"""The process of a place, seen from the sweep: whatever happens, nothing stays open."""

import os
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from live import needs_uring

from zclab.errors import CapabilityError, MeasureError
from zclab.measure import host, profile
from zclab.measure.process import Worker

pytestmark = needs_uring


@pytest.fixture
def worker() -> tuple[Worker, set[str]]:
    """Return a worker on the sink, not yet entered, and what was open before it."""
    plan = profile.plan("quick", 1)
    points = tuple(p for p in plan.points if p.place == "sink")[:1]
    before = pipes()
    return Worker(replace(plan, points=points), "sink", host.cpus()), before


def ready(worker: Worker) -> None:
    """Wait for the place; skip where it cannot be had."""
    try:
        worker.ready()
    except CapabilityError as error:
        pytest.skip(str(error))


def pipes() -> set[str]:
    """Return the pipes that this process has open, by the kernel's names."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the folder itself
            found.add(str(descriptor.readlink()))
    return {name for name in found if name.startswith("pipe:")}


def test_an_ended_worker_leaves_no_pipe_open(worker):
    """Both of its pipes are closed, though the worker is still held."""
    asked, before = worker

    with asked:
        ready(asked)
        assert len(pipes() - before) == 2

    assert not pipes() - before


def test_a_worker_that_failed_leaves_no_pipe_open(worker):
    """Likewise where it ended by itself, with a status that is told."""
    asked, before = worker

    with pytest.raises(MeasureError, match="after its last block"), asked:
        ready(asked)
        os.kill(asked.sender_pid(), signal.SIGKILL)

    assert not pipes() - before


def test_an_error_beside_a_worker_leaves_no_pipe_open(worker):
    """Likewise where it is killed, for what went wrong beside it; that is raised."""
    asked, before = worker

    with pytest.raises(KeyError), asked:
        raise KeyError

    assert not pipes() - before
