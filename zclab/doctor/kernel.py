"""What the kernel and its policy let a measurement do, and what they cut short."""

import gzip
import re
from collections.abc import Iterator

from zclab.doctor.finding import Change, Check, Level, Seen
from zclab.doctor.patient import Patient
from zclab.doctor.tree import UnreadableError, whole
from zclab.errors import CapabilityError
from zclab.measure.path import RCVBUF_BYTES
from zclab.params import Mode, Path, Point, Protocol, arm_mode
from zclab.uring.sender import LAG, outstanding_limit

IO_URING = "/proc/sys/kernel/io_uring_disabled"
IO_URING_GROUP = "/proc/sys/kernel/io_uring_group"
OPTMEM = "/proc/sys/net/core/optmem_max"
WMEM = "/proc/sys/net/core/wmem_max"
RMEM = "/proc/sys/net/core/rmem_max"

OPTMEM_BYTES = 131072  # the kernel's default since 6.7
# SKB_TRUESIZE(0) on 64 bit: a sk_buff and its skb_shared_info, in cache lines.
NOTIFICATION_BYTES = 576

KALLSYMS = "/proc/kallsyms"
BPF_STATS = "/proc/sys/kernel/bpf_stats_enabled"
TRACEFS = "/sys/kernel/tracing"
# Files there, and what is in them while nobody traces.
_TRACEFS = {
    "current_tracer": "nop",
    "enabled_functions": "",
    "kprobe_events": "",
    "set_event": "",
}
# The kernel makes these symbols for code that it writes when something is hooked.
_HOOK = re.compile(r"\b(ftrace_trampoline|bpf_trampoline_\d+|kprobe_optinsn_page)\t\[")
_TRACING_LINKS = frozenset(
    {"tracing", "raw_tracepoint", "perf_event", "kprobe_multi", "lsm"}
)

# What is charged to every send, or to every page, of a kernel that was built with it.
SLOW_CONFIGS = (
    "KASAN",
    "KCSAN",
    "KMSAN",
    "UBSAN_TRAP",
    "PROVE_LOCKING",
    "LOCK_STAT",
    "DEBUG_KMEMLEAK",
    "DEBUG_PAGEALLOC_ENABLE_DEFAULT",
    "SLUB_DEBUG_ON",
    "DEBUG_OBJECTS",
    "DEBUG_NET",
    "FUNCTION_PROFILE_ALL_BRANCHES",
    "GCOV_PROFILE_ALL",
)


def io_uring(patient: Patient) -> Seen:
    """Look at the sysctl, and make a ring."""
    value = patient.tree.number(IO_URING)
    group = patient.tree.number(IO_URING_GROUP)
    said = "no such sysctl (before 6.6)" if value is None else f"{value}"
    read = (IO_URING, IO_URING_GROUP, "io_uring_setup(2)")
    seen = f"kernel.io_uring_disabled = {said}, io_uring_group = {group}"
    try:
        patient.support()
    except CapabilityError as error:
        cure = _io_uring_cure(value, str(error))
        return Seen(Level.LIES, f"{seen}; {error}", read, cure)
    if value == 1:
        return Seen(
            Level.FYI,
            f"{seen}: refused to others than root and members of the group",
            read,
            f"sysctl kernel.io_uring_disabled=0, or add users to group {group}",
        )
    return Seen(Level.FINE, f"{seen}; a ring can be made", read)


def _io_uring_cure(value: int | None, why: str) -> str:
    if value:
        return "sysctl kernel.io_uring_disabled=0"
    if "is lo up" in why:
        return "ip link set dev lo up; else ulimit -l unlimited, as root"
    return (
        "in a container: docker run --security-opt seccomp=unconfined ...; "
        "else see the reason above"
    )


def opcodes(patient: Patient) -> Seen:
    """Ask for the copied flag, and for every mode."""
    read = ("a one-byte send of each mode to an own loopback socket",)
    try:
        support = patient.support()
    except CapabilityError as error:
        return Seen(Level.UNKNOWN, f"not asked: {error}", read, "see io-uring")
    if not support.report_usage:
        return Seen(
            Level.LIES,
            "notifications do not say whether data was copied "
            "(IORING_SEND_ZC_REPORT_USAGE, 6.2)",
            read,
            "boot Linux 6.2 or newer",
        )
    missing = [str(mode) for mode in Mode if not _has(patient, mode)]
    needed = {
        arm_mode(arm) for point in patient.plan.points for arm in point.arms
    } & set(missing)
    if needed:
        return Seen(
            Level.LIES,
            f"modes of the plan {patient.plan.profile} are missing: "
            f"{', '.join(sorted(needed))}",
            read,
            "zclab modes says which kernel has each",
        )
    if missing:
        return Seen(
            Level.FYI,
            f"SEND_ZC and its copied flag are here; missing: {', '.join(missing)}",
            read,
            "zclab modes says which kernel has each",
            effect="those modes cannot be measured; the others are not affected",
        )
    return Seen(Level.FINE, "SEND_ZC, its copied flag and all modes are here", read)


def _has(patient: Patient, mode: Mode) -> bool:
    try:
        patient.mode(mode)
    except CapabilityError:
        return False
    return True


def namespaces(patient: Patient) -> Seen:
    """Enter a user and a network namespace, as every run does."""
    read = ("unshare(2)", "/proc/sys/user/max_user_namespaces")
    limit = patient.tree.number("/proc/sys/user/max_user_namespaces")
    nets = patient.tree.number("/proc/sys/user/max_net_namespaces")
    limits = f"user.max_user_namespaces = {limit}, max_net_namespaces = {nets}"
    try:
        patient.namespaces()
    except CapabilityError as error:
        cure = "run as root" if patient.uid else "allow them to this container"
        for name in ("user", "net"):
            if patient.tree.number(f"/proc/sys/user/max_{name}_namespaces") == 0:
                cure = f"sysctl user.max_{name}_namespaces=15000"
        return Seen(Level.LIES, f"{error}; {limits}", read, cure)
    return Seen(Level.FINE, f"those of a run can be made; {limits}", read)


def policy(patient: Patient) -> Seen:
    """Read which security modules and filters there are."""
    tree = patient.tree
    apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
    debian = "/proc/sys/kernel/unprivileged_userns_clone"
    lsm = tree.text("/sys/kernel/security/lsm")
    seccomp = _status(patient, "Seccomp")
    seen = [
        f"security modules: {lsm or 'not told (securityfs is not mounted)'}",
        f"seccomp mode of this process: {seccomp}",
    ]
    read = ("/sys/kernel/security/lsm", f"/proc/{patient.pid}/status")
    restricted = [
        (name.rpartition("/")[2], cure)
        for name, off, cure in ((apparmor, 1, 0), (debian, 0, 1))
        if tree.number(name) == off
    ]
    for name, cure in restricted:
        level = Level.FYI if patient.uid == 0 else Level.LIES
        return Seen(
            level,
            f"kernel.{name} is set: only root makes namespaces; {'; '.join(seen)}",
            (apparmor, debian, *read),
            f"sysctl kernel.{name}={cure}",
        )
    if seccomp == "2":
        return Seen(
            Level.FYI,
            "; ".join(seen),
            read,
            "docker run --security-opt seccomp=unconfined ...",
            effect="a filter runs at each system call of every arm alike, and may "
            "refuse some of them",
        )
    if lsm is None:
        return Seen(
            Level.UNKNOWN,
            "; ".join(seen),
            read,
            "mount -t securityfs none /sys/kernel/security",
        )
    return Seen(Level.FINE, "; ".join(seen), read)


def _status(patient: Patient, field: str) -> str:
    """Return a field of the process's status. Source: proc_pid_status(5)."""
    name = f"/proc/{patient.pid}/status"
    found = re.search(rf"^{field}:\s*(.*)$", patient.tree.must(name), re.MULTILINE)
    if not found:
        raise UnreadableError(f"{name} has no {field}")
    return found[1].strip()


def memlock(patient: Patient) -> Seen:
    """Compare the limit with what the plan pins."""
    limit = patient.memlock_bytes
    read = (f"/proc/{patient.pid}/limits, Max locked memory, hard limit",)
    if limit < 0:
        return Seen(Level.FINE, "no limit", read)
    said = f"{limit >> 10} KiB"
    cure = "sudo prlimit --memlock=unlimited --pid $$   # then measure in this shell"
    worst: tuple[int, Point] | None = None
    for point in _pinning(patient):
        room = outstanding_limit(point.io_size_bytes, limit)
        if worst is None or room - point.batch < worst[0]:
            worst = room - point.batch, point
    if worst is None:
        return Seen(Level.FINE, f"{said}; nothing of the plan pins pages", read)
    spare, point = worst
    if spare < 0:
        return Seen(
            Level.LIES,
            f"{said}; a batch of {point.name} pins more",
            read,
            cure,
            effect="the run is refused: unregistered SEND_ZC would fail with ENOMEM",
        )
    if spare < LAG:
        return Seen(
            Level.FYI,
            f"{said}; {point.name} may have {spare + point.batch} notifications "
            f"outstanding, so they are fetched from {max(1, spare)} on, not {LAG}",
            read,
            cure,
        )
    return Seen(Level.FINE, f"{said}; enough for the plan", read)


def _pinning(patient: Patient) -> Iterator[Point]:
    """Yield the plan's points that have an arm that pins pages."""
    for point in patient.plan.points:
        modes = {arm_mode(arm) for arm in point.arms}
        if any(mode.pins or mode is Mode.MIXED for mode in modes):
            yield point


def optmem(patient: Patient) -> Seen:
    """Compare net.core.optmem_max with the kernel's default."""
    value = patient.tree.number(OPTMEM)
    if value is None:
        raise UnreadableError(f"{OPTMEM} is not there")
    room = value // NOTIFICATION_BYTES
    seen = f"net.core.optmem_max = {value} B: about {room} notifications a socket"
    if value >= OPTMEM_BYTES:
        return Seen(Level.FINE, seen, (OPTMEM,))
    return Seen(
        Level.NOISY if _uses(patient, Mode.MSG_ZEROCOPY) else Level.FYI,
        seen,
        (OPTMEM,),
        f"sysctl net.core.optmem_max={OPTMEM_BYTES}",
        changes=(Change(OPTMEM, str(OPTMEM_BYTES)),),
    )


def _uses(patient: Patient, mode: Mode) -> bool:
    points = patient.plan.points
    return any(arm_mode(arm) is mode for point in points for arm in point.arms)


def wmem(patient: Patient) -> Seen:
    """Compare net.core.wmem_max with the sndbuf that the plan asks for."""
    value = patient.tree.number(WMEM)
    if value is None:
        raise UnreadableError(
            f"{WMEM} is not there: before 6.8 it is only in the first namespace"
        )
    default = patient.tree.number("/proc/sys/net/core/wmem_default")
    read = (WMEM, "/proc/sys/net/core/wmem_default")
    wanted = max(
        point.options(arm).sndbuf for point in patient.plan.points for arm in point.arms
    )
    seen = f"net.core.wmem_max = {value} B, wmem_default = {default} B"
    if wanted > value:
        return Seen(
            Level.LIES,
            f"{seen}; the plan asks for sndbuf={wanted}",
            read,
            f"sysctl net.core.wmem_max={wanted}",
            effect="SO_SNDBUF is cut to wmem_max without an error, so arms with that "
            "option are not what they are called",
            changes=(Change(WMEM, str(wanted)),),
        )
    return Seen(Level.FINE, f"{seen}; the plan asks for no more", read)


def rmem(patient: Patient) -> Seen:
    """Compare net.core.rmem_max with what a receiver asks for."""
    value = patient.tree.number(RMEM)
    if value is None:
        raise UnreadableError(
            f"{RMEM} is not there: before 6.8 it is only in the first namespace"
        )
    seen = f"net.core.rmem_max = {value} B; receivers ask for {RCVBUF_BYTES} B"
    if value >= RCVBUF_BYTES:
        return Seen(Level.FINE, seen, (RMEM,))
    live = any(
        point.path is not Path.SINK and point.protocol is Protocol.UDP
        for point in patient.plan.points
    )
    return Seen(
        Level.NOISY if live else Level.FYI,
        seen,
        (RMEM,),
        f"sysctl net.core.rmem_max={RCVBUF_BYTES}",
        changes=(Change(RMEM, str(RCVBUF_BYTES)),),
    )


def debugging(patient: Patient) -> Seen:
    """Read the kernel's configuration for what makes each send dearer."""
    where, text = _config(patient)
    slow = [
        name
        for name in SLOW_CONFIGS
        if re.search(rf"^CONFIG_{name}=y$", text, re.MULTILINE)
    ]
    if slow:
        return Seen(
            Level.LIES,
            f"this kernel was built to find errors: {', '.join(slow)}",
            (where,),
            "boot the distribution's ordinary kernel",
        )
    return Seen(Level.FINE, "none of the options that slow every send", (where,))


def _config(patient: Patient) -> tuple[str, str]:
    packed = patient.tree.path("/proc/config.gz")
    try:
        return "/proc/config.gz", gzip.decompress(packed.read_bytes()).decode()
    except (OSError, EOFError, UnicodeDecodeError):
        pass
    where = f"/boot/config-{patient.release}"
    text = patient.tree.text(where)
    if not text or "CONFIG_" not in text:
        raise UnreadableError(f"neither /proc/config.gz nor {where} can be read")
    return where, text


def tracing(patient: Patient) -> Seen:
    """Look for programs that hook the kernel's functions or events."""
    tree = patient.tree
    found, unread, read = [], [], [KALLSYMS, BPF_STATS]
    if tree.number(BPF_STATS):
        found.append("kernel.bpf_stats_enabled = 1")
    hooks = sorted(set(_HOOK.findall(tree.must(KALLSYMS))))
    if hooks:
        found.append(f"{KALLSYMS} has {', '.join(hooks[:3])}")
    for pid, number, target in tree.descriptors():
        if target == "anon_inode:bpf_link":
            info = tree.text(f"/proc/{pid}/fdinfo/{number}") or ""
            kind = re.search(r"^link_type:\s*(\S+)", info, re.MULTILINE)
            if kind and kind[1] in _TRACING_LINKS:
                found.append(f"{tree.command(pid)} (pid {pid}) has a {kind[1]} link")
        elif target == "anon_inode:[perf_event]":
            found.append(f"{tree.command(pid)} (pid {pid}) has a perf event")
    for name, quiet in _TRACEFS.items():
        file = f"{TRACEFS}/{name}"
        try:
            text = tree.text(file)
        except UnreadableError as error:
            unread.append(str(error))
            continue
        if text is None:
            mounted = bool(tree.names(TRACEFS))
            unread += [] if mounted else [f"{TRACEFS} is not mounted"]
            continue
        read.append(file)
        if text != quiet:
            found.append(f"{file}: {', '.join(text.split(chr(10))[:2])}")
    seen = "; ".join(dict.fromkeys([*found, *unread]))
    if found:
        cure = (
            "sysctl kernel.bpf_stats_enabled=0"
            if found[0].startswith("kernel.bpf")
            else "end the tracer; who it is, if not told above: sudo bpftool link; how "
            "much it takes: perf record -a -g while sending, __bpf_prog_enter*"
        )
        return Seen(Level.NOISY, seen, tuple(read), cure)
    if unread:
        cure = f"mount -t tracefs none {TRACEFS}   # as root, then look again"
        return Seen(Level.UNKNOWN, seen, tuple(read), cure)
    return Seen(Level.FINE, "nothing hooks the kernel's functions", tuple(read))


def quota(patient: Patient) -> Seen:
    """Read the CPU quotas of the control groups that this process is in."""
    name = f"/proc/{patient.pid}/cgroup"
    read = [name]
    known = False
    for line in patient.tree.must(name).splitlines():
        _, controllers, group = line.split(":", 2)
        for folder, file in _quota_files(controllers):
            known = known or patient.tree.names(folder) is not None
            for where in _upwards(folder, group.strip("/"), file):
                text = patient.tree.text(where)
                read += [] if text is None else [where]
                if text and (share := _cpus(patient, where, text)) is not None:
                    return Seen(
                        Level.NOISY,
                        f"{where} = {text}: {share:.2g} CPUs",
                        (name, where),
                        f"echo {'max' if file == 'cpu.max' else -1} > {where}",
                    )
    if not known:
        raise UnreadableError(f"{name}: no control group of a CPU controller is seen")
    return Seen(Level.FINE, "no CPU quota", tuple(read))


def _quota_files(controllers: str) -> Iterator[tuple[str, str]]:
    """Yield where a hierarchy of control groups is mounted, and its quota's file."""
    if not controllers:
        yield "/sys/fs/cgroup", "cpu.max"
        yield "/sys/fs/cgroup/unified", "cpu.max"
    elif "cpu" in controllers.split(","):
        yield f"/sys/fs/cgroup/{controllers}", "cpu.cfs_quota_us"


def _upwards(folder: str, group: str, file: str) -> Iterator[str]:
    """Yield the file in a group and in all groups above it."""
    while group:
        yield f"{folder}/{group}/{file}"
        group = group.rpartition("/")[0]
    yield f"{folder}/{file}"


def _cpus(patient: Patient, where: str, text: str) -> float | None:
    """Return how many CPUs a quota amounts to; None for no quota."""
    if where.endswith("cpu.max"):
        most, _, period = text.partition(" ")
        return None if most == "max" else whole(most, where) / whole(period, where)
    most = text
    if whole(most, where) < 0:
        return None
    period = patient.tree.must(where.replace("quota", "period"))
    return whole(most, where) / whole(period, where)


CHECKS = (
    Check(
        id="io-uring",
        asks="kernel.io_uring_disabled, io_uring_group; whether a ring can be made",
        effect="without a ring nothing is measured (exit 77)",
        source="Documentation/admin-guide/sysctl/kernel.rst, io_uring_disabled",
        look=io_uring,
    ),
    Check(
        id="opcodes",
        asks="the copied flag of notifications and each mode, by trying them",
        effect="without the flag nobody knows whether it was zerocopy at all",
        source="io_uring_enter(2), IORING_SEND_ZC_REPORT_USAGE",
        look=opcodes,
    ),
    Check(
        id="namespaces",
        asks="whether user and network namespaces can be entered, by trying it",
        effect="without them there is no path but lo (exit 77)",
        source="user_namespaces(7), network_namespaces(7)",
        look=namespaces,
    ),
    Check(
        id="policy",
        asks="limits on namespaces (AppArmor, Debian), seccomp, security modules",
        effect="a policy may refuse namespaces, and its hooks cost time at every send",
        source="Documentation/admin-guide/LSM/index.rst, seccomp(2)",
        look=policy,
    ),
    Check(
        id="debugging",
        asks="options of the kernel's build that slow every send (KASAN, lockdep ...)",
        effect="times are those of the checking code, not of sending",
        source="lib/Kconfig.debug",
        look=debugging,
    ),
    Check(
        id="tracing",
        asks="programs that hook the kernel: ftrace, kprobes, BPF, perf events",
        effect="a hooked function of the send path costs time at every send",
        source="Documentation/trace/ftrace.rst; kernel/bpf/trampoline.c; "
        "sysctl/kernel.rst, bpf_stats_enabled",
        look=tracing,
    ),
    Check(
        id="memlock",
        asks="the locked-memory limit against what the plan pins",
        effect="fewer zerocopy requests are in flight than the tools would have; the "
        "run's facts say how many",
        source="io_uring_enter(2), ENOMEM; net/core/skbuff.c, "
        "mm_account_pinned_pages()",
        look=memlock,
    ),
    Check(
        id="wmem",
        asks="net.core.wmem_max against the sndbuf options of the plan",
        effect="bounds the bytes in flight of a socket",
        source="socket(7), SO_SNDBUF",
        look=wmem,
    ),
    Check(
        id="rmem",
        asks="net.core.rmem_max against the receivers' 4 MiB",
        effect="receivers have less room, drop more datagrams, are woken more often",
        source="socket(7), SO_RCVBUF",
        look=rmem,
    ),
    Check(
        id="optmem",
        asks="net.core.optmem_max of this network namespace",
        effect="MSG_ZEROCOPY sends fail with ENOBUFS once so many notifications are "
        "unread; counted as eagain. io_uring is not affected. Since 6.8 each namespace "
        "has its own, 131072 at first, so it counts for sends from this one only",
        source="net/core/sock.c, sock_omalloc(); msg_zerocopy.rst",
        look=optmem,
    ),
    Check(
        id="quota",
        asks="cpu.max of the control groups that this process is in",
        effect="the scheduler stops all of the run for the rest of each period",
        source="Documentation/admin-guide/cgroup-v2.rst, cpu.max",
        look=quota,
    ),
)
