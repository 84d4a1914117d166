"""The synthetic lab: a sender of known costs, behind the interface of the real one.

A `Lab` answers like the worker of a path, with samples of a model instead of a kernel.
So statistics, verdicts, notebooks and reports can be held against a known truth, on any
operating system. `costs` makes the same numbers by the ten thousand points.

The cost of a sample is the true cost of its arm times what the host does to it at that
moment (`weather`): a mood that a block shares, drift, a slow wave, bursts, and noise
that remembers the sample before. All of that falls on samples in the order in which
they are taken; which arm is taken when is drawn anew in every block.
"""

import hashlib
import math
import platform
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from zclab import checkout, schema
from zclab import options as opts
from zclab.errors import InputError
from zclab.params import Mode, Plan, Point, Protocol, arm_mode
from zclab.truth import NOISE_SLICE_NS, Truth

ALIAS = "synthetic"  # of the host, and so in the name of every run of a model
WARNING = "synthetic: made by a model, no packet was sent"

DRAIN_NS = 10_000
CHUNK = 1000  # points that `costs` holds in memory at once
FEWEST = 64  # blocks of weather that a point has at least, for a pilot to look at

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Weather:
    """What the host does to the log cost of samples, in the order of time.

    Attributes:
        slow: what a longer slice does not average away; (points, blocks, slots).
        own: noise of standard deviation 1, likewise; its size depends on the slice.

    """

    slow: Floats
    own: Floats


def weather(
    truth: Truth, *, points: int, blocks: int, slots: int, random: np.random.Generator
) -> Weather:
    """Return the weather of points, each of which is measured without a pause.

    In a run other points come in between, so a sample remembers less of the sample
    before it in its own point than here: this is the harder case.

    Args:
        truth: what troubles the host.
        points: number of points.
        blocks: blocks per point.
        slots: samples per block.
        random: source of all randomness.

    Source: AR(1) noise and a two-state Markov chain of bursts, both begun in their
    stationary state (Box, Jenkins, Time Series Analysis, section 3.2).

    """
    shape = (blocks * slots, points)  # time first: what is stepped through is in rows
    own = random.standard_normal(shape)
    _remember(own, truth.autocorrelation)
    blocks_gone = np.arange(blocks * slots) / slots
    slow = np.repeat(truth.shared * random.standard_normal((blocks, points)), slots, 0)
    slow += (truth.drift / 1000 * blocks_gone)[:, np.newaxis]
    if truth.wave:
        phase = random.random(points)
        turns = blocks_gone[:, np.newaxis] / truth.wave_blocks + phase
        slow += truth.wave * np.sin(2 * np.pi * turns)
    if truth.burst_rate:
        slow[_bursts(truth, shape, random)] += math.log(truth.burst_factor)
    return Weather(
        slow=slow.T.reshape(points, blocks, slots),
        own=own.T.reshape(points, blocks, slots),
    )


def _remember(noise: Floats, rho: float) -> None:
    """Turn white noise, time first, into AR(1) noise of the same variance, in place."""
    if rho:
        noise[1:] *= math.sqrt(1 - rho * rho)
        for now in range(1, len(noise)):
            noise[now] += rho * noise[now - 1]


def _bursts(
    truth: Truth, shape: tuple[int, int], random: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Return which samples are inside a burst, time first."""
    begin, end = truth.burst_rate, 1 / truth.burst_samples
    draw = random.random(shape)
    inside = np.empty(shape, dtype=bool)
    inside[0] = draw[0] < begin / (begin + end)
    for now in range(1, shape[0]):
        stays, begins = draw[now] >= end, draw[now] < begin
        inside[now] = np.where(inside[now - 1], stays, begins)
    return inside


def costs(
    truth: Truth,
    arms: Sequence[str],
    blocks: int,
    points: int,
    seed: int,
    *,
    io_size_bytes: int = 1200,
    path: str = "",
    slice_ns: float = NOISE_SLICE_NS,
    shuffled: bool = True,
    placements: Sequence[int] | None = None,
) -> Floats:
    """Return ns per request of many points of one kind.

    Args:
        truth: the model.
        arms: names of the arms of each point.
        blocks: blocks per point.
        points: number of points, each with weather of its own.
        seed: same seed, same numbers.
        io_size_bytes: payload of a request.
        path: where the packets would go, for gains that depend on it.
        slice_ns: timed length of a sample.
        shuffled: arms are taken in a random order that is drawn anew for each block,
            as in a run; else always in the order given.
        placements: that of each block; None for a single one.

    Returns:
        ns, shape (points, blocks, arms).

    """
    true_ns = [truth.cost_ns(arm, io_size_bytes, path=path) for arm in arms]
    found = np.empty((points, blocks, len(arms)))
    for first in range(0, points, CHUNK):
        random = np.random.default_rng([seed, first])
        part = found[first : first + CHUNK]
        sky = weather(
            truth, points=len(part), blocks=blocks, slots=len(arms), random=random
        )
        logs = sky.slow + truth.noise_of(slice_ns) * sky.own
        if shuffled:
            logs = random.permuted(logs, axis=-1)  # slots go to arms
        if truth.placement:
            where = np.zeros(blocks, dtype=int) if placements is None else placements
            each = (len(part), int(np.max(where)) + 1, len(arms))
            logs = logs + random.normal(0, truth.placement, each)[:, where]
        part[:] = np.exp(logs) * true_ns
    return found


class Lab:
    """One place of a synthetic host: what a sweep asks for blocks.

    The samples of a block depend on the plan's truth and seed, the point, the number
    of the block and the order of its arms, and on nothing else unless the truth has
    placements: a run that is resumed gets the blocks that it would have got.

    Args:
        plan: with a truth; its points at `place` can be asked for.
        place: which place this is.

    Raises:
        InputError: the plan has no truth.

    """

    def __init__(self, plan: Plan, place: str) -> None:
        if plan.synthetic is None:
            raise InputError(
                "the plan has no truth to make samples from; give it one (synthetic)"
            )
        self.place = place
        self._plan = plan
        self._truth = plan.synthetic
        self._skies: dict[tuple[str, bool], Weather] = {}
        self._clock_ns = 0.0
        self._placement = 0

    def ready(self) -> dict[str, Any]:
        """Return the facts of the path, as far as a model has them."""
        mine = (point for point in self._plan.points if point.place == self.place)
        return path_facts(
            self.place,
            live=any(point.has_receiver for point in mine),
            report_usage=self._plan.report_usage,
        )

    def look(self) -> dict[str, Any]:
        """Return the same again: a model does not change."""
        return self.ready()

    def block(
        self,
        point: Point,
        order: Sequence[str],
        number: int,
        slice_ns: int,
        deadline_s: float = math.inf,
    ) -> list[dict[str, Any]]:
        """Return the samples of one block in the order measured.

        Args:
            point: of the plan, on this path.
            order: its arms in the order to take them.
            number: of the block. Negative ones are for a pilot: their weather is not
                that of the blocks that are measured.
            slice_ns: timed length of a sample.
            deadline_s: has no meaning here, a model does not get stuck.

        """
        sky = self._sky(point, is_pilot=number < 0)
        row = (0, abs(number) % sky.own.shape[1])
        logs = sky.slow[row] + self._truth.noise_of(slice_ns) * sky.own[row]
        samples = [
            sample(
                self._plan,
                point,
                arm,
                block=number,
                position=position,
                slice_ns=slice_ns,
                ns=self._true_ns(point, arm)
                * math.exp(logs[position] + self._placed(point, arm)),
            )
            for position, arm in enumerate(order)
        ]
        untimed_ns = self._plan.warmup_ns + DRAIN_NS + round(self._truth.overhead_ns)
        block_ns = sum(one["elapsed_ns"] + untimed_ns for one in samples)
        self._clock_ns += block_ns
        return [_stored({**one, "block_ns": block_ns}) for one in samples]

    def _placed(self, point: Point, arm: str) -> float:
        """Return what the present placement adds to the log cost of an arm."""
        if not self._truth.placement:
            return 0.0
        draw = random.Random(f"{self._plan.seed} {point.name} {arm} {self._placement}")
        return draw.gauss(0, self._truth.placement)

    def renew(self) -> None:
        """Begin a new placement: each arm lies somewhere else."""
        self._placement += 1

    def clock(self) -> float:
        """Return the seconds that the machine would have been busy so far."""
        return self._clock_ns / 1e9

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: a model holds nothing that must be given back."""

    def _true_ns(self, point: Point, arm: str) -> float:
        return self._truth.cost_ns(
            arm, point.io_size_bytes, path=self.place, point=point.name
        )

    def _sky(self, point: Point, *, is_pilot: bool) -> Weather:
        """Return the weather of a point, made when it is first asked for."""
        key = (point.name, is_pilot)
        if key not in self._skies:
            text = f"{self._plan.seed} {point.name} {is_pilot}"
            digest = hashlib.sha256(text.encode()).digest()
            self._skies[key] = weather(
                self._truth,
                points=1,
                blocks=max(self._plan.blocks, FEWEST),
                slots=len(point.arms),
                random=np.random.default_rng(int.from_bytes(digest[:16], "little")),
            )
        return self._skies[key]


def sample(
    plan: Plan,
    point: Point,
    arm: str,
    *,
    block: int,
    position: int,
    slice_ns: int,
    ns: float,
) -> dict[str, Any]:
    """Return one sample as a sender without troubles would count it.

    Args:
        plan: with a truth, which says what is copied.
        point: of the plan.
        arm: of the point.
        block: its number.
        position: of the arm in the block.
        slice_ns: timed length.
        ns: per request.

    """
    options, mode = point.options(arm), arm_mode(arm)
    requests = max(1, int(slice_ns / ns))
    zc = _zc_requests(mode, options, requests)
    live, udp = point.has_receiver, point.protocol is Protocol.UDP
    sent = requests * point.io_size_bytes
    datagrams = _datagrams(point, arm, requests) if udp else None
    return {
        **point.factors,
        "block": block,
        "position": position,
        "arm": arm,
        "mode": str(mode),
        "options": opts.spell(options.changed()),
        "slice_ns": slice_ns,
        "started_ns": _started_ns(plan, point, block, position, slice_ns),
        "elapsed_ns": round(requests * ns),
        "drain_ns": DRAIN_NS,
        "requests": requests,
        "bytes": sent,
        "zc_requests": zc,
        "notifications": zc,
        "ranges": -(-zc // 32) if mode is Mode.MSG_ZEROCOPY else 0,
        "failed_notifications": 0,
        "copied": _copied(plan, point, arm, zc),
        "outstanding": min(zc, 8),
        "eagain": 0,
        "short_sends": 0,
        "failed": 0,
        "errors": "",
        "datagrams": datagrams,
        "cq_overflow": 0,
        "submits": -(-requests // (point.arm_batch(arm) if mode.by_ring else 1)),
        "cpu_user_ns": round(requests * ns * 0.1),
        "cpu_sys_ns": round(requests * ns * 0.9),
        "switches_voluntary": 0,
        "switches_forced": 0,
        "softirq_sender_ns": 0,
        "softirq_receiver_ns": 0,
        "latency": f"0:{zc}" if options.latency and zc else None,
        "received_bytes": sent if live else None,
        "received": datagrams if live else None,
        "receiver_drops": 0 if live and udp else None,
        "receiver_cpu_user_ns": 0 if live else None,
        "receiver_cpu_sys_ns": round(requests * ns * 0.5) if live else None,
        "receiver_switches": 0 if live else None,
        "corrupt": 0 if options.verify else None,
        "disordered": 0 if options.verify else None,
        "sent_total_bytes": sent,
        "sitting": 0,
        "placement": 0,
        "packet_taps": 0,
        "device_tx_packets": None,
        "device_tx_bytes": None,
        "device_tx_dropped": None,
        **dict.fromkeys(_OF_THE_KERNEL),
    }


_OF_THE_KERNEL = (  # what no model has
    *("witness_notifications", "witness_copied", "tcp_retransmits", "tcp_timeouts"),
    *("responder_segments", "responder_acks", "responder_gaps", "responder_lost"),
)


def _stored(values: dict[str, Any]) -> dict[str, Any]:
    """Return those values that the format has a column for."""
    return {name: values[name] for name in schema.STORED if name in values}


def _started_ns(
    plan: Plan, point: Point, block: int, position: int, slice_ns: int
) -> int:
    """Return when a sample begins if no point is left out of any round."""
    truth = plan.synthetic or Truth()
    slot_ns = slice_ns + plan.warmup_ns + DRAIN_NS + round(truth.overhead_ns)
    per_round = plan.samples // plan.blocks
    before = sum(len(one.arms) for one in plan.points[: plan.points.index(point)])
    return 1_000_000_000 + (block * per_round + before + position) * slot_ns


def _zc_requests(mode: Mode, options: opts.Options, requests: int) -> int:
    if mode is not Mode.MIXED:
        return requests if mode.zerocopy else 0
    weights = opts.weights(options.mix)
    asking = sum(times for name, times in weights.items() if Mode(name).zerocopy)
    return requests * asking // sum(weights.values())


def _copied(plan: Plan, point: Point, arm: str, zc: int) -> int | None:
    asked = plan.report_usage and point.options(arm).report_usage
    truth = plan.synthetic or Truth()
    share = truth.copied_share(arm, path=point.place)
    if share is None or not (asked or arm_mode(arm) is Mode.MSG_ZEROCOPY):
        return None
    return round(zc * share)


def _datagrams(point: Point, arm: str, requests: int) -> int:
    """Return the UDP datagrams that so many requests make."""
    options = point.options(arm)
    if options.cork:
        return requests // point.arm_batch(arm)
    if options.more > 1:
        return requests // options.more
    pieces = -(-point.io_size_bytes // options.segment) if options.segment else 1
    return requests * pieces


def host() -> dict[str, Any]:
    """Return the facts of the synthetic host; `synthetic` says that there is none.

    Only the software is real: it is the code that made the samples.
    """
    code = checkout.code()
    return {
        "synthetic": True,
        "alias": ALIAS,
        "kernel": {"release": "synthetic", "version": "none"},
        "machine": "synthetic",
        "cpu": {
            "model": "synthetic",
            "online": 2,
            "usable": 2,
            "governor": None,
            "mitigations": {},
        },
        "hypervisor": None,
        "memory_bytes": 4 << 30,
        "limits": {"memlock_bytes": -1},
        "sysctl": {},
        "software": {
            "zclab": code["version"],
            "commit": code["commit"],
            "dirty": code["dirty"],
            "python": platform.python_version(),
            "liburing": None,
            "compiler": None,
        },
        "load_1m": 0.0,
        "steal_ticks": 0,
        "uptime_s": 0,
        "clocksource": None,
    }


def path_facts(
    place: str, *, live: bool = False, report_usage: bool = True
) -> dict[str, Any]:
    """Return the facts of a synthetic place, with those of its sender."""
    return {
        "says": f"{place}: a model, no device and no packet",
        "device": "none",
        "kind": "model",
        "mtu": 65535,
        "qdisc": "none",
        "features": {},
        "packet_taps": 0,
        "host_packet_taps": 0,
        "receiver": "model" if live else None,
        "sender_cpu": 1,
        "receiver_cpu": 0 if live else None,
        "sender": {
            "ring_flags": [],
            "sq_entries": 0,
            "cq_entries": 0,
            "registered_file": True,
            "registered_ring": True,
            "report_usage": report_usage,
            "notification_lag": {},
            "sndbuf_bytes": 0,
        },
    }
