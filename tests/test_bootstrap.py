"""Set-up: what it finds, what it says, when it has nothing to do."""

import ast
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zclab import bootstrap
from zclab.bootstrap import Place, SetupError

NOT_ROOT = 1000
FIVE_NEEDS = [
    bootstrap.COMPILER,
    bootstrap.HEADERS,
    bootstrap.PKG_CONFIG,
    bootstrap.LIBURING_NEED,
    bootstrap.VENV,
]


@pytest.fixture
def copy(tmp_path: Path, checkout: Path) -> Path:
    """Return a checkout of its own, as far as set-up reads it."""
    root = tmp_path / "checkout"
    (root / "zclab" / "uring").mkdir(parents=True)
    for name in ("requirements.lock", "pyproject.toml", "setup.py"):
        shutil.copy(checkout / name, root)
    shutil.copy(checkout / "zclab" / "bootstrap.py", root / "zclab")
    for source in (checkout / "zclab" / "uring").glob("*.[ch]"):
        shutil.copy(source, root / "zclab" / "uring")
    shutil.copy(checkout / "zclab" / "uring" / "build.py", root / "zclab" / "uring")
    return root


@pytest.fixture
def made(copy: Path) -> Place:
    """Return a place that looks set up, with this Python and an empty shim."""
    place = bootstrap.place_of(copy, {})
    place.python.parent.mkdir(parents=True)
    place.python.symlink_to(Path(sys.executable).resolve())
    script(place.python.with_name("zclab"), "true")
    script(place.python.with_name("pip"), "true", interpreter=str(place.python))
    (copy / "zclab" / "uring" / "_shim.abi3.so").touch()
    bootstrap.write_stamp(copy, place)
    return place


def script(path: Path, text: str, *, interpreter: str = "/bin/sh") -> None:
    """Write an executable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{interpreter}\n{text}\n")
    path.chmod(0o755)


def run_copy(root: Path, *arguments: str, **environ: str) -> tuple[int, str]:
    """Run a checkout's own bootstrap.py; return its status and what it said."""
    done = subprocess.run(
        [sys.executable, str(root / "zclab" / "bootstrap.py"), *arguments],
        env={"PATH": os.environ["PATH"], **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


# The file itself


def test_python_3_6_can_read_it(checkout: Path) -> None:
    """An old Python gets as far as looking for a newer one."""
    source = (checkout / "zclab" / "bootstrap.py").read_text()
    ast.parse(source, feature_version=(3, 6))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.args, *node.args.kwonlyargs]
            for hint in [node.returns, *(each.annotation for each in arguments)]:
                # list[str] and X | None are errors there unless they are quoted.
                assert not isinstance(hint, ast.Subscript | ast.BinOp), node.lineno


def test_python_2_prints_the_cure(checkout: Path) -> None:
    """The first line that Python 2 cannot read says what zclab needs."""
    source = (checkout / "zclab" / "bootstrap.py").read_text()
    hints = [x for x in ast.walk(ast.parse(source)) if isinstance(x, ast.AnnAssign)]
    others = (ast.JoinedStr, ast.FunctionDef, ast.Starred)
    later = [x.lineno for x in ast.walk(ast.parse(source)) if isinstance(x, others)]
    first = min(hints, key=lambda node: node.lineno)
    assert first.lineno < min(later)
    assert bootstrap.FIT in source.splitlines()[first.lineno - 1]


# The interpreter


def test_an_unfit_interpreter_is_refused(tmp_path: Path) -> None:
    """Neither an old nor a future Python, nor a command that fails, is taken."""
    for answer in ("3 10 /bin/sh", "3 14 /bin/sh", "2 7 /bin/sh", "nonsense", ""):
        script(tmp_path / "python", f"echo '{answer}'")
        assert bootstrap.base_interpreter(tmp_path / "python") is None
    script(tmp_path / "python", "exit 127")  # as version managers' shims do
    assert bootstrap.base_interpreter(tmp_path / "python") is None
    script(tmp_path / "python", "echo 3 12 /bin/sh")
    assert bootstrap.base_interpreter(tmp_path / "python") == Path("/bin/sh")


def test_the_newest_fit_in_path_is_found(
    tmp_path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run by an old Python, set-up looks through PATH, past shims that fail."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "old"))
    script(tmp_path / "old", "echo 3 8 /bin/sh")
    script(tmp_path / "shims" / "python3.13", "exit 127")
    script(tmp_path / "bin" / "python3.12", f"echo 3 12 {tmp_path}/bin/python3.12")
    script(tmp_path / "bin" / "python3.11", f"echo 3 11 {tmp_path}/bin/python3.11")
    environ = {"PATH": f"{tmp_path}/shims:{tmp_path}/bin"}
    place = bootstrap.place_of(copy, environ)
    found = bootstrap.choose_interpreter(place, environ)
    assert found == tmp_path / "bin" / "python3.12"


def test_no_interpreter_is_one_line(
    tmp_path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a fit Python the message says which ones fit."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "old"))
    script(tmp_path / "old", "echo 3 8 /bin/sh")
    with pytest.raises(SetupError, match=r"^zclab needs Python 3\.11.*install") as stop:
        bootstrap.choose_interpreter(bootstrap.place_of(copy, {}), {"PATH": ""})
    assert stop.value.code == bootstrap.EXIT_MISSING
    assert "\n" not in str(stop.value)


def test_conda_is_used_only_when_chosen(copy: Path) -> None:
    """An activated environment is taken, conda's own base never."""
    chosen = {"CONDA_PREFIX": "/c/envs/zclab", "CONDA_DEFAULT_ENV": "zclab"}
    place = bootstrap.place_of(copy, chosen)
    assert place.is_conda
    assert place.python == Path("/c/envs/zclab/bin/python")
    base = {"CONDA_PREFIX": "/c", "CONDA_DEFAULT_ENV": "base"}
    assert bootstrap.place_of(copy, base) == bootstrap.place_of(copy, {})


# The system


def test_commands_name_real_packages() -> None:
    """Each manager's packages are those of its own distribution."""
    python, default = Path("/usr/bin/python3.12"), Path("/usr/bin/python3.9")
    for manager, expected in {
        "apt-get": "gcc libc6-dev python3.12-dev pkg-config liburing-dev "
        "python3.12-venv",
        "dnf": "gcc python3.12-devel pkgconf-pkg-config liburing-devel python3.12",
        "zypper": "gcc python312-devel pkg-config liburing-devel python312",
        "pacman": "gcc python pkgconf liburing",
    }.items():
        named = bootstrap.package_names(manager, FIVE_NEEDS, python, default)
        assert named == expected
    named = bootstrap.package_names("dnf", [bootstrap.HEADERS], python, python)
    assert named == "python3-devel"


def test_a_user_is_told_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root, what is missing is one line that ends in the command."""
    monkeypatch.setattr(os, "geteuid", lambda: NOT_ROOT)
    monkeypatch.setattr(bootstrap, "liburing_version", lambda: ())
    monkeypatch.setattr(shutil, "which", lambda name: name == "apt-get" or None)
    with pytest.raises(SetupError) as stop:
        bootstrap.provide([bootstrap.LIBURING_NEED], needs_venv=False)
    assert str(stop.value) == (
        "liburing 2.3 or newer: not found; "
        "type: sudo apt-get install -y --no-install-recommends liburing-dev"
    )
    assert stop.value.code == bootstrap.EXIT_MISSING


def test_an_old_liburing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the distribution's newest is too old, installing it is not advised."""
    monkeypatch.setattr(os, "geteuid", lambda: NOT_ROOT)
    monkeypatch.setattr(bootstrap, "liburing_version", lambda: (2, 1))
    monkeypatch.setattr(shutil, "which", lambda name: name == "apt-get" or None)
    with pytest.raises(SetupError, match=r"^liburing 2\.1 is too old.*conda"):
        bootstrap.provide([bootstrap.LIBURING_NEED], needs_venv=False)


def test_root_installs_and_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As root the lists are refreshed after a failure, and the need checked after."""
    ran: list[str] = []

    def run(command: list[str], failure: str) -> None:
        ran.append(" ".join(command))
        if len(ran) == 1:
            raise SetupError(failure)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(bootstrap, "run", run)
    monkeypatch.setattr(bootstrap, "missing_needs", lambda **_: [])
    monkeypatch.setattr(shutil, "which", lambda name: name == "apt-get" or None)
    bootstrap.provide([bootstrap.PKG_CONFIG], needs_venv=False)
    install = "apt-get install -y --no-install-recommends pkg-config"
    assert ran == [install, "apt-get update", install]
    monkeypatch.setattr(bootstrap, "missing_needs", lambda **_: [bootstrap.PKG_CONFIG])
    with pytest.raises(
        SetupError, match=f"^pkg-config: still not found after {install}"
    ):
        bootstrap.provide([bootstrap.PKG_CONFIG], needs_venv=False)


def test_versions_compare_as_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2.10 is newer than 2.3, and 2.3 is just new enough."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for version, suffices in {"2.2": False, "2.3": True, "2.10": True}.items():
        script(tmp_path / "pkg-config", f"echo {version}")
        assert (bootstrap.liburing_version() >= bootstrap.LIBURING) is suffices
    script(tmp_path / "pkg-config", "exit 1")
    assert bootstrap.liburing_version() == ()


# The stamp and the venv


def test_ready_means_nothing_changed(copy: Path, made: Place) -> None:
    """Set-up is done until a file that it read, or the checkout's place, changes."""
    assert bootstrap.is_ready(copy, made)
    for name in ("requirements.lock", "setup.py", "zclab/uring/sender.c"):
        path = copy / name
        before = path.read_bytes()
        path.write_bytes(before + b"\n")
        assert not bootstrap.is_ready(copy, made), name
        path.write_bytes(before)
    assert bootstrap.is_ready(copy, made)
    moved = copy.rename(copy.with_name("moved"))
    assert not bootstrap.is_ready(moved, bootstrap.place_of(moved, {}))


@pytest.mark.parametrize("gone", ["bin/python", "bin/zclab", ".ready"])
def test_a_broken_venv_is_not_ready(copy: Path, made: Place, gone: str) -> None:
    """Nothing that a target needs may be missing."""
    (copy / ".venv" / gone).unlink()
    assert not bootstrap.is_ready(copy, made)


def test_a_missing_shim_is_not_ready(copy: Path, made: Place) -> None:
    """A shim removed by `git clean` is compiled again."""
    (copy / "zclab" / "uring" / "_shim.abi3.so").unlink()
    assert bootstrap.is_ready(copy, made) is not sys.platform.startswith("linux")


def test_faults_of_a_venv_are_told_apart(copy: Path, made: Place) -> None:
    """Absent, interrupted, moved and orphaned venvs are each made anew."""
    venv = made.stamp.parent
    (venv / ".unfinished").touch()
    assert bootstrap.venv_fault(venv) == "its set-up was interrupted"
    (venv / ".unfinished").unlink()
    moved = venv.rename(copy / "elsewhere")
    assert bootstrap.venv_fault(venv) == "there is none yet"
    assert bootstrap.venv_fault(moved) == "it was moved"
    moved.rename(venv)
    made.python.unlink()
    made.python.symlink_to(copy / "nowhere")
    assert bootstrap.venv_fault(venv) == "its Python is gone"


# Running it


def test_a_second_run_ends_at_once(copy: Path, made: Place) -> None:
    """With a stamp that holds, set-up says so and starts nothing."""
    assert run_copy(copy, PATH="") == (0, "set-up: ready\n")


def test_two_at_once_take_turns(copy: Path, made: Place) -> None:
    """A set-up waits for another and finds that nothing is left to do."""
    stamp = made.stamp.read_text()
    made.stamp.unlink()
    with (copy / "zclab" / "bootstrap.py").open("r+b") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        second = subprocess.Popen(
            [sys.executable, str(copy / "zclab" / "bootstrap.py")],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stderr
        assert "waiting" in second.stderr.readline()
        made.stamp.write_text(stamp)
    said = second.communicate(timeout=60)[1]
    assert (second.returncode, said) == (0, "set-up: ready\n")


def test_a_failing_step_shows_its_tail(capfd: pytest.CaptureFixture[str]) -> None:
    """A failure names the step, shows what was said, and drops pip's noise."""
    noise = "WARNING: Location 'x' is ignored: it is neither a file nor a directory."
    command = f"echo {noise!r}; seq 100; echo the cause; exit 3"
    with (
        pytest.raises(SetupError, match="it broke") as stop,
        bootstrap.step("trying"),
    ):
        bootstrap.run(["sh", "-c", command], "it broke")
    assert stop.value.code == bootstrap.EXIT_FAILURE
    lines = str(stop.value).splitlines()
    assert lines[-1] == "the cause"
    assert len(lines) == 16
    assert capfd.readouterr().err == "set-up: trying ... failed\n"


def test_pip_is_kept_to_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user set for pip or Python does not lead set-up elsewhere."""
    for name in ("PYTHONPATH", "PIP_TARGET", "PIP_PREFIX"):
        monkeypatch.setenv(name, "/elsewhere")
    monkeypatch.setenv("PIP_USER", "1")
    done = subprocess.run(
        ["env"],
        env=bootstrap.child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "/elsewhere" not in done.stdout
    assert "PIP_USER=0" in done.stdout
    cache = re.search(r"^PIP_CACHE_DIR=(.*)$", done.stdout, re.MULTILINE)
    assert cache
    assert Path(cache[1]).is_relative_to(bootstrap.ROOT)


def test_clean_leaves_what_was_written_by_people(copy: Path, made: Place) -> None:
    """Clean removes what set-up and the tools made; data, reports, sources stay."""
    kept = [
        copy / "data" / "runs" / "r" / "samples.parquet",
        copy / "reports" / "r" / "__pycache__" / "index.html",
        copy / "zclab" / "uring" / "_shim.pyi",
        copy / "zclab" / "uring" / "sender.c",
        copy / "zclab" / "bootstrap.py",
    ]
    built = [
        copy / "zclab.egg-info" / "PKG-INFO",
        copy / "zclab" / "__pycache__" / "x.pyc",
        copy / "zclab" / "uring" / "_shim.c",
        copy / ".pytest_cache" / "x",
        copy / "build" / "x",
        copy / ".conda-ready",
    ]
    for path in [*kept, *built]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert run_copy(copy, "clean") == (0, "")
    assert [path for path in kept if not path.exists()] == []
    assert [path for path in built if path.exists()] == []
    assert not made.stamp.parent.exists()
    assert not list((copy / "zclab" / "uring").glob("*.so"))


def test_an_unknown_argument_is_refused(copy: Path) -> None:
    """A mistyped argument sets nothing up."""
    status, said = run_copy(copy, "claen")
    assert status == 2
    assert said == "set-up: claen: unknown; say clean or nothing\n"
    assert not (copy / ".venv").exists()


# In conda


@pytest.fixture
def conda(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return the variables of an activated environment with no package in it."""
    prefix = tmp_path / "conda"
    command = [sys.executable, "-m", "venv", "--without-pip", str(prefix)]
    subprocess.run(command, check=True)
    yield {"CONDA_PREFIX": str(prefix), "CONDA_DEFAULT_ENV": "zclab"}


def test_a_bare_conda_environment_is_refused(copy: Path, conda: dict[str, str]) -> None:
    """What environment.yml has and the environment lacks is named, with the cure."""
    status, said = run_copy(copy, **conda)
    assert status == bootstrap.EXIT_MISSING
    assert said.startswith("set-up: this conda environment lacks cffi, ")
    assert said.endswith("conda env update -n zclab -f environment.yml\n")
    assert not (copy / ".venv").exists()
    assert not (copy / ".conda-ready").exists()


def test_a_complete_environment_lacks_nothing(checkout: Path) -> None:
    """However a package spells its name, it is found where it is."""
    assert bootstrap.missing_in_conda(checkout) == []
