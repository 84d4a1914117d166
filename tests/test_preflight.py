"""Rules of what the kernel copies and refuses; the figures were measured on 6.18."""

from dataclasses import replace

import pytest

from zclab import preflight
from zclab.params import Path, Plan, Point, Protocol
from zclab.preflight import RULES, predict

RELEASE = "6.18.44"
SG = "tx-scatter-gather"
SUMS = ("tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6")
FEATURES = {
    "scatter-gather": True,
    "tx-checksumming": True,
    SG: True,
    **{name: name == SUMS[0] for name in SUMS},
}


def point(path="sink", protocol="udp", family=4, size=8000, batch=8, **given):
    return Point(
        path=Path(path),
        protocol=Protocol(protocol),
        family=family,
        io_size_bytes=size,
        batch=batch,
        modes=("send", "send_zc"),
        given=tuple(given.items()),
    )


def facts(**changed):
    """Return the facts of a sink that copies nothing, with some of them changed."""
    sink = {
        "device": "zcsink",
        "kind": "ifb",
        "mtu": 65535,
        "features": FEATURES,
        "packet_taps": 0,
        "xdp": False,
        "tc_programs": 0,
        "destination": "neighbour",
        "live": False,
        "drops": "device",
    }
    return {**sink, **changed}


def live(**changed):
    return facts(**{"kind": "veth", "live": True, "drops": None, **changed})


def without(*names):
    return {**FEATURES, **dict.fromkeys(names, False)}


SMALL = {"mtu": 1500}
# Each line is a situation that was made in namespaces, and what came out.
MEASURED = [
    ("sink", point(), facts(), "zerocopy"),
    ("sink", point(size=65507), facts(), "zerocopy"),
    ("sink", point(family=6, size=65487), facts(), "zerocopy"),
    ("fragmented", point(family=6, size=65488), facts(), "copied"),
    ("sink", point(size=1472), facts(**SMALL), "zerocopy"),
    ("fragmented", point(size=1473), facts(**SMALL), "copied"),
    ("sink", point(family=6, size=1452), facts(**SMALL), "zerocopy"),
    ("fragmented", point(family=6, size=1453), facts(**SMALL), "copied"),
    ("segmented", point(size=14000, segment=1400), facts(**SMALL), "zerocopy"),
    ("segmented", point(size=14720, segment=1472), facts(**SMALL), "zerocopy"),
    ("segment-over-mtu", point(size=14730, segment=1473), facts(**SMALL), "refused"),
    (
        "segment-over-mtu",
        point(family=6, size=14530, segment=1453),
        facts(**SMALL),
        "refused",
    ),
    ("segmented", point(size=1400, segment=2000), facts(**SMALL), "zerocopy"),
    ("segment-over-mtu", point(size=1473, segment=2000), facts(**SMALL), "refused"),
    ("segmented", point(size=12800, segment=100), facts(), "zerocopy"),
    ("gathered", point(size=1000, more=4), facts(), "copied"),
    ("gathered", point(size=1000, cork=True), facts(), "copied"),
    ("gathered", point(size=1000, batch=1, cork=True), facts(), "copied"),
    ("gathered-large", point(size=5000, batch=16, more=16), facts(), "refused"),
    (
        "gathered-mixed",
        point(size=1000, batch=4, cork=True, segment=1000),
        facts(),
        "refused",
    ),
    (
        "segmented",
        point(size=3000, batch=1, cork=True, segment=1000),
        facts(),
        "zerocopy",
    ),
    ("ipv6-mtu", point(family=6, size=800), facts(mtu=1000), "refused"),
    ("sink", point(size=972), facts(mtu=1000), "zerocopy"),
    ("no-sg", point(), facts(features=without(SG)), "copied"),
    (
        "no-sg",
        point(size=14000, segment=1400),
        facts(features=without(SG)),
        "copied",
    ),
    ("no-checksum", point(), facts(features=without(*SUMS)), "copied"),
    ("no-checksum", point(family=6), facts(features=without(*SUMS)), "copied"),
    ("tap", point(), facts(packet_taps=1), "copied"),
    ("tun", point(), facts(kind="tun"), "copied"),
    ("own-address", point(), facts(destination="own", live=True, drops=None), "copied"),
    ("delivered", point("veth"), live(), "copied"),
    ("delivered", point("lo"), live(kind="loopback"), "copied"),
    ("delivered", point("veth", "tcp", batch=1), live(), "copied"),
    ("delivered", point("lo", "tcp", 6, batch=1), live(kind="loopback"), "copied"),
    ("peer-drop", point("veth"), facts(kind="veth", drops="peer-ingress"), "zerocopy"),
    ("peer-down", point("sink"), facts(kind="veth", drops="peer-down"), "zerocopy"),
    ("xdp-generic", point("veth"), facts(kind="veth", xdp="generic"), "copied"),
    ("xdp-native", point("veth"), live(xdp="native"), "?"),
    ("xdp-native", point("veth"), live(xdp=True), "?"),
]


@pytest.mark.parametrize(("rule", "at", "path", "word"), MEASURED)
def test_what_was_measured_is_predicted(rule, at, path, word):
    """Each situation that was measured is predicted, by the rule that it shows."""
    said = predict(at, path, release=RELEASE)

    assert (said.rule.id, said.word) == (rule, word)


def test_single_flags_outweigh_the_combined():
    """On veth ethtool's combined flags stay on; the single ones are believed."""
    off = {**without(SG, *SUMS), "scatter-gather": True, "tx-checksumming": True}
    old = {"scatter-gather": True, "tx-checksumming": False}

    assert predict(point(), facts(features=off)).rule.id == "no-sg"
    assert predict(point(), facts(features=old)).rule.id == "no-checksum"


def test_checksums_count_by_family():
    """A device that sums IPv4 only is predicted to copy IPv6."""
    four = {**without(*SUMS), "tx-checksum-ipv4": True}

    assert predict(point(family=4), facts(features=four)).copied == 0
    assert predict(point(family=6), facts(features=four)).rule.id == "no-checksum"


def test_other_reasons_are_named_besides():
    """A reason that would remain after the cure is told with the first one."""
    said = predict(point(), facts(mtu=1500, packet_taps=2))

    assert (said.rule.id, said.besides) == ("tap", ("fragmented",))
    assert "2 in /proc/net/packet" in said.because


def test_older_runs_are_predicted_from_their_path():
    """Where a run did not record who receives, its path says so."""
    old = {"kind": "ifb", "mtu": 65535, "packet_taps": 0}

    assert predict(point(), old).copied == 0
    assert predict(point("veth"), {}).rule.id == "delivered"
    assert predict(point(), {}).word == "?"
    assert predict(point(), {}).works is None


def test_arms_differ():
    """Modes and their options are predicted one by one."""
    path = facts(mtu=1500)

    plain = predict(point(), path, arm="send")
    cut = predict(point(), path, arm="send_zc:segment=1400")
    newer = predict(point(), path, arm="send_zc_vec", release="6.12.1")

    assert (plain.rule.id, plain.copied) == ("plain", 1)
    assert (cut.rule.id, cut.copied) == ("segmented", 0)
    assert (newer.rule.id, newer.works) == ("kernel-older", False)
    assert "6.17" in newer.because


def test_a_plain_send_may_be_gathered_with_segments():
    """Only zerocopy requests must not share a packet buffer."""
    at = point(size=1000, batch=4, cork=True, segment=1000)

    assert predict(at, facts(), arm="send").works is True
    assert predict(at, facts(), arm="msg_zerocopy").works is True
    assert predict(at, facts(), arm="sendmsg_zc").works is False


def test_segments_before_6_9():
    """Half as many segments were allowed before Linux 6.9."""
    at = point(size=10000, segment=100)

    assert predict(at, facts(), release="6.8.0").rule.id == "segments-many"
    assert predict(at, facts(), release="6.9.0").works is True


@pytest.mark.parametrize(
    ("kind", "rule", "copied"),
    [
        ("virtio_net", "wire", 0.0),
        ("mlx5_core", "wire", 0.0),
        ("veth", "elsewhere", None),
        ("bridge", "elsewhere", None),
        ("tun", "tun", 1.0),
    ],
)
def test_a_nic_is_told_by_its_driver(kind, rule, copied):
    """A driver maps pages; behind a virtual device anything may happen."""
    said = predict(point("nic", size=1400), facts(kind=kind, mtu=1500, drops=None))

    assert (said.rule.id, said.copied) == (rule, copied)


def test_tc_programs_leave_it_open():
    """A tc program that is not ours may drop or clone: nothing is predicted."""
    there = facts(kind="virtio_net", drops=None, tc_programs=1)

    assert predict(point("nic"), there).rule.id == "tc-program"
    assert predict(point(), facts(tc_programs=1)).rule.id == "sink"


def test_sockets_that_refuse():
    """What is neither TCP nor UDP is refused, with its name."""
    said = preflight.of_socket("AF_UNIX")

    assert (said.works, said.copied, said.word) == (False, None, "refused")
    assert "AF_UNIX" in said.because


def test_the_flag_over_reports_over_tcp():
    """Since 6.10 and without MSG_EOR a share over TCP is no copied share."""
    eor = point("lo", "tcp", batch=1, eor=True)
    tcp = Protocol.TCP

    assert preflight.over_reports(tcp, "6.10.0")
    assert preflight.over_reports("tcp", "")
    assert not preflight.over_reports(tcp, "6.9.12")
    assert not preflight.over_reports(tcp, "6.18.1", eor.options("send_zc"))
    assert not preflight.over_reports(Protocol.UDP, "6.18.1")


def _plan(*points):
    return Plan(profile="custom", points=points, seed=1, blocks=8)


def _host(**paths):
    return {"kernel": {"release": RELEASE}, "paths": paths}


def test_warnings_name_rule_and_cure():
    """Each reason is one line with its points, its rule and its cure."""
    plan = _plan(point(size=1472), point(size=1473), point(size=4000))

    lines = preflight.warnings(plan, _host(sink=facts(mtu=1500)))

    assert len(lines) == 2
    assert lines[0].startswith("sink-udp4-1473B-n8: copied: ")
    assert "(1473 B > 1472 B)" in lines[0]
    assert "[fragmented]; cure: a larger MTU" in lines[0]
    assert all("\n" not in line for line in lines)


def test_no_warning_where_nothing_is_wrong():
    """A sink without copies and the live paths, which are there to copy, are silent."""
    plan = _plan(point(), point("veth"), point("lo", "tcp", batch=1))
    host = _host(sink=facts(), veth=live(), lo=live(kind="loopback"))

    assert preflight.warnings(plan, host) == []


def test_warnings_name_the_arms_concerned():
    """Where only some arms are refused, these are named."""
    both = replace(
        point(size=14730),
        modes=("send", "send_zc", "send_zc:segment=1473"),
    )

    lines = preflight.warnings(_plan(both), _host(sink=facts(mtu=1500)))

    assert any("(send_zc:segment=1473): refused" in line for line in lines)
    assert any("(send_zc): copied" in line for line in lines)


def test_rules_are_whole():
    """Every rule has a sentence; those that cost something have a cure."""
    assert list(RULES) == [rule.id for rule in RULES.values()]
    for rule in RULES.values():
        assert rule.says and not rule.says.endswith(".")
        assert rule.function or rule.id in {"elsewhere", "unrecorded"}
    cured = {rule for rule, _, _, word in MEASURED if word in {"copied", "refused"}}
    assert all(RULES[rule].cure for rule in cured)


def test_table_has_every_rule():
    """The table of the page has a line per rule."""
    lines = preflight.table()

    assert len(lines) == len(RULES) + 2
    assert {line.count(" | ") for line in lines} == {4}
