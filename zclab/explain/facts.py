"""What a run recorded about its machine, as tables with the reason for each fact.

Any fact may be absent: it is then left out of the tables, and never guessed.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from zclab import preflight
from zclab.packet import payload_bytes
from zclab.params import UDP_MAX_BYTES, Protocol
from zclab.store import Run

# Where a fact is found in host-before.json, its name in tables, and why it is shown.
MACHINE: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("kernel", "release"), "kernel", "SEND_ZC changed in 6.1, 6.2, 6.10 and 6.12"),
    (
        ("kernel", "cmdline"),
        "boot parameters",
        "of those that bear on a measurement; no others are kept",
    ),
    (("machine",), "architecture", "cost of a copy and of a system call"),
    (("cpu", "model"), "CPU", "cost of a copy and of a system call"),
    (("cpu", "family"), "CPU family", "with the next two: CPUs of one name differ"),
    (("cpu", "model_number"), "CPU model number", ""),
    (("cpu", "stepping"), "CPU stepping", ""),
    (("cpu", "online"), "CPUs online", "with one, sender and receiver share it"),
    (("cgroup", "cpu_limit"), "CPU quota", "beyond it everything is held up"),
    (("cpu", "smt"), "SMT active", "a busy sibling takes part of the core"),
    (("cpu", "governor"), "governor", "a clock that moves widens every interval"),
    (("cpu", "boost"), "boost", "a clock that heat may lower at any time"),
    (("cpu", "caches"), "caches", "whether what is sent over and over fits one"),
    (("numa", "nodes"), "NUMA nodes", "memory of another node is farther away"),
    (("hypervisor",), "hypervisor", "stolen time; in a guest no hardware counters"),
    (("container",), "container", "a host of its own has other limits"),
    (("memory_bytes",), "memory", ""),
    (("page_bytes",), "page", "a registered buffer is pinned page by page"),
    (("thp", "enabled"), "huge pages", "fewer fragments in each packet"),
    (
        ("iommu", "groups"),
        "IOMMU groups",
        "if any, a card maps each packet, and zerocopy each of its pages",
    ),
    (("clocksource",), "clock source", "what reading the clock costs"),
    (("load_1m",), "load before", "other work on the machine"),
    (
        ("limits", "memlock_bytes"),
        "locked memory",
        "unregistered zerocopy buffers are charged to it until notified",
    ),
    (
        ("sysctl", "net.core.wmem_max"),
        "net.core.wmem_max",
        "caps the send buffer, so the requests in flight",
    ),
)

SOFTWARE: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("software", "zclab"), "zclab", ""),
    (("software", "commit"), "commit", "the code that measured"),
    (("software", "dirty"), "uncommitted changes", "if so, the commit is not the code"),
    (("software", "remote"), "remote", "where that commit is"),
    (("software", "liburing"), "liburing", "headers of the send loop"),
    (("software", "compiler"), "compiler", "of the send loop"),
    (("software", "python"), "Python", "not in the timed part"),
    (("sender", "ring_flags"), "ring flags", "how completions reach the sender"),
    (
        ("sender", "sndbuf_bytes"),
        "SO_SNDBUF",
        "as granted: twice what was asked",
    ),
    (("sender", "report_usage"), "REPORT_USAGE", "asks the kernel if it copied"),
)

_IN_BYTES = ("bytes", "memory", "mem_max", "mem_default")
PATH_COLUMNS = ("device", "kind", "rung", "mtu", "qdisc", "receiver", "packet_taps")


def lookup(host: Mapping[str, Any], *keys: str) -> Any:
    """Return the fact at a chain of keys, None when it was not recorded."""
    found: Any = host
    for key in keys:
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found


def readable(name: str, value: Any) -> str:
    """Return a fact as people read it."""
    if isinstance(value, bool) or name == "smt":
        return "yes" if value not in (False, "0") else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key} {readable('bytes', each)}" for key, each in value.items()
        )
    if name == "memlock_bytes" and value == -1:
        return "unlimited"
    if isinstance(value, int) and name.endswith(_IN_BYTES):
        return _bytes_text(value)
    return str(value)


def _bytes_text(value: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value} B"


def machine(run: Run) -> pd.DataFrame:
    """Return the facts of the machine: fact, value, why it bears on the result."""
    return _table(run.host, MACHINE)


def peer(run: Run) -> pd.DataFrame:
    """Return the facts of the host that received, likewise; empty without one."""
    return _table(lookup(run.host, "peer") or {}, MACHINE)


def software(run: Run) -> pd.DataFrame:
    """Return what measured: fact, value, why it bears on the result."""
    return _table(run.host, SOFTWARE)


def _table(
    host: Mapping[str, Any], wanted: tuple[tuple[tuple[str, ...], str, str], ...]
) -> pd.DataFrame:
    rows = [
        {"fact": name, "value": readable(keys[-1], value), "why it matters": why}
        for keys, name, why in wanted
        if (value := lookup(host, *keys)) not in (None, [], {})
    ]
    return pd.DataFrame(rows, columns=["fact", "value", "why it matters"])


def mitigations(run: Run) -> dict[str, str]:
    """Return the CPU mitigations that are active, by vulnerability."""
    found = lookup(run.host, "cpu", "mitigations") or {}
    return {
        name: str(text)
        for name, text in found.items()
        if str(text) not in ("Not affected", "")
    }


def paths(run: Run) -> pd.DataFrame:
    """Return one row per path: its device and what on it decides about copies."""
    rows = []
    for name, entry in (lookup(run.host, "paths") or {}).items():
        row = {"path": name}
        for key in PATH_COLUMNS:
            if key in entry:
                row[key.replace("_", " ")] = readable(key, _named(key, entry[key]))
        if controls := preflight.controls(entry):
            row["congestion control"] = ", ".join(dict.fromkeys(controls.values()))
        if isinstance(entry.get("mtu"), int):
            fits = (payload_bytes(entry["mtu"], v, Protocol.UDP) for v in (4, 6))
            row["one packet up to (UDP, IPv4 / IPv6)"] = " / ".join(
                f"{min(size, UDP_MAX_BYTES)} B" for size in fits
            )
        if "leaves_out" in entry:
            row["leaves out"] = entry["leaves_out"]
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def _named(key: str, value: Any) -> Any:
    if key == "packet_taps":
        return "unknown" if value is None else value
    return value or "none"
