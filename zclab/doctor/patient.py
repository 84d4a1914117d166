"""The patient: everything that the checks look at, gathered once."""

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zclab.doctor import device as devices
from zclab.doctor.device import Device
from zclab.doctor.tree import Tree, UnreadableError
from zclab.doctor.watch import WATCHED_S, Watched, watch
from zclab.errors import CapabilityError
from zclab.measure import host, namespace, profile
from zclab.params import Mode, Plan
from zclab.store import files
from zclab.uring import probe
from zclab.uring.probe import Support


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """A machine, or a made-up one.

    Attributes:
        tree: its /proc and /sys.
        release: its kernel.
        uid: who measures; 0 is root.
        pid: the process whose limits, namespaces and cgroup count.
        sender: CPU that sends.
        receiver: CPU that receives; the same one where only one may be used.
        memlock_bytes: the locked-memory limit that a run gets; -1 for none.
        free_bytes: returns what is free where runs are stored.
        plan: what would be measured.
        device: the one named with --dev.
        watched: what went on in a second.
        support: asks io_uring what it can do; raises CapabilityError.
        mode: asks io_uring for one mode; raises CapabilityError.
        namespaces: tries them; raises CapabilityError.

    """

    tree: Tree
    release: str
    uid: int
    pid: int
    sender: int
    receiver: int
    memlock_bytes: int
    free_bytes: Callable[[], int]
    plan: Plan
    device: Device | None
    watched: Watched
    support: Callable[[], Support]
    mode: Callable[[Mode], None]
    namespaces: Callable[[], None]

    @property
    def dev(self) -> Device:
        """The device; only checks that are about one ask for it."""
        if self.device is None:
            raise UnreadableError("no device was named; name one with --dev")
        return self.device


def meet(dev: str = "", profile_name: str = "", seconds: float = WATCHED_S) -> Patient:
    """Return this machine, after watching it for `seconds`.

    Args:
        dev: a device of the current network namespace; empty for none.
        profile_name: the plan that it is to measure; by default quick.
        seconds: how long CPUs, processes and interrupts are watched.

    Raises:
        InputError: no such device, or no such plan.

    """
    device = devices.find(dev) if dev else None
    plan = profile.plan(profile_name or "quick", seed=1)
    sender, receiver = host.cpus()
    tree = Tree()
    return Patient(
        tree=tree,
        release=os.uname().release,
        uid=os.geteuid(),
        pid=os.getpid(),
        sender=sender,
        receiver=receiver,
        memlock_bytes=resource.getrlimit(resource.RLIMIT_MEMLOCK)[1],
        free_bytes=_free_bytes,
        plan=plan,
        device=device,
        watched=watch(tree, seconds),
        support=probe.support,
        mode=probe.mode,
        namespaces=_try_namespaces,
    )


def _free_bytes() -> int:
    """Return what an unprivileged user may still write where runs are stored."""
    folder = files.runs_dir()
    while not folder.exists() and folder != Path(folder.anchor):
        folder = folder.parent
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _try_namespaces() -> None:
    """Raise CapabilityError where namespaces are refused; it names the setting."""
    if why := namespace.refusal():
        raise CapabilityError(why)
