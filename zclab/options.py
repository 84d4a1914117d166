"""Options: everything about a sender besides its mode, each with a name and a unit.

An option is written `name=value`; several are separated by colons. An *arm* is a
mode with options of its own, `send_zc_fixed:pages=thp:lag=8`; a point has options
that all of its arms share. What is not given has the default, which is zclab's own
way to send. `zclab options` prints the table that `OPTIONS` is.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self, cast

from zclab.errors import InputError

Value = str | int | bool
Given = tuple[tuple[str, Value], ...]  # name and value, in the order of OPTIONS

SLOTS = 1024  # requests in flight that the shim can track; see shim.h
BATCH_MAX = 512  # the ring size of the selftest and of liburing's example
IOVECS_MAX = 16
WEIGHTS_MAX = 256
SEGMENTS_MAX = 128  # UDP_MAX_SEGMENTS, linux/udp.h (64 before Linux 6.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option.

    Attributes:
        name: as it is written.
        default: its value when it is not given; its type is the option's.
        unit: of a number; empty for names and switches.
        meaning: one line.
        read: turns text into the value, or raises ValueError that says what it takes.
        needs: kernel or privilege, or empty.

    """

    name: str
    default: Value
    unit: str
    meaning: str
    read: Callable[[str], Value]
    needs: str = ""

    def value(self, text: str) -> Value:
        """Return the value that `text` spells.

        Raises:
            InputError: it spells none; the message says what the option takes.

        """
        try:
            return self.read(text)
        except ValueError as error:
            raise InputError(f"option {self.name}={text}: {error}") from None


def _option(
    default: Value,
    unit: str,
    meaning: str,
    read: Callable[[str], Value],
    *,
    needs: str = "",
) -> Any:
    """Return the field of an option: what `Option` says, except for its name."""
    said = {"unit": unit, "meaning": meaning, "read": read, "needs": needs}
    return field(default=default, metadata=said)


def _number(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise ValueError(f"use a whole number from {low} to {high}")
        return number

    return read


def _choice(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"use one of: {', '.join(names)}")
        return text

    return read


def _switch(text: str) -> bool:
    if text not in {"on", "off"}:
        raise ValueError("use on or off")
    return text == "on"


def _cpu(text: str) -> str:
    if text in {"auto", "any"} or (text.isdecimal() and int(text) < 4096):
        return text
    raise ValueError("use auto, any, or the number of a CPU")


def _control(text: str) -> str:
    # TCP_CA_NAME_MAX, net/tcp.h: the kernel would cut a longer one off in silence.
    if text == "none":
        return ""
    if not re.fullmatch(r"[A-Za-z0-9_-]{0,15}", text):
        raise ValueError(
            "use a name that net.ipv4.tcp_available_congestion_control has, or none"
        )
    return text


MIXABLE = (
    "send",
    "sendmsg",
    "send_vec",
    "send_zc",
    "send_zc_fixed",
    "send_zc_vec",
    "sendmsg_zc",
    "sendmsg_zc_fixed",
)


def weights(text: str) -> dict[str, int]:
    """Return how often each mode is drawn: `3*send+send_zc` is {send: 3, send_zc: 1}.

    Raises:
        ValueError: a mode is unknown or no single request, or the weights are too big.

    """
    found: dict[str, int] = {}
    for part in text.split("+"):
        times, star, mode = part.rpartition("*")
        if mode not in MIXABLE:
            raise ValueError(f"{mode!r} cannot be mixed; use: {', '.join(MIXABLE)}")
        if star and not (times.isdecimal() and int(times)):
            raise ValueError(f"the weight {times!r} is not a whole number from 1 on")
        found[mode] = found.get(mode, 0) + (int(times) if star else 1)
    if sum(found.values()) > WEIGHTS_MAX:
        raise ValueError(f"the weights add up to more than {WEIGHTS_MAX}")
    return found


def _mix(text: str) -> str:
    weights(text)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Values of all options; `OPTIONS` says what each means."""

    batch: int = _option(
        0,
        "requests",
        "requests per submit; 0: the point's",
        _number(0, BATCH_MAX),
    )
    mix: str = _option(
        "send+send_zc+send_zc_fixed",
        "",
        "what mode mixed draws from, with weights: 3*send+send_zc; the default is the "
        "selftest's rand() % 3",
        _mix,
    )
    iovecs: int = _option(
        1,
        "iovecs",
        "pieces of one sendmsg or vectorised request",
        _number(1, IOVECS_MAX),
    )
    taskrun: str = _option(
        "best",
        "",
        "when notifications are processed: default (at once, by interrupt), coop (at "
        "the next system call), defer (when asked for); best: the newest",
        _choice("best", "default", "coop", "defer"),
        needs="coop: Linux 5.19, defer: 6.1",
    )
    sqpoll: bool = _option(
        False,
        "",
        "a kernel thread submits",
        _switch,
    )
    sqpoll_cpu: str = _option(
        "auto",
        "",
        "CPU of that thread; auto: the receiver's, any: unpinned",
        _cpu,
    )
    submit_all: bool = _option(
        True,
        "",
        "a refused request does not end a submit",
        _switch,
    )
    sq: int = _option(
        512,
        "entries",
        "submission queue",
        _number(1, 4096),
    )
    cq: int = _option(
        2 * SLOTS,
        "entries",
        "completion queue",
        _number(2, 65536),
    )
    file: bool = _option(
        True,
        "",
        "the socket is a registered file",
        _switch,
    )
    ring: bool = _option(
        True,
        "",
        "the ring is a registered descriptor",
        _switch,
    )
    addressed: bool = _option(
        False,
        "",
        "unconnected socket, each request names the address (UDP)",
        _switch,
        needs="modes other than send_zc and sendmsg: Linux 6.1",
    )
    segment: int = _option(
        0,
        "B",
        "UDP_SEGMENT: a request is cut into datagrams of so many bytes; 0: off",
        _number(0, 65507),
    )
    more: int = _option(
        1,
        "requests",
        "MSG_MORE: so many requests are gathered into one datagram or segment; 1: off",
        _number(1, BATCH_MAX),
    )
    cork: bool = _option(
        False,
        "",
        "UDP_CORK or TCP_CORK around each batch: one datagram a batch (UDP)",
        _switch,
    )
    eor: bool = _option(
        False,
        "",
        "MSG_EOR: no request shares a packet buffer with the next (TCP)",
        _switch,
    )
    waitall: bool = _option(
        True,
        "",
        "MSG_WAITALL: the kernel itself goes on with a short send (TCP)",
        _switch,
    )
    pages: str = _option(
        "normal",
        "",
        "memory that is sent from: normal, thp (transparent huge pages), hugetlb "
        "(2 MiB pages that were reserved)",
        _choice("normal", "thp", "hugetlb"),
        needs="hugetlb: vm.nr_hugepages",
    )
    buffers: int = _option(
        1,
        "buffers",
        "buffers taken in turn; 1: one that stays hot in the cache",
        _number(1, 1 << 20),
    )
    offset: int = _option(
        0,
        "B",
        "where in its page a buffer begins",
        _number(0, 4095),
    )
    drain: str = _option(
        "lag",
        "",
        "when notifications are fetched: lag (with a submit once `lag` are "
        "outstanding), batch (with every submit), each (all awaited before the next)",
        _choice("lag", "batch", "each"),
    )
    lag: int = _option(
        0,
        "notifications",
        "outstanding ones from which they are fetched; 0: 128 as liburing's example; "
        "msg_zerocopy: sends after which the error queue is looked at, 0: 32 as the "
        "kernel's test",
        _number(0, SLOTS),
    )
    sndbuf: int = _option(
        2 << 20,
        "B",
        "SO_SNDBUF, which the kernel doubles and caps; 0: the system's default",
        _number(0, 1 << 30),
    )
    nodelay: bool = _option(
        False,
        "",
        "TCP_NODELAY",
        _switch,
    )
    congestion: str = _option(
        "",
        "",
        "TCP_CONGESTION: reno, cubic or another that the kernel has; none: the "
        "default of the network namespace, and where a responder answers reno (TCP)",
        _control,
        needs="one that is loaded: modprobe tcp_NAME",
    )
    flows: int = _option(
        1,
        "sockets",
        "sockets taken in turn",
        _number(1, 256),
    )
    threads: int = _option(
        1,
        "threads",
        "sending threads, each with a ring and `flows` sockets of its own",
        _number(1, 64),
    )
    cpu: str = _option(
        "auto",
        "",
        "CPU of the sender; auto: the last one, further threads on those before it; "
        "any: unpinned",
        _cpu,
    )
    clock: int = _option(
        32,
        "requests",
        "between two clock reads",
        _number(1, 1 << 20),
    )
    report_usage: bool = _option(
        True,
        "",
        "ask each notification whether the kernel copied",
        _switch,
        needs="Linux 6.2; older ones send without",
    )
    latency: bool = _option(
        False,
        "",
        "histogram of the time from completion to notification",
        _switch,
    )
    verify: bool = _option(
        False,
        "",
        "stamp every request and have the receiver check every byte",
        _switch,
        needs="a path with a receiver",
    )
    reorder: bool = _option(
        False,
        "",
        "allow several requests in flight on one TCP socket, which reorders it",
        _switch,
    )
    on_error: str = _option(
        "stop",
        "",
        "a failed request: stop (the slice ends) or count (by errno)",
        _choice("stop", "count"),
    )

    @classmethod
    def of(cls, *layers: Iterable[tuple[str, Value]]) -> Self:
        """Return the defaults with the given values laid over them, the last on top."""
        given: dict[str, Any] = {}
        for layer in layers:
            given.update(layer)
        return cls(**given)

    def changed(self) -> Given:
        """Return what differs from the default."""
        values = asdict(self)
        return tuple(
            (name, values[name])
            for name, option in OPTIONS.items()
            if values[name] != option.default
        )


OPTIONS: dict[str, Option] = {
    found.name: Option(
        name=found.name, default=cast(Value, found.default), **found.metadata
    )
    for found in fields(Options)
}


def parse(text: str) -> Given:
    """Return the options that `name=value:name=value` gives; empty text gives none.

    Raises:
        InputError: an unknown name, a value out of range, or a name twice.

    """
    found: dict[str, Value] = {}
    for part in filter(None, text.split(":")):
        name, equals, value = part.partition("=")
        if name not in OPTIONS:
            raise InputError(
                f"option {name!r} is unknown; zclab options lists those there are"
            )
        if not equals:
            raise InputError(f"option {name} has no value; write {name}=VALUE")
        if name in found:
            raise InputError(f"option {name} is given twice in {text!r}")
        found[name] = OPTIONS[name].value(value)
    return tuple((name, found[name]) for name in OPTIONS if name in found)


def spell(given: Iterable[tuple[str, Value]]) -> str:
    """Return options as `parse` reads them."""
    return ":".join(f"{name}={_spelt(value)}" for name, value in given)


def _spelt(value: Value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def split_arm(text: str) -> tuple[str, Given]:
    """Return (mode's name, options) of an arm like `send_zc:lag=8:pages=thp`.

    Raises:
        InputError: an option is not one; the mode is not looked at.

    """
    mode, _, rest = text.partition(":")
    return mode, parse(rest)


def canonical(text: str) -> str:
    """Return an arm as it is stored: its options in one order and one spelling."""
    mode, given = split_arm(text)
    return f"{mode}:{spell(given)}" if given else mode


def table() -> list[Mapping[str, str]]:
    """Return what `zclab options` prints: name, default, unit, meaning, needs."""
    return [
        {
            "name": option.name,
            "default": _spelt(option.default),
            "unit": option.unit,
            "meaning": option.meaning,
            "needs": option.needs,
        }
        for option in OPTIONS.values()
    ]
