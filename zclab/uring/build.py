"""Compiles the shim with cffi (API mode) against the system's liburing.

The declarations are read from the very header that the C includes, so the two
cannot drift apart. Run by setup.py; never imported by the package.
"""

import subprocess
import sys
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
PARTS = ("ring", "sender", "syscall", "receiver", "responder", "probe")
NEEDS = "liburing >= 2.3"  # the first with prep_send_zc_fixed and get_events


def _liburing_version() -> str:
    """Return the version of the liburing that pkg-config finds, or exit."""
    try:
        subprocess.run(
            ["pkg-config", "--print-errors", "--exists", NEEDS], check=True, text=True
        )
        return subprocess.run(
            ["pkg-config", "--modversion", "liburing"],
            check=True,
            text=True,
            capture_output=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        sys.exit(f"the shim needs {NEEDS}, found through pkg-config; try: make setup")


ffibuilder = FFI()
ffibuilder.cdef((HERE / "shim.h").read_text())
ffibuilder.set_source_pkgconfig(
    "zclab.uring._shim",
    [NEEDS],
    '#include <stdint.h>\n#include "shim.h"\n',
    sources=[f"zclab/uring/{name}.c" for name in PARTS],
    include_dirs=["zclab/uring"],
    depends=[f"zclab/uring/{name}.h" for name in ("shim", "ring")],
    define_macros=[("ZCLAB_LIBURING_VERSION", f'"{_liburing_version()}"')],
    extra_compile_args=["-O2", "-Wall", "-Wextra", "-Wno-unused-parameter"],
)
