"""Findings: what was seen, what it does to a measurement, and the cure."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

NOTHING = "nothing to do here"


class Level(StrEnum):
    """How much a finding weighs; the order is that of the output."""

    LIES = "lies"  # what is measured would not be what it is called, or nothing is
    NOISY = "noisy"  # numbers scatter, or are slower than the machine
    UNKNOWN = "unknown"  # could not be read; never taken for fine
    FYI = "fyi"  # changes numbers alike for all arms, or is worth knowing
    FINE = "fine"


@dataclass(frozen=True, slots=True)
class Change:
    """One file of the kernel, and the value that `zclab doctor --apply` gives it."""

    path: str
    value: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at one thing gave; what is empty is taken from the check."""

    level: Level
    seen: str
    read: tuple[str, ...]
    cure: str = NOTHING
    effect: str = ""
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        id: the check's name, which does not change.
        level: how much it weighs.
        seen: the value that was found.
        read: where it was read: files, or the call that was made.
        effect: what that does to a measurement.
        source: where the kernel, or its documentation, says so.
        cure: the command to type, or that there is nothing to do here.
        changes: what --apply would write for it.

    """

    id: str
    level: Level
    seen: str
    read: tuple[str, ...]
    effect: str
    source: str
    cure: str
    changes: tuple[Change, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, under the names that docs/doctor.md lists."""
        return {
            "id": self.id,
            "level": str(self.level),
            "seen": self.seen,
            "read": list(self.read),
            "effect": self.effect,
            "source": self.source,
            "cure": self.cure,
            "applies": [
                {"path": change.path, "value": change.value} for change in self.changes
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that is looked at.

    Attributes:
        id: its name; stable, scripts may use it.
        asks: what is looked at, as docs/doctor.md says it.
        effect: what a bad value does to a measurement.
        source: where that is documented, or in which function it happens.
        look: returns what was seen of a patient.
        of_device: it is about the device named with --dev, and left out without one.

    """

    id: str
    asks: str
    effect: str
    source: str
    look: Callable[[Any], Seen]
    of_device: bool = False
