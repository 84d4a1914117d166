"""A connection that never blocks: whole lines in, whole lines out, all bounded."""

import socket

from zclab.measure.peer.control import BrokenError

KEEP_IDLE_S, KEEP_EACH_S, KEEP_COUNT = 10, 5, 3  # tcp(7): the other host is gone
USER_TIMEOUT_MS = 15_000  # tcp(7), TCP_USER_TIMEOUT: what was sent is not taken


def keep_alive(connection: socket.socket) -> None:
    """Have the kernel find out when the other host is gone, in about 20 s."""
    tcp = socket.IPPROTO_TCP
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(tcp, socket.TCP_KEEPIDLE, KEEP_IDLE_S)
    connection.setsockopt(tcp, socket.TCP_KEEPINTVL, KEEP_EACH_S)
    connection.setsockopt(tcp, socket.TCP_KEEPCNT, KEEP_COUNT)
    connection.setsockopt(tcp, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    connection.setsockopt(tcp, socket.TCP_NODELAY, 1)


class Wire:
    """One connection of a peer.

    Attributes:
        limit: bytes that a line may have.
        ended: whether the other side says no more.

    """

    def __init__(self, connection: socket.socket, limit: int) -> None:
        connection.setblocking(False)
        keep_alive(connection)
        self.connection = connection
        self.limit = limit
        self.ended = False
        self._in = bytearray()
        self._out = bytearray()

    @property
    def is_owing(self) -> bool:
        """Whether something is still to be sent."""
        return bool(self._out)

    @property
    def has_more(self) -> bool:
        """Whether more was read than the lines that were taken."""
        return bool(self._in)

    def read(self) -> None:
        """Read what is there, up to one line more than allowed."""
        try:
            got = self.connection.recv(self.limit + 1 - len(self._in))
        except BlockingIOError:
            return
        except OSError:
            got = b""
        self._in += got
        self.ended = not got

    def line(self) -> bytes | None:
        """Take the next whole line, without its newline; None: it is not here yet.

        Raises:
            BrokenError: it is longer than allowed.

        """
        end = self._in.find(b"\n")
        if end < 0:
            if len(self._in) > self.limit:
                raise BrokenError("a line is too long")
            return None
        found = bytes(self._in[:end])
        del self._in[: end + 1]
        return found

    def send(self, line: bytes) -> None:
        """Send, now or when there is room."""
        self._out += line
        self.flush()

    def flush(self) -> None:
        """Send what can be sent now."""
        try:
            while self._out:
                sent = self.connection.send(self._out)
                del self._out[:sent]
        except BlockingIOError:
            return
        except OSError:
            self._out.clear()
            self.ended = True

    def close(self) -> None:
        """Close it."""
        self.connection.close()
