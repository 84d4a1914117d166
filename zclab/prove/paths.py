"""The page of paths: what a path is, the rules of copying, and how they came out."""

from collections.abc import Iterator
from pathlib import Path

from zclab import preflight, situation, store
from zclab.prove import proof as proofs
from zclab.prove import situations
from zclab.prove.proof import MODEL, Proof

NAME = "paths.md"
TRIED = "## Tried"  # what follows it is from a kernel, all before it from the code


def place() -> Path:
    """Return where the page belongs."""
    return store.home() / "docs" / NAME


def markdown() -> str:
    """Return the page, with the newest proof of the part `situations` if there is one.

    Raises:
        DataError: that proof is damaged, or of another format.

    """
    found = proofs.read(situations.PART)
    return "\n\n".join([rules(), TRIED, *_tried(found)]) + "\n"


def rules() -> str:
    """Return the part of the page that follows from the code alone."""
    return "\n\n".join(
        [
            "# Paths, and what the kernel copies on them",
            "Made by `zclab preflight --page > docs/paths.md`; do not edit it.",
            "A *path* is where the packets go, a *situation* is what is done to it on "
            "purpose: `--with mtu=1500,tap`. Both together are a *place*, "
            "`sink+mtu=1500+tap`, and each place is made in network namespaces of its "
            "own. Before anything is sent its facts are read: MTU, offloads, taps, "
            "programs, who receives. From these alone the rules below tell whether a "
            "zerocopy send works and whether its data is copied. `zclab preflight` "
            "prints that without sending, a run warns of it, and a report sets it "
            "beside what the notifications said.",
            "## Situations",
            "\n".join(_words()),
            "## Rules",
            "The first that holds decides; those that would make it copy as well are "
            "told besides. Refusals come first, then what copies, then what cannot be "
            "told.",
            "\n".join(preflight.table()),
            "## How a share is read",
            "Over UDP a request is a packet, and the share of notifications that say "
            "copied is the copied share. Over TCP since Linux 6.10 requests that share "
            "a packet buffer are chained, and only the head of a chain is ever marked "
            "as used (`io_link_skb`, `io_tx_ubuf_complete`, `io_notif_tw_complete` in "
            "`io_uring/notif.c`). So there 100 % means copied, 0 % means not copied, "
            "and what lies between means nothing, unless each request was sent with "
            "MSG_EOR (`eor=on`) and shares with none.",
            "A notification cannot tell of a copy behind the point where its packet "
            "was given up: native XDP at the far end of a veth copies and reports "
            "success (rule `xdp-native`).",
        ]
    )


def _words() -> Iterator[str]:
    yield "| --with | on | what it does |"
    yield "| --- | --- | --- |"
    for name, word in situation.WORDS.items():
        spelt = ", ".join(f"`{text}`" for text in word.spellings(name))
        yield f"| {spelt} | {', '.join(word.paths)} | {word.says} |"


def _tried(found: Proof | None) -> Iterator[str]:
    if found is None:
        yield f"Not tried yet: `zclab prove {situations.PART}`."
        return
    where = "a model" if found.kernel == MODEL else f"Linux {found.kernel}"
    yield (
        f"Made for real by `{found.command}`, {found.taken_at}, {where}, "
        f"{found.seconds:.0f} s."
    )
    lines = [
        "| situation | predicted [rule] | notifications say copied | of | agrees |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in found.findings:
        agrees = {True: "yes", False: "**NO**", None: "-"}[one.holds]
        cells = (one.claim, one.wanted, one.figure, one.n, agrees)
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    yield "\n".join(lines)
    yield from found.notes
