"""The registry of columns is the one place that knows them."""

import pytest

from zclab import schema, store
from zclab.errors import DataError


def sample():
    """Return one well-formed sample."""
    filler = {"str": "x", "int": 1}
    return {c.name: filler[c.kind] for c in schema.COLUMNS}


def test_good_sample_passes():
    """A sample with every column, nulls where they may be, is taken."""
    nulls = {c.name: None for c in schema.COLUMNS if c.nullable}

    schema.check_sample(sample() | nulls)


@pytest.mark.parametrize(
    "change",
    [{"requests": 1.5}, {"requests": None}, {"arm": 3}, {"extra": 1}, {"block": True}],
)
def test_bad_sample_is_refused(change):
    """A wrong type, a null where none may be, or an unknown column is refused."""
    with pytest.raises(DataError):
        schema.check_sample(sample() | change)


def test_missing_column_is_named():
    """A sample that lacks a column is refused by that column's name."""
    values = sample()
    del values["copied"]

    with pytest.raises(DataError, match="copied"):
        schema.check_sample(values)


def test_dictionary_is_generated():
    """docs/dictionary.md is what `zclab dictionary` prints."""
    path = store.home() / "docs" / "dictionary.md"

    assert schema.dictionary() == path.read_text(encoding="utf-8")
