"""The peer's words: who may speak, what may be asked, where it may listen."""

import json
import os
import random
import socket
import stat
from contextlib import closing

import pytest

from tests.peers import TOKEN, eventually, flow, running
from zclab import hostfacts
from zclab.errors import InputError, MeasureError
from zclab.measure.flow import Flow
from zclab.measure.peer import address, control, message, token
from zclab.measure.peer.control import BrokenError, Hello, TokenError, Welcome
from zclab.measure.peer.inlets import connect
from zclab.measure.peer.message import Inlet
from zclab.measure.target import Target
from zclab.options import Options, parse
from zclab.params import TCP_MAX_BYTES, Protocol
from zclab.uring.receiver import Receiver

KEY = control.key_of(TOKEN)


def introduced(ours: bytes = KEY, theirs: bytes = KEY):
    """Return the seals of a controller and a peer, and what went over the wire."""
    welcome, hello = Welcome(theirs), Hello(ours)
    proof = hello.answer(welcome.greeting.rstrip(b"\n"))
    answer, peer_seal = welcome.take(proof.rstrip(b"\n"))
    wire = welcome.greeting + proof + answer
    return hello.take(answer.rstrip(b"\n")), peer_seal, wire


def test_what_one_side_seals_the_other_opens():
    """Lines arrive as they were said, in both directions, in order."""
    controller, peer, _ = introduced()
    for number in range(3):
        said = {"ask": "usage", "n": number}

        assert peer.open(controller.close(said).rstrip(b"\n")) == said
        assert controller.open(peer.close(said).rstrip(b"\n")) == said


def test_the_token_is_not_on_the_wire():
    """Neither the token nor its key is told; two sessions have nothing in common."""
    _, _, one = introduced()
    _, _, two = introduced()

    for secret in (TOKEN.encode(), KEY, KEY.hex().encode()):
        assert secret not in one
    words = [set(json.loads(line).values()) for line in one.splitlines()]
    words += [set(json.loads(line).values()) for line in two.splitlines()]
    numbers = [word for found in words for word in found if len(str(word)) == 64]
    assert len(numbers) == len(set(numbers)) == 8


def test_a_wrong_token_is_found_by_either_side():
    """A peer refuses another token's proof, and a controller another peer's."""
    other = control.key_of("some other token than that")
    with pytest.raises(TokenError):
        introduced(ours=other)

    welcome, hello = Welcome(other), Hello(KEY)
    hello.answer(welcome.greeting.rstrip(b"\n"))
    with pytest.raises(TokenError):
        hello.take(b'{"say":"hello","proof":"%s"}' % (b"0" * 64))


def test_a_proof_cannot_be_turned_around():
    """What a controller proves with is no proof of a peer."""
    welcome, hello = Welcome(KEY), Hello(KEY)
    proof = json.loads(hello.answer(welcome.greeting.rstrip(b"\n")))["proof"]

    with pytest.raises(TokenError):
        hello.take(control.spell({"say": "hello", "proof": proof}))


@pytest.mark.parametrize(
    "breach",
    [
        "changed",
        "said twice",
        "left out",
        "turned around",
        "of another session",
        "cut off",
        "not sealed",
    ],
)
def test_a_line_in_the_middle(breach):
    """Who sits between can neither change, repeat, drop, reflect nor add a line."""
    controller, peer, _ = introduced()
    line = controller.close({"ask": "usage"}).rstrip(b"\n")
    if breach == "changed":
        line = line.replace(b"usage", b"facts")
    elif breach == "said twice":
        peer.open(line)
    elif breach == "left out":
        line = controller.close({"ask": "usage"}).rstrip(b"\n")
    elif breach == "turned around":
        line = peer.close({"ask": "usage"}).rstrip(b"\n")
    elif breach == "of another session":
        _, peer, _ = introduced()
    elif breach == "cut off":
        line = line[:-1]
    else:
        line = b'{"ask":"usage"}'

    with pytest.raises(BrokenError):
        peer.open(line)


@pytest.mark.parametrize("bit", range(0, 8 * 40, 7))
def test_each_bit_of_a_line_counts(bit):
    """A line with one bit turned is refused, wherever it is."""
    controller, peer, _ = introduced()
    line = bytearray(controller.close({"ask": "drops", "of": [0]}).rstrip(b"\n"))
    at = bit * 7 % (8 * len(line))
    line[at // 8] ^= 1 << at % 8

    with pytest.raises(BrokenError):
        peer.open(bytes(line))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"1",
        b"[]",
        b"null",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b"\xff",
        b"{" * 60_000,
        b'{"a":' * 30_000 + b"1" + b"}" * 30_000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_only_objects_are_lines(raw):
    """What is not one object of JSON, each name once, is refused and nothing else."""
    with pytest.raises(BrokenError):
        control.parse(raw)


def test_questions_are_read():
    """Each of the seven questions is read as what it is."""
    listen = {
        "ask": "listen",
        "address": "192.0.2.2",
        "source": "192.0.2.1",
        "sockets": [["udp", 600, 4000], ["tcp", 0, 0]],
    }
    awaited = {"of": [0], "bytes": 9, "drops": 0, "quiet_ms": 1, "within_ms": 2}

    assert message.read(listen) == message.Listen(
        address="192.0.2.2",
        source="192.0.2.1",
        inlets=(
            Inlet(protocol=Protocol.UDP, unit=600, port=4000),
            Inlet(protocol=Protocol.TCP, unit=0, port=0),
        ),
    )
    assert message.read({"ask": "tally", "of": [0]}) == message.Tallies(of=(0,))
    assert message.read({"ask": "drops", "of": [1]}) == message.Drops(of=(1,))
    assert isinstance(message.read({"ask": "await", **awaited}), message.Await)
    for ask, kind in (
        ("usage", message.Usage),
        ("facts", message.Facts),
        ("bye", message.Bye),
    ):
        assert message.read({"ask": ask}) == kind()


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"ask": "send"},
        {"ask": "run", "command": "true"},
        {"ask": ["usage"]},
        {"ask": "usage", "more": 1},
        {"ask": "tally"},
        {"ask": "tally", "of": []},
        {"ask": "tally", "of": [-1]},
        {"ask": "tally", "of": [True]},
        {"ask": "tally", "of": [1.0]},
        {"ask": "tally", "of": [message.SOCKETS_MAX]},
        {"ask": "tally", "of": [0] * (message.SOCKETS_MAX + 1)},
        {"ask": "await", "of": [0], "bytes": 1, "drops": 0, "quiet_ms": 1},
        {
            "ask": "await",
            "of": [0],
            "bytes": 1,
            "drops": 0,
            "quiet_ms": 1,
            "within_ms": message.WAIT_MS_MAX + 1,
        },
        *(
            {"ask": "listen", "address": "a", "source": "b", "sockets": sockets}
            for sockets in (
                [],
                "udp",
                [["udp", 0]],
                [["udp", 0, 0]],
                [["tcp", 0, 80]],
                [["raw", 0, 1]],
                [["udp", -1, 1]],
                [["tcp", TCP_MAX_BYTES + 1, 0]],
                [["udp", 0, 1 << 16]],
                [["udp", 0, 1]] * (message.SOCKETS_MAX + 1),
            )
        ),
        {"ask": "listen", "address": 1, "source": "b", "sockets": [["tcp", 0, 0]]},
        {
            "ask": "listen",
            "address": "a" * 65,
            "source": "b",
            "sockets": [["tcp", 0, 0]],
        },
    ],
)
def test_other_questions_are_refused(said):
    """There is no other question, and none with other values than its own."""
    with pytest.raises(BrokenError):
        message.read(said)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.2", "192.0.2.2", 0),
        ("192.0.2.2:7800", "192.0.2.2", 7800),
        ("2001:db8::2", "2001:db8::2", 0),
        ("[2001:db8::2]", "2001:db8::2", 0),
        ("[2001:db8::2]:7800", "2001:db8::2", 7800),
        ("second.example:7800", "second.example", 7800),
    ],
)
def test_endpoints(text, host, port):
    """An address is read with its port or without, and spelled as it was."""
    found = address.endpoint(text, what="--listen")

    assert (found.host, found.port) == (host, port)
    assert address.endpoint(str(found), what="x") == found


@pytest.mark.parametrize(
    "text",
    ["", ":7800", "a:", "a:x", "a:65536", "a:-1", "[::1", "[::1]7", "a b:1", "[]:1"],
)
def test_no_endpoints(text):
    """What is no address, or no port, is one line."""
    with pytest.raises(InputError):
        address.endpoint(text, what="--listen")


@pytest.mark.parametrize(
    ("listen", "says"),
    [
        ("0.0.0.0", "--listen: 0.0.0.0 stands for all addresses; name one"),
        ("0.0.0.0:7800", "stands for all addresses"),
        ("::", "--listen: :: stands for all addresses"),
        ("[::]:7800", "stands for all addresses"),
        ("0:0:0:0:0:0:0:0", "stands for all addresses"),
        ("::ffff:0.0.0.0", "write it as one"),
        ("224.0.0.1", "stands for many hosts"),
        ("ff02::1", "stands for many hosts"),
        ("255.255.255.255", "stands for many hosts"),
        ("localhost", "not an IPv4 or IPv6 address"),
        ("192.0.2.77", "192.0.2.77 is on no device of this host"),
        ("127.0.0.1:x", "is not a port"),
    ],
)
def test_where_a_peer_may_listen(listen, says):
    """It listens on one address of this host that was named; all else is one line."""
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "zclab.cli", "peer", "--listen", listen],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert says in done.stderr


def test_a_port_that_is_taken_is_one_line():
    """Two peers cannot have one port; the second one says so."""
    from zclab.measure.peer.serve import Peer

    with (
        Peer(listen="127.0.0.1", token=TOKEN) as first,
        pytest.raises(InputError, match="EADDRINUSE"),
    ):
        Peer(listen=str(first.endpoint), token=TOKEN)


def test_tokens(tmp_path, monkeypatch):
    """A token comes from a file that only its owner reads, or from the variable."""
    file = tmp_path / "token"
    made = token.fresh()
    file.write_text(made + "\n")
    file.chmod(0o600)
    monkeypatch.setenv(token.VARIABLE, "another one, long enough")

    assert token.given(file) == made
    assert token.given() == "another one, long enough"
    assert len({token.fresh() for _ in range(100)}) == 100

    monkeypatch.delenv(token.VARIABLE)
    assert token.given() == ""


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("x" * 32, 0o644, "chmod 600"),
        ("x" * 15, 0o600, "16 to 256"),
        ("x" * 300, 0o600, "16 to 256"),
        ("\x1b[2J" + "x" * 32, 0o600, "printable"),
        ("", 0o600, "no token in it"),
        (None, 0o600, "No such file"),
    ],
)
def test_no_tokens(tmp_path, text, mode, says):
    """A token that others may read, or may guess, is one line."""
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text)
        file.chmod(mode)

    with pytest.raises(InputError, match=says) as raised:
        token.given(file)
    assert "\n" not in str(raised.value)


def test_it_has_what_a_receiver_has():
    """A station can take either: each public thing of one is one of the other."""
    from zclab.measure.peer.client import RemoteReceiver

    asked = {"tally", "usage", "await_bytes", "close"}

    assert asked <= {name for name in dir(Receiver) if name[0] != "_"}
    assert asked | {"drops"} <= {name for name in dir(RemoteReceiver) if name[0] != "_"}


@pytest.mark.parametrize("where", ["127.0.0.1", "::1"])
def test_it_counts_what_arrives(where):
    """Over UDP and TCP the peer counts each byte, and only of its controller."""
    rng = random.Random(1)
    with running(listen=where) as peer:
        session = peer.connect()
        flows = [flow(session, protocol, where)[0] for protocol in Protocol]
        expected = [0, 0]
        for _ in range(50):
            for index, sending in enumerate(flows):
                size = rng.randrange(1, 1400)
                sending.send(bytes(size))
                expected[index] += size
        for index, total in enumerate(expected):
            assert session.await_bytes(
                [index], total, lost=lambda i=index: session.drops(i), deadline_s=5
            )

        assert [session.tally(i).bytes for i in range(2)] == expected
        assert session.tally(0).received == 50
        assert [session.drops(i) for i in range(2)] == [0, 0]
        assert session.usage().switches >= 0
        session.close()
        for sending in flows:
            sending.close()


def test_what_does_not_come_is_not_awaited_for_ever():
    """Bytes that are missing end the wait early, or at its deadline."""
    with running() as peer:
        session = peer.connect()
        sending, _ = flow(session, Protocol.UDP)
        sending.send(bytes(10))

        assert not session.await_bytes([0], 11, lost=lambda: 0, deadline_s=0.3)
        assert session.await_bytes([0], 11, lost=lambda: 1, deadline_s=0.3)
        assert session.tally(0).bytes == 10
        session.close()
        sending.close()


def test_drops_end_a_wait():
    """Datagrams that a full socket drops are told, and nobody waits for them."""
    size, count = 1000, 30_000
    with running() as peer:
        session = peer.connect()
        sending, _ = flow(session, Protocol.UDP)
        session.tally(0)
        # The receiver stands still, so its buffer must overflow.
        (receiver,) = peer.holds()[1]
        os.kill(receiver, 19)  # SIGSTOP
        for _ in range(count):
            sending.send(bytes(size))
        os.kill(receiver, 18)  # SIGCONT

        assert session.await_bytes(
            [0],
            size * count,
            lost=lambda: session.drops(0) * size,
            deadline_s=5,
        )
        dropped = session.drops(0)
        assert dropped > 0
        assert session.tally(0).bytes == (count - dropped) * size
        session.close()
        sending.close()


def test_strangers_do_not_count():
    """Data of another address, or another port, does not reach the count."""
    with running() as peer:
        session = peer.connect()
        sending, port = flow(session, Protocol.UDP)
        for source in ("127.0.0.1", "127.0.0.2"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.bind((source, 0))
                stranger.sendto(bytes(500), ("127.0.0.1", port))
        inlet = Inlet(protocol=Protocol.TCP, unit=0, port=0)
        (tcp,) = session.listen([inlet], address="127.0.0.1", source="127.0.0.1")
        with socket.socket() as stranger:
            stranger.settimeout(10)
            stranger.bind(("127.0.0.2", 0))
            stranger.connect(("127.0.0.1", tcp))
            assert stranger.recv(1) == b""  # shown out
        with socket.create_connection(("127.0.0.1", tcp)) as stream:
            stream.send(bytes(100))
            sending.send(bytes(10))

            assert session.await_bytes([1], 100, lost=lambda: 0, deadline_s=5)
            assert session.await_bytes([0], 10, lost=lambda: 0, deadline_s=5)
            assert session.tally(0).bytes == 10
        with pytest.raises(ConnectionRefusedError):  # it takes one connection
            socket.create_connection(("127.0.0.1", tcp))
        session.close()
        sending.close()


def test_data_only_where_it_was_named():
    """Data on an address that was not named is refused, and the cure is told."""
    inlet = Inlet(protocol=Protocol.TCP, unit=0, port=0)
    with running() as peer:
        session = peer.connect()
        for other in ("127.0.0.2", "0.0.0.0", "::1"):
            with pytest.raises(InputError, match=f"--data {other}"):
                session.listen([inlet], address=other, source="127.0.0.1")
        with pytest.raises(InputError, match="cannot send to"):
            session.listen([inlet], address="127.0.0.1", source="::1")
        session.close()
    with running("--data", "127.0.0.2") as peer:
        session = peer.connect()
        assert session.listen([inlet], address="127.0.0.2", source="127.0.0.1")
        session.close()


def test_no_more_sockets_than_agreed():
    """A session has a limit on its sockets, and says which."""
    inlets = [Inlet(protocol=Protocol.UDP, unit=0, port=9)] * 200
    with running() as peer:
        before = peer.holds()
        session = peer.connect()
        where = {"address": "127.0.0.1", "source": "127.0.0.1"}
        with pytest.raises(InputError, match=r"400 sockets are planned.* 256 at most"):
            session.listen(inlets * 2, **where)
        assert len(set(session.listen(inlets, **where))) == 200
        session.count = 0  # the peer counts for itself
        with pytest.raises(InputError, match="256 sockets at most"):
            session.listen(inlets, **where)
        session.close()
        assert eventually(lambda: peer.holds() == before)


def test_what_can_be_planned_can_be_verified():
    """A peer takes the largest unit that a point may have, as a receiver here does."""
    inlet = Inlet(protocol=Protocol.TCP, unit=TCP_MAX_BYTES, port=0)
    with running() as peer:
        session = peer.connect()
        (port,) = session.listen([inlet], address="127.0.0.1", source="127.0.0.1")
        with socket.create_connection(("127.0.0.1", port)):
            assert session.tally(0).corrupt == 0
        session.close()


def test_facts_name_nobody():
    """A peer's facts tell no name of the host, no hardware or network address."""
    import re

    with running() as peer:
        session = peer.connect()
        found = session.facts()
        session.close()
    text = json.dumps(found)

    assert hostfacts.check({"peer": found}) == []
    assert found["kernel"]["release"] == os.uname().release
    assert found["device"]["device"] == "lo"
    assert found["device"]["statistics"]["rx_packets"] >= 0
    assert socket.gethostname() not in text
    assert "127.0.0.1" not in text
    assert not re.search(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", text)


def test_a_session_at_a_time():
    """A second controller is told that the peer is busy; later it is not."""
    with running() as peer:
        first = peer.connect()
        with pytest.raises(MeasureError, match="busy with another controller") as busy:
            peer.connect()
        assert peer.where in str(busy.value)
        with pytest.raises(InputError, match="another token"):
            peer.connect("a token that is not the right one")
        assert first.facts()
        first.close()
        second = peer.connect()
        second.close()


def test_once_is_one_run():
    """With --once it serves a run's sessions, one after the other, and then ends."""
    with running("--once") as peer:
        for _ in range(3):  # as many as a run has placements
            peer.connect().close()
        assert peer.process.wait(30) == 0


def test_a_token_that_was_given_is_not_told(tmp_path):
    """A token from a file is not printed again."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(stat.S_IRUSR)
    with running("--token-file", str(file)) as peer:
        peer.connect().close()
        peer.process.terminate()
        assert peer.process.stdout.read() == ""


def test_a_token_that_was_made_is_told():
    """Without one a token is made and printed, and it opens the peer."""
    with running(environment={}) as peer:
        word, made = peer.process.stdout.readline().split()
        assert word == "token:"
        peer.connect(made).close()
        with pytest.raises(InputError, match="another token"):
            peer.connect()


def test_one_address_for_several_flows_is_refused():
    """Only a target tells that somebody receives; the peer is not even asked."""
    target = Target(device="lo", destination="127.0.0.1", peer="127.0.0.1:1", token="t")
    given = Options.of(parse("addressed=on:flows=2"))

    with (
        closing(Flow(family=4, protocol=Protocol.UDP)) as one,
        pytest.raises(InputError, match="first one's receiver at the peer"),
    ):
        connect([(one, 0, given)], target)
