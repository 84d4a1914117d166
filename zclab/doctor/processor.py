"""The CPUs: clocks, idle states, siblings, what a hypervisor takes."""

import re
from collections.abc import Iterator

from zclab.doctor.finding import NOTHING, Change, Check, Level, Seen
from zclab.doctor.patient import Patient
from zclab.doctor.tree import UnreadableError, cpu_list
from zclab.doctor.watch import STEAL

CPU = "/sys/devices/system/cpu"
CLOCK = "/sys/devices/system/clocksource/clocksource0"
NO_TURBO = f"{CPU}/intel_pstate/no_turbo"
BOOST = f"{CPU}/cpufreq/boost"

# Clocks that the vDSO reads without a system call, by architecture and hypervisor.
QUICK_CLOCKS = frozenset(
    {
        "tsc",
        "kvm-clock",
        "arch_sys_counter",
        "hyperv_clocksource_tsc_page",
        "riscv_clocksource",
    }
)
# Documentation/admin-guide/hw-vuln: how each file of the folder begins.
_STATES_OF_FAULTS = (
    "Not affected",
    "Vulnerable",
    "Mitigation",
    "Unknown",
    "Processor vulnerable",
    "KVM:",
)
DEEP_US = 10  # a CPU that needs longer to wake is seen in a slice of 10 ms
STEAL_SHARE = 0.005  # half a percent: the precision that the plans ask for


def _cpus(patient: Patient) -> tuple[int, ...]:
    return tuple(sorted({patient.sender, patient.receiver}))


def virtual(patient: Patient) -> bool | None:
    """Return whether this is a virtual machine; None when nothing tells."""
    tree = patient.tree
    flags = re.search(r"^flags\s*:(.*)$", tree.must("/proc/cpuinfo"), re.MULTILINE)
    if flags:
        return "hypervisor" in flags[1].split()
    if tree.text("/proc/device-tree/hypervisor/compatible") is not None:
        return True
    return True if tree.text("/sys/hypervisor/type") else None


def machine(patient: Patient) -> Seen:
    """Tell whether the kernel runs on a hypervisor."""
    read = ("/proc/cpuinfo, flags", "/sys/class/dmi/id/sys_vendor")
    found = virtual(patient)
    if found is None:
        return Seen(
            Level.UNKNOWN, "nothing tells whether this is a virtual machine", read
        )
    if not found:
        return Seen(Level.FINE, "no hypervisor", read)
    try:
        vendor = patient.tree.text("/sys/class/dmi/id/sys_vendor")
    except UnreadableError:
        vendor = None
    return Seen(
        Level.FYI, f"a virtual machine, vendor: {vendor or 'not told'}", read, NOTHING
    )


def steal(patient: Patient) -> Seen:
    """Watch what the hypervisor took while this machine wanted to run."""
    watched = patient.watched
    now = watched.share("cpu", STEAL)
    ever = watched.since_boot("cpu", STEAL)
    seen = (
        f"{now:.1%} of the CPU time in {watched.seconds:.1f} s, {ever:.2%} since boot"
    )
    read = ("/proc/stat, column steal, twice",)
    cure = "ask the host for dedicated CPUs; " + NOTHING
    if now >= STEAL_SHARE:
        return Seen(Level.NOISY, seen, read, cure)
    if ever >= STEAL_SHARE:
        return Seen(Level.FYI, f"{seen}: it may come again", read, cure)
    if ever == 0 and virtual(patient):
        return Seen(
            Level.UNKNOWN,
            f"{seen}: this hypervisor may not tell at all",
            read,
        )
    return Seen(Level.FINE, seen, read)


def count(patient: Patient) -> Seen:
    """Tell which CPUs send and receive."""
    read = ("sched_getaffinity(2)", f"{CPU}/online")
    online = cpu_list(patient.tree.must(f"{CPU}/online"), f"{CPU}/online")
    seen = (
        f"sender on CPU {patient.sender}, receiver on CPU {patient.receiver}, "
        f"{len(online)} online"
    )
    if patient.sender == patient.receiver:
        return Seen(
            Level.NOISY,
            seen,
            read,
            "taskset -c 0,1 zclab ...   # two CPUs, where there are two",
        )
    return Seen(Level.FINE, seen, read)


def governor(patient: Patient) -> Seen:
    """Read the frequency governor of the CPUs that are used."""
    found: dict[str, str] = {}
    for cpu in _cpus(patient):
        file = f"{CPU}/cpu{cpu}/cpufreq/scaling_governor"
        text = patient.tree.text(file)
        if text is not None:
            found[file] = text
    if not found:
        return _no_cpufreq(patient)
    seen = ", ".join(sorted(set(found.values())))
    slow = [file for file, text in found.items() if text != "performance"]
    if not slow:
        return Seen(Level.FINE, seen, tuple(found))
    can = [
        file
        for file in slow
        if "performance"
        in (
            patient.tree.text(file.replace("governor", "available_governors")) or ""
        ).split()
    ]
    return Seen(
        Level.NOISY,
        seen,
        tuple(found),
        f"echo performance | sudo tee {' '.join(can)}"
        if can
        else "this driver has no governor `performance`; " + NOTHING,
        changes=tuple(Change(file, "performance") for file in can),
    )


def _no_cpufreq(patient: Patient) -> Seen:
    """Say why there is nothing about frequency: a guest's host has it in hand."""
    read = (f"{CPU}/cpu{patient.sender}/cpufreq",)
    if virtual(patient):
        return Seen(
            Level.UNKNOWN,
            "this virtual machine has no cpufreq; its host decides, and does not tell",
            read,
        )
    return Seen(
        Level.UNKNOWN, "no cpufreq driver; firmware decides, and does not tell", read
    )


def turbo(patient: Patient) -> Seen:
    """Read whether clocks may rise above the nominal one."""
    for file, off in ((NO_TURBO, "1"), (BOOST, "0")):
        value = patient.tree.text(file)
        if value is None:
            continue
        if value == off:
            return Seen(Level.FINE, f"off ({file} = {value})", (file,))
        if value not in {"0", "1"}:
            raise UnreadableError(f"{file}: {value[:40]!r} is neither 0 nor 1")
        return Seen(
            Level.NOISY,
            f"on ({file} = {value})",
            (file,),
            f"echo {off} | sudo tee {file}",
            changes=(Change(file, off),),
        )
    return Seen(
        Level.UNKNOWN,
        "neither intel_pstate nor cpufreq/boost tells",
        (NO_TURBO, BOOST),
        "switch turbo off in the firmware; " + NOTHING,
    )


def frequency(patient: Patient) -> Seen:
    """Compare the bounds of the sender's clock with what the CPU can."""
    folder = f"{CPU}/cpu{patient.sender}/cpufreq"
    names = ("scaling_min_freq", "scaling_max_freq", "cpuinfo_max_freq")
    found = [patient.tree.number(f"{folder}/{name}") for name in names]
    low, high, most = found
    if low is None or high is None or most is None:
        return _no_cpufreq(patient)
    current = patient.tree.number(f"{folder}/scaling_cur_freq")
    now = "unknown" if current is None else f"{current // 1000} MHz"
    seen = f"{low // 1000} to {high // 1000} MHz allowed, now {now}"
    read = tuple(f"{folder}/{name}" for name in (*names, "scaling_cur_freq"))
    if high < most:
        return Seen(
            Level.FYI,
            f"{seen}, of {most // 1000} MHz that the CPU has",
            read,
            f"echo {most} | sudo tee {folder}/scaling_max_freq",
            effect="all arms are slower alike; ns per request are not the machine's",
        )
    return Seen(Level.FINE, seen, read)


def siblings(patient: Patient) -> Seen:
    """Tell whether sender or receiver share a core with another CPU in use."""
    tree = patient.tree
    control = f"{CPU}/smt/control"
    state = tree.text(control)
    found = {}
    for cpu in _cpus(patient):
        file = f"{CPU}/cpu{cpu}/topology/thread_siblings_list"
        others = cpu_list(tree.must(file), file) - {cpu}
        if others:
            found[cpu] = sorted(others)
    read = (control, f"{CPU}/cpu*/topology/thread_siblings_list")
    if found:
        told = "; ".join(f"CPU {cpu} with {others}" for cpu, others in found.items())
        off = found.get(patient.sender) or next(iter(found.values()))
        return Seen(
            Level.NOISY,
            f"SMT {state or 'not told'}: {told}",
            read,
            f"echo off | sudo tee {control}"
            if state == "on"
            else f"echo 0 | sudo tee {CPU}/cpu{off[0]}/online",
        )
    if virtual(patient):
        return Seen(
            Level.UNKNOWN,
            f"SMT {state or 'not told'}; this virtual machine is shown no siblings, "
            "which says nothing of its host",
            read,
        )
    return Seen(Level.FINE, f"SMT {state or 'not told'}, no siblings online", read)


def idle(patient: Patient) -> Seen:
    """Find the idle states that take long to leave."""
    deep: list[tuple[str, str]] = []
    shown: list[str] = []
    for cpu in _cpus(patient):
        for folder, name, latency, disabled in _states(patient, cpu):
            if cpu == patient.sender:
                shown.append(f"{name} {latency} us{' (off)' if disabled else ''}")
            if latency > DEEP_US and not disabled:
                deep.append((f"{folder}/disable", name))
    read = (f"{CPU}/cpu*/cpuidle/state*",)
    if not shown:
        return Seen(
            Level.UNKNOWN, "no cpuidle driver: how a CPU idles is not told", read
        )
    seen = ", ".join(shown)
    if deep:
        return Seen(
            Level.NOISY,
            seen,
            read,
            f"echo 1 | sudo tee {' '.join(file for file, _ in deep)}",
            changes=tuple(Change(file, "1") for file, _ in deep),
        )
    return Seen(Level.FINE, seen, read)


def _states(patient: Patient, cpu: int) -> Iterator[tuple[str, str, int, bool]]:
    """Yield folder, name, us to wake up and whether disabled, of each idle state."""
    tree = patient.tree
    above = f"{CPU}/cpu{cpu}/cpuidle"
    for state in tree.names(above) or ():
        folder = f"{above}/{state}"
        latency = tree.number(f"{folder}/latency")
        disabled = tree.number(f"{folder}/disable")
        if latency is None or disabled is None:
            raise UnreadableError(f"{folder} has no latency or disable")
        yield folder, tree.must(f"{folder}/name"), latency, bool(disabled)


def mitigations(patient: Patient) -> Seen:
    """List what the kernel does about the CPU's faults."""
    folder = f"{CPU}/vulnerabilities"
    names = patient.tree.names(folder)
    if names is None:
        raise UnreadableError(f"{folder} is not there")
    texts = {name: patient.tree.must(f"{folder}/{name}") for name in names}
    odd = [n for n, t in texts.items() if not t.startswith(_STATES_OF_FAULTS)]
    if odd:
        name = f"{folder}/{odd[0]}"
        raise UnreadableError(f"{name}: {texts[odd[0]][:40]!r} is not understood")
    active = {n: t for n, t in texts.items() if t.startswith("Mitigation")}
    open_ones = [n for n, t in texts.items() if t.startswith("Vulnerable")]
    read = (f"{folder}/*", "/proc/cmdline, mitigations=")
    asked = re.findall(r"\bmitigations=\S+", patient.tree.must("/proc/cmdline"))
    said = [f"{name}: {_short(text)}" for name, text in active.items()]
    said += [f"vulnerable: {', '.join(open_ones)}"] if open_ones else []
    seen = "; ".join([*asked, *said]) or "none needed"
    if not active:
        return Seen(Level.FINE, seen, read)
    return Seen(
        Level.FYI,
        seen,
        read,
        "boot once with mitigations=off to see what they cost; else " + NOTHING,
    )


def _short(text: str) -> str:
    return text.removeprefix("Mitigation:").split(";")[0].strip()


def isolation(patient: Patient) -> Seen:
    """Tell whether the scheduler and the tick keep off the sender's CPU."""
    tree = patient.tree
    isolated, full = f"{CPU}/isolated", f"{CPU}/nohz_full"
    lone = cpu_list(tree.text(isolated) or "", isolated)
    text = tree.text(full) or ""
    tickless = frozenset() if text == "(null)" else cpu_list(text, full)
    seen = (
        f"isolcpus: {sorted(lone) or 'none'}, nohz_full: {sorted(tickless) or 'none'}"
    )
    read = (isolated, full)
    if patient.sender in lone and patient.sender in tickless:
        return Seen(Level.FINE, seen, read)
    cpu = patient.sender
    return Seen(
        Level.FYI,
        seen,
        read,
        f"boot with isolcpus={cpu} nohz_full={cpu} rcu_nocbs={cpu}; blocks are paired, "
        "so it can be left",
    )


def clock(patient: Patient) -> Seen:
    """Tell which clock is read around each slice, and what fires the timers."""
    tree = patient.tree
    file = f"{CLOCK}/current_clocksource"
    current = tree.must(file)
    others = (tree.text(f"{CLOCK}/available_clocksource") or "").split()
    event = tree.text("/sys/devices/system/clockevents/clockevent0/current_device")
    seen = f"{current}, of {' '.join(others)}; timer: {event or 'not told'}"
    read = (file, "/sys/devices/system/clockevents/clockevent0/current_device")
    if current in QUICK_CLOCKS:
        return Seen(Level.FINE, seen, read)
    better = next((name for name in others if name in QUICK_CLOCKS), "")
    return Seen(
        Level.NOISY,
        seen,
        read,
        f"echo {better} | sudo tee {file}" if better else NOTHING,
    )


CHECKS = (
    Check(
        id="steal",
        asks="CPU time the hypervisor gave to others, over a second and since boot",
        effect="slices that it falls into are longer for no reason of their own",
        source="proc_stat(5), steal",
        look=steal,
    ),
    Check(
        id="cpus",
        asks="whether sender and receiver have a CPU each",
        effect="on live paths the receiver takes its time from the sender",
        source="sched(7)",
        look=count,
    ),
    Check(
        id="governor",
        asks="the cpufreq governor of the sender's and the receiver's CPU",
        effect="the clock follows the load, so a slice depends on what was before it",
        source="Documentation/admin-guide/pm/cpufreq.rst",
        look=governor,
    ),
    Check(
        id="turbo",
        asks="whether clocks may rise above the nominal one",
        effect="the clock depends on heat, and on how many CPUs are busy",
        source="Documentation/admin-guide/pm/intel_pstate.rst, no_turbo; "
        "cpufreq.rst, boost",
        look=turbo,
    ),
    Check(
        id="frequency",
        asks="the bounds of the sender's clock, and where it is now",
        effect="ns per request go with the clock",
        source="Documentation/admin-guide/pm/cpufreq.rst",
        look=frequency,
    ),
    Check(
        id="smt",
        asks="hyperthreads that share a core with the sender or the receiver",
        effect="what runs on the sibling takes a part of the core, unseen by the "
        "scheduler's times",
        source="Documentation/ABI/testing/sysfs-devices-system-cpu, smt/control",
        look=siblings,
    ),
    Check(
        id="idle-states",
        asks=f"idle states that take more than {DEEP_US} us to leave",
        effect="a receiver, or a sender that waits, wakes up later by that much",
        source="Documentation/admin-guide/pm/cpuidle.rst",
        look=idle,
    ),
    Check(
        id="clock",
        asks="the clocksource, and the device that fires the timers",
        effect="reading it is a system call or a slow register, which latency=on and "
        "short slices pay for",
        source="vdso(7); Documentation/timers/timekeeping.rst",
        look=clock,
    ),
    Check(
        id="isolation",
        asks="isolcpus and nohz_full of the sender's CPU",
        effect="other tasks and the tick interrupt the sender; paired blocks take most "
        "of that out",
        source="Documentation/admin-guide/kernel-parameters.txt, isolcpus, nohz_full",
        look=isolation,
    ),
    Check(
        id="mitigations",
        asks="what the kernel does about the CPU's vulnerabilities",
        effect="adds to the cost of each system call, in all arms, and so makes "
        "percents smaller; gains differ between machines by it",
        source="Documentation/admin-guide/hw-vuln/index.rst",
        look=mitigations,
    ),
    Check(
        id="machine",
        asks="whether this is a virtual machine",
        effect="the host's load, clocks, siblings and IOMMU are not told to a guest",
        source="CPUID leaf 1, ECX bit 31, as X86_FEATURE_HYPERVISOR",
        look=machine,
    ),
)
