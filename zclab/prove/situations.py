"""Whether the rules of `zclab.preflight` say what this kernel does.

Each situation is made for real, in namespaces, predicted from the facts of its path
alone, and then sent through. The notifications say what came out.
"""

import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

import pandas as pd

from zclab import options as opts
from zclab import preflight, store
from zclab import situation as situations
from zclab.errors import CapabilityError, InputError, MeasureError, errno_name
from zclab.explain import onset, prediction, table
from zclab.explain.prediction import AGREES, UNREADABLE
from zclab.measure import host, site, sweep
from zclab.options import Options
from zclab.params import CONTROL, Mode, Path, Plan, Point, Protocol, arm_mode
from zclab.preflight import Prediction
from zclab.prove import proof
from zclab.prove.proof import Finding, Proof, Watch
from zclab.prove.tap import Tap, senders
from zclab.uring.ring import PAGE_BYTES, Ring, RingSetup
from zclab.uring.sender import Sender

PART = "situations"
SLICE_NS = 2_000_000
WARMUP_NS = 100_000
DEADLINE_S = 30.0
LEAST = 14  # situations that must have been possible

MODES = ("send", "send_zc", "send_zc_fixed")


def _udp(size: int, family: int = 4, **given: int | str | bool) -> dict[str, Any]:
    return {"size": size, "family": family, "given": given}


def _tcp(size: int = 65536, family: int = 4) -> dict[str, Any]:
    # A small buffer, as what is in flight is charged to the locked-memory limit.
    given = {"sndbuf": 1 << 18}
    return {"size": size, "family": family, "given": given, "protocol": Protocol.TCP}


_SENT = (_udp(8000), _udp(8000, 6))
_LIVE = (_udp(8000), _udp(8000, 6), _tcp(), _tcp(4096, 6))

# Path, situation, and what is sent there. One place is up at a time.
PLACES: tuple[tuple[Path, str, tuple[dict[str, Any], ...]], ...] = (
    (Path.LO, "", _LIVE),
    (Path.VETH, "", (*_LIVE, _udp(65435, 6))),
    (Path.VETH, "peer-drop", _SENT),
    (Path.SINK, "", (*_SENT, _udp(64), _udp(65507))),
    *((Path.SINK, f"rung={rung}", _SENT) for rung in ("dummy", "ifb")),
    *((Path.SINK, f"rung={rung}", _SENT) for rung in ("veth-drop", "veth-down")),
    (
        Path.SINK,
        "mtu=1500",
        (
            _udp(1472),
            _udp(1473),
            _udp(1452, 6),
            _udp(1453, 6),
            _udp(14000, segment=1400),
            _udp(14520, 6, segment=1452),
            _udp(14730, segment=1473, on_error="count"),
            _udp(14530, 6, segment=1453, on_error="count"),
        ),
    ),
    (
        Path.SINK,
        "",
        (
            _udp(1000, more=4),
            _udp(1000, cork=True),
            _udp(1000, cork=True, segment=1000, on_error="count"),
        ),
    ),
    (Path.SINK, "", (_tcp(), _tcp(4096), _tcp(4096, 6))),
    (Path.SINK, "sg=off", (_tcp(),)),
    (Path.SINK, "tx-checksum=off", (_tcp(),)),
    (Path.SINK, "tap", (_tcp(),)),
    (Path.SINK, "sg=off", (*_SENT, _udp(14000, segment=1400))),
    (Path.SINK, "tx-checksum=off", (*_SENT, _udp(14000, segment=1400))),
    (Path.SINK, "tap", _SENT),
    (Path.SINK, "tun", _SENT),
    (Path.SINK, "own-address", (*_SENT, _tcp())),
    (Path.VETH, "mtu=1500", (_tcp(), _udp(4000))),
    (Path.VETH, "sg=off", (_tcp(), _udp(8000))),
    (Path.VETH, "tx-checksum=off", (_tcp(), _udp(8000))),
    (Path.VETH, "tap", (_tcp(), _udp(8000))),
)

NOTES = (
    "The prediction is made from the facts of the path before the first send: rule id "
    "in brackets, explained in docs/paths.md. The figure is the share of notifications "
    "with IORING_NOTIF_USAGE_ZC_COPIED over send_zc and send_zc_fixed, or the errors; "
    "over TCP of its witness, requests with MSG_EOR (docs/tcp-sink.md).",
    f"Slices of {SLICE_NS / 1e6:g} ms: nothing here is about speed. What this kernel "
    "or the rights of the user do not allow is named and counts neither way.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One situation that was made and sent through.

    Attributes:
        name: of the point, with the arms where only some are meant.
        said: what was predicted.
        requests: that completed.
        notifications: of them.
        copied: of these, how many say so.
        errors: of requests that failed, as ENAME:count.
        readable: whether a share below 1 means what it says.

    """

    name: str
    said: Prediction
    requests: int
    notifications: int
    copied: int
    errors: str = ""
    readable: bool = True

    @property
    def figure(self) -> str:
        """What came out, as a table shows it."""
        share = table.share_text(self.share) if self.notifications else ""
        return ", ".join(filter(None, (share, self.errors))) or "nothing"

    @property
    def share(self) -> float | None:
        """Copied share, None without a notification."""
        return self.copied / self.notifications if self.notifications else None

    @property
    def judged(self) -> bool:
        """Whether something is predicted of it: at least that it works."""
        return self.said.word != "?" or bool(self.errors)

    @property
    def agrees(self) -> bool:
        """Whether it came out as predicted."""
        if self.said.works is False:
            return bool(self.errors)
        if self.errors or self.share is None:
            return False
        word = prediction.verdict(
            self.said, pd.Series([self.share]), readable=self.readable
        )
        return word in {AGREES, UNREADABLE}

    @property
    def finding(self) -> Finding:
        """The trial as a line of a proof."""
        copied = {1.0: "100%", 0.0: "0%", None: "?"}[self.said.copied]
        return Finding(
            claim=self.name,
            wanted=f"{'refused' if self.said.works is False else copied} "
            f"[{self.said.rule.id}]",
            figure=self.figure,
            n=f"{self.requests} requests",
            holds=self.agrees if self.judged else None,
        )


def run() -> Proof:
    """Return each situation with what was predicted and what came out.

    Raises:
        CapabilityError: io_uring is missing.

    """
    watch = Watch()
    release = host.facts()["kernel"]["release"]
    trials: list[Trial] = []
    missing: list[str] = []
    for path, situation, sent in PLACES:
        try:
            trials += _at(path, situation, sent)
        except (CapabilityError, InputError) as error:
            missing.append(f"Not possible here: {_where(path, situation)}: {error}.")
        except MeasureError as error:  # not as predicted, and it ended the place
            trials.append(_ended(_where(path, situation), error))
    trials.append(_af_unix())
    found = summed_up(trials, missing, release, watch.seconds)
    try:
        opened = mid_run()
    except CapabilityError as error:
        return replace(found, notes=(*found.notes, f"No tap in mid-run: {error}."))
    return replace(found, findings=(*found.findings, *opened), seconds=watch.seconds)


def summed_up(
    trials: Sequence[Trial], missing: Sequence[str], release: str, seconds: float
) -> Proof:
    """Return the proof of some trials, and what could not be tried."""
    agreeing = sum(trial.agrees for trial in trials)
    judged = sum(trial.judged for trial in trials)
    whole = Finding(
        claim="situations in which the copied share, or the refusal, is as predicted",
        wanted=f"all, of {LEAST} or more",
        figure=f"{agreeing} of {judged}",
        n=f"{len(trials)} situations",
        holds=agreeing == judged >= LEAST,
    )
    return Proof(
        part=PART,
        command=f"zclab prove {PART}",
        findings=(whole, *(trial.finding for trial in trials)),
        kernel=release,
        seconds=seconds,
        notes=(*NOTES, *missing),
    )


def mid_run(out: FilePath | None = None) -> tuple[Finding, ...]:
    """Open a tap in mid-run and close it again; return what the run says of it.

    The run is kept under build/prove/situations/. Its placements begin anew every few
    rounds, in new namespaces, so the tap is opened after the first block of one and
    closed before the next.

    Raises:
        CapabilityError: the namespaces of the run may not be entered.

    """
    point = _point(Path.SINK, "", _udp(8000))
    first, end = 2 * sweep.RENEW_ROUNDS + 1, 3 * sweep.RENEW_ROUNDS
    plan = Plan(
        profile=PART,
        points=(point,),
        seed=1,
        blocks=2 * end,
        slice_ns=SLICE_NS,
        warmup_ns=WARMUP_NS,
    )
    taps: list[Tap] = []

    def show(now: sweep.Progress) -> None:
        if now.done == first:
            taps.extend(map(Tap, senders()[:1]))
        if now.done == end:
            taps[0].close()

    try:
        folder = sweep.take(plan, out=out or proof.folder() / PART, progress=show)
    finally:
        for tap in taps:
            tap.close()
    told = {one.block: one for one in onset.found(store.load(folder))}
    return tuple(
        Finding(
            claim=f"a tap {word} in mid-run, after block {block - 1} of {plan.blocks}",
            wanted=f"told at block {block}, with the cause",
            figure=told[block].sentence if block in told else "not told",
            n=f"{len(told)} changes found",
            holds=block in told and word in told[block].cause and len(told) == 2,
        )
        for word, block in (("opened", first), ("closed", end))
    )


def _at(
    path: Path, situation: str, sent: Iterable[Mapping[str, Any]]
) -> Iterator[Trial]:
    """Make a place, predict, send, and yield what came out."""
    plan = Plan(
        profile=PART,
        points=tuple(_point(path, situation, one) for one in sent),
        seed=1,
        blocks=1,
        slice_ns=SLICE_NS,
        warmup_ns=WARMUP_NS,
    )
    with ExitStack() as stack:
        ground = site.prepare(plan, stack)
        release = ground.host["kernel"]["release"]
        for point in plan.points:
            told = preflight.by_prediction(point, ground.host["paths"], release)
            here = ground.sites[point.place]
            arms = [arm for arm in point.arms if arm != CONTROL]
            samples = [  # the second block of TCP bears witness
                sample
                for block in range(1 + (point.protocol is Protocol.TCP))
                for sample in here.block(point, arms, block, SLICE_NS, DEADLINE_S)
            ]
            for said, meant in told.items():
                mine = [sample for sample in samples if sample["arm"] in meant]
                yield _trial(point, said, meant, mine, release)


def _where(path: Path, situation: str) -> str:
    return situations.place(str(path), situation)


def _ended(where: str, error: MeasureError) -> Trial:
    return Trial(
        name=where,
        said=Prediction(works=True, copied=None, rule=preflight.RULES["unrecorded"]),
        requests=0,
        notifications=0,
        copied=0,
        errors=str(error),
    )


def _point(path: Path, situation: str, one: Mapping[str, Any]) -> Point:
    protocol = one.get("protocol", Protocol.UDP)
    return Point(
        path=path,
        situation=situation,
        protocol=protocol,
        family=one["family"],
        io_size_bytes=one["size"],
        batch=1 if protocol is Protocol.TCP else 4,
        modes=MODES,
        given=opts.parse(opts.spell(one["given"].items())),
    )


def _trial(
    point: Point,
    said: Prediction,
    arms: Sequence[str],
    samples: Sequence[Mapping[str, Any]],
    release: str,
) -> Trial:
    asking = sum(arm_mode(arm).zerocopy for arm in point.modes)
    named = "" if len(arms) == asking else f" ({', '.join(arms)})"
    failed: Counter[str] = Counter()
    for sample in samples:
        for name, count in _read_errors(sample["errors"]):
            failed[name] += count
    # Over TCP the flag of a timed request may say more than was copied: see witness.
    seen = sum(sample["witness_notifications"] or 0 for sample in samples)
    prefix = "witness_" if seen else ""
    return Trial(
        name=point.name + named,
        said=said,
        requests=sum(sample["requests"] for sample in samples),
        notifications=sum(sample[f"{prefix}notifications"] or 0 for sample in samples),
        copied=sum(sample[f"{prefix}copied"] or 0 for sample in samples),
        errors=" ".join(f"{name}:{count}" for name, count in failed.items()),
        readable=bool(seen)
        or not any(
            preflight.over_reports(point.protocol, release, point.options(arm))
            for arm in arms
        ),
    )


def _read_errors(text: str) -> Iterator[tuple[str, int]]:
    """Yield the errors of a sample as (ENAME, count)."""
    for part in text.split():
        name, _, count = part.partition(":")
        yield name, int(count)


def _af_unix() -> Trial:
    """Send zerocopy on a socket that does not take it."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with near, far, Ring([near.fileno()], RingSetup().holding(PAGE_BYTES)) as ring:
        sender = Sender(
            ring,
            0,
            mode=Mode.SEND_ZC,
            io_size_bytes=1000,
            batch=1,
            options=Options(on_error="count"),
            where="on AF_UNIX",
        )
        try:
            counts = sender.slice(warmup_ns=0, budget_ns=SLICE_NS, requests_max=8)
        except MeasureError as error:
            raise MeasureError(f"the AF_UNIX situation: {error}") from None
    return Trial(
        name="AF_UNIX stream socket, 1000 B",
        said=preflight.of_socket("AF_UNIX"),
        requests=counts["requests"],
        notifications=counts["notifications"],
        copied=counts["copied"],
        errors=" ".join(
            f"{errno_name(number)}:{count}"
            for number, count in counts["errors"].items()
        ),
    )
