"""The nic path: a device of this host, and one other host behind it.

Nothing is built and nothing is set: the device is as its owner has it. So all that
could send where it should not is looked at before the first packet, and refused in one
line.
"""

import asyncio
import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from pyroute2 import IPRoute

from zclab import hostfacts
from zclab.errors import CapabilityError, InputError
from zclab.measure import ethtool, host, traffic
from zclab.measure.flow import Flow
from zclab.measure.path import device, way
from zclab.measure.path.route import Route
from zclab.measure.path.way import Way
from zclab.measure.target import Target
from zclab.options import parse, spell
from zclab.packet import header_bytes
from zclab.params import (
    BASELINE,
    Path,
    Plan,
    Point,
    Protocol,
    arm_mode,
)

IFF_LOOPBACK = 0x8
# Without a peer the destination's kernel may answer that nobody listens, which fails
# the next send of a connected socket, and of no other (udp(7), ECONNREFUSED).
UNCONNECTED = "addressed=on"

Found = TypeVar("Found")


@dataclass(slots=True, kw_only=True)
class NicRoute(Route):
    """The device with the destination behind it."""

    target: Target
    index: int

    def open(self, point: Point, arm: str = BASELINE) -> Flow:
        """Return a new flow, bound to the device.

        With a peer it is left to be aimed at the peer's port, and connected; its
        own port is chosen by then, as the peer takes data from that one alone.
        """
        flow = Flow(family=point.family, protocol=point.protocol)
        way.bind(flow.sending, self.device)
        flow.prepare(arm_mode(arm), point.options(arm))
        flow.aim(self.destination[point.family], self.target.port)
        if self.target.peer:
            if point.protocol is Protocol.UDP:
                flow.sending.bind(("", 0))
        elif not point.options(arm).addressed:
            flow.connect()
        return flow

    def look(self) -> dict[str, Any]:
        """Return the facts again, those of the device as they are now."""
        return self.facts | _facts(self.device, self.index)


def _apart(look: Callable[[], Found]) -> Found:
    """Return what `look` does; by a thread of its own where an event loop runs.

    pyroute2 runs its own, and a notebook's kernel has one already. A new thread is in
    the network namespace of the one that started it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return look()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(look).result()


def required(plan: Plan, target: Target | None) -> Target | None:
    """Return the target, where the plan needs one and has it; None where neither.

    Raises:
        InputError: a device or a destination is missing, or there is no use for them.

    """
    points = [point for point in plan.points if point.path is Path.NIC]
    if not points:
        if target:
            raise InputError(
                "--dev and --dst are for path nic, and no point of the plan is on it; "
                "add --path nic, or leave them out"
            )
        return None
    if target is None or not target.device:
        raise InputError(
            "path nic needs a device by name: --dev eth1, say; see `ip -br link`"
        )
    if not target.destination:
        raise InputError(
            "path nic needs a destination behind the device: --dst ADDRESS of a host "
            "that is yours to flood"
        )
    return target


def find(target: Target) -> Way:
    """Return the way to the target; nothing is sent.

    Raises:
        InputError: there is no such device, or the destination is not one other host
            behind it.
        CapabilityError: the device is down, or has no link.

    """
    return _apart(partial(_find, target))


def _find(target: Target) -> Way:
    index = ethtool.index_of(target.device)
    with IPRoute() as network:
        link = network.get_links(index)[0]
        _check_link(link, target.device)
        # What is wrong with the address alone is said before what is with the link.
        way.address_of(target.destination, target.device)
        if not link["flags"] & device.IFF_UP:
            raise CapabilityError(
                f"{target.device} is down; bring it up: ip link set {target.device} up"
            )
        if link.get_attr("IFLA_CARRIER") == 0:
            raise CapabilityError(
                f"{target.device} has no carrier; see that the cable is in, or the "
                "other end up"
            )
        return way.find(
            network,
            device=target.device,
            index=index,
            destination=target.destination,
        )


def _check_link(link: Any, name: str) -> None:
    if link["flags"] & IFF_LOOPBACK:
        raise InputError(f"--dev {name}: is loopback; use --path lo for that")


def check(plan: Plan, target: Target | None) -> Way | None:
    """Return the way that the plan's packets will take; nothing is sent.

    Raises:
        InputError: as `required` and `find`; the plan's IP version is not the
            destination's, a size does not fit the MTU, or tcp or verify has no peer.
        CapabilityError: as `find`.

    """
    target = required(plan, target)
    if target is None:
        return None
    found = find(target)
    for point in plan.points:
        if point.path is not Path.NIC:
            continue
        if point.family != found.family:
            raise InputError(
                f"--dst {target.destination}: is IPv{found.family}, but {point.name} "
                f"is IPv{point.family}; use --family {found.family}, or another address"
            )
        why = _unfit(point, target, found)
        if why:
            raise InputError(f"{point.name}: {why}")
    return found


def misfit(point: Point, found: Way) -> str:
    """Return why a point's datagrams do not pass whole, empty if they do.

    Larger ones would be fragmented, and copied for that: no zerocopy to be measured.
    """
    if point.protocol is Protocol.TCP:
        return ""
    header = header_bytes(found.family, point.protocol)
    fits = found.mtu - header
    largest = max(_datagram_bytes(point, arm) for arm in point.arms)
    if largest <= fits:
        return ""
    return (
        f"datagrams of {largest} B need an MTU of {largest + header}, and the way by "
        f"{found.device} has {found.mtu}: up to {fits} B fit; raise it on both hosts "
        f"(ip link set {found.device} mtu {largest + header}) or use smaller sizes"
    )


def _datagram_bytes(point: Point, arm: str) -> int:
    """Return the payload of the largest datagram that an arm makes."""
    options = point.options(arm)
    if options.segment:
        return min(options.segment, point.io_size_bytes)
    joined = point.arm_batch(arm) if options.cork else max(1, options.more)
    return point.io_size_bytes * joined


def fitted(plan: Plan, target: Target, *, strict: bool = False) -> Plan:
    """Return a plan as it fits a target, within the target's caps; nothing is sent.

    Its nic points get the destination's IP version, and stay unconnected where there
    is no peer. Those that cannot be had are left out, with the reason: tcp and verify
    without a peer, and datagrams that the MTU does not carry whole.

    Args:
        plan: the plan.
        target: where it sends.
        strict: refuse what cannot be had, and another IP version.

    Raises:
        InputError: as `check`; or nothing is left, or the caps allow too little.
        CapabilityError: as `find`.

    """
    found = find(target)
    excluded = dict(plan.excluded)
    points = [adapted(point, target, found, strict=strict) for point in plan.points]
    unfit = {
        point.name: hostfacts.unidentified(why)
        for point in points
        if point.path is Path.NIC and (why := _unfit(point, target, found))
    }
    kept = tuple(point for point in points if strict or point.name not in unfit)
    if not kept:
        name, why = next(iter(unfit.items()))
        raise InputError(f"no point of the plan can be had: {name}: {why}")
    plan = dataclasses.replace(
        plan,
        points=kept,
        excluded=tuple((excluded if strict else excluded | unfit).items()),
    )
    check(plan, target)
    return traffic.bounded(plan, target)


def _unfit(point: Point, target: Target, found: Way) -> str:
    """Return why a point cannot be had, empty if it can."""
    if point.protocol is Protocol.TCP and not target.peer:
        return (
            "tcp needs somebody who receives; run `zclab peer` on the other host, and "
            "name it: --peer HOST:PORT"
        )
    if not target.peer and any(point.options(arm).verify for arm in point.arms):
        return (
            "verify needs somebody who receives; run `zclab peer` on the other host, "
            "and name it: --peer HOST:PORT"
        )
    return misfit(point, found)


def adapted(point: Point, target: Target, found: Way, *, strict: bool = False) -> Point:
    """Return a point as it is sent to a target; one of another path as it is."""
    if point.path is not Path.NIC:
        return point
    given = point.given
    unheard = point.protocol is Protocol.UDP and not target.peer
    if unheard and "addressed" not in dict(given):
        given = parse(":".join(filter(None, (spell(given), UNCONNECTED))))
    family = point.family if strict else found.family
    return dataclasses.replace(point, family=family, given=given)


def foretold(plan: Plan, target: Target) -> str:
    """Return in one line what a plan sends at the most, and to whom; nothing is sent.

    Raises:
        InputError: as `check`.
        CapabilityError: as `find`.

    """
    found = find(target)
    facts = _apart(partial(ethtool.facts, found.device, index=found.index))
    link = facts.get("link_mbit")
    tcp = any(point.protocol is Protocol.TCP for point in plan.points)
    by = (
        f"{found.device} ({facts.get('driver', 'unknown driver')}, "
        f"{f'{link} Mbit/s' if link else 'link speed unknown'}, MTU {found.mtu})"
    )
    where = {
        f"{target.destination}": True,
        "ports that the peer opens" if target.peer else f"UDP port {target.port}": True,
        "over TCP and UDP" if tcp else "": tcp,
        f"through {by}": True,
        f"by gateway {found.gateway}": bool(found.gateway),
    }
    expected = traffic.most(plan, target, mtu=found.mtu, link_mbit=link)
    return traffic.words(
        expected, ", ".join(text for text, is_so in where.items() if is_so)
    )


def alias(destination: str) -> str:
    """Return what stands for an address in a run: the same for the same one.

    It is hashed with the host's own alias, so that two runs of one host can be told
    to have gone to one place, and not to which.
    """
    text = f"zclab {host.alias()} {destination}"
    return "dst-" + hashlib.sha256(text.encode()).hexdigest()[:4]


def greet(plan: Plan, target: Target | None) -> Target | None:
    """Return the target of a plan that may be sent to now; None where none is needed.

    One byte is sent to it, where its neighbour did not answer lately.

    Raises:
        InputError: as `check`.
        CapabilityError: as `check`; or the neighbour does not answer.

    """
    found = check(plan, target)
    if found is None or target is None:
        return None
    _apart(partial(_knock, found, target.port, anew=True))
    return target


def _knock(found: Way, port: int, *, anew: bool) -> None:
    with IPRoute() as network:
        way.knock(network, found, port, anew=anew)


def up(target: Target | None, families: Iterable[int]) -> NicRoute:
    """Return the route to a target that is known to answer.

    Raises:
        InputError: there is no target, or as `find`.
        CapabilityError: as `find`; or its neighbour does not answer.

    """
    if target is None:
        raise InputError("path nic needs a device and a destination: --dev, --dst")
    found = find(target)
    if set(families) != {found.family}:
        raise InputError(
            f"--dst {target.destination}: is IPv{found.family}, and not all points are"
        )
    _knock(found, target.port, anew=False)
    return NicRoute(
        path=Path.NIC,
        device=found.device,
        index=found.index,
        target=target,
        destination={found.family: found.address},
        live=False,
        facts=_facts(found.device, found.index)
        | {
            "destination": "neighbour",
            "destination_alias": alias(found.address),
            "drops": None,
            "live": False,
            "says": f"nic: {found.device} of this host, and "
            + ("a host beyond a gateway" if found.gateway else "a host on its link")
            + (" that runs zclab peer" if target.peer else "; nobody tells what came"),
            "leaves_out": ""
            if target.peer
            else "a receiver: what is dropped on the way is not known",
        },
    )


def _facts(name: str, index: int) -> dict[str, Any]:
    """Return all facts of a device, as they are now."""
    with IPRoute() as network:
        found = device.facts(network, name)
        link = network.get_links(index)[0]
    card = ethtool.facts(name, index=index)
    kind = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND")
    return {
        **found,
        "carrier": link.get_attr("IFLA_CARRIER") == 1,
        **card,
        "kind": kind or card.get("driver", "unknown"),
    }
