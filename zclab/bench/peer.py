"""The peer: liburing's examples/send-zerocopy, asked what it can do and read.

Three generations of it exist. Releases up to 2.3 know neither -d nor -C; those after
it gained both; all since have threads (-T) and tell their own time. Those without
threads print requests per whole second of a runtime of 200 ms and -t seconds: with
-t 0 they divide by zero.
"""

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zclab.bench import sources
from zclab.errors import InputError, MeasureError
from zclab.params import Mode, Protocol

STARTUP_MS = 200  # every generation adds so much to -t seconds
LAG = 128  # its own, with -d: outstanding notifications before it fetches them
SNDBUF_BYTES = 1 << 21  # of the generations without threads; later: the default

_LETTERS = "dCTl"  # what is asked for
_REJECTED = re.compile(r"(?:invalid option -- '?|unrecognized option: )(\w)")
_TIMED = re.compile(r"packets=(\d+) \(MB=(\d+)\), rps=(\d+) ")
_UNTIMED = re.compile(r"tx=(\d+) \(MB=(\d+)\), tx/s=\d+ ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """The flags that decide how the peer sends, and what they are in zclab's words."""

    zerocopy: bool
    fixed: bool
    defer: bool

    def __str__(self) -> str:
        return " ".join(self.argv)

    @property
    def argv(self) -> tuple[str, ...]:
        """The flags as they are typed."""
        zerocopy = ("-z1", f"-b{self.fixed:d}") if self.zerocopy else ("-z0",)
        return (*zerocopy, "-d") if self.defer else zerocopy

    @property
    def mode(self) -> Mode:
        """What the peer sends with."""
        if not self.zerocopy:
            return Mode.SEND
        return Mode.SEND_ZC_FIXED if self.fixed else Mode.SEND_ZC


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One binary of the example.

    Attributes:
        letters: those of -d, -C, -T and -l that it knows.
        version: the distribution's or the source's, or empty.

    """

    path: Path
    letters: frozenset[str]
    version: str
    sha256: str

    @property
    def defers(self) -> bool:
        """Whether it can ask for IORING_SETUP_DEFER_TASKRUN."""
        return "d" in self.letters

    @property
    def timed(self) -> bool:
        """Whether it tells how long it sent; if not, the nominal time is taken."""
        return "T" in self.letters

    @property
    def batches_per_clock(self) -> int:
        """How many batches it sends between two looks at the clock."""
        return 16 if self.timed else 1

    @property
    def sndbuf_bytes(self) -> int:
        """The SO_SNDBUF that it sets; 0: it sets none."""
        return 0 if self.timed else SNDBUF_BYTES

    def whole_seconds(self, asked: int) -> int:
        """Return the -t that comes nearest to `asked` and does not kill it."""
        return asked if self.timed else max(1, asked)

    def argv(
        self,
        flags: Flags,
        *,
        address: str,
        port: int,
        protocol: Protocol,
        io_size_bytes: int,
        batch: int,
        cpu: int,
        seconds: int,
    ) -> list[str]:
        """Return the command that sends over IPv4 for 200 ms and -t seconds."""
        # Before it had threads it set the affinity of io-wq from unset memory.
        pin = ["-C", str(cpu)] if {"C", "T"} <= self.letters else []
        return [
            str(self.path),
            "-4",
            *("-D", address),
            *("-p", str(port)),
            *("-s", str(io_size_bytes)),
            *("-n", str(batch)),
            *("-t", str(self.whole_seconds(seconds))),
            *pin,
            *flags.argv,
            str(protocol),
        ]

    def options(self, flags: Flags, batch: int) -> str:
        """Return the options with which zclab sends as the peer does with `flags`."""
        values = {
            "taskrun": "defer" if flags.defer else "coop",
            "submit_all": "off",
            "cq": 1024,  # twice its submission queue, the kernel's default
            "waitall": "on" if flags.zerocopy else "off",
            # Without -d it never asks for events; this is the most zclab can wait.
            "lag": LAG if flags.defer else 1024,
            "sndbuf": self.sndbuf_bytes,
            "clock": self.batches_per_clock * batch,
            "report_usage": "off",
        }
        return ":".join(f"{name}={value}" for name, value in values.items())

    def read(self, text: str, *, batch: int, seconds: int) -> tuple[int, float]:
        """Return (requests, ns) of what it printed.

        Its clock counts whole milliseconds, and it ends where that clock reaches
        its runtime: it began half a millisecond later than it says, and ended up
        to one interval between two looks later, on average half of that or of a
        millisecond. The difference is taken off, in its favour.

        Raises:
            MeasureError: it printed no result.

        """
        timed, untimed = _TIMED.search(text), _UNTIMED.search(text)
        found = timed or untimed
        if not found or "Connection failure" in text or not int(found.group(1)):
            said = "; ".join(text.split("\n")).strip("; ") or "nothing"
            raise MeasureError(f"{self.path.name} gave no result, it said: {said}")
        requests = int(found.group(1))
        if timed:
            elapsed_ms = round(requests * 1000 / int(timed.group(3)))
        else:
            elapsed_ms = STARTUP_MS + 1000 * self.whole_seconds(seconds)
        look_ms = self.batches_per_clock * batch * elapsed_ms / requests
        return requests, (elapsed_ms - (1 - min(1.0, look_ms)) / 2) * 1e6

    def to_json(self) -> dict[str, Any]:
        """Return what identifies the binary; not where it lies."""
        return {
            "name": self.path.name,
            "version": self.version,
            "sha256": self.sha256,
            "knows": "".join(sorted(self.letters)),
        }


def ask(path: Path) -> Peer:
    """Return the peer at `path`, asked which flags it knows; it sends nothing.

    Raises:
        InputError: it is not liburing's example, or does not run.

    """
    wrong = f"peer {path} is not liburing's examples/send-zerocopy"
    try:
        letters = [f"-{letter}0" if letter in "CTl" else "-d" for letter in _LETTERS]
        done = subprocess.run(
            # A protocol that it does not know ends it before it does anything.
            [path.absolute(), "-4", *letters, "-D", "127.0.0.1", "neither"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{wrong}: {error}; {sources.CURE}") from None
    said = done.stdout + done.stderr
    if "cfg_test neither" not in said:
        raise InputError(f"{wrong}; {sources.CURE}")
    return Peer(
        path=path.absolute(),
        letters=frozenset(_LETTERS) - set(_REJECTED.findall(said)),
        version=sources.version(path),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def find(named: Path | None, cache: Path) -> Peer:
    """Return the peer that is named, else the distribution's, built in `cache`.

    Raises:
        InputError: what is named is not the example.
        CapabilityError: nothing is named and it cannot be built here.

    """
    return ask(named if named is not None else sources.example(cache))
