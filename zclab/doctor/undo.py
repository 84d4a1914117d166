"""The undo journal: what --apply found, written to disk before it changes anything.

Whoever applies holds the lock of the journal's folder as long as it lives; the kernel
releases it when it ends, by whatever means. A journal whose owner is gone is put back
by the next start of doctor, measure or report, and the file goes.

Values live in the kernel until the machine is booted, so the journal of another boot
is thrown away. Sysctls under net/ may belong to a network namespace, so they are only
put back from the namespace in which they were changed.
"""

import errno
import fcntl
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from zclab.doctor.finding import Change
from zclab.errors import CapabilityError
from zclab.store import files

JOURNAL = "undo.jsonl"
LOCK = "lock"
ENVIRON = "ZCLAB_UNDO_DIR"

# All that a journal may ever ask to be written: one that was planted does no more.
_MAY_WRITE = re.compile(
    r"/proc/sys/net/core/(wmem_max|rmem_max|optmem_max)"
    r"|/proc/sys/kernel/numa_balancing"
    r"|/sys/kernel/mm/transparent_hugepage/enabled"
    r"|/sys/devices/system/cpu/intel_pstate/no_turbo"
    r"|/sys/devices/system/cpu/cpufreq/boost"
    r"|/sys/devices/system/cpu/cpu\d+/cpufreq/scaling_governor"
    r"|/sys/devices/system/cpu/cpu\d+/cpuidle/state\d+/disable"
)


def folder() -> Path:
    """Return where the journal lies: memory that does not outlive a boot.

    It is $ZCLAB_UNDO_DIR, else /run/zclab for root, else a folder of the user's.
    """
    named = os.environ.get(ENVIRON)
    if named:
        return Path(named)
    if os.geteuid() == 0:
        return Path("/run/zclab")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "zclab" if runtime else Path(f"/tmp/zclab-{os.geteuid()}")


def settable(path: str) -> bool:
    """Return whether a file is one of those that --apply may write."""
    return bool(_MAY_WRITE.fullmatch(path))


def value(path: str) -> str:
    """Return the value of a kernel's file; of several words the chosen one."""
    text = Path(path).read_text().strip()
    marked = re.search(r"\[(\S+)\]", text)
    return marked[1] if marked else text


def _set(path: str, text: str) -> None:
    # Not Path.write_text: a sysctl takes its value in one write, and tells then.
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _netns() -> str:
    return str(Path("/proc/self/ns/net").readlink())


def _started(pid: int) -> int:
    """Return when a process started, in ticks since boot; 0 when it is gone.

    Source: proc_pid_stat(5), starttime.
    """
    with suppress(OSError, ValueError, IndexError):
        text = Path(f"/proc/{pid}/stat").read_text()
        return int(text.rpartition(")")[2].split()[19])
    return 0


@dataclass(slots=True)
class Entry:
    """One change: its file, what was there, and what was written."""

    path: str
    found: str
    wanted: str
    became: str = ""


@dataclass(slots=True, kw_only=True)
class Journal:
    """A journal as it was read."""

    path: Path
    pid: int = 0
    started: int = 0
    boot: str = ""
    netns: str = ""
    entries: list[Entry] = field(default_factory=list)

    @property
    def owner_lives(self) -> bool:
        """Whether the process that wrote it is still there: pid and start time."""
        return self.boot == _boot() and 0 < self.started == _started(self.pid)


class _Lock:
    """The lock of a folder; the kernel releases it with the process."""

    def __init__(self, where: Path) -> None:
        self._path = where / LOCK
        self._taken = False
        self._open()

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._path, flags, 0o644)

    def take(self) -> bool:
        """Take it, if nobody has it."""
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            with suppress(OSError):
                if os.path.samestat(os.fstat(self._descriptor), self._path.stat()):
                    self._taken = True
                    return True
            os.close(self._descriptor)  # its last holder has taken it away
            self._open()

    def close(self) -> None:
        """Release it; what is left of lock and folder goes, unless a journal is in."""
        with suppress(OSError):
            if self._taken and not (self._path.parent / JOURNAL).exists():
                self._path.unlink()
                self._path.parent.rmdir()
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ours(path: Path) -> bool:
    """Return whether only this user and root can have written a file or folder."""
    found = path.lstat()
    others = stat.S_IWOTH | stat.S_IWGRP
    return (
        found.st_uid in {0, os.geteuid()}
        and not found.st_mode & others
        and not stat.S_ISLNK(found.st_mode)
    )


def _read(where: Path) -> Journal | None:
    """Return the journal of a folder; None where there is none.

    A last line that is torn was not yet acted on, and is left out. One that somebody
    else could have written is not believed.
    """
    path = where / JOURNAL
    try:
        if not (_ours(where) and _ours(path)):
            return None
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return None
    journal = Journal(path=path)
    for line in lines:
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            _take_in(journal, json.loads(line))
    return journal


def _take_in(journal: Journal, values: dict[str, Any]) -> None:
    if "pid" in values:
        journal.pid, journal.started = int(values["pid"]), int(values["started"])
        journal.boot, journal.netns = str(values["boot"]), str(values["netns"])
    elif "became" in values:
        for entry in journal.entries:
            if entry.path == values["path"]:
                entry.became = str(values["became"])
    else:
        entry = Entry(*(str(values[key]) for key in ("path", "found", "wanted")))
        if settable(entry.path):
            journal.entries.append(entry)


def pending(where: Path | None = None) -> Journal | None:
    """Return the journal that a process left which is gone; None where there is none.

    Args:
        where: its folder; by default that of this user.

    """
    journal = _read(where or folder())
    return None if journal is None or journal.owner_lives else journal


def recover(where: Path | None = None) -> list[str]:
    """Put back what a process left that was killed; return what to say of it.

    A journal whose owner lives is left alone, and nothing is said. Each value that
    somebody else has changed since is left as it is, and that is said.

    Args:
        where: the journal's folder; by default that of this user, and, for others
            than root, root's as well, of which it can only be said that it is there.

    """
    said = _recover(where or folder())
    if where is None and os.geteuid() and not os.environ.get(ENVIRON):
        theirs = pending(Path("/run/zclab"))
        if theirs:
            said.append(
                "root's settings of an interrupted `zclab doctor --apply` are still in "
                "force; put them back: sudo zclab doctor"
            )
    return said


def _recover(where: Path) -> list[str]:
    if not _left(where):
        return []
    try:
        lock = _Lock(where)
    except OSError as error:
        return [
            f"{where / JOURNAL} cannot be taken: {error.strerror}; run as its owner"
        ]
    with lock:  # when it is released, the folder goes
        if not lock.take():
            return []
        journal = pending(where)  # again, now that nobody else can
        if journal is None:
            return []
        if journal.boot != _boot():
            journal.path.unlink(missing_ok=True)
            return []
        return put_back(journal)


def _left(where: Path) -> bool:
    """Return whether a process that is gone has left a journal, or a lock alone."""
    try:
        if not _ours(where):
            return False
        alone = (where / LOCK).exists() and not (where / JOURNAL).exists()
    except OSError:
        return False
    return alone or pending(where) is not None


def put_back(journal: Journal) -> list[str]:
    """Put back what a journal has, the last change first; return what to say of it.

    The journal goes, unless something could not be put back that still can be.
    """
    said, kept = [], []
    for entry in reversed(journal.entries):
        told, done = _put_back(entry, journal.netns)
        said += [told] if told else []
        if not done:
            kept.append(entry)
    if kept:
        _rewrite(journal, kept)
    else:
        journal.path.unlink(missing_ok=True)
        files.sync(journal.path.parent)
    return said


def _put_back(entry: Entry, netns: str) -> tuple[str, bool]:
    """Return what to say of one value, and whether that is all that can be done."""
    name = entry.path
    if name.startswith("/proc/sys/net/") and netns != _netns():
        if _exists(netns):
            return f"{name}: left, as it is of another network namespace", False
        return f"{name}: gone with its network namespace", True
    try:
        return _write_back(entry)
    except OSError as error:
        return f"{name}: not put back to {entry.found}: {error.strerror}", False


def _write_back(entry: Entry) -> tuple[str, bool]:
    name, now = entry.path, value(entry.path)
    if now == entry.found:  # it was killed before it changed anything
        return "", True
    if now not in {entry.wanted, entry.became}:
        return (
            f"{name}: left at {now}, which somebody else has set; it was "
            f"{entry.found} before zclab set {entry.wanted}",
            True,
        )
    _set(name, entry.found)
    now = value(name)
    if now != entry.found:
        return f"{name}: {now}, though {entry.found} was written", False
    return f"{name}: put back to {entry.found}", True


def _exists(netns: str) -> bool:
    """Return whether a network namespace is held: by a process, a file, `ip netns`."""
    for pattern in ("[0-9]*/ns/net", "[0-9]*/fd/*"):
        for link in Path("/proc").glob(pattern):
            with suppress(OSError):
                if str(link.readlink()) == netns:
                    return True
    inode = netns.partition("[")[2].rstrip("]")
    for name in Path("/run/netns").glob("*"):
        with suppress(OSError):
            if str(name.stat().st_ino) == inode:
                return True
    return False


def _rewrite(journal: Journal, entries: Sequence[Entry]) -> None:
    """Leave a journal with only what is still to be put back."""
    lines: list[dict[str, Any]] = [
        {
            "pid": journal.pid,
            "started": journal.started,
            "boot": journal.boot,
            "netns": journal.netns,
        }
    ]
    for entry in reversed(entries):
        lines.append({"path": entry.path, "found": entry.found, "wanted": entry.wanted})
        if entry.became:
            lines.append({"path": entry.path, "became": entry.became})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    files.replace(journal.path, text.encode())


class Applied:
    """Settings in force; on leaving the `with`, what was found is put back.

    Args:
        changes: what to set. A file that holds the value already is left alone.
        say: is told what was set, what was refused and, at the end, what was put back.
        where: the journal's folder; by default that of this user.

    Raises:
        CapabilityError: another process has settings in force, or a journal cannot be
            written; nothing was changed.

    """

    def __init__(
        self,
        changes: Iterable[Change],
        *,
        say: Callable[[str], None],
        where: Path | None = None,
    ) -> None:
        self._changes = tuple(changes)
        self._say = say
        self._where = where or folder()

    def __enter__(self) -> Self:
        try:
            self._where.mkdir(mode=0o755, parents=True, exist_ok=True)
            if not _ours(self._where):
                raise PermissionError(errno.EPERM, "it is not this user's alone")
            self._lock = _Lock(self._where)
        except OSError as error:
            raise CapabilityError(
                f"no undo journal can be written in {self._where} ({error.strerror}); "
                f"name another folder with ${ENVIRON}"
            ) from None
        if not self._lock.take():
            self._lock.close()
            raise CapabilityError(
                "another `zclab doctor --apply` is in force; wait for its end"
            )
        left = _read(self._where)
        if left is not None:  # not put back: of a namespace that is not this one
            self._lock.close()
            raise CapabilityError(
                f"{left.path} has settings that could not be put back; say "
                "`zclab doctor` in their network namespace"
            )
        self._journal = Journal(
            path=self._where / JOURNAL,
            pid=os.getpid(),
            started=_started(os.getpid()),
            boot=_boot(),
            netns=_netns(),
        )
        self._write(
            {key: getattr(self._journal, key) for key in ("pid", "started", "boot")}
            | {"netns": self._journal.netns}
        )
        files.sync(self._where)
        try:
            for change in self._changes:
                self._apply(change)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _apply(self, change: Change) -> None:
        if not settable(change.path):
            raise ValueError(f"{change.path} is nothing that --apply may write")
        try:
            found = value(change.path)
            if found == change.value:
                return
            entry = Entry(change.path, found, change.value)
            self._journal.entries.append(entry)
            self._write(
                {"path": entry.path, "found": entry.found, "wanted": entry.wanted}
            )
            _set(change.path, change.value)
            entry.became = value(change.path)
        except OSError as error:
            self._say(f"{change.path}: not set: {error.strerror}")
            return
        if entry.became != entry.wanted:  # the kernel rounds some values
            self._write({"path": entry.path, "became": entry.became})
        self._say(f"{change.path}: {found} -> {entry.became}")

    def _write(self, values: dict[str, Any]) -> None:
        """Append a line, and wait until it is on the disk."""
        with self._journal.path.open("a") as file:
            file.write(json.dumps(values) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def __exit__(self, *_: object) -> None:
        """Put back what was found."""
        try:
            for line in put_back(self._journal):
                self._say(line)
        finally:
            self._lock.close()
