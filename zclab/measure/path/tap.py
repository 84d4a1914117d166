"""A packet tap: what tcpdump opens, and what makes the kernel copy for it."""

import socket

ETH_P_ALL = 0x0003  # linux/if_ether.h


def opened(device: str) -> socket.socket:
    """Return an AF_PACKET socket for all protocols of a device, that nobody reads.

    As long as it is open every packet that the device sends is cloned for it, and a
    zerocopy one copied first; that its own buffer soon is full changes nothing.
    Source: packet(7); net/core/dev.c, dev_queue_xmit_nit().
    """
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    found.bind((device, ETH_P_ALL))
    return found
