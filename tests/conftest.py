"""What all tests share."""

import signal
import socket
from collections.abc import Iterator
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


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    """Return a UDP socket that is connected to one that takes all it is sent."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending,
    ):
        receiving.bind(("127.0.0.1", 0))
        sending.connect(receiving.getsockname())
        yield sending
