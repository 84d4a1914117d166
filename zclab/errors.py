"""Everything zclab raises on purpose.

ZclabError
├── InputError       a parameter, file or id is wrong; exit 2
│   └── DataError    a run or report on disk is not what it claims to be
├── StoppedError     the user ended it; exit 130
├── CapabilityError  the kernel, a privilege or a device is missing; exit 77
└── MeasureError     the measurement itself broke a rule it checks; exit 1
    └── SendError    the kernel refused a send; carries the errno

Each message is one line: what, where, what to do.
"""

import errno as _errno
import os
from typing import Any

EXIT_FAILURE = 1
EXIT_INPUT = 2
EXIT_STOPPED = 130  # as shells say it: 128 + SIGINT
EXIT_MISSING = 77  # the kernel selftests' KSFT_SKIP is 4; liburing's T_EXIT_SKIP is 77


# Where Linux gives one number two names, Python knows the one that nobody uses.
_NAMES = {_errno.EOPNOTSUPP: "EOPNOTSUPP", _errno.EAGAIN: "EAGAIN"}


def errno_name(number: int) -> str:
    """Return the name of a positive errno, or its digits when it has none."""
    return _NAMES.get(number) or _errno.errorcode.get(number, str(number))


class ZclabError(Exception):
    """Base of all errors that are shown as one line instead of a traceback."""

    exit_code = EXIT_FAILURE


class InputError(ZclabError):
    """What the user gave cannot be used."""

    exit_code = EXIT_INPUT


class DataError(InputError):
    """Data on disk is missing, damaged or changed since it was sealed."""


class StoppedError(ZclabError):
    """Ctrl-C or SIGTERM; the message says what was kept."""

    exit_code = EXIT_STOPPED


class CapabilityError(ZclabError):
    """The machine cannot do it: kernel, privilege or device is missing."""

    exit_code = EXIT_MISSING


class MeasureError(ZclabError):
    """A measurement broke a rule that zclab checks instead of assuming."""


class SendError(MeasureError):
    """The kernel refused an operation of the sender.

    Args:
        number: positive errno.
        what: what was tried, with mode, size and path.
        cure: what to do about it; empty when zclab knows of nothing.
        counts: the counters until then, where there are some.

    """

    def __init__(
        self,
        number: int,
        what: str,
        cure: str = "",
        counts: dict[str, Any] | None = None,
    ) -> None:
        self.errno = number
        self.counts = counts
        text = f"{what}: {errno_name(number)} ({os.strerror(number)})"
        super().__init__(f"{text}; {cure}" if cure else text)
