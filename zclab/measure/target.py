"""The target of the nic path: a device of the host, and a destination behind it."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from zclab.errors import InputError

PORT = 8000  # the tools' default
SECONDS = 600.0
RATE_MBIT_LEAST = 1.0
VARIABLE = "ZCLAB_TARGET"  # how a notebook that is executed is given one


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
    token: str = field(default="", repr=False)
    rate_mbit: float = 0.0
    seconds: float = SECONDS

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        if not 1 <= self.port <= 65535:
            raise InputError(f"--port {self.port} is out of range; use 1 to 65535")
        if self.rate_mbit and not RATE_MBIT_LEAST <= self.rate_mbit < float("inf"):
            raise InputError(
                f"--rate {self.rate_mbit:g} is out of range; use {RATE_MBIT_LEAST:g} "
                "Mbit/s or more, or leave it out"
            )
        if not 0 < self.seconds < float("inf"):
            raise InputError(
                f"--seconds {self.seconds:g} is out of range; use more than 0"
            )

    def unnamed(self, text: str) -> str:
        """Return a text with stand-ins for what says where this sends, to be stored."""
        plain = self.destination.partition("%")[0]
        host = self.peer.rpartition(":")[0].strip("[]")
        for name, stand_in in (
            (self.peer, "HOST:PORT"),
            (host, "HOST"),
            (self.destination, "ADDRESS"),
            (plain, "ADDRESS"),
            (self.device, "DEVICE"),
        ):
            if name:
                alone = rf"(?<![\w.:-]){re.escape(name)}(?![\w-])"
                text = re.sub(alone, stand_in, text)
        return text

    def to_json(self) -> dict[str, Any]:
        """Return the target as plain JSON values, for the worker alone."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any] | None) -> Self | None:
        """Return the target that `to_json` gave; None for None."""
        return None if values is None else cls(**values)

    @contextmanager
    def handed(self) -> Iterator[None]:
        """Have `handed_on` return it in processes that are started meanwhile.

        By the environment, so that neither addresses nor token are in a notebook.
        """
        os.environ[VARIABLE] = json.dumps(self.to_json())
        try:
            yield
        finally:
            del os.environ[VARIABLE]


def handed_on() -> Target | None:
    """Return the target that this process was started with; None for none."""
    text = os.environ.get(VARIABLE)
    return Target.from_json(json.loads(text)) if text else None
