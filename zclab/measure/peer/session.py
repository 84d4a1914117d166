"""A session: what a peer holds for its controller, from its first line to its last."""

import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from zclab.errors import CapabilityError, InputError, MeasureError, errno_name
from zclab.measure import host, namespace
from zclab.measure.flow import drops
from zclab.measure.path import RCVBUF_BYTES
from zclab.measure.peer import message
from zclab.measure.peer.address import IPAddress, family, named, sockaddr
from zclab.params import Protocol
from zclab.uring.receiver import Receiver

ACCEPT_S = 10.0  # in which a controller connects what it asked for

Answer = dict[str, Any]
Waiting = Callable[[], Answer | None]


class Session:
    """Opens sockets, receives on them, and answers questions.

    Args:
        addresses: those that may be received on.
        cpu: the receiver's CPU; None: any.
        facts: asked for what it returns whenever facts are.
        strangers: descriptors that the receiver's process must not keep.

    """

    def __init__(
        self,
        *,
        addresses: Sequence[IPAddress],
        cpu: int | None,
        facts: Callable[[], Answer],
        strangers: Callable[[], Sequence[int]],
    ) -> None:
        self._addresses = addresses
        self._cpu = cpu
        self._facts = facts
        self._strangers = strangers
        self._sockets: list[socket.socket] = []
        self._units: list[int] = []
        self._listening: dict[int, tuple[socket.socket, IPAddress]] = {}
        self._receiver: Receiver | None = None

    def ask(self, question: message.Question) -> Answer | Waiting:
        """Return the answer, or what has it once it returns something.

        Raises:
            ZclabError: the question cannot be answered.

        """
        match question:
            case message.Listen():
                return {"ports": self._listen(question)}
            case message.Facts():
                return {"facts": self._facts()}
            case message.Bye():
                self.close()
                return {"bye": True}
        if not self._sockets:
            raise InputError("nothing was asked to be received yet")
        if not self._receiver:
            return self._once_accepted(question)
        return self._count(self._receiver, question)

    # -- sockets ---------------------------------------------------------------

    def _listen(self, question: message.Listen) -> list[int]:
        if self._receiver:
            raise InputError("the receiver runs already; its sockets are settled")
        if len(self._sockets) + len(question.inlets) > message.SOCKETS_MAX:
            raise InputError(
                f"a peer receives on {message.SOCKETS_MAX} sockets at most; "
                "plan fewer points, arms or flows at a time"
            )
        address = self._own(question.address)
        source = named(question.source, what="source")
        if source.version != address.version:
            raise InputError(f"{source} cannot send to {address}")
        return [self._open(inlet, address, source) for inlet in question.inlets]

    def _own(self, text: str) -> IPAddress:
        """Return which of the addresses that were named at the start is meant."""
        for address in self._addresses:
            if str(address).partition("%")[0] == text:
                return address
        raise InputError(
            f"it does not receive on {text}; start it with --data {text} as well"
        )

    def _open(self, inlet: message.Inlet, address: IPAddress, source: IPAddress) -> int:
        """Open one socket; return its port."""
        udp = inlet.protocol is Protocol.UDP
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        try:
            opened = socket.socket(family(address), kind | socket.SOCK_NONBLOCK)
        except OSError as error:
            raise _refused(error) from None
        # From here on it is closed with the session, whatever happens.
        self._sockets.append(opened)
        self._units.append(inlet.unit)
        try:
            if address.version == 6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RCVBUF_BYTES)
            opened.bind(sockaddr(address, 0))
            if udp:
                self._take_from(opened, address, source, inlet.port)
            else:
                opened.listen(8)
                self._listening[len(self._sockets) - 1] = opened, source
        except OSError as error:
            raise _refused(error) from None
        return int(opened.getsockname()[1])

    @staticmethod
    def _take_from(
        opened: socket.socket, address: IPAddress, source: IPAddress, port: int
    ) -> None:
        """Take datagrams from nobody else, and none of those that were quicker."""
        to = sockaddr(source, port)
        if len(to) == 4:  # a link-local source is on the device of the address
            to = (*to[:3], sockaddr(address, 0)[3])  # type: ignore[misc]
        opened.connect(to)
        with suppress(BlockingIOError):
            while True:
                opened.recv(1)

    @property
    def awaited(self) -> list[socket.socket]:
        """The listening sockets that nobody connected to so far."""
        return [listening for listening, _ in self._listening.values()]

    def accept(self) -> None:
        """Accept the connections that wait; those from anybody else are closed."""
        for index, (listening, source) in list(self._listening.items()):
            try:
                taken, (found, *_) = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            if found.partition("%")[0] != str(source).partition("%")[0]:
                taken.close()
                continue
            listening.close()
            del self._listening[index]
            self._sockets[index] = taken

    # -- the receiver ----------------------------------------------------------

    def _once_accepted(self, question: message.Question) -> Answer | Waiting:
        """Start the receiver when all is connected; the first question waits for it."""
        end = time.monotonic() + ACCEPT_S
        inner: list[Waiting] = []

        def look() -> Answer | None:
            if inner:
                return inner[0]()
            self.accept()
            if self._listening and time.monotonic() < end:
                return None
            if self._listening:
                raise MeasureError(
                    f"{len(self._listening)} TCP connections that were announced did "
                    f"not come within {ACCEPT_S:.0f} s; is something between the hosts "
                    "that keeps them off?"
                )
            found = self._count(self._start(), question)
            if callable(found):
                inner.append(found)
                return None
            return found

        return look() or look

    def _start(self) -> Receiver:
        self._receiver = Receiver(
            [opened.fileno() for opened in self._sockets],
            units=self._units,
            cpu=self._cpu,
            die_with_parent=self._be_a_child,
        )
        return self._receiver

    def _be_a_child(self, parent: int) -> None:
        """End with the peer, and keep nothing of it but the sockets."""
        namespace.die_with_parent(parent)
        for fd in self._strangers():
            os.close(fd)

    def _count(
        self, receiver: Receiver, question: message.Question
    ) -> Answer | Waiting:
        match question:
            case message.Tallies():
                return {"tallies": [self._tally(receiver, i) for i in question.of]}
            case message.Drops():
                return {"drops": [self._drops(i) for i in question.of]}
            case message.Await():
                return self._await(receiver, question)
            case message.Usage():
                used = receiver.usage()
                cpus = tuple(range(os.cpu_count() or 1))
                return {
                    "usage": [
                        used.cpu_user_ns,
                        used.cpu_sys_ns,
                        used.switches,
                        sum(host.softirq_ns(cpus)),
                    ]
                }
        raise AssertionError(question)

    def _index(self, index: int) -> int:
        if index >= len(self._sockets):
            raise InputError(f"there is no socket {index}")
        return index

    def _tally(self, receiver: Receiver, index: int) -> list[int]:
        tally = receiver.tally(self._index(index))
        return [
            tally.received,
            tally.bytes,
            tally.accepted,
            tally.closed,
            tally.corrupt,
            tally.disordered,
        ]

    def _drops(self, index: int) -> int:
        return drops(self._sockets[self._index(index)])

    def _await(self, receiver: Receiver, question: message.Await) -> Answer | Waiting:
        end = time.monotonic() + question.within_ms / 1e3
        seen, patience = -1, end

        def look() -> Answer | None:
            nonlocal seen, patience
            now = sum(receiver.tally(self._index(i)).bytes for i in question.of)
            drops = sum(self._drops(i) for i in question.of)
            moment = time.monotonic()
            if now != seen:
                seen, patience = now, moment + question.quiet_ms / 1e3
            is_there = now >= question.bytes
            if is_there or drops != question.drops or moment > min(end, patience):
                return {"is_there": is_there, "bytes": now, "drops": drops}
            return None

        return look() or look

    def close(self) -> None:
        """Stop the receiver and close all that was opened."""
        receiver, self._receiver = self._receiver, None
        try:
            if receiver:
                receiver.close()
        finally:
            for opened in [
                *self._sockets,
                *(one for one, _ in self._listening.values()),
            ]:
                opened.close()
            self._sockets.clear()
            self._units.clear()
            self._listening.clear()


def _refused(error: OSError) -> CapabilityError:
    name = errno_name(error.errno or 0)
    return CapabilityError(f"a socket to receive on was refused: {name}")
