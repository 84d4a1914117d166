"""The README quotes a report that is here, and what it says to type can be typed."""

import re
import shlex

import pytest
from typer.testing import CliRunner

from tests.test_reproducing import commands, objections
from zclab import store
from zclab.cli import app
from zclab.explain.facts import lookup
from zclab.planfile import profiles
from zclab.prove import parts
from zclab.publish import archive

README = (store.home() / "README.md").read_text(encoding="utf-8")
REPORT = re.search(r"`reports/(\S+?)/", README).group(1)
PASS_ON = ("zclab tx", "zclab replay", "zclab test")  # what follows is not ours


def section(title: str) -> str:
    """Return the text under a heading, down to the next of its rank or a higher one."""
    mark = title.split(" ", maxsplit=1)[0]
    start = README.index(f"\n{title}\n") + len(title) + 2
    end = re.search(rf"^#{{2,{len(mark)}}} ", README[start:], re.MULTILINE)
    return README[start : start + end.start()] if end else README[start:]


@pytest.fixture(scope="module")
def mail() -> str:
    """Return the mail of the report that is quoted."""
    return (archive.find(REPORT) / archive.MAIL).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def typed() -> list[str]:
    """Return all that is to be typed: fences, code in the text, table cells."""
    text = re.sub(r"^```\w+\n.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
    text = text.replace(r"\|", "|")
    shown = re.findall(r"^(?:here|there)\$ +(.*)$", text, re.MULTILINE)
    indented = re.findall(r"^ {4}(zclab .*)$", text, re.MULTILINE)
    return [*commands(text), *indented, *shown]


def test_tables_are_the_report_s(mail):
    """The tables stand word for word in the report's mail."""
    tables = re.findall(r"```\n(.*?)```", section("## The tables"), re.DOTALL)

    assert len(tables) == 3
    for table in tables:
        assert len(table.splitlines()) > 6
        assert table.strip() in mail


def test_tables_come_first():
    """No other block comes before the tables: whoever renews them takes the first."""
    assert README.index("```") > README.index("## The tables")


def test_figures_in_words_are_the_report_s(mail):
    """What came out is told with figures of the report's mail, and with no others."""
    told = " ".join(section("## What came out").split("| word |")[0].split())
    flat = " ".join(mail.split())
    gains = re.findall(r"[+-][\d.]+% \[.*?\]", told)
    counts = re.findall(r"n=\d+", told)
    ratios = re.findall(r"\b0\.\d{3}\b", told)
    published = re.findall(r"(\+[\d.]+) %", told)

    assert len(gains) == len(counts) >= 4
    assert published
    assert [each for each in (*gains, *counts, *ratios) if each not in flat] == []
    assert [each for each in published if f"({each}%)" not in flat] == []
    for sizes in re.findall(r"between \d+ and \d+ B", told):
        assert sizes in flat


def test_advice_is_what_the_command_prints():
    """Each line of the advice that is shown is printed by the command above it."""
    shown = re.findall(r"^ {4}(.+)$", section("## Should I use SEND_ZC here?"), re.M)
    command, *lines = shown
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    printed = done.stdout.splitlines()

    assert done.exit_code == 0
    assert len(lines) > 5
    assert [line for line in lines if line not in printed] == []


def test_runs_beside_each_other_are_what_the_command_prints():
    """What is shown of another host stands word for word in the command's output."""
    text = section("## On another host")
    (command,) = re.findall(r"^ {4}(zclab compare .+)$", text, re.M)
    (shown,) = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    (again,) = re.findall(r"`(zclab compare [^`<>]+ [^`<>]+)`:", text)

    done = CliRunner().invoke(app, shlex.split(command)[1:])

    assert done.exit_code == 0
    assert len(shown.splitlines()) > 20
    assert shown.strip() in done.stdout
    assert "Nothing that bears on a request differs" in " ".join(
        CliRunner().invoke(app, shlex.split(again)[1:]).stdout.split()
    )


def test_the_congestion_control_is_the_run_s():
    """What the README says of pacing is of the controls that the run had."""
    host = store.load(store.find(REPORT)).host
    default = lookup(host, "sysctl", "net.ipv4.tcp_congestion_control")
    ((asked, had),) = lookup(host, "paths", "lo", "congestion_control").items()

    assert asked == had
    assert f"`lo` rows are of `congestion={had}`" in README
    assert f"this host's default is {default}" in " ".join(README.split())


def test_its_report_verifies():
    """The report that the README quotes can be built again from its run."""
    held = archive.verify(archive.find(REPORT))

    assert held[-1] == "mail.txt rebuilt from the data, byte for byte"


def test_its_run_was_measured_by_committed_code():
    """The run behind the README's table names the very commit that took it."""
    run = store.load(store.find(REPORT))

    assert run.complete
    assert run.host["software"]["commit"]
    assert not run.host["software"]["dirty"]


def test_what_is_to_be_typed_exists(checkout, typed):
    """Commands, options, targets and variables that the README names are some."""
    makefile = (checkout / "Makefile").read_text()
    ours = [each for each in typed if not each.startswith(PASS_ON)]
    found = {each: objections(each, makefile) for each in ours}

    assert len(ours) > 40
    assert {each: said for each, said in found.items() if said} == {}


def test_each_promise_has_a_command():
    """Every promise has a command beside it, with tests or proofs that there are."""
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", section("## Promises"), re.M)[1:]
    promises = [(said, how) for said, how in rows if set(said) != {"-"}]

    assert len(promises) > 15
    assert [said for said, how in promises if not commands(how)] == []


def test_parts_and_tests_that_are_named_exist(checkout, typed):
    """Parts of `zclab prove` are some, and `zclab test -k` finds tests."""
    proofs = {word for rest in _after("zclab prove", typed) for word in rest}
    sought = {rest[1] for rest in _after("zclab test", typed) if rest[:1] == ["-k"]}
    files = list((checkout / "tests").glob("*.py"))
    defined = [
        name
        for file in files
        for name in re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8"))
    ]
    known = " ".join([*(file.name for file in files), *defined])

    assert {"kills", "rule"} <= proofs <= set(parts.PARTS)
    assert {"test_layers", "test_peer"} <= sought
    assert [word for word in sought if word not in known] == []


def test_each_plan_is_named():
    """The README says of each plan what it asks; only `smoke` is for tests alone."""
    named = set(re.findall(r"`([a-z0-9]+)`", section("## What is measured")))

    assert set(profiles()) - named <= {"smoke"}


def _after(start: str, typed: list[str]) -> list[list[str]]:
    """Return the words behind a command, for each time that it is to be typed."""
    return [
        shlex.split(each.removeprefix(start), comments=True)
        for each in typed
        if each.startswith(start)
    ]
