"""What would be sent over a card is bounded before it is."""

import pytest

from zclab import planfile
from zclab.errors import InputError
from zclab.measure import traffic
from zclab.measure.target import Target
from zclab.params import Path, Plan, Point, Protocol, Stop, grid

TARGET = Target(device="eth1", destination="198.51.100.2")


def points(*sizes: int, protocol: Protocol = Protocol.UDP) -> tuple[Point, ...]:
    """Return points of a card."""
    return grid(
        path=Path.NIC,
        protocol=protocol,
        family=4,
        sizes=sizes,
        modes=("send", "send_zc"),
        batch=1 if protocol is Protocol.TCP else 8,
    )


def plan(*made: Point, **more: object) -> Plan:
    """Return a plan of a hundred blocks of ten milliseconds, and one to warm up."""
    values = {"blocks": 100, "slice_ns": 10_000_000, "warmup_ns": 0} | more
    return Plan(profile="custom", points=made, seed=1, **values)


@pytest.fixture(autouse=True)
def no_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this host know of no run."""
    monkeypatch.setattr(traffic.store, "listing", list)


def test_seconds_are_those_of_the_slices() -> None:
    """100 blocks, 1 to warm up and 14 placements; of 3 arms."""
    found = traffic.most(plan(*points(1000)), TARGET, mtu=1500, link_mbit=1000)
    assert found.seconds == pytest.approx(3 * (101 * 0.010 + 14 * 0.001))


def test_link_bounds_bytes_and_packets() -> None:
    """A second of a gigabit is 125 MB, of packets with all that is around them."""
    found = traffic.most(plan(*points(1000)), TARGET, mtu=1500, link_mbit=1000)
    assert found.bytes == pytest.approx(found.seconds * 125e6)
    assert found.packets == pytest.approx(found.bytes / (1000 + 28 + 38), rel=1e-4)
    assert found.bounded_by == "the link's 1000 Mbit/s"


def test_segments_are_packets() -> None:
    """UDP_SEGMENT and the MSS of TCP say what a packet is."""
    (point,) = points(8000)
    cut = Point(
        path=Path.NIC,
        protocol=Protocol.UDP,
        family=4,
        io_size_bytes=48000,
        batch=8,
        modes=("send", "send_zc"),
        given=(("segment", 1200),),
    )
    tcp = points(65536, protocol=Protocol.TCP)[0]
    sizes = [
        round(found.bytes / found.packets)
        for found in (
            traffic.most(plan(one), TARGET, mtu=9000, link_mbit=1000)
            for one in (point, cut, tcp)
        )
    ]
    assert sizes == [8066, 1266, 9000 + 38]


def test_without_a_link_speed_it_is_the_cpu() -> None:
    """An unknown link is bounded by what no CPU exceeds, and that is said."""
    found = traffic.most(plan(*points(1000)), TARGET, mtu=1500, link_mbit=None)
    assert found.packets == pytest.approx(found.seconds * 1e9 / traffic.FASTEST_NS)
    assert "the link's is unknown" in found.bounded_by


def test_rate_bounds_the_bytes_of_a_budget() -> None:
    """Ten seconds of machine time at 80 megabits are 100 MB, and setting up."""
    stopping = plan(*points(1000), blocks=5000, stop=Stop(precision=1, budget_s=10))
    paced = Target(device="eth1", destination="198.51.100.2", rate_mbit=80)
    free = traffic.most(stopping, TARGET, mtu=1500, link_mbit=1000)
    found = traffic.most(stopping, paced, mtu=1500, link_mbit=1000)
    setting_up = free.bytes - 10 * 125e6
    assert found.bytes == pytest.approx(100e6 + setting_up, rel=0.01)
    assert found.bounded_by == "--rate 80 Mbit/s"
    assert "at most" in traffic.words(found, "198.51.100.2")


def test_a_budget_is_lowered_to_the_seconds() -> None:
    """A plan that stops by itself ends before the seconds are spent."""
    stopping = plan(*points(600, 1000), blocks=5000, stop=Stop(precision=1))
    short = Target(device="eth1", destination="198.51.100.2", seconds=20)
    found = traffic.bounded(stopping, short)
    assert found.stop is not None
    assert 0 < found.stop.budget_s < 20
    assert traffic.most(found, short, mtu=1500, link_mbit=None).seconds <= 20
    roomy = Target(device="eth1", destination="198.51.100.2", seconds=100_000)
    assert traffic.bounded(stopping, roomy) == stopping


def test_fixed_blocks_that_take_longer_are_refused() -> None:
    """A number of blocks is not silently changed."""
    short = Target(device="eth1", destination="198.51.100.2", seconds=1)
    with pytest.raises(InputError, match="--seconds 1 allows less"):
        traffic.bounded(plan(*points(1000)), short)


def test_rate_takes_short_slices_and_no_pilot() -> None:
    """A pilot would send for seconds at full speed."""
    found = traffic.bounded(
        plan(*points(1000), slice_ns=0),
        Target(device="eth1", destination="198.51.100.2", rate_mbit=100),
    )
    assert found.slice_ns == traffic.PACED_SLICE_NS


def test_the_nic_plan_has_the_published_sizes() -> None:
    """The profile has each row of v5's NIC table, in its three modes and batch."""
    found = planfile.profile("nic", available=lambda mode: True, seed=1)
    rows = {
        point.io_size_bytes: point
        for point in found.points
        if point.protocol is Protocol.UDP
    }
    for size in (4000, 1500, 1000, 600):
        assert rows[size].modes == ("send", "send_zc", "send_zc_fixed")
        assert rows[size].batch == 8
    assert {point.path for point in found.points} == {Path.NIC}
    assert {1200, 4096} <= {
        point.io_size_bytes for point in found.points if point.protocol is Protocol.TCP
    }
