"""The reproducer in the mail about the copied flag, compiled and run from the text."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zclab.errors import CapabilityError, MeasureError

DEADLINE_S = 60.0
SAID = re.compile(r"(?:no flag|MSG_EOR): \d of 8 say copied")


def run(program: str, commands: Sequence[str]) -> dict[str, Any]:
    """Compile and run a program as a mail says; return what it printed.

    Args:
        program: the source that the mail has.
        commands: the lines that the mail tells its reader to type.

    Returns:
        kernel (release), said (its lines), sha256 (of the source).

    Raises:
        CapabilityError: a tool or a namespace that they take is missing.
        MeasureError: they fail, or print something else.

    """
    for tool in ("gcc", "unshare", "ip"):
        if not shutil.which(tool):
            raise CapabilityError(f"the reproducer needs {tool}; install it")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "flag.c").write_text(program, encoding="utf-8")
        done = subprocess.run(
            ["sh", "-c", "\n".join(commands)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    said = done.stdout.splitlines()
    if "unshare" in done.stderr:
        raise CapabilityError(f"the reproducer: {done.stderr.strip().splitlines()[-1]}")
    if done.returncode or len(said) != 2 or not all(map(SAID.fullmatch, said)):
        last = (done.stderr.strip().splitlines() or said or ["it printed nothing"])[-1]
        raise MeasureError(f"the reproducer failed: {last}")
    return {
        "kernel": os.uname().release,
        "said": said,
        "sha256": hashlib.sha256(program.encode()).hexdigest(),
    }
