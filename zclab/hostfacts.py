"""The facts of a host: one schema for the sender's host and for a peer's.

A run keeps them as JSON objects inside one another; here a fact is named by the keys
on the way to it with dots between, `cpu.governor`. A `*` stands for a key that differs
from host to host, or for several keys. The facts of a peer are the same under
`peer.`.

What names a machine or its owner is private: it is never stored. Where two hosts, or
two destinations, must be told apart, an alias does it.
"""

import functools
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

PEER = "peer."  # before the facts of the host that receives
WITHHELD = "(withheld)"  # in place of a text that holds an address


class Change(StrEnum):
    """How a fact may differ between two looks at one host."""

    NEVER = "no"  # not without a reboot or other software
    HAND = "by hand"  # when somebody, or a daemon, sets it
    GROWS = "grows"  # it counts
    ALWAYS = "always"  # it is another whenever one looks


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What is known of one fact.

    Attributes:
        name: keys with dots between, `*` for any.
        kind: text, int, float, bool, list, number or text, number or switch; each may
            be null.
        unit: of its value; 1 where it has none.
        meaning: what it is, and where it is read.
        changes: whether it may differ within a run.
        private: whether it must not be stored.

    """

    name: str
    kind: str
    unit: str
    meaning: str
    changes: Change
    private: bool = False

    def fits(self, value: Any) -> bool:
        """Return whether a value is of the fact's kind."""
        if value is None:
            return True
        if isinstance(value, bool):
            return self.kind in ("bool", "number or switch")
        return isinstance(value, _KINDS[self.kind])


_KINDS: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "list": list,
    "number or text": (int, str),
    "number or switch": int,
}

_NEVER, _HAND, _GROWS, _ALWAYS = Change


def _host() -> Iterator[Fact]:
    """Yield the facts of a host as a whole."""
    rows = (
        ("alias", "text", "1", "stands for the host's name", _NEVER),
        ("synthetic", "bool", "1", "a model made the run: there is no host", _NEVER),
        ("kernel.release", "text", "1", "uname -r", _NEVER),
        (
            "kernel.version",
            "text",
            "1",
            "uname -v: build number and preemption",
            _NEVER,
        ),
        (
            "kernel.cmdline",
            "list",
            "1",
            "those parameters of the boot command line that bear on a measurement, and "
            "no others (/proc/cmdline)",
            _NEVER,
        ),
        (
            "kernel.config.*",
            "number or text",
            "1",
            "build options that bear on a measurement, null where the kernel says not "
            "set (/proc/config.gz, /boot/config-RELEASE)",
            _NEVER,
        ),
        (
            "kernel.tainted",
            "int",
            "1",
            "bits of /proc/sys/kernel/tainted: modules from elsewhere, warnings",
            _HAND,
        ),
        ("machine", "text", "1", "uname -m", _NEVER),
        ("hypervisor", "text", "1", "who made the virtual machine; null: none", _NEVER),
        (
            "container",
            "text",
            "1",
            "kind of the container this ran in; `none seen` where nothing says so",
            _NEVER,
        ),
        (
            "hardware_counters",
            "bool",
            "1",
            "whether the kernel has a PMU to count cycles with",
            _NEVER,
        ),
        ("page_bytes", "int", "B", "size of a page", _NEVER),
        ("memory_bytes", "int", "B", "memory in all", _NEVER),
        (
            "memory_available_bytes",
            "int",
            "B",
            "memory that could be had (MemAvailable)",
            _ALWAYS,
        ),
        (
            "limits.memlock_bytes",
            "int",
            "B",
            "hard limit of locked memory, which a run uses whole; -1: none",
            _HAND,
        ),
        ("sysctl.*", "number or text", "1", "what sysctl -n prints for it", _HAND),
        (
            "thp.enabled",
            "text",
            "1",
            "transparent huge pages: always, madvise, never",
            _HAND,
        ),
        ("thp.defrag", "text", "1", "what is done to get one", _HAND),
        ("thp.page_bytes", "int", "B", "size of one", _NEVER),
        ("numa.nodes", "int", "1", "NUMA nodes", _NEVER),
        ("numa.sender", "int", "1", "node of the sender's CPU", _NEVER),
        (
            "iommu.groups",
            "int",
            "1",
            "devices behind an IOMMU, in groups; 0: none is in use",
            _NEVER,
        ),
        (
            "iommu.domains",
            "list",
            "1",
            "kinds of their domains: identity, DMA (strict), DMA-FQ (lazy)",
            _HAND,
        ),
        ("lockdown", "text", "1", "kernel lockdown: none, integrity ...", _HAND),
        ("lsm", "list", "1", "security modules, in the order asked", _NEVER),
        ("cgroup.cpu_limit", "float", "CPUs", "CPU quota; null: none", _HAND),
        (
            "cgroup.throttled",
            "int",
            "1",
            "periods in which that quota held this process up",
            _GROWS,
        ),
        (
            "packet_taps",
            "int",
            "1",
            "AF_PACKET sockets for all protocols in the host's own network namespace "
            "(/proc/net/packet); null: unknown",
            _HAND,
        ),
        (
            "tracing.functions",
            "int",
            "1",
            "kernel functions that are hooked (enabled_functions of tracefs, where "
            "that is mounted): a hook in the send path costs every request",
            _HAND,
        ),
        ("tracing.tracer", "text", "1", "current_tracer of tracefs", _HAND),
        ("irqbalance", "bool", "1", "whether irqbalance runs and moves IRQs", _HAND),
        ("clocksource", "text", "1", "what the kernel reads the time from", _HAND),
        ("load_1m", "float", "1", "load average over a minute", _ALWAYS),
        (
            "steal_ticks",
            "int",
            "ticks",
            "CPU time that the hypervisor took since boot, over all CPUs",
            _ALWAYS,
        ),
        ("uptime_s", "int", "s", "time since boot", _ALWAYS),
        ("software.zclab", "text", "1", "version of zclab", _NEVER),
        ("software.commit", "text", "1", "commit it was built from", _HAND),
        ("software.dirty", "bool", "1", "whether files differed from it", _HAND),
        (
            "software.remote",
            "text",
            "1",
            "where others can clone it from: the checkout's remote origin, without "
            "user and password; null where that is not on a well-known public forge",
            _HAND,
        ),
        ("software.python", "text", "1", "version of Python", _NEVER),
        ("software.liburing", "text", "1", "version of the headers", _NEVER),
        ("software.compiler", "text", "1", "what compiled the send loop", _NEVER),
        (
            "software.cpu_time",
            "text",
            "1",
            "`exact`: the send loop brings its CPU time up to date before it reads it; "
            "in runs without this fact it lags by up to a timer tick",
            _NEVER,
        ),
        (
            "warnings_before",
            "list",
            "1",
            "what earlier sittings of the run warned of",
            _ALWAYS,
        ),
    )
    for name, kind, unit, meaning, changes in rows:
        yield Fact(name=name, kind=kind, unit=unit, meaning=meaning, changes=changes)


def _cpu() -> Iterator[Fact]:
    """Yield the facts of the CPUs."""
    rows = (
        ("model", "text", "1", "model name (/proc/cpuinfo)", _NEVER),
        (
            "family",
            "int",
            "1",
            "cpu family (/proc/cpuinfo): with the next two it tells CPUs of one name "
            "apart; null where the architecture has none",
            _NEVER,
        ),
        ("model_number", "int", "1", "model (/proc/cpuinfo), likewise", _NEVER),
        ("stepping", "int", "1", "stepping (/proc/cpuinfo), likewise", _NEVER),
        ("microcode", "text", "1", "revision (/proc/cpuinfo)", _NEVER),
        ("online", "int", "1", "CPUs online", _HAND),
        ("usable", "int", "1", "CPUs that this process may use", _HAND),
        ("isolated", "text", "1", "CPUs that the scheduler leaves out", _NEVER),
        ("nohz_full", "text", "1", "CPUs without a tick while one task runs", _NEVER),
        (
            "sender_siblings",
            "text",
            "1",
            "CPUs that share a core with the sender's, itself included",
            _HAND,
        ),
        ("smt", "text", "1", "1: cores are shared by sibling CPUs", _HAND),
        (
            "governor",
            "text",
            "1",
            "who picks the clock; with + between where CPUs differ; null: not here",
            _HAND,
        ),
        ("frequency_driver", "text", "1", "who sets it (cpufreq)", _NEVER),
        ("boost", "bool", "1", "whether the clock may exceed its nominal", _HAND),
        ("min_khz", "int", "kHz", "lowest clock allowed to the sender's CPU", _HAND),
        ("max_khz", "int", "kHz", "highest", _HAND),
        (
            "now_khz",
            "int",
            "kHz",
            "clock of the sender's CPU at this moment (cpufreq, else /proc/cpuinfo)",
            _ALWAYS,
        ),
        ("idle_driver", "text", "1", "who puts idle CPUs to sleep (cpuidle)", _NEVER),
        ("idle_governor", "text", "1", "who picks how deep", _HAND),
        (
            "throttled",
            "int",
            "1",
            "times that heat lowered a clock, over all CPUs (thermal_throttle)",
            _GROWS,
        ),
        ("caches.*", "int", "B", "caches of the sender's CPU, by level", _NEVER),
        (
            "mitigations.*",
            "text",
            "1",
            "vulnerabilities that the CPU has, and what is done about each",
            _HAND,
        ),
    )
    for name, kind, unit, meaning, changes in rows:
        yield Fact(
            name=f"cpu.{name}", kind=kind, unit=unit, meaning=meaning, changes=changes
        )


def _place() -> Iterator[Fact]:
    """Yield the facts of a place, and of the device that a peer receives on."""
    rows = (
        ("device", "text", "1", "name of the device", _NEVER),
        ("kind", "text", "1", "dummy, ifb, veth, loopback, tun, or a driver", _NEVER),
        ("rung", "text", "1", "which of the sinks it is: the first to be had", _NEVER),
        ("situation", "text", "1", "what --with asked for", _NEVER),
        ("says", "text", "1", "what the place is, in a sentence", _NEVER),
        ("leaves_out", "text", "1", "what a real path has besides", _NEVER),
        ("mtu", "int", "B", "largest packet that the device takes", _HAND),
        ("qdisc", "text", "1", "queueing discipline of the device", _HAND),
        ("features.*", "bool", "1", "offloads (ethtool -k)", _HAND),
        (
            "packet_taps",
            "int",
            "1",
            "AF_PACKET sockets for all protocols that see the device's packets; null: "
            "unknown",
            _HAND,
        ),
        ("host_packet_taps", "int", "1", "the same on the host itself", _HAND),
        (
            "namespaces_refused",
            "text",
            "1",
            "why lo is the host's own and in no namespace; else empty",
            _NEVER,
        ),
        (
            "xdp",
            "text",
            "1",
            "how an XDP program is on the device, or on the one at its other end: "
            "native or generic; empty for none",
            _HAND,
        ),
        ("tc_programs", "int", "1", "programs at tc ingress and egress", _HAND),
        ("destination", "text", "1", "own or neighbour", _NEVER),
        ("destination_alias", "text", "1", "stands for the address", _NEVER),
        ("live", "bool", "1", "whether a socket of this host takes the data", _NEVER),
        ("drops", "text", "1", "who drops the data, if anybody does", _NEVER),
        ("receiver", "text", "1", "process, responder, peer; null: nobody", _NEVER),
        (
            "reply.*",
            "number or switch",
            "1",
            "how a responder plays the receiver's side of TCP: the fields of Reply "
            "(zclab/uring/responder.py), sizes in B, times in ns",
            _NEVER,
        ),
        (
            "congestion_control.*",
            "text",
            "1",
            "what the TCP sockets there have (TCP_CONGESTION), by what their option "
            "`congestion` asks for; unasked: where it asks for none",
            _HAND,
        ),
        ("congestion_control", "text", "1", "the same in older runs", _NEVER),
        (
            "log_headers_bytes",
            "int",
            "B",
            "how much of each packet the log rule hands to the responder",
            _NEVER,
        ),
        (
            "log_buffer_bytes",
            "int",
            "B",
            "receive buffer of that log, as granted",
            _NEVER,
        ),
        ("sender_cpu", "int", "1", "CPU that sends", _NEVER),
        ("receiver_cpu", "int", "1", "CPU that receives", _NEVER),
        ("sender.cq_entries", "int", "1", "size of the completion queue", _NEVER),
        ("sender.sq_entries", "int", "1", "size of the submission queue", _NEVER),
        (
            "sender.notification_lag",
            "number or text",
            "1",
            "notifications outstanding from which a submit fetches events",
            _NEVER,
        ),
        ("sender.notification_lag.*", "int", "1", "the same by point", _NEVER),
        (
            "sender.registered_file",
            "bool",
            "1",
            "the baseline sends on a registered file",
            _NEVER,
        ),
        ("sender.registered_ring", "bool", "1", "enters a registered ring", _NEVER),
        ("sender.report_usage", "bool", "1", "asks if data was copied", _NEVER),
        ("sender.ring_flags", "list", "1", "IORING_SETUP_*", _NEVER),
        ("sender.sndbuf_bytes", "int", "B", "SO_SNDBUF as granted", _NEVER),
    )
    for name, kind, unit, meaning, changes in rows:
        yield Fact(name=name, kind=kind, unit=unit, meaning=meaning, changes=changes)


def _card() -> Iterator[Fact]:
    """Yield the facts of a network card, besides those of every place."""
    rows = (
        ("driver", "text", "1", "driver", _NEVER),
        ("driver_version", "text", "1", "its version", _NEVER),
        ("firmware", "text", "1", "version of the card's firmware", _NEVER),
        ("bus", "text", "1", "bus that the card is on", _NEVER),
        ("link_mbit", "int", "Mbit/s", "speed of the link", _HAND),
        ("duplex", "text", "1", "duplex of the link", _HAND),
        ("carrier", "bool", "1", "whether the link is there", _HAND),
        ("numa_node", "int", "1", "NUMA node of the card; -1: none", _NEVER),
        ("queues.*", "int", "1", "queues (ethtool -l)", _HAND),
        ("rings.*", "int", "1", "descriptors of a ring (ethtool -g)", _HAND),
        (
            "coalescing.*",
            "number or text",
            "1",
            "interrupt moderation (ethtool -c)",
            _HAND,
        ),
        ("offloads.*", "bool", "1", "all offloads (ethtool -k)", _HAND),
        ("irq.*", "number or text", "1", "interrupts of the card, and where", _HAND),
        ("rss.*", "number or text", "1", "spread of receiving over queues", _HAND),
        (
            "statistics.*",
            "int",
            "1",
            "counters of the card and its driver since they were loaded (ethtool -S)",
            _GROWS,
        ),
    )
    for name, kind, unit, meaning, changes in rows:
        yield Fact(name=name, kind=kind, unit=unit, meaning=meaning, changes=changes)


def _private() -> Iterator[Fact]:
    """Yield what is never stored, wherever the last key is so named."""
    rows = (
        ("hostname", "name of the host; an alias is stored"),
        ("machine_id", "/etc/machine-id; the alias is hashed from it"),
        ("boot_id", "/proc/sys/kernel/random/boot_id"),
        ("user", "name of who ran it"),
        ("mac", "hardware address"),
        ("permanent_address", "hardware address"),
        ("address", "IP or hardware address; `destination_alias` stands for it"),
        ("addresses", "IP addresses"),
        ("ip", "IP address"),
        ("serial", "serial number"),
        ("serial_number", "serial number"),
        ("uuid", "identity of a machine or a card"),
    )
    for name, meaning in rows:
        yield Fact(
            name=name,
            kind="text",
            unit="1",
            meaning=meaning,
            changes=_NEVER,
            private=True,
        )


def _under(prefix: str, fact: Fact) -> Fact:
    return Fact(
        name=f"{prefix}{fact.name}",
        kind=fact.kind,
        unit=fact.unit,
        meaning=fact.meaning,
        changes=fact.changes,
    )


_PLACES = (*_place(), *_card())
_SENDER = [fact for fact in _PLACES if fact.name.startswith("sender.")]

REGISTRY: tuple[Fact, ...] = (
    *_host(),
    *_cpu(),
    *(_under("", fact) for fact in _SENDER),
    *(_under("paths.*.", fact) for fact in _PLACES),
    *(_under("device.", fact) for fact in _PLACES if fact not in _SENDER),
    *_private(),
)

_EXACT = {fact.name: fact for fact in REGISTRY}
_PRIVATE = {fact.name: fact for fact in REGISTRY if fact.private}
_PATTERNS = [
    (re.compile(re.escape(fact.name).replace(r"\*", ".*")), fact)
    for fact in REGISTRY
    if "*" in fact.name
]


@functools.cache
def about(name: str) -> Fact | None:
    """Return what is known of a fact, None when it is in no registry.

    Args:
        name: keys with dots between, as `flat` makes them; a peer's begin with peer.

    """
    own = name.removeprefix(PEER)
    known = _EXACT.get(own) or _PRIVATE.get(own.rpartition(".")[2])
    if known:
        return known
    found = (fact for pattern, fact in _PATTERNS if pattern.fullmatch(own))
    return next(found, None)


def flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each fact's name and value; an empty object is a value."""
    for key, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def check(facts: Mapping[str, Any]) -> list[str]:
    """Return what in a host's facts is not as the registry says, one line for each.

    That is: a fact of no registry, of another kind, or one that is private, by its
    name or because its text holds an address. Empty when all is well.
    """
    return [
        f"{name}: {why}"
        for name, value in flat(facts)
        if (why := _objection(name, value))
    ]


def _objection(name: str, value: Any) -> str:
    if value == {}:  # none of what could be under it
        name = f"{name}.none"
        value = None
    fact = about(name)
    if fact is None:
        return "is in no registry (zclab/hostfacts.py)"
    if fact.private:
        return f"is private: {fact.meaning}"
    if not fact.fits(value):
        return f"is {value!r}, not of kind {fact.kind}"
    return "holds an address" if _tells(name, value) else ""


def public(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts without those that are private.

    A text that holds an address of any kind is replaced by `WITHHELD`.
    """
    return _public(facts, "")


def _public(facts: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in facts.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            kept[key] = _public(value, f"{name}.")
            continue
        fact = about(name)
        if fact is None or not fact.private:
            kept[key] = WITHHELD if _tells(name, value) else value
    return kept


def unidentified(text: str) -> str:
    """Return a text without hardware addresses and identities, to be stored.

    A device may be named by its hardware address, as systemd names what is on USB.
    """
    return _IDENTITY.sub(WITHHELD, text)


# Versions of firmware look like IPv4 addresses, commits like identities.
_VERSIONS = ("firmware", "driver_version", "release", "version", "commit", "zclab")
_IDENTITY = re.compile(
    r"(?<![0-9a-f:])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![0-9a-f:])"  # MAC
    r"|\b(?:en|wl|ww|ib|sl)x[0-9a-f]{12}\b"  # MAC as a name: systemd.net-naming-scheme
    r"|\b[0-9a-f]{32}\b"  # machine id
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",  # UUID
    re.IGNORECASE,
)
_BETWEEN = re.compile(r"[\s,;()\[\]=/%]+")


def _tells(name: str, value: Any) -> bool:
    """Return whether a value holds an IP or a hardware address, or an identity."""
    if isinstance(value, list | tuple):
        return any(_tells(name, each) for each in value)
    if not isinstance(value, str) or name.rpartition(".")[2] in _VERSIONS:
        return False
    return bool(_IDENTITY.search(value)) or any(
        _is_address(word) for word in _BETWEEN.split(value)
    )


def _is_address(word: str) -> bool:
    """Return whether a word is an address, alone or with a port or a full stop."""
    word = word.rstrip(".") or word
    if word.endswith(":") and not word.endswith("::"):
        word = word[:-1]
    if word.count(".") == 3:
        word = word.partition(":")[0]
    elif word.count(":") < 2:
        return False
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True


def dictionary() -> list[str]:
    """Return the facts as lines of Markdown, for the data dictionary."""
    apart = ("paths", "device", "sender")
    hosts = [
        fact
        for fact in REGISTRY
        if not fact.private and fact.name.partition(".")[0] not in apart
    ]
    return [
        "## Facts of a host",
        "",
        "They are in the `host-*.json`: nested objects, named here with dots between",
        "their keys. `*` is any key. What could not be read is null or absent. The",
        "facts of a peer (`zclab peer`) are the same under `peer`. *Changes*: whether",
        "a fact may differ within a run.",
        "",
        *_rows(hosts),
        "",
        "## Facts of a place",
        "",
        "Each under `paths.<place>`; those of the first place's sender under `sender`",
        "too, those of the device that a peer receives on under `peer.device`.",
        "",
        *_rows(_under("", f) for f in _PLACES),
        "",
        "## Never stored",
        "",
        "| fact | what it is |",
        "|---|---|",
        *(f"| `{f.name}` | {f.meaning} |" for f in REGISTRY if f.private),
        "",
        f"A text that holds an IP or hardware address is stored as `{WITHHELD}`.",
        "",
    ]


def _rows(facts: Iterable[Fact]) -> list[str]:
    return [
        "| fact | type | unit | changes | meaning |",
        "|---|---|---|---|---|",
        *(
            f"| `{fact.name}` | {fact.kind} | {fact.unit} | {fact.changes} "
            f"| {fact.meaning} |"
            for fact in facts
        ),
    ]
