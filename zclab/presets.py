"""Presets: how the field's two tools send, as options that zclab's own way changes.

A preset names only what differs from `Options()`; all else is alike: 512 entries,
MSG_WAITALL on zerocopy sends, one buffer that stays hot, the alphabet in it. What it
does not copy is said in `ADDED`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from zclab import options as opts
from zclab.options import OPTIONS, Given, Options, Value
from zclab.params import Mode

PROFILE = "presets"  # the profile that measures what each difference costs
BASIS = Mode.SEND_ZC_FIXED  # what both tools do unless they are told otherwise


class Tool(StrEnum):
    """The tools whose command lines and habits are known."""

    SELFTEST = "selftest"  # tools/testing/selftests/net/io_uring_zerocopy_tx.c
    LIBURING = "liburing"  # liburing's examples/send-zerocopy.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One option that a preset changes.

    Attributes:
        name: the option.
        value: what the preset gives it.
        mode: what it is measured on; plain sends have differences of their own.

    """

    name: str
    value: Value
    mode: Mode = BASIS

    @property
    def given(self) -> Given:
        """The difference as an option."""
        return ((self.name, self.value),)

    @property
    def arm(self) -> str:
        """The arm that sends as zclab does except for this."""
        return f"{self.mode}:{opts.spell(self.given)}"

    @property
    def texts(self) -> tuple[str, str]:
        """The preset's value and zclab's own, as they are written."""
        default = OPTIONS[self.name].default
        own = opts.spell(((self.name, default),))
        return opts.spell(self.given).partition("=")[2], own.partition("=")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How a tool sends.

    Attributes:
        name: the tool, and the letter of its command line where one matters.
        says: what the tool is, one line.
        given: what it changes in all requests.
        plain: what it changes in plain sends besides.
        clock_batches: batches between two clock reads.

    """

    name: str
    says: str
    given: Given
    plain: Given = ()
    clock_batches: int = 1

    def options(self, batch: int, *, plain: bool = False) -> Given:
        """Return all that differs from zclab's own way at so many requests a submit."""
        layers = [self.given, (("clock", self.clock_batches * batch),)]
        return Options.of(*layers, self.plain if plain else ()).changed()

    def differences(self, batch: int) -> tuple[Difference, ...]:
        """Return the same one by one, those of plain sends last."""
        return (
            *(Difference(name=n, value=v) for n, v in self.options(batch)),
            *(Difference(name=n, value=v, mode=Mode.SEND) for n, v in self.plain),
        )

    def arm(self, batch: int) -> str:
        """Return the arm that sends as the preset does in everything."""
        return f"{BASIS}:{opts.spell(self.options(batch))}"


SELFTEST = Preset(
    name="selftest",
    says="the kernel's tools/testing/selftests/net/io_uring_zerocopy_tx.c",
    given=(
        ("taskrun", "default"),
        ("submit_all", False),
        ("cq", 1024),
        ("file", False),
        ("ring", False),
        ("drain", "batch"),
        ("cpu", "any"),
    ),
)
LIBURING = Preset(
    name="liburing",
    says="liburing's examples/send-zerocopy.c",
    given=(
        ("taskrun", "coop"),
        ("submit_all", False),
        ("cq", 1024),
        ("lag", opts.SLOTS),  # it never asks for notifications
        ("sndbuf", 0),
        ("cpu", "any"),
    ),
    plain=(("waitall", False),),
    clock_batches=16,
)
LIBURING_DEFER = Preset(
    name="liburing -d",
    says="the same with -d; it asks from 128 notifications on, as zclab does",
    given=(
        ("taskrun", "defer"),
        ("submit_all", False),
        ("cq", 1024),
        ("sndbuf", 0),
        ("cpu", "any"),
    ),
    plain=LIBURING.plain,
    clock_batches=LIBURING.clock_batches,
)
PRESETS = (SELFTEST, LIBURING, LIBURING_DEFER)

# Neither tool asks the kernel whether it copied. The presets do, or they could not
# say what they measured; the arm without shows what asking costs.
ADDED = Difference(name="report_usage", value=False)


def arms(batch: int) -> tuple[str, ...]:
    """Return the arms of the profile: each difference alone, each preset at once."""
    return tuple(dict.fromkeys(_arms(batch)))


def _arms(batch: int) -> Iterator[str]:
    for preset in PRESETS:
        for difference in preset.differences(batch):
            yield difference.arm
    yield ADDED.arm
    for preset in PRESETS:
        yield preset.arm(batch)
