"""The pages of a report: index.html and the notebooks as HTML, each in one file."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from nbconvert import HTMLExporter

from zclab import situation as situations
from zclab.explain import (
    bottleneck,
    capture,
    claims,
    conclusions,
    cost,
    facts,
    joined,
    ladder,
    onset,
    opening,
    prediction,
    published,
    readable,
    table,
    v5,
)
from zclab.params import Path as PacketPath
from zclab.publish import mail
from zclab.store import Run

PATHS = {
    "sink": "a device that drops what it is given, after the whole stack ran; "
    "nobody receives",
    "veth": "a pair of devices, the far one in its own network namespace",
    "lo": "loopback with a live receiver",
    "nic": "a device of this host, and what is behind it",
}

TITLES = {
    "00-host": "the machine, and what on it bears on zerocopy",
    "10-measure": "how the run was taken",
    "20-v5-tables": "the published tables beside ours",
    "30-why": "does zerocopy win into a sink and lose over veth, and why?",
    "40-cost": "what a request and a byte cost, and from what size on zerocopy pays",
}

# Where a sink frees a packet, by its rung; all others do it as they transmit.
_FREED = {
    "veth-drop": "at the ingress of a veth's peer, in the soft interrupt that carries "
    "it there",
    "veth-down": "in the transmit function of a veth whose peer is down",
}


def index(
    run: Run, figures: Path, notebooks: Sequence[str], code: Mapping[str, Any]
) -> str:
    """Return index.html of the report of `run`.

    Args:
        run: the run, or several joined.
        figures: folder with the drawn SVG files, which are put into the page.
        notebooks: names of the executed notebooks to link to.
        code: version, commit and dirty flag of the code that builds the page.

    """
    summary = table.summary(run)
    compared = claims.compared(summary, run)
    limits = bottleneck.limits(run)
    return _render(
        "index.html.jinja",
        run=run,
        parts=joined.parts(run),
        code=code,
        banners=list(_banners(run, code)),
        opening=opening.sentences(run, summary, compared),
        sentences=conclusions.sentences(run, summary),
        head_step=cost.head_step(run, summary),
        shapes=[
            (*" ".join(caption).split(". ", 1), text)
            for _, caption, text in mail.shapes(summary, set())
        ],
        sizes=_sizes(run, summary),
        headline=_headline(compared),
        in_short=mail.summary(summary),
        tally=_tally(compared),
        claim_tables=_claim_tables(summary, compared),
        paths=[
            (
                path,
                _meaning(path),
                list(_groups(summary, path)),
                _warnings(summary, path),
            )
            for path in _places(summary)
        ],
        figure=lambda name: inline_svg(figures / f"{name}.svg", name),
        n=_blocks(summary),
        n_by_size=_blocks(_of_several_sizes(summary)),
        n_of_why=_blocks(conclusions.cause(summary)),
        apart=_apart(summary),
        freed=_freed(run),
        slices=readable.slices(run),
        piloted=any(not part.plan.slice_ns for part in joined.parts(run)),
        shown=_columns(summary),
        commands=_commands(run),
        control=readable.control(summary),
        stopped=readable.stopped(run),
        no_mail=mail.no_mail(run.id) if mail.synthetic(run) else "",
        prediction=readable.confronted(run, summary),
        contradictions=prediction.contradictions(run, summary),
        onsets=onset.sentences(run),
        ladder=ladder.words(run, summary) if ladder.taken(run) else [],
        rungs=readable.rungs(run, summary),
        mechanisms=readable.mechanisms(run, summary),
        pairs=readable.interactions(run, summary),
        left_out=readable.left_out(run),
        how=ladder.HOW,
        limits=bottleneck.readable(limits),
        limited=bottleneck.sentences(limits),
        notebooks=[(name, TITLES.get(name, "")) for name in notebooks],
        **_host_facts(run),
    )


def _places(summary: pd.DataFrame) -> list[str]:
    """Return what was measured on, path by path, plain ones before situations."""
    order = list(PATHS)
    return sorted(
        dict.fromkeys(summary["path"]),
        key=lambda place: (order.index(situations.path_of(place)), "+" in place),
    )


def _meaning(place: str) -> str:
    """Return what a place is, its situation word by word."""
    path, *words = place.split("+")
    said = [situations.WORDS[word.partition("=")[0]].says for word in words]
    if path == PacketPath.VETH and place != conclusions.NO_RECEIVER:
        said = ["a live receiver", *said]
    return "; ".join((PATHS[path], *said))


def _host_facts(run: Run) -> dict[str, Any]:
    return {
        "host": _host(run),
        "commit": facts.lookup(run.host, "software", "commit"),
        "machine": facts.machine(run),
        "software": facts.software(run),
        "mitigations": facts.mitigations(run),
        "path_facts": facts.paths(run),
        "peer": facts.peer(run),
        "changed": capture.changed(run),
        "counted": capture.counted(run),
        "found": capture.findings(run),
        "looked": capture.scope(run),
    }


def _sizes(run: Run, summary: pd.DataFrame) -> pd.DataFrame:
    """Return `readable.sizes`, and what a claim of any protocol or path leaves open."""
    frame = readable.sizes(run, summary)
    told = published.thresholds().set_index("says")
    is_open = (told[["protocol", "path"]] == "any").any(axis=1)
    left = told["unstated"].where(is_open, "-").str.replace("; ", ", ")
    frame.insert(1, "not stated", frame["published"].map(left).to_list())
    return frame


def _apart(summary: pd.DataFrame) -> pd.DataFrame:
    """Return veth, veth whose peer drops, and sink, a row per place and zerocopy mode.

    Between two neighbours one thing differs, the receiver or the device. Empty unless
    the run has the selftest's point in all three places.
    """
    cause = conclusions.cause(summary)
    alike = ["protocol", "family", "io_size_bytes", "batch", "given"]
    between = summary[summary["path"] == conclusions.NO_RECEIVER].merge(
        cause[alike].drop_duplicates(), on=alike
    )
    if between.empty:
        return pd.DataFrame()
    order = ("veth", conclusions.NO_RECEIVER, "sink")
    rows = pd.concat(
        [cause[cause["path"] != conclusions.NO_RECEIVER], between], ignore_index=True
    )
    rows = rows[rows["notifications"] > 0]
    places = rows["path"].map(order.index)
    rows = rows.loc[places.sort_values(kind="stable").index]
    ours = [row for _, row in rows.iterrows()]
    return pd.DataFrame(
        {
            "path": rows["path"].to_list(),
            "receiver": [
                "a socket" if row["path"] == "veth" else "none" for row in ours
            ],
            "mode": rows["arm"].to_list(),
            "gain over send [95 %]": [table.gain_text(row) for row in ours],
            "saved [ns, 95 %]": [table.saved_text(row) for row in ours],
            "copied": [table.share_text(row["copied_share"]) for row in ours],
            "n": rows["n"].astype(str).to_list(),
        }
    )


def _freed(run: Run) -> str:
    """Return where the sinks of a run free a packet, in words."""
    rungs = [
        place.get("rung")
        for part in joined.parts(run)
        for name, place in (facts.lookup(part.host, "paths") or {}).items()
        if situations.path_of(name) == "sink"
    ]
    usual = "in the device's transmit function"
    freed = (_FREED.get(rung, usual) for rung in rungs if rung != "tun")
    return ", or ".join(dict.fromkeys(freed)) or usual


def notebook(path: Path) -> str:
    """Return an executed notebook as one HTML page that loads nothing."""
    exporter = HTMLExporter(template_name="basic")  # type: ignore[no-untyped-call]
    exporter.exclude_input_prompt = True
    exporter.exclude_output_prompt = True
    content = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    body, _ = exporter.from_notebook_node(content)
    return _render(
        "notebook.html.jinja",
        title=_first_heading(content) or path.stem,
        name=path.stem,
        body=Markup(body),
    )


def inline_svg(path: Path, name: str) -> Markup:
    """Return an SVG file as an element of a page that holds several of them.

    Every id gets the figure's name in front, as ids are shared by the whole page.
    """
    text = path.read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    # As wide as drawn, or as the page where that is narrower.
    text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg\b[^>]*?) width="', r'\1 style="width:', text, count=1)
    return Markup(text)


def _render(template: str, /, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("zclab.publish", "."),
        autoescape=select_autoescape(["jinja"], default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def _first_heading(content: Any) -> str:
    for cell in content.cells:
        for line in str(cell.source).splitlines():
            if cell.cell_type == "markdown" and line.startswith("# "):
                return line.removeprefix("# ")
    return ""


def _blocks(rows: pd.DataFrame) -> str:
    """Return how many blocks the points of some rows have: one number, or from and to.

    A figure of no points has none.
    """
    counts = rows.groupby("point")["n"].max()
    return table.range_text(counts) if len(counts) else "0"


def _of_several_sizes(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose path, protocol and batch were measured at several sizes."""
    alike = ["path", "protocol", "family", "batch", "given"]
    sizes = summary.groupby(alike, sort=False)["io_size_bytes"].transform("nunique")
    return summary[sizes > 1]


def _columns(summary: pd.DataFrame) -> set[str]:
    """Return the columns that the tables of the paths have, all together."""
    places = dict.fromkeys(summary["path"])
    return {name for place in places for name in table.compact(summary, place).columns}


def _commands(run: Run) -> list[str]:
    """Return what takes the run again, as the mail says it."""
    return [line.removeprefix(mail.COMMAND) for line in mail.commands(run)]


def _banners(run: Run, code: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a reader must know before quoting a number."""
    for part in joined.parts(run):
        if part.synthetic:
            yield (
                f"Synthetic: {part.id} was made by a model, no packet was sent. It "
                "shows what the statistics find in a known truth, and nothing of a "
                "kernel."
            )
        if not part.complete:
            yield (
                f"Partial run: {part.blocks_done} of "
                f"{'at most ' * bool(part.plan.stop)}{part.plan.total_blocks} planned "
                f"blocks of {part.id} were measured. What is here is valid, with wider "
                "intervals."
            )
        if facts.lookup(part.host, "software", "dirty"):
            yield (
                f"Dirty checkout: {part.id} was measured by code that differs from the "
                "commit it names."
            )
    if code.get("dirty"):
        yield "Dirty checkout: this page was built by code that is not committed."


def _headline(compared: pd.DataFrame) -> str:
    """Return how many of the published effects hold, of those that can be judged."""
    counts = dict(_tally(compared))
    words = (
        claims.REPRODUCED,
        claims.DIRECTION_ONLY,
        claims.UNDECIDED,
        claims.CONTRADICTED,
    )
    total = sum(counts.values())
    judged = sum(counts[word] for word in words)
    if not judged:
        return f"None of the {total} published effects can be judged from this run."
    parts = ", ".join(f"{counts[word]} {word}" for word in words if counts[word])
    return (
        f"Of {total} published effects {judged} can be judged from this run: {parts}."
    )


def _groups(
    summary: pd.DataFrame, path: str
) -> Iterator[tuple[str, list[dict[Any, Any]]]]:
    """Yield the rows of a path by what their points share, with that in words."""
    frame = table.compact(summary, path)
    shared = [name for name in ("protocol", "batch", "options") if name in frame]
    for (protocol, batch, *options), mine in frame.groupby(shared, sort=False):
        title = ", ".join(filter(None, (protocol, f"batch {batch}", *options)))
        yield title, mine.drop(columns=shared).to_dict("records")


def _warnings(summary: pd.DataFrame, path: str) -> list[str]:
    """Return the warnings that belong to numbers of a path, and what they are about."""
    return [
        f"{text} ({mail.few(names, 8)})"
        for text, names in table.warnings(summary[summary["path"] == path])
    ]


def _tally(compared: pd.DataFrame) -> list[tuple[str, int]]:
    counts = compared["verdict"].value_counts()
    return [(word, int(counts.get(word, 0))) for word in claims.VERDICTS]


def _claim_tables(
    summary: pd.DataFrame, compared: pd.DataFrame
) -> list[dict[str, Any]]:
    """Return each published table with its rows beside ours."""
    rows = readable.compared(compared)
    saved = readable.saved(compared).to_dict("index")
    rows["saved"] = [saved.get(number) for number in rows.index]
    return [
        {
            "title": published.twin(str(name)).title,
            "core": name in published.CORE,
            "source": published.link(mine["source"].iloc[0]),
            "where": _where(summary, mine["point"]),
            "reason": mine["reason"].iloc[0] if mine["reason"].nunique() == 1 else "",
            "commands": [*filter(None, v5.commands(mine, str(name)))],
            "rows": _said_once(rows.loc[mine.index].to_dict("records")),
        }
        for name, mine in compared.groupby("table", sort=False)
    ]


def _said_once(rows: list[dict[Any, Any]]) -> list[dict[Any, Any]]:
    """Blank each reason that an earlier row of the table gave; all, if it is one."""
    seen: set[str] = set()
    if len({row["reason"] for row in rows}) == 1:
        seen.add(rows[0]["reason"])
    for row in rows:
        if row["reason"] in seen:
            row["reason"] = ""
        seen.add(row["reason"])
    return rows


def _where(summary: pd.DataFrame, points: pd.Series) -> str:
    """Return where our twins of a table were measured, in words."""
    twins = summary[summary["point"].isin(set(points) - {""})]
    return "; ".join(dict.fromkeys(table.where(row) for _, row in twins.iterrows()))


def _host(run: Run) -> str:
    """Return the machine in a few words, of the facts that were recorded."""
    kernel = facts.lookup(run.host, "kernel", "release")
    words = [
        f"Linux {kernel}" if kernel else "",
        facts.lookup(run.host, "cpu", "model"),
    ]
    if facts.lookup(run.host, "hypervisor"):
        words.append("virtual machine")
    return ", ".join(str(word) for word in words if word)
