"""A site: where the blocks of one place are taken, by a kernel or by a model.

Nothing that needs Linux is loaded before a plan asks for it, so that a synthetic run
can be taken anywhere.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, Self

from zclab import synthetic
from zclab.measure.target import Target
from zclab.params import Plan, Point


class Site(Protocol):
    """What a sweep asks for blocks."""

    def ready(self) -> dict[str, Any]:
        """Wait until the path is up; return its facts."""

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
        """Return the host's facts again."""
        return _facts(synthetic_run="synthetic" in self.host)


def prepare(plan: Plan, stack: ExitStack, target: Target | None = None) -> Ground:
    """Bring up every place of `plan`; `stack` takes them down again.

    Args:
        plan: what will be measured.
        stack: what it is given back to.
        target: where the nic path sends.

    Raises:
        CapabilityError: io_uring, SEND_ZC, namespaces or a device are missing.
        MeasureError: a worker failed.

    """
    sites: dict[str, Site] = {}
    host = _facts(synthetic_run=plan.synthetic is not None)
    for place in plan.places:
        sites[place] = stack.enter_context(_site(plan, place, target))
    facts = {place: site.ready() for place, site in sites.items()}
    host["paths"] = facts
    host["sender"] = next(iter(facts.values()))["sender"]
    return Ground(sites=sites, host=host)


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

    return Worker(plan, place, host.cpus(), target)
