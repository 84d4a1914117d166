"""Whether the break-even size of a run is the one that a direct search finds."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from zclab import planfile, store
from zclab.explain import cost, table
from zclab.measure import host, sweep
from zclab.params import BASELINE, CONTROL, Mode, Path, Plan, Point, Stop
from zclab.prove import proof
from zclab.prove.proof import Finding, Proof, Watch

PROFILE = "cost"
ARMS = (Mode.SEND_ZC, Mode.SEND_ZC_FIXED)
RUN_S = 80.0
SEARCH_S = 60.0  # of one mode; what was found by then is the bracket
SLICE_NS = 5_000_000
# Blocks of a look at one size. One that does not decide is followed by a longer one,
# whose samples alone count: pooled, they would have been looked at until they decide.
LOOKS = (40, 160)
LOOK_P = 0.05 / 20  # of the sign test; a search has about 20 looks, each may mislead it
WIDE = 2.0  # high over low: an interval beyond this agrees with anything
NARROW = 0.01  # of the size: a bracket that is not searched any further

NOTES = (
    "The run has the sink's sizes of the plan `cost`; its interval reaches from the "
    "largest size at which zerocopy surely costs more to the one from which on it "
    "surely costs less. The search knows nothing of the run: it halves the size from "
    "the largest down until zerocopy surely costs more, and then what lies between "
    f"paying and not surely paying, until that is {NARROW:.0%} of the size or "
    f"{SEARCH_S:g} s are spent. A size that {LOOKS[0]} blocks do not decide gets "
    f"{LOOKS[-1]} new ones, each in a run of its own; it is decided where the sign "
    f"test's p is at most {LOOK_P:g}.",
)

Sign = Callable[[int], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """Where the search found the break-even size.

    Attributes:
        low: the largest size that surely costs more, in bytes; 0 where none does.
        high: the smallest size that surely costs less, as all do that were looked at
            above it; infinite where the largest does not.
        looks: sizes that were measured.

    """

    low: float
    high: float
    looks: int

    @property
    def text(self) -> str:
        """The bracket as a table shows it."""
        if math.isinf(self.high):
            return "never"
        low = f"{self.low:.0f}" if self.low else "below all"
        return f"[{low}, {self.high:.0f}] B"


def run(*, seconds: float = RUN_S, looks: tuple[int, ...] = LOOKS) -> Proof:
    """Return the break-even sizes of both zerocopy modes, by a run and by search.

    The runs are kept under build/prove/breakeven/.

    Raises:
        CapabilityError: io_uring, namespaces or a device are missing.

    """
    watch = Watch()
    points = tuple(
        point
        for point in planfile.profile(PROFILE, available=lambda _: True, seed=1).points
        if point.place == Path.SINK
    )
    plan = Plan(
        profile="breakeven",
        points=points,
        seed=7,
        blocks=1_000_000,
        slice_ns=SLICE_NS,
        stop=Stop(precision=0.01, budget_s=seconds),
    )
    taken = store.load(sweep.take(plan, out=_folder()))
    told = cost.break_even(taken).set_index("arm")
    findings = []
    for arm in ARMS:
        sizes = [point.io_size_bytes for point in points]
        passed = Watch()
        found = search(
            _sign(points[0], arm, looks),
            min(sizes),
            max(sizes),
            enough=lambda passed=passed: passed.seconds > SEARCH_S,  # type: ignore[misc]
        )
        findings.append(_finding(arm, told.loc[str(arm)].to_dict(), found))
    return Proof(
        part="breakeven",
        command="zclab prove breakeven",
        findings=tuple(findings),
        kernel=host.facts()["kernel"]["release"],
        seconds=watch.seconds,
        notes=NOTES,
    )


def search(
    sign: Sign,
    smallest: int,
    largest: int,
    *,
    narrow: float = NARROW,
    enough: Callable[[], bool] = lambda: False,
) -> Bracket:
    """Return the size from which on zerocopy pays, found by halving.

    Args:
        sign: measures a size; 1 where zerocopy surely costs less there, -1 where it
            surely costs more, 0 where that is not decided.
        smallest: size in bytes, the last that is looked at.
        largest: the first.
        narrow: width of a bracket, as a share of its upper end, that is enough.
        enough: whether to leave a bracket as wide as it is.

    """
    looks = 1
    if sign(largest) <= 0:
        return Bracket(low=largest, high=math.inf, looks=looks)
    low, floor, high = 0, 0, largest  # floor: the largest size that does not surely pay
    for size in _halves(smallest, largest):
        looks += 1
        said = sign(size)
        if said > 0 and not floor:
            high = size
        elif not floor:
            floor = size
        if said < 0:
            low = size
            break
    while floor and high - floor > max(narrow * high, 1) and not enough():
        looks += 1
        middle = (floor + high) // 2
        said = sign(middle)
        if said > 0:
            high = middle
        else:
            floor = middle
            low = middle if said < 0 else low
    return Bracket(low=low, high=high, looks=looks)


def _halves(smallest: int, largest: int) -> Iterator[int]:
    while largest > smallest:
        largest = max(largest // 2, smallest)
        yield largest


def agree(row: dict[str, object], found: Bracket) -> bool:
    """Return whether a row of `cost.break_even` and a bracket say the same.

    Both must be narrow enough for that to mean something: `WIDE`.
    """
    kind = row["kind"]
    if kind == cost.ALWAYS:
        return found.low == 0 and not math.isinf(found.high)
    if kind == cost.UNDECIDED:
        return False
    if kind != cost.BETWEEN:
        return math.isinf(found.high)
    low, high = float(str(row["bytes_low"])), float(str(row["bytes_high"]))
    narrow = high <= WIDE * low and found.high <= WIDE * found.low
    return narrow and found.low <= high and low <= found.high


def _finding(arm: str, row: dict[str, object], found: Bracket) -> Finding:
    return Finding(
        claim=f"sink, {arm} against {BASELINE}: break-even size by the plan `cost`, "
        f"and by search {found.text}",
        wanted=f"the intervals overlap, neither wider than a factor of {WIDE:g}",
        figure=cost.break_even_text(row),
        n=f"{found.looks} sizes searched",
        holds=agree(row, found),
    )


def _sign(like: Point, arm: str, looks: tuple[int, ...]) -> Sign:
    """Return what measures an arm at a size; see `search`."""

    def sign(size: int) -> int:
        point = replace(like, io_size_bytes=size, modes=(BASELINE, arm))
        for blocks in looks:
            plan = Plan(
                profile="breakeven",
                points=(point,),
                seed=blocks + size,
                blocks=blocks,
                slice_ns=SLICE_NS,
            )
            taken = store.load(sweep.take(plan, out=_folder()))
            found = table.against(
                table.pairs(taken)[point.name].drop(columns=CONTROL), arm, str(BASELINE)
            )
            if found and found.p_sign <= LOOK_P:
                return 1 if found.gain.center > 0 else -1
        return 0

    return sign


def _folder() -> FilePath:
    return proof.folder() / "breakeven"
