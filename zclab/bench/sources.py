"""The peer's source: liburing as the distribution packages it, fetched and built.

apt is asked with a private configuration, in a folder of the checkout: it reads the
host's own sources as source-package sources, with the host's keys, and keeps lists
and downloads to itself. So it needs no privilege and leaves the host as it is.
"""

import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from zclab.errors import CapabilityError

APT = Path("/etc/apt")
EXAMPLE = Path("examples", "send-zerocopy")
VERSION = "version.txt"  # beside the unpacked source: what the distribution calls it
LOG = "build.log"

CURE = (
    "build examples/send-zerocopy of liburing and name it: zclab bench --peer PATH, "
    "or make bench PEER=PATH"
)


def from_lines(text: str) -> str:
    """Return the sources of a one-line sources file as source-package sources.

    Options in brackets (signed-by among them) stay. Source: sources.list(5).
    """
    lines = (
        re.sub(r"^deb(-src)?\s", "deb-src ", line.strip())
        for line in text.splitlines()
        if re.match(r"\s*deb(-src)?\s", line) and "cdrom:" not in line
    )
    return "".join(f"{line}\n" for line in dict.fromkeys(lines))


def from_stanzas(text: str) -> str:
    """Return the sources of a deb822 sources file as source-package sources.

    All fields but the types stay, keys of several lines too. Source:
    sources.list(5), DEB822-STYLE FORMAT.
    """
    bare = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    found = []
    for stanza in re.split(r"\n\s*\n", bare.strip()):
        changed, count = re.subn(
            r"^Types:.*$", "Types: deb-src", stanza, flags=re.MULTILINE | re.IGNORECASE
        )
        if count:
            found.append(f"{changed.strip()}\n")
    return "\n".join(dict.fromkeys(found))


def host_sources(folder: Path = APT) -> dict[str, str]:
    """Return the host's sources as source-package sources, by their format's suffix.

    Args:
        folder: holds sources.list and sources.list.d/.

    """
    parts = folder / "sources.list.d"
    lines = [folder / "sources.list", *sorted(parts.glob("*.list"))]
    stanzas = sorted(parts.glob("*.sources"))
    return {
        ".list": "".join(from_lines(_text(path)) for path in lines),
        ".sources": "\n".join(
            filter(None, (from_stanzas(_text(path)) for path in stanzas))
        ),
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # absent, or not for everybody to read


def example(cache: Path) -> Path:
    """Return the example, from `cache` or fetched and built there.

    Raises:
        CapabilityError: there is no apt, no network, no source package, no compiler.

    """
    built = cache / "liburing" / EXAMPLE
    if not built.is_file():
        _build(_fetch(cache), cache / LOG)
    return built


def version(binary: Path) -> str:
    """Return what is known of a binary's version by the tree that it lies in.

    It is the distribution's version where `example` built it, else that of the
    source's own liburing.spec, else empty.
    """
    tree = binary.resolve().parent.parent
    for name, pattern in ((VERSION, r"(.+)"), ("liburing.spec", r"^Version:\s*(\S+)")):
        found = re.search(pattern, _text(tree / name), re.MULTILINE)
        if found:
            return found.group(1)
    return ""


def _fetch(cache: Path) -> Path:
    """Return the unpacked source of the distribution's liburing."""
    if not shutil.which("apt-get"):
        raise CapabilityError(f"there is no apt to get liburing's source with; {CURE}")
    downloads = cache / "download"
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir(parents=True)
    apt = _apt(cache)
    # One source that is down, or has no source packages, need not be the one.
    _run([*apt, "update"], downloads, cache / LOG)
    done = _run([*apt, "source", "--download-only", "liburing"], downloads, cache / LOG)
    archives = sorted(downloads.glob("liburing_*.orig.tar.*[!c]"))
    if done or not archives:
        raise CapabilityError(
            f"apt got no source package liburing, see {cache / LOG}; {CURE}"
        )
    described = _text(next(downloads.glob("liburing_*.dsc")))
    found = re.search(r"^Version:\s*(\S+)", described, re.MULTILINE)
    source = cache / "liburing"
    shutil.rmtree(source, ignore_errors=True)
    with tarfile.open(archives[-1]) as archive:
        archive.extractall(downloads, filter="data")
    next(path for path in downloads.iterdir() if path.is_dir()).rename(source)
    (source / VERSION).write_text(f"{found.group(1) if found else 'unknown'}\n")
    return source


def _apt(cache: Path) -> list[str]:
    """Return the start of an apt-get command that leaves the host's state alone."""
    parts = cache / "sources.list.d"
    shutil.rmtree(parts, ignore_errors=True)
    for folder in (parts, cache / "lists" / "partial", cache / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    for suffix, text in host_sources().items():
        (parts / f"host{suffix}").write_text(text)
    settings = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": parts,
        "Dir::State::Lists": cache / "lists",
        "Dir::Cache": cache,
        "Acquire::Languages": "none",
        "Acquire::http::Timeout": 20,
        "Acquire::https::Timeout": 20,
        # A checkout need not be readable for the user to whom root hands downloads.
        "APT::Sandbox::User": "root",
    }
    options = [word for name, value in settings.items() for word in _o(name, value)]
    return ["apt-get", "-q", *options]


def _o(name: str, value: object) -> tuple[str, str]:
    return "-o", f"{name}={value}"


def _build(source: Path, log: Path) -> None:
    for command in (
        ["./configure"],
        ["make", "-C", "src"],
        ["make", "-C", "examples", EXAMPLE.name],
    ):
        if _run(command, source, log):
            raise CapabilityError(
                f"{' '.join(command)} of liburing failed, see {log}; {CURE}"
            )


def _run(command: Sequence[str], folder: Path, log: Path) -> int:
    """Run a command, add what it says to the log, return its status."""
    with log.open("a", encoding="utf-8") as said:
        said.write(f"$ {' '.join(command)}\n")
        said.flush()
        try:
            return subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        except OSError as error:
            said.write(f"{error.strerror}\n")
            return 127
