"""Several runs beside each other as plain text, fit to stand in a mail."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from zclab.explain import published, replication, table
from zclab.publish.plaintext import ascii_only, bullets, wrap
from zclab.store import Run


def render(runs: Sequence[Run]) -> str:
    """Return what the runs say of the same points: what differs, verdicts, gains.

    Raises:
        InputError: they have no comparison in common, or are not at least two.

    """
    each = replication.summaries(runs)
    frame = replication.gains(runs, each)
    judged = replication.verdicts(runs, each)
    sections = [
        ["Runs:", *_named(runs)],
        _differing(runs),
        bullets(replication.sentences(runs, frame, judged)),
        *_verdicts(judged),
        *_gains(frame),
    ]
    return ascii_only("\n\n".join("\n".join(lines) for lines in sections)) + "\n"


def _named(runs: Sequence[Run]) -> Iterator[str]:
    for (letter, name), run in zip(replication.labels(runs).items(), runs, strict=True):
        yield f"  {letter}  {name}{'' if run.complete else ', PARTIAL'}"


def _differing(runs: Sequence[Run]) -> list[str]:
    """Return the facts that differ, one line each where it is short enough."""
    frame = replication.differing(runs)
    if frame.empty:
        return ["Nothing that was recorded of the hosts differs."]
    letters = list(replication.labels(runs))
    lines = ["They differ in:"]
    for row in frame.to_dict("records"):
        told = "; ".join(f"{letter} {_value(row[letter])}" for letter in letters)
        lines += wrap(f"{row['fact']}: {told}", "  ", "    ")
    return lines


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):  # boot parameters, flags of a ring
        return " ".join(map(str, value)) or "none"
    return "unknown" if pd.isna(value) else str(value)


def _verdicts(found: pd.DataFrame) -> Iterator[list[str]]:
    """Yield the published rows with a line per run beneath each, table by table."""
    letters = [name.removeprefix("gain ") for name in found if name.startswith("gain ")]
    for name, rows in found.groupby("table", sort=False) if len(found) else ():
        lines = [f"{published.twin(str(name)).title}, gain over send:"]
        for row in rows.to_dict("records"):
            then = table.percent_text(round(row["published_percent"], 1))
            lines.append(f"  {row['io_size_bytes']} B {row['column']}, {then} then")
            gains = [row[f"gain {letter}"] for letter in letters]
            width = max(map(len, gains))
            lines += [
                f"    {letter}  {gain:{width}}  {row[f'verdict {letter}']}"
                for letter, gain in zip(letters, gains, strict=True)
            ]
        yield lines


def _gains(frame: pd.DataFrame) -> Iterator[list[str]]:
    """Yield every comparison in common, one table per place and way to send."""
    yield wrap(
        "Gain over send in percent: the median, paired within the block, and its "
        f"[95% interval]. Saved: ns per request. n={table.range_text(frame['n'])} "
        "blocks a run."
    )
    where = frame.apply(table.where, axis=1)
    for name, rows in frame.groupby(where, sort=False):
        names = table.arm_names(rows)
        lines = [("IO size", "arm", "run", "gain over send", "saved", "copied")]
        for (size, arm), mine in rows.groupby(["io_size_bytes", "arm"], sort=False):
            first = (str(size), names[str(arm)])
            for _, row in mine.iterrows():
                lines.append(
                    (
                        *first,
                        str(row["run"]),
                        table.gain_text(row),
                        table.signed(row["saved_ns"], 0),
                        table.share_text(row["copied_share"])
                        if row["notifications"]
                        else "",
                    )
                )
                first = ("", "")
        legend = [f"  {short}: {arm}" for arm, short in names.items() if ":" in arm]
        yield [f"{name}:", "", *table.grid(lines, left=(1,)).splitlines(), *legend]
