"""How much CPU time the sender took, from counters that may lag behind.

The shim brings them up to date before it reads them, and such runs say so
(`software.cpu_time`): they are taken as counted. Those of older runs are mended here.

getrusage(RUSAGE_THREAD) tells the CPU time as of the last timer tick or context switch
(task_cputime_adjusted, kernel/sched/cputime.c, without VIRT_CPU_ACCOUNTING_GEN). A tick
is 1 to 10 ms: of a slice of 1 ms in which the thread never left its CPU, most often
nothing is counted, else more than there was. The sums are of no use either, as who
switches more often is counted more fully.

A thread that was not switched out had the CPU all the time, and no thread had it for
longer than the clock ran. The context switches of each slice are counted, so that is
known of each. A slice with switches cannot be mended: what lagged stays out of it, or
in it, up to the clock's time. The clock is not right for all: where interrupts or the
hypervisor take time that the kernel does not count as the thread's
(IRQ_TIME_ACCOUNTING, steal), it tells too much, so exact counts are left alone.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from zclab import stats
from zclab.explain import joined
from zclab.explain.facts import lookup
from zclab.store import Run

EXACT = "exact"  # the fact software.cpu_time of runs whose counters do not lag

_SEVERAL = "threads="  # the option by which a slice has more than one sending thread
_KERNEL_THREAD = "sqpoll"  # or the ring's own; both are counted in one sum


def sender_cpu_ns(run: Run) -> stats.Floats:
    """Return the CPU time of the sending thread in each sample of a run, in ns.

    As counted where that is exact, else `mended`.
    """
    exact = [
        point.name
        for part in joined.parts(run)
        if all(
            lookup(host, "software", "cpu_time") == EXACT
            for host in (part.host, *part.hosts)
        )
        for point in part.plan.points
    ]
    samples = run.samples
    return np.where(samples["point"].isin(exact), _counted(samples), mended(samples))


def mended(samples: pd.DataFrame) -> stats.Floats:
    """Return the CPU time of the sending thread in each slice, if counters lag, in ns.

    It is that of the clock where the thread was not switched out, and that of getrusage
    where it was, but no longer than the clock's. Left as it was counted is what several
    threads took together, and where the switches are not known.
    """
    counted, clock = _counted(samples), _floats(samples, "elapsed_ns")
    switches = _floats(samples, "switches_voluntary") + _floats(
        samples, "switches_forced"
    )
    known = np.where(switches == 0, clock, np.minimum(counted, clock))
    sure = _alone(samples["options"]) & ~np.isnan(switches)
    return np.where(sure, known, counted)


def _counted(samples: pd.DataFrame) -> stats.Floats:
    return _floats(samples, "cpu_user_ns") + _floats(samples, "cpu_sys_ns")


def _floats(samples: pd.DataFrame, name: str) -> stats.Floats:
    found: stats.Floats = samples[name].to_numpy(np.float64, na_value=np.nan)
    return found


def _alone(spelt: pd.Series) -> npt.NDArray[np.bool_]:
    """Return whether one thread did all, for each of the options of some samples."""
    texts = spelt.astype("category").cat
    alone = [
        _SEVERAL not in text and _KERNEL_THREAD not in text
        for text in map(str, texts.categories)
    ]
    found: npt.NDArray[np.bool_]
    found = np.array([*alone, True])[texts.codes]  # the last is for none at all
    return found
