"""CPU time is what the sender took, though the kernel counts by ticks and switches."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.samples import HOST, make
from zclab.explain import bottleneck, table
from zclab.explain.processor import EXACT, mended, sender_cpu_ns

TICK = 4_000_000  # CONFIG_HZ=250
SLICE = 1_000_000


def samples(**columns):
    """Return two slices of a millisecond, with other columns than the usual."""
    usual = {
        "elapsed_ns": SLICE,
        "cpu_user_ns": 0,
        "cpu_sys_ns": 0,
        "switches_voluntary": 0,
        "switches_forced": 0,
        "options": "",
    }
    return pd.DataFrame({**usual, **columns}, index=range(2))


@pytest.mark.parametrize(
    ("columns", "ns"),
    [
        ({}, SLICE),  # no tick fell into it
        ({"cpu_sys_ns": TICK}, SLICE),  # one did, and brought what was before
        ({"cpu_sys_ns": 300_000, "switches_voluntary": 1}, 300_000),
        ({"cpu_user_ns": 300_000, "switches_forced": 1}, 300_000),
        ({"cpu_sys_ns": TICK, "switches_voluntary": 1}, SLICE),
        ({"cpu_sys_ns": TICK, "options": "threads=4"}, TICK),
        ({"cpu_sys_ns": 100, "options": "sqpoll=on"}, 100),
        ({"cpu_sys_ns": 100, "switches_voluntary": pd.NA}, 100),  # of an older run
        ({"cpu_sys_ns": TICK, "switches_voluntary": pd.NA}, TICK),
        ({"cpu_sys_ns": 100, "options": None}, SLICE),
    ],
)
def test_of_a_slice(columns, ns):
    """What was not switched out had the CPU all the time, and nothing had it longer."""
    assert mended(samples(**columns)).tolist() == [ns, ns]


def test_ticks_cannot_bend_a_comparison():
    """Of two arms of one cost, who switches more often is not counted as dearer.

    The counter is made as the kernel has it: up to date at ticks and switches alone.
    """
    random = np.random.default_rng(1)
    phases = random.uniform(0, TICK, 4000)  # of the tick, in a thread since 1 ms awake

    def counted(at):
        return np.where(phases <= at, phases, 0)

    busy = counted(2 * SLICE) - counted(SLICE)
    assert busy.mean() < 0.5 * SLICE  # as was seen: half of it is missing
    frame = pd.concat([samples()] * 2000, ignore_index=True)
    frame = frame.assign(cpu_sys_ns=busy.astype(np.int64))
    assert mended(frame).mean() == SLICE

    # The other arm is preempted for a moment every tenth of a slice: what is counted
    # begins and ends up to so much too early.
    lags = random.uniform(0, SLICE / 10, (2, 4000))
    often = frame.assign(
        cpu_sys_ns=(SLICE + lags[0] - lags[1]).astype(np.int64), switches_forced=10
    )
    assert often["cpu_sys_ns"].mean() > 1.9 * frame["cpu_sys_ns"].mean()
    assert mended(often).mean() == pytest.approx(mended(frame).mean(), rel=0.02)


def test_an_exact_count_is_taken_as_it_is(tmp_path):
    """A run whose send loop brings the count up to date is not mended; others are."""
    old = make(tmp_path, planned=8)
    exact = {**HOST, "software": {**HOST["software"], "cpu_time": "exact"}}
    stolen = (old.samples["elapsed_ns"] * 0.9).astype("int64")  # by interrupts
    old = replace(
        old,
        samples=old.samples.assign(
            cpu_user_ns=0, cpu_sys_ns=stolen, switches_voluntary=0, switches_forced=0
        ),
    )
    new = replace(old, host=exact, hosts=(exact,))

    assert sender_cpu_ns(new).tolist() == stolen.tolist()
    assert sender_cpu_ns(old).tolist() == old.samples["elapsed_ns"].tolist()
    resumed = replace(new, hosts=(exact, HOST))  # by the older code
    assert sender_cpu_ns(resumed).tolist() == old.samples["elapsed_ns"].tolist()
    for of_run in (table.summary, bottleneck.limits):
        names = [name for name in of_run(old) if name.startswith("cpu_ns_per")]
        ratio = of_run(new)[names] / of_run(old)[names]
        assert ratio.to_numpy() == pytest.approx(0.9, rel=1e-3)


def test_runs_say_that_their_count_is_exact():
    """The facts that a run keeps have the word that the mending asks for."""
    host = pytest.importorskip("zclab.measure.host")
    assert host.facts()["software"]["cpu_time"] == EXACT
