"""Addresses that are typed: where a peer listens, and where one is found."""

import ipaddress
import socket
from dataclasses import dataclass

from zclab.errors import InputError
from zclab.measure.flow import AF

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A host or address, and a port; port 0: the kernel chooses."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host


def endpoint(text: str, *, what: str) -> Endpoint:
    """Return what ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT says.

    Args:
        text: what was typed.
        what: where, for the message.

    Raises:
        InputError: it is none of them.

    """
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise InputError(f"{what}: {text!r} is not [ADDRESS]:PORT")
        port, given = rest[1:], bool(rest)
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        given = True
    else:
        given = False
    if given and not (port.isascii() and port.isdecimal() and int(port) < 1 << 16):
        raise InputError(f"{what}: {port!r} in {text!r} is not a port, 0 to 65535")
    if not host or not host.isprintable() or any(c in host for c in " []/"):
        raise InputError(
            f"{what}: {text!r} has no address; give ADDRESS:PORT, "
            "with brackets for IPv6: [2001:db8::2]:PORT"
        )
    return Endpoint(host=host, port=int(port or 0))


def named(text: str, *, what: str) -> IPAddress:
    """Return the one address of a device that `text` names.

    Raises:
        InputError: it is a name, stands for all addresses or for many hosts.

    """
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise InputError(
            f"{what}: {text!r} is not an IPv4 or IPv6 address; name one of this "
            "host's own"
        ) from None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        raise InputError(f"{what}: {text} is an IPv4 address; write it as one")
    if found.is_unspecified:
        raise InputError(
            f"{what}: {text} stands for all addresses; name one, so that nobody else "
            "can reach the peer"
        )
    if found.is_multicast or str(found) == "255.255.255.255":
        raise InputError(f"{what}: {text} stands for many hosts; name one of this host")
    return found


def family(address: IPAddress) -> int:
    """Return the IP version's address family, as socket(2) wants it."""
    return AF[address.version]


def sockaddr(
    address: IPAddress, port: int
) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return what bind(2) and connect(2) want, the scope of a link-local included.

    Raises:
        InputError: its device is not here.

    """
    if address.version == 4:
        return str(address), port
    try:
        found = socket.getaddrinfo(
            str(address), port, socket.AF_INET6, flags=socket.AI_NUMERICHOST
        )
    except OSError as error:
        raise InputError(f"{address}: {error.strerror}") from None
    host, number, *rest = found[0][4]
    flow, scope = rest or (0, 0)
    return str(host).partition("%")[0], int(number), int(flow), int(scope)
