"""Situations: what is done to a path on purpose, so that a rule of copying shows.

A situation is a set of words, each with a value or alone: `mtu=1500,tap`. It has one
spelling, in the order of `WORDS`, so that equal ones are equal texts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from zclab.errors import InputError

RUNGS = ("dummy", "ifb", "veth-drop", "veth-down")  # of the sink, best first
MTU_LEAST = {4: 68, 6: 1280}  # RFC 791, RFC 8200
MTU_MOST = 65535
ANSWERED = "answered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word of a situation.

    Attributes:
        values: what it may be set to; empty for a word that stands alone; `N` stands
            for a whole number.
        paths: the paths on which it makes sense.
        bounds: the least and the most that N may be, and their unit.
        says: what it does.

    """

    values: tuple[str, ...] = ()
    paths: tuple[str, ...] = ("sink", "veth", "lo")
    bounds: tuple[int, int, str] = (0, 0, "")
    says: str

    def spellings(self, name: str) -> tuple[str, ...]:
        """Return how the word may be written."""
        return tuple(f"{name}={value}" for value in self.values) or (name,)


WORDS: Mapping[str, Word] = {
    "rung": Word(
        values=RUNGS,
        paths=("sink",),
        says="the sink is this device, and not the best one that the kernel has",
    ),
    "tun": Word(
        paths=("sink",),
        says="the sink is a tun device whose descriptor is open and unread: packets "
        "are made ready for a reader, queued, and dropped where the queue is full",
    ),
    ANSWERED: Word(
        paths=("sink",),
        says="a rule logs the headers of what is sent, and a responder plays the "
        "receiver's side of TCP from them; tcp over the sink always has it",
    ),
    "ack-every": Word(
        values=("N",),
        paths=("sink",),
        bounds=(1, 1024, ""),
        says="the responder acknowledges after so many segments at the latest (64)",
    ),
    "ack-delay": Word(
        values=("N",),
        paths=("sink",),
        bounds=(0, 100_000, " us"),
        says="and so many microseconds after the first of them (20); 0 for as soon as "
        "no other is there",
    ),
    "own-address": Word(
        paths=("sink",),
        says="the destination is the device's own address: the packets go over lo to "
        "a live receiver",
    ),
    "peer-drop": Word(
        paths=("veth",),
        says="the peer drops what arrives, before any socket: no receiver",
    ),
    "mtu": Word(
        values=("N",),
        bounds=(MTU_LEAST[4], MTU_MOST, " bytes"),
        says="the device has this MTU: larger datagrams are fragmented",
    ),
    "sg": Word(values=("off",), says="the device has no scatter-gather"),
    "tx-checksum": Word(values=("off",), says="the device sums nothing up"),
    "tap": Word(says="a packet socket sees all that the device sends, as tcpdump's"),
}


def parse(text: str) -> str:
    """Return the one spelling of a situation; empty for none.

    Args:
        text: words separated by commas, in any order.

    Raises:
        InputError: a word or its value is unknown, or a word is given twice.

    """
    found: dict[str, str] = {}
    for word in filter(None, (word.strip() for word in text.split(","))):
        name, sign, value = word.partition("=")
        if name not in WORDS:
            known = ", ".join(
                spelt for name in WORDS for spelt in WORDS[name].spellings(name)
            )
            raise InputError(f"situation {word!r} is unknown; use: {known}")
        if name in found:
            raise InputError(f"situation {name} is given twice; name it once")
        if bool(value) != bool(WORDS[name].values) or bool(sign) != bool(value):
            raise InputError(
                f"situation {word!r}: write {' or '.join(WORDS[name].spellings(name))}"
            )
        found[name] = sign + _value(name, value)
    return ",".join(name + found[name] for name in WORDS if name in found)


def _value(name: str, value: str) -> str:
    known = WORDS[name].values
    if known == ("N",):
        if not (value.isascii() and value.isdigit()):
            raise InputError(f"situation {name}={value} is not a whole number")
        number = int(value)
        least, most, unit = WORDS[name].bounds
        if not least <= number <= most:
            raise InputError(
                f"situation {name}={number} is out of range; use {least} to "
                f"{most}{unit}"
            )
        return str(number)
    if known and value not in known:
        raise InputError(
            f"situation {name}={value} is unknown; use "
            f"{' or '.join(WORDS[name].spellings(name))}"
        )
    return value


def facts(text: str) -> dict[str, str]:
    """Return the words of a situation in its one spelling, each with its value."""
    words = (word.partition("=") for word in text.split(",") if word)
    return {name: value for name, _, value in words}


def check(text: str, *, path: str, protocol: str, family: int) -> None:
    """Raise InputError where a situation makes no sense.

    Args:
        text: in its one spelling.
        path: the path that it is for.
        protocol: udp or tcp.
        family: IP version.

    """
    words = facts(text)
    for name in words:
        if path not in WORDS[name].paths:
            paths = " or ".join(f"--path {one}" for one in WORDS[name].paths)
            raise InputError(f"situation {name} is not for path {path}; use {paths}")
    mtu = int(words.get("mtu", MTU_MOST))
    # The device's MTU and offloads mean nothing for what goes over lo.
    useless = [name for name in ("tun", "mtu", "sg", "tx-checksum") if name in words]
    wrong: dict[str, bool] = {
        "rung and tun are two sinks; name one": {"rung", "tun"} <= words.keys(),
        "tcp has nobody to answer its handshake behind peer-drop; use udp": (
            protocol == "tcp" and "peer-drop" in words
        ),
        "tcp comes to a stand on a tun device that nobody reads; use udp": (
            protocol == "tcp" and "tun" in words
        ),
        f"mtu={mtu} is too small for IPv6; use {MTU_LEAST[6]} or more": (
            mtu < MTU_LEAST[family]
        ),
        f"what goes to own-address never sees the device; leave {''.join(useless[:1])} "
        "out": "own-address" in words and bool(useless),
        "nobody answers for own-address: it has a live receiver; leave one out": (
            {"own-address", ANSWERED} <= words.keys()
        ),
        "nobody acknowledges without answered": (
            bool({"ack-every", "ack-delay"} & words.keys()) and ANSWERED not in words
        ),
    }
    for why, is_so in wrong.items():
        if is_so:
            raise InputError(f"situation {text}: {why}")


def completed(text: str, *, path: str, protocol: str) -> str:
    """Return a situation with what goes without saying: who answers TCP on the sink."""
    words = facts(text)
    if path != "sink" or protocol != "tcp" or "own-address" in words:
        return text
    return text if ANSWERED in words else parse(f"{text},{ANSWERED}")


def place(path: str, text: str) -> str:
    """Return one word for a path in a situation: `sink+mtu=1500+tap`."""
    return "+".join(filter(None, (path, *text.split(","))))


def path_of(place: str) -> str:
    """Return the path of a place."""
    return place.partition("+")[0]
