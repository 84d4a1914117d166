"""What a killed `doctor --apply` left is seen to by whatever measures next."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SETTING = "/proc/sys/net/core/optmem_max"


def left(folder):
    """Write the journal of an owner that is gone; its value is somebody else's now."""
    folder.mkdir(mode=0o700)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    netns = str(Path("/proc/self/ns/net").readlink())
    lines = [
        {"pid": 1 << 30, "started": 1, "boot": boot, "netns": netns},
        {"path": SETTING, "found": "1", "wanted": "2"},
        {"path": SETTING, "became": "2"},
    ]
    journal = folder / "undo.jsonl"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    journal.chmod(0o600)
    return journal


@pytest.mark.parametrize(
    "words",
    [
        ("measure", "--resume", "no-such-run"),
        ("report", "no-such-run"),
        ("breakdown", "--sizes", "0"),
    ],
)
def test_seen_to(tmp_path, words):
    """The first thing that each does is to see to it, and to say so."""
    journal = left(tmp_path / "undo")
    before = Path(SETTING).read_text()

    done = subprocess.run(
        [sys.executable, "-m", "zclab.cli", *words],
        env={**os.environ, "ZCLAB_UNDO_DIR": str(journal.parent)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode in {2, 77}
    assert SETTING in done.stderr.splitlines()[0]
    assert not journal.exists()
    assert Path(SETTING).read_text() == before
