"""A flow: the sending socket of an arm, with its options, and where it arrives."""

import fcntl
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path

from zclab.errors import CapabilityError
from zclab.options import Options
from zclab.params import Mode, Protocol

AF = {4: socket.AF_INET, 6: socket.AF_INET6}
KIND = {Protocol.UDP: socket.SOCK_DGRAM, Protocol.TCP: socket.SOCK_STREAM}

SK_MEMINFO_DROPS = 8  # linux/sock_diag.h
SO_MEMINFO = 55  # asm-generic/socket.h
SIOCOUTQ = 0x5411  # linux/sockios.h: bytes that are not acknowledged
SO_ZEROCOPY = 60  # asm-generic/socket.h
UDP_CORK = 1  # linux/udp.h
UDP_SEGMENT = 103


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

    def prepare(self, mode: Mode, options: Options) -> None:
        """Set the socket options that a mode and its options ask for.

        Raises:
            CapabilityError: the kernel refuses one; the message names its release.

        """
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

    def drops(self) -> int:
        """Return datagrams dropped at the receiving socket so far."""
        return 0 if self.receiving is None else drops(self.receiving)

    def pace(self, congestion: bytes) -> None:
        """Set the congestion control of a TCP socket that is not connected yet."""
        self.sending.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion)

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
