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
         "--data", FAR[6], "--cpu", "any", "--once"],
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
          batch=1 if protocol is Protocol.TCP else 8,
          modes=("send", "send_zc", "send_zc_fixed"),
          given=parse("verify=on") if protocol is Protocol.TCP else ())
    for protocol in Protocol
]
"""
        + """
cpus = (1, 0) if len(os.sched_getaffinity(0)) > 1 else (0, 0)
station = Station(plan(*points), points[0].place, cpus, target(points[0].family))
samples = [
    sample
    for number in range(2)
    for point in station.points
    for sample in station.block(point, list(point.arms), number, 2_000_000)
]
facts, after = station.facts, station.look()
station.close()
"""
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


MEASURE = """
import tempfile
from pathlib import Path as Folder
from zclab import store
out = tempfile.TemporaryDirectory()
plan_file = Folder(out.name, "mine.yaml")
def measure(family, blocks):
    plan_file.write_text(f'''
blocks: {blocks}
slice_ms: 2
points:
  - {{path: nic, protocol: udp, family: {family}, sizes: 1200, batch: 8,
      modes: [send, send_zc]}}
  - {{path: nic, protocol: tcp, family: {family}, sizes: 1200, batch: 1,
      modes: [send, send_zc]}}
''')
    return subprocess.Popen(
        [sys.executable, "-m", "zclab.cli", "measure", "--plan", plan_file,
         "--dev", veth.device, "--dst", FAR[family], "--peer", where,
         "--out", out.name + "/runs"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ZCLAB_PEER_TOKEN": TOKEN, "PYTHONWARNINGS": ""},
        preexec_fn=lambda: namespace.die_with_parent(here))
def receivers():
    tasks = Folder(f"/proc/{serving.pid}/task/{serving.pid}/children")
    return [int(word) for word in tasks.read_text().split()]
def until(holds, going=None):
    end = time.monotonic() + 40
    while not holds():
        assert going is None or going.poll() is None, going.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)
"""


@pytest.mark.parametrize("family", [4, 6])
def test_a_run_over_a_device(family):
    """`zclab measure --path nic --peer` keeps what both ends counted, and facts."""
    found = in_namespaces(
        GROUND
        + MEASURE
        + f"""
measuring = measure({family}, 12)  # several placements, so several sessions
_, said = measuring.communicate()
assert measuring.returncode == 0, said
until(lambda: not receivers())
"""
        + """
(folder,) = Folder(out.name, "runs").iterdir()
run = store.load(folder)
text = "".join(path.read_text() for path in folder.glob("*.json"))
samples = json.loads(run.samples.to_json(orient="records"))
out.cleanup()
"""
        + END
        + "answer({'host': run.host, 'samples': samples, 'text': text})"
    )

    assert found["host"]["peer"]["device"]["kind"] == "veth"
    assert found["host"]["peer"]["kernel"] == found["host"]["kernel"]
    for secret in ("192.0.2", "2001:db8", "only for tests"):
        assert secret not in found["text"]
    assert {sample["protocol"] for sample in found["samples"]} == {"udp", "tcp"}
    for sample in found["samples"]:
        dropped = (sample["receiver_drops"] or 0) * sample["io_size_bytes"]
        assert sample["sent_total_bytes"] == sample["received_bytes"] + dropped


def test_a_run_whose_peer_is_killed():
    """The run ends at once, with one line that names the peer; its blocks are kept."""
    found = in_namespaces(
        GROUND
        + MEASURE
        + """
measuring = measure(4, 3000)
until(receivers, measuring)
(receiver,) = receivers()
journals = Folder(out.name, "runs").glob
until(lambda: any(path.stat().st_size for path in journals("*/*.jsonl")), measuring)
serving.kill()
serving.wait()
_, said = measuring.communicate()
until(lambda: not Folder(f"/proc/{receiver}").exists())
out.cleanup()
serving.stdout.close()
answer({"status": measuring.returncode, "said": said, "where": where})
"""
    )

    assert found["status"] == 1
    last = found["said"].strip().splitlines()[-1]
    assert f"peer {found['where']} is gone" in last
    assert "Traceback" not in found["said"]


def test_a_run_that_is_killed():
    """After SIGKILL of a run its peer holds nothing, and serves the next one."""
    found = in_namespaces(
        GROUND
        + MEASURE
        + """
def descriptors():
    return len(list(Folder(f"/proc/{serving.pid}/fd").iterdir()))
before = descriptors()
measuring = measure(4, 3000)
until(receivers, measuring)
(receiver,) = receivers()
measuring.kill()
measuring.communicate()
until(lambda: not Folder(f"/proc/{receiver}").exists())
until(lambda: descriptors() == before)
made = Station(plan(Point(path=Path.NIC, protocol=Protocol.UDP, family=4,
    io_size_bytes=1200, batch=1)), "nic", (0, 0), target(4))
made.close()
out.cleanup()
"""
        + END
        + "answer({'peer': made.facts['receiver']})"
    )

    assert found["peer"] == "peer"


def test_a_run_with_a_wrong_token():
    """It is bad input: one line that names the peer, and exit 2."""
    found = in_namespaces(
        GROUND
        + "TOKEN = 'not the one that it printed'"
        + MEASURE
        + """
measuring = measure(4, 3)
_, said = measuring.communicate()
out.cleanup()
"""
        + END
        + "answer({'status': measuring.returncode, 'said': said, 'where': where})"
    )

    assert found["status"] == 2
    last = found["said"].strip().splitlines()[-1]
    assert last.startswith(f"zclab: peer {found['where']}: it has another token")
    assert "Traceback" not in found["said"]
