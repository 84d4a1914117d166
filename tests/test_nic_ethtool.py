"""What a card says of itself, from a made-up /sys and from a real device."""

from pathlib import Path

import pytest

from tests.live import in_namespaces
from zclab import hostfacts
from zclab.errors import InputError
from zclab.measure import ethtool


def card(root: Path, *, index: int = 7) -> Path:
    """Make the /sys/class/net of a host with one card on PCI; return it."""
    slot = root / "devices" / "pci0000:00" / "0000:3b:00.0"
    texts = {
        "numa_node": "1",
        "current_link_speed": "16.0 GT/s PCIe",
        "current_link_width": "8",
        "net/eth1/ifindex": str(index),
        "net/eth1/queues/tx-0/xps_cpus": "0001",
        "net/eth1/queues/tx-1/xps_cpus": "0002",
        "net/eth1/queues/tx-2/xps_cpus": "0000",
    }
    for name, text in texts.items():
        path = slot / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    (root / "bus" / "pci").mkdir(parents=True)
    (slot / "subsystem").symlink_to(root / "bus" / "pci")
    (slot / "net/eth1/device").symlink_to(slot)
    for irq, cpus in {40: "0", 41: "1-3", 42: "3,8"}.items():
        (slot / "msi_irqs" / str(irq)).mkdir(parents=True)
        where = root / "irq" / str(irq)
        where.mkdir(parents=True)
        (where / "effective_affinity_list").write_text(f"{cpus}\n")
    system = root / "class" / "net"
    system.mkdir(parents=True)
    (system / "eth1").symlink_to(slot / "net/eth1")
    return system


def test_hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bus, node, interrupts and transmit queues are read; no address, no slot."""
    system = card(tmp_path)
    monkeypatch.setattr(ethtool, "INTERRUPTS", tmp_path / "irq")
    found = ethtool.facts("eth1", index=7, system=system)
    assert found["bus"] == "pci 16.0 GT/s PCIe x8"
    assert found["numa_node"] == 1
    assert found["irq"] == {
        "count": 3,
        "cpus": "0-3,8",
        "xps_masks": "tx-0:0001 tx-1:0002",
    }
    assert hostfacts.check({"paths": {"nic": found}}) == []
    assert "3b:00" not in str(found)


def test_a_card_of_another_namespace_is_not_taken(tmp_path: Path) -> None:
    """/sys may show the host's card of that name: another number, another card."""
    system = card(tmp_path)
    found = ethtool.facts("eth1", index=8, system=system)
    assert found.keys().isdisjoint({"bus", "numa_node", "irq", "link_mbit"})


def test_unknown_device() -> None:
    """It is one line that lists those there are."""
    with pytest.raises(InputError, match=r"--dev nothere: no such device .* lo"):
        ethtool.index_of("nothere")


def test_real_device() -> None:
    """A veth tells driver, queues, offloads and counters, as the registry has them."""
    found = in_namespaces(
        """
from pyroute2 import IPRoute
from zclab.measure import ethtool
with IPRoute() as network:
    network.link("add", ifname="card0", kind="veth", peer="card1")
answer(ethtool.facts("card0", index=ethtool.index_of("card0")))
"""
    )
    assert found["driver"] == "veth"
    assert found["queues"]["tx_count"] >= 1
    assert found["offloads"]["tx-scatter-gather"] is True
    assert all(isinstance(count, int) for count in found["statistics"].values())
    assert found["statistics"]
    assert hostfacts.check({"paths": {"nic": found}}) == []
