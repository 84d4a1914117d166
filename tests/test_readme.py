"""The README shows a table of a report that is here, and commands that exist."""

import re

from zclab import store
from zclab.cli import app
from zclab.publish import archive

README = (store.home() / "README.md").read_text(encoding="utf-8")
REPORT = re.search(r"`reports/(\S+?)/`", README)


def test_tables_are_the_report_s():
    """The first blocks of the README stand word for word in its report's mail."""
    before = README[: README.index("git clone")]
    tables = re.findall(r"```\n(.*?)```", before, re.DOTALL)
    mail = (archive.find(REPORT.group(1)) / archive.MAIL).read_text(encoding="utf-8")

    assert len(tables) == 3
    for table in tables:
        assert len(table.splitlines()) > 10
        assert table.strip() in mail


def test_its_report_verifies():
    """The report that the README quotes can be built again from its run."""
    held = archive.verify(archive.find(REPORT.group(1)))

    assert held[-1] == "mail.txt rebuilt from the data, byte for byte"


def test_its_run_was_measured_by_committed_code():
    """The run behind the README's table names the very commit that took it."""
    run = store.load(store.find(REPORT.group(1)))

    assert run.complete
    assert run.host["software"]["commit"]
    assert not run.host["software"]["dirty"]


def test_commands_exist():
    """Every zclab command that the README names is one."""
    known = {c.name or c.callback.__name__ for c in app.registered_commands}
    named = set(re.findall(r"`zclab ([a-z]+)", README))

    assert named
    assert named <= known


def test_make_targets_exist():
    """Every make target that the README names is in the Makefile."""
    targets = set(
        re.findall(r"^([a-z]+):", (store.home() / "Makefile").read_text(), re.M)
    )
    named = set(re.findall(r"^make ([a-z]+)", README, re.M))

    assert {"report", "test"} <= named <= targets
