"""The controller's end: a receiver that is on another host."""

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn, Self

from zclab import errors
from zclab.errors import InputError, MeasureError
from zclab.measure.peer import control
from zclab.measure.peer.address import Endpoint, endpoint
from zclab.measure.peer.control import BrokenError, Hello, Seal, TokenError
from zclab.measure.peer.message import SOCKETS_MAX, Inlet
from zclab.measure.peer.wire import keep_alive
from zclab.uring.receiver import Tally, Usage

CONNECT_S = 5.0
ANSWER_S = 20.0  # longer than a peer waits for connections that were announced
_KINDS = ("InputError", "CapabilityError", "MeasureError")


class RemoteReceiver:
    """Stands for the receiver of a peer as Receiver does for one of this host.

    Each call but the first is one round trip, so none belongs into a timed slice.

    Attributes:
        name: HOST:PORT, as messages name the peer.
        softirq_ns: softirq time of all CPUs of the peer, as of the last `usage`.

    """

    def __init__(self, connection: socket.socket, seal: Seal, name: str) -> None:
        self._connection = connection
        self._seal = seal
        self._rest = b""
        self._drops: dict[int, int] = {}
        self.name = name
        self.count = 0
        self.softirq_ns = 0

    @classmethod
    def connect(cls, *, peer: str, token: str) -> Self:
        """Return a new session with the peer at HOST:PORT.

        Raises:
            InputError: the peer has another token, or `peer` is no HOST:PORT.
            MeasureError: there is none, or it is busy.

        """
        where = endpoint(peer, what="--peer")
        if not where.port:
            raise InputError(f"--peer: {peer!r} names no port; give HOST:PORT")
        if not token:
            raise InputError(
                f"peer {where} takes a token; give the one that it printed"
            )
        key = control.key_of(token)  # takes a while: not while the peer waits
        self = cls(_connected(where), Seal(key, ("", ""), is_peer=False), str(where))
        try:
            self._introduce(key)
        except BaseException:
            self._connection.close()
            raise
        return self

    def _introduce(self, key: bytes) -> None:
        """Prove to know the token, and see that the peer does."""
        end = time.monotonic() + CONNECT_S
        hello = Hello(key)
        try:
            greeting = self._line(control.HELLO_BYTES, end)
            self._send(hello.answer(greeting))
            self._seal = hello.take(self._line(control.HELLO_BYTES, end))
            said = self._seal.open(self._line(control.HELLO_BYTES, end))
        except TokenError as error:
            raise InputError(
                f"peer {self.name}: {error}; give the one that it printed"
            ) from None
        except BrokenError as error:
            raise MeasureError(f"peer {self.name}: {error}") from None
        if said == {"busy": True}:
            raise MeasureError(
                f"peer {self.name} is busy with another controller; wait until that "
                "one is done, or start a second peer on another port"
            )
        if said != {"ready": True}:
            raise MeasureError(f"peer {self.name} answered out of turn")

    # -- what a station asks -----------------------------------------------------

    def listen(
        self, inlets: Sequence[Inlet], *, address: str, source: str
    ) -> list[int]:
        """Have the peer open sockets at `address`; return their ports, in order.

        They take data from `source` only, over UDP from the inlet's port only.
        TCP ones must be connected before anything else is asked.

        Raises:
            InputError: they are more than a peer has, or it does not receive there.
            MeasureError: the peer is gone, or refuses.

        """
        count = self.count + len(inlets)
        if count > SOCKETS_MAX:
            raise InputError(
                f"{count} sockets are planned, and a peer receives on {SOCKETS_MAX} at "
                "most; plan fewer points, arms or flows at a time"
            )
        sockets = [[str(one.protocol), one.unit, one.port] for one in inlets]
        ports = self._ask(
            {
                "ask": "listen",
                "address": address,
                "source": source,
                "sockets": sockets,
            },
            "ports",
        )
        self.count += len(inlets)
        return self._numbers(ports, len(inlets))

    def tally(self, index: int) -> Tally:
        """Return what socket `index` gave so far.

        Raises:
            MeasureError: the receiver failed, or the peer is gone.

        """
        found = self._ask({"ask": "tally", "of": [index]}, "tallies")
        if not isinstance(found, list) or len(found) != 1:
            self._astray()
        received, taken, accepted, closed, corrupt, disordered = self._numbers(
            found[0], 6
        )
        return Tally(
            received=received,
            bytes=taken,
            accepted=accepted,
            closed=closed,
            corrupt=corrupt,
            disordered=disordered,
        )

    def usage(self) -> Usage:
        """Return what the peer's receiver took so far; see `softirq_ns` as well."""
        user, system, switches, self.softirq_ns = self._numbers(
            self._ask({"ask": "usage"}, "usage"), 4
        )
        return Usage(cpu_user_ns=user, cpu_sys_ns=system, switches=switches)

    def drops(self, index: int) -> int:
        """Return the datagrams that were dropped at socket `index` so far."""
        found = self._ask({"ask": "drops", "of": [index]}, "drops")
        self._drops[index] = self._numbers(found, 1)[0]
        return self._drops[index]

    def await_bytes(
        self,
        indices: Sequence[int],
        total: int,
        *,
        lost: Callable[[], int],
        deadline_s: float,
    ) -> bool:
        """Wait until the sockets `indices` gave `total` bytes less what is `lost()`.

        It gives up, and returns False, at the deadline, or early when nothing more
        arrives for a fifth of it. `lost` is asked again whenever the peer says that
        something was dropped; it should go by `drops`.
        """
        end = time.monotonic() + deadline_s
        while True:
            missing = lost()
            known = sum(self._drops.get(index, 0) for index in indices)
            left_s = max(0.0, end - time.monotonic())
            said = self._answer(
                {
                    "ask": "await",
                    "of": list(indices),
                    "bytes": max(0, total - missing),
                    "drops": known,
                    "quiet_ms": int(deadline_s / 5 * 1e3),
                    "within_ms": int(left_s * 1e3),
                },
                within_s=left_s,
            )
            if said.keys() != {"is_there", "bytes", "drops"}:
                self._astray()
            if said["is_there"] is True:
                return True
            if said["drops"] == known or time.monotonic() > end:
                return False
            for index in indices:
                self.drops(index)

    def facts(self) -> dict[str, Any]:
        """Return the facts of the peer's host, its device and what that counted."""
        found = self._ask({"ask": "facts"}, "facts")
        if not isinstance(found, dict):
            self._astray()
        return found

    def close(self) -> None:
        """End the session; the peer closes what it opened, or is gone anyway."""
        with self._connection, suppress(MeasureError):
            self._ask({"ask": "bye"}, "bye")

    # -- lines ---------------------------------------------------------------------

    def _ask(self, question: dict[str, Any], name: str) -> Any:
        """Return the one value of an answer."""
        said = self._answer(question)
        if said.keys() != {name}:
            self._astray()
        return said[name]

    def _answer(
        self, question: dict[str, Any], within_s: float = 0.0
    ) -> dict[str, Any]:
        end = time.monotonic() + within_s + ANSWER_S
        self._send(self._seal.close(question))
        try:
            said = self._seal.open(self._line(control.ANSWER_BYTES, end))
        except BrokenError as error:
            raise MeasureError(f"peer {self.name}: {error}") from None
        if "error" in said:
            kind = said.get("kind")
            name = kind if kind in _KINDS else "MeasureError"
            text = "".join(c if c.isprintable() else "?" for c in str(said["error"]))
            raise getattr(errors, name)(f"peer {self.name}: {text}")
        return said

    def _send(self, line: bytes) -> None:
        try:
            self._connection.settimeout(ANSWER_S)
            self._connection.sendall(line)
        except OSError as error:
            self._gone(error)

    def _line(self, limit: int, end: float) -> bytes:
        """Return the next line without its newline."""
        while b"\n" not in self._rest:
            if len(self._rest) > limit:
                raise BrokenError("a line is too long")
            try:
                self._connection.settimeout(max(0.001, end - time.monotonic()))
                got = self._connection.recv(1 << 16)
            except OSError as error:
                self._gone(error)
            if not got:
                raise MeasureError(
                    f"peer {self.name} is gone: it closed the connection"
                )
            self._rest += got
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _gone(self, error: OSError) -> NoReturn:
        if isinstance(error, TimeoutError) and error.errno is None:
            raise MeasureError(
                f"peer {self.name} gives no answer; is it, or the way to it, down?"
            ) from None
        raise MeasureError(f"peer {self.name} is gone: {error.strerror}") from None

    def _numbers(self, found: object, count: int) -> list[int]:
        if (
            not isinstance(found, list)
            or len(found) != count
            or any(type(number) is not int or number < 0 for number in found)
        ):
            self._astray()
        return found

    def _astray(self) -> NoReturn:
        raise MeasureError(
            f"peer {self.name} answered something else than was asked; use the same "
            "zclab on both hosts"
        )


def _connected(where: Endpoint) -> socket.socket:
    """Return a connection to a peer.

    Raises:
        MeasureError: there is none.

    """
    try:
        connection = socket.create_connection((where.host, where.port), CONNECT_S)
    except OSError as error:
        why = error.strerror or str(error)
        raise MeasureError(
            f"peer {where} cannot be reached: {why}; start it there: "
            f"zclab peer --listen {where}"
        ) from None
    keep_alive(connection)
    return connection
