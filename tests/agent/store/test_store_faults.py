"""A disk that is full or failing, a database that is damaged: what was promised holds."""

from __future__ import annotations

import contextlib
import os
import sqlite3

import pytest

from agent.contract.acknowledgement import Mark
from agent.contract.errors import ConfigError, StorageError
from agent.store import ring
from agent.store.store import Store
from tests.support.damage import scribble
from tests.support.stores import T0, Bench, alert, readings


def without_ring(monkeypatch) -> None:
    """Readings, too, wait in the table for their block."""

    def append(_ring, _data):
        raise ring.RingFullError

    monkeypatch.setattr(ring.Ring, "append", append)


def limit_pages(store: Store, spare: int | None) -> None:
    """The disk holds so many more pages, or as many as it likes."""
    db = store._journal.shelves.db
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {2**30 if spare is None else pages + spare}")


# -- full ---------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_reported_sampling_goes_on_and_recovers_by_itself(bench):
    store = bench.store
    limit_pages(store, 0)
    taken = 0
    while not store.stats().storage_error:
        store.append("readings", readings(taken, 1000))
        taken += 1000
        bench.pass_time(1.1)
        assert taken < 10**6
    assert "full" in store.stats().storage_error
    assert "Free space" in store.stats().storage_error
    through = store.durable_through()["readings"]
    store.append("readings", readings(taken, 20))
    ticket = store.append("alerts", [alert(1)])
    assert store.durable_through()["alerts"] < ticket.last
    assert store.stats().pending_rows == taken + 21 - through
    assert len(store.readings("load_kw", 0, T0 * 2)) == taken + 20
    limit_pages(store, None)
    bench.pass_time(1.1)
    assert store.stats().storage_error == ""
    assert store.durable_through()["readings"] == taken + 20
    assert store.rows("alerts", 0, T0 * 2) == [alert(1)]
    assert bench.crash().readings("load_kw", 0, T0 * 2)[-1].time_ms == T0 + (taken + 19) * 1000


def test_what_the_centre_holds_makes_space_on_a_full_disk(bench):
    store = bench.store
    store.append("readings", readings(0, 49_000))
    store.commit()
    store.apply_marks([Mark(1, "readings", 49_000)])
    limit_pages(store, 0)
    store.append("readings", readings(49_000, 49_000))
    bench.pass_time(1.1)
    bench.pass_time(1.1)
    bench.pass_time(1.1)
    assert store.stats().storage_error == ""
    assert store.durable_through()["readings"] == 98_000
    assert store.stats().evicted_rows == 0


def failing_piece(bench, monkeypatch, first):
    """From now on the disk gives every block but the one that begins with this number."""
    shelves = bench.store._journal.shelves
    real = shelves._data

    def data(piece):
        if piece.place == "block" and piece.first == first and piece.stream == "readings":
            raise sqlite3.OperationalError("disk I/O error")
        return real(piece)

    monkeypatch.setattr(shelves, "_data", data)


def test_a_block_that_the_disk_does_not_give_holds_up_no_other_and_lets_nothing_go(bench, monkeypatch):
    """An unreadable sector under one waiting block: commits go on, history stays, the others are offered."""
    for at in range(20):
        bench.store.append("slots", [alert(at)])
        bench.store.unacknowledged(1, now_streams=("slots",))
    assert bench.store.apply_marks([Mark(1, "slots", 20)]) == 20
    for at in range(3):
        bench.store.append("readings", readings(at * 10, 10))
        bench.pass_time(61)
        bench.pass_time(61)
    failing_piece(bench, monkeypatch, 1)
    for at in range(300):
        bench.store.append("readings", readings(30 + at, 1))
        offered = bench.store.unacknowledged(1, now_streams=())
        assert [one.block.header.first for one in offered] == [11]
        bench.pass_time(0.25)
    bench.pass_time(1.1)
    assert bench.store.durable_through()["readings"] == 330
    assert len(bench.store.rows("slots", 0, T0 * 2)) == 20
    assert len(bench.store.unacknowledged(10**9, now_streams=())) >= 2
    monkeypatch.undo()
    bench.pass_time(700)
    assert bench.store.unacknowledged(1, now_streams=())[0].block.header.first == 1


def test_marks_and_a_recall_that_the_disk_refuses_are_told_to_the_caller(bench):
    bench.store.append("alerts", [alert(1)])
    bench.store.unacknowledged(1)
    bench.store.apply_marks([Mark(1, "alerts", 1)])
    bench.store.append("alerts", [alert(2)])
    bench.store.unacknowledged(1)
    db = bench.store._journal.shelves.db
    db.execute("PRAGMA query_only = ON")
    with pytest.raises(StorageError):
        bench.store.apply_marks([Mark(1, "alerts", 2)])
    with pytest.raises(StorageError):
        bench.store.recall([])
    db.execute("PRAGMA query_only = OFF")
    assert bench.store.recall([]) == 1
    assert bench.store.stats().backlog_rows == 2
    assert bench.execute("SELECT * FROM mark") == []  # what another database of the centre said counts no more


def test_the_ring_is_bounded_and_what_it_drops_is_declared(tmp_path, monkeypatch):
    bench = Bench(tmp_path, ring_readings=5000)
    without_ring(monkeypatch)
    store = bench.store
    limit_pages(store, 0)
    for at in range(0, 40_000, 1000):
        store.append("readings", readings(at, 1000))
        bench.pass_time(1.1)
    assert store.stats().pending_rows <= 5000
    limit_pages(store, None)
    bench.pass_time(1.1)
    gaps = [row for row in store.rows("events", 0, T0 * 2) if row["kind"] == "gap"]
    assert gaps
    assert {gap["reason"] for gap in gaps} == {"memory full, disk not writable"}
    lost = {seq for gap in gaps for seq in range(gap["first"], gap["last"] + 1)}
    held = {1 + (row.time_ms - T0) // 1000 for row in store.readings("load_kw", 0, T0 * 2)}
    assert lost | held == set(range(1, 40_001))
    assert not lost & held


# -- damaged ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["garbage", "header", "schema", "cut", "key"])
def test_a_damaged_database_is_set_aside_whole_and_a_new_epoch_begun(bench, harm):
    bench.store.append("readings", readings(0, 5000))
    bench.store.append("alerts", [alert(1)])
    bench.store.close()
    if harm == "garbage":
        bench.path.write_bytes(b"this is no database" * 1000)
    elif harm == "header":
        scribble(bench.path, 0, b"X" * 16)
    elif harm == "schema":
        scribble(bench.path, 100, b"\xff" * 3000)
    elif harm == "cut":
        os.truncate(bench.path, 5000)
    else:
        bench.use_another_key()
    before = bench.path.read_bytes()
    store = bench.start()
    (name,) = store.stats().set_aside
    assert name.startswith("store.db.damaged-")
    kept = (bench.folder / name).read_bytes()
    assert kept == before
    assert bench.identity.epoch > 1
    (event,) = store.rows("events", 0, T0 * 2)
    assert (event["kind"], event["set_aside"]) == ("store", name)
    assert name in event["text"]
    assert store.append("readings", readings(0, 1)) == ("readings", bench.identity.epoch, 1)


def test_damage_that_shows_while_running_costs_no_row_in_memory(bench):
    store = bench.store
    store.append("readings", readings(0, 5000))
    store.commit()
    bench.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store._journal.shelves.db.execute("PRAGMA cache_size = 0")
    size = bench.path.stat().st_size
    scribble(bench.path, 4096, b"\xff" * (size - 4096))
    store.append("readings", readings(5000, 10))
    store.append("alerts", [alert(1)])
    assert bench.identity.epoch > 1
    assert store.stats().storage_error == ""
    assert len(store.stats().set_aside) == 1
    for _ in range(2):  # what waited for its block comes along, in the ring or in memory
        assert [row.time_ms for row in store.readings("load_kw", 0, T0 * 2)] == [T0 + at * 1000 for at in range(5010)]
        assert store.rows("alerts", 0, T0 * 2) == [alert(1)]
        store = bench.crash()
    offered = [one.block.header for one in store.unacknowledged(10**9) if one.block.header.stream == "readings"]
    assert [(head.epoch, head.first, head.last) for head in offered] == [(1, 1, 5010)]


@pytest.mark.parametrize("table", ["journal", "block"])
def test_a_damaged_piece_is_quarantined_and_declared_the_others_stay(bench, table, monkeypatch):
    without_ring(monkeypatch)
    for at in range(3):
        bench.store.append("readings", readings(at * 10, 10))
        bench.store.commit()
        if table == "block":
            bench.pass_time(61)
            bench.pass_time(61)
    ((damaged, first, last),) = bench.execute(f"SELECT id, first, last FROM {table} ORDER BY first LIMIT 1 OFFSET 1")
    bench.execute(f"UPDATE {table} SET data = zeroblob(length(data)) WHERE id = {damaged}")
    held = [row.time_ms for row in bench.store.readings("load_kw", 0, T0 * 2)]
    assert held == [T0 + at * 1000 for at in (*range(10), *range(20, 30))]
    bench.pass_time(61)
    bench.pass_time(61)
    (gap,) = [row for row in bench.store.rows("events", 0, T0 * 2) if row["kind"] == "gap"]
    assert (gap["stream"], gap["first"], gap["last"]) == ("readings", first, last) == ("readings", 11, 20)
    assert "damaged" in gap["reason"]
    assert bench.store.stats().quarantined == 1
    assert bench.execute("SELECT first, last FROM quarantine") == [(11, 20)]
    offered = [
        seq
        for s in bench.store.unacknowledged(10**9)
        if s.block.header.stream == "readings"
        for seq in range(s.block.header.first, s.block.header.last + 1)
    ]
    assert sorted(offered) == [*range(1, 11), *range(21, 31)]


def test_a_log_without_its_database_is_set_aside_and_not_played_into_the_new_one(bench):
    bench.store.append("alerts", [alert(1)])
    bench.store._journal.shelves.close()
    bench.store._guard.unlock()
    (bench.folder / "store.db-wal").write_bytes(b"stale log")
    bench.path.unlink()
    store = bench.start()
    assert bench.identity.epoch == 2
    assert store.rows("alerts", 0, T0 * 2) == []
    assert [file.read_bytes() for file in bench.folder.glob("store.db.damaged-*-wal")] == [b"stale log"]


def test_an_identity_older_than_the_store_catches_up(bench):
    old = (bench.folder / "identity" / "counters.json").read_bytes()
    for at in range(3):
        bench.store.append("alerts", [alert(at)])
        bench.restart()
    assert bench.identity.epoch == 4
    bench.store.close()
    (bench.folder / "identity" / "counters.json").write_bytes(old)
    assert bench.start().append("alerts", [alert(2)]) == ("alerts", 4, 1)


@pytest.mark.parametrize("statement", ["CREATE TABLE theirs (a)", None])
def test_a_database_of_another_program_or_a_newer_version_is_refused_untouched(tmp_path, statement):
    path = tmp_path / "store.db"
    if statement:
        with contextlib.closing(sqlite3.connect(path)) as other, other:
            other.execute(statement)
        words = "of another program"
    else:
        bench = Bench(tmp_path)
        bench.store.close()
        bench.execute("PRAGMA user_version = 99")
        bench.execute("UPDATE meta SET value = CAST('99' AS BLOB) WHERE name = 'schema'")
        words = "newer edgewatt"
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=words):
        Bench(tmp_path)
    assert path.read_bytes() == before


def test_a_store_that_was_set_aside_is_told_in_the_log_too(bench, caplog):
    bench.store.close()
    bench.path.write_bytes(b"this is no database" * 1000)
    (name,) = bench.start().stats().set_aside
    assert f"it was set aside as {name} and a new one was begun" in caplog.text
