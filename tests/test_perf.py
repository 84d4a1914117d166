"""What perf is put beside: the slice of an arm that was sampled."""

from contextlib import nullcontext

import pytest

from zclab.errors import MeasureError
from zclab.measure import perf
from zclab.params import Path, Point, Protocol

ARM = "send_zc:on_error=count"
POINT = Point(
    path=Path.SINK,
    protocol=Protocol.UDP,
    family=4,
    io_size_bytes=1200,
    batch=8,
    modes=("send", ARM),
)


class Failing:
    """A worker on whose place no request completes."""

    def block(self, point, order, *_):
        """Return samples without a request."""
        sample = {"point": point.name, "requests": 0, "errors": "EINVAL:64"}
        times = dict.fromkeys(("elapsed_ns", "cpu_user_ns", "cpu_sys_ns"), 1)
        return [sample | times | {"sent_total_bytes": 0, "arm": arm} for arm in order]

    def sender_pid(self):
        """Return the process that perf would sample."""
        return 1


def test_an_arm_whose_requests_all_fail_is_named(monkeypatch):
    """No request completed: the errors are told, and nothing is divided by zero."""
    monkeypatch.setattr(perf, "_sampling", lambda *_: nullcontext())
    monkeypatch.setattr(perf, "_stacks", lambda _: ["io_send"])

    with pytest.raises(MeasureError, match=rf"{ARM} on sink-udp4.*EINVAL:64"):
        perf._arm(Failing(), POINT, ARM, 1_000_000)
