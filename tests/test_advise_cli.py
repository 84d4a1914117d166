"""zclab advise: from a run that is there, or by measuring."""

import json
import subprocess
import sys

import pytest
from live import needs_uring

from tests.samples import make

PURE = """
import sys
sys.argv = ["zclab", "advise", *sys.argv[1:]]
from zclab.cli import main
try:
    main()
finally:
    rooms = {"zclab.measure", "zclab.uring"} & set(sys.modules)
    assert not rooms, rooms
"""
# A host on which nothing can be measured.
STARVED = """
import sys
from zclab.errors import CapabilityError
from zclab.measure import site
def missing(*_, **__):
    raise CapabilityError("io_uring is switched off")
site.prepare = missing
sys.argv = ["zclab", "advise", *sys.argv[1:]]
from zclab.cli import main
main()
"""


def advise(*arguments, code=""):
    """Run the command in a process of its own."""
    start = ["-c", code] if code else ["-m", "zclab.cli", "advise"]
    return subprocess.run(
        [sys.executable, *start, *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(scope="module")
def stored(checkout):
    """Return the folder of the first run of quick that is in git."""
    return str(min((checkout / "data" / "runs").glob("*-quick")))


def test_a_run_needs_no_measuring_half(stored):
    """With --run neither io_uring nor the shim is loaded; JSON has the evidence."""
    done = advise("--run", stored, "--size", "8000", "--json", code=PURE)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["answer"] == "yes"
    assert told["modes"] == ["send_zc_fixed"]
    assert stored.endswith(told["evidence"]["run"])


def test_a_synthetic_run_says_so(tmp_path):
    """The text names the model beside its numbers."""
    made = make(tmp_path, marked=True)

    done = advise("--run", str(made.folder), "--size", "8000")

    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--size", "600,1200"], "one size"),
        (["--size", "x"], "whole number"),
        (["--run", "20200101T000000Z-none-quick"], "does not exist"),
        (["--path", "wire"], "sink, veth, lo"),
        (["--dev", "eth9"], "--dst"),
        (["--path", "nic"], "--dev"),
    ],
)
def test_bad_input(arguments, says):
    """What cannot be used is one line that says what would be."""
    done = advise(*arguments)

    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert says in done.stderr


def test_a_run_without_the_size(stored):
    """A run that cannot answer says what it has instead."""
    done = advise("--run", stored, "--path", "lo")

    assert done.returncode == 2
    assert "has nothing on lo udp/IPv4" in done.stderr


def test_nothing_can_be_measured():
    """Without a run or a way to take one the exit is 77, and the way out is named."""
    done = advise(code=STARVED)

    assert done.returncode == 77
    assert "io_uring is switched off" in done.stderr
    assert "zclab advise --run RUN" in done.stderr


@needs_uring
def test_it_measures_and_keeps_the_run(tmp_path, checkout):
    """Without a run it measures, says so, and answers from what it kept."""
    code = (
        "import sys; from pathlib import Path\n"
        "from zclab import store\n"
        "from zclab.store import files\n"
        "from zclab.cli import advise\n"
        f"place = lambda: Path({str(tmp_path)!r})\n"
        "store.runs_dir = files.runs_dir = place\n"
        "import zclab.store.journal as journal\n"
        "journal.runs_dir = place\n"
        "advise.SECONDS = 1.0\n"
        "sys.argv = ['zclab', 'advise', *sys.argv[1:]]\n"
        "from zclab.cli import main; main()\n"
    )
    done = advise("--size", "8000", code=code)
    if done.returncode == 77:
        pytest.skip(done.stderr)

    assert done.returncode == 0, done.stderr
    assert "measuring sink-udp4-8000B-n8" in done.stderr
    (folder,) = tmp_path.iterdir()
    assert f"evidence: run {folder.name}" in done.stdout
    assert "copied 0%" in done.stdout
