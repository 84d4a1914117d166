"""Sets zclab up inside its checkout: system packages, environment, shim.

``make setup`` runs this file with whatever Python there is, before anything is
installed. So it imports the standard library alone, prints for itself, and keeps
to what Python 3.6 can read (hence the quoted annotations): an old Python only
looks for a newer one and hands over to it.

Nothing is left outside the checkout, save what the system's package manager
installs, and that only as root; anyone else is shown the command to type. A stamp
says what the environment was made from; while that holds, a run ends at once.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

OLDEST, NEWEST = 11, 13  # of Python 3
# Pythons before 3.6 cannot read the next line, and print it: it must say the cure.
FIT: str = "zclab needs Python 3.11, 3.12 or 3.13"

ROOT = Path(__file__).resolve().parent.parent
LIBURING = (2, 3)  # the first with prep_send_zc_fixed and get_events
EXIT_FAILURE = 1
EXIT_MISSING = 77  # as in errors.py, which cannot be imported yet
EXIT_INTERRUPTED = 130
HANDED_OVER = "ZCLAB_SETUP_HANDED_OVER"  # set in the process that was handed over to

COMPILER, HEADERS, PKG_CONFIG = "a C compiler", "Python's headers", "pkg-config"
LIBURING_NEED = f"liburing {LIBURING[0]}.{LIBURING[1]} or newer"
VENV = "Python's venv module"

# {python} is how the manager's packages name this Python; see package_names().
INSTALL = {
    "apt-get": "apt-get install -y --no-install-recommends",
    "dnf": "dnf install -y",
    "zypper": "zypper --non-interactive install",
    "pacman": "pacman -S --needed --noconfirm",
}
REFRESH = {
    "apt-get": "apt-get update",
    "dnf": "dnf makecache",
    "zypper": "zypper --non-interactive refresh",
    "pacman": "pacman -Sy",
}
PACKAGES = {
    "apt-get": {
        COMPILER: "gcc libc6-dev",
        HEADERS: "{python}-dev",
        PKG_CONFIG: "pkg-config",
        LIBURING_NEED: "liburing-dev",
        VENV: "{python}-venv",
    },
    "dnf": {
        COMPILER: "gcc",
        HEADERS: "{python}-devel",
        PKG_CONFIG: "pkgconf-pkg-config",
        LIBURING_NEED: "liburing-devel",
        VENV: "{python}",
    },
    "zypper": {
        COMPILER: "gcc",
        HEADERS: "{python}-devel",
        PKG_CONFIG: "pkg-config",
        LIBURING_NEED: "liburing-devel",
        VENV: "{python}",
    },
    "pacman": {
        COMPILER: "gcc",
        HEADERS: "{python}",
        PKG_CONFIG: "pkgconf",
        LIBURING_NEED: "liburing",
        VENV: "{python}",
    },
}
CONDA_CURE = "type: conda env update -n zclab -f environment.yml"


class SetupError(Exception):
    """Set-up cannot go on; the message is one line that ends in what to do."""

    def __init__(self, message: str, code: int = EXIT_MISSING) -> None:
        super().__init__(message)
        self.code = code


class Place(NamedTuple):
    """Where the packages go: the checkout's own venv, or a conda environment."""

    python: Path
    stamp: Path
    is_conda: bool


def place_of(root: Path, environ: "dict[str, str]") -> Place:
    """Return the activated conda environment, if any, else the checkout's venv.

    conda's base is not taken: many shells activate it unasked, and it is the
    user's own. The Makefile decides alike.
    """
    prefix = environ.get("CONDA_PREFIX")
    if prefix and environ.get("CONDA_DEFAULT_ENV") != "base":
        return Place(Path(prefix) / "bin" / "python", root / ".conda-ready", True)
    venv = root / ".venv"
    return Place(venv / "bin" / "python", venv / ".ready", False)


# The stamp


def fingerprint(root: Path, place: Place) -> "dict[str, str]":
    """Return what the environment depends on; equal means nothing is to be done."""
    uring = root / "zclab" / "uring"
    sources = [root / "pyproject.toml", root / "setup.py", uring / "build.py"]
    sources += sorted(uring.glob("*.h")) + sorted(uring.glob("*.c"))
    return {
        "checkout": str(root),
        "python": str(place.python.resolve()),
        "lock": _digest([root / "requirements.lock"]),
        "package": _digest([path for path in sources if path.name != "_shim.c"]),
    }


def _digest(paths: "list[Path]") -> str:
    total = hashlib.sha256()
    for path in paths:
        content = path.read_bytes() if path.exists() else b""
        total.update(path.name.encode() + b"\0" + hashlib.sha256(content).digest())
    return total.hexdigest()


def _stamped(place: Place) -> "dict[str, str]":
    try:
        stamp = json.loads(place.stamp.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(root: Path, place: Place) -> None:
    """Say what the environment was made from, once it is complete."""
    place.stamp.write_text(json.dumps(fingerprint(root, place), indent=2) + "\n")


def is_ready(root: Path, place: Place) -> bool:
    """Tell whether the environment is complete and made from today's files."""
    return (
        place.python.exists()
        and place.python.with_name("zclab").exists()
        and (not _needs_shim() or any((root / "zclab" / "uring").glob("_shim*.so")))
        and _stamped(place) == fingerprint(root, place)
    )


def _needs_shim() -> bool:
    """Only Linux can measure; elsewhere zclab explains what Linux measured."""
    return sys.platform.startswith("linux")


# The interpreter


def base_interpreter(python: Path) -> "Path | None":
    """Return the Python behind this one if it runs and its version fits."""
    question = (
        "import sys; print(sys.version_info[0], sys.version_info[1],"
        " getattr(sys, '_base_executable', None) or sys.executable)"
    )
    try:
        output = subprocess.check_output(
            [str(python), "-I", "-c", question], stderr=subprocess.DEVNULL
        )
        major, minor, path = output.decode().strip().split(" ", 2)
        fits = int(major) == 3 and OLDEST <= int(minor) <= NEWEST
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None  # gone, not a Python, or a version manager's empty promise
    if not fits:
        return None
    # A venv's idea of its base may be a name that the base's folder does not have.
    return Path(path) if Path(path).exists() else python.resolve()


def choose_interpreter(place: Place, environ: "dict[str, str]") -> Path:
    """Return the Python to set up with: the environment's, this one or one in PATH.

    The environment's own comes first, so that `make setup` under another Python
    does not rebuild what already works.
    """
    if place.is_conda:
        if base_interpreter(place.python) is None:
            raise SetupError(f"{FIT}, this conda environment has none; {CONDA_CURE}")
        return place.python
    candidates = [place.python, Path(sys.executable)]
    for minor in range(NEWEST, OLDEST - 1, -1):
        for folder in environ.get("PATH", "").split(os.pathsep):
            candidates.append(Path(folder) / f"python3.{minor}")
    for candidate in candidates:
        found = base_interpreter(candidate) if candidate.exists() else None
        if found is not None:
            return found
    raise SetupError(f"{FIT}, none is in PATH; install python3.{NEWEST} or use conda")


def hand_over(python: Path, environ: "dict[str, str]") -> None:
    """Go on as another Python, at most once; never as that of a venv to be made."""
    if Path(sys.executable) == python or HANDED_OVER in environ:
        return
    sys.stderr.flush()
    script = str(Path(__file__).resolve())
    os.execve(str(python), [str(python), script], {**environ, HANDED_OVER: "1"})


# The system


def compiler() -> "str | None":
    """Return the command of a C compiler that finds the C library's headers."""
    named = [os.environ.get("CC"), sysconfig.get_config_var("CC")]
    for command in [*named, "cc", "gcc", "clang"]:
        words = shlex.split(command or "")[:1]
        options = ["-x", "c", "-fsyntax-only", "-include", "stdio.h", os.devnull]
        if words and _succeeds(words + options):
            return words[0]
    return None


def liburing_version() -> "tuple[int, ...]":
    """Return the version that pkg-config finds; empty if it finds none."""
    try:
        output = subprocess.check_output(
            ["pkg-config", "--modversion", "liburing"], stderr=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError):
        return ()
    return tuple(int(number) for number in re.findall(r"\d+", output.decode()))


def missing_needs(*, needs_venv: bool) -> "list[str]":
    """Return what this Python and this system lack to build the shim."""
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    present = {VENV: not needs_venv or bool(importlib.util.find_spec("ensurepip"))}
    if _needs_shim():
        present[COMPILER] = compiler() is not None
        present[HEADERS] = headers.exists()
        present[PKG_CONFIG] = shutil.which("pkg-config") is not None
        present[LIBURING_NEED] = liburing_version() >= LIBURING
    return [need for need, is_present in present.items() if not is_present]


def package_names(
    manager: str, needs: "list[str]", python: Path, system_python: Path
) -> str:
    """Return the manager's packages for these needs, as typed after its command."""
    minor = python.resolve().name.replace("python3.", "") or "0"
    is_default = python.resolve() == system_python.resolve()
    name = {
        "apt-get": f"python3.{minor}",
        "dnf": "python3" if is_default else f"python3.{minor}",
        "zypper": f"python3{minor}",
        "pacman": "python",
    }[manager]
    names = " ".join(PACKAGES[manager][need] for need in needs)
    return " ".join(dict.fromkeys(names.format(python=name).split()))


def provide(needs: "list[str]", *, needs_venv: bool) -> None:
    """Install what the system lacks as root, or stop with the command to type."""
    command = install_command(needs)
    if os.geteuid() != 0:
        refuse_old_liburing(needs)
        raise SetupError(f"{', '.join(needs)}: not found; type: sudo {command}")
    refresh = REFRESH[command.split()[0]]
    with step(command):
        try:
            run(command.split(), f"{command} failed")
        except SetupError:  # most often its lists of packages are old or not there
            run(refresh.split(), f"{refresh} failed")
            run(command.split(), f"{command} failed")
    still = missing_needs(needs_venv=needs_venv)
    refuse_old_liburing(still)
    if still:
        raise SetupError(f"{', '.join(still)}: still not found after {command}")


def install_command(needs: "list[str]") -> str:
    """Return the command that brings the needs, or stop if there is none."""
    python = Path(sys.executable)
    if HEADERS in needs and python.resolve().parent != Path("/usr/bin"):
        raise SetupError(f"{python} has no Python.h; install it with its headers")
    manager = next((name for name in INSTALL if shutil.which(name)), None)
    if manager is None:
        raise SetupError(f"{', '.join(needs)}: not found; install what is missing")
    packages = package_names(manager, needs, python, Path("/usr/bin/python3"))
    return f"{INSTALL[manager]} {packages}"


def refuse_old_liburing(needs: "list[str]") -> None:
    """Stop if all that is missing is a newer liburing than the system has."""
    version = ".".join(map(str, liburing_version()))
    if version and needs == [LIBURING_NEED]:
        raise SetupError(
            f"liburing {version} is too old, {LIBURING_NEED} is needed; use conda"
            " (environment.yml), or build it and set PKG_CONFIG_PATH"
        )


# The environment


def venv_fault(venv: Path) -> "str | None":
    """Return why the venv cannot be used as it is, or None if it can."""
    pip = venv / "bin" / "pip"
    if not venv.exists():
        return "there is none yet"
    if (venv / ".unfinished").exists() or not pip.exists():
        return "its set-up was interrupted"
    # Scripts start with the path of their Python, which a move leaves behind.
    if not any(str(venv) in line for line in pip.read_text().splitlines()[:2]):
        return "it was moved"
    python = venv / "bin" / "python"
    if base_interpreter(python) is None:
        return "its Python is gone"
    if not _succeeds([str(python), "-I", "-c", "import pip"]):
        return "it has no pip"
    return None


def make_venv(venv: Path, fault: str) -> None:
    """Make the venv anew, in place of whatever is there."""
    with step(f"making {venv.name} ({fault})"):
        if venv.is_symlink() or venv.is_file():
            venv.unlink()
        elif venv.exists():
            shutil.rmtree(venv)
        venv.mkdir()
        (venv / ".unfinished").touch()
        run([sys.executable, "-m", "venv", str(venv)], "python -m venv failed")


def missing_in_conda(root: Path) -> "list[str]":
    """Return the packages of pyproject.toml that the running Python lacks."""
    import tomllib  # noqa: PLC0415 - not there in the Pythons that only hand over
    from importlib import metadata  # noqa: PLC0415

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = [re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in wanted]
    present = {_normal(dist.name or "") for dist in metadata.distributions()}
    return [name for name in names if _normal(name) not in present]


def _normal(name: str) -> str:
    """Return the one spelling of a package's name; jupyter_client is jupyter-client."""
    return re.sub(r"[-_.]+", "-", name).lower()


def install(root: Path, place: Place, *, packages: bool) -> None:
    """Install the locked packages, then zclab itself, which compiles the shim."""
    pip = [str(place.python), "-m", "pip", "install", "-q"]
    if packages:
        with step("installing the packages of requirements.lock"):
            lock = ["--require-hashes", "-r", "requirements.lock"]
            run(pip + lock, "the packages cannot be installed")
    with step("compiling the shim" if _needs_shim() else "installing zclab"):
        package = ["--no-deps", "--no-build-isolation", "-e", str(root)]
        run(pip + package, "zclab cannot be installed")
        if _needs_shim():
            question = [str(place.python), "-c", "import zclab.uring._shim"]
            run(question, "the compiled shim cannot be loaded")
    shutil.rmtree(_pip_cache(), ignore_errors=True)


def set_up(root: Path, place: Place) -> None:
    """Bring the environment up to date; the caller has chosen this Python."""
    before = _stamped(place)
    if place.stamp.exists():
        place.stamp.unlink()
    if place.is_conda:
        set_up_conda(root, place)
    else:
        set_up_venv(root, place, before)
    write_stamp(root, place)


def set_up_conda(root: Path, place: Place) -> None:
    """Add zclab to an environment that conda has filled from environment.yml."""
    lacking = missing_in_conda(root) + missing_needs(needs_venv=False)
    if lacking:
        what = ", ".join(lacking)
        raise SetupError(f"this conda environment lacks {what}; {CONDA_CURE}")
    install(root, place, packages=False)


def set_up_venv(root: Path, place: Place, before: "dict[str, str]") -> None:
    """Fill the checkout's venv, made anew if it cannot be used as it is."""
    venv, now = place.stamp.parent, fingerprint(root, place)
    fault = venv_fault(venv)
    if before and before.get("python") != now["python"]:
        fault = "its Python was replaced"
    needs = missing_needs(needs_venv=fault is not None)
    if needs:
        provide(needs, needs_venv=fault is not None)
    if fault is not None:
        make_venv(venv, fault)
    # A pip that was killed leaves packages that only look whole. One that failed
    # by itself does not, so after that the next try may go on from here.
    unfinished = venv / ".unfinished"
    unfinished.touch()
    try:
        is_new = fault is not None or before.get("lock") != now["lock"]
        install(root, place, packages=is_new)
    except SetupError:
        unfinished.unlink()
        raise
    unfinished.unlink()


def clean(root: Path) -> None:
    """Remove what set-up and the tools made; never data, reports or sources."""
    caches = [".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"]
    doomed = [root / name for name in [".venv", ".conda-ready", "build", *caches]]
    doomed += root.glob("*.egg-info")
    for pattern in ("_shim*.so", "_shim*.o", "_shim.c"):
        doomed += (root / "zclab" / "uring").glob(pattern)
    for room in ("zclab", "tests", "notebooks"):
        doomed += (root / room).rglob("__pycache__")
        doomed += (root / room).rglob(".ipynb_checkpoints")
    for path in doomed:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(str(path))
        elif path.exists() or path.is_symlink():
            path.unlink()


# Running things


@contextmanager
def step(what: str) -> "Iterator[None]":
    """Show one line for the step: what it does, then how long it took."""
    sys.stderr.write(f"set-up: {what} ... ")
    sys.stderr.flush()
    start = time.monotonic()
    try:
        yield
    except BaseException:
        sys.stderr.write("failed\n")
        raise
    sys.stderr.write(f"{time.monotonic() - start:.1f} s\n")


def run(command: "list[str]", failure: str) -> None:
    """Run a command quietly; if it fails, show the tail of what it said and stop."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        close_fds=False,  # children hold the lock too, see exclusive()
        check=False,
    )
    if done.returncode:
        said = done.stdout.decode(errors="replace").splitlines()
        noise = "is ignored: it is neither a file nor a directory"
        tail = "\n".join([line for line in said if noise not in line][-15:])
        raise SetupError(f"{failure}; what it said:\n{tail}", EXIT_FAILURE)


def _succeeds(command: "list[str]") -> bool:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0


def _pip_cache() -> Path:
    """Inside the checkout, and only until set-up is done: a retry need not reload."""
    return ROOT / "build" / "pip-cache"


def child_environment() -> "dict[str, str]":
    """Return this environment less what would lead pip or Python elsewhere."""
    environ = dict(os.environ)
    for name in ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", HANDED_OVER):
        environ.pop(name, None)
    environ.update(
        DEBIAN_FRONTEND="noninteractive",
        PIP_CACHE_DIR=str(_pip_cache()),
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_NO_INPUT="1",
        PIP_REQUIRE_VIRTUALENV="0",
        PIP_ROOT_USER_ACTION="ignore",
        PIP_USER="0",
    )
    # A distribution's Python names the compiler that built it, which may be absent.
    named = shlex.split(sysconfig.get_config_var("CC") or "")[:1]
    if "CC" not in environ and not (named and shutil.which(named[0])):
        environ["CC"] = compiler() or "cc"
    return environ


@contextmanager
def exclusive(root: Path) -> "Iterator[None]":
    """Let one set-up at a time work in this checkout.

    The lock is on this file, so it leaves no file of its own; children inherit
    it, so it outlives a set-up that was killed until its last pip has ended.
    """
    with (root / "zclab" / "bootstrap.py").open("r+b") as handle:
        os.set_inheritable(handle.fileno(), True)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write("set-up: another one is at work here; waiting for it\n")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main(arguments: "list[str] | None" = None) -> int:
    """Set up, or remove what was set up (``clean``); return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    environ = dict(os.environ)
    try:
        if arguments == ["clean"]:
            clean(ROOT)
            return 0
        if arguments:
            raise SetupError(f"{' '.join(arguments)}: unknown; say clean or nothing", 2)
        place = place_of(ROOT, environ)
        if not is_ready(ROOT, place):
            hand_over(choose_interpreter(place, environ), environ)
            with exclusive(ROOT):
                if not is_ready(ROOT, place):
                    set_up(ROOT, place)
        sys.stderr.write("set-up: ready\n")
    except SetupError as error:
        sys.stderr.write(f"set-up: {error}\n")
        return error.code
    except OSError as error:
        sys.stderr.write(f"set-up: {error}\n")
        return EXIT_FAILURE
    except KeyboardInterrupt:
        sys.stderr.write("set-up: interrupted; run it again to go on\n")
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
