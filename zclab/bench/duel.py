"""A duel: every contender of every cell, round by round, each in random order.

A round visits each cell once, in random order, and there each contender once, in
random order too. So a duel that ends early has as many rounds of one cell as of
another, and whatever slows a visit down falls on all contenders of it alike.
"""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from zclab.bench.arena import Arena
from zclab.bench.cell import Cell, Contender, Kind
from zclab.bench.peer import STARTUP_MS, Peer
from zclab.errors import MeasureError
from zclab.measure import host
from zclab.params import Path
from zclab.uring import probe

# The kernel gives the locked memory of a process back some time after its end.
PATIENCE_S = (0.1, 0.5, 1.0)

Sample = dict[str, float]  # requests, ns, cpu_ns


@dataclass(slots=True, kw_only=True)
class Bout:
    """What a cell gave: in each round one sample per contender, in their order.

    Attributes:
        rounds: a contender that was given up has None from then on.
        failed: by the name of a contender, why it was given up.

    """

    cell: Cell
    rounds: list[list[Sample | None]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether one side has nobody left."""
        contenders = self.cell.contenders
        left = {c.kind for c in contenders if c.name not in self.failed}
        return left != {c.kind for c in contenders}

    def to_json(self) -> dict[str, Any]:
        """Return cell and samples as plain JSON values."""
        return {**self.cell.to_json(), "rounds": self.rounds, "failed": self.failed}


@dataclass(slots=True, kw_only=True)
class Duel:
    """A duel that is over.

    Attributes:
        facts: of each path: its device, the locked-memory limit in bytes.
        stopped: by Ctrl-C; the rounds that were finished are there.

    """

    bouts: list[Bout]
    facts: dict[str, Any]
    stopped: bool = False


def fight(
    peer: Peer,
    cells: Sequence[Cell],
    *,
    pairs: int,
    seconds: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Duel:
    """Measure `cells`, `pairs` rounds each; return what they gave.

    Args:
        peer: the other side.
        cells: what to measure.
        pairs: rounds.
        seconds: the peer's -t, or the cell's if that is more: each sample takes that
            and 200 ms.
        seed: of the random order.
        progress: called after every visit to a cell with (done, total).

    Raises:
        CapabilityError: io_uring, namespaces or a device are missing.
        MeasureError: not one cell could be measured.

    """
    probe.support()
    seconds = peer.whole_seconds(seconds)
    order = random.Random(seed)
    bouts = [Bout(cell=cell) for cell in cells]
    duel = Duel(bouts=bouts, facts={})
    done = 0
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        duel.stopped = True
        cpus = host.cpus()
        arenas: dict[Path, Arena] = {}
        for path in dict.fromkeys(cell.path for cell in cells):
            arenas[path] = stack.enter_context(Arena(path, cpus))
            duel.facts[str(path)] = arenas[path].facts
        for _ in range(pairs):
            for bout in order.sample(bouts, len(bouts)):
                if not bout.over:
                    _visit(bout, arenas[bout.cell.path], peer, seconds, order)
                done += 1
                if progress:
                    progress(done, pairs * len(bouts))
            _check(bouts)
        duel.stopped = False
    return duel


def _check(bouts: Sequence[Bout]) -> None:
    """Raise MeasureError when there is no cell left to go on with."""
    if all(bout.over for bout in bouts):
        reason = next(iter(bouts[0].failed.values()))
        raise MeasureError(f"no cell can be measured; {bouts[0].cell.name}: {reason}")


def _visit(
    bout: Bout, arena: Arena, peer: Peer, seconds: int, order: random.Random
) -> None:
    """Add one round of a cell; a contender that fails again and again is given up."""
    contenders = bout.cell.contenders
    found: dict[str, Sample] = {}
    for contender in order.sample(contenders, len(contenders)):
        if contender.name in bout.failed:
            continue
        for patience in (*PATIENCE_S, None):
            try:
                sample = _sample(bout.cell, contender, arena, peer, seconds)
                found[contender.name] = sample
                break
            except MeasureError as error:
                if patience is None:
                    bout.failed[contender.name] = str(error)
                    break
                time.sleep(patience)
    bout.rounds.append([found.get(contender.name) for contender in contenders])


def _sample(
    cell: Cell, contender: Contender, arena: Arena, peer: Peer, seconds: int
) -> Sample:
    """Have one contender send once; return requests, ns and the CPU time in ns."""
    seconds = max(seconds, cell.seconds)
    job: dict[str, Any] = {
        "kind": str(contender.kind),
        "arm": contender.name,
        "io_size_bytes": contender.io_size_bytes,
        "batch": cell.batch,
        "budget_ns": (STARTUP_MS + 1000 * seconds) * 1_000_000,
    }
    if contender.kind is Kind.PEER:
        assert contender.flags
        job["argv"] = peer.argv(
            contender.flags,
            address=arena.facts["address"],
            port=arena.facts["port"],
            protocol=cell.protocol,
            io_size_bytes=contender.io_size_bytes,
            batch=cell.batch,
            cpu=host.cpus()[0],
            seconds=seconds,
        )
    answer = arena.run(job)
    if "printed" in answer:
        answer["requests"], answer["ns"] = peer.read(
            answer["printed"], batch=cell.batch, seconds=seconds
        )
    return {name: answer[name] for name in ("requests", "ns", "cpu_ns")}
