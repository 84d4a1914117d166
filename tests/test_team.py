"""A team: what was made in a thread is closed in it, whatever happened beside it."""

import threading

import pytest

from zclab.errors import MeasureError
from zclab.uring.team import Team


class Made:
    """Stands for a sender, and knows its thread."""

    what = "send 1200 B"

    def __init__(self) -> None:
        self.made_in = threading.get_ident()
        self.closed_in = []

    def close(self) -> None:
        """Note the thread that closes it."""
        self.closed_in.append(threading.get_ident())


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_what_a_failure_leaves_is_closed_where_it_was_made(failing):
    """A ring may be used by its own thread alone; the others' are closed by theirs."""
    made = []

    def maker(number):
        def make():
            if number == failing:
                raise MeasureError("refused")
            made.append(Made())
            return made[-1], made[-1].close

        return make

    with pytest.raises(MeasureError, match="refused"):
        Team([maker(number) for number in range(3)])

    assert len(made) == 2
    assert all(one.closed_in == [one.made_in] for one in made)


def test_a_team_is_closed_once():
    """A second close does nothing."""
    one = Made()
    team = Team([lambda: (one, one.close)])

    team.close()
    team.close()

    assert len(one.closed_in) == 1
