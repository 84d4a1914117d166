"""How far a run is, as one line that rewrites itself, in a notebook or a terminal."""

import sys
import time
from typing import Protocol

EVERY_S = 1.0  # the clock of a slice is not running while this is printed


class Progress(Protocol):
    """What a meter is given after each block."""

    @property
    def done(self) -> int:
        """Blocks done."""

    @property
    def total(self) -> int:
        """Blocks when it is done; where points stop by themselves an expectation."""

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first block."""

    @property
    def left_s(self) -> float:
        """Seconds that the rest will probably take."""


class Meter:
    """Writes `block 120 of 2700, 14 s, about 300 s left` at most once a second."""

    def __init__(self) -> None:
        self._written = -EVERY_S

    def __call__(self, progress: Progress) -> None:
        """Write the line, if the last one is old enough or the run is done."""
        done, total = progress.done, progress.total
        now = time.monotonic()
        if now - self._written < EVERY_S and done < total:
            return
        self._written = now
        line = f"block {done} of {total}, {progress.elapsed_s:.0f} s"
        line += f", about {progress.left_s:.0f} s left" if done < total else ""
        end = "\n" if done == total else ""
        sys.stdout.write(f"\r{line:<60}{end}")
        sys.stdout.flush()
