"""A truth to plant: what a synthetic sender costs, and what troubles its clock.

Real measurements never tell whether an interval covers the truth, since nobody knows
the truth. Here it is chosen, written into the plan, and hashed with it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, TypeVar

from zclab import situation
from zclab.errors import InputError

NOISE_SLICE_NS = 10_000_000  # the slice length that `noise` is given for
BASELINE = "send"  # the arm that gains are over; params.BASELINE says the same

V = TypeVar("V")

Shares = tuple[tuple[str, float | None], ...]
Gains = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The costs of a synthetic sender and its troubles; a mapping given is frozen.

    Attributes:
        base_ns: ns per request of the baseline, before its bytes.
        byte_ns: ns per byte on top.
        overhead_ns: machine time of a slice besides warm-up and timed part.
        gains: gain over `send` in percent of requests/s, by arm. A name may be an arm
            (`send_zc`), a path and an arm (`veth/send_zc`), a path in a situation
            and an arm (`veth+mtu=1500/send_zc`) or a point and an arm; the
            more specific one counts. An arm with options that no name spells out has
            the gain of its mode. All others have 0.
        copied: share of the notifications that say copied, by path (`veth`), in a
            situation or not, or path and arm; None: this kernel does not say. All
            others have 0.
        noise: standard deviation of the log cost of a 10 ms slice. It shrinks with the
            root of the slice's length, but not below `noise_floor`.
        noise_floor: likewise; what longer slices do not average away.
        shared: standard deviation of what all arms of a block have in common (log).
        placement: standard deviation of what an arm's log cost gains or loses by where
            its sockets and buffers happen to lie, until the next placement.
        drift: growth of the log cost over 1000 blocks.
        wave: amplitude of a slow sine in the log cost.
        wave_blocks: period of that sine.
        autocorrelation: of the noise of one sample with the next in time, AR(1).
        burst_rate: chance that a burst begins with a sample.
        burst_factor: by what the cost of a sample inside a burst is multiplied.
        burst_samples: mean length of a burst; lengths are geometric.

    """

    base_ns: float = 1500.0
    byte_ns: float = 0.06
    overhead_ns: float = 100_000.0
    gains: Gains = ()
    copied: Shares = (("lo", 1.0), ("veth", 1.0))
    noise: float = 0.025
    noise_floor: float = 0.002
    shared: float = 0.15
    placement: float = 0.0
    drift: float = 0.0
    wave: float = 0.0
    wave_blocks: float = 200.0
    autocorrelation: float = 0.0
    burst_rate: float = 0.0
    burst_factor: float = 1.5
    burst_samples: float = 3.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "gains", _pairs("gains", self.gains, _gain))
        object.__setattr__(self, "copied", _pairs("copied", self.copied, _share))
        for name, (low, high) in _RANGES.items():
            object.__setattr__(
                self, name, _number(name, getattr(self, name), low, high)
            )
        for name, gain in self.gains:
            if name.rpartition("/")[2] == BASELINE and gain:
                raise InputError(
                    f"truth: gains[{name}] is a gain of {BASELINE} over itself; "
                    "change base_ns instead"
                )

    def gain_percent(self, arm: str, *, path: str = "", point: str = "") -> float:
        """Return the true gain of an arm over the baseline, percent of requests/s."""
        return _look_up(dict(self.gains), arm, path, point, 0.0)

    def copied_share(self, arm: str, *, path: str) -> float | None:
        """Return the share of an arm's notifications that say copied; None: unknown."""
        known = dict(self.copied)
        plain = known.get(situation.path_of(path), 0.0)
        return _look_up(known, arm, path, "", known.get(path, plain))

    def cost_ns(
        self, arm: str, io_size_bytes: int, *, path: str = "", point: str = ""
    ) -> float:
        """Return the true ns per request of an arm in an undisturbed moment."""
        baseline = self.base_ns + self.byte_ns * io_size_bytes
        return baseline / (1 + self.gain_percent(arm, path=path, point=point) / 100)

    def noise_of(self, slice_ns: float) -> float:
        """Return the standard deviation of the log cost of a slice of that length."""
        white = self.noise * math.sqrt(NOISE_SLICE_NS / slice_ns)
        return max(white, min(self.noise_floor, self.noise))

    def to_json(self) -> dict[str, Any]:
        """Return the truth as plain JSON values, all of them: a plan hides nothing."""
        values = asdict(self)
        return {**values, **{name: dict(values[name]) for name in _NAMED}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the truth that `to_json` wrote, or that a plan's file gives.

        Raises:
            InputError: a name is unknown, or a value is of the wrong kind or range.

        """
        if not isinstance(values, Mapping):
            raise InputError(f"truth: {values!r} is not a mapping of names to values")
        known = [field.name for field in fields(cls)]
        unknown = [str(name) for name in values if name not in known]
        if unknown:
            raise InputError(f"truth: {unknown[0]} is unknown; use: {', '.join(known)}")
        return cls(**values)


_NAMED = ("gains", "copied")

_RANGES: dict[str, tuple[float, float]] = {
    "base_ns": (1.0, 1e9),
    "byte_ns": (0.0, 1e3),
    "overhead_ns": (0.0, 1e10),
    "noise": (0.0, 2.0),
    "noise_floor": (0.0, 2.0),
    "shared": (0.0, 2.0),
    "placement": (0.0, 1.0),
    "drift": (-5.0, 5.0),
    "wave": (0.0, 2.0),
    "wave_blocks": (2.0, 1e9),
    "autocorrelation": (-0.99, 0.99),
    "burst_rate": (0.0, 1.0),
    "burst_factor": (0.01, 1000.0),
    "burst_samples": (1.0, 1e6),
}


def _number(name: str, value: Any, low: float, high: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise InputError(
            f"truth: {name} is {value!r}; use a number from {low:g} to {high:g}"
        )
    return float(value)  # 5 and 5.0 are one truth, and have one hash


def _gain(name: str, value: Any) -> float:
    return _number(name, value, -99.0, 10_000.0)


def _share(name: str, value: Any) -> float | None:
    return None if value is None else _number(name, value, 0.0, 1.0)


def _pairs(
    name: str, given: Any, read: Callable[[str, Any], V]
) -> tuple[tuple[str, V], ...]:
    """Return a mapping, or pairs, as sorted pairs: hashable, one spelling each."""
    try:
        items = given.items() if isinstance(given, Mapping) else given
        found = {str(key): value for key, value in items}
    except (TypeError, ValueError):
        raise InputError(
            f"truth: {name} is {given!r}, not a mapping of names to numbers"
        ) from None
    return tuple((key, read(f"{name}[{key}]", found[key])) for key in sorted(found))


def _look_up(known: Mapping[str, V], arm: str, path: str, point: str, missing: V) -> V:
    """Return the value of the most specific name of an arm that is known."""
    for spelt in (arm, arm.partition(":")[0]):
        for place in (f"{point}/", f"{path}/", f"{situation.path_of(path)}/", ""):
            if place != "/" and place + spelt in known:
                return known[place + spelt]
    return missing
