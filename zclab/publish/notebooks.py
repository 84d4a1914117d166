"""Runs the notebooks: strict parameters in, tagged answers out.

papermill does the work. What it leaves open is closed here: an unknown or mistyped
parameter is an error instead of a warning, the kernel is always this interpreter, an
error raised inside a notebook keeps its class and its one line, and an executed copy
names no folder of the machine it ran on.
"""

import ast
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import nbformat
import papermill
from ipykernel.kernelspec import make_ipkernel_cmd
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from zclab import errors, store
from zclab.errors import InputError, ZclabError

Value = str | int | float | bool

KINDS: dict[str, tuple[type, str]] = {
    "str": (str, "text"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (bool, "True or False"),
}

Heard = Callable[[str], None]  # is given what a notebook prints, as it prints it

logging.getLogger("papermill").setLevel(logging.CRITICAL)  # errors are raised too


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One line of a notebook's `parameters` cell."""

    name: str
    kind: str
    default: Value
    meaning: str

    def __str__(self) -> str:
        """Return the parameter as it is written in the cell."""
        return f"{self.name}: {self.kind} = {self.default!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One notebook to execute.

    Attributes:
        name: a notebook of `notebooks/`, with or without `.ipynb`, or a path.
        output: the executed copy to write.
        failed: folder that keeps the copy of a notebook that fails.

    """

    name: str
    parameters: Mapping[str, Value]
    output: Path
    failed: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """An executed notebook and the text that its tagged cells printed, by tag."""

    path: Path
    answers: dict[str, str] = field(default_factory=dict)


def folder() -> Path:
    """Return the folder of the notebooks: at the home of the data, else the checkout's.

    Raises:
        InputError: there is none, as in an installation without the checkout.

    """
    checkout = Path(__file__).resolve().parents[2]
    for parent in (store.home(), checkout):
        if (parent / "notebooks").is_dir():
            return parent / "notebooks"
    raise InputError(
        f"no notebooks/ in {store.home()}; name the checkout with ZCLAB_HOME"
    )


def names() -> list[str]:
    """Return the names of the notebooks, in reading order."""
    return sorted(path.stem for path in folder().glob("[0-9][0-9]-*.ipynb"))


def source(name: str) -> Path:
    """Return the file of a notebook.

    Raises:
        InputError: there is no such notebook; the message lists those there are.

    """
    for path in (folder() / f"{name.removesuffix('.ipynb')}.ipynb", Path(name)):
        if path.suffix == ".ipynb" and path.is_file():
            return path
    raise InputError(f"notebook {name!r} is unknown; use one of: {', '.join(names())}")


def parameters(path: Path) -> dict[str, Parameter]:
    """Return the parameters that a notebook takes, by name.

    Raises:
        InputError: the file is not a notebook, or a parameter is not a simple
            typed assignment.

    """
    try:
        found = papermill.inspect_notebook(_papermill_path(path))
        return {
            name: Parameter(
                name=name,
                kind=_kind(entry["inferred_type_name"], entry["default"]),
                default=ast.literal_eval(entry["default"]),
                meaning=entry["help"],
            )
            for name, entry in found.items()
        }
    except (ValueError, SyntaxError, KeyError, nbformat.ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path.name}: its parameters cannot be read ({reason}); "
            "write them as `name: type = value  # meaning`"
        ) from None


def _kind(annotation: str, default: str) -> str:
    """Return the name of a parameter's type; from its default when not annotated."""
    kind = annotation
    if annotation == "None":
        kind = type(ast.literal_eval(default)).__name__
    if kind not in KINDS:
        raise ValueError(f"type {kind}, not one of {', '.join(KINDS)}")
    return kind


def check(path: Path, values: Mapping[str, Value]) -> None:
    """Raise InputError unless the notebook takes every one of `values` as it is typed.

    papermill only warns about a name that the notebook does not have, and then
    measures with the default.
    """
    known = parameters(path)
    takes = ", ".join(map(str, known.values())) or "no parameters"
    for name, value in values.items():
        if name not in known:
            raise InputError(f"{path.name} has no parameter {name!r}; it takes {takes}")
        if not _fits(value, known[name].kind):
            _, wanted = KINDS[known[name].kind]
            raise InputError(
                f"{path.name}: parameter {name} is {value!r}, not {wanted}; "
                f"it is declared as {known[name]}"
            )


def _fits(value: Value, kind: str) -> bool:
    if kind == "float":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is KINDS[kind][0]


def execute(
    name: str,
    values: Mapping[str, Value],
    output: Path,
    *,
    failed: Path | None = None,
    heard: Heard | None = None,
) -> Executed:
    """Run one notebook and return its executed copy.

    Args:
        name: a notebook of `notebooks/`, with or without `.ipynb`, or a path.
        values: its parameters; those left out keep their defaults.
        output: the executed copy to write.
        failed: folder that keeps the copy of a notebook that fails; by default
            `build/failed` under the home of the data.
        heard: called with every piece of text that the notebook prints.

    Raises:
        InputError: unknown notebook or parameter, a value of the wrong type, or an
            output that cannot be written.
        ZclabError: what the notebook raised, in its own class when that is one of
            `zclab.errors`.

    """
    job = Job(name=name, parameters=values, output=output, failed=failed)
    return execute_all([job], heard=heard)[0]


def execute_all(jobs: Sequence[Job], *, heard: Heard | None = None) -> list[Executed]:
    """Run several notebooks side by side, each in its kernel; return them in order.

    Ctrl-C reaches the kernels as an interrupt, so that what they do can end well.

    Raises:
        As `execute`, for the first job that fails; the others are interrupted.

    """
    for job in jobs:
        _check_job(job)
    kernels: list[AsyncKernelManager] = []
    # One kernel more than CPUs: starting and ending a kernel is mostly waiting.
    workers = max(1, min(len(jobs), 1 + (os.cpu_count() or 1)))
    # Threads, since the work is done by the kernels, and those are the direct
    # children of this process: each watches it and ends when it is gone.
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(_run, job, heard, kernels) for job in jobs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            _interrupt(kernels)
            raise


def _check_job(job: Job) -> None:
    path = source(job.name)
    check(path, job.parameters)
    if job.output.exists() and job.output.samefile(path):
        raise InputError(f"{job.output} is the notebook itself; name another output")
    if job.output.suffix != ".ipynb":
        raise InputError(f"{job.output} is not a notebook's name; end it in .ipynb")
    try:
        job.output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write {job.output}: {error.strerror}; name another output"
        ) from None


def _run(job: Job, heard: Heard | None, kernels: list[AsyncKernelManager]) -> Executed:
    """Execute one notebook in a kernel of its own; `kernels` gets its manager."""
    path = source(job.name)
    with tempfile.TemporaryFile() as log:
        try:
            notebook = papermill.execute_notebook(
                _papermill_path(path),
                _papermill_path(job.output),
                dict(job.parameters),
                kernel_name="python3",
                progress_bar=False,
                request_save_on_cell_execute=False,  # written when done, or failed
                coalesce_streams=True,  # a meter leaves its last line, not all of them
                stdout_file=_Ear(heard) if heard else None,
                kernel_manager_class=_manager(kernels, log),
            )
        except PapermillExecutionError as error:
            raise _recover(error, path.name, _keep(job)) from None
        except (DeadKernelError, RuntimeError) as error:
            reason = _last_line(log) or " ".join(str(error).split())
            raise ZclabError(
                f"{path.name}: its kernel ended early: {reason}; see {_keep(job)}"
            ) from None
    answers = _answers(notebook)
    text = nbformat.writes(_without_paths(notebook, path, job))  # type: ignore[no-untyped-call]
    job.output.write_text(f"{text}\n", encoding="utf-8")
    return Executed(path=job.output, answers=answers)


def _papermill_path(path: Path) -> str:
    """Return a path that papermill's own templating of paths leaves as it is."""
    return str(path).replace("{", "{{").replace("}", "}}")


class _Ear:
    """The file that papermill writes a notebook's standard output to."""

    def __init__(self, heard: Heard) -> None:
        self.write = heard

    def flush(self) -> None:
        """Do nothing: every write is passed on at once."""


def _manager(
    kernels: list[AsyncKernelManager], log: IO[bytes]
) -> type[AsyncKernelManager]:
    """Return a kernel manager that starts this interpreter, heard of by `kernels`.

    A kernel spec of the same name in the user's home would win over the one of the
    environment, and what a kernel itself writes would land on our terminal.
    """

    class ThisInterpreter(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(
                argv=make_ipkernel_cmd(executable=sys.executable),
                display_name="Python 3",
                language="python",
                metadata={"supported_encryption": ["curve"]},
            )

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            kernels.append(self)
            environment = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
            await self._async_start_kernel(
                **{"env": environment, **options, "stdout": log, "stderr": log}
            )

    return ThisInterpreter


def _interrupt(kernels: Iterable[AsyncKernelManager]) -> None:
    """Interrupt what the kernels run: SIGINT to each kernel's process group."""
    for kernel in kernels:
        pid = getattr(kernel.provisioner, "pid", None)
        if pid:
            try:
                os.killpg(pid, signal.SIGINT)
            except ProcessLookupError:
                continue


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""


def _keep(job: Job) -> Path:
    """Move the copy of a failed notebook aside; return where it is."""
    parent = job.failed or store.home() / "build" / "failed"
    parent.mkdir(parents=True, exist_ok=True)
    kept = parent / job.output.name
    if job.output.is_file():
        shutil.move(job.output, kept)
    return kept


def _recover(error: PapermillExecutionError, name: str, kept: Path) -> BaseException:
    """Return what to raise for an error that happened inside a notebook's kernel."""
    text = " ".join(str(error.evalue).split())
    if error.ename == "KeyboardInterrupt":
        return KeyboardInterrupt()
    kind = getattr(errors, error.ename, None)
    if kind is errors.SendError:
        return errors.MeasureError(text)  # its errno is in the text, not as a number
    if isinstance(kind, type) and issubclass(kind, ZclabError):
        return kind(text)
    return ZclabError(
        f"{name}, cell {error.exec_count}: {error.ename}: {text}; see {kept}"
    )


def _answers(notebook: Any) -> dict[str, str]:
    """Return what each tagged code cell printed or evaluated to, as plain text."""
    found: dict[str, str] = {}
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code" or not tags:
            continue
        text = "".join(
            output.get("text", "") or output.get("data", {}).get("text/plain", "")
            for output in cell.outputs
            if output.output_type in ("stream", "execute_result", "display_data")
        )
        found.update({tag: text.strip() for tag in tags})
    return found


def _without_paths(notebook: Any, path: Path, job: Job) -> Any:
    """Return the notebook with folders of this machine cut from its text.

    What lies under the home of the data is named from there; a parameter that is
    a path keeps its last name; the user's home becomes `~`.
    """
    cuts = {f"{home}/": "" for home in (store.home(), path.parent.parent)}
    cuts |= {f"{Path(cut).resolve()}/": "" for cut in list(cuts)}
    for value in job.parameters.values():
        if isinstance(value, str) and Path(value).is_absolute():
            cuts[f"{Path(value).parent}/"] = ""
    cuts[f"{Path.home()}/"] = "~/"
    cuts.pop("//", None)
    ordered = sorted(cuts.items(), key=lambda cut: -len(cut[0]))
    clean = _replace(notebook, ordered)
    clean.metadata["papermill"]["input_path"] = f"notebooks/{path.name}"
    clean.metadata["papermill"]["output_path"] = job.output.name
    return clean


def _replace(value: Any, cuts: Sequence[tuple[str, str]]) -> Any:
    if isinstance(value, str):
        for old, new in cuts:
            value = value.replace(old, new)
        return value
    if isinstance(value, dict):
        return type(value)({key: _replace(entry, cuts) for key, entry in value.items()})
    if isinstance(value, list):
        return [_replace(entry, cuts) for entry in value]
    return value
