"""What code this is: version, commit, and whether the checkout was changed since."""

import subprocess
from pathlib import Path
from typing import Any

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
