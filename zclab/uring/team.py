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

_Made = tuple[Sender, Callable[[], None]]

HEAD_START_NS = 1_000_000  # for all threads to be there before the first send


class Team:
    """Runs each sender in a thread of its own.

    A ring belongs to the thread that made it, so the senders are made there too.

    Args:
        makers: one per thread; called in it, returns its sender and what closes it.

    Raises:
        ZclabError: whatever a maker raises; the others are closed again.

    """

    def __init__(self, makers: Sequence[Callable[[], _Made]]) -> None:
        # Each thread with what was made in it, so that no other one closes it.
        self._members: list[tuple[ThreadPoolExecutor, Future[_Made]]] = []
        try:
            for maker in makers:
                thread = ThreadPoolExecutor(1)
                self._members.append((thread, thread.submit(maker)))
            errors = [e for _, made in self._members if (e := made.exception())]
            if errors:
                raise errors[0]
        except BaseException:
            self.close()
            raise
        self.what = self._members[0][1].result()[0].what

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
            thread.submit(
                made.result()[0].slice,
                warmup_ns=warmup_ns,
                budget_ns=budget_ns,
                start_at_ns=start,
                stop=stop,
                requests_max=requests_max,
            )
            for thread, made in self._members
        ]
        return total([_result(future, interrupted) for future in futures])

    def first(self, sender: Sender, **span: Any) -> Counts:
        """Have a sender on the first thread's ring send in that thread, alone.

        The arguments, the result and the errors are those of `Sender.slice`.
        """
        thread, _ = self._members[0]
        return thread.submit(sender.slice, **span).result()

    def close(self) -> None:
        """Close every sender's ring in its thread, and end the threads."""
        for thread, made in self._members:
            if not made.exception():
                _, close = made.result()
                thread.submit(close).result()
            thread.shutdown()
        self._members = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _result(future: "Future[Counts]", interrupted: Callable[[], None] | None) -> Counts:
    """Return the counts; Ctrl-C is passed on to the senders, whose counts then say so.

    It is raised where it cannot be passed on, or where no counts come of it.
    """
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
