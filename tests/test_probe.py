"""What stands in the way of io_uring is named, with what to change."""

import errno

import pytest

from tests.live import needs_uring
from zclab.errors import CapabilityError
from zclab.uring import probe


@needs_uring
def test_this_kernel_can_send_zerocopy():
    """Where a ring can be made the probe finds SEND_ZC."""
    assert probe.support().send_zc


def test_binding_tells_its_build():
    """The shim knows the liburing and the compiler it was built with."""
    major, minor = map(int, probe.liburing_version().split(".")[:2])

    assert (major, minor) >= (2, 3)
    assert probe.compiler().split()[0] in ("gcc", "clang")


@pytest.mark.parametrize("value", ["1", "2"])
def test_disabled_names_the_sysctl(monkeypatch, tmp_path, value):
    """A ring refused by sysctl is explained by that sysctl and its value."""
    sysctl = tmp_path / "io_uring_disabled"
    sysctl.write_text(f"{value}\n")
    monkeypatch.setattr(probe, "SYSCTL_DISABLED", sysctl)

    line = probe._why_no_ring(errno.EPERM)

    assert f"kernel.io_uring_disabled = {value}" in line
    assert "\n" not in line


def test_seccomp_and_old_kernels_are_told_apart(monkeypatch, tmp_path):
    """EPERM with the sysctl at 0 is a filter; ENOSYS is a kernel without io_uring."""
    sysctl = tmp_path / "io_uring_disabled"
    sysctl.write_text("0\n")
    monkeypatch.setattr(probe, "SYSCTL_DISABLED", sysctl)

    assert "seccomp" in probe._why_no_ring(errno.EPERM)
    assert "6.0" in probe._why_no_ring(errno.ENOSYS)
    assert "ulimit -l" in probe._why_no_ring(errno.ENOMEM)


def test_missing_capability_is_exit_77():
    """A capability that is missing is no failure of the program."""
    assert CapabilityError("x").exit_code == 77
