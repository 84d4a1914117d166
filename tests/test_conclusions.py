"""What a run shows in sentences, of synthetic runs whose true effects are known."""

import re
from dataclasses import replace
from pathlib import Path as Folder

import pandas as pd
import pytest
import samples
from faithful import as_published

from zclab import store
from zclab.explain import claims, conclusions, published, table


@pytest.fixture(scope="module")
def faithful(tmp_path_factory: pytest.TempPathFactory) -> store.Run:
    """Return a run in which every effect is the published one."""
    return samples.make(tmp_path_factory.mktemp("runs"), gain=as_published)


def test_sentences_of_a_faithful_run_say_all_of_it(faithful: store.Run) -> None:
    """Copied by path, wins, losses, the selftest, its cause and v5, in this order."""
    sentences = conclusions.sentences(faithful, table.summary(faithful))
    text = "\n".join(sentences)
    order = [
        "On sink yes: 0% of",
        "on veth no: 100% of",
        "wins on sink",
        "loses on veth",
        "Against the February 2025 selftest",
        "skb_orphan_frags_rx",
        "Against v5's dummy table",
    ]

    assert [text.index(part) for part in order] == sorted(
        text.index(part) for part in order
    )
    assert "partial" not in text
    assert text.isascii()


def seen_on_veth(**ns: dict[str, int]) -> dict[str, object]:
    """Return what perf saw of the selftest's point: ns by arm and function."""
    return {
        "name": "veth-udp6-65435B-n64",
        "arms": [
            {
                "arm": arm,
                "stacks": stacks,
                "samples": sum(stacks.values()),
                "sampled_ns": sum(stacks.values()),
                "requests": 1,
            }
            for arm, stacks in ns.items()
        ],
    }


def test_the_loss_over_veth_is_divided_by_perf(faithful: store.Run) -> None:
    """Buckets in order of size, without those that hardly differ, and most of it."""
    frame = table.summary(faithful)
    rows = claims.compared(frame, faithful)
    send = {"skb_copy_ubufs": 1000, "kmalloc": 1000, "udp_sendmsg": 500}
    late = {"skb_copy_ubufs": 1200, "kmalloc": 1800, "udp_sendmsg": 510}
    fixed = {**late, "io_sg_from_iter": 300}
    one = seen_on_veth(send=send, send_zc_fixed=fixed)
    why = conclusions.causes(frame, rows, [one])[0]

    assert "+1310 ns dearer than send on veth: allocation +800, pinning +300" in why
    assert "copy +200. So most of it is allocation." in why
    assert "protocol" not in why
    assert "without an interval" in why
    fixed["io_sg_from_iter"] = 1000
    one = seen_on_veth(send=send, send_zc_fixed=fixed)
    why = conclusions.causes(frame, rows, [one])[0]
    assert "So most of it is pinning and allocation." in why


@pytest.mark.parametrize(
    "seen",
    [
        [],
        [{**seen_on_veth(send={"kmalloc": 5}), "name": "veth-udp6-65435B-n8"}],
        [seen_on_veth(send={"kmalloc": 5})],
        [seen_on_veth(send={"kmalloc": 5}, send_zc_fixed={"kmalloc": 4})],
    ],
    ids=["none", "another point", "send alone", "no loss"],
)
def test_without_a_breakdown_its_command_is_named(
    faithful: store.Run, seen: list[dict[str, object]]
) -> None:
    """What was not measured apart is not divided, and what would divide it is said."""
    frame = table.summary(faithful)
    why = conclusions.causes(frame, claims.compared(frame, faithful), seen)[0]

    assert "were not measured apart; this does: zclab breakdown --path veth " in why
    assert why.endswith("--protocol udp --family 6 --sizes 65435 --batch 64.")
    assert "allocates" in why
    assert "twice" not in why


def test_every_claimed_effect_has_its_interval_and_n(faithful: store.Run) -> None:
    """No sentence gives a gain without an interval beside it, or without an n."""
    for sentence in conclusions.sentences(faithful, table.summary(faithful)):
        own = re.sub(r"[-+][\d.]+% then", "", sentence)
        gains = re.findall(r"[-+][\d.]+%", own)
        intervals = re.findall(r"[-+][\d.]+% \[", own)
        assert len(gains) == len(intervals), sentence
        assert not gains or "n=" in sentence


def test_a_win_on_veth_is_said_but_not_called_zerocopy(tmp_path: Folder) -> None:
    """The words follow the numbers, not the expectation."""
    run = samples.make(tmp_path, gain=lambda point, arm: 20.0 * ("zc" in arm))
    text = " ".join(conclusions.sentences(run, table.summary(run)))

    assert "wins on veth" in text
    assert "but the kernel copied these (100%)" in text
    assert "loses at no measured point" in text


def test_an_unknown_copied_share_is_said(tmp_path: Folder) -> None:
    """On a kernel before 6.2 nothing is claimed about copies, nor about the cause."""
    nothing: dict[str, float | None] = {"sink": None, "veth": None, "lo": None}
    run = samples.make(tmp_path, copied=nothing)
    text = " ".join(conclusions.sentences(run, table.summary(run)))

    assert text.count("unknown: the kernel does not report it") == 3
    assert "Why is open" in text
    assert "skb_orphan_frags_rx" not in text


def test_a_tcp_share_below_all_is_explained(tmp_path: Folder) -> None:
    """Since 6.10 a TCP share counts sends that shared an skb; the words say so."""
    run = samples.make(tmp_path, copied={"lo": 0.77})
    text = " ".join(conclusions.sentences(run, table.summary(run)))

    assert "on lo in part" in text
    assert "shared an skb" in text


def test_a_partial_run_says_so_first(tmp_path: Folder) -> None:
    """And compares what it has."""
    run = samples.make(tmp_path, planned=20, stop_after=90)
    sentences = conclusions.sentences(run, table.summary(run))

    assert sentences[0].startswith("This run is partial: 90 of 180 planned blocks")
    assert len(claims.compare(run)) == len(published.claims())


@pytest.mark.parametrize("index", [0, 5, 6, 7])  # sink, veth, sink over IPv6, lo
def test_each_point_alone_can_be_told(tmp_path: Folder, index: int) -> None:
    """Any single point makes a report: nothing relies on another being there."""
    run = samples.make(
        tmp_path, plan_points=(samples.points()[index],), planned=6, host={}
    )
    sentences = conclusions.sentences(run, table.summary(run))

    assert all(sentence.endswith(".") for sentence in sentences)
    assert len(claims.compare(run)) == len(published.claims())


def test_what_is_equivalent_is_a_finding(tmp_path: Folder) -> None:
    """A planted 0 % is said to differ by less than a point, with its interval."""
    run = samples.make(tmp_path, planned=60, gain=lambda point, arm: 0.0)
    text = " ".join(conclusions.sentences(run, table.summary(run)))

    assert "Differs from send by less than 1 point: " in text
    assert "send_zc_fixed at 600 B on sink, UDP/IPv4, batch 8 (" in text


def test_findings_are_weighed_as_a_whole(faithful: store.Run) -> None:
    """One sentence says how many comparisons there are, and how many hold together."""
    frame = table.summary(faithful)
    said = list(conclusions.as_a_whole(frame))
    tested = int(frame["p_holm"].notna().sum())
    decided = int(
        (frame["finding"].isin(["faster", "slower"]) & frame["p_holm"].notna()).sum()
    )

    assert len(said) == 1
    assert (
        f"Of {tested} comparisons with send, mixed included, {decided} are faster or "
        "slower" in said[0]
    )
    pure = frame[frame["mode"] != "mixed"]
    assert "comparisons with send" in next(conclusions.as_a_whole(pure))
    assert "mixed" not in next(conclusions.as_a_whole(pure))
    weak = frame.assign(p_holm=frame["p_holm"].where(frame["p_holm"].isna(), 0.5))
    assert "; 0 of these hold at 5%" in next(conclusions.as_a_whole(weak))
    assert not list(conclusions.as_a_whole(frame.assign(finding="equivalent")))


def test_the_parts_of_the_difference_are_left_out_on_request(
    faithful: store.Run,
) -> None:
    """A mail, which knows the run alone, names no command for them."""
    (told,) = conclusions.why(table.summary(faithful))

    assert told.startswith("Why: ")
    assert told.endswith("the notification is due all the same.")


def test_the_same_device_without_a_receiver_is_told(tmp_path: Folder) -> None:
    """What a veth gains where its peer drops stands beside the veth and the sink."""
    veth, sink = samples.points(tcp=False)[5:7]
    dropped = replace(veth, situation="peer-drop")
    run = samples.make(
        tmp_path,
        plan_points=(veth, sink, dropped),
        gain=lambda point, arm: (
            50.0 if point.place != "veth" and "zc" in arm else -20.0
        ),
    )
    frame = table.summary(run)
    (copied,) = conclusions.why(frame)
    frame.loc[frame["path"] == "veth+peer-drop", "copied_share"] = 0.0
    (told,) = conclusions.why(frame)

    assert copied.startswith("The copied shares do not explain the difference: ")

    assert re.search(
        r"; on veth with a peer that drops before IP \+\d[\d.]+% \[.*?\] with 0% "
        r"\([+-]\d+ ns; n=40\)\. That is the cause",
        told,
    )


def test_a_share_by_witness_counts_witnesses(tmp_path: Folder) -> None:
    """Not the timed notifications, of which the flag says something else."""
    frame = table.summary(samples.make(tmp_path, planned=8))
    sink = frame["path"] == "sink"
    zc = sink & (frame["notifications"] > 0)
    mine = frame[zc].assign(
        protocol="tcp", witnesses=256, copied_share=0.0, flagged_share=0.9
    )
    run = samples.make(tmp_path / "plan", planned=6)
    told = conclusions._copied_on(run, "sink", mine)
    half = conclusions._copied_on(run, "sink", mine.assign(copied_share=0.5))
    both = conclusions._copied_on(
        run, "sink", pd.concat([mine, frame[zc].assign(witnesses=0)])
    )

    count = 256 * len(mine)
    beside = "of requests with MSG_EOR beside the timed slices, say copied"
    assert told == f"on sink yes: 0% of {count} notifications {beside}"
    assert "shared an skb" not in half
    assert f"{count + int(frame[zc]['notifications'].sum())} notifications" in both
    assert ", over TCP those of requests with MSG_EOR" in both


@pytest.mark.parametrize(
    ("sink", "says"),
    [
        ({"kind": "dummy"}, "the device is alike"),
        ({"kind": "ifb", "rung": "ifb"}, "one transmit lock more than dummy"),
        ({"kind": "veth", "rung": "veth-drop"}, "go on to the peer's ingress"),
        ({"kind": "veth", "rung": "veth-down"}, "with the peer down"),
        ({"kind": "tun", "rung": "tun"}, "the sink is a tun"),
        ({}, "was not recorded"),
    ],
)
def test_what_is_unlike_v5s_dummy_is_told(
    tmp_path: Folder, sink: dict[str, str], says: str
) -> None:
    """By the rung of the sink, of which a veth pair has two."""
    run = samples.make(tmp_path, plan_points=samples.points()[:1], planned=6)
    told = conclusions.unlike(replace(run, host={"paths": {"sink": sink}}))

    assert says in told


def test_costs_without_an_interval_are_not_told(tmp_path: Folder) -> None:
    """Below six blocks there is none, and no infinite one is printed."""
    run = samples.make(tmp_path, planned=3)
    frame = table.summary(run)
    few = conclusions.causes(frame, claims.compared(frame, run))

    assert not any("inf" in text for text in few)
    assert not any(text.startswith("Shape") for text in few)
