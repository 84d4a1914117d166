"""The log: headers of what this namespace sends, copied out by a netfilter rule.

The packets go on as they are: the rule copies the first bytes of each
(nfnetlink_log) and takes no reference to it, so zerocopy stays zerocopy.

The messages are made here. pyroute2 would do, but for the number of the log's group,
which it writes with 32 bits where the kernel reads 16 (nft_log_policy), so that it is
always 0. Sources: linux/netfilter/nfnetlink.h, nf_tables.h, nfnetlink_log.h.
"""

import os
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress

from zclab.errors import CapabilityError

GROUP = 1  # of the log; any will do in a namespace of one's own
HEADERS_BYTES = 100  # IPv6, and TCP with all its options
BUFFER_BYTES = 8 << 20  # of the log's socket; capped by net.core.rmem_max

AF = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}
NETLINK_NETFILTER = 12
SO_RCVBUFFORCE = 33
NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE = 0x1, 0x4, 0x400
NLMSG_ERROR = 2
NLA_F_NESTED = 0x8000
SUBSYSTEM_LOG, SUBSYSTEM_TABLES = 4, 10
BATCH_BEGIN, BATCH_END = 0x10, 0x11
NEW_TABLE, DELETE_TABLE, NEW_CHAIN, NEW_RULE = 0, 2, 3, 6
CONFIGURE = 1  # NFULNL_MSG_CONFIG
BIND = b"\x01"  # NFULNL_CFG_CMD_BIND
COPY_PACKET = 2  # NFULNL_COPY_PACKET
NUMBERED = 1  # NFULNL_CFG_F_SEQ
POSTROUTING = 4  # NF_INET_POST_ROUTING
ACCEPT = 1  # NF_ACCEPT


def _attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), kind) + value + padding


def _short(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("!H", value))


def _long(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("!I", value))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _nest(kind: int, *values: bytes) -> bytes:
    return _attribute(kind | NLA_F_NESTED, b"".join(values))


def _message(
    kind: int, *values: bytes, flags: int = 0, family: int = 0, number: int = 0
) -> bytes:
    """Return one message; `number` is that of a log's group or of a subsystem."""
    body = struct.pack("=BB", family, 0) + struct.pack("!H", number) + b"".join(values)
    head = struct.pack("=IHHII", 16 + len(body), kind, flags | NLM_F_REQUEST, 0, 0)
    return head + body


def _netlink() -> socket.socket:
    found = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
    )
    found.bind((0, 0))
    return found


def _ask(netlink: socket.socket, what: str, *messages: bytes) -> None:
    """Send messages of which one asks for an answer; raise unless it is a good one."""
    netlink.send(b"".join(messages))
    answer = netlink.recv(1 << 16)
    (kind,) = struct.unpack_from("=H", answer, 4)
    (code,) = struct.unpack_from("=i", answer, 16)
    if kind != NLMSG_ERROR or code:
        raise CapabilityError(
            f"tcp over the sink needs {what}, which this kernel refuses "
            f"({os.strerror(-code)}); load it: modprobe nft_log nfnetlink_log"
        )


def opened() -> socket.socket:
    """Return a socket that gives the log of the current namespace.

    Each packet is told at once, with a running number, so that it is known how many
    the socket had no room for.

    Raises:
        CapabilityError: the kernel has no nfnetlink_log.

    """
    found = _netlink()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    with suppress(PermissionError):  # beyond rmem_max, where root starts us
        found.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    settings = (
        _attribute(2, struct.pack("!IBx", HEADERS_BYTES, COPY_PACKET)),
        _long(5, 1),  # packets to a message
        _short(6, NUMBERED),
    )
    for values in ((_attribute(1, BIND),), settings):
        message = _message(
            SUBSYSTEM_LOG << 8 | CONFIGURE, *values, flags=NLM_F_ACK, number=GROUP
        )
        _ask(found, "nfnetlink_log", message)
    return found


def _batch(*messages: bytes) -> bytes:
    begin = _message(BATCH_BEGIN, number=SUBSYSTEM_TABLES)
    end = _message(BATCH_END, number=SUBSYSTEM_TABLES)
    return begin + b"".join(messages) + end


_TABLE, _CHAIN = "zclab", "sent"


def _table(what: int, family: int, *values: bytes, flags: int = 0) -> bytes:
    return _message(
        SUBSYSTEM_TABLES << 8 | what,
        _text(1, _TABLE),
        *values,
        flags=flags,
        family=AF[family],
    )


def add_rule(families: Iterable[int]) -> None:
    """Have all be logged that leaves by one of the IP versions, by whatever device.

    Raises:
        CapabilityError: the kernel has no nf_tables, or no log in it.

    """
    hook = _nest(4, _long(1, POSTROUTING), _long(2, 0))  # 0: its priority
    what = _nest(2, _short(1, GROUP), _long(3, HEADERS_BYTES), _short(4, 1))
    log = _nest(4, _nest(1, _text(1, "log"), what))
    policy, kind = _long(5, ACCEPT), _text(7, "filter")
    with _netlink() as netlink:
        for family in families:
            batch = _batch(
                _table(NEW_TABLE, family, flags=NLM_F_CREATE),
                _table(
                    NEW_CHAIN,
                    family,
                    *(_text(3, _CHAIN), hook, policy, kind),
                    flags=NLM_F_CREATE,
                ),
                _table(
                    NEW_RULE,
                    family,
                    *(_text(2, _CHAIN), log),
                    flags=NLM_F_CREATE | NLM_F_ACK,
                ),
            )
            _ask(netlink, "nf_tables with its log", batch)


def remove_rule(families: Iterable[int]) -> None:
    """Have nothing be logged any more."""
    with _netlink() as netlink:
        for family in families:
            batch = _batch(_table(DELETE_TABLE, family, flags=NLM_F_ACK))
            _ask(netlink, "nf_tables", batch)
