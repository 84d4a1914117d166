"""What code this is: version, commit, and whether the checkout was changed since."""

import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from zclab import __version__


def code() -> dict[str, Any]:
    """Return `version`, `commit` (12 digits, None outside of git) and `dirty`.

    `dirty` is about tracked files: a new run or report does not make it so.
    """
    return {
        "version": __version__,
        "commit": _git("rev-parse", "--short=12", "HEAD") or None,
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


# Whoever clones from one of these has published it. Any other name may be one that only
# a company's own network knows.
_FORGES = (
    "bitbucket.org",
    "codeberg.org",
    "git.kernel.org",
    "git.sr.ht",
    "github.com",
    "gitlab.com",
    "salsa.debian.org",
)


def remote() -> str | None:
    """Return where others can clone this from, as `public_url` has it.

    It is the remote `origin` as it was configured: what `git remote get-url` prints
    has been through this user's own rewriting rules (url.*.insteadOf).
    """
    return public_url(_git("config", "--get", "remote.origin.url"))


def public_url(url: str) -> str | None:
    """Return a URL without user, password, query and fragment; None if not public.

    Public are https, git and ssh, to one of the well-known forges. The user `git` of
    ssh is kept: it is nobody, and without it nothing can be cloned.

    Args:
        url: a URL, or `user@host:path` as git takes it.

    """
    if "://" not in url:
        scp = re.fullmatch(r"(?:([^@/:\s]+)@)?([^@/:\s]+):([^\s:]+)", url)
        if not scp or not _is_public(scp[2]):
            return None
        return f"{'git@' if scp[1] == 'git' else ''}{scp[2]}:{scp[3]}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if parts.scheme not in ("https", "git", "ssh") or not _is_public(host):
        return None
    user = "git@" if parts.scheme == "ssh" and parts.username == "git" else ""
    return f"{parts.scheme}://{user}{host}{f':{port}' if port else ''}{parts.path}"


def _is_public(host: str) -> bool:
    """Return whether a host is one of the forges that everybody knows."""
    return host.lower().rstrip(".") in _FORGES


def _git(*arguments: str) -> str:
    """Return what git says about the checkout; nothing where there is none."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
