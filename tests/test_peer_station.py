"""A station whose receiver is a peer: what was sent is what arrived, on both ends."""

import json

import pytest

from tests.live import in_namespaces, needs_uring

pytestmark = needs_uring

# A veth end stands for the network card; its other end, in a second namespace, for
# the host on which `zclab peer` runs.
GROUND = """
import os, signal, subprocess, time
from pyroute2 import IPRoute
from zclab.measure import station as stations
from zclab.measure.path.address import FAR, NEAR
from zclab.measure.station import Station
from zclab.measure.target import Target
from zclab.errors import MeasureError
from zclab.params import Plan
from zclab.options import parse
TOKEN = "only for tests, told to nobody"
veth = up(Path.VETH, {4, 6})
here = os.getpid()
with veth.peer.entered():
    serving = subprocess.Popen(
        [sys.executable, "-m", "zclab.cli", "peer", "--listen", FAR[4],
         "--data", FAR[6], "--cpu", "any"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: namespace.die_with_parent(here),
        env={**os.environ, "ZCLAB_PEER_TOKEN": TOKEN})
where = serving.stdout.readline().split()[1]
def plan(*points, **more):
    return Plan(profile="test", points=points, seed=3, blocks=2,
                slice_ns=2_000_000, warmup_ns=200_000, **more)
def target(family):
    return Target(device=veth.device, destination=FAR[family], peer=where, token=TOKEN)
def counted():
    with veth.peer.entered(), IPRoute() as network:
        link = network.get_links(network.link_lookup(ifname="zcveth1")[0])[0]
        return link.get_attr("IFLA_STATS64")["rx_packets"]
"""
END = """
serving.terminate()
serving.wait(30)
serving.stdout.close()
"""


@pytest.mark.parametrize("family", [4, 6])
def test_counters_agree(family):
    """Bytes sent are bytes received and drops, over UDP and TCP, every byte right."""
    found = in_namespaces(
        GROUND
        + f"""
points = [
    Point(path=Path.NIC, protocol=protocol, family={family}, io_size_bytes=1200,
          batch=1 if protocol is Protocol.TCP else 8, modes=("send", "send_zc", "send_zc_fixed"),
          given=parse("verify=on") if protocol is Protocol.TCP else ())
    for protocol in Protocol
]
"""
        + """
station = Station(plan(*points), points[0].place, (1, 0), target(%d))
samples = [
    sample
    for number in range(2)
    for point in station.points
    for sample in station.block(point, list(point.arms), number, 2_000_000)
]
facts, after = station.facts, station.look()
station.close()
"""
        % family
        + END
        + """
answer({"samples": samples, "facts": facts, "after": after})
"""
    )

    assert {sample["protocol"] for sample in found["samples"]} == {"udp", "tcp"}
    for sample in found["samples"]:
        size = sample["io_size_bytes"]
        dropped = (sample["receiver_drops"] or 0) * size
        assert sample["sent_total_bytes"] > 0
        assert sample["sent_total_bytes"] == sample["received_bytes"] + dropped
        assert not sample["corrupt"]
        assert sample["receiver_cpu_sys_ns"] >= 0
    assert found["facts"]["receiver"] == "peer"
    before, after = (found[name]["peer"]["device"] for name in ("facts", "after"))
    assert before["device"] == "zcveth1"
    assert after["statistics"]["rx_packets"] > before["statistics"]["rx_packets"]
    assert "192.0.2" not in json.dumps(found)
    assert "2001:db8" not in json.dumps(found)
