"""CPU time is what the sender took, though the kernel counts by ticks and switches."""

import numpy as np
import pandas as pd
import pytest

from zclab.explain.processor import sender_cpu_ns

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
        ({"cpu_sys_ns": 100, "options": None}, SLICE),
    ],
)
def test_of_a_slice(columns, ns):
    """What was not switched out had the CPU all the time, and nothing had it longer."""
    assert sender_cpu_ns(samples(**columns)).tolist() == [ns, ns]


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
    assert sender_cpu_ns(frame).mean() == SLICE
