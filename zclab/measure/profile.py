"""Profiles: plans by name."""

import time
from dataclasses import replace

from zclab import options as opts
from zclab import presets
from zclab.errors import CapabilityError, InputError
from zclab.params import TABLE_MODES, Mode, Path, Plan, Point, Protocol, grid
from zclab.uring import probe

TCP_MODES = (Mode.SEND, Mode.SEND_ZC, Mode.SEND_ZC_FIXED)

# v5's own benchmark sent 8 requests per submit, and so do both tools by default.
V5_BATCH = 8
# The February 2025 mail: "-n 64", the selftest's default payload, UDP over IPv6.
FEB2025_SIZE = 65435
FEB2025_BATCH = 64
V5_DUMMY_SIZES = (600, 1200, 4000, 8000)
V5_TCP_SIZES = (1200, 4096)
LARGEST_UDP = 65507


def _udp(
    path: Path, family: int, sizes: tuple[int, ...], batch: int
) -> tuple[Point, ...]:
    return grid(
        path=path,
        protocol=Protocol.UDP,
        family=family,
        sizes=sizes,
        modes=TABLE_MODES,
        batch=batch,
    )


def _every_mode(
    path: Path, protocol: Protocol, sizes: tuple[int, ...], batch: int, given: str = ""
) -> tuple[Point, ...]:
    return grid(
        path=path,
        protocol=protocol,
        family=4,
        sizes=sizes,
        modes=tuple(Mode),
        batch=batch,
        given=opts.parse(given),
    )


def _tcp(path: Path, family: int, sizes: tuple[int, ...]) -> tuple[Point, ...]:
    return grid(
        path=path,
        protocol=Protocol.TCP,
        family=family,
        sizes=sizes,
        modes=TCP_MODES,
        batch=1,
    )


# What both mails ask: the dummy table, the February 2025 case over veth and, to
# say why, on the sink; the TCP localhost table.
QUICK = (
    *_udp(Path.SINK, 4, (*V5_DUMMY_SIZES, LARGEST_UDP), V5_BATCH),
    *_udp(Path.VETH, 6, (FEB2025_SIZE,), FEB2025_BATCH),
    *_udp(Path.SINK, 6, (FEB2025_SIZE,), FEB2025_BATCH),
    *_tcp(Path.LO, 4, V5_TCP_SIZES),
)

# The same questions with the sizes between, both families, and each path.
FULL = (
    *_udp(
        Path.SINK,
        4,
        (64, 600, 1200, 1472, 2000, 3000, 4000, 8000, 16000, 32000, LARGEST_UDP),
        V5_BATCH,
    ),
    *_udp(Path.SINK, 6, V5_DUMMY_SIZES, V5_BATCH),
    *_udp(Path.SINK, 6, (FEB2025_SIZE,), FEB2025_BATCH),
    *_udp(Path.VETH, 4, (600, 1200, 4000, 8000, 32000, LARGEST_UDP), V5_BATCH),
    *_udp(Path.VETH, 6, (FEB2025_SIZE,), FEB2025_BATCH),
    *_udp(Path.LO, 4, (1200, 8000, LARGEST_UDP), V5_BATCH),
    *_tcp(Path.LO, 4, (600, 1200, 4096, 16384, 65536)),
    *_tcp(Path.LO, 6, V5_TCP_SIZES),
    *_tcp(Path.VETH, 4, V5_TCP_SIZES),
)

# One short look at each path: for the tests, and for trying an installation.
SMOKE = (
    *_udp(Path.SINK, 4, (1200, 8000), V5_BATCH),
    *_udp(Path.SINK, 6, (FEB2025_SIZE,), FEB2025_BATCH),
    *_udp(Path.VETH, 6, (FEB2025_SIZE,), FEB2025_BATCH),
    *_tcp(Path.LO, 4, V5_TCP_SIZES),
)

# What each habit of the two tools costs beside zclab's own: at a small and a middle
# size, and at the tools' default; the batch is theirs as well.
PRESETS = grid(
    path=Path.SINK,
    protocol=Protocol.UDP,
    family=4,
    sizes=(1200, 8000, FEB2025_SIZE),
    modes=(Mode.SEND, presets.BASIS, *presets.arms(V5_BATCH)),
    batch=V5_BATCH,
)

# Every mode of the field on every path; where something receives, byte by byte
# verified, which costs time of its own.
EVERY_MODE = (
    *_every_mode(Path.SINK, Protocol.UDP, (1200, 8000), V5_BATCH),
    *_every_mode(Path.VETH, Protocol.UDP, (1200, 8000), V5_BATCH, "verify=on"),
    *_every_mode(Path.VETH, Protocol.TCP, (4096,), 1, "verify=on"),
    *_every_mode(Path.LO, Protocol.UDP, (8000,), V5_BATCH, "verify=on"),
    *_every_mode(Path.LO, Protocol.TCP, (4096,), 1, "verify=on"),
)

# What MSG_ZEROCOPY costs beside io_uring, by requests per submit.
SYSCALLS = tuple(
    point
    for batch in (1, 8, 64)
    for point in grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=(1200, 8000, FEB2025_SIZE),
        modes=(
            *(Mode.SEND, Mode.SEND_ZC, Mode.SEND_ZC_FIXED),
            *(Mode.SEND_SYNC, Mode.MSG_ZEROCOPY),
        ),
        batch=batch,
    )
)

# One option at a time beside zclab's own way to send.
OPTIONS = grid(
    path=Path.SINK,
    protocol=Protocol.UDP,
    family=4,
    sizes=(1200, 8000, FEB2025_SIZE),
    modes=(
        Mode.SEND,
        *(
            f"{Mode.SEND}:{option}"
            for option in ("addressed=on", "pages=thp", "flows=4", "taskrun=coop")
        ),
        Mode.SEND_ZC_FIXED,
        *(
            f"{Mode.SEND_ZC_FIXED}:{option}"
            for option in (
                *("report_usage=off", "latency=on", "clock=1"),
                *("taskrun=default", "taskrun=coop", "sqpoll=on"),
                *("drain=batch", "drain=each", "lag=1"),
                *("file=off", "ring=off", "addressed=on", "flows=4"),
                *("pages=thp", "offset=100", "buffers=64", "sndbuf=0"),
                *("batch=1", "batch=64", "batch=512"),
            )
        ),
    ),
    batch=V5_BATCH,
)

PROFILES: dict[str, tuple[tuple[Point, ...], int]] = {
    "quick": (QUICK, 300),
    "full": (FULL, 600),
    "smoke": (SMOKE, 8),
    presets.PROFILE: (PRESETS, 300),
    "modes": (EVERY_MODE, 100),
    "syscalls": (SYSCALLS, 100),
    "options": (OPTIONS, 100),
}
CUSTOM_BLOCKS = 300


def plan(name: str, seed: int = 0) -> Plan:
    """Return the plan of a profile.

    Args:
        name: one of `PROFILES`.
        seed: of the order of points and arms; 0 draws one from the clock, and the
            plan records it.

    Raises:
        InputError: no such profile.

    """
    if name not in PROFILES:
        known = ", ".join(PROFILES)
        raise InputError(f"profile {name!r} is unknown; use one of: {known}")
    points, blocks = PROFILES[name]
    if name == "modes":
        missing = _missing_modes()
        points = tuple(
            replace(point, modes=tuple(m for m in point.modes if m not in missing))
            for point in points
        )
    return Plan(profile=name, points=points, seed=seed or drawn_seed(), blocks=blocks)


def _missing_modes() -> set[str]:
    """Return the modes that this kernel refuses; `zclab modes` says why."""
    missing = set()
    for mode in Mode:
        try:
            probe.mode(mode)
        except CapabilityError:
            missing.add(str(mode))
    return missing


def custom(points: tuple[Point, ...], *, blocks: int = 0, seed: int = 0) -> Plan:
    """Return a plan of any points; 0 blocks or seed mean the default and a draw."""
    return Plan(
        profile="custom",
        points=points,
        seed=seed or drawn_seed(),
        blocks=blocks or CUSTOM_BLOCKS,
    )


def drawn_seed() -> int:
    """Return a seed from the clock; it is never 0."""
    return time.time_ns() // 1_000_000 % (1 << 31) + 1
