"""The proof of the seal finds what is changed, and would say so if it did not."""

import random

from zclab import store
from zclab.prove import seal


def test_all_changes_are_found():
    """Of a sample of all bytes of a run each changed one is found."""
    proof = seal.run(draws=20, every=101)

    assert proof.holds
    named = " ".join(finding.claim for finding in proof.findings)
    for name in ("manifest.json", "manifest.sha256", "plan.json", "samples.parquet"):
        assert name in named
    for name in ("host-before.json", "host-resumed-1.json", "host-after.json"):
        assert name in named
    assert "journal.jsonl" in named


def test_an_unfound_change_fails(monkeypatch):
    """A reader that takes everything makes the proof fail."""
    monkeypatch.setattr(store, "verify", lambda folder: [])

    assert not seal.run(draws=5, every=500).holds


def test_bytes_are_put_back(tmp_path):
    """A change is of one byte, at its offset, and is taken back."""
    path = tmp_path / "file"
    path.write_bytes(b"abcdef")
    for offset in seal.changes(path, range(6), random.Random(1)):
        changed = path.read_bytes()
        assert [i for i in range(6) if changed[i] != b"abcdef"[i]] == [offset]

    assert path.read_bytes() == b"abcdef"
