"""Where the time goes: perf over a steady loop of each arm, apart from timed samples.

perf samples the sending process by the CPU clock (cpu-clock), which every machine
has, guests too. It is on for one long slice of each arm and then off again, so that
what it saw belongs to the requests that were counted meanwhile.

Source: perf-record(1), `--control` and `--delay=-1`; perf-script(1).
"""

import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zclab.errors import CapabilityError, MeasureError
from zclab.measure import host
from zclab.measure.process import Worker
from zclab.measure.site import check_completed
from zclab.params import CONTROL, Plan, Point

FREQUENCY_HZ = 4999  # not in step with the timer tick
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
KPTR = Path("/proc/sys/kernel/kptr_restrict")
ACK_S = 10

Show = Callable[[int, int], None]


def needed() -> None:
    """Raise CapabilityError when perf, or the right to see the kernel, is missing."""
    if not shutil.which("perf"):
        raise CapabilityError(
            "where the time goes needs perf; install it: apt-get install linux-perf "
            "(Debian), linux-tools-generic (Ubuntu), perf (Fedora, openSUSE, Arch)"
        )
    if _may_see_kernel():
        return
    raise CapabilityError(
        f"perf may not look into the kernel: kernel.perf_event_paranoid = "
        f"{_number(PARANOID)}, kernel.kptr_restrict = {_number(KPTR)}; run as root, or "
        "sysctl kernel.perf_event_paranoid=1 kernel.kptr_restrict=0"
    )


def _may_see_kernel() -> bool:
    if os.geteuid() == 0:
        return _number(KPTR) < 2
    return _number(PARANOID) <= 1 and _number(KPTR) == 0


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def record(
    point: Point, *, seconds: float = 2.0, progress: Show | None = None
) -> dict[str, Any]:
    """Return where each arm of a point spends its time, as folded stacks.

    Args:
        point: its arms are sampled one after the other.
        seconds: of each arm.
        progress: called with (arms done, arms).

    Returns:
        `host` and `place` (facts), `point` and its `name`, `frequency_hz` and `arms`:
        for each its name, `requests` while perf was on, `ns_per_request` and
        `cpu_ns_per_request` of the timed part,
        `samples`, `sampled_ns` (their time) and `stacks`: samples by stack, from the
        innermost function outwards, joined by `;`.

    Raises:
        CapabilityError: perf, a right, the path or a mode is missing.
        MeasureError: perf failed, or the worker did, or every request of an arm.

    """
    needed()
    slice_ns = round(seconds * 1e9)
    plan = Plan(profile="breakdown", points=(point,), seed=1, slice_ns=slice_ns)
    arms = [arm for arm in point.arms if arm != CONTROL]
    found = []
    with Worker(plan, point.place, host.cpus()) as worker:
        facts = worker.ready()
        for number, arm in enumerate(arms):
            found.append(_arm(worker, point, arm, slice_ns))
            if progress:
                progress(number + 1, len(arms))
    return {
        "host": host.facts(),
        "place": facts,
        "point": point.to_json(),
        "name": point.name,
        "frequency_hz": FREQUENCY_HZ,
        "arms": found,
    }


def _arm(worker: Worker, point: Point, arm: str, slice_ns: int) -> dict[str, Any]:
    def send(length_ns: int) -> dict[str, Any]:
        (sample,) = worker.block(point, [arm], 0, length_ns, 30 + 10 * length_ns / 1e9)
        return sample

    send(100_000_000)  # warm
    with tempfile.TemporaryDirectory(prefix="zclab-perf-") as folder:
        data = Path(folder) / "perf.data"
        with _sampling(worker.sender_pid(), data):
            sample = send(slice_ns)
        check_completed(sample)
        stacks = Counter(_stacks(data))
    samples = sum(stacks.values())
    cpu_ns = sample["cpu_user_ns"] + sample["cpu_sys_ns"]
    if not samples:
        raise MeasureError(f"perf took no sample of {arm} on {point.name}")
    return {
        "arm": arm,
        "requests": sample["sent_total_bytes"] // point.io_size_bytes,
        "ns_per_request": sample["elapsed_ns"] / sample["requests"],
        "cpu_ns_per_request": cpu_ns / sample["requests"],
        "samples": samples,
        "sampled_ns": round(samples * 1e9 / FREQUENCY_HZ),
        "stacks": dict(stacks.most_common()),
    }


@contextmanager
def _sampling(pid: int, data: Path) -> Iterator[None]:
    """Have perf sample a process while the block runs."""
    control, heard = data.with_name("control"), data.with_name("ack")
    os.mkfifo(control)
    os.mkfifo(heard)
    # Both ends, so that neither open waits for perf, whether it lives or not.
    write, read = (
        os.open(path, os.O_RDWR | os.O_NONBLOCK) for path in (control, heard)
    )
    command = [
        *("perf", "record", "--quiet", "-e", "cpu-clock", "-F", str(FREQUENCY_HZ)),
        *("-g", "-p", str(pid), "-o", str(data), "--delay=-1"),
        f"--control=fifo:{control},{heard}",
    ]
    perf = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _tell(perf, write, read, "enable")
        yield
        _tell(perf, write, read, "disable")
        _tell(perf, write, read, "stop")
        perf.wait(ACK_S)
    except subprocess.TimeoutExpired:
        raise MeasureError(f"perf did not end within {ACK_S} s") from None
    finally:
        if perf.poll() is None:
            perf.kill()
        perf.communicate()
        os.close(write)
        os.close(read)


def _tell(perf: subprocess.Popen[str], write: int, read: int, word: str) -> None:
    """Give perf a command and wait until it says that it was done."""
    os.write(write, f"{word}\n".encode())
    deadline = time.monotonic() + ACK_S
    while time.monotonic() < deadline:
        if select.select([read], [], [], 0.1)[0]:
            os.read(read, 64)
            return
        if perf.poll() is not None:
            why = (perf.stderr.read() if perf.stderr else "").strip().splitlines()
            raise CapabilityError(
                f"perf record ended: {why[0] if why else 'no reason'}"
            )
    raise MeasureError(f"perf did not answer {word!r} within {ACK_S} s")


_FRAME = re.compile(r"^\s+[0-9a-f]+ (?P<symbol>.*?)(?:\+0x[0-9a-f]+)? \((?P<of>.*)\)$")


def _stacks(data: Path) -> Iterator[str]:
    """Yield the stack of each sample, innermost function first."""
    command = ["perf", "script", "-i", str(data), "-F", "ip,sym,dso", "--no-inline"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasureError(f"perf script failed: {done.stderr.strip()[:200]}")
    for block in done.stdout.split("\n\n"):
        frames = [name for line in block.splitlines() if (name := _frame(line))]
        if frames:
            yield ";".join(frames)


def _frame(line: str) -> str:
    """Return the function of a line of perf script; a user's by its object's name."""
    match = _FRAME.match(line)
    if not match:
        return ""
    symbol, of = match["symbol"].replace(";", ","), match["of"]
    if of.startswith("[") and of not in ("[vdso]", "[unknown]"):
        return "" if symbol == "[unknown]" else symbol
    return f"user:{Path(of).name}"
