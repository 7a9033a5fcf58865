"""Rows in bulk, on both databases: what is written is what was given, or nothing."""

import pytest
import sqlalchemy as sa

from agent.contract.errors import StorageError
from tests.support.centre import Centre
from trainer.fleet import database as db
from trainer.fleet.bulk import insert_rows

VALUES = (0.1, 0.0, 1e-300, 1.7976931348623157e308, 2.0**53, -123456.789)


def rows(first: int, count: int) -> list[tuple[int, int, int, int, int, float, int]]:
    return [(1, 1, seq, 1, 1000 * seq, VALUES[seq % len(VALUES)], seq % 3) for seq in range(first, first + count)]


def stored(centre: Centre) -> list[tuple[object, ...]]:
    with db.read(centre.engine) as connection:
        return [tuple(row) for row in connection.execute(sa.select(db.reading).order_by(db.reading.c.seq))]


@pytest.mark.parametrize("count", [3, 2000])
def test_rows_are_read_as_they_were_given(any_centre: Centre, count: int) -> None:
    with db.write(any_centre.engine) as connection:
        insert_rows(connection, db.reading, rows(1, count))
    assert stored(any_centre) == rows(1, count)


@pytest.mark.parametrize("count", [3, 2000])
def test_a_row_that_is_there_already_lets_none_in(any_centre: Centre, count: int) -> None:
    with db.write(any_centre.engine) as connection:
        insert_rows(connection, db.reading, rows(count, 1))
    with pytest.raises(StorageError, match="central database"), db.write(any_centre.engine) as connection:
        insert_rows(connection, db.reading, rows(1, count))
    assert stored(any_centre) == rows(count, 1)


def test_text_goes_in_as_it_is(any_centre: Centre) -> None:
    bodies = ['{"text":"a\\tb\\\\c"}', "line\nline", "\\N"] * 50
    given = [(1, "events", 1, seq, seq, body) for seq, body in enumerate(bodies, 1)]
    with db.write(any_centre.engine) as connection:
        insert_rows(connection, db.record, given)
    with db.read(any_centre.engine) as connection:
        assert [tuple(row) for row in connection.execute(sa.select(db.record).order_by(db.record.c.seq))] == given
