"""Path nic: refused in one line, or sent over the device that was named.

One end of a veth pair stands for the card, in namespaces of the test's own.
"""

import pytest

from tests.live import in_namespaces, needs_uring
from zclab.errors import MeasureError
from zclab.measure.target import Target, handed_on
from zclab.measure.throttle import Throttled
from zclab.params import Path as PacketPath
from zclab.params import Point, Protocol

pytestmark = needs_uring

# nic0 is the card, far0 the other host's; nic1 is another card, without a carrier.
GROUND = """
import contextlib, io, tempfile
from pathlib import Path as Folder
from pyroute2 import IPRoute
MTU = 1500
far = namespace.PeerNetwork()
with IPRoute() as network:
    network.link("set", index=1, state="up")
    network.link("add", ifname="nic0", kind="veth",
                 peer={"ifname": "far0", "net_ns_fd": far.fd})
    network.link("add", ifname="nic1", kind="veth", peer="far1")
def index(network, name):
    return network.link_lookup(ifname=name)[0]
def bring_up(name, *addresses):
    with IPRoute() as network:
        number = index(network, name)
        network.link("set", index=number, state="up", mtu=MTU)
        for address in addresses:
            text, _, length = address.partition("/")
            flags = {"flags": 2} if ":" in text else {"broadcast": "198.51.100.255"}
            network.addr("add", index=number, address=text, prefixlen=int(length),
                         **flags)
with far.entered():
    bring_up("far0", "198.51.100.2/24", "2001:db8:1::2/64")
bring_up("nic0", "198.51.100.1/24", "2001:db8:1::1/64")
bring_up("nic1", "203.0.113.1/24")
with IPRoute() as network:
    for text, group in ("77", "ff:ff:ff:ff:ff:ff"), ("78", "01:00:5e:00:00:01"):
        network.neigh("add", dst="198.51.100." + text, lladdr=group,
                      ifindex=index(network, "nic0"), state=128)  # permanent
def counted():
    # Datagrams that came to the other host, where nobody listens.
    with far.entered():
        four = Folder("/proc/thread-self/net/snmp").read_text().splitlines()
        six = Folder("/proc/thread-self/net/snmp6").read_text().splitlines()
    names, values = [line.split() for line in four if line.startswith("Udp: ")]
    words = [line.split() for line in six]
    return (int(values[names.index("NoPorts")])
            + sum(int(value) for name, value in words if name == "Udp6NoPorts"))
def zclab(*words):
    from zclab import cli
    sys.argv = ["zclab", *words]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            return [end.code, out.getvalue(), err.getvalue()]
"""

NIC = "--path nic --dev nic0 --sizes 600 --dst "
FITS = (
    "need an MTU of 4028, and the way by nic0 has 1500: up to 1472 B fit; raise it on "
    "both hosts (ip link set nic0 mtu 4028) or use smaller sizes"
)
# What is typed after `zclab measure`, the exit code, and the line that comes.
REFUSALS = {
    "--path nic": (
        2,
        "path nic needs a device by name: --dev eth1, say; see `ip -br link`",
    ),
    "--profile nic --dst 198.51.100.2": (
        2,
        "--dst is for path nic, which needs a device by name: --dev eth1, say; "
        "see `ip -br link`",
    ),
    "--path nic --dev nic0": (
        2,
        "path nic needs a destination behind the device: --dst ADDRESS of a host that "
        "is yours to flood",
    ),
    "--path sink --dev nic0 --dst 198.51.100.2": (
        2,
        "--dev and --dst are for path nic, and no point of the plan is on it; add "
        "--path nic, or leave them out",
    ),
    "--path nic --dev eth9 --dst 198.51.100.2": (
        2,
        "--dev eth9: no such device here; there are: far1, lo, nic0, nic1",
    ),
    "--path nic --dev lo --dst 198.51.100.2": (
        2,
        "--dev lo: is loopback; use --path lo for that",
    ),
    NIC + "203.0.113.2": (
        2,
        "--dst 203.0.113.2: the route leaves through nic1, not through nic0; name "
        "--dev nic1, or an address behind nic0",
    ),
    NIC + "192.0.2.9": (
        2,
        "--dst 192.0.2.9: no route to it (ENETUNREACH); give nic0 an address of its "
        "network, or add a route",
    ),
    NIC + "255.255.255.255": (
        2,
        "--dst 255.255.255.255: is broadcast; name one host",
    ),
    NIC + "198.51.100.255": (
        2,
        "--dst 198.51.100.255: is the broadcast address of nic0; name one host",
    ),
    NIC + "224.0.0.1": (2, "--dst 224.0.0.1: is multicast; name one host"),
    NIC + "ff02::1": (2, "--dst ff02::1: is multicast; name one host"),
    NIC + "ff02::1%nic0": (2, "--dst ff02::1%nic0: is multicast; name one host"),
    NIC + "198.51.100.1": (
        2,
        "--dst 198.51.100.1: is an address of this host; nothing would leave it, use "
        "--path lo",
    ),
    NIC + "2001:db8:1::1": (
        2,
        "--dst 2001:db8:1::1: is an address of this host; nothing would leave it, use "
        "--path lo",
    ),
    NIC + "203.0.113.1": (
        2,
        "--dst 203.0.113.1: is an address of this host; nothing would leave it, use "
        "--path lo",
    ),
    NIC + "127.0.0.1": (
        2,
        "--dst 127.0.0.1: is loopback; use --path lo for that",
    ),
    NIC + "::1": (2, "--dst ::1: is loopback; use --path lo for that"),
    NIC + "0.0.0.0": (2, "--dst 0.0.0.0: stands for no host"),
    NIC + "::": (2, "--dst ::: stands for no host"),
    NIC + "peer.example": (
        2,
        "--dst peer.example: not an IPv4 or IPv6 address; give one, names are not "
        "looked up",
    ),
    NIC + "::ffff:198.51.100.2": (
        2,
        "--dst ::ffff:198.51.100.2: is an IPv4 address; write it as 198.51.100.2",
    ),
    NIC + "fe80::5%nic1": (
        2,
        "--dst fe80::5%nic1: is on nic1, but --dev is nic0; name the same",
    ),
    NIC + "2001:db8:1::2%nic0": (
        2,
        "--dst 2001:db8:1::2%nic0: only link-local addresses have a %device",
    ),
    NIC + "2001:db8:1::2 --family 4": (
        2,
        "--dst 2001:db8:1::2: is IPv6, but nic-udp4-600B-n8-addressed=on is IPv4; use "
        "--family 6, or another address",
    ),
    NIC.replace("600", "4000") + "198.51.100.2": (
        2,
        f"nic-udp4-4000B-n8-addressed=on: datagrams of 4000 B {FITS}",
    ),
    NIC.replace("600", "1453") + "2001:db8:1::2": (
        2,
        "nic-udp6-1453B-n8-addressed=on: datagrams of 1453 B need an MTU of 1501, and "
        "the way by nic0 has 1500: up to 1452 B fit; raise it on both hosts (ip link "
        "set nic0 mtu 1501) or use smaller sizes",
    ),
    NIC + "198.51.100.2 --protocol tcp": (
        2,
        "nic-tcp4-600B-n1: tcp needs somebody who receives; run `zclab peer` on the "
        "other host, and name it: --peer HOST:PORT",
    ),
    NIC + "198.51.100.2 --options verify=on": (
        2,
        "nic-udp4-600B-n8-addressed=on:verify=on: verify needs somebody who receives; "
        "run `zclab peer` on the other host, and name it: --peer HOST:PORT",
    ),
    NIC + "198.51.100.2 --peer far": (
        2,
        "--peer far: names no port; give HOST:PORT",
    ),
    NIC + "198.51.100.2 --peer far:x": (
        2,
        "--peer: 'x' in 'far:x' is not a port, 0 to 65535",
    ),
    NIC + "198.51.100.2 --peer far:7800": (
        2,
        "peer far:7800 takes a token; give the one that it printed, in "
        "$ZCLAB_PEER_TOKEN or a file: --token-file FILE",
    ),
    NIC + "198.51.100.2 --token-file token": (
        2,
        "--token-file is the peer's; name it: --peer HOST:PORT",
    ),
    NIC + "198.51.100.2 --rate 0.5": (
        2,
        "--rate 0.5 is out of range; use 1 Mbit/s or more, or leave it out",
    ),
    NIC + "198.51.100.2 --seconds soon": (2, "--seconds 'soon' is not a number"),
    NIC + "198.51.100.2 --seconds 0": (
        2,
        "--seconds 0 is out of range; use more than 0",
    ),
    NIC + "198.51.100.2 --port 70000": (
        2,
        "--port 70000 is out of range; use 1 to 65535",
    ),
    NIC + "198.51.100.2 --blocks 5000 --seconds 20": (
        2,
        "the plan sends for up to 531 s, and --seconds 20 allows less; take fewer "
        "points or --blocks, or allow more",
    ),
    NIC + "198.51.100.2 --with tap": (
        2,
        "situation tap is not for path nic; use --path sink or --path veth or --path "
        "lo",
    ),
    NIC + "198.51.100.77": (
        2,
        "198.51.100.77 has the hardware address of a group (ff:ff:ff:ff:ff:ff): all of "
        "it would take what is sent; see ip neigh show dev nic0",
    ),
    NIC + "198.51.100.78": (
        2,
        "198.51.100.78 has the hardware address of a group (01:00:5e:00:00:01): all of "
        "it would take what is sent; see ip neigh show dev nic0",
    ),
    NIC + "198.51.100.9": (
        77,
        "198.51.100.9 does not answer on nic0 (no neighbour): nothing would leave; see "
        "that it is up and on that link: ip neigh show dev nic0",
    ),
}


@pytest.fixture(scope="module")
def refused() -> dict:
    """Return what each of `REFUSALS` said, and how many packets left meanwhile."""
    return in_namespaces(
        GROUND
        + f"commands = {[*REFUSALS]!r}\n"
        + """
said = {command: zclab("measure", *command.split()) for command in commands}
with IPRoute() as network:
    network.link("set", index=index(network, "far1"), state="down")
    said["no carrier"] = zclab(
        "measure", *"--path nic --dev nic1 --dst 203.0.113.2".split())
    network.link("set", index=index(network, "nic0"), state="down")
    said["down"] = zclab("measure", *"--path nic --dev nic0 --dst 198.51.100.2".split())
answer(said)
""",
        timeout_s=120,
    )


@pytest.mark.parametrize("command", REFUSALS)
def test_refused(refused: dict, command: str) -> None:
    """What would go astray, or cannot be, is one line and sends nothing."""
    code, line = REFUSALS[command]
    assert refused[command] == [code, "", f"zclab: {line}\n"]


def test_device_down(refused: dict) -> None:
    """A device that is down, or has no link, is missing and not bad input."""
    assert refused["no carrier"] == [
        77,
        "",
        "zclab: nic1 has no carrier; see that the cable is in, or the other end up\n",
    ]
    assert refused["down"] == [
        77,
        "",
        "zclab: nic0 is down; bring it up: ip link set nic0 up\n",
    ]


def test_dry_run_sends_nothing() -> None:
    """What would be sent is told with its bound, and not one packet leaves for it."""
    found = in_namespaces(
        GROUND
        + """
before = counted()
said = zclab("measure", "--profile", "nic", "--dev", "nic0", "--dst", "198.51.100.2",
             "--dry-run", "--rate", "100")
answer({"said": said, "packets": counted() - before})
"""
    )
    code, out, _ = found["said"]
    assert code == 0
    assert found["packets"] == 0
    *_, line, last = out.splitlines()
    assert last == "nothing was sent"
    assert line.startswith(
        "to 198.51.100.2, UDP port 8000, through nic0 (veth, link speed unknown, MTU "
        "1500): at most "
    )
    assert line.endswith("(bounded by --rate 100 Mbit/s)")
    assert "left out: nic-udp4-1500B-n8-addressed=on: datagrams of 1500 B" in out
    assert "left out: nic-tcp4-1200B-n1: tcp needs somebody who receives" in out


@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("family", [4, 6])
def test_sends_over_the_device(family: int, mtu: int) -> None:
    """Every datagram leaves through the device, and no address is in the run."""
    size = mtu - 28 if family == 4 else mtu - 48
    found = in_namespaces(
        GROUND.replace("MTU = 1500", f"MTU = {mtu}")
        + f"family, size = {family}, {size}\n"
        + """
destination = {4: "198.51.100.2", 6: "2001:db8:1::2"}[family]
before = counted()
with tempfile.TemporaryDirectory() as folder:
    code, out, err = zclab(
        "measure", "--path", "nic", "--dev", "nic0", "--dst", destination, "--sizes",
        str(size), "--modes", "send,send_zc_fixed", "--blocks", "6", "--out", folder,
        "--seconds", "10")
    from zclab import store, hostfacts
    run = store.load(Folder(out.strip()))
    samples = run.samples
    texts = [f.read_text(errors="replace") for f in Folder(out.strip()).iterdir()]
    after = json.loads((Folder(out.strip()) / "host-after.json").read_text())
texts.append(samples.to_csv())
host = run.host["paths"]["nic"]
answer({
    "code": code,
    "arrived": counted() - before,
    "sent": int((samples["sent_total_bytes"] // size).sum()),
    "counted": int(samples["device_tx_packets"].sum()),
    "failed": int(samples["failed"].sum()),
    "notifications": int(samples["notifications"].sum()),
    "leaks": [word for word in ("198.51.100", "2001:db8:1") for text in texts
              if word in text],
    "facts": host, "objections": hostfacts.check(run.host),
    "after": after["paths"]["nic"],
})
"""
    )
    assert found["code"] == 0
    assert found["counted"] == pytest.approx(found["sent"], abs=20)  # ARP and such
    assert found["arrived"] >= found["sent"]  # the pilot's and the warm-up's as well
    assert found["failed"] == 0
    assert found["notifications"] > 0
    assert found["leaks"] == []
    assert found["objections"] == []
    facts = found["facts"]
    assert facts["device"] == "nic0"
    assert facts["kind"] == facts["driver"] == "veth"
    assert facts["mtu"] == mtu
    assert facts["carrier"] is True
    assert facts["offloads"]["tx-scatter-gather"] is True
    assert facts["queues"]["tx_count"] >= 1
    assert facts["destination_alias"].startswith("dst-")
    assert "link_mbit" not in facts  # veth's 10000 is a figure of speech
    assert found["after"]["statistics"].keys() == facts["statistics"].keys()


def test_link_local_is_reached_by_its_device() -> None:
    """A link-local address needs no scope, as the device is named."""
    found = in_namespaces(
        GROUND
        + """
import time
with far.entered(), IPRoute() as network:
    def local():
        for address in network.get_addr(AF := socket.AF_INET6,
                                        index=index(network, "far0")):
            if address["scope"] == 253 and not address["flags"] & 0x40:
                return address.get_attr("IFA_ADDRESS")
    end = time.monotonic() + 10
    while not (address := local()) and time.monotonic() < end:
        time.sleep(0.05)
from zclab.measure.path import nic
from zclab.measure.target import Target
points = []
routes = [nic.up(Target(device="nic0", destination=text), {6})
          for text in (address, f"{address}%nic0")]
point = Point(path=Path.NIC, protocol=Protocol.UDP, family=6, io_size_bytes=100,
              batch=1, given=(("addressed", True),))
flow = routes[0].open(point)
before = counted()
for _ in range(5):
    flow.sending.sendto(b"x" * 100, flow.destination)
answer({"same": routes[0].destination == routes[1].destination,
        "arrived": counted() - before})
flow.close()
"""
    )
    assert found["same"]
    assert found["arrived"] == 5


class Metronome:
    """A site whose clock moves only when it is slept on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nbytes: int) -> None:
        self.now = 100.0
        self.nbytes = nbytes
        monkeypatch.setattr("zclab.measure.throttle.time.sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.now += seconds

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def block(self, *_: object) -> list[dict]:
        """Return a sample that took ten milliseconds."""
        self.now += 0.01
        return [{"elapsed_ns": 10_000_000, "sent_total_bytes": self.nbytes}]


POINT = Point(
    path=PacketPath.NIC,
    protocol=Protocol.UDP,
    family=4,
    io_size_bytes=1000,
    batch=8,
    modes=("send",),
)


def take(site: Throttled) -> None:
    """Have the site take a block of one arm and ten milliseconds."""
    site.block(POINT, ["send"], 0, 10_000_000, 1.0)


def test_rate_is_kept_by_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over ten blocks no more is sent than the rate allows, and hardly less."""
    clock = Metronome(monkeypatch, nbytes=1_000_000)
    site = Throttled(clock, Target(device="x", destination="y", rate_mbit=100), 0)
    begin = clock.now
    for _ in range(10):
        take(site)
    assert site.sent_bytes * 8 / (clock.now - begin) / 1e6 == pytest.approx(100)


def test_idle_time_is_not_saved_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an hour of nothing a block is paused for as long as any other."""
    clock = Metronome(monkeypatch, nbytes=1_000_000)
    site = Throttled(clock, Target(device="x", destination="y", rate_mbit=100), 0)
    take(site)
    clock.now += 3600
    begin = clock.now
    take(site)
    assert clock.now - begin == pytest.approx(0.08)


def test_seconds_of_sending_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that would exceed the seconds is not begun."""
    clock = Metronome(monkeypatch, nbytes=1)
    site = Throttled(clock, Target(device="x", destination="y", seconds=0.035), 0)
    for _ in range(3):
        take(site)
    with pytest.raises(MeasureError, match=r"--seconds 0.035 allows no other block"):
        take(site)


def test_target_is_handed_on_and_taken_back() -> None:
    """A process started meanwhile gets the target, and none later."""
    target = Target(device="nic0", destination="198.51.100.2", token="t" * 16)
    assert handed_on() is None
    with target.handed():
        assert handed_on() == target
    assert handed_on() is None
    assert "t" * 16 not in repr(target)


def test_a_card_is_looked_at_where_an_event_loop_runs() -> None:
    """A notebook's kernel has one, and pyroute2 brings its own."""
    found = in_namespaces(
        GROUND
        + """
import asyncio
from zclab.measure.path import nic
from zclab.measure.target import Target
async def look():
    return nic.find(Target(device="nic0", destination="198.51.100.2"))
way = asyncio.run(look())
answer({"mtu": way.mtu, "address": way.address})
"""
    )
    assert found == {"mtu": 1500, "address": "198.51.100.2"}


def test_a_run_is_resumed_to_the_same_destination_only() -> None:
    """What was begun to one host is not gone on with to another."""
    found = in_namespaces(
        GROUND
        + """
with far.entered(), IPRoute() as network:
    network.addr("add", index=index(network, "far0"), address="198.51.100.3",
                 prefixlen=24)
from zclab.errors import InputError
from zclab.measure import sweep
from zclab.measure.target import Target
from zclab.params import Plan
class Enough(Exception): pass
def stop(progress):
    if progress.done == 2: raise Enough
point = Point(path=Path.NIC, protocol=Protocol.UDP, family=4, io_size_bytes=600,
              batch=8, modes=("send", "send_zc"), given=(("addressed", True),))
plan = Plan(profile="test", points=(point,), seed=1, blocks=4, slice_ns=1_000_000)
def target(address): return Target(device="nic0", destination=address)
said = []
with tempfile.TemporaryDirectory() as folder:
    try:
        there = target("198.51.100.2")
        sweep.take(plan, out=Folder(folder), target=there, progress=stop)
    except Enough:
        pass
    (run,) = Folder(folder).iterdir()
    for there in (None, target("198.51.100.3"), target("198.51.100.2")):
        try:
            sweep.resume(run, target=there)
            from zclab import store
            said.append(store.load(run).blocks_done)
        except InputError as error:
            said.append(str(error))
answer({"said": said})
"""
    )
    without, elsewhere, done = found["said"]
    assert without.startswith("path nic needs a device by name")
    assert "nic destination_alias (dst-" in elsewhere
    assert done == 4


LENIENT = """
blocks: 6
slice_ms: 1
lenient: true
points:
  - {path: nic, sizes: 600, modes: [send, send_zc]}
  - {path: lo, sizes: 600, modes: [send, send_zc]}
"""


def test_a_lenient_plan_does_without_a_peer_that_is_not_there() -> None:
    """The rest is measured; the reason is kept, and names neither host nor device."""
    found = in_namespaces(
        GROUND
        + f"LENIENT = {LENIENT!r}\n"
        + """
import os
from zclab import store
os.environ["ZCLAB_PEER_TOKEN"] = "only for tests, told to nobody"
with tempfile.TemporaryDirectory() as folder:
    plan = Folder(folder) / "mine.yaml"
    plan.write_text(LENIENT)
    code, out, err = zclab(
        "measure", "--plan", str(plan), "--dev", "nic0", "--dst", "198.51.100.2",
        "--peer", "198.51.100.2:7800", "--out", folder, "--seconds", "10")
    run = store.load(Folder(out.strip()))
    texts = [f.read_text(errors="replace") for f in run.folder.iterdir()]
answer({
    "code": code,
    "points": [point.name for point in run.plan.points],
    "excluded": run.plan.excluded,
    "leaks": [text for text in texts if "198.51.100" in text or "nic0" in text],
})
"""
    )
    assert found["code"] == 0
    assert found["points"] == ["lo-udp4-600B-n8"]
    assert found["excluded"] == [
        [
            "nic-udp4-600B-n8",
            "peer HOST:PORT cannot be reached: Connection refused; start it there: "
            "zclab peer --listen HOST:PORT",
        ]
    ]
    assert found["leaks"] == []


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("fe80::2 does not answer on eth1", "ADDRESS does not answer on DEVICE"),
        ("peer [fe80::9%eth1]:78 is gone", "peer HOST:PORT is gone"),
        ("--dst fe80::2%eth1: no", "--dst ADDRESS: no"),
        ("fe80::25 and eth10 are others", "fe80::25 and eth10 are others"),
    ],
)
def test_a_reason_is_stored_without_names(text: str, stored: str) -> None:
    """Destination, peer and device are replaced, where they stand as a whole."""
    target = Target(device="eth1", destination="fe80::2%eth1", peer="[fe80::9%eth1]:78")

    assert target.unnamed(text) == stored


def test_a_device_that_is_named_by_its_hardware_address_is_not_stored() -> None:
    """Neither facts nor the reasons of a plan hold the name that systemd gives it."""
    found = in_namespaces(
        GROUND
        + """
name = "enx001122334455"
with IPRoute() as network:
    number = index(network, "nic0")
    network.link("set", index=number, state="down")
    network.link("set", index=number, ifname=name)
    network.link("set", index=number, state="up")
with tempfile.TemporaryDirectory() as folder:
    plan = Folder(folder) / "mine.yaml"
    plan.write_text("{blocks: 6, slice_ms: 1, points: [{path: nic, "
                    "sizes: [600, 4000], modes: [send, send_zc]}]}")
    code, out, err = zclab("measure", "--plan", str(plan), "--dev", name, "--dst",
                           "198.51.100.2", "--out", folder, "--seconds", "10")
    from zclab import store
    run = store.load(Folder(out.strip()))
    texts = [f.read_text(errors="replace") for f in run.folder.iterdir()]
answer({"code": code, "device": run.host["paths"]["nic"]["device"],
        "excluded": run.plan.excluded,
        "leaks": [text for text in texts if name in text]})
"""
    )
    assert found["code"] == 0
    assert found["device"] == "(withheld)"
    assert "ip link set (withheld) mtu 4028" in found["excluded"][0][1]
    assert found["leaks"] == []


def test_a_look_sends_one_byte_at_the_most() -> None:
    """The neighbour is asked for once; who is known to be there is sent nothing."""
    found = in_namespaces(
        GROUND
        + """
before, counts, codes = counted(), [], []
for _ in range(2):
    codes.append(zclab("preflight", "--path", "nic", "--dev", "nic0", "--dst",
                       "198.51.100.2", "--sizes", "600")[0])
    counts.append(counted() - before)
answer({"codes": codes, "counts": counts})
"""
    )
    assert found == {"codes": [0, 0], "counts": [1, 1]}
