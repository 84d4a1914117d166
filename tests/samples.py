"""SYNTHETIC runs with known effects, for tests only. Nothing here was measured.

Costs are `base + slope * size` ns per request times a block factor that all arms
share (what pairing must cancel), times noise of the arm, times the arm's effect.
"""

from collections.abc import Callable, Iterator
from pathlib import Path as Folder
from typing import Any

import numpy as np

from zclab import options as opts
from zclab import store
from zclab.params import TABLE_MODES, Path, Plan, Point, Protocol, arm_mode, grid

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


def _sample(
    point: Point,
    block: int,
    position: int,
    arm: str,
    *,
    ns: float,
    copied: float | None,
) -> dict[str, Any]:
    mode = arm_mode(arm)
    requests = max(1, int(10_000_000 / ns))
    zc = {"send": 0, "mixed": requests * 2 // 3}.get(mode, requests)
    live = point.path is not Path.SINK
    sent = requests * point.io_size_bytes
    return {
        "point": point.name,
        "path": str(point.path),
        "protocol": str(point.protocol),
        "family": point.family,
        "io_size_bytes": point.io_size_bytes,
        "batch": point.batch,
        "block": block,
        "position": position,
        "arm": arm,
        "mode": str(mode),
        "options": opts.spell(point.options(arm).changed()),
        "started_ns": 1_000_000_000 + block * 60_000_000 + position * 11_000_000,
        "elapsed_ns": round(requests * ns),
        "drain_ns": 10_000,
        "requests": requests,
        "bytes": sent,
        "zc_requests": zc,
        "notifications": zc,
        "ranges": 0,
        "failed_notifications": 0,
        "copied": None if copied is None else round(zc * copied),
        "outstanding": min(zc, 8),
        "eagain": 0,
        "short_sends": 0,
        "failed": 0,
        "errors": "",
        "datagrams": requests if point.protocol is Protocol.UDP else None,
        "cq_overflow": 0,
        "submits": -(-requests // point.batch),
        "cpu_user_ns": round(requests * ns * 0.1),
        "cpu_sys_ns": round(requests * ns * 0.9),
        "switches_voluntary": 0,
        "switches_forced": 0,
        "softirq_sender_ns": 0,
        "softirq_receiver_ns": 0,
        "latency": None,
        "received_bytes": sent if live else None,
        "received": requests if live and point.protocol is Protocol.UDP else None,
        "receiver_drops": 0 if live and point.protocol is Protocol.UDP else None,
        "receiver_cpu_user_ns": 0 if live else None,
        "receiver_cpu_sys_ns": round(requests * ns * 0.5) if live else None,
        "receiver_switches": 0 if live else None,
        "corrupt": None,
        "disordered": None,
        "sent_total_bytes": sent,
    }


def blocks(
    plan: Plan,
    *,
    gain: Gain = default_gain,
    copied: dict[str, float | None] | None = None,
    noise: float = 0.01,
) -> Iterator[list[dict[str, Any]]]:
    """Yield the synthetic blocks of a plan, points interleaved as in a real run."""
    shares: dict[str, float | None] = {**COPIED, **(copied or {})}
    random = np.random.default_rng(plan.seed)
    for block in range(plan.blocks):
        for point in plan.points:
            shared = np.exp(random.normal(0, 0.2))  # the host's mood, alike for all
            cost = (1500 + 0.06 * point.io_size_bytes) * shared
            samples = []
            for position, arm in enumerate(random.permutation(point.arms)):
                own = np.exp(random.normal(0, noise))
                ns = cost * own / (1 + gain(point, str(arm)) / 100)
                samples.append(
                    _sample(
                        point,
                        block,
                        position,
                        str(arm),
                        ns=float(ns),
                        copied=shares[point.path],
                    )
                )
            yield samples


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
) -> store.Run:
    """Write a synthetic run under `parent` and return it loaded.

    `planned` is blocks per point; the run breaks off after `stop_after` blocks over
    all points; `gain` gives the true effects, `copied` the shares by path.
    """
    plan = Plan(
        profile="synthetic",
        points=points() if plan_points is None else plan_points,
        seed=seed,
        blocks=planned,
    )
    facts = HOST if host is None else host
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
