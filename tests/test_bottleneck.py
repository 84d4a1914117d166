"""What limits a point is named by the written rule, from counters made for it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests import samples
from zclab.explain import bottleneck, claims, published, readable
from zclab.explain.bottleneck import BUSY, LOST, WAITED, WIRE, named
from zclab.params import Path as PacketPath
from zclab.params import Point, Protocol, grid
from zclab.publish import mail
from zclab.store import Run

NAN = math.nan
NOTHING = {"receiver": NAN, "wire": NAN, "lost": NAN}


@pytest.mark.parametrize(
    ("shares", "word"),
    [
        ({"sender": 1.0, "receiver": NAN, "wire": NAN, "lost": NAN}, "sender"),
        ({"sender": BUSY, "receiver": 0.3, "wire": 0.5, "lost": 0.0}, "sender"),
        ({"sender": 0.84, "receiver": 0.84, "wire": 0.89, "lost": 0.009}, "not known"),
        ({"sender": NAN, "receiver": NAN, "wire": NAN, "lost": NAN}, "not known"),
        ({"sender": 1.0, "receiver": 0.2, "wire": 0.5, "lost": LOST}, "drops"),
        ({"sender": 1.0, "receiver": BUSY, "wire": 0.5, "lost": 0.2}, "receiver"),
        ({"sender": 1.0, "receiver": 1.0, "wire": WIRE, "lost": 0.2}, "wire"),
        ({"sender": BUSY, **NOTHING, "waited": 1.0}, "sender"),
        ({"sender": 0.5, **NOTHING, "waited": WAITED}, "answers"),
        ({"sender": 0.5, **NOTHING, "waited": 0.49}, "not known"),
    ],
)
def test_rule(shares: dict[str, float], word: str) -> None:
    """The first that holds names the limit; what is not known never does."""
    assert named(**shares) == word


FACTS = {
    **samples.HOST["paths"]["sink"],
    "device": "eth1",
    "kind": "mlx5_core",
    "driver": "mlx5_core",
    "firmware": "16.35.1012",
    "mtu": 9000,
    "link_mbit": 10_000,
    "duplex": "full",
    "numa_node": 0,
    "destination_alias": "dst-0000",
    "live": False,
}
HOST = {**samples.HOST, "paths": {"nic": FACTS}}
SIZE = 8000
BATCH = 8


def points(protocol: Protocol = Protocol.UDP) -> tuple[Point, ...]:
    """Return one point of a card, unconnected where it is UDP."""
    udp = protocol is Protocol.UDP
    return grid(
        path=PacketPath.NIC,
        protocol=protocol,
        family=4,
        sizes=(SIZE,),
        modes=("send", "send_zc", "send_zc_fixed"),
        batch=BATCH if udp else 1,
        given=(("addressed", True),) if udp else (),
    )


def run_of(tmp_path: Path, **columns: Any) -> Run:
    """Return a run of a card in which every sample has these counters.

    A slice sends 1000 requests in ten milliseconds: 6.4 Gbit/s of payload.
    """
    made = samples.make(
        tmp_path,
        plan_points=points(),
        planned=24,
        host=HOST,
        gain=lambda point, arm: 0.0,
        copied={"nic": 0.0},
    )
    table = made.samples.assign(
        elapsed_ns=10_000_000,
        drain_ns=0,
        requests=1000,
        bytes=1000 * SIZE,
        datagrams=pd.array([1000] * len(made.samples), dtype="Int64"),
        sent_total_bytes=1000 * SIZE,
        cpu_user_ns=1_000_000,
        cpu_sys_ns=4_000_000,
        switches_voluntary=3,
    )
    wide = {
        name: pd.array([value] * len(table), dtype="Int64")
        for name, value in columns.items()
    }
    return replace(made, samples=table.assign(**wide))


def limit_of(run: Run) -> set[str]:
    """Return the limits that are named, one if all arms have the same."""
    return set(bottleneck.limits(run)["bottleneck"])


def test_idle_sender_below_the_link_is_not_known(tmp_path: Path) -> None:
    """Half a CPU and two thirds of the link name nothing."""
    run = run_of(tmp_path)
    found = bottleneck.limits(run).iloc[0]
    assert limit_of(run) == {"not known"}
    assert found["sender_share"] == pytest.approx(0.5)
    # 8000 B of payload, 28 of IP and UDP, 38 of Ethernet: 8066 B a packet
    assert found["mbit_per_s"] == pytest.approx(1000 * 8066 * 8 / 10_000)
    assert found["wire_share"] == pytest.approx(0.645, abs=0.001)
    assert found["cpu_ns_per_kib"] == pytest.approx(5_000_000 / 8_000_000 * 1024)
    assert math.isnan(found["receiver_share"])


def test_wire(tmp_path: Path) -> None:
    """Of a link of 7 Gbit/s those are 92 percent."""
    run = run_of(tmp_path)
    slower = {**HOST, "paths": {"nic": {**FACTS, "link_mbit": 7000}}}
    assert limit_of(replace(run, host=slower)) == {"wire"}


def test_unknown_link_speed_is_no_wire(tmp_path: Path) -> None:
    """Without a speed no share of it is made up."""
    facts = {key: value for key, value in FACTS.items() if key != "link_mbit"}
    run = replace(run_of(tmp_path), host={**HOST, "paths": {"nic": facts}})
    assert limit_of(run) == {"not known"}
    assert bottleneck.limits(run)["wire_share"].isna().all()
    assert "of the link" not in bottleneck.readable(bottleneck.limits(run))


def test_sender(tmp_path: Path) -> None:
    """Nine tenths of a CPU are the limit."""
    assert limit_of(run_of(tmp_path, cpu_sys_ns=8_000_000)) == {"sender"}


def test_receiver(tmp_path: Path) -> None:
    """A peer whose thread was busy all the time is the limit, losses or not."""
    run = run_of(
        tmp_path,
        receiver_cpu_user_ns=1_000_000,
        receiver_cpu_sys_ns=9_000_000,
        received_bytes=900 * SIZE,
    )
    assert limit_of(run) == {"receiver"}


@pytest.mark.parametrize(("flows", "limit"), [(1, "receiver"), (4, "not known")])
def test_softirq_of_many_flows_is_of_many_cpus(
    tmp_path: Path, flows: int, limit: str
) -> None:
    """A peer whose CPUs together spend more than one's time in softirq may be idle."""
    run = run_of(
        tmp_path,
        receiver_cpu_user_ns=0,
        receiver_cpu_sys_ns=1_000_000,
        softirq_receiver_ns=12_000_000,
        received_bytes=1000 * SIZE,
    )
    point = replace(
        run.plan.points[0], given=(*run.plan.points[0].given, ("flows", flows))
    )
    samples = run.samples.assign(point=point.name)
    plan = replace(run.plan, points=(point,))
    assert limit_of(replace(run, plan=plan, samples=samples)) == {limit}


@pytest.mark.parametrize(
    "columns",
    [
        {"received_bytes": 980 * SIZE},
        {"device_tx_packets": 980, "device_tx_dropped": 20},
    ],
)
def test_drops(tmp_path: Path, columns: dict[str, int]) -> None:
    """Two percent that the device dropped, or that did not arrive, are the limit."""
    run = run_of(tmp_path, **columns)
    assert limit_of(run) == {"drops"}
    assert bottleneck.limits(run)["lost_share"].iloc[0] == pytest.approx(0.02)


def test_cpu_time_is_compared_in_pairs(tmp_path: Path) -> None:
    """An arm that takes half of the CPU time is 50 percent below, whatever drifts."""
    run = run_of(tmp_path)
    table = run.samples
    drift = 4_000_000 + 100_000 * table["block"]
    half = table["arm"] == "send_zc_fixed"
    table = table.assign(cpu_user_ns=0, cpu_sys_ns=drift.where(~half, drift // 2))
    found = bottleneck.limits(replace(run, samples=table)).set_index("arm")
    row = found.loc["send_zc_fixed"]
    assert row["cpu_percent"] == pytest.approx(-50)
    assert row["cpu_low"] == pytest.approx(-50)
    assert row["cpu_high"] == pytest.approx(-50)
    assert bottleneck.more_text(row) == "-50% [-50, -50]"
    assert found.loc["send_zc", "cpu_percent"] == pytest.approx(0)
    assert bottleneck.more_text(found.loc["send"]) == ""


def answered(tmp_path: Path, **columns: Any) -> Run:
    """Return a run of TCP over the sink in which every sample has these counters."""
    made = samples.make(
        tmp_path,
        plan_points=grid(
            path=PacketPath.SINK,
            protocol=Protocol.TCP,
            family=4,
            sizes=(1200,),
            modes=("send", "send_zc_fixed"),
            batch=1,
            situation="answered",
        ),
        planned=24,
    )
    return replace(made, samples=made.samples.assign(elapsed_ns=1_000_000, **columns))


def test_tcp_over_the_sink_is_the_senders_where_it_never_waits(tmp_path: Path) -> None:
    """A thread that was never switched out had the CPU, whatever a tick counted."""
    run = answered(tmp_path, cpu_user_ns=0, cpu_sys_ns=0)
    found = bottleneck.limits(run)
    assert set(found["path"]) == {"sink+answered"}
    assert limit_of(run) == {"sender"}
    assert found["sender_share"].eq(1).all()
    assert found["receiver_share"].isna().all()


def test_tcp_over_the_sink_waits_for_acknowledgements(tmp_path: Path) -> None:
    """A sender that sleeps there waits for room, and its CPU time counts."""
    run = answered(tmp_path, cpu_user_ns=0, cpu_sys_ns=570_000, switches_voluntary=1)
    table = run.samples
    dearer = table["cpu_sys_ns"].where(table["arm"] == "send", 810_000)
    run = replace(run, samples=table.assign(cpu_sys_ns=dearer))
    found = bottleneck.limits(run).set_index("arm")
    assert limit_of(run) == {"answers"}
    assert found.loc["send", "sender_share"] == pytest.approx(0.57)
    assert found.loc["send_zc_fixed", "cpu_low"] > 0
    (text,) = bottleneck.sentences(bottleneck.limits(run))
    assert text.startswith("sink+answered: the sender waits for acknowledgements in 2")
    assert "its CPU time per request counts" in text


def test_unknown_switches_are_no_waiting_share(tmp_path: Path) -> None:
    """Of an older run nobody knows whether the sender waited: not 0, but NaN."""
    run = answered(tmp_path, cpu_user_ns=0, cpu_sys_ns=570_000)
    unknown = pd.array([pd.NA] * len(run.samples), dtype="Int64")
    run = replace(run, samples=run.samples.assign(switches_voluntary=unknown))
    assert bottleneck.limits(run)["waited_share"].isna().all()


def test_what_the_control_differs_by_is_no_difference(tmp_path: Path) -> None:
    """CPU time that equal arms differ by as well shows nothing of an arm."""
    run = answered(tmp_path, cpu_user_ns=0, switches_voluntary=1, bytes=1_200_000)
    table = run.samples

    def found(control_ns: int) -> str:
        ns = {"send": 500_000, "control": control_ns, "send_zc_fixed": 520_000}
        spent = table["arm"].astype(str).map(ns).astype("int64")
        limits = bottleneck.limits(
            replace(run, samples=table.assign(cpu_sys_ns=spent))
        ).set_index("arm")
        return str(bottleneck.finding(limits.loc["send_zc_fixed"]))

    assert found(500_000) == "slower"
    assert found(490_000) == "slower"
    assert found(525_000) == "no difference found"


def test_namespaces_without_a_receiver_are_left_out(tmp_path: Path) -> None:
    """A sink has nothing that could be the limit but the sender."""
    run = samples.make(tmp_path, plan_points=samples.points(tcp=False), planned=8)
    assert set(bottleneck.limits(run)["path"]) == {"veth"}
    assert list(bottleneck.texts(bottleneck.limits(run))) == []
    sink = samples.make(tmp_path / "sink", plan_points=samples.points()[:1], planned=8)
    assert bottleneck.limits(sink).empty
    assert bottleneck.sentences(bottleneck.limits(sink)) == []
    assert bottleneck.readable(bottleneck.limits(sink)).empty


def test_mail_has_the_table_and_is_fit_for_a_list(tmp_path: Path) -> None:
    """The mail names v5's NIC table, the limits, and no address."""
    run = run_of(tmp_path, cpu_sys_ns=8_000_000)
    text = mail.render(run, run.id)
    assert mail.lint(text) == []
    assert "What limits each arm" in text
    assert " 8000 | send_zc_fixed | sender |" in text
    assert "mlx5_core, firmware 16.35.1012" in text
    assert published.NO_NIC not in text
    assert "--dev $DEV --dst $DST" in " ".join(text.split())


def test_claims_of_the_nic_have_twins(tmp_path: Path) -> None:
    """A card's point is compared with v5's row of its size, connected or not."""
    nic = grid(
        path=PacketPath.NIC,
        protocol=Protocol.UDP,
        family=4,
        sizes=(4000, 1500),
        modes=("send", "send_zc_fixed"),
        batch=8,
        given=(("addressed", True),),
    )
    gains = {4000: 12.9, 1500: 2.5}
    run = samples.make(
        tmp_path,
        plan_points=nic,
        planned=40,
        host=HOST,
        gain=lambda point, arm: gains[point.io_size_bytes] * (arm != "control"),
        copied={"nic": 0.0},
        noise=0.001,
    )
    rows = claims.compare(run).set_index("claim")
    assert rows.loc["v5-nic/4000/zc+flush", "verdict"] == claims.REPRODUCED
    assert rows.loc["v5-nic/1500/zc+flush", "verdict"] == claims.REPRODUCED
    assert rows.loc["v5-nic/1000/zc+flush", "verdict"] == claims.NOT_MEASURED
    assert rows.loc["v5-nic/4000/zc", "verdict"] == claims.NOT_COMPARABLE


def test_copied_sends_of_a_card_are_not_v5s(tmp_path: Path) -> None:
    """Where the kernel copied there is no verdict on a table of zerocopy."""
    run = samples.make(
        tmp_path,
        plan_points=grid(
            path=PacketPath.NIC,
            protocol=Protocol.UDP,
            family=4,
            sizes=(4000,),
            modes=("send", "send_zc_fixed"),
            batch=8,
        ),
        planned=40,
        host=HOST,
        gain=lambda point, arm: 12.9 * (arm != "control"),
        copied={"nic": 1.0},
    )
    row = claims.compare(run).set_index("claim").loc["v5-nic/4000/zc+flush"]
    assert row["verdict"] == claims.NOT_COMPARABLE
    assert "100% of notifications say copied" in row["reason"]


@pytest.mark.parametrize(("took_ns", "told"), [(1_900_000, "95"), (2_100_000, "100")])
def test_a_responder_has_one_cpu(tmp_path: Path, took_ns: int, told: str) -> None:
    """Its time is of warm-up, slice and drain, and is told as a share of all three."""
    run = answered(
        tmp_path,
        drain_ns=0,
        bytes=1_200_000,
        sent_total_bytes=2_400_000,
        responder_segments=100,
        responder_acks=50,
        responder_lost=0,
        receiver_cpu_user_ns=took_ns,
        receiver_cpu_sys_ns=0,
        tcp_retransmits=0,
        tcp_timeouts=0,
    )
    busy = readable.answered(run)["responder busy [% of its CPU]"]
    assert set(busy) == {told}


def test_a_responder_without_a_slice_has_no_share(tmp_path: Path) -> None:
    """Where nothing was sent in time, how busy it was is not known: no 100."""
    run = answered(
        tmp_path,
        drain_ns=0,
        bytes=0,
        sent_total_bytes=0,
        responder_segments=0,
        responder_acks=0,
        responder_lost=0,
        receiver_cpu_user_ns=1_000_000,
        receiver_cpu_sys_ns=0,
        tcp_retransmits=0,
        tcp_timeouts=0,
    )
    assert set(readable.answered(run)["responder busy [% of its CPU]"]) == {"-"}


def received(
    tmp_path: Path,
    path: PacketPath,
    *,
    resent: dict[str, int],
    families: tuple[int, ...] = (4,),
    protocol: Protocol = Protocol.TCP,
    situation: str = "",
) -> Run:
    """Return a run in which each slice resends so much, of 1000 requests in all."""
    made = samples.make(
        tmp_path,
        plan_points=tuple(
            point
            for family in families
            for point in grid(
                path=path,
                protocol=protocol,
                family=family,
                sizes=(4096,),
                modes=("send", "send_zc", "send_zc_fixed"),
                batch=1,
                situation=situation,
            )
        ),
        planned=20,
        gain=lambda point, arm: 0.0,
        copied={"nic": 0.0},
    )
    table = made.samples
    return replace(
        made,
        samples=table.assign(
            # A quarter went out while it warmed up, and may have been resent as well.
            requests=750,
            sent_total_bytes=1000 * 4096,
            tcp_retransmits=pd.array(
                [resent.get(arm, 0) for arm in table["arm"]], dtype="Int64"
            ),
        ),
    )


@pytest.mark.parametrize("path", [PacketPath.LO, PacketPath.VETH])
def test_what_zerocopy_resends_to_this_host_is_told(
    tmp_path: Path, path: PacketPath
) -> None:
    """The most come first, the control is left out, and the cause is named."""
    run = received(tmp_path, path, resent={"send_zc": 3, "send_zc_fixed": 4})

    assert bottleneck.resent(run) == (
        f"Resent, segments per 1000 requests: {path} at 4096 B: send_zc_fixed 4.0, "
        f"send_zc 3.0, send 0.00 (n=20). {bottleneck.OVERTAKEN}"
    )
    assert bottleneck.resent(run).isascii()


def test_points_of_one_size_are_told_apart(tmp_path: Path) -> None:
    """Where two points share place and size, what they differ in is said."""
    run = received(tmp_path, PacketPath.LO, resent={"send_zc": 1}, families=(4, 6))
    text = bottleneck.resent(run)

    assert "lo at 4096 B, IPv4, batch 1: send_zc 1.0" in text
    assert "lo at 4096 B, IPv6, batch 1: send_zc 1.0" in text
    assert text.count(bottleneck.OVERTAKEN) == 1


@pytest.mark.parametrize(
    ("path", "resent"),
    [
        (PacketPath.LO, {"send": 3, "send_zc": 3, "send_zc_fixed": 3}),
        (PacketPath.LO, {"send": 3}),
        (PacketPath.NIC, {"send_zc": 3, "send_zc_fixed": 3}),
    ],
)
def test_other_resends_have_no_known_cause(
    tmp_path: Path, path: PacketPath, resent: dict[str, int]
) -> None:
    """Losses that plain sends have too, or that a wire has, are told without one."""
    text = bottleneck.resent(received(tmp_path, path, resent=resent))

    assert text.startswith(
        f"Resent, segments per 1000 requests: {path} at 4096 B: send"
    )
    assert text.endswith("(n=20).")


def test_little_that_is_resent_is_not_told(tmp_path: Path) -> None:
    """Nor what an old run did not count, nor UDP, nor what only a responder took."""
    much = {"send_zc": 4}
    little = received(tmp_path / "a", PacketPath.LO, resent={"control": 9})
    one = (little.samples["block"] == 3) & (little.samples["arm"] == "send_zc")
    rare = little.samples.assign(tcp_retransmits=one.astype("Int64") * 9)
    old = received(tmp_path / "b", PacketPath.LO, resent=much)
    unknown = pd.array([pd.NA] * len(old.samples), dtype="Int64")
    answered = received(
        tmp_path / "c", PacketPath.SINK, resent=much, situation="answered"
    )
    udp = received(tmp_path / "d", PacketPath.VETH, resent=much, protocol=Protocol.UDP)

    assert bottleneck.resent(little) == ""
    assert bottleneck.RESENT < 9 / 20_000
    assert bottleneck.resent(replace(little, samples=rare)) == ""
    assert (
        bottleneck.resent(
            replace(old, samples=old.samples.assign(tcp_retransmits=unknown))
        )
        == ""
    )
    assert bottleneck.resent(answered) == ""
    assert bottleneck.resent(udp) == ""
