"""The kernel's files under /proc and /sys, read so that `absent` is not `unreadable`.

A kernel says many things by not having a file: without cpufreq there is no governor.
That is only known where the folder such files live in is there, and may be read; else
nothing is known, and `Unreadable` says why.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Errors that say the file, or what it would tell, is not there.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ESRCH})


class UnreadableError(Exception):
    """Something is not known, for the reason that the message gives."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of a kernel below `root`, which is / except for made-up ones."""

    root: Path = Path("/")

    def path(self, name: str) -> Path:
        """Return where the file that is `name` on a running kernel lies here."""
        return self.root / name.lstrip("/")

    def text(self, name: str) -> str | None:
        """Return a file's text without the white space around it; None if absent.

        Raises:
            UnreadableError: it is there and cannot be read, or nothing like it is.

        """
        try:
            return self.path(name).read_text(errors="replace").strip()
        except OSError as error:
            self._check_absence(name, error)
            return None

    def must(self, name: str) -> str:
        """Return a file's text; UnreadableError where it is absent too."""
        text = self.text(name)
        if text is None:
            raise UnreadableError(f"{name} is not there")
        return text

    def number(self, name: str) -> int | None:
        """Return the whole number a file holds, None if absent."""
        text = self.text(name)
        return None if text is None else whole(text, name)

    def names(self, folder: str) -> tuple[str, ...] | None:
        """Return what is in a folder, sorted; None if there is no such folder."""
        try:
            return tuple(sorted(os.listdir(self.path(folder))))  # noqa: PTH208 - names
        except OSError as error:
            self._check_absence(folder, error)
            return None

    def link(self, name: str) -> str | None:
        """Return what a symbolic link holds; None if absent."""
        try:
            return str(self.path(name).readlink())
        except OSError as error:
            self._check_absence(name, error)
            return None

    def descriptors(self) -> Iterator[tuple[int, str, str]]:
        """Yield pid, number and target of each open file that may be seen.

        A process that may not be looked into has one with the target "".
        """
        for pid in filter(str.isdigit, self.names("/proc") or ()):
            folder = f"/proc/{pid}/fd"
            try:
                numbers = self.names(folder) or ()
            except UnreadableError:
                yield int(pid), "", ""
                continue
            for number in numbers:
                with suppress(UnreadableError):
                    yield int(pid), number, self.link(f"{folder}/{number}") or ""

    def command(self, pid: int) -> str:
        """Return the name of a process; empty when it is gone."""
        with suppress(UnreadableError):
            return self.text(f"/proc/{pid}/comm") or ""
        return ""

    def _check_absence(self, name: str, error: OSError) -> None:
        """Return if that a file is absent means something, else raise."""
        if error.errno not in _ABSENT:
            raise UnreadableError(f"{name}: {error.strerror}") from None
        parts = name.strip("/").split("/")
        anchor = "/" + "/".join(parts[: min(2, len(parts) - 1)])
        present: Iterable[str] = ()
        with suppress(OSError):
            present = os.listdir(self.path(anchor))  # noqa: PTH208 - names
        if not present:
            raise UnreadableError(f"{anchor} is not there") from None


def whole(text: str, name: str) -> int:
    """Return the whole number that a text is; UnreadableError names the file."""
    try:
        return int(text)
    except ValueError:
        raise UnreadableError(f"{name}: {text[:40]!r} is not a number") from None


def chosen(text: str, name: str) -> str:
    """Return the word in brackets of a text like `always [madvise] never`.

    A text of one word is that word. UnreadableError where neither is so.
    """
    words = text.split()
    marked = [w.strip("[]") for w in words if w.startswith("[") and w.endswith("]")]
    if len(marked) == 1 or len(words) == 1:
        return marked[0] if marked else words[0]
    raise UnreadableError(f"{name}: {text[:40]!r} has no chosen word")


def cpu_list(text: str, name: str) -> frozenset[int]:
    """Return the CPUs of a list like `0-3,8`; an empty text is none.

    Source: cpuset(7), List format.
    """
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        low = whole(first, name)
        found.update(range(low, (whole(last, name) if last else low) + 1))
    return frozenset(found)
