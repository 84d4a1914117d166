"""Runs beside each other: whether they agree, how far apart they are, what differs."""

import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from tests import samples
from zclab import stats, store
from zclab.cli import app
from zclab.errors import InputError
from zclab.explain import claims, figures, readable, replication, table
from zclab.params import Path, Protocol, grid
from zclab.publish import replication as beside

SIZES = (600, 8000)


def points():
    """Return two points on the sink, the modes of the tables."""
    return grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=SIZES,
        modes=samples.ALL,
        batch=8,
    )


def others():
    """Return a point that none of these is: the selftest's over veth."""
    return tuple(
        point for point in samples.points(tcp=False) if point.path == Path.VETH
    )


def taken(parent, gains, *, model="Synthetic CPU", seed=1, wanted=None):
    """Write a run in which each arm has the gain of `gains`, in percent."""
    host = {**samples.HOST, "cpu": {**samples.HOST["cpu"], "model": model}}
    return samples.make(
        parent,
        plan_points=wanted or points(),
        seed=seed,
        host=host,
        gain=lambda point, arm: gains.get(arm, 0.0),
        noise=0.005,
    )


def told_by(runs):
    """Return the sentences about some runs."""
    return replication.sentences(
        runs, replication.gains(runs), replication.verdicts(runs)
    )


@pytest.fixture
def two(tmp_path):
    """Give runs of two CPUs that agree on one arm, and on two others do not."""
    one = taken(
        tmp_path / "one", {"send_zc": -10, "send_zc_fixed": 40, "mixed": 0}, seed=1
    )
    other = taken(
        tmp_path / "other",
        {"send_zc": 10, "send_zc_fixed": 20, "mixed": 15},
        model="Another CPU",
        seed=2,
    )
    return [one, other]


def test_difference_covers(tmp_path):
    """The planted distance of two runs lies in its interval nineteen times in twenty.

    Of 120 comparisons of planted truths, at 95 % fewer than 15 miss in all but one of
    a thousand such tests; and intervals that are far too wide would miss none.
    """
    missed = 0
    wanted = grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=range(600, 6600, 100),
        modes=samples.ALL[:3],
        batch=8,
    )
    one = taken(tmp_path / "a", {"send_zc": 5, "send_zc_fixed": 8}, wanted=wanted)
    other = taken(
        tmp_path / "b", {"send_zc": 9, "send_zc_fixed": 8}, wanted=wanted, seed=2
    )
    frame = replication.gains([one, other])
    planted = {"send_zc": 4.0, "send_zc_fixed": 0.0}
    for (_, arm), mine in frame.groupby(["point", "arm"]):
        first, second = (
            tuple(row[["gain_percent", "gain_low", "gain_high"]])
            for _, row in mine.iterrows()
        )
        _, low, high = stats.difference(first, second)
        missed += not low <= planted[arm] <= high

    assert len(frame) == 2 * 2 * len(wanted)
    assert 0 < missed <= 14


def test_agreement(two):
    """Each word where it belongs: one direction, two, an effect in one run alone."""
    found = replication.agreement(replication.gains(two))
    words = {
        arm: set(mine["agreement"]) for arm, mine in found.groupby("arm", sort=False)
    }

    assert words == {
        "send_zc": {replication.OPPOSITE},
        "send_zc_fixed": {replication.SAME},
        "mixed": {replication.NOT_IN_ALL},
    }
    fixed = found[found["arm"] == "send_zc_fixed"].iloc[0]
    assert (fixed["one"], fixed["other"]) == ("B", "A")
    assert fixed["apart_low"] <= 20 <= fixed["apart_high"]


def test_extremes_of_three_have_no_interval(tmp_path):
    """The largest of three less the smallest is told without an interval."""
    gains = {"send_zc": -10, "send_zc_fixed": 40}
    runs = [taken(tmp_path / name, gains, seed=n) for n, name in enumerate("abc", 1)]

    found = replication.agreement(replication.gains(runs))
    said = told_by(runs)[-1]

    assert set(found["runs"]) == {"ABC"}
    assert (found["apart_points"] > 0).all()
    assert np.isinf(found["apart_low"]).all()
    assert np.isinf(found["apart_high"]).all()
    assert "[" not in replication.apart_text(found.iloc[0])
    assert "points apart in the median" in said
    assert "intervals allow" not in said


def test_comparisons_of_two_are_counted(tmp_path):
    """Beside a third run that lacks a point, its two are held against each other."""
    gains = {"send_zc": -10, "send_zc_fixed": 40}
    runs = [
        taken(tmp_path / name, gains, seed=n, wanted=points()[: 2 - (name == "c")])
        for n, name in enumerate("abc", 1)
    ]

    said = told_by(runs)[-1]

    assert "of 3 comparisons of two runs by more than both intervals allow" in said


def test_no_effect_in_any(tmp_path):
    """Where no run finds anything, that is what is said."""
    runs = [
        taken(tmp_path / name, {}, seed=seed) for name, seed in (("a", 5), ("b", 6))
    ]

    found = replication.agreement(replication.gains(runs))

    assert replication.NONE in set(found["agreement"])
    assert replication.OPPOSITE not in set(found["agreement"])


def test_nothing_is_pooled(two):
    """Each run keeps its own n, gain and interval, the control and send left out."""
    frame = replication.gains(two)

    assert set(frame["arm"]) == {"send_zc", "send_zc_fixed", "mixed"}
    for letter, run in zip("AB", two, strict=True):
        alone = table.summary(run).set_index(["point", "arm"])
        mine = frame[frame["run"] == letter].set_index(["point", "arm"])
        for name in ("n", "gain_percent", "gain_low", "gain_high", "saved_ns"):
            assert list(mine[name]) == list(alone.loc[mine.index, name])
        base = alone.xs("send", level="arm")["ns_per_request"]
        assert list(mine["baseline_ns"]) == [base[point] for point, _ in mine.index]


def test_only_what_two_have(two, tmp_path):
    """A point that one run has alone is left out; a third run may lack points."""
    third = taken(tmp_path / "third", {"send_zc": 1}, wanted=points()[:1], seed=3)

    frame = replication.gains([*two, third])

    runs = frame.groupby("io_size_bytes")["run"].agg(
        lambda runs: "".join(sorted(set(runs)))
    )
    assert runs.to_dict() == {600: "ABC", 8000: "AB"}


def test_nothing_in_common(two, tmp_path):
    """Runs of different points are refused, and it is said what to do."""
    other = taken(tmp_path / "veth", {}, wanted=others())

    with pytest.raises(InputError, match="take them with one plan"):
        replication.gains([two[0], other])


def test_labels_refuse(two):
    """One run alone, and one run twice, are refused."""
    with pytest.raises(InputError, match="name two or more"):
        replication.labels(two[:1])
    with pytest.raises(InputError, match="named twice"):
        replication.labels([two[0], two[0]])
    with pytest.raises(InputError, match="26 is the most"):
        replication.labels(two * 14)


def test_what_differs(two):
    """The facts that differ are listed, with the value of each run."""
    found = replication.differing(two)

    assert found.to_dict("records") == [
        {"fact": "cpu model", "A": "Synthetic CPU", "B": "Another CPU"}
    ]
    assert not replication.one_context(two)


def test_what_differs_may_be_a_list(tmp_path):
    """Boot parameters, flags of a ring: what a list holds is told in words."""
    runs = []
    for number, words in enumerate((["mitigations=off"], []), 1):
        kernel = {**samples.HOST["kernel"], "cmdline": words}
        runs.append(
            samples.make(
                tmp_path / str(number),
                plan_points=points(),
                planned=12,
                seed=number,
                host={**samples.HOST, "kernel": kernel},
            )
        )

    text = beside.render(runs)

    assert "  kernel cmdline: A mitigations=off; B none" in text
    assert list(replication.differing(runs)["fact"]) == ["kernel cmdline"]


def test_a_run_that_cannot_be_read_is_passed_by(home):
    """Without names, a folder whose plan was changed keeps nobody from comparing."""
    broken = home / "20260102T000000Z-host-0000-quick"
    shutil.copytree(home / "20260101T000000Z-host-0000-quick", broken)
    plan = broken / store.PLAN
    plan.chmod(0o644)
    plan.write_text(plan.read_text().replace("8000", "8001"))

    assert len(replication.read("")) == 2


def test_one_context(tmp_path):
    """Two runs of one machine say how far apart runs are; those of two do not."""
    gains = {"send_zc": -10, "send_zc_fixed": 40}
    same = [taken(tmp_path / name, gains, seed=n) for n, name in enumerate("ab", 1)]

    said = " ".join(told_by(same))

    assert replication.one_context(same)
    assert replication.differing(same).empty
    assert "Nothing that bears on a request differs" in said
    apart = replication.agreement(replication.gains(same))["apart_points"]
    assert f"{apart.max():.1f} at most" in said


def test_other_commit_is_one_context(tmp_path):
    """Another commit of zclab is told, and still one context."""
    one = taken(tmp_path / "a", {"send_zc": 3})
    software = {**samples.HOST["software"], "commit": "fedcba"}
    other = samples.make(
        tmp_path / "b",
        plan_points=points(),
        seed=2,
        host={**samples.HOST, "software": software},
    )

    assert list(replication.differing([one, other])["fact"]) == ["software commit"]
    assert replication.one_context([one, other])


def test_sentences(two):
    """Counts, the opposite ones by name, the copied share, the factors."""
    said = told_by(two)

    assert said[0] == (
        "Of 6 comparisons with send: same direction in 2, an effect in some only in 2, "
        "opposite in 2."
    )
    assert "Opposite: send_zc at sink-udp4-600B-n8, B less A +2" in said[1]
    assert "The copied share is the same in all, point by point." in said
    assert any("a factor of 2.0 in percent" in text for text in said)


def test_copied_share_that_differs(tmp_path):
    """Where one host copies and another does not, that comes out."""
    runs = [
        samples.make(tmp_path / "a", plan_points=points(), copied={"sink": 0.0}),
        samples.make(
            tmp_path / "b", plan_points=points(), copied={"sink": 1.0}, seed=2
        ),
    ]

    said = " ".join(told_by(runs))

    assert "The copied share differs: send_zc at sink-udp4-600B-n8" in said


def test_travelled(two):
    """The factors are of what has one direction, and at least 1."""
    found = replication.travelled(replication.gains(two))

    assert set(found["arm"]) == {"send_zc_fixed"}
    assert np.allclose(found["percent_factor"], 2.0, atol=0.1)
    assert (found["ns_factor"] > 1).all()


def test_verdicts(two):
    """The published rows that a run can judge, each with the verdict of its own."""
    found = replication.verdicts(two)

    assert set(found["table"]) == {"v5-dummy"}
    for letter, run in zip("AB", two, strict=True):
        alone = claims.compare(run).set_index(["table", "io_size_bytes", "column"])
        for row in found.to_dict("records"):
            key = (row["table"], row["io_size_bytes"], row["column"])
            assert row[f"verdict {letter}"] == alone.loc[key, "verdict"]
    alike = found["verdict A"] == found["verdict B"]
    assert list(found["agree"]) == list(alike)


def test_text_fits_a_mail(two):
    """Plain ASCII of at most 72 columns, with every part of it."""
    text = beside.render(two)

    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 72
    for part in (
        f"  A  {two[0].id}",
        "  cpu model: A Synthetic CPU; B Another CPU",
        "v5, dummy device, gain over send:\n  8000 B zc + flush, +71% then\n    A  ",
        "sink, UDP/IPv4, batch 8:",
        "Saved: ns per request. n=40 blocks a run.",
    ):
        assert part in text


def test_tables_have_every_run(two):
    """Each table of the notebook has a row or a column for each run."""
    gains = replication.gains(two)

    assert list(readable.lettered(two)["CPU"]) == ["Synthetic CPU", "Another CPU"]
    assert len(readable.agreement(gains)) == 6
    assert {"verdict A", "verdict B"} <= set(
        readable.judged(two, replication.verdicts(two))
    )
    assert list(readable.travelled(gains)["run"]) == list(gains["run"])


def test_forest(two):
    """The figure has an axes per place and a line per arm and size."""
    figure = figures.forest(two, replication.gains(two))

    (axes,) = [axes for axes in figure.axes if axes.get_title()]
    assert axes.get_title() == "sink, UDP/IPv4, batch 8"
    assert len(axes.get_yticklabels()) == 6
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [f"A  {two[0].id}", f"B  {two[1].id}"]


@pytest.fixture
def home(tmp_path, monkeypatch, two):
    """Give a home with both runs, one of other points, and one of a model."""
    monkeypatch.setenv("ZCLAB_HOME", str(tmp_path / "home"))
    runs = store.runs_dir()
    runs.mkdir(parents=True)
    for number, run in enumerate(two):
        run.folder.rename(runs / f"2026010{number}T000000Z-host-0000-quick")
    other = taken(tmp_path / "veth", {}, wanted=others(), seed=4)
    other.folder.rename(runs / "20250101T000000Z-host-0000-veth")
    model = samples.make(tmp_path / "model", plan_points=points(), marked=True)
    model.folder.rename(runs / "20270101T000000Z-host-0000-model")
    return runs


def test_without_names_all_like_the_newest(home):
    """Without a name: the newest run of a kernel, and all that share a point."""
    found = [run.id for run in replication.read("")]

    assert found == [
        "20260100T000000Z-host-0000-quick",
        "20260101T000000Z-host-0000-quick",
    ]


def test_models_are_refused(home):
    """A run that a model made is no replication."""
    with pytest.raises(InputError, match="was made by a model"):
        replication.read("20270101T000000Z-host-0000-model")


def test_command(home, tmp_path):
    """`zclab compare` prints the text and writes the page with its figure."""
    page = tmp_path / "both.html"

    done = CliRunner().invoke(app, ["compare", "--html", str(page)])

    assert done.exit_code == 0, done.output
    assert "Of 6 comparisons with send" in done.stdout
    text = page.read_text()
    assert "Does it hold on another host, another day?" in text
    assert "20260101T000000Z-host-0000-quick" in text
    assert "data:image/png;base64" in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["compare", "nowhere"], "'nowhere' does not exist"),
        (["compare", "20260101T000000Z-host-0000-quick"], "name two or more"),
    ],
)
def test_command_refuses(home, words, told):
    """What cannot be compared is one line, and exit 2."""
    done = CliRunner().invoke(app, words)

    assert isinstance(done.exception, InputError)
    assert told in str(done.exception)


def test_page_that_cannot_be_written(home, tmp_path):
    """A page below a file is refused in one line."""
    (tmp_path / "file").write_text("")

    done = CliRunner().invoke(
        app, ["compare", "--html", str(tmp_path / "file" / "x.html")]
    )

    assert isinstance(done.exception, InputError)
    assert "cannot write" in str(done.exception)
