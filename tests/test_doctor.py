"""The doctor: each check on made-up machines, and what it says of this one."""

import json
import os
import re
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests import patients
from tests.live import in_namespaces, needs_uring
from tests.patients import CLOCK, CPU, DEVICE, FILES, PACKET, PID, TAP
from tests.test_cli import zclab
from zclab.doctor.examination import CHECKS, examine, exit_code, to_json
from zclab.doctor.finding import Level
from zclab.doctor.patient import meet
from zclab.doctor.tree import Tree, UnreadableError, chosen, cpu_list
from zclab.doctor.undo import settable
from zclab.doctor.watch import look
from zclab.errors import CapabilityError
from zclab.store import home
from zclab.uring.probe import Support

PAGE = (home() / "docs" / "doctor.md").read_text(encoding="utf-8")


@pytest.fixture
def root(tmp_path):
    """Return a healthy machine's files."""
    return patients.build(tmp_path)


def found(root, **changes):
    """Return the findings of a machine, by id."""
    changes.setdefault("device", DEVICE)
    findings = examine(patients.patient(Tree(root), **changes))
    return {one.id: one for one in findings}


def refuse(*_):
    """Be what the kernel is when it refuses."""
    raise CapabilityError("refused, as a test asks for")


def test_a_healthy_machine_is_fine(root):
    """All is fine where all is well, and nothing lies."""
    findings = found(root)

    assert {one.id: one.seen for one in findings.values() if one.level != "fine"} == {}
    assert len(findings) == len(CHECKS)
    assert exit_code(tuple(findings.values())) == 0


@pytest.mark.parametrize(
    ("id", "level", "says", "cure", "files"),
    [
        ("io-uring", "fyi", "root and members", "disabled=0", {
            "/proc/sys/kernel/io_uring_disabled": "1"}),
        ("policy", "lies", "apparmor", "apparmor_restrict_unprivileged_userns=0", {
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"}),
        ("policy", "lies", "unprivileged_userns_clone", "unprivileged_userns_clone=1", {
            "/proc/sys/kernel/unprivileged_userns_clone": "0"}),
        ("policy", "fyi", "seccomp mode of this process: 2", "unconfined", {
            f"/proc/{PID}/status": "Seccomp:\t2\n"}),
        ("taps", "lies", "1: socket 99 on any device", "ss -0 -p", {
            "/proc/net/packet": PACKET + TAP.format(device=0, inode=99)}),
        ("taps", "lies", "on zeta", "", {
            "/proc/net/packet": PACKET + TAP.format(device=2, inode=99)}),
        ("taps", "fyi", "not on zeta", "", {
            "/proc/net/packet": PACKET + TAP.format(device=5, inode=99)}),
        ("debugging", "lies", "KASAN", "ordinary kernel", {
            "/proc/config.gz": None, "/boot/config-6.18.1": "CONFIG_KASAN=y"}),
        ("rmem", "noisy", "212992", "rmem_max=4194304", {
            "/proc/sys/net/core/rmem_max": "212992"}),
        ("congestion", "fyi", "bbr, which paces", "congestion=reno", {
            "/proc/sys/net/ipv4/tcp_congestion_control": "bbr"}),
        ("optmem", "fyi", "35 notifications", "optmem_max=131072", {
            "/proc/sys/net/core/optmem_max": "20480"}),
        ("quota", "noisy", "0.5 CPUs", "echo max >", {
            "/sys/fs/cgroup/user.slice/cpu.max": "50000 100000"}),
        ("quota", "noisy", "0.25 CPUs", "echo -1 >", {
            f"/proc/{PID}/cgroup": "3:cpu,cpuacct:/box/inner\n0::/\n",
            "/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "25000",
            "/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000"}),
        ("governor", "noisy", "powersave", "cpu1/cpufreq/scaling_governor", {
            f"{CPU}/cpu1/cpufreq/scaling_governor": "powersave"}),
        ("turbo", "noisy", "no_turbo = 0", "echo 1 |", {
            f"{CPU}/intel_pstate/no_turbo": "0"}),
        ("turbo", "noisy", "boost = 1", "echo 0 |", {
            f"{CPU}/intel_pstate": None, f"{CPU}/cpufreq/boost": "1"}),
        ("frequency", "fyi", "of 3000 MHz", "echo 3000000", {
            f"{CPU}/cpu1/cpufreq/scaling_max_freq": "1000000"}),
        ("smt", "noisy", "CPU 1 with [3]", "smt/control", {
            f"{CPU}/smt/control": "on",
            f"{CPU}/cpu1/topology/thread_siblings_list": "1,3"}),
        ("idle-states", "noisy", "C6 170 us", "state1/disable", {
            f"{CPU}/cpu1/cpuidle/state1/name": "C6",
            f"{CPU}/cpu1/cpuidle/state1/latency": "170",
            f"{CPU}/cpu1/cpuidle/state1/disable": "0"}),
        ("clock", "noisy", "hpet", "echo tsc |", {
            f"{CLOCK}/current_clocksource": "hpet"}),
        ("isolation", "fyi", "isolcpus: none", "isolcpus=1", {f"{CPU}/isolated": ""}),
        ("mitigations", "fyi", "PTI", "mitigations=off", {
            f"{CPU}/vulnerabilities/meltdown": "Mitigation: PTI"}),
        ("machine", "fyi", "vendor: Zeta", "nothing", {
            "/proc/cpuinfo": "flags\t: fpu hypervisor\n"}),
        ("load", "noisy", "3.10 over a minute", "uptime", {
            "/proc/loadavg": "3.10 1.00 0.50 1/1 1"}),
        ("memory", "noisy", "97 MiB", "ps -eo", {
            "/proc/meminfo": (
                "MemAvailable: 100000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"
            )}),
        ("numa-balancing", "noisy", "2 NUMA nodes", "numa_balancing=0", {
            "/proc/sys/kernel/numa_balancing": "1"}),
        ("huge-pages", "fyi", "never", "echo madvise", {
            "/sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]"}),
        ("irqs", "noisy", "30 zeta-rx on 1", "echo 0 | sudo tee /proc/irq/30", {
            "/proc/irq/30/effective_affinity_list": "1"}),
        ("numa", "noisy", "device: node 1", "--cpunodebind=1", {
            "/sys/devices/pci0/card/numa_node": "1"}),
        ("queues", "fyi", "1 to send", "ethtool -L", {
            "/sys/class/net/zeta/queues/tx-1": None}),
        ("iommu", "noisy", "DMA", "iommu=pt", {
            "/sys/kernel/iommu_groups/3/type": "DMA"}),
        ("iommu", "lies", "swiotlb=force", "without swiotlb=force", {
            "/proc/cmdline": "quiet swiotlb=force"}),
        ("iommu", "lies", "swiotlb=force", "without swiotlb=force", {
            "/proc/cmdline": "quiet swiotlb=65536,force"}),
        ("tracing", "noisy", "ftrace_trampoline", "perf record", {
            "/proc/kallsyms": "0 t ftrace_trampoline\t[__builtin__ftrace]\n"}),
        ("tracing", "noisy", "function_graph", "tracer", {
            "/sys/kernel/tracing/current_tracer": "function_graph"}),
        ("tracing", "noisy", "bpf_stats_enabled", "bpf_stats_enabled=0", {
            "/proc/sys/kernel/bpf_stats_enabled": "1"}),
    ],
)  # fmt: skip
def test_an_illness_is_found(root, id, level, says, cure, files):  # noqa: PLR0917
    """A planted illness is found by its check, with its value and its cure."""
    for name, text in files.items():
        patients.write(root, name, text)

    seen = found(root)[id]

    assert seen.level == level, seen
    assert says in seen.seen
    assert cure in seen.cure
    assert seen.effect
    assert seen.source
    assert seen.read


@pytest.mark.parametrize(
    ("id", "level", "says", "changes"),
    [
        ("io-uring", "lies", "refused", {"support": refuse}),
        ("opcodes", "unknown", "not asked", {"support": refuse}),
        ("opcodes", "lies", "6.2", {"support": lambda: Support(
            send_zc=True, report_usage=False, defer_taskrun=True)}),
        ("opcodes", "lies", "send_zc", {"mode": refuse}),
        ("namespaces", "lies", "refused", {"namespaces": refuse}),
        ("memlock", "lies", "64 KiB; a batch", {
            "memlock_bytes": 65536, "plan": patients.plan(size=65507)}),
        ("memlock", "fyi", "outstanding", {
            "memlock_bytes": 8 << 20, "plan": patients.plan(size=65507)}),
        ("memlock", "fine", "enough", {"memlock_bytes": 8 << 20}),
        ("wmem", "lies", "sndbuf=8000000", {
            "plan": patients.plan(modes=("send", "send_zc:sndbuf=8000000"))}),
        ("optmem", "fine", "227", {}),
        ("cpus", "noisy", "sender on CPU 1", {"receiver": 1}),
        ("disk", "lies", "1 MiB", {"free_bytes": lambda: 1 << 20}),
        ("link", "lies", "down", {"device": replace(DEVICE, up=False)}),
        ("mtu", "lies", "1472 B over IPv4 and 1452 B over IPv6", {
            "device": replace(DEVICE, mtu=1500), "plan": patients.plan(size=1473)}),
        ("mtu", "fine", "needs 1500", {
            "device": replace(DEVICE, mtu=1500), "plan": patients.plan(size=1472)}),
        ("mtu", "fine", "MTU 1500", {
            "device": replace(DEVICE, mtu=1500),
            "plan": patients.plan(
                size=8000, options="segment=1400")}),
        ("offloads", "lies", "tx-scatter-gather", {"device": replace(
            DEVICE, features={**DEVICE.features, "tx-scatter-gather": False})}),
        ("offloads", "lies", "tx-checksum-ipv4", {"device": replace(
            DEVICE, features={**DEVICE.features, "tx-checksum-ip-generic": False,
                              "tx-checksum-ipv4": False})}),
        ("offloads", "fine", "tx-checksum-ipv4", {"device": replace(
            DEVICE, features={**DEVICE.features, "tx-checksum-ip-generic": False,
                              "tx-checksum-ipv6": False})}),
        ("offloads", "fyi", "tx-tcp-segmentation", {"device": replace(
            DEVICE, features={**DEVICE.features, "tx-tcp-segmentation": False})}),
        ("offloads", "unknown", "ethtool", {"device": replace(DEVICE, features=None)}),
        ("qdisc", "lies", "tbf", {"device": replace(DEVICE, qdisc="tbf")}),
        ("qdisc", "lies", "drops all", {"device": replace(DEVICE, qdisc="noop")}),
        ("qdisc", "fyi", "fq", {"device": replace(DEVICE, qdisc="fq")}),
        ("qdisc", "unknown", "zeta", {"device": replace(DEVICE, qdisc=None)}),
        ("programs", "noisy", "2 TCX on egress", {
            "device": replace(DEVICE, tcx={"egress": 2})}),
        ("programs", "fyi", "XDP generic", {"device": replace(DEVICE, xdp="generic")}),
        ("programs", "unknown", "TCX", {"device": replace(DEVICE, tcx=None)}),
        ("policy", "fine", "landlock", {}),
    ],
)  # fmt: skip
def test_what_the_kernel_says_when_asked(root, id, level, says, changes):
    """What is asked by a call, or was told over netlink, is judged as well."""
    seen = found(root, **changes)[id]

    assert seen.level == level, seen
    assert says in seen.seen


def test_a_policy_that_stops_others_does_not_stop_root(root):
    """AppArmor's limit is worth knowing for root, and lies for others."""
    name = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
    patients.write(root, name, "1")

    assert found(root, uid=0)["policy"].level == "fyi"


def test_namespaces_that_a_sysctl_forbids(root):
    """Where a limit is 0, the cure names that one."""
    patients.write(root, "/proc/sys/user/max_user_namespaces", "0")

    seen = found(root, namespaces=refuse)["namespaces"]

    assert seen.level == "lies"
    assert seen.cure == "sysctl user.max_user_namespaces=15000"


def test_a_tap_elsewhere_counts_by_the_kernel(root):
    """Without a device a tap lies only where taps see the packets of all namespaces."""
    row = PACKET + TAP.format(device=0, inode=99)
    patients.write(root, "/proc/net/packet", row)

    assert found(root, device=None)["taps"].level == "fyi"
    assert found(root, device=None, release="6.1.0")["taps"].level == "lies"
    assert found(root, device=None, release="odd")["taps"].level == "unknown"


def test_who_holds_a_tap(root):
    """The process is named whose file it is; the cure ends that one."""
    patients.write(root, "/proc/net/packet", PACKET + TAP.format(device=0, inode=99))
    patients.process(root, 1234, "tcpdump")
    patients.link(root, "/proc/1234/fd/5", "socket:[99]")

    seen = found(root)["taps"]

    assert "tcpdump (pid 1234) on any device" in seen.seen
    assert seen.cure == "kill 1234"


def test_a_tap_that_does_not_run_is_none(root):
    """A packet socket that is bound to nothing, or takes one protocol, does no harm."""
    rows = TAP.format(device=0, inode=1).replace(" 1 0 ", " 0 0 ")
    rows += TAP.format(device=0, inode=2).replace("0003", "88cc")
    patients.write(root, "/proc/net/packet", PACKET + rows)

    assert found(root)["taps"].level == "fine"


def test_a_tracer_s_link_is_named(root):
    """A BPF link of a kind that traces is found by who holds it; others do no harm."""
    patients.process(root, 55, "watcher")
    patients.link(root, "/proc/55/fd/3", "anon_inode:bpf_link")
    patients.write(root, "/proc/55/fdinfo/3", "pos:\t0\nlink_type:\tcgroup\n")
    assert found(root)["tracing"].level == "fine"

    patients.write(root, "/proc/55/fdinfo/3", "pos:\t0\nlink_type:\ttracing\n")
    seen = found(root)["tracing"]

    assert seen.level == "noisy"
    assert "watcher (pid 55) has a tracing link" in seen.seen


def test_what_happens_in_a_second(root):
    """Busy CPUs, stolen time, interrupts and processes are differences of two looks."""
    patients.process(root, 50, "hog", ticks=10)
    patients.process(root, 51, "kworker/1:1", flags=0x200000)
    first = look(Tree(root))
    patients.process(root, 50, "hog", ticks=40)
    patients.process(root, 51, "kworker/1:1", ticks=60, flags=0x200000)
    patients.write(
        root,
        "/proc/stat",
        "cpu  70 0 10 1130 0 0 0 10 0 0\ncpu0 5 0 5 600 0 0 0 0 0 0\n"
        "cpu1 65 0 5 530 0 0 0 10 0 0\n",
    )
    rows = "     CPU0 CPU1\n 30:  5  7000  PCI-MSI 1-edge  zeta-rx\n"
    patients.write(root, "/proc/interrupts", rows)

    seen = found(root, first=first)

    assert seen["busy"].level == "noisy"
    assert "CPU 0 0% busy, CPU 1 60% busy" in seen["busy"].seen
    assert "[kworker/1:1] (pid 51) 60%, hog (pid 50) 30%" in seen["busy"].seen
    assert "kill -STOP 50;" in seen["busy"].cure  # the kernel's own cannot be stopped
    assert seen["steal"].level == "noisy"
    assert "5.0% of the CPU time" in seen["steal"].seen
    assert seen["interrupts"].level == "noisy"
    assert "IRQ 30 zeta-rx 7000/s" in seen["interrupts"].seen
    assert "/proc/irq/30/smp_affinity_list" in seen["interrupts"].cure


def test_time_stolen_before(root):
    """Time that was stolen since boot is worth knowing, if none is now."""
    text = FILES["/proc/stat"].replace("1000 0 0 0 0", "1000 0 0 0 90", 1)
    patients.write(root, "/proc/stat", text)

    assert found(root)["steal"].level == "fyi"


def test_irqbalance_is_found_by_name(root):
    """It is noise for a device, and worth knowing without one."""
    patients.process(root, 60, "irqbalance")

    assert found(root)["irqbalance"].level == "noisy"
    assert found(root, device=None)["irqbalance"].level == "fyi"


def test_a_guest_is_not_told(root):
    """In a virtual machine what the host decides is unknown, and not fine."""
    patients.write(root, "/proc/cpuinfo", "flags\t: fpu hypervisor\n")
    for cpu in (0, 1):
        shutil.rmtree(root / f"{CPU}/cpu{cpu}/cpufreq".lstrip("/"))
    shutil.rmtree(root / f"{CPU}/intel_pstate".lstrip("/"))

    seen = found(root)

    for name in ("governor", "turbo", "frequency", "smt", "steal"):
        assert seen[name].level == "unknown", name
    assert seen["governor"].cure == "nothing to do here"


def test_a_device_without_hardware(root):
    """A device made of software has no interrupts and no node."""
    (root / "sys/class/net/zeta/device").unlink()

    seen = found(root)

    assert seen["irqs"].level == seen["numa"].level == "fine"
    assert "no hardware" in seen["irqs"].seen


def test_checks_of_a_device_need_one(root):
    """Without --dev the checks that are about one are left out, and not fine."""
    without = found(root, device=None)

    assert {c.id for c in CHECKS if c.of_device} == found(root).keys() - without.keys()


@dataclass(frozen=True, slots=True)
class Traced(Tree):
    """A tree that remembers which files were read."""

    seen: set = field(default_factory=set)

    def text(self, name):
        """Read, and remember."""
        self.seen.add(name)
        return super(Traced, self).text(name)


def readers(root):
    """Return which checks read which file of the healthy machine."""
    by_file = {}
    for check in CHECKS:
        tree = Traced(root)
        patient = patients.patient(tree, device=DEVICE)
        tree.seen.clear()
        check.look(patient)
        for name in tree.seen:
            by_file.setdefault(name, set()).add(check.id)
    for name in ("busy", "steal"):
        by_file.setdefault("/proc/stat", set()).add(name)
    by_file.setdefault("/proc/interrupts", set()).add("interrupts")
    return by_file


# Texts that are only shown; no word of theirs is judged.
SHOWN = {
    "/proc/kallsyms",
    "/proc/cmdline",
    "/sys/kernel/security/lsm",
    "/sys/devices/system/clockevents/clockevent0/current_device",
    f"{CLOCK}/available_clocksource",
    f"{CPU}/smt/control",
    "/sys/class/net/zeta/queues/rx-0/rps_cpus",
    f"{CPU}/cpu0/cpuidle/state0/name",
    f"{CPU}/cpu1/cpuidle/state0/name",
}


def test_what_cannot_be_read_is_never_fine(root):
    """No check that reads a file is fine once that cannot be read, or is garbage."""
    by_file = {
        name: ids for name, ids in readers(root).items() if name in FILES and ids
    }
    assert len(by_file) > 50
    for name, ids in by_file.items():
        path = root / name.lstrip("/")
        held = path.read_text()
        path.unlink()
        path.mkdir()  # to read a folder is an error for root as well
        unread = found(root)
        path.rmdir()
        path.write_text("\x01?!\n")
        garbled = found(root)
        path.write_text(held)
        for check in ids:
            assert unread[check].level != "fine", (name, check)
            if name not in SHOWN:
                assert garbled[check].level != "fine", (name, check)
    assert all(one.level == "fine" for one in found(root).values())


def test_nothing_is_fine_where_nothing_is_there(tmp_path):
    """In an empty folder for a root, all that is read there is unknown."""
    seen = found(
        tmp_path,
        memlock_bytes=1,
        free_bytes=lambda: os.statvfs("/nowhere").f_bavail,
        device=replace(DEVICE, filters=None, tcx=None, features=None, qdisc=None),
    )

    fine = {name for name, one in seen.items() if one.level == "fine"}
    assert fine == {"opcodes", "link", "mtu"}  # asked of the kernel by calls
    unknown = {name for name, one in seen.items() if one.level == "unknown"}
    assert unknown | fine | {"memlock"} == seen.keys()


def test_what_apply_writes_can_be_undone(root):
    """Every change that a finding offers is one that the undo journal may hold."""
    for name, text in {
        "/proc/sys/net/core/rmem_max": "1",
        "/proc/sys/net/core/optmem_max": "1",
        "/proc/sys/kernel/numa_balancing": "1",
        "/sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]",
        f"{CPU}/cpu1/cpufreq/scaling_governor": "powersave",
        f"{CPU}/intel_pstate/no_turbo": "0",
        f"{CPU}/cpu0/cpuidle/state0/latency": "99",
    }.items():
        patients.write(root, name, text)
    modes = ("send", "send:sndbuf=9000000", "send_zc:pages=thp")
    seen = found(root, plan=patients.plan(modes=modes))
    changes = [change for one in seen.values() for change in one.changes]
    patients.write(root, f"{CPU}/intel_pstate/no_turbo", None)
    patients.write(root, f"{CPU}/cpufreq/boost", "1")
    changes += found(root)["turbo"].changes

    assert len({change.path for change in changes}) == 9
    for change in changes:
        assert settable(change.path), change
        assert change.path in PAGE or "cpu" in change.path


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("", set()), ("0", {0}), ("0-2,7", {0, 1, 2, 7})],
)
def test_lists_of_cpus(text, cpus):
    """A list of CPUs is what cpuset(7) says."""
    assert cpu_list(text, "x") == cpus


def test_the_chosen_word():
    """Of words the one in brackets is chosen; without brackets there is none."""
    assert chosen("always [madvise] never", "x") == "madvise"
    with pytest.raises(UnreadableError):
        chosen("always madvise never", "x")


def test_the_page_lists_the_checks():
    """docs/doctor.md has each check with what it asks, in the order of weight."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \|", PAGE, re.MULTILINE)

    assert [(c.id, c.asks) for c in CHECKS] == [
        (id, asks) for id, asks in rows if id in {c.id for c in CHECKS}
    ]


def test_the_page_lists_the_fields(root):
    """docs/doctor.md names each JSON field, and only those there are."""
    patients.write(root, "/proc/sys/net/core/rmem_max", "1")
    patient = patients.patient(Tree(root), device=DEVICE)
    values = json.loads(json.dumps(to_json(patient, examine(patient))))

    named = re.findall(r"^- `(\w+)`", PAGE, re.MULTILINE)
    (rmem,) = (one for one in values["findings"] if one["id"] == "rmem")
    assert named == [*values, *rmem, *rmem["applies"][0]]
    levels = re.findall(r"^\| \*(\w+)\* \|", PAGE, re.MULTILINE)
    assert levels == [str(level) for level in Level]


@needs_uring
def test_this_machine():
    """On this machine every finding says where it was read, or why it could not be."""
    patient = meet(dev="lo", seconds=0.2)
    findings = {one.id: one for one in examine(patient)}

    assert len(findings) == len(CHECKS)
    for one in findings.values():
        assert one.read or one.level is Level.UNKNOWN, one
        assert "not understood" not in one.seen, one
    clock = Path(f"{CLOCK}/current_clocksource").read_text().strip()
    assert findings["clock"].seen.startswith(clock)
    mtu = Path("/sys/class/net/lo/mtu").read_text().strip()
    assert f"MTU {mtu}" in findings["mtu"].seen
    optmem = Path("/proc/sys/net/core/optmem_max").read_text().strip()
    assert f"optmem_max = {optmem} B" in findings["optmem"].seen


def test_a_real_tap_and_a_real_filter_are_found():
    """In a namespace of our own: a tap with its holder, a tc filter, an offload off."""
    seen = in_namespaces(
        """
import shutil, subprocess
from pyroute2 import IPRoute
from zclab.doctor import patient
from zclab.doctor.examination import examine
with IPRoute() as network:
    network.link("add", ifname="zd0", kind="veth", peer={"ifname": "zd1"})
    index = network.link_lookup(ifname="zd0")[0]
    network.link("set", index=index, state="up")
    network.tc("add", "clsact", index)
rule = ["tc", "filter", "add", "dev", "zd0", "egress", "bpf", "bytecode"]
filtered = bool(shutil.which("tc")) and not subprocess.run(
    [*rule, "1,6 0 0 4294967295,"], stderr=subprocess.DEVNULL).returncode
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
def now():
    found = examine(patient.meet("zd0", seconds=0.05))
    return {one.id: [one.level, one.seen, one.cure] for one in found}
first = now()
tap.close()
answer({"open": first, "closed": now(), "filtered": filtered})
"""
    )

    level, said, cure = seen["open"]["taps"]
    assert level == "lies"
    assert re.search(r"python.* \(pid \d+\) on any device", said)
    assert cure.startswith("kill ")
    assert seen["closed"]["taps"][0] == "fine"
    if seen["filtered"]:
        assert seen["open"]["programs"][:2] == ["noisy", "1 tc filters on egress"]
    assert seen["open"]["mtu"][0] == "lies"
    assert "1472 B over IPv4" in seen["open"]["mtu"][1]


@needs_uring
def test_json_of_this_machine():
    """--json is what the page says, with the exit code of what was found."""
    done = zclab("doctor", "--json")

    values = json.loads(done.stdout)
    assert values["format"] == 1
    levels = {one["level"] for one in values["findings"]}
    assert done.returncode == int("lies" in levels)
    assert values["device"] is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dev", "zeta9"], "zeta9"),
        (["--profile", "nope"], "quick"),
        (["--", "true"], "--apply"),
        (["--apply", "--json"], "--json"),
    ],
)
def test_bad_input(arguments, says):
    """Bad input is one line and exit 2."""
    done = zclab("doctor", *arguments)

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr
