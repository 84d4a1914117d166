"""What a packet is made of: headers, and how much payload fits.

One piece for both halves: what measures, and what explains, must reckon alike.
"""

from zclab.params import IP_HEADER_BYTES, Protocol

TRANSPORT_BYTES = {
    Protocol.UDP: 8,
    Protocol.TCP: 32,  # with timestamps
}
ETHERNET_BYTES = 38  # header 14, checksum 4, preamble 8, gap 12: IEEE 802.3


def header_bytes(family: int, protocol: Protocol) -> int:
    """Return the bytes of the IP and the transport header, which the MTU includes."""
    return IP_HEADER_BYTES[family] + TRANSPORT_BYTES[protocol]


def payload_bytes(mtu: int, family: int, protocol: Protocol) -> int:
    """Return the largest payload that one packet carries.

    A larger UDP datagram is copied, as it is fragmented, unless UDP_SEGMENT is used:
    zerocopy needs length plus header to fit the MTU.

    Source: __ip_append_data, __ip6_append_data.
    """
    return mtu - header_bytes(family, protocol)
