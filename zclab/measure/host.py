"""Facts of the host, each read where the kernel keeps it.

What each is, and that nothing names the machine or its owner, is in
`zclab.hostfacts`. What cannot be read is null or left out, and never guessed. The
alias is a few digits of a hash.
"""

import gzip
import hashlib
import os
import platform
import re
import resource
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from zclab import checkout, hostfacts
from zclab.uring import probe

# What bears on zerocopy or on the noise of a measurement of it.
SYSCTLS = (
    "kernel.bpf_stats_enabled",
    "kernel.io_uring_disabled",
    "kernel.nmi_watchdog",
    "kernel.numa_balancing",
    "kernel.randomize_va_space",
    "kernel.sched_autogroup_enabled",
    "net.core.bpf_jit_enable",
    "net.core.bpf_jit_harden",
    "net.core.busy_poll",
    "net.core.busy_read",
    "net.core.default_qdisc",
    "net.core.netdev_budget",
    "net.core.netdev_max_backlog",
    "net.core.optmem_max",
    "net.core.rmem_default",
    "net.core.rmem_max",
    "net.core.wmem_default",
    "net.core.wmem_max",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_sack",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_wmem",
)

# Boot parameters, likewise: these and no others are told, as a command line may hold
# anything. Source: Documentation/admin-guide/kernel-parameters.txt.
PARAMETERS = frozenset(
    {
        "amd_iommu",
        "amd_pstate",
        "clocksource",
        "cpuidle.off",
        "gather_data_sampling",
        "hugepages",
        "hugepagesz",
        "idle",
        "intel_idle.max_cstate",
        "intel_iommu",
        "intel_pstate",
        "iommu",
        "iommu.passthrough",
        "iommu.strict",
        "irqaffinity",
        "isolcpus",
        "kpti",
        "l1tf",
        "mds",
        "mem",
        "maxcpus",
        "mitigations",
        "nohz",
        "nohz_full",
        "nopti",
        "nosmt",
        "nospectre_v1",
        "nospectre_v2",
        "nr_cpus",
        "preempt",
        "processor.max_cstate",
        "pti",
        "rcu_nocbs",
        "retbleed",
        "skew_tick",
        "spec_rstack_overflow",
        "spec_store_bypass_disable",
        "spectre_v2",
        "swiotlb",
        "threadirqs",
        "transparent_hugepage",
        "tsc",
    }
)

# Build options, likewise, without their CONFIG_.
CONFIG = (
    "BPF_JIT_ALWAYS_ON",
    "DEBUG_NET",
    "HZ",
    "KASAN",
    "LOCKDEP",
    "MAX_SKB_FRAGS",
    "MITIGATION_PAGE_TABLE_ISOLATION",
    "MITIGATION_RETPOLINE",
    "MITIGATION_SRSO",
    "NO_HZ_FULL",
    "PAGE_TABLE_ISOLATION",  # before 6.9
    "PREEMPT",
    "PREEMPT_DYNAMIC",
    "PREEMPT_NONE",
    "PREEMPT_RT",
    "PREEMPT_VOLUNTARY",
    "RETPOLINE",  # before 6.9
    "SLUB_DEBUG_ON",
)

_CPUS = "sys/devices/system/cpu"
_CLOCKSOURCE = "sys/devices/system/clocksource/clocksource0/current_clocksource"
_PID1_CONTAINERS = {"docker": "docker", "lxc": "lxc", "kubepods": "kubernetes"}


class Tree:
    """The files of a host, from a root on: the real one, or one made by a test."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def text(self, path: str) -> str | None:
        """Return a file's text without white space at its ends, None if unreadable."""
        try:
            return (self.root / path).read_text(errors="replace").strip()
        except OSError:
            return None

    def number(self, path: str) -> int | None:
        """Return the integer that a file consists of, None if there is none."""
        found = re.fullmatch(r"-?\d+", self.text(path) or "")
        return int(found[0]) if found else None

    def names(self, path: str) -> list[str]:
        """Return the names in a folder, in order; none if there is no such folder."""
        try:
            return sorted(entry.name for entry in (self.root / path).iterdir())
        except OSError:
            return []

    def chosen(self, path: str) -> str | None:
        """Return the word that a file has in brackets: `always [madvise] never`."""
        found = re.search(r"\[([^\]]*)\]", self.text(path) or "")
        return found[1] if found else None

    def fields(self, path: str) -> dict[str, str]:
        """Return the first value of each name in lines of `name : value`."""
        found: dict[str, str] = {}
        for line in (self.text(path) or "").splitlines():
            name, colon, value = line.partition(":")
            if colon:
                found.setdefault(name.strip(), value.strip())
        return found


_HERE = Tree()


def alias() -> str:
    """Return the name under which runs of this host are stored.

    It is $ZCLAB_HOST_ALIAS, else `host-` and four hex digits hashed from the
    machine id, which is not itself told.
    """
    named = os.environ.get("ZCLAB_HOST_ALIAS", "")
    if named:
        return "".join(c if c.isalnum() or c in "-_" else "-" for c in named)
    seed = _HERE.text("etc/machine-id") or platform.node()
    return "host-" + hashlib.sha256(f"zclab {seed}".encode()).hexdigest()[:4]


def cpus() -> tuple[int, int]:
    """Return (sender's CPU, receiver's CPU): apart where two may be used.

    The sender takes the last allowed CPU, as the first serves most interrupts.
    """
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[-1], allowed[0]


def _kernel(tree: Tree) -> dict[str, Any]:
    names = os.uname()
    said = (tree.text("proc/cmdline") or "").split()
    return {
        "release": names.release,
        "version": names.version,
        # What follows `--` is for the first process, not for the kernel.
        "cmdline": [
            word
            for word in said[: said.index("--") if "--" in said else None]
            if word.partition("=")[0].replace("-", "_") in PARAMETERS
        ],
        "config": _config(tree, names.release),
        "tainted": tree.number("proc/sys/kernel/tainted"),
    }


def _config(tree: Tree, release: str) -> dict[str, Any]:
    """Return build options, null where not set; nothing where the file is missing."""
    try:
        text = gzip.decompress((tree.root / "proc/config.gz").read_bytes()).decode()
    except (OSError, ValueError, EOFError):
        text = tree.text(f"boot/config-{release}") or ""
    found = dict(re.findall(r"^CONFIG_(\w+)=(.*)$", text, re.MULTILINE))
    unset = set(re.findall(r"^# CONFIG_(\w+) is not set$", text, re.MULTILINE))
    told: dict[str, Any] = {}
    for name in CONFIG:
        if name in found:
            value = found[name].strip('"')
            told[name] = int(value) if value.isdigit() else value
        elif name in unset:
            told[name] = None
    return told


def _cpu(tree: Tree) -> dict[str, Any]:
    first = tree.fields("proc/cpuinfo")
    sender = cpus()[0]
    mine = f"{_CPUS}/cpu{sender}"
    mitigations = {
        name: tree.text(f"{_CPUS}/vulnerabilities/{name}")
        for name in tree.names(f"{_CPUS}/vulnerabilities")
    }
    return {
        "model": first.get("model name") or platform.machine(),
        "family": _number(first.get("cpu family")),
        "model_number": _number(first.get("model")),
        "stepping": _number(first.get("stepping")),
        "microcode": first.get("microcode"),
        "online": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)),
        "isolated": tree.text(f"{_CPUS}/isolated") or None,
        "nohz_full": _cpu_list(tree.text(f"{_CPUS}/nohz_full")),
        "sender_siblings": tree.text(f"{mine}/topology/thread_siblings_list"),
        "smt": tree.text(f"{_CPUS}/smt/active"),
        "governor": _governor(tree),
        "frequency_driver": tree.text(f"{mine}/cpufreq/scaling_driver"),
        "boost": _boost(tree),
        "min_khz": tree.number(f"{mine}/cpufreq/scaling_min_freq"),
        "max_khz": tree.number(f"{mine}/cpufreq/scaling_max_freq"),
        "now_khz": _now_khz(tree, sender),
        "idle_driver": tree.text(f"{_CPUS}/cpuidle/current_driver"),
        "idle_governor": tree.text(f"{_CPUS}/cpuidle/current_governor"),
        "throttled": _throttled(tree),
        "caches": dict(_caches(tree, mine)),
        "mitigations": {
            name: text
            for name, text in mitigations.items()
            if text and text != "Not affected"
        },
    }


def _number(text: str | None) -> int | None:
    """Return a text as a number, None where it is none: stepping may be unknown."""
    return int(text) if text and text.isdecimal() else None


def _cpu_list(text: str | None) -> str | None:
    return None if text in (None, "", "(null)") else text


def _each_cpu(tree: Tree) -> list[str]:
    return [name for name in tree.names(_CPUS) if re.fullmatch(r"cpu\d+", name)]


def _governor(tree: Tree) -> str | None:
    """Return the governor; of all CPUs where they differ, with + between them."""
    found = {
        text
        for name in _each_cpu(tree)
        if (text := tree.text(f"{_CPUS}/{name}/cpufreq/scaling_governor"))
    }
    return "+".join(sorted(found)) or None


def _boost(tree: Tree) -> bool | None:
    """Return whether the clock may exceed its nominal, None where nobody says.

    Source: Documentation/admin-guide/pm/cpufreq.rst, intel_pstate.rst.
    """
    if (boost := tree.number(f"{_CPUS}/cpufreq/boost")) is not None:
        return bool(boost)
    if (none := tree.number(f"{_CPUS}/intel_pstate/no_turbo")) is not None:
        return not none
    return None


def _now_khz(tree: Tree, cpu: int) -> int | None:
    """Return the clock of a CPU now; in a guest it is what the host once told."""
    told = tree.number(f"{_CPUS}/cpu{cpu}/cpufreq/scaling_cur_freq")
    if told is not None:
        return told
    for block in (tree.text("proc/cpuinfo") or "").split("\n\n"):
        if re.search(rf"^processor\s*:\s*{cpu}$", block, re.MULTILINE):
            found = re.search(r"^cpu MHz\s*:\s*([\d.]+)$", block, re.MULTILINE)
            return round(float(found[1]) * 1000) if found else None
    return None


def _throttled(tree: Tree) -> int | None:
    counts = [
        count
        for name in _each_cpu(tree)
        for kind in ("core", "package")
        if (
            count := tree.number(
                f"{_CPUS}/{name}/thermal_throttle/{kind}_throttle_count"
            )
        )
        is not None
    ]
    return sum(counts) if counts else None


_SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _caches(tree: Tree, cpu: str) -> Iterator[tuple[str, int]]:
    """Yield name and size in bytes of the caches that a CPU reaches: L1d, L1i, L2."""
    for index in tree.names(f"{cpu}/cache"):
        here = f"{cpu}/cache/{index}"
        kind = {"Data": "d", "Instruction": "i"}.get(
            tree.text(f"{here}/type") or "", ""
        )
        size = re.fullmatch(r"(\d+)([KMG]?)", tree.text(f"{here}/size") or "")
        level = tree.number(f"{here}/level")
        if size and level:
            yield f"L{level}{kind}", int(size[1]) * _SIZES.get(size[2], 1)


def _hypervisor(tree: Tree) -> str | None:
    if "hypervisor" not in tree.fields("proc/cpuinfo").get("flags", "").split():
        return None
    return tree.text("sys/class/dmi/id/sys_vendor") or "unnamed"


def _container(tree: Tree) -> str:
    """Return the kind of container that this is, as far as one says so.

    Source: https://systemd.io/CONTAINER_INTERFACE (files and $container).
    """
    for path in ("run/systemd/container", "run/host/container-manager"):
        if named := tree.text(path):
            return named
    if (tree.root / ".dockerenv").exists():
        return "docker"
    if (tree.root / "run/.containerenv").exists():
        return "podman"
    mine = tree.text("proc/1/cgroup") or ""
    found = (kind for word, kind in _PID1_CONTAINERS.items() if word in mine)
    return next(found, "none seen")


def _memory_bytes(tree: Tree) -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _available_bytes(tree: Tree) -> int | None:
    found = re.match(r"\d+", tree.fields("proc/meminfo").get("MemAvailable", ""))
    return int(found[0]) * 1024 if found else None


def _sysctls(tree: Tree) -> dict[str, Any]:
    found = {name: tree.text(f"proc/sys/{name.replace('.', '/')}") for name in SYSCTLS}
    return {
        name: int(text) if text.isdigit() else text
        for name, text in found.items()
        if text is not None
    }


def _software(tree: Tree) -> dict[str, Any]:
    code = checkout.code()
    return {
        "zclab": code["version"],
        "commit": code["commit"],
        "dirty": code["dirty"],
        "remote": checkout.remote(),
        "python": platform.python_version(),
        "liburing": probe.liburing_version(),
        "compiler": probe.compiler(),
        "cpu_time": "exact",  # see usage_now in uring/sender.c
    }


def _memlock_bytes() -> int:
    """Return the locked-memory limit that a run gets: the hard one; -1: none."""
    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]


def _thp(tree: Tree) -> dict[str, Any]:
    here = "sys/kernel/mm/transparent_hugepage"
    return {
        "enabled": tree.chosen(f"{here}/enabled"),
        "defrag": tree.chosen(f"{here}/defrag"),
        "page_bytes": tree.number(f"{here}/hpage_pmd_size"),
    }


def _numa(tree: Tree) -> dict[str, Any]:
    here = "sys/devices/system/node"
    nodes = [name for name in tree.names(here) if re.fullmatch(r"node\d+", name)]
    mine = f"cpu{cpus()[0]}"
    sender = [name for name in nodes if mine in tree.names(f"{here}/{name}")]
    return {
        "nodes": len(nodes) or None,
        "sender": int(sender[0].removeprefix("node")) if sender else None,
    }


def _iommu(tree: Tree) -> dict[str, Any]:
    """Return how many groups of devices an IOMMU has, and how it maps for them.

    Source: Documentation/ABI/testing/sysfs-kernel-iommu_groups.
    """
    here = "sys/kernel/iommu_groups"
    groups = tree.names(here)
    known = (tree.root / here).is_dir()
    kinds = {tree.text(f"{here}/{group}/type") for group in groups}
    return {
        "groups": len(groups) if known else None,
        "domains": sorted(filter(None, kinds)),
    }


def _lsm(tree: Tree) -> list[str] | None:
    text = tree.text("sys/kernel/security/lsm")
    return None if text is None else [name for name in text.split(",") if name]


def _cgroup(tree: Tree) -> dict[str, Any]:
    """Return the narrowest CPU quota above this process, and how often it was held up.

    Source: Documentation/admin-guide/cgroup-v2.rst; for version 1 sched-bwc.rst.
    """
    limits, throttled = [], None
    for folder in _cgroups(tree):
        quota, _, period = (tree.text(f"{folder}/cpu.max") or "").partition(" ")
        if not period:
            quota = str(tree.number(f"{folder}/cpu.cfs_quota_us") or "max")
            period = str(tree.number(f"{folder}/cpu.cfs_period_us") or "")
        if quota.isdigit() and period.isdigit():
            limits.append(int(quota) / int(period))
        stat = dict(
            line.split(maxsplit=1)
            for line in (tree.text(f"{folder}/cpu.stat") or "").splitlines()
            if " " in line
        )
        if "nr_throttled" in stat:
            throttled = (throttled or 0) + int(stat["nr_throttled"])
    return {
        "cpu_limit": round(min(limits), 3) if limits else None,
        "throttled": throttled,
    }


def _cgroups(tree: Tree) -> list[str]:
    """Return the folders of this process's CPU controller, from its own upwards."""
    found = []
    for line in (tree.text("proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            mounts = ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        elif "cpu" in controllers.split(","):
            mounts = [f"sys/fs/cgroup/{name}" for name in (controllers, "cpu")]
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in dict.fromkeys(mounts):
            found += [
                "/".join([mount, *parts[:deep]]) for deep in range(len(parts), -1, -1)
            ]
    return found


def _packet_taps(tree: Tree) -> int | None:
    """Return how many AF_PACKET sockets see all protocols (packet(7), ETH_P_ALL)."""
    text = tree.text("proc/self/net/packet")
    if text is None:
        return None
    return sum(line.split()[3] == "0003" for line in text.splitlines()[1:])


def _tracing(tree: Tree) -> dict[str, Any]:
    """Return what hooks kernel functions, as far as tracefs is mounted and readable.

    Source: Documentation/trace/ftrace.rst (enabled_functions, current_tracer).
    """
    for here in ("sys/kernel/tracing", "sys/kernel/debug/tracing"):
        hooked = tree.text(f"{here}/enabled_functions")
        if hooked is not None:
            return {
                "functions": len(hooked.splitlines()),
                "tracer": tree.text(f"{here}/current_tracer"),
            }
    return {"functions": None, "tracer": None}


def _irqbalance(tree: Tree) -> bool | None:
    found = [
        tree.text(f"proc/{pid}/comm") for pid in tree.names("proc") if pid.isdigit()
    ]
    return "irqbalance" in found if found else None


def _ticks(column: int, tree: Tree = _HERE) -> dict[str, int]:
    """Return one column of /proc/stat, by its first word: cpu, cpu0 ... (proc(5))."""
    lines = (tree.text("proc/stat") or "").splitlines()
    rows = (line.split() for line in lines if line.startswith("cpu"))
    return {row[0]: int(row[column]) for row in rows if len(row) > column}


def softirq_ns(cpus: Iterable[int]) -> tuple[int, ...]:
    """Return the softirq time of each of `cpus` since boot, in ns.

    The kernel counts it in ticks of 10 ms, so only sums over many slices mean
    something.
    """
    ticks = _ticks(7)
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return tuple(ticks.get(f"cpu{cpu}", 0) * tick_ns for cpu in cpus)


_COLLECTORS: dict[str, Callable[[Tree], Any]] = {
    "alias": lambda tree: alias(),
    "kernel": _kernel,
    "machine": lambda tree: platform.machine(),
    "cpu": _cpu,
    "hypervisor": _hypervisor,
    "container": _container,
    "hardware_counters": lambda tree: any(
        name.startswith(("cpu", "armv"))
        for name in tree.names("sys/bus/event_source/devices")
    ),
    "page_bytes": lambda tree: os.sysconf("SC_PAGE_SIZE"),
    "memory_bytes": _memory_bytes,
    "memory_available_bytes": _available_bytes,
    "limits": lambda tree: {"memlock_bytes": _memlock_bytes()},
    "sysctl": _sysctls,
    "thp": _thp,
    "numa": _numa,
    "iommu": _iommu,
    "lockdown": lambda tree: tree.chosen("sys/kernel/security/lockdown"),
    "lsm": _lsm,
    "cgroup": _cgroup,
    "packet_taps": _packet_taps,
    "tracing": _tracing,
    "irqbalance": _irqbalance,
    "software": _software,
    "load_1m": lambda tree: round(os.getloadavg()[0], 2),
    "steal_ticks": lambda tree: _ticks(8, tree).get("cpu", 0),
    "uptime_s": lambda tree: int(float((tree.text("proc/uptime") or "0").split()[0])),
    "clocksource": lambda tree: tree.text(_CLOCKSOURCE),
}


def facts(*, without: Iterable[str] = (), root: Path = Path("/")) -> dict[str, Any]:
    """Return everything that bears on a measurement; JSON values only.

    Args:
        without: facts to leave out, by their first key; `software` is the only one
            that starts a program (git).
        root: where /proc, /sys and the like are; another one in tests.

    """
    tree = Tree(root)
    left_out = frozenset(without)
    return hostfacts.public(
        {
            name: collect(tree)
            for name, collect in _COLLECTORS.items()
            if name not in left_out
        }
    )
