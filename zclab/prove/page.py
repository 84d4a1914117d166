"""The page: the newest proof of each part in Markdown, `docs/rigor.md`.

Proofs are kept under `build/`, which a fresh clone has not. What the page says of a
part that was not done again there stays: each part tells when, where and by which code
it was taken.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from zclab import store
from zclab.prove import proof as proofs
from zclab.prove.parts import PARTS
from zclab.prove.proof import FAILS, MODEL, Finding, Proof

NAME = "rigor.md"
NOT_DONE = "Not done: "


def place() -> Path:
    """Return where the page belongs."""
    return store.home() / "docs" / NAME


def write() -> Path:
    """Write the page from the newest proof of each part; return the file.

    Of a part without one it keeps what it said before.
    """
    path = place()
    path.parent.mkdir(parents=True, exist_ok=True)
    before = sections(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kept = {name: proofs.read(name) for name in PARTS}
    found = {name: proof for name, proof in kept.items() if proof}
    path.write_text(markdown(found, before), encoding="utf-8")
    return path


def sections(text: str) -> dict[str, str]:
    """Return what a page says of each part, by the part's name."""
    _, *found = re.split(r"^## (\w+)\n", text, flags=re.MULTILINE)
    named = zip(found[::2], found[1::2], strict=True)
    return {
        name.lower(): f"## {name}\n{told.split(NOT_DONE)[0].rstrip()}"
        for name, told in named
        if name.lower() in PARTS
    }


def markdown(
    found: Mapping[str, Proof], before: Mapping[str, str] | None = None
) -> str:
    """Return the page of some proofs; a part that nothing is known of is named.

    Args:
        found: the proofs, by part.
        before: of other parts, what `sections` returned of an earlier page.

    """
    told = {
        **(before or {}),
        **{name: "\n\n".join(_part(proof)) for name, proof in found.items()},
    }
    missing = [name for name in PARTS if name not in told]
    texts = [
        "# Rigor",
        "What zclab claims of its own statistics and data, put to the test, with the "
        "command that does it again. Made by `zclab prove`; do not edit it. Intervals "
        "of shares are exact (Clopper and Pearson), 95 %.",
        *_failing(told),
        *(told[name] for name in PARTS if name in told),
    ]
    if missing:
        texts.append(f"{NOT_DONE}{', '.join(missing)}.")
    return "\n\n".join(texts) + "\n"


def _failing(told: Mapping[str, str]) -> Iterator[str]:
    names = [name for name in PARTS if f"| {FAILS} |" in told.get(name, "")]
    if names:
        yield f"**Not everything holds: see {', '.join(names)}.**"


def _part(proof: Proof) -> Iterator[str]:
    yield f"## {proof.part.capitalize()}"
    part = PARTS.get(proof.part)
    if part:
        yield f"{part.says[0].upper()}{part.says[1:]}: `{proof.command}`."
    yield "\n".join(_rows(proof.findings))
    yield from proof.notes
    yield _when(proof)


def _rows(findings: tuple[Finding, ...]) -> Iterator[str]:
    yield "| claim | wanted | figure | interval | of | |"
    yield "| --- | --- | ---: | --- | --- | --- |"
    for one in findings:
        cells = (
            one.claim,
            one.wanted,
            one.figure,
            one.interval,
            one.n,
            one.verdict,
        )
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _when(proof: Proof) -> str:
    code = f"zclab {proof.code['version']}, commit {proof.code['commit'] or 'unknown'}"
    if proof.code["dirty"]:
        code += " and uncommitted changes"
    where = "a model" if proof.kernel == MODEL else f"Linux {proof.kernel}"
    return f"{proof.taken_at}, {where}, {proof.seconds:.0f} s, {code}."
