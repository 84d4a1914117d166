"""Paths: where the packets go. Each is built in the worker's own namespaces.

- sink: a device that drops what it is given, after the whole UDP/IP stack ran; the
  best of a ladder of devices that the kernel has. No receiver, no copy, completion
  inside the send.
- veth: a pair of devices, the peer in a second namespace with a live receiver.
- lo: loopback with a live receiver.
- nic: a device of the host itself, and what is behind it.

All but the last have the largest MTU there is, because the kernel copies datagrams that
need IP fragmentation (ip_output.c, __ip_append_data): up to 65507 B of UDP payload pass
whole over IPv4, up to 65487 B over IPv6.

A situation (`zclab.situation`) changes a path on purpose, so that a rule shows.
"""

from zclab.measure.path.address import FAR, LOOPBACK, NEAR
from zclab.measure.path.device import MTU, counters, packet_taps
from zclab.measure.path.route import RCVBUF_BYTES, UDP_SINK_PORT, Route, up

__all__ = [
    "FAR",
    "LOOPBACK",
    "MTU",
    "NEAR",
    "RCVBUF_BYTES",
    "UDP_SINK_PORT",
    "Route",
    "counters",
    "packet_taps",
    "up",
]
