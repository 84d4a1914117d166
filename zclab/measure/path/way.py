"""The way to a destination: typed address, route and neighbour, each looked at first.

What would go astray is refused in a line before anything is sent: to oneself, to many,
through another device, or to a host that does not answer.
"""

import ipaddress
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from zclab.errors import CapabilityError, InputError, errno_name
from zclab.measure.flow import AF

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# rtm_type, linux/rtnetlink.h
RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST = range(1, 6)
_ASTRAY = {6: "thrown away (blackhole)", 7: "unreachable", 8: "prohibited"}
# NUD_*, linux/neighbour.h
INCOMPLETE, REACHABLE, STALE, DELAY, PROBE, FAILED, NOARP, PERMANENT = (
    1 << bit for bit in range(8)
)
_ANSWERED = REACHABLE | NOARP | PERMANENT
_ANSWERED_ONCE = _ANSWERED | STALE | DELAY | PROBE
PATIENCE_S = 9.0  # 5 s of delay (delay_first_probe_time), three probes a second apart
POLL_S = 0.05
GROUP = 0x01  # in the first byte of an Ethernet address: multicast, broadcast


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How packets get to a destination.

    Attributes:
        address: the destination, without a scope.
        gateway: the next hop where that is another host; empty if there is none.
        index: number of the device.
        mtu: largest packet that gets there, as far as is known: the device's, or a
            smaller one of the route.

    """

    device: str
    index: int
    address: str
    family: int
    gateway: str
    mtu: int

    @property
    def neighbour(self) -> str:
        """The host on the link that takes the packets."""
        return self.gateway or self.address


def address_of(text: str, device: str) -> IPAddress:
    """Return the one host that a text names, as IPv4 or IPv6 address without scope.

    Args:
        text: what was typed after --dst.
        device: the device that was named with it; the scope of a link-local.

    Raises:
        InputError: it is no address, or stands for oneself, for all or for many.

    """
    plain, percent, scope = text.partition("%")
    try:
        found = ipaddress.ip_address(plain)
    except ValueError:
        raise InputError(
            f"--dst {text}: not an IPv4 or IPv6 address; give one, names are not "
            "looked up"
        ) from None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        raise InputError(
            f"--dst {text}: is an IPv4 address; write it as {found.ipv4_mapped}"
        )
    wrong = {
        "stands for no host": found.is_unspecified,
        "is loopback; use --path lo for that": found.is_loopback,
        "is multicast; name one host": found.is_multicast,
        "is broadcast; name one host": str(found) == "255.255.255.255",
    }
    for why, is_so in wrong.items():
        if is_so:
            raise InputError(f"--dst {text}: {why}")
    if percent and not (found.version == 6 and found.is_link_local):
        raise InputError(f"--dst {text}: only link-local addresses have a %device")
    if percent and scope not in (device, str(_index(device))):
        raise InputError(
            f"--dst {text}: is on {scope or 'no device'}, but --dev is {device}; "
            "name the same"
        )
    return found


def _index(device: str) -> int:
    try:
        return socket.if_nametoindex(device)
    except OSError:
        return 0


def find(network: IPRoute, *, device: str, index: int, destination: str) -> Way:
    """Return the way that packets to `destination` take by themselves.

    The route is asked for without naming the device, so that it is the one that any
    program's packets would take; a link-local address alone needs the device.

    Raises:
        InputError: it does not lead through the device, or not to one other host.

    """
    address = address_of(destination, device)
    scoped = {"oif": index} if address.version == 6 and address.is_link_local else {}
    try:
        route = network.route(
            "get", dst=str(address), family=AF[address.version], **scoped
        )[0]
    except NetlinkError as error:
        raise InputError(
            f"--dst {destination}: no route to it ({errno_name(error.code)}); give "
            f"{device} an address of its network, or add a route"
        ) from None
    _check_kind(network, route, destination)
    if route.get_attr("RTA_OIF") != index:
        other = _name(network, route.get_attr("RTA_OIF"))
        raise InputError(
            f"--dst {destination}: the route leaves through {other}, not through "
            f"{device}; name --dev {other}, or an address behind {device}"
        )
    return Way(
        device=device,
        index=index,
        address=str(address),
        family=address.version,
        gateway=_gateway(route),
        mtu=_mtu(network, route, index),
    )


def _mtu(network: IPRoute, route: Any, index: int) -> int:
    """Return the MTU of a route: the device's, or what was set or learnt (PMTU)."""
    own = int(network.get_links(index)[0].get_attr("IFLA_MTU"))
    metrics = route.get_attr("RTA_METRICS")
    learnt = metrics.get_attr("RTAX_MTU") if metrics else None
    return min(own, int(learnt)) if learnt else own


def _gateway(route: Any) -> str:
    """Return the next hop of a route; a route to IPv4 may have an IPv6 one (via)."""
    via = route.get_attr("RTA_VIA") or {}
    return str(route.get_attr("RTA_GATEWAY") or via.get("addr") or "")


def _check_kind(network: IPRoute, route: Any, destination: str) -> None:
    kind = route["type"]
    if kind == RTN_UNICAST:
        return
    told = {
        RTN_LOCAL: "is an address of this host; nothing would leave it, use --path lo",
        RTN_BROADCAST: (
            f"is the broadcast address of {_name(network, route.get_attr('RTA_OIF'))}; "
            "name one host"
        ),
        RTN_ANYCAST: "is anycast here; name one host",
        RTN_MULTICAST: "is multicast; name one host",
    }
    word = _ASTRAY.get(kind, f"of kind {kind}")
    why = told.get(kind, f"its route is {word}; see `ip route get {destination}`")
    raise InputError(f"--dst {destination}: {why}")


def _name(network: IPRoute, index: int | None) -> str:
    links = network.get_links(index) if index else ()
    return str(links[0].get_attr("IFLA_IFNAME")) if links else "no device"


def knock(
    network: IPRoute,
    way: Way,
    port: int,
    *,
    anew: bool,
    patience_s: float = PATIENCE_S,
) -> None:
    """Wait until the neighbour of a way is known to be there.

    Where it is not known, one byte is sent to find out.

    Args:
        network: the kernel's routing socket.
        way: where to.
        port: the UDP port that the byte goes to.
        anew: have it answer now, which takes some seconds where it did not lately;
            else it is enough that it ever did.
        patience_s: seconds to wait.

    Raises:
        CapabilityError: it does not answer: packets would pile up and be dropped
            instead of leaving.
        InputError: what takes its packets is a group of hosts.

    Source: arp(7); net/core/neighbour.c.

    """
    _await(network, way, port, anew=anew, patience_s=patience_s)
    found = _entry(network, way)
    hardware = found.get_attr("NDA_LLADDR") if found is not None else None
    if hardware and len(hardware) == 17 and int(hardware[:2], 16) & GROUP:
        raise InputError(
            f"{way.neighbour} has the hardware address of a group ({hardware}): all "
            f"of it would take what is sent; see ip neigh show dev {way.device}"
        )


def _await(
    network: IPRoute, way: Way, port: int, *, anew: bool, patience_s: float
) -> None:
    enough = _ANSWERED if anew else _ANSWERED_ONCE
    if _state(network, way) & enough or not _resolves(network, way):
        return
    with socket.socket(AF[way.family], socket.SOCK_DGRAM) as probe:
        bind(probe, way.device)
        with suppress(OSError):  # the neighbour's state tells more than an errno
            probe.sendto(b"\0", (way.address, port))
    end = time.monotonic() + patience_s
    while not (state := _state(network, way)) & enough:
        if state & FAILED or time.monotonic() > end:
            if state & _ANSWERED_ONCE:
                return  # it did once, and nothing says that it is gone
            raise CapabilityError(_silent(way))
        time.sleep(POLL_S)


def _silent(way: Way) -> str:
    who = f"gateway {way.gateway}" if way.gateway else way.address
    return (
        f"{who} does not answer on {way.device} (no neighbour): nothing would leave; "
        f"see that it is up and on that link: ip neigh show dev {way.device}"
    )


def _resolves(network: IPRoute, way: Way) -> bool:
    """Return whether the device asks for hardware addresses at all."""
    return not network.get_links(way.index)[0]["flags"] & 0x80  # IFF_NOARP, linux/if.h


def _state(network: IPRoute, way: Way) -> int:
    """Return NUD_* of the neighbour, 0 where nothing is known of it."""
    found = _entry(network, way)
    return 0 if found is None else int(found["state"])


def _entry(network: IPRoute, way: Way) -> Any:
    """Return what the kernel knows of the neighbour, None where that is nothing."""
    family = AF[ipaddress.ip_address(way.neighbour).version]
    for entry in network.get_neighbours(family, ifindex=way.index):
        if entry.get_attr("NDA_DST") == way.neighbour:
            return entry
    return None


def bind(one: socket.socket, device: str) -> None:
    """Have a socket send through one device and no other.

    Raises:
        CapabilityError: it may not.

    """
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    except PermissionError:
        raise CapabilityError(
            f"a socket may not be bound to {device} (SO_BINDTODEVICE); that needs "
            "Linux 5.7, or CAP_NET_RAW"
        ) from None
