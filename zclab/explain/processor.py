"""How much CPU time the sender took, from counters that may lag behind.

The shim brings them up to date before it reads them; those of runs that were taken
before it did are mended here.

getrusage(RUSAGE_THREAD) tells the CPU time as of the last timer tick or context switch
(task_cputime_adjusted, kernel/sched/cputime.c, without VIRT_CPU_ACCOUNTING_GEN). A tick
is 1 to 10 ms: of a slice of 1 ms in which the thread never left its CPU, most often
nothing is counted, else more than there was. The sums are of no use either, as who
switches more often is counted more fully.

A thread that was not switched out had the CPU all the time, and no thread had it for
longer than the clock ran. The context switches of each slice are counted, so that is
known of each.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from zclab import stats

_SEVERAL = "threads="  # the option by which a slice has more than one sending thread
_KERNEL_THREAD = "sqpoll"  # or the ring's own; both are counted in one sum


def sender_cpu_ns(samples: pd.DataFrame) -> stats.Floats:
    """Return the CPU time of the sending thread in each timed slice, in ns.

    It is that of the clock where the thread was not switched out, and that of getrusage
    elsewhere, but no longer than the clock's. What several threads took together is
    left as it was counted.
    """

    def of(name: str) -> stats.Floats:
        found: stats.Floats = samples[name].to_numpy(np.float64, na_value=np.nan)
        return found

    counted, clock = of("cpu_user_ns") + of("cpu_sys_ns"), of("elapsed_ns")
    switches = of("switches_voluntary") + of("switches_forced")
    known = np.where(switches == 0, clock, np.minimum(counted, clock))
    return np.where(_alone(samples["options"]), known, counted)


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
