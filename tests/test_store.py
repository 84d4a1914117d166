"""Runs are write-once; whatever ends a run, its finished blocks are readable."""

import errno
import itertools
import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zclab import schema, store
from zclab.errors import DataError, InputError
from zclab.params import Path, Plan, Point, Protocol, Stop
from zclab.store.lines import Lines
from zclab.truth import Truth

POINT = Point(
    path=Path.SINK, protocol=Protocol.UDP, family=4, io_size_bytes=1200, batch=8
)
PLAN = Plan(profile="custom", points=(POINT,), seed=1, blocks=4)
HOST = {"alias": "t", "cpu": {"model": "x"}}


def block(number):
    """Return the samples of one block with made-up counts."""
    filler = {"str": "x", "int": 100}
    base = {c.name: filler[c.kind] for c in schema.COLUMNS}
    return [
        base
        | {
            "point": POINT.name,
            "block": number,
            "arm": arm,
            "elapsed_ns": 1000,
            "requests": 10,
            "copied": None if arm == "send" else 25,
            "notifications": 0 if arm == "send" else 100,
        }
        for arm in POINT.arms
    ]


def begin(parent, blocks, plan=PLAN, host=HOST):
    """Return the folder of a run that was killed after that many blocks."""
    journal = store.Journal.create(plan, host, alias="t", out=parent)
    for number in range(blocks):
        journal.append(block(number))
    return journal.folder


def take(parent, blocks=4):
    """Return the folder of a sealed run with that many blocks."""
    with store.Journal.create(PLAN, HOST, alias="t", out=parent) as journal:
        for number in range(blocks):
            journal.append(block(number))
    return journal.folder


def test_sealed_run_loads(tmp_path):
    """A sealed run gives back what was appended, and the derived columns."""
    run = store.load(take(tmp_path))

    assert run.complete
    assert len(run.samples) == PLAN.samples
    assert set(run.samples["ns_per_request"]) == {100.0}
    shares = run.samples.groupby("arm")["copied_share"].first()
    assert shares["send_zc"] == 0.25
    assert run.samples.loc[run.samples["arm"] == "send", "copied"].isna().all()
    assert run.plan == PLAN


def test_types_are_the_registry_s(tmp_path):
    """Numbers that may be null are nullable, no others are; texts are categories."""
    samples = store.load(take(tmp_path)).samples

    for column in schema.COLUMNS:
        kind = str(samples[column.name].dtype)
        if column.kind == "int":
            assert kind == ("Int64" if column.nullable else "int64"), column.name
        else:
            assert kind == "category", column.name
    assert list(samples["arm"].cat.categories) == sorted(POINT.arms)


def test_samples_may_be_changed(tmp_path):
    """The frame of a run is its reader's own: any column of it may be written to."""
    samples = store.load(take(tmp_path)).samples
    for column in samples:
        samples.loc[0, column] = samples.loc[1, column]

    assert (samples.loc[0].astype(str) == samples.loc[1].astype(str)).all()


def test_sealed_files_are_read_only(tmp_path):
    """No file of a sealed run may be written."""
    for path in take(tmp_path).iterdir():
        assert not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP), path


def test_every_single_byte_counts(tmp_path):
    """One changed byte in any file of a sealed run is found, and the file named."""
    folder = take(tmp_path)
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)
        whole = path.read_bytes()
        middle = len(whole) // 2
        path.write_bytes(
            whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        )
        with pytest.raises(DataError, match=r"manifest|samples|plan|host"):
            store.verify(folder)
        with pytest.raises(DataError):
            store.load(folder)
        path.write_bytes(whole)

    assert store.verify(folder)


@pytest.mark.parametrize("name", ["extra.txt", "samples.parquet"])
def test_added_and_missing_files_are_found(tmp_path, name):
    """A file too many or too few breaks the seal."""
    folder = take(tmp_path)
    path = folder / name
    if path.exists():
        path.unlink()
    else:
        path.write_text("x")

    with pytest.raises(DataError, match=name):
        store.verify(folder)


def test_killed_run_keeps_its_blocks(tmp_path):
    """A journal that was never sealed gives its whole lines; the torn one is told."""
    journal = store.Journal.create(PLAN, {"alias": "t"}, alias="t", out=tmp_path)
    for number in range(3):
        journal.append(block(number))
    path = journal.folder / store.JOURNAL
    path.write_bytes(path.read_bytes()[:-7])

    run = store.load(journal.folder)

    assert run.blocks_done == 2
    assert not run.sealed
    assert not run.complete
    assert any("torn" in warning for warning in run.warnings)
    with pytest.raises(DataError, match="not sealed"):
        store.verify(journal.folder)


def test_damage_in_the_middle_is_not_skipped(tmp_path):
    """A journal line that cannot be read, and is not the last, is an error."""
    journal = store.Journal.create(PLAN, {"alias": "t"}, alias="t", out=tmp_path)
    for number in range(3):
        journal.append(block(number))
    path = journal.folder / store.JOURNAL
    lines = path.read_bytes().split(b"\n")
    lines[1] = lines[1][:50]
    path.write_bytes(b"\n".join(lines))

    with pytest.raises(DataError, match=r"journal.jsonl:2 is damaged"):
        store.load(journal.folder)


def test_exception_seals_as_partial(tmp_path):
    """A run that an exception ends is sealed with what it has, and says so."""
    journal = store.Journal.create(PLAN, {"alias": "t"}, alias="t", out=tmp_path)
    with pytest.raises(KeyboardInterrupt), journal:
        journal.append(block(0))
        raise KeyboardInterrupt

    run = store.load(journal.folder)

    assert run.sealed
    assert not run.complete
    assert "KeyboardInterrupt" in run.warnings[0]


def test_edited_plan_is_found(tmp_path):
    """The plan of an unsealed run is bound to its hash."""
    journal = store.Journal.create(PLAN, {"alias": "t"}, alias="t", out=tmp_path)
    journal.append(block(0))
    path = journal.folder / store.PLAN
    values = json.loads(path.read_text())
    values["plan"]["seed"] = 2
    path.write_text(json.dumps(values))

    with pytest.raises(DataError, match="hash"):
        store.load(journal.folder)


def test_ids_are_never_reused(tmp_path):
    """Two runs begun in the same second get two folders."""
    assert take(tmp_path) != take(tmp_path)


def test_find(tmp_path):
    """A run is found by id, by folder and as the latest; another name is refused."""
    folder = take(tmp_path)

    assert store.find(folder.name, tmp_path) == folder
    assert store.find(str(folder), tmp_path / "elsewhere") == folder
    assert store.find("latest", tmp_path) == folder
    for name in ("nope", "", "..", "20251122T160230Z-x-quick"):
        with pytest.raises(InputError, match="does not exist"):
            store.find(name, tmp_path)


def test_out_must_be_a_folder(tmp_path):
    """A run cannot be written below a file."""
    path = tmp_path / "file"
    path.write_text("")

    with pytest.raises(InputError, match="--out"):
        store.Journal.create(PLAN, {}, alias="t", out=path / "below")


@pytest.mark.parametrize("missing", [(), (store.MANIFEST_SUM,)])
def test_kill_during_the_seal_loses_nothing(tmp_path, missing):
    """While the journal is there it is the run, however far the seal got."""
    journal = store.Journal.create(PLAN, {"alias": "t"}, alias="t", out=tmp_path)
    for number in range(3):
        journal.append(block(number))
    lines = (journal.folder / store.JOURNAL).read_bytes()
    store.seal(journal.folder, host_after={})
    (journal.folder / store.JOURNAL).write_bytes(lines)
    for name in missing:
        (journal.folder / name).unlink()

    run = store.load(journal.folder)

    assert run.blocks_done == 3
    assert not run.sealed


def test_folder_without_a_plan_is_no_run(tmp_path):
    """What a kill in the first moment of a run leaves is not taken for a run."""
    folder = tmp_path / "20260101T000000Z-t-custom"
    folder.mkdir()
    (folder / store.JOURNAL).write_text("")

    assert store.listing(tmp_path) == []


def test_a_run_of_the_first_format_loads(checkout):
    """The columns that came with format 2 are null in a run of format 1."""
    folder = next((checkout / "tests" / "data").glob("20261122T192842Z-*"))
    run = store.load(folder)

    assert store.read_json(folder / store.MANIFEST)["format_version"] == 1
    later = [c.name for c in schema.COLUMNS if c.since > 1 and c.before is None]
    assert later
    assert set(run.samples["situation"]) == {""}
    assert run.samples[later].isna().all(axis=None)
    assert run.complete


def rewrite(folder, change):
    """Let `change` edit the list of a journal's lines."""
    path = folder / store.JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: lines.pop(0), 1),
        (lambda lines: lines.pop(1), 2),
        (lambda lines: lines.insert(1, lines.pop(2)), 2),
        (lambda lines: lines.append(lines[1]), 5),
        (lambda lines: lines.append(b"\n"), 5),
        (lambda lines: lines.append(b"[]\n"), 5),
        (lambda lines: lines.insert(0, json.dumps(block(0)).encode() + b"\n"), 2),
    ],
)
def test_lines_are_bound_to_each_other(tmp_path, change, line):
    """A journal's line that was left out, moved or added is found, and named."""
    folder = begin(tmp_path, 4)
    rewrite(folder, change)

    with pytest.raises(DataError, match=rf"journal\.jsonl:{line} is damaged"):
        store.load(folder)


def test_a_changed_number_in_a_journal_is_found(tmp_path):
    """A journal in which a count was edited is refused, though it is good JSON."""
    folder = begin(tmp_path, 3)
    path = folder / store.JOURNAL
    path.write_bytes(path.read_bytes().replace(b'"requests":10,', b'"requests":11,', 1))

    with pytest.raises(DataError, match=r":1 is damaged: its sum does not follow"):
        store.load(folder)


def test_a_journal_belongs_to_its_plan(tmp_path):
    """The slices of a run that a pilot chose cannot be changed afterwards."""
    journal = store.Journal.create(
        PLAN, HOST, alias="t", out=tmp_path, slices={POINT.name: 5_000_000}
    )
    journal.append(block(0))
    path = journal.folder / store.PLAN

    assert store.load(journal.folder).slices == {POINT.name: 5_000_000}
    path.write_text(path.read_text().replace("5000000", "6000000"))
    with pytest.raises(DataError, match=":1 is damaged"):
        store.load(journal.folder)


def test_no_block_twice(tmp_path):
    """A block that is there already is refused, by the journal and by its reader."""
    journal = store.Journal.create(PLAN, HOST, alias="t", out=tmp_path)
    journal.append(block(0))

    with pytest.raises(DataError, match=f"block 0 of {POINT.name} is in .* already"):
        journal.append(block(0))
    (journal.folder / store.JOURNAL).write_text(2 * (json.dumps(block(0)) + "\n"))
    with pytest.raises(DataError, match=f":2 is damaged: block 0 of {POINT.name}"):
        store.load(journal.folder)


@pytest.mark.parametrize(
    "samples", [[], block(0) + block(1), block(0) + block(0)[:1]], ids=len
)
def test_a_line_is_one_block(tmp_path, samples):
    """Samples that are not one block, each arm once, are refused."""
    journal = store.Journal.create(PLAN, HOST, alias="t", out=tmp_path)

    with pytest.raises(DataError, match="not one block"):
        journal.append(samples)


def test_lines_of_older_formats_are_read(tmp_path):
    """A journal without sums, and without the columns that came since, loads."""
    folder = begin(tmp_path, 1)
    new = {column.name for column in schema.COLUMNS if column.since == 3}
    old = [{k: v for k, v in one.items() if k not in new} for one in block(0)]
    (folder / store.JOURNAL).write_text(json.dumps(old) + "\n")

    run = store.load(folder)

    assert run.blocks_done == 1
    assert run.samples[sorted(new)].isna().all(axis=None)


def test_truncation_loses_at_most_the_last_block(tmp_path):
    """Cut at any byte, a journal has just the blocks that are whole before the cut."""
    folder = begin(tmp_path, 2)
    path = folder / store.JOURNAL
    whole = path.read_bytes()
    ends = [0, *itertools.accumulate(map(len, whole.splitlines(keepends=True)))]
    for cut in range(len(whole), -1, -1):
        os.truncate(path, cut)
        lines = Lines(folder)
        found = [samples[0]["block"] for samples in lines]

        assert found == list(range(sum(end <= cut for end in ends) - 1)), cut
        assert lines.torn == (cut not in ends), cut


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 1 << 14), zeros=st.integers(0, 9000), newline=st.booleans())
def test_zeros_of_a_power_cut_are_a_torn_line(tmp_path_factory, cut, zeros, newline):
    """Zeros where the last line should be lose that line, and no other."""
    folder = begin(tmp_path_factory.mktemp("run"), 3)
    path = folder / store.JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    kept = lines[2][: cut % len(lines[2])]
    end = b"\0" * zeros + b"\n" * (newline and zeros > 0)
    path.write_bytes(lines[0] + lines[1] + kept + end)

    assert store.load(folder).blocks_done == 2
    with store.Journal.reopen(folder, HOST) as journal:
        journal.append(block(2))
    assert store.load(folder).blocks_done == 3


def test_sealed_partial_run_goes_on(tmp_path):
    """A partial run that was sealed is reopened, and ends as if it had not been.

    The samples tell their sitting, and warnings of earlier sittings stay.
    """
    folder = take(tmp_path, blocks=2)
    before = store.load(folder)
    assert not before.complete

    with store.Journal.reopen(folder, HOST, plan=PLAN) as journal:
        assert [samples[0]["block"] for samples in journal.samples_before] == [0, 1]
        assert not store.is_sealed(folder)
        assert store.load(folder).blocks_done == 2
        for number in (2, 3):
            journal.append(block(number))
        journal.stopped = {POINT.name: {"reason": "blocks"}}
        journal.finished = True
    run = store.load(folder)

    assert run.complete
    assert run.finished
    assert run.stopped == {POINT.name: {"reason": "blocks"}}
    assert (run.sittings, len(run.hosts)) == (2, 2)
    arms = len(POINT.arms)
    assert run.samples["sitting"].tolist() == [0] * 2 * arms + [1] * 2 * arms
    assert run.samples["block"].tolist() == sorted([0, 1, 2, 3] * arms)
    assert "host-resumed-1.json as sealed" in store.verify(folder)


def test_a_run_without_a_block_goes_on(tmp_path):
    """What was killed before its first block is told how to go on, and does."""
    folder = begin(tmp_path, 0)

    with pytest.raises(DataError, match=f"zclab measure --resume {folder.name}"):
        store.load(folder)
    with store.Journal.reopen(folder, HOST) as journal:
        assert list(journal.samples_before) == []
        journal.append(block(0))
    assert store.load(folder).blocks_done == 1


def test_restored_journal_is_what_it_was(tmp_path):
    """A journal that is made again from the Parquet has the bytes that it had."""
    folder = begin(tmp_path, 3)
    lines = (folder / store.JOURNAL).read_bytes()
    store.seal(folder, host_after={})
    store.Journal.reopen(folder, HOST)

    assert (folder / store.JOURNAL).read_bytes() == lines


def test_warnings_outlive_a_sitting(tmp_path):
    """A resumed run keeps what was warned of before, but for how it was stopped."""
    journal = store.Journal.create(PLAN, HOST, alias="t", out=tmp_path)
    with pytest.raises(KeyboardInterrupt), journal:
        journal.append(block(0))
        journal.warnings.append("noisy neighbour")
        raise KeyboardInterrupt
    store.Journal.reopen(journal.folder, HOST)
    with store.Journal.reopen(journal.folder, HOST) as third:
        third.append(block(1))
    run = store.load(journal.folder)

    assert run.warnings == ("noisy neighbour",)
    assert run.samples["sitting"].max() == 2


def test_complete_run_is_not_reopened(tmp_path):
    """A run that has all its blocks is refused, and left as it is."""
    folder = take(tmp_path)

    with pytest.raises(InputError, match="is complete"):
        store.Journal.reopen(folder, HOST)
    with pytest.raises(InputError, match="is complete"):
        store.resumable(folder)
    assert store.load(folder).complete


def test_a_run_that_stops_by_itself_is_complete_when_it_says_so(tmp_path):
    """With a stop rule a run is complete by `finished`, not by its blocks."""
    plan = replace(PLAN, blocks=90, stop=Stop(precision=0.5))
    folder = begin(tmp_path, 3, plan)
    store.seal(folder, host_after={}, finished=False)
    assert not store.load(folder).complete
    with store.Journal.reopen(folder, HOST) as journal:
        journal.finished = True

    assert store.load(folder).complete
    with pytest.raises(InputError, match="is complete"):
        store.resumable(folder)


def test_another_plan_is_refused(tmp_path):
    """A run goes on under its own plan only; the message has both hashes."""
    folder = take(tmp_path, blocks=2)
    other = replace(PLAN, seed=2)

    with pytest.raises(InputError) as caught:
        store.Journal.reopen(folder, HOST, plan=other)

    assert PLAN.hash[:12] in str(caught.value)
    assert other.hash[:12] in str(caught.value)
    assert store.load(folder).sealed


def test_another_context_is_refused(tmp_path):
    """A run goes on in its own context only; the message names what differs."""
    folder = take(tmp_path, blocks=2)

    with pytest.raises(InputError, match=r"cpu model \(x, y\)"):
        store.Journal.reopen(folder, {**HOST, "cpu": {"model": "y"}})
    assert store.load(folder).sealed


def test_a_changed_run_is_not_reopened(tmp_path):
    """A sealed run that was changed since does not go on."""
    folder = take(tmp_path, blocks=2)
    path = folder / store.HOST_BEFORE
    path.chmod(0o644)
    path.write_text(path.read_text().replace("}", " }"))

    with pytest.raises(DataError, match="host-before"):
        store.Journal.reopen(folder, HOST)


def test_one_process_has_a_run(tmp_path):
    """A run that is being taken cannot be resumed meanwhile."""
    journal = store.Journal.create(PLAN, HOST, alias="t", out=tmp_path)

    with pytest.raises(InputError, match="being taken by another process"):
        store.Journal.reopen(journal.folder, HOST)


class Killed(BaseException):
    """What a test raises where a process would have been killed."""


def kill_at(monkeypatch, step):
    """Let the change of a folder that comes after `step` others not happen."""
    left = itertools.count(step, -1)

    def dying(whole):
        def called(*arguments, **options):
            if next(left) <= 0:
                raise Killed
            return whole(*arguments, **options)

        return called

    for owner, name in (
        (store.files.Path, "replace"),
        (store.files.Path, "unlink"),
        (store.files.Path, "chmod"),
        (os, "fsync"),
    ):
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))


def test_a_kill_at_any_step_loses_nothing(tmp_path, monkeypatch):
    """Killed at whatever step of seal or reopening, a run loads, and can go on.

    Every renaming, removal, change of mode and fsync is such a step.
    """
    steps = 0
    while True:
        folder = begin(tmp_path / str(steps), 2)
        store.seal(folder, host_after={})
        try:
            with monkeypatch.context() as patch:
                kill_at(patch, steps)
                with store.Journal.reopen(folder, HOST) as journal:
                    journal.append(block(2))
        except Killed:
            done = store.load(folder).blocks_done
        else:
            break
        assert done in (2, 3), steps
        with store.Journal.reopen(folder, HOST) as journal:
            for number in range(done, 4):
                journal.append(block(number))
        run = store.load(folder)
        assert run.complete, steps
        assert store.verify(folder)
        assert run.samples["block"].tolist() == sorted([0, 1, 2, 3] * len(POINT.arms))
        steps += 1

    assert steps > 20


FULL = """
import json, os, resource, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {checkout!r}]
from test_store import HOST, PLAN, block
from dataclasses import replace
from zclab import store
from zclab.errors import InputError
parent, limit = Path(sys.argv[1]), int(sys.argv[2])
plan = replace(PLAN, blocks=60)
filler = parent / "filler"
filler.write_bytes(bytes(limit))
if not os.path.ismount(parent):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
journal = store.Journal.create(plan, HOST, alias="t", out=parent)
said = ""
try:
    with journal:
        for number in range(60):
            journal.append(block(number))
except InputError as error:
    said = str(error)
run = store.load(journal.folder)
kept = run.blocks_done
names = sorted(path.name for path in journal.folder.iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
filler.unlink()
with store.Journal.reopen(journal.folder, HOST, plan=plan) as again:
    for number in range(kept, 60):
        again.append(block(number))
print(json.dumps({{
    "said": said, "kept": kept, "names": names, "sealed": run.sealed,
    "whole": store.load(journal.folder).complete,
    "done": journal.blocks_done, "verified": len(store.verify(journal.folder)),
}}))
"""

SEALED = ["host-after.json", "host-before.json", "manifest.json", "manifest.sha256"]
SEALED += ["plan.json", "samples.parquet"]
OPEN = ["host-before.json", "journal.jsonl", "plan.json"]


def fill(checkout, parent, limit, *before):
    """Return what a run did on a disk that became full, and after it was freed."""
    text = FULL.format(tests=str(checkout / "tests"), checkout=str(checkout))
    done = subprocess.run(
        [*before, sys.executable, "-c", text, str(parent), str(limit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("limit", [30_000, 100_000, 12_000])
def test_full_disk_keeps_all_blocks(tmp_path, checkout, limit):
    """Where a file may grow no more, a run ends with one line, and can go on."""
    found = fill(checkout, tmp_path, limit)

    assert "the disk is full (File too large)" in found["said"]
    assert f"{found['kept']} finished blocks are kept" in found["said"]
    assert "free space, then zclab measure --resume" in found["said"]
    assert 0 < found["kept"] == found["done"] < 60
    assert found["names"] == (SEALED if found["sealed"] else OPEN)
    assert found["whole"]


@pytest.mark.parametrize("room", [30, 60, 90])
def test_full_file_system_keeps_all_blocks(tmp_path, checkout, room):
    """On a file system without room a run ends with one line, and can go on."""
    mount = f'mount -t tmpfs -o size=400k tmpfs {tmp_path} && exec "$@"'
    enter = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    enter += [mount, "sh"]
    if not shutil.which("unshare"):
        pytest.skip("no unshare(1)")
    tried = subprocess.run([*enter, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("no mount in a user namespace here")
    found = fill(checkout, tmp_path, (400 - room) << 10, *enter)

    assert "the disk is full (No space left on device)" in found["said"]
    assert 0 < found["kept"] == found["done"] < 60
    assert found["names"] == (SEALED if found["sealed"] else OPEN)
    assert found["whole"]


def test_full_disk_at_the_seal(tmp_path, monkeypatch):
    """A seal that finds no room leaves the journal, and nothing that would count."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    journal = store.Journal.create(PLAN, HOST, alias="t", out=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("zclab.store.sealed.write_manifest", full)
        with (
            pytest.raises(InputError, match=r"disk is full.*4 finished blocks"),
            journal,
        ):
            for number in range(4):
                journal.append(block(number))

    assert sorted(path.name for path in journal.folder.iterdir()) == OPEN
    with store.Journal.reopen(journal.folder, HOST):
        pass
    assert store.load(journal.folder).complete


def test_only_a_synthetic_run_comes_whole(tmp_path):
    """What was measured is journaled; only what a model made is written at once."""
    rows = [sample | {"sitting": 0} for number in range(4) for sample in block(number)]
    table = pa.Table.from_pylist(rows, schema=store.arrow_schema())
    made = replace(PLAN, synthetic=Truth())

    with pytest.raises(InputError, match="only a synthetic run"):
        store.deposit(PLAN, HOST, [table], alias="t", out=tmp_path)
    with pytest.raises(DataError, match="the plan has 20"):
        store.deposit(made, HOST, [table[:3]], alias="t", out=tmp_path)
    run = store.load(store.deposit(made, HOST, [table], alias="t", out=tmp_path))

    assert run.complete
    assert run.synthetic
    assert len(store.listing(tmp_path)) == 1
