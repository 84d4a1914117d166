"""A station's arms: what their requests make on the wire, and what bears witness."""

from dataclasses import replace

import pytest

from tests.live import in_namespaces, needs_uring
from zclab.errors import InputError
from zclab.measure.station import Arm, check_looks
from zclab.options import Options, parse
from zclab.params import Mode, Path, Point, Protocol
from zclab.uring.sender import Shape

POINT = Point(
    path=Path.LO,
    protocol=Protocol.UDP,
    family=4,
    io_size_bytes=1000,
    batch=4,
    modes=("send",),
)


def arm(options: str, point: Point = POINT, mode: Mode = Mode.SEND) -> Arm:
    """Return an arm that has no socket."""
    return Arm(
        point=point,
        name=mode,
        mode=mode,
        options=Options.of(parse(options)),
        flows=[],
        cpus=set(),
        indices=range(0),
    )


@pytest.mark.parametrize(
    ("options", "datagrams"),
    [
        ("", 24),
        ("segment=500", 48),
        ("segment=300", 96),
        ("more=3", 8),
        ("cork=on", 6),
        ("more=3:segment=500", 8 * 6),
        ("more=3:segment=700", 8 * 5),
        ("cork=on:segment=1500", 6 * 3),
    ],
)
def test_what_is_gathered_is_cut_as_one(options, datagrams):
    """Segments are cut from all that more or cork gathered, not from a request."""
    assert arm(options).datagrams(24) == datagrams


def test_over_tcp_there_are_no_datagrams():
    """A stream has none, whatever it is asked for."""
    assert (
        arm("more=3", replace(POINT, protocol=Protocol.TCP, batch=1)).datagrams(24)
        is None
    )


def looked(options: str) -> None:
    """Check an arm of msg_zerocopy whose notifications are fetched now and then."""
    held = arm(options, replace(POINT, batch=4), Mode.MSG_ZEROCOPY)
    check_looks(
        held,
        Shape(
            mode=held.mode,
            io_size_bytes=1000,
            batch=held.batch,
            options=held.options,
            memlock_bytes=-1,
        ),
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("verify=on:more=3:lag=63", "more=3 holds .* all 64 .* use lag=62 or less"),
        ("verify=on:cork=on:lag=62", "cork=on holds .* use lag=61 or less"),
        ("more=3:lag=1023", "use lag=1022 or less"),
        ("verify=on:more=65", "leave more=65 out"),
    ],
)
def test_what_is_held_back_is_not_awaited(options, says):
    """A look at the error queue must come before all that is outstanding is awaited."""
    with pytest.raises(InputError, match=says) as caught:
        looked(options)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options", ["verify=on:more=3:lag=62", "verify=on:cork=on", "verify=on:lag=64"]
)
def test_what_is_looked_for_in_time_is_allowed(options):
    """The last lag that will do, and any where nothing is held back."""
    looked(options)


STATION = """
import os
from zclab.errors import MeasureError
from zclab.measure.station import Station
from zclab.options import parse
from zclab.params import Plan
def opened(given):
    point = Point(path=Path.LO, protocol=Protocol.TCP, family=4, io_size_bytes=4096,
                  batch=1, modes=("send", "send_zc"), given=parse(given))
    plan = Plan(profile="test", points=(point,), seed=3, slice_ns=2_000_000,
                warmup_ns=200_000)
    return point, Station(plan, point.place, (min(os.sched_getaffinity(0)),) * 2)
"""


@needs_uring
def test_a_verified_team_bears_witness():
    """The witness of a team goes on with its stamps: no byte of it is wrong."""
    found = in_namespaces(
        STATION
        + """
point, station = opened("verify=on:threads=2")
samples = [s for n in range(3) for s in station.block(point, ["send_zc"], n, 2_000_000)]
station.close()
answer({"samples": samples})
"""
    )
    samples = found["samples"]

    assert [sample["corrupt"] for sample in samples] == [0, 0, 0]
    if samples[0]["copied"] is None:
        pytest.skip("this kernel does not tell copies, so there is no witness")
    assert [bool(sample["witness_notifications"]) for sample in samples] == [
        *(False, True, False)
    ]


@needs_uring
def test_a_witness_is_verified_too():
    """Bytes of a witness that are out of step are told in its own block."""
    found = in_namespaces(
        STATION
        + """
from zclab.uring.ring import Ring, RingSetup
point, station = opened("verify=on")
arm = station.arms[point.name]["send_zc"]
station.block(point, ["send_zc"], -1, 2_000_000)
flow = arm.flows[0]
told = ""
with Ring([flow.sending.fileno()],
          RingSetup().holding(arm.shape.area_bytes)) as anew:
    arm.witness = station._sender(anew, 0, arm, arm.flows, 0).slice
    arm.warm = True
    try:
        station.block(point, ["send_zc"], 0, 2_000_000)
    except MeasureError as error:
        told = str(error)
station.close()
answer({"told": told})
"""
    )

    assert "units arrived with other bytes" in found["told"]


@needs_uring
@pytest.mark.parametrize(("given", "registered"), [("", True), ("file=off", False)])
def test_whether_the_file_is_registered_is_a_fact(given, registered):
    """The fact is what the baseline does, not what is usual."""
    found = in_namespaces(
        STATION
        + f"""
point, station = opened("{given}")
station.close()
answer(station.facts["sender"])
"""
    )

    assert found["registered_file"] is registered
