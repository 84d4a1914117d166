"""What all tests share."""

import signal
from pathlib import Path

import pytest

# What a script starts in the background ignores SIGINT, and so does all that it
# starts in turn: a test that interrupts a run would wait for nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """Return the folder that holds pyproject.toml."""
    return Path(__file__).resolve().parent.parent
