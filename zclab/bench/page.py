"""The page: a record in Markdown, with all that a reader needs to judge it."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from zclab import options as opts
from zclab import stats, store
from zclab.bench import record as records
from zclab.bench.cell import SEGMENTS, TUNED_BATCH, Kind, Table
from zclab.bench.peer import STARTUP_MS
from zclab.bench.record import Cell, Record, Score

NAME = "bench.md"

_CUT = "UDP_SEGMENT"
_THREAD = "SQPOLL, two CPUs"
_SINGLE = "one datagram a request"


def place(written: Path, *, whole: bool) -> Path:
    """Return where a record's page belongs: docs/ for the whole bench, or beside it."""
    if whole:
        return store.home() / "docs" / NAME
    return written.with_suffix(".md")


def markdown(record: Record) -> str:
    """Return the page of a record."""
    parts = [
        "# Bench",
        "zclab's sender against liburing's own `examples/send-zerocopy`, sample by "
        f"sample on one machine. Made by `{record['command']}`; do not edit it.",
        *_stopped(record),
        "\n".join(_facts(record)),
        *_flags(record),
        *_tuned(record),
        *_python(record),
        *_failures(record),
    ]
    return "\n\n".join(parts) + "\n"


def _stopped(record: Record) -> Iterator[str]:
    if record["stopped"]:
        yield "**It was stopped before its end; these are the rounds it finished.**"


def _facts(record: Record) -> Iterator[str]:
    host, software, peer = record["host"], record["host"]["software"], record["peer"]
    code = f"zclab {software['zclab']}, commit {software['commit'] or 'unknown'}"
    if software["dirty"]:
        code += " and uncommitted changes"
    limit = min(facts["memlock_bytes"] for facts in record["paths"].values())
    devices = ", ".join(
        f"{path}: {facts['kind']}" for path, facts in record["paths"].items()
    )
    yield f"- {record['taken_at']}, {code}"
    yield (
        f"- Linux {host['kernel']['release']} on {host['cpu']['model']}, "
        f"{host['cpu']['usable']} CPUs"
        + (f", virtual machine ({host['hypervisor']})" if host["hypervisor"] else "")
        + f"; load average {host['load_1m']} before"
    )
    yield (
        f"- zclab's shim: liburing {software['liburing']}, {software['compiler']}; "
        f"Python {software['python']}"
    )
    yield (
        f"- peer: `{peer['name']}` of liburing {peer['version'] or 'unknown'}, SHA-256 "
        f"{peer['sha256'][:16]}"
    )
    yield f"- paths: {devices}; locked-memory limit: " + (
        "none" if limit < 0 else f"{limit >> 10} KiB"
    )
    yield (
        f"- {record['pairs']} rounds, {STARTUP_MS + 1000 * record['seconds']} ms a "
        f"sample, seed {record['seed']}; ratios are medians of paired rounds with "
        f"their exact {stats.CONFIDENCE:.0%} order-statistic interval"
    )


def _flags(record: Record) -> Iterator[str]:
    cells = records.cells_of(record, Table.FLAGS)
    if not cells:
        return
    yield "## The same flags"
    yield (
        "Both sides on one CPU, each sample in a new process with a new socket, ring "
        "and buffer. zclab sends with the options that say what the peer's flags do: "
        "its ring setup, its SO_SNDBUF, its moments to fetch notifications and to look "
        "at its clock. UDP goes over IPv4 to the sink; TCP "
        "over veth, where zclab's receiver on the other CPU takes what both send. "
        f"{_over_tcp(record, cells)}Above 1.00 zclab is faster."
    )
    yield _grid(
        (
            "path",
            "B",
            "batch",
            "flags",
            "peer k/s",
            "zclab k/s",
            "ratio, interval",
            "n",
        ),
        [
            (
                f"{cell['protocol']}, {cell['path']}",
                cell["io_size_bytes"],
                cell["batch"],
                f"`{found.theirs.name}`",
                _thousands(found.theirs.rate),
                _thousands(found.ours.rate),
                _ratio(found),
                found.ratio.n,
            )
            for cell in cells
            if (found := _duel(cell))
        ],
    )
    if "T" in record["peer"]["knows"]:  # it has threads, and tells its time
        yield (
            "The peer's clock counts whole milliseconds and is read every 16 batches. "
            "What that rounds off on average, at most half a millisecond a sample, is "
            "added to its rate."
        )
    else:
        yield (
            "This peer does not tell how long it sent, so its nominal time is taken. "
            "It looks at its clock after every batch."
        )


def _over_tcp(record: Record, cells: Sequence[Cell]) -> str:
    """Return what TCP samples have of their own; older records have nothing."""
    said = []
    seconds = max((cell.get("seconds", 0) for cell in cells), default=0)
    if seconds > record["seconds"]:
        said.append(
            f"its samples take {STARTUP_MS + 1000 * seconds} ms, as a connection is "
            "slower at first"
        )
    controls = [
        facts["congestion_control"]
        for facts in record["paths"].values()
        if "congestion_control" in facts
    ]
    if controls:
        said.append(
            f"congestion control is {controls[0]} for both, as one that paces would "
            "be what is measured"
        )
    return f"Over TCP {', and '.join(said)}. " if said else ""


def _duel(cell: Cell) -> Score | None:
    return records.score(
        cell, records.of_kind(cell, Kind.ZCLAB), records.of_kind(cell, Kind.PEER)
    )


def _tuned(record: Record) -> Iterator[str]:
    cells = records.cells_of(record, Table.TUNED)
    if not cells:
        return
    yield "## Tuned"
    yield (
        "The best of zclab's candidates against the best of the peer's flags (-z0, "
        "-z1 -b0, -z1 -b1, each with and without -d where it has that), UDP over IPv4 "
        f"to the sink, batch {TUNED_BATCH} on both sides. The best were "
        "chosen in every other round, and the ratio is of the rounds between. "
        f"{_CUT}: one request is cut into up to {SEGMENTS} datagrams of that size. "
        "The sink takes such a packet whole, as a card does that cuts by itself; so "
        "this is what the sender saves, not what a card then makes of it. SQPOLL: a "
        "kernel thread on the second CPU submits. CPUs is the CPU time of all threads "
        "over the time."
    )
    rows = []
    for cell in cells:
        for family, ours in _families(cell).items():
            found = records.score(
                cell, ours, records.of_kind(cell, Kind.PEER), chosen=True
            )
            if found:
                rows.append(
                    (
                        cell["io_size_bytes"],
                        family,
                        f"`{found.ours.name}`",
                        _thousands(found.ours.rate),
                        f"{found.ours.cpus:.2f}",
                        f"`{found.theirs.name}`",
                        _thousands(found.theirs.rate),
                        _ratio(found),
                        found.ratio.n,
                    )
                )
    yield _grid(
        (
            "B",
            "with",
            "zclab's best",
            "datagrams k/s",
            "CPUs",
            "peer's best",
            "k/s",
            "ratio, interval",
            "n",
        ),
        rows,
    )


def _families(cell: Cell) -> dict[str, list[int]]:
    """Return zclab's candidates by what they need that others do not."""
    found: dict[str, list[int]] = {_SINGLE: [], _CUT: [], _THREAD: []}
    for index in records.of_kind(cell, Kind.ZCLAB):
        contender = cell["contenders"][index]
        options = dict(opts.split_arm(contender["name"])[1])
        if options.get("sqpoll"):
            found[_THREAD].append(index)
        elif contender["datagrams"] > 1:
            found[_CUT].append(index)
        else:
            found[_SINGLE].append(index)
    return {family: indices for family, indices in found.items() if indices}


def _python(record: Record) -> Iterator[str]:
    cells = records.cells_of(record, Table.PYTHON)
    if not cells:
        return
    yield "## The cost of Python"
    yield (
        "One UDP datagram per call of `socket.send` in a Python loop, against zclab's "
        "C loops: `send_sync`, which is a sendmsg(2) with all that zclab checks, and "
        "the ring. The ratio is of requests/s over Python's."
    )
    rows = []
    for cell in cells:
        python = records.of_kind(cell, Kind.PYTHON)
        for index in records.of_kind(cell, Kind.ZCLAB):
            found = records.score(cell, [index], python)
            if found:
                rows.append(
                    (
                        cell["io_size_bytes"],
                        _ns(found.theirs.rate),
                        f"`{found.ours.name}`",
                        _ns(found.ours.rate),
                        _ratio(found),
                        found.ratio.n,
                    )
                )
    yield _grid(
        ("B", "Python ns", "zclab", "zclab ns", "ratio, interval", "n"),
        rows,
    )


def _failures(record: Record) -> Iterator[str]:
    lines = [
        f"- {cell['name']}, `{name}`: {why}"
        for cell in record["cells"]
        for name, why in cell["failed"].items()
    ]
    if lines:
        yield "## Given up"
        yield "\n".join(lines)


def _grid(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table; columns of numbers are set to the right."""
    lines = [list(head), *([str(value) for value in row] for row in rows)]
    right = [
        all(line[column][:1].isdigit() for line in lines[1:])
        for column in range(len(head))
    ]
    rule = ["---:" if is_right else "---" for is_right in right]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def _thousands(rate: float) -> str:
    return f"{rate / 1000:.0f}"


def _ns(rate: float) -> str:
    return f"{1e9 / rate:.0f}"


def _ratio(found: Score) -> str:
    ratio = found.ratio
    if not math.isfinite(ratio.high):
        return f"{ratio.center:.3f}, no interval"
    return f"{ratio.center:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
