"""Situations made for real: what the rules predict is what the kernel does."""

import pytest
from live import needs_uring

from zclab import preflight, store
from zclab.errors import CapabilityError
from zclab.params import Path
from zclab.preflight import RULES, Prediction
from zclab.prove import paths, situations
from zclab.prove.situations import Trial


def said(word, rule="sink"):
    works, copied = {
        "refused": (False, None),
        "copied": (True, 1.0),
        "zerocopy": (True, 0.0),
        "?": (True, None),
    }[word]
    return Prediction(works=works, copied=copied, rule=RULES[rule])


def trial(word, copied=0, notifications=100, **more):
    return Trial(
        name="a situation",
        said=said(word),
        requests=notifications,
        notifications=notifications,
        copied=copied,
        **more,
    )


@pytest.mark.parametrize(
    ("one", "agrees"),
    [
        (trial("zerocopy", 0), True),
        (trial("zerocopy", 100), False),
        (trial("zerocopy", 50), False),
        (trial("zerocopy", 50, readable=False), True),  # the flag cannot tell
        (trial("zerocopy", 100, readable=False), False),
        (trial("copied", 100), True),
        (trial("copied", 60), False),
        (trial("copied", 60, readable=False), False),
        (trial("copied", 100, errors="EINVAL:1"), False),
        (trial("copied", 0, 0), False),
        (trial("refused", 0, 0, errors="EMSGSIZE:8"), True),
        (trial("refused", 0, 100), False),
    ],
)
def test_a_trial_is_judged(one, agrees):
    """Shares and errors agree with a prediction, or they do not."""
    assert one.agrees is agrees
    assert one.finding.holds is agrees


def test_what_cannot_be_told_is_not_judged():
    """Where nothing is predicted the figure is only told."""
    assert trial("?", 100).finding.holds is None


def test_the_sum_needs_enough_that_agree():
    """One contradiction, or too few situations, and the claim fails."""
    good = [trial("zerocopy")] * situations.LEAST
    bad = [*good, trial("zerocopy", 100)]

    assert situations.summed_up(good, [], "6.18", 1.0).holds
    assert not situations.summed_up(bad, [], "6.18", 1.0).holds
    assert not situations.summed_up(good[1:], ["no tun"], "6.18", 1.0).holds
    assert "no tun" in situations.summed_up(good, ["no tun"], "6.18", 1.0).notes


def test_the_page_is_up_to_date(checkout):
    """Rules and situations in docs/paths.md are those of the code."""
    page = (checkout / "docs" / paths.NAME).read_text(encoding="utf-8")

    assert page.startswith(f"{paths.rules()}\n\n{paths.TRIED}\n")


def test_the_page_shows_what_was_tried(tmp_path, monkeypatch):
    """A proof that is there is on the page, a contradiction in bold."""
    monkeypatch.setattr(store, "home", lambda: tmp_path)
    assert "Not tried yet" in paths.markdown()
    found = situations.summed_up([trial("zerocopy", 100)], [], "6.18.1", 2.0)

    situations.proof.write(found)
    text = paths.markdown()

    assert "| a situation | 0% [sink] | 100% | 100 requests | **NO** |" in text
    assert "Linux 6.18.1" in text


@needs_uring
def test_fragments_and_segments_for_real():
    """At MTU 1500 one byte decides, by family, and UDP_SEGMENT lifts it."""
    sent = [
        situations._udp(1472),
        situations._udp(1473),
        situations._udp(1453, 6),
        situations._udp(14000, segment=1400),
        situations._udp(14730, segment=1473, on_error="count"),
    ]
    try:
        trials = list(situations._at(Path.SINK, "mtu=1500", sent))
    except CapabilityError as error:
        pytest.skip(str(error))

    assert [one.agrees for one in trials] == [True] * 5
    assert [one.said.rule.id for one in trials] == [
        "sink",
        "fragmented",
        "fragmented",
        "segmented",
        "segment-over-mtu",
    ]


@needs_uring
def test_af_unix_refuses():
    """A zerocopy send on an AF_UNIX socket is refused, as predicted."""
    one = situations._af_unix()

    assert one.agrees
    assert "EOPNOTSUPP" in one.errors


@needs_uring
def test_a_tap_in_mid_run(tmp_path):
    """A tap opened and closed in mid-run is told with its block and its cause."""
    try:
        opened, closed = situations.mid_run(tmp_path)
    except CapabilityError as error:
        pytest.skip(str(error))

    assert opened.holds, opened.figure
    assert closed.holds, closed.figure
    assert opened.figure.endswith("a packet tap was opened")


def test_every_rule_that_can_be_made_is_tried():
    """The situations cover all rules but those that need what a namespace lacks."""
    elsewhere = {
        *("kernel-older", "segments-many", "ipv6-mtu", "gathered-large"),
        *("plain", "xdp-generic", "xdp-native", "tc-program", "wire"),
        *("elsewhere", "unrecorded"),
    }
    tried = {
        preflight.predict(
            situations._point(path, situation, one), _facts(path, situation)
        ).rule.id
        for path, situation, sent in situations.PLACES
        for one in sent
    }

    assert tried | elsewhere | {"socket-refuses"} == set(RULES)


def _facts(path, situation):
    """Return the facts that the places have in which these situations are made."""
    words = situation.replace("rung=", "").split(",")
    features = {
        "tx-scatter-gather": "sg=off" not in words,
        "tx-checksumming": "tx-checksum=off" not in words,
    }
    drops = {"veth-drop": "peer-ingress", "veth-down": "peer-down"}.get(words[0])
    return {
        "kind": "tun" if "tun" in words else "veth",
        "mtu": 1500 if "mtu=1500" in words else 65535,
        "features": features,
        "packet_taps": int("tap" in words),
        "destination": "own" if "own-address" in words else "neighbour",
        "drops": drops or ("peer-ingress" if "peer-drop" in words else None),
    }
