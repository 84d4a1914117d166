"""What zclab advise answers, on runs whose truth is known."""

import json
from dataclasses import replace

import pytest

from tests.samples import HOST, make
from zclab.errors import InputError
from zclab.explain import advice
from zclab.params import Mode, Path, Protocol, grid

ARMS = (Mode.SEND, Mode.SEND_ZC, Mode.SEND_ZC_FIXED)
SIZES = (1000, 2000, 4000, 8000, 16000)
# Gain in percent by size: unregistered, registered.
GAINS = {
    1000: (-20, -10),
    2000: (-20, -10),
    4000: (-20, -3),
    8000: (-5, 12),
    16000: (20, 30),
}


def points(path=Path.SINK, sizes=SIZES, batch=8, modes=ARMS):
    return grid(
        path=path,
        protocol=Protocol.UDP,
        family=4,
        sizes=sizes,
        modes=modes,
        batch=batch,
    )


def gain(point, arm):
    if arm not in ARMS:
        return 0.0
    return GAINS[point.io_size_bytes][arm == Mode.SEND_ZC_FIXED]


def asked(size, path=Path.SINK, **changes):
    return replace(points(path, sizes=(size,))[0], **changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run of five sizes on the sink, and one over veth."""
    return make(
        tmp_path_factory.mktemp("advice"),
        plan_points=points() + points(Path.VETH, sizes=(8000,)),
        planned=60,
        gain=lambda point, arm: gain(point, arm) if point.path is Path.SINK else -15,
        noise=0.005,
    )


@pytest.mark.parametrize(
    ("size", "answer", "modes"),
    [
        (1000, advice.NO, ()),
        (8000, advice.YES, ("send_zc_fixed",)),
        (16000, advice.YES, ("send_zc_fixed", "send_zc")),
        (1500, advice.NO, ()),  # between two that say so
        (5000, advice.UNDECIDED, ()),  # between no and yes
        (12000, advice.YES, ("send_zc_fixed",)),  # both say so of one mode alone
    ],
)
def test_answer(run, size, answer, modes):
    """The planted gains are answered in a word, with the modes that are faster."""
    found = advice.of(run, asked(size))

    assert (found.answer, found.modes) == (answer, modes)
    assert found.run == run.id


def test_from_what_size_on(run):
    """Each mode has the sizes between which it begins to pay."""
    found = advice.of(run, asked(1000))

    assert found.from_size == {
        "send_zc": "between 8000 and 16000 B",
        "send_zc_fixed": "between 4000 and 8000 B",
    }
    assert any("larger sends; send_zc_fixed" in step.what for step in found.first)


def test_what_copies_comes_first(run):
    """A live receiver is named before all else, with its rule and cure."""
    found = advice.of(run, asked(8000, Path.VETH))

    assert found.answer == advice.NO
    assert "[delivered]" in found.first[0].why
    assert "path sink" in found.first[0].what


def test_facts_of_today_count(run):
    """A tap or an MTU of today is told, whatever the run was like."""
    sink = HOST["paths"]["sink"] | {"mtu": 1500, "packet_taps": 1}
    today = {**HOST, "paths": {"sink": sink}}

    found = advice.of(run, asked(8000), today=today)

    assert "[tap]" in found.first[0].why
    assert "[fragmented]" in found.first[1].why
    assert "UDP_SEGMENT" in found.first[1].what


def test_registered_buffers_are_told_with_their_gain(run):
    """Where registered buffers were faster than plain ones, the ns are told."""
    found = advice.of(run, asked(16000))

    (step,) = (step for step in found.first if "register" in step.what)
    assert step.why.startswith("send_zc_fixed takes ")


def test_another_batch(tmp_path):
    """A batch at which zerocopy costs less is told, one at which it does not is not."""
    both = points(sizes=(8000,)) + points(sizes=(8000,), batch=64)
    made = make(
        tmp_path,
        plan_points=both,
        planned=60,
        gain=lambda point, arm: (10 if point.batch == 64 else -10) * (arm in ARMS),
    )

    few, many = (advice.of(made, asked(8000, batch=n)) for n in (8, 64))
    assert any(step.what.startswith("batch 64 instead of 8") for step in few.first)
    assert not any("instead of" in step.what for step in many.first)


def test_noise_is_undecided(tmp_path):
    """Where nothing is found the answer says so, and what would have been."""
    made = make(
        tmp_path,
        plan_points=points(sizes=(8000,)),
        planned=12,
        gain=lambda *_: 0.0,
        noise=0.2,
    )

    found = advice.of(made, asked(8000))

    assert found.answer == advice.UNDECIDED
    assert "nine times in ten" in found.because
    assert found.first[-1].what.endswith(
        "zclab measure --path sink --protocol udp --family 4 --sizes 8000 "
        "--modes send,send_zc_fixed,send_zc --batch 8 --precision 0.3 --budget 120"
    )


@pytest.mark.parametrize(
    ("modes", "gains", "words", "because"),
    [
        (ARMS[::2], {ARMS[2]: 20}, "yes with registered buffers; plain ones were not "
         "measured", "send_zc_fixed is faster than send"),
        (ARMS, {ARMS[2]: 30}, "yes with registered buffers; undecided with plain ones",
         "send_zc_fixed is faster than send; of send_zc it is not decided"),
        (ARMS, {ARMS[2]: 30, ARMS[1]: -30}, "yes, but only with registered buffers",
         "send_zc_fixed is faster than send; send_zc is not"),
        (ARMS[:2], {ARMS[1]: 30}, "yes, with plain buffers",
         "send_zc is faster than send"),
        (ARMS[:2], {ARMS[1]: -30}, "no", "send_zc is not faster than send"),
    ],
)  # fmt: skip
def test_only_what_was_measured_is_refused(tmp_path, modes, gains, words, because):
    """A mode is ruled out where it was slower or alike, not where it is not known."""
    made = make(
        tmp_path,
        plan_points=points(sizes=(8000,), modes=modes),
        planned=12,
        gain=lambda _, arm: gains.get(arm, 0.0),
        noise=0.04,
    )

    found = advice.of(made, asked(8000))

    assert found.because == because
    assert next(advice.lines(found)).endswith(f"on sink: {words}")


def test_a_mode_that_is_slower_is_told_beside_one_that_is_open(tmp_path):
    """Undecided of one mode is no doubt about the other."""
    made = make(
        tmp_path,
        plan_points=points(sizes=(8000,)),
        planned=12,
        gain=lambda _, arm: -40.0 if arm == ARMS[1] else 0.0,
        noise=0.04,
    )

    found = advice.of(made, asked(8000))

    assert found.answer == advice.UNDECIDED
    assert found.because.startswith(
        "send_zc is not faster than send; of send_zc_fixed no difference found that is "
        "beyond doubt; a gain of "
    )


def test_few_blocks_find_no_gain(tmp_path):
    """Where no gain would be found nine times in ten, no number of points is told."""
    made = make(
        tmp_path,
        plan_points=points(sizes=(8000,)),
        planned=7,
        gain=lambda *_: 0.0,
        noise=0.2,
    )

    assert advice.of(made, asked(8000)).because == (
        "no difference found that is beyond doubt; 7 blocks find no gain reliably"
    )


def test_what_the_run_cannot_answer(run):
    """A path, a batch or a size that the run does not have is one line."""
    with pytest.raises(InputError, match="has nothing on lo"):
        advice.of(run, asked(8000, Path.LO))
    with pytest.raises(InputError, match="batch 1"):
        advice.of(run, asked(8000, batch=1))
    with pytest.raises(InputError, match="none of them near"):
        advice.of(run, asked(60000))


def test_runs_of_today_alone(run):
    """A run answers while its context is today's; else it is named, with the fact."""
    parent = run.folder.parent
    newer = {**HOST, "kernel": {**HOST["kernel"], "release": "6.19.0"}}
    elsewhere = {**HOST, "alias": "host-1111"}

    found, passed = advice.fitting(asked(8000), HOST, parent)
    assert found is not None
    assert (found.id, passed) == (run.id, [])

    found, passed = advice.fitting(asked(8000), newer, parent)
    assert found is None
    assert "kernel release (6.18.0-synthetic, 6.19.0)" in passed[0]

    assert advice.fitting(asked(8000), elsewhere, parent) == (None, [])
    assert advice.fitting(asked(60000), HOST, parent) == (None, [])


def test_a_run_that_does_not_decide_is_passed_over(run):
    """A size between a no and a yes is not answered by such a run: it is measured."""
    found, passed = advice.fitting(asked(5000), HOST, run.folder.parent)

    assert found is None
    assert passed == [f"run {run.id} does not decide it"]


def test_json_and_lines_say_the_same(run):
    """Both have the answer, the run, and each measured gain with its n."""
    found = advice.of(run, asked(8000))

    told = json.loads(json.dumps(found.to_json()))
    text = "\n".join(advice.lines(found))
    assert told["answer"] == "yes"
    assert told["evidence"]["run"] in text
    assert {row["n"] for row in told["measured"]} == {60}
    assert "yes, but only with registered buffers" in text
    assert text.count("n=60") == 2


def over_tcp(tmp_path, gains, cpu):
    """Return a run of TCP over the sink: percent over send, share of the CPU, by arm.

    Where the share is below 1 the sender waited.
    """
    made = make(
        tmp_path,
        plan_points=grid(
            path=Path.SINK,
            protocol=Protocol.TCP,
            family=4,
            sizes=(1200,),
            modes=ARMS,
            batch=1,
            situation="answered",
        ),
        planned=60,
        gain=lambda point, arm: gains.get(arm, 0.0),
        noise=0.002,
    )
    table = made.samples
    share = table["arm"].astype(str).map(lambda arm: cpu.get(arm, cpu["send"]))
    table = table.assign(
        cpu_user_ns=0,
        cpu_sys_ns=(table["elapsed_ns"] * share).astype("int64"),
        switches_voluntary=(share < 1).astype("int64"),
    )
    return replace(made, samples=table)


def asked_over_tcp(run):
    return advice.of(run, run.plan.points[0])


def test_more_requests_for_much_more_cpu_are_no_win(tmp_path):
    """Where plain send waited, less CPU a request counts; both are told."""
    gains = {"send_zc": -13.0, "send_zc_fixed": 2.5}
    cpu = {"send": 0.57, "send_zc": 0.8, "send_zc_fixed": 0.83}

    found = asked_over_tcp(over_tcp(tmp_path, gains, cpu))

    assert (found.answer, found.modes) == (advice.NO, ())
    assert found.because == (
        "no zerocopy mode takes less of the sender's CPU a request than send"
    )
    text = "\n".join(advice.lines(found))
    assert "send_zc_fixed: +2.5%" in text
    assert ", +42% [+42, +42] over send; busy for 83%, limit: answers" in text
    assert "send_zc_fixed: faster by requests/s, and yet more CPU time" in text
    assert "send_zc: slower by requests/s" not in text
    (row,) = (row for row in found.to_json()["measured"] if row["arm"] == ARMS[2])
    assert row["cpu_percent"] == pytest.approx(42, abs=0.5)
    assert row["bottleneck"] == "answers"


def test_fewer_requests_for_less_cpu_are_a_win(tmp_path):
    """A sender that waits longer and works less has its CPU for something else."""
    gains = {"send_zc": -5.0, "send_zc_fixed": -5.0}
    cpu = {"send": 0.7, "send_zc": 0.7, "send_zc_fixed": 0.4}

    found = asked_over_tcp(over_tcp(tmp_path, gains, cpu))

    assert (found.answer, found.modes) == (advice.YES, ("send_zc_fixed",))
    assert "slower by requests/s, and yet less CPU time" in " ".join(found.caveats)
    assert found.because.endswith("a request than send; send_zc does not")


def test_requests_count_where_the_sender_is_busy(tmp_path):
    """A sender that never waits has all its time in its requests."""
    gains = {"send_zc": -13.0, "send_zc_fixed": 2.5}

    found = asked_over_tcp(over_tcp(tmp_path, gains, {"send": 1.0}))

    assert (found.answer, found.modes) == (advice.YES, ("send_zc_fixed",))
    (row,) = (row for row in found.rows if row["arm"] == "send_zc_fixed")
    assert row["cpu_percent"] == pytest.approx(-2.4, abs=0.3)
    assert "busy for 100%, limit: sender" in "\n".join(advice.lines(found))
    assert not any("requests/s" in text for text in found.caveats)


def test_alike_cpu_time_is_a_no(tmp_path):
    """Where the sender waits and its CPU differs by less than a point, it is a no."""
    cpu = {"send": 0.5, "send_zc": 0.505, "send_zc_fixed": 0.505}
    gains = {"send_zc": 1.0, "send_zc_fixed": 1.0}

    found = asked_over_tcp(over_tcp(tmp_path, gains, cpu))

    assert (found.answer, found.modes) == (advice.NO, ())


def test_each_mode_has_its_words(tmp_path):
    """Of a mode that requests/s decided, nothing is said of CPU, and the other way."""
    cpu = {"send": 0.95, "send_zc": 0.6, "send_zc_fixed": 1.0}
    gains = {"send_zc": -5.0, "send_zc_fixed": 2.0}

    found = asked_over_tcp(over_tcp(tmp_path, gains, cpu))

    assert found.modes == ("send_zc", "send_zc_fixed")
    assert found.because == (
        "send_zc takes less of the sender's CPU a request than send; "
        "send_zc_fixed is faster than send"
    )

    gains = {"send_zc": 5.0, "send_zc_fixed": -2.0}
    cpu = {"send": 0.86, "send_zc": 0.84, "send_zc_fixed": 1.0}
    found = asked_over_tcp(over_tcp(tmp_path / "one", gains, cpu))
    assert found.because == (
        "send_zc takes less of the sender's CPU a request than send; "
        "send_zc_fixed is not faster than send"
    )


def test_undecided_by_cpu_quotes_cpu(tmp_path):
    """Where CPU time decides, no gain in requests/s is said to have been found."""
    made = over_tcp(tmp_path, {}, {"send": 0.5})
    table = made.samples
    noisy = table["cpu_sys_ns"] * (1 + 0.5 * ((table.index * 7919) % 13 - 6) / 6)
    made = replace(made, samples=table.assign(cpu_sys_ns=noisy.astype("int64")))

    found = asked_over_tcp(made)

    assert found.answer == advice.UNDECIDED
    assert "nine times in ten" not in found.because
    assert "send_zc_fixed " in found.because
    for row in found.rows:
        assert f"{row['cpu_low']:+.0f}, {row['cpu_high']:+.0f}]" in found.because
    command = found.first[-1].what
    assert "--precision" not in command
    assert command.endswith("--batch 1 --with answered --blocks 240")


def answered(sizes, situation="answered", given=()):
    return grid(
        path=Path.SINK,
        protocol=Protocol.TCP,
        family=4,
        sizes=sizes,
        modes=ARMS,
        batch=1,
        situation=situation,
        given=given,
    )


def test_the_series_of_a_situation_is_its_own(tmp_path):
    """From what size on is of the place that is asked about, and of no other."""
    sizes = (1000, 4000, 16000)
    tuned = "answered,ack-every=1"
    made = make(
        tmp_path,
        plan_points=answered(sizes) + answered(sizes, tuned),
        planned=60,
        gain=lambda point, arm: (
            (
                10
                if point.io_size_bytes > (8000 if point.situation == tuned else 2000)
                else -10
            )
            * (arm in ARMS)
        ),
        noise=0.005,
    )

    one, other = (
        advice.of(made, answered((1000,), situation)[0])
        for situation in ("answered", tuned)
    )

    assert one.from_size["send_zc"] == "between 1000 and 4000 B"
    assert other.from_size["send_zc"] == "between 4000 and 16000 B"
    assert any("between 4000 and 16000 B" in step.what for step in other.first)


def test_a_congestion_control_is_named_and_not_asked_for(tmp_path):
    """A plain question is answered by points with a control, which is then named."""
    reno = (("congestion", "reno"),)
    sizes = (1000, 4000, 16000)
    made = make(
        tmp_path,
        plan_points=answered(sizes, given=reno) + answered((4000,)),
        planned=60,
        gain=lambda point, arm: 10.0 * (arm in ARMS),
    )

    plain, other = (advice.of(made, answered((size,))[0]) for size in (4000, 16000))

    assert {row["given"] for row in plain.rows} == {""}
    assert ", congestion=" not in "\n".join(advice.lines(plain))
    assert {row["given"] for row in other.rows} == {"congestion=reno"}
    assert ", congestion=reno; 95 %" in "\n".join(advice.lines(other))
    assert other.to_json()["evidence"]["congestion"] == "reno"
    assert other.from_size["send_zc"] == "always, 1000 B and above"


def test_a_model_says_so(tmp_path):
    """A synthetic run answers, and says that it is one."""
    made = make(tmp_path, plan_points=points(), marked=True, gain=gain)

    assert "SYNTHETIC" in " ".join(advice.of(made, asked(8000)).caveats)
    assert advice.fitting(asked(8000), HOST, tmp_path) == (None, [])
