"""A site: where the blocks of one place are taken, by a kernel or by a model.

Nothing that needs Linux is loaded before a plan asks for it, so that a synthetic run
can be taken anywhere.
"""

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from zclab import hostfacts, synthetic
from zclab.errors import CapabilityError, MeasureError
from zclab.measure.target import Target
from zclab.params import Path, Plan, Point


class Site(Protocol):
    """What a sweep asks for blocks."""

    def ready(self) -> dict[str, Any]:
        """Wait until the path is up; return its facts."""

    def look(self) -> dict[str, Any]:
        """Return its facts as they are now."""

    def block(
        self,
        point: Point,
        order: list[str],
        number: int,
        slice_ns: int,
        deadline_s: float,
    ) -> list[dict[str, Any]]:
        """Return the samples of one block, in the order measured."""

    def renew(self) -> None:
        """Start anew whatever sends: a new placement."""

    def clock(self) -> float:
        """Return the machine time in seconds, from any beginning."""

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(self, kind: type[BaseException] | None, /, *_: object) -> None:
        """End what it started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The sites of a plan by place, and the facts of the host they are on."""

    sites: dict[str, Site]
    host: dict[str, Any]

    def host_now(self) -> dict[str, Any]:
        """Return the facts of the host and of the places again.

        Those of a place that does not answer any more are left out: all its samples
        are there.
        """
        host = _facts(synthetic_run="synthetic" in self.host)
        found: dict[str, dict[str, Any]] = {}
        for place, site in self.sites.items():
            with suppress(MeasureError):
                found[place] = site.look()
                if "packet_taps" in host:
                    found[place]["host_packet_taps"] = host["packet_taps"]
        return _with_places(host, found)


def prepare(plan: Plan, stack: ExitStack, target: Target | None = None) -> Ground:
    """Bring up every place of `plan`; `stack` takes them down again.

    Args:
        plan: what will be measured.
        stack: what it is given back to.
        target: where the nic path sends.

    Raises:
        CapabilityError: io_uring, SEND_ZC, namespaces or a device are missing, or the
            target does not answer.
        InputError: the target is missing, or nothing may be sent to it.
        MeasureError: a worker failed.

    """
    sites: dict[str, Site] = {}
    if plan.synthetic is None and (target or str(Path.NIC) in plan.places):
        from zclab.measure.path import nic  # noqa: PLC0415 - needs Linux

        target = nic.greet(plan, target)
    host = _facts(synthetic_run=plan.synthetic is not None)
    for place in plan.places:
        sites[place] = stack.enter_context(_site(plan, place, target))
    facts = {place: site.ready() for place, site in sites.items()}
    return Ground(sites=sites, host=_with_places(host, facts))


def facts(plan: Plan, target: Target | None = None) -> dict[str, Any]:
    """Return the facts of the host and of a plan's places, which are made for it.

    Raises:
        CapabilityError: as for `prepare`.
        InputError: as for `prepare`.
        MeasureError: as for `prepare`.

    """
    with ExitStack() as stack:
        return prepare(plan, stack, target).host


def needed(plan: Plan, target: Target | None) -> Target | None:
    """Return the target, where what is left of a plan has a use for it."""
    return target if str(Path.NIC) in plan.places else None


def check_completed(sample: Mapping[str, Any]) -> None:
    """Raise MeasureError, with the errors, where a sample has no request to time."""
    if not sample["requests"]:
        raise MeasureError(
            f"{sample['arm']} on {sample['point']}: not one request completed "
            f"({sample['errors'] or 'no error was counted'}), so none has a time; "
            "leave the arm out, or change what is refused"
        )


TRIAL_SLICE_NS = 1_000_000
TRIAL_DEADLINE_S = 30.0


def without_refused(plan: Plan, target: Target | None = None) -> Plan:
    """Return a plan without the points that cannot be had here; each is tried.

    What was refused is among its `excluded`, with what was said; that is stored, so
    it names neither destination nor peer.

    Args:
        plan: what should be measured.
        target: where the nic path sends.

    Raises:
        CapabilityError: nothing of it can be had; the message is the first refusal's.

    """
    refused = refusals(plan, target)
    kept = left_of(plan, refused)
    excluded = dict(plan.excluded) | refused
    return replace(kept, excluded=tuple(excluded.items()))


def left_of(plan: Plan, refused: dict[str, str]) -> Plan:
    """Return a plan without the points that were refused.

    Raises:
        CapabilityError: none is left; the message is the first refusal's.

    """
    kept = tuple(point for point in plan.points if point.name not in refused)
    if not kept:
        raise CapabilityError(next(iter(refused.values())))
    return replace(plan, points=kept)


def refusals(
    plan: Plan, target: Target | None = None, *, sends: bool = True
) -> dict[str, str]:
    """Return the points that cannot be had here, each with what was said of it.

    Args:
        plan: what should be measured.
        target: where the nic path sends.
        sends: whether each is tried with a block, besides being brought up.

    """
    refused: dict[str, str] = {}
    for place in plan.places:
        points = tuple(point for point in plan.points if point.place == place)
        if _refusal(plan, points, target, sends=sends):
            for point in points:
                if why := _refusal(plan, (point,), target, sends=sends):
                    refused[point.name] = target.unnamed(why) if target else why
    return refused


def _refusal(
    plan: Plan, points: tuple[Point, ...], target: Target | None, *, sends: bool
) -> str:
    """Return why points of one place cannot be had together, empty if they can."""
    try:
        with ExitStack() as stack:
            part = replace(plan, points=points)
            ground = prepare(part, stack, needed(part, target))
            for point in points if sends else ():
                ground.sites[point.place].block(
                    point, list(point.arms), -1, TRIAL_SLICE_NS, TRIAL_DEADLINE_S
                )
    except (CapabilityError, MeasureError) as error:
        return str(error)
    return ""


def _with_places(
    host: dict[str, Any], places: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Return a host's facts with those of its places, and of the peer of one."""
    peers = [facts["peer"] for facts in places.values() if facts.get("peer")]
    paths = {
        place: {name: facts[name] for name in facts if name != "peer"}
        for place, facts in places.items()
    }
    found = {**host, "paths": paths}
    if paths:
        found["sender"] = next(iter(paths.values()))["sender"]
    if peers:
        found["peer"] = peers[0]
    return hostfacts.public(found)


def _facts(*, synthetic_run: bool) -> dict[str, Any]:
    if synthetic_run:
        return synthetic.host()
    from zclab.measure import host  # noqa: PLC0415 - needs Linux
    from zclab.uring import probe  # noqa: PLC0415 - needs the shim

    probe.support()
    return host.facts()


def _site(plan: Plan, place: str, target: Target | None) -> Site:
    if plan.synthetic:
        return synthetic.Lab(plan, place)
    from zclab.measure import host  # noqa: PLC0415 - needs Linux
    from zclab.measure.process import Worker  # noqa: PLC0415 - likewise

    if target is None or place != Path.NIC:
        return Worker(plan, place, host.cpus())
    from zclab.measure.throttle import Throttled  # noqa: PLC0415 - it is a site itself

    worker = Worker(plan, place, host.cpus(), target)
    return Throttled(worker, target, plan.warmup_ns)
