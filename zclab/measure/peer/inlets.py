"""Inlets: where the flows of a station arrive at a peer."""

import ipaddress
import socket
from collections.abc import Sequence

from zclab.errors import InputError, MeasureError
from zclab.measure.flow import AF, Flow
from zclab.measure.path import way
from zclab.measure.peer.client import RemoteReceiver
from zclab.measure.peer.message import Inlet
from zclab.measure.target import Target
from zclab.options import Options
from zclab.params import ONE_ADDRESS, Protocol

CONNECT_S = 10.0


def connect(
    flows: Sequence[tuple[Flow, int, Options]], target: Target
) -> RemoteReceiver:
    """Return a session with the target's peer in which each flow has a socket.

    Args:
        flows: each with the bytes of its verified units, 0 for none, and its options;
            UDP ones are bound to a port of their own. They are connected, over UDP
            unless they are to be addressed.
        target: where they go.

    Raises:
        InputError: the peer has another token, or does not receive at that address,
            or unconnected flows would all send to one of its sockets.
        MeasureError: there is none, it is busy, or nothing gets through to it.

    """
    if any(options.addressed and options.flows > 1 for _, _, options in flows):
        raise InputError(f"{ONE_ADDRESS} at the peer; leave addressed or flows out")
    receiver = RemoteReceiver.connect(peer=target.peer, token=target.token)
    try:
        ports = receiver.listen(
            [_inlet(flow, unit) for flow, unit, _ in flows],
            address=_bare(target.destination),
            source=source(target),
        )
        for (flow, _, options), port in zip(flows, ports, strict=True):
            flow.aim(target.destination, port)
            if flow.protocol is Protocol.TCP:
                _connect_tcp(flow, receiver.name)
            elif not options.addressed:
                flow.connect()
        receiver.usage()  # all are accepted: what failed would be told here
    except BaseException:
        receiver.close()
        raise
    return receiver


def source(target: Target) -> str:
    """Return the address from which this host sends to the target's destination."""
    address = ipaddress.ip_address(target.destination)
    with socket.socket(AF[address.version], socket.SOCK_DGRAM) as asking:
        way.bind(asking, target.device)
        asking.connect((target.destination, target.port))  # nothing is sent by this
        return _bare(asking.getsockname()[0])


def _inlet(flow: Flow, unit: int) -> Inlet:
    udp = flow.protocol is Protocol.UDP
    port = flow.sending.getsockname()[1] if udp else 0
    return Inlet(protocol=flow.protocol, unit=unit, port=port)


def _bare(address: str) -> str:
    """Return an address in its shortest spelling, without the device it is on."""
    return str(ipaddress.ip_address(address.partition("%")[0]))


def _connect_tcp(flow: Flow, name: str) -> None:
    flow.sending.settimeout(CONNECT_S)
    try:
        flow.connect()
    except OSError as error:
        why = (
            "nothing comes back" if isinstance(error, TimeoutError) else error.strerror
        )
        raise MeasureError(
            f"peer {name} waits for a TCP connection but none gets through: {why}; "
            "is there a firewall between?"
        ) from None
    flow.sending.settimeout(None)
