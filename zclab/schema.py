"""The registry of columns: name, unit, type and meaning of every stored value.

Stored values are counts. Rates and shares are derived when a run is loaded, by
the formulas in `DERIVED`, and are never written into a run. `docs/dictionary.md`
is generated from this file by `zclab dictionary`.
"""

from dataclasses import dataclass
from typing import Any

from zclab import hostfacts
from zclab.errors import DataError

FORMAT_VERSION = 4
# Version 4, November 2026: situations of a path, packet taps after each slice, what
# the sending device counted, how TCP fared, and its copied share by witness.
# Version 3, November 2026: points with slices of their own, what a block cost in time,
# and runs that were resumed; a journal whose lines have sums.
# Version 2, November 2026: options of the arm, and the counters of a sender that has
# more modes than four. A run of version 1 loads with null in these columns.
# Version 1, November 2026: the first format.
READABLE = (1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Column:
    """One stored or derived value of a sample.

    Attributes:
        kind: `str`, `int` (64 bit) or `float`.
        unit: `1` for counts and names.
        nullable: whether the value may be unknown; unknown is null, never a number.
        since: the format version that brought it; older runs have null there.
        before: what older runs have there instead of null.

    """

    name: str
    kind: str
    unit: str
    meaning: str
    nullable: bool = False
    since: int = 1
    before: str | None = None


KEY = ("point", "block", "arm")  # no two samples of a run share these

COLUMNS: tuple[Column, ...] = (
    Column(
        "point",
        "str",
        "1",
        "name of the point: path, situation, protocol, size, batch, options",
    ),
    Column("path", "str", "1", "sink, veth, lo or nic"),
    Column(
        "situation",
        "str",
        "1",
        "what is done to the path on purpose (--with); empty for nothing",
        since=4,
        before="",
    ),
    Column("protocol", "str", "1", "udp or tcp"),
    Column("family", "int", "1", "IP version, 4 or 6"),
    Column("io_size_bytes", "int", "B", "payload of one send request"),
    Column("batch", "int", "1", "requests per submit (the tools' -n)"),
    Column("block", "int", "1", "number of the block within its point, from 0"),
    Column(
        "block_ns",
        "int",
        "ns",
        "time that the whole block took, with warm-ups and drains; the same in all its "
        "samples: summed over blocks, the machine time that was spent",
        since=3,
    ),
    Column(
        "placement",
        "int",
        "1",
        "samples with one number were sent by one process from the same sockets, rings "
        "and buffers; a run begins a new one every few rounds",
        since=3,
    ),
    Column(
        "sitting",
        "int",
        "1",
        "in which sitting of the run it was taken: 0, and one more with each resume",
        since=3,
    ),
    Column("position", "int", "1", "place of this arm in the block's random order"),
    Column("arm", "str", "1", "mode, or control: the baseline a second time"),
    Column("mode", "str", "1", "how a request is sent; see the README's modes"),
    Column(
        "options",
        "str",
        "1",
        "options that differ from their default, as name=value:name=value",
        since=2,
    ),
    Column(
        "slice_ns",
        "int",
        "ns",
        "timed length that was planned; elapsed_ns is what it became",
        since=3,
    ),
    Column("started_ns", "int", "ns", "CLOCK_MONOTONIC at the start of the slice"),
    Column(
        "elapsed_ns",
        "int",
        "ns",
        "first submit to last completion; the drain is not in it",
    ),
    Column(
        "drain_ns",
        "int",
        "ns",
        "wait for the notifications still outstanding when the clock stopped",
    ),
    Column("requests", "int", "1", "send requests that completed in elapsed_ns"),
    Column("bytes", "int", "B", "sum of the completions' results"),
    Column("zc_requests", "int", "1", "requests among them that were SEND_ZC"),
    Column(
        "notifications",
        "int",
        "1",
        "requests among them that were notified of, in the drain too: by an F_NOTIF "
        "CQE, with MSG_ZEROCOPY by a range on the error queue",
    ),
    Column(
        "ranges",
        "int",
        "1",
        "messages on the error queue that told them (MSG_ZEROCOPY)",
        since=2,
    ),
    Column(
        "failed_notifications",
        "int",
        "1",
        "F_NOTIF CQEs of failed requests, the warm-up's included; in no other count",
        since=2,
    ),
    Column(
        "copied",
        "int",
        "1",
        "notifications with IORING_NOTIF_USAGE_ZC_COPIED; null where the kernel "
        "does not report it (before 6.2) or it was not asked",
        nullable=True,
    ),
    Column(
        "outstanding",
        "int",
        "1",
        "notifications outstanding when the clock stopped",
    ),
    Column(
        "eagain",
        "int",
        "1",
        "results of -EAGAIN, with MSG_ZEROCOPY -ENOBUFS too; not in requests",
    ),
    Column("short_sends", "int", "1", "completions with fewer bytes than asked"),
    Column(
        "failed",
        "int",
        "1",
        "requests with any other error; not in requests",
        since=2,
    ),
    Column(
        "errors",
        "str",
        "1",
        "these by errno, as ENAME:count, the warm-up's included",
        since=2,
    ),
    Column(
        "datagrams",
        "int",
        "1",
        "UDP datagrams of these requests: more with UDP_SEGMENT, fewer with MSG_MORE "
        "or cork; null over TCP",
        nullable=True,
        since=2,
    ),
    Column(
        "cq_overflow",
        "int",
        "1",
        "times that CQEs were found not to fit the completion queue",
    ),
    Column(
        "submits",
        "int",
        "1",
        "hand-overs of requests, each a system call; with sqpoll one is made only to "
        "wake its thread",
    ),
    Column(
        "cpu_user_ns",
        "int",
        "ns",
        "user time of the sending threads; with sqpoll of the whole process. The "
        "kernel divides it from system time by timer ticks: of a short slice only the "
        "sum tells",
    ),
    Column("cpu_sys_ns", "int", "ns", "system time, likewise"),
    Column(
        "switches_voluntary",
        "int",
        "1",
        "context switches of the sending threads that waited",
        since=2,
    ),
    Column(
        "switches_forced",
        "int",
        "1",
        "context switches of the sending threads that were preempted",
        since=2,
    ),
    Column(
        "softirq_sender_ns",
        "int",
        "ns",
        "softirq time of the sender's CPU around the slice, its warm-up and drain; "
        "the kernel counts ticks of 10 ms: only sums over many slices mean something",
        since=2,
    ),
    Column(
        "softirq_receiver_ns",
        "int",
        "ns",
        "the same of the CPU for the receiver",
        since=2,
    ),
    Column(
        "latency",
        "str",
        "1",
        "notifications by time since their completion was taken, as floor_ns:count, "
        "four buckets to the octave; null unless latency=on",
        nullable=True,
        since=2,
    ),
    Column(
        "received_bytes",
        "int",
        "B",
        "bytes the receiver took, the warm-up's included; null without a receiver",
        nullable=True,
    ),
    Column(
        "received",
        "int",
        "1",
        "datagrams the receiver took, the warm-up's included (UDP); null otherwise",
        nullable=True,
    ),
    Column(
        "receiver_drops",
        "int",
        "1",
        "datagrams dropped at the receiving socket (SO_MEMINFO); null otherwise",
        nullable=True,
    ),
    Column(
        "receiver_cpu_user_ns",
        "int",
        "ns",
        "user time of the receiver's process from before the warm-up until it took "
        "all; null without a receiver",
        nullable=True,
        since=2,
    ),
    Column(
        "receiver_cpu_sys_ns",
        "int",
        "ns",
        "system time, likewise",
        nullable=True,
        since=2,
    ),
    Column(
        "receiver_switches",
        "int",
        "1",
        "context switches, likewise",
        nullable=True,
        since=2,
    ),
    Column(
        "corrupt",
        "int",
        "1",
        "units that arrived with other bytes than were sent; null unless verify=on",
        nullable=True,
        since=2,
    ),
    Column(
        "disordered",
        "int",
        "1",
        "units that arrived after a later one, or twice (UDP); null unless verify=on",
        nullable=True,
        since=2,
    ),
    Column(
        "sent_total_bytes",
        "int",
        "B",
        "bytes sent in the slice and its warm-up: what received_bytes compares with",
    ),
    Column(
        "packet_taps",
        "int",
        "1",
        "AF_PACKET sockets for all protocols that saw the sending device after the "
        "slice, from the sender's network namespace (/proc/net/packet); null where "
        "that cannot be read",
        nullable=True,
        since=4,
    ),
    Column(
        "device_tx_packets",
        "int",
        "1",
        "packets that the sending device counted as sent in slice, warm-up and drain, "
        "those of others too, and none where it counts nothing of what it drops (ifb); "
        "a driver that refreshes its counters by a timer or from its firmware (up to "
        "about once a second) may show nothing in one slice and the sum of many in "
        "another: only sums over a run count; null where it was not read",
        nullable=True,
        since=4,
    ),
    Column("device_tx_bytes", "int", "B", "bytes, likewise", nullable=True, since=4),
    Column(
        "device_tx_dropped",
        "int",
        "1",
        "packets that it counted as dropped, likewise",
        nullable=True,
        since=4,
    ),
    Column(
        "witness_notifications",
        "int",
        "1",
        "notifications of a few requests that were sent after the slice, each with an "
        "skb of its own (MSG_EOR), so that their flag means a copy; once for each "
        "placement of an arm that is zerocopy over TCP, null otherwise",
        nullable=True,
        since=4,
    ),
    Column(
        "witness_copied",
        "int",
        "1",
        "those with IORING_NOTIF_USAGE_ZC_COPIED",
        nullable=True,
        since=4,
    ),
    Column(
        "tcp_retransmits",
        "int",
        "1",
        "segments that TCP sent again in slice, warm-up and drain (TCP_INFO); null "
        "over UDP",
        nullable=True,
        since=4,
    ),
    Column(
        "tcp_timeouts",
        "int",
        "1",
        "times that it did so because no acknowledgement came (TCPTimeouts of the "
        "sender's network namespace); null over UDP, and on nic",
        nullable=True,
        since=4,
    ),
    Column(
        "responder_segments",
        "int",
        "1",
        "TCP segments whose headers the responder read; null without one",
        nullable=True,
        since=4,
    ),
    Column(
        "responder_acks",
        "int",
        "1",
        "acknowledgements that it sent",
        nullable=True,
        since=4,
    ),
    Column(
        "responder_gaps",
        "int",
        "1",
        "segments among them that came after a missing one",
        nullable=True,
        since=4,
    ),
    Column(
        "responder_lost",
        "int",
        "1",
        "packets of the log that it had no room for",
        nullable=True,
        since=4,
    ),
)

DERIVED: tuple[Column, ...] = (
    Column("ns_per_request", "float", "ns", "elapsed_ns / requests"),
    Column("requests_per_s", "float", "1/s", "requests / elapsed_ns * 1e9"),
    Column(
        "cpu_ns_per_request",
        "float",
        "ns",
        "(cpu_user_ns + cpu_sys_ns) / requests, of the sending thread, as counted: "
        "where the host's facts have no software.cpu_time it lags, and the tables of "
        "a report, which have a column of this name, are of mended times",
    ),
    Column(
        "copied_share",
        "float",
        "1",
        "copied / notifications; null without notifications or when unknown",
        nullable=True,
    ),
)

STORED = {column.name: column for column in COLUMNS}
_TYPES = {"str": str, "int": int}


def check_sample(values: dict[str, Any], *, version: int = FORMAT_VERSION) -> None:
    """Raise DataError unless `values` has exactly the stored columns, well typed.

    Args:
        values: one sample.
        version: the oldest format that it may have; what came later is then added
            as null.

    """
    for name, column in STORED.items():
        if column.since > version and name not in values:
            values[name] = column.before
    missing = STORED.keys() - values.keys()
    unknown = values.keys() - STORED.keys()
    if missing or unknown:
        raise DataError(
            f"a sample does not fit format {FORMAT_VERSION}: "
            f"missing {sorted(missing)}, unknown {sorted(unknown)}"
        )
    for name, column in STORED.items():
        value = values[name]
        if type(value) is _TYPES[column.kind]:  # nearly always, and quick
            continue
        if value is None and (column.nullable or column.since > version):
            continue
        if not isinstance(value, _TYPES[column.kind]) or isinstance(value, bool):
            raise DataError(
                f"a sample's {name} is {value!r}, not of type {column.kind}"
            )


def dictionary() -> str:
    """Return the data dictionary as Markdown."""
    lines = [
        "# Data dictionary",
        "",
        "Generated from `zclab/schema.py` by `zclab dictionary`; a test compares.",
        "",
        f"Format version {FORMAT_VERSION}. One row of `samples.parquet` (and one entry",
        "of a journal line) is one sample: one timed slice of one arm. A run of an",
        "older format has null in the columns that came since, and in `situation` an",
        "empty text.",
        f"A sample is identified by {', '.join(f'`{name}`' for name in KEY)}.",
        "",
        "## Stored",
        "",
        *_rows(COLUMNS),
        "",
        "## Derived on load",
        "",
        *_rows(DERIVED),
        "",
        "## Files of a run",
        "",
        "| file | content |",
        "|---|---|",
        *(f"| `{name}` | {meaning} |" for name, meaning in FILES.items()),
        "",
        *hostfacts.dictionary(),
    ]
    return "\n".join(lines)


FILES = {
    "plan.json": "the plan as fixed before the first sample, its hash, and `slices`: "
    "the timed length in ns of each point where a pilot chose it",
    "host-before.json": "facts of the host and of each path before the first sample",
    "host-resumed-<n>.json": "the same at the start of sitting n of a resumed run, and "
    "`warnings_before`: what was warned of until then",
    "host-after.json": "the host's facts again after the last sample; empty if partial",
    "journal.jsonl": "one line per finished block, with a sum over it and all lines "
    "before; only in a run that is not sealed",
    "samples.parquet": "the samples of a sealed run",
    "manifest.json": "what was planned and done, `finished`, what `stopped` each "
    "point, warnings, and SHA-256 of every file",
    "manifest.sha256": "SHA-256 of manifest.json",
}


def _rows(columns: tuple[Column, ...]) -> list[str]:
    return [
        "| column | type | unit | may be null | since | meaning |",
        "|---|---|---|---|---|---|",
        *(
            f"| `{c.name}` | {c.kind} | {c.unit} | {'yes' if c.nullable else 'no'} "
            f"| {c.since} | {c.meaning} |"
            for c in columns
        ),
    ]
