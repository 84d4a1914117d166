"""User and network namespaces of one process; they end with it."""

import ctypes
import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zclab.errors import CapabilityError

CLONE_NEWUSER = 0x10000000  # sched.h; os.unshare came only with Python 3.12
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, by whatever means.

    Args:
        parent: pid of the parent; if that is gone already, this process ends now.

    Source: prctl(2), PR_SET_PDEATHSIG.

    """
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _unshare(flags: int) -> int:
    """Return 0, or the errno of unshare(2)."""
    return 0 if _libc.unshare(flags) == 0 else ctypes.get_errno()


def enter() -> None:
    """Move this process into user and network namespaces of its own.

    Inside it has all rights over the new network and none over the host, whoever
    started it. Must be called before the process has a second thread.

    Raises:
        CapabilityError: the kernel or its policy refuses; the message names the
            sysctl to look at.

    Source: user_namespaces(7), network_namespaces(7).

    """
    uid, gid = os.getuid(), os.getgid()
    failure = _unshare(CLONE_NEWUSER | CLONE_NEWNET)
    if failure == 0:
        try:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        except OSError as error:
            # Ubuntu's AppArmor policy lets unshare pass and refuses the maps.
            raise CapabilityError(_why_refused(error.errno or 0)) from None
        return
    # Where unprivileged user namespaces are off, root needs none.
    if uid == 0 and _unshare(CLONE_NEWNET) == 0:
        return
    raise CapabilityError(_why_refused(failure))


def refusal() -> str:
    """Return why `enter` is refused here, as it would say; empty where it is not.

    Tried in a process made for it, as a trial that fails halfway cannot be taken back.
    """
    answer, told = os.pipe()
    child = os.fork()
    if child == 0:
        why = "namespaces could not be tried"
        try:
            enter()
            why = ""
        except CapabilityError as error:
            why = str(error)
        finally:
            os.write(told, why.encode())
            os._exit(0)
    os.close(told)
    with os.fdopen(answer, "rb") as reading:
        why = reading.read().decode()
    os.waitpid(child, 0)
    return why


def _why_refused(failure: int) -> str:
    """Return one line that names what to change so that namespaces work."""
    for name, off in (
        ("user.max_user_namespaces", "0"),
        ("kernel.unprivileged_userns_clone", "0"),  # Debian
        ("kernel.apparmor_restrict_unprivileged_userns", "1"),  # Ubuntu
    ):
        path = Path("/proc/sys", *name.split("."))
        if path.is_file() and path.read_text().strip() == off:
            return (
                f"namespaces are refused: {name} = {off}; change that sysctl, "
                "or run as root"
            )
    return (
        f"namespaces are refused ({errno.errorcode.get(failure, failure)}); "
        "in a container, allow user namespaces or add CAP_SYS_ADMIN"
    )


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


class PeerNetwork:
    """A second network namespace, kept alive by a descriptor and its sockets."""

    def __init__(self) -> None:
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        failure = _unshare(CLONE_NEWNET)
        if failure:
            raise CapabilityError(_why_refused(failure))
        self.fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _setns(self._home)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be inside; sockets that are made here stay here."""
        _setns(self.fd)
        try:
            yield
        finally:
            _setns(self._home)
