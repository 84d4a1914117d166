"""The selftest's script, replayed: its calls, its lines, and nothing left behind."""

import os
import re
import signal
import subprocess
import sys

import pytest

from tests.live import needs_uring
from tests.test_sweep import alive, await_true, children
from tests.test_tx import COPIED, SELFTEST_LINE
from zclab.errors import InputError
from zclab.measure.replay import turns
from zclab.params import Mode, Protocol
from zclab.presets import Tool

RECEIVED = re.compile(r"^rx=(\d+) \((\d+) MB\), (\d+\.\d)% of what was sent$", re.M)


def command(*words):
    """Return a call of `zclab replay` as an argument list."""
    return [sys.executable, "-m", "zclab.cli", "replay", "--", *words]


def test_without_words_it_is_the_whole_list():
    """Both families, modes 1 to 3, udp in batches of 32 and tcp one by one."""
    found = turns(())

    assert len(found) == 12
    assert found[0].header == "ipv4 udp -m 1 -t 1 -n 32"
    assert found[-1].header == "ipv6 tcp -m 3 -t 1 -n 1"
    assert {turn.call.tool for turn in found} == {Tool.SELFTEST}
    assert {turn.call.batch for turn in found} == {1, 32}
    assert {turn.call.runtime_ms for turn in found} == {1200}


def test_words_are_one_call():
    """The words become the header as the script prints it; a later -t wins."""
    (turn,) = turns(["6", "udp", "-m", "1", "-n", "64"])

    assert turn.header == "ipv6 udp -m 1 -n 64"
    assert (turn.call.family, turn.call.protocol) == (6, Protocol.UDP)
    assert (turn.call.mode, turn.call.batch) == (Mode.SEND_ZC, 64)
    assert turn.call.runtime_ms == 1200
    (longer,) = turns(["4", "tcp", "-t", "3"])
    assert longer.call.runtime_ms == 3200


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["5", "udp"], "4 or 6"),
        (["6"], "udp or tcp"),
        (["6", "raw"], "udp or tcp"),
        (["6", "udp", "-z", "1"], "liburing"),
        (["6", "udp", "-n", "513"], "1 to 512"),
        (["6", "udp", "-D", "::1"], "-D is set by replay"),
        (["6", "udp", "-t", "0"], "divides"),
    ],
)
def test_bad_words(words, says):
    """What the script does not take is one line."""
    with pytest.raises(InputError) as caught:
        turns(words)

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_words_end_with_2():
    """On the command line it is one line on stderr and exit 2, before any namespace."""
    done = subprocess.run(
        command("6", "sctp"), capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


@needs_uring
@pytest.mark.parametrize(
    ("words", "header"),
    [
        (["6", "udp", "-m", "1", "-n", "64"], "ipv6 udp -m 1 -n 64"),
        (["4", "tcp", "-m", "3", "-n", "1"], "ipv4 tcp -m 3 -n 1"),
    ],
)
def test_veth_copies_every_time(words, header):
    """Header, the tool's line, a copied share of 100 %, what came, and ok."""
    done = subprocess.run(
        command(*words), capture_output=True, text=True, timeout=60, check=False
    )

    if done.returncode == 77:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == header
    assert lines[-1] == "ok"
    requests = int(SELFTEST_LINE.search(done.stdout)[1])
    copied, noted, percent = COPIED.search(done.stdout).groups()
    assert percent == "100.0"
    assert 0 < int(copied) == int(noted) <= requests
    share = RECEIVED.search(done.stdout)[3]
    assert float(share) > 0
    if "tcp" in words:
        assert share == "100.0"


@needs_uring
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_behind(number):
    """However it is ended, its processes end too, and the namespaces with them."""
    process = subprocess.Popen(
        command("4", "udp", "-t", "60"),
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if "ipv4 udp" not in process.stdout.readline():
        process.wait()
        pytest.skip(process.stderr.read())
    await_true(lambda: len(children(process.pid)) >= 2)
    below = children(process.pid)
    # Ctrl-C reaches the whole group; SIGKILL here only the one that is waited for.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, said = process.communicate(timeout=30)

    await_true(lambda: not any(map(alive, below)))
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert said == "zclab: stopped\n"
