"""Does what the kernel's io_uring_zerocopy_tx.sh does, in namespaces of its own.

Two network namespaces, a veth pair with the largest MTU between them, a receiver in
the second, the selftest's calls from the first. The script shows that all modes
deliver; it shows no gain, as on veth the kernel copies every time.

The namespaces are those of a process of its own, as they must be entered before
there is a second thread. It takes the arguments as one line of JSON on stdin and
answers with JSON lines: what to print, or the error that it ended with.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from zclab.errors import CapabilityError, InputError, MeasureError, ZclabError
from zclab.measure import memlock, namespace, preset, tx
from zclab.measure.path import FAR, Route, up
from zclab.measure.preset import Call
from zclab.params import Path, Protocol
from zclab.presets import Tool
from zclab.uring.receiver import Receiver

RCVBUF_BYTES = 1 << 21  # of the script's receiver; capped by rmem_max
OPTMEM_BYTES = 1_000_000
CATCH_UP_S = {Protocol.UDP: 0.25, Protocol.TCP: 5.0}

# What the script runs without arguments.
WHOLE_LIST = tuple(
    (family, *words)
    for family in ("4", "6")
    for mode in ("1", "2", "3")
    for words in (
        ("udp", "-m", mode, "-t", "1", "-n", "32"),
        ("tcp", "-m", mode, "-t", "1", "-n", "1"),
    )
)
_KINDS = {kind.exit_code: kind for kind in (InputError, CapabilityError, MeasureError)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One call of the script: its header line, and the sender's call."""

    header: str
    call: Call


def turns(words: Sequence[str]) -> tuple[Turn, ...]:
    """Return what to run: the call that the words spell, without any the whole list.

    Args:
        words: 4 or 6, udp or tcp, then letters of the selftest.

    Raises:
        InputError: they are no call of the script.

    """
    return tuple(_turn(one) for one in ((tuple(words),) if words else WHOLE_LIST))


def _turn(words: tuple[str, ...]) -> Turn:
    family, protocol = (*words, "", "")[:2]
    if family not in {"4", "6"} or protocol not in set(Protocol):
        raise InputError(
            f"replay takes 4 or 6, then udp or tcp, then letters of the selftest, "
            f"as in 6 udp -m 1 -n 64; it got {' '.join(words)!r}"
        )
    letters = words[2:]
    call = preset.parse(
        # As the script has it: of a letter that is there twice the later counts.
        [f"-{family}", "-t", "1", "-D", FAR[int(family)], *letters, protocol],
        Tool.SELFTEST,
    )
    if call.address != FAR[int(family)]:
        raise InputError("-D is set by replay, which has addresses of its own")
    return Turn(header=" ".join([f"ipv{family}", protocol, *letters]), call=call)


def replay(words: Sequence[str], say: Callable[[str], None]) -> None:
    """Run what the words spell; `say` is called with each line.

    Raises:
        InputError: they are no call of the script.
        CapabilityError: namespaces, veth or io_uring cannot be had here.
        MeasureError: a call failed, or bytes are missing over TCP.

    """
    turns(words)
    process = subprocess.Popen(
        # -P: the zclab of this process, not one of the current folder.
        [sys.executable, "-P", "-m", "zclab.measure.replay"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    with process:
        try:
            with suppress(BrokenPipeError):  # what it died of is told below
                json.dump({"parent": os.getpid(), "words": list(words)}, process.stdin)
                process.stdin.close()
            for line in process.stdout:
                values = json.loads(line)
                if "error" in values:
                    raise _KINDS[values["exit_code"]](values["error"])
                say(values["line"])
        except BaseException:
            process.kill()  # its namespaces and its receiver end with it
            raise
    if process.returncode:
        raise MeasureError(f"the replay ended with status {process.returncode}")


def _answer(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def _say(line: str) -> None:
    _answer({"line": line})


def _raise_optmem() -> None:
    """Raise net.core.optmem_max of this namespace; it has none before Linux 6.8."""
    with suppress(OSError):
        FilePath("/proc/sys/net/core/optmem_max").write_text(f"{OPTMEM_BYTES}\n")


def serve() -> None:
    """Run the calls that stdin names."""
    # Ctrl-C reaches the whole foreground group; the parent decides when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = json.load(sys.stdin)
    namespace.die_with_parent(request["parent"])
    memlock.use_all()
    namespace.enter()
    route = up(Path.VETH, {4, 6})
    assert route.peer
    _raise_optmem()
    with route.peer.entered():
        _raise_optmem()
    for turn in turns(request["words"]):
        _say(turn.header)
        _run(route, turn.call)
        _say("ok")
    if not request["words"]:
        _say("OK. All tests passed")


def _run(route: Route, call: Call) -> None:
    """Send one call to a receiver in the second namespace, and say what came."""
    assert route.peer
    with (
        route.peer.entered(),
        tx.listening(
            call.family,
            call.protocol,
            call.address,
            call.port,
            rcvbuf=RCVBUF_BYTES,
        ) as bound,
    ):
        receiver = Receiver(
            [bound.fileno()],
            cpu=min(os.sched_getaffinity(0)),
            die_with_parent=namespace.die_with_parent,
        )
    try:
        sent = tx.send(call)
        for line in (sent.line, *sent.lines):
            _say(line)
        _say(_arrived(call, receiver, sent.counts["sent_total_bytes"]))
    finally:
        receiver.close()


def _arrived(call: Call, receiver: Receiver, sent_bytes: int) -> str:
    """Return the receiver's line.

    Raises:
        MeasureError: over TCP not all came.

    """
    receiver.await_bytes(
        [0], sent_bytes, lost=lambda: 0, deadline_s=CATCH_UP_S[call.protocol]
    )
    tally = receiver.tally(0)
    if call.protocol is Protocol.TCP and tally.bytes != sent_bytes:
        raise MeasureError(f"{sent_bytes} B sent but {tally.bytes} B received over tcp")
    share = 100 * tally.bytes / sent_bytes
    return (
        f"rx={tally.received} ({tally.bytes >> 20} MB), {share:.1f}% of what was sent"
    )


def main() -> None:
    """Serve; an error becomes one line of JSON that says what and how to exit."""
    try:
        serve()
    except ZclabError as error:
        _answer({"error": str(error), "exit_code": error.exit_code})
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        what = error.filename or "a system call of the replay"
        _answer({"error": f"{what} failed: {error.strerror}", "exit_code": 1})
        sys.exit(1)


if __name__ == "__main__":
    main()
