"""SYNTHETIC runs with known effects, for tests only. Nothing here was measured.

Samples are those of `zclab.synthetic`. But for `make(marked=True)` the runs are
not marked so: tests of mails and reports want what looks like a run of a kernel.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path as Folder
from typing import Any

from zclab import store, synthetic
from zclab.params import BASELINE, TABLE_MODES, Path, Plan, Point, Protocol, grid
from zclab.truth import Truth

ALL = TABLE_MODES

# Gain of each arm over send in percent, by path; "synthetic" so as to be obvious.
GAINS = {
    "sink": {"send_zc": 5.0, "send_zc_fixed": 40.0, "mixed": 15.0},
    "veth": {"send_zc": -29.0, "send_zc_fixed": -25.0, "mixed": -20.0},
    "lo": {"send_zc": -12.0, "send_zc_fixed": -10.0, "mixed": -8.0},
}
COPIED = {"sink": 0.0, "veth": 1.0, "lo": 1.0}

HOST: dict[str, Any] = {
    "alias": "host-0000",
    "kernel": {"release": "6.18.0-synthetic", "version": "#1 SMP"},
    "machine": "x86_64",
    "cpu": {
        "model": "Synthetic CPU",
        "online": 2,
        "governor": None,
        "mitigations": {"spectre_v2": "Mitigation: Retpolines"},
    },
    "hypervisor": "KVM",
    "memory_bytes": 4 << 30,
    "limits": {"memlock_bytes": 8 << 20},
    "sysctl": {"net.core.wmem_max": 4194304},
    "software": {
        "zclab": "0.1.0",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "dirty": False,
        "python": "3.11.7",
        "liburing": "2.3",
        "compiler": "gcc 12.2.0",
    },
    "load_1m": 0.1,
    "clocksource": "kvm-clock",
    "sender": {
        "ring_flags": ["SINGLE_ISSUER", "DEFER_TASKRUN"],
        "sndbuf_bytes": 2 << 20,
        "report_usage": True,
        "registered_file": True,
        "registered_ring": True,
        "notification_lag": 128,
    },
    "paths": {
        "sink": {
            "device": "zc0",
            "kind": "ifb",
            "mtu": 65535,
            "qdisc": "noqueue",
            "features": {"tx-scatter-gather": True},
            "packet_taps": 0,
            "receiver": None,
            "sender_cpu": 1,
            "receiver_cpu": None,
        },
        "veth": {
            "device": "zc0",
            "kind": "veth",
            "mtu": 65535,
            "qdisc": "noqueue",
            "packet_taps": 0,
            "receiver": "process",
            "sender_cpu": 1,
            "receiver_cpu": 0,
        },
    },
}


def points(*, udp: bool = True, tcp: bool = True) -> tuple[Point, ...]:
    """Return the points of the quick profile."""
    found: tuple[Point, ...] = ()
    if udp:
        found += grid(
            path=Path.SINK,
            protocol=Protocol.UDP,
            family=4,
            sizes=(600, 1200, 4000, 8000, 65507),
            modes=ALL,
            batch=8,
        )
        for path in (Path.VETH, Path.SINK):
            found += grid(
                path=path,
                protocol=Protocol.UDP,
                family=6,
                sizes=(65435,),
                modes=ALL,
                batch=64,
            )
    if tcp:
        found += grid(
            path=Path.LO,
            protocol=Protocol.TCP,
            family=4,
            sizes=(1200, 4096),
            modes=ALL,
            batch=1,
        )
    return found


Gain = Callable[[Point, str], float]


def default_gain(point: Point, arm: str) -> float:
    """Return the gain of an arm over send in percent, from `GAINS`."""
    return GAINS[point.path].get(arm, 0.0)


def truth_of(
    points: tuple[Point, ...],
    *,
    gain: Gain = default_gain,
    copied: dict[str, float | None] | None = None,
    noise: float = 0.01,
) -> Truth:
    """Return the truth in which each arm of each point has its own gain."""
    return Truth(
        gains={
            f"{point.name}/{arm}": gain(point, arm)
            for point in points
            for arm in point.arms
            if arm != BASELINE
        },
        copied={**COPIED, **(copied or {})},
        noise=noise,
        shared=0.2,
    )


def blocks(
    plan: Plan,
    *,
    gain: Gain = default_gain,
    copied: dict[str, float | None] | None = None,
    noise: float = 0.01,
) -> Iterator[list[dict[str, Any]]]:
    """Yield the synthetic blocks of a plan, points interleaved as in a real run."""
    truth = truth_of(plan.points, gain=gain, copied=copied, noise=noise)
    plan = replace(plan, synthetic=truth)
    labs = {place: synthetic.Lab(plan, place) for place in plan.places}
    for block in range(plan.blocks):
        for point in plan.points:
            order = plan.order(point, block)
            yield labs[point.place].block(point, order, block, plan.slice_ns)


def make(
    parent: Folder,
    *,
    plan_points: tuple[Point, ...] | None = None,
    planned: int = 40,
    stop_after: int | None = None,
    seed: int = 1,
    host: dict[str, Any] | None = None,
    gain: Gain = default_gain,
    copied: dict[str, float | None] | None = None,
    noise: float = 0.01,
    marked: bool = False,
) -> store.Run:
    """Write a synthetic run under `parent` and return it loaded.

    `planned` is blocks per point; the run breaks off after `stop_after` blocks over
    all points; `gain` gives the true effects, `copied` the shares by path. A `marked`
    run says that it is synthetic, as those of users do.
    """
    found = points() if plan_points is None else plan_points
    plan = Plan(profile="synthetic", points=found, seed=seed, blocks=planned)
    facts = HOST if host is None else host
    if marked:
        facts = {**facts, "synthetic": True}
        truth = truth_of(found, gain=gain, copied=copied, noise=noise)
        plan = replace(plan, synthetic=truth)
    with store.Journal.create(plan, facts, alias="host-0000", out=parent) as journal:
        made = blocks(plan, gain=gain, copied=copied, noise=noise)
        for number, block in enumerate(made):
            if number == stop_after:
                journal.warnings.append("stopped by KeyboardInterrupt")
                break
            journal.append(block)
        journal.host_after = facts
        folder = journal.folder
    return store.load(folder)
