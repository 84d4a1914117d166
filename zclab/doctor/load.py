"""What else goes on here: other work, interrupts, memory, disk."""

from zclab.doctor.finding import Change, Check, Level, Seen
from zclab.doctor.patient import Patient
from zclab.doctor.tree import UnreadableError, chosen
from zclab.doctor.watch import IRQ, NICE, SOFTIRQ, SYSTEM, USER

HUGE = "/sys/kernel/mm/transparent_hugepage/enabled"
BALANCING = "/proc/sys/kernel/numa_balancing"

BUSY_SHARE = 0.05  # of a CPU; ticks of 10 ms tell no less than 1 % in a second
LOAD = 0.5  # tasks that want to run, on average
INTERRUPTS_S = 1000  # ten in a slice of 10 ms, each some microseconds
MEMORY_BYTES = 512 << 20
DISK_BYTES = 256 << 20  # a long run is some 20 MB, its report as much again
SHOWN = 3


def busy(patient: Patient) -> Seen:
    """Watch what else runs on the CPUs that would be used."""
    watched = patient.watched
    shares = {
        cpu: watched.share(f"cpu{cpu}", USER, NICE, SYSTEM, IRQ, SOFTIRQ)
        for cpu in sorted({patient.sender, patient.receiver})
    }
    told = ", ".join(f"CPU {cpu} {share:.0%} busy" for cpu, share in shares.items())
    others = [f"{n} (pid {p}) {s:.0%}" for s, p, n in watched.processes[:SHOWN]]
    seen = f"{told}; busiest: {', '.join(others) or 'none'}"
    read = ("/proc/stat, twice", "/proc/*/stat, twice")
    if max(shares.values()) < BUSY_SHARE:
        return Seen(Level.FINE, seen, read)
    pids = " ".join(
        str(pid) for _, pid, name in watched.processes[:SHOWN] if name[0] != "["
    )
    cure = f"wait, or pause what is yours: kill -STOP {pids}; then kill -CONT {pids}"
    return Seen(Level.NOISY, seen, read, cure if pids else "wait until it is over")


def load(patient: Patient) -> Seen:
    """Read the load average."""
    name = "/proc/loadavg"
    words = patient.tree.must(name).split()
    try:
        minute, five = float(words[0]), float(words[1])
    except (ValueError, IndexError):
        raise UnreadableError(f"{name} is not understood") from None
    seen = f"{minute:.2f} over a minute, {five:.2f} over five"
    if minute >= LOAD:
        return Seen(
            Level.NOISY, seen, (name,), "uptime   # again, until the load is gone"
        )
    return Seen(Level.FINE, seen, (name,))


def interrupts(patient: Patient) -> Seen:
    """Watch which devices interrupt the sender's CPU."""
    rates = patient.watched.interrupts(patient.sender)
    total = sum(rates.values())
    top = [f"IRQ {name} {rate:.0f}/s" for name, rate in rates.items() if rate >= 1]
    seen = (
        f"{total:.0f} device interrupts/s on CPU {patient.sender}"
        f"{': ' if top else ''}{', '.join(top[:SHOWN])}"
    )
    read = ("/proc/interrupts, twice",)
    if total < INTERRUPTS_S:
        return Seen(Level.FINE, seen, read)
    number = next(iter(rates)).split()[0]
    return Seen(
        Level.NOISY,
        seen,
        read,
        f"echo {patient.receiver} | sudo tee /proc/irq/{number}/smp_affinity_list",
    )


def memory(patient: Patient) -> Seen:
    """Read what memory is left, and whether some was swapped out."""
    name = "/proc/meminfo"
    rows = (line.split() for line in patient.tree.must(name).splitlines())
    values = {row[0].rstrip(":"): row[1] for row in rows if len(row) > 1}
    try:
        left = int(values["MemAvailable"]) << 10
        swapped = (int(values["SwapTotal"]) - int(values["SwapFree"])) << 10
    except (KeyError, ValueError):
        raise UnreadableError(f"{name} is not understood") from None
    seen = f"{left >> 20} MiB available, {swapped >> 20} MiB swapped out"
    if left >= MEMORY_BYTES:
        return Seen(Level.FINE, seen, (name,))
    return Seen(
        Level.NOISY, seen, (name,), "ps -eo rss,pid,comm --sort=-rss | head   # end one"
    )


def disk(patient: Patient) -> Seen:
    """Ask what is free where runs are stored."""
    try:
        free = patient.free_bytes()
    except OSError as error:
        raise UnreadableError(f"statvfs: {error.strerror}") from None
    seen = f"{free >> 20} MiB free for runs"
    read = ("statvfs(3) of the folder of runs",)
    if free >= DISK_BYTES:
        return Seen(Level.FINE, seen, read)
    return Seen(
        Level.LIES,
        seen,
        read,
        "make room, or name another folder: zclab measure --out DIR",
    )


def huge_pages(patient: Patient) -> Seen:
    """Read whether pages=thp can have huge pages."""
    text = patient.tree.text(HUGE)
    wanted = any(
        point.options(arm).pages == "thp"
        for point in patient.plan.points
        for arm in point.arms
    )
    if text is None:
        return Seen(
            Level.LIES if wanted else Level.FYI,
            "this kernel has no transparent huge pages",
            (HUGE,),
            "leave pages=thp out, or use pages=hugetlb",
        )
    state = chosen(text, HUGE)
    if state not in {"always", "madvise", "never"}:
        raise UnreadableError(f"{HUGE}: {state!r} is not understood")
    if state == "never":
        return Seen(
            Level.LIES if wanted else Level.FYI,
            state,
            (HUGE,),
            f"echo madvise | sudo tee {HUGE}",
            changes=(Change(HUGE, "madvise"),) if wanted else (),
        )
    if state == "always":
        return Seen(
            Level.FYI,
            state,
            (HUGE,),
            f"echo madvise | sudo tee {HUGE}",
            effect="buffers of all arms may lie on huge pages, not only those of "
            "pages=thp",
        )
    return Seen(Level.FINE, state, (HUGE,))


def balancing(patient: Patient) -> Seen:
    """Read whether the kernel samples where pages are used."""
    value = patient.tree.number(BALANCING)
    if not value:
        said = "not in this kernel" if value is None else "off"
        return Seen(Level.FINE, f"automatic NUMA balancing: {said}", (BALANCING,))
    nodes = patient.tree.names("/sys/devices/system/node") or ()
    many = sum(name.removeprefix("node").isdigit() for name in nodes)
    seen = f"kernel.numa_balancing = {value}, {many} NUMA nodes"
    if many < 2:
        return Seen(Level.FINE, seen, (BALANCING, "/sys/devices/system/node"))
    return Seen(
        Level.NOISY,
        seen,
        (BALANCING, "/sys/devices/system/node"),
        "sysctl kernel.numa_balancing=0",
        changes=(Change(BALANCING, "0"),),
    )


CHECKS = (
    Check(
        id="disk",
        asks="free space where runs are stored",
        effect="a run ends when no more fits; the blocks until then are kept",
        source="statvfs(3)",
        look=disk,
    ),
    Check(
        id="busy",
        asks="other work on the sender's and the receiver's CPU, over a second",
        effect="the scheduler gives slices away; intervals widen, runs take longer",
        source="proc_stat(5), sched(7)",
        look=busy,
    ),
    Check(
        id="load",
        asks="the load average",
        effect="other work comes and goes while a run is on",
        source="proc_loadavg(5)",
        look=load,
    ),
    Check(
        id="interrupts",
        asks="device interrupts on the sender's CPU, over a second",
        effect="each takes some microseconds out of a slice, and softirqs follow",
        source="proc_interrupts(5); Documentation/core-api/irq/irq-affinity.rst",
        look=interrupts,
    ),
    Check(
        id="memory",
        asks="available memory and swap",
        effect="reclaim runs inside sends, and pages of buffers move",
        source="proc_meminfo(5)",
        look=memory,
    ),
    Check(
        id="numa-balancing",
        asks="automatic NUMA balancing where there are several nodes",
        effect="pages are unmapped to see who uses them, and moved: faults in slices",
        source="Documentation/admin-guide/sysctl/kernel.rst, numa_balancing",
        look=balancing,
    ),
    Check(
        id="huge-pages",
        asks="transparent huge pages against pages=thp of the plan",
        effect="pages=thp sends from small pages and is not what it is called",
        source="Documentation/admin-guide/mm/transhuge.rst",
        look=huge_pages,
    ),
)
