"""What no situation of ours shows: XDP at the far end, and TCP that nobody receives.

Rules of `zclab.preflight` rest on this. Each test says in its skip what it lacks.
"""

import json
import os
import subprocess
import sys

import pytest
from live import needs_uring

from zclab import preflight

# A pair of devices with a receiver in the second namespace, and what sends on it.
HEAD = """
import ctypes, json, os, platform, socket, struct, sys, threading, time
from pyroute2 import Ethtool, IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from zclab.errors import CapabilityError
from zclab.measure import namespace
from zclab.measure.namespace import PeerNetwork
from zclab.options import Options
from zclab.params import Mode
from zclab.uring.ring import Ring, RingSetup
from zclab.uring.sender import Sender

NEAR, FAR, NOBODY = "192.0.2.1", "192.0.2.2", "02:00:00:00:00:09"
libc = ctypes.CDLL(None, use_errno=True)

def skip(why):
    sys.stderr.write(why)
    sys.exit(77)

def answer(values):
    sys.stdout.write(json.dumps(values))
    sys.stdout.flush()
    os._exit(0)

def enter():
    try:
        namespace.enter()
    except CapabilityError as error:
        skip(str(error))

def pair(mtu):
    global network, peer, far, near_index, far_index
    network, peer = IPRoute(), PeerNetwork()
    network.link("add", ifname="v0", kind="veth",
                 peer={"ifname": "v1", "net_ns_fd": peer.fd})
    near_index = network.link_lookup(ifname="v0")[0]
    with peer.entered():
        far = IPRoute()
        far_index = far.link_lookup(ifname="v1")[0]
        far.link("set", index=far_index, mtu=mtu, state="up")
        far.addr("add", index=far_index, address=FAR, prefixlen=24)
    network.link("set", index=near_index, mtu=mtu, state="up")
    network.addr("add", index=near_index, address=NEAR, prefixlen=24)

def receiving(kind):
    with peer.entered():
        found = socket.socket(socket.AF_INET, kind)
    found.bind((FAR, 0))
    return found

def send(sock, size, requests, **given):
    options = Options(on_error="count", reorder=True, **given)
    with Ring([sock.fileno()], RingSetup.of(options).holding(1 << 16)) as ring:
        sender = Sender(ring, 0, mode=Mode.SEND_ZC, io_size_bytes=size, batch=4,
                        options=options)
        counts = sender.slice(warmup_ns=0, budget_ns=50_000_000,
                              requests_max=requests)
    return {name: counts[name] for name in ("requests", "notifications", "copied")}
"""

# bpf(2) by hand: r0 = verdict; exit. It must come before the user namespace, in which
# nobody may load programs.
XDP = """
CALL = {"x86_64": 321, "aarch64": 280}.get(platform.machine())
if CALL is None:
    skip("no number of bpf(2) for this machine")

def program(verdict):
    code = struct.pack("<BBhiBBhi", 0xB7, 0, 0, verdict, 0x95, 0, 0, 0)
    text, licence = (ctypes.create_string_buffer(b) for b in (code, b"GPL"))
    asked = struct.pack("=IIQQ", 6, 2, ctypes.addressof(text),
                        ctypes.addressof(licence))
    fd = libc.syscall(CALL, 5, ctypes.create_string_buffer(asked, 128), 128)
    if fd < 0:
        skip(f"bpf(2): {os.strerror(ctypes.get_errno())}")
    return fd

programs = {"pass": program(2), "drop": program(1)}
enter()
pair(1500)
found = {}
for verdict, fd in programs.items():
    for kind, flag in (("generic", 1 << 1), ("native", 1 << 2)):
        def attach(number):
            with peer.entered():
                far.link("set", index=far_index, xdp={"attrs": [
                    ("IFLA_XDP_FD", number), ("IFLA_XDP_FLAGS", flag)]})
        try:
            attach(fd)
        except NetlinkError as error:
            skip(f"{kind} XDP: {error}")
        with receiving(socket.SOCK_DGRAM) as there, socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM) as here:
            there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            there.setblocking(False)
            here.connect(there.getsockname())
            counts = send(here, 1200, 64)
            counts["received"] = 0
            try:
                while there.recv(2000):
                    counts["received"] += 1
            except BlockingIOError:
                pass
        found[f"{kind} {verdict}"] = counts
        attach(-1)
answer(found)
"""

# The handshake is answered, then the neighbour entry is changed to an address that is
# not the peer's: it drops all that comes (PACKET_OTHERHOST), so nothing is delivered
# and nothing acknowledged. connect(2) to AF_UNSPEC then gives the buffers back.
TCP = """
enter()
pair(65535)
ethtool = Ethtool()

def features(**wanted):
    now = ethtool.get_features("v0")
    for name, value in wanted.items():
        now.features[name.replace("_", "-")].enable = value
    ethtool.set_features("v0", now)
    there = ethtool.get_features("v0").features
    for name, value in wanted.items():
        if bool(there[name.replace("_", "-")].enable) != value:
            skip(f"{name} stays as it is")

def undelivered(**given):
    with receiving(socket.SOCK_STREAM) as listening:
        listening.listen(1)
        here = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        here.connect(listening.getsockname())
        entry = {"dst": FAR, "lladdr": NOBODY, "ifindex": near_index}
        network.neigh("replace", state=0x80, **entry)  # NUD_PERMANENT
        def cut():
            time.sleep(0.3)
            libc.connect(here.fileno(), struct.pack("=H", 0) + bytes(14), 16)
        threading.Thread(target=cut, daemon=True).start()
        counts = send(here, 1200, 8, **given)
        network.neigh("del", **entry)
    return counts

found = {"as it is": undelivered(), "eor": undelivered(eor=True)}
features(tx_checksum_ip_generic=False)
found["no-checksum"] = undelivered(eor=True)
features(tx_checksum_ip_generic=True, tx_scatter_gather=False)
found["no-sg"] = undelivered(eor=True)
answer(found)
"""


def outcome(code):
    """Run code in a process of its own; return what it answers, or skip."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ},
    )
    if done.returncode == 77:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def share(counts):
    assert counts["notifications"] == counts["requests"] > 0
    return counts["copied"] / counts["notifications"]


@needs_uring
def test_xdp_at_the_far_end():
    """Generic XDP copies in any case; native XDP copies as well, and nobody says so."""
    found = outcome(XDP)

    assert share(found["generic pass"]) == share(found["generic drop"]) == 1
    assert share(found["native pass"]) == share(found["native drop"]) == 0
    assert found["native pass"]["received"] > 0
    assert found["native drop"]["received"] == 0


@needs_uring
def test_tcp_that_nobody_receives():
    """Undelivered, TCP copies only for the device; without MSG_EOR the flag lies."""
    found = outcome(TCP)

    assert share(found["eor"]) == 0
    assert share(found["no-checksum"]) == 1
    assert share(found["no-sg"]) == 1
    if preflight.over_reports("tcp", os.uname().release):
        assert 0 < share(found["as it is"]) < 1
