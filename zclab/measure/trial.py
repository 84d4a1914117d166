"""A trial of the answered sink, in a process and namespaces of its own.

- accounts: many connections send much; each byte must be seen and acknowledged, and
  what is withheld must be sent again.
- toll: UDP with the log's rule and without it, in turn, on the same sockets.

One JSON object comes on stdin and one leaves on stdout, as with the worker.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from zclab import errors
from zclab.errors import MeasureError
from zclab.measure import host, memlock, namespace
from zclab.measure.path import log
from zclab.measure.station import Station
from zclab.options import parse
from zclab.params import Path, Plan, Protocol, grid
from zclab.situation import ANSWERED
from zclab.uring.responder import Reply

SLICE_NS = 20_000_000
DEADLINE_S = 900.0
RULES = ("on", "off", "off again")


def accounts(
    *,
    connections: int,
    total_bytes: int,
    family: int,
    io_size_bytes: int,
    reply: Mapping[str, Any],
    log_buffer_bytes: int = 0,
) -> dict[str, Any]:
    """Send on many connections at once; return what each side counted.

    Args:
        connections: of each of three arms.
        total_bytes: sent in all, or a little more.
        family: IP version.
        io_size_bytes: of one request.
        reply: fields of `Reply` that are not as usual.
        log_buffer_bytes: so small a buffer has the log's socket; 0: as usual.

    Raises:
        MeasureError: the two sides disagree about a byte.

    """
    points = grid(
        path=Path.SINK,
        protocol=Protocol.TCP,
        family=family,
        sizes=[io_size_bytes],
        modes=("send", "send_zc", "send_zc_fixed"),
        batch=1,
        given=parse(f"flows={connections}"),
    )
    plan = Plan(profile="accounts", points=points, seed=1)
    (point,) = points
    station = Station(plan, point.place, _cpus(), reply=Reply(**reply))
    assert station.responder
    if log_buffer_bytes:
        assert station.route.answers
        station.route.answers.shrink(log_buffer_bytes)
    found = dict.fromkeys(("sent", "seen", "retransmits", "timeouts"), 0)
    block = 0
    try:
        while found["sent"] < total_bytes:
            order = plan.order(point, block)
            for sample in station.block(point, order, block, SLICE_NS):
                found["sent"] += sample["sent_total_bytes"]
                found["seen"] += sample["received_bytes"]
                found["retransmits"] += sample["tcp_retransmits"]
                found["timeouts"] += sample["tcp_timeouts"]
            block += 1
        told = sum(
            flow.acknowledged_bytes()
            for arm in station.arms[point.name].values()
            for flow in arm.flows
        )
        replies = station.responder.replies()
        return {**found, "acknowledged": told, "replies": asdict(replies)}
    finally:
        station.close()


def toll(*, sizes: list[int], arms: list[str], blocks: int, seed: int) -> list[Any]:
    """Return (size, arm, rule, block, ns per request) of UDP, the rule on and off."""
    points = grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=sizes,
        modes=tuple(arms),
        batch=8,
        situation=ANSWERED,
    )
    plan = Plan(profile="toll", points=points, seed=seed)
    station = Station(plan, points[0].place, _cpus())
    log.remove_rule({4})
    draw = random.Random(seed)
    found = []
    try:
        for block in range(-1, blocks):  # the first one warms up
            for point in points:
                arm_order = [arm for arm in plan.order(point, block + 1) if arm in arms]
                for arm in arm_order:
                    for rule in draw.sample(RULES, len(RULES)):
                        if rule == "on":
                            log.add_rule({4})
                        (sample,) = station.block(point, [arm], block, SLICE_NS // 2)
                        if rule == "on":
                            log.remove_rule({4})
                        ns = sample["elapsed_ns"] / sample["requests"]
                        found.append((point.io_size_bytes, arm, rule, block, ns))
        return [one for one in found if one[3] >= 0]
    finally:
        station.close()


def _cpus() -> tuple[int, int]:
    return host.cpus()


_TRIALS: Mapping[str, Callable[..., Any]] = {"accounts": accounts, "toll": toll}


def take(what: str, **given: Any) -> Any:
    """Make a trial in a process of its own; return what it found.

    Args:
        what: accounts or toll.
        given: the arguments of the function of that name.

    Raises:
        CapabilityError: the answered sink cannot be had here.
        MeasureError: the trial failed.

    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "zclab.measure.trial"],
        input=json.dumps({"what": what, "parent": os.getpid(), **given}),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    try:
        values = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise MeasureError(f"the trial {what} failed: {last}") from None
    if "error" in values:
        kind: type[Exception] = getattr(errors, values["kind"])
        raise kind(values["error"])
    return values["found"]


def main() -> None:
    """Make the trial that stdin asks for."""
    request = json.load(sys.stdin)
    namespace.die_with_parent(request.pop("parent"))
    memlock.use_hard_limit()
    try:
        namespace.enter()
        answer = {"found": _TRIALS[request.pop("what")](**request)}
    except (errors.CapabilityError, MeasureError) as error:
        kind = "MeasureError" if isinstance(error, MeasureError) else "CapabilityError"
        answer = {"error": str(error), "kind": kind}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
