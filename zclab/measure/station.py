"""A station: all arms of all points of one place, ready to send."""

import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from zclab import options as opts
from zclab import situation as situations
from zclab.errors import (
    CapabilityError,
    InputError,
    MeasureError,
    SendError,
    errno_name,
)
from zclab.measure import host, namespace
from zclab.measure.flow import Flow, granted, timeouts
from zclab.measure.path import Route, up
from zclab.measure.peer.client import RemoteReceiver
from zclab.measure.peer.inlets import connect
from zclab.measure.target import Target
from zclab.options import Options
from zclab.params import BASELINE, Mode, Path, Plan, Point, Protocol, arm_mode
from zclab.uring import probe
from zclab.uring.inbox import Inbox
from zclab.uring.receiver import Receiver, Tally
from zclab.uring.responder import Reply, Responder
from zclab.uring.ring import (
    LATENCY_FLOORS_NS,
    Counts,
    Ring,
    RingSetup,
)
from zclab.uring.sender import Sender, Shape, area_bytes, unit_bytes
from zclab.uring.team import Team

# A completion and, as the queue of those is twice as long, half a request. With the
# heads of both queues and full pages it comes to more: measured, Linux 6.18.
RING_BYTES_PER_ENTRY = 48

WITNESS_NS = 2_000_000  # or fewer, when that many requests are done:
WITNESS_REQUESTS = 256
CATCH_UP_S = {Protocol.UDP: 0.25, Protocol.TCP: 5.0}


@dataclass(slots=True, kw_only=True)
class Arm:
    """One arm of one point: its sockets, where they arrive, and what sends on them."""

    point: Point
    name: str
    mode: Mode
    options: Options
    flows: list[Flow]
    cpus: set[int]
    indices: range  # of its receiving sockets
    send: Callable[..., Counts] | None = None
    witness: Callable[..., Counts] | None = None
    warm: bool = False
    shape: Shape | None = None

    @property
    def batch(self) -> int:
        """Requests per submit."""
        return self.point.arm_batch(self.name)

    @property
    def gathered(self) -> int:
        """Requests that are held back until they leave as one."""
        return self.batch if self.options.cork else self.options.more

    @property
    def fixed(self) -> bool:
        """Whether it sends from registered memory, at least now and then."""
        if self.mode is Mode.MIXED:
            return any(Mode(name).fixed for name in opts.weights(self.options.mix))
        return self.mode.fixed

    @property
    def unit(self) -> int:
        """Bytes of a verified unit; 0: none is verified."""
        return unit_bytes(self.options, self.point.io_size_bytes)

    def datagrams(self, requests: int) -> int | None:
        """Return the UDP datagrams that so many requests made; None over TCP."""
        if self.point.protocol is not Protocol.UDP:
            return None
        sends = requests // self.gathered
        if self.options.segment:
            bytes_sent = self.point.io_size_bytes * self.gathered
            return sends * -(-bytes_sent // self.options.segment)
        return sends


def _up(points: tuple[Point, ...], target: Target | None) -> Route:
    """Build the place of points; what the kernel refuses is a missing capability."""
    first, families = points[0], {point.family for point in points}
    try:
        return up(first.path, families, first.situation, target)
    except (NetlinkError, OSError) as error:
        raise CapabilityError(f"{first.place} cannot be built here: {error}") from None


class Station:
    """The arms of one place: sockets, rings, buffers and the receiver are set up.

    Args:
        plan: what is measured.
        place: the place; its points of the plan are made ready.
        cpus: (sender's CPU, receiver's CPU).
        target: where the nic path sends.
        reply: how TCP is answered where nobody takes the data.

    Raises:
        CapabilityError: the place, a mode or an option cannot be had here.
        SendError: a ring or a registration was refused.

    """

    def __init__(
        self,
        plan: Plan,
        place: str,
        cpus: tuple[int, int],
        target: Target | None = None,
        reply: Reply | None = None,
    ) -> None:
        self.plan = plan
        self.cpus = cpus
        self.target = target
        self.points = tuple(point for point in plan.points if point.place == place)
        self.reply = reply or _reply(self.points[0].situation)
        self.route = _up(self.points, target)
        self._memlock_bytes = pinnable_bytes(plan)
        self.report_usage = plan.report_usage and probe.support().report_usage
        self._all_cpus = os.sched_getaffinity(0)
        self._closers: list[Callable[[], None]] = []
        self.arms: dict[str, dict[str, Arm]] = {}
        self.responder = self._start_responder()
        arms = list(self._lay_out())
        self._probe({arm.mode for arm in arms})
        self.receiver = self.responder or self._start_receiver(arms)
        self._pinned: set[int] = set()
        self._pin({cpus[0]})
        self._rings: dict[RingSetup, Ring] = {}
        for ring_setup, sharing in _by_setup(arms, cpus[1]).items():
            self._open(ring_setup, sharing)
        self.facts = self._facts()

    def _lay_out(self) -> Iterator[Arm]:
        """Open the sockets of all arms, one after the other."""
        index = 0
        for point in self.points:
            for name in point.arms:
                options = point.options(name)
                count = options.flows * options.threads
                arm = Arm(
                    point=point,
                    name=name,
                    mode=arm_mode(name),
                    options=options,
                    flows=[self.route.open(point, name) for _ in range(count)],
                    cpus=self._arm_cpus(options, name),
                    indices=range(index, index + count),
                )
                index += count
                self.arms.setdefault(point.name, {})[name] = arm
                yield arm

    def _arm_cpus(self, options: Options, name: str) -> set[int]:
        if options.cpu == "auto":
            return {self.cpus[0]}
        if options.cpu == "any":
            return self._all_cpus
        if int(options.cpu) not in self._all_cpus:
            raise InputError(
                f"{name}: CPU {options.cpu} may not be used here; "
                f"use one of: {', '.join(map(str, sorted(self._all_cpus)))}"
            )
        return {int(options.cpu)}

    def _probe(self, modes: set[Mode]) -> None:
        for mode in sorted(modes):
            probe.mode(mode)

    def _start_responder(self) -> Responder | None:
        """Start what answers TCP where nobody takes the data; before any handshake."""
        if not self.route.answers:
            return None
        options = (p.options(arm) for p in self.points for arm in p.arms)
        ports = sum(one.flows * one.threads for one in options)
        return self.route.answers.start(ports=ports, cpu=self.cpus[1], reply=self.reply)

    def _start_receiver(self, arms: list[Arm]) -> Receiver | RemoteReceiver | None:
        if self.target and self.target.peer:
            flows = [
                (flow, arm.unit, arm.options) for arm in arms for flow in arm.flows
            ]
            return connect(flows, self.target)
        if not self.route.live:
            return None
        sockets = [
            (flow.receiving.fileno(), arm.unit)
            for arm in arms
            for flow in arm.flows
            if flow.receiving
        ]
        return Receiver(
            [fd for fd, _ in sockets],
            units=[unit for _, unit in sockets],
            cpu=self.cpus[1],
            die_with_parent=namespace.die_with_parent,
        )

    def _open(self, ring_setup: RingSetup, sharing: list[Arm]) -> None:
        """Make one ring, and on it the senders of the arms that share it."""
        alone = [arm for arm in sharing if arm.options.threads == 1]
        for arm in sharing:
            arm.shape = self._shape(arm)
            check_looks(arm, arm.shape)
        if alone:
            sockets = [flow.sending.fileno() for arm in alone for flow in arm.flows]
            ring = Ring(sockets, _holding(ring_setup, alone))
            self._closers.append(ring.close)
            self._rings[ring_setup] = ring
            first = 0
            for arm in alone:
                arm.send = self._sender(ring, first, arm, arm.flows, 0).slice
                if self._wants_witness(arm):
                    sender = self._sender(ring, first, _witness(arm), arm.flows, 0)
                    arm.witness = sender.slice
                first += len(arm.flows)
        for arm in sharing:
            if arm.options.threads > 1:
                witnesses: list[Sender] = []
                team = Team(
                    [
                        partial(self._join, ring_setup, arm, number, witnesses)
                        for number in range(arm.options.threads)
                    ]
                )
                self._closers.append(team.close)
                arm.send = team.slice
                if witnesses:
                    arm.witness = partial(team.first, witnesses[0])

    def _shape(self, arm: Arm) -> Shape:
        return Shape(
            mode=arm.mode,
            io_size_bytes=arm.point.io_size_bytes,
            batch=arm.batch,
            options=arm.options,
            memlock_bytes=self._memlock_bytes,
            what=f"{arm.name} on {arm.point.name}",
        )

    def _join(
        self, ring_setup: RingSetup, arm: Arm, number: int, witnesses: list[Sender]
    ) -> tuple[Sender, Callable[[], None]]:
        """Make the sender of one thread of a team, in that thread.

        The first one's ring is the witness's too: only it knows how far the stamps of
        its sockets are.
        """
        assert arm.shape
        if arm.options.cpu == "auto":
            cpus = sorted(self._all_cpus, reverse=True)
            os.sched_setaffinity(0, {cpus[number % len(cpus)]})
        else:
            os.sched_setaffinity(0, arm.cpus)
        flows = arm.flows[number * arm.options.flows : (number + 1) * arm.options.flows]
        ring = Ring(
            [flow.sending.fileno() for flow in flows],
            _holding(ring_setup, [arm]),
        )
        if number == 0 and self._wants_witness(arm):
            witnesses.append(self._sender(ring, 0, _witness(arm), flows, number))
        return self._sender(ring, 0, arm, flows, number), ring.close

    def _sender(
        self, ring: Ring, first: int, arm: Arm, flows: list[Flow], number: int
    ) -> Sender:
        seed = self.plan.seed * 1_000_003 + arm.indices.start + number
        return Sender(
            ring,
            first,
            mode=arm.mode,
            io_size_bytes=arm.point.io_size_bytes,
            batch=arm.batch,
            options=arm.options,
            seed=seed % (1 << 61) + 1,
            report_usage=self.report_usage,
            address=flows[0].address if arm.options.addressed else b"",
            cork_option=flows[0].cork,
            where=f"over {arm.point.protocol} on {arm.point.place}",
            memlock_bytes=self._memlock_bytes,
        )

    def look(self) -> dict[str, Any]:
        """Return the facts of the place as they are now."""
        found = self.facts | self.route.look()
        if isinstance(self.receiver, RemoteReceiver):
            found["peer"] = self.receiver.facts()
        return found

    def _facts(self) -> dict[str, Any]:
        arms = [arm for arms in self.arms.values() for arm in arms.values()]
        ring = next(iter(self._rings.values())) if self._rings else None
        sending, receiving = self.cpus
        receiver: dict[str, Any] = {
            "receiver": "process" if self.receiver else None,
            "receiver_cpu": receiving if self.receiver else None,
        }
        if isinstance(self.receiver, RemoteReceiver):
            peer = self.receiver.facts()
            receiver = {"receiver": "peer", "receiver_cpu": None, "peer": peer}
        if self.responder:
            assert self.route.answers
            receiver["receiver"] = "responder"
            receiver |= self.route.answers.facts(self.reply)
        flows = [(flow, arm.options) for arm in arms for flow in arm.flows]
        if controls := granted(flows):
            receiver["congestion_control"] = controls
        return {
            **self.route.facts,
            **receiver,
            "sender_cpu": sending,
            "sender": {
                "ring_flags": list(ring.facts.setup_flags) if ring else [],
                "sq_entries": ring.facts.sq_entries if ring else 0,
                "cq_entries": ring.facts.cq_entries if ring else 0,
                "registered_file": all(
                    arms[BASELINE].options.file for arms in self.arms.values()
                ),
                "registered_ring": ring.facts.registered_ring if ring else False,
                "report_usage": self.report_usage,
                "notification_lag": {
                    name: shape.lag
                    for name, arms in self.arms.items()
                    if (shape := arms[BASELINE].shape)
                },
                "sndbuf_bytes": arms[0].flows[0].sndbuf_bytes(),
            },
        }

    def _pin(self, cpus: set[int]) -> None:
        if cpus != self._pinned:
            os.sched_setaffinity(0, cpus)
            self._pinned = cpus

    def block(
        self, point: Point, order: list[str], number: int, slice_ns: int
    ) -> list[dict[str, Any]]:
        """Run one block: one slice of each arm of `point` in the given order.

        Raises:
            SendError: a request failed.
            MeasureError: a rule was broken that is checked; the message names the
                arm and the point.

        """
        arms = self.arms[point.name]
        return [
            self._sample(arms[name], number, position, slice_ns)
            for position, name in enumerate(order)
        ]

    def _sample(
        self, arm: Arm, block: int, position: int, slice_ns: int
    ) -> dict[str, Any]:
        receiver = self._receiver(arm)
        drops_before, tally_before = self._drops(arm), self._tally(arm)
        usage_before = receiver.usage() if receiver else None
        stalls_before = self._stalls(arm)
        softirq_before = self._softirq_ns()
        self._pin(arm.cpus)
        device_before = self.route.counters()
        counts = self._send(arm, slice_ns)
        drops = self._settle(arm, counts, drops_before, tally_before)
        device = {
            f"device_{name}": count - device_before[name]
            for name, count in self.route.counters().items()
        }
        stalls = {
            name: None if value is None else value - (stalls_before[name] or 0)
            for name, value in self._stalls(arm).items()
        }
        usage = receiver.usage() if receiver else None
        tally, softirq = self._tally(arm) - tally_before, self._softirq_ns()
        self._check_payload(arm, tally)
        live, udp = receiver is not None, arm.point.protocol is Protocol.UDP
        known = self.report_usage and arm.options.report_usage
        asked = known or arm.mode is Mode.MSG_ZEROCOPY
        return {
            **arm.point.factors,
            "block": block,
            "position": position,
            "arm": arm.name,
            "mode": str(arm.mode),
            "options": opts.spell(arm.options.changed()),
            "slice_ns": slice_ns,
            **{name: counts[name] for name in _STORED_COUNTS},
            "copied": counts["copied"] if asked else None,
            "datagrams": arm.datagrams(counts["requests"]),
            "errors": _errors(counts["errors"]),
            "latency": _histogram(counts["latency"]),
            "softirq_sender_ns": softirq[0] - softirq_before[0],
            "softirq_receiver_ns": softirq[1] - softirq_before[1],
            "received_bytes": tally.bytes if live else None,
            "received": tally.received if live and udp else None,
            "receiver_drops": drops if live and udp else None,
            "receiver_cpu_user_ns": (
                usage.cpu_user_ns - usage_before.cpu_user_ns
                if usage and usage_before
                else None
            ),
            "receiver_cpu_sys_ns": (
                usage.cpu_sys_ns - usage_before.cpu_sys_ns
                if usage and usage_before
                else None
            ),
            "receiver_switches": (
                usage.switches - usage_before.switches
                if usage and usage_before
                else None
            ),
            "corrupt": tally.corrupt if arm.options.verify else None,
            "disordered": tally.disordered if arm.options.verify else None,
            "packet_taps": self.route.packet_taps(),
            **device,
            **stalls,
            **self._bear_witness(arm, block),
        }

    def _send(self, arm: Arm, slice_ns: int) -> Counts:
        """Send one slice; where that fails as the peer is gone, say so."""
        assert arm.send
        try:
            return arm.send(warmup_ns=self.plan.warmup_ns, budget_ns=slice_ns)
        except SendError:
            if isinstance(self.receiver, RemoteReceiver):
                self.receiver.usage()
            if self.responder:
                self.responder.check()
            raise

    def _softirq_ns(self) -> tuple[int, ...]:
        """Return the softirq time of the sender's CPU, and on the receiver's side.

        A peer's is that of all its CPUs, as its card spreads packets over them; it is
        of the moment when its usage was asked for.
        """
        sender, receiver = host.softirq_ns(self.cpus)
        if isinstance(self.receiver, RemoteReceiver):
            receiver = self.receiver.softirq_ns
        return sender, receiver

    def _drops(self, arm: Arm) -> int:
        """Return datagrams dropped at an arm's receiving sockets so far."""
        if isinstance(self.receiver, RemoteReceiver):
            return sum(self.receiver.drops(index) for index in arm.indices)
        return sum(flow.drops() for flow in arm.flows)

    def _receiver(self, arm: Arm) -> Inbox | RemoteReceiver | None:
        """Return what takes an arm's data; a responder takes none but TCP's headers."""
        if self.responder and arm.point.protocol is Protocol.UDP:
            return None
        return self.receiver

    def _stalls(self, arm: Arm) -> dict[str, int | None]:
        """Return the columns that say how TCP fared so far, and who answers it."""
        found: dict[str, int | None] = dict.fromkeys(_STALLS)
        if arm.point.protocol is Protocol.TCP:
            found["tcp_retransmits"] = sum(flow.retransmits() for flow in arm.flows)
            if arm.point.path is not Path.NIC:
                found["tcp_timeouts"] = timeouts()
        if self.responder:
            replies = self.responder.replies()
            found |= {
                "responder_segments": replies.segments,
                "responder_acks": replies.acks,
                "responder_gaps": replies.gaps,
                "responder_lost": replies.lost,
            }
        return found

    def _wants_witness(self, arm: Arm) -> bool:
        """Whether the copied flag of an arm marks more than what was copied."""
        return (
            arm.point.protocol is Protocol.TCP
            and arm.mode.zerocopy
            and arm.mode.by_ring
            and self.report_usage
            and arm.options.report_usage
        )

    def _bear_witness(self, arm: Arm, block: int) -> dict[str, int | None]:
        """Send a few requests that share no skb, once; return how many were copied.

        Several requests in one skb are chained, and only the chain's head learns
        that it was sent without a copy (io_link_skb, io_tx_ubuf_complete in
        io_uring/notif.c; Linux 6.10): the flag then marks the others as copied. With
        MSG_EOR each request has an skb of its own, and the flag means what it says.
        The first block is none of the run's, but there to warm up.
        """
        warm, arm.warm = arm.warm, arm.warm or block >= 0
        if arm.witness is None or not warm or block < 0:
            return {"witness_notifications": None, "witness_copied": None}
        drops, before = self._drops(arm), self._tally(arm)
        counts = arm.witness(
            warmup_ns=0, budget_ns=WITNESS_NS, requests_max=WITNESS_REQUESTS
        )
        self._settle(arm, counts, drops, before)
        self._check_payload(arm, self._tally(arm) - before)
        arm.witness = None
        return {
            "witness_notifications": counts["notifications"],
            "witness_copied": counts["copied"],
        }

    def _tally(self, arm: Arm) -> Tally:
        found, receiver = Tally(), self._receiver(arm)
        if receiver:
            for index in arm.indices:
                found += receiver.tally(index)
        return found

    def _settle(
        self, arm: Arm, counts: Counts, drops_before: int, before: Tally
    ) -> int:
        """Wait until the receiver took what was sent; return the datagrams dropped.

        So no slice works off what the slice before it sent. Over TCP nothing may
        be missing; over UDP what is missing beyond the socket's own drops was
        dropped on the way, and shows as the difference of two stored columns.
        """
        receiver = self._receiver(arm)
        if not receiver:
            return 0
        size = arm.point.io_size_bytes
        datagrams = arm.datagrams(counts["requests"])
        if datagrams:
            size = max(1, size * counts["requests"] // datagrams)

        def lost() -> int:
            return (self._drops(arm) - drops_before) * size

        protocol = arm.point.protocol
        all_there = receiver.await_bytes(
            arm.indices,
            before.bytes + counts["sent_total_bytes"],
            lost=lost if protocol is Protocol.UDP else lambda: 0,
            deadline_s=CATCH_UP_S[protocol],
        )
        if not all_there and protocol is Protocol.TCP:
            now = self._tally(arm).bytes
            raise MeasureError(
                f"{arm.name} on {arm.point.name}: {counts['sent_total_bytes']} B sent "
                f"but {now - before.bytes} B received over tcp"
            )
        if self.responder:
            self._await_acknowledgement(arm)
        return self._drops(arm) - drops_before

    def _await_acknowledgement(self, arm: Arm) -> None:
        """Wait until TCP knows that all was seen; both must have counted alike.

        Raises:
            MeasureError: they did not, or it does not learn of it.

        """
        end = time.monotonic() + CATCH_UP_S[Protocol.TCP]
        while left := sum(flow.unacknowledged_bytes() for flow in arm.flows):
            if time.monotonic() > end:
                raise MeasureError(
                    f"{arm.name} on {arm.point.name}: {left} B were not acknowledged "
                    f"within {CATCH_UP_S[Protocol.TCP]:.0f} s"
                )
            time.sleep(50e-6)
        told = sum(flow.acknowledged_bytes() for flow in arm.flows)
        seen = self._tally(arm).bytes
        if told != seen:
            raise MeasureError(
                f"{arm.name} on {arm.point.name}: the socket counts {told} B "
                f"acknowledged, the responder saw {seen} B"
            )

    def _check_payload(self, arm: Arm, tally: Tally) -> None:
        """Raise MeasureError when verified payload is not what was sent."""
        if tally.corrupt and not arm.options.reorder:
            raise MeasureError(
                f"{arm.name} on {arm.point.name}: {tally.corrupt} units arrived with "
                "other bytes than were sent"
            )

    def close(self) -> None:
        """Close the rings and stop the receiver."""
        for close in reversed(self._closers):
            close()
        if self.receiver:
            self.receiver.close()


def _reply(situation: str) -> Reply:
    """Return how TCP is answered in a situation."""
    words = situations.facts(situation)
    found = Reply()
    if "ack-every" in words:
        found = replace(found, ack_every=int(words["ack-every"]))
    if "ack-delay" in words:
        found = replace(found, ack_delay_ns=int(words["ack-delay"]) * 1000)
    return found


def check_looks(arm: Arm, shape: Shape) -> None:
    """Raise InputError where msg_zerocopy would await what it still holds back.

    Once as many are outstanding as may be, all are awaited, and over UDP those that
    are held back never come. The looks at the error queue must come before that.
    """
    held = arm.gathered - 1
    udp = arm.point.protocol is Protocol.UDP
    if not (held and udp and arm.mode is Mode.MSG_ZEROCOPY):
        return
    most = shape.outstanding_max - held
    if shape.lag > most:
        name = "cork=on" if arm.options.cork else f"more={arm.options.more}"
        cure = f"use lag={most} or less" if most > 0 else f"leave {name} out"
        raise InputError(
            f"{arm.name} on {arm.point.name}: {name} holds requests back, and with "
            f"lag={shape.lag} all {shape.outstanding_max} that may be outstanding "
            f"would be awaited; {cure}"
        )


def _witness(arm: Arm) -> Arm:
    """Return an arm whose requests share no skb."""
    return replace(arm, options=replace(arm.options, eor=True, cork=False, more=1))


def _by_setup(arms: list[Arm], other_cpu: int) -> dict[RingSetup, list[Arm]]:
    """Return the arms by the ring that they need."""
    found: dict[RingSetup, list[Arm]] = {}
    for arm in arms:
        named = arm.options.sqpoll_cpu
        cpu = {"auto": other_cpu, "any": -1}.get(named)
        ring_setup = RingSetup.of(
            arm.options, sqpoll_cpu=int(named) if cpu is None else cpu
        )
        found.setdefault(ring_setup, []).append(arm)
    return found


def pinnable_bytes(plan: Plan) -> int:
    """Return the locked-memory limit that a sender should reckon with; -1 for none.

    All places of a plan share one limit, and a sender leaves a quarter of it to rings
    and registered buffers. Where a plan has so many that they take more, it is less
    than the limit.

    Source: the limit is of the user, not of the process: __io_account_mem() charges
    user->locked_vm.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    modes = {arm_mode(arm) for point in plan.points for arm in point.arms}
    if limit < 0 or not any(mode.pins or mode is Mode.MIXED for mode in modes):
        return limit
    held: dict[tuple[str, RingSetup], int] = {}
    for point in plan.points:
        for arm in point.arms:
            options, mode = point.options(arm), arm_mode(arm)
            key = (point.place, RingSetup.of(options))
            area = area_bytes(point.io_size_bytes, options, options.buffers)
            fixed = mode.fixed or mode is Mode.MIXED
            held[key] = max(held.get(key, 0), area if fixed else 0)
    rings = sum(RING_BYTES_PER_ENTRY * setup.cq_entries for _, setup in held)
    left = limit - rings - sum(held.values())
    return min(limit, left * 4 // 3) if left > 0 else limit  # the kernel will say so


def _holding(ring_setup: RingSetup, arms: list[Arm]) -> RingSetup:
    """Return the setup with memory for the arms; registered is what they send fixed."""
    areas = [(arm.shape.area_bytes, arm) for arm in arms if arm.shape]
    fixed = [area for area, arm in areas if arm.fixed]
    return ring_setup.holding(
        max(area for area, _ in areas), max(fixed) if fixed else 0
    )


def _errors(counts: dict[int, int]) -> str:
    return " ".join(f"{errno_name(n)}:{count}" for n, count in sorted(counts.items()))


def _histogram(latency: list[int] | None) -> str | None:
    if latency is None:
        return None
    return " ".join(
        f"{floor}:{count}"
        for floor, count in zip(LATENCY_FLOORS_NS, latency, strict=True)
        if count
    )


_STALLS = (
    *("tcp_retransmits", "tcp_timeouts"),
    *("responder_segments", "responder_acks", "responder_gaps", "responder_lost"),
)
_STORED_COUNTS = (
    "started_ns",
    "elapsed_ns",
    "drain_ns",
    "requests",
    "bytes",
    "zc_requests",
    "notifications",
    "ranges",
    "failed_notifications",
    "outstanding",
    "eagain",
    "short_sends",
    "failed",
    "cq_overflow",
    "submits",
    "cpu_user_ns",
    "cpu_sys_ns",
    "switches_voluntary",
    "switches_forced",
    "sent_total_bytes",
)
