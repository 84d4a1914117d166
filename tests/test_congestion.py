"""TCP has the congestion control that an option asks for; facts and warnings say it.

What is asked for here is reno, which every kernel has; nothing looks at speed.
"""

import errno
import socket
from pathlib import Path as FilePath

import pytest

from tests.live import needs_uring
from zclab import hostfacts, preflight, store
from zclab.errors import CapabilityError, InputError
from zclab.explain import facts
from zclab.measure import sweep
from zclab.measure.flow import CONTROLS, Flow, granted
from zclab.measure.path.answers import CONGESTION
from zclab.options import Options, parse
from zclab.params import Mode, Path, Plan, Point, Protocol
from zclab.preflight import UNASKED
from zclab.publish import mail

RENO = "congestion=reno"


def point(path=Path.LO, options="", modes=("send", "send_zc")):
    """Return a point of TCP, one request a submit."""
    return Point(
        path=path,
        protocol=Protocol.TCP,
        family=4,
        io_size_bytes=4096,
        batch=1,
        modes=modes,
        given=parse(options),
    )


def plan(*points):
    """Return a plan of two short blocks of each point."""
    return Plan(
        profile="test",
        points=points,
        seed=3,
        blocks=2,
        slice_ns=1_000_000,
        warmup_ns=100_000,
    )


@pytest.fixture
def flow():
    """Return a TCP flow that is not connected."""
    found = Flow(family=4, protocol=Protocol.TCP)
    yield found
    found.close()


def default():
    """Return what TCP sockets of this network namespace have when nothing is asked."""
    text = FilePath("/proc/sys/net/ipv4/tcp_congestion_control").read_text()
    return text.strip()


def available():
    """Return what can be asked for here."""
    return FilePath(CONTROLS.format("available")).read_text().split()


@pytest.mark.parametrize(
    ("asked", "path_s", "has"),
    [
        ("", "", None),
        ("", "reno", "reno"),
        (RENO, "", "reno"),
        (RENO, "no-such", "reno"),
        ("congestion=none", "reno", "reno"),
    ],
)
def test_the_option_lies_over_the_path_s_choice(flow, asked, path_s, has):
    """The socket has what its option names, else the path's, else the default."""
    flow.prepare(Mode.SEND, Options.of(parse(asked)), congestion=path_s)

    assert flow.congestion() == (has or default())


def test_another_than_the_default_is_granted(flow):
    """What is asked for is not what would have been there anyway."""
    others = [name for name in available() if name != default()]
    allowed = FilePath(CONTROLS.format("allowed")).read_text().split()
    asked = next((name for name in others if name in allowed), None)
    if asked is None:
        pytest.skip(f"{default()} is the only congestion control that may be asked for")

    flow.prepare(Mode.SEND, Options.of(parse(f"congestion={asked}")))

    assert flow.congestion() == asked != default()


def test_udp_is_left_alone():
    """A path's choice for TCP does nothing to a UDP socket that is sent there."""
    udp = Flow(family=4, protocol=Protocol.UDP)

    udp.prepare(Mode.SEND, Options(), congestion="reno")

    assert granted([(udp, Options())]) == {}
    udp.close()


def test_what_was_granted_is_by_what_was_asked(flow):
    """Sockets that ask for nothing are told apart from those that do."""
    reno = Options.of(parse(RENO))
    other = Flow(family=6, protocol=Protocol.TCP)
    other.prepare(Mode.SEND, reno)

    found = granted([(flow, Options()), (other, reno), (other, reno)])

    assert found == {UNASKED: default(), "reno": "reno"}
    other.close()


def test_an_unknown_control_is_refused_in_a_line(flow):
    """The refusal names what there is, where that stands, and the module."""
    with pytest.raises(CapabilityError, match=r"no-such: .*has it not") as e:
        flow.prepare(Mode.SEND, Options.of(parse("congestion=no-such")))

    said = str(e.value)
    assert "\n" not in said
    assert "/proc/sys/net/ipv4/tcp_available_congestion_control has " in said
    assert " ".join(available()) in said
    assert "modprobe tcp_no-such" in said


class Refusing:
    """A socket that refuses options as the kernel would for an error."""

    def __init__(self, number):
        self.number = number

    def setsockopt(self, level, option, value):
        """Refuse."""
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_CONGESTION)
        raise OSError(self.number, "as a test asks for")

    def close(self):
        """Have nothing to close."""


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.EPERM, "not allowed.*tcp_allowed_congestion_control, which has "),
        (errno.EBUSY, "refused by this kernel: as a test asks for"),
    ],
)
def test_other_refusals_say_why(flow, number, says):
    """What a plain user may not have is told from what there is not."""
    flow.close()
    flow.sending = Refusing(number)

    with pytest.raises(CapabilityError, match=f"congestion=cubic.*{says}"):
        flow.prepare(Mode.SEND, Options.of(parse("sndbuf=0:congestion=cubic")))


def test_udp_refuses_the_option():
    """A point of UDP with it is no point."""
    with pytest.raises(InputError, match="congestion is an option of tcp"):
        Point(
            path=Path.LO,
            protocol=Protocol.UDP,
            family=4,
            io_size_bytes=8,
            batch=1,
            given=parse(RENO),
        )


def host(**controls):
    """Return facts of a host on which lo grants these."""
    place = {"destination": "own", "live": True, "congestion_control": controls}
    return {"kernel": {"release": "6.18.1"}, "paths": {"lo": place}}


def test_a_point_that_is_paced_is_warned_of():
    """One line names the points, the control and the cure; who asks is spared."""
    asking = plan(point(), point(options=RENO), point(options="lag=8"))

    (said,) = preflight.warnings(asking, host(unasked="bbr", reno="reno"))

    assert said.startswith("lo-tcp4-4096B-n1, lo-tcp4-4096B-n1-lag=8: bbr paces TCP")
    assert "cure: option congestion=reno" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("one", "controls", "paced"),
    [
        (point(), {"unasked": "cubic"}, False),
        (point(), {}, False),
        (point(options=RENO), {"reno": "reno"}, False),
        (point(options="congestion=bbr"), {"bbr": "bbr"}, True),
        (point(), {"unasked": "bbr+cubic"}, True),
        (point(modes=("send", f"send:{RENO}")), {UNASKED: "bbr", RENO: "reno"}, True),
        (point(options="congestion=bbr2"), {"bbr2": "bbr2"}, False),
    ],
)
def test_only_what_paces_is_warned_of(one, controls, paced):
    """It counts what was granted, and what cannot be told is not warned of."""
    assert bool(preflight.warnings(plan(one), host(**controls))) == paced


def test_older_runs_have_one_for_the_place():
    """Where the fact is a text, it is that of sockets that asked for nothing."""
    assert preflight.controls({"congestion_control": "reno"}) == {UNASKED: "reno"}
    assert preflight.controls({"congestion_control": None}) == {}
    assert preflight.controls({}) == {}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run over lo, where some ask and some do not, and over the sink."""
    points = (
        point(),
        point(options=RENO),
        point(path=Path.SINK),
        Point(
            path=Path.VETH,
            protocol=Protocol.UDP,
            family=4,
            io_size_bytes=8,
            batch=1,
            modes=("send",),
        ),
    )
    try:
        folder = sweep.take(plan(*points), out=tmp_path_factory.mktemp("runs"))
    except CapabilityError as error:
        pytest.skip(str(error))
    return store.load(folder)


@needs_uring
def test_a_run_says_what_its_sockets_had(run):
    """The facts have it by what was asked for, and none where there is no TCP."""
    paths = run.host["paths"]

    assert paths["lo"]["congestion_control"]["reno"] == "reno"
    assert paths["lo"]["congestion_control"][UNASKED] in available()
    assert paths["sink+answered"]["congestion_control"] == {UNASKED: CONGESTION}
    assert "congestion_control" not in paths["veth"]
    assert hostfacts.check(run.host) == []
    assert set(run.samples["options"]) == {"", RENO}


@needs_uring
def test_the_report_says_it(run):
    """The lines of System and the table of paths name it beside its path."""
    table = facts.paths(run).set_index("path")["congestion control"]

    assert "reno" in table["lo"].split(", ")
    assert (table["sink+answered"], table["veth"]) == ("reno", "")
    lines = [line for line in mail.render(run, "id").splitlines() if ", tcp " in line]
    assert any(line.startswith("  sink+answered") for line in lines)


@needs_uring
def test_a_responder_is_sent_to_as_asked(tmp_path):
    """Over the answered sink an option is granted as well; reno is only the default."""
    other = next((name for name in available() if name != CONGESTION), None)
    if other is None:
        pytest.skip(f"this kernel has no congestion control but {CONGESTION}")
    asked = point(path=Path.SINK, options=f"congestion={other}", modes=("send",))
    try:
        found = store.load(sweep.take(plan(asked), out=tmp_path))
    except CapabilityError as error:
        pytest.skip(str(error))

    place = found.host["paths"]["sink+answered"]
    assert place["congestion_control"] == {other: other}
    assert any("paces" in said for said in found.warnings) == (other == "bbr")
