"""What the tests of the measuring half share: is io_uring here, and in a namespace.

Nothing here asserts speed. Where a capability is missing the tests skip and say why.
"""

import json
import os
import subprocess
import sys

import pytest

from zclab.errors import CapabilityError
from zclab.uring import probe


def _missing() -> str:
    try:
        probe.support()
    except CapabilityError as error:
        return str(error)
    return ""


MISSING = _missing()
needs_uring = pytest.mark.skipif(bool(MISSING), reason=MISSING or "io_uring is here")


def in_namespaces(code: str, timeout_s: float = 60) -> dict:
    """Run Python `code` in a child with its own namespaces; return what it `answer`s.

    The child has `answer` (called once with a dict), `up`, `Path` and the socket
    module. It skips the test where namespaces or a device are missing.
    """
    head = (
        "import json, socket, sys\n"
        "from zclab.errors import CapabilityError\n"
        "from zclab.measure import namespace\n"
        "from zclab.measure.path import up\n"
        "from zclab.params import Path, Point, Protocol, Mode\n"
        "def answer(values):\n"
        "    sys.stdout.write(json.dumps(values))\n"
        "try:\n"
        "    namespace.enter()\n"
    )
    body = "".join(f"    {line}\n" for line in code.strip().splitlines())
    tail = (
        "except CapabilityError as error:\n"
        "    sys.stderr.write(str(error))\n"
        "    sys.exit(77)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + body + tail],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "error::ResourceWarning"},
    )
    if done.returncode == 77:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
