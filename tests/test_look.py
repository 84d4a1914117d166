"""Places are looked at again after the last sample, as they are then."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path as Folder

import pytest

from tests.live import needs_uring
from zclab import store
from zclab.errors import CapabilityError, MeasureError
from zclab.explain import capture
from zclab.measure import site, sweep
from zclab.params import Mode, Path, Plan, Protocol, grid

pytestmark = needs_uring

PLAN = Plan(
    profile="test",
    points=tuple(
        point
        for path, family in ((Path.SINK, 4), (Path.VETH, 6))
        for point in grid(
            path=path,
            protocol=Protocol.UDP,
            family=family,
            sizes=(1200,),
            modes=(Mode.SEND, Mode.SEND_ZC),
            batch=8,
        )
    ),
    seed=7,
    blocks=3,
    slice_ns=1_000_000,
)


@pytest.fixture
def meddle(monkeypatch):
    """Return a function that has something done between last sample and last look."""

    def having(what) -> None:
        look = site.Ground.host_now

        def host_now(ground):
            what(ground)
            return look(ground)

        monkeypatch.setattr(site.Ground, "host_now", host_now)

    return having


def taken(tmp_path) -> store.Run:
    """Return a run that was taken for real."""
    try:
        return store.load(sweep.take(PLAN, out=tmp_path))
    except CapabilityError as error:
        pytest.skip(str(error))


def inside(pid: int, code: str) -> None:
    """Run Python code in the user and network namespaces of a process."""
    if not shutil.which("nsenter"):
        pytest.skip("nsenter (util-linux) is not here")
    mine, theirs = (Folder(f"/proc/{who}/ns/user").readlink() for who in ("self", pid))
    user = ["-U", "--preserve-credentials"] if mine != theirs else []
    subprocess.run(
        ["nsenter", "-t", str(pid), *user, "-n", sys.executable, "-c", code],
        check=True,
        timeout=60,
    )


def test_a_device_that_was_changed_is_a_finding(tmp_path, meddle):
    """An MTU and a queueing discipline that differ at the end are told, no others."""
    code = (
        "from pyroute2 import IPRoute\n"
        "with IPRoute() as network:\n"
        "    index = network.link_lookup(ifname='zcsink')[0]\n"
        "    network.link('set', index=index, mtu=9000)\n"
        "    network.tc('replace', 'pfifo', index)\n"
    )
    meddle(lambda ground: inside(ground.sites["sink"].sender_pid(), code))

    run = taken(tmp_path)
    found = [text for text in capture.findings(run) if text.startswith("paths.")]

    assert [text.partition(" (")[0] for text in found] == [
        "paths.sink.mtu changed during the run: 65535, then 9000",
        "paths.sink.qdisc changed during the run: noqueue, then pfifo",
    ]


def test_a_place_that_is_gone_takes_no_sample_with_it(tmp_path, meddle):
    """A place that ends after its last sample leaves the run whole; it is not named."""

    def kill(ground):
        os.kill(ground.sites["veth"].sender_pid(), signal.SIGKILL)

    meddle(kill)

    with pytest.raises(MeasureError, match=r"veth ended with .* after its last block"):
        taken(tmp_path)
    (folder,) = tmp_path.iterdir()
    run = store.load(folder)

    assert run.complete
    assert capture.scope(run).startswith("Facts of the host and the place sink were")
