"""Effects as they were published, to plant them in a synthetic run."""

from zclab.explain import published
from zclab.params import Point

# The gains that would reproduce every comparable row, from the tables themselves.
PUBLISHED = published.claims().set_index(["table", "io_size_bytes", "column"])[
    "published_percent"
]


def as_published(point: Point, arm: str) -> float:
    """Return the published gain of a point's arm, 0 where none is."""
    for name in published.CORE:
        twin = published.TWINS[name]
        paths = {twin.path, twin.instead.path if twin.instead else ""}
        for column, its_arm in twin.arms.items():
            key = (name, point.io_size_bytes, column)
            if its_arm == arm and point.place in paths and key in PUBLISHED.index:
                return float(PUBLISHED[key])
    return 0.0
