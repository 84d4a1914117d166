"""The sink: a device that drops what it is given, after the whole stack ran."""

from dataclasses import dataclass

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from zclab.errors import CapabilityError
from zclab.measure.path import address, device
from zclab.measure.path.address import NEAR

NAME = "zcsink"

_SAYS = {
    "dummy": "dummy: counts and frees the packet in its transmit function "
    "(dummy_xmit), the device of the v5 table",
    "ifb": "ifb: drops in its transmit function what was not redirected to it "
    "(ifb_xmit), stands in for dummy; takes one transmit lock more than dummy",
}
_LEAVES_OUT = "a driver's work, a wire and a receiver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A sink that is up.

    Attributes:
        rung: which of the ladder it is.
        says: what it does.
        leaves_out: what of a real path it does not have.

    """

    device: str
    rung: str
    says: str
    leaves_out: str


def add(network: IPRoute, families: set[int], mtu: int) -> Made:
    """Make the first sink that this kernel has.

    The queueing discipline is noqueue, as dummy has by itself: ifb's default
    pfifo_fast would charge every packet for a queue that v5's device never had.
    """
    for kind in ("dummy", "ifb"):
        try:
            network.link("add", ifname=NAME, kind=kind)
            break
        except NetlinkError:
            continue
    else:
        raise CapabilityError(
            "the sink needs a dummy or an ifb device and this kernel makes neither; "
            "load one: modprobe dummy, or modprobe ifb"
        )
    index = device.index_of(network, NAME)
    network.link("set", index=index, mtu=mtu, state="up")
    network.tc("replace", "noqueue", index)
    for family in families:
        address.add(network, index, family, NEAR[family])
    return Made(device=NAME, rung=kind, says=_SAYS[kind], leaves_out=_LEAVES_OUT)
