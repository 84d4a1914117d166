"""What a peer tells of its host and of the device that has an address."""

from typing import Any

from pyroute2 import IPRoute

from zclab import hostfacts
from zclab.errors import InputError
from zclab.measure import ethtool, host
from zclab.measure.path import device
from zclab.measure.peer.address import IPAddress

# What the device counted, by the names of struct rtnl_link_stats64 (if_link.h).
COUNTERS = (
    "rx_packets",
    "rx_bytes",
    "rx_errors",
    "rx_dropped",
    "rx_missed_errors",
    "rx_over_errors",
    "rx_nohandler",
    "tx_packets",
    "tx_bytes",
)


def device_of(address: IPAddress) -> str:
    """Return the device that has an address.

    Raises:
        InputError: none of this host's has.

    """
    text, _, scope = str(address).partition("%")
    if address.is_loopback:
        return "lo"
    with IPRoute() as network:
        names = [
            str(network.get_links(found["index"])[0].get_attr("IFLA_IFNAME"))
            for found in network.get_addr(address=text)
        ]
    names = [name for name in names if scope in ("", name)]
    if not names:
        raise InputError(f"{address} is on no device of this host; see `ip address`")
    return names[0]


def _device(name: str) -> dict[str, Any]:
    """Return what bears on receiving about a device, and what it counted so far."""
    with IPRoute() as network:
        index = device.index_of(network, name)
        link = network.get_links(index)[0]
        found = device.facts(network, name)
    card = ethtool.facts(name, index=index)
    counted = link.get_attr("IFLA_STATS64") or {}
    statistics = {name: int(counted[name]) for name in COUNTERS if name in counted}
    if found["kind"] == "loopback" and name != "lo":
        found["kind"] = card.get("driver", "unknown")
    return {**found, **card, "statistics": statistics | card.get("statistics", {})}


class Facts:
    """The facts of this host, and of the device of an address, on the house's schema.

    What software this is needs a program to be run (git), and a peer runs none while
    it serves: so that is asked once, here.
    """

    def __init__(self, address: IPAddress, cpu: int | None) -> None:
        self.device = device_of(address)
        self._receiver = {"receiver": "process", "receiver_cpu": cpu}
        self._software = host.facts()["software"]

    def __call__(self) -> dict[str, Any]:
        """Return them as they are now; JSON values, neither addresses nor names."""
        found = {
            **host.facts(without={"software"}),
            "software": self._software,
            "device": {**_device(self.device), **self._receiver},
        }
        return hostfacts.public(found)
