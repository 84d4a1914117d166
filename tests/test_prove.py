"""The lab's own claims, at a small size; seeds are fixed, so no test is chance."""

import random
from dataclasses import replace

import numpy as np
import pytest

from zclab import stats, stop, store, synthetic
from zclab.errors import DataError, InputError
from zclab.measure import sweep
from zclab.params import CONTROL, Path, Plan, Point, Protocol, Stop, grid
from zclab.prove import (
    coverage,
    page,
    parts,
    planted,
    power,
    proof,
    stopping,
    verdicts,
)
from zclab.prove.proof import Finding, Proof, Share
from zclab.prove.weathers import CALM, FOUL, HOST
from zclab.stats import Verdict

WANTED = 5.0  # percent


def test_share_is_exact():
    """A share's interval is that of Clopper and Pearson."""
    low, high = Share(0, 100).interval

    assert low == 0
    assert high == pytest.approx(100 * (1 - 0.025 ** (1 / 100)))


@pytest.mark.parametrize("truth", [CALM, HOST, FOUL], ids=["calm", "host", "foul"])
def test_equal_arms_rarely_differ(truth):
    """In any weather at most 5 % of the intervals of two equal arms leave out 0."""
    low, high = coverage.misses(truth, 60, 800, 11).interval

    assert low <= WANTED
    assert high >= 2.0


def test_one_mode_after_the_other_misses_more():
    """The same statistics are wrong far more often where the arms take no turns."""
    in_blocks = coverage.misses(HOST, 100, 400, 3)
    after = coverage.apart(HOST, 100, 400, 3)

    assert after.interval[0] > in_blocks.interval[1]


def test_planted_percent_is_found():
    """A gain of 1 % is called faster, a loss slower, in most points."""
    for gain, word in ((1.0, Verdict.FASTER), (-1.0, Verdict.SLOWER)):
        found = power.verdicts(HOST, gain, points=150, blocks=300, seed=1)
        share = Share(sum(one.verdict is word for one in found), len(found))

        assert share.interval[1] >= power.LEAST


def test_planted_nothing_is_equivalent():
    """A gain of 0 is called equivalent, which says more than no difference found."""
    found = power.verdicts(HOST, 0.0, points=150, blocks=300, seed=1)
    share = Share(sum(one.verdict is Verdict.EQUIVALENT for one in found), len(found))

    assert share.interval[1] >= power.LEAST


@pytest.mark.parametrize("precision", [0.3, 0.5, 2.0])
def test_stopping_is_as_in_a_run(precision):
    """The simulated rule stops a point at the block where a run's allocation does."""
    here = Point(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        io_size_bytes=1200,
        batch=8,
        modes=("send", "send_zc"),
    )
    plan = Plan(
        profile="test",
        points=(here,),
        seed=1,
        blocks=300,
        stop=Stop(precision=precision, contrasts=("send_zc",)),
    )
    for seed in range(5):
        ns = synthetic.costs(HOST, ("send", "send_zc"), plan.blocks, 1, seed)[0]
        allocation = stop.Allocation(plan)
        for number, (send, zc) in enumerate(ns):
            costs = {"send": send, "send_zc": zc}
            allocation.record(here.name, costs, 0.01, sweep.placement(number))
            if not allocation.next_round(random.Random(1)):
                break

        logs = np.log(ns[:, 0] / ns[:, 1])
        expected = allocation.stopped[here.name]["blocks"]
        assert stopping.stopped_at(logs, precision) == expected


def test_stopping_changes_little():
    """Intervals of points that stop by themselves miss about as often as others."""
    found = stopping.outcome(HOST, 1.0, points=600, most=200, seed=5)

    assert found.adaptive.interval[0] <= WANTED + stopping.WITHIN
    assert abs(found.bias_points) < 4 * found.bias_error + 0.02
    assert found.blocks.min() >= stopping.LEAST
    assert found.blocks.max() <= 200


def test_words_are_rarely_wrong():
    """No planted effect gets a false word in more than 5 % of its points."""
    for gain, counts in verdicts.confusion(points=60, blocks=300, seed=9).items():
        wrong = sum(counts[word] for word in Verdict if verdicts.is_wrong(word, gain))

        assert counts.total() == 60
        assert Share(wrong, 60).interval[0] <= WANTED


@pytest.mark.parametrize(
    ("word", "gain", "is_wrong"),
    [
        (Verdict.FASTER, 0.0, True),
        (Verdict.FASTER, 0.5, False),
        (Verdict.SLOWER, 0.5, True),
        (Verdict.EQUIVALENT, 0.5, False),
        (Verdict.EQUIVALENT, -stats.MARGIN_POINTS, True),
        (Verdict.UNDECIDED, 5.0, False),
    ],
)
def test_what_is_wrong(word, gain, is_wrong):
    """A word is wrong where the planted effect contradicts it."""
    assert verdicts.is_wrong(word, gain) is is_wrong


SMALL = Stop(precision=5.0, least=10, point_budget_s=2)


def test_power_stops_as_a_run_does():
    """The number of blocks is that at which an allocation of the same costs stops."""
    points = grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=(1200,),
        modes=tuple(arm for arm in power.ARMS if arm != CONTROL),
        batch=8,
    )
    rule = Stop(precision=1.0)
    plan = Plan(profile="test", points=points, seed=1, blocks=400, stop=rule)
    costs = synthetic.costs(HOST, [str(arm) for arm in power.ARMS], 400, 5, 8)
    for ns in costs:
        allocation = stop.Allocation(plan)
        for number, block in enumerate(ns):
            if not allocation.finished:
                found = dict(zip(points[0].arms, map(float, block), strict=True))
                where = sweep.placement(number)
                allocation.record(points[0].name, found, 0.01, where)

        (stopped,) = allocation.stopped.values()
        assert stopped["blocks"] == power.stopped_at(ns, rule)


@pytest.mark.parametrize(
    ("module", "size"),
    [
        (coverage, {"points": 6}),
        (power, {"points": 6, "rule": SMALL}),
        (stopping, {"points": 6, "most": 60}),
        (verdicts, {"points": 6, "blocks": 20}),
    ],
)
def test_a_part_gives_a_proof(module, size, tmp_path, monkeypatch):
    """Each part's proof is kept, read back, shown in lines, and on the page."""
    monkeypatch.setenv("ZCLAB_HOME", str(tmp_path))
    made = module.run(**size)

    proof.write(made)

    assert made.part in parts.PARTS
    again = proof.read(made.part)
    assert again is not None
    assert list(again.lines()) == list(made.lines())
    assert len(list(made.lines())) == 1 + len(made.findings) + len(made.notes)
    text = page.write().read_text()
    assert f"`{made.command}`" in text
    for finding in made.findings:
        assert finding.claim in text


def test_the_page_names_what_fails_and_what_is_not_done():
    """A claim that does not hold is told at the top, a part left out at the end."""
    one = Finding(claim="c", figure="9 %", n="3", wanted="less", holds=False)
    made = Proof(
        part="power",
        command="zclab prove power",
        findings=(one,),
        kernel="6.1",
        seconds=1,
    )

    text = page.markdown({"power": made})

    assert "**Not everything holds: see power.**" in text
    assert "| c | less | 9 % |  | 3 | FAILS |" in text
    assert "Linux 6.1" in text
    assert text.rstrip().splitlines()[-1].startswith("Not done: coverage")
    assert "Not everything" not in page.markdown({"power": replace(made, findings=())})


def test_the_page_keeps_what_is_not_done_again(tmp_path, monkeypatch):
    """A fresh clone has the page and no proof: one part done leaves the others be."""
    monkeypatch.setenv("ZCLAB_HOME", str(tmp_path))
    failing = Finding(claim="c", figure="9 %", n="3", wanted="less", holds=False)
    before = {
        name: Proof(
            part=name,
            command=f"zclab prove {name}",
            findings=(failing,) if name == "kills" else (),
            kernel="6.1",
            seconds=1,
        )
        for name in parts.PARTS
        if name != "scale"
    }
    page.place().parent.mkdir()
    page.place().write_text(page.markdown(before))
    again = replace(before["power"], kernel="6.2", findings=(failing,))
    proof.write(again)

    text = page.write().read_text()

    assert text == page.markdown({**before, "power": again})
    assert "Not everything holds: see power, kills" in text
    assert text.count("## ") == len(parts.PARTS) - 1
    assert text.rstrip().endswith("Not done: scale.")


def test_planted_beside_found(tmp_path):
    """A synthetic run is shown beside its truth; a real one has none to show."""
    small = planted.plan(replace(CALM, gains={"send_zc": 5.0}), 5.0, 1)
    run = store.load(sweep.take(small, out=tmp_path))

    shown = planted.beside(run)

    assert list(shown["planted"]) == ["+5.0%", "+0.0%", "+0.0%"] * 2
    assert set(shown["covers it"]) <= {"yes", "no"}
    assert shown.loc[0, "finding"] == Verdict.FASTER
    with pytest.raises(InputError, match="its truth is not known"):
        planted.beside(replace(run, plan=replace(small, synthetic=None)))


def test_other_formats_are_refused():
    """A file that is no proof is an error of one line."""
    with pytest.raises(DataError, match="run it again"):
        Proof.from_json({"format": 0})


def test_parts_are_chosen_by_name():
    """Parts are run in their own order; an unknown name is told those there are."""
    assert list(parts.chosen([])) == list(parts.PARTS)
    assert list(parts.chosen(["power", "coverage"])) == ["coverage", "power"]
    with pytest.raises(InputError, match="use one of: coverage"):
        parts.chosen(["cover"])
