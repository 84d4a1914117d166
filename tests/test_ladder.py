"""The ladder finds the effects that were planted, and says what it does not have."""

import math
from dataclasses import replace

import pytest

from tests.live import needs_uring
from tests.samples import HOST, blocks, make
from zclab import options as opts
from zclab import planfile, presets, store
from zclab.errors import CapabilityError
from zclab.explain import figures, ladder, readable, rung, table
from zclab.measure import profile, site, sweep
from zclab.params import Mode, Plan
from zclab.preflight import RULES

ARMS = (Mode.SEND, Mode.SEND_ZC, Mode.SEND_ZC_FIXED)

# True gains of (send_zc, send_zc_fixed) in percent; all rungs else are as their case.
CASE = {"veth": (-30.0, -25.0), "sink": (20.0, 40.0)}
PLANTED = {
    replace(rung.FEBRUARY, situation="peer-drop").name: (60.0, 80.0),
    replace(rung.FEBRUARY, path="sink").name: (80.0, 110.0),
    replace(rung.V5, situation="tap").name: (-12.0, -10.0),
    # Alone -10 and +20, together +10 and 15 beyond.
    replace(rung.V5, batch=1).name: (10.0, 30.0),
    replace(rung.V5, given=opts.parse("drain=each")).name: (40.0, 60.0),
    replace(rung.V5, batch=1, given=opts.parse("drain=each")).name: (45.0, 65.0),
}


def plan_of_why():
    return planfile.profile("why", available=lambda _: True, seed=1)


def gain(point, arm):
    if arm not in ladder.ARMS:
        return 0.0
    known = PLANTED.get(point.name, CASE[point.path])
    return known[ladder.ARMS.index(arm)]


def copied(point):
    words = point.situation
    return float(point.has_receiver or words in {"tap", "sg=off", "tx-checksum=off"})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run of the profile's points, a few of which have their own effects."""
    points = plan_of_why().points
    shares = {point.place: copied(point) for point in points}
    return make(
        tmp_path_factory.mktemp("ladder"),
        plan_points=points,
        planned=24,
        gain=gain,
        copied=shares,
    )


@pytest.fixture(scope="module")
def summary(run):
    """Return its summary, which every table is made from."""
    return table.summary(run)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Return a run without any rung but the two far ends."""
    return make(tmp_path_factory.mktemp("quick"), planned=8)


def test_profile_has_every_rung():
    """Both ends of each rung, each step and each pair are in the profile."""
    names = {point.name for point in plan_of_why().points}

    wanted = [point for one in rung.RUNGS for point in (one.start, one.end)]
    wanted += [point for _, point, _ in rung.STEPS]
    wanted += [point for pair in rung.PAIRS for point in pair.cells]
    assert {point.name for point in wanted} == names


def test_one_factor():
    """A rung changes one factor; presets and the far end are one by definition."""
    for one in rung.RUNGS:
        before, after = one.start.factors, one.end.factors
        changed = {name for name in before if before[name] != after[name]} - {"point"}
        changed |= {"given"} if one.start.given != one.end.given else set()
        if (one.case, one.id) == ("v5", "peer-drop"):  # veth alone would be live
            changed -= {"situation"}
        assert len(changed) == 1, one.id
        assert one.mechanism.endswith(".")
        assert one.source


def test_the_copy_on_delivery_is_where_its_rule_says():
    """Kernels copy in either of two places; a rung names both, as preflight does."""
    told = [one.source for one in rung.RUNGS if one.mechanism == rung.RECEIVER[0]]

    assert len(told) == 3
    assert all(RULES["delivered"].function in source for source in told)


def test_presets_are_those_of_the_tools():
    """The options in the profile's file are what presets.py says of each tool."""
    given = {one.id: one.end.given for one in rung.RUNGS if one.case == "v5"}

    for preset in presets.PRESETS:
        assert given[f"as-{preset.name.replace(' ', '')}"] == preset.options(8)


@pytest.mark.parametrize(
    ("row", "effect"),
    [
        (("February 2025", "peer-drop", "send_zc"), 90.0),
        (("February 2025", "peer-drop", "send_zc_fixed"), 105.0),
        (("February 2025", "sink", "send_zc_fixed"), 135.0),
        (("v5", "tap", "send_zc"), -32.0),
        (("v5", "tap", "send_zc_fixed"), -50.0),
        (("v5", "veth", "send_zc_fixed"), -65.0),
    ],
)
def test_planted_effect(run, summary, row, effect):
    """A planted effect is found, and in its size."""
    found = ladder.rungs(run, summary).set_index(["case", "rung", "arm"]).loc[row]

    assert found["effect_points"] == pytest.approx(effect, abs=5)
    assert found["effect_low"] <= found["effect_points"] <= found["effect_high"]
    assert found["finding"] == ("helps" if effect > 0 else "hurts")


def test_intervals_cover(run, summary):
    """About nineteen in twenty intervals hold the truth: those of effects and steps."""
    points = {point.name: point for point in run.plan.points}
    frame = ladder.rungs(run, summary)
    frame = frame[frame["rung"] != "registered"]
    held = [
        row["effect_low"]
        <= gain(points[row["end"]], row["arm"]) - gain(points[row["start"]], row["arm"])
        <= row["effect_high"]
        for row in frame.to_dict("records")
    ]

    assert len(held) > 70
    # One case is the start of half of them, so they miss together.
    assert sum(held) / len(held) > 0.85
    narrow = frame["effect_high"] - frame["effect_low"]
    assert narrow.median() < 6


def test_registered(run, summary):
    """Registering is compared within the blocks of one point."""
    frame = ladder.rungs(run, summary).set_index(["case", "rung"])
    row = frame.loc[("v5", "registered")]

    assert row["effect_low"] <= 20 <= row["effect_high"]
    assert row["start"] == row["end"]


def test_steps_add_up(run, summary):
    """The steps lead from the first gain to the last, none of them lost."""
    steps = ladder.steps(run, summary)
    for _, mine in steps.groupby("arm"):
        gains = mine["gain_percent"].to_list()
        assert len(mine) == len(rung.STEPS)
        assert gains[0] + mine["effect_points"].sum() == pytest.approx(gains[-1])
    assert steps["copied"].to_list()[:2] == [1.0, 0.0]


def test_interaction(run, summary):
    """A pair with more than the sum is told from the pairs that add up."""
    frame = ladder.interactions(run, summary).set_index(["first", "second", "arm"])
    planted = frame.loc[("batch 8 to 1", "each awaited", "send_zc_fixed")]
    none = frame.loc[("MTU 1500", "UDP_SEGMENT of 1472 B", "send_zc_fixed")]

    beyond = (65 - 40) - (30 - 40) - (60 - 40)
    assert planted["beyond_low"] <= beyond <= planted["beyond_high"]
    assert not planted["adds_up"]
    assert none["beyond_low"] <= 0 <= none["beyond_high"]
    registered = frame.loc[("veth to sink", "registered", "send_zc to send_zc_fixed")]
    assert registered["beyond_points"] == pytest.approx(25, abs=5)


def test_difference():
    """Ends of a difference: by hand, with lopsided intervals."""
    found = ladder.Estimate(center=10, low=7, high=14) - ladder.Estimate(
        center=4, low=0, high=7
    )

    assert found.center == 6
    assert found.low == pytest.approx(6 - math.hypot(3, 3))
    assert found.high == pytest.approx(6 + math.hypot(4, 4))


def test_reach(run, summary):
    """What a send may cost for v5's gain follows from the ns saved."""
    frame = ladder.reach(run, summary)
    best = frame.iloc[0]

    assert best["gain_percent"] == frame["gain_percent"].max()
    assert best["spare_ns"] < 0  # 110 % is beyond 71 %
    row = frame[frame["point"] == rung.V5.name].iloc[0]
    share = row["needed_ns"] / row["saved_ns"]
    assert share == pytest.approx(171 / 71)
    assert row["spare_low"] > 0  # 40 % is not
    assert not frame["point"].str.contains("tap").any()


def test_answer(run, summary):
    """The sentence has both cases, with shares, intervals and n."""
    text = ladder.answer(run, summary)

    assert text.startswith(
        "In direction only: zerocopy wins into a device that drops, short of v5's "
        "+71%, but not over veth"
    )
    assert "(published +71%, +320 ns, with a notification per request as here: " in text
    assert text.endswith(" blocks).")
    assert "100% copied" in text
    assert "0% copied" in text
    assert text.count("[") == 5
    assert "\n" not in text


def test_answer_turns_with_the_data(tmp_path):
    """Where v5's case loses, the answer is no; where it is unclear, undecided."""
    points = tuple(replace(point, modes=ARMS) for point in (rung.FEBRUARY, rung.V5))

    def answer(percent, blocks, sink=0.0):
        found = make(
            tmp_path / f"{percent}-{blocks}-{sink}",
            plan_points=points,
            planned=blocks,
            gain=lambda _, arm: percent if arm in ladder.ARMS else 0.0,
            copied={"sink": sink},
        )
        return ladder.answer(found)

    assert answer(-20.0, 20).startswith("Not on this host: ")
    assert answer(65.0, 20).startswith("Yes, but not over veth")
    assert answer(30.0, 20).startswith("In direction only: ")
    assert "short of v5's +71%, but not over veth" in answer(30.0, 20)
    assert "beyond v5's +71%, but not over veth" in answer(150.0, 20)
    assert answer(30.0, 3).startswith("Undecided on this host: ")
    assert answer(65.0, 20, sink=1.0).startswith("Not told, as the kernel copied")


@pytest.mark.parametrize(
    ("percent", "opening"), [(-20.0, "Only the loss"), (20.0, "Not told"), (0.0, "Not")]
)
def test_the_loss_alone(tmp_path, percent, opening):
    """A loss is one where zerocopy is slower, not wherever it was measured."""
    found = make(
        tmp_path,
        plan_points=(replace(rung.FEBRUARY, modes=ARMS),),
        planned=20,
        gain=lambda _, arm: percent if arm in ladder.ARMS else 0.0,
    )

    text = ladder.answer(found)

    assert text.startswith(f"{opening}")
    assert ", as v5's case was not measured: on Linux" in text


@pytest.mark.parametrize(
    ("percent", "blocks", "told"),
    [
        (90.0, 20, "which reaches v5's +71%"),
        (40.0, 20, "which is short of v5's +71%"),
        (71.0, 20, "of which the interval does not tell whether it reaches v5's +71%"),
        (40.0, 3, "of which the interval does not tell whether it reaches v5's +71%"),
        (90.0, 3, "of which the interval does not tell whether it reaches v5's +71%"),
    ],
)
def test_how_far_a_host_gets(tmp_path, percent, blocks, told):
    """The gain with a notification per request is reached, missed, or neither."""
    found = make(
        tmp_path,
        plan_points=(replace(rung.V5, modes=ARMS),),
        planned=blocks,
        gain=lambda _, arm: percent if arm in ladder.ARMS else 0.0,
    )

    assert told in ladder.needed(found)[0]


def test_needed_without_a_saving(tmp_path):
    """Where nothing is saved, no fixed cost is named."""
    found = make(
        tmp_path,
        plan_points=(replace(rung.V5, modes=ARMS),),
        planned=20,
        gain=lambda *_: 0.0,
    )

    text = " ".join(ladder.needed(found))
    assert "no fixed cost can be named" in text


def test_without_rungs(quick):
    """A run with the far ends alone has that rung, and names those it lacks."""
    frame = ladder.rungs(quick)

    assert set(frame["rung"]) == {"sink", "size-4000", "registered"}
    ((missing, why),) = ladder.left_out(quick)
    assert missing == f"{len(rung.RUNGS) - 2} rungs"
    assert why.endswith(ladder.HOW)
    assert not ladder.taken(quick)
    assert "but not over veth" in ladder.answer(quick)


def test_without_anything(tmp_path):
    """A run of another point has no ladder, and nothing of it fails."""
    found = make(
        tmp_path, plan_points=(replace(rung.V5, io_size_bytes=600, modes=ARMS),)
    )
    summary = table.summary(found)

    assert ladder.rungs(found, summary).empty
    assert ladder.steps(found, summary).empty
    assert ladder.interactions(found, summary).empty
    assert ladder.left_out(found) == []
    assert ladder.words(found, summary) == []
    assert ladder.HOW in ladder.answer(found, summary)
    for figure in (figures.waterfall(found), figures.rungs(found)):
        assert ladder.HOW in figure.axes[0].texts[0].get_text()
    for frame in (readable.steps, readable.rungs, readable.interactions):
        assert frame(found, summary).empty


def test_refused_is_said(tmp_path):
    """A rung that the host refused is named with what it said."""
    plan = plan_of_why()
    name = replace(rung.V5, situation="sg=off").name
    host = {**HOST, "synthetic": True}
    kept = tuple(point for point in plan.points if point.name != name)
    plan = Plan(
        profile="why",
        points=kept[:3],
        seed=1,
        blocks=6,
        excluded=((name, "Operation not supported"),),
    )
    with store.Journal.create(plan, host, alias="host-0000", out=tmp_path) as journal:
        for block in blocks(plan):
            journal.append(block)
        journal.host_after = host
        folder = journal.folder
    found = ladder.left_out(store.load(folder))

    assert (f"v5, sg: {name}", "Operation not supported") in found
    assert (
        "Operation not supported"
        in readable.left_out(store.load(folder))["why"].to_list()
    )


def test_figures(run):
    """The waterfall has an axes per mode, the bars one per case."""
    assert [axes.get_title() for axes in figures.waterfall(run).axes] == [*ladder.ARMS]
    assert len(figures.rungs(run).axes) == len(rung.CASES)


def test_tables(run, summary):
    """Every row of the tables is text."""
    for frame in (
        readable.steps(run, summary),
        readable.rungs(run, summary),
        readable.mechanisms(run, summary),
        readable.interactions(run, summary),
        readable.reach(run, summary),
    ):
        assert len(frame)
        assert all(isinstance(cell, str) for cell in frame.to_numpy().ravel())


def test_words(run, summary):
    """The sentences for mail and page are ASCII and name what helps and what hurts."""
    words = ladder.words(run, summary)

    assert words[0] == ladder.answer(run, summary)
    assert all(text.isascii() for text in words)
    assert any("packet tap none -> one open" in text for text in words)
    assert any("do not add up" in text for text in words)


LENIENT = """
blocks: 2
slice_ms: 1
lenient: {lenient}
points:
  - {{path: sink, sizes: [1200], modes: [send, send_zc]}}
  - {{path: sink, sizes: [1400], modes: [send, send_zc], options: "cpu=4000"}}
"""


def lenient(word):
    return planfile.parse(
        LENIENT.format(lenient=word),
        where="test",
        name="test",
        available=lambda _: True,
        seed=1,
    )


def test_lenient_is_hashed_only_where_used():
    """A plan that is not lenient has the JSON that it always had."""
    assert "lenient" not in lenient("false").to_json()
    assert Plan.from_json(lenient("true").to_json()) == lenient("true")


def test_refusals(monkeypatch):
    """Of a lenient plan what is refused is left out, with the reason; alone in vain."""
    plan = lenient("true")
    bad = plan.points[1].name

    def refusal(_, points, __, **___):
        return "EPERM: try otherwise" if any(p.name == bad for p in points) else ""

    monkeypatch.setattr(site, "_refusal", refusal)
    kept = site.without_refused(plan)

    assert [point.name for point in kept.points] == [plan.points[0].name]
    assert kept.excluded == ((bad, "EPERM: try otherwise"),)
    monkeypatch.setattr(site, "_refusal", lambda *_, **__: "EPERM: try otherwise")
    with pytest.raises(CapabilityError, match="try otherwise"):
        site.without_refused(plan)


@needs_uring
def test_few_blocks_for_real(tmp_path):
    """On this kernel it is copied over veth and with a tap, and not otherwise."""
    plan = profile.adjusted(profile.plan("why", 1), blocks=6)
    wanted = (
        rung.FEBRUARY,
        rung.V5,
        replace(rung.FEBRUARY, situation="peer-drop"),
        replace(rung.V5, situation="tap"),
    )
    names = [point.name for point in wanted]
    small = replace(plan, points=tuple(p for p in plan.points if p.name in names))

    found = store.load(sweep.take(small, out=tmp_path))

    frame = ladder.rungs(found).set_index(["case", "rung", "arm"])
    drop = frame.loc[("February 2025", "peer-drop", "send_zc_fixed")]
    tap = frame.loc[("v5", "tap", "send_zc_fixed")]
    assert (drop["copied_before"], drop["copied_after"]) == (1.0, 0.0)
    assert (tap["copied_before"], tap["copied_after"]) == (0.0, 1.0)
    assert drop["n"] == 6
