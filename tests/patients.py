"""A made-up machine for the doctor: healthy in everything, until a test changes it."""

import gzip
import shutil
from dataclasses import replace
from pathlib import Path

from zclab import options as opts
from zclab.doctor.device import FEATURES, Device
from zclab.doctor.patient import Patient
from zclab.doctor.tree import Tree
from zclab.doctor.watch import Look, between, look
from zclab.measure import profile
from zclab.params import Path as Way
from zclab.params import Plan, Point, Protocol
from zclab.uring.probe import Support

CPU = "/sys/devices/system/cpu"
CLOCK = "/sys/devices/system/clocksource/clocksource0"
PACKET = "sk RefCnt Type Proto  Iface R Rmem   User   Inode\n"
TAP = "0000 3      3    0003   {device}     1 0      0      {inode}\n"
PID = 77

_STAT = (
    "{pid} ({name}) S 2 0 0 0 -1 {flags} 0 0 0 0 {user} {system} 0 0 20 0 1 0 {start}"
)

FILES = {
    "/proc/sys/kernel/io_uring_disabled": "0",
    "/proc/sys/kernel/io_uring_group": "-1",
    "/proc/sys/user/max_user_namespaces": "96365",
    "/proc/sys/user/max_net_namespaces": "96365",
    "/proc/sys/kernel/bpf_stats_enabled": "0",
    "/proc/sys/kernel/numa_balancing": "0",
    "/proc/sys/net/core/optmem_max": "131072",
    "/proc/sys/net/core/wmem_max": "4194304",
    "/proc/sys/net/core/wmem_default": "212992",
    "/proc/sys/net/core/rmem_max": "4194304",
    "/proc/sys/net/ipv4/tcp_congestion_control": "cubic",
    "/proc/net/packet": PACKET,
    "/proc/kallsyms": "0000000000000000 T _text\n",
    "/proc/cmdline": "quiet",
    "/proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu sse2\n",
    "/proc/loadavg": "0.01 0.02 0.03 1/100 999",
    "/proc/meminfo": (
        "MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n"
        "SwapTotal: 100 kB\nSwapFree: 100 kB\n"
    ),
    "/proc/interrupts": "     CPU0 CPU1\n 30:  5  0  PCI-MSI 1-edge  zeta-rx\n",
    "/proc/stat": (
        "cpu  10 0 10 1000 0 0 0 0 0 0\ncpu0 5 0 5 500 0 0 0 0 0 0\n"
        "cpu1 5 0 5 500 0 0 0 0 0 0\n"
    ),
    f"/proc/{PID}/status": "Name:\tzclab\nSeccomp:\t0\nSeccomp_filters:\t0\n",
    f"/proc/{PID}/cgroup": "0::/user.slice\n",
    f"/proc/{PID}/stat": _STAT.format(
        pid=PID, name="zclab", flags=0, user=1, system=1, start=5
    ),
    f"/proc/{PID}/fd/0": "",
    "/proc/irq/30/effective_affinity_list": "0",
    "/proc/irq/30/smp_affinity_list": "0-1",
    "/proc/irq/30/zeta-rx/.keep": "",
    "/sys/fs/cgroup/user.slice/cpu.max": "max 100000",
    "/sys/kernel/security/lsm": "capability,landlock",
    "/sys/kernel/tracing/current_tracer": "nop",
    "/sys/kernel/tracing/enabled_functions": "",
    "/sys/kernel/tracing/kprobe_events": "",
    "/sys/kernel/tracing/set_event": "",
    "/sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
    "/sys/kernel/iommu_groups/3/type": "identity",
    "/sys/class/iommu/dmar0/.keep": "",
    "/sys/class/net/zeta/ifindex": "2",
    "/sys/class/net/zeta/queues/rx-0/rps_cpus": "0",
    "/sys/class/net/zeta/queues/tx-0/.keep": "",
    "/sys/class/net/zeta/queues/tx-1/.keep": "",
    "/sys/devices/pci0/card/msi_irqs/30": "msix",
    "/sys/devices/pci0/card/numa_node": "0",
    f"{CPU}/online": "0-1",
    f"{CPU}/isolated": "1",
    f"{CPU}/nohz_full": "1",
    f"{CPU}/smt/control": "off",
    f"{CPU}/intel_pstate/no_turbo": "1",
    f"{CPU}/vulnerabilities/meltdown": "Not affected",
    f"{CLOCK}/current_clocksource": "tsc",
    f"{CLOCK}/available_clocksource": "tsc hpet",
    "/sys/devices/system/clockevents/clockevent0/current_device": "lapic-deadline",
    "/sys/devices/system/node/node0/.keep": "",
    "/sys/devices/system/node/node1/.keep": "",
    "/sys/class/dmi/id/sys_vendor": "Zeta",
}
for _cpu in (0, 1):
    FILES |= {
        f"{CPU}/cpu{_cpu}/cpufreq/scaling_governor": "performance",
        f"{CPU}/cpu{_cpu}/cpufreq/scaling_available_governors": "performance powersave",
        f"{CPU}/cpu{_cpu}/cpufreq/scaling_min_freq": "800000",
        f"{CPU}/cpu{_cpu}/cpufreq/scaling_max_freq": "3000000",
        f"{CPU}/cpu{_cpu}/cpufreq/cpuinfo_max_freq": "3000000",
        f"{CPU}/cpu{_cpu}/cpufreq/scaling_cur_freq": "2900000",
        f"{CPU}/cpu{_cpu}/topology/thread_siblings_list": f"{_cpu}",
        f"{CPU}/cpu{_cpu}/cpuidle/state0/name": "POLL",
        f"{CPU}/cpu{_cpu}/cpuidle/state0/latency": "0",
        f"{CPU}/cpu{_cpu}/cpuidle/state0/disable": "0",
        f"{CPU}/cpu{_cpu}/node0/.keep": "",
    }
CONFIG = "CONFIG_NET=y\n"

DEVICE = Device(
    name="zeta",
    index=2,
    kind="hardware",
    mtu=9000,
    mtu_max=9600,
    up=True,
    qdisc="mq",
    xdp="",
    filters={},
    tcx={},
    features=dict.fromkeys(FEATURES, True),
)


def plan(
    *,
    size: int = 1200,
    modes: tuple[str, ...] = ("send", "send_zc"),
    options: str = "",
) -> Plan:
    """Return a plan of one point over veth."""
    point = Point(
        path=Way.VETH,
        protocol=Protocol.UDP,
        family=4,
        io_size_bytes=size,
        batch=8,
        modes=modes,
        given=opts.parse(options),
    )
    return replace(profile.custom((point,), seed=1), profile="made-up")


def build(root: Path) -> Path:
    """Write the healthy machine below a folder; return the folder."""
    for name, text in FILES.items():
        write(root, name, text)
    (root / "proc/config.gz").write_bytes(gzip.compress(CONFIG.encode()))
    link(root, "/sys/class/net/zeta/device", "../../../devices/pci0/card")
    link(root, "/sys/devices/pci0/card/iommu_group", "../../../kernel/iommu_groups/3")
    return root


def write(root: Path, name: str, text: str | None) -> None:
    """Give a file another text; with None it is taken away, a folder as a whole."""
    path = root / name.lstrip("/")
    if text is None:
        if path.is_symlink() or path.is_file():
            path.unlink()
        else:
            shutil.rmtree(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n" if text and not text.endswith("\n") else text)


def link(root: Path, name: str, target: str) -> None:
    """Make a symbolic link, in place of what is there."""
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def process(root: Path, pid: int, name: str, *, ticks: int = 0, flags: int = 0) -> None:
    """Add a process that has used some ticks."""
    stat = _STAT.format(
        pid=pid, name=name, flags=flags, user=ticks, system=0, start=100 + pid
    )
    write(root, f"/proc/{pid}/stat", stat)
    write(root, f"/proc/{pid}/comm", name)


def has_all(_: object) -> None:
    """Have every mode, or every namespace."""


def patient(tree: Tree, first: Look | None = None, **changes: object) -> Patient:
    """Return the machine whose files are a tree's, watched for a second."""
    last = look(tree)
    if first is None:
        first = idle(last)
    values = {
        "tree": tree,
        "release": "6.18.1",
        "uid": 1000,
        "pid": PID,
        "sender": 1,
        "receiver": 0,
        "memlock_bytes": -1,
        "free_bytes": lambda: 1 << 40,
        "plan": plan(),
        "device": None,
        "watched": between(replace(first, at_s=last.at_s - 1), last),
        "support": lambda: Support(send_zc=True, report_usage=True, defer_taskrun=True),
        "mode": has_all,
        "namespaces": lambda: None,
    }
    return Patient(**{**values, **changes})


def idle(last: Look) -> Look:
    """Return how the machine looked a second before, if it did nothing since."""
    ticks = {
        name: (*row[:3], row[3] - 100, *row[4:]) if len(row) > 3 else row
        for name, row in last.ticks.items()
    }
    return replace(last, ticks=ticks)
