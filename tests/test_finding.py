"""The mail about the copied flag: its program runs, its numbers are those of a run."""

import dataclasses
import json
import os
import subprocess
import sys
import textwrap

import pandas as pd
import pytest

from tests.live import needs_uring
from zclab import store
from zclab.errors import CapabilityError, InputError, MeasureError
from zclab.measure import sweep
from zclab.params import Path, Plan, Protocol, grid
from zclab.prove import reproducer
from zclab.publish import archive, finding

NOBODY = 65534
RELEASE = os.uname().release
OUTCOME = {
    "kernel": RELEASE,
    "said": ["no flag: 7 of 8 say copied", "MSG_EOR: 0 of 8 say copied"],
}


def reproduced():
    try:
        return reproducer.run(finding.program(finding.draft()), finding.COMMANDS)
    except CapabilityError as error:
        pytest.skip(str(error))


@needs_uring
def test_the_program_shows_it():
    """Nothing can copy, and all but the first of eight in one skb say copied."""
    said = reproduced()["said"]
    sys.stdout.write("\n".join(said) + "\n")

    assert said == OUTCOME["said"]


@needs_uring
def test_the_program_needs_no_privilege(tmp_path):
    """A user without any right over the host gets the same."""
    if os.getuid() == 0:
        tmp_path.chmod(0o777)
    code = f"""
    import json, os, sys, tempfile
    tempfile.tempdir = {str(tmp_path)!r}
    from zclab.errors import CapabilityError
    from zclab.prove import reproducer
    from zclab.publish import finding
    program = finding.program(finding.draft())
    if os.getuid() == 0:
        for folder in {[str(one) for one in tmp_path.parents][:3]!r}:
            os.chmod(folder, os.stat(folder).st_mode | 0o011)
        os.setgroups([])
        os.setgid({NOBODY})
        os.setuid({NOBODY})
    try:
        print(json.dumps(reproducer.run(program, finding.COMMANDS)))
    except CapabilityError as error:
        sys.stderr.write(str(error))
        sys.exit(77)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    if done.returncode == 77:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["said"] == OUTCOME["said"]


def test_the_program_is_short():
    """It is read in a mail: at most 40 lines, none of them wrapped."""
    lines = finding.program(finding.draft()).splitlines()

    assert len(lines) <= 40
    assert max(len(line.expandtabs()) for line in lines) <= 84


def test_a_text_without_a_program_is_refused():
    """What is not between the cut lines is no program."""
    with pytest.raises(InputError, match="cut lines"):
        finding.program("nothing here")


@pytest.mark.parametrize("program", ["int main(void) { return 3; }", "nonsense"])
def test_a_program_that_fails_is_not_quoted(program):
    """A reproducer that does not print what it should is an error, not a number."""
    reproduced()
    with pytest.raises(MeasureError, match="the reproducer failed"):
        reproducer.run(program, finding.COMMANDS)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run of TCP over the sink, with witnesses."""
    points = grid(
        path=Path.SINK,
        protocol=Protocol.TCP,
        family=4,
        sizes=(1200, 65536),
        modes=("send", "send_zc_fixed"),
        batch=1,
    )
    plan = Plan(profile="test", points=points, seed=2, blocks=6, slice_ns=3_000_000)
    try:
        return store.load(sweep.take(plan, out=tmp_path_factory.mktemp("runs")))
    except CapabilityError as error:
        pytest.skip(str(error))


@needs_uring
def test_the_numbers_are_those_of_the_run(run):
    """The table has the flagged share of each size, and the witnesses' beside it."""
    text = finding.render(run, OUTCOME)

    mine = run.samples[run.samples["mode"] == "send_zc_fixed"]
    small = mine[mine["io_size_bytes"] == 1200]
    share = small["copied"].sum() / small["notifications"].sum()
    assert f"1200 | {100 * share:>6.1f}% |      0%" in text
    assert "7 of 8 say copied" in text
    assert RELEASE in text
    assert run.id in text
    assert text.isascii()


@needs_uring
def test_the_prose_fits_a_mail(run):
    """No line of prose is longer than 72 columns; the program is not wrapped."""
    text = finding.render(run, OUTCOME)
    prose = text.replace(finding.program(text), "")

    assert [line for line in prose.splitlines() if len(line) > 72] == []
    assert "{" not in prose


@needs_uring
def test_another_kernels_program_is_refused(run):
    """Table and program must be of one kernel."""
    with pytest.raises(InputError, match="take both on one"):
        finding.render(run, OUTCOME | {"kernel": "6.10.0"})


@needs_uring
def test_a_kernel_without_the_effect_gets_no_mail(run):
    """Where the flag says what was copied, or the program saw nothing, none is made."""
    right = run.samples.assign(copied=0)
    with pytest.raises(InputError, match="there is nothing to report"):
        finding.render(dataclasses.replace(run, samples=right), OUTCOME)
    seen = ["no flag: 0 of 8 say copied", "MSG_EOR: 0 of 8 say copied"]
    with pytest.raises(InputError, match="there is nothing to report"):
        finding.render(run, OUTCOME | {"said": seen})


@needs_uring
def test_what_drops_and_every_ip_version_are_named(run):
    """A veth pair drops at its peer; rows of two versions are not called one."""
    both = run.plan.points[1]
    plan = dataclasses.replace(
        run.plan, points=(run.plan.points[0], dataclasses.replace(both, family=6))
    )
    names = {both.name: plan.points[1].name}
    samples = run.samples.assign(
        point=run.samples["point"].astype(str).replace(names),
        family=run.samples["family"].where(run.samples["point"] != both.name, 6),
    )
    place = {**run.host["paths"]["sink+answered"], "kind": "veth", "rung": "veth-drop"}
    host = {**run.host, "paths": {**run.host["paths"], "sink+answered": place}}
    text = finding.render(
        dataclasses.replace(run, plan=plan, samples=samples, host=host), OUTCOME
    )

    assert "TCP over a veth pair, whose peer drops the data at its ingress;" in text
    assert "registered buffer, IPv4 and IPv6,\n" in text


@needs_uring
def test_a_run_without_a_witness_is_refused(run):
    """Without witnesses nothing says that the flag is wrong."""
    samples = run.samples.assign(witness_notifications=pd.NA, witness_copied=pd.NA)

    with pytest.raises(InputError, match="with a witness"):
        finding.render(dataclasses.replace(run, samples=samples), OUTCOME)


def test_the_kept_mail_is_verified(checkout):
    """The mail under reports/ follows from its run, byte for byte."""
    folder = checkout / "reports" / finding.NAME
    if not (folder / store.MANIFEST).is_file():
        pytest.skip("no finding is kept here; make one: zclab finding")

    assert any("byte for byte" in one for one in archive.verify(folder))
