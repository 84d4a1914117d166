"""What can be measured: points, arms and plans, validated before anything runs.

A *point* is one combination of factors, an *arm* is a mode inside a point, a
*block* is one pass over all arms of a point in random order, and a *plan* is
what a run executes. All of it is fixed, and hashed, before the first sample.
"""

import hashlib
import json
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from functools import cache
from typing import Any, Self, TypeVar

from zclab import options as opts
from zclab import situation as situations
from zclab.errors import InputError
from zclab.options import BATCH_MAX, Given, Options
from zclab.truth import Truth


class Mode(StrEnum):
    """How a request is sent; the field's own names."""

    SEND = "send"
    SEND_ZC = "send_zc"
    SEND_ZC_FIXED = "send_zc_fixed"
    MIXED = "mixed"
    SENDMSG = "sendmsg"
    SENDMSG_ZC = "sendmsg_zc"
    SENDMSG_ZC_FIXED = "sendmsg_zc_fixed"
    SEND_VEC = "send_vec"  # IORING_SEND_VECTORIZED
    SEND_ZC_VEC = "send_zc_vec"
    SEND_SYNC = "send_sync"  # sendmsg(2), without io_uring
    MSG_ZEROCOPY = "msg_zerocopy"  # the same with MSG_ZEROCOPY

    @property
    def zerocopy(self) -> bool:
        """Whether the mode asks for zerocopy, at least in some requests."""
        return self not in _PLAIN

    @property
    def by_ring(self) -> bool:
        """Whether requests go through io_uring."""
        return self not in {Mode.SEND_SYNC, Mode.MSG_ZEROCOPY}

    @property
    def scattered(self) -> bool:
        """Whether a request may have several iovecs."""
        return self not in {Mode.SEND, Mode.SEND_ZC, Mode.SEND_ZC_FIXED}

    @property
    def pins(self) -> bool:
        """Whether pages of a request are charged to the locked-memory limit.

        Registered ones are not again. Source: io_uring_enter(2), IORING_OP_SEND_ZC;
        msg_zerocopy.rst.
        """
        return self.zerocopy and not self.fixed

    @property
    def fixed(self) -> bool:
        """Whether requests send from a registered buffer."""
        return self in {Mode.SEND_ZC_FIXED, Mode.SENDMSG_ZC_FIXED}


_PLAIN = frozenset({Mode.SEND, Mode.SENDMSG, Mode.SEND_VEC, Mode.SEND_SYNC})

# The modes of the selftest and of the published tables.
TABLE_MODES = (Mode.SEND, Mode.SEND_ZC, Mode.SEND_ZC_FIXED, Mode.MIXED)


class Path(StrEnum):
    """Where the packets go."""

    SINK = "sink"  # a device that drops: see `situation.RUNGS`
    VETH = "veth"  # a live receiver in a second network namespace
    LO = "lo"  # a live receiver over loopback
    NIC = "nic"  # a device of this host, and what is behind it


class Protocol(StrEnum):
    """The transport under the socket."""

    UDP = "udp"
    TCP = "tcp"


E = TypeVar("E", bound=StrEnum)

LEAST_BLOCKS = 40  # of a point that stops by its precision

BASELINE = Mode.SEND
CONTROL = "control"  # the arm that repeats the baseline: the A/A comparison

UDP_MAX_BYTES = 65507  # 65535 - 20 (IPv4) - 8 (UDP); applied to IPv6 as well
TCP_MAX_BYTES = 1 << 20  # a bound on the buffer, not one of the protocol

IP_HEADER_BYTES = {4: 20, 6: 40}

ONE_ADDRESS = (
    "addressed=on names one address in all requests, so all flows would send to the "
    "first one's receiver"
)


def parse_enum(kind: type[E], text: str, what: str) -> E:
    """Return the member of `kind` that `text` names.

    Raises:
        InputError: no such member; the message lists those there are.

    """
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(kind)
        raise InputError(f"{what} {text!r} is unknown; use one of: {known}") from None


def parse_int(text: str, what: str) -> int:
    """Return the whole number that `text` spells, or raise InputError."""
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{what} {text!r} is not a whole number") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One combination of factors; its arms are its modes plus the control.

    Attributes:
        modes: the arms, each a mode, or a mode with options (`send_zc:lag=8`).
        given: options that all arms share, the baseline too.
        situation: what is done to the path on purpose, in its one spelling; empty
            for nothing.

    """

    path: Path
    protocol: Protocol
    family: int
    io_size_bytes: int
    batch: int
    modes: tuple[str, ...] = TABLE_MODES
    given: Given = ()
    situation: str = ""

    def __post_init__(self) -> None:
        modes = tuple(opts.canonical(arm) for arm in self.modes)
        object.__setattr__(self, "modes", modes)
        situation = situations.completed(
            situations.parse(self.situation),
            path=str(self.path),
            protocol=str(self.protocol),
        )
        object.__setattr__(self, "situation", situation)
        self._check_path()
        self._check_size()
        if not 1 <= self.batch <= BATCH_MAX:
            raise InputError(
                f"batch {self.batch} is out of range; use 1 to {BATCH_MAX} "
                "requests per submit"
            )
        if len(set(self.modes)) != len(self.modes):
            raise InputError(f"modes {','.join(self.modes)} name one mode twice")
        if BASELINE not in self.modes:
            raise InputError(
                f"modes {','.join(self.modes)} leave out the baseline; add {BASELINE}"
            )
        for arm in self.modes:
            _check_arm(self, arm)

    def _check_path(self) -> None:
        if self.family not in IP_HEADER_BYTES:
            raise InputError(f"family {self.family} is unknown; use 4 or 6")
        situations.check(
            self.situation,
            path=str(self.path),
            protocol=str(self.protocol),
            family=self.family,
        )

    def _check_size(self) -> None:
        limit = UDP_MAX_BYTES if self.protocol is Protocol.UDP else TCP_MAX_BYTES
        if not 1 <= self.io_size_bytes <= limit:
            raise InputError(
                f"size {self.io_size_bytes} is out of range; "
                f"use 1 to {limit} bytes for {self.protocol}"
            )

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms: the modes in order, then the control."""
        return (*self.modes, CONTROL)

    @property
    def place(self) -> str:
        """Path and situation as one word: what is set up for the point."""
        return situations.place(str(self.path), self.situation)

    @property
    def has_receiver(self) -> bool:
        """Whether a socket of this host takes what is sent."""
        # A responder is none: it sees headers, and the data are dropped.
        words = situations.facts(self.situation)
        if self.path is Path.SINK:
            return "own-address" in words
        return self.path is not Path.NIC and "peer-drop" not in words

    @property
    def factors(self) -> dict[str, str | int]:
        """The point's name and factors, as the columns of `schema` that hold them."""
        return {
            "point": self.name,
            "path": str(self.path),
            "situation": self.situation,
            "protocol": str(self.protocol),
            "family": self.family,
            "io_size_bytes": self.io_size_bytes,
            "batch": self.batch,
        }

    @property
    def name(self) -> str:
        """One word that tells this point from all others of a plan."""
        plain = (
            f"{self.place}-{self.protocol}{self.family}"
            f"-{self.io_size_bytes}B-n{self.batch}"
        )
        return f"{plain}-{opts.spell(self.given)}" if self.given else plain

    def options(self, arm: str) -> Options:
        """Return the options an arm sends with: its own over the point's."""
        return Options.of(self.given, _split(arm)[1])

    def arm_batch(self, arm: str) -> int:
        """Return the requests per submit of an arm: its own, else the point's."""
        return self.options(arm).batch or self.batch

    def to_json(self) -> dict[str, Any]:
        """Return the point as plain JSON values; of the last two what there is."""
        values = asdict(self)
        given, situation = values.pop("given"), values.pop("situation")
        if given:
            values["options"] = dict(given)
        if situation:
            values["situation"] = situation
        return values


def arm_mode(arm: str) -> Mode:
    """Return the mode that an arm sends with; the control sends as the baseline.

    Raises:
        InputError: there is no such mode.

    """
    return BASELINE if arm == CONTROL else _split(arm)[0]


@cache
def _split(arm: str) -> tuple[Mode, Given]:
    """Return mode and options of an arm, from the name that is in the data."""
    if arm == CONTROL:
        return BASELINE, ()
    mode, given = opts.split_arm(arm)
    return parse_enum(Mode, mode, "mode"), given


def _check_arm(point: Point, arm: str) -> None:
    """Raise InputError when an arm's options do not fit its mode or its point."""
    mode, options = arm_mode(arm), point.options(arm)
    batch = point.arm_batch(arm)
    tcp = point.protocol is Protocol.TCP
    verified = options.segment or point.io_size_bytes
    endless = _endless(point, mode, options, batch)
    wrong: dict[str, bool] = {
        f"batch {batch} over tcp reorders the stream (several requests of one socket "
        "in flight); use --batch 1, as many flows, or ask for it: reorder=on": tcp
        and mode.by_ring
        and batch > options.flows
        and not options.reorder,
        "segment is an option of udp": tcp and options.segment > 0,
        "addressed is an option of udp": tcp and options.addressed,
        "nodelay is an option of tcp": not tcp and options.nodelay,
        "eor is an option of tcp": not tcp and options.eor,
        "congestion is an option of tcp": not tcp and options.congestion != "",
        f"iovecs={options.iovecs}: mode {mode} sends one piece; use a sendmsg or vec "
        "mode": options.iovecs > 1 and not mode.scattered,
        f"iovecs={options.iovecs} is more than the {point.io_size_bytes} bytes of a "
        "request": options.iovecs > point.io_size_bytes,
        "mix is an option of mode mixed": mode is not Mode.MIXED
        and options.mix != Options().mix
        and "mix" in dict(_split(arm)[1]),
        f"segment={options.segment} would cut {point.io_size_bytes} B into more than "
        f"{opts.SEGMENTS_MAX} datagrams": options.segment * opts.SEGMENTS_MAX
        < point.io_size_bytes
        and options.segment > 0,
        f"sqpoll excludes taskrun={options.taskrun}: no thread of ours is interrupted; "
        "leave taskrun out": options.sqpoll and options.taskrun in {"coop", "defer"},
        f"batch {batch} does not fit sq={options.sq} entries": batch > options.sq,
        f"cq={options.cq} is less than sq={options.sq}; the kernel refuses that": (
            options.cq < options.sq
        ),
        f"sqpoll=on with threads={options.threads}: CPU time and switches are those of "
        "the whole process, and each thread would count them; leave threads out": (
            options.sqpoll and options.threads > 1
        ),
        "cork is for one socket; leave flows out": options.cork and options.flows > 1,
        f"more={options.more} gathers on one socket; leave flows out": options.more > 1
        and options.flows > 1,
        f"{ONE_ADDRESS}; leave flows out": options.addressed
        and options.flows > 1
        and point.has_receiver,
        endless: endless != "",
        "verify needs a receiver; use --path veth or lo": options.verify
        and not (point.has_receiver or point.path is Path.NIC),
        "verify has one buffer for each request in flight; leave buffers out": (
            options.verify and options.buffers > 1
        ),
        "verify stamps at least 8 bytes, and requests of whole segments": (
            options.verify and (verified < 8 or point.io_size_bytes % verified > 0)
        ),
        "verify=on with waitall=off over tcp: the rest of a short send is not sent, so "
        "the stream would look corrupt; leave waitall out": tcp
        and mode.by_ring
        and options.verify
        and not options.waitall,
    }
    for why, is_so in wrong.items():
        if is_so:
            raise InputError(f"{arm} on {point.name}: {why}")


def _endless(point: Point, mode: Mode, options: Options, batch: int) -> str:
    """Return why drain=each would await what is still held back, or nothing.

    The notifications of a datagram or a segment come when it has left: over UDP an
    incomplete one never does, TCP sends it after a timer of 200 ms (tcp(7), TCP_CORK).
    io_uring copies what UDP gathers, and notifies at once, unless there is a segment
    (__ip_append_data, net/ipv4/ip_output.c).
    """
    gathered = batch if options.cork else options.more
    # Without the ring each send is awaited by itself, whatever the batch.
    awaited = batch if mode.by_ring else 1
    if options.drain != "each" or not mode.zerocopy or awaited % gathered == 0:
        return ""
    if point.protocol is Protocol.UDP and mode.by_ring and not options.segment:
        return ""
    if options.cork:
        return (
            f"drain=each of mode {mode} awaits each send while cork holds a batch of "
            f"{batch} back; leave cork or drain out, or use batch=1"
        )
    cure = f", or use a batch that {gathered} divides" if mode.by_ring else ""
    return (
        f"drain=each awaits {awaited} sent at a time while more={gathered} holds some "
        f"of them back; leave more or drain out{cure}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """When a point has enough blocks: as soon as every contrast is known well enough.

    Attributes:
        precision: half-width of a contrast's 95 % interval, in percent points of
            the gain, that is narrow enough.
        least: blocks that every point gets.
        point_budget_s: machine seconds that a point may take; 0 for no bound.
        budget_s: machine seconds that the run may take; 0 for no bound.
        contrasts: arms whose gain over the baseline counts; empty for all but the
            control.

    """

    precision: float
    least: int = LEAST_BLOCKS
    point_budget_s: float = 0.0
    budget_s: float = 0.0
    contrasts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        contrasts = tuple(
            name if name == CONTROL else opts.canonical(name) for name in self.contrasts
        )
        object.__setattr__(self, "contrasts", contrasts)
        if not 0.01 <= self.precision <= 100:
            raise InputError(
                f"precision {self.precision:g} is out of range; use 0.01 to 100 "
                "percent points"
            )
        if not 6 <= self.least <= 1_000_000:
            raise InputError(
                f"least {self.least} is out of range; use 6 blocks (fewer give no "
                "95 % interval of a median) to 1000000"
            )
        for name in ("point_budget_s", "budget_s"):
            seconds = getattr(self, name)
            if not (0 <= seconds < math.inf):
                raise InputError(
                    f"{name} {seconds:g} is out of range; use seconds, 0 for no bound"
                )

    def of(self, point: Point) -> tuple[str, ...]:
        """Return the arms of a point whose gain decides when it stops."""
        named = self.contrasts or point.modes
        return tuple(arm for arm in point.arms if arm in named and arm != BASELINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run executes. Two plans with one hash are the same experiment.

    Attributes:
        profile: name of the profile it came from, or `custom`.
        seed: seed of the order of points and arms.
        blocks: blocks per point; with `stop` the most that a point gets.
        slice_ns: timed part of one sample; 0 when a pilot chooses it for each point
            before the first sample.
        warmup_ns: untimed sends directly before the timed part.
        stop: when a point has enough blocks; None for a fixed number.
        excluded: points that the plan leaves out, each with the reason.
        synthetic: the truth that a model measures instead of a kernel; None for real.
        lenient: points that this host refuses are left out, with what it said, instead
            of ending the run before it begins.

    """

    profile: str
    points: tuple[Point, ...]
    seed: int
    blocks: int = 300
    slice_ns: int = 10_000_000
    warmup_ns: int = 1_000_000
    report_usage: bool = True
    format_version: int = field(default=1)
    stop: Stop | None = None
    excluded: tuple[tuple[str, str], ...] = ()
    synthetic: Truth | None = None
    lenient: bool = False

    def __post_init__(self) -> None:
        if not self.points:
            raise InputError("the plan has no points; give at least one size")
        names = [point.name for point in self.points]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"the plan names the point {twice[0]} twice")
        if not 1 <= self.blocks <= 1_000_000:
            raise InputError(f"blocks {self.blocks} is out of range; use 1 to 1000000")
        if self.slice_ns and not 100_000 <= self.slice_ns <= 2_000_000_000:
            raise InputError(
                f"slice of {self.slice_ns} ns is out of range; use 0.1 ms to 2 s"
            )
        if not 0 <= self.warmup_ns <= 2_000_000_000:
            raise InputError(
                f"warm-up of {self.warmup_ns} ns is out of range; use 0 to 2 s"
            )
        if not 0 <= self.seed < 1 << 63:
            raise InputError(f"seed {self.seed} is out of range; use 0 to 2**63-1")
        self._check_stop()

    def _check_stop(self) -> None:
        if self.stop is None:
            return
        if self.blocks < self.stop.least:
            raise InputError(
                f"blocks {self.blocks} is less than the {self.stop.least} that every "
                "point gets; raise blocks or lower least"
            )
        for point in self.points:
            if not self.stop.of(point):
                raise InputError(
                    f"{point.name} has nothing to stop by: none of its arms "
                    f"{','.join(point.modes)} is a contrast; name one besides "
                    f"{BASELINE}, or {CONTROL}"
                )

    @property
    def samples(self) -> int:
        """Samples of a complete run; with `stop` the most there can be."""
        return self.blocks * sum(len(point.arms) for point in self.points)

    @property
    def total_blocks(self) -> int:
        """Blocks of a complete run, over all points; with `stop` the most."""
        return self.blocks * len(self.points)

    @property
    def places(self) -> tuple[str, ...]:
        """The places that the plan uses, each once, in order of first use."""
        return tuple(dict.fromkeys(point.place for point in self.points))

    def order(self, point: Point, block: int) -> list[str]:
        """Return the random order of the arms in one block of a point.

        It depends on seed, point and block alone, so that a run that is resumed goes
        on as it would have.
        """
        draw = random.Random(f"{self.seed} {point.name} {block}")
        return draw.sample(point.arms, len(point.arms))

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON values.

        What came later than the first plans is there only where it is used, so that
        a plan without it keeps its hash.
        """
        values = {
            one.name: getattr(self, one.name)
            for one in fields(Plan)
            if one.name not in {"stop", "excluded", "synthetic", "lenient"}
        }
        values["points"] = [point.to_json() for point in self.points]
        if self.stop:
            values["stop"] = asdict(self.stop)
        if self.excluded:
            values["excluded"] = dict(self.excluded)
        if self.synthetic:
            values["synthetic"] = self.synthetic.to_json()
        if self.lenient:
            values["lenient"] = True
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the plan that `to_json` wrote.

        Raises:
            InputError: a value is missing, unknown or out of range.

        """
        try:
            found = dict(values)
            found["points"] = tuple(_read_point(one) for one in values["points"])
            if "stop" in found:
                stop = dict(found["stop"])
                stop["contrasts"] = tuple(stop.get("contrasts", ()))
                found["stop"] = Stop(**stop)
            if "excluded" in found:
                found["excluded"] = tuple(found["excluded"].items())
            if "synthetic" in found:
                found["synthetic"] = Truth.from_json(found["synthetic"])
            return cls(**found)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"the plan cannot be read: {error!r}") from None

    @property
    def hash(self) -> str:
        """SHA-256 of the plan's canonical JSON, in hex."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _read_point(values: Mapping[str, Any]) -> Point:
    return Point(
        path=Path(values["path"]),
        protocol=Protocol(values["protocol"]),
        family=values["family"],
        io_size_bytes=values["io_size_bytes"],
        batch=values["batch"],
        modes=tuple(values["modes"]),
        given=_read_options(values.get("options", {})),
        situation=values.get("situation", ""),
    )


def _read_options(values: Mapping[str, Any]) -> Given:
    """Return options from plain JSON values, checked as if they had been typed."""
    return opts.parse(opts.spell(values.items()))


def grid(
    *,
    path: Path,
    protocol: Protocol,
    family: int,
    sizes: Iterable[int],
    modes: tuple[str, ...],
    batch: int,
    given: Given = (),
    situation: str = "",
) -> tuple[Point, ...]:
    """Return one point per size, alike in everything else."""
    return tuple(
        Point(
            path=path,
            protocol=protocol,
            family=family,
            io_size_bytes=size,
            batch=batch,
            modes=modes,
            given=given,
            situation=situation,
        )
        for size in sizes
    )
