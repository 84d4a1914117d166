"""A veth pair: this end sends, the other is in a second network namespace."""

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from zclab.errors import CapabilityError
from zclab.measure.namespace import PeerNetwork
from zclab.measure.path import address, device
from zclab.measure.path.address import FAR, NEAR

NEAR_END, FAR_END = "zcveth0", "zcveth1"


def add(network: IPRoute, families: set[int], mtu: int) -> tuple[str, PeerNetwork]:
    """Make a pair, both ends up with addresses; return this end and the other's home.

    Raises:
        CapabilityError: this kernel makes none.

    """
    peer = PeerNetwork()
    try:
        network.link(
            "add",
            ifname=NEAR_END,
            kind="veth",
            peer={"ifname": FAR_END, "net_ns_fd": peer.fd},
        )
    except NetlinkError as error:
        raise CapabilityError(
            f"the veth path needs a veth device, which this kernel refuses ({error}); "
            "load it: modprobe veth"
        ) from None
    index = device.index_of(network, NEAR_END)
    with peer.entered(), IPRoute() as far:
        far_index = device.index_of(far, FAR_END)
        far.link("set", index=1, state="up")
        far.link("set", index=far_index, mtu=mtu, state="up")
        for family in families:
            address.add(far, far_index, family, FAR[family])
    network.link("set", index=index, mtu=mtu, state="up")
    for family in families:
        address.add(network, index, family, NEAR[family])
    return NEAR_END, peer
