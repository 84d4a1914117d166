"""No file of a real run tells which machine it was: no name, address or identity."""

import json
import re
import socket
from pathlib import Path as Folder

import pyarrow.parquet as pq
import pytest
from pyroute2 import IPRoute

from tests.live import needs_uring
from zclab import hostfacts, store
from zclab.errors import CapabilityError
from zclab.explain import capture
from zclab.measure import sweep
from zclab.params import Mode, Path, Plan, Protocol, grid
from zclab.publish import mail

pytestmark = needs_uring

PLAN = Plan(
    profile="test",
    points=(
        *grid(
            path=Path.SINK,
            protocol=Protocol.UDP,
            family=4,
            sizes=(1200,),
            modes=(Mode.SEND, Mode.SEND_ZC_FIXED),
            batch=8,
        ),
        *grid(
            path=Path.SINK,
            protocol=Protocol.TCP,
            family=4,
            sizes=(1200,),
            modes=(Mode.SEND, Mode.SEND_ZC_FIXED),
            batch=1,
        ),
        *grid(
            path=Path.LO,
            protocol=Protocol.TCP,
            family=6,
            sizes=(1200,),
            modes=(Mode.SEND, Mode.SEND_ZC_FIXED),
            batch=1,
        ),
    ),
    seed=7,
    blocks=7,
    slice_ns=1_000_000,
)


def secrets() -> set[str]:
    """Return this host's names, addresses and identities."""
    found = {socket.gethostname()}
    for path in (
        "/etc/machine-id",
        "/etc/hostname",
        "/proc/sys/kernel/random/boot_id",
        "/sys/class/dmi/id/product_serial",
        "/sys/class/dmi/id/product_uuid",
    ):
        try:
            found.add(Folder(path).read_text().strip())
        except OSError:
            continue
    with IPRoute() as network:
        for link in network.get_links():
            found.add(link.get_attr("IFLA_ADDRESS") or "")
        for address in network.get_addr():
            found.add(address.get_attr("IFA_ADDRESS") or "")
    return found - {"", "localhost", "127.0.0.1", "::1", "00:00:00:00:00:00"}


def words_of(folder: Folder) -> dict[str, str]:
    """Return the text of each file of a run, that of the samples' columns too."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            rows = [str(table.schema), *map(str, table.to_pylist())]
            found[path.name] = "\n".join(rows)
        else:
            found[path.name] = path.read_text()
    return found


def betrayed(texts: dict[str, str]) -> list[str]:
    """Return where one of this host's secrets stands as a word of its own."""
    return [
        f"{name}: {secret}"
        for secret in sorted(secrets())
        for name, text in texts.items()
        if re.search(rf"(?<![\w.:-]){re.escape(secret)}(?![\w.:-])", text)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Folder:
    """Return a run that was taken for real."""
    try:
        return sweep.take(PLAN, out=tmp_path_factory.mktemp("runs"))
    except CapabilityError as error:
        pytest.skip(str(error))


def test_no_file_of_a_run_names_the_host(folder):
    """Neither facts nor plan, samples nor mail hold what this machine is known by."""
    run = store.load(folder)
    texts = words_of(folder) | {"mail": mail.render(run, run.id), "id": run.id}

    assert {store.HOST_BEFORE, store.HOST_AFTER} <= texts.keys()
    assert betrayed(texts) == []


def test_what_is_looked_for_is_found(folder):
    """The search finds each of the secrets, where one is planted."""
    text = words_of(folder)[store.HOST_BEFORE]

    assert secrets()
    for secret in secrets():
        planted = json.dumps({"alias": secret, "rest": json.loads(text)})
        assert betrayed({"planted": planted}) == [f"planted: {secret}"]


def test_facts_of_a_run_are_on_the_schema(folder):
    """Every fact before and after, of host and places, is in the registry."""
    for name in (store.HOST_BEFORE, store.HOST_AFTER):
        assert hostfacts.check(store.read_json(folder / name)) == [], name


def test_the_same_facts_come_after(folder):
    """What was told before the first sample is told again after the last."""
    before, after = (
        {name for name, _ in hostfacts.flat(store.read_json(folder / file))}
        for file in (store.HOST_BEFORE, store.HOST_AFTER)
    )

    assert before == after
    assert "paths.sink.mtu" in before
    said = capture.scope(store.load(folder))
    assert said.startswith(
        "Facts of the host and the places lo, sink, sink+answered were "
    )
