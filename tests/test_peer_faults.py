"""The peer when things go wrong: garbage, slow strangers, kills on either side."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.peers import (
    DEADLINE_S,
    TOKEN,
    children,
    eventually,
    flow,
    handshake,
    is_gone,
    running,
)
from zclab.errors import MeasureError
from zclab.measure.peer import client, control
from zclab.params import Protocol

KEY = control.key_of(TOKEN)

# What a controller in another process does: it holds a session with all there is.
CONTROLLER = """
import sys, time
from tests.peers import flow
from zclab.measure.peer.client import RemoteReceiver
from zclab.params import Protocol
session = RemoteReceiver.connect(peer=sys.argv[1], token=sys.argv[2])
flows = [flow(session, protocol) for protocol in Protocol]
session.tally(0)
print("up", flush=True)
time.sleep(600)
"""


def random_json(rng: random.Random, depth: int = 0):
    """Return any value of JSON, questions among them."""
    kind = rng.randrange(8 if depth < 3 else 5)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.choice([0, -1, 1, rng.getrandbits(70), rng.random() * 1e300])
    if kind in (2, 3):
        return rng.choice(["udp", "tcp", "usage", "\0", "::1", "é" * rng.randrange(9)])
    if kind == 4:
        return rng.choice(["listen", "tally", "await", "drops", "facts", "bye", "send"])
    if kind == 5:
        return [random_json(rng, depth + 1) for _ in range(rng.randrange(5))]
    names = ["ask", "of", "bytes", "sockets", "address", "source", "say", "x"]
    return {
        rng.choice(names): random_json(rng, depth + 1) for _ in range(rng.randrange(5))
    }


def garbage(rng: random.Random) -> bytes:
    """Return what is no hello: bytes, JSON, pieces, lines without an end."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 600)) + b"\n"
    if kind == 1:
        return json.dumps(random_json(rng)).encode() + b"\n"
    if kind == 2:
        hello = {"say": "hello", "nonce": rng.randbytes(32).hex(), "proof": "0" * 64}
        line = json.dumps(hello).encode()
        return line[: rng.randrange(len(line))] + rng.choice([b"", b"\n"])
    if kind == 3:
        return rng.choice([b"A", b"[", b"\0", b"{"]) * rng.choice([513, 4096, 1 << 18])
    hello = {"say": "hello", "nonce": rng.randbytes(32).hex(), "proof": "0" * 64}
    hello[rng.choice(list(hello))] = random_json(rng)
    return json.dumps(hello).encode() + b"\n"


def sealed_garbage(rng: random.Random, seal: control.Seal) -> bytes:
    """Return what somebody says who knows the token and no manners."""
    kind = rng.randrange(6)
    if kind == 0:
        return garbage(rng)
    if kind == 1:
        line = bytearray(seal.close({"ask": "usage"}))
        line[rng.randrange(len(line) - 1)] ^= 1 << rng.randrange(7)
        return bytes(line) + b"\n"
    if kind == 2:
        return seal.close({"ask": "drops", "of": [0]}) * 2
    if kind == 3:
        return seal.close({"ask": "facts", "x": "y" * rng.choice([10, 1 << 17])})
    if kind == 4:
        seal.close({"ask": "usage"})
        return seal.close({"ask": "usage"})
    found = random_json(rng)
    return seal.close(found if isinstance(found, dict) else {"ask": found})


def push(connection: socket.socket, data: bytes) -> None:
    """Send, and read until the other side closes, or has nothing to say."""
    try:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        raise
    except OSError:
        return


def test_ten_thousand_random_messages():
    """After 10,000 of them the peer serves, holds nothing, and is no larger."""
    rng = random.Random(20221122)
    with running() as peer:
        before = peer.holds()  # of a peer that nobody is just leaving
        peer.connect().close()
        sizes = []
        for number in range(10_000):
            with peer.raw() as connection:
                if number % 5 == 4:
                    seal, ready = handshake(connection, KEY)
                    assert seal.open(ready) == {"ready": True}
                    push(connection, sealed_garbage(rng, seal))
                else:
                    push(connection, garbage(rng))
            if number % 1000 == 999:
                sizes.append(peer.resident_kib())

        session = peer.connect()
        sending, _ = flow(session, Protocol.UDP)
        sending.send(bytes(100))
        assert session.await_bytes([0], 100, lost=lambda: 0, deadline_s=5)
        session.close()
        sending.close()
        assert eventually(lambda: peer.holds() == before)
        assert max(sizes) - sizes[0] < 1024, sizes


def test_a_slow_stranger_is_in_nobodys_way():
    """Who says nothing, or a byte at a time, is shown out, and others come in."""
    with running() as peer:
        before = peer.holds()
        slow = [peer.raw() for _ in range(60)]
        for connection in slow[::2]:
            connection.sendall(b'{"say"')
        peer.connect().close()

        for connection in slow:
            connection.settimeout(DEADLINE_S)
            push(connection, b":")
            connection.close()
        assert eventually(lambda: peer.holds() == before)


def test_a_controller_that_reads_nothing():
    """Answers that nobody fetches are bounded: the next question ends the session."""
    with running() as peer:
        before = peer.holds()
        connection = peer.raw()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        seal, _ = handshake(connection, KEY)
        with pytest.raises(OSError):  # reset, or a broken pipe
            while True:
                connection.sendall(seal.close({"ask": "facts"}))
        connection.close()
        assert eventually(lambda: peer.holds() == before)


def test_a_killed_controller_frees_the_peer():
    """After SIGKILL of its controller the receiver is gone and the next may come."""
    with running() as peer:
        before = peer.holds()
        controller = subprocess.Popen(
            [sys.executable, "-c", CONTROLLER, peer.where, TOKEN],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert controller.stdout
        assert controller.stdout.readline() == "up\n"
        (receiver,) = peer.holds()[1]
        assert peer.holds()[0] == before[0] + 3  # control, UDP, TCP
        with pytest.raises(MeasureError, match="busy"):
            peer.connect()

        controller.kill()
        controller.communicate()

        assert eventually(lambda: is_gone(receiver))
        assert eventually(lambda: peer.holds() == before)
        peer.connect().close()


def test_a_controller_that_says_nothing_is_gone():
    """After --timeout of silence the session ends; the controller is told why."""
    with running("--timeout", "1") as peer:
        before = peer.holds()
        session = peer.connect()
        sending, _ = flow(session, Protocol.UDP)
        session.tally(0)
        assert eventually(lambda: peer.holds() == before)

        with pytest.raises(MeasureError, match="it said nothing for 1 s") as raised:
            session.tally(0)
        assert peer.where in str(raised.value)
        sending.close()
        peer.connect().close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_peer_is_told_at_once(number):
    """The next question after the peer's end raises, and names the peer."""
    with running() as peer:
        session = peer.connect()
        sending, _ = flow(session, Protocol.TCP)
        session.tally(0)
        (receiver,) = peer.holds()[1]
        os.kill(peer.pid, number)

        began = time.monotonic()
        with pytest.raises(MeasureError, match=f"peer {peer.where}") as raised:
            while True:
                session.tally(0)
        assert "\n" not in str(raised.value)
        assert time.monotonic() - began < client.ANSWER_S  # it was not waited for
        assert eventually(lambda: is_gone(receiver))
        sending.close()


def test_a_dead_receiver_is_told():
    """A receiver that dies by itself is an error of the session, not of the peer."""
    with running() as peer:
        session = peer.connect()
        sending, _ = flow(session, Protocol.UDP)
        session.tally(0)
        (receiver,) = peer.holds()[1]
        os.kill(receiver, signal.SIGKILL)

        assert eventually(lambda: is_gone(receiver))
        with pytest.raises(MeasureError, match="the receiver ended"):
            session.tally(0)
        session.close()
        sending.close()
        peer.connect().close()


def test_a_peer_that_does_not_answer(monkeypatch):
    """A peer that stands still is told as such, after a while that is bounded."""
    monkeypatch.setattr(client, "ANSWER_S", 0.3)
    with running() as peer:
        session = peer.connect()
        os.kill(peer.pid, signal.SIGSTOP)
        try:
            with pytest.raises(MeasureError, match="gives no answer"):
                session.facts()
        finally:
            os.kill(peer.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("greeting", "says"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not JSON"),
        (b"{}\n", "not a zclab peer"),
        (b'{"zclab peer":2,"nonce":"00"}\n', "another version"),
        (b'{"zclab peer":1,"nonce":"00"}\n', "64 hex digits"),
        (b"x" * 100_000, "too long"),
        (b"", "closed the connection"),
    ],
)
def test_what_is_no_peer(greeting, says):
    """Something else on that port is one line that names it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        code = (
            "import sys\n"
            "from zclab.measure.peer.client import RemoteReceiver\n"
            "try:\n"
            "    RemoteReceiver.connect(peer=sys.argv[1], token='x' * 20)\n"
            "except Exception as error:\n"
            "    print(type(error).__name__, error)\n"
        )
        asking = subprocess.Popen(
            [sys.executable, "-c", code, f"{host}:{port}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        connection, _ = listening.accept()
        with suppress(OSError):  # who has seen enough may be gone
            connection.sendall(greeting)
            connection.shutdown(socket.SHUT_WR)
        said, _ = asking.communicate(timeout=DEADLINE_S)
        connection.close()

    assert said.startswith(f"MeasureError peer {host}:{port}")
    assert says in said
    assert len(said.splitlines()) == 1


def test_nobody_there_is_one_line():
    """A peer that was not started is one line with the command that starts it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(MeasureError, match=f"zclab peer --listen 127.0.0.1:{port}"):
        client.RemoteReceiver.connect(peer=f"127.0.0.1:{port}", token="x" * 20)


def test_the_receiver_keeps_no_control_connection():
    """A receiver's process has the sockets of its data and no other."""
    with running() as peer:
        session = peer.connect()
        with peer.raw() as stranger:
            stranger.recv(1)
            sending, _ = flow(session, Protocol.UDP)
            session.tally(0)
            (receiver,) = children(peer.pid)
            assert eventually(lambda: len(sockets(receiver)) == 1)
        session.close()
        sending.close()


def sockets(pid: int) -> list[str]:
    """Return the sockets that a process has open."""
    links = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            links.append(str(path.readlink()))
    return [link for link in links if link.startswith("socket:")]
