"""zclab preflight: predictions of a grid or a plan, without a send."""

import json
import subprocess
import sys

import pytest
from live import needs_uring

from zclab.preflight import RULES


def preflight(*arguments, **options):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "zclab.cli", "preflight", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def stored(checkout):
    """Return the folder of a run whose facts are in git."""
    return min((checkout / "data" / "runs").glob("*-quick"))


def test_facts_of_a_run(stored):
    """The facts of a run answer for any grid, on any machine."""
    done = preflight("--facts", str(stored), "--family", "6", "--sizes", "65487,65488")

    assert done.returncode == 0, done.stderr
    assert "sink-udp6-65487B-n8  zerocopy   sink" in done.stdout
    assert "65488 B > 65487 B" in done.stdout
    assert f"cure: {RULES['fragmented'].cure}" in done.stdout


def test_the_plan_of_a_run(stored):
    """Without a grid the points are those of the run; JSON has rule and cure."""
    done = preflight("--facts", str(stored), "--json")

    told = {one["point"]: one for one in json.loads(done.stdout)}
    assert told["sink-udp4-8000B-n8"]["rule"] == "sink"
    assert told["veth-udp6-65435B-n64"]["copied"] == 1
    assert told["veth-udp6-65435B-n64"]["cure"]


def test_arms_that_differ_are_named(stored):
    """Arms with options of their own have lines of their own."""
    modes = "send,send_zc,send_zc:segment=1000"

    done = preflight("--facts", str(stored), "--sizes", "4000", "--modes", modes)

    assert "send_zc:segment=1000  zerocopy   segmented" in done.stdout


def test_rules_and_page():
    """Rules and page are printed without a kernel being asked."""
    rules = preflight("--rules").stdout
    page = preflight("--page").stdout

    assert all(f"| `{rule}` |" in rules for rule in RULES)
    assert rules in page


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--path", "wire"], "sink, veth, lo"),
        (["--sizes", "x"], "whole number"),
        (["--profile", "nope"], "quick"),
        (["--facts", "20200101T000000Z-none-quick"], "does not exist"),
        (["--profile", "quick", "--sizes", "600"], "exclude"),
        (["--with", "rain"], "rain"),
    ],
)
def test_bad_input(arguments, says):
    """Bad input is one line on stderr and exit 2."""
    done = preflight(*arguments)

    assert done.returncode == 2, done.stdout
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


@needs_uring
def test_a_situation_is_made_and_looked_at():
    """The path is made, looked at, and taken down; what was asked for is predicted."""
    done = preflight("--sizes", "1472,1473", "--with", "mtu=1500", "--json")

    if done.returncode == 77:
        pytest.skip(done.stderr)
    told = json.loads(done.stdout)
    assert [one["point"].partition("-udp")[0] for one in told] == ["sink+mtu=1500"] * 2
    assert [one["rule"] for one in told] == ["sink", "fragmented"]


MIXED_PLAN = """
lenient: {lenient}
points:
  - {{path: lo, with: [tx-checksum=off, sg=off], sizes: [600], modes: [send]}}
  - {{path: lo, with: {second}, sizes: [1200, 4000], modes: [send, send_zc]}}
"""


def lenient(folder, **values):
    """Run the command on a plan of places of which loopback refuses two."""
    values = {"lenient": "true", "second": "''", **values}
    plan = folder / "plan.yaml"
    plan.write_text(MIXED_PLAN.format(**values), encoding="utf-8")
    return preflight("--plan", str(plan), "--json")


@needs_uring
def test_of_a_lenient_plan_the_rest_is_predicted(tmp_path):
    """What this host refuses is told, each place of it; the others are predicted."""
    done = lenient(tmp_path)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {one["point"] for one in told} == {"lo-udp4-1200B-n8", "lo-udp4-4000B-n8"}
    lines = done.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["left out", "lo+tx-checksum=off-udp4-600B-n8"],
        ["left out", "lo+sg=off-udp4-600B-n8"],
    ]
    assert all("use another path" in line for line in lines)


@needs_uring
@pytest.mark.parametrize(
    ("values", "refusals"),
    [({"second": "sg=off"}, 5), ({"lenient": "false"}, 1)],
)
def test_nothing_left_to_predict(tmp_path, values, refusals):
    """Where nothing can be had, or the plan wants all of it, that is exit 77."""
    done = lenient(tmp_path, **values)

    assert done.returncode == 77, done.stderr
    assert not done.stdout
    assert done.stderr.count("use another path") == refusals
