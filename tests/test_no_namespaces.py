"""Where user namespaces are forbidden, lo still works; the rest says what to do."""

import subprocess
import sys
from pathlib import Path as Folder

import pytest

from tests.live import needs_uring
from zclab import store

# Into a user namespace in which nobody may make another, and there to a plain user:
# forbidden as on a host that forbids it, with nothing of this host changed.
FORBIDDEN = """
import ctypes, os, sys
uid, gid = os.getuid(), os.getgid()
if ctypes.CDLL(None).unshare(0x10000000):
    sys.exit(99)
open("/proc/self/setgroups", "w").write("deny")
open("/proc/self/uid_map", "w").write(f"1000 {uid} 1")
open("/proc/self/gid_map", "w").write(f"1000 {gid} 1")
open("/proc/sys/user/max_user_namespaces", "w").write("0")
os.execv(sys.executable, [sys.executable, "-m", "zclab.cli", *sys.argv[1:]])
"""


def forbidden(*words):
    """Run zclab as a plain user where user.max_user_namespaces is 0."""
    done = subprocess.run(
        [sys.executable, "-c", FORBIDDEN, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 99:
        pytest.skip("no user namespace can be made here")
    return done


@needs_uring
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_loopback(tmp_path, protocol):
    """Then lo is the host's own, and the run says so."""
    before = Folder("/proc/sys/user/max_user_namespaces").read_text()

    done = forbidden(
        *("measure", "--path", "lo", "--protocol", protocol, "--sizes", 8000),
        *("--modes", "send,send_zc", "--blocks", 2, "--out", tmp_path),
    )

    assert done.returncode == 0, done.stderr
    run = store.load(Folder(done.stdout.strip()))
    assert run.complete
    assert "max_user_namespaces = 0" in run.host["paths"]["lo"]["namespaces_refused"]
    assert any("lo is the host's own" in warning for warning in run.warnings)
    assert run.samples["copied"].sum() == run.samples["notifications"].sum() > 0
    assert Folder("/proc/sys/user/max_user_namespaces").read_text() == before


@pytest.mark.parametrize(
    "words",
    [
        ("--path", "sink"),
        ("--path", "veth"),
        ("--path", "lo", "--with", "tap"),
    ],
)
def test_the_rest(tmp_path, words):
    """What needs a namespace names the setting, in one line."""
    done = forbidden("measure", *words, "--sizes", 8000, "--out", tmp_path)

    assert done.returncode == 77
    (line,) = done.stderr.splitlines()
    assert "user.max_user_namespaces = 0; change that sysctl" in line
    assert not list(tmp_path.iterdir())
