"""A veth pair: this end sends, the other is in a second network namespace."""

from dataclasses import dataclass

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from zclab.errors import CapabilityError
from zclab.measure.namespace import PeerNetwork
from zclab.measure.path import address, device, ingress
from zclab.measure.path.address import FAR, NEAR

NEAR_END, FAR_END = "zcveth0", "zcveth1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A pair that is up, with addresses at both ends.

    Attributes:
        device: name of this end.
        index: its number.
        peer: the namespace of the other end.
        far_index: the other end's number there.

    """

    device: str
    index: int
    peer: PeerNetwork
    far_index: int

    def drop(self, network: IPRoute, families: set[int]) -> str:
        """Have the other end drop all that arrives; return by what.

        Raises:
            CapabilityError: this kernel has nothing that drops there.

        """
        self._fix_neighbours(network, families)
        with self.peer.entered():
            return ingress.drop(FAR_END)

    def take_down(self, network: IPRoute, families: set[int]) -> None:
        """Take the other end down: this one goes on sending."""
        self._fix_neighbours(network, families)
        with self.peer.entered(), IPRoute() as far:
            far.link("set", index=self.far_index, state="down")

    def _fix_neighbours(self, network: IPRoute, families: set[int]) -> None:
        """Name the other end's link address, which it will not tell by itself."""
        with self.peer.entered(), IPRoute() as far:
            link = far.get_links(self.far_index)[0].get_attr("IFLA_ADDRESS")
        for family in families:
            network.neigh(
                "replace",
                dst=FAR[family],
                lladdr=link,
                ifindex=self.index,
                state="permanent",
            )


def add(network: IPRoute, families: set[int], mtu: int) -> Pair:
    """Make a pair, both ends up with addresses.

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
            "the veth path needs a veth device, which this kernel refuses "
            f"({device.why(error)}); load it: modprobe veth"
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
    return Pair(device=NEAR_END, index=index, peer=peer, far_index=far_index)
