"""What a network card and its driver say of themselves.

All of it is asked of the kernel: the netlink family and the ioctl of ethtool (both
through pyroute2), and sysfs. What a driver does not tell is left out, never guessed. No
hardware address, no serial number and no place on the bus is read.
"""

import ctypes
import fcntl
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pyroute2 import Ethtool
from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool
from pyroute2.netlink.exceptions import NetlinkError

from zclab.errors import InputError

SIOCETHTOOL = 0x8946  # linux/sockios.h
ETHTOOL_GDRVINFO = 0x03  # linux/ethtool.h
ETHTOOL_GRXFHINDIR = 0x38
_DRVINFO = struct.Struct("=I32s32s32s32s32s12sIIIII")  # struct ethtool_drvinfo
_NONE_WRITTEN = ("", "N/A", "n/a")

SYSTEM = Path("/sys/class/net")
INTERRUPTS = Path("/proc/irq")
UNKNOWN_MBIT = 0xFFFFFFFF  # SPEED_UNKNOWN, linux/ethtool.h
DUPLEX = ("half", "full")


def facts(device: str, *, index: int, system: Path = SYSTEM) -> dict[str, Any]:
    """Return what is known of a device, by the names of `zclab.hostfacts`.

    The speed of the link is there only where there is hardware with a link.

    Args:
        device: its name, in the current network namespace.
        index: its number there: sysfs may show another namespace's devices, and one
            of the same name with another number is not looked at.
        system: /sys/class/net.

    """
    folder = system / device
    found: dict[str, Any] = {
        **_driver(device),
        **_parameters(device),
        "statistics": statistics(device),
        "rss": _spread(device),
    }
    if _is_hardware(folder, index):
        found |= _link(device) | _hardware(folder)
    return {name: value for name, value in found.items() if value not in (None, {})}


def _is_hardware(folder: Path, index: int) -> bool:
    """Return whether a device stands for hardware, or for a hypervisor's.

    Others, as veth, name a link speed that is a figure of speech.
    """
    return _text(folder / "ifindex") == str(index) and (folder / "device").exists()


def statistics(device: str) -> dict[str, int]:
    """Return the counters that `ethtool -S` prints; empty where there are none."""

    def read(ethtool: IoctlEthtool) -> dict[str, int]:
        return {
            str(name): int(count) for name, count in ethtool.get_statistics() if name
        }

    return _asked(device, read) or {}


def _asked(device: str, ask: Callable[[IoctlEthtool], Any]) -> Any:
    """Return an answer of the driver, None where it gives none."""
    ethtool = IoctlEthtool(device)
    try:
        return ask(ethtool)
    except (EthtoolError, OSError):
        return None
    finally:
        ethtool.close()


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _driver(device: str) -> dict[str, str | None]:
    """Return driver and firmware. Source: ETHTOOL_GDRVINFO."""
    answer = _ioctl(device, _DRVINFO.pack(ETHTOOL_GDRVINFO, *[b""] * 6, *[0] * 5))
    if answer is None:
        return {}
    words = [
        word.split(b"\0")[0].decode("ascii", "replace").strip()
        for word in _DRVINFO.unpack(answer)[1:4]
    ]
    known = [None if word in _NONE_WRITTEN else word for word in words]
    return dict(zip(("driver", "driver_version", "firmware"), known, strict=True))


def _ioctl(device: str, question: bytes) -> bytes | None:
    """Return what SIOCETHTOOL makes of a buffer, None where it is refused."""
    buffer = ctypes.create_string_buffer(question, len(question))
    request = struct.pack("16sP", device.encode()[:15], ctypes.addressof(buffer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            fcntl.ioctl(any_socket, SIOCETHTOOL, request.ljust(40, b"\0"))
        except OSError:
            return None
    return buffer.raw


def _link(device: str) -> dict[str, Any]:
    mode = _netlink(device, "get_link_mode")
    if mode is None:
        return {}
    speed = mode.speed
    duplex = str(mode.duplex or "").lower()
    return {
        "link_mbit": int(speed) if speed and 0 < speed < UNKNOWN_MBIT else None,
        "duplex": duplex if duplex in DUPLEX else None,
    }


def _netlink(device: str, question: str) -> Any:
    with Ethtool() as ethtool:
        try:
            return getattr(ethtool, question)(device)
        except (EthtoolError, NetlinkError, OSError):
            return None


def _parameters(device: str) -> dict[str, dict[str, Any]]:
    """Return queues, rings, coalescing and all offloads."""
    queues = _netlink(device, "get_channels")
    rings = _netlink(device, "get_rings")
    coalescing = dict(_netlink(device, "get_coalesce") or {})
    coalescing.pop("cmd", None)
    offloads = _netlink(device, "get_features")
    return {
        "queues": _numbers(queues._asdict()) if queues else {},
        "rings": _numbers(rings._asdict()) if rings else {},
        "coalescing": _numbers(coalescing),
        "offloads": _named(offloads.features) if offloads else {},
    }


def _numbers(values: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(value) for name, value in values.items() if value is not None}


def _named(features: Mapping[str, Any]) -> dict[str, bool]:
    return {
        name: bool(feature.enable) for name, feature in features.items() if name.strip()
    }


def _spread(device: str) -> dict[str, int]:
    """Return how receiving is spread: entries of the RSS table, queues in it.

    Source: ETHTOOL_GRXFHINDIR; asked with size 0 it tells its size.
    """
    asked = _ioctl(device, struct.pack("=II", ETHTOOL_GRXFHINDIR, 0))
    size = struct.unpack("=II", asked)[1] if asked else 0
    if not 0 < size <= 1 << 16:
        return {}
    head = struct.pack("=II", ETHTOOL_GRXFHINDIR, size)
    table = _ioctl(device, head + bytes(4 * size))
    if table is None:
        return {}
    queues = struct.unpack(f"={size}I", table[8:])
    return {"entries": size, "queues": len(set(queues))}


def _hardware(folder: Path) -> dict[str, Any]:
    """Return what sysfs knows: bus, NUMA node, interrupts."""
    hardware = folder / "device"
    node = _first(hardware, "numa_node")
    return {
        "bus": _bus(hardware),
        "numa_node": int(node) if node.lstrip("-").isdigit() else None,
        "irq": _interrupts(hardware) | _transmitting(folder),
    }


def _bus(hardware: Path) -> str | None:
    """Return the bus, with what the slot runs at, as `pci 8.0 GT/s PCIe x8`."""
    name = (hardware / "subsystem").resolve().name
    if name in ("", "subsystem"):
        return None
    speed = _text(hardware / "current_link_speed")
    width = _text(hardware / "current_link_width")
    known = width.isdigit() and int(width) > 0
    return " ".join([name, *((speed, f"x{width}") if known else ())])


def _upward(hardware: Path) -> Iterator[Path]:
    """Yield a device and what it sits on: virtio has its interrupts on PCI."""
    here = hardware.resolve()
    for _ in range(3):
        yield here
        here = here.parent


def _first(hardware: Path, name: str) -> str:
    return next(filter(None, (_text(each / name) for each in _upward(hardware))), "")


def _interrupts(hardware: Path) -> dict[str, Any]:
    """Return how many interrupts the card has, and on which CPUs they may come."""
    for here in _upward(hardware):
        folder = here / "msi_irqs"
        if folder.is_dir():
            numbers = sorted(int(irq.name) for irq in folder.iterdir())
            cpus = {
                cpu
                for number in numbers
                for cpu in _list(
                    _text(INTERRUPTS / str(number) / "effective_affinity_list")
                    or _text(INTERRUPTS / str(number) / "smp_affinity_list")
                )
            }
            return {"count": len(numbers), "cpus": _ranges(cpus)}
    return {}


def _transmitting(folder: Path) -> dict[str, str]:
    """Return which CPUs use which transmit queue, where somebody chose (XPS)."""
    chosen = {
        queue.name: text
        for queue in sorted((folder / "queues").glob("tx-*"))
        if set(text := _text(queue / "xps_cpus")) - set("0,")
    }
    if not chosen:
        return {}
    return {"xps_masks": " ".join(f"{name}:{mask}" for name, mask in chosen.items())}


def _list(text: str) -> set[int]:
    """Return the CPUs of a list such as `0-3,8`."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found |= set(range(int(first), int(last or first) + 1))
    return found


def _ranges(cpus: set[int]) -> str | None:
    """Return CPUs as a list such as `0-3,8`, None for none."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and parts[-1][-1] == cpu - 1:
            parts[-1].append(cpu)
        else:
            parts.append([cpu])
    text = ",".join(
        f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts
    )
    return text or None


def index_of(device: str) -> int:
    """Return the number of a device of the current network namespace.

    Raises:
        InputError: there is none of that name; the message lists those there are.

    """
    known = {name: number for number, name in socket.if_nameindex()}
    if device not in known:
        raise InputError(
            f"--dev {device}: no such device here; there are: "
            f"{', '.join(sorted(known))}"
        )
    return known[device]
