"""A packet tap that is opened in the network of a run while the run goes on."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

from zclab.errors import CapabilityError

# It ends with its parent, and when its stdin does. The user namespace comes first: it
# is what gives the right to enter the other.
_HOLD = """
import ctypes, os, socket, sys
from zclab.measure import namespace
pid, parent = int(sys.argv[1]), int(sys.argv[2])
namespace.die_with_parent(parent)
libc = ctypes.CDLL(None, use_errno=True)
def inode(pid, kind):
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino
for kind in ("user", "net"):
    if inode(pid, kind) != inode("self", kind):
        fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
        if libc.setns(fd, 0):
            sys.exit(f"{kind}: {os.strerror(ctypes.get_errno())}")
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
sys.stdout.write("open\\n")
sys.stdout.flush()
sys.stdin.read()
"""


class Tap:
    """An AF_PACKET socket for all protocols on all devices of a process's network.

    Args:
        pid: of the process.

    Raises:
        CapabilityError: its namespaces may not be entered.

    """

    def __init__(self, pid: int) -> None:
        self._holder = subprocess.Popen(
            [sys.executable, "-P", "-c", _HOLD, str(pid), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout
        if self._holder.stdout.readline() != "open\n":
            _, said = self._holder.communicate()
            raise CapabilityError(
                f"no tap can be opened beside the run: {said.strip() or 'no answer'}; "
                "run it as the user that started the run, or as root"
            )

    def close(self) -> None:
        """Close the tap; return when it is."""
        self._holder.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def senders() -> list[int]:
    """Return the processes below this one that are in a network of their own."""
    here = _network("self")
    return [pid for pid in _below(os.getpid()) if _network(pid) not in {here, 0}]


def _below(pid: int) -> list[int]:
    """Return all descendants of a process, parents first. Source: proc(5), children."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):
            for child in (task / "children").read_text().split():
                found += [int(child), *_below(int(child))]
    return found


def _network(pid: int | str) -> int:
    with suppress(OSError):
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    return 0
