"""The lines of a journal: one finished block each, bound to all before it by a sum.

A line is `{"sum":"<16 hex>","samples":[...]}`. The sum is of the sum before and of
the bytes of the samples; the first follows from the bytes of plan.json. So a line
that was changed, left out or moved is found where it is. Lines of formats 1 and 2 are
the samples alone; they are read as well, and nothing binds them.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from zclab import schema
from zclab.errors import DataError
from zclab.store.files import JOURNAL, PLAN

Block = list[dict[str, Any]]

SUM_DIGITS = 16
_HEAD, _NECK, _TAIL = b'{"sum":"', b'","samples":', b"}"
_SUM = slice(len(_HEAD), len(_HEAD) + SUM_DIGITS)
_SAMPLES = slice(_SUM.stop + len(_NECK), -len(_TAIL))


def first_sum(plan: bytes) -> str:
    """Return the sum before the first line, from the bytes of plan.json."""
    return hashlib.sha256(plan).hexdigest()[:SUM_DIGITS]


def next_sum(before: str, samples: bytes) -> str:
    """Return the sum of a line, from the sum before and the bytes of its samples."""
    return hashlib.sha256(before.encode() + samples).hexdigest()[:SUM_DIGITS]


def line(before: str, block: Sequence[dict[str, Any]]) -> tuple[bytes, str]:
    """Return the line of a block, its newline included, and its sum."""
    samples = json.dumps(block, separators=(",", ":")).encode()
    found = next_sum(before, samples)
    return _HEAD + found.encode() + _NECK + samples + _TAIL + b"\n", found


def key(block: Sequence[dict[str, Any]]) -> tuple[str, int]:
    """Return point and number of a block.

    Raises:
        DataError: its samples are not of one block, one for each arm.

    """
    keys = {(sample["point"], sample["block"]) for sample in block}
    arms = {sample["arm"] for sample in block}
    if len(keys) != 1 or len(arms) != len(block):
        raise DataError("its samples are not one block, one for each arm")
    return keys.pop()


class Lines:
    """The finished blocks of a journal, read one after the other.

    Attributes:
        count: blocks that were read.
        end: bytes of the file that hold them.
        sum: sum of the last of them.
        keys: point and number of each of them.
        torn: whether something after them was not written to its end.

    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        self.count = 0
        self.end = 0
        self.sum = first_sum((folder / PLAN).read_bytes())
        self.keys: set[tuple[str, int]] = set()
        self.torn = False
        self._is_bound = False

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks.

        Raises:
            DataError: a line is damaged that is not the torn last one, or has a block
                that was there already, or there is no journal.

        """
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            raise DataError(
                f"{self.path} is missing and the run is not sealed"
            ) from None
        with file:
            for raw in file:
                # A power cut leaves zeros where data did not reach the disk.
                if not raw.endswith(b"\n") or (
                    b"\0" in raw and not file.read().strip(b"\0\n")
                ):
                    self.torn = True
                    return
                try:
                    block = self._block(raw[:-1])
                except (ValueError, TypeError, LookupError, DataError) as error:
                    raise DataError(
                        f"{self.path}:{self.count + 1} is damaged: {error}; get the "
                        "run again from where it was taken, or take a new one"
                    ) from None
                self.count += 1
                self.end += len(raw)
                yield block

    def _block(self, raw: bytes) -> Block:
        """Return the block of a line, after checking that it belongs here."""
        if raw.startswith(b"[") and not self._is_bound:
            samples = raw
            self.sum = next_sum(self.sum, samples)
        else:
            samples = raw[_SAMPLES]
            found = next_sum(self.sum, samples)
            if raw != _HEAD + found.encode() + _NECK + samples + _TAIL:
                raise DataError("its sum does not follow from the lines before it")
            self.sum, self._is_bound = found, True
        block: Block = json.loads(samples)
        for sample in block:
            schema.check_sample(sample, version=schema.READABLE[0])
        mine = key(block)
        if mine in self.keys:
            raise DataError(f"block {mine[1]} of {mine[0]} is there already")
        self.keys.add(mine)
        return block
