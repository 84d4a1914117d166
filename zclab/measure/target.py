"""The target of the nic path: a device of the host, and a destination behind it."""

from dataclasses import asdict, dataclass
from typing import Any, Self

PORT = 8000
SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the nic path sends. It is no part of a plan: addresses are not stored.

    Attributes:
        device: name of the device.
        destination: address behind it.
        port: UDP port there, where no peer names its own.
        peer: HOST:PORT of `zclab peer`; empty for none.
        token: the peer's.
        rate_mbit: most megabits per second; 0 for no cap.
        seconds: most seconds of sending.

    """

    device: str
    destination: str
    port: int = PORT
    peer: str = ""
    token: str = ""
    rate_mbit: float = 0.0
    seconds: float = SECONDS

    def to_json(self) -> dict[str, Any]:
        """Return the target as plain JSON values, for the worker alone."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any] | None) -> Self | None:
        """Return the target that `to_json` gave; None for None."""
        return None if values is None else cls(**values)
