"""Paths are built in namespaces of their own and let zerocopy through or not."""

from pathlib import Path as Folder

import pytest

from tests.live import in_namespaces, needs_uring
from zclab.errors import CapabilityError
from zclab.measure import namespace, path
from zclab.params import Path
from zclab.situation import RUNGS


def devices():
    """Return the names of the network devices that this process sees."""
    return sorted(path.name for path in Folder("/sys/class/net").iterdir())


def own_namespaces():
    """Return what this process's network and user namespaces are called."""
    return [Folder(f"/proc/self/ns/{kind}").readlink().name for kind in ("net", "user")]


def made(situation):
    """Return the facts of the sink in a situation; skip where it cannot be made."""
    return in_namespaces(f'answer(up(Path.SINK, {{4, 6}}, "{situation}").facts)')


def sent(where, situation, *, size=8000, family=4):
    """Return the facts of a path in a situation, and the counts of a short slice."""
    return in_namespaces(
        f"""
from zclab.uring.ring import Ring, RingSetup
from zclab.uring.sender import Sender
route = up(Path("{where}"), {{4, 6}}, "{situation}")
point = Point(path=Path("{where}"), protocol=Protocol.UDP, family={family},
              io_size_bytes={size}, batch=8, situation="{situation}")
flow = route.open(point)
with Ring([flow.sending.fileno()], RingSetup(buffer_bytes={size})) as ring:
    sender = Sender(ring, 0, mode=Mode.SEND_ZC, io_size_bytes={size}, batch=8)
    counts = sender.slice(warmup_ns=1000000, budget_ns=3000000)
flow.close()
wanted = ("notifications", "copied", "requests")
for held in route.held:
    if hasattr(held, "close"):
        held.close()
answer(route.facts | {{name: counts[name] for name in wanted}})
"""
    )


@pytest.mark.parametrize(
    ("name", "kinds", "live"),
    [("sink", {"dummy", "ifb", "veth"}, False), ("veth", {"veth"}, True)],
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


@needs_uring
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("rung", RUNGS)
def test_nothing_is_copied_on_any_rung_of_the_sink(rung, family):
    """Whatever device drops, it does so without a copy, and says which one it is."""
    found = sent(Path.SINK, f"rung={rung}", family=family)

    assert found["notifications"] > 0
    assert found["copied"] == 0
    assert found["rung"] == rung
    assert not found["live"]
    assert rung in found["says"]
    assert found["leaves_out"]


@needs_uring
def test_the_best_rung_is_taken():
    """Without a name the sink is the first of the ladder that can be made."""
    first = None
    for rung in RUNGS:
        try:
            made(f"rung={rung}")
        except pytest.skip.Exception:
            continue
        first = rung
        break

    assert made("")["rung"] == first


BARE = """
from zclab.measure.path import ingress, sink
def refuse(name):
    raise CapabilityError("nothing drops here")
sink._MAKERS["dummy"] = sink._MAKERS["ifb"] = sink._alone("nosuchkind")
ingress.drop = refuse
"""


def test_a_rung_that_is_not_there_is_left_for_the_next():
    """What an attempt left half-way is removed, and the next rung is tried."""
    facts = in_namespaces(f"{BARE}answer(up(Path.SINK, {{4, 6}}).facts)")

    assert facts["rung"] == "veth-down"


def test_a_rung_that_is_named_is_not_replaced():
    """Where the sink that was asked for cannot be made no other is."""
    said = in_namespaces(
        f"""{BARE}
from pyroute2 import IPRoute
try:
    up(Path.SINK, {{4}}, "rung=veth-drop")
except CapabilityError as error:
    with IPRoute() as network:
        left = [link.get_attr("IFLA_IFNAME") for link in network.get_links()]
    answer({{"line": str(error), "left": left}})
"""
    )

    assert said["line"] == "no such sink here: veth-drop: nothing drops here"
    assert said["left"] == ["lo"]


def test_no_sink_at_all_is_one_line():
    """Where no rung can be made the line has the reason of each, and what to load."""
    said = in_namespaces(
        """
from zclab.measure.path import sink
for rung in sink.RUNGS:
    sink._MAKERS[rung] = sink._alone("nosuchkind")
try:
    up(Path.SINK, {4})
    answer({"line": ""})
except CapabilityError as error:
    answer({"line": str(error)})
"""
    )["line"]

    assert said.startswith("no sink can be made here (dummy: ")
    assert all(f"{rung}: " in said for rung in RUNGS)
    assert "modprobe" in said
    assert "\n" not in said


def test_tc_drops_where_the_kernel_has_the_action():
    """The second way to drop at ingress either drops all, or is refused by name."""
    found = in_namespaces(
        """
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from zclab.measure.path import ingress, veth
from zclab.measure.path.address import FAR
with IPRoute() as network:
    pair = veth.add(network, {4}, 1500)
    pair._fix_neighbours(network, {4})
    with pair.peer.entered():
        receiving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            ingress._by_tc(veth.FAR_END)
            refused = ""
        except NetlinkError as error:
            refused = str(error)
with receiving, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
    receiving.bind((FAR[4], 0))
    sending.sendto(b"x", receiving.getsockname())
    receiving.setblocking(False)  # a veth delivers before send returns
    try:
        arrived = len(receiving.recv(10))
    except BlockingIOError:
        arrived = 0
answer({"refused": refused, "arrived": arrived})
"""
    )

    if found["refused"]:
        assert found["arrived"] == 1
        pytest.skip(f"this kernel has no tc action that drops: {found['refused']}")
    assert found["arrived"] == 0


# Situation, size, copied, and facts that must be read back from the kernel.
SITUATIONS = [
    (Path.SINK, "mtu=1500", 1472, 0, {"mtu": 1500}),
    (Path.SINK, "mtu=1500", 1473, 1, {"mtu": 1500}),
    (Path.SINK, "rung=veth-down,mtu=1500", 1473, 1, {"mtu": 1500}),
    (Path.SINK, "sg=off", 1200, 1, {"scatter-gather": False}),
    (Path.SINK, "tx-checksum=off", 1200, 1, {"tx-checksumming": False}),
    (Path.SINK, "tap", 1200, 1, {"packet_taps": 1}),
    (Path.SINK, "tun", 1200, 1, {"kind": "tun", "rung": "tun", "live": False}),
    (Path.SINK, "own-address", 1200, 1, {"destination": "own", "live": True}),
    (Path.VETH, "peer-drop", 8000, 0, {"drops": "peer-ingress", "live": False}),
    (Path.VETH, "peer-drop,tap", 8000, 1, {"packet_taps": 1}),
    (Path.VETH, "mtu=1500", 1200, 1, {"mtu": 1500}),
    (Path.VETH, "sg=off", 1200, 1, {"scatter-gather": False}),
    (Path.LO, "mtu=1500", 8000, 1, {"mtu": 1500}),
    (Path.LO, "tap", 1200, 1, {"packet_taps": 1}),
]


@needs_uring
@pytest.mark.parametrize(
    ("where", "situation", "size", "copied", "facts"),
    SITUATIONS,
    ids=[f"{path}+{given}-{size}" for path, given, size, _, _ in SITUATIONS],
)
def test_a_situation_is_what_it_says(where, situation, size, copied, facts):
    """Each situation can be made, its facts say so, and it copies all or nothing."""
    found = sent(where, situation, size=size)

    assert found["situation"] == situation
    assert {name: (found | found["features"])[name] for name in facts} == facts
    assert found["copied"] == copied * found["notifications"]
    assert found["notifications"] > 0


@needs_uring
def test_the_limits_of_one_packet_over_ipv6():
    """Over IPv6 the header is 20 bytes longer: 1452 B pass whole, 1453 B do not."""
    shares = {
        size: sent(Path.SINK, "mtu=1500", size=size, family=6)["copied"] > 0
        for size in (1452, 1453)
    }

    assert shares == {1452: False, 1453: True}


@pytest.mark.parametrize("situation", ["sg=off", "tx-checksum=off"])
def test_what_a_device_refuses_is_a_missing_capability(situation):
    """Loopback's offloads are fixed: one line says so, and nothing is pretended."""
    said = in_namespaces(
        f"""
try:
    up(Path.LO, {{4}}, "{situation}")
    answer({{"line": ""}})
except CapabilityError as error:
    answer({{"line": str(error)}})
"""
    )["line"]

    assert said.startswith(f"{situation}: lo has ")
    assert said.endswith(" fixed; use another path")


def test_a_tap_elsewhere_is_not_counted():
    """Only sockets that see the sending device count: on it, or on all devices."""
    counts = in_namespaces(
        """
from zclab.measure.path import tap
route = up(Path.SINK, {4})
seen = [route.packet_taps()]
with tap.opened("lo"):
    seen.append(route.packet_taps())
    with tap.opened(route.device):
        seen.append(route.packet_taps())
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)):
        seen.append(route.packet_taps())
seen.append(route.packet_taps())
answer({"seen": seen})
"""
    )

    assert counts["seen"] == [0, 0, 1, 1, 0]


def test_programs_and_filters_are_facts():
    """A filter at either end of clsact is counted once."""
    counts = in_namespaces(
        """
from pyroute2 import IPRoute
from zclab.measure.path import device
route = up(Path.SINK, {4})
seen = [route.look()["tc_programs"]]
with IPRoute() as network:
    index = device.index_of(network, route.device)
    network.tc("add", "clsact", index)
    for parent in device.TC_PARENTS:
        network.tc("add-filter", "u32", index, parent=parent, protocol=3,
                   target=0x10000, keys=["0x0/0x0+0"])
        seen.append(route.look()["tc_programs"])
answer({"seen": seen, "xdp": route.look()["xdp"]})
"""
    )

    assert counts == {"seen": [0, 1, 2], "xdp": ""}


def test_a_device_counts_what_it_sends():
    """The counters of a device move with what is sent over it."""
    moved = in_namespaces(
        """
route = up(Path.SINK, {4}, "rung=veth-drop")
before = route.counters()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
    for _ in range(100):
        sending.sendto(bytes(1000), (route.destination[4], 8000))
answer({name: count - before[name] for name, count in route.counters().items()})
"""
    )

    assert moved["tx_packets"] >= 100
    assert moved["tx_bytes"] >= 100 * 1042
    assert moved["tx_dropped"] == 0


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
