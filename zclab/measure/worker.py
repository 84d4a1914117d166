"""The process that owns one place and sends on it, one block per request.

It talks JSON lines: the plan of its place comes first on stdin, then one request
per block; each is answered by one line on stdout. When stdin ends or the parent
dies, it ends, and its namespaces with it.

What sends is a child of it, forked when all is loaded, and another one whenever a new
*placement* is asked for: where sockets, rings and buffers happen to lie in memory makes
some tenths of a percent between two equal processes, however long each is measured.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from zclab.errors import ZclabError
from zclab.measure import memlock, namespace
from zclab.measure.path import packet_taps
from zclab.measure.station import Station
from zclab.measure.target import Target
from zclab.params import Path, Plan
from zclab.uring.sender import area_bytes

AGAIN = 64  # exit status of a placement that makes room for the next


def _answer(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(values, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def _raise_memlock(plan: Plan) -> None:
    """Use all of the locked memory that the hard limit grants without privilege.

    Beyond it only for buffers that do not fit, and only where root starts us: a
    comparison should not depend on who runs it. Must come before the user namespace,
    in which nobody may raise a limit.
    """
    asked = ((p.io_size_bytes, p.options(arm)) for p in plan.points for arm in p.arms)
    largest = max(area_bytes(size, given, given.buffers) for size, given in asked)
    if 0 <= memlock.use_hard_limit() < 2 * largest:
        memlock.use_all()


def _enter(place: str) -> str:
    """Enter namespaces, where the place is to be in some; return why it is in none.

    Empty where it is in its own, and for a device of the host. Loopback sets nothing
    up, so where namespaces are refused it is the host's own.
    """
    if place == Path.NIC:
        return ""
    if place == Path.LO and (refused := namespace.refusal()):
        return refused
    namespace.enter()
    return ""


def _place(request: dict[str, Any]) -> bool:
    """Bring the path up and answer requests; return whether to do so once more.

    It is not when stdin ends.
    """
    plan = Plan.from_json(request["plan"])
    _raise_memlock(plan)
    host_taps = packet_taps()
    refused = _enter(request["place"])
    target = Target.from_json(request["target"])
    station = Station(plan, request["place"], tuple(request["cpus"]), target)
    points = {point.name: point for point in station.points}
    facts = station.facts | {
        "host_packet_taps": host_taps,
        "namespaces_refused": refused,
    }
    _answer({"ready": facts, "pid": os.getpid()})
    try:
        for line in sys.stdin:
            request = json.loads(line)
            if "renew" in request:
                return True
            if "look" in request:
                _answer({"look": station.look() | {"namespaces_refused": refused}})
                continue
            point = points[request["point"]]
            samples = station.block(
                point, request["order"], request["block"], request["slice_ns"]
            )
            _answer({"samples": samples})
    finally:
        station.close()
    return False


def serve() -> int:
    """Fork one placement after the other, until stdin ends; return the exit status."""
    # Ctrl-C reaches the whole foreground group; the sweep decides when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = json.loads(sys.stdin.readline())
    namespace.die_with_parent(request["parent"])
    while True:
        here = os.getpid()
        child = os.fork()
        if child == 0:
            namespace.die_with_parent(here)
            os._exit(_told(lambda: AGAIN if _place(request) else 0))
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code != AGAIN:
            return code if code >= 0 else 128 - code


def _told(do: Callable[[], int]) -> int:
    """Return what `do` does; an error becomes one line of JSON, and its status."""
    try:
        return do()
    except ZclabError as error:
        _answer({"error": str(error), "kind": _kind(error)})
        return error.exit_code
    except BrokenPipeError:
        return 1
    except OSError as error:
        what = error.filename or "a system call of the worker"
        _answer({"error": f"{what} failed: {error.strerror}", "kind": "MeasureError"})
        return 1
    except BaseException:  # what nobody foresaw: a child must not go on as its parent
        traceback.print_exc()
        return 1


def main() -> None:
    """Serve; an error becomes one line of JSON that says its kind and message."""
    sys.exit(_told(serve))


def _kind(error: ZclabError) -> str:
    """Return the name of the nearest class that needs no constructor of its own."""
    kinds = ("CapabilityError", "InputError", "MeasureError")
    names = [kind.__name__ for kind in type(error).__mro__]
    return next((kind for kind in kinds if kind in names), "MeasureError")


if __name__ == "__main__":
    main()
