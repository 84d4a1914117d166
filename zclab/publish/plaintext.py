"""Plain text as the lists take it: ASCII, 72 columns, and what belongs together stays.

Form: Documentation/process/email-clients.rst.
"""

import re
import textwrap
from collections.abc import Iterable

COLUMNS = 72

# What a line break must not part: an interval, a number and its unit, equations.
_TOGETHER = re.compile(r"\[[^]]*\]|\d B\b|\S+ [+&=] \S+")
_HARD_SPACE = "\u00a0"  # textwrap breaks at ASCII white space only


def ascii_only(text: str) -> str:
    """Return text with what is not ASCII (a CPU's (R) sign, say) as a question mark."""
    return text.encode("ascii", "replace").decode()


def wrap(text: str, first: str = "", rest: str = "") -> list[str]:
    """Return a paragraph as lines; the first and all others may be indented."""
    bound = _TOGETHER.sub(lambda found: found[0].replace(" ", _HARD_SPACE), text)
    lines = textwrap.wrap(
        bound,
        COLUMNS,
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
    )
    return [line.replace(_HARD_SPACE, " ") for line in lines]


def bullets(texts: Iterable[str]) -> list[str]:
    """Return one point of a list per text, as lines."""
    return [line for text in texts for line in wrap(text, "- ", "  ")]
