"""A proof: what a part of `zclab prove` found, as it is kept, shown and compared."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from scipy import stats as scipy_stats

from zclab import checkout, stats, store
from zclab.errors import DataError

FORMAT = 1
MODEL = "synthetic"  # what a simulation names instead of a kernel
FAILS = "FAILS"  # of a finding that does not hold


@dataclass(frozen=True, slots=True)
class Share:
    """A share of independent trials, with its exact interval.

    Attributes:
        hits: trials that did.
        n: all trials.

    Source: Clopper and Pearson, Biometrika 26 (1934), 404-413; scipy.stats.binomtest.

    """

    hits: int
    n: int

    @property
    def percent(self) -> float:
        """The share in percent."""
        return 100 * self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds of its interval in percent."""
        test = scipy_stats.binomtest(self.hits, self.n)
        low, high = test.proportion_ci(stats.CONFIDENCE, method="exact")
        return 100 * float(low), 100 * float(high)

    @property
    def figure(self) -> str:
        """The share as a table shows it."""
        return f"{self.percent:.1f} %"

    @property
    def spread(self) -> str:
        """Its interval as a table shows it."""
        low, high = self.interval
        return f"[{low:.1f}, {high:.1f}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of a proof.

    Attributes:
        claim: what is claimed, in words.
        wanted: the bound it is held against; empty where it is only told.
        figure: what was found, with its unit.
        interval: of the figure; empty where it has none.
        n: of what, as `10,000 points`.
        holds: whether the figure is as wanted; None where nothing is wanted of it.

    """

    claim: str
    figure: str
    n: str
    wanted: str = ""
    interval: str = ""
    holds: bool | None = None

    @property
    def verdict(self) -> str:
        """Whether it holds, in a word."""
        return {True: "holds", False: FAILS, None: ""}[self.holds]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What one part found.

    Attributes:
        part: its name.
        command: what to type to do it again.
        findings: its lines.
        kernel: release that it ran on; `synthetic` for a simulation.
        notes: what a reader must know to judge it.
        taken_at: UTC.
        seconds: how long it took.
        code: version, commit and whether that was changed (`checkout.code`).

    """

    part: str
    command: str
    findings: tuple[Finding, ...]
    kernel: str
    seconds: float
    notes: tuple[str, ...] = ()
    taken_at: str = field(
        default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    code: Mapping[str, Any] = field(default_factory=checkout.code)

    @property
    def holds(self) -> bool:
        """Whether nothing of it fails."""
        return all(finding.holds is not False for finding in self.findings)

    def lines(self) -> Iterator[str]:
        """Yield the proof as a terminal shows it."""
        yield f"{self.part}, {self.kernel}, {self.seconds:.0f} s"
        for one in self.findings:
            wanted = f" (wanted: {one.wanted})" if one.wanted else ""
            found = " ".join(filter(None, (one.figure, one.interval)))
            verdict = f" {one.verdict}" if one.verdict else ""
            yield f"  {one.claim}: {found}, {one.n}{wanted}{verdict}"
        for note in self.notes:
            yield f"  {note}"

    def to_json(self) -> dict[str, Any]:
        """Return the proof as plain JSON values."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the proof that `to_json` wrote.

        Raises:
            DataError: it is none, or of another format.

        """
        found = dict(values)
        try:
            if found.pop("format") != FORMAT:
                raise ValueError("another format")
            found["findings"] = tuple(Finding(**one) for one in found["findings"])
            found["notes"] = tuple(found["notes"])
            return cls(**found)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"this is no proof of format {FORMAT} ({error!r}); run it again"
            ) from None


class Watch:
    """Counts the seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._start


def folder() -> Path:
    """Return the folder of the newest proof of each part."""
    return store.home() / "build" / "prove"


def write(proof: Proof) -> Path:
    """Keep a proof in place of the last one of its part; return the file."""
    folder().mkdir(parents=True, exist_ok=True)
    path = folder() / f"{proof.part}.json"
    store.write_json(path, proof.to_json())
    return path


def read(part: str) -> Proof | None:
    """Return the newest proof of a part, None where there is none.

    Raises:
        DataError: its file is damaged, or of another format.

    """
    path = folder() / f"{part}.json"
    return Proof.from_json(store.read_json(path)) if path.is_file() else None
