"""A finding for the list: the mail about the flag that says more than was copied.

The text is `copied-flag.txt.jinja`, its numbers are a run's and those of the program in
the text itself, which is compiled and run (`prove/reproducer.py`). No clock and no
machine is used, so that `zclab verify` can build it again.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from zclab import store
from zclab.errors import InputError
from zclab.explain import table
from zclab.explain.facts import lookup
from zclab.params import Mode, Protocol
from zclab.publish.plaintext import wrap
from zclab.store import Run

NAME = "finding-copied-flag"
OUTCOME = "reproducer.json"  # what the program said, where and when
TEMPLATE = "copied-flag.txt.jinja"
ARM = str(Mode.SEND_ZC_FIXED)
INDENT = "    "

COMMANDS = (
    "gcc -o flag flag.c -luring",
    "unshare -rn sh -c '",
    "  ip link add d0 type dummy || ip link add d0 type ifb",
    "  ip addr add 192.0.2.1/24 dev d0; ip link set d0 up",
    "  ./flag; ./flag eor'",
)
# What lies between these two lines of the mail is the program.
BEGIN, END = "---- 8< ---- flag.c", "---- >8 ----"


def folder() -> Path:
    """Return where the finding is kept."""
    return store.reports_dir() / NAME


def program(text: str) -> str:
    """Return the program in a mail's text.

    Raises:
        InputError: there is none.

    """
    _, begin, rest = text.partition(f"{BEGIN}\n")
    found, end, _ = rest.partition(END)
    if not (begin and end):
        raise InputError("the mail has no program between its cut lines")
    return found


def draft() -> str:
    """Return the text with nothing filled in: the program is in it already."""
    environment = Environment(loader=PackageLoader("zclab.publish", "."))
    assert environment.loader
    source, _, _ = environment.loader.get_source(environment, TEMPLATE)
    return source


def render(run: Run, outcome: Mapping[str, Any]) -> str:
    """Return the mail, from a run of TCP over the sink and what its program said.

    Args:
        run: one with witnesses, as `zclab measure --profile tcp` takes it.
        outcome: what `prove.reproducer.run` returned.

    Raises:
        InputError: the run shows no such thing.

    """
    frame = table.summary(run)
    rows = frame[
        (frame["arm"] == ARM)
        & (frame["protocol"] == str(Protocol.TCP))
        & (frame["witnesses"] > 0)
    ]
    if rows.empty:
        raise InputError(
            f"{run.id} has no {ARM} over tcp with a witness; take one that has: zclab "
            "measure --profile tcp"
        )
    over = rows["flagged_share"] - rows["copied_share"]
    if not (over > table.ZEROCOPY_BELOW).any() or not _shows(outcome["said"]):
        raise InputError(
            f"{run.id}: the flag says no more than was copied, so there is nothing to "
            "report; kernels before 6.10 are so"
        )
    if (rows["copied_share"] > 0).any():
        raise InputError(
            f"{run.id}: something was copied by witness, so the flag is right there"
        )
    place = str(rows["path"].iloc[0])
    families = sorted({int(family) for family in rows["family"]})
    release = str(lookup(run.host, "kernel", "release") or "not recorded")
    if outcome["kernel"] != release:
        raise InputError(
            f"the program ran on Linux {outcome['kernel']}, the run was taken on "
            f"{release}; take both on one: zclab finding"
        )
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            where="\n".join(wrap(_where(run, place))),
            family=" and ".join(f"IPv{family}" for family in families),
            release=release,
            guest=" in a VM" if lookup(run.host, "hypervisor") else "",
            blocks=table.range_text(rows["n"]),
            table=_indented(_shares(rows).splitlines()),
            commands=_indented(COMMANDS),
            outcome=_indented(outcome["said"]),
            version=lookup(run.host, "software", "zclab") or "",
            run=run.id,
        )
        + "\n"
    )


def _shows(said: Sequence[str]) -> bool:
    """Return whether the program saw copied said of what a device dropped."""
    found = re.search(r": (\d+) of \d+ say copied", said[0] if said else "")
    return bool(found and int(found[1]))


def _where(run: Run, place: str) -> str:
    """Return the words up to who acknowledges: what drops the data, and where."""
    facts = lookup(run.host, "paths", place) or {}
    kind = str(facts.get("kind") or place)
    dropped = _DROPPED.get(facts.get("rung", ""), f"{kind}, which drops the data")
    return f"TCP over {dropped}; the headers are acknowledged by"


# Of the rungs whose device does not drop by itself.
_DROPPED = {
    "veth-drop": "a veth pair, whose peer drops the data at its ingress",
    "veth-down": "a veth pair with the peer down, which drops the data",
}


def _environment() -> Environment:
    return Environment(  # plain text: there is nothing to escape
        loader=PackageLoader("zclab.publish", "."),
        undefined=StrictUndefined,
        autoescape=False,
    )


def _indented(lines: Any) -> str:
    return "\n".join(f"{INDENT}{line}" for line in lines)


def _shares(rows: pd.DataFrame) -> str:
    """Return flagged shares by size and batch, and those of the witnesses."""
    batches = sorted(set(rows["batch"]))
    lines = [("IO size", *(f"batch {one}" for one in batches), "MSG_EOR")]
    for size in sorted(set(rows["io_size_bytes"])):
        mine = rows[rows["io_size_bytes"] == size]
        cells = [
            table.shares_text(mine.loc[mine["batch"] == batch, "flagged_share"])
            if (mine["batch"] == batch).any()
            else "-"
            for batch in batches
        ]
        lines.append((str(size), *cells, table.shares_text(mine["copied_share"])))
    return table.grid(lines)
