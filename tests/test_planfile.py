"""Plans in files: read, checked, refused in one line."""

import pytest

from zclab import planfile
from zclab.errors import InputError
from zclab.params import Mode, Path, Plan, Protocol

MINIMAL = "points: [{sizes: [1200]}]"


def parse(text: str, *, missing: tuple[Mode, ...] = ()) -> Plan:
    return planfile.parse(
        text,
        where="mine.yaml",
        name="mine",
        available=lambda mode: mode not in missing,
        seed=5,
    )


def test_what_is_left_out_has_its_default():
    """A size alone is a plan: UDP/IPv4 on the sink, batch 8, fixed blocks."""
    plan = parse(MINIMAL)

    (point,) = plan.points
    assert (point.path, point.protocol, point.family) == (Path.SINK, Protocol.UDP, 4)
    assert point.batch == 8
    assert (plan.blocks, plan.slice_ns, plan.stop, plan.seed) == (300, 10**7, None, 5)


def test_lists_are_multiplied():
    """Every combination of what is a list is a point."""
    plan = parse(
        "points: [{path: [sink, veth], family: [4, 6], sizes: [600, 1200], "
        "batch: [1, 8], modes: [send, send_zc:lag=8], options: taskrun=coop}]"
    )

    assert len(plan.points) == 16
    assert len({point.name for point in plan.points}) == 16
    assert all(point.given == (("taskrun", "coop"),) for point in plan.points)


def test_tcp_has_one_request_a_submit():
    """Over TCP the default batch is 1, as more would reorder the stream."""
    plan = parse("points: [{path: lo, protocol: tcp, sizes: 4096, modes: tcp}]")

    assert plan.points[0].batch == 1
    assert plan.points[0].modes == ("send", "send_zc", "send_zc_fixed")


def test_every_mode_is_every_mode_of_this_kernel():
    """Modes that the kernel lacks are left out of `every`."""
    plan = parse("points: [{sizes: [8], modes: every}]", missing=(Mode.SEND_VEC,))

    assert set(plan.points[0].modes) == {*map(str, Mode)} - {"send_vec"}


def test_excluded_points_are_told_with_the_reason():
    """What matches a rule is not measured, and stands in the plan with its reason."""
    plan = parse(
        "points: [{path: [sink, veth], sizes: [1200, 8000]}]\n"
        "exclude: [{path: veth, sizes: [8000], why: does not fit}]"
    )

    assert len(plan.points) == 3
    assert plan.excluded == (("veth-udp4-8000B-n8", "does not fit"),)
    assert Plan.from_json(plan.to_json()) == plan


def test_situations_are_multiplied_and_left_out_like_other_factors():
    """`with` may be a list; words in any order are one situation."""
    plan = parse(
        'points: [{path: [sink, lo], with: ["", "tap,mtu=1500"], sizes: [1200]}]\n'
        'exclude: [{path: lo, with: "mtu=1500,tap"}]'
    )

    assert plan.places == ("sink", "sink+mtu=1500+tap", "lo")
    assert dict(plan.excluded).keys() == {"lo+mtu=1500+tap-udp4-1200B-n8"}
    assert Plan.from_json(plan.to_json()) == plan


def test_a_stop_rule_is_read():
    """Precision makes points stop by themselves; its companions bound the cost."""
    plan = parse(
        "precision: 0.25\nbudget_s: 60\ncontrasts: [control]\nslice_ms: auto\n"
        + MINIMAL
    )

    assert plan.stop.precision == 0.25
    assert plan.stop.budget_s == 60
    assert plan.stop.contrasts == ("control",)
    assert plan.slice_ns == 0
    assert plan.blocks == planfile.MOST_BLOCKS


def test_a_truth_makes_it_synthetic():
    """A plan with a truth is taken from a model, and its hash knows it."""
    plan = parse(f"synthetic: {{gains: {{send_zc: 5}}}}\n{MINIMAL}")

    assert plan.synthetic.gain_percent("send_zc") == 5
    assert plan.hash != parse(MINIMAL).hash


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not a mapping"),
        ("- 1", "is not a mapping"),
        ("points: 3", "points is not a list of mappings"),
        ("points: [1]", "points is not a list of mappings"),
        ("points: []", "the plan has no points"),
        ("points: [{path: sink}]", "a point has no sizes"),
        ("points: [{sizes: [x]}]", "size 'x' is not a whole number"),
        ("points: [{sizes: [1200], size: 3}]", r"points\[1\] has no 'size'"),
        ("points: [{sizes: [1200], path: moon}]", "path 'moon' is unknown"),
        ("points: [{sizes: [1200], modes: all}]", "modes 'all' is neither a list"),
        ("points: [{sizes: [1200], options: a=b}]", "a"),
        ("points: [{sizes: [1200, 1200]}]", "names the point .* twice"),
        (f"precison: 1\n{MINIMAL}", "the plan has no 'precison'"),
        (f"precision: fine\n{MINIMAL}", "precision 'fine' is not a number"),
        (f"precision: .nan\n{MINIMAL}", "precision nan is not finite"),
        (f"precision: 0\n{MINIMAL}", "precision 0 is out of range"),
        (f"budget_s: 5\n{MINIMAL}", "budget_s goes with precision"),
        (f"slice_ms: 0\n{MINIMAL}", "slice_ms is not above 0"),
        (f"blocks: 1.5\n{MINIMAL}", "blocks 1.5 is not a whole number"),
        (f"blocks: true\n{MINIMAL}", "blocks True is not a whole number"),
        (f"report_usage: 3\n{MINIMAL}", "report_usage 3 is neither true nor false"),
        (f"blocks: 3\nblocks: 4\n{MINIMAL}", "mine.yaml:1: blocks is given twice"),
        (f"synthetic: 1\n{MINIMAL}", "synthetic is not a mapping"),
        (f"synthetic: {{noise: -1}}\n{MINIMAL}", "noise"),
        (f"{MINIMAL}\nexclude: [{{sizes: 7}}]", "exclude matches no point: sizes: 7"),
        (f"{MINIMAL}\nexclude: [{{sizes: 1200}}]", "the plan has no points"),
        ("points: [", r"mine.yaml:\d+: "),
        ("a: !!python/object/apply:os.system [ls]", r"mine.yaml:\d+: "),
    ],
)
def test_bad_plans(text, complaint):
    """What is wrong is one line that names the file and the key."""
    with pytest.raises(InputError, match=complaint) as error:
        parse(text)

    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", planfile.profiles())
def test_profiles_are_such_files(name):
    """Every profile reads, says what it is for, and keeps its hash through JSON."""
    plan = planfile.profile(name, available=lambda mode: True, seed=1)

    assert plan.profile == name
    assert planfile.describe(name).endswith(".")
    assert Plan.from_json(plan.to_json()).hash == plan.hash


def test_missing_file(tmp_path):
    """A plan that is not there is one line that says what to name."""
    with pytest.raises(InputError, match=r"No such file.* name a YAML file"):
        planfile.read(tmp_path / "no.yaml", available=lambda mode: True, seed=1)


def test_a_file_names_its_profile(tmp_path):
    """The run of a user's plan is named like the file, in letters fit for a folder."""
    path = tmp_path / "my plan.yaml"
    path.write_text(MINIMAL)

    assert planfile.read(path, available=lambda mode: True, seed=1).profile == "my-plan"
