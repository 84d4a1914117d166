"""Paths: where the packets go. Each is built in the worker's own namespaces.

- sink: a device that drops what it is given, after the whole UDP/IP stack ran:
  `dummy`, else `ifb`. No receiver, no copy, completion inside the send.
- veth: a pair of devices, the peer in a second namespace with a live receiver.
- lo: loopback with a live receiver.

All have the largest MTU there is, because the kernel copies datagrams that need IP
fragmentation (ip_output.c, __ip_append_data): up to 65507 B of UDP payload pass
whole over IPv4, up to 65487 B over IPv6.
"""

import socket
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pyroute2 import Ethtool, IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from zclab.errors import CapabilityError
from zclab.measure.flow import AF, Flow
from zclab.measure.namespace import PeerNetwork
from zclab.params import BASELINE, Path, Point, Protocol, arm_mode

MTU = 65535
RCVBUF_BYTES = 4 << 20  # as the selftests' receiver or more; capped by rmem_max
UDP_SINK_PORT = 8000  # the tools' default; nobody listens behind a sink

# Documentation addresses (RFC 5737, RFC 3849): they mean nothing outside.
NEAR = {4: "192.0.2.1", 6: "2001:db8::1"}
FAR = {4: "192.0.2.2", 6: "2001:db8::2"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
PREFIX = {4: 24, 6: 64}

_SAYS = {
    "dummy": "dummy: counts and frees the packet in its transmit function "
    "(dummy_xmit), the device of the v5 table",
    "ifb": "ifb: drops in its transmit function what was not redirected to it "
    "(ifb_xmit), stands in for dummy; takes one transmit lock more than dummy",
    "veth": "veth: the peer device is in a second namespace with a live receiver",
    "loopback": "lo: loopback with a live receiver",
}


@dataclass(slots=True, kw_only=True)
class Route:
    """A path that is up: its device, its facts, and how to open flows on it."""

    path: Path
    device: str
    facts: dict[str, Any]
    peer: PeerNetwork | None = None

    @property
    def live(self) -> bool:
        """Whether a receiver takes the data."""
        return self.path is not Path.SINK

    def open(self, point: Point, arm: str = BASELINE) -> Flow:
        """Return a new flow for one arm of `point`, with the arm's socket options.

        Raises:
            CapabilityError: the kernel refuses one of them.

        """
        family = point.family
        if not self.live:
            flow = Flow(family=family, protocol=point.protocol)
            flow.aim(FAR[family], UDP_SINK_PORT)
        elif point.protocol is Protocol.UDP:
            receiving = self._receiving_socket(family, socket.SOCK_DGRAM)
            flow = Flow(family=family, protocol=point.protocol, receiving=receiving)
            flow.aim(self._addresses[family], receiving.getsockname()[1])
        else:
            flow = Flow(family=family, protocol=point.protocol)
        flow.prepare(arm_mode(arm), point.options(arm))
        if point.protocol is Protocol.TCP:
            self._connect_tcp(flow)
        elif not point.options(arm).addressed:
            flow.connect()
        return flow

    @property
    def _addresses(self) -> dict[int, str]:
        return FAR if self.peer else LOOPBACK

    def _receiving_socket(self, family: int, kind: socket.SocketKind) -> socket.socket:
        """Return a socket bound on the receiving side, port chosen by the kernel."""
        if self.peer:
            with self.peer.entered():
                receiving = socket.socket(AF[family], kind)
        else:
            receiving = socket.socket(AF[family], kind)
        receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RCVBUF_BYTES)
        receiving.bind((self._addresses[family], 0))
        return receiving

    def _connect_tcp(self, flow: Flow) -> None:
        with self._receiving_socket(flow.family, socket.SOCK_STREAM) as listening:
            listening.listen(1)
            flow.aim(self._addresses[flow.family], listening.getsockname()[1])
            flow.connect()
            flow.receiving, _ = listening.accept()


def up(path: Path, families: set[int]) -> Route:
    """Build `path` for IP versions in the current network namespace and return it.

    Must run inside `namespace.enter()`, or it would change the host's network.

    Raises:
        CapabilityError: the kernel has none of the devices the path can use.

    """
    with IPRoute() as network:
        network.link("set", index=1, state="up")  # lo is always number 1
        if path is Path.LO:
            return Route(path=path, device="lo", facts=_facts(network, "lo"))
        if path is Path.SINK:
            device = _add_sink(network, families)
            return Route(path=path, device=device, facts=_facts(network, device))
        return _add_veth(network, families)


def _add_sink(network: IPRoute, families: set[int]) -> str:
    """Make the first sink that this kernel has; return its name.

    The queueing discipline is noqueue, as dummy has by itself: ifb's default
    pfifo_fast would charge every packet for a queue that v5's device never had.
    """
    device = "zcsink"
    for kind in ("dummy", "ifb"):
        try:
            network.link("add", ifname=device, kind=kind)
            break
        except NetlinkError:
            continue
    else:
        raise CapabilityError(
            "the sink needs a dummy or an ifb device and this kernel makes neither; "
            "load one: modprobe dummy, or modprobe ifb"
        )
    index = network.link_lookup(ifname=device)[0]
    network.link("set", index=index, mtu=MTU, state="up")
    network.tc("replace", "noqueue", index)
    for family in families:
        _add_address(network, index, family, NEAR[family])
    return device


def _add_veth(network: IPRoute, families: set[int]) -> Route:
    peer = PeerNetwork()
    device, other = "zcveth0", "zcveth1"
    try:
        network.link(
            "add",
            ifname=device,
            kind="veth",
            peer={"ifname": other, "net_ns_fd": peer.fd},
        )
    except NetlinkError as error:
        raise CapabilityError(
            f"the veth path needs a veth device, which this kernel refuses ({error}); "
            "load it: modprobe veth"
        ) from None
    index = network.link_lookup(ifname=device)[0]
    with peer.entered(), IPRoute() as far:
        far_index = far.link_lookup(ifname=other)[0]
        far.link("set", index=1, state="up")
        far.link("set", index=far_index, mtu=MTU, state="up")
        for family in families:
            _add_address(far, far_index, family, FAR[family])
    network.link("set", index=index, mtu=MTU, state="up")
    for family in families:
        _add_address(network, index, family, NEAR[family])
    return Route(
        path=Path.VETH, device=device, facts=_facts(network, device), peer=peer
    )


def _add_address(network: IPRoute, index: int, family: int, address: str) -> None:
    """Add an address that can be used at once: no duplicate detection for IPv6."""
    nodad = {"flags": 0x02} if family == 6 else {}  # IFA_F_NODAD
    network.addr("add", index=index, address=address, prefixlen=PREFIX[family], **nodad)


def _facts(network: IPRoute, device: str) -> dict[str, Any]:
    """Return what bears on zerocopy about a device of the current namespace."""
    index = network.link_lookup(ifname=device)[0]
    link = network.get_links(index)[0]
    info = link.get_attr("IFLA_LINKINFO")
    kind = info.get_attr("IFLA_INFO_KIND") if info else "loopback"
    facts: dict[str, Any] = {
        "device": device,
        "kind": kind,
        "mtu": link.get_attr("IFLA_MTU"),
        "qdisc": link.get_attr("IFLA_QDISC"),
        "packet_taps": packet_taps(),
        "says": _SAYS[kind],
    }
    with Ethtool() as ethtool:
        flags = ethtool.get_features(device).offload_flags
    facts["features"] = {
        name: bool(flags[name])
        for name in (
            "scatter-gather",
            "tx-checksumming",
            "generic-segmentation-offload",
            "tcp-segmentation-offload",
        )
        if name in flags
    }
    return facts


def packet_taps() -> int:
    """Return how many AF_PACKET sockets of this namespace see all protocols.

    Such a socket makes the kernel copy what leaves its device, or any device if it
    is bound to none (dev_queue_xmit_nit). Source: packet(7), /proc/net/packet.
    """
    try:
        lines = FilePath("/proc/net/packet").read_text().splitlines()[1:]
    except OSError:
        return 0
    return sum(line.split()[3] == "0003" for line in lines)  # ETH_P_ALL
