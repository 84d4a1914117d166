"""What the rule that logs headers costs the sender: UDP with it and without it."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from zclab import stats
from zclab.measure import host, trial
from zclab.prove.proof import Finding, Proof, Watch

SIZES = (600, 1200, 8000, 65507)
ARMS = ("send", "send_zc_fixed")
BLOCKS = 120

NOTES = (
    "UDP over the sink, IPv4, batch 8; a request is one packet, so ns per request are "
    "ns per packet. One namespace, one set of sockets: in each block the rule is "
    "there, not there, and not there a second time, in random order, 10 ms each, and "
    "the differences are paired. The responder reads the log on the other CPU "
    "meanwhile, as it does over TCP.",
    "Over TCP the rule runs once for each packet that leaves, of up to 64 KiB, "
    "whatever number of requests is in it.",
)


def run(*, blocks: int = BLOCKS, seed: int = 9) -> Proof:
    """Return the rule's cost by size and arm, and the same of no difference.

    Raises:
        CapabilityError: the answered sink cannot be had here.

    """
    watch = Watch()
    found = trial.take(
        "toll", sizes=list(SIZES), arms=list(ARMS), blocks=blocks, seed=seed
    )
    return Proof(
        part="logrule",
        command="zclab prove logrule",
        findings=tuple(_findings(found)),
        kernel=host.facts()["kernel"]["release"],
        seconds=watch.seconds,
        notes=NOTES,
    )


def _findings(found: list[Any]) -> Iterator[Finding]:
    for size in SIZES:
        for arm in ARMS:
            on, off, again = (
                _costs(found, size, arm, rule) for rule in ("on", "off", "off again")
            )
            yield _told(f"{size} B, {arm}: the rule adds", on, off)
            yield _told(f"{size} B, {arm}: no rule beside no rule", again, off)


def _costs(found: list[Any], size: int, arm: str, rule: str) -> stats.Floats:
    mine = [one for one in found if tuple(one[:3]) == (size, arm, rule)]
    return np.array([ns for *_, ns in sorted(mine, key=lambda one: int(one[3]))])


def _told(claim: str, arm: stats.Floats, basis: stats.Floats) -> Finding:
    said = stats.compare(arm, basis)
    cost, gain = said.saved, said.gain
    return Finding(
        claim=claim,
        figure=f"{-cost.center:+.0f} ns of {np.median(basis):.0f} "
        f"({gain.center:+.1f} % requests/s)",
        interval=f"[{-cost.high:+.0f}, {-cost.low:+.0f}] ns",
        n=f"{len(arm)} blocks",
    )
