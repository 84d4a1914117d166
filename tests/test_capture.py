"""What changed on the hosts of a run is found, and what of it matters is told."""

import copy
import json
from dataclasses import replace

import pytest
import samples

from zclab import store
from zclab.explain import capture, facts, joined
from zclab.publish import mail

POINTS = samples.points(tcp=False)[:1]
REPORT = "20261122T120000Z-host-0000-synthetic"

HOST = {
    **samples.HOST,
    "cpu": {
        **samples.HOST["cpu"],
        "usable": 2,
        "governor": "performance",
        "now_khz": 3_000_000,
        "throttled": 4,
    },
    "sysctl": {"net.core.wmem_max": 4194304},
    "cgroup": {"cpu_limit": None, "throttled": 0},
    "memory_available_bytes": 3 << 30,
    "steal_ticks": 100,
    "uptime_s": 1000,
    "paths": {
        **samples.HOST["paths"],
        "nic": {
            "kind": "mlx5_core",
            "statistics": {"tx_packets": 10, "tx_errors_phy": 0, "rx_discards": 5},
        },
    },
    "peer": {
        "alias": "host-0001",
        "cpu": {"governor": "performance", "usable": 2},
        "uptime_s": 50,
        "steal_ticks": 0,
        "device": {"mtu": 9000},
    },
}


def put(host, dotted, value):
    """Return a copy of facts with one of them replaced; keys are split at /."""
    other = copy.deepcopy(host)
    *keys, last = dotted.split("/")
    inner = other
    for key in keys:
        inner = inner[key]
    inner[last] = value
    return other


def later(parent, after):
    """Return a run of HOST whose facts after the last sample are others."""
    run = samples.make(parent, plan_points=POINTS, planned=6, host=HOST)
    file = run.folder / store.HOST_AFTER
    file.unlink()
    file.write_text(json.dumps(after))
    return run


MATTERS = [
    ("cpu/governor", "powersave", "cpu.governor changed during the run: performance, "
     "then powersave (who picks the clock"),
    ("paths/sink/packet_taps", 1, "paths.sink.packet_taps changed during the run: 0, "),
    ("paths/sink/mtu", 1500, "paths.sink.mtu changed during the run: 65535, then "),
    ("paths/sink/qdisc", "fq", "paths.sink.qdisc changed"),
    (
        "paths/sink/features/tx-scatter-gather",
        False,
        "paths.sink.features.tx-scatter-gather changed during the run: yes, then no",
    ),
    ("sysctl/net.core.wmem_max", 1024, "sysctl.net.core.wmem_max changed"),
    ("cpu/mitigations/spectre_v2", "Vulnerable", "cpu.mitigations.spectre_v2 changed"),
    ("clocksource", "tsc", "clocksource changed during the run: kvm-clock, then tsc"),
    ("kernel/release", "6.1.0", "kernel.release changed"),
    ("cgroup/cpu_limit", 1.5, "cgroup.cpu_limit changed during the run: none, "),
    ("cpu/throttled", 9, "cpu.throttled grew by 5 during the run (times that heat"),
    ("cgroup/throttled", 3, "cgroup.throttled grew by 3"),
    ("paths/nic/statistics/tx_errors_phy", 2, "paths.nic.statistics.tx_errors_phy grew "
     "by 2 during the run"),
    ("paths/nic/statistics/rx_discards", 0, "paths.nic.statistics.rx_discards began "
     "anew"),
    ("load_1m", 4.5, "load average 4.5 after the run, of which the run itself makes 2"),
    ("cpu/now_khz", 2_000_000, "the sender's CPU ran at 3.00 GHz before the run and at "
     "2.00 GHz after it"),
    ("memory_available_bytes", 1 << 20, "memory ran short: 1 MiB were left"),
    ("peer/cpu/governor", "powersave", "peer.cpu.governor changed"),
    ("peer/device/mtu", 1500, "peer.device.mtu changed during the run: 9000, then "),
]  # fmt: skip


@pytest.mark.parametrize(("fact", "value", "said"), MATTERS)
def test_what_matters_is_a_finding(tmp_path, fact, value, said):
    """Each kind of change that bears on a measurement is told, and nothing else is."""
    run = later(tmp_path, put(HOST, fact, value))

    found = capture.findings(run)

    assert len(found) == 1, found
    assert found[0].startswith(said)
    assert "One change matters." in capture.scope(run)


EXPECTED = [
    ("uptime_s", 1100),
    ("load_1m", 2.4),
    ("steal_ticks", 101),
    ("cpu/now_khz", 3_500_000),
    ("cpu/now_khz", 2_900_000),
    ("memory_available_bytes", 2 << 30),
    ("paths/nic/statistics/tx_packets", 10_000),
]


@pytest.mark.parametrize(("fact", "value"), EXPECTED)
def test_what_differs_whenever_one_looks_is_none(tmp_path, fact, value):
    """Uptime, an own load, a clock that rose and sent packets are no findings."""
    run = later(tmp_path, put(HOST, fact, value))

    assert capture.findings(run) == []
    assert [each.finding for each in capture.differences(run)] == [""]
    assert "Nothing that matters had changed." in capture.scope(run)


def test_stolen_time_is_told_once(tmp_path):
    """Above one percent of the CPU time it is a finding, unless measuring told it."""
    stolen = put(put(HOST, "uptime_s", 1100), "steal_ticks", 1000)
    theirs = put(stolen, "peer/uptime_s", 150)
    theirs = put(theirs, "peer/steal_ticks", 1000)

    run = later(tmp_path, theirs)

    assert capture.findings(run) == [
        "the peer: the hypervisor took 10.0% of the CPU time during the run",
        "the hypervisor took 4.5% of the CPU time during the run",
    ]
    told = later(tmp_path / "b", stolen)
    told = replace(told, warnings=("the hypervisor took 4.5%",))
    assert capture.findings(told) == []


def test_an_unknown_fact_is_no_difference(tmp_path):
    """Facts that one look lacks, as older runs lack those of paths, are no change."""
    less = {
        name: value for name, value in HOST.items() if name not in ("paths", "peer")
    }

    run = later(tmp_path, less)

    assert capture.differences(run) == []
    assert capture.scope(run) == (
        "Facts of the host were collected before the first sample and again after the "
        "last. Nothing that matters had changed."
    )


def test_what_was_looked_at_is_named(tmp_path):
    """The places and the peer are named when their facts were collected twice."""
    assert capture.scope(later(tmp_path, HOST)).startswith(
        "Facts of the host, the places nic, sink, veth and the peer were collected"
    )


def test_a_run_that_ended_early_claims_nothing(tmp_path):
    """Without a second look there is no difference, and the page does not say none."""
    run = later(tmp_path, {})

    assert capture.changed(run).empty
    assert "ended early, so nothing can be said" in capture.scope(run)


def test_findings_are_in_table_and_mail(tmp_path):
    """What matters comes first in the table, and stands among the mail's warnings."""
    after = put(put(HOST, "load_1m", 0.3), "cpu/governor", "powersave")
    run = later(tmp_path, after)

    frame = capture.changed(run)
    text = mail.render(run, REPORT)

    assert frame["fact"].tolist() == ["cpu.governor", "load_1m"]
    assert frame["what it means"].tolist()[1] == capture.EXPECTED
    assert "- cpu.governor changed during the run: performance, then powersave" in text
    assert mail.lint(text) == []


def test_counters_have_a_table_of_their_own(tmp_path):
    """A card's counters are told by how far they grew, and apart from all else."""
    after = put(HOST, "paths/nic/statistics/tx_packets", 110)
    run = later(tmp_path, put(after, "paths/nic/statistics/tx_errors_phy", 1))

    assert capture.counted(run)[["counter", "grew by"]].to_numpy().tolist() == [
        ["paths.nic.statistics.tx_errors_phy", "1"],
        ["paths.nic.statistics.tx_packets", "100"],
    ]
    assert capture.changed(run)["fact"].tolist() == [
        "paths.nic.statistics.tx_errors_phy"
    ]


def test_a_restart_between_sittings_is_told(tmp_path):
    """An uptime that is less in a later sitting is a restart of the host."""
    run = samples.make(tmp_path, plan_points=POINTS, planned=8, stop_after=3, host=HOST)
    with store.Journal.reopen(run.folder, put(HOST, "uptime_s", 20)) as journal:
        journal.host_after = put(HOST, "uptime_s", 90)

    assert capture.findings(store.load(run.folder)) == [
        "the host was restarted between two sittings of the run"
    ]


def test_what_was_not_looked_at_again_is_said(tmp_path):
    """A run that was resumed and ended early has two looks, and none at its end."""
    run = samples.make(tmp_path, plan_points=POINTS, planned=8, stop_after=3, host=HOST)
    after = run.folder / store.HOST_AFTER
    kept = after.read_bytes()
    after.unlink()
    once = capture.scope(run)
    after.write_bytes(kept)
    with store.Journal.reopen(run.folder, put(HOST, "uptime_s", 20)):
        pass
    run = store.load(run.folder)
    after.unlink(missing_ok=True)
    twice = capture.scope(run)

    assert "not collected again after the last sample" in once
    assert "again as the run was gone on with, but not after the last" in twice
    assert "One change matters." in twice


def test_a_joined_run_without_a_last_look_is_counted(tmp_path):
    """Of runs read as one those that ended early are told."""
    one = samples.make(tmp_path / "a", plan_points=POINTS, planned=6, host=HOST)
    two = samples.make(
        tmp_path / "b", plan_points=samples.points(udp=False), planned=6, host=HOST
    )
    both = joined.join([one, two])

    assert "again after the last. Nothing that matters" in capture.scope(both)
    (two.folder / store.HOST_AFTER).unlink()
    assert "but of 1 of 2 runs not, which ended early" in capture.scope(both)


def test_joined_runs_say_whose_finding_it_is(tmp_path):
    """In runs read as one each finding names its run."""
    one = later(tmp_path / "a", put(HOST, "clocksource", "tsc"))
    two = samples.make(
        tmp_path / "b", plan_points=samples.points(udp=False), planned=6, host=HOST
    )

    (found,) = capture.findings(joined.join([one, two]))

    assert found.startswith(f"{one.id}: clocksource changed")


def test_the_peer_has_a_table(tmp_path):
    """The facts of the host that received are shown as those of the sender are."""
    assert facts.peer(later(tmp_path, HOST))["fact"].tolist() == ["governor"]
    assert facts.peer(samples.make(tmp_path / "b", planned=6)).empty


def test_the_mail_has_a_line_of_the_peer(tmp_path):
    """Kernel, governor and device of the host that received are in the System block."""
    host = put(HOST, "peer/kernel", {"release": "6.12.3"})
    host = put(host, "kernel/cmdline", ["mitigations=off"])
    run = samples.make(tmp_path, plan_points=POINTS, planned=6, host=host)

    text = mail.render(run, REPORT)

    assert "\n  peer    6.12.3, performance, mtu 9000\n" in text
    assert "in a VM (KVM), mitigations=off\n" in text
    assert mail.lint(text) == []


def test_many_places_leave_room_for_the_rest(tmp_path):
    """Of more places than lines the last are counted; ring and software stay."""
    host = copy.deepcopy(samples.HOST)
    for mtu in range(1500, 1508):
        host["paths"][f"sink+mtu={mtu}"] = {"kind": "ifb", "mtu": mtu}
    run = samples.make(tmp_path, plan_points=POINTS, planned=6, host=host)

    text = mail.render(run, REPORT)
    system = text.partition("System:\n")[2].partition("\n\n")[0].splitlines()

    assert len(system) == mail.SYSTEM_LINES - 1
    assert [line.split()[0] for line in system] == [
        "kernel", "cpu", "sink",
        *(f"sink+mtu={mtu}" for mtu in range(1500, 1505)),
        "and", "ring", "sqe", "zclab",
    ]  # fmt: skip
    assert "  and 4 more, see host-before.json" in system
    assert mail.lint(text) == []


def test_stored_runs_have_no_finding(checkout):
    """The runs in the repository were taken on hosts that stayed as they were."""
    for folder in (checkout / "data/runs").iterdir():
        if (folder / store.PLAN).is_file():
            assert capture.findings(store.load(folder)) == []
