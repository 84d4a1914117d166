"""Samples of differing context are never put together, and the difference is named."""

import copy

import pytest
import samples

from zclab import context, store
from zclab.errors import InputError
from zclab.explain import capture, joined
from zclab.params import Path, Protocol, grid

UDP = samples.points(tcp=False)
TCP = samples.points(udp=False)


def elsewhere(*keys, value):
    """Return the facts of the tests' host but for one."""
    host = copy.deepcopy(KNOWN)
    inner = host
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return host


CHANGES = [
    (("kernel", "release"), "6.1.0", "kernel release (6.18.0-synthetic, 6.1.0)"),
    (("cpu", "model"), "Other CPU", "cpu model (Synthetic CPU, Other CPU)"),
    (("cpu", "family"), 26, "cpu family (25, 26)"),
    (("cpu", "model_number"), 1, "cpu model_number (17, 1)"),
    (("cpu", "stepping"), 1, "cpu stepping (0, 1)"),
    (("cpu", "online"), 4, "cpu online (2, 4)"),
    (
        ("cpu", "mitigations", "spectre_v2"),
        "Vulnerable",
        "cpu mitigations spectre_v2 (Mitigation: Retpolines, Vulnerable)",
    ),
    (("kernel", "cmdline"), ["mitigations=off"], "kernel cmdline ([], ['mit"),
    (("cpu", "boost"), True, "cpu boost (False, True)"),
    (("thp", "enabled"), "never", "thp enabled (madvise, never)"),
    (("cgroup", "cpu_limit"), 2.0, "cgroup cpu_limit (1.5, 2.0)"),
    (("clocksource",), "tsc", "clocksource (kvm-clock, tsc)"),
    (("limits", "memlock_bytes"), -1, "limits memlock_bytes (8388608, -1)"),
    (("software", "commit"), "abc", "software commit (0123"),
    (("software", "dirty"), True, "software dirty (False, True)"),
    (("software", "liburing"), "2.9", "software liburing (2.3, 2.9)"),
    (("software", "compiler"), "gcc 14", "software compiler (gcc 12.2.0, gcc 14)"),
    (("paths", "sink", "mtu"), 1500, "sink mtu (65535, 1500)"),
    (("paths", "sink", "kind"), "dummy", "sink kind (ifb, dummy)"),
    (("paths", "sink", "qdisc"), "fq", "sink qdisc (noqueue, fq)"),
    (("paths", "sink", "packet_taps"), 1, "sink packet_taps (0, 1)"),
    (
        ("paths", "sink", "features", "tx-scatter-gather"),
        False,
        "sink features tx-scatter-gather (True, False)",
    ),
    (
        ("paths", "sink", "congestion_control", "unasked"),
        "bbr",
        "sink congestion_control unasked (reno, bbr)",
    ),
    (("sender", "notification_lag"), 8, "sender notification_lag (128, 8)"),
    (("synthetic",), True, "synthetic (False, True)"),
]


# What newer runs tell besides.
KNOWN = {
    **samples.HOST,
    "kernel": {**samples.HOST["kernel"], "cmdline": []},
    "cpu": {
        **samples.HOST["cpu"],
        "family": 25,
        "model_number": 17,
        "stepping": 0,
        "boost": False,
    },
    "thp": {"enabled": "madvise"},
    "cgroup": {"cpu_limit": 1.5},
    "paths": {
        **samples.HOST["paths"],
        "sink": {
            **samples.HOST["paths"]["sink"],
            "congestion_control": {"unasked": "reno"},
        },
    },
}


@pytest.mark.parametrize(("keys", "value", "said"), CHANGES)
def test_each_fact_is_told(keys, value, said):
    """A fact on which the cost of a request depends is named with both values."""
    other = elsewhere(*keys, value=value)

    found = context.differing([context.of(KNOWN), context.of(other)])

    assert context.told(found).startswith(said)
    assert len(found) == 1


@pytest.mark.parametrize("keys", [("load_1m",), ("steal_ticks",), ("uptime_s",)])
def test_restless_facts_are_no_context(keys):
    """What differs whenever one looks twice keeps no runs apart."""
    other = elsewhere(*keys, value=77)

    assert context.of(other) == context.of(KNOWN)


def test_an_unknown_fact_is_no_difference():
    """A fact that one of two does not know keeps them together."""
    other = elsewhere("cpu", "model", value=None)
    del other["clocksource"]

    assert not context.differing([context.of(samples.HOST), context.of(other)])


def test_runs_before_the_cpus_numbers_join_newer_ones():
    """Runs that were taken before a CPU's numbers were recorded stay joinable."""
    assert not context.differing([context.of(samples.HOST), context.of(KNOWN)])


def test_what_the_first_does_not_know_is_compared_too():
    """Two runs may differ in the facts of a path that a third one has not."""
    without = copy.deepcopy(samples.HOST)
    del without["paths"]["veth"]
    small = elsewhere("paths", "veth", "mtu", value=1500)
    hosts = [("a", without), ("b", samples.HOST), ("c", small)]

    assert context.first_difference(hosts) == ("b", "c", "veth mtu (65535, 1500)")


def test_many_differences_are_counted():
    """Beyond a few, differences are counted, so that a message stays one line."""
    text = context.told({f"fact{i}": (1, 2) for i in range(9)})

    assert text == "fact0 (1, 2) and fact1 (1, 2) and fact2 (1, 2) and 6 more"


def test_runs_of_two_contexts_are_not_joined(tmp_path):
    """Joining runs refuses by naming both runs, the fact and its two values."""
    small = elsewhere("paths", "sink", "mtu", value=1500)
    one = samples.make(tmp_path / "a", plan_points=UDP, planned=8)
    two = samples.make(tmp_path / "b", plan_points=TCP, planned=8, host=small)

    with pytest.raises(InputError) as caught:
        joined.join([one, two])

    assert str(caught.value) == (
        f"{one.id} and {two.id} differ in sink mtu (65535, 1500); report them apart"
    )


def test_joined_texts_stay_categories(tmp_path):
    """Runs with different points join into one frame whose texts are categories."""
    one = samples.make(tmp_path / "a", plan_points=UDP, planned=8)
    two = samples.make(tmp_path / "b", plan_points=TCP, planned=8)

    whole = joined.join([one, two]).samples

    assert len(whole) == len(one.samples) + len(two.samples)
    names = list(whole["point"].cat.categories)
    assert names == sorted(point.name for point in UDP + TCP)


def test_frame_refuses_mixed_contexts(tmp_path):
    """Many runs are one frame if their contexts agree, or if mixing was asked for."""
    commit = elsewhere("software", "commit", value="abc")
    runs = [
        samples.make(tmp_path, plan_points=UDP[:1], planned=6, host=host).folder
        for host in (samples.HOST, samples.HOST, commit)
    ]

    with pytest.raises(InputError, match="differ in software commit"):
        store.frame(runs, ["ns_per_request"])
    both = store.frame(runs[:2], ["point", "arm", "block", "ns_per_request"])
    all_three = store.frame(runs, ["ns_per_request"], mixed=True)

    assert list(both.columns) == ["run", "point", "arm", "block", "ns_per_request"]
    assert list(both["run"].cat.categories) == [folder.name for folder in runs[:2]]
    mine = both.loc[both["run"] == runs[1].name, "ns_per_request"]
    expected = store.load(runs[1]).samples["ns_per_request"]
    assert mine.tolist() == expected.tolist()
    assert len(all_three) == 3 * len(mine)


@pytest.mark.parametrize(
    ("times", "columns", "said"),
    [(0, ["arm"], "no run"), (2, ["arm"], "twice"), (1, ["x"], "no column x")],
)
def test_frame_needs_runs_and_columns(tmp_path, times, columns, said):
    """A frame of no run, of one run twice or of unknown columns is refused."""
    folder = samples.make(tmp_path, plan_points=UDP[:1], planned=6).folder

    with pytest.raises(InputError, match=said):
        store.frame([folder] * times, columns)


def test_context_says_synthetic_and_sittings(tmp_path):
    """What is printed before any number says how often it was resumed, and if a model.

    A run of a model says so in capitals.
    """
    points = grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=(600,),
        modes=("send", "send_zc"),
        batch=8,
    )
    run = samples.make(
        tmp_path, plan_points=points, planned=8, stop_after=3, marked=True
    )
    with store.Journal.reopen(run.folder, run.host) as journal:
        for block in list(samples.blocks(run.plan))[3:]:
            journal.append(block)
        journal.host_after = {**run.host, "sysctl": {"net.core.wmem_max": 1}}
    whole = store.load(run.folder)

    text = joined.context(whole)

    assert whole.synthetic
    assert "SYNTHETIC" in text
    assert "sittings 2" in text
    assert "SYNTHETIC" not in joined.context(samples.make(tmp_path, planned=6))


def test_changes_between_sittings_are_told(tmp_path):
    """A fact that changed in a later sitting is told, with all it was."""
    run = samples.make(tmp_path, plan_points=UDP[:1], planned=8, stop_after=3)
    other = elsewhere("sysctl", "net.core.wmem_max", value=1)
    with store.Journal.reopen(run.folder, other) as journal:
        journal.host_after = samples.HOST

    frame = capture.changed(store.load(run.folder))

    assert frame.drop(columns="what it means").to_dict("records") == [
        {"fact": "sysctl.net.core.wmem_max", "before": "4 MiB", "after": "1 B, then "
         "4 MiB"}
    ]  # fmt: skip
