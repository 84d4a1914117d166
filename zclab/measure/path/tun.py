"""A tun device: what it is given leaves the kernel by a descriptor, or comes by it.

As a sink nobody reads it. The first packets wait in its queue, all others are dropped,
but each is made ready for a reader first: the kernel copies what is zerocopy, as a
reader could be slow for ever (drivers/net/tun.c, tun_net_xmit: skb_orphan_frags_rx).
"""

import fcntl
import os
import struct

from zclab.errors import CapabilityError

DEVICE = "/dev/net/tun"
NAME = "zctun"

# linux/if_tun.h
TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
# Checksums and segments are left to the reader: else they would copy before it does.
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 0x01, 0x02, 0x04
TUN_F_USO4, TUN_F_USO6 = 0x20, 0x40  # Linux 6.2


def attached(name: str, what: str, *, offloads: bool = False) -> int:
    """Make a tun device in the current namespace; return what keeps it.

    Args:
        name: of the device.
        what: what it is for, in the words of a refusal.
        offloads: leave checksums and segments to the reader.

    Raises:
        CapabilityError: it may not be made.

    """
    flags = IFF_TUN | IFF_NO_PI | (IFF_VNET_HDR if offloads else 0)
    try:
        fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
            if offloads:
                _leave_to_reader(fd)
        except OSError:
            os.close(fd)
            raise
    except OSError as error:
        raise CapabilityError(
            f"{what} needs a tun device: {DEVICE}: {error.strerror}; load it: "
            "modprobe tun (in a container, give it the device)"
        ) from None
    return fd


def _leave_to_reader(fd: int) -> None:
    known = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6
    try:
        fcntl.ioctl(fd, TUNSETOFFLOAD, known | TUN_F_USO4 | TUN_F_USO6)
    except OSError:  # before 6.2
        fcntl.ioctl(fd, TUNSETOFFLOAD, known)
