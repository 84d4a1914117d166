"""Whether one changed byte is found, wherever in a run it is."""

import os
import random
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path as Folder

from zclab import store, synthetic
from zclab.errors import DataError
from zclab.params import Path, Plan, Protocol, grid
from zclab.prove.proof import MODEL, Finding, Proof, Watch
from zclab.truth import Truth

DRAWS = 10_000  # changes of the Parquet file
SEALED_BLOCKS = 20  # of each point, in two sittings
OPEN_BLOCKS = 2

NOTES = (
    "Each change puts another value, drawn at random, in the place of one byte; the "
    "run is then verified (or loaded, while it has a journal), and the byte put back. "
    "Found: the run is refused, by the name of the file that was changed.",
    "In a journal the line must be named; a change that leaves the last line without "
    "its end looks like a kill, and must be warned of.",
)


def run(*, draws: int = DRAWS, every: int = 1, seed: int = 5) -> Proof:
    """Return how many single-byte changes to a run are found, file by file.

    All bytes are tried, but for the Parquet file, of which random ones are.

    Args:
        draws: changes of the Parquet file.
        every: try one byte of so many only, for a quick look.
        seed: same seed, same changes.

    """
    watch, draw = Watch(), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="zclab-seal-") as parent:
        sealed = _sealed(Folder(parent))
        findings = [
            _sealed_file(sealed, path, draws, every, draw)
            for path in sorted(sealed.iterdir())
        ]
        store.verify(sealed)  # all bytes were put back: it was they that were found
        findings += _journal(_open(Folder(parent)), every, draw)
    return Proof(
        part="seal",
        command="zclab prove seal",
        findings=tuple(findings),
        kernel=MODEL,
        seconds=watch.seconds,
        notes=NOTES,
    )


def _plan(blocks: int) -> Plan:
    points = grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=(1200, 8000),
        modes=("send", "send_zc"),
        batch=8,
    )
    return Plan(profile="seal", points=points, seed=3, blocks=blocks, synthetic=Truth())


def _blocks(plan: Plan) -> list[list[dict[str, object]]]:
    lab = synthetic.Lab(plan, Path.SINK)
    return [
        lab.block(point, plan.order(point, number), number, plan.slice_ns)
        for number in range(plan.blocks)
        for point in plan.points
    ]


def _sealed(parent: Folder) -> Folder:
    """Return a sealed run of two sittings, so that it has every kind of file."""
    plan, host = _plan(SEALED_BLOCKS), synthetic.host()
    blocks = _blocks(plan)
    half = len(blocks) // 2
    with store.Journal.create(plan, host, alias=host["alias"], out=parent) as journal:
        for block in blocks[:half]:
            journal.append(block)
    with store.Journal.reopen(journal.folder, host) as journal:
        for block in blocks[half:]:
            journal.append(block)
        journal.host_after = host
    return journal.folder


def _open(parent: Folder) -> Folder:
    """Return a run with a journal, as a kill leaves it."""
    plan, host = _plan(OPEN_BLOCKS), synthetic.host()
    journal = store.Journal.create(plan, host, alias=host["alias"], out=parent)
    for block in _blocks(plan):
        journal.append(block)
    return journal.folder


def _sealed_file(
    folder: Folder, path: Folder, draws: int, every: int, draw: random.Random
) -> Finding:
    size = path.stat().st_size
    is_drawn = path.name == store.SAMPLES
    offsets: Iterable[int] = (
        (draw.randrange(size) for _ in range(draws))
        if is_drawn
        else range(0, size, every)
    )
    tried = found = 0
    for _ in changes(path, offsets, draw):
        tried += 1
        found += _is_refused(folder, path.name)
    which = "random" if is_drawn else "all" if every == 1 else f"each {every}th of the"
    return _finding(f"{path.name}, {which} bytes", found, tried)


def _is_refused(folder: Folder, name: str) -> bool:
    """Return whether a sealed run is refused by the name of a file of it."""
    named = store.MANIFEST if name == store.MANIFEST_SUM else name
    try:
        store.verify(folder)
    except DataError as error:
        return named in str(error)
    return False


def _journal(folder: Folder, every: int, draw: random.Random) -> list[Finding]:
    path = folder / store.JOURNAL
    whole = path.read_bytes()
    tried = named = torn = 0
    for offset in changes(path, range(0, len(whole), every), draw):
        tried += 1
        line = 1 + whole.count(b"\n", 0, offset)
        try:
            run = store.load(folder)
        except DataError as error:
            named += bool(re.search(rf"{store.JOURNAL}:{line}\b", str(error)))
        else:
            torn += any("torn" in text for text in run.warnings)
    told = f"{named:,} by the line, {torn} as a torn end"
    which = "all" if every == 1 else f"each {every}th of the"
    return [_finding(f"{path.name}, {which} bytes ({told})", named + torn, tried)]


def changes(path: Folder, offsets: Iterable[int], draw: random.Random) -> Iterator[int]:
    """Yield offsets of a file while another byte is there; put each back after.

    Args:
        path: the file; it is made writable.
        offsets: which bytes to change.
        draw: what the other values are drawn from.

    """
    path.chmod(0o644)
    descriptor = os.open(path, os.O_RDWR)
    try:
        for offset in offsets:
            was = os.pread(descriptor, 1, offset)
            os.pwrite(descriptor, bytes([was[0] ^ draw.randrange(1, 256)]), offset)
            try:
                yield offset
            finally:
                os.pwrite(descriptor, was, offset)
    finally:
        os.close(descriptor)


def _finding(claim: str, found: int, tried: int) -> Finding:
    return Finding(
        claim=f"changes found in {claim}",
        wanted="all",
        figure=f"{found:,}",
        n=f"{tried:,} changes",
        holds=found == tried,
    )
