"""The facts that samples must share before they may be put together.

ns per request depends on each of them. Where two runs, or two sittings of one run,
know a fact and differ in it, they are refused by its name, and never pooled.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Where the facts are found in host-before.json.
MACHINE: tuple[tuple[str, ...], ...] = (
    ("alias",),
    ("kernel", "release"),
    ("kernel", "cmdline"),
    ("machine",),
    ("cpu", "model"),
    ("cpu", "family"),
    ("cpu", "model_number"),
    ("cpu", "stepping"),
    ("cpu", "microcode"),
    ("cpu", "online"),
    ("cpu", "governor"),
    ("cpu", "boost"),
    ("cpu", "smt"),
    ("cpu", "mitigations"),
    ("clocksource",),
    ("thp", "enabled"),
    ("cgroup", "cpu_limit"),
    ("limits", "memlock_bytes"),
    ("software", "zclab"),
    ("software", "commit"),
    ("software", "dirty"),
    ("software", "liburing"),
    ("software", "compiler"),
)

# The same in the facts of each path.
PATH: tuple[str, ...] = (
    "kind",
    "mtu",
    "qdisc",
    "features",
    "packet_taps",
    "host_packet_taps",
    "namespaces_refused",
    "rung",
    "drops",
    "xdp",
    "tc_programs",
    "driver",
    "firmware",
    "link_mbit",
    "destination_alias",
    "receiver",
    "reply",
    "congestion_control",
    "sender_cpu",
    "receiver_cpu",
    "sender",
)

SYNTHETIC = "synthetic"
NAMED_AT_MOST = 3  # more differences than these are counted, not named


def of(host: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context that a host's facts describe, by name, like `sink mtu`.

    A fact that was not recorded, or is null, is left out: it is unknown. `synthetic`
    is always there.

    Args:
        host: the facts, as in host-before.json.

    """
    found: dict[str, Any] = {SYNTHETIC: bool(host.get(SYNTHETIC))}
    for keys in MACHINE:
        found.update(_flat(" ".join(keys), _at(host, keys)))
    paths = host.get("paths") or {}
    for path, facts in paths.items():
        for key in PATH:
            found.update(_flat(f"{path} {key}", facts.get(key)))
    if not any("sender" in facts for facts in paths.values()):
        found.update(_flat("sender", host.get("sender")))
    return found


def differing(contexts: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Return the facts in which some contexts differ, with the value of each context.

    A value is None where the fact is unknown; that alone is no difference.
    """
    names = dict.fromkeys(name for context in contexts for name in context)
    found = {}
    for name in names:
        values = tuple(context.get(name) for context in contexts)
        known = [value for value in values if value is not None]
        if any(value != known[0] for value in known[1:]):
            found[name] = values
    return found


def first_difference(
    hosts: Sequence[tuple[str, Mapping[str, Any]]],
) -> tuple[str, str, str] | None:
    """Return the names of the first two hosts that differ, and in what; else None.

    Each is compared with each: two may differ in what a third does not know.

    Args:
        hosts: pairs of a name and a host's facts.

    """
    known = [(name, of(host)) for name, host in hosts]
    for (one, mine), (other, theirs) in itertools.combinations(known, 2):
        if found := differing([mine, theirs]):
            return one, other, told(found)
    return None


def told(found: Mapping[str, Sequence[Any]]) -> str:
    """Return what `differing` found as a phrase: `kernel release (6.1, 6.18)`."""
    names = list(found)
    phrases = [
        f"{name} ({', '.join(_text(value) for value in found[name])})"
        for name in names[:NAMED_AT_MOST]
    ]
    if len(names) > NAMED_AT_MOST:
        phrases.append(f"{len(names) - NAMED_AT_MOST} more")
    return " and ".join(phrases)


def _text(value: Any) -> str:
    return "unknown" if value is None else str(value)


def _at(host: Mapping[str, Any], keys: Sequence[str]) -> Any:
    found: Any = host
    for key in keys:
        if not isinstance(found, Mapping):
            return None
        found = found.get(key)
    return found


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a fact, or each of the facts that it consists of, by name."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name} {key}", inner)
    elif value is not None:
        yield name, value
