"""A drop at a device's ingress: before IP, and before any copy for a receiver.

A packet that a device receives goes to packet taps first, then to tc, then to the
ingress hook of netfilter (net/core/dev.c, __netif_receive_skb_core). Older kernels copy
for a receiver right after that, newer ones when IP delivers (6.18:
ip_local_deliver_finish), so a rule of the raw table would do on these alone.
"""

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.nftables.main import NFTables

from zclab.errors import CapabilityError
from zclab.measure.path import device

NFPROTO_NETDEV = 5  # linux/netfilter.h
NF_NETDEV_INGRESS = 0
NF_DROP = 0
TC_INGRESS = 0xFFFF0000  # the handle of the ingress qdisc
ETH_P_ALL = 0x0003

TABLE = "zclab"


def drop(name: str) -> str:
    """Drop all that a device of the current namespace receives; return by what.

    That is `nft`, a netfilter chain, or `tc`, a filter of the ingress qdisc.

    Raises:
        CapabilityError: this kernel has neither.

    """
    refused = []
    for word, make in (("nft", _by_nft), ("tc", _by_tc)):
        try:
            make(name)
        except NetlinkError as error:
            refused.append(f"{word}: {device.why(error)}")
        else:
            return word
    raise CapabilityError(
        f"nothing drops at a device's ingress here ({'; '.join(refused)}); load "
        "nf_tables (CONFIG_NF_TABLES_NETDEV), or cls_u32 and act_gact"
    )


def _by_nft(name: str) -> None:
    """Add a chain without a rule, whose policy is to drop."""
    hook = [
        ["NFTA_HOOK_HOOKNUM", NF_NETDEV_INGRESS],
        ["NFTA_HOOK_PRIORITY", 0],
        ["NFTA_HOOK_DEV", name],
    ]
    with NFTables(nfgen_family=NFPROTO_NETDEV) as nft:
        nft.table("add", name=TABLE)
        nft.chain(
            "add",
            table=TABLE,
            name="drop",
            type="filter",
            policy=NF_DROP,
            NFTA_CHAIN_HOOK={"attrs": hook},
        )


def _by_tc(name: str) -> None:
    """Match every packet (u32 with an empty mask) and drop it (gact)."""
    with IPRoute() as network:
        index = device.index_of(network, name)
        network.tc("add", "ingress", index, TC_INGRESS)
        network.tc(
            "add-filter",
            "u32",
            index,
            parent=TC_INGRESS,
            protocol=ETH_P_ALL,
            target=0x10000,
            keys=["0x0/0x0+0"],
            action={"kind": "gact", "action": "drop"},
        )
