"""Runs on disk: journal, seal, load, verify. The only meeting place of the halves.

A run is a folder. While it is being taken it has `plan.json`, `host-before.json`
and `journal.jsonl`, one line per finished block. Sealing turns the journal into
`samples.parquet`, hashes every file into `manifest.json`, makes the files read-only
and, last, removes the journal: while there is a journal, the journal is the run. So
a run that was killed, even while it was being sealed, loads as partial. Resuming it
makes the journal again from what is there.
"""

from zclab.store.files import (
    CHANGED,
    HOST_AFTER,
    HOST_BEFORE,
    HOST_RESUMED,
    JOURNAL,
    MANIFEST,
    MANIFEST_SUM,
    PLAN,
    SAMPLES,
    check_files,
    check_manifest,
    find,
    folders_of,
    home,
    hosts,
    is_sealed,
    listing,
    name_of,
    read_json,
    reference_dir,
    reports_dir,
    runs_dir,
    sha256,
    write_json,
    write_manifest,
)
from zclab.store.journal import Journal, deposit, resumable
from zclab.store.run import Run, derive, frame, load, runs_of, together
from zclab.store.sealed import arrow_schema, seal, verify

__all__ = [
    "CHANGED",
    "HOST_AFTER",
    "HOST_BEFORE",
    "HOST_RESUMED",
    "JOURNAL",
    "MANIFEST",
    "MANIFEST_SUM",
    "PLAN",
    "SAMPLES",
    "Journal",
    "Run",
    "arrow_schema",
    "check_files",
    "check_manifest",
    "deposit",
    "derive",
    "find",
    "folders_of",
    "frame",
    "home",
    "hosts",
    "is_sealed",
    "listing",
    "load",
    "name_of",
    "read_json",
    "reference_dir",
    "reports_dir",
    "resumable",
    "runs_dir",
    "runs_of",
    "seal",
    "sha256",
    "together",
    "verify",
    "write_json",
    "write_manifest",
]
