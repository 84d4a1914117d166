"""What --apply sets comes back: at the end, after a signal, and after SIGKILL."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.live import in_namespaces
from zclab.doctor import treatment, undo
from zclab.doctor.finding import Change
from zclab.errors import CapabilityError, InputError

DEADLINE_S = 30


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Return a folder whose files may be set as if they were the kernel's."""
    folder = tmp_path / "kernel"
    folder.mkdir()
    (folder / "one").write_text("1\n")
    (folder / "two").write_text("2\n")
    allowed = re.compile(re.escape(str(folder)) + r"/\w+")
    monkeypatch.setattr(undo, "_MAY_WRITE", allowed)
    # A sysctl takes the place of what was there; a file has to be emptied first.
    monkeypatch.setattr(undo, "_set", lambda path, text: Path(path).write_text(text))
    return folder


@pytest.fixture
def where(tmp_path):
    """Return a folder for the journal."""
    return tmp_path / "undo"


def held(files):
    """Return what the files hold."""
    return [(files / name).read_text().strip() for name in ("one", "two")]


def wanted(files):
    """Return changes of both files."""
    return [Change(str(files / "one"), "10"), Change(str(files / "two"), "20")]


def killed(body):
    """Run `body` in a child that is to be ended by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            body()
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), status
    assert os.WTERMSIG(status) == signal.SIGKILL


def die(*_):
    """End this process as the kernel does."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_settings_hold_and_come_back(files, where):
    """Inside of the `with` the wanted values hold; after it the found ones do."""
    said = []
    with undo.Applied(wanted(files), say=said.append, where=where):
        assert held(files) == ["10", "20"]
        assert len(said) == 2
        assert undo.pending(where) is None  # its owner lives

    assert held(files) == ["1", "2"]
    assert [line.rpartition(": ")[2] for line in said[2:]] == [
        "put back to 2",
        "put back to 1",
    ]
    assert not where.exists()


def test_a_value_that_is_there_already_is_left_alone(files, where):
    """What needs no change is not journaled, and not put back."""
    said = []
    changes = [Change(str(files / "one"), "1")]
    with undo.Applied(changes, say=said.append, where=where):
        (files / "one").write_text("5")

    assert said == []
    assert held(files) == ["5", "2"]


@pytest.mark.parametrize("at", range(6))
def test_killed_anywhere(files, where, monkeypatch, at):
    """Wherever SIGKILL falls, the next start finds all values as they were."""
    set_file, append = undo._set, undo.Applied._write

    def body():
        # Before and after each of three lines; and around each of two changes.
        left = [at]

        def step(action):
            def stepped(*arguments):
                if left[0] == 0:
                    die()
                left[0] -= 1
                action(*arguments)

            return stepped

        monkeypatch.setattr(undo, "_set", step(set_file))
        monkeypatch.setattr(undo.Applied, "_write", step(append))
        with undo.Applied(wanted(files), say=lambda _: None, where=where):
            die()

    killed(body)
    set_before = (at - 1) // 2  # line, then (line, change) for each file
    assert held(files) == (["10", "20"] if at > 4 else [["1"], ["10"]][set_before > 0]
                           + ["2"])  # fmt: skip

    said = undo.recover(where)

    assert held(files) == ["1", "2"]
    assert len(said) == [0, 0, 0, 1, 1, 2][at]
    assert undo.pending(where) is None
    assert undo.recover(where) == []
    assert not where.exists()


def test_a_torn_line_was_not_acted_on(files, where):
    """A last line that is torn is left out; those before it count."""
    killed(lambda: _apply_and_die(files, where))
    path = where / undo.JOURNAL
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    (files / "two").write_text("2")

    assert len(undo.recover(where)) == 1
    assert held(files) == ["1", "2"]


def _apply_and_die(files, where):
    with undo.Applied(wanted(files), say=lambda _: None, where=where):
        die()


def test_what_others_have_set_is_left(files, where):
    """A value that was changed meanwhile stays, and that is said."""
    killed(lambda: _apply_and_die(files, where))
    (files / "one").write_text("77")

    said = undo.recover(where)

    assert held(files) == ["77", "2"]
    assert any("left at 77, which somebody else has set" in line for line in said)


def test_a_living_owner_is_left_alone(files, where):
    """While the owner lives nobody puts anything back, and nobody else applies."""
    with undo.Applied(wanted(files), say=lambda _: None, where=where):
        assert undo.recover(where) == []
        with (
            pytest.raises(CapabilityError, match="in force"),
            undo.Applied([], say=lambda _: None, where=where),
        ):
            pass
        assert held(files) == ["10", "20"]


def test_a_pid_that_is_another_process_s_is_no_owner(files, where):
    """A pid alone says nothing: the start time has to be the same."""
    killed(lambda: _apply_and_die(files, where))
    path = where / undo.JOURNAL
    lines = path.read_text().splitlines()
    first = json.loads(lines[0]) | {"pid": os.getpid()}
    path.write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")

    assert undo.pending(where)
    assert len(undo.recover(where)) == 2


def test_a_journal_of_an_earlier_boot_goes(files, where):
    """Values do not outlive a boot, so a journal of another one asks for nothing."""
    killed(lambda: _apply_and_die(files, where))
    path = where / undo.JOURNAL
    path.write_text(re.sub(r'"boot": "[^"]*"', '"boot": "other"', path.read_text()))

    assert undo.recover(where) == []
    assert held(files) == ["10", "20"]
    assert not path.exists()


def test_a_planted_journal_asks_for_nothing(files, where, tmp_path):
    """A journal that others could write, or that names other files, is not obeyed."""
    killed(lambda: _apply_and_die(files, where))
    path = where / undo.JOURNAL
    victim = tmp_path / "victim"
    victim.write_text("x")
    with path.open("a") as file:
        line = {"path": str(victim), "found": "y", "wanted": "x"}
        file.write(json.dumps(line) + "\n")
    where.chmod(0o777)
    assert undo.recover(where) == []
    assert held(files) == ["10", "20"]

    where.chmod(0o755)
    undo.recover(where)

    assert victim.read_text() == "x"
    assert held(files) == ["1", "2"]


def test_only_listed_files_are_ever_written(where):
    """A change of any other file is refused before anything happens."""
    with (
        pytest.raises(ValueError, match="may write"),
        undo.Applied(
            [Change("/proc/sys/kernel/panic", "1")], say=lambda _: None, where=where
        ),
    ):
        pass
    assert not where.exists()


@pytest.mark.parametrize(
    "path",
    [
        "/proc/sys/kernel/io_uring_disabled",
        "/sys/class/net/eth0/mtu",
        "/proc/sys/net/core/../../kernel/panic",
        "/sys/devices/system/cpu/cpu1/online",
        "/proc/sys/net/core/rmem_max\n",
    ],
)
def test_what_may_not_be_set(path):
    """Policy, devices and CPUs are nothing that --apply may write."""
    assert not undo.settable(path)


def test_what_is_refused_is_said(files, where):
    """A file that cannot be set does not keep the others from being set."""
    (files / "one").unlink()
    said = []
    with undo.Applied(wanted(files), say=said.append, where=where):
        assert (files / "two").read_text() == "20"

    assert "not set: No such file" in said[0]
    assert (files / "two").read_text() == "2"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], 137),
    ],
)
def test_exit_codes_pass_through(files, where, command, code):
    """The exit code is the command's, or 128 and the number of its signal."""
    said = []

    assert treatment.hold(wanted(files), command, said.append, where=where) == code
    assert held(files) == ["1", "2"]
    assert len(said) == 4


def test_a_command_that_is_not_there(files, where):
    """It is bad input, and what was set is put back."""
    with pytest.raises(InputError, match="/nowhere/x"):
        treatment.hold(wanted(files), ["/nowhere/x"], lambda _: None, where=where)
    assert held(files) == ["1", "2"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_the_command_and_the_settings(files, where, tmp_path, number):
    """A signal goes on to the command; then the found values are put back."""
    mark = tmp_path / "mark"
    handler = signal.getsignal(number)
    child = os.fork()
    if child == 0:
        os.setsid()
        sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 - of a child that ends
        command = [sys.executable, "-c", _WAITING, str(mark)]
        os._exit(treatment.hold(wanted(files), command, lambda _: None, where=where))
    _await(mark.exists)
    assert held(files) == ["10", "20"]

    os.kill(child, number)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 33
    assert held(files) == ["1", "2"]
    assert signal.getsignal(number) == handler


_WAITING = """
import pathlib, signal, sys
ending = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
signal.pthread_sigmask(signal.SIG_BLOCK, ending)
pathlib.Path(sys.argv[1]).write_text(str(__import__("os").getpid()))
signal.sigwait(ending)
sys.exit(33)
"""


def test_without_a_command_it_holds_until_it_is_stopped(files, where):
    """Without a command the settings hold until a signal, and the exit code is 0."""
    child = os.fork()
    if child == 0:
        os._exit(treatment.hold(wanted(files), [], lambda _: None, where=where))
    _await(lambda: held(files) == ["10", "20"])

    os.kill(child, signal.SIGINT)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert held(files) == ["1", "2"]


def test_the_command_ends_with_a_killed_doctor(files, where, tmp_path):
    """After SIGKILL the command does not go on under settings that are put back."""
    mark = tmp_path / "mark"
    child = os.fork()
    if child == 0:
        command = [sys.executable, "-c", _WAITING, str(mark)]
        os._exit(treatment.hold(wanted(files), command, lambda _: None, where=where))
    _await(lambda: mark.exists() and mark.read_text())
    pid = int(mark.read_text())

    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    _await(lambda: not undo._started(pid) or _state(pid) == "Z")
    assert len(undo.recover(where)) == 2
    assert held(files) == ["1", "2"]


def _state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def _await(condition):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


_REAL = """
import os, signal, subprocess, tempfile
from pathlib import Path
from zclab.doctor import undo
sysctl = "/proc/sys/net/core/optmem_max"
if not os.access(sysctl, os.W_OK):
    raise CapabilityError("optmem_max is of the host, not of a namespace: before 6.8")
folder = Path(tempfile.mkdtemp())
os.environ["ZCLAB_UNDO_DIR"] = str(folder / "undo")
Path(sysctl).write_text("20480")
CODE = "; ".join([
    "from zclab.doctor import treatment",
    "from zclab.doctor.finding import Change",
    "change = Change('/proc/sys/net/core/optmem_max', '131072')",
    "treatment.hold([change], [], lambda line: print(line, flush=True))",
])
def held():
    running = subprocess.Popen([sys.executable, "-c", CODE], stdout=subprocess.PIPE)
    for line in running.stdout:
        if b"in force" in line:
            return running
    raise SystemExit("it was not set")
"""


def test_a_real_sysctl_comes_back_after_sigkill():
    """A sysctl of a network namespace, a real process, a real SIGKILL, the next start.

    Before 6.8 a namespace has no optmem_max of its own, and this is skipped.
    """
    seen = in_namespaces(
        _REAL
        + """
with held() as running:
    in_force = undo.value(sysctl)
    alone = undo.recover()
    running.kill()
killed = undo.value(sysctl)
command = [sys.executable, "-m", "zclab.cli", "doctor"]
done = subprocess.run(command, capture_output=True, text=True)
after = undo.value(sysctl)
with held() as running:
    running.send_signal(signal.SIGTERM)
    running.stdout.read()
answer({"in force": in_force, "alone": alone, "killed": killed,
        "said": done.stderr, "after": after, "code": running.returncode,
        "ended": undo.value(sysctl), "left": sorted(map(str, folder.glob("*")))})
"""
    )

    assert seen["in force"] == seen["killed"] == "131072"
    assert seen["alone"] == []
    assert seen["after"] == seen["ended"] == "20480"
    assert "optmem_max: put back to 20480" in seen["said"]
    assert seen["code"] == 0
    assert seen["left"] == []


def test_a_sysctl_of_another_namespace_is_not_touched():
    """From outside of its namespace a sysctl is left alone; gone with it, it is let go.

    The host has a sysctl of the same name, and that one is never written.
    """
    host = undo.value("/proc/sys/net/core/optmem_max")
    seen = in_namespaces(
        _REAL
        + """
from zclab.measure.namespace import PeerNetwork
with held() as running:
    running.kill()
peer = PeerNetwork()
with peer.entered():
    outside = undo.recover()
    other = undo.value(sysctl)
    kept = undo.pending() is not None
inside = undo.recover()
after = undo.value(sysctl)
with held() as running:
    running.kill()
namespace._setns(peer.fd)
os.close(peer._home)
gone = undo.recover()
answer({"outside": outside, "other": other, "kept": kept, "inside": inside,
        "after": after, "gone": gone, "left": sorted(map(str, folder.glob("*")))})
"""
    )

    assert "of another network namespace" in seen["outside"][0]
    assert seen["other"] == "131072"
    assert seen["kept"]
    assert "put back to 20480" in seen["inside"][0]
    assert seen["after"] == "20480"
    assert "gone with its network namespace" in seen["gone"][0]
    assert seen["left"] == []
    assert undo.value("/proc/sys/net/core/optmem_max") == host


def test_root_is_asked_for():
    """Who may not write a file is told the one command; nothing is set."""
    path = "/proc/sys/net/core/rmem_max"
    code = (
        "import os, sys\n"
        "if os.geteuid() == 0:\n"
        "    os.setgid(65534)\n"
        "    os.setuid(65534)\n"
        "from zclab.doctor import treatment\n"
        "from zclab.doctor.finding import Change\n"
        "from zclab.errors import CapabilityError\n"
        "try:\n"
        f"    treatment.hold([Change({path!r}, '1')], ['true'], print)\n"
        "except CapabilityError as error:\n"
        "    sys.exit(str(error))\n"
    )
    # Others may not look into a checkout of root's: all is loaded before.
    code = "import zclab.doctor.treatment\n" + code
    before = undo.value(path)

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert "sudo zclab doctor --apply" in done.stderr
    assert undo.value(path) == before
