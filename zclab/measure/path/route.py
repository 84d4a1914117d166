"""A route: a path that is up, with its facts, and how to open flows on it."""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyroute2 import IPRoute

from zclab import situation as situations
from zclab.errors import MeasureError
from zclab.measure.flow import AF, Flow
from zclab.measure.namespace import PeerNetwork
from zclab.measure.path import answers, device, sink, tap, veth
from zclab.measure.path.address import FAR, LOOPBACK, NEAR
from zclab.measure.path.answers import CONGESTION, Answers
from zclab.measure.target import Target
from zclab.params import BASELINE, Path, Point, Protocol, arm_mode
from zclab.uring.responder import FIRST_PORT

RCVBUF_BYTES = 4 << 20  # as the selftests' receiver or more; capped by rmem_max
CONNECT_S = 5.0
ANSWERED_SAYS = (
    "; a rule logs the headers of what is sent, and a responder on another CPU plays "
    "the receiver's side of TCP from them"
)
ANSWERED_LEAVES_OUT = (
    "; of TCP: the receiver's copy and its window, and a network's delay and loss"
)
UDP_SINK_PORT = 8000  # the tools' default; nobody listens behind a sink


@dataclass(slots=True, kw_only=True)
class Route:
    """A path that is up.

    Attributes:
        device: the device by which packets leave.
        facts: what it is, does and leaves out, and those of its device.
        destination: where packets go, by IP version.
        live: whether a socket of this host takes the data.
        peer: the namespace of the other end; None where there is none.
        held: what must stay open as long as the path is up.

    """

    path: Path
    device: str
    facts: dict[str, Any]
    destination: dict[int, str]
    live: bool
    peer: PeerNetwork | None = None
    held: list[Any] = field(default_factory=list)
    answers: Answers | None = None
    opened: int = 0

    def open(self, point: Point, arm: str = BASELINE) -> Flow:
        """Return a new flow for one arm of `point`, with the arm's socket options.

        Raises:
            CapabilityError: the kernel refuses one of them.

        """
        family = point.family
        if not self.live:
            flow = Flow(family=family, protocol=point.protocol)
            flow.aim(self.destination[family], UDP_SINK_PORT)
            if self.answers:
                flow.aim(self.destination[family], FIRST_PORT + self.opened)
        elif point.protocol is Protocol.UDP:
            receiving = self._receiving_socket(family, socket.SOCK_DGRAM)
            flow = Flow(family=family, protocol=point.protocol, receiving=receiving)
            flow.aim(self.destination[family], receiving.getsockname()[1])
        else:
            flow = Flow(family=family, protocol=point.protocol)
        self.opened += 1
        default = CONGESTION if self.answers else ""
        flow.prepare(arm_mode(arm), point.options(arm), congestion=default)
        if point.protocol is Protocol.TCP and self.live:
            self._connect_tcp(flow)
        elif point.protocol is Protocol.TCP:
            self._connect_answered(flow)
        elif not point.options(arm).addressed:
            flow.connect()
        return flow

    def look(self) -> dict[str, Any]:
        """Return the facts, those of the device as they are now."""
        with IPRoute() as network:
            found = device.facts(network, self.device)
        if self.peer:  # what counts is a program where the packets arrive
            with self.peer.entered(), IPRoute() as far:
                index = device.index_of(far, veth.FAR_END)
                found["xdp"] = device.xdp(far, index) or found["xdp"]
        return {**self.facts, **found}

    def packet_taps(self) -> int | None:
        """Return how many packet taps see the device now, None if that is unknown."""
        return device.packet_taps(self.device)

    def counters(self) -> dict[str, int]:
        """Return what the device has counted so far, by name."""
        return device.counters(self.device)

    def _receiving_socket(self, family: int, kind: socket.SocketKind) -> socket.socket:
        """Return a socket bound on the receiving side, port chosen by the kernel."""
        if self.peer:
            with self.peer.entered():
                receiving = socket.socket(AF[family], kind)
        else:
            receiving = socket.socket(AF[family], kind)
        receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RCVBUF_BYTES)
        receiving.bind((self.destination[family], 0))
        return receiving

    def _connect_answered(self, flow: Flow) -> None:
        """Connect to a responder, which must run by now.

        Raises:
            MeasureError: nobody answers.

        """
        flow.sending.settimeout(CONNECT_S)
        try:
            flow.connect()
        except OSError as error:
            raise MeasureError(
                f"the responder did not answer a handshake on {self.device}: {error}"
            ) from None
        flow.sending.settimeout(None)

    def _connect_tcp(self, flow: Flow) -> None:
        with self._receiving_socket(flow.family, socket.SOCK_STREAM) as listening:
            listening.listen(1)
            flow.aim(self.destination[flow.family], listening.getsockname()[1])
            flow.connect()
            flow.receiving, _ = listening.accept()


def up(
    path: Path,
    families: set[int],
    situation: str = "",
    target: Target | None = None,
) -> Route:
    """Build `path` for IP versions in the current network namespace and return it.

    All but nic, which is there already, and a lo without a situation must run inside
    `namespace.enter()`, or it would change the host's network.

    Args:
        path: which one.
        families: IP versions that it is for.
        situation: what is done to it on purpose, in its one spelling.
        target: where the nic path sends; None for all others.

    Raises:
        CapabilityError: the kernel has none of the devices the path can use, or
            refuses what the situation asks for.

    """
    if path is Path.NIC:
        from zclab.measure.path import nic  # noqa: PLC0415 - it builds on this module

        return nic.up(target, families)
    words = situations.facts(situation)
    with IPRoute() as network:
        if not device.is_up(network, 1):  # lo is always number 1; the host's is up
            network.link("set", index=1, state="up")
        route = _BUILDERS[path](network, families, words)
        device.switch_off(
            route.device, [name for name in device.SWITCHES if name in words]
        )
        if situations.ANSWERED in words:
            route.answers = answers.up(network, families)
            route.facts["says"] += ANSWERED_SAYS
            route.facts["leaves_out"] += ANSWERED_LEAVES_OUT
        if "tap" in words:
            route.held.append(tap.opened(route.device))
    route.facts |= {"live": route.live, "situation": situation}
    route.facts = route.look()
    return route


def _loopback(network: IPRoute, _families: set[int], words: Mapping[str, str]) -> Route:
    if "mtu" in words:
        network.link("set", index=1, mtu=int(words["mtu"]))
    return Route(
        path=Path.LO,
        device="lo",
        destination=LOOPBACK,
        live=True,
        facts={
            "destination": "own",
            "drops": None,
            "says": "lo: loopback with a live receiver",
            "leaves_out": "any device: the packet is queued for the receiver at once, "
            "on the sender's CPU",
        },
    )


def _mtu(words: Mapping[str, str]) -> int:
    return int(words.get("mtu", device.MTU))


def _sink(network: IPRoute, families: set[int], words: Mapping[str, str]) -> Route:
    rung = sink.TUN if "tun" in words else words.get("rung", "")
    made = sink.add(network, families, _mtu(words), rung)
    if "own-address" in words:
        return Route(
            path=Path.SINK,
            device="lo",
            destination=NEAR,
            live=True,
            held=made.held,
            facts={
                "rung": made.rung,
                "destination": "own",
                "drops": None,
                "says": f"own-address: the destination is that of the sink itself "
                f"({made.rung}), so the packets go over lo to a live receiver",
                "leaves_out": "the sink: no packet gets there",
            },
        )
    return Route(
        path=Path.SINK,
        device=made.device,
        destination=FAR,
        live=False,
        peer=made.peer,
        held=made.held,
        facts={"destination": "neighbour", **made.facts},
    )


def _veth(network: IPRoute, families: set[int], words: Mapping[str, str]) -> Route:
    pair = veth.add(network, families, _mtu(words))
    dropped = "peer-drop" in words
    says, leaves_out = "with a live receiver", "and a device's interrupt"
    if dropped:
        by = pair.drop(network, families)
        says = f"that drops at its ingress, before IP and before any copy ({by})"
        leaves_out = "and all that a receiver does after ingress"
    return Route(
        path=Path.VETH,
        device=pair.device,
        destination=FAR,
        live=not dropped,
        peer=pair.peer,
        facts={
            "destination": "neighbour",
            "drops": "peer-ingress" if dropped else None,
            "says": f"veth: the peer device is in a second namespace {says}",
            "leaves_out": f"a wire {leaves_out}: what arrives is taken in softirq on "
            "the sender's CPU",
        },
    )


_BUILDERS: Mapping[Path, Callable[[IPRoute, set[int], Mapping[str, str]], Route]] = {
    Path.LO: _loopback,
    Path.SINK: _sink,
    Path.VETH: _veth,
}
