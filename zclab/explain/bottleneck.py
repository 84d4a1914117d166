"""What limits each point: the sender's CPU, the receiver's, the wire, or what is lost.

A gain in requests per second tells of the sender only where the sender is the limit.
A wire that is full carries no more, however cheap a request is: there the CPU time per
KiB says what zerocopy is worth, and the percent says nothing.

The rule, by the sums over all samples of an arm, the first that holds:

1. *wire*: `WIRE` or more of the link's speed was reached while the clock ran.
2. *receiver*: the receiving thread, or softirq on its CPU, was busy for `BUSY` of the
   time. A peer tells the softirq time of all its CPUs: several flows are spread over
   them, so there the thread alone counts.
3. *drops*: `LOST` or more was dropped by the device, or did not arrive.
4. *sender*: the sending thread was busy for `BUSY` of the time.
5. *answers*: TCP over the sink, and the sending thread waited in half of the slices or
   more. Nothing is there to wait for but room, which acknowledgements make.
6. *not known*: none of them.

What was not measured (a receiver without a peer, a link without a speed) is no reason.
Nor is the CPU of a responder: it looks for headers without sleeping, and so is busy
whether or not anybody waits for it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from zclab import options as opts
from zclab import situation, stats
from zclab.explain import joined, processor, table
from zclab.explain.facts import lookup
from zclab.packet import ETHERNET_BYTES, header_bytes, payload_bytes
from zclab.params import BASELINE, CONTROL, Path, Point, Protocol, arm_mode
from zclab.store import Run

WIRE = 0.90
BUSY = 0.85  # CPU time comes in ticks, and a wake-up now and then is no idling
LOST = 0.01

WAITED = 0.5

RESENT = 1e-4  # segments a request; plain sends over lo stay below 1e-5
RESENT_FEWEST = 10
OVERTAKEN_TIMES = 3

# Measured on Linux 6.18 (docs/design.md, "Resent over loopback").
OVERTAKEN = (
    "Nothing was lost where this was traced (Linux 6.18): what zerocopy sends to this "
    "host is copied in softirq on the CPU that transmits it; where an ACK makes that "
    "the receiver's CPU, the sender's next packet overtakes it, and TCP resends until "
    "a DSACK says otherwise."
)

BY_WIRE, BY_RECEIVER, BY_DROPS, BY_SENDER = "wire", "receiver", "drops", "sender"
BY_ANSWERS = "answers"
UNKNOWN = "not known"

KIB = 1024
CHUNKS = 20  # consecutive blocks: CPU time of one block is a handful of ticks
LIVE = (Path.NIC, Path.VETH, Path.LO)


def covered(point: Point) -> bool:
    """Return whether something else than the sender may be a point's limit."""
    return point.path in LIVE or answered(point)


def answered(point: Point) -> bool:
    """Return whether a responder plays the receiver's side of a point's TCP."""
    words = situation.facts(point.situation)
    return point.protocol is Protocol.TCP and situation.ANSWERED in words


def limits(run: Run) -> pd.DataFrame:
    """Return the rows of `shares` of points that something receives or a card sends.

    Elsewhere nothing but the sender can be the limit. Empty where the run has no such
    point.
    """
    return _of(run, [point for point in run.plan.points if covered(point)])


def shares(run: Run) -> pd.DataFrame:
    """Return one row per arm of each point: who was how busy, and at what CPU time.

    Columns: point, path (its place), protocol, family, io_size_bytes, batch, given
    (options of the point), arm, n (blocks), bottleneck; sender_share, receiver_share,
    wire_share, lost_share, waited_share (of the slices in which the sender waited; all
    0 to 1, NaN where not known); mbit_per_s (on the wire, headers and gaps included);
    cpu_ns_per_kib (of the sending thread, see `processor`); cpu_percent,
    cpu_low, cpu_high (what the arm takes more than `send` of that, in percent, with
    the 95 % interval; NaN for `send` itself); cpu_floor (by how much the control does,
    in percent, at most: see `finding`).
    """
    return _of(run, run.plan.points)


def _of(run: Run, points: Sequence[Point]) -> pd.DataFrame:
    there = run.samples["point"].isin([point.name for point in points])
    samples = _counted(run)[there]
    rows = [
        row for point in points for row in _rows(point, samples, _facts(run, point))
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _facts(run: Run, point: Point) -> Mapping[str, Any]:
    for part in joined.parts(run):
        found = lookup(part.host, "paths", point.place)
        if found:
            return dict(found)
    return {}


def _counted(run: Run) -> pd.DataFrame:
    """Return the sums that are needed, one row per point, arm and block."""
    samples = run.samples
    waits = samples["switches_voluntary"].astype("float64")
    whole = {
        name: samples[name].astype("float64")
        for name in (
            *("elapsed_ns", "drain_ns", "bytes", "requests", "sent_total_bytes"),
            *("datagrams", "received_bytes", "device_tx_dropped", "device_tx_packets"),
            "softirq_receiver_ns",
        )
    }
    return pd.DataFrame(
        {
            "point": samples["point"].astype(str),
            "arm": samples["arm"].astype(str),
            "block": samples["block"],
            "cpu_ns": processor.sender_cpu_ns(run),
            "waited": (waits > 0).astype("float64").where(waits.notna()),
            "receiver_ns": (
                samples["receiver_cpu_user_ns"] + samples["receiver_cpu_sys_ns"]
            ).astype("float64"),
            **whole,
        }
    )


def _rows(
    point: Point, samples: pd.DataFrame, facts: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    mine = samples[samples["point"] == point.name]
    base = mine[mine["arm"] == BASELINE]
    floor = stats.noise_floor(_more(mine[mine["arm"] == CONTROL], base))
    for arm in point.arms:
        found = mine[mine["arm"] == arm]
        if found["bytes"].sum() == 0:
            continue
        sums = found.sum(numeric_only=True, min_count=1).to_dict()
        busy = _shares(point, arm, sums, facts)
        busy["waited"] = found["waited"].mean() if answered(point) else math.nan
        interval = None if arm == BASELINE else _more(found, base)
        yield {
            **point.factors,
            "path": point.place,
            "given": opts.spell(point.given),
            "arm": arm,
            "n": len(found),
            "bottleneck": named(**busy),
            **{f"{name}_share": share for name, share in busy.items()},
            "mbit_per_s": _wire_bits(point, arm, sums, facts)
            / sums["elapsed_ns"]
            * 1e3,
            "cpu_ns_per_kib": sums["cpu_ns"] / sums["bytes"] * KIB,
            "cpu_percent": interval.center if interval else math.nan,
            "cpu_low": interval.low if interval else math.nan,
            "cpu_high": interval.high if interval else math.nan,
            "cpu_floor": floor,
        }


def finding(row: Mapping[str, Any]) -> stats.Verdict:
    """Return what the CPU time of an arm shows: faster is that it takes less.

    By the words of `stats.verdict`. The floor is the control's own difference from the
    baseline, which it is equal to: one within the control's interval is none.

    Args:
        row: of `shares` or `limits`.

    """
    less = stats.Interval(
        center=-row["cpu_percent"],
        low=-row["cpu_high"],
        high=-row["cpu_low"],
        n=int(row["n"]),
    )
    return stats.verdict(less, row["cpu_floor"])


def named(
    *,
    sender: float,
    receiver: float,
    wire: float,
    lost: float,
    waited: float = math.nan,
) -> str:
    """Return the bottleneck that shares tell of, by the rule of this module.

    Args:
        sender: share of the time in which the sending thread was busy.
        receiver: likewise of the receiving one; NaN: not known, as the others.
        wire: share of the link's speed that was reached.
        lost: share of what was sent that did not arrive.
        waited: share of the slices in which the sender waited, where nothing but
            acknowledgements could be waited for.

    """
    for limit, is_so in (
        (BY_WIRE, wire >= WIRE),
        (BY_RECEIVER, receiver >= BUSY),
        (BY_DROPS, lost >= LOST),
        (BY_SENDER, sender >= BUSY),
        (BY_ANSWERS, waited >= WAITED),
    ):
        if is_so:
            return limit
    return UNKNOWN


def _shares(
    point: Point, arm: str, sums: Mapping[str, float], facts: Mapping[str, Any]
) -> dict[str, float]:
    options = point.options(arm)
    threads = options.threads
    spread = point.path is Path.NIC and threads * options.flows > 1
    elapsed = sums["elapsed_ns"]
    link = facts.get("link_mbit")
    wire = _wire_bits(point, arm, sums, facts) / elapsed * 1e3  # bits/ns to Mbit/s
    receiving = receiving_ns(sums)
    return {
        "sender": sums["cpu_ns"] / (elapsed * threads),
        "receiver": math.nan
        if answered(point)
        else _receiver(sums, receiving, spread=spread),
        "wire": wire / link if link else math.nan,
        "lost": _lost(point, sums),
    }


def receiving_ns(sums: Mapping[str, float]) -> float:
    """Return for how long something was received, in ns: warm-up, slice and drain.

    The receiver is asked for its CPU time before the one and after the other. The
    warm-up has no clock of its own; it is taken to be as fast as the slice.

    Args:
        sums: of elapsed_ns, drain_ns, bytes and sent_total_bytes, as floats: products
            of two of them outgrow 64 bits.

    """
    sent_share = sums["sent_total_bytes"] / sums["bytes"]
    return sums["elapsed_ns"] * sent_share + sums["drain_ns"]


def _receiver(sums: Mapping[str, float], receiving_ns: float, *, spread: bool) -> float:
    """Return the share of the time in which the receiver's CPU was busy receiving.

    Args:
        sums: of the arm.
        receiving_ns: the time.
        spread: the softirq time is of more CPUs than one.

    """
    thread = sums["receiver_ns"]
    if spread or math.isnan(thread):
        return thread / receiving_ns
    return max(thread, sums["softirq_receiver_ns"]) / receiving_ns


def _lost(point: Point, sums: Mapping[str, float]) -> float:
    """Return the larger share: dropped by the device, or sent and not received.

    TCP sends again what is lost, and has none.
    """
    if point.protocol is Protocol.TCP:
        return math.nan
    dropped, received = sums["device_tx_dropped"], sums["received_bytes"]
    known = []
    packets = sums["device_tx_packets"] + dropped
    if not math.isnan(dropped) and packets > 0:
        known.append(dropped / packets)
    if not math.isnan(received):
        known.append(1 - received / sums["sent_total_bytes"])
    return max(known, default=math.nan)


def _wire_bits(
    point: Point, arm: str, sums: Mapping[str, float], facts: Mapping[str, Any]
) -> float:
    """Return the bits that the timed requests take on an Ethernet wire."""
    family, protocol, payload = point.family, point.protocol, sums["bytes"]
    if protocol is Protocol.TCP:
        fits = payload_bytes(int(facts.get("mtu") or 1500), family, protocol)
        packets = payload / min(point.io_size_bytes, fits)
    else:
        packets = sums["datagrams"]
    header = header_bytes(family, protocol) + ETHERNET_BYTES
    return 8 * (payload + packets * header)


def _more(arm: pd.DataFrame, base: pd.DataFrame) -> stats.Interval | None:
    """Return what an arm takes more of CPU time per byte than the baseline, in percent.

    It is the median over chunks of consecutive blocks, each paired within itself. The
    chunks, `CHUNKS` at most, are taken to be independent. Where they are not, arms that
    are equal differ as well, and the control tells by how much: see `finding`.
    """
    both = arm.merge(base, on="block", suffixes=("", "_base")).sort_values("block")
    chunks = min(CHUNKS, len(both))
    if not chunks:
        return None
    number = np.arange(len(both)) * chunks // len(both)
    sums = both.groupby(number)[["cpu_ns", "bytes", "cpu_ns_base", "bytes_base"]].sum()
    sums = sums[
        (sums[["cpu_ns", "bytes", "cpu_ns_base", "bytes_base"]] > 0).all(axis=1)
    ]
    if sums.empty:
        return None
    ratio = (sums["cpu_ns"] / sums["bytes"]) / (
        sums["cpu_ns_base"] / sums["bytes_base"]
    )
    logs = np.log(ratio.to_numpy(dtype=np.float64))
    return stats.median_interval(logs).map(stats.percent)


_COLUMNS = [
    *("point", "path", "protocol", "family", "io_size_bytes", "batch", "given"),
    *("arm", "n"),
    *("bottleneck", "sender_share", "receiver_share", "wire_share", "lost_share"),
    *("waited_share",),
    *("mbit_per_s", "cpu_ns_per_kib", "cpu_percent", "cpu_low", "cpu_high"),
    *("cpu_floor",),
]


def sentences(frame: pd.DataFrame) -> list[str]:
    """Return one sentence per place that says what limits its points.

    Args:
        frame: what `limits` returned.

    """
    return [
        f"{place}: {_said(mine)}" for place, mine in frame.groupby("path", sort=False)
    ]


def resent(run: Run) -> str:
    """Return what TCP sent again to a receiver, by place and size, and why.

    Told is a point in which an arm resent `RESENT` of its requests or more, and
    `RESENT_FEWEST` segments: below that, plain sends do now and then as well. The cause
    is added where zerocopy makes the difference and the receiver is on this host.

    Returns:
        Sentences of ASCII; empty where no point is told.

    """
    told = [
        (point, shares)
        for point in run.plan.points
        if point.path in LIVE
        and point.protocol is Protocol.TCP
        and (shares := _resent_shares(run, point))
    ]
    if not told:
        return ""
    each = "; ".join(
        f"{_of_several(point, told)}: {_said_resent(shares)}" for point, shares in told
    )
    sentences = [f"Resent, segments per 1000 requests: {each}."]
    if any(_overtaken(point, shares) for point, shares in told):
        sentences.append(OVERTAKEN)
    return " ".join(sentences)


def _resent_shares(run: Run, point: Point) -> dict[str, tuple[float, int]]:
    """Return segments resent per request, and blocks, by arm; the most first.

    Nothing where no arm resent enough to be told. The counter is of the warm-up too,
    and so are the requests that it is divided by.
    """
    samples = run.samples
    known = samples["tcp_retransmits"].notna() & (samples["arm"] != CONTROL)
    mine = samples[known & (samples["point"] == point.name)]
    found = {}
    enough = False
    for arm, rows in mine.groupby("arm", observed=True):
        segments = int(rows["tcp_retransmits"].sum())
        requests = float(rows["sent_total_bytes"].sum()) / point.io_size_bytes
        if requests:
            found[str(arm)] = (segments / requests, len(rows))
            enough |= segments >= max(RESENT_FEWEST, RESENT * requests)
    ordered = sorted(found.items(), key=lambda item: -item[1][0])
    return dict(ordered) if enough else {}


def _overtaken(point: Point, shares: Mapping[str, tuple[float, int]]) -> bool:
    """Return whether zerocopy makes the difference, on the way to a local receiver."""
    plain, _ = shares.get(BASELINE, (math.nan, 0))
    return point.path in (Path.LO, Path.VETH) and any(
        share >= RESENT > OVERTAKEN_TIMES * plain
        for arm, (share, _) in shares.items()
        if arm_mode(arm).zerocopy
    )


def _of_several(
    point: Point, told: Sequence[tuple[Point, Mapping[str, tuple[float, int]]]]
) -> str:
    """Return place and size; and all that points alike in these differ in."""
    same = [
        other
        for other, _ in told
        if (other.place, other.io_size_bytes) == (point.place, point.io_size_bytes)
    ]
    text = f"{point.place} at {point.io_size_bytes} B"
    if len(same) == 1:
        return text
    given = f", {opts.spell(point.given)}" if point.given else ""
    return f"{text}, IPv{point.family}, batch {point.batch}{given}"


def _said_resent(shares: Mapping[str, tuple[float, int]]) -> str:
    """Return what was resent by arm, as the rest of a sentence."""
    each = ", ".join(f"{arm} {_per_1000(share)}" for arm, (share, _) in shares.items())
    return f"{each} (n={min(n for _, n in shares.values())})"


def _per_1000(share: float) -> str:
    return f"{1000 * share:.2f}" if 1000 * share < 0.995 else f"{1000 * share:.1f}"


_MEANINGS = {
    BY_WIRE: "the wire is full in {}: there the CPU time per KiB counts, not the gain",
    BY_RECEIVER: "the receiver's CPU is the limit in {}",
    BY_DROPS: "more is sent than arrives in {}",
    BY_SENDER: "the sender's CPU is the limit in {}",
    BY_ANSWERS: "the sender waits for acknowledgements in {}: there its CPU time per "
    "request counts, not the gain",
    UNKNOWN: "nothing that was measured is the limit in {}",
}


def _said(rows: pd.DataFrame) -> str:
    rows = rows[rows["arm"] != CONTROL]
    counts = rows["bottleneck"].value_counts()
    return "; ".join(
        meaning.format(f"{counts[limit]} of {len(rows)} arms")
        for limit, meaning in _MEANINGS.items()
        if limit in counts
    )


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows as people read them: strings, units in the header.

    Columns that are known nowhere are left out.
    """
    shares = {
        "sender busy": "sender_share",
        "receiver busy": "receiver_share",
        "of the link": "wire_share",
        "lost": "lost_share",
    }
    found = pd.DataFrame(
        {
            "path": frame["path"],
            "protocol": [
                f"{protocol.upper()}/IPv{family}"
                for protocol, family in zip(
                    frame["protocol"], frame["family"], strict=True
                )
            ],
            "IO size [B]": frame["io_size_bytes"].astype(str),
            "batch": frame["batch"].astype(str),
            "arm": frame["arm"],
            "limit": frame["bottleneck"],
            **{
                name: [_share(value) for value in frame[column]]
                for name, column in shares.items()
                if frame[column].notna().any()
            },
            "Mbit/s": [f"{value:,.0f}" for value in frame["mbit_per_s"]],
            "CPU ns/KiB": [f"{value:.0f}" for value in frame["cpu_ns_per_kib"]],
            "CPU vs send [95 %]": [more_text(row) for _, row in frame.iterrows()],
        }
    )
    return found.reset_index(drop=True)


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.3g}%"


def more_text(row: Mapping[str, Any]) -> str:
    """Return the change in CPU time as text, like `-12% [-14, -11]`."""
    if math.isnan(row["cpu_percent"]):
        return ""
    if math.isinf(row["cpu_high"]):
        return f"{row['cpu_percent']:+.0f}% [few blocks]"
    return f"{row['cpu_percent']:+.0f}% [{row['cpu_low']:+.0f}, {row['cpu_high']:+.0f}]"


def texts(frame: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, str]]:
    """Yield rows that differ in size and arm only, and their ASCII table.

    Only of what a card sent: of namespaces there is nothing to compare with a wire.
    At most 72 columns.

    Args:
        frame: what `limits` returned.

    """
    mine = frame[(frame["path"] == str(Path.NIC)) & (frame["arm"] != CONTROL)]
    for _, rows in mine.groupby(
        ["protocol", "family", "batch", "given"], sort=False, observed=True
    ):
        names = table.arm_names(rows)
        lines = [("IO size", "arm", "limit", "CPU", "ns/KiB", "vs send")]
        for _, row in rows.sort_values(
            "io_size_bytes", ascending=False, kind="stable"
        ).iterrows():
            lines.append(
                (
                    str(row["io_size_bytes"]),
                    names[row["arm"]],
                    row["bottleneck"],
                    f"{100 * row['sender_share']:.0f}%",
                    f"{row['cpu_ns_per_kib']:.0f}",
                    more_text(row),
                )
            )
        yield rows, table.grid(lines, left=(1, 2))
