"""The notebooks: written as prose, stored stripped, run with strict parameters."""

import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from tests import samples
from tests.live import needs_uring
from zclab import store
from zclab.errors import (
    CapabilityError,
    DataError,
    InputError,
    MeasureError,
    ZclabError,
)
from zclab.publish import notebooks

NAMES = (
    "00-host",
    "10-measure",
    "20-v5-tables",
    "30-why",
    "40-cost",
    "50-synthetic",
    "60-replication",
)
TAKING = {"10-measure", "50-synthetic"}  # a run: of a kernel, or of a model
each_notebook = pytest.mark.parametrize("name", NAMES)


def cells(name, kind):
    text = notebooks.source(name).read_text()
    return [
        ("".join(cell["source"]), cell)
        for cell in json.loads(text)["cells"]
        if cell["cell_type"] == kind
    ]


def written(path, source, tags=()):
    """Write a notebook with a parameters cell and one more cell."""
    notebook = nbformat.v4.new_notebook()
    first = nbformat.v4.new_code_cell('where: str = ""  # a file')
    first.metadata["tags"] = ["parameters"]
    second = nbformat.v4.new_code_cell(source)
    second.metadata["tags"] = list(tags)
    notebook.cells = [first, second]
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "language": "python",
        "display_name": "Python 3",
    }
    nbformat.write(notebook, path)
    return path


def wait_for(true, deadline_s):
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return False


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_all_are_here():
    """The story has four notebooks, and a lesson follows, in reading order."""
    assert list(NAMES) == notebooks.names()


@each_notebook
def test_stripped(name):
    """A stored notebook has no outputs and no execution counts."""
    for _, cell in cells(name, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@each_notebook
def test_valid(name):
    """A stored notebook fits its format, names the python3 kernel, has stable ids."""
    notebook = nbformat.read(notebooks.source(name), as_version=4)

    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)


@each_notebook
def test_reads_as_prose(name):
    """At least as much text as code; code cells are short and define nothing."""
    code = [source for source, _ in cells(name, "code")]
    lines = [len(source.splitlines()) for source in code]

    assert len(cells(name, "markdown")) >= len(code)
    assert 8 <= len(code) <= 20
    assert statistics.median(lines) <= 2
    assert max(lines) <= 10
    for source in code:
        assert not any(
            line.startswith(("def ", "for ", "while ", "class ", "%", "!"))
            for line in source.splitlines()
        )


@each_notebook
def test_order(name):
    """The question is first; what is not shown, and how to make it again, is last."""
    text = [source for source, _ in cells(name, "markdown")]

    assert text[0].startswith("# ")
    assert text[0].splitlines()[0].endswith("?")
    assert text[-1].startswith("## What this does not show")
    assert "again: `zclab" in text[-1]


@each_notebook
def test_parameters_cell(name):
    """Every parameter has a type, a default and a meaning that papermill can read."""
    tagged = [
        source
        for source, cell in cells(name, "code")
        if "parameters" in cell["metadata"].get("tags", [])
    ]
    found = papermill.inspect_notebook(str(notebooks.source(name)))

    assert len(tagged) == 1
    assert len(found) == len(tagged[0].splitlines())
    for entry in found.values():
        assert entry["inferred_type_name"] in notebooks.KINDS
        assert entry["help"]


def test_only_measuring_needs_linux():
    """No notebook but those that take a run imports the measuring half."""
    for name in set(NAMES) - TAKING:
        source = notebooks.source(name).read_text()

        assert "zclab.measure" not in source
        assert "zclab.uring" not in source


def test_unknown_parameter(tmp_path):
    """An unknown parameter is an error that says what the notebook takes."""
    with pytest.raises(InputError) as caught:
        notebooks.execute("20-v5-tables", {"rum": "latest"}, tmp_path / "x.ipynb")

    assert "20-v5-tables.ipynb has no parameter 'rum'" in str(caught.value)
    assert "run: str = 'latest'" in str(caught.value)


@pytest.mark.parametrize("seed", ["7", 7.0, True])
def test_mistyped_parameter(tmp_path, seed):
    """A value of another type than declared is an error that names the type."""
    with pytest.raises(InputError) as caught:
        notebooks.execute("10-measure", {"seed": seed}, tmp_path / "x.ipynb")

    assert f"parameter seed is {seed!r}, not a whole number" in str(caught.value)
    assert not (tmp_path / "x.ipynb").exists()


def test_unknown_notebook(tmp_path):
    """An unknown notebook is an error that lists those there are."""
    with pytest.raises(InputError, match="use one of: 00-host, 10-measure"):
        notebooks.execute("40-when", {}, tmp_path / "x.ipynb")


def test_never_over_itself(tmp_path):
    """An executed copy never overwrites its source."""
    source = written(tmp_path / "own.ipynb", "1 + 1")

    with pytest.raises(InputError, match="name another output"):
        notebooks.execute(str(source), {}, source)


def test_output_that_cannot_be(tmp_path):
    """An output below a file is an error of one line."""
    (tmp_path / "file").write_text("")

    with pytest.raises(InputError, match="name another output"):
        notebooks.execute("00-host", {}, tmp_path / "file" / "x.ipynb")


def test_answers_and_interpreter(tmp_path):
    """A tagged cell's text is the answer; the kernel is this interpreter."""
    source = written(tmp_path / "own.ipynb", "import sys\nprint(sys.executable)", "a")

    done = notebooks.execute(str(source), {}, tmp_path / "out" / "done.ipynb")

    assert done.answers["a"] == sys.executable
    assert done.path.is_file()


def test_meter_leaves_one_line(tmp_path):
    """A meter is heard as it moves; its last state alone is kept."""
    source = written(
        tmp_path / "own.ipynb",
        "from types import SimpleNamespace as S\n"
        "from zclab.publish.meter import Meter\n"
        "meter = Meter()\n"
        "meter(S(done=1, total=2, elapsed_s=1.0, left_s=1.0))\n"
        "meter(S(done=2, total=2, elapsed_s=2.0, left_s=0.0))",
    )
    heard = []

    done = notebooks.execute(
        str(source), {}, tmp_path / "done.ipynb", heard=heard.append
    )

    assert "block 1 of 2, 1 s, about 1 s left" in "".join(heard)
    text = done.path.read_text()
    assert "block 2 of 2" in text
    assert "block 1 of 2" not in text


def test_capability_keeps_its_class(tmp_path):
    """What the kernel lacks is a skip outside the notebook as it is inside."""
    source = written(
        tmp_path / "own.ipynb",
        "from zclab.errors import CapabilityError\nraise CapabilityError('no\\nring')",
    )

    with pytest.raises(CapabilityError) as caught:
        notebooks.execute(
            str(source), {}, tmp_path / "x.ipynb", failed=tmp_path / "failed"
        )

    assert str(caught.value) == "no ring"
    assert (tmp_path / "failed" / "x.ipynb").is_file()
    assert not (tmp_path / "x.ipynb").exists()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("InputError", InputError),
        ("DataError", DataError),
        ("MeasureError", MeasureError),
        ("SendError", MeasureError),
        ("ZeroDivisionError", ZclabError),
        ("os", ZclabError),
        ("KeyboardInterrupt", KeyboardInterrupt),
    ],
)
def test_recovered_errors(name, kind):
    """An error of ours keeps its meaning; any other says where it happened."""
    error = PapermillExecutionError(3, 2, "", name, "why\nnot", [])

    found = notebooks._recover(error, "x.ipynb", Path("kept.ipynb"))

    assert type(found) is kind
    if kind is ZclabError:
        assert str(found) == f"x.ipynb, cell 2: {name}: why not; see kept.ipynb"


SLEEPER = """
import os, pathlib, time
pathlib.Path(where).write_text(str(os.getpid()))
try:
    time.sleep(60)
except KeyboardInterrupt:
    pathlib.Path(where + '.ended').write_text('well')
    raise
"""


@pytest.fixture
def sleeper(tmp_path):
    """Give a process that executes a notebook, and the pid of the notebook's kernel."""
    source = written(tmp_path / "own.ipynb", SLEEPER)
    where = tmp_path / "pid"
    code = (
        "from pathlib import Path\n"
        "from zclab.publish import notebooks\n"
        f"notebooks.execute({str(source)!r}, {{'where': {str(where)!r}}},"
        f" Path({str(tmp_path / 'x.ipynb')!r}), failed=Path({str(tmp_path)!r}))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert wait_for(lambda: where.is_file() and where.read_text(), 30)
        yield process, int(where.read_text()), where.with_name("pid.ended")
    finally:
        process.kill()
        process.communicate()


def test_kernel_dies_with_us(sleeper):
    """Killed outright, zclab leaves no kernel behind for more than two seconds."""
    process, kernel, _ = sleeper

    process.kill()

    assert wait_for(lambda: not alive(kernel), 2.5)


def test_interrupt_reaches_the_kernel(sleeper):
    """Ctrl-C lets what the notebook does end well, and nothing is printed by others."""
    process, kernel, ended = sleeper

    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=15)

    assert ended.read_text() == "well"
    assert stderr.decode().strip().endswith("KeyboardInterrupt")
    assert not alive(kernel)


def test_plain_papermill(tmp_path):
    """A notebook runs by papermill itself, from its own folder."""
    run = samples.make(tmp_path / "runs", planned=8)

    done = papermill.execute_notebook(
        str(notebooks.source("00-host")),
        str(tmp_path / "done.ipynb"),
        {"run": str(run.folder)},
        cwd=str(notebooks.folder()),
        progress_bar=False,
    )

    assert run.id in str(done.cells)


@needs_uring
def test_measure(tmp_path):
    """10-measure takes a run for real and answers with its folder."""
    done = notebooks.execute(
        "10-measure",
        {"profile": "smoke", "seed": 5, "out": str(tmp_path / "runs")},
        tmp_path / "done.ipynb",
    )

    run = store.load(store.find(done.answers["run"]))
    assert run.complete
    assert run.plan.seed == 5
    assert run.folder.parent == tmp_path / "runs"
    text = done.path.read_text()
    assert str(tmp_path) not in text
    assert f"{Path.home()}/" not in text


def test_planted_truth(tmp_path):
    """50-synthetic takes a marked run without io_uring, and shows what was planted."""
    done = notebooks.execute(
        "50-synthetic",
        {"points": 20, "precision": 2.0, "out": str(tmp_path / "runs")},
        tmp_path / "done.ipynb",
    )

    (folder,) = (tmp_path / "runs").iterdir()
    run = store.load(folder)
    assert run.complete
    assert run.synthetic
    assert "SYNTHETIC" in done.answers["run"]
    assert "covers it" in done.answers["planted"]
    assert done.answers["misses"].endswith("]")
    assert str(tmp_path) not in done.path.read_text()


def test_models_need_no_linux():
    """Taking a synthetic run loads neither the shim nor what starts a worker."""
    code = (
        "import sys\n"
        "from zclab.measure import sweep\n"
        "from zclab.prove import planted\n"
        "sys.exit(any('uring' in m or m == 'zclab.measure.process' "
        "for m in sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
