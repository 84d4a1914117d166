"""A flow: the sending socket of an arm, with its options, and where it arrives."""

import errno
import fcntl
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from zclab.errors import CapabilityError
from zclab.options import Options
from zclab.params import Mode, Protocol
from zclab.preflight import UNASKED

AF = {4: socket.AF_INET, 6: socket.AF_INET6}
KIND = {Protocol.UDP: socket.SOCK_DGRAM, Protocol.TCP: socket.SOCK_STREAM}

SK_MEMINFO_DROPS = 8  # linux/sock_diag.h
SO_MEMINFO = 55  # asm-generic/socket.h
SIOCOUTQ = 0x5411  # linux/sockios.h: bytes that are not acknowledged
SO_ZEROCOPY = 60  # asm-generic/socket.h
UDP_CORK = 1  # linux/udp.h
UDP_SEGMENT = 103
CONTROLS = "/proc/sys/net/ipv4/tcp_{}_congestion_control"


def packed(family: int, address: str, port: int) -> bytes:
    """Return a struct sockaddr_in or sockaddr_in6, as sendto(2) takes it."""
    number = socket.inet_pton(AF[family], address)
    head = struct.pack("=H", AF[family]) + struct.pack("!H", port)
    if family == 4:
        return head + number + bytes(8)
    return head + bytes(4) + number + bytes(4)


def drops(receiving: socket.socket) -> int:
    """Return datagrams dropped at a socket so far.

    Source: SO_MEMINFO, net/core/sock.c sk_get_meminfo().
    """
    words = receiving.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36)
    return int(struct.unpack("9I", words)[SK_MEMINFO_DROPS])


def timeouts() -> int:
    """Return how often TCP of this namespace waited in vain for an acknowledgement.

    Source: /proc/net/netstat, TCPTimeouts (tcp_write_timeout and tcp_retransmit_timer).
    """
    names, values = (
        line.split()
        for line in Path("/proc/net/netstat").read_text().splitlines()
        if line.startswith("TcpExt:")
    )
    return int(values[names.index("TCPTimeouts")])


def granted(flows: Iterable[tuple["Flow", Options]]) -> dict[str, str]:
    """Return the congestion controls that TCP sockets have, by what was asked for.

    The key is the option `congestion`, UNASKED where it is empty; the value what the
    kernel says, with + between where sockets differ. UDP sockets are left out.
    """
    found: dict[str, set[str]] = {}
    for flow, options in flows:
        if flow.protocol is Protocol.TCP:
            asked = options.congestion or UNASKED
            found.setdefault(asked, set()).add(flow.congestion())
    return {asked: "+".join(sorted(names)) for asked, names in found.items()}


def _listed(which: str) -> str:
    """Return the available or the allowed congestion controls, as the kernel does."""
    with suppress(OSError):
        return Path(CONTROLS.format(which)).read_text().strip()
    return "what cannot be read"


@dataclass(slots=True, kw_only=True)
class Flow:
    """A sending socket and, on a live path, the socket where it arrives."""

    family: int
    protocol: Protocol
    receiving: socket.socket | None = None
    destination: tuple[str, int] = ("", 0)
    sending: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.sending = socket.socket(AF[self.family], KIND[self.protocol])

    def aim(self, address: str, port: int) -> None:
        """Set where the data goes."""
        self.destination = (address, port)

    def connect(self) -> None:
        """Connect the sending socket to the destination."""
        self.sending.connect(self.destination)

    @property
    def address(self) -> bytes:
        """The packed address of the destination, for unconnected sockets."""
        return packed(self.family, *self.destination)

    @property
    def cork(self) -> tuple[int, int]:
        """Protocol and number of the socket option that corks."""
        if self.protocol is Protocol.UDP:
            return socket.IPPROTO_UDP, UDP_CORK
        return socket.IPPROTO_TCP, socket.TCP_CORK

    def prepare(self, mode: Mode, options: Options, *, congestion: str = "") -> None:
        """Set the socket options that a mode and its options ask for.

        It comes before the connection: a socket that bbr has made pace would go on
        pacing under another congestion control (bbr_init(), sk_pacing_status).

        Args:
            mode: the mode.
            options: of the arm.
            congestion: congestion control over TCP where the options name none; empty
                for the default of the network namespace.

        Raises:
            CapabilityError: the kernel refuses one; the message names its release, or
                what it has.

        """
        name = options.congestion or congestion
        if name and self.protocol is Protocol.TCP:
            self._control(name)
        if options.sndbuf:
            self._set("sndbuf", socket.SOL_SOCKET, socket.SO_SNDBUF, options.sndbuf)
        if options.nodelay:
            self._set("nodelay", socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if options.segment:
            self._set(
                "segment (Linux 4.18)",
                socket.IPPROTO_UDP,
                UDP_SEGMENT,
                options.segment,
            )
        if mode is Mode.MSG_ZEROCOPY:
            what = f"{mode} (Linux 4.14 for tcp, 5.0 for udp)"
            self._set(what, socket.SOL_SOCKET, SO_ZEROCOPY, 1)

    def _set(self, what: str, level: int, option: int, value: int) -> None:
        try:
            self.sending.setsockopt(level, option, value)
        except OSError as error:
            raise CapabilityError(
                f"{what} is refused by this kernel: {error.strerror}"
            ) from None

    def _control(self, name: str) -> None:
        """Set the congestion control.

        Source: net/ipv4/tcp_cong.c, tcp_set_congestion_control(): ENOENT for one that
        is not loaded, which only root of the host may have loaded by asking; EPERM for
        one that is not allowed to who has no CAP_NET_ADMIN in the network namespace.
        """
        try:
            self.sending.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode()
            )
        except OSError as error:
            why = f"is refused by this kernel: {error.strerror}"
            if error.errno == errno.ENOENT:
                why = (
                    f"this kernel has it not; {CONTROLS.format('available')} has "
                    f"{_listed('available')}; try modprobe tcp_{name}"
                )
            elif error.errno == errno.EPERM:
                why = (
                    "is not allowed to this user; root may add it to "
                    f"{CONTROLS.format('allowed')}, which has {_listed('allowed')}"
                )
            raise CapabilityError(f"congestion={name}: {why}") from None

    def drops(self) -> int:
        """Return datagrams dropped at the receiving socket so far."""
        return 0 if self.receiving is None else drops(self.receiving)

    def congestion(self) -> str:
        """Return the congestion control that a TCP socket has (tcp(7))."""
        name = self.sending.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        return name.partition(b"\0")[0].decode()

    def retransmits(self) -> int:
        """Return segments that TCP sent again so far; 0 over UDP.

        Source: tcp(7), TCP_INFO, tcpi_total_retrans.
        """
        if self.protocol is not Protocol.TCP:
            return 0
        info = self.sending.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        return int(struct.unpack_from("=I", info, 100)[0])

    def acknowledged_bytes(self) -> int:
        """Return bytes that TCP was acknowledged so far, its SYN not among them.

        Source: linux/tcp.h, tcpi_bytes_acked (Linux 4.1).
        """
        info = self.sending.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
        return int(struct.unpack_from("=Q", info, 120)[0]) - 1

    def unacknowledged_bytes(self) -> int:
        """Return bytes that TCP was not acknowledged yet (tcp(7), SIOCOUTQ)."""
        answer = fcntl.ioctl(self.sending.fileno(), SIOCOUTQ, bytes(4))
        return int(struct.unpack("=i", answer)[0])

    def sndbuf_bytes(self) -> int:
        """Return the size of the sending buffer that the kernel granted."""
        return self.sending.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

    def close(self) -> None:
        """Close both sockets."""
        self.sending.close()
        if self.receiving is not None:
            self.receiving.close()
