"""Whether two equal arms look equal, on the machine this runs on."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from zclab import store
from zclab.explain import table
from zclab.measure import host, sweep
from zclab.params import BASELINE, CONTROL, Path, Plan, Point, Protocol, grid
from zclab.prove import proof
from zclab.prove.proof import Finding, Proof, Share, Watch

RUNS = 28  # every other one beside a busy neighbour
BLOCKS = 60
MISS_PERCENT = 7.0  # at most; 5 are expected, and 200 comparisons tell no better

_UDP = Protocol.UDP
_ARMS = (BASELINE,)
POINTS: tuple[Point, ...] = (
    *grid(
        path=Path.SINK,
        protocol=_UDP,
        family=4,
        sizes=(600, 1200, 4000, 8000, 65507),
        modes=_ARMS,
        batch=8,
    ),
    *grid(
        path=Path.VETH,
        protocol=_UDP,
        family=4,
        sizes=(1200, 8000),
        modes=_ARMS,
        batch=8,
    ),
    *grid(
        path=Path.VETH, protocol=_UDP, family=6, sizes=(65435,), modes=_ARMS, batch=64
    ),
)

# It ends with its parent: no prove that is killed leaves a CPU burning.
_BURN = """
import os, sys
from zclab.measure import namespace
namespace.die_with_parent(int(sys.argv[1]))
os.sched_setaffinity(0, {int(sys.argv[2])})
while True:
    pass
"""

NOTES = (
    f"Each comparison is `{CONTROL}` against `{BASELINE}` at one point of one run of "
    f"{BLOCKS} blocks, with the interval that a report would print. Each run has new "
    "processes, sockets and rings, and takes new ones every few rounds.",
    "Busy: a second process burns the CPU that the sender does not have; the receiver "
    "of veth shares it with that process.",
)


@contextmanager
def _neighbour(cpu: int) -> Iterator[None]:
    """Have another process burn a CPU meanwhile."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _BURN, str(os.getpid()), str(cpu)]
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def run(*, runs: int = RUNS, blocks: int = BLOCKS, seed: int = 5) -> Proof:
    """Return how many 95 % intervals of equal arms leave zero out, quiet and busy.

    The runs are kept under build/prove/control/.

    Raises:
        CapabilityError: io_uring, namespaces or a device are missing.

    """
    watch = Watch()
    missed: dict[str, list[bool]] = {"quiet": [], "busy": []}
    for number in range(runs):
        plan = Plan(profile="control", points=POINTS, seed=seed + number, blocks=blocks)
        if number % 2:
            with _neighbour(host.cpus()[1]):
                missed["busy"] += _missed(plan)
        else:
            missed["quiet"] += _missed(plan)
    everything = [*missed["quiet"], *missed["busy"]]
    return Proof(
        part="control",
        command="zclab prove control",
        findings=(
            _finding("in all", everything, wanted=True),
            *(_finding(state, missed[state]) for state in missed if missed[state]),
        ),
        kernel=host.facts()["kernel"]["release"],
        seconds=watch.seconds,
        notes=NOTES,
    )


def _missed(plan: Plan) -> list[bool]:
    """Take a run; return for each point whether its control's interval misses zero."""
    summary = table.summary(
        store.load(sweep.take(plan, out=proof.folder() / "control"))
    )
    rows = summary[summary["arm"] == CONTROL]
    return [
        bool(low > 0 or high < 0)
        for low, high in zip(rows["gain_low"], rows["gain_high"], strict=True)
    ]


def _finding(state: str, missed: list[bool], *, wanted: bool = False) -> Finding:
    share = Share(sum(missed), len(missed))
    return Finding(
        claim=f"real A/A, sink and veth, {state}: 95 % intervals that miss 0",
        wanted=f"<= {MISS_PERCENT:g} %" if wanted else "",
        figure=share.figure,
        interval=share.spread,
        n=f"{share.n} comparisons",
        holds=share.percent <= MISS_PERCENT if wanted else None,
    )
