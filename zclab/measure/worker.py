"""The process that owns one path and sends on it, one block per request.

It talks JSON lines: the plan of its path comes first on stdin, then one request
per block; each is answered by one line on stdout. When stdin ends or the parent
dies, it ends, and its namespaces with it.
"""

import json
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from zclab.errors import CapabilityError, MeasureError, ZclabError
from zclab.measure import namespace
from zclab.measure.path import Flow, Route, packet_taps, up
from zclab.params import Path, Plan, Point, Protocol, arm_mode
from zclab.uring import probe
from zclab.uring.receiver import Receiver
from zclab.uring.ring import Ring
from zclab.uring.sender import Sender

CATCH_UP_S = {Protocol.UDP: 0.25, Protocol.TCP: 5.0}


@dataclass(slots=True, kw_only=True)
class Arm:
    """One arm of one point, ready to send."""

    name: str
    flow: Flow
    sender: Sender
    index: int  # of its receiving socket


def _up(path: Path, families: set[int]) -> Route:
    """Build the path; whatever the kernel refuses of it is a missing capability."""
    try:
        return up(path, families)
    except (NetlinkError, OSError) as error:
        raise CapabilityError(f"path {path} cannot be built here: {error}") from None


class Station:
    """All arms of all points of one path: sockets, rings and buffers are set up."""

    def __init__(self, plan: Plan, path: Path, cpus: tuple[int, int]) -> None:
        self.plan = plan
        self.points = tuple(point for point in plan.points if point.path is path)
        self.route = _up(path, {point.family for point in self.points})
        self.report_usage = plan.report_usage and probe.support().report_usage
        flows = {
            (point, arm): self.route.open(point)
            for point in self.points
            for arm in point.arms
        }
        sending_cpu, receiving_cpu = cpus
        self.receiver = self._start_receiver(list(flows.values()), receiving_cpu)
        os.sched_setaffinity(0, {sending_cpu})
        self.ring = Ring(
            [flow.sending.fileno() for flow in flows.values()],
            buffer_bytes=max(point.io_size_bytes for point in self.points),
        )
        self.arms: dict[str, list[Arm]] = {}
        for index, ((point, arm), flow) in enumerate(flows.items()):
            arms = self.arms.setdefault(point.name, [])
            arms.append(self._arm(point, arm, flow, index))
        self.facts = self._facts(sending_cpu, receiving_cpu)

    def _start_receiver(self, flows: list[Flow], cpu: int) -> Receiver | None:
        if not self.route.live:
            return None
        fds = [flow.receiving.fileno() for flow in flows if flow.receiving]
        return Receiver(fds, cpu=cpu, die_with_parent=namespace.die_with_parent)

    def _arm(self, point: Point, arm: str, flow: Flow, index: int) -> Arm:
        sender = Sender(
            self.ring,
            index,
            mode=arm_mode(arm),
            io_size_bytes=point.io_size_bytes,
            batch=point.batch,
            seed=(self.plan.seed * 1_000_003 + index) % (1 << 61) + 1,
            report_usage=self.report_usage,
            where=f"over {point.protocol} on {point.path}",
        )
        return Arm(name=arm, flow=flow, sender=sender, index=index)

    def _facts(self, sending_cpu: int, receiving_cpu: int) -> dict[str, Any]:
        ring = self.ring.facts
        senders = {name: arms[0].sender for name, arms in self.arms.items()}
        return {
            **self.route.facts,
            "sender_cpu": sending_cpu,
            "receiver": "process" if self.receiver else None,
            "receiver_cpu": receiving_cpu if self.receiver else None,
            "sender": {
                "ring_flags": list(ring.setup_flags),
                "sq_entries": ring.sq_entries,
                "cq_entries": ring.cq_entries,
                "registered_file": True,
                "registered_ring": ring.registered_ring,
                "report_usage": self.report_usage,
                "notification_lag": {
                    name: sender.notification_lag for name, sender in senders.items()
                },
                "sndbuf_bytes": self._sndbuf(),
            },
        }

    def _sndbuf(self) -> int:
        arm = next(iter(self.arms.values()))[0]
        return arm.flow.sending.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

    def block(
        self, point: Point, order: list[str], number: int
    ) -> list[dict[str, Any]]:
        """Run one block: one slice of each arm of `point` in the given order."""
        arms = {arm.name: arm for arm in self.arms[point.name]}
        return [
            self._sample(point, arms[name], number, position)
            for position, name in enumerate(order)
        ]

    def _sample(
        self, point: Point, arm: Arm, block: int, position: int
    ) -> dict[str, Any]:
        drops_before = arm.flow.drops()
        before = self.receiver.received(arm.index) if self.receiver else (0, 0)
        counts = arm.sender.slice(
            warmup_ns=self.plan.warmup_ns, budget_ns=self.plan.slice_ns
        )
        drops = self._settle(point, arm, counts, drops_before, before[1])
        after = self.receiver.received(arm.index) if self.receiver else (0, 0)
        live = self.receiver is not None
        udp = point.protocol is Protocol.UDP
        return {
            **point.factors,
            "block": block,
            "position": position,
            "arm": arm.name,
            "mode": str(arm_mode(arm.name)),
            **{name: counts[name] for name in _STORED_COUNTS},
            "copied": counts["copied"] if self.report_usage else None,
            "received_bytes": after[1] - before[1] if live else None,
            "received": after[0] - before[0] if live and udp else None,
            "receiver_drops": drops if live and udp else None,
        }

    def _settle(
        self,
        point: Point,
        arm: Arm,
        counts: dict[str, int],
        drops_before: int,
        bytes_before: int,
    ) -> int:
        """Wait until the receiver took what was sent; return the datagrams dropped.

        So no slice works off what the slice before it sent. Over TCP nothing may
        be missing; over UDP what is missing beyond the socket's own drops was
        dropped on the way, and shows as the difference of two stored columns.
        """
        if not self.receiver:
            return 0

        def lost() -> int:
            return (arm.flow.drops() - drops_before) * point.io_size_bytes

        all_there = self.receiver.await_bytes(
            arm.index,
            bytes_before + counts["sent_total_bytes"],
            lost=lost if point.protocol is Protocol.UDP else lambda: 0,
            deadline_s=CATCH_UP_S[point.protocol],
        )
        if not all_there and point.protocol is Protocol.TCP:
            _, now = self.receiver.received(arm.index)
            raise MeasureError(
                f"{arm.name} on {point.name}: {counts['sent_total_bytes']} B sent "
                f"but {now - bytes_before} B received over tcp"
            )
        return arm.flow.drops() - drops_before

    def close(self) -> None:
        """Close the ring and stop the receiver."""
        self.ring.close()
        if self.receiver:
            self.receiver.close()


_STORED_COUNTS = (
    "started_ns",
    "elapsed_ns",
    "drain_ns",
    "requests",
    "bytes",
    "zc_requests",
    "notifications",
    "outstanding",
    "eagain",
    "short_sends",
    "cq_overflow",
    "submits",
    "cpu_user_ns",
    "cpu_sys_ns",
    "sent_total_bytes",
)


def _answer(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(values, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def _raise_memlock() -> None:
    """Use all of the locked memory that the hard limit grants without privilege."""
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))


def serve() -> None:
    """Answer requests until stdin ends."""
    # Ctrl-C reaches the whole foreground group; the sweep decides when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = json.loads(sys.stdin.readline())
    namespace.die_with_parent(request["parent"])
    _raise_memlock()
    host_taps = packet_taps()
    namespace.enter()
    plan = Plan.from_json(request["plan"])
    path = Path(request["path"])
    station = Station(plan, path, tuple(request["cpus"]))
    points = {point.name: point for point in station.points}
    _answer({"ready": station.facts | {"host_packet_taps": host_taps}})
    try:
        for line in sys.stdin:
            request = json.loads(line)
            point = points[request["point"]]
            samples = station.block(point, request["order"], request["block"])
            _answer({"samples": samples})
    finally:
        station.close()


def main() -> None:
    """Serve; an error becomes one line of JSON that says its kind and message."""
    try:
        serve()
    except ZclabError as error:
        _answer({"error": str(error), "kind": _kind(error)})
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        what = error.filename or "a system call of the worker"
        _answer({"error": f"{what} failed: {error.strerror}", "kind": "MeasureError"})
        sys.exit(1)


def _kind(error: ZclabError) -> str:
    """Return the name of the nearest class that needs no constructor of its own."""
    kinds = ("CapabilityError", "InputError", "MeasureError")
    names = [kind.__name__ for kind in type(error).__mro__]
    return next((kind for kind in kinds if kind in names), "MeasureError")


if __name__ == "__main__":
    main()
