"""A throttle: keeps what is sent over a network card below what its owner allows.

The rate is kept by pauses between blocks. Within a block slices run at full speed, as
everywhere: a queueing discipline that paces each packet (SO_MAX_PACING_RATE with fq)
would make a request cost what the rate allows, and no longer what it costs. Each slice
warms up before its clock starts, so it does not see the pause before it.
"""

import time
from typing import Any, Self

from zclab.errors import MeasureError
from zclab.measure.site import Site
from zclab.measure.target import Target
from zclab.params import Point

BITS_PER_MBIT = 1_000_000


class Throttled:
    """A site that pauses after a block, and ends when its seconds are spent.

    Args:
        site: what sends.
        target: its caps.
        warmup_ns: of each slice, as it is sent as well.

    """

    def __init__(self, site: Site, target: Target, warmup_ns: int) -> None:
        self._site = site
        self._target = target
        self._warmup_ns = warmup_ns
        self._free_at = 0.0
        self.sent_s = 0.0
        self.sent_bytes = 0

    def block(
        self,
        point: Point,
        order: list[str],
        number: int,
        slice_ns: int,
        deadline_s: float,
    ) -> list[dict[str, Any]]:
        """Return the samples of one block, after the pause that it calls for.

        Raises:
            MeasureError: the seconds of sending are spent.

        """
        self._check(len(order) * (slice_ns + self._warmup_ns) / 1e9)
        start = self._site.clock()
        samples = self._site.block(point, order, number, slice_ns, deadline_s)
        self.sent_s += sum(
            (sample["elapsed_ns"] + self._warmup_ns) / 1e9 for sample in samples
        )
        self._pause(start, sum(_sent_bytes(sample) for sample in samples))
        return samples

    def _check(self, block_s: float) -> None:
        if self.sent_s + block_s > self._target.seconds:
            raise MeasureError(
                f"{self.sent_s:.0f} s were sent over {self._target.device}, and "
                f"--seconds {self._target.seconds:g} allows no other block; report "
                "what is there, or go on with more: --resume, --seconds"
            )

    def _pause(self, start: float, sent_bytes: int) -> None:
        """Wait until what was sent since `start` is no more than the rate allows."""
        self.sent_bytes += sent_bytes
        if not self._target.rate_mbit:
            return
        takes_s = sent_bytes * 8 / (self._target.rate_mbit * BITS_PER_MBIT)
        self._free_at = max(self._free_at, start) + takes_s
        time.sleep(max(0.0, self._free_at - self._site.clock()))

    def ready(self) -> dict[str, Any]:
        """Wait until the path is up; return its facts."""
        return self._site.ready()

    def look(self) -> dict[str, Any]:
        """Return the facts of the path as they are now."""
        return self._site.look()

    def renew(self) -> None:
        """Start anew whatever sends."""
        self._site.renew()

    def clock(self) -> float:
        """Return the machine time in seconds, from any beginning."""
        return self._site.clock()

    def __enter__(self) -> Self:
        """Start what sends."""
        self._site.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, /, *rest: object) -> None:
        """End what sends."""
        self._site.__exit__(kind, *rest)


def _sent_bytes(sample: dict[str, Any]) -> int:
    """Return what left the device, headers and all; else the payload."""
    counted = sample.get("device_tx_bytes")
    return int(max(counted or 0, sample["sent_total_bytes"]))
