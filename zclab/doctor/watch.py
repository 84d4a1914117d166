"""What CPUs, processes and interrupts do in a second: two looks, and the difference."""

import os
import time
from dataclasses import dataclass, field

from zclab.doctor.tree import Tree, UnreadableError

# Columns of a cpu line in /proc/stat. Source: proc_stat(5).
USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL = range(8)
PF_KTHREAD = 0x200000  # linux/sched.h: flags of a thread of the kernel's own
WATCHED_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Counters since boot, at one moment.

    Attributes:
        at_s: CLOCK_MONOTONIC in seconds.
        ticks: of each line of /proc/stat that begins with cpu, by column.
        processes: ticks that each process used, by (pid, start time, name); the name
            of a kernel thread is in brackets, as ps(1) has it.
        interrupts: how often each CPU took each line of /proc/interrupts.

    """

    at_s: float
    ticks: dict[str, tuple[int, ...]]
    processes: dict[tuple[int, int, str], int]
    interrupts: dict[str, dict[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """The difference of two looks.

    Attributes:
        seconds: time between them.
        processes: (share of one CPU, pid, name), the busiest first.

    """

    seconds: float
    first: Look
    last: Look
    processes: tuple[tuple[float, int, str], ...] = field(default=())

    def share(self, cpu: str, *columns: int) -> float:
        """Return which share of its time a cpu line spent in columns, 0 to 1.

        Raises:
            UnreadableError: /proc/stat has no such line, or it did not move.

        """
        try:
            before, after = self.first.ticks[cpu], self.last.ticks[cpu]
            passed = [b - a for a, b in zip(before, after, strict=True)][: STEAL + 1]
            return sum(passed[column] for column in columns) / sum(passed)
        except (KeyError, ValueError, IndexError, ZeroDivisionError):
            raise UnreadableError(f"/proc/stat has nothing of {cpu}") from None

    def since_boot(self, cpu: str, *columns: int) -> float:
        """Return the share of the time since boot, 0 to 1."""
        try:
            ticks = self.last.ticks[cpu][: STEAL + 1]
            return sum(ticks[column] for column in columns) / sum(ticks)
        except (KeyError, IndexError, ZeroDivisionError):
            raise UnreadableError(f"/proc/stat has nothing of {cpu}") from None

    def interrupts(self, cpu: int) -> dict[str, float]:
        """Return interrupts a second that a CPU took, by line; the busiest first."""
        if not self.last.interrupts:
            raise UnreadableError("/proc/interrupts is not there, or is not understood")
        rates = {
            name: (counts[cpu] - self.first.interrupts.get(name, {}).get(cpu, 0))
            / self.seconds
            for name, counts in self.last.interrupts.items()
            if cpu in counts
        }
        if not rates:
            raise UnreadableError(f"/proc/interrupts has no CPU{cpu}")
        return dict(sorted(rates.items(), key=lambda item: -item[1]))


def look(tree: Tree) -> Look:
    """Return the counters as they are now; what cannot be read is left empty."""
    return Look(
        at_s=time.monotonic(),
        ticks=_ticks(tree),
        processes=_processes(tree),
        interrupts=_interrupts(tree),
    )


def between(first: Look, last: Look, *, own: int = 0) -> Watched:
    """Return what happened between two looks; `own` is a pid that does not count."""
    seconds = max(last.at_s - first.at_s, 1e-9)
    hertz = os.sysconf("SC_CLK_TCK")
    used = [
        ((ticks - first.processes.get(key, 0)) / hertz / seconds, key[0], key[2])
        for key, ticks in last.processes.items()
        if key[0] != own
    ]
    busiest = sorted((one for one in used if one[0] > 0), reverse=True)
    return Watched(seconds=seconds, first=first, last=last, processes=tuple(busiest))


def watch(tree: Tree, seconds: float = WATCHED_S) -> Watched:
    """Look twice, `seconds` apart, doing nothing in between."""
    first = look(tree)
    time.sleep(seconds)
    return between(first, look(tree), own=os.getpid())


def _ticks(tree: Tree) -> dict[str, tuple[int, ...]]:
    try:
        rows = [line.split() for line in tree.must("/proc/stat").splitlines()]
        return {
            row[0]: tuple(map(int, row[1:]))
            for row in rows
            if row and row[0].startswith("cpu")
        }
    except (UnreadableError, ValueError):
        return {}


def _processes(tree: Tree) -> dict[tuple[int, int, str], int]:
    found = {}
    try:
        pids = [name for name in tree.names("/proc") or () if name.isdigit()]
    except UnreadableError:
        return {}
    for pid in pids:
        try:
            stat = tree.must(f"/proc/{pid}/stat")
        except UnreadableError:  # it ended
            continue
        # The name is in brackets and may itself hold some. Source: proc_pid_stat(5).
        head, _, tail = stat.rpartition(")")
        rest = tail.split()
        if len(rest) > 19:
            name = head.partition("(")[2]
            if rest[6].isdigit() and int(rest[6]) & PF_KTHREAD:
                name = f"[{name}]"
            found[int(pid), int(rest[19]), name] = int(rest[11]) + int(rest[12])
    return found


def _interrupts(tree: Tree) -> dict[str, dict[int, int]]:
    """Return device interrupts by line: those whose name is a number.

    The rest are the CPU's own: the timer, and calls from other CPUs.
    """
    try:
        header, *lines = tree.must("/proc/interrupts").splitlines()
        cpus = [int(word.removeprefix("CPU")) for word in header.split()]
    except (UnreadableError, ValueError):
        return {}
    found = {}
    for line in lines:
        number, _, rest = line.strip().partition(":")
        words = rest.split()
        if not number.isdigit() or len(words) < len(cpus):
            continue
        counts = words[: len(cpus)]
        if all(count.isdigit() for count in counts):
            name = f"{number} {' '.join(words[len(cpus) :][-1:])}".strip()
            found[name] = dict(zip(cpus, map(int, counts), strict=True))
    return found
