"""Answers: what stands in for a receiver of TCP where a device drops all data.

A rule tells the headers of what is sent, a responder reads them and writes the
receiver's side of the connection into a tun device, as if it had come from outside. All
three are in the namespace of the path and answer nobody else.
"""

import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from zclab.errors import CapabilityError
from zclab.measure import namespace
from zclab.measure.path import device, log, tun
from zclab.uring.responder import Reply, Responder

NAME = "zcanswer"
# Unless an option names another: every kernel has it, and it does not pace.
CONGESTION = "reno"
RP_FILTER = "/proc/sys/net/ipv4/conf/{}/rp_filter"


@dataclass(slots=True, kw_only=True)
class Answers:
    """The log and the tun device, for a responder to read and to write."""

    log: socket.socket
    tun: int
    families: set[int]

    def start(self, *, ports: int, cpu: int | None, reply: Reply) -> Responder:
        """Return a responder that is running; each of `ports` has a tally."""
        return Responder(
            self.log.fileno(),
            self.tun,
            ports=ports,
            reply=reply,
            cpu=cpu,
            die_with_parent=namespace.die_with_parent,
        )

    def shrink(self, buffer_bytes: int) -> None:
        """Give the log's socket a small buffer, so that it overruns: for tests."""
        self.log.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)

    def facts(self, reply: Reply) -> dict[str, Any]:
        """Return what bears on how TCP is answered."""
        buffer = self.log.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        return {
            "log_buffer_bytes": buffer,
            "log_headers_bytes": log.HEADERS_BYTES,
            "reply": asdict(reply),
        }


def up(network: IPRoute, families: set[int]) -> Answers:
    """Set log and tun device up in the current namespace.

    Raises:
        CapabilityError: the kernel lacks one of them, or what it takes to use it.

    """
    descriptor = tun.attached(NAME, "tcp over the sink")
    index = device.index_of(network, NAME)
    network.link("set", index=index, mtu=device.MTU, state="up")
    if 4 in families:
        _let_in()
    found = Answers(log=log.opened(), tun=descriptor, families=families)
    log.add_rule(families)
    return found


def _let_in() -> None:
    """Let packets in by the tun device though answers to them leave by another.

    Source: ip-sysctl.rst, rp_filter: the larger of the two values holds, 1 refuses.
    """

    def value() -> int:
        return max(int(Path(RP_FILTER.format(of)).read_text()) for of in ("all", NAME))

    with suppress(OSError):
        if value() == 1:
            Path(RP_FILTER.format(NAME)).write_text("2")
    if value() == 1:
        raise CapabilityError(
            "tcp over the sink: net.ipv4.conf.all.rp_filter = 1 drops the answers; set "
            "it to 2 or 0, or make /proc/sys writable"
        )
