"""The command lines of the field's two tools, read as the tools read them.

One letter is one option, its value joined to it or the next word (getopt(3)); the
protocol comes last. What a tool would only find out in the middle, or not at all, is
refused here in one line.
"""

import getopt
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from zclab import presets
from zclab.errors import InputError
from zclab.measure.flow import AF
from zclab.options import BATCH_MAX, Given, Options
from zclab.params import TCP_MAX_BYTES, Mode, Protocol, parse_enum
from zclab.presets import Preset, Tool

LETTERS = {
    Tool.SELFTEST: "46D:p:s:t:n:c:m:",
    Tool.LIBURING: "46D:p:s:t:n:z:I:b:l:dC:T:Ryv",
}
# No letter takes a value in one tool and none in the other.
_ALL_LETTERS = LETTERS[Tool.SELFTEST] + LETTERS[Tool.LIBURING]
_OTHER = {Tool.SELFTEST: Tool.LIBURING, Tool.LIBURING: Tool.SELFTEST}
_ONLY = {tool: set(LETTERS[tool]) - set(LETTERS[_OTHER[tool]]) for tool in Tool}
DEFAULT_TOOL = Tool.LIBURING  # of a command line that both would take

PORT = 8000
PAYLOAD_MAX = 65435  # 65535 less an IPv6 and a TCP header and 40 B of TCP options
SECONDS = 4
SECONDS_MAX = 86_400
EXTRA_MS = 200  # both send so much longer than -t says
THREADS_MAX = 100
CPU_MAX = 4095

_SELFTEST_MODES = (Mode.SEND, Mode.SEND_ZC, Mode.SEND_ZC_FIXED, Mode.MIXED)
_NOT_OFFERED = {
    "y": "an extra poll request beside each batch",
    "v": "checked payload; zclab measure --options verify=on checks every byte",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a tool, understood.

    Attributes:
        address: where to send, or to receive; empty: any, only to receive.
        io_size_bytes: payload of one request (-s).
        batch: requests per submit (-n).
        runtime_ms: how long it sends: 200 ms more than -t.
        serves: it is the receiver (-R).
        device: network device that the socket is bound to (-I), or empty.

    """

    tool: Tool
    preset: Preset
    family: int
    protocol: Protocol
    address: str
    port: int = PORT
    io_size_bytes: int = PAYLOAD_MAX
    batch: int = 8
    runtime_ms: int = EXTRA_MS + SECONDS * 1000
    mode: Mode = presets.BASIS
    options: Options
    serves: bool = False
    device: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the call does that its numbers do not show."""
        if self.serves or not self.options.reorder:
            return ()
        return (
            f"-n {self.batch} over tcp keeps several requests of one socket in flight: "
            "data is reordered",
        )

    @property
    def receiver(self) -> str:
        """The call of the receiver that this sender needs."""
        words = ["zclab", "tx", f"-{self.family}", "-R", "-D", self.address]
        if self.port != PORT:
            words += ["-p", str(self.port)]
        if self.protocol is Protocol.TCP and self.options.threads > 1:
            words += ["-T", str(self.options.threads)]
        if self.runtime_ms > EXTRA_MS + 1000 * SECONDS:
            words += ["-t", str(self.runtime_ms // 1000)]
        return " ".join([*words, self.protocol])


def parse(words: Sequence[str], like: str = "") -> Call:
    """Return the call that the words of a command line spell.

    Args:
        words: letters and values, the protocol last.
        like: whose letters they are; empty: told by the letters, where both tools
            have them all liburing's.

    Raises:
        InputError: a letter or a value that the tool does not take, or none where it
            needs one.

    """
    values, protocol = _split(words)
    tool = parse_enum(Tool, like, "--like") if like else _told_by(values)
    other = _OTHER[tool]
    for letter in sorted(values.keys() & _ONLY[other]):
        raise InputError(
            f"-{letter} is a letter of {other} only; {tool} takes {LETTERS[tool]}"
        )
    for letter in sorted(values.keys() & _NOT_OFFERED.keys()):
        raise InputError(
            f"-{letter} of {tool} is not offered ({_NOT_OFFERED[letter]}); leave it out"
        )
    read = _selftest if tool is Tool.SELFTEST else _liburing
    return read(values, protocol)


def _split(words: Sequence[str]) -> tuple[dict[str, str], Protocol]:
    """Return the value of each letter, empty where it takes none, and the protocol."""
    try:
        pairs, rest = getopt.getopt(list(words), _ALL_LETTERS)
    except getopt.GetoptError as error:
        name = f"-{error.opt}" if len(error.opt) == 1 else f"--{error.opt}"
        if "requires argument" in error.msg:
            raise InputError(f"{name} has no value; write {name} VALUE") from None
        known = " or ".join(f"{LETTERS[tool]} ({tool})" for tool in Tool)
        raise InputError(f"{name} is unknown; use {known}") from None
    if len(rest) != 1 or rest[0] not in set(Protocol):
        found = repr(" ".join(rest)) if rest else "nothing"
        raise InputError(
            f"after the letters comes {found}; the last word, alone, is udp or tcp"
        )
    letters = [name[1:] for name, _ in pairs]
    if letters.count("4") + letters.count("6") != 1:
        raise InputError("pass -4 or -6, one of them, once")
    return {name[1:]: value for name, value in pairs}, Protocol(rest[0])


def _told_by(values: dict[str, str]) -> Tool:
    """Return whose letters they are.

    Raises:
        InputError: each tool has one that the other has not.

    """
    found = {tool: sorted(values.keys() & only) for tool, only in _ONLY.items()}
    if all(found.values()):
        mine, other = (letters[0] for letters in found.values())
        raise InputError(
            f"-{mine} is a letter of selftest and -{other} one of liburing; "
            "use the letters of one"
        )
    return next((tool for tool, letters in found.items() if letters), DEFAULT_TOOL)


def _number(
    values: dict[str, str], letter: str, default: int, low: int, high: int
) -> int:
    """Return the number that a letter was given, within its bounds."""
    text = values.get(letter, str(default))
    if not (text.isascii() and text.isdecimal() and low <= int(text) <= high):
        raise InputError(f"-{letter} {text}: use a whole number from {low} to {high}")
    return int(text)


def _address(values: dict[str, str], family: int, *, serves: bool) -> str:
    text = values.get("D", "")
    if not text and serves:
        return text
    if not text:
        raise InputError("-D is missing; name the address to send to: -D ADDRESS")
    try:
        socket.inet_pton(AF[family], text)
    except (OSError, ValueError):
        raise InputError(f"-D {text} is no IPv{family} address") from None
    return text


def _call(
    values: dict[str, str],
    protocol: Protocol,
    preset: Preset,
    *,
    mode: Mode,
    payload_max: int,
    given: Given,
) -> Call:
    """Return the call, after the letters that both tools have."""
    batch = _number(values, "n", 8, 1, BATCH_MAX)
    seconds = _number(values, "t", SECONDS, 0, SECONDS_MAX)
    serves, family = "R" in values, 4 if "4" in values else 6
    habits = preset.options(batch, plain=mode is Mode.SEND)
    reorder = protocol is Protocol.TCP and batch > 1
    return Call(
        tool=Tool.SELFTEST if preset is presets.SELFTEST else Tool.LIBURING,
        preset=preset,
        family=family,
        protocol=protocol,
        address=_address(values, family, serves=serves),
        port=_number(values, "p", PORT, 1, 65535),
        io_size_bytes=_number(values, "s", PAYLOAD_MAX, 1, payload_max),
        batch=batch,
        runtime_ms=EXTRA_MS + 1000 * seconds,
        mode=mode,
        options=Options.of(habits, given, [("reorder", reorder)]),
        serves=serves,
        device=values.get("I", ""),
    )


def _selftest(values: dict[str, str], protocol: Protocol) -> Call:
    corks = bool(_number(values, "c", 0, 0, 1))
    mode = _SELFTEST_MODES[_number(values, "m", 2, 0, 3)]
    if corks and protocol is not Protocol.UDP:
        raise InputError("-c 1 sets UDP_CORK, which a tcp socket refuses; leave it out")
    call = _call(
        values,
        protocol,
        presets.SELFTEST,
        mode=mode,
        payload_max=PAYLOAD_MAX,
        given=(("cork", corks),),
    )
    if call.runtime_ms < 1000:
        raise InputError(
            "-t 0: the selftest divides by its whole seconds, which are 0; use -t 1"
        )
    return call


def _liburing(values: dict[str, str], protocol: Protocol) -> Call:
    zerocopy, fixed, huge = (
        bool(_number(values, letter, default, 0, 1))
        for letter, default in (("z", 1), ("b", 1), ("l", 0))
    )
    mode = Mode.SEND_ZC if zerocopy else Mode.SEND
    threads = _number(values, "T", 1, 1, THREADS_MAX)
    udp = protocol is Protocol.UDP
    if "R" in values and udp and threads > 1:
        raise InputError("-R over udp has one socket; leave -T out")
    cpu = str(_number(values, "C", 0, 0, CPU_MAX)) if "C" in values else "any"
    return _call(
        values,
        protocol,
        presets.LIBURING_DEFER if "d" in values else presets.LIBURING,
        mode=Mode.SEND_ZC_FIXED if zerocopy and fixed else mode,
        payload_max=PAYLOAD_MAX if udp else TCP_MAX_BYTES,
        given=(
            ("pages", "hugetlb" if huge else "normal"),
            ("threads", threads),
            ("cpu", cpu),
        ),
    )
