"""Facts of the host, each read where the kernel keeps it; absent ones are left out.

Nothing that names the machine or its owner is told: no hostname, no address, no
serial number. The alias is a few digits of a hash.
"""

import hashlib
import os
import platform
import resource
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from zclab import checkout
from zclab.uring import probe

# What bears on zerocopy or on the noise of a measurement of it.
SYSCTLS = (
    "kernel.io_uring_disabled",
    "net.core.netdev_max_backlog",
    "net.core.optmem_max",
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.ipv4.tcp_wmem",
)


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def alias() -> str:
    """Return the name under which runs of this host are stored.

    It is $ZCLAB_HOST_ALIAS, else `host-` and four hex digits hashed from the
    machine id, which is not itself told.
    """
    named = os.environ.get("ZCLAB_HOST_ALIAS", "")
    if named:
        return "".join(c if c.isalnum() or c in "-_" else "-" for c in named)
    seed = _text("/etc/machine-id") or platform.node()
    return "host-" + hashlib.sha256(f"zclab {seed}".encode()).hexdigest()[:4]


def cpus() -> tuple[int, int]:
    """Return (sender's CPU, receiver's CPU): apart where two may be used.

    The sender takes the last allowed CPU, as the first serves most interrupts.
    """
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[-1], allowed[0]


def _cpu() -> dict[str, Any]:
    model = None
    for line in (_text("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    folder = Path("/sys/devices/system/cpu/vulnerabilities")
    mitigations = {
        path.name: _text(str(path))
        for path in (sorted(folder.iterdir()) if folder.is_dir() else ())
    }
    return {
        "model": model or platform.machine(),
        "online": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)),
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "smt": _text("/sys/devices/system/cpu/smt/active"),
        "mitigations": {
            name: text
            for name, text in mitigations.items()
            if text and text != "Not affected"
        },
    }


def _hypervisor() -> str | None:
    for line in (_text("/proc/cpuinfo") or "").splitlines():
        if line.startswith("flags"):
            if "hypervisor" not in line.split():
                return None
            return _text("/sys/class/dmi/id/sys_vendor") or "unnamed"
    return None


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _sysctls() -> dict[str, Any]:
    found = {name: _text(f"/proc/sys/{name.replace('.', '/')}") for name in SYSCTLS}
    return {
        name: int(text) if text.isdigit() else text
        for name, text in found.items()
        if text is not None
    }


def _software() -> dict[str, Any]:
    code = checkout.code()
    return {
        "zclab": code["version"],
        "commit": code["commit"],
        "dirty": code["dirty"],
        "python": platform.python_version(),
        "liburing": probe.liburing_version(),
        "compiler": probe.compiler(),
    }


def _memlock_bytes() -> int:
    """Return the locked-memory limit that a run gets: the hard one; -1: none."""
    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]


def _ticks(column: int) -> dict[str, int]:
    """Return one column of /proc/stat, by its first word: cpu, cpu0 ... (proc(5))."""
    lines = (_text("/proc/stat") or "").splitlines()
    rows = (line.split() for line in lines if line.startswith("cpu"))
    return {row[0]: int(row[column]) for row in rows if len(row) > column}


def _steal_ticks() -> int:
    """Return the ticks the hypervisor took from all CPUs since boot."""
    return _ticks(8).get("cpu", 0)


def softirq_ns(cpus: Iterable[int]) -> tuple[int, ...]:
    """Return the softirq time of each of `cpus` since boot, in ns.

    The kernel counts it in ticks of 10 ms, so only sums over many slices mean
    something.
    """
    ticks = _ticks(7)
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return tuple(ticks.get(f"cpu{cpu}", 0) * tick_ns for cpu in cpus)


_COLLECTORS: dict[str, Callable[[], Any]] = {
    "alias": alias,
    "kernel": lambda: {"release": os.uname().release, "version": os.uname().version},
    "machine": platform.machine,
    "cpu": _cpu,
    "hypervisor": _hypervisor,
    "memory_bytes": _memory_bytes,
    "limits": lambda: {"memlock_bytes": _memlock_bytes()},
    "sysctl": _sysctls,
    "software": _software,
    "load_1m": lambda: round(os.getloadavg()[0], 2),
    "steal_ticks": _steal_ticks,
    "uptime_s": lambda: int(float((_text("/proc/uptime") or "0").split()[0])),
    "clocksource": lambda: _text(
        "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    ),
}


def facts() -> dict[str, Any]:
    """Return everything that bears on a measurement; JSON values only."""
    return {name: collect() for name, collect in _COLLECTORS.items()}
