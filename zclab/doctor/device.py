"""What a network device says of itself over netlink, ethtool and bpf(2)."""

import ctypes
import platform
import struct
from dataclasses import dataclass
from typing import Any

from pyroute2 import Ethtool, IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from zclab.errors import InputError

# What the kernel asks of a device, each by its own name: the words that ethtool -k
# prints for groups of them stay `on` as long as any of a group is.
SG = "tx-scatter-gather"
CHECKSUMS = {  # by IP version, any of them will do
    4: ("tx-checksum-ip-generic", "tx-checksum-ipv4"),
    6: ("tx-checksum-ip-generic", "tx-checksum-ipv6"),
}
GSO = "tx-generic-segmentation"
TSO = {4: "tx-tcp-segmentation", 6: "tx-tcp6-segmentation"}
FEATURES = (SG, *CHECKSUMS[4], CHECKSUMS[6][1], GSO, *TSO.values())
MTU_ANY = 65535  # where a device names no limit: more, IP cannot say
XDP_MODES = {1: "in the driver", 2: "generic", 3: "in the device", 4: "several"}
CLSACT = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}  # linux/pkt_sched.h

_BPF_CALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280}  # their unistd.h
_BPF_PROG_QUERY = 16  # linux/bpf.h
_TCX = {"ingress": 46, "egress": 47}
_PROGRAMS_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device of the current network namespace; None where nothing was told.

    Attributes:
        mtu_max: the largest MTU that its driver takes.
        up: it is switched on, and has a carrier.
        qdisc: kind of the root queueing discipline.
        xdp: how an XDP program is attached; empty for none.
        filters: tc filters on ingress and egress, and on the root qdisc.
        tcx: programs attached by TCX (6.6).
        features: those of FEATURES that the device has, on or off.

    """

    name: str
    index: int
    kind: str
    mtu: int
    mtu_max: int
    up: bool
    qdisc: str | None
    xdp: str
    filters: dict[str, int] | None
    tcx: dict[str, int] | None
    features: dict[str, bool] | None


def find(name: str) -> Device:
    """Return the device of that name.

    Raises:
        InputError: there is none in this network namespace; the message lists all.

    """
    with IPRoute() as network:
        there = {link.get_attr("IFLA_IFNAME"): link for link in network.get_links()}
        if name not in there:
            known = ", ".join(sorted(there)) or "none"
            raise InputError(f"device {name!r} is not here; --dev takes one of {known}")
        link = there[name]
        info = link.get_attr("IFLA_LINKINFO")
        kind = info.get_attr("IFLA_INFO_KIND") if info else None
        return Device(
            name=name,
            index=link["index"],
            kind=kind or ("loopback" if link["flags"] & 0x8 else "hardware"),
            mtu=link.get_attr("IFLA_MTU"),
            mtu_max=link.get_attr("IFLA_MAX_MTU") or MTU_ANY,
            up=link.get_attr("IFLA_OPERSTATE") in {"UP", "UNKNOWN"}
            and bool(link["flags"] & 0x1),
            qdisc=link.get_attr("IFLA_QDISC"),
            xdp=_xdp(link),
            filters=_filters(network, link["index"]),
            tcx=_tcx(link["index"]),
            features=_features(name),
        )


def _xdp(link: Any) -> str:
    found = link.get_attr("IFLA_XDP")
    mode = found.get_attr("IFLA_XDP_ATTACHED") if found else 0
    return XDP_MODES.get(mode, "") if mode else ""


def _filters(network: IPRoute, index: int) -> dict[str, int] | None:
    """Return how many filters hang where; without places that have none."""
    found = {}
    for place, parent in {**CLSACT, "root": 0}.items():
        try:
            heard = network.get_filters(index=index, parent=parent)
        except NetlinkError as error:
            if error.code in {22, 2}:  # no such qdisc: no place for a filter
                continue
            return None
        # A filter's table is announced by messages of its own, without a handle.
        count = sum(bool(message["handle"]) for message in heard)
        if count:
            found[place] = count
    return found


def _tcx(index: int) -> dict[str, int] | None:
    """Return how many TCX programs hang where; None where bpf(2) does not tell.

    Source: bpf(2), BPF_PROG_QUERY; kernel/bpf/tcx.c.
    """
    number = _BPF_CALL.get(platform.machine())
    if number is None:
        return None
    call = ctypes.CDLL(None, use_errno=True).syscall
    found = {}
    for place, kind in _TCX.items():
        programs = (ctypes.c_uint32 * _PROGRAMS_MAX)()
        asked = struct.pack(
            "=IIIIQI36x", index, kind, 0, 0, ctypes.addressof(programs), _PROGRAMS_MAX
        )
        attributes = ctypes.create_string_buffer(asked, len(asked))
        if call(number, _BPF_PROG_QUERY, attributes, len(asked)) != 0:
            return None
        (count,) = struct.unpack_from("=I", attributes, 24)
        if count:
            found[place] = count
    return found


def _features(name: str) -> dict[str, bool] | None:
    try:
        with Ethtool() as ethtool:
            there = ethtool.get_features(name).features
    except (NetlinkError, OSError):
        return None
    return {key: bool(there[key].enable) for key in FEATURES if key in there}
