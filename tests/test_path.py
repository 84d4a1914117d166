"""Paths are built in namespaces of their own and let zerocopy through or not."""

from pathlib import Path as Folder

import pytest

from tests.live import in_namespaces, needs_uring
from zclab.errors import CapabilityError
from zclab.measure import namespace, path


def devices():
    """Return the names of the network devices that this process sees."""
    return sorted(path.name for path in Folder("/sys/class/net").iterdir())


def own_namespaces():
    """Return what this process's network and user namespaces are called."""
    return [Folder(f"/proc/self/ns/{kind}").readlink().name for kind in ("net", "user")]


@pytest.mark.parametrize(
    ("name", "kinds", "live"),
    [("sink", {"dummy", "ifb"}, False), ("veth", {"veth"}, True)],
)
def test_device_facts(name, kinds, live):
    """A built path has the large MTU, no queue, checksum and scatter-gather."""
    before = devices()
    facts = in_namespaces(
        f"""
route = up(Path("{name}"), {{4, 6}})
answer(route.facts | {{"live": route.live}})
"""
    )

    assert facts["kind"] in kinds
    assert facts["mtu"] == path.MTU
    assert facts["qdisc"] == "noqueue"
    assert facts["features"]["scatter-gather"]
    assert facts["features"]["tx-checksumming"]
    assert facts["packet_taps"] == 0
    assert facts["live"] is live
    assert devices() == before


@needs_uring
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("name", "copied"), [("sink", False), ("veth", True), ("lo", True)]
)
def test_copied_share(name, family, copied):
    """Nothing is copied on the sink; all is where a live socket receives."""
    counts = in_namespaces(
        f"""
from zclab.uring.ring import Ring, RingSetup
from zclab.uring.sender import Sender
route = up(Path("{name}"), {{4, 6}})
point = Point(path=Path("{name}"), protocol=Protocol.UDP, family={family},
              io_size_bytes=8000, batch=8)
flow = route.open(point)
with Ring([flow.sending.fileno()], RingSetup(buffer_bytes=8000)) as ring:
    sender = Sender(ring, 0, mode=Mode.SEND_ZC, io_size_bytes=8000, batch=8)
    answer(sender.slice(warmup_ns=1000000, budget_ns=3000000))
flow.sending.close()
if flow.receiving:
    flow.receiving.close()
"""
    )

    assert counts["notifications"] > 0
    assert counts["copied"] == (counts["notifications"] if copied else 0)


@needs_uring
def test_datagram_beyond_the_mtu_is_copied():
    """A datagram that needs IP fragments is copied even on the sink.

    So the paths' MTU is a condition of every table, not a detail.
    """
    counts = in_namespaces(
        """
from pyroute2 import IPRoute
from zclab.uring.ring import Ring, RingSetup
from zclab.uring.sender import Sender
route = up(Path.SINK, {4, 6})
with IPRoute() as network:
    network.link("set", index=network.link_lookup(ifname=route.device)[0], mtu=1500)
found = {}
for size in (1472, 1473):
    point = Point(path=Path.SINK, protocol=Protocol.UDP, family=4,
                  io_size_bytes=size, batch=8)
    flow = route.open(point)
    with Ring([flow.sending.fileno()], RingSetup(buffer_bytes=size)) as ring:
        sender = Sender(ring, 0, mode=Mode.SEND_ZC, io_size_bytes=size, batch=8)
        counts = sender.slice(warmup_ns=0, budget_ns=2000000)
        found[size] = counts["copied"] / counts["notifications"]
    flow.sending.close()
answer(found)
"""
    )

    assert counts == {"1472": 0.0, "1473": 1.0}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", ["veth", "lo"])
def test_tcp_connects(name, family):
    """A TCP flow connects both ends on a live path, in either family."""
    facts = in_namespaces(
        f"""
route = up(Path("{name}"), {{4, 6}})
point = Point(path=Path("{name}"), protocol=Protocol.TCP, family={family},
              io_size_bytes=100, batch=1)
flow = route.open(point)
with flow.sending as sending, flow.receiving:
    answer({{"peer": sending.getpeername()[0]}})
"""
    )

    addresses = path.FAR if name == "veth" else path.LOOPBACK
    assert facts["peer"] == addresses[family]


def test_namespaces_do_not_show_outside():
    """What is made inside leaves the caller's own namespaces as they are."""
    before = own_namespaces()
    inside = in_namespaces(
        """
import os
answer({"net": os.readlink("/proc/self/ns/net"), "uid": os.getuid()})
"""
    )

    assert inside["net"] != before[0]
    assert inside["uid"] == 0
    assert before == own_namespaces()


def test_refusal_names_a_sysctl_or_the_errno():
    """Refused namespaces are explained in one line."""
    line = namespace._why_refused(1)

    assert "namespaces are refused" in line
    assert "\n" not in line


def test_maps_refused_by_policy_are_one_line(monkeypatch, tmp_path):
    """Where unshare passes but the id maps are refused, the sysctl is named."""
    monkeypatch.setattr(namespace, "_unshare", lambda flags: 0)
    monkeypatch.setattr(namespace, "Path", lambda *parts: tmp_path / "no" / "such")

    with pytest.raises(CapabilityError, match="namespaces are refused"):
        namespace.enter()
