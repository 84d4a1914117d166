"""Situations have one spelling, and those that make no sense are one line."""

import pytest

from zclab import situation
from zclab.errors import InputError
from zclab.params import Path, Plan, Point, Protocol


def point(path=Path.SINK, *, given="", protocol=Protocol.UDP, family=4, size=1200):
    """Return a point in a situation."""
    return Point(
        path=path,
        protocol=protocol,
        family=family,
        io_size_bytes=size,
        batch=1,
        modes=("send", "send_zc"),
        situation=given,
    )


@pytest.mark.parametrize(
    ("text", "spelt"),
    [
        ("", ""),
        ("mtu=1500", "mtu=1500"),
        ("mtu=01500", "mtu=1500"),
        (" tap , mtu=1500,", "mtu=1500,tap"),
        (
            "tap,tx-checksum=off,sg=off,mtu=9000,rung=ifb",
            "rung=ifb,mtu=9000,sg=off,tx-checksum=off,tap",
        ),
    ],
)
def test_one_spelling(text, spelt):
    """Equal situations are equal texts, in whatever order they were written."""
    assert situation.parse(text) == spelt
    assert situation.parse(spelt) == spelt


def test_a_place_names_path_and_situation():
    """A point without a situation is where it always was; with one its name says so."""
    plain, tapped = point(), point(given="tap,mtu=1500")

    assert (plain.place, plain.name) == ("sink", "sink-udp4-1200B-n1")
    assert tapped.place == "sink+mtu=1500+tap"
    assert tapped.name == "sink+mtu=1500+tap-udp4-1200B-n1"
    assert situation.path_of(tapped.place) == "sink"
    assert situation.facts(tapped.situation) == {"mtu": "1500", "tap": ""}
    plan = Plan(profile="x", points=(plain, tapped, point(size=100)), seed=1)
    assert plan.places == ("sink", "sink+mtu=1500+tap")
    assert Plan.from_json(plan.to_json()) == plan


def test_a_plan_without_situations_keeps_its_hash():
    """The situation is in the stored plan only where there is one."""
    assert "situation" not in point().to_json()
    assert point(given="tap").to_json()["situation"] == "tap"


@pytest.mark.parametrize(
    ("path", "given", "receives"),
    [
        (Path.SINK, "", False),
        (Path.SINK, "own-address", True),
        (Path.SINK, "tun", False),
        (Path.VETH, "", True),
        (Path.VETH, "peer-drop", False),
        (Path.LO, "mtu=1500", True),
        (Path.NIC, "", False),
    ],
)
def test_who_receives(path, given, receives):
    """A point knows whether a socket of this host takes what is sent."""
    assert point(path, given=given).has_receiver is receives


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"given": "fog"}, "situation 'fog' is unknown; use: rung=dummy, "),
        ({"given": "tap,tap"}, "tap is given twice"),
        ({"given": "tap=on"}, "situation 'tap=on': write tap"),
        ({"given": "mtu"}, "situation 'mtu': write mtu=N"),
        ({"given": "mtu="}, "situation 'mtu=': write mtu=N"),
        ({"given": "tap="}, "situation 'tap=': write tap"),
        ({"given": "=tap"}, "situation '=tap' is unknown"),
        ({"given": "mtu=1.5"}, "mtu=1.5 is not a whole number"),
        ({"given": "mtu=-1"}, "mtu=-1 is not a whole number"),
        ({"given": "mtu=65536"}, "mtu=65536 is out of range; use 68 to 65535 bytes"),
        ({"given": "sg=on"}, "sg=on is unknown; use sg=off"),
        ({"given": "rung=hub"}, "rung=hub is unknown; use rung=dummy or rung=ifb"),
        ({"given": "rung=ifb,tun"}, "rung and tun are two sinks; name one"),
        ({"given": "peer-drop"}, "peer-drop is not for path sink; use --path veth"),
        ({"given": "tun", "path": Path.VETH}, "tun is not for path veth"),
        ({"given": "tap", "path": Path.NIC}, "tap is not for path nic"),
        ({"given": "mtu=1279", "family": 6}, "mtu=1279 is too small for IPv6"),
        ({"given": "own-address,sg=off"}, "never sees the device; leave sg out"),
        (
            {"given": "peer-drop", "path": Path.VETH, "protocol": Protocol.TCP},
            "tcp has nobody to answer its handshake behind peer-drop; use udp",
        ),
        (
            {"given": "tun", "protocol": Protocol.TCP},
            "tcp comes to a stand on a tun device that nobody reads; use udp",
        ),
    ],
)
def test_what_makes_no_sense_is_one_line(changes, complaint):
    """Each refusal says what is wrong, and what to write instead."""
    with pytest.raises(InputError, match=complaint) as raised:
        point(**changes)
    assert "\n" not in str(raised.value)


def test_verify_needs_who_receives():
    """Where a situation takes the receiver away there is nobody to compare bytes."""
    with pytest.raises(InputError, match="verify needs a receiver"):
        Point(
            path=Path.VETH,
            protocol=Protocol.UDP,
            family=4,
            io_size_bytes=1200,
            batch=1,
            modes=("send", "send_zc"),
            given=(("verify", "on"),),
            situation="peer-drop",
        )


def test_every_word_is_told():
    """Each word has a sentence, and paths that exist."""
    for name, word in situation.WORDS.items():
        assert word.says, name
        assert set(word.paths) <= set(Path), name
