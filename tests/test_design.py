"""docs/design.md draws the house that is there."""

import re
from pathlib import Path

import pytest

PAGE = "docs/design.md"
DRAWN_WHOLE = ("", "store", "uring", "measure", "bench")  # rooms without "..."


@pytest.fixture(scope="module")
def page(checkout: Path) -> str:
    """Return the page."""
    return (checkout / PAGE).read_text(encoding="utf-8")


def test_each_file_that_is_named_exists(page, checkout):
    """No file of the page was renamed, moved out or removed."""
    here = {
        path.name for path in (*checkout.glob("zclab/**/*"), *checkout.glob("docs/*"))
    }
    named = set(re.findall(r"(?<![\w/.-])([a-z_]+\.(?:py|c|h|md))\b", page))

    assert len(named) > 60
    assert named - here == set()


@pytest.mark.parametrize("room", DRAWN_WHOLE)
def test_rooms_that_are_drawn_whole_have_all_their_files(page, checkout, room):
    """A new file of such a room is drawn, or the drawing says that there are more."""
    rooms = page.partition("## The rooms")[2]
    drawing = rooms.partition("zclab/\n")[2].partition("```")[0]
    # Each room begins with its name, two columns in; before the first is the ground.
    parts = re.split(r"^  (?=[a-z]+/)", drawing, flags=re.MULTILINE)
    (mine,) = (part for part in parts if part.startswith(f"{room}/" if room else "  "))
    there = {path.name for path in (checkout / "zclab" / room).glob("*.py")}
    drawn = set(re.findall(r"\b([a-z_]+\.py)\b", mine))
    if not room:
        drawn |= {"bootstrap.py"}  # it stands alone, below all rooms

    assert there - drawn == {"__init__.py"}
