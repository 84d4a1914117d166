"""What a run recorded about its machine, as tables with the reason for each fact.

Any fact may be absent: it is then left out of the tables, and never guessed.
"""

import re
from collections.abc import Callable, Iterator, Mapping
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
    """Return what the kernel says of each vulnerability that the CPU has, by name."""
    found = lookup(run.host, "cpu", "mitigations") or {}
    return {
        name: str(text)
        for name, text in found.items()
        if str(text) not in ("Not affected", "")
    }


def mitigations_text(run: Run) -> str:
    """Return what is done against CPU vulnerabilities and costs something, in words.

    Like `retpolines, IBPB conditional, Safe RET (no microcode)`. A text that begins
    with Vulnerable may name one too: what is done, and what it lacks. Left out is what
    every x86 kernel has (barriers against spectre_v1, RSB filling), what the CPU does
    by itself, and what guards a hypervisor or a process that asks for it.

    Returns:
        The words; `none` where nothing of the kind is on; empty where no vulnerability
        is recorded, as that may be one of a kernel that tells none.

    Source: arch/x86/kernel/cpu/bugs.c, cpu_show_common() and what it calls.

    """
    states = mitigations(run)
    if not states:
        return ""
    words = (
        word
        for name in dict.fromkeys([*_CURES, *states])  # the order of _CURES
        for word in _CURES.get(name, _named_cure)(name, states.get(name, ""))
    )
    return ", ".join(dict.fromkeys(words)) or "none"


_NO_CURE = ("", "Vulnerable", "Not affected", "Unknown", "No microcode")
_LACKS = "no microcode"


def _split(text: str) -> tuple[str, list[str]]:
    """Return what is said first, and all else; before Linux 6.9 commas part it too."""
    said = re.sub(r"^(Mitigation|Vulnerable)(: ?|$)", "", text)
    first, *others = (part.strip() for part in re.split(r"[;,]", said))
    return first, others


def _plain(words: Mapping[str, str]) -> Callable[[str, str], Iterator[str]]:
    """Return what yields the words for the first key that a text begins with.

    Empty words are of what costs a sender nothing.
    """

    def cure(name: str, text: str) -> Iterator[str]:
        first, others = _split(text)
        word = next((words[key] for key in words if first.startswith(key)), "")
        if word:
            yield f"{word} ({_LACKS})" if _LACKS in others else word

    return cure


def _spectre_v2(name: str, text: str) -> Iterator[str]:
    first, others = _split(text)
    if first not in (*_NO_CURE, "CSV2"):
        yield "retpolines" if first == "Retpolines" else first
    for part in others:
        what, _, how = part.partition(": ")
        if what in ("IBPB", "STIBP") and how != "disabled":
            yield f"{what} {how}"
        elif what == "IBRS_FW":
            yield "IBRS in firmware calls"
        elif what == "BHI" and how.startswith(("SW loop", "BHI_DIS_S")):
            yield f"BHI {how}"
        elif what == "BHB":  # arm64
            yield "BHB"


def _named_cure(name: str, text: str) -> Iterator[str]:
    """Yield what is said first of a vulnerability that is not known here."""
    first, _ = _split(text)
    if text.startswith("Mitigation") and first not in _NO_CURE:
        yield f"{first} ({name})"


_NONE = _plain({})
_BUFFERS = _plain(
    {"Clear CPU buffers: VM": "", "Clear CPU buffers": "CPU buffers cleared"}
)

_CURES: dict[str, Callable[[str, str], Iterator[str]]] = {
    "spectre_v2": _spectre_v2,
    "meltdown": _plain({"PTI": "PTI"}),
    "retbleed": _plain(
        {
            "untrained return thunk": "untrained return thunk",
            "IBPB": "IBPB at entry",
            "Stuffing": "return stack stuffing",
            # IBRS, Enhanced IBRS: spectre_v2 has it already.
        }
    ),
    "spec_rstack_overflow": _plain(
        {
            "Safe RET": "Safe RET",
            "safe RET": "Safe RET",  # of older kernels
            "IBPB on VMEXIT": "",
            "IBPB": "IBPB at entry",
        }
    ),
    "indirect_target_selection": _plain(
        {
            "Aligned branch/return thunks": "aligned thunks (ITS)",
            "Retpolines": "return stack stuffing",
        }
    ),
    "mds": _BUFFERS,
    "tsx_async_abort": _BUFFERS,
    "reg_file_data_sampling": _BUFFERS,
    "tsa": _BUFFERS,
    # With `via prctl` only a process that asks for it pays.
    "spec_store_bypass": lambda name, text: iter(
        ["SSBD"] if text == "Mitigation: Speculative Store Bypass disabled" else []
    ),
    **dict.fromkeys(
        (
            *("spectre_v1", "l1tf", "itlb_multihit", "srbds", "vmscape"),
            *("gather_data_sampling", "old_microcode", "ghostwrite"),
            "mmio_stale_data",  # clears for guests, and for all where mds does
        ),
        _NONE,
    ),
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
