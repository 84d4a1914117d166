"""A team: senders that each have a thread and a ring of their own, and send at once."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Self

from zclab.errors import MeasureError
from zclab.uring.ring import Counts
from zclab.uring.sender import Sender

HEAD_START_NS = 1_000_000  # for all threads to be there before the first send


class Team:
    """Runs each sender in a thread of its own.

    A ring belongs to the thread that made it, so the senders are made there too.

    Args:
        makers: one per thread; called in it, returns its sender and what closes it.

    Raises:
        ZclabError: whatever a maker raises; the others are closed again.

    """

    def __init__(
        self, makers: Sequence[Callable[[], tuple[Sender, Callable[[], None]]]]
    ) -> None:
        self._pools = [ThreadPoolExecutor(1) for _ in makers]
        self._members: list[tuple[Sender, Callable[[], None]]] = []
        try:
            futures = [
                pool.submit(maker)
                for pool, maker in zip(self._pools, makers, strict=True)
            ]
            errors = [error for f in futures if (error := f.exception())]
            self._members = [f.result() for f in futures if not f.exception()]
            if errors:
                raise errors[0]
        except BaseException:
            self.close()
            raise
        self.what = self._members[0][0].what

    def slice(
        self,
        *,
        warmup_ns: int,
        budget_ns: int,
        stop: Any = None,
        requests_max: int = 0,
        interrupted: Callable[[], None] | None = None,
    ) -> Counts:
        """Have all send at once, from one moment on; return the sum of the counters.

        `elapsed_ns` and `drain_ns` are the longest of all, `started_ns` the first.

        Args:
            warmup_ns: untimed sends before the clock starts.
            budget_ns: length of the timed part.
            stop: a `stop_word`, which ends all.
            requests_max: timed requests of each from which on it ends; 0: no bound.
            interrupted: called on Ctrl-C, before the threads are awaited.

        Raises:
            SendError: a request of one failed.
            MeasureError: counts that must agree do not.

        """
        start = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        if len(self._members) > 1:
            start += HEAD_START_NS
        futures = [
            pool.submit(
                sender.slice,
                warmup_ns=warmup_ns,
                budget_ns=budget_ns,
                start_at_ns=start,
                stop=stop,
                requests_max=requests_max,
            )
            for pool, (sender, _) in zip(self._pools, self._members, strict=True)
        ]
        return total([_result(future, interrupted) for future in futures])

    def close(self) -> None:
        """Close every sender's ring in its thread, and end the threads."""
        for pool, (_, close) in zip(self._pools, self._members, strict=False):
            pool.submit(close).result()
        self._members = []
        for pool in self._pools:
            pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _result(future: "Future[Counts]", interrupted: Callable[[], None] | None) -> Counts:
    """Return the counts; Ctrl-C is passed on to the senders, and raised after them."""
    try:
        return future.result()
    except KeyboardInterrupt:
        if interrupted is None:
            raise
        interrupted()
        with suppress(MeasureError):
            return future.result()
        raise


_FIRST = ("started_ns",)
_LONGEST = ("elapsed_ns", "drain_ns", "stopped")


def total(parts: Sequence[Counts]) -> Counts:
    """Return the counters of senders that sent at the same time as those of one."""
    if len(parts) == 1:
        return parts[0]
    found: Counts = {}
    for name in parts[0]:
        values = [part[name] for part in parts]
        if name in _FIRST:
            found[name] = min(values)
        elif name in _LONGEST:
            found[name] = max(values)
        elif name == "errors":
            found[name] = dict(sum((Counter(value) for value in values), Counter()))
        elif name == "latency":
            found[name] = (
                None
                if values[0] is None
                else [sum(counts) for counts in zip(*values, strict=True)]
            )
        else:
            found[name] = sum(values)
    return found
