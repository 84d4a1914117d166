"""What this kernel's io_uring can do, asked of the kernel and not of its version."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from zclab.errors import CapabilityError
from zclab.uring._shim import ffi, lib

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


def support() -> Support:
    """Return what io_uring can do here.

    Raises:
        CapabilityError: no ring can be made, or SEND_ZC is missing; the message
            names the sysctl, limit or kernel version that stands in the way.

    """
    found = ffi.new("struct zclab_support *")
    lib.zclab_probe(found)
    if found.error:
        raise CapabilityError(_why_no_ring(-found.error))
    if not found.send_zc:
        raise CapabilityError(
            f"io_uring of kernel {os.uname().release} has no SEND_ZC; "
            "it came with Linux 6.0"
        )
    if found.report_usage < 0:
        raise CapabilityError(
            "a one-byte SEND_ZC to an own loopback socket failed: "
            f"{os.strerror(-found.report_usage)}; is lo up, and ulimit -l not used up?"
        )
    return Support(
        send_zc=bool(found.send_zc),
        report_usage=found.report_usage == 1,
        defer_taskrun=bool(found.defer_taskrun),
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
