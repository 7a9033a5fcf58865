"""Opening the central database, on both kinds."""

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from agent.contract.errors import StorageError
from trainer.fleet import database as db


def test_opening_again_keeps_what_is_there(database_url: str) -> None:
    first = db.open_database(database_url)
    second = db.open_database(database_url)
    assert db.centre_id(first) == db.centre_id(second)
    first.dispose()
    second.dispose()


def test_processes_that_start_at_once_make_one_database(database_url: str) -> None:
    ids: list[str] = []

    def open_it() -> None:
        engine = db.open_database(database_url)
        ids.append(db.centre_id(engine))
        engine.dispose()

    workers = [threading.Thread(target=open_it) for _ in range(12)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(ids) == 12
    assert len(set(ids)) == 1


def test_a_database_of_a_newer_version_is_left_alone(database_url: str) -> None:
    engine = db.open_database(database_url)
    with db.write(engine) as connection:
        connection.execute(db.centre.update().values(schema=db.SCHEMA + 1))
    with pytest.raises(StorageError, match="has schema 2"):
        db.open_database(database_url)
    engine.dispose()


def test_a_failed_transaction_leaves_nothing_and_says_no_values(database_url: str) -> None:
    engine = db.open_database(database_url)

    def register_twice() -> None:
        with db.write(engine) as connection:
            connection.execute(db.device.insert().values(name="press-1", added_ms=1))
            connection.execute(db.device.insert().values(name="press-1", added_ms=424_242))

    with pytest.raises(StorageError) as error:
        register_twice()
    assert "424242" not in str(error.value)
    with db.read(engine) as connection:
        assert connection.execute(sa.select(db.device)).all() == []
    engine.dispose()


def test_a_row_identity_exists_once(database_url: str) -> None:
    engine = db.open_database(database_url)
    row = {"device": 1, "epoch": 1, "seq": 1, "channel": 1, "time_ms": 1, "value": 0.1, "quality": 0}
    with db.write(engine) as connection:
        connection.execute(db.reading.insert().values(row))
    with pytest.raises(StorageError), db.write(engine) as connection:
        connection.execute(db.reading.insert().values(row | {"value": 0.2}))
    engine.dispose()


def test_a_database_that_cannot_be_reached_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="central database"):
        db.open_database(f"sqlite:///{tmp_path}/none/centre.db")
    with pytest.raises(StorageError) as error:
        db.open_database("postgresql://someone:hunter2@127.0.0.1:1/none?connect_timeout=1")
    assert "hunter2" not in str(error.value)
    (tmp_path / "centre.db").write_bytes(b"this is no database, it only has its name" * 100)
    with pytest.raises(StorageError, match="not a database"):
        db.open_database(f"sqlite:///{tmp_path}/centre.db")
