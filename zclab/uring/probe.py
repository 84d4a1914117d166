"""What this kernel's io_uring can do, asked of the kernel and not of its version."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from zclab.errors import CapabilityError, errno_name
from zclab.params import Mode
from zclab.uring._shim import ffi, lib
from zclab.uring.sender import MODES

IORING_SETUP_DEFER_TASKRUN = 1 << 13  # io_uring_setup(2)
_PLAIN_RING = ffi.new(
    "struct zclab_setup *",
    {"submit_all": 1, "sqpoll_cpu": -1, "sq_entries": 8, "cq_entries": 16},
)

SYSCTL_DISABLED = Path("/proc/sys/kernel/io_uring_disabled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """io_uring as found.

    Attributes:
        send_zc: the opcodes SEND_ZC are there (6.0).
        report_usage: notifications can say `copied` (6.2).
        defer_taskrun: rings may be SINGLE_ISSUER | DEFER_TASKRUN (6.1).

    """

    send_zc: bool
    report_usage: bool
    defer_taskrun: bool


def liburing_version() -> str:
    """Return the version of liburing that the shim was compiled against."""
    return str(ffi.string(lib.zclab_liburing_version()).decode())


def compiler() -> str:
    """Return name and version of the compiler that built the shim."""
    return str(ffi.string(lib.zclab_compiler()).decode())


# The release that brought a mode, said when this kernel refuses it.
NEEDS = {
    Mode.SEND_ZC: "6.0",
    Mode.SEND_ZC_FIXED: "6.0",
    Mode.MIXED: "6.0",
    Mode.SENDMSG_ZC: "6.1",
    Mode.SENDMSG_ZC_FIXED: "6.15",
    Mode.SEND_VEC: "6.17",
    Mode.SEND_ZC_VEC: "6.17",
    Mode.MSG_ZEROCOPY: "5.0",
}


def support() -> Support:
    """Return what io_uring can do here.

    Raises:
        CapabilityError: no ring can be made, or SEND_ZC is missing; the message
            names the sysctl, limit or kernel version that stands in the way.

    """
    flags = ffi.new("unsigned int *")
    refused = lib.zclab_probe_ring(_PLAIN_RING, flags)
    if refused:
        raise CapabilityError(_why_no_ring(-refused))
    send_zc = lib.zclab_probe_mode(lib.ZCLAB_SEND_ZC, 0)
    if send_zc in {-errno.EINVAL, -errno.EOPNOTSUPP}:
        raise CapabilityError(
            f"io_uring of kernel {os.uname().release} has no SEND_ZC; "
            "it came with Linux 6.0"
        )
    if send_zc:
        raise CapabilityError(
            "a one-byte SEND_ZC to an own loopback socket failed: "
            f"{os.strerror(-send_zc)}; is lo up, and ulimit -l not used up?"
        )
    return Support(
        send_zc=True,
        # Kernels before 6.2 refuse an unknown flag with EINVAL: the only sure test.
        report_usage=lib.zclab_probe_mode(lib.ZCLAB_SEND_ZC, 1) == 0,
        defer_taskrun=bool(flags[0] & IORING_SETUP_DEFER_TASKRUN),
    )


def mode(wanted: Mode) -> None:
    """Send one byte over loopback in a mode, to see whether this kernel has it.

    Raises:
        CapabilityError: it has not; the message names the release that brought it.

    """
    if wanted is Mode.MIXED:
        return  # what it draws from is asked for one by one
    refused = lib.zclab_probe_mode(MODES[wanted], 0)
    if refused == -errno.ENOMEM:
        raise CapabilityError(
            f"mode {wanted} cannot be tried: no memory for a ring (ENOMEM); "
            "raise the locked-memory limit: ulimit -l"
        )
    if refused:
        brought = NEEDS.get(wanted)
        since = f" needs Linux {brought}" if brought else " does not work"
        raise CapabilityError(
            f"mode {wanted}{since}; kernel {os.uname().release} refuses it "
            f"({errno_name(-refused)})"
        )


def _why_no_ring(number: int) -> str:
    """Return one line that names the cause of a ring that cannot be made.

    Source: Documentation/admin-guide/sysctl/kernel.rst, io_uring_disabled.
    """
    if number == errno.ENOSYS:
        return "this kernel has no io_uring (ENOSYS); zclab needs Linux 6.0 or newer"
    if number == errno.EPERM:
        try:
            value = SYSCTL_DISABLED.read_text().strip()
        except OSError:
            value = "unreadable"
        if value in ("1", "2"):
            return (
                f"io_uring is disabled here: kernel.io_uring_disabled = {value}; "
                "as root: sysctl kernel.io_uring_disabled=0"
            )
        return (
            "io_uring is refused (EPERM) though kernel.io_uring_disabled is "
            f"{value}; a seccomp filter, as containers have, is the usual cause"
        )
    if number == errno.ENOMEM:
        return "no memory for a ring (ENOMEM); raise the locked-memory limit: ulimit -l"
    return f"io_uring_setup failed: {os.strerror(number)}"
