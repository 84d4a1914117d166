"""The command line: bad input is one line and exit 2, every command helps."""

import subprocess
import sys

import pytest

from tests.live import needs_uring
from zclab.cli import app

COMMANDS = sorted(
    command.name or command.callback.__name__ for command in app.registered_commands
)


def zclab(*arguments, **options):
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "zclab.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["measure", "--profile", "nope"], "quick"),
        (["measure", "--modes", "send,zc"], "send_zc"),
        (["measure", "--protocol", "sctp"], "udp, tcp"),
        (["measure", "--path", "wire"], "sink, veth, lo"),
        (["measure", "--family", "5"], "4 or 6"),
        (["measure", "--sizes", "0"], "65507"),
        (["measure", "--sizes", "-1"], "65507"),
        (["measure", "--sizes", "65508"], "65507"),
        (["measure", "--sizes", "600,x"], "whole number"),
        (["measure", "--sizes", "600,600"], "twice"),
        (["measure", "--batch", "0"], "512"),
        (["measure", "--batch", "100000"], "512"),
        (["measure", "--seed", "x"], "whole number"),
        (["measure", "--resume", "x", "--dry-run"], "leave --dry-run out"),
        (["measure", "--protocol", "tcp", "--path", "sink", "--with", "tun"], "udp"),
        (["measure", "--with", "fog"], "rung=dummy"),
        (["measure", "--with", "mtu=1"], "68 to 65535"),
        (["measure", "--with", "peer-drop"], "--path veth"),
        (["measure", "--profile", "quick", "--sizes", "600"], "exclude"),
        (["measure", "--out", "/proc/version", "--sizes", "8"], "--out"),
        (["measure", "--bogus"], "--help"),
        (["report", "20200101T000000Z-none-quick"], "does not exist"),
        (["report", "--profile", "nope"], "quick"),
        (["mail", "20200101T000000Z-none-quick"], "does not exist"),
        (["verify", "20200101T000000Z-none-quick"], "names no run"),
        (["bogus"], "--help"),
    ],
)
def test_bad_input(arguments, says):
    """Bad input is answered by one line on stderr, with what to do, and exit 2."""
    done = zclab(*arguments)

    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("zclab: ")
    assert says in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    """Every command has help that ends with an example of itself."""
    done = zclab(command, "--help")

    assert done.returncode == 0
    assert f"Example: zclab {command}" in done.stdout


def test_no_command_is_help():
    """Without a command the commands are listed."""
    done = zclab()

    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)


@needs_uring
def test_custom_run(tmp_path):
    """A grid given by options is measured, and only the run's folder is on stdout."""
    done = zclab(
        *[
            "measure",
            "--path",
            "lo",
            "--sizes",
            "600",
            "--modes",
            "send,send_zc",
            "--blocks",
            "2",
        ],
        *("--seed", "5", "--out", str(tmp_path)),
    )

    if done.returncode == 77:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    assert done.stdout == f"{folder}\n"
    assert "block 2 of 2" in done.stderr
    verified = zclab("verify", str(folder))
    assert verified.returncode == 0
    assert "6 of 6 samples" in verified.stdout


@needs_uring
def test_changed_byte_is_one_line(tmp_path):
    """A sealed run with one byte changed is refused by verify and by report."""
    done = zclab("measure", "--path", "lo", "--blocks", "1", "--out", str(tmp_path))
    if done.returncode == 77:
        pytest.skip(done.stderr)
    (folder,) = tmp_path.iterdir()
    path = folder / "samples.parquet"
    path.chmod(0o644)
    whole = bytearray(path.read_bytes())
    whole[100] ^= 1
    path.write_bytes(whole)

    for command in ("verify", "report"):
        refused = zclab(command, str(folder))
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()[-1:]) == 1
        assert "samples.parquet is not what was sealed" in refused.stderr
        assert "Traceback" not in refused.stderr
