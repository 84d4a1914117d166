"""What a plan sends over a network card at the most: packets, bytes and seconds.

Told before anything is sent. Slices end by the clock, so the seconds are a bound. What
goes out in one of them is bounded by the link, or else by what this host ever sent; and
what goes out in all by --rate.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from zclab import packet, store
from zclab.errors import InputError
from zclab.measure import host, pilot, sweep
from zclab.measure.target import Target
from zclab.params import BASELINE, Path, Plan, Point, Protocol
from zclab.store import Run

PACED_SLICE_NS = 2_000_000
FASTEST_NS = 100.0  # per datagram of one thread: more than was ever seen of one CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What is sent at the most.

    Attributes:
        seconds: of sending: all slices with their warm-up, the pilot's too.
        packets: on the wire; of TCP without acknowledgements.
        bytes: on the wire, with headers and gaps.
        bounded_by: what bounds the bytes of a second, in words.

    """

    seconds: float
    packets: int
    bytes: int
    bounded_by: str


def most(plan: Plan, target: Target, *, mtu: int, link_mbit: int | None) -> Traffic:
    """Return what the nic points of a plan send to a target at the most.

    Args:
        plan: as it will be measured, with what `bounded` made of it.
        target: its caps count.
        mtu: of the way to it.
        link_mbit: speed of the link; None where that is not known.

    """
    points = _points(plan)
    setting_up_s = sum(_setting_up_s(plan, point) for point in points)
    measuring_s = {point.name: _measuring_s(plan, point) for point in points}
    budget_s = plan.stop.budget_s if plan.stop else 0.0
    all_s = sum(measuring_s.values())
    share = min(1.0, (budget_s or all_s) / all_s)
    fastest = _fastest(points)
    packets = wire = in_measuring = 0.0
    for point in points:
        rate = _packets_per_s(point, mtu, link_mbit, fastest.get(point.name))
        size = _wire_bytes(point, mtu)
        counted = measuring_s[point.name] * share + _setting_up_s(plan, point)
        packets += counted * rate
        wire += counted * rate * size
        in_measuring += measuring_s[point.name] * share * rate * size
    bounded_by = _bounded_by(link_mbit, fastest)
    if target.rate_mbit and plan.stop:
        allowed = target.rate_mbit * 1e6 / 8 * (budget_s or _point_budgets_s(plan))
        less = max(0.0, in_measuring - allowed)
        if less and allowed:
            packets *= 1 - less / wire
            wire -= less
            bounded_by = f"--rate {target.rate_mbit:g} Mbit/s"
    return Traffic(
        seconds=min(all_s * share + setting_up_s, target.seconds),
        packets=math.ceil(packets),
        bytes=math.ceil(wire),
        bounded_by=bounded_by,
    )


def bounded(plan: Plan, target: Target) -> Plan:
    """Return a plan that ends by itself before the target's seconds are spent.

    With a rate it has no pilot, which would send for seconds, and short slices, as a
    block is sent at once before the pause that keeps the rate.

    Raises:
        InputError: it cannot: its blocks are fixed and too many, or the seconds do
            not even last for setting up.

    """
    if target.rate_mbit and not plan.slice_ns:
        plan = replace(plan, slice_ns=PACED_SLICE_NS)
    points = _points(plan)
    setting_up_s = sum(_setting_up_s(plan, point) for point in points)
    needed_s = sum(_measuring_s(plan, point) for point in points)
    left_s = target.seconds - setting_up_s
    if plan.stop and left_s > 0:
        budget_s = plan.stop.budget_s or math.inf
        if min(budget_s, needed_s) <= left_s:
            return plan
        return replace(plan, stop=replace(plan.stop, budget_s=round(left_s, 3)))
    if left_s < needed_s:
        raise InputError(
            f"the plan sends for up to {setting_up_s + needed_s:.0f} s, and --seconds "
            f"{target.seconds:g} allows less; take fewer points or --blocks, or allow "
            "more"
        )
    return plan


def _bounded_by(link_mbit: int | None, fastest: Mapping[str, float]) -> str:
    if link_mbit:
        return f"the link's {link_mbit} Mbit/s"
    if fastest:
        return "twice the fastest that was measured on this host; its link's is unknown"
    return (
        f"{FASTEST_NS:g} ns a packet, which is faster than any; the link's is unknown"
    )


def _points(plan: Plan) -> tuple[Point, ...]:
    return tuple(point for point in plan.points if point.path is Path.NIC)


def _slice_s(plan: Plan) -> float:
    """Return the longest slice of an arm with its warm-up."""
    longest = plan.slice_ns or max(pilot.CANDIDATES_NS)
    return (longest + plan.warmup_ns) / 1e9


def _measuring_s(plan: Plan, point: Point) -> float:
    """Return the seconds of sending in the blocks of a point, at the most."""
    block_s = len(point.arms) * _slice_s(plan)
    budget_s = plan.stop.point_budget_s if plan.stop else 0.0
    bound = plan.blocks * block_s
    return min(bound, budget_s + block_s) if budget_s else bound


def _point_budgets_s(plan: Plan) -> float:
    """Return the machine seconds that the budgets of all points come to."""
    return plan.stop.point_budget_s * len(_points(plan)) if plan.stop else 0.0


def _setting_up_s(plan: Plan, point: Point) -> float:
    """Return the seconds of sending before the first sample, and at new placements."""
    arms = len(point.arms)
    seconds = arms * _slice_s(plan)
    if plan.slice_ns == 0:
        lengths = [ns + plan.warmup_ns for ns in pilot.CANDIDATES_NS]
        seconds += 2 * pilot.PASSES * sum(lengths) / 1e9
    renewals = sweep.placement(_most_blocks(plan, point))
    return seconds + renewals * arms * (sweep.WARM_UP_NS + plan.warmup_ns) / 1e9


def _most_blocks(plan: Plan, point: Point) -> int:
    """Return the blocks of a point at the most, by its budgets in short slices."""
    budgets = [plan.stop.point_budget_s, plan.stop.budget_s] if plan.stop else []
    shortest = plan.slice_ns or min(pilot.CANDIDATES_NS)
    block_s = len(point.arms) * (shortest + plan.warmup_ns) / 1e9
    return min([plan.blocks, *(math.ceil(s / block_s) for s in budgets if s)])


def _packets_per_s(
    point: Point, mtu: int, link_mbit: int | None, fastest_ns: float | None
) -> float:
    """Return the packets that can leave in a second."""
    threads = max(point.options(arm).threads for arm in point.arms)
    by_cpu = threads * 1e9 / FASTEST_NS
    if fastest_ns:
        each = -(-point.io_size_bytes // _payload_bytes(point, mtu))
        by_cpu = min(by_cpu, 2 * threads * each * 1e9 / fastest_ns)
    if not link_mbit:
        return by_cpu
    return min(by_cpu, link_mbit * 1e6 / 8 / _wire_bytes(point, mtu))


def _fastest(points: Iterable[Point]) -> dict[str, float]:
    """Return the least ns per request that this host ever took for a point's size.

    By point; those of whose protocol and size nothing was measured here are left out.
    """
    found: dict[str, float] = {}
    for run in store.runs_of(host.alias()):
        for point in points:
            ns = _least_ns(run, point)
            found[point.name] = min(ns, found.get(point.name, math.inf))
    return {name: ns for name, ns in found.items() if math.isfinite(ns)}


def _least_ns(run: Run, point: Point) -> float:
    samples = run.samples
    like = (samples["io_size_bytes"] == point.io_size_bytes) & (
        samples["protocol"] == str(point.protocol)
    )
    ns = samples.loc[like, "ns_per_request"].dropna()
    return math.inf if ns.empty else float(ns.min())


def _payload_bytes(point: Point, mtu: int) -> int:
    """Return the payload of a packet."""
    if point.protocol is Protocol.TCP:
        fits = packet.payload_bytes(mtu, point.family, point.protocol)
        return min(point.io_size_bytes, fits)
    segment = point.options(BASELINE).segment or point.io_size_bytes
    return min(segment, point.io_size_bytes)


def _wire_bytes(point: Point, mtu: int) -> int:
    """Return the bytes of a packet on the wire, headers and gap included."""
    header = packet.header_bytes(point.family, point.protocol)
    return _payload_bytes(point, mtu) + header + packet.ETHERNET_BYTES


def words(traffic: Traffic, to: str) -> str:
    """Return in one line what would be sent to whom."""
    return (
        f"to {to}: at most {traffic.packets:,} packets, {_size(traffic.bytes)} on the "
        f"wire, in {traffic.seconds:.0f} s of sending (bounded by {traffic.bounded_by})"
    )


def _size(count: int) -> str:
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
