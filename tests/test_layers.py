"""Arrows point down only, as docs/design.md draws the house."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

GROUND = frozenset(
    {
        "__init__",
        "checkout",
        "context",
        "errors",
        "hostfacts",
        "options",
        "packet",
        "params",
        "planfile",
        "plans",
        "preflight",
        "presets",
        "schema",
        "situation",
        "stats",
        "stop",
        "synthetic",
        "truth",
    }
)
# What each room may import of the project, besides itself.
BELOW: dict[str, frozenset[str]] = {
    **dict.fromkeys(GROUND, GROUND),
    "store": GROUND,
    "uring": GROUND,
    "measure": GROUND | {"store", "uring"},
    "bench": GROUND | {"store", "uring", "measure"},
    "prove": GROUND | {"store", "uring", "measure", "explain"},
    "explain": GROUND | {"store"},
    "publish": GROUND | {"store", "explain"},
    "doctor": GROUND | {"store", "uring", "measure"},
    "fleet": GROUND | {"store", "measure"},
    "bootstrap": frozenset(),
}
TOP = {"cli", "__main__"}  # may import every room
PRINTERS = {"cli", "bootstrap"}  # bootstrap runs before there is a cli
TERMINAL = {"rich", "typer"}  # the libraries that print
KERNEL = {"cffi", "_cffi_backend"}


def arrows(source: Path, package: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of each import, those inside functions too."""
    here = ["zclab", *source.relative_to(package).with_suffix("").parts]
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            above = here[: -node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for name in node.names:
                yield node.lineno, f"{base}.{name.name}"
        elif isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func).rpartition(".")[2]
            what = node.args[0]
            if called in {"import_module", "__import__", "run_module"}:
                if isinstance(what, ast.Constant):
                    yield node.lineno, str(what.value)
                else:
                    yield node.lineno, f"zclab.<{ast.unparse(what)}>"


def prints(source: Path) -> Iterator[int]:
    """Yield the lines that call print."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield node.lineno


def objection(room: str, name: str) -> str | None:
    """Return why a room may not import a name, or None if it may."""
    package, *rest = name.split(".")
    is_ours = package == "zclab"
    first = rest[0] if rest else "__init__"
    target = first if first in {*BELOW, *TOP} else "__init__"
    below = {*BELOW, *TOP} if room in TOP else {room, *BELOW[room]}
    broken = {
        "runs before anything is installed": room == "bootstrap"
        and package not in sys.stdlib_module_names,
        "only zclab/uring knows cffi": room != "uring"
        and (package in KERNEL or "_shim" in rest),
        "only cli prints": room not in PRINTERS and package in TERMINAL,
        "cannot be checked": is_ours and first.startswith("<"),
        "points up": is_ours and target not in below,
    }
    return next((why for why, is_broken in broken.items() if is_broken), None)


def violations(package: Path) -> list[str]:
    """Return a line for each rule that a file of the package breaks."""
    found = []
    for source in sorted(package.rglob("*.py")):
        inside = source.relative_to(package)
        room = inside.parts[0].removesuffix(".py")
        if room not in BELOW and room not in TOP:
            found.append(f"{inside}: no such room; draw it in BELOW")
            continue
        for line, name in arrows(source, package):
            reason = objection(room, name)
            if reason:
                found.append(f"{inside}:{line}: imports {name}: {reason}")
        if room not in PRINTERS:
            found += [f"{inside}:{line}: prints" for line in prints(source)]
    return found


def test_no_arrow_points_up(checkout: Path) -> None:
    """Every import in zclab/ goes down, and only cli prints."""
    assert violations(checkout / "zclab") == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("errors.py", "from zclab import store", "points up"),
        ("store.py", "import zclab.explain.table", "points up"),
        ("uring/ring.py", "from zclab.store import Run", "points up"),
        ("explain/table.py", "def f():\n    from zclab import measure", "points up"),
        ("explain/table.py", "from ..measure import sweep", "points up"),
        ("explain/table.py", "from .. import cli", "points up"),
        ("explain/deep/down.py", "from ...uring import ring", "points up"),
        ("publish/report.py", "from zclab.uring import ring", "points up"),
        ("publish/report.py", "import_module('zclab.measure')", "points up"),
        ("publish/report.py", "importlib.import_module(name)", "cannot be checked"),
        ("measure/sweep.py", "import zclab.publish", "points up"),
        ("measure/sweep.py", "import cffi", "only zclab/uring knows cffi"),
        ("measure/sweep.py", "from zclab.uring._shim import lib", "only zclab/uring"),
        ("measure/sweep.py", "from rich import print", "only cli prints"),
        ("measure/sweep.py", "def f():\n    print(1)", "prints"),
        ("bootstrap.py", "import numpy", "before anything is installed"),
        ("bootstrap.py", "from zclab import errors", "before anything is installed"),
        ("attic/box.py", "", "no such room"),
    ],
)
def test_a_planted_breach_is_found(
    tmp_path: Path, file: str, text: str, complaint: str
) -> None:
    """The check finds each kind of breach, and nothing else, in a made-up tree."""
    sound = {
        "errors.py": "import os",
        "uring/probe.py": "import cffi\nfrom zclab.uring._shim import lib",
        "measure/worker.py": "from zclab.uring import probe\nfrom . import path",
        "publish/page.py": "from zclab.explain import table\nfrom ..store import Run",
        "cli.py": "import typer\nfrom zclab.measure import sweep\nprint(1)",
    }
    for name, content in [*sound.items(), (file, text)]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(content)
    found = violations(tmp_path)
    assert len(found) == 1, found
    assert found[0].startswith(file)
    assert complaint in found[0]


def test_importing_zclab_loads_nothing_heavy(checkout: Path) -> None:
    """`import zclab` loads neither the extension nor any third-party library."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import zclab"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    assert "zclab" in loaded
    rooms = {name for name in loaded if name.startswith("zclab.")}
    assert rooms <= {"zclab.errors"}
    heavy = {"_cffi_backend", "cffi", "matplotlib", "numpy", "pandas", "papermill"}
    heavy |= {"pyarrow", "pyroute2", "rich", "scipy", "seaborn", "typer"}
    assert heavy.isdisjoint(name.partition(".")[0] for name in loaded)
