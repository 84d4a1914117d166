"""Addresses of the paths: they mean nothing outside of their namespaces."""

from pyroute2 import IPRoute

# Documentation addresses (RFC 5737, RFC 3849).
NEAR = {4: "192.0.2.1", 6: "2001:db8::1"}
FAR = {4: "192.0.2.2", 6: "2001:db8::2"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
PREFIX = {4: 24, 6: 64}

IFA_F_NODAD = 0x02  # linux/if_addr.h: no duplicate detection, usable at once


def add(network: IPRoute, index: int, family: int, address: str) -> None:
    """Give the device with that number an address that can be used at once."""
    nodad = {"flags": IFA_F_NODAD} if family == 6 else {}
    network.addr("add", index=index, address=address, prefixlen=PREFIX[family], **nodad)
