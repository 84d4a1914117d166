"""Whether each byte of TCP over the sink is accounted for, whatever is withheld."""

from collections.abc import Iterator
from typing import Any

from zclab.measure import host, trial
from zclab.prove.proof import Finding, Proof, Watch

CONNECTIONS = 100  # of each arm, all of them open at once
GIB = 1 << 30
TOTAL_BYTES = 10 * GIB
DISTURBED_BYTES = GIB // 4
WITHHELD = (1000, 50)  # one segment in so many
TIGHT_BYTES = 4_000  # of the log's buffer: a few headers

NOTES = (
    f"The arms send, send_zc and send_zc_fixed, each on {CONNECTIONS} connections that "
    "are all open at once, 64 KiB a request, in turns of 20 ms. After each turn the "
    "bytes that a socket counts as acknowledged (TCP_INFO) must be those that the "
    "responder saw, and nothing may be left unacknowledged; or the trial ends.",
    "Withheld: the responder takes one segment in so many as never seen, repeated ones "
    "too. Overrun: the log's socket has a buffer for a handful of headers, so that the "
    "kernel loses most of a burst. TCP must send again what was not acknowledged.",
)


def run(*, total_bytes: int = TOTAL_BYTES, connections: int = CONNECTIONS) -> Proof:
    """Return what both sides counted, undisturbed and disturbed.

    Raises:
        CapabilityError: the answered sink cannot be had here.
        MeasureError: the two sides disagree, or TCP does not recover.

    """
    watch = Watch()
    given = {"connections": connections, "io_size_bytes": 65536}
    findings: list[Finding] = []
    for family in (4, 6):
        found = trial.take(
            "accounts", **given, family=family, total_bytes=total_bytes // 2, reply={}
        )
        findings += _undisturbed(f"IPv{family}", found)
    disturbed = {"family": 4, "total_bytes": min(DISTURBED_BYTES, total_bytes)}
    for one_in in WITHHELD:
        reply = {"withhold": one_in}
        found = trial.take("accounts", **given, **disturbed, reply=reply)
        findings.append(_recovered(f"one segment in {one_in} withheld", found))
    found = trial.take(
        "accounts", **given, **disturbed, reply={}, log_buffer_bytes=TIGHT_BYTES
    )
    findings.append(_recovered("the log overrun", found))
    return Proof(
        part="accounts",
        command="zclab prove accounts",
        findings=tuple(findings),
        kernel=host.facts()["kernel"]["release"],
        seconds=watch.seconds,
        notes=NOTES,
    )


def _same(found: dict[str, Any]) -> bool:
    return bool(found["acknowledged"] == found["replies"]["bytes"])


def _of(found: dict[str, Any]) -> str:
    flows = found["replies"]["flows_most"]
    return f"{flows} connections, {found['acknowledged'] / GIB:.1f} GiB"


def _undisturbed(name: str, found: dict[str, Any]) -> Iterator[Finding]:
    replies = found["replies"]
    differ = abs(found["acknowledged"] - replies["bytes"])
    yield Finding(
        claim=f"{name}: bytes acknowledged that were not seen, or seen and not",
        wanted="0",
        figure=str(differ),
        n=_of(found),
        holds=_same(found),
    )
    yield Finding(
        claim=f"{name}: segments that came after a missing one, lost by the log, or "
        "without a length",
        wanted="0",
        figure=str(replies["gaps"] + replies["lost"] + replies["oversized"]),
        n=f"{replies['segments']:,} segments",
        holds=not (replies["gaps"] or replies["lost"] or replies["oversized"]),
    )
    yield Finding(
        claim=f"{name}: retransmission timeouts",
        figure=str(found["timeouts"]),
        n=f"{replies['segments']:,} segments",
    )


def _recovered(name: str, found: dict[str, Any]) -> Finding:
    replies = found["replies"]
    planted = replies["withheld"] + replies["lost"]
    return Finding(
        claim=f"{name}: all is acknowledged in the end, {planted} segments having been "
        f"missed, {found['retransmits']} sent again, {found['timeouts']} by timeout",
        wanted="all",
        figure="all" if _same(found) else "not all",
        n=_of(found),
        holds=_same(found) and planted > 0,
    )
