"""The bench as a whole: peer, cells, duel, record, page."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zclab.bench import cell as cells
from zclab.bench import duel, page, record
from zclab.bench import peer as peers
from zclab.errors import InputError, StoppedError
from zclab.measure import host

EVERY = "*"
PAIRS = 40
WHOLE_PAIRS = 20  # from so many rounds on the page of all cells goes to docs/


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to do.

    Attributes:
        peer: the other side's binary; None: the distribution's.
        pairs: rounds.
        seconds: the peer's -t.
        cells: patterns of their names, separated by commas.
        seed: of the random order.

    """

    peer: Path | None = None
    pairs: int = PAIRS
    seconds: int = 0
    cells: str = EVERY
    seed: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.pairs <= 100_000:
            raise InputError(f"pairs {self.pairs} is out of range; use 1 to 100000")
        if not 0 <= self.seconds <= 60:
            raise InputError(f"seconds {self.seconds} is out of range; use 0 to 60")

    @property
    def command(self) -> str:
        """The command that asks so; of the peer's path only its name is told."""
        given = {
            "peer": (self.peer.name if self.peer else "", ""),
            "pairs": (self.pairs, PAIRS),
            "seconds": (self.seconds, 0),
            "cells": (self.cells, EVERY),
            "seed": (self.seed, 1),
        }
        words = ["zclab", "bench"]
        for name, (value, usual) in given.items():
            if value != usual:
                words += [f"--{name}", str(value)]
        return shlex.join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Where the results are."""

    page: Path
    record: Path
    stopped: bool


def hold(asked: Asked, *, progress: Callable[[int, int], None] | None = None) -> Done:
    """Do what is asked; write the record and its page; return where they are.

    Raises:
        InputError: the peer is none, or no cell has such a name.
        CapabilityError: the peer cannot be built, or what it takes is missing here.
        MeasureError: no cell could be measured.
        StoppedError: it was stopped before there was a result.

    """
    peer = peers.find(asked.peer, record.folder() / "peer")
    chosen = cells.named(cells.all_cells(peer), asked.cells)
    before = host.facts()
    over = duel.fight(
        peer,
        chosen,
        pairs=asked.pairs,
        seconds=asked.seconds,
        seed=asked.seed,
        progress=progress,
    )
    if over.stopped and not any(bout.rounds for bout in over.bouts):
        raise StoppedError("stopped before the first round of a cell")
    found = record.of(
        over,
        peer,
        before,
        command=asked.command,
        pairs=asked.pairs,
        seconds=asked.seconds,
        seed=asked.seed,
    )
    whole = asked.cells == EVERY and asked.pairs >= WHOLE_PAIRS and not over.stopped
    written = record.write(found)
    place = page.place(written, whole=whole)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(page.markdown(found), encoding="utf-8")
    return Done(page=place, record=written, stopped=over.stopped)
