"""Cells: what is put side by side. All contenders of a cell send the same payload.

- flags: the peer with some flags, and zclab with the same in its own options.
- tuned: the peer's flags, and what zclab has besides them.
- python: a loop over socket.send, and what of it is Python's cost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from zclab import options as opts
from zclab.bench.peer import Flags, Peer
from zclab.errors import InputError
from zclab.params import UDP_MAX_BYTES, Path, Protocol

UDP_SIZES = (600, 1200, 4000, 8000, 65435)  # v5's dummy table; the peer's largest
TCP_SIZES = (1024, 32768)
UDP_BATCH = 8  # the peer's default
TCP_BATCH = 1  # more would reorder the stream
TUNED_BATCH = 64
PYTHON_SIZES = (600, 8000)
SEGMENTS = 64  # UDP_MAX_SEGMENTS before Linux 6.9
# A connection is slower at first, by how long it has been open: sides that open it
# at other moments would differ by that.
TCP_SECONDS = 1


class Table(StrEnum):
    """The three tables of the page."""

    FLAGS = "flags"
    TUNED = "tuned"
    PYTHON = "python"


class Kind(StrEnum):
    """Who sends."""

    PEER = "peer"
    ZCLAB = "zclab"
    PYTHON = "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to send.

    Attributes:
        name: the peer's flags, zclab's arm, or `socket.send`.
        io_size_bytes: payload of one request.
        datagrams: datagrams that one request makes, or 1.
        flags: the peer's.

    """

    kind: Kind
    name: str
    io_size_bytes: int
    datagrams: int = 1
    flags: Flags | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values, without what its name says already."""
        values = asdict(self)
        del values["flags"]
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Contenders that are measured one after the other, round by round.

    Attributes:
        io_size_bytes: payload of one datagram, or of one request over TCP.
        seconds: the peer's -t at least.

    """

    name: str
    table: Table
    path: Path
    protocol: Protocol
    io_size_bytes: int
    batch: int
    contenders: tuple[Contender, ...]
    seconds: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the cell as plain JSON values."""
        return {
            **asdict(self),
            "contenders": [contender.to_json() for contender in self.contenders],
        }


def flags(*, defer: bool) -> tuple[Flags, ...]:
    """Return plain, zerocopy, and zerocopy from a registered buffer."""
    return tuple(
        Flags(zerocopy=zerocopy, fixed=fixed, defer=defer)
        for zerocopy, fixed in ((False, False), (True, False), (True, True))
    )


def all_cells(peer: Peer) -> tuple[Cell, ...]:
    """Return every cell, in the order of the page."""
    return (*_same(peer), *_tuned(peer), *_in_python())


def named(cells: Sequence[Cell], patterns: str) -> tuple[Cell, ...]:
    """Return the cells whose name matches one of `patterns`, `udp-600-*,tuned-*`.

    Raises:
        InputError: a pattern matches none.

    """
    wanted = [pattern.strip() for pattern in patterns.split(",")]
    for pattern in wanted:
        if not any(fnmatchcase(cell.name, pattern) for cell in cells):
            known = ", ".join(cell.name for cell in cells)
            raise InputError(f"cells {pattern!r}: there is none; there are: {known}")
    return tuple(
        cell
        for cell in cells
        if any(fnmatchcase(cell.name, pattern) for pattern in wanted)
    )


def _peers(chosen: Sequence[Flags], io_size_bytes: int) -> Iterator[Contender]:
    for found in chosen:
        yield Contender(
            kind=Kind.PEER, name=str(found), io_size_bytes=io_size_bytes, flags=found
        )


def _ours(arm: str, io_size_bytes: int, datagrams: int = 1) -> Contender:
    return Contender(
        kind=Kind.ZCLAB,
        name=opts.canonical(arm),
        io_size_bytes=io_size_bytes * datagrams,
        datagrams=datagrams,
    )


def _same(peer: Peer) -> Iterator[Cell]:
    udp = [(Path.SINK, Protocol.UDP, size, UDP_BATCH) for size in UDP_SIZES]
    tcp = [(Path.VETH, Protocol.TCP, size, TCP_BATCH) for size in TCP_SIZES]
    for path, protocol, size, batch in (*udp, *tcp):
        for found in flags(defer=peer.defers):
            arm = f"{found.mode}:{peer.options(found, batch)}"
            short = "".join(found.argv[:2]).replace("-d", "").replace("-", "")
            yield Cell(
                name=f"{protocol}-{size}-{short}",
                table=Table.FLAGS,
                path=path,
                protocol=protocol,
                io_size_bytes=size,
                batch=batch,
                contenders=(*_peers([found], size), _ours(arm, size)),
                seconds=TCP_SECONDS if protocol is Protocol.TCP else 0,
            )


# What every candidate has: nothing is asked of the kernel that does not help to send.
_LEAN = "report_usage=off:clock=1024:waitall=off"


def _tuned(peer: Peer) -> Iterator[Cell]:
    for size in UDP_SIZES:
        single = [
            f"send:{_LEAN}",
            f"send:{_LEAN}:sq=64:cq=256",
            f"send:{_LEAN}:taskrun=coop",
            f"send_zc_fixed:{_LEAN}",
            f"send_zc_fixed:{_LEAN}:taskrun=coop",
            f"send_zc_fixed:{_LEAN}:pages=thp",
            f"send_zc_fixed:{_LEAN}:pages=thp:taskrun=coop",
            f"send_zc_fixed:{_LEAN}:pages=thp:drain=batch",
            f"send:{_LEAN}:sqpoll=on",
            f"send_zc_fixed:{_LEAN}:pages=thp:sqpoll=on",
        ]
        cut = [
            f"send:{_LEAN}:segment={size}",
            f"send_zc_fixed:{_LEAN}:segment={size}:pages=thp",
            f"send_zc_fixed:{_LEAN}:segment={size}:pages=thp:taskrun=coop",
        ]
        # Its notifications keep up better without -d in some kernels: both count.
        theirs = [
            found
            for defer in ((True, False) if peer.defers else (False,))
            for found in flags(defer=defer)
        ]
        datagrams = min(SEGMENTS, UDP_MAX_BYTES // size)
        several = cut if datagrams > 1 else []
        yield Cell(
            name=f"tuned-{size}",
            table=Table.TUNED,
            path=Path.SINK,
            protocol=Protocol.UDP,
            io_size_bytes=size,
            batch=TUNED_BATCH,
            contenders=(
                *_peers(theirs, size),
                *(_ours(arm, size) for arm in single),
                *(_ours(arm, size, datagrams) for arm in several),
            ),
        )


def _in_python() -> Iterator[Cell]:
    for size in PYTHON_SIZES:
        yield Cell(
            name=f"python-{size}",
            table=Table.PYTHON,
            path=Path.SINK,
            protocol=Protocol.UDP,
            io_size_bytes=size,
            batch=UDP_BATCH,
            contenders=(
                Contender(kind=Kind.PYTHON, name="socket.send", io_size_bytes=size),
                _ours("send_sync:sndbuf=0", size),
                _ours(f"send:{_LEAN}:sndbuf=0", size),
            ),
        )
