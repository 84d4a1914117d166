"""The two tools' command lines, and how what they mean differs from zclab's own way."""

import subprocess
import sys

import pytest

from tests import samples
from zclab import cli, presets
from zclab import options as opts
from zclab.errors import InputError
from zclab.explain import options as explained
from zclab.measure import profile
from zclab.measure.preset import parse
from zclab.options import Options
from zclab.params import Mode, Path, Protocol, grid
from zclab.presets import Tool

TO = ("-4", "-D", "127.0.0.1")


def test_defaults_are_the_tools():
    """What no letter says is what both tools take: 65435 B, 8 a submit, 4.2 s, 8000."""
    call = parse([*TO, "udp"])

    assert (call.io_size_bytes, call.batch, call.runtime_ms) == (65435, 8, 4200)
    assert (call.port, call.mode, call.serves) == (8000, Mode.SEND_ZC_FIXED, False)
    assert (call.family, call.protocol) == (4, Protocol.UDP)
    assert call.options.report_usage


@pytest.mark.parametrize(
    ("words", "like", "tool"),
    [
        (["udp"], "", Tool.LIBURING),
        (["udp"], "selftest", Tool.SELFTEST),
        (["-m", "1", "udp"], "", Tool.SELFTEST),
        (["-c1", "udp"], "", Tool.SELFTEST),
        (["-z0", "udp"], "", Tool.LIBURING),
        (["-d", "udp"], "", Tool.LIBURING),
        (["-I", "lo", "udp"], "", Tool.LIBURING),
    ],
)
def test_letters_tell_the_tool(words, like, tool):
    """A letter that only one tool has says which; --like says it where none does."""
    assert parse([*TO, *words], like).tool is tool


def test_values_are_joined_or_apart():
    """As getopt(3) has it: -n8 and -n 8 are one, and of two the later counts."""
    apart = parse(["-6", "-D", "::1", "-n", "32", "-s", "100", "-p", "9", "udp"])
    joined = parse(["-6", "-D::1", "-n32", "-s100", "-p9", "udp"])

    assert apart == joined
    assert parse([*TO, "-t1", "-t", "3", "udp"]).runtime_ms == 3200


@pytest.mark.parametrize(
    ("words", "mode"),
    [
        (["-m", "0"], Mode.SEND),
        (["-m", "1"], Mode.SEND_ZC),
        (["-m", "2"], Mode.SEND_ZC_FIXED),
        (["-m", "3"], Mode.MIXED),
        (["-z", "0"], Mode.SEND),
        (["-z", "0", "-b", "1"], Mode.SEND),
        (["-b", "0"], Mode.SEND_ZC),
        (["-z", "1", "-b", "1"], Mode.SEND_ZC_FIXED),
    ],
)
def test_modes(words, mode):
    """Each tool's number of a mode is the mode that it sends in."""
    assert parse([*TO, *words, "udp"]).mode is mode


def test_selftest_options():
    """The selftest: nothing registered but the buffer, events fetched each submit."""
    call = parse([*TO, "-m", "2", "-n", "64", "udp"])

    assert dict(call.options.changed()) == {
        "taskrun": "default",
        "submit_all": False,
        "cq": 1024,
        "file": False,
        "ring": False,
        "drain": "batch",
        "cpu": "any",
        "clock": 64,
    }
    assert parse([*TO, "-c", "1", "udp"]).options.cork
    assert call.options.sndbuf == 2 << 20
    assert parse([*TO, "-m", "0", "udp"]).options.waitall


def test_liburing_options():
    """The example: COOP_TASKRUN and no fetching, or with -d both; -z 0 bare."""
    coop = parse([*TO, "-n", "8", "udp"]).options
    defer = parse([*TO, "-d", "udp"]).options
    bare = parse([*TO, "-z", "0", "udp"]).options

    assert (coop.taskrun, coop.lag, coop.clock) == ("coop", 1024, 128)
    assert (defer.taskrun, defer.lag, defer.clock) == ("defer", 0, 128)
    assert coop.file
    assert coop.ring
    assert coop.sndbuf == defer.sndbuf == 0
    assert coop.waitall
    assert not bare.waitall
    rest = parse([*TO, "-l1", "-C", "1", "-T2", "-Ieth0", "-R", "tcp"])
    assert (rest.options.pages, rest.options.cpu) == ("hugetlb", "1")
    assert (rest.options.threads, rest.device, rest.serves) == (2, "eth0", True)


def test_tcp_batches_warn():
    """Several requests of one TCP socket are allowed, and the call warns."""
    call = parse([*TO, "-n", "8", "tcp"])

    assert call.options.reorder
    assert "reordered" in call.warnings[0]
    assert not parse([*TO, "-n", "1", "tcp"]).warnings
    assert not parse([*TO, "-n", "8", "udp"]).warnings


@pytest.mark.parametrize(
    ("words", "receiver"),
    [
        ([*TO, "udp"], "zclab tx -4 -R -D 127.0.0.1 udp"),
        (
            ["-6", "-D::1", "-p9", "-T2", "-t", "60", "tcp"],
            "zclab tx -6 -R -D ::1 -p 9 -T 2 -t 60 tcp",
        ),
    ],
)
def test_a_call_names_its_receiver(words, receiver):
    """The receiver that a sender needs is a call that can be parsed itself."""
    assert parse(words).receiver == receiver
    assert parse(receiver.split()[2:]).serves


BAD = [
    ([*TO, "-x", "udp"], "", "-x is unknown"),
    ([*TO, "--mode", "1", "udp"], "", "--mode is unknown"),
    ([*TO, "-n"], "", "-n has no value"),
    ([*TO], "", "udp or tcp"),
    ([*TO, "sctp"], "", "udp or tcp"),
    ([*TO, "udp", "-n", "8"], "", "last word"),
    (["-D", "::1", "udp"], "", "-4 or -6"),
    (["-4", "-6", "-D", "::1", "udp"], "", "-4 or -6"),
    (["-4", "-4", "-D", "127.0.0.1", "udp"], "", "-4 or -6"),
    (["-4", "udp"], "", "-D is missing"),
    (["-4", "-D", "::1", "udp"], "", "no IPv4 address"),
    (["-6", "-D", "localhost", "udp"], "", "no IPv6 address"),
    ([*TO, "-n", "0", "udp"], "", "1 to 512"),
    ([*TO, "-n", "513", "udp"], "", "1 to 512"),
    ([*TO, "-n", "x", "udp"], "", "1 to 512"),
    ([*TO, "-s", "65436", "udp"], "", "1 to 65435"),
    ([*TO, "-s", "0", "udp"], "", "1 to 65435"),
    ([*TO, "-s", "65436", "tcp"], "selftest", "1 to 65435"),
    ([*TO, "-s", "9999999", "tcp"], "", "1 to 1048576"),
    ([*TO, "-t", "-1", "udp"], "", "-t -1"),
    ([*TO, "-p", "65536", "udp"], "", "1 to 65535"),
    ([*TO, "-m", "4", "udp"], "", "0 to 3"),
    ([*TO, "-z", "2", "udp"], "", "0 to 1"),
    ([*TO, "-T", "101", "udp"], "", "1 to 100"),
    ([*TO, "-t", "0", "udp"], "selftest", "divides"),
    ([*TO, "-c", "1", "tcp"], "", "UDP_CORK"),
    ([*TO, "-m", "1", "-z", "1", "udp"], "", "letters of one"),
    ([*TO, "-z", "1", "udp"], "selftest", "letter of liburing only"),
    ([*TO, "-m", "1", "udp"], "liburing", "letter of selftest only"),
    ([*TO, "udp"], "iperf", "selftest, liburing"),
    ([*TO, "-y", "udp"], "", "not offered"),
    ([*TO, "-v", "-n1", "tcp"], "", "verify=on"),
    (["-4", "-R", "-T", "2", "udp"], "", "-T"),
]


@pytest.mark.parametrize(("words", "like", "says"), BAD)
def test_bad_calls(words, like, says):
    """What a tool does not take is refused in one line that says what it takes."""
    with pytest.raises(InputError) as caught:
        parse(words, like)

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_call_ends_with_2():
    """On the command line it is one line on stderr and exit 2."""
    done = subprocess.run(
        [sys.executable, "-m", "zclab.cli", "tx", "-6", "-D::1", "-n", "513", "udp"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "zclab: -n 513: use a whole number from 1 to 512\n"


@pytest.mark.parametrize("preset", presets.PRESETS, ids=lambda preset: preset.name)
def test_presets_are_what_differs(preset):
    """A preset's differences are valid options, none of them zclab's own value."""
    one_by_one = [one for one in preset.differences(8) if one.mode is presets.BASIS]

    assert tuple(one.given[0] for one in one_by_one) == preset.options(8)
    for one in preset.differences(8):
        assert opts.parse(opts.spell(one.given)) == one.given
        assert getattr(Options(), one.name) != one.value
        there, own = one.texts
        assert there != own
    assert opts.split_arm(preset.arm(8))[1] == preset.options(8)


def test_profile_has_each_difference_alone_and_all_together():
    """The profile presets measures what --differences lists, on the sink."""
    for point in profile.plan(presets.PROFILE, 1).points:
        assert point.path is Path.SINK
        assert {Mode.SEND, presets.BASIS} < set(point.modes)
        for preset in presets.PRESETS:
            assert opts.canonical(preset.arm(point.batch)) in point.modes
            for one in preset.differences(point.batch):
                assert one.arm in point.modes
        assert presets.ADDED.arm in point.modes


SLOW = "send_zc_fixed:taskrun=default"
POINTS = grid(
    path=Path.SINK,
    protocol=Protocol.UDP,
    family=4,
    sizes=(1200, 8000),
    modes=("send", "send_zc_fixed", SLOW),
    batch=8,
)


def _gain(_, arm):
    """Zerocopy is faster by 50 %, with the option only by 20 %: it costs 25 %."""
    return {"send_zc_fixed": 50.0, SLOW: 20.0}.get(arm, 0.0)


@pytest.fixture
def run(tmp_path):
    """Return a synthetic run without noise of its own in which an option costs 25 %."""
    return samples.make(
        tmp_path / "data" / "runs", plan_points=POINTS, gain=_gain, noise=0
    )


def test_cost_is_paired_with_the_mode_without(run):
    """An option's cost is that over its own mode, and positive where it is slower."""
    frame = explained.costs(run)

    assert list(frame["arm"]) == [SLOW, SLOW]
    assert frame["n"].min() == 40
    assert frame["cost_percent"].to_numpy() == pytest.approx(25.0, abs=0.1)
    assert (frame["cost_low"] > 0).all()
    assert (frame["cost_low"] <= frame["cost_ns"]).all()
    assert explained.cost_text(frame.iloc[0]).endswith("+25.0% [+25.0, +25.0]")


def test_few_blocks_say_so(tmp_path):
    """A cost of too few blocks has no interval, and the text says why."""
    run = samples.make(tmp_path, plan_points=POINTS, gain=_gain, noise=0, planned=3)

    assert "n=3 is too small" in explained.cost_text(explained.costs(run).iloc[0])


def differences(capsys):
    """Return what `zclab tx --differences` prints."""
    cli.app(["tx", "--differences"], standalone_mode=False)
    return capsys.readouterr().out


def test_differences_are_listed(tmp_path, monkeypatch, capsys):
    """Without a run that measured them, the differences end with how to take one."""
    monkeypatch.setenv("ZCLAB_HOME", str(tmp_path))
    said = differences(capsys)

    for preset in presets.PRESETS:
        assert f"{preset.name} at -n 8: " in said
    assert said.count("taskrun") == 3
    assert said.endswith("zclab measure --profile presets\n")
    assert explained.newest(presets.PROFILE) is None


def test_differences_have_their_costs(tmp_path, monkeypatch, capsys, run):
    """The newest sealed run of the profile says what each difference costs."""
    monkeypatch.setenv("ZCLAB_HOME", str(tmp_path))
    monkeypatch.setattr(presets, "PROFILE", "synthetic")
    said = differences(capsys)

    assert run.id in said
    assert said.count("+25.0% [+25.0, +25.0]") == len(POINTS)
