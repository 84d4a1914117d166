"""The parts of `zclab prove`, in the order in which they are run and shown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zclab.errors import InputError
from zclab.prove import (
    accounts,
    breakeven,
    control,
    coverage,
    kills,
    logrule,
    power,
    precision,
    rule,
    scale,
    seal,
    situations,
    stopping,
    verdicts,
)
from zclab.prove.proof import Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part.

    Attributes:
        says: what it tries, in a line.
        run: does it; all its arguments have defaults.
        seconds: about how long that takes.
        real: whether it measures, and so needs io_uring and a quiet machine.

    """

    says: str
    run: Callable[[], Proof]
    seconds: int
    real: bool = False


PARTS: dict[str, Part] = {
    "coverage": Part(
        says="95 % intervals of equal arms, in 10,000 synthetic points a line",
        run=coverage.run,
        seconds=6,
    ),
    "stopping": Part(
        says="the same where points stop once their interval is narrow enough",
        run=stopping.run,
        seconds=15,
    ),
    "power": Part(
        says="planted effects of 1 % that are found, and of 0 % called equivalent",
        run=power.run,
        seconds=25,
    ),
    "verdicts": Part(
        says="planted effects from -5 to 5 % against the words that they get",
        run=verdicts.run,
        seconds=12,
    ),
    "rule": Part(
        says="the rule for published rows: classes of planted truths against verdicts",
        run=rule.run,
        seconds=12,
    ),
    "control": Part(
        says="the same of real arms that are equal, quiet and beside a busy neighbour",
        run=control.run,
        seconds=420,
        real=True,
    ),
    "precision": Part(
        says="what ten seconds of real measuring tell, paired and the tools' usual way",
        run=precision.run,
        seconds=390,
        real=True,
    ),
    "kills": Part(
        says="real runs that are killed a hundred times and resumed",
        run=kills.run,
        seconds=300,
        real=True,
    ),
    "situations": Part(
        says="what the rules predict of copies and refusals, against what the kernel "
        "does in situations that are made for it",
        run=situations.run,
        seconds=30,
        real=True,
    ),
    "breakeven": Part(
        says="the size from which on zerocopy pays on the sink, by the sizes of the "
        "plan `cost` and by a direct search",
        run=breakeven.run,
        seconds=180,
        real=True,
    ),
    "accounts": Part(
        says="each byte of TCP over the sink, on a hundred connections, with segments "
        "withheld and the log overrun",
        run=accounts.run,
        seconds=15,
        real=True,
    ),
    "logrule": Part(
        says="what the rule that logs headers costs the sender, with UDP",
        run=logrule.run,
        seconds=50,
        real=True,
    ),
    "seal": Part(
        says="single bytes of runs changed, one after the other, to see each noticed",
        run=seal.run,
        seconds=60,
    ),
    "scale": Part(
        says="a million samples from disk to a table, in a process of its own",
        run=scale.run,
        seconds=60,
    ),
}


def chosen(names: Sequence[str]) -> dict[str, Part]:
    """Return the named parts in their order; all of them where none is named.

    Raises:
        InputError: a name is unknown; the message lists those there are.

    """
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise InputError(
            f"part {unknown[0]!r} is unknown; use one of: {', '.join(PARTS)}"
        )
    return {name: part for name, part in PARTS.items() if not names or name in names}
