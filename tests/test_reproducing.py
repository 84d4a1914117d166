"""docs/reproducing.md is true of this house: its commands, tables and sums."""

import itertools
import re
import shlex
from pathlib import Path

import pytest
import typer

from zclab import options, planfile, situation
from zclab.cli import app
from zclab.explain import claims, conclusions, published
from zclab.packet import payload_bytes
from zclab.params import Mode, Protocol

PAGE = "docs/reproducing.md"
OURS = ("zclab", "make")


def commands(text: str) -> list[str]:
    """Return the commands of a page that are ours, in fences and in running text."""
    fenced = re.findall(r"^ *```\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    outside = re.sub(r"^ *```\n.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in fenced for line in block.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", outside)
    return [each for each in [*lines, *spans] if each.split(" ")[0] in OURS]


def objections(command: str, makefile: str) -> list[str]:
    """Return what is wrong with a command: no such one, no such option or variable."""
    program, *words = shlex.split(command, comments=True)
    if program == "make":
        return _make(words, makefile)
    return _zclab(words)


def _make(words: list[str], makefile: str) -> list[str]:
    found = []
    for word in words:
        variable, is_set, value = word.partition("=")
        if is_set and f"$({variable})" not in makefile:
            found.append(f"make knows no {variable}")
        if not is_set and not re.search(
            rf"^{re.escape(word)}:", makefile, re.MULTILINE
        ):
            found.append(f"make has no target {word}")
        if variable == "PROFILE" and value not in planfile.profiles():
            found.append(f"there is no plan {value}")
    return found


def _zclab(words: list[str]) -> list[str]:
    known = typer.main.get_command(app).commands
    if not words:
        return []
    name, *rest = words
    if name not in known:
        return [f"there is no command {name}"]
    mine = rest[: rest.index("--")] if "--" in rest else rest
    after = rest[len(mine) + 1 :]
    found = _zclab(after[1:]) if after[:1] == ["zclab"] else []
    names = {each: param for param in known[name].params for each in param.opts}
    given = dict(itertools.zip_longest(mine, mine[1:], fillvalue=""))
    for option, value in given.items():
        word, is_joined, joined = option.partition("=")
        if not option.startswith("-"):
            continue
        if word not in names:
            found.append(f"zclab {name} has no {word}")
            continue
        found += _value(word, joined if is_joined else value)
    return found


def _value(option: str, value: str) -> list[str]:
    """Return what is wrong with the value of an option, of those that can be told."""
    if option == "--profile" and value not in planfile.profiles():
        return [f"there is no plan {value}"]
    if option == "--with":
        situation.parse(value)
    if option == "--modes":
        modes = [arm.partition(":")[0] for arm in value.split(",")]
        return [f"no mode {mode}" for mode in modes if mode not in [*Mode]]
    return []


@pytest.fixture(scope="module")
def page(checkout: Path) -> str:
    """Return the page."""
    return (checkout / PAGE).read_text()


def test_each_command_of_the_page_exists(page, checkout):
    """Whoever types what the page says is told of no unknown command or option."""
    makefile = (checkout / "Makefile").read_text()
    found = commands(page)

    assert len(found) >= 12
    assert {word for each in found for word in objections(each, makefile)} == set()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("zclab meazure --path sink", "there is no command meazure"),
        ("zclab measure --pth sink", "zclab measure has no --pth"),
        ("zclab preflight --profile v6", "there is no plan v6"),
        ("zclab measure --modes send,sent", "no mode sent"),
        ("make reports", "make has no target reports"),
        ("make report PROFIL=nic", "make knows no PROFIL"),
        ("make report PROFILE=none", "there is no plan none"),
    ],
)
def test_what_does_not_exist_is_found(checkout, command, said):
    """A command, option, plan, mode, target or variable that is none is told."""
    assert said in objections(command, (checkout / "Makefile").read_text())


def test_the_sums_are_the_rule_s(page):
    """The least MTU of each row is the one with which the datagram fits just so."""
    rows = re.findall(r"^ *\| (\d+) B \| (\d+) \| (\d+) \|$", page, re.MULTILINE)

    assert [int(size) for size, *_ in rows] == [1200, 1500, 4000, 8000]
    for size, ipv4, ipv6 in rows:
        assert payload_bytes(int(ipv4), 4, Protocol.UDP) == int(size)
        assert payload_bytes(int(ipv6), 6, Protocol.UDP) == int(size)


def test_options_in_the_text_exist(page):
    """Options of a sender that the page names are options of a sender."""
    known = {row["name"] for row in options.table()}
    named = set(re.findall(r"`(?:--options )?([a-z_]+)=[^`/ ]*`", page))

    assert {"eor", "cpu", "flows"} <= named
    assert named <= known


def test_ns_saved_do_not_carry_over_as_v5_s_own_do_not(page):
    """What a request saves and a notification costs there follow from the tables."""
    rows = published.claims().set_index(["table", "column", "io_size_bytes"])
    saved = rows["published_saved_ns"].sort_index()
    text = " ".join(page.split())
    dummy, nic = (saved[table, "zc + flush"] for table in ("v5-dummy", "v5-nic"))
    dearer = [
        saved[table, "zc"] - saved[table, "zc + flush"]
        for table in ("v5-dummy", "v5-nic")
    ]
    here, there = (f"{ns.min():.0f} to {ns.max():.0f}" for ns in dearer)

    assert (
        f"saves {dummy[4000]:.0f} ns at 4000 B on the dummy device and "
        f"{nic[4000]:.0f} on its NIC, at 600 B {dummy[600]:.0f} and {nic[600]:.0f}."
    ) in text
    assert (
        f'"zc + flush" {here} ns dearer than its "zc" on the dummy device, and {there} '
        "on its NIC."
    ) in text


def test_runs_are_compared_as_the_page_says(page):
    """The section on another host has the command, and what makes a point the same."""
    rule = page.partition("\n## Another host, another day\n")[2].partition("\n## ")[0]

    assert "zclab compare RUN RUN --html" in rule
    assert "[another host](#another-host-another-day)" in page


def test_the_thread_is_named(page):
    """The mails that the page answers to are those that zclab answers to."""
    assert conclusions.ANSWER in page


def test_the_rule_is_that_of_the_claims(page):
    """The page names every verdict, and the tolerances that decide between them."""
    rule = page.partition("\n## What a verdict means\n")[2].partition("\n## ")[0]

    assert {word for word in claims.VERDICTS if f"| {word} |" not in rule} == set()
    assert f"by {claims.TOLERANCE_POINTS:g} points" in rule
    assert f"({claims.TOLERANCE_NS:g} ns)" in rule
    assert claims.TOLERANCE_SHARE == 0.25
    assert f"a factor of {claims.SIZE_FACTOR:g}" in rule
