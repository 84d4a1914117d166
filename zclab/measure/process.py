"""The process of one place, seen from the sweep: where real packets are sent."""

import json
import os
import selectors
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any, Self

from zclab import errors
from zclab.errors import MeasureError
from zclab.measure.target import Target
from zclab.params import Plan, Point

SETUP_DEADLINE_S = 60.0


class Worker:
    """Starts the process of one place, and asks it for blocks."""

    def __init__(
        self,
        plan: Plan,
        place: str,
        cpus: tuple[int, int],
        target: Target | None = None,
    ) -> None:
        self.place = place
        self._sender_pid = 0
        self._process = subprocess.Popen(
            # -P: the zclab of this process, not one of the current folder.
            [sys.executable, "-P", "-m", "zclab.measure.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._send(
            {
                "plan": plan.to_json(),
                "place": place,
                "target": target and target.to_json(),
                "cpus": cpus,
                "parent": os.getpid(),
            }
        )

    def ready(self) -> dict[str, Any]:
        """Wait until the path is up; return its facts.

        Raises:
            CapabilityError: the path cannot be had here.
            MeasureError: the worker failed.

        """
        answer = self._receive(SETUP_DEADLINE_S)
        self._sender_pid = answer["pid"]
        facts: dict[str, Any] = answer["ready"]
        return facts

    def look(self) -> dict[str, Any]:
        """Return the facts of the place as they are now.

        Raises:
            MeasureError: the worker failed.

        """
        self._send({"look": True})
        facts: dict[str, Any] = self._receive(SETUP_DEADLINE_S)["look"]
        return facts

    def sender_pid(self) -> int:
        """Return the process that sends, in whose namespaces the place is."""
        return self._sender_pid

    def block(
        self,
        point: Point,
        order: list[str],
        number: int,
        slice_ns: int,
        deadline_s: float,
    ) -> list[dict[str, Any]]:
        """Run one block of `point`; return its samples in the order measured."""
        self._send(
            {
                "point": point.name,
                "order": order,
                "block": number,
                "slice_ns": slice_ns,
            }
        )
        samples: list[dict[str, Any]] = self._receive(deadline_s)["samples"]
        return samples

    def renew(self) -> None:
        """End what sends and start it anew: other sockets, rings, buffers, memory."""
        self._send({"renew": True})
        self.ready()

    def clock(self) -> float:
        """Return the machine time in seconds, from any beginning."""
        return time.monotonic()

    def _send(self, values: dict[str, Any]) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # what it died of is read from its answer
            self._process.stdin.write(json.dumps(values) + "\n")
            self._process.stdin.flush()

    def _receive(self, deadline_s: float) -> dict[str, Any]:
        assert self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(deadline_s):
                raise MeasureError(
                    f"the worker of {self.place} gave no answer for "
                    f"{deadline_s:.0f} s; it was ended"
                )
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise MeasureError(f"the worker of {self.place} ended with status {status}")
        values: dict[str, Any] = json.loads(line)
        if "error" in values:
            kind: type[Exception] = getattr(errors, values["kind"])
            raise kind(values["error"])
        return values

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the process; at once if something went wrong."""
        with suppress(BrokenPipeError):
            if self._process.stdin:
                self._process.stdin.close()
        if kind is not None:
            self._process.kill()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        if kind is None and self._process.returncode:
            raise MeasureError(
                f"the worker of {self.place} ended with status "
                f"{self._process.returncode} after its last block"
            )
