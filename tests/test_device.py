"""What is read of a device, where the kernel does not tell it."""

from dataclasses import replace
from pathlib import Path

import pytest
import samples

from zclab.explain import facts
from zclab.measure import sweep
from zclab.measure.path import device


@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError])
def test_taps_that_cannot_be_read_are_unknown(monkeypatch, error):
    """Where /proc/net/packet is not to be had, nobody knows; that is not none."""
    read = Path.read_text

    def refused(path, *args, **kwargs):
        if path == Path("/proc/net/packet"):
            raise error(path)
        return read(path, *args, **kwargs)

    assert device.packet_taps("lo") is not None
    monkeypatch.setattr(Path, "read_text", refused)

    assert device.packet_taps() is None
    assert device.packet_taps("lo") is None


@pytest.mark.parametrize(("taps", "says"), [(None, "unknown"), (0, "0"), (2, "2")])
def test_unknown_taps_are_told_as_unknown(tmp_path, taps, says):
    """The table of paths tells no taps from unknown ones, and neither warns."""
    run = samples.make(tmp_path, planned=2)
    paths = {
        name: {**path, "packet_taps": taps, "host_packet_taps": taps}
        for name, path in run.host["paths"].items()
    }
    host = {**run.host, "paths": paths, "load_1m": 0, "cpu": {"usable": 2}}

    told = facts.paths(replace(run, host=host))

    assert set(told["packet taps"]) == {says}
    warned = [text for text in sweep._warnings(host) if "packet taps" in text]
    assert len(warned) == bool(taps)
