"""Runs are write-once; whatever ends a run, its finished blocks are readable."""

import json
import stat

import pytest

from zclab import schema, store
from zclab.errors import DataError, InputError
from zclab.params import Path, Plan, Point, Protocol

POINT = Point(
    path=Path.SINK, protocol=Protocol.UDP, family=4, io_size_bytes=1200, batch=8
)
PLAN = Plan(profile="custom", points=(POINT,), seed=1, blocks=4)


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


def take(parent, blocks=4):
    """Return the folder of a sealed run with that many blocks."""
    with store.Journal.create(PLAN, {"alias": "t"}, alias="t", out=parent) as journal:
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
    """A column that may be null is a nullable integer, and no other is."""
    samples = store.load(take(tmp_path)).samples

    for column in schema.COLUMNS:
        kind = str(samples[column.name].dtype)
        if column.kind == "int":
            assert kind == ("Int64" if column.nullable else "int64"), column.name


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

    with pytest.raises(DataError, match=":2 is damaged"):
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
    folder = next((checkout / "data" / "runs").glob("20261122T192842Z-*"))
    run = store.load(folder)

    assert store.read_json(folder / store.MANIFEST)["format_version"] == 1
    later = [c.name for c in schema.COLUMNS if c.since > 1]
    assert later
    assert run.samples[later].isna().all(axis=None)
    assert run.complete
