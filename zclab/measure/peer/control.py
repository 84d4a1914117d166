"""The control connection: who may speak, and that nobody else did.

Lines of JSON, each with an end. First both sides prove that they know the token,
without telling it:

    peer        {"zclab peer":1,"nonce":N}
    controller  {"say":"hello","nonce":M,"proof":HMAC(key, "controller" N M)}
    peer        {"say":"hello","proof":HMAC(key, "peer" N M)}

Then every line is `{"mac":"<64 hex>","is":<body>}`. The sum is an HMAC of the
line's number and its body, under a key of this session and this direction. So a line
that was changed, left out, said twice, moved, turned around or kept from another
session is refused, and with it the session. Nothing is secret but the token.

Source: RFC 2104 (HMAC), RFC 7914 (scrypt).
"""

import hashlib
import hmac
import json
import secrets
from typing import Any, NoReturn

VERSION = 1
HELLO_BYTES = 512  # a line before both have proved
QUESTION_BYTES = 1 << 16  # a line of the controller
ANSWER_BYTES = 1 << 20  # a line of the peer: facts of a NIC are long
NONCE_BYTES = 32

_HEAD, _NECK, _TAIL = b'{"mac":"', b'","is":', b"}"
_MAC = slice(len(_HEAD), len(_HEAD) + 64)
_BODY = slice(_MAC.stop + len(_NECK), -len(_TAIL))


class BrokenError(Exception):
    """What came over the wire is not what this protocol says."""


class TokenError(BrokenError):
    """The other side does not know the token."""


def key_of(token: str) -> bytes:
    """Return the key that a token stands for.

    scrypt makes each guess of a token that a person thought up cost some 50 ms and
    16 MiB to who has heard a proof.
    """
    return hashlib.scrypt(token.encode(), salt=b"zclab peer", n=1 << 14, r=8, p=1)


def nonce() -> str:
    """Return a number that was never used before."""
    return secrets.token_hex(NONCE_BYTES)


def _sum(key: bytes, *parts: bytes) -> str:
    whole = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()


def _same(one: str, other: object) -> bool:
    return isinstance(other, str) and hmac.compare_digest(one.encode(), _utf8(other))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def parse(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a line.

    Raises:
        BrokenError: it is none, has a name twice, or is nested beyond reason.

    """
    try:
        found = json.loads(
            raw.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_unique
        )
    except (ValueError, RecursionError):
        raise BrokenError("a line is not JSON") from None
    if not isinstance(found, dict):
        raise BrokenError("a line is not an object")
    return found


def spell(values: dict[str, Any]) -> bytes:
    """Return an object as JSON without a newline; ASCII only."""
    return json.dumps(values, separators=(",", ":"), allow_nan=False).encode("ascii")


class Seal:
    """What binds the lines of one session; of either side."""

    def __init__(self, key: bytes, nonces: tuple[str, str], *, is_peer: bool) -> None:
        both = [nonces[0].encode(), nonces[1].encode()]
        keys = [
            bytes.fromhex(_sum(key, b"zclab peer 1: lines to " + to, *both))
            for to in (b"controller", b"peer")
        ]
        self._outward, self._inward = keys if is_peer else reversed(keys)
        self._sent = self._taken = 0

    def close(self, values: dict[str, Any]) -> bytes:
        """Return the next line to send, its newline included."""
        body = spell(values)
        mac = _sum(self._outward, self._sent.to_bytes(8, "big"), body)
        self._sent += 1
        return _HEAD + mac.encode() + _NECK + body + _TAIL + b"\n"

    def open(self, line: bytes) -> dict[str, Any]:
        """Return what the next line says.

        Raises:
            BrokenError: it is not the other side's next line.

        """
        body = line[_BODY]
        mac = _sum(self._inward, self._taken.to_bytes(8, "big"), body)
        if not hmac.compare_digest(line, _HEAD + mac.encode() + _NECK + body + _TAIL):
            raise BrokenError("a line was changed, or is not the next one")
        self._taken += 1
        return parse(body)


class Welcome:
    """A peer's side of the handshake.

    Attributes:
        greeting: the line to begin with.

    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._nonce = nonce()
        self.greeting = spell({"zclab peer": VERSION, "nonce": self._nonce}) + b"\n"

    def take(self, line: bytes) -> tuple[bytes, Seal]:
        """Return the answer to the controller's proof, and what binds the rest.

        Raises:
            BrokenError: that is no proof.
            TokenError: it is one of another token.

        """
        said = parse(line)
        if said.keys() != {"say", "nonce", "proof"} or said["say"] != "hello":
            raise BrokenError("a controller says hello first")
        theirs = _checked_nonce(said["nonce"])
        nonces = (self._nonce, theirs)
        if not _same(_proof(self._key, b"controller", nonces), said["proof"]):
            raise TokenError("the token is another")
        answer = {"say": "hello", "proof": _proof(self._key, b"peer", nonces)}
        return spell(answer) + b"\n", Seal(self._key, nonces, is_peer=True)


class Hello:
    """A controller's side of the handshake."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._nonce = nonce()
        self._nonces = ("", "")

    def answer(self, greeting: bytes) -> bytes:
        """Return the proof that a peer's first line asks for.

        Raises:
            BrokenError: that is no peer, or one of another version.

        """
        said = parse(greeting)
        if "zclab peer" not in said:
            raise BrokenError("it is not a zclab peer")
        if said["zclab peer"] != VERSION or said.keys() != {"zclab peer", "nonce"}:
            raise BrokenError("it is of another version; use the same zclab on both")
        self._nonces = (_checked_nonce(said["nonce"]), self._nonce)
        proof = _proof(self._key, b"controller", self._nonces)
        said = {"say": "hello", "nonce": self._nonce, "proof": proof}
        return spell(said) + b"\n"

    def take(self, line: bytes) -> Seal:
        """Return what binds the rest, if the peer has proved as well.

        Raises:
            BrokenError: it did not.
            TokenError: it says, or shows, that its token is another.

        """
        said = parse(line)
        if said == REFUSED:
            raise TokenError("it has another token")
        if said.keys() != {"say", "proof"} or said["say"] != "hello":
            raise BrokenError("it is not a zclab peer")
        if not _same(_proof(self._key, b"peer", self._nonces), said["proof"]):
            raise TokenError("it does not know the token")
        return Seal(self._key, self._nonces, is_peer=False)


REFUSED = {"say": "refused"}


def _proof(key: bytes, side: bytes, nonces: tuple[str, str]) -> str:
    return _sum(
        key, b"zclab peer 1: I am the " + side, nonces[0].encode(), nonces[1].encode()
    )


def _checked_nonce(value: object) -> str:
    if not isinstance(value, str) or len(value) != 2 * NONCE_BYTES:
        raise BrokenError("a nonce has 64 hex digits")
    if not set(value) <= set("0123456789abcdef"):
        raise BrokenError("a nonce has 64 hex digits")
    return value
