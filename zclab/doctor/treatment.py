"""The treatment: settings that hold while a command runs, or until Ctrl-C."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from zclab.doctor import undo
from zclab.doctor.finding import Change, Finding
from zclab.errors import EXIT_STOPPED, CapabilityError, InputError
from zclab.measure import namespace

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def changes(findings: Sequence[Finding]) -> tuple[Change, ...]:
    """Return what --apply would set for what was found, each file once."""
    found = {c.path: c for finding in findings for c in finding.changes}
    return tuple(found.values())


def check(wanted: Sequence[Change]) -> None:
    """Raise CapabilityError, with the one command, where root is needed."""
    closed = [c.path for c in wanted if not os.access(c.path, os.W_OK)]
    if closed and os.geteuid():
        raise CapabilityError(
            f"{closed[0]} may only be set by root; sudo zclab doctor --apply"
        )


def hold(
    wanted: Sequence[Change],
    command: Sequence[str],
    say: Callable[[str], None],
    *,
    where: Path | None = None,
) -> int:
    """Set `wanted`, run `command` or wait for Ctrl-C, and put back what was found.

    The command gets the signals that end this process, and is killed with it.

    Args:
        wanted: what to set.
        command: what to run; empty to wait for Ctrl-C.
        say: is told what is set and put back, line by line.
        where: folder of the undo journal.

    Returns:
        The command's exit code, 128 and its number for a signal; 0 after Ctrl-C.

    Raises:
        CapabilityError: it needs root, or others have settings in force.
        InputError: there is no such command.

    """
    check(wanted)
    with _deferred() as signals, undo.Applied(wanted, say=say, where=where):
        if command:
            return EXIT_STOPPED if signals.came else _run(command, signals)
        say("in force until Ctrl-C")
        signals.wait()
    return 0


class _Signals:
    """Signals that would end this process: kept, and passed on to a command."""

    def __init__(self) -> None:
        self.came: list[int] = []
        self.child: subprocess.Popen[bytes] | None = None

    def take(self, number: int, _: FrameType | None) -> None:
        """Keep a signal, and pass it on."""
        self.came.append(number)
        self.pass_on(number)

    def pass_on(self, number: int) -> None:
        """Give a signal to the command, unless a terminal gave it to both."""
        if self.child and not (number == signal.SIGINT and sys.stdin.isatty()):
            self.child.send_signal(number)

    def wait(self) -> None:
        """Return once one has come."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            if not self.came:  # nor can one come now before it is waited for
                self.came.append(signal.sigwait(ENDING))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _deferred() -> Iterator[_Signals]:
    """Keep the signals that would end this process while settings are in force."""
    signals = _Signals()
    before = {number: signal.signal(number, signals.take) for number in ENDING}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(command: Sequence[str], signals: _Signals) -> int:
    parent = os.getpid()
    try:
        signals.child = subprocess.Popen(
            list(command),
            # There is no other thread that could hold a lock in the child.
            preexec_fn=lambda: namespace.die_with_parent(parent),  # noqa: PLW1509
        )
    except OSError as error:
        raise InputError(f"{command[0]}: {error.strerror}") from None
    for number in signals.came:  # those that came before it was there
        signals.pass_on(number)
    status = signals.child.wait()
    return status if status >= 0 else 128 - status
