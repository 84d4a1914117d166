"""The way out: who listens in, and what the device named with --dev does."""

import re
from collections.abc import Iterator

from zclab.doctor.device import CHECKSUMS, GSO, SG, TSO
from zclab.doctor.finding import Check, Level, Seen
from zclab.doctor.patient import Patient
from zclab.doctor.tree import UnreadableError, cpu_list, whole
from zclab.packet import header_bytes, payload_bytes
from zclab.params import IP_HEADER_BYTES, Point, Protocol
from zclab.preflight import PACES

PACKET = "/proc/net/packet"
CONGESTION = "/proc/sys/net/ipv4/tcp_congestion_control"
ETH_P_ALL = "0003"
# Before that a tap in one network namespace was asked about the packets of all. (The
# change is of spring 2025; of 6.15 and 6.16 the later one is taken. Seen on 6.18.)
PER_NAMESPACE = (6, 16)

# What holds packets back, drops them or spreads them in time.
SHAPERS = frozenset(
    {"tbf", "netem", "htb", "hfsc", "cake", "cbs", "taprio", "etf", "red", "plug"}
)


def _release(patient: Patient) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", patient.release)
    if not found:
        raise UnreadableError(f"kernel {patient.release!r} is not understood")
    return int(found[1]), int(found[2])


def taps(patient: Patient) -> Seen:
    """Find sockets that take all packets, and who holds them."""
    tree = patient.tree
    header, *lines = tree.must(PACKET).splitlines() or [""]
    rows = [line.split() for line in lines]
    if "Proto" not in header or any(len(row) < 9 for row in rows):
        raise UnreadableError(f"{PACKET} is not understood")
    # Protocol, interface (0 is any), whether it runs, inode. Source: packet(7).
    open_ones = {
        row[8]: whole(row[4], PACKET)
        for row in rows
        if row[3] == ETH_P_ALL and row[5] == "1"
    }
    if not open_ones:
        return Seen(Level.FINE, "none in this network namespace", (PACKET,))
    holders, hidden = _holders(patient, set(open_ones))
    told = [
        f"{holders.get(inode, f'socket {inode}')} on {_where(patient, index)}"
        for inode, index in open_ones.items()
    ]
    seen = f"{len(open_ones)}: {'; '.join(told)}"
    read = (PACKET, "/proc/*/fd")
    known = sorted({name.rpartition(" ")[2].rstrip(")") for name in holders.values()})
    cure = f"kill {' '.join(known)}" if known else "ss -0 -p   # who it is; end it"
    if hidden and len(holders) < len(open_ones):
        cure = "sudo zclab doctor   # names who holds them; then end it"
    if patient.device is None:
        if _release(patient) < PER_NAMESPACE and 0 in open_ones.values():
            return Seen(Level.LIES, seen, read, cure)
        return Seen(
            Level.FYI,
            f"{seen}; not asked about packets of a run's own namespaces",
            read,
            cure,
            effect="what is sent from this network namespace (path nic, zclab tx) is "
            "copied; sink, veth and lo are not affected",
        )
    mine = {0, patient.device.index}
    if mine & set(open_ones.values()):
        return Seen(Level.LIES, seen, read, cure)
    return Seen(Level.FYI, f"{seen}; not on {patient.device.name}", read, cure)


def _holders(patient: Patient, inodes: set[str]) -> tuple[dict[str, str], bool]:
    """Return who holds sockets, by inode, and whether some could not be asked."""
    found, hidden = {}, False
    for pid, _, target in patient.tree.descriptors():
        hidden = hidden or not target
        inode = target.removeprefix("socket:[").rstrip("]")
        if target.startswith("socket:[") and inode in inodes:
            found[inode] = f"{patient.tree.command(pid)} (pid {pid})"
    return found, hidden


def _where(patient: Patient, index: int) -> str:
    if index == 0:
        return "any device"
    for name in patient.tree.names("/sys/class/net") or ():
        if patient.tree.text(f"/sys/class/net/{name}/ifindex") == str(index):
            return name
    return f"device {index}"


def congestion(patient: Patient) -> Seen:
    """Tell whether TCP sockets that ask for nothing are paced."""
    name = patient.tree.must(CONGESTION)
    if not re.fullmatch(r"[\w-]+", name):
        raise UnreadableError(f"{CONGESTION} is not understood")
    seen = f"net.ipv4.tcp_congestion_control = {name}"
    if name not in PACES:
        return Seen(Level.FINE, seen, (CONGESTION,))
    return Seen(
        Level.FYI,
        f"{seen}, which paces",
        (CONGESTION,),
        "zclab measure --protocol tcp --options congestion=reno   # or cubic",
    )


def _sys(patient: Patient) -> str:
    """Return the device's folder; UnreadableError where it is not of this device.

    What is mounted at /sys shows the devices of one network namespace only.
    """
    folder = f"/sys/class/net/{patient.dev.name}"
    if patient.tree.number(f"{folder}/ifindex") != patient.dev.index:
        raise UnreadableError(f"{folder} is not there: /sys is of another namespace")
    return folder


def link(patient: Patient) -> Seen:
    """Tell whether the device takes packets at all."""
    device = patient.dev
    read = ("rtnetlink, IFLA_OPERSTATE",)
    if device.up:
        return Seen(Level.FINE, f"{device.name} ({device.kind}) is up", read)
    return Seen(
        Level.LIES,
        f"{device.name} ({device.kind}) is down, or has no carrier",
        read,
        f"ip link set dev {device.name} up   # if it is: the cable",
    )


def offloads(patient: Patient) -> Seen:
    """Read the features that zerocopy needs of a device."""
    device = patient.dev
    features = device.features
    if features is None or SG not in features:
        raise UnreadableError(f"ethtool does not tell the features of {device.name}")
    read = (f"ethtool -k {device.name}",)
    families = {point.family for point in _points(patient)}
    lacking = [] if features[SG] else [SG]
    lacking += [
        " or ".join(names)
        for family, names in CHECKSUMS.items()
        if family in families and not any(features.get(name) for name in names)
    ]
    slow = [name for name in (GSO, *TSO.values()) if features.get(name) is False]
    if lacking:
        return Seen(
            Level.LIES,
            f"off: {', '.join([*lacking, *slow])}",
            read,
            f"ethtool -K {device.name} tx on sg on gso on tso on",
        )
    if slow:
        return Seen(
            Level.FYI,
            f"off: {', '.join(slow)}",
            read,
            f"ethtool -K {device.name} gso on tso on",
            effect="TCP is cut into packets on the sender's CPU: more time per byte, "
            "zerocopy or not",
        )
    on = [name for name, value in features.items() if value]
    return Seen(Level.FINE, f"on: {', '.join(on)}", read)


def _points(patient: Patient) -> tuple[Point, ...]:
    """Return the points that leave by a device: those of path nic, if there are."""
    points = patient.plan.points
    return tuple(point for point in points if point.path == "nic") or points


def mtu(patient: Patient) -> Seen:
    """Compare the MTU with the datagrams of the plan."""
    device = patient.dev
    needed = {
        point.io_size_bytes + header_bytes(point.family, point.protocol): point
        for point in _points(patient)
        if point.protocol is Protocol.UDP
        and not all(point.options(arm).segment for arm in point.arms)
    }
    read = ("rtnetlink, IFLA_MTU", f"plan {patient.plan.profile}")
    large = sorted(size for size in needed if size > device.mtu)
    seen = f"MTU {device.mtu}"
    if not large:
        most = max(needed, default=0)
        return Seen(Level.FINE, f"{seen}; the plan needs {most}", read)
    sizes = sorted({needed[size].io_size_bytes for size in large})
    fits = {v: payload_bytes(device.mtu, v, Protocol.UDP) for v in IP_HEADER_BYTES}
    return Seen(
        Level.LIES,
        f"{seen}; payloads of {', '.join(map(str, sizes))} B do not fit; "
        f"{fits[4]} B over IPv4 and {fits[6]} B over IPv6 do",
        read,
        f"ip link set dev {device.name} mtu {large[-1]}   # if the network can, too"
        if large[-1] <= device.mtu_max
        else f"leave sizes out: {device.name} takes no MTU above {device.mtu_max}",
    )


def programs(patient: Patient) -> Seen:
    """Look for XDP, tc and TCX programs."""
    device = patient.dev
    read = ("rtnetlink, IFLA_XDP and RTM_GETTFILTER", "bpf(2), BPF_PROG_QUERY")
    found = [f"XDP {device.xdp}"] if device.xdp else []
    for what, places in (("tc filters", device.filters), ("TCX", device.tcx)):
        found += [f"{n} {what} on {place}" for place, n in (places or {}).items()]
    unread = [
        what
        for what, places in (("tc filters", device.filters), ("TCX", device.tcx))
        if places is None
    ]
    if found:
        leaving = any("egress" in one or "root" in one for one in found)
        return Seen(
            Level.NOISY if leaving else Level.FYI,
            ", ".join(found),
            read,
            f"tc filter del dev {device.name} egress; "
            f"ip link set dev {device.name} xdp off   # or ask who put them there",
        )
    if unread:
        return Seen(
            Level.UNKNOWN,
            f"no XDP; {' and '.join(unread)} are not told to this user",
            read,
            f"sudo zclab doctor --dev {device.name}",
        )
    return Seen(Level.FINE, "none", read)


def qdisc(patient: Patient) -> Seen:
    """Name the queueing discipline."""
    device = patient.dev
    kind = device.qdisc
    read = ("rtnetlink, IFLA_QDISC",)
    if kind is None:
        raise UnreadableError(f"no queueing discipline of {device.name} is told")
    if kind in SHAPERS:
        return Seen(Level.LIES, kind, read, f"sudo tc qdisc del dev {device.name} root")
    if kind == "noop":
        return Seen(
            Level.LIES,
            "noop: drops all, as the device is down",
            read,
            f"ip link set dev {device.name} up",
        )
    if kind in {"fq", "prio"}:
        return Seen(
            Level.FYI,
            kind,
            read,
            effect="flows are paced or put in order, which costs time at each packet",
        )
    return Seen(Level.FINE, kind, read)


def irqs(patient: Patient) -> Seen:
    """Tell which CPUs the device interrupts."""
    device = patient.dev
    tree = patient.tree
    numbers = _irq_numbers(patient)
    if numbers is None:
        return Seen(
            Level.FINE,
            f"{device.name} is no hardware: it has no interrupts",
            (f"/sys/class/net/{device.name}/device",),
        )
    if not numbers:
        raise UnreadableError(f"no interrupts of {device.name} are told (msi_irqs)")
    placed, mine = [], []
    for number in numbers:
        cpus = cpu_list(_affinity(patient, number), f"/proc/irq/{number}")
        actions = [
            name
            for name in tree.names(f"/proc/irq/{number}") or ()
            if tree.path(f"/proc/irq/{number}/{name}").is_dir()
        ]
        name = f"{number} {' '.join(actions)}".strip()
        placed.append(f"{name} on {','.join(map(str, sorted(cpus))) or 'no CPU'}")
        if patient.sender in cpus and actions:
            mine.append(number)
    seen = "; ".join(placed)
    read = (
        f"/sys/class/net/{device.name}/device",
        "/proc/irq/*/effective_affinity_list",
    )
    if not mine:
        return Seen(Level.FINE, seen, read)
    if patient.sender == patient.receiver:
        return Seen(Level.FYI, seen, read)
    files = " ".join(f"/proc/irq/{number}/smp_affinity_list" for number in mine)
    return Seen(Level.NOISY, seen, read, f"echo {patient.receiver} | sudo tee {files}")


def _above(patient: Patient) -> Iterator[str]:
    """Yield the folders of the device's hardware, from near to far."""
    start = patient.tree.path(f"{_sys(patient)}/device")
    folder = start.resolve()
    for _ in range(3):
        try:
            yield f"/{folder.relative_to(patient.tree.root.resolve())}"
        except ValueError:
            return
        folder = folder.parent


def _irq_numbers(patient: Patient) -> list[int] | None:
    """Return the device's interrupts; None where it is no hardware."""
    if patient.tree.names(f"{_sys(patient)}/device") is None:
        return None
    for folder in _above(patient):
        names = patient.tree.names(f"{folder}/msi_irqs")
        if names:
            return sorted(whole(name, f"{folder}/msi_irqs") for name in names)
    return []


def _affinity(patient: Patient, number: int) -> str:
    folder = f"/proc/irq/{number}"
    effective = patient.tree.text(f"{folder}/effective_affinity_list")
    return effective or patient.tree.must(f"{folder}/smp_affinity_list")


def queues(patient: Patient) -> Seen:
    """Count the queues, and read how packets are spread over them."""
    device = patient.dev
    folder = f"{_sys(patient)}/queues"
    names = patient.tree.names(folder)
    if not names:
        raise UnreadableError(f"{folder} is not there")
    sending = [name for name in names if name.startswith("tx-")]
    receiving = [name for name in names if name.startswith("rx-")]
    spread = [
        name
        for name in receiving
        if (patient.tree.text(f"{folder}/{name}/rps_cpus") or "").strip("0,")
    ]
    seen = (
        f"{len(sending)} to send, {len(receiving)} to receive; "
        f"RPS on {', '.join(spread) or 'none'}"
    )
    read = (f"{folder}/*", f"{folder}/rx-*/rps_cpus")
    if len(sending) == 1 and _release(patient):
        return Seen(
            Level.FYI,
            seen,
            read,
            f"ethtool -L {device.name} combined N, where the device has more",
        )
    return Seen(Level.FINE, seen, read)


def irqbalance(patient: Patient) -> Seen:
    """Look for the program that moves interrupts."""
    processes = patient.watched.last.processes
    if not processes:
        raise UnreadableError("/proc/*/stat cannot be read")
    pids = [pid for pid, _, name in processes if name == "irqbalance"]
    if not pids:
        return Seen(Level.FINE, "does not run", ("/proc/*/stat",))
    return Seen(
        Level.NOISY if patient.device else Level.FYI,
        f"runs (pid {pids[0]})",
        ("/proc/*/stat",),
        "sudo systemctl stop irqbalance",
    )


def numa(patient: Patient) -> Seen:
    """Compare the device's memory node with that of the sender's CPU."""
    device, tree = patient.dev, patient.tree
    nodes = [
        name for name in tree.names("/sys/devices/system/node") or () if _is_node(name)
    ]
    if tree.names(f"{_sys(patient)}/device") is None:
        return Seen(
            Level.FINE,
            f"{device.name} is no hardware: it has no node",
            (f"/sys/class/net/{device.name}/device",),
        )
    cpu = f"/sys/devices/system/cpu/cpu{patient.sender}"
    mine = [int(name[4:]) for name in tree.names(cpu) or () if _is_node(name)]
    where, node = next(
        (
            (f"{folder}/numa_node", found)
            for folder in _above(patient)
            if (found := tree.number(f"{folder}/numa_node")) is not None
        ),
        ("", -1),
    )
    read = tuple(filter(None, (where, f"{cpu}/node*")))
    seen = f"device: node {node if node >= 0 else 'not told'}, sender: node {mine}"
    if len(nodes) == 1:
        return Seen(Level.FINE, f"{seen}; there is one node", read)
    if node < 0 or not mine:
        return Seen(Level.UNKNOWN, seen, read)
    if node in mine:
        return Seen(Level.FINE, seen, read)
    return Seen(
        Level.NOISY,
        seen,
        read,
        f"numactl --cpunodebind={node} --membind={node} zclab ...",
    )


def _is_node(name: str) -> bool:
    return name.startswith("node") and name[4:].isdigit()


def iommu(patient: Patient) -> Seen:
    """Tell how memory is mapped for devices, or bounced."""
    tree = patient.tree
    line = tree.must("/proc/cmdline")
    said = re.findall(r"\b(?:\w*iommu[.\w]*|swiotlb)=\S+", line)
    read = ("/sys/kernel/iommu_groups/*/type", "/sys/class/iommu", "/proc/cmdline")
    if any(
        word.startswith("swiotlb=") and "force" in word.split(",") + word[8:].split(",")
        for word in said
    ):
        return Seen(
            Level.LIES if patient.device else Level.FYI,
            "swiotlb=force: all that devices read is copied first",
            read,
            "boot without swiotlb=force",
            effect="a NIC never reads the sender's pages: one copy of two is left",
        )
    groups = tree.names("/sys/kernel/iommu_groups")
    units = tree.names("/sys/class/iommu")
    told = f"; command line: {' '.join(said)}" if said else ""
    if groups is None:
        raise UnreadableError("/sys/kernel/iommu_groups is not there")
    if not groups:
        return Seen(Level.FINE, f"none: no group, no unit{told}", read)
    kinds = _group_kinds(patient, groups)
    seen = f"{', '.join(kinds)}; units: {', '.join(units or ()) or 'none'}{told}"
    if kinds and set(kinds) <= {"identity"}:
        return Seen(Level.FINE, seen, read)
    if not patient.device:
        return Seen(Level.FYI, seen, read, effect="counts for path nic only")
    return Seen(
        Level.NOISY if "DMA" in kinds else Level.FYI,
        seen,
        read,
        "boot with iommu=pt, or with iommu.strict=0 for less of it",
    )


def _group_kinds(patient: Patient, groups: tuple[str, ...]) -> list[str]:
    """Return the kinds of the device's group, else of all: identity, DMA, DMA-FQ."""
    tree = patient.tree
    if patient.device:
        for folder in _above(patient):
            target = tree.link(f"{folder}/iommu_group")
            if target:
                groups = (target.rpartition("/")[2],)
                break
    kinds = {tree.must(f"/sys/kernel/iommu_groups/{group}/type") for group in groups}
    return sorted(kinds)


CHECKS = (
    Check(
        id="taps",
        asks="AF_PACKET sockets that take all protocols, and who holds them",
        effect="the kernel copies each packet for the tap, and says `copied`",
        source="net/core/dev.c, dev_queue_xmit_nit(); packet(7)",
        look=taps,
    ),
    Check(
        id="congestion",
        asks="the congestion control of TCP sockets that ask for none",
        effect="bbr sends TCP over lo, veth and nic by timers, and rates and gains are "
        "of its pacing; sink+answered has reno",
        source="net/ipv4/tcp_bbr.c, bbr_init(); a new network namespace has the "
        "host's: net/ipv4/tcp_ipv4.c, tcp_sk_init()",
        look=congestion,
    ),
    Check(
        id="link",
        asks="whether the device is up",
        effect="nothing leaves; sends fail, or are dropped and counted as sent",
        source="Documentation/networking/operstates.rst",
        look=link,
        of_device=True,
    ),
    Check(
        id="offloads",
        asks="scatter-gather, transmit checksums, GSO and TSO of the device",
        effect="without scatter-gather or checksums the kernel copies at once",
        source="net/ipv4/ip_output.c, __ip_append_data(); net/ipv4/tcp.c, "
        "tcp_sendmsg_locked()",
        look=offloads,
        of_device=True,
    ),
    Check(
        id="mtu",
        asks="the device's MTU against the plan's datagrams",
        effect="datagrams that need IP fragments are copied, and zerocopy is slower",
        source="net/ipv4/ip_output.c, __ip_append_data()",
        look=mtu,
        of_device=True,
    ),
    Check(
        id="qdisc",
        asks="the device's root queueing discipline",
        effect="a shaper sets the rate, and what is measured is the shaper",
        source="tc(8)",
        look=qdisc,
        of_device=True,
    ),
    Check(
        id="programs",
        asks="XDP, tc and TCX programs of the device",
        effect="each packet runs through them; they may drop, redirect or copy it",
        source="tc-bpf(8); kernel/bpf/tcx.c; net/core/dev.c, sch_handle_egress()",
        look=programs,
        of_device=True,
    ),
    Check(
        id="irqs",
        asks="which CPUs the device's interrupts go to",
        effect="completions of the device interrupt the sender",
        source="Documentation/core-api/irq/irq-affinity.rst",
        look=irqs,
        of_device=True,
    ),
    Check(
        id="numa",
        asks="memory node of the device and of the sender's CPU",
        effect="packets cross the link between sockets",
        source="Documentation/ABI/stable/sysfs-devices-node",
        look=numa,
        of_device=True,
    ),
    Check(
        id="iommu",
        asks="IOMMU groups, units and mode; bounce buffers",
        effect="each piece of a packet is mapped and unmapped for the device, which a "
        "zerocopy packet has more of",
        source="Documentation/ABI/testing/sysfs-kernel-iommu_groups; "
        "kernel-parameters.txt, iommu.strict, swiotlb",
        look=iommu,
    ),
    Check(
        id="irqbalance",
        asks="whether irqbalance runs",
        effect="interrupts move between CPUs while a run is on",
        source="irqbalance(1)",
        look=irqbalance,
    ),
    Check(
        id="queues",
        asks="queues of the device, RPS",
        effect="with one queue all flows share its lock, and one CPU completes all",
        source="Documentation/networking/scaling.rst",
        look=queues,
        of_device=True,
    ),
)
