"""What must the kernel copy? Predicted from the path, then confronted with the run.

The prediction uses nothing that was measured: only the point and the facts of its
device. Where it and the notifications disagree, one of the two is wrong, and that is
a finding.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from zclab.explain import table
from zclab.explain.facts import lookup, unfragmented_bytes
from zclab.params import BASELINE, CONTROL, Path, Point, Protocol
from zclab.store import Run

DELIVERED = (
    "the packet reaches a socket of this host: skb_orphan_frags_rx() copies it, "
    "or a slow reader could hold the sender's pages for ever"
)
TAPPED = "a packet tap sees the packet: dev_queue_xmit_nit() copies it"
NO_SG = "the device lacks scatter-gather: the payload is copied when appended"
NO_CHECKSUM = "the device lacks checksum offload: the payload is copied to be summed"
FRAGMENTED = (
    "more than one MTU: __ip_append_data() copies what has to be fragmented "
    "({size} B > {limit} B)"
)
GATHERED = (
    "a corked datagram is appended to: without UDP_SEGMENT its checksum is made while "
    "copying (__ip_append_data)"
)
NOTHING = "one packet, no tap, and the device drops it: nothing has to copy"
UNKNOWN = "the facts of the device were not recorded"

AGREES = "as predicted"
CONTRADICTS = "NOT as predicted"
NOT_TOLD = "-"


def predict(point: Point, device: Mapping[str, Any]) -> tuple[bool | None, str]:
    """Return whether the kernel must copy the payload of a point, and why.

    Source: net/core/dev.c, net/core/skbuff.c, net/ipv4/ip_output.c and
    net/ipv6/ip6_output.c; Documentation/networking/msg_zerocopy.rst.

    Args:
        point: the point.
        device: the recorded facts of its path; may be empty.

    """
    if point.path is not Path.SINK:
        return True, DELIVERED
    if not device:
        return None, UNKNOWN
    reasons = {
        TAPPED: bool(device.get("packet_taps")),
        NO_SG: lookup(device, "features", "scatter-gather") is False,
        NO_CHECKSUM: lookup(device, "features", "tx-checksumming") is False,
    }
    mtu = device.get("mtu")
    if point.protocol is Protocol.UDP and isinstance(mtu, int):
        limit = unfragmented_bytes(mtu, point.family)
        options = point.options(BASELINE)
        size = options.segment or point.io_size_bytes
        reasons[FRAGMENTED.format(size=size, limit=limit)] = size > limit
        reasons[GATHERED] = options.cork or options.more > 1
    for reason, holds in reasons.items():
        if holds:
            return True, reason
    return False, NOTHING


def confront(run: Run, summary: pd.DataFrame) -> pd.DataFrame:
    """Return prediction and observation side by side, one row per point of `summary`.

    Columns: path, protocol, family, io_size_bytes, batch, predicted, observed (share
    of notifications that say copied, over all zerocopy arms), verdict, because.
    """
    rows = []
    devices = lookup(run.host, "paths") or {}
    for point in run.plan.points:
        mine = summary[summary["point"] == point.name]
        if mine.empty:
            continue
        copied, because = predict(point, devices.get(str(point.path), {}))
        zerocopy = mine[~mine["arm"].isin([str(BASELINE), CONTROL])]
        observed = zerocopy["copied_share"].dropna()
        rows.append(
            {
                "path": str(point.path),
                "protocol": str(point.protocol),
                "family": point.family,
                "io_size_bytes": point.io_size_bytes,
                "batch": point.batch,
                "predicted": {True: "copied", False: "zerocopy", None: "?"}[copied],
                "observed": table.shares_text(observed),
                "verdict": _verdict(copied, observed),
                "because": because,
            }
        )
    return pd.DataFrame(rows)


def _verdict(copied: bool | None, shares: pd.Series) -> str:
    if copied is None or shares.empty:
        return NOT_TOLD
    if copied:
        agrees = bool(shares.min() >= table.COPIED_FROM)
    else:
        agrees = bool(shares.max() <= table.ZEROCOPY_BELOW)
    return AGREES if agrees else CONTRADICTS
