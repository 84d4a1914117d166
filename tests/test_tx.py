"""Calls of the two tools: their lines, counts that agree, and clean ends."""

import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from tests.live import in_namespaces, needs_uring
from zclab.measure import tx
from zclab.measure.preset import parse

SELFTEST_LINE = re.compile(r"^tx=(\d+) \(MB=(\d+)\), tx/s=(\d+) \(MB/s=(\d+)\)$", re.M)
LIBURING_LINE = re.compile(
    r"^packets=(\d+) \(MB=(\d+)\), rps=(\d+) \(MB/s=(\d+)\)$", re.M
)
TOO_SHORT = "The run is too short, can't gather stats"
COPIED = re.compile(r"copied (\d+) of (\d+) notifications \((\d+\.\d)%\)")
COUNTS = {
    "requests": 120_000,
    "bytes": 120_000 * 65435,
    "elapsed_ns": 1_200_000_000,
    "notifications": 0,
    "copied": 0,
    "eagain": 0,
    "short_sends": 0,
}


def command(*words):
    """Return a call of `zclab tx` as an argument list."""
    return [sys.executable, "-m", "zclab.cli", "tx", *map(str, words)]


def zclab_tx(*words):
    """Run `zclab tx`; skip the test where io_uring cannot do it."""
    done = subprocess.run(
        command(*words), capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode == 77:
        pytest.skip(done.stderr)
    return done


@contextmanager
def receiving(family=socket.AF_INET, host="127.0.0.1"):
    """Yield a UDP socket that takes what it is sent, and drops what does not fit."""
    with socket.socket(family, socket.SOCK_DGRAM) as bound:
        bound.bind((host, 0))
        yield bound


def free_port(kind=socket.SOCK_DGRAM):
    """Return a port on which nobody listened a moment ago."""
    with socket.socket(socket.AF_INET, kind) as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def sent(*words, threads_ns=(), **counts):
    """Return what a call would say of some counts, by default of one thread."""
    call = parse(["-4", "-D", "127.0.0.1", *words])
    found = {**COUNTS, **counts}
    return tx.Sent(
        call=call,
        counts=found,
        threads_ns=threads_ns or (found["elapsed_ns"],),
        asked=True,
        stopped=False,
    )


def test_selftest_divides_by_whole_seconds():
    """Its rates are those of the original: too high by the 0.2 s it leaves out."""
    said = sent("-m", "0", "-t", "1", "udp")

    assert said.line == "tx=120000 (MB=7488), tx/s=120000 (MB/s=7488)"
    assert "100000 requests/s" in said.measured
    assert "10000 ns/request" in said.measured
    assert "+20.0%" in said.division


def test_liburing_divides_by_measured_time():
    """Its rates are right, and nothing is said about them."""
    said = sent("-z", "0", "-t", "1", "udp")

    assert said.line == "packets=120000 (MB=7488), rps=100000 (MB/s=6240)"
    assert said.division == ""
    assert "no notifications" in said.measured


def test_liburing_divides_by_the_average_of_its_threads():
    """Where threads end apart its rate is that of their average time, not the longest.

    A thread whose connection broke counts with no time at all.
    """
    letters = ("-z", "0", "-T", "2", "-n", "1", "udp")

    apart = sent(*letters, threads_ns=(1_200_000_000, 800_900_000))
    broken = sent(*letters, threads_ns=(1_200_000_000, 0))

    assert apart.line == "packets=120000 (MB=7488), rps=120000 (MB/s=7488)"
    assert broken.line == "packets=120000 (MB=7488), rps=200000 (MB/s=12480)"


def test_liburing_has_no_rate_of_less_than_a_millisecond():
    """Its example then prints a line without figures."""
    said = sent("-z", "0", "udp", elapsed_ns=999_999)

    assert said.line == TOO_SHORT


def test_shared_packets_are_no_copies():
    """Over TCP a share between none and all is not called a copied share alone."""
    some = {"notifications": 10, "copied": 3}

    assert "shared packets" in sent("-n1", "tcp", **some).measured
    assert "shared packets" not in sent("udp", **some).measured
    all_of_it = {"notifications": 10, "copied": 10}
    assert COPIED.search(sent("-n1", "tcp", **all_of_it).measured)


def test_nothing_sent_is_said():
    """No request completed: there is no rate, and no division by zero."""
    assert "not one request" in sent("udp", requests=0, bytes=0, elapsed_ns=0).measured


@needs_uring
def test_selftest_call():
    """-m 2 over IPv6 loopback: the selftest's line on stderr, all of it copied."""
    with receiving(socket.AF_INET6, "::1") as bound:
        port = bound.getsockname()[1]
        done = zclab_tx(
            *["-6", "-D", "::1", "-p", port, "-m", 2, "-n", 8, "-t", 1, "udp"]
        )

    assert done.returncode == 0, done.stderr
    requests, mib, rate, _ = map(int, SELFTEST_LINE.search(done.stderr).groups())
    assert mib == requests * 65435 >> 20
    assert rate == requests
    copied, noted, percent = COPIED.search(done.stdout).groups()
    assert int(copied) == int(noted) == requests
    assert percent == "100.0"
    assert "divide by 1 s" in done.stdout


@needs_uring
@pytest.mark.parametrize("letters", [["-d"], ["-b", 0], ["-T", 2, "-n", 1]])
def test_liburing_call(letters):
    """Zerocopy over loopback: liburing's line on stdout, all of it copied."""
    with receiving() as bound:
        port = bound.getsockname()[1]
        done = zclab_tx(
            *["-4", "-D", "127.0.0.1", "-p", port, "-z", 1, "-t", 0, *letters, "udp"]
        )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    requests, mib, _, _ = map(int, LIBURING_LINE.search(done.stdout).groups())
    assert mib == requests * 65435 >> 20
    copied, noted, _ = COPIED.search(done.stdout).groups()
    assert int(copied) == int(noted) == requests


@needs_uring
def test_counts_agree_with_the_kernels():
    """UDP's own counters of the namespace have as many datagrams as the call says."""
    found = in_namespaces(
        "from zclab.measure import tx\n"
        "from zclab.measure.preset import parse\n"
        "up(Path.LO, {4})\n"
        "receiving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "receiving.bind(('127.0.0.1', 8000))\n"
        "def out():\n"
        "    text = open('/proc/self/net/snmp').read().splitlines()\n"
        "    names, values = [l.split() for l in text if l.startswith('Udp:')]\n"
        "    return int(values[names.index('OutDatagrams')])\n"
        "rows = []\n"
        "before = out()\n"
        "tx.probe.support(), tx.probe.mode(Mode.SEND_ZC_FIXED)\n"
        "probes = out() - before  # each call begins with these\n"
        "for words in ('-n8 -t0 udp', '-d -n64 -t0 udp', '-c1 -n5 -s100 -t1 udp'):\n"
        "    before = out()\n"
        "    call = parse(['-4', '-D', '127.0.0.1', *words.split()])\n"
        "    requests = tx.send(call).counts['requests']\n"
        "    rows.append([out() - before - probes, requests, call.options.cork])\n"
        "receiving.close()\n"
        "answer({'rows': rows})\n"
    )

    for datagrams, requests, cork in found["rows"]:
        assert datagrams == (requests // 5 if cork else requests) > 0


@needs_uring
def test_ctrl_c_prints_the_statistics():
    """SIGINT ends a call that would take a minute, with its lines and exit 130."""
    with receiving() as bound:
        process = subprocess.Popen(
            command(
                *["-4", "-D", "127.0.0.1", "-p", bound.getsockname()[1], "-t", 60],
                "udp",
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        bound.settimeout(30)
        try:
            bound.recv(64)
            begun = time.monotonic()
            while time.monotonic() < begun + 0.1:  # less than 1 ms is "too short"
                bound.recv(64)
        except TimeoutError:
            process.kill()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)

    if process.returncode == 77:
        pytest.skip(err)
    assert process.returncode == 130, err
    requests = int(LIBURING_LINE.search(out)[1])
    assert int(COPIED.search(out)[1]) <= requests
    assert err.splitlines() == [
        "zclab: stopped early; the numbers are of the time until then"
    ]


@needs_uring
@pytest.mark.parametrize("letters", [["-m", 2, "-t", 1], ["-z", 1], ["-z", 1, "-T", 4]])
def test_nobody_listens(letters):
    """A refused datagram is one line that says how to start a receiver, and exit 1.

    liburing's example prints its statistics first, which have no time; the selftest
    prints none.
    """
    port = free_port()
    done = zclab_tx("-4", "-D", "127.0.0.1", "-p", port, *letters, "udp")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "ECONNREFUSED" in done.stderr
    assert f"zclab tx -4 -R -D 127.0.0.1 -p {port} udp" in done.stderr
    assert (TOO_SHORT in done.stdout) == ("-z" in letters)


@needs_uring
def test_nobody_accepts():
    """Over TCP the connection is refused: the same line, before anything is sent."""
    port = free_port(socket.SOCK_STREAM)
    done = zclab_tx("-4", "-D", "127.0.0.1", "-p", port, "-n", 1, "tcp")

    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert f"start a receiver first: zclab tx -4 -R -D 127.0.0.1 -p {port} tcp" in (
        done.stderr
    )


@contextmanager
def serving(*words):
    """Yield a receiver's process once it receives."""
    process = subprocess.Popen(
        command("-R", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert "receiving" in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


@needs_uring
def test_a_receiver_takes_all_of_a_tcp_call():
    """-R accepts each thread's connection; both sides name the same number of MB."""
    port = free_port(socket.SOCK_STREAM)
    with serving("-4", "-p", port, "-T", 2, "tcp") as receiver:
        to = ["-4", "-D", "127.0.0.1", "-p", port]
        done = zclab_tx(*to, "-T", 2, "-n", 4, "-z", 0, "-t", 0, "tcp")
        received, said = receiver.communicate(timeout=30)

    assert done.returncode == 0, done.stderr
    assert receiver.returncode == 0, said
    assert "reordered" in done.stderr
    mib = int(LIBURING_LINE.search(done.stdout)[2])
    assert int(LIBURING_LINE.search(received)[2]) == mib > 0


@needs_uring
def test_ctrl_c_ends_a_receiver():
    """SIGINT ends a receiver with its line, and exit 130."""
    port = free_port()
    with serving("-4", "-D", "127.0.0.1", "-p", port, "-t", 60, "udp") as receiver:
        receiver.send_signal(signal.SIGINT)
        out, said = receiver.communicate(timeout=30)

    assert receiver.returncode == 130, said
    assert LIBURING_LINE.search(out)
    assert "Traceback" not in said


@needs_uring
@pytest.mark.parametrize(
    ("letters", "says"),
    [
        (["-C", 4095], "-C 4095"),
        (["-I", "no-such-device"[:14]], "-I no-such-device"),
        (["-R", "-D", "198.51.100.1"], "198.51.100.1 port 8000"),
    ],
)
def test_what_is_not_here_is_one_line(letters, says):
    """A CPU, a device or an address that this host has not: exit 2, one line."""
    done = zclab_tx("-4", "-D", "127.0.0.1", *letters, "udp")

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert says in done.stderr
