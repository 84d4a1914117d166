"""The token: what a controller and its peer both know, and nobody else."""

import os
import secrets
import stat
from pathlib import Path

from zclab.errors import InputError

VARIABLE = "ZCLAB_PEER_TOKEN"
LEAST = 16  # characters; who listens on the wire can try out shorter ones at home
MOST = 256


def fresh() -> str:
    """Return a new token: 256 random bits."""
    return secrets.token_urlsafe(32)


def given(file: Path | None = None) -> str:
    """Return the token of `file`, else of $ZCLAB_PEER_TOKEN, else nothing.

    Raises:
        InputError: the file cannot be read, others may read it, or the token is too
            short to keep anybody out.

    """
    if file is None:
        return checked(os.environ.get(VARIABLE, ""), what=f"${VARIABLE}")
    try:
        with file.open(encoding="utf-8") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            text = opened.read(MOST + 2)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InputError(f"--token-file {file}: {why}") from None
    if stat.S_ISREG(mode) and mode & 0o077:
        raise InputError(
            f"--token-file {file}: others may read it; take that from them: "
            f"chmod 600 {file}"
        )
    found = checked(text.strip(), what=f"--token-file {file}")
    if not found:
        raise InputError(f"--token-file {file}: there is no token in it")
    return found


def checked(text: str, *, what: str) -> str:
    """Return `text` if it can be a token, or is empty.

    Raises:
        InputError: it is too short, too long, or not of printable ASCII.

    """
    if not text:
        return ""
    if not LEAST <= len(text) <= MOST or not (text.isascii() and text.isprintable()):
        raise InputError(
            f"{what}: a token has {LEAST} to {MOST} printable characters; leave it "
            "out, and `zclab peer` makes one and prints it"
        )
    return text
