"""What `zclab peer` runs: one address, one token, one session at a time.

One thread, one loop, nothing that blocks. Who has not shown the token within a few
seconds is shown out; who has it while another session lasts is told that it is busy.
"""

import math
import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from pyroute2.netlink.exceptions import NetlinkError

from zclab.errors import CapabilityError, InputError, ZclabError, errno_name
from zclab.measure.peer import control, message
from zclab.measure.peer.address import Endpoint, endpoint, family, named, sockaddr
from zclab.measure.peer.control import BrokenError, Seal, TokenError, Welcome
from zclab.measure.peer.facts import Facts, device_of
from zclab.measure.peer.session import Answer, Session, Waiting
from zclab.measure.peer.wire import Wire

HELLO_S = 5.0  # in which a controller must have shown the token
GUESTS_MAX = 16  # connections that have not
SILENCE_S = 600.0  # a controller that says nothing for so long is gone
GRACE_S = 10.0  # a run has a session for each of its placements, one after the other
LOOK_S = 0.001  # between two looks at what is awaited; poll(2) knows no less
TOLD_EACH_S = 10.0  # at most one line about strangers in this time


@dataclass(slots=True, kw_only=True)
class _Guest:
    """A connection that has not shown the token yet."""

    wire: Wire
    welcome: Welcome
    deadline: float


@dataclass(slots=True, kw_only=True)
class _Held:
    """The session that is held, and how far its last question is."""

    wire: Wire
    seal: Seal
    session: Session
    who: str
    heard: float  # when the last question came
    waiting: Waiting | None = None


class Peer:
    """Listens for its controller, and receives what that one sends.

    Args:
        listen: ADDRESS[:PORT] of the control connection; data is taken there too.
        data: further addresses of this host on which data may be taken.
        token: what a controller must know.
        cpu: CPU of the receiver; None: any.
        silence_s: a session ends when its controller says nothing for so long.
        say: takes a line about what happens.

    Raises:
        InputError: an address is none of this host's, or not one alone.

    """

    def __init__(
        self,
        *,
        listen: str,
        token: str,
        data: Sequence[str] = (),
        cpu: int | None = None,
        silence_s: float = SILENCE_S,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        asked = endpoint(listen, what="--listen")
        address = named(asked.host, what="--listen")
        self._addresses = [address, *(named(text, what="--data") for text in data)]
        for one in self._addresses:
            device_of(one)
        if cpu is not None and cpu not in os.sched_getaffinity(0):
            raise InputError(f"--cpu {cpu}: this process may not use that CPU")
        self._cpu = cpu
        self._key = control.key_of(token)
        self._silence_s = silence_s
        self._say = say
        self._facts = Facts(self._addresses[-1], cpu)
        self._guests: list[_Guest] = []
        self._held: _Held | None = None
        self._once = False
        self._closing = math.inf  # when to end, as nobody comes any more
        self._refused = 0
        self._told = 0.0
        self._deaf_until = 0.0
        self._listening = socket.socket(
            family(address), socket.SOCK_STREAM | socket.SOCK_NONBLOCK
        )
        try:
            self._bind(asked)
        except BaseException:
            self._listening.close()
            raise

    def _bind(self, asked: Endpoint) -> None:
        address = self._addresses[0]
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.version == 6:
            self._listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            self._listening.bind(sockaddr(address, asked.port))
            self._listening.listen(GUESTS_MAX)
        except PermissionError:
            raise CapabilityError(
                f"--listen {asked}: that port takes root; choose one from 1024 on"
            ) from None
        except OSError as error:
            why = f"{errno_name(error.errno or 0)} ({error.strerror})"
            raise InputError(f"--listen {asked}: cannot listen there: {why}") from None

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        return Endpoint(
            host=str(self._addresses[0]), port=self._listening.getsockname()[1]
        )

    # -- the loop --------------------------------------------------------------

    def serve(self, *, once: bool = False) -> None:
        """Hold one session after the other.

        `once`: return when there was one, and none followed within some seconds.
        """
        self._once = once
        while self._held or time.monotonic() < self._closing:
            self._turn()

    def _turn(self) -> None:
        """Wait for something to happen, and see to all that did."""
        ready = self._wait()
        now = time.monotonic()
        # The session comes first: one that ended must not be in a newcomer's way.
        if self._held:
            self._attend(self._held, ready)
        for guest in list(self._guests):
            self._hear(guest, ready, now)
        if self._listening.fileno() in ready:
            self._let_in(now)
        if self._refused and now > self._told + TOLD_EACH_S:
            self._say(f"refused, as they had no token: {self._refused} connections")
            self._refused, self._told = 0, now

    def _wait(self) -> set[int]:
        """Return the descriptors that are ready, once there are some or time is up."""
        poll = select.poll()
        now = time.monotonic()
        ends = [guest.deadline for guest in self._guests]
        if now < self._deaf_until:
            ends.append(self._deaf_until)
        else:
            poll.register(self._listening, select.POLLIN)
        for guest in self._guests:
            poll.register(guest.wire.connection, select.POLLIN)
        if held := self._held:
            writes = select.POLLOUT if held.wire.is_owing else 0
            poll.register(held.wire.connection, select.POLLIN | writes)
            for opened in held.session.awaited:
                poll.register(opened, select.POLLIN)
            wait_s = LOOK_S if held.waiting else held.heard + self._silence_s - now
            ends.append(now + wait_s)
        elif self._closing < math.inf:
            ends.append(self._closing)
        if self._refused:
            ends.append(self._told + TOLD_EACH_S)
        left_s = max(0.0, min(ends) - now) if ends else None
        events = poll.poll(None if left_s is None else math.ceil(left_s * 1e3))
        return {fd for fd, _ in events}

    # -- strangers -------------------------------------------------------------

    def _let_in(self, now: float) -> None:
        for _ in range(GUESTS_MAX):
            try:
                connection, _ = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # no descriptors left: the oldest guest gives up its own
                if self._guests:
                    self._show_out(self._guests[0])
                else:
                    self._deaf_until = now + 0.1
                return
            if len(self._guests) == GUESTS_MAX:
                self._show_out(self._guests[0])
            try:
                wire = Wire(connection, control.HELLO_BYTES)
            except OSError:  # gone already
                connection.close()
                continue
            welcome = Welcome(self._key)
            self._guests.append(
                _Guest(wire=wire, welcome=welcome, deadline=now + HELLO_S)
            )
            wire.send(welcome.greeting)

    def _show_out(self, guest: _Guest) -> None:
        self._guests.remove(guest)
        guest.wire.close()
        self._refused += 1

    def _hear(self, guest: _Guest, ready: set[int], now: float) -> None:
        """See whether a guest has shown the token."""
        wire = guest.wire
        try:
            if wire.connection.fileno() in ready:
                wire.read()
            line = wire.line()
            if line is None:
                if wire.ended or now > guest.deadline:
                    self._show_out(guest)
                return
            answer, seal = guest.welcome.take(line)
            if wire.has_more:
                raise BrokenError("more was said than hello")
        except TokenError:
            wire.send(control.spell(control.REFUSED) + b"\n")
            self._show_out(guest)
            return
        except BrokenError:
            self._show_out(guest)
            return
        self._guests.remove(guest)
        wire.send(answer)
        if self._held:
            wire.send(seal.close({"busy": True}))
            wire.close()
            return
        wire.send(seal.close({"ready": True}))
        self._begin(wire, seal)

    # -- the session -----------------------------------------------------------

    def _begin(self, wire: Wire, seal: Seal) -> None:
        wire.limit = control.QUESTION_BYTES
        try:
            who = str(wire.connection.getpeername()[0])
        except OSError:
            wire.close()
            return
        session = Session(
            addresses=self._addresses,
            cpu=self._cpu,
            facts=self._facts,
            strangers=self._descriptors,
        )
        self._held = _Held(
            wire=wire, seal=seal, session=session, who=who, heard=time.monotonic()
        )
        self._say(f"a controller came: {who}")

    def _descriptors(self) -> list[int]:
        """Return what a receiver's process must not keep open."""
        wires = [guest.wire for guest in self._guests]
        if self._held:
            wires.append(self._held.wire)
        return [self._listening.fileno(), *(wire.connection.fileno() for wire in wires)]

    def _attend(self, held: _Held, ready: set[int]) -> None:
        """See to what the controller says, and to what it waits for."""
        wire = held.wire
        try:
            if wire.is_owing:
                wire.flush()
            if wire.connection.fileno() in ready:
                wire.read()
            if wire.ended:
                self._end(held, "its connection ended")
                return
            if ready & {opened.fileno() for opened in held.session.awaited}:
                held.session.accept()
            if held.waiting:
                if wire.has_more:
                    raise BrokenError("it asked before the last answer")
                self._reply(held, held.waiting)
                return
            line = wire.line()
        except BrokenError as error:
            self._end(held, str(error))
            return
        if line is None:
            if time.monotonic() > held.heard + self._silence_s:
                self._end(held, f"it said nothing for {self._silence_s:.0f} s")
            return
        self._take(held, line)

    def _take(self, held: _Held, line: bytes) -> None:
        """Answer one question, or begin to."""
        held.heard = time.monotonic()
        try:
            question = message.read(held.seal.open(line))
            if held.wire.is_owing or held.wire.has_more:
                raise BrokenError("it asked before the last answer")
        except BrokenError as error:
            self._end(held, str(error))
            return
        self._reply(held, lambda: held.session.ask(question))
        if isinstance(question, message.Bye) and self._held:
            self._end(held, "")

    def _reply(self, held: _Held, ask: Callable[[], Answer | Waiting | None]) -> None:
        """Send an answer if there is one, else keep on looking for it."""
        try:
            found = ask()
        except ZclabError as error:
            found = {"error": str(error), "kind": type(error).__name__}
        except (OSError, NetlinkError) as error:
            found = {"error": f"a system call failed: {error}", "kind": "MeasureError"}
        if callable(found):
            held.waiting = found
            return
        if found is None:
            return
        held.waiting = None
        held.heard = time.monotonic()
        held.wire.send(held.seal.close(found))

    def _end(self, held: _Held, why: str) -> None:
        """End the session, and whatever it opened; `why` is told where it is wrong."""
        self._held = None
        if why and not held.wire.ended:
            text = f"the session ended: {why}"
            held.wire.send(held.seal.close({"error": text, "kind": "MeasureError"}))
        try:
            held.session.close()
        except ZclabError as error:
            self._say(str(error))
        held.wire.close()
        if self._once:
            self._closing = time.monotonic() + GRACE_S
        self._say(f"the controller {held.who} went" + (f": {why}" if why else ""))

    def close(self) -> None:
        """Show everybody out, and listen no more."""
        if self._held:
            self._end(self._held, "the peer was stopped")
        for guest in list(self._guests):
            self._show_out(guest)
        self._listening.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
