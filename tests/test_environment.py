"""pip users and conda users get the same, pinned, hashed, from nowhere named."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from zclab import bootstrap

# conda-forge's names, where they are not PyPI's.
CONDA_NAMES = {
    "jupyter-client": "jupyter_client",
    "matplotlib": "matplotlib-base",  # the same less its Qt windows
    "seaborn": "seaborn-base",  # the same less statsmodels
}
# What only conda users get from environment.yml, and why.
CONDA_ONLY = {
    "python": "pip users bring their own",
    "pip": "installs zclab itself; a venv has it",
    "make": "the system's, for pip users",
    "c-compiler": "the system's, for pip users",
    "pkg-config": "the system's, for pip users",
    "liburing": "the system's, for pip users",
}
PYTHONS = ("3.11.0", "3.11.9", "3.12.0", "3.12.9", "3.13.0", "3.13.9")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One requirement of the lock with the hashes that follow it."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The normalised name."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> Version:
        """The one version that the pin allows."""
        (specifier,) = self.requirement.specifier
        assert specifier.operator == "=="
        return Version(specifier.version)

    def applies(self, python: str) -> bool:
        """Tell whether the pin counts for this Python on Linux."""
        marker = self.requirement.marker
        environment = {
            "python_full_version": python,
            "python_version": python.rpartition(".")[0],
            "sys_platform": "linux",
            "platform_system": "Linux",
            "os_name": "posix",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }
        return marker is None or marker.evaluate(environment)


@pytest.fixture(scope="module")
def project(checkout: Path) -> dict[str, Any]:
    """Return the project table of pyproject.toml."""
    text = (checkout / "pyproject.toml").read_text()
    table: dict[str, Any] = tomllib.loads(text)["project"]
    return table


@pytest.fixture(scope="module")
def wanted(project: dict[str, Any]) -> dict[str, Requirement]:
    """Return each direct dependency, those of all extras too, by name."""
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [Requirement(text) for group in groups for text in group]
    return {canonicalize_name(each.name): each for each in requirements}


@pytest.fixture(scope="module")
def pins(checkout: Path) -> list[Pin]:
    """Return the lock's pins."""
    text = (checkout / "requirements.lock").read_text().replace("\\\n", " ")
    return list(read_pins(text))


@pytest.fixture(scope="module")
def conda(checkout: Path) -> dict[str, str]:
    """Return each conda package with its version range."""
    listed = (checkout / "environment.yml").read_text().partition("dependencies:\n")[2]
    lines = re.sub(r" *#.*", "", listed).splitlines()
    entries = [line.strip().removeprefix("- ") for line in lines if line.strip()]
    return {name: spec for name, _, spec in (each.partition(" ") for each in entries)}


def read_pins(text: str) -> Iterator[Pin]:
    """Yield the pins of a lock whose continued lines have been joined."""
    for line in text.splitlines():
        requirement, *hashes = line.partition("#")[0].split(" --hash=")
        if requirement.strip():
            yield Pin(
                requirement=Requirement(requirement.strip()),
                hashes=tuple(each.strip() for each in hashes),
            )


def test_every_pin_is_hashed(pins: list[Pin]) -> None:
    """Each line of the lock pins one version and has a SHA-256."""
    assert pins
    for pin in pins:
        assert pin.version, pin.name
        assert pin.hashes, pin.name
        for each in pin.hashes:
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", each), pin.name


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_satisfies_pyproject(
    python: str, wanted: dict[str, Requirement], pins: list[Pin]
) -> None:
    """For each Python every dependency has one pin, within its declared range."""
    chosen: dict[str, Version] = {}
    for pin in pins:
        if pin.applies(python):
            assert pin.name not in chosen, f"{pin.name} is pinned twice"
            chosen[pin.name] = pin.version
    for name, requirement in wanted.items():
        assert name in chosen, f"{name}: not in the lock; its first lines renew it"
        assert chosen[name] in requirement.specifier, name


def test_the_lock_has_no_tool_that_makes_it(pins: list[Pin]) -> None:
    """Set-up needs pip alone, so uv is not installed by it."""
    assert "uv" not in {pin.name for pin in pins}


def test_conda_users_get_every_dependency(
    wanted: dict[str, Requirement], conda: dict[str, str]
) -> None:
    """environment.yml names the dependencies, the listed tools and nothing else."""
    names = {CONDA_NAMES.get(name, name) for name in wanted}
    assert set(conda) == names | set(CONDA_ONLY)


def test_conda_users_get_the_locked_versions(
    wanted: dict[str, Requirement], pins: list[Pin], conda: dict[str, str]
) -> None:
    """One locked version is pinned exactly; of several, the ends are the range."""
    for name in wanted:
        versions = sorted({pin.version for pin in pins if pin.name == name})
        exact = f"=={versions[0]}"
        span = f">={versions[0]},<={versions[-1]}"
        expected = exact if len(versions) == 1 else span
        assert conda[CONDA_NAMES.get(name, name)] == expected, name


def test_all_agree_on_python(project: dict[str, Any], conda: dict[str, str]) -> None:
    """pyproject.toml, environment.yml and bootstrap.py accept the same Pythons."""
    assert conda["python"] == project["requires-python"]
    oldest, newest = bootstrap.OLDEST, bootstrap.NEWEST
    assert project["requires-python"] == f">=3.{oldest},<3.{newest + 1}"
    for minor in range(oldest, newest + 1):
        assert f"3.{minor}" in bootstrap.FIT


def test_all_agree_on_liburing(checkout: Path, conda: dict[str, str]) -> None:
    """environment.yml, bootstrap.py and the build ask for the same liburing."""
    oldest = ".".join(map(str, bootstrap.LIBURING))
    assert conda["liburing"] == f">={oldest}"
    build = (checkout / "zclab" / "uring" / "build.py").read_text()
    assert f'"liburing >= {oldest}"' in build


@pytest.mark.parametrize("name", ["requirements.lock", "environment.yml"])
def test_no_package_index_is_named(checkout: Path, name: str) -> None:
    """Where packages come from is the user's choice, so no address is written."""
    text = (checkout / name).read_text()
    assert not re.search(r"://|index[-]url|find[-]links|trusted-host| @ ", text)


def test_conda_forge_is_the_only_channel(checkout: Path) -> None:
    """environment.yml takes everything from conda-forge."""
    text = (checkout / "environment.yml").read_text()
    channels = re.search(r"^channels:\n((?:  - .*\n)+)", text, re.MULTILINE)
    assert channels
    assert channels[1].split() == ["-", "conda-forge", "-", "nodefaults"]


def test_what_zclab_imports_is_declared(
    checkout: Path, wanted: dict[str, Requirement]
) -> None:
    """No import relies on another package happening to bring the library."""
    providers = metadata.packages_distributions()
    tests = list((checkout / "tests").rglob("*.py"))
    known = {*sys.stdlib_module_names, "zclab", "tests", *(x.stem for x in tests)}
    for source in sorted([*(checkout / "zclab").rglob("*.py"), *tests]):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            else:
                continue
            for name in {each.partition(".")[0] for each in names}:
                packages = {canonicalize_name(x) for x in providers.get(name, [])}
                declared = name in known or packages & set(wanted)
                assert declared, f"{source}: {name} is not in pyproject.toml"
