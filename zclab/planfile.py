"""Plans in files: YAML that people write, read into a `Plan`.

The plans that come with zclab, its profiles, are such files under `zclab/plans/`; a
user's own has the same form. What a file leaves out has the default of the table below.

    precision: 0.5              # percent points; left out: a fixed number of blocks
    points:                     # every combination of what is a list
      - path: [sink, veth]
        sizes: [1200, 8000]
        modes: [send, send_zc_fixed, send_zc_fixed:pages=thp]
      - path: sink
        with: ["", "mtu=1500", "mtu=1500,tap"]
        sizes: [1472, 1473]
    exclude:
      - {path: veth, sizes: 8000, why: does not fit its MTU}
    lenient: true               # points that this host refuses are left out as well
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path as FilePath
from typing import Any

import yaml

from zclab import options as opts
from zclab import presets
from zclab import situation as situations
from zclab.errors import InputError
from zclab.params import (
    LEAST_BLOCKS,
    TABLE_MODES,
    Mode,
    Path,
    Plan,
    Point,
    Protocol,
    Stop,
    parse_enum,
)
from zclab.truth import Truth

AUTO = "auto"
# Where a plan stops by precision this only bounds what it may cost.
MOST_BLOCKS = 5000
FIXED_BLOCKS = 300

TCP_MODES = (Mode.SEND, Mode.SEND_ZC, Mode.SEND_ZC_FIXED)

# v5's own benchmark sent 8 requests per submit, and so do both tools by default.
UDP_BATCH = 8
TCP_BATCH = 1  # more would reorder the stream

_STOP = ("precision", "least", "point_budget_s", "budget_s", "contrasts")
_PLAN = ("blocks", "slice_ms", "warmup_ms", "seed", "report_usage", "lenient")
_FACTORS = ("path", "with", "protocol", "family", "sizes", "batch", "modes", "options")
_KNOWN = {*_STOP, *_PLAN, "points", "exclude", "synthetic"}

Available = Callable[[Mode], bool]


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # it ships no types
    """Refuses a key that is given twice, of which YAML would keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"{min(twice)} is given twice", node.start_mark
            )
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def profiles() -> tuple[str, ...]:
    """Return the names of the plans that come with zclab."""
    folder = resources.files("zclab") / "plans"
    names = (entry.name for entry in folder.iterdir())
    return tuple(
        sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))
    )


def describe(name: str) -> str:
    """Return the comment that opens a profile's file, as one line."""
    lines = profile_text(name).splitlines()
    opening = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return " ".join(line.removeprefix("#").strip() for line in opening)


def profile(name: str, *, available: Available, seed: int) -> Plan:
    """Return the plan of a profile.

    Args:
        name: one of `profiles()`.
        available: whether this kernel has a mode; `modes: every` are those that it has.
        seed: of the order of points and arms.

    Raises:
        InputError: no such profile.

    """
    return parse(
        profile_text(name), where=name, name=name, available=available, seed=seed
    )


def profile_text(name: str) -> str:
    """Return the file of a profile; InputError when there is no such profile."""
    if name not in profiles():
        known = ", ".join(profiles())
        raise InputError(f"profile {name!r} is unknown; use one of: {known}")
    return (resources.files("zclab") / "plans" / f"{name}.yaml").read_text("utf-8")


def read(path: FilePath, *, available: Available, seed: int) -> Plan:
    """Return the plan of a user's file; its profile is named like the file.

    Raises:
        InputError: the file cannot be read, or what in it is wrong.

    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"plan {path}: {why}; name a YAML file with --plan") from None
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in path.stem)
    return parse(text, where=str(path), name=name, available=available, seed=seed)


def parse(text: str, *, where: str, name: str, available: Available, seed: int) -> Plan:
    """Return the plan that a YAML text describes.

    Args:
        text: the YAML.
        where: said in front of every complaint.
        name: the plan's profile.
        available: whether this kernel has a mode.
        seed: of the order, where the text has none.

    Raises:
        InputError: what is wrong, with its place in the text where YAML knows it.

    """
    try:
        values = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise InputError(f"plan {where}{_place(error)}") from None
    try:
        return _plan(values, name, available, seed)
    except InputError as error:
        raise InputError(f"plan {where}: {error}") from None


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark else ""
    return f"{line}: {getattr(error, 'problem', None) or 'is not YAML'}"


def _plan(values: Any, name: str, available: Available, seed: int) -> Plan:
    if not isinstance(values, dict):
        raise InputError("is not a mapping; begin with `points:`")
    _refuse_unknown(values, _KNOWN, "the plan")
    points, excluded = _points(values, available)
    stop = _stop(values)
    synthetic = values.get("synthetic")
    if synthetic is not None and not isinstance(synthetic, dict):
        raise InputError("synthetic is not a mapping of a truth's fields")
    most = MOST_BLOCKS if stop else FIXED_BLOCKS
    return Plan(
        profile=name,
        points=points,
        seed=_number(values, "seed", 0, whole=True) or seed,
        blocks=int(_number(values, "blocks", most, whole=True)),
        slice_ns=_slice_ns(values),
        warmup_ns=round(_number(values, "warmup_ms", 1) * 1e6),
        report_usage=_truth_value(values, "report_usage", default=True),
        stop=stop,
        excluded=excluded,
        synthetic=None if synthetic is None else Truth.from_json(synthetic),
        lenient=_truth_value(values, "lenient", default=False),
    )


def _refuse_unknown(values: Mapping[str, Any], known: set[str], what: str) -> None:
    unknown = sorted(str(key) for key in values.keys() - known)
    if unknown:
        raise InputError(
            f"{what} has no {unknown[0]!r}; it knows: {', '.join(sorted(known))}"
        )


def _stop(values: Mapping[str, Any]) -> Stop | None:
    given = {name: values[name] for name in _STOP if name in values}
    if "precision" not in given:
        if given:
            raise InputError(
                f"{next(iter(given))} goes with precision; give that as well"
            )
        return None
    return Stop(
        precision=_number(given, "precision", 0),
        least=int(_number(given, "least", LEAST_BLOCKS, whole=True)),
        point_budget_s=_number(given, "point_budget_s", 0),
        budget_s=_number(given, "budget_s", 0),
        contrasts=tuple(str(arm) for arm in _several(given.get("contrasts", []))),
    )


def _slice_ns(values: Mapping[str, Any]) -> int:
    if values.get("slice_ms") == AUTO:
        return 0
    length: int = round(_number(values, "slice_ms", 10) * 1e6)
    if length <= 0:
        raise InputError("slice_ms is not above 0; use milliseconds, or auto")
    return length


def _number(
    values: Mapping[str, Any], name: str, default: float, *, whole: bool = False
) -> Any:
    value = values.get(name, default)
    kinds = (int,) if whole else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool):
        what = "a whole number" if whole else "a number"
        raise InputError(f"{name} {value!r} is not {what}")
    if not math.isfinite(value):
        raise InputError(f"{name} {value!r} is not finite")
    return value


def _truth_value(values: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = values.get(name, default)
    if not isinstance(value, bool):
        raise InputError(f"{name} {value!r} is neither true nor false")
    return value


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _points(
    values: Mapping[str, Any], available: Available
) -> tuple[tuple[Point, ...], tuple[tuple[str, str], ...]]:
    """Return the points that are measured, and those left out with the reason."""
    groups = _mappings(values, "points", set(_FACTORS))
    points = [point for group in groups for point in _group(group, available)]
    rules = (
        _mappings(values, "exclude", {*_FACTORS[:6], "why"})
        if ("exclude" in values)
        else []
    )
    excluded: dict[str, str] = {}
    for rule in rules:
        matched = [point for point in points if _matches(point, rule)]
        if not matched:
            said = ", ".join(f"{k}: {v}" for k, v in rule.items())
            raise InputError(f"exclude matches no point: {said}")
        for point in matched:
            excluded.setdefault(point.name, str(rule.get("why", "no reason given")))
    kept = tuple(point for point in points if point.name not in excluded)
    return kept, tuple(excluded.items())


def _mappings(
    values: Mapping[str, Any], name: str, known: set[str]
) -> list[dict[str, Any]]:
    """Return a list of mappings, each with known keys only."""
    found = values.get(name)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InputError(f"{name} is not a list of mappings, each beginning with `- `")
    for number, one in enumerate(found, 1):
        _refuse_unknown(one, known, f"{name}[{number}]")
    return found


def _group(group: Mapping[str, Any], available: Available) -> Iterator[Point]:
    """Yield one point for every combination of the factors that are lists."""
    if "sizes" not in group:
        raise InputError("a point has no sizes; give bytes per send, sizes: [1200]")
    for word, path, circumstance, family, given, batch, size in itertools.product(
        _several(group.get("protocol", Protocol.UDP)),
        _several(group.get("path", Path.SINK)),
        _several(group.get("with", "")),
        _several(group.get("family", 4)),
        _several(group.get("options", "")),
        _several(group.get("batch", 0)),
        _several(group["sizes"]),
    ):
        protocol = parse_enum(Protocol, str(word), "protocol")
        tcp = protocol is Protocol.TCP
        requests = batch or (TCP_BATCH if tcp else UDP_BATCH)
        for name, value in (("family", family), ("batch", requests), ("size", size)):
            _number({name: value}, name, 0, whole=True)
        point = Point(
            path=parse_enum(Path, str(path), "path"),
            protocol=protocol,
            family=family,
            io_size_bytes=size,
            batch=requests,
            modes=_modes(group.get("modes", "table"), requests, available),
            given=opts.parse(str(given)),
            situation=str(circumstance),
        )
        yield point


def _modes(value: Any, batch: int, available: Available) -> tuple[str, ...]:
    """Return arms from a list, or from the name of a set of them."""
    sets: dict[str, Callable[[], tuple[str, ...]]] = {
        "table": lambda: TABLE_MODES,
        "tcp": lambda: TCP_MODES,
        "every": lambda: tuple(mode for mode in Mode if available(mode)),
        "presets": lambda: (Mode.SEND, presets.BASIS, *presets.arms(batch)),
    }
    if isinstance(value, list):
        return tuple(str(arm) for arm in value)
    if value not in sets:
        raise InputError(
            f"modes {value!r} is neither a list nor one of: {', '.join(sets)}"
        )
    return sets[value]()


def _matches(point: Point, rule: Mapping[str, Any]) -> bool:
    factors = {
        **point.factors,
        "sizes": point.io_size_bytes,
        "with": point.situation,
    }
    rule = {**rule}
    if "with" in rule:
        rule["with"] = [situations.parse(str(one)) for one in _several(rule["with"])]
    return all(
        factors[name] in _several(wanted)
        for name, wanted in rule.items()
        if name != "why"
    )
