"""The store over its ring: readings are durable there at once, and leave it for blocks without a loss or a double."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
from pathlib import Path

import pytest

from agent.contract.acknowledgement import Mark
from agent.store import ring, schema
from tests.support.stores import T0, Bench, alert, failing, readings

SECTOR = 512


def held(store):
    return [(row.time_ms - T0) // 1000 for row in store.readings("load_kw", 0, T0 * 2)]


def noisy(first, count):
    chance = random.Random(first)
    return [row._replace(value=round(chance.random() * 1e6, 1)) for row in readings(first, count)]


def take(bench, first, count):
    bench.store.append("readings", readings(first, count))
    assert bench.store.commit()


def record_of(bench, place):
    """Where the n-th record lies in the ring."""
    at, starts = 0, []
    content = bench.path.with_name("store.db-ring").read_bytes()
    while (at := content.find(b"EWR1", at)) >= 0:
        starts.append(at)
        at += 1
    return starts[place]


def garble(bench, place):
    at = record_of(bench, place)
    with bench.path.with_name("store.db-ring").open("r+b") as file:
        file.seek(at + 200)
        file.write(b"garbled")


def test_a_commit_of_readings_alone_does_not_touch_the_database(bench):
    take(bench, 0, 20)
    before = bench.execute("PRAGMA data_version"), bench.path.with_name("store.db-wal").read_bytes()
    for at in range(5):
        take(bench, 20 + at * 20, 20)
    assert (bench.execute("PRAGMA data_version"), bench.path.with_name("store.db-wal").read_bytes()) == before
    assert held(bench.crash()) == list(range(120))


def test_readings_stay_durable_while_the_database_cannot_be_written(bench):
    db = bench.store._journal.shelves.db
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    for at in range(200):
        bench.store.append("readings", noisy(at * 20, 20))
        bench.pass_time(1.1)
    assert "full" in bench.store.stats().storage_error
    assert bench.store.durable_through()["readings"] == 4000
    assert held(bench.crash()) == list(range(4000))
    bench.pass_time(61)
    assert bench.store.stats().storage_error == ""
    assert bench.journal() == []
    assert held(bench.store) == list(range(4000))


@pytest.mark.parametrize(("garbled", "lost"), [([1], [(11, 20)]), ([0, 2], [(1, 10), (21, 30)]), ([1, 2], [(11, 30)])])
def test_a_garbled_record_is_declared_and_the_others_stay(bench, garbled, lost):
    for at in range(5):
        take(bench, at * 10, 10)
    for place in garbled:
        garble(bench, place)
    store = bench.crash()
    gone = {seq - 1 for first, last in lost for seq in range(first, last + 1)}
    assert held(store) == [at for at in range(50) if at not in gone]
    bench.pass_time(1.1)
    bench.crash()
    bench.pass_time(1.1)
    gaps = [row for row in bench.store.rows("events", 0, T0 * 2) if row["kind"] == "gap"]
    assert {(gap["stream"], gap["epoch"], gap["first"], gap["last"]) for gap in gaps} == {
        ("readings", 1, *one) for one in lost
    }


def test_a_record_that_is_damaged_at_the_end_is_declared_wherever_the_bit_is(bench):
    """But for its own epoch: who would know then that it is not one of long ago?"""
    for at in range(3):
        take(bench, at * 10, 10)
    path = bench.folder / "store.db-ring"
    whole = path.read_bytes()
    begin = whole.rfind(b"EWR1")
    size = 20 + int.from_bytes(whole[begin + 12 : begin + 16])
    epoch = range(whole.index(b'"epoch"', begin), whole.index(b',"first"', begin))
    for at in range(begin, begin + size, 3):
        content = bytearray(whole)
        content[at] ^= 2
        path.write_bytes(content)
        shelves = bench.store._journal.shelves
        shelves.ring.close()
        shelves.ring.open(shelves._ring_id(), 0)
        lost = shelves.lost_from_ring(1)
        assert [gap[1:3] for gap in lost] == ([(1, 21)] if at not in epoch else []), at
        assert all(gap[3] >= 30 for gap in lost)


def test_a_damaged_end_of_which_a_note_tells_costs_nothing_else_after_a_kill(bench):
    for at in range(5):
        take(bench, at * 5, 5)
    bench.store.append("alerts", [alert(0)])  # beside it stands how far the readings went
    garble(bench, -1)
    for _ in range(3):
        bench.crash()
        assert held(bench.store) == list(range(20))
    bench.pass_time(61)
    assert held(bench.store) == list(range(20))


@pytest.mark.parametrize(("place", "first"), [(1, 9011), (2, 9021)])
def test_what_is_declared_is_what_was_lost_after_a_block_that_was_written_at_once(bench, place, first):
    take(bench, 0, 10)
    take(bench, 10, 9000)
    for at in range(9010, 9040, 10):
        take(bench, at, 10)
    garble(bench, place)
    bench.crash()
    bench.pass_time(1.1)
    (gap,) = [row for row in bench.store.rows("events", 0, T0 * 2) if row["kind"] == "gap"]
    assert (gap["first"], gap["last"]) == (first, first + 9)
    assert held(bench.store) == [at for at in range(9040) if not first <= at + 1 <= first + 9]


def test_nothing_is_declared_of_what_was_let_go(bench):
    bench.now_ms = T0 + 400 * 86_400_000
    take(bench, 0, 100)
    bench.pass_time(61)
    bench.store.apply_marks([Mark(1, "readings", 100)])
    bench.pass_time(61)
    assert held(bench.store) == []
    take(bench, 100, 10)
    take(bench, 110, 10)
    store = bench.crash()
    assert held(store) == list(range(100, 120))
    bench.pass_time(61)
    assert [row for row in store.rows("events", 0, T0 * 2) if row["kind"] == "gap"] == []


@pytest.mark.parametrize("after_writing", [False, True])
def test_where_the_ring_fails_the_database_takes_the_readings_once(bench, monkeypatch, after_writing):
    take(bench, 0, 10)
    with monkeypatch.context() as patch:
        patch.setattr(ring.os, "pwritev", failing(after_writing=after_writing))
        take(bench, 10, 10)
    take(bench, 20, 10)
    assert held(bench.store) == list(range(30))
    assert held(bench.crash()) == list(range(30))
    bench.pass_time(61)
    assert bench.journal() == []
    assert held(bench.store) == list(range(30))
    offered = [one.block.header for one in bench.store.unacknowledged(10**9) if one.block.header.stream == "readings"]
    assert sorted(seq for head in offered for seq in range(head.first, head.last + 1)) == list(range(1, 31))
    assert bench.store.rows("events", 0, T0 * 2) == []


def test_a_write_that_failed_and_was_whole_all_the_same_doubles_nothing(bench, monkeypatch):
    """The database fails, too: the rows come again in the next record, which lies elsewhere."""
    db = bench.store._journal.shelves.db
    take(bench, 0, 10)
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    bench.store.append("alerts", [alert(at) | {"more": random.Random(at).randbytes(20_000).hex()} for at in range(20)])
    with monkeypatch.context() as patch:
        patch.setattr(ring.os, "pwritev", failing(after_writing=True))
        bench.store.append("readings", noisy(10, 10))
        assert not bench.store.commit()
    monkeypatch.setattr(bench.store._journal.shelves.ring._ring, "_next", 8192)
    bench.store.append("readings", noisy(20, 10))
    bench.pass_time(2)
    assert bench.store.durable_through()["readings"] == 30
    store = bench.crash()
    assert held(store) == list(range(30))
    bench.pass_time(61)
    assert bench.store.stats().storage_error == ""
    assert bench.journal() == []
    assert held(bench.store) == list(range(30))


@pytest.mark.parametrize("harm", ["gone", "zeroed", "cut", "of another"])
def test_a_database_that_has_lost_its_ring_goes_on_under_a_new_epoch_and_says_so(bench, tmp_path_factory, harm):
    take(bench, 0, 10)
    bench.pass_time(61)
    bench.store.append("alerts", [alert(1)])
    take(bench, 10, 10)
    bench.store.close()
    path = bench.path.with_name("store.db-ring")
    if harm == "gone":
        path.unlink()
    elif harm == "zeroed":
        path.write_bytes(bytes(path.stat().st_size))
    elif harm == "cut":
        os.truncate(path, 5000)
    else:
        other = Bench(tmp_path_factory.mktemp("other"))
        other.store.close()
        path.write_bytes(other.path.with_name("store.db-ring").read_bytes())
    store = bench.start()
    assert bench.identity.epoch == 2
    assert held(store) == list(range(10))
    assert store.rows("alerts", 0, T0 * 2) == [alert(1)]
    (event,) = store.rows("events", 0, T0 * 2)
    assert "journal of readings" in event["text"]
    assert store.append("readings", readings(20, 10)) == ("readings", 2, 10)
    bench.pass_time(1.1)
    assert held(bench.crash()) == [*range(10), *range(20, 30)]
    assert len(bench.store.stats().set_aside) == (harm != "gone")


def test_a_ring_that_the_disk_does_not_give_is_set_aside_and_the_agent_starts(bench, monkeypatch):
    take(bench, 0, 10)
    real = Path.read_bytes
    bad = bench.path.with_name("store.db-ring").stat().st_ino

    def read_bytes(path):
        if path.name == "store.db-ring" and path.stat().st_ino == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    store = bench.crash()
    take(bench, 10, 10)
    assert held(store)[-10:] == list(range(10, 20))
    (event,) = [row for row in store.rows("events", 0, T0 * 2) if "does not give whole" in row["text"]]
    assert event["kind"] == "store"


def test_nothing_is_lost_however_often_a_new_store_cannot_be_begun(bench, monkeypatch):
    """The database is damaged, and the disk is full while another is begun: what waited comes there in the end."""
    take(bench, 0, 10)
    bench.store._journal.shelves.db.execute("PRAGMA cache_size = 0")
    bench.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = bench.path.stat().st_size
    bench.path.write_bytes(bench.path.read_bytes()[:4096] + b"\xff" * (size - 4096))
    real = schema.connect

    def full(path, **options):
        db = real(path, **options)
        db.execute("PRAGMA max_page_count = 12")
        return db

    with monkeypatch.context() as patch:
        patch.setattr(schema, "connect", full)
        bench.store.append("alerts", [alert(1)])
        for at in range(10, 60, 10):
            bench.store.append("readings", readings(at, 10))
            bench.pass_time(1.1)
        assert "full" in bench.store.stats().storage_error
        assert not bench.store.commit()
    bench.pass_time(2)
    assert bench.store.stats().storage_error == ""
    store = bench.crash()
    assert held(store) == list(range(60))
    assert store.rows("alerts", 0, T0 * 2) == [alert(1)]
    (aside,) = store.stats().set_aside
    assert [row["set_aside"] for row in store.rows("events", 0, T0 * 2) if row["kind"] == "store"] == [aside]
    assert len(list(bench.folder.glob("*.damaged-*"))) <= 3  # the database, its log and its ring


def test_a_note_and_the_readings_beside_it_are_on_disk_together_or_not_at_all(bench, monkeypatch):
    def put(*_):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(bench.store._journal.shelves.notes, "put", put)
    bench.store.keep("learnt", bytes(100_000))
    bench.store.append("readings", readings(0, 10))
    bench.pass_time(1.1)
    assert bench.store.durable_through()["readings"] == 0
    assert bench.crash().note("learnt") is None
    assert held(bench.store) == []


def test_readings_that_go_to_the_tables_take_with_them_what_the_ring_holds(bench):
    take(bench, 0, 10)
    take(bench, 10, 9000)
    take(bench, 9010, 10)
    (left,) = bench.journal()
    assert (left.first, left.last) == (9011, 9020)
    assert held(bench.crash()) == list(range(9020))


def test_a_ring_without_its_database_is_not_played_into_the_new_one(bench):
    take(bench, 0, 10)
    bench.store.close()
    bench.path.unlink()
    content = bench.path.with_name("store.db-ring").read_bytes()
    store = bench.start()
    assert held(store) == []
    assert bench.identity.epoch == 2
    assert bench.path.with_name("store.db.damaged-2-ring").read_bytes() == content


def test_the_ring_is_packed_before_it_is_full(bench):
    for at in range(60):
        bench.store.append("readings", noisy(at * 5000, 5000))
        bench.pass_time(1.0)
        assert bench.store._journal.shelves.ring.used < 0.6
    assert bench.execute("SELECT count(*) FROM journal") == [(0,)]
    assert bench.store.stats().backlog_blocks > 0


def test_a_gap_of_the_memory_ring_is_as_durable_as_the_rows_after_it(tmp_path, monkeypatch):
    bench = Bench(tmp_path, ring_readings=50)
    db = bench.store._journal.shelves.db
    with monkeypatch.context() as patch:
        patch.setattr(ring.os, "pwritev", failing())
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
        bench.store.append("alerts", [{**alert(0), "text": random.Random(2).randbytes(30_000).hex()}])
        for at in range(0, 100, 10):
            bench.store.append("readings", readings(at, 10))
            bench.pass_time(1.1)
    assert bench.store.durable_through()["readings"] < 100
    db.execute(f"PRAGMA max_page_count = {2**30}")
    bench.store.append("alerts", [alert(1)])
    bench.pass_time(1.1)
    store = bench.crash()
    (gap,) = [row for row in store.rows("events", 0, T0 * 2) if row["kind"] == "gap"]
    assert held(store) == list(range(gap["last"], 100))
    bench.store.close()


def test_a_record_that_cannot_be_opened_is_set_apart_once_and_the_others_stay(bench):
    for at in range(3):
        take(bench, at * 10, 10)
    shelf = bench.store._journal.shelves.ring
    (_, middle, _) = shelf.pieces()
    shelf._found[middle.id] = middle, shelf.data(middle)[:-1] + b"x"
    for _ in range(3):
        assert held(bench.store) == [*range(10), *range(20, 30)]
        bench.store.tick()
    bench.crash()
    for _ in range(2):
        assert held(bench.store) == [*range(10), *range(20, 30)]
        bench.pass_time(61)
    (gap,) = [row for row in bench.store.rows("events", 0, T0 * 2) if row["kind"] == "gap"]
    assert (gap["first"], gap["last"]) == (11, 20)
    assert bench.store.stats().quarantined == 1
