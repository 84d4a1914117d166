"""The command line. The only room that prints, and the only one that meets all."""

import signal
import sys
from types import FrameType

import typer
from typer.models import CommandInfo

from zclab.cli import (
    advise,
    breakdown,
    doctor,
    finding,
    house,
    measure,
    peer,
    preflight,
    report,
    tools,
)
from zclab.cli.app import app
from zclab.cli.terminal import say
from zclab.errors import EXIT_FAILURE, EXIT_INPUT, EXIT_STOPPED, ZclabError

__all__ = [
    "advise",
    "app",
    "breakdown",
    "doctor",
    "finding",
    "house",
    "main",
    "measure",
    "peer",
    "preflight",
    "report",
    "tools",
]

# typer brings its own copy of click from 0.20 on, so the class is reached through
# the one name that all its versions export.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

# As a newcomer meets them; what is not named comes last.
_ORDER = (
    "report",
    "measure",
    "advise",
    "preflight",
    "doctor",
    "peer",
    "plans",
    "modes",
    "options",
    "costs",
    "breakdown",
    "mail",
    "finding",
    "verify",
    "dictionary",
    "tx",
    "replay",
    "lab",
    "bench",
    "prove",
    "sanitize",
    "test",
    "lint",
    "setup",
    "clean",
)


def _place(command: CommandInfo) -> int:
    name = command.callback.__name__ if command.callback else ""
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


app.registered_commands.sort(key=_place)


def _terminated(number: int, _: FrameType | None) -> None:
    """Turn a polite end into the same clean way out that Ctrl-C takes."""
    raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")


def main() -> None:
    """Run the command line; every expected error is one line and an exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        status = app(standalone_mode=False) or 0
        if status == EXIT_STOPPED:  # typer's own answer to Ctrl-C, without words
            raise KeyboardInterrupt
        sys.exit(status)
    except ZclabError as error:
        say(f"zclab: {error}")
        sys.exit(error.exit_code)
    except _UsageError as error:
        message = str(error).rstrip(".") or type(error).__name__
        say(f"zclab: {message}; see zclab --help")
        sys.exit(EXIT_INPUT)
    except OSError as error:  # a full disk, a folder of somebody else
        what = error.filename or "a file or a system call"
        say(f"zclab: {what}: {error.strerror or error}")
        sys.exit(EXIT_FAILURE)
    except (KeyboardInterrupt, typer.Abort) as stop:
        say(f"zclab: {str(stop) or 'stopped'}")
        sys.exit(EXIT_STOPPED)
