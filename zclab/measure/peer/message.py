"""What a controller may ask: seven questions, each with just these values.

There is no question that makes a peer send, write or start anything; one that is not
here ends the session.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from zclab.measure.peer.control import BrokenError
from zclab.params import TCP_MAX_BYTES, Protocol

SOCKETS_MAX = 256  # of a session; each has a receive buffer
WAIT_MS_MAX = 60_000
_NUMBER_MAX = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Inlet:
    """A socket to receive on.

    Attributes:
        protocol: UDP or TCP.
        unit: bytes of a verified unit; 0: the payload is counted only.
        port: the controller's port (UDP), from which alone data is taken; TCP: 0.

    """

    protocol: Protocol
    unit: int
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Open sockets at `address` that take data from `source` only; tell their ports."""

    address: str
    source: str
    inlets: tuple[Inlet, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tallies:
    """Tell what sockets gave so far."""

    of: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drops:
    """Tell how many datagrams were dropped at sockets so far."""

    of: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Await:
    """Answer once sockets gave so many bytes, or no longer go on.

    Attributes:
        of: the sockets.
        bytes: their sum to wait for.
        drops: what the controller knows to be dropped at them; an answer is due as
            well when that is no longer so.
        quiet_ms: how long nothing may arrive.
        within_ms: how long to wait in all.

    """

    of: tuple[int, ...]
    bytes: int
    drops: int
    quiet_ms: int
    within_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tell what the receiver's process took so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Tell the facts of the host, and of the device that has the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bye:
    """Close all, and end the session."""


Question = Listen | Tallies | Drops | Await | Usage | Facts | Bye


def _bad(what: str) -> NoReturn:
    raise BrokenError(f"a question has a wrong {what}")


def _number(value: object, most: int, what: str) -> int:
    if type(value) is not int or not 0 <= value <= most:
        _bad(what)
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or len(value) > 64 or not value.isprintable():
        _bad(what)
    return value


def _of(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= SOCKETS_MAX:
        _bad("list of sockets")
    return tuple(_number(index, SOCKETS_MAX - 1, "socket") for index in value)


def _inlet(value: object) -> Inlet:
    if not isinstance(value, list) or len(value) != 3 or value[0] not in ("udp", "tcp"):
        _bad("socket to open")
    protocol = Protocol(value[0])
    port = _number(value[2], (1 << 16) - 1, "port")
    if (port > 0) is not (protocol is Protocol.UDP):
        _bad("port")
    unit = _number(value[1], TCP_MAX_BYTES, "unit")
    return Inlet(protocol=protocol, unit=unit, port=port)


def _listen(said: dict[str, Any]) -> Listen:
    sockets = said["sockets"]
    if not isinstance(sockets, list) or not 1 <= len(sockets) <= SOCKETS_MAX:
        _bad("list of sockets to open")
    return Listen(
        address=_text(said["address"], "address"),
        source=_text(said["source"], "source"),
        inlets=tuple(_inlet(value) for value in sockets),
    )


def _await(said: dict[str, Any]) -> Await:
    return Await(
        of=_of(said["of"]),
        bytes=_number(said["bytes"], _NUMBER_MAX, "number of bytes"),
        drops=_number(said["drops"], _NUMBER_MAX, "number of drops"),
        quiet_ms=_number(said["quiet_ms"], WAIT_MS_MAX, "time"),
        within_ms=_number(said["within_ms"], WAIT_MS_MAX, "time"),
    )


_Reader = Callable[[dict[str, Any]], Question]

# Each question, the names of its values, and what reads them.
_QUESTIONS: dict[str, tuple[frozenset[str], _Reader]] = {
    "listen": (frozenset({"address", "source", "sockets"}), _listen),
    "tally": (frozenset({"of"}), lambda said: Tallies(of=_of(said["of"]))),
    "drops": (frozenset({"of"}), lambda said: Drops(of=_of(said["of"]))),
    "await": (
        frozenset({"of", "bytes", "drops", "quiet_ms", "within_ms"}),
        _await,
    ),
    "usage": (frozenset(), lambda _: Usage()),
    "facts": (frozenset(), lambda _: Facts()),
    "bye": (frozenset(), lambda _: Bye()),
}


def read(said: dict[str, Any]) -> Question:
    """Return the question that a line asks.

    Raises:
        BrokenError: there is no such question, or its values are others.

    """
    ask = said.get("ask")
    if not isinstance(ask, str) or ask not in _QUESTIONS:
        raise BrokenError("there is no such question")
    names, reader = _QUESTIONS[ask]
    if said.keys() - {"ask"} != names:
        raise BrokenError(f"a question {ask} has other values")
    return reader(said)
