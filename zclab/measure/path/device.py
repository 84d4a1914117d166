"""A device of the current network namespace: what bears on zerocopy, and its counters.

Facts are read back from the kernel after all was set, never assumed.
"""

from pathlib import Path
from typing import Any

from pyroute2 import Ethtool, IPRoute

MTU = 65535  # of every device that zclab makes

FEATURES = (
    "scatter-gather",
    "tx-checksumming",
    "generic-segmentation-offload",
    "tcp-segmentation-offload",
    "tx-udp-segmentation",
)
ETH_P_ALL = "0003"  # as /proc/net/packet has it
# Columns of /proc/net/dev.
COUNTERS = {"tx_packets": 9, "tx_bytes": 8, "tx_dropped": 11}


def index_of(network: IPRoute, name: str) -> int:
    """Return the number of the device of that name."""
    return int(network.link_lookup(ifname=name)[0])


def facts(network: IPRoute, name: str) -> dict[str, Any]:
    """Return what bears on zerocopy about a device of the current namespace."""
    link = network.get_links(index_of(network, name))[0]
    info = link.get_attr("IFLA_LINKINFO")
    return {
        "device": name,
        "kind": info.get_attr("IFLA_INFO_KIND") if info else "loopback",
        "mtu": link.get_attr("IFLA_MTU"),
        "qdisc": link.get_attr("IFLA_QDISC"),
        "packet_taps": packet_taps(),
        "features": features(name),
    }


def features(name: str) -> dict[str, bool]:
    """Return which of `FEATURES` a device has on; those it does not know left out."""
    with Ethtool() as ethtool:
        flags = ethtool.get_features(name).offload_flags
    return {feature: bool(flags[feature]) for feature in FEATURES if feature in flags}


def packet_taps() -> int:
    """Return how many AF_PACKET sockets of this namespace see all protocols.

    Such a socket makes the kernel copy what leaves its device, or any device if it
    is bound to none (dev_queue_xmit_nit). Source: packet(7), /proc/net/packet.
    """
    try:
        lines = Path("/proc/net/packet").read_text().splitlines()[1:]
    except OSError:
        return 0
    return sum(line.split()[3] == ETH_P_ALL for line in lines)


def counters(name: str) -> dict[str, int]:
    """Return what a device of the current namespace has sent so far, by `COUNTERS`.

    Source: /proc/net/dev (net/core/net-procfs.c, dev_seq_printf_stats), which is
    read in some microseconds.
    """
    for line in Path("/proc/net/dev").read_text().splitlines():
        device, colon, numbers = line.partition(":")
        if colon and device.strip() == name:
            words = numbers.split()
            return {column: int(words[at]) for column, at in COUNTERS.items()}
    return {}
