"""What changed on a run's hosts while it was taken, and what of that is a finding.

A run has its hosts' facts from before the first sample of each sitting and from after
the last one. Some differ whenever one looks (the uptime), and are expected to. Others
must not: who sets the clock, taps, an MTU, a count of throttled periods. What differs
there means that the first and the last block were not taken under the same conditions.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from zclab import hostfacts, store
from zclab import options as opts
from zclab.explain import joined
from zclab.explain.facts import lookup, readable
from zclab.hostfacts import Change
from zclab.store import Run

EXPECTED = "expected"
CARRIED = "warnings_before"  # said by the sitting before, and no fact of the host
COUNTERS = ".statistics."  # of a card: most only tell what was sent
USER_HZ = 100  # ticks per second in /proc/stat; proc(5), on all architectures of Linux
STOLEN = 0.01  # share of the CPU time from which the hypervisor's part is told
SLOWED = 0.9  # a clock below this part of what it was is told
SCARCE = 0.05  # memory left, as a part of all, below which that is told

# Counters of a card that should stand still: names as drivers give them.
_BAD = re.compile(
    r"err|drop|discard|miss|fault|crc|timeout|reset|abort|fail|busy|overrun|underrun"
    r"|no_buf|nobuf|collision",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A fact that was not the same at all looks.

    Attributes:
        fact: its name; a peer's begins with `peer.`.
        seen: what it was, in the order of time; never the same twice in a row.
        finding: what that means, a sentence; empty where it is expected.

    """

    fact: str
    seen: tuple[Any, ...]
    finding: str

    @property
    def grown(self) -> int | None:
        """How far a counter came; None where it was not counted at both ends."""
        first, last = self.seen[0], self.seen[-1]
        both = isinstance(first, int) and isinstance(last, int)
        return last - first if both else None


def differences(run: Run) -> list[Difference]:
    """Return all facts that differ between looks at the hosts, by name.

    One that was not recorded at a look is unknown there, and that is no difference.
    """
    found = [each for part in joined.parts(run) for each in _differences(part)]
    return sorted(found, key=lambda each: each.fact)


def findings(run: Run) -> list[str]:
    """Return a sentence for each difference that matters; empty when all stayed.

    Of runs that are joined each sentence begins with the run's id, as warnings do.
    """
    parts = joined.parts(run)
    found = [
        f"{part.id}: {each.finding}" if len(parts) > 1 else each.finding
        for part in parts
        for each in sorted(_differences(part), key=lambda each: each.fact)
        if each.finding
    ]
    return list(dict.fromkeys(found))


def changed(run: Run) -> pd.DataFrame:
    """Return the facts that differ: fact, before, after, what it means.

    `before` is as the first sitting began. `after` is what the fact was later, in the
    order of time where it was several things. What matters comes first; counters of a
    card that may grow are left to `counted`.
    """
    rows = [
        {
            "fact": each.fact,
            "before": _text(each.fact, each.seen[0]),
            "after": ", then ".join(_text(each.fact, value) for value in each.seen[1:]),
            "what it means": each.finding or EXPECTED,
        }
        for each in differences(run)
        if each.finding or COUNTERS not in f".{each.fact}"
    ]
    rows.sort(key=lambda row: row["what it means"] == EXPECTED)
    return pd.DataFrame(rows, columns=["fact", "before", "after", "what it means"])


def counted(run: Run) -> pd.DataFrame:
    """Return what the cards counted during the run: counter, grew by, what it means."""
    rows = [
        {
            "counter": each.fact,
            "grew by": str(each.grown),
            "what it means": each.finding or EXPECTED,
        }
        for each in differences(run)
        if COUNTERS in f".{each.fact}" and each.grown is not None
    ]
    return pd.DataFrame(rows, columns=["counter", "grew by", "what it means"])


def scope(run: Run) -> str:
    """Return what was looked at twice, and whether something matters, as a text."""
    parts = joined.parts(run)
    hosts = [_snapshots(part)[-1] for part in parts if len(_snapshots(part)) > 1]
    if not hosts:
        return (
            "The facts were not collected again after the last sample: the run ended "
            "early, so nothing can be said of what changed."
        )
    ended = sum(_after(part) is not None for part in parts)
    places = sorted({name for host in hosts for name in host.get("paths") or {}})
    looked = ["the host"]
    looked += [f"the place{'s' * (len(places) > 1)} {', '.join(places)}"] * bool(places)
    looked += ["the peer"] * any(host.get("peer") for host in hosts)
    *most, last = looked
    named = f"{', '.join(most)} and {last}" if most else last
    found = len(findings(run))
    told = (
        f"What changed of it matters in {found} cases."
        if found > 1
        else ("One change matters." if found else "Nothing that matters had changed.")
    )
    first = f"Facts of {named} were collected before the first sample and again"
    if ended == len(parts):
        return f"{first} after the last. {told}"
    if ended:
        return (
            f"{first} after the last, but of {len(parts) - ended} of {len(parts)} runs "
            f"not, which ended early. {told}"
        )
    return (
        f"{first} as the run was gone on with, but not after the last: it ended early. "
        f"{told} Of its last sitting nothing can be said."
    )


def _after(run: Run) -> dict[str, Any] | None:
    """Return the hosts' facts after the last sample; None where it ended early."""
    after = run.folder / store.HOST_AFTER
    return (store.read_json(after) or None) if after.is_file() else None


def _snapshots(run: Run) -> list[dict[str, Any]]:
    """Return the hosts' facts at the start of each sitting and after the last."""
    found = list(run.hosts or (run.host,))
    last = _after(run)
    return [*found, last] if last else found


def _differences(run: Run) -> Iterator[Difference]:
    snapshots = _snapshots(run)
    looks = [dict(hostfacts.flat(facts)) for facts in snapshots]
    for name in dict.fromkeys(name for look in looks for name in look):
        if name == CARRIED:
            continue
        values = [look[name] for look in looks if name in look]
        seen = [
            value for i, value in enumerate(values) if i == 0 or value != values[i - 1]
        ]
        if len(seen) > 1:
            yield Difference(
                fact=name,
                seen=tuple(seen),
                finding=_finding(run, snapshots, name, seen),
            )


def _finding(
    run: Run, snapshots: list[dict[str, Any]], name: str, seen: list[Any]
) -> str:
    """Return what a difference means, nothing where it is expected."""
    fact = hostfacts.about(name)
    change = fact.changes if fact else Change.HAND
    if change is Change.ALWAYS:
        return _restless(run, snapshots, name, seen)
    meaning = f" ({fact.meaning})" if fact else ""
    if change is Change.GROWS:
        return _grown(name, seen, meaning)
    values = ", then ".join(_text(name, value) for value in seen)
    return f"{name} changed during the run: {values}{meaning}"


def _grown(name: str, seen: list[Any], meaning: str) -> str:
    first, last = seen[0], seen[-1]
    if not isinstance(first, int) or not isinstance(last, int):
        return ""
    if COUNTERS in f".{name}":
        if not _BAD.search(name.rpartition(COUNTERS.strip("."))[2]):
            return ""
        meaning = ""
    if last < first:
        return f"{name} began anew during the run: the driver or the host restarted"
    return f"{name} grew by {last - first} during the run{meaning}"


def _restless(
    run: Run, snapshots: list[dict[str, Any]], name: str, seen: list[Any]
) -> str:
    """Judge a fact that differs whenever one looks."""
    prefix = hostfacts.PEER if name.startswith(hostfacts.PEER) else ""
    keys = ("peer",) if prefix else ()
    first, last = (_host(facts, keys) for facts in (snapshots[0], snapshots[-1]))
    judge = _JUDGES.get(name.removeprefix(prefix))
    told = judge(run, first, last) if judge else ""
    if name.removeprefix(prefix) == "uptime_s" and seen != sorted(seen):
        told = "the host was restarted between two sittings of the run"
    return f"the peer: {told}" if told and prefix else told


def _host(facts: Mapping[str, Any], keys: tuple[str, ...]) -> Mapping[str, Any]:
    found = lookup(facts, *keys) if keys else facts
    return found if isinstance(found, Mapping) else {}


def _load(run: Run, first: Mapping[str, Any], last: Mapping[str, Any]) -> str:
    """Return what is to be said of the load after the run; its own is expected."""
    others = float(last.get("load_1m") or 0) - _own_load(run)
    if others < max(1, int(lookup(last, "cpu", "usable") or 1) / 2):
        return ""
    return (
        f"load average {last['load_1m']} after the run, of which the run itself makes "
        f"{_own_load(run)}: something else was running"
    )


def _own_load(run: Run) -> int:
    """Return how many threads of the run may have been busy at once."""
    given = [point.options(arm) for point in run.plan.points for arm in point.arms]
    sending = max(options.threads for options in given)
    polling = any(options.sqpoll != opts.Options().sqpoll for options in given)
    return sending + polling + 1  # and the receiver


def _stolen(run: Run, first: Mapping[str, Any], last: Mapping[str, Any]) -> str:
    if any(text.startswith("the hypervisor took") for text in run.warnings):
        return ""  # measuring has told it
    ticks = last.get("steal_ticks", 0) - first.get("steal_ticks", 0)
    passed = (last.get("uptime_s", 0) - first.get("uptime_s", 0)) * USER_HZ
    share = ticks / max(passed * int(lookup(last, "cpu", "online") or 1), 1)
    if passed <= 0 or share <= STOLEN:
        return ""
    return f"the hypervisor took {share:.1%} of the CPU time during the run"


def _slowed(run: Run, first: Mapping[str, Any], last: Mapping[str, Any]) -> str:
    """Return that the clock fell. It may rise: before the run the CPU was idle."""
    before, after = lookup(first, "cpu", "now_khz"), lookup(last, "cpu", "now_khz")
    if not before or not after or after >= SLOWED * before:
        return ""
    return (
        f"the sender's CPU ran at {before / 1e6:.2f} GHz before the run and at "
        f"{after / 1e6:.2f} GHz after it"
    )


def _scarce(run: Run, first: Mapping[str, Any], last: Mapping[str, Any]) -> str:
    left, all_there = last.get("memory_available_bytes"), last.get("memory_bytes")
    if not left or not all_there or left >= SCARCE * all_there:
        return ""
    return f"memory ran short: {left >> 20} MiB were left after the run"


_JUDGES = {
    "load_1m": _load,
    "steal_ticks": _stolen,
    "cpu.now_khz": _slowed,
    "memory_available_bytes": _scarce,
}


def _text(name: str, value: Any) -> str:
    return "none" if value is None else readable(name.rpartition(".")[2], value)
