"""The sink: a device that drops what it is given, after the whole stack ran.

Its devices are a ladder, best first: the nearest to what v5 measured on is taken that
the kernel has. Which one it is, and what it leaves out, is in every run.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from zclab.errors import CapabilityError
from zclab.measure.namespace import PeerNetwork
from zclab.measure.path import address, device, tun, veth
from zclab.measure.path.address import NEAR
from zclab.situation import RUNGS

NAME = "zcsink"
TUN = "tun"

_SAYS = {
    "dummy": "dummy: counts and frees the packet in its transmit function "
    "(dummy_xmit), the device of the v5 table",
    "ifb": "ifb: drops in its transmit function what was not redirected to it "
    "(ifb_xmit), stands in for dummy; takes one transmit lock more than dummy",
    "veth-drop": "veth-drop: the peer drops at its ingress, before IP and before any "
    "copy ({by}), stands in for dummy; takes the peer's softirq, on the sender's CPU, "
    "more than dummy",
    "veth-down": "veth-down: the peer is down, so the transmit function frees the "
    "packet (veth_xmit), stands in for dummy",
    TUN: "tun: the packet is made ready for a reader of its descriptor, queued, and "
    "dropped where the queue is full (tun_net_xmit); nobody reads",
}
_LEAVES_OUT = {
    "veth-drop": "a driver's work, a wire, and all that a receiver does after ingress",
    TUN: "the reader: what it would cost to take the packets out of the kernel",
}
_DROPS = {"veth-drop": "peer-ingress", "veth-down": "peer-down"}
_ANY = "a driver's work, a wire and a receiver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """A sink that is up.

    Attributes:
        rung: which of the ladder it is, or `tun`.
        by: what drops at the peer's ingress; empty where nothing does.
        peer: the namespace of its other end; None where there is none.
        held: what must stay open.

    """

    device: str
    rung: str
    by: str = ""
    peer: PeerNetwork | None = None
    held: list[Any] = field(default_factory=list)

    @property
    def facts(self) -> dict[str, Any]:
        """Return which rung it is, what it does and what it leaves out."""
        return {
            "rung": self.rung,
            "drops": _DROPS.get(self.rung, "device"),
            "says": _SAYS[self.rung].format(by=self.by),
            "leaves_out": _LEAVES_OUT.get(self.rung, _ANY),
        }


def add(network: IPRoute, families: set[int], mtu: int, rung: str = "") -> Sink:
    """Make the best sink that this kernel has, or the one that is named.

    Args:
        network: of the current namespace.
        families: IP versions that it gets addresses of.
        mtu: in bytes.
        rung: one of `RUNGS`, or `tun`; empty for the best of `RUNGS`.

    Raises:
        CapabilityError: the kernel has none of them, or not the one that is named.

    """
    refused = []
    for name in [rung] if rung else RUNGS:
        try:
            return _MAKERS[name](network, families, mtu)
        except (CapabilityError, NetlinkError) as error:
            refused.append(f"{name}: {device.why(error)}")
            _clear(network)
    if rung:
        raise CapabilityError(f"no such sink here: {refused[0]}")
    raise CapabilityError(
        f"no sink can be made here ({'; '.join(refused)}); load a device: "
        "modprobe dummy, modprobe ifb, or modprobe veth"
    )


def _clear(network: IPRoute) -> None:
    """Remove what an attempt left that failed half-way."""
    for name in (NAME, veth.NEAR_END, tun.NAME):
        for index in network.link_lookup(ifname=name):
            network.link("del", index=index)


def _alone(kind: str) -> Callable[[IPRoute, set[int], int], Sink]:
    """Return what makes a device that drops by itself.

    The queueing discipline is noqueue, as dummy has by itself: ifb's default
    pfifo_fast would charge every packet for a queue that v5's device never had.
    """

    def make(network: IPRoute, families: set[int], mtu: int) -> Sink:
        try:
            network.link("add", ifname=NAME, kind=kind)
        except NetlinkError as error:
            raise CapabilityError(
                f"{device.why(error)}; load it: modprobe {kind}"
            ) from None
        _raise(network, NAME, families, mtu)
        return Sink(device=NAME, rung=kind)

    return make


def _raise(network: IPRoute, name: str, families: set[int], mtu: int) -> None:
    index = device.index_of(network, name)
    network.link("set", index=index, mtu=mtu, state="up")
    network.tc("replace", "noqueue", index)
    for family in families:
        address.add(network, index, family, NEAR[family])


def _veth_drop(network: IPRoute, families: set[int], mtu: int) -> Sink:
    pair = veth.add(network, families, mtu)
    by = pair.drop(network, families)
    return Sink(device=pair.device, rung="veth-drop", by=by, peer=pair.peer)


def _veth_down(network: IPRoute, families: set[int], mtu: int) -> Sink:
    pair = veth.add(network, families, mtu)
    pair.take_down(network, families)
    return Sink(device=pair.device, rung="veth-down", peer=pair.peer)


def _tun(network: IPRoute, families: set[int], mtu: int) -> Sink:
    fd = tun.attached(tun.NAME, "tun", offloads=True)
    _raise(network, tun.NAME, families, mtu)
    return Sink(device=tun.NAME, rung=TUN, held=[fd])


_MAKERS: dict[str, Callable[[IPRoute, set[int], int], Sink]] = {
    "dummy": _alone("dummy"),
    "ifb": _alone("ifb"),
    "veth-drop": _veth_drop,
    "veth-down": _veth_down,
    TUN: _tun,
}
