"""Options are read, refused, spelt and laid over each other as they are documented."""

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zclab import options
from zclab.errors import InputError
from zclab.options import OPTIONS, Options
from zclab.params import Mode, Path, Plan, Point, Protocol, arm_mode

POINT = Point(
    path=Path.SINK, protocol=Protocol.UDP, family=4, io_size_bytes=4096, batch=8
)
LO = replace(POINT, path=Path.LO)
TCP = Point(
    path=Path.LO,
    protocol=Protocol.TCP,
    family=4,
    io_size_bytes=4096,
    batch=1,
    modes=(Mode.SEND,),
)


def test_every_option_has_a_default_of_its_own_spelling():
    """The default of each option, spelt and read again, is the default."""
    for name, option in OPTIONS.items():
        spelt = options.spell([(name, option.default)]).partition("=")[2]

        assert option.value(spelt) == option.default
        assert getattr(Options(), name) == option.default
    assert set(OPTIONS) == {field.name for field in fields(Options)}


def test_every_option_is_explained():
    """The table has a meaning for each, and a unit for each number."""
    for row in options.table():
        assert row["meaning"]
        number = isinstance(OPTIONS[row["name"]].default, int)
        switch = isinstance(OPTIONS[row["name"]].default, bool)
        assert bool(row["unit"]) == (number and not switch)


@given(st.permutations(["lag=8", "pages=thp", "verify=on", "sndbuf=4096"]))
def test_order_of_writing_does_not_matter(parts):
    """An arm has one canonical name, however its options were ordered."""
    arm = options.canonical("send_zc:" + ":".join(parts))

    assert arm == "send_zc:pages=thp:lag=8:sndbuf=4096:verify=on"
    assert options.canonical(arm) == arm
    assert arm_mode(arm) is Mode.SEND_ZC


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("colour=red", "colour.*zclab options"),
        ("lag", "lag has no value"),
        ("lag=many", "whole number from 0 to 1024"),
        ("lag=4096", "0 to 1024"),
        ("lag=1:lag=2", "twice"),
        ("verify=yes", "on or off"),
        ("taskrun=fast", "best, default, coop, defer"),
        ("cpu=left", "auto, any"),
        ("mix=send+mixed", "cannot be mixed"),
        ("mix=0*send", "weight"),
        ("mix=200*send+100*send_zc", "256"),
        ("congestion=as long as it is", "tcp_available_congestion_control"),
        ("congestion=sixteen_of_them_", "tcp_available_congestion_control"),
    ],
)
def test_bad_options_say_what_they_take(text, says):
    """What cannot be read is refused in one line that names the option."""
    with pytest.raises(InputError, match=says) as caught:
        options.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("point", "arms", "given_", "says"),
    [
        (TCP, ("send", "send_zc:batch=8"), "", "batch 8 over tcp reorders"),
        (TCP, ("send", "send:segment=100"), "", "option of udp"),
        (TCP, ("send",), "addressed=on", "option of udp"),
        (POINT, ("send",), "nodelay=on", "option of tcp"),
        (POINT, ("send",), "eor=on", "option of tcp"),
        (POINT, ("send",), "congestion=reno", "option of tcp"),
        (POINT, ("send", "send_zc:iovecs=2"), "", "sends one piece"),
        (POINT, ("send", "send_zc:mix=send"), "", "option of mode mixed"),
        (POINT, ("send",), "segment=16", "more than 128 datagrams"),
        (POINT, ("send",), "sqpoll=on:taskrun=defer", "leave taskrun out"),
        (POINT, ("send",), "sq=4", "batch 8 does not fit"),
        (POINT, ("send",), "cq=64", "kernel refuses"),
        (POINT, ("send",), "cork=on:flows=2", "one socket"),
        (POINT, ("send",), "more=2:flows=2", "one socket"),
        (LO, ("send",), "addressed=on:flows=2", "first one's receiver"),
        (POINT, ("send",), "sqpoll=on:threads=2", "leave threads out"),
        (TCP, ("send",), "verify=on:waitall=off", "leave waitall out"),
        (TCP, ("send", "send_zc"), "drain=each:more=2", "awaits 1 .* more=2 holds"),
        (
            POINT,
            ("send", "send_zc:batch=3"),
            "segment=1024:drain=each:more=2",
            "awaits 3 .* a batch that 2 divides",
        ),
        (POINT, ("send", "msg_zerocopy"), "drain=each:more=2", "awaits 1 .* more=2"),
        (POINT, ("send", "msg_zerocopy"), "drain=each:cork=on", "while cork holds"),
        (POINT, ("send",), "verify=on", "needs a receiver"),
        (TCP, ("send",), "verify=on:buffers=2", "leave buffers out"),
        (replace(TCP, io_size_bytes=4), ("send",), "verify=on", "at least 8 bytes"),
        (POINT, ("send", "send_fast"), "", "send_fast.*unknown"),
    ],
)
def test_options_that_do_not_fit_are_refused(point, arms, given_, says):
    """An option without effect, or that the kernel would refuse, is named."""
    with pytest.raises(InputError, match=says):
        replace(point, modes=arms, given=options.parse(given_))


def test_as_many_flows_as_requests_keep_tcp_in_order():
    """A batch over TCP is allowed on as many sockets, or when asked for by name."""
    replace(TCP, batch=8, given=options.parse("flows=8"))
    replace(TCP, batch=8, given=options.parse("reorder=on"))
    with pytest.raises(InputError, match="reorders"):
        replace(TCP, batch=8, given=options.parse("flows=7"))


@pytest.mark.parametrize(
    ("arm", "given_"),
    [
        ("send", "drain=each:more=3"),  # has nothing to await
        ("send_zc", "drain=each:more=3"),  # UDP copies it, and notifies at once
        ("send_zc", "drain=each:more=4:segment=1024"),
        ("send_zc", "drain=each:cork=on:segment=1024"),
        ("msg_zerocopy:batch=1", "drain=each:cork=on"),
        ("send_zc", "addressed=on:flows=2"),  # nobody receives on the sink
        ("send_zc", "sqpoll=on:flows=2"),
        ("send_zc", "more=3:threads=2"),
    ],
)
def test_options_that_only_look_alike_are_allowed(arm, given_):
    """What is near to a refused combination and can be measured is not refused."""
    modes = tuple(dict.fromkeys(("send", arm)))

    assert replace(POINT, modes=modes, given=options.parse(given_)).modes == modes


def test_short_sends_without_the_ring_are_verified():
    """Modes of one sendmsg(2) send the rest themselves, so waitall has no effect."""
    arm = "send_sync:waitall=off"

    replace(TCP, modes=("send", arm), given=options.parse("verify=on"))


def test_an_arm_s_option_lies_over_the_point_s():
    """The arm's own value wins, also when it is the default."""
    arm = "send_zc:taskrun=best"
    point = replace(
        POINT, modes=("send", arm), given=options.parse("taskrun=coop:lag=4")
    )

    assert point.options("send").taskrun == "coop"
    assert point.options("control").taskrun == "coop"
    assert point.options(arm).taskrun == "best"
    assert point.options(arm).lag == 4


def test_an_empty_value_lies_over_the_point_s_too():
    """An arm can go back to the default where its point names a congestion control."""
    arm = "send_zc:congestion="
    point = replace(TCP, modes=("send", arm), given=options.parse("congestion=reno"))

    assert point.options("send").congestion == "reno"
    assert point.options(arm).congestion == ""
    assert options.canonical(arm) == arm


def test_options_are_in_plan_and_name():
    """Options tell points and plans apart, and go through JSON."""
    other = replace(POINT, given=options.parse("lag=8:pages=thp"))
    plan = Plan(profile="custom", points=(POINT, other), seed=1)

    assert other.name == f"{POINT.name}-pages=thp:lag=8"
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert "options" not in plan.to_json()["points"][0]


def test_the_hash_of_a_plan_without_options_is_what_it_was():
    """Plans that were stored before there were options keep their hash."""
    plan = Plan(profile="custom", points=(POINT,), seed=1)

    assert plan.hash == (
        "af520b7a3628ea4704f187f7c5c0d88eb4f7391e5640c0f380de0917e7e294fa"
    )
