"""The report's first sentences: what wins is not quoted without what loses."""

import math
import re
from dataclasses import replace

import pandas as pd
import pytest

from tests import samples, test_witness
from zclab.explain import bottleneck, claims, opening, table
from zclab.params import Path, Protocol, Stop, grid

WITNESS = (
    "over TCP those of MSG_EOR requests sent beside the timed slices",
    "if it is copied, over TCP with MSG_EOR (since 6.10 the flag is also set on",
)


def said_of(run):
    """Return the five sentences about a run."""
    summary = table.summary(run)
    return opening.sentences(run, summary, claims.compared(summary, run))


def on_the_sink(parent, gains, modes=samples.ALL, arm="send_zc_fixed"):
    """Return a run on the sink in which one arm has these gains by size."""
    points = grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=gains,
        modes=modes,
        batch=8,
    )
    return samples.make(
        parent,
        plan_points=points,
        gain=lambda point, one: gains[point.io_size_bytes] if one == arm else 0.0,
    )


def advice(tmp_path, gains, modes=samples.ALL):
    """Return the last sentence of a run on the sink with these gains by size."""
    return said_of(on_the_sink(tmp_path, gains, modes))[-1]


def test_wins_and_losses(tmp_path):
    """A size that wins stands beside the largest that loses."""
    said = advice(tmp_path, {1200: -20.0, 4000: -10.0, 8000: 25.0})

    assert (
        "from a registered buffer: over UDP at 8000 B (not at 4000 B); no card" in said
    )
    assert "1200 B" not in said


def test_wins_alone(tmp_path):
    """Where nothing loses nothing is said to."""
    said = advice(tmp_path, {4000: 10.0, 8000: 25.0})

    assert said.startswith(
        "What to do: where nothing is copied send from a registered buffer: over UDP "
        "from 4000 B on; no card was measured. "
    )
    assert "not at" not in said


def test_a_size_that_does_not_win_ends_the_range(tmp_path):
    """From a size on is said only where every larger one that was measured wins."""
    said = advice(tmp_path, {600: 20.0, 1200: -20.0, 4000: 20.0, 8000: 0.0})

    assert "over UDP at 600 B (not at 1200 B); no card" in said
    assert " on. " not in said


def test_nothing_wins(tmp_path):
    """Where zerocopy loses throughout, nobody is told to register a buffer."""
    said = advice(tmp_path, {4000: -10.0, 8000: -25.0})

    assert "send plainly at the sizes of this run" in said
    assert "its best was at 4000 B (-" in said


def test_nothing_differs(tmp_path):
    """Where nothing is faster or slower, nobody is told that anything won or lost."""
    said = advice(tmp_path, {4000: 0.0, 8000: 0.0})

    assert "a registered buffer was not found to gain requests/s anywhere" in said
    assert "send plainly" not in said
    assert "but not" not in said
    assert "slower in" not in said


def test_an_unknown_gain_is_no_best(tmp_path):
    """Of a point whose blocks have no pair nothing is known; the others are told."""
    run = on_the_sink(tmp_path, {4000: -10.0, 8000: -25.0})
    summary = table.summary(run)
    unknown = summary["io_size_bytes"] == 4000
    columns = ["gain_percent", "gain_low", "gain_high"]

    summary.loc[unknown, columns] = math.nan
    assert "its best was at 8000 B (-" in opening._advice(run, summary)
    summary[columns] = math.nan
    assert "cannot say" in opening._advice(run, summary)


def test_a_smaller_gain_may_save_cpu(tmp_path):
    """The size with the best gain is not asked for all: another may save CPU."""
    run = on_the_sink(tmp_path, {4000: -10.0, 8000: -25.0})
    run = charged(charged(run, 1.4), 0.6, point="sink-udp4-8000B-n8")
    said = said_of(run)[-1]

    assert "its best was at 4000 B (-" in said
    assert re.search(r"; another at 8000 B \(-.*less of the sender's CPU: .*-40%", said)
    assert "send plainly" not in said


def setups(parent, gains):
    """Return a run over a sink with gains of registered sends by protocol and batch."""
    points = [
        point
        for protocol, batch in gains
        for point in grid(
            path=Path.SINK,
            protocol=protocol,
            family=4,
            sizes=gains[protocol, batch],
            modes=samples.ALL,
            batch=batch,
        )
    ]

    def gain(point, arm):
        mine = gains[point.protocol, point.batch]
        return mine[point.io_size_bytes] if arm == "send_zc_fixed" else 0.0

    return samples.make(parent, plan_points=tuple(points), planned=20, gain=gain)


def test_losses_of_a_protocol_that_never_wins(tmp_path):
    """What wins over UDP is not told without what loses over TCP."""
    gains = {(Protocol.UDP, 8): {8000: 25.0}, (Protocol.TCP, 1): {4096: -20.0}}
    said = said_of(setups(tmp_path, gains))[-1]

    assert "over UDP at 8000 B, over TCP not at 4096 B; no card" in said


def test_sizes_of_two_setups_are_not_one_range(tmp_path):
    """A win and a loss side by side differ in size alone; all others are counted."""
    gains = {
        (Protocol.UDP, 8): {1200: -20.0, 4000: 10.0, 8000: 25.0},
        (Protocol.UDP, 64): {600: 10.0, 8000: -25.0},
    }
    said = said_of(setups(tmp_path, gains))[-1]

    assert re.search(
        r"over UDP from 4000 B on \(not at 1200 B\), in other setups slower in 1 of 2, "
        r"at worst send_zc_fixed at 8000 B \(-.*, sink, UDP/IPv4, batch 64, n=20\)",
        said,
    )
    assert "faster in" not in said


def on_veth(parent, gains, copied=1.0):
    """Return what is advised of one point on veth with these gains by arm."""
    run = samples.make(
        parent,
        plan_points=samples.points()[5:6],
        gain=lambda _, arm: gains.get(arm, 0.0),
        copied={"veth": copied},
    )
    return said_of(run)[-1]


def test_a_place_is_avoided_only_if_nothing_gains_there(tmp_path):
    """One slower arm is not all of a path."""
    slower = on_veth(tmp_path / "slower", {"send_zc": -29.0})
    faster = on_veth(tmp_path / "faster", {"send_zc": -29.0, "send_zc_fixed": 20.0})

    assert "send plainly where the packet ends at a socket of the same host" in slower
    assert "through a bridge to a card): copied on veth, slower in 1 of 3. " in slower
    assert "send plainly" not in faster
    assert "on veth it depends: copied and slower in 1 of 3, at worst send_zc" in faster
    assert "n=40), but faster in 1" in faster


def test_a_place_that_is_not_all_copied_is_not_said_to_be(tmp_path):
    """Nor is one of which a part was zerocopy."""
    run = samples.make(tmp_path, plan_points=samples.points()[5:6])
    summary = table.summary(run)
    summary.loc[summary["arm"] == "send_zc_fixed", "copied_share"] = 0.5
    said = opening._advice(run, summary)

    assert "where all is copied" not in said
    assert ", but not all copied in 1" in said


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Return a run that has all of the quick profile but the answered TCP."""
    return samples.make(tmp_path_factory.mktemp("quick"))


@pytest.fixture(scope="module")
def tcp(tmp_path_factory):
    """Return a run that has TCP alone, over the sink and over lo."""
    return test_witness.run_of(tmp_path_factory.mktemp("tcp"))


def test_copied_is_defined_where_it_is_first_used(quick, tcp):
    """By the flag, or over TCP by witness; the run's own shares decide which."""
    by_flag, by_witness = said_of(quick)[0], said_of(tcp)[0]

    assert by_flag.endswith(
        "; copied: notifications with IORING_NOTIF_USAGE_ZC_COPIED."
    )
    assert "on sink+answered those of MSG_EOR requests" in by_witness


def test_one_definition_of_copied_for_all_of_tcp(tcp):
    """Where every TCP point has a witness it is said of TCP, beside UDP's flag."""
    zc = tcp.samples["zc_requests"] > 0
    frame = tcp.samples.copy()
    frame.loc[zc & (frame["block"] == 0), "witness_notifications"] = 8
    frame.loc[zc & (frame["block"] == 0), "witness_copied"] = 0
    summary = table.summary(replace(tcp, samples=frame))
    udp = summary.assign(protocol="udp", witnesses=0)
    rows = [summary, udp]
    both = "; ".join(opening._defined(_zerocopy(rows)))

    assert both == (
        "copied: notifications with IORING_NOTIF_USAGE_ZC_COPIED, " + WITNESS[0]
    )
    assert ", of MSG_EOR requests" in "".join(opening._defined(_zerocopy(rows[:1])))


def _zerocopy(frames):
    frame = pd.concat(frames, ignore_index=True)
    return frame[frame["notifications"] > 0]


def test_unknown_shares_are_not_defined(tmp_path):
    """Who was not asked cannot be said to have answered."""
    run = samples.make(
        tmp_path, plan_points=samples.points()[:1], planned=8, copied={"sink": None}
    )
    said = said_of(run)[0]

    assert "copied" not in said
    assert "IORING_NOTIF" not in said


def test_the_advice_names_msg_eor_where_tcp_was_sent(tmp_path, tcp):
    """The flag alone would mislead over TCP; without TCP nobody needs to know."""
    assert WITNESS[1] in said_of(tcp)[-1]
    assert "MSG_EOR" not in advice(tmp_path, {4000: 10.0})
    assert "IORING_SEND_ZC_REPORT_USAGE" in said_of(tcp)[-1]


def test_february_has_both_verdicts_and_what_they_rest_on(quick):
    """Percent and ns need not agree, and the ns rest on a unit and a clock."""
    said = said_of(quick)[1]
    summary = table.summary(quick)
    rows = claims.compared(summary, quick)
    rows = rows[rows["table"] == "feb2025-selftest"]
    tally = claims.tally(rows.loc[rows["point"] != "", "verdict_ns"])

    assert tally != "3 reproduced"
    assert f": 3 reproduced in percent, {tally} in ns saved; 100% copied" in said
    assert "(zclab replay has the selftest's own)" in said
    assert re.search(r"into a sink, with no receiver, .* \+.* with 0% copied", said)


def test_verdicts_that_agree_are_told_once():
    """By percent and by ns."""
    here = pd.DataFrame({"verdict": ["reproduced"], "verdict_ns": ["reproduced"]})

    assert opening._both(here) == "1 reproduced, in percent and in ns saved alike"


def test_a_mail_is_told_what_its_tables_do_not_say(quick):
    """Its sentences are those of the page without the sizes and the sink."""
    summary = table.summary(quick)
    said = said_of(quick)
    brief = opening.brief(quick, summary, claims.compared(summary, quick))

    assert [brief[0], *brief[2:]] == [said[0], said[2], said[4]]
    assert brief[1].rstrip(".") == said[1].partition("; into a sink")[0]


def test_what_n_is_worth_and_what_was_reached(quick):
    """Both only where they are less than they seem, or than was asked for."""
    summary = table.summary(quick)
    stop = Stop(precision=0.5)
    plan = replace(quick.plan, stop=stop)
    names = [point.name for point in plan.points]
    reasons = [*["precision"] * (len(names) - 1), "budget"]

    def where(frame=summary, **changes):
        return opening._where(replace(quick, plan=plan, **changes), frame)

    def stopped(reasons):
        return {name: {"reason": why} for name, why in zip(names, reasons, strict=True)}

    worth = table.range_text(summary["n_effective"].dropna())
    assert f"n=40 blocks each, worth {worth} independent ones" in where()
    alike = summary.assign(n_effective=summary["n"].astype("Int64"))
    assert "worth" not in where(alike)
    assert "asked for" not in where()  # nothing was recorded
    assert "asked for" not in where(stopped=stopped(["precision"] * len(names)))
    few = where(stopped=stopped(reasons))
    assert f", time ended 1 of {len(names)} before +-0.5 points" in few
    none = where(stopped=stopped(["budget"] * len(names)))
    assert f", time ended {len(names)} of {len(names)} before +-0.5 points" in none


def test_v5s_largest_number_is_named_with_its_counterpart(quick, tmp_path):
    """+84 % is the first that a reader knows; it had no notification."""
    claimed = (
        "its zc (+84% at 8000 B) had no notification, mainline always posts one, so "
        "only its zc + flush (+71%) has a counterpart"
    )
    without = samples.make(tmp_path, plan_points=samples.points()[5:6], planned=8)

    assert claimed in said_of(quick)[2]
    assert claimed in said_of(without)[2]


def test_more_ns_may_be_a_smaller_percent(tmp_path):
    """As plain send is dearer here; not said where either is not surely so."""
    run = on_the_sink(tmp_path / "more", {600: -20.0, 8000: 40.0})
    said = said_of(run)[2]
    row = table.summary(run).query("arm == 'send'").set_index("io_size_bytes").loc[8000]
    low, high = row["ns_low"], row["ns_high"]

    assert (
        "; at 8000 B more ns are saved than then but a smaller percent, as plain send "
        f"takes {row['ns_per_request']:.0f} [{low:.0f}, {high:.0f}] ns here and took "
        "769."
    ) in said
    larger = said_of(on_the_sink(tmp_path / "larger", {600: -20.0, 8000: 90.0}))[2]
    assert "smaller percent" not in larger
    less = said_of(on_the_sink(tmp_path / "less", {600: -20.0, 8000: 2.0}))[2]
    assert "smaller percent" not in less


def charged(run, more, point=None):
    """Return a run whose registered sends took `more` times the CPU of plain ones.

    The clock is twice that of the plain sends' CPU, and all slices were switched out.
    """
    frame = run.samples.copy()
    mine = frame["requests"] > 0
    if point:
        mine &= frame["point"] == point
    per_request = frame.loc[mine, "elapsed_ns"].groupby(frame["point"]).transform("min")
    per_request /= frame.loc[mine, "requests"].groupby(frame["point"]).transform("max")
    fixed = frame.loc[mine, "arm"] == "send_zc_fixed"
    factor = fixed.map({True: more, False: 1.0})
    cpu = (per_request * frame.loc[mine, "requests"] * 0.3 * factor).round()
    frame.loc[mine, "cpu_user_ns"] = 0
    frame.loc[mine, "cpu_sys_ns"] = cpu.astype("int64")
    frame.loc[mine, "switches_voluntary"] = 9
    return replace(run, samples=frame)


def test_a_gain_that_costs_cpu_is_not_recommended(tmp_path):
    """Where all gains are paid for with the sender's CPU the sentence says so."""
    run = charged(on_the_sink(tmp_path, {4000: 10.0, 8000: 25.0}), 1.4)
    said = said_of(run)[-1]

    assert "send from a registered buffer" not in said
    assert "a registered buffer gains requests/s, but for more CPU: over UDP" in said
    assert "only for more of the sender's CPU: +40% [+40, +40] a request" in said


def test_a_gain_that_costs_cpu_stands_apart(tmp_path):
    """What is recommended is the smallest size whose gain costs no more CPU."""
    run = on_the_sink(tmp_path, {1200: -10.0, 4000: 10.0, 8000: 25.0})
    run = charged(run, 1.4, point="sink-udp4-4000B-n8")
    said = said_of(run)[-1]

    assert "from a registered buffer: over UDP at 8000 B (not at 1200 B) (at 4" in said
    assert re.search(r"\(at 4000 B only for more of the sender's CPU: \+40%", said)


def test_a_loss_that_saves_cpu_is_told_as_one(tmp_path):
    """Plain send is not recommended without the CPU time that it takes more."""
    run = charged(on_the_sink(tmp_path, {4000: -10.0, 8000: -25.0}), 0.6)
    said = said_of(run)[-1]

    assert "though for less of the sender's CPU: -40% [-40, -40] a request" in said
    assert "send plainly" not in said


def test_a_copied_loss_that_saves_cpu_is_counted(tmp_path):
    """Likewise where all is copied: it is no place to send plainly on throughout."""
    run = samples.make(tmp_path, plan_points=samples.points()[5:6])
    said = said_of(charged(run, 0.6))[-1]

    assert "send plainly" not in said
    assert "on veth it depends: copied and slower in 3 of 3, at worst" in said
    assert ", but for less of the sender's CPU in 1" in said


def test_the_interval_of_the_cpu_time_decides_where_there_is_one(tmp_path):
    """On live paths and over TCP the text of the limits is quoted."""
    run = charged(test_witness.run_of(tmp_path), 1.4)
    limits = bottleneck.limits(run)
    row = limits[
        (limits["path"] == "sink+answered") & (limits["arm"] == "send_zc_fixed")
    ].iloc[0]

    assert math.isfinite(row["cpu_low"])
    assert f"CPU: {bottleneck.more_text(row)} a request" in said_of(run)[-1]


def test_a_small_difference_in_cpu_is_told_by_its_interval(tmp_path):
    """On the sink over UDP too: no share of the CPU time is too small as such."""
    run = charged(on_the_sink(tmp_path, {8000: 25.0}), 1.03)
    said = said_of(run)[-1]
    frame = run.samples.copy()
    fixed = frame["arm"] == "send_zc_fixed"
    spread = (frame["block"] // 4 % 2).map({0: 0.5, 1: 1.5})
    bent = (frame["cpu_sys_ns"] * spread).round().astype("int64")
    frame["cpu_sys_ns"] = frame["cpu_sys_ns"].where(~fixed, bent)

    assert "only for more of the sender's CPU" in said
    assert "CPU: +3% [+3, +3] a request" in said
    assert "CPU" not in said_of(replace(run, samples=frame))[-1]


UDP, VETH, SINK6 = (
    slice(0, 5),
    slice(5, 6),
    slice(6, 7),
)


@pytest.mark.parametrize(
    ("which", "there", "absent"),
    [
        # no veth: February is not there, v5 is
        (UDP, {2: "4 direction", 3: "on sink, UDP/IPv4"}, {1: "this measures it: "}),
        # no v5 rows: February is there
        (VETH, {1: "65435 B"}, {2: "this measures that: zclab", 3: "cannot say"}),
        (
            SINK6,
            {4: "over UDP at 65435 B"},
            {1: "is not in this run", 2: "are not in"},
        ),
        # only TCP over lo
        (slice(7, 9), {4: "copied on lo"}, {1: "not in", 2: "not in", 3: "say"}),
    ],
)
def test_gaps(tmp_path, which, there, absent):
    """What a run lacks is said in the sentence that would have told it."""
    run = samples.make(tmp_path, plan_points=samples.points()[which], planned=20)
    said = said_of(run)

    assert len(said) == 5
    for number, words in {**there, **absent}.items():
        assert words in said[number]
    for text in said:
        assert "nan" not in text
        assert text.endswith(".")


def test_only_plain_sends(tmp_path):
    """Without a zerocopy mode nothing is copied, defined or recommended."""
    run = samples.make(
        tmp_path,
        plan_points=(replace(samples.points()[0], modes=("send",)),),
        planned=8,
    )
    said = said_of(run)

    assert "; no zerocopy mode among them." in said[0]
    assert "cannot say" in said[4]
