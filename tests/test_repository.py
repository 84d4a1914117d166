"""What is committed is source, and the Makefile says what the command line does."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePath

import pytest

needs_make = pytest.mark.skipif(not shutil.which("make"), reason="make is not here")
BOOTSTRAPPED = {"setup", "clean"}  # run bootstrap.py, as zclab may not be there yet


@pytest.fixture(scope="module")
def tracked(checkout: Path) -> list[Path]:
    """Return every file that git tracks and that is there."""
    if not (checkout / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout, so nothing says which files are committed")
    # The checkout may belong to another user than the one who runs the tests.
    command = ["git", "-c", f"safe.directory={checkout}", "ls-files", "-z"]
    listing = subprocess.run(command, cwd=checkout, capture_output=True, check=True)
    paths = [
        checkout / name for name in os.fsdecode(listing.stdout).split("\0") if name
    ]
    assert paths
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="module")
def texts(checkout: Path, tracked: list[Path]) -> dict[str, str]:
    """Return the content of each tracked text file by its path in the checkout."""
    found = {}
    for path in tracked:
        try:
            found[str(path.relative_to(checkout))] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a Parquet file, an image
    return found


@pytest.fixture(scope="module")
def recipes(checkout: Path) -> dict[str, list[str]]:
    """Return the recipe of each target of the Makefile."""
    text = (checkout / "Makefile").read_text()
    rules = re.findall(r"^([a-z]+):.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    return {target: recipe.strip().splitlines() for target, recipe in rules}


def make(checkout: Path, *arguments: str, **environ: str) -> str:
    """Return what make prints when it is not itself run by a make or in conda."""
    inherited = ("CONDA_", "MAKE", "MFLAGS")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(inherited)}
    return subprocess.run(
        ["make", *arguments],
        cwd=checkout,
        env={**kept, **environ},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def committed_outputs(text: str) -> list[str]:
    """Return what a notebook's source holds of a past execution."""
    cells = json.loads(text)["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return [
        f"cell {cell.get('id', number)}: {key}"
        for number, cell in enumerate(code)
        for key in ("outputs", "execution_count")
        if cell.get(key)
    ]


def addresses(text: str) -> list[str]:
    """Return what would send pip, conda or uv to a certain package index."""
    pattern = r"(?<!emit-)\bindex[-_]url\b|/simple/|--find[-]links"
    return re.findall(pattern, text)


def home_paths(text: str) -> list[str]:
    """Return absolute paths that exist on one person's machine only."""
    return re.findall(r"(?<![\w.~}])/(?:home|Users)/\w+|(?<![\w.~}])/roo[t]/\S", text)


def test_files_are_named_by_a_noun(tracked: list[Path]) -> None:
    """No file has a name that says nothing about what is in it."""
    vague = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
    assert [path for path in tracked if path.stem in vague] == []


def test_built_files_are_not_committed(tracked: list[Path]) -> None:
    """Neither caches nor compiled files are tracked."""
    built = {".so", ".o", ".pyc"}
    assert [path for path in tracked if path.suffix in built] == []


def test_notebook_sources_are_stripped(texts: dict[str, str]) -> None:
    """A notebook's source has neither outputs nor execution counts."""
    for name, text in texts.items():
        path = PurePath(name)
        if path.suffix == ".ipynb" and path.parts[0] == "notebooks":
            assert committed_outputs(text) == [], name


def test_no_package_index_is_named(texts: dict[str, str]) -> None:
    """No file tells where packages come from; that is the user's choice."""
    here = f"tests/{PurePath(__file__).name}"
    for name in texts.keys() - {here}:  # it spells what is searched for
        assert addresses(texts[name]) == [], name


def test_no_path_of_one_machine_is_named(texts: dict[str, str]) -> None:
    """No file holds a path into somebody's home."""
    here = f"tests/{PurePath(__file__).name}"
    for name in texts.keys() - {here}:
        assert home_paths(texts[name]) == [], name


def test_the_searches_find_what_they_look_for() -> None:
    """Outputs, index addresses and home paths are seen where they are."""
    cell = {"cell_type": "code", "outputs": [1], "execution_count": 3}
    text = json.dumps({"cells": [cell, {"cell_type": "markdown"}]})
    assert committed_outputs(text) == ["cell 0: outputs", "cell 0: execution_count"]
    option = "-".join(("index", "url"))
    assert addresses(f"--extra-{option} x")
    assert addresses("index_url = y")
    assert addresses("a/simple/b")
    assert addresses("--" + "-".join(("find", "links")))
    assert addresses(f"uv pip compile --no-emit-{option}") == []
    assert home_paths("cd /home/someone/x") == ["/home/someone"]
    root = "/".join(("", "root", ""))
    assert home_paths(f"in '{root}x'") == [f"{root}x"]
    assert home_paths(f"~{root}x, /sys/root, /rootless") == []


@needs_make
def test_make_alone_names_every_target(
    checkout: Path, recipes: dict[str, list[str]]
) -> None:
    """`make` and `make help` list all targets, each with a line of help."""
    for printed in (make(checkout), make(checkout, "help")):
        listed = dict(line.split(maxsplit=1) for line in printed.splitlines())
        assert set(listed) == set(recipes)


def test_recipes_are_short(recipes: dict[str, list[str]]) -> None:
    """No recipe has more than three lines."""
    assert {"setup", "report", "test", "lab"} <= set(recipes)
    assert [name for name, lines in recipes.items() if len(lines) > 3] == []


def test_each_target_is_a_command(recipes: dict[str, list[str]]) -> None:
    """Every target has the zclab command of its name, and most only run it."""
    done = subprocess.run(
        [sys.executable, "-m", "zclab.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    commands = set(re.findall(r"^\W*([a-z]+)  ", done.stdout, re.MULTILINE))
    targets = set(recipes) - {"help"}
    assert targets <= commands
    for target in targets - BOOTSTRAPPED:
        assert len(recipes[target]) == 1
        assert recipes[target][0].startswith(f'@"$(BIN)/zclab" {target} ')
    for target in BOOTSTRAPPED:
        assert "zclab/bootstrap.py" in recipes[target][-1]


@needs_make
@pytest.mark.parametrize(
    ("conda", "expected"),
    [
        ({}, ".venv/bin/zclab"),
        (
            {"CONDA_PREFIX": "/c/envs/z", "CONDA_DEFAULT_ENV": "z"},
            "/c/envs/z/bin/zclab",
        ),
        ({"CONDA_PREFIX": "/c/my env"}, "/c/my env/bin/zclab"),
        ({"CONDA_PREFIX": "/c", "CONDA_DEFAULT_ENV": "base"}, ".venv/bin/zclab"),
    ],
)
def test_make_runs_the_environment_that_was_set_up(
    checkout: Path, conda: dict[str, str], expected: str
) -> None:
    """An activated conda environment is used, its base is not, as in bootstrap.py."""
    printed = make(checkout, "-n", "verify", "RUN=latest", **conda)
    assert f'"{expected}" verify latest' in printed
