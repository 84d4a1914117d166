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


@pytest.mark.parametrize("name", [c.name for c in schema.COLUMNS if c.since == 3])
def test_new_samples_have_the_newest_columns(name):
    """A sample without a column is for a reader of older formats only."""
    values = sample()
    del values[name]

    with pytest.raises(DataError, match=name):
        schema.check_sample(dict(values))
    schema.check_sample(values, version=2)
    assert values[name] is None


def test_files_of_a_run_are_described():
    """Every file that a resumed run can have is in the dictionary."""
    described = set(schema.FILES)
    names = {
        store.PLAN,
        store.HOST_BEFORE,
        store.HOST_RESUMED.format("<n>"),
        store.HOST_AFTER,
        store.JOURNAL,
        store.SAMPLES,
        store.MANIFEST,
        store.MANIFEST_SUM,
    }

    assert described == names


def test_dictionary_is_generated():
    """docs/dictionary.md is what `zclab dictionary` prints."""
    path = store.home() / "docs" / "dictionary.md"

    assert schema.dictionary() == path.read_text(encoding="utf-8")
