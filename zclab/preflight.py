"""Will the kernel copy, and does the send work at all? Told before anything is sent.

Each rule is one thing that the kernel does, with the function that does it. `predict`
takes a point and the facts of its path, as `host["paths"][place]` has them, and returns
the rule that decides. Nothing that was measured goes in; where a measurement says
otherwise, a rule is wrong or missing, and that is a finding.

The sources are the kernel's own code, Documentation/networking/msg_zerocopy.rst, and
measurements on Linux 6.18 (`zclab prove situations` takes them again).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zclab import situation as situations
from zclab.options import Options
from zclab.packet import header_bytes, payload_bytes
from zclab.params import Mode, Path, Plan, Point, Protocol, arm_mode

IP_PACKET_BYTES = 65535  # the most that the length field of an IP header can say
IPV6_LEAST_MTU = 1280  # RFC 8200, section 5; below it addrconf takes IPv6 away

ARM = "send_zc"  # the arm that is meant where none is named

UNASKED = "unasked"  # stands for no option `congestion` in the facts of a place
# Known by name, as no call tells of a socket whether TCP paces it. bbr asks for that
# itself (net/ipv4/tcp_bbr.c, bbr_init(): SK_PACING_NEEDED). Any other is paced only by
# a qdisc fq or by SO_MAX_PACING_RATE: a run sets neither, and doctor names the qdisc.
PACES = frozenset({"bbr"})

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that the kernel does with a zerocopy send.

    Attributes:
        id: one word, by which reports, warnings and the page of rules name it.
        says: what happens, in a sentence without a full stop.
        function: the kernel function that does it.
        source: where to read of it: a file, a commit, a page, or how it was measured.
        cure: what to do; empty where nothing is wrong.

    """

    id: str
    says: str
    function: str
    source: str
    cure: str = ""


RULES: dict[str, Rule] = {
    rule.id: rule
    for rule in (
        # The send is refused.
        Rule(
            id="kernel-older",
            says="the kernel has no such request",
            function="io_issue_defs[], io_send_zc_prep",
            source="io_uring_enter(2); 493108d95f14 (SENDMSG_ZC, 6.1)",
            cure="a newer kernel, or another mode: zclab modes",
        ),
        Rule(
            id="socket-refuses",
            says="the socket's protocol takes no zerocopy: EOPNOTSUPP, and a "
            "notification that says copied",
            function="io_send_zc, SOCK_SUPPORT_ZC",
            source="e993ffe3da4b (6.1; before it the data was silently copied)",
            cure="TCP or UDP over IP, without an upper protocol such as kTLS",
        ),
        Rule(
            id="ipv6-mtu",
            says="a device whose MTU is below 1280 B has no IPv6: ENETUNREACH",
            function="addrconf_notify",
            source="net/ipv6/addrconf.c; RFC 8200",
            cure="an MTU of 1280 B or more, or IPv4",
        ),
        Rule(
            id="segment-over-mtu",
            says="a segment of UDP_SEGMENT does not fit the MTU: EMSGSIZE",
            function="udp_send_skb, udp_v6_send_skb",
            source="net/ipv4/udp.c, net/ipv6/udp.c; older kernels say EINVAL, also "
            "where the payload is less than a segment",
            cure="smaller segments, or a larger MTU",
        ),
        Rule(
            id="segments-many",
            says="more datagrams in one send than UDP_MAX_SEGMENTS: EINVAL",
            function="udp_send_skb, udp_v6_send_skb",
            source="linux/udp.h: 64 before Linux 6.9, then 128",
            cure="larger segments, or smaller sends",
        ),
        Rule(
            id="gathered-large",
            says="what MSG_MORE or cork gathers is more than a datagram can be: "
            "EMSGSIZE for what no longer fits",
            function="__ip_append_data, __ip6_append_data",
            source="net/ipv4/ip_output.c, net/ipv6/ip6_output.c",
            cure="gather fewer requests",
        ),
        Rule(
            id="gathered-mixed",
            says="two zerocopy requests may not share one packet buffer: EINVAL for "
            "the second",
            function="__ip_append_data, __ip6_append_data",
            source="net/ipv4/ip_output.c (skb_zcopy(skb) && msg_ubuf != "
            "skb_zcopy(skb)); 1fd3ae8c906c",
            cure="leave cork and more out where segment is on",
        ),
        # The kernel copies.
        Rule(
            id="plain",
            says="a plain send copies the payload into packet buffers",
            function="_copy_from_iter",
            source="io_uring/net.c, io_send",
        ),
        Rule(
            id="own-address",
            says="an address that this host owns is routed through lo, whatever "
            "device has it, and a local socket receives",
            function="ip_route_output_key_hash_rcu, then ip_local_deliver_finish",
            source="net/ipv4/route.c (RTN_LOCAL)",
            cure="another address of the device's subnet",
        ),
        Rule(
            id="delivered",
            says="the packet reaches a socket of this host, and a slow reader could "
            "hold the sender's pages for ever",
            function="skb_orphan_frags_rx in ip_local_deliver_finish, "
            "ip6_input_finish; before that in __netif_receive_skb_core",
            source="1f8b977ab32d (sock: enable MSG_ZEROCOPY), msg_zerocopy.rst",
            cure="a device that drops (path sink), or a receiver on another host",
        ),
        Rule(
            id="tun",
            says="a tun or tap device hands packets to a program, and copies before "
            "it queues them; offloads do not change it",
            function="skb_orphan_frags_rx in tun_net_xmit",
            source="drivers/net/tun.c",
            cure="another device",
        ),
        Rule(
            id="tap",
            says="a packet socket for all protocols sees what leaves the device; it "
            "gets a clone, and the clone a copy",
            function="dev_queue_xmit_nit, skb_orphan_frags_rx in deliver_skb",
            source="net/core/dev.c; /proc/net/packet (protocol 0003)",
            cure="close the sniffer: tcpdump, lldpd, a DHCP client, on this device "
            "or on all",
        ),
        Rule(
            id="xdp-generic",
            says="generic XDP at the far end makes the packet linear before the "
            "program sees it, even where that drops it",
            function="netif_receive_generic_xdp",
            source="net/core/dev.c; tests/test_kernel_rules.py, on veth",
            cure="take the program off, or attach it in native mode",
        ),
        Rule(
            id="no-sg",
            says="the device takes no scattered packets: UDP copies on appending, TCP "
            "when the packet is made linear for the device",
            function="__ip_append_data, __ip6_append_data; TCP: validate_xmit_skb, "
            "__skb_linearize",
            source="net/ipv4/ip_output.c; TCP asks for NETIF_F_SG in any case since "
            "4.17 (sk_setup_caps); tests/test_kernel_rules.py",
            cure="ethtool -K DEV sg on",
        ),
        Rule(
            id="no-checksum",
            says="the device makes no checksums, so the payload is read, and UDP "
            "copies it meanwhile; TCP makes the packet linear",
            function="__ip_append_data, __ip6_append_data (csummode); TCP: "
            "skb_checksum_help",
            source="net/ipv4/ip_output.c, net/core/dev.c; UDP with UDP_SEGMENT too; "
            "tests/test_kernel_rules.py",
            cure="ethtool -K DEV tx on",
        ),
        Rule(
            id="fragmented",
            says="a datagram beyond the MTU is cut into fragments, which are copied",
            function="__ip_append_data, __ip6_append_data",
            source="net/ipv4/ip_output.c (length + fragheaderlen <= mtu); "
            "c445f31b3cfa, 1fd3ae8c906c",
            cure="a larger MTU, smaller sends, or UDP_SEGMENT (segment=)",
        ),
        Rule(
            id="gathered",
            says="a datagram under MSG_MORE or cork gets its checksum while it is "
            "copied, unless UDP_SEGMENT is on",
            function="__ip_append_data, __ip6_append_data (csummode)",
            source="net/ipv4/ip_output.c (!(flags & MSG_MORE) || cork->gso_size)",
            cure="leave cork and more out",
        ),
        # Nothing has to be copied.
        Rule(
            id="segmented",
            says="with UDP_SEGMENT the MTU bounds a segment and not the send: nothing "
            "has to copy",
            function="__ip_append_data, skb_segment",
            source="net/ipv4/ip_output.c (mtu = gso_size ? IP_MAX_MTU : fragsize)",
        ),
        Rule(
            id="sink",
            says="one packet, no tap, and the device drops it: nothing has to copy",
            function="dummy_xmit, ifb_xmit",
            source="drivers/net/dummy.c, drivers/net/ifb.c",
        ),
        Rule(
            id="peer-drop",
            says="the far end of the veth drops before delivery: nothing has to copy, "
            "and veth itself does not",
            function="veth_xmit, skb_orphan_frags (SKBFL_DONT_ORPHAN)",
            source="drivers/net/veth.c; kernels that copy in "
            "__netif_receive_skb_core do so after ingress hooks",
        ),
        Rule(
            id="peer-down",
            says="the far end of the veth is down, the packet is dropped on sending: "
            "nothing has to copy",
            function="veth_xmit",
            source="drivers/net/veth.c; measured",
        ),
        Rule(
            id="wire",
            says="a driver with scatter-gather and checksums maps the pages, and "
            "nothing has to copy",
            function="ndo_start_xmit of the driver",
            source="msg_zerocopy.rst; a driver that runs out of fragments still makes "
            "packets linear (validate_xmit_skb)",
        ),
        # It cannot be told.
        Rule(
            id="xdp-native",
            says="native XDP at the far end of a veth copies the packet into pages of "
            "its own and reports success: 0 % says nothing here",
            function="veth_convert_skb_to_xdp_buff, skb_pp_cow_data",
            source="drivers/net/veth.c; tests/test_kernel_rules.py: 0 % with a live "
            "receiver",
            cure="take the program off, or judge by the time",
        ),
        Rule(
            id="tc-program",
            says="a tc program sees each packet, and may drop, redirect or clone it",
            function="sch_handle_egress, tcf_classify",
            source="net/core/dev.c",
            cure="take it off, or see what the notifications say",
        ),
        Rule(
            id="elsewhere",
            says="what lies behind a virtual device decides",
            function="",
            source="bridges, macvlan and forwarding to a sink were measured: no copy; "
            "kernels of 2024 and before copy what they forward",
            cure="look at the device that the packet leaves by",
        ),
        Rule(
            id="unrecorded",
            says="the facts of the device were not recorded",
            function="",
            source="",
        ),
    )
}

VIRTUAL = frozenset(
    {
        "bond",
        "bridge",
        "ipvlan",
        "macvlan",
        "macvtap",
        "netkit",
        "team",
        "veth",
        "vlan",
        "vxlan",
        "wireguard",
    }
)
_TUN = frozenset({"tun", "tap"})
_MADE: frozenset[str] = frozenset({Path.SINK, Path.VETH, Path.LO})  # by the run itself
_DROPS = {"device": "sink", "peer-ingress": "peer-drop", "peer-down": "peer-down"}

# The release that brought a mode; send_vec and send_zc_vec: IORING_SEND_VECTORIZED.
_BROUGHT: dict[Mode, tuple[int, int]] = {
    Mode.SEND: (5, 6),
    Mode.SENDMSG: (5, 3),
    Mode.SEND_ZC: (6, 0),
    Mode.SEND_ZC_FIXED: (6, 0),
    Mode.MIXED: (6, 0),
    Mode.SENDMSG_ZC: (6, 1),
    Mode.SENDMSG_ZC_FIXED: (6, 15),
    Mode.SEND_VEC: (6, 17),
    Mode.SEND_ZC_VEC: (6, 17),
    Mode.MSG_ZEROCOPY: (5, 0),  # for UDP; 4.14 for TCP
}
_STACKED = (6, 10)  # several requests of one TCP socket share a packet buffer
_MANY_SEGMENTS = (6, 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What will happen to a send.

    Attributes:
        works: whether it is taken; None where that cannot be told.
        copied: share of the payload that the kernel copies, 0 or 1; None where that
            cannot be told, or nothing is sent.
        rule: what decides.
        numbers: those of this point that the rule is about, in words; may be empty.
        besides: other rules that would make it copy were the first one cured.

    """

    works: bool | None
    copied: float | None
    rule: Rule
    numbers: str = ""
    besides: tuple[str, ...] = ()

    @property
    def because(self) -> str:
        """The rule in words, with the numbers."""
        says = self.rule.says
        return f"{says} ({self.numbers})" if self.numbers else says

    @property
    def word(self) -> str:
        """The prediction in a word: refused, copied, zerocopy or ?."""
        if self.works is False:
            return "refused"
        return {1.0: "copied", 0.0: "zerocopy"}.get(self.copied, "?")  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values; the rule by its id, with its cure."""
        return {
            "works": self.works,
            "copied": self.copied,
            "rule": self.rule.id,
            "because": self.because,
            "function": self.rule.function,
            "cure": self.rule.cure,
            "besides": list(self.besides),
        }


def predict(
    point: Point, facts: Facts, *, release: str = "", arm: str = ARM
) -> Prediction:
    """Return whether a send of one arm of a point works, and whether it is copied.

    Args:
        point: the point.
        facts: of its path, as in `host["paths"]`; may be empty. What an older run did
            not record follows from the path.
        release: of the kernel, as `uname -r` says; empty where it is not known.
        arm: one of the point's, or any other mode with options.

    """
    case = _Case(point, facts, _version(release), arm)
    refusal = next(case.refusals(), None)
    if refusal:
        return _told(*refusal, works=False, copied=None)
    if not case.mode.zerocopy:
        return _told("plain", "", works=True, copied=1.0)
    copies = dict(case.copies())
    unknown = case.unknown()
    if unknown in {"xdp-native", "tc-program"}:  # it comes before what delivers
        copies = {rule: why for rule, why in copies.items() if rule != "delivered"}
    if copies:
        first, *others = copies
        return _told(
            first, copies[first], works=True, copied=1.0, besides=tuple(others)
        )
    if unknown:
        known = unknown != "unrecorded"
        return _told(unknown, "", works=True if known else None, copied=None)
    return _told(case.drops(), "", works=True, copied=0.0)


def of_socket(domain: str) -> Prediction:
    """Return what happens to zerocopy sends on a socket that is not TCP or UDP.

    Args:
        domain: of the socket, such as AF_UNIX.

    """
    return _told("socket-refuses", domain, works=False, copied=None)


def over_reports(
    protocol: Protocol | str, release: str, options: Options | None = None
) -> bool:
    """Return whether notifications may say copied of what was not.

    Over TCP since 6.10 the requests that share a packet buffer are chained, and only
    the head of a chain is ever marked as used: a share of 1 means copied, one below
    means nothing, 0 means not copied. With MSG_EOR no request shares.

    Source: io_uring/notif.c: io_link_skb, io_tx_ubuf_complete, io_notif_tw_complete.

    Args:
        protocol: of the point.
        release: of the kernel; where it is not known, the newest is meant.
        options: of the arm.

    """
    if protocol != Protocol.TCP or (options and options.eor):
        return False
    return (_version(release) or _STACKED) >= _STACKED


def warnings(plan: Plan, host: Mapping[str, Any]) -> list[str]:
    """Return a line for each reason why points of a plan are not what they look like.

    They will be copied or refused, or TCP will pace them. Delivery to the live receiver
    of the paths veth and lo is left out: it is what these paths are for, and every page
    says so. Each line has the rule's id, if there is one, and its cure.

    Args:
        plan: what is going to be measured.
        host: facts of the host, with its `paths`.

    """
    found: dict[tuple[str, str], list[str]] = {}
    for one in of_plan(plan, host):
        said = one.said
        if said.works is False or (said.copied == 1 and not one.meant):
            named = f"{one.point.name} ({one.arms})" if one.arms else one.point.name
            key = said.because, said.rule.id
            found.setdefault(key, []).append(f"{named}: {said.word}")
    return [
        f"{'; '.join(names)}: {because} [{rule}]; cure: {RULES[rule].cure}"
        for (because, rule), names in found.items()
    ] + _paced(plan, host)


def controls(facts: Facts) -> dict[str, str]:
    """Return the congestion controls of a place's TCP sockets, by what was asked for.

    UNASKED is the key where the option `congestion` is empty. Empty over UDP, and where
    nothing was recorded; older runs recorded the one of the answered sink.
    """
    found = facts.get("congestion_control") or {}
    return {UNASKED: found} if isinstance(found, str) else dict(found)


def _paced(plan: Plan, host: Mapping[str, Any]) -> list[str]:
    """Return a line for each congestion control that paces TCP points of a plan."""
    paths = host.get("paths") or {}
    found: dict[str, list[str]] = {}
    for point in plan.points:
        granted = controls(paths.get(point.place) or {})
        asked = {point.options(arm).congestion or UNASKED for arm in point.arms}
        names = "+".join(granted.get(one, "") for one in asked).split("+")
        for name in sorted(PACES & set(names)):
            if point.protocol is Protocol.TCP:
                found.setdefault(name, []).append(point.name)
    return [
        f"{', '.join(names)}: {name} paces TCP by timers, so rates and gains are of "
        "its pacing and not of the send path; cure: option congestion=reno or cubic"
        for name, names in found.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is predicted of a point, or of some of its arms.

    Attributes:
        arms: separated by commas; empty for all that ask for zerocopy.

    """

    point: Point
    arms: str
    said: Prediction

    @property
    def meant(self) -> bool:
        """Whether a copy is what the path of the point is for."""
        return self.said.rule.id == "delivered" and str(self.point.path) in {
            Path.VETH,
            Path.LO,
        }

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {"point": self.point.name, "arms": self.arms, **self.said.to_json()}


def of_plan(plan: Plan, host: Mapping[str, Any]) -> Iterator[Told]:
    """Yield what is predicted of the zerocopy arms of each point of a plan.

    Args:
        plan: the plan.
        host: facts of the host, with its `paths`.

    """
    paths = host.get("paths") or {}
    for point in plan.points:
        told = by_prediction(point, paths, _release(host))
        for said, arms in told.items():
            named = ", ".join(arms) if len(told) > 1 else ""
            yield Told(point=point, arms=named, said=said)


def by_prediction(
    point: Point, paths: Mapping[str, Any], release: str = ""
) -> dict[Prediction, tuple[str, ...]]:
    """Return the zerocopy arms of a point by what is predicted of them.

    Args:
        point: the point.
        paths: facts by place, as in `host["paths"]`.
        release: of the kernel.

    """
    facts = paths.get(point.place) or {}
    found: dict[Prediction, tuple[str, ...]] = {}
    for arm in point.modes:
        if arm_mode(arm).zerocopy:
            said = predict(point, facts, release=release, arm=arm)
            found[said] = (*found.get(said, ()), arm)
    return found


def _release(host: Mapping[str, Any]) -> str:
    kernel = host.get("kernel")
    return str(kernel.get("release", "")) if isinstance(kernel, Mapping) else ""


def _version(release: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else None


def _told(
    rule: str,
    numbers: str,
    *,
    works: bool | None,
    copied: float | None,
    besides: tuple[str, ...] = (),
) -> Prediction:
    return Prediction(
        works=works,
        copied=copied,
        rule=RULES[rule],
        numbers=numbers,
        besides=besides,
    )


class _Case:
    """One arm of a point on a path; its parts of the prediction, by rule id."""

    def __init__(
        self, point: Point, facts: Facts, version: tuple[int, int] | None, arm: str
    ) -> None:
        self.point = point
        self.facts = facts
        self.version = version
        self.mode = arm_mode(arm)
        self.options = point.options(arm)
        self.batch = point.arm_batch(arm)
        self.udp = point.protocol is Protocol.UDP
        self.headers = header_bytes(point.family, Protocol.UDP)
        self.situation = situations.facts(point.situation)
        mtu = facts.get("mtu")
        self.mtu = mtu if isinstance(mtu, int) else None

    @property
    def gathered(self) -> int:
        """Requests that one datagram is made of; 1 without MSG_MORE and cork."""
        return max(self.batch if self.options.cork else 1, self.options.more)

    def refusals(self) -> Iterator[tuple[str, str]]:
        """Yield (rule, numbers) of what the kernel refuses."""
        brought = _BROUGHT.get(self.mode)
        if brought and self.version and self.version < brought:
            yield "kernel-older", f"{self.mode} came with {brought[0]}.{brought[1]}"
        mtu, size = self.mtu, self.point.io_size_bytes
        if mtu and self.point.family == 6 and mtu < IPV6_LEAST_MTU:
            yield "ipv6-mtu", f"{mtu} B"
        if not self.udp:
            return
        segment = self.options.segment
        if segment:
            packet = min(segment, size * self.gathered) + self.headers
            if mtu and packet > mtu:
                yield "segment-over-mtu", f"{packet} B with headers > {mtu} B"
            many = 128 if (self.version or _MANY_SEGMENTS) >= _MANY_SEGMENTS else 64
            if -(-size // segment) > many:
                yield "segments-many", f"{-(-size // segment)} > {many}"
        if self.gathered > 1:
            whole = self.gathered * size
            most = IP_PACKET_BYTES - self.headers
            if whole > most:
                yield "gathered-large", f"{whole} B > {most} B"
            ring = self.mode.zerocopy and self.mode.by_ring
            if segment and ring:
                yield "gathered-mixed", f"{self.gathered} requests"

    def copies(self) -> Iterator[tuple[str, str]]:
        """Yield (rule, numbers) of all that copies, what is hardest to cure first."""
        facts = self.facts
        own = facts.get("destination") == "own" or "own-address" in self.situation
        if own and self.point.path is not Path.LO:
            yield "own-address", ""
        elif self._live():
            yield "delivered", ""
        if facts.get("kind") in _TUN:
            yield "tun", ""
        if facts.get("packet_taps"):
            yield "tap", f"{facts['packet_taps']} in /proc/net/packet"
        if facts.get("xdp") == "generic":
            yield "xdp-generic", ""
        if self._lacks("tx-scatter-gather", "scatter-gather"):
            yield "no-sg", ""
        if self._sums_itself():
            yield "no-checksum", ""
        if not self.udp:
            return
        size, segment = self.point.io_size_bytes, self.options.segment
        if self.mtu and not segment:
            limit = payload_bytes(self.mtu, self.point.family, Protocol.UDP)
            if size * self.gathered > limit:
                yield "fragmented", f"{size * self.gathered} B > {limit} B"
        if (self.options.cork or self.options.more > 1) and not segment:
            yield "gathered", ""

    def unknown(self) -> str:
        """Return the rule for which nothing can be told; empty where there is none."""
        xdp, kind = self.facts.get("xdp"), self.facts.get("kind")
        if not self.facts and not self._live():
            return "unrecorded"
        if xdp and xdp != "generic":
            return "xdp-native"
        if self.facts.get("drops"):
            return ""
        if self.facts.get("tc_programs"):
            return "tc-program"
        made = str(self.point.path) in _MADE
        return "elsewhere" if kind in VIRTUAL and not made else ""

    def drops(self) -> str:
        """Return the rule by which nothing has to be copied."""
        if self.udp and self.options.segment:
            return "segmented"
        made = str(self.point.path) in _MADE
        return _DROPS.get(self.facts.get("drops", ""), "sink" if made else "wire")

    def _live(self) -> bool:
        """Return whether a socket of this host receives; older runs do not say so."""
        found = self.facts.get("live")
        return self.point.has_receiver if found is None else bool(found)

    def _lacks(self, single: str, combined: str) -> bool:
        """Return whether a feature is recorded as off.

        ethtool's combined flags are on where any of several is: on veth
        `scatter-gather` stays on through tx-scatter-gather-fraglist.
        """
        features = self.facts.get("features") or {}
        return features.get(single, features.get(combined)) is False

    def _sums_itself(self) -> bool:
        """Return whether the kernel has to make the checksum, as far as recorded.

        Source: __ip_append_data (NETIF_F_HW_CSUM | NETIF_F_IP_CSUM),
        __ip6_append_data (NETIF_F_HW_CSUM | NETIF_F_IPV6_CSUM).
        """
        features = self.facts.get("features") or {}
        names = ("tx-checksum-ip-generic", f"tx-checksum-ipv{self.point.family}")
        known = [features[name] for name in names if name in features]
        if known:
            return not any(known)
        return features.get("tx-checksumming") is False


def table() -> list[str]:
    """Return the rules as lines of a Markdown table."""
    return [
        "| rule | says | kernel function | source | cure |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| `{rule.id}` | {_cell(rule.says)} | {_cell(rule.function)} | "
            f"{_cell(rule.source)} | {_cell(rule.cure)} |"
            for rule in RULES.values()
        ),
    ]


def _cell(text: str) -> str:
    """Return text that a Markdown table keeps as it is."""
    return text.replace("|", "\\|").replace("__", "\\_\\_") or "-"
