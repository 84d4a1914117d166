"""What the tests of the peer share: one that runs, and what it holds."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from zclab.measure.peer import control
from zclab.measure.peer.client import RemoteReceiver
from zclab.measure.peer.message import Inlet
from zclab.params import Protocol

TOKEN = "only for tests, told to nobody"
DEADLINE_S = 30.0


def eventually(holds: Callable[[], bool]) -> bool:
    """Return whether it holds before the deadline."""
    end = time.monotonic() + DEADLINE_S
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(word) for word in text.split()]


def is_gone(pid: int) -> bool:
    """Return whether a process is no more, or a zombie that nobody fetched."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        )
    except FileNotFoundError:
        return True


class Running:
    """A `zclab peer` in a process of its own."""

    def __init__(self, process: subprocess.Popen, where: str) -> None:
        self.process = process
        self.where = where
        host, _, port = where.rpartition(":")
        self.address = (host.strip("[]"), int(port))

    @property
    def pid(self) -> int:
        """The peer's process."""
        return self.process.pid

    def holds(self) -> tuple[int, list[int]]:
        """Return how many descriptors it has open, and its children."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir())), children(self.pid)

    def resident_kib(self) -> int:
        """Return the memory that it has."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

    def connect(self, token: str = TOKEN) -> RemoteReceiver:
        """Return a session with it."""
        return RemoteReceiver.connect(peer=self.where, token=token)

    def raw(self) -> socket.socket:
        """Return a bare connection to it."""
        return socket.create_connection(self.address, DEADLINE_S)


@contextmanager
def running(
    *arguments: str,
    listen: str = "127.0.0.1",
    environment: Mapping[str, str] = MappingProxyType({"ZCLAB_PEER_TOKEN": TOKEN}),
) -> Iterator[Running]:
    """Start a peer; end it by SIGTERM, which must be a clean end."""
    command = [sys.executable, "-m", "zclab.cli", "peer", "--listen", listen]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=log,  # a pipe that nobody reads would fill, and stop it
            text=True,
            env={"PATH": "/usr/bin:/bin", **environment},
        )
        assert process.stdout
        try:
            line = process.stdout.readline()
            assert line, "the peer did not start"
            yield Running(process, line.split()[1])
        finally:
            process.terminate()
            process.communicate(timeout=DEADLINE_S)
            log.seek(0)
            said = log.read()
            assert "Traceback" not in said, said


def flow(
    session: RemoteReceiver, protocol: Protocol, address: str = "127.0.0.1", unit=0
) -> tuple[socket.socket, int]:
    """Return a socket that sends to a new one of the peer, and that one's port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    udp = protocol is Protocol.UDP
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    sending = socket.socket(family, kind)
    sending.bind((address, 0))
    source = sending.getsockname()[1] if udp else 0
    inlet = Inlet(protocol=protocol, unit=unit, port=source)
    (port,) = session.listen([inlet], address=address, source=address)
    sending.connect((address, port))
    return sending, port


def handshake(connection: socket.socket, key: bytes) -> tuple[control.Seal, bytes]:
    """Do what a controller does first; return the seal, and the peer's first line."""
    hello = control.Hello(key)
    with connection.makefile("rb") as lines:
        connection.sendall(hello.answer(lines.readline().rstrip(b"\n")))
        seal = hello.take(lines.readline().rstrip(b"\n"))
        return seal, lines.readline().rstrip(b"\n")
