"""A device of the current network namespace: what bears on zerocopy, and its counters.

Facts are read back from the kernel after all was set, never assumed.
"""

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyroute2 import Ethtool, IPRoute
from pyroute2.ethtool.ioctl import NotSupportedError
from pyroute2.netlink.exceptions import NetlinkError

from zclab.errors import CapabilityError

IFF_UP = 0x1  # linux/if.h

MTU = 65535  # of every device that zclab makes

FEATURES_OF_SUM = ("tx-checksum-ipv4", "tx-checksum-ipv6", "tx-checksum-ip-generic")
# Features by the kernel's names (net/ethtool/common.c); what ethtool(8) calls by one
# name may be several, of which a device has one or two.
FEATURES = {
    "scatter-gather": ("tx-scatter-gather",),
    "tx-checksumming": FEATURES_OF_SUM,
    "generic-segmentation-offload": ("tx-generic-segmentation",),
    "tcp-segmentation-offload": ("tx-tcp-segmentation",),
    "tx-udp-segmentation": ("tx-udp-segmentation",),
}
# Those that decide over copies are recorded one by one too: what ethtool(8) calls by
# one name stays on as long as a sibling is that IP does not look at.
SINGLE = ("tx-scatter-gather", *FEATURES_OF_SUM)
# Words of a situation that switch a feature off.
SWITCHES = {"sg": "scatter-gather", "tx-checksum": "tx-checksumming"}
# Where filters may hang: the two ends of clsact (linux/pkt_sched.h).
TC_PARENTS = (0xFFFFFFF2, 0xFFFFFFF3)
ETH_P_ALL = "0003"  # as /proc/net/packet has it
# IFLA_XDP_ATTACHED (linux/if_link.h); what else there is runs in or below the driver.
XDP = {0: "", 2: "generic"}
# Columns of /proc/net/dev.
COUNTERS = {"tx_packets": 9, "tx_bytes": 8, "tx_dropped": 11}


def index_of(network: IPRoute, name: str) -> int:
    """Return the number of the device of that name."""
    return int(network.link_lookup(ifname=name)[0])


def why(error: Exception) -> str:
    """Return what the kernel said to a request over netlink, in words."""
    return os.strerror(error.code) if isinstance(error, NetlinkError) else str(error)


def facts(network: IPRoute, name: str) -> dict[str, Any]:
    """Return what bears on zerocopy about a device of the current namespace."""
    link = network.get_links(index_of(network, name))[0]
    info = link.get_attr("IFLA_LINKINFO")
    return {
        "device": name,
        "kind": info.get_attr("IFLA_INFO_KIND") if info else "loopback",
        "mtu": link.get_attr("IFLA_MTU"),
        "qdisc": link.get_attr("IFLA_QDISC"),
        "packet_taps": packet_taps(name),
        "features": features(name),
        "xdp": _xdp(link),
        "tc_programs": _tc_programs(network, index_of(network, name)),
    }


def is_up(network: IPRoute, index: int) -> bool:
    """Return whether a device is up (IFF_UP)."""
    return bool(network.get_links(index)[0]["flags"] & IFF_UP)


def features(name: str) -> dict[str, bool]:
    """Return which of `FEATURES` a device has on, and which of those one by one.

    What it does not know is left out.
    """
    with Ethtool() as ethtool:
        known = ethtool.get_features(name).features
    found = {
        feature: any(known[one].enable for one in names if one in known)
        for feature, names in FEATURES.items()
        if known.keys() & set(names)
    }
    return found | {one: known[one].enable for one in SINGLE if one in known}


def switch_off(name: str, words: Sequence[str]) -> None:
    """Switch features of a device off.

    Args:
        name: the device.
        words: of `SWITCHES`.

    Raises:
        CapabilityError: the device refuses.

    """
    for word in words:
        with Ethtool() as ethtool:
            found = ethtool.get_features(name)
            for one in FEATURES[SWITCHES[word]]:
                if one in found.features:
                    found.features[one].enable = False
            # Raised also where some were switched and some not: what holds is read.
            with suppress(NotSupportedError):
                ethtool.set_features(name, found)
        if features(name).get(SWITCHES[word], False):
            raise CapabilityError(
                f"{word}=off: {name} has {SWITCHES[word]} fixed; use another path"
            )


def xdp(network: IPRoute, index: int) -> str:
    """Return how an XDP program is on a device: `native`, `generic`; empty for none."""
    return _xdp(network.get_links(index)[0])


def _xdp(link: Any) -> str:
    found = link.get_attr("IFLA_XDP")
    return XDP.get(found.get_attr("IFLA_XDP_ATTACHED") or 0, "native") if found else ""


def _tc_programs(network: IPRoute, index: int) -> int:
    """Return how many tc filters hang at a device's ingress and egress, by priority.

    Programs that are attached without tc (TCX, Linux 6.6) are not among them: to ask
    for those takes CAP_NET_ADMIN on the host.
    """
    found = {
        (one["parent"], one["info"] >> 16)
        for parent in TC_PARENTS
        for one in network.get_filters(index=index, parent=parent)
    }
    return len(found)


def packet_taps(name: str = "") -> int | None:
    """Return how many AF_PACKET sockets of this namespace see all protocols.

    None where the kernel does not tell: no such file, or it may not be read.

    Such a socket makes the kernel copy what leaves its device, or any device if it
    is bound to none (dev_queue_xmit_nit). Source: packet(7), /proc/net/packet.

    Args:
        name: only those that see this device; empty for all.

    """
    seen = {0, socket.if_nametoindex(name)} if name else None
    try:
        lines = Path("/proc/net/packet").read_text().splitlines()[1:]
    except OSError:
        return None
    sockets = [line.split() for line in lines]
    return sum(
        words[3] == ETH_P_ALL and (seen is None or int(words[4]) in seen)
        for words in sockets
    )


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
