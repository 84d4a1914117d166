"""A run that is being taken: made, added to block by block, sealed; or continued."""

import fcntl
import itertools
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from zclab import context, schema
from zclab.errors import DataError, InputError
from zclab.params import Plan
from zclab.store import lines
from zclab.store.files import (
    HOST_BEFORE,
    HOST_RESUMED,
    JOURNAL,
    MANIFEST,
    PLAN,
    hosts,
    is_sealed,
    not_written,
    read_json,
    runs_dir,
    sync,
    undo_seal,
    write_json,
)
from zclab.store.lines import Block
from zclab.store.sealed import finish, seal, unseal, write_samples

SYNC_EVERY_S = 1.0  # a power cut loses at most this much; SIGKILL loses nothing
BEFORE = "warnings_before"  # in the host's facts of a later sitting
_STOPPED_BY = "stopped by "


class Journal:
    """A run that is being taken. Use it as a context; it seals at the end.

    Leaving the context by an exception seals what was measured as partial.

    Attributes:
        folder: the run.
        plan: what it executes.
        slices: timed length in ns by point, where a pilot chose it.
        sitting: 0, or how often the run was resumed.
        blocks_done: blocks of all sittings.
        warnings: what is to be said with every number of the run.
        host_after: the host's facts after the last sample.
        stopped: why each point that stopped did, by name.
        finished: whether all have.

    """

    def __init__(self, folder: Path, lock: BinaryIO, before: lines.Lines) -> None:
        """Open a folder that `create` or `reopen` has made ready, read and locked."""
        stored = read_json(folder / PLAN)
        self.folder = folder
        self.plan = Plan.from_json(stored["plan"])
        self.slices: dict[str, int] = stored.get("slices", {})
        self.blocks_done = before.count
        self.sitting = len(hosts(folder)) - 1
        self.warnings: list[str] = []
        self.host_after: dict[str, Any] = {}
        self.stopped: dict[str, Any] = {}
        self.finished = False
        self._lock = lock
        self._blocks_before = before.count
        self._keys = before.keys
        self._sum = before.sum
        self._synced = time.monotonic()
        self._file = (folder / JOURNAL).open("ab", buffering=0)
        self._end = self._file.tell()
        self._is_full = False

    @classmethod
    def create(
        cls,
        plan: Plan,
        host: dict[str, Any],
        *,
        alias: str,
        out: Path | None = None,
        slices: dict[str, int] | None = None,
    ) -> "Journal":
        """Make the folder of a new run, named by UTC time, host alias and profile.

        Args:
            plan: what will be executed.
            host: facts of the host and the paths, before the first sample.
            alias: the host's name in the run's id.
            out: parent of the folder; data/runs by default.
            slices: timed length in ns by point, where a pilot chose it.

        Raises:
            InputError: the folder cannot be made.

        """
        folder = new_folder(plan, alias=alias, out=out)
        stored = {"hash": plan.hash, "plan": plan.to_json()}
        try:
            (folder / JOURNAL).touch(exist_ok=False)
            write_json(folder / HOST_BEFORE, host)
            # Last, as a folder is a run by its plan: one killed before is none.
            write_json(folder / PLAN, stored | ({"slices": slices} if slices else {}))
            sync(folder)
            sync(folder.parent)
            return cls(folder, _hold(folder), lines.Lines(folder))
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise _no_folder(folder.parent, error) from None

    @classmethod
    def reopen(
        cls, folder: Path, host: dict[str, Any], *, plan: Plan | None = None
    ) -> "Journal":
        """Continue a run that ended early, sealed as partial or not at all.

        Args:
            folder: the run.
            host: facts of the host and the paths now.
            plan: what it should be a run of; None for whatever its plan says.

        Raises:
            InputError: it is complete, is being taken, is of another plan, or was
                taken in another context: the message names what differs. The disk is
                full: the run is then as it was.
            DataError: it is damaged.

        """
        lock = _hold(folder)
        try:
            resumable(folder, plan)
            _check_context(folder, host)
            warnings, found = _restore(folder, host)
            journal = cls(folder, lock, found)
        except BaseException:
            lock.close()
            raise
        journal.warnings.extend(warnings)
        return journal

    @property
    def samples_before(self) -> Iterator[Block]:
        """The blocks of earlier sittings, in the order measured; read as asked for."""
        return itertools.islice(lines.Lines(self.folder), self._blocks_before)

    def append(self, samples: Sequence[dict[str, Any]]) -> None:
        """Add one finished block: one line, handed to the kernel before returning.

        The journal says in which sitting the samples were taken.

        Raises:
            DataError: a sample does not fit the schema, or the block is there already.
            InputError: the disk is full; all blocks before this one are kept.

        """
        block = [{**sample, "sitting": self.sitting} for sample in samples]
        for sample in block:
            schema.check_sample(sample)
        key = lines.key(block)
        if key in self._keys:
            raise DataError(f"block {key[1]} of {key[0]} is in {self.folder} already")
        raw, found = lines.line(self._sum, block)
        try:
            self._write(raw)
        except OSError as error:
            self._give_up()
            raise not_written(self.folder, error, blocks=self.blocks_done) from error
        self._sum = found
        self._keys.add(key)
        self.blocks_done += 1

    def _write(self, raw: bytes) -> None:
        written = 0
        while written < len(raw):
            written += self._file.write(raw[written:])
        if time.monotonic() - self._synced > SYNC_EVERY_S:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()
        self._end += len(raw)

    def _give_up(self) -> None:
        """Cut off what was half-written, and write no more."""
        self._is_full = True
        with suppress(OSError):  # if not, it is a torn last line
            self._file.truncate(self._end)
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            why = "a full disk" if self._is_full else kind.__name__
            self.warnings.append(f"{_STOPPED_BY}{why} before the plan's end")
        with self._lock:
            # On a full disk the lines that were written before still make a run.
            with suppress(OSError, ValueError), self._file as file:
                os.fsync(file.fileno())
            try:
                self._seal()
            except InputError:
                # The full disk has been told of already, with what to do.
                if not self._is_full:
                    raise

    def _seal(self) -> None:
        seal(
            self.folder,
            host_after=self.host_after,
            warnings=self.warnings,
            stopped=self.stopped,
            finished=self.finished,
        )


def deposit(
    plan: Plan,
    host: dict[str, Any],
    samples: Iterable[Any],
    *,
    alias: str,
    out: Path | None = None,
    warnings: Sequence[str] = (),
) -> Path:
    """Write and seal a synthetic run that comes whole; return its folder.

    Args:
        plan: with a truth: what was measured comes block by block.
        host: facts of the synthetic host.
        samples: Arrow tables with the columns of `schema`, all samples of the plan.
        alias: the host's name in the run's id.
        out: parent of the folder; data/runs by default.
        warnings: to be said with every number of the run.

    Raises:
        InputError: the plan has no truth, or the run cannot be written.
        DataError: there are not as many samples as planned.

    """
    if plan.synthetic is None:
        raise InputError("only a synthetic run comes whole; measure block by block")
    folder = new_folder(plan, alias=alias, out=out)
    try:
        if (count := write_samples(folder, samples)) != plan.samples:
            raise DataError(f"{count} samples, but the plan has {plan.samples}")
        write_json(folder / HOST_BEFORE, host)
        write_json(folder / PLAN, {"hash": plan.hash, "plan": plan.to_json()})
        done = {"blocks_done": plan.total_blocks, "samples_done": count}
        finish(folder, host, done | {"warnings": list(warnings), "finished": True})
    except (OSError, DataError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise _no_folder(folder.parent, error) from None
        raise
    return folder


def new_folder(plan: Plan, *, alias: str, out: Path | None) -> Path:
    """Make the folder of a new run, named by UTC time, host alias and profile.

    Raises:
        InputError: it cannot be made.

    """
    parent = out if out is not None else runs_dir()
    while True:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        folder = parent / f"{stamp}-{alias}-{plan.profile}"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            return folder
        except FileExistsError:
            if not parent.is_dir():
                raise InputError(f"{parent} is not a folder; name one") from None
            time.sleep(0.2)  # a run id is never reused: wait for the next second
        except OSError as error:
            raise _no_folder(parent, error) from None


def _no_folder(parent: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot write a run under {parent}: {error.strerror}; "
        "name another folder with --out"
    )


def resumable(folder: Path, plan: Plan | None = None) -> Plan:
    """Return the plan of a run that ended early; nothing is changed.

    Args:
        folder: the run.
        plan: what it should be a run of; None for whatever its plan says.

    Raises:
        InputError: the run is complete, or of another plan.
        DataError: its plan or its manifest is damaged.

    """
    stored = read_plan(folder)
    if plan is not None and plan.hash != stored.hash:
        raise InputError(
            f"{folder.name} is of another plan (hash {stored.hash[:12]}, not "
            f"{plan.hash[:12]}); resume it without naming a plan, or take a new run"
        )
    if is_sealed(folder):
        manifest = read_json(folder / MANIFEST)
        if is_complete(
            stored,
            blocks_done=manifest["blocks_done"],
            finished=manifest.get("finished", False),
        ):
            raise InputError(
                f"{folder.name} is complete, nothing is left to measure; report it: "
                f"zclab report {folder.name}"
            )
    return stored


def read_plan(folder: Path) -> Plan:
    """Return the plan of a run.

    Raises:
        DataError: it is missing, or not what was written before the first sample.

    """
    stored = read_json(folder / PLAN)
    try:
        plan, expected = Plan.from_json(stored["plan"]), stored["hash"]
    except (LookupError, TypeError, InputError) as error:
        raise DataError(
            f"{folder.name}: {PLAN} was edited, or asks for what this version of zclab "
            f"refuses; {error}"
        ) from None
    if plan.hash != expected:
        raise DataError(f"{folder.name}: {PLAN} was edited; its hash does not match")
    return plan


def is_complete(plan: Plan, *, blocks_done: int, finished: bool) -> bool:
    """Return whether a sealed run has all that its plan asks for."""
    return finished if plan.stop else blocks_done == plan.total_blocks


def _check_context(folder: Path, host: dict[str, Any]) -> None:
    """Raise InputError when the host is not what it was in the earlier sittings."""
    sittings = [("", before) for before in hosts(folder)]
    found = context.first_difference([*sittings, ("", host)])
    if found:
        raise InputError(
            f"{folder.name} was taken in another context: {found[2]}; "
            "samples of both are never pooled: restore it, or take a new run"
        )


def _restore(folder: Path, host: dict[str, Any]) -> tuple[list[str], lines.Lines]:
    """Make a folder's journal the run again, and note what the host is like now.

    Whatever is lost on the way, the run is whole before and after each step.
    """
    found = lines.Lines(folder)
    try:
        warnings = _warnings_before(folder)
        unseal(folder)
        for _ in found:
            pass
        (folder / JOURNAL).chmod(0o644)  # older seals made it read-only too
        if found.torn:
            os.truncate(folder / JOURNAL, found.end)
        sitting = HOST_RESUMED.format(len(hosts(folder)))
        write_json(folder / sitting, {**host, BEFORE: warnings})
        undo_seal(folder)
    except OSError as error:
        raise not_written(folder, error, blocks=found.count) from error
    return warnings, found


def _warnings_before(folder: Path) -> list[str]:
    """Return what earlier sittings warned of, each once, less what ended them."""
    found = [text for host in hosts(folder) for text in host.get(BEFORE, ())]
    with suppress(DataError):  # a manifest that a kill left half-made says nothing
        found += read_json(folder / MANIFEST)["warnings"]
    return [text for text in dict.fromkeys(found) if not text.startswith(_STOPPED_BY)]


def _hold(folder: Path) -> BinaryIO:
    """Return a file that keeps others from the run until it is closed.

    Raises:
        InputError: another process has the run.

    """
    file = (folder / PLAN).open("rb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InputError(
            f"{folder.name} is being taken by another process; let it end, or stop it"
        ) from None
    except OSError:
        pass  # a file system without locks
    return file
