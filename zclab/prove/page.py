"""The page: the newest proof of each part in Markdown, `docs/rigor.md`."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from zclab import store
from zclab.prove import proof as proofs
from zclab.prove.parts import PARTS
from zclab.prove.proof import MODEL, Finding, Proof

NAME = "rigor.md"


def place() -> Path:
    """Return where the page belongs."""
    return store.home() / "docs" / NAME


def write() -> Path:
    """Write the page from the newest proof of each part; return the file."""
    path = place()
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: proofs.read(name) for name in PARTS}
    found = {name: proof for name, proof in kept.items() if proof}
    path.write_text(markdown(found), encoding="utf-8")
    return path


def markdown(found: Mapping[str, Proof]) -> str:
    """Return the page of some proofs; a part without one is named as not done."""
    missing = [name for name in PARTS if name not in found]
    texts = [
        "# Rigor",
        "What zclab claims of its own statistics and data, put to the test, with the "
        "command that does it again. Made by `zclab prove`; do not edit it. Intervals "
        "of shares are exact (Clopper and Pearson), 95 %.",
        *_failing(found.values()),
        *(text for name in PARTS if name in found for text in _part(found[name])),
    ]
    if missing:
        texts.append(f"Not done: {', '.join(missing)}.")
    return "\n\n".join(texts) + "\n"


def _failing(found: Iterable[Proof]) -> Iterator[str]:
    names = [proof.part for proof in found if not proof.holds]
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
