"""The readings' journal: what it took is there until it is let go, whatever else in the file is torn or garbled."""

from __future__ import annotations

import errno
import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.errors import StorageError
from agent.store import ring
from agent.store.ring import MAX_RECORD_BYTES, Ring, RingFullError
from tests.support.stores import T0, Bench, alert, readings

SMALL = 8192
SECTOR = 512


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setattr(ring, "SIZE_BYTES", SMALL)
    path = tmp_path / "store.db-ring"
    return path, ring.create(path)


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.store.close()


def reopened(path, ident, released=0):
    found = Ring(path, ident, released)
    held = found.held()
    found.close()
    return held


def data_of(number, size=100):
    return random.Random(number).randbytes(size)


# -- the file -----------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 3000), st.sampled_from(["let one go", "let all go", "open again"]))))
def test_any_order_of_writing_letting_go_and_opening_keeps_what_is_held(steps):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ring, "SIZE_BYTES", SMALL)
        path = Path(folder, "ring")
        ident = ring.create(path)
        mine, expected, released = Ring(path, ident, 0), {}, 0
        for step in steps:
            if step == "open again":
                mine.close()
                mine = Ring(path, ident, released)
            elif isinstance(step, str):
                released = mine.last if step == "let all go" else min(expected, default=mine.last)
                mine.release(released)
                expected = {number: data for number, data in expected.items() if number > released}
            else:
                last = mine.last
                try:
                    number = mine.append(data_of(last + 1, step))
                except RingFullError:
                    assert expected
                    assert mine.last == last
                else:
                    assert number == last + 1
                    expected[number] = data_of(number, step)
            assert mine.held() == expected
            sectors = sum(-(-(20 + len(data)) // SECTOR) for data in expected.values())
            assert mine.used() == sectors * SECTOR / SMALL
        mine.close()
        assert reopened(path, ident, released) == expected


@pytest.mark.parametrize("released", [0, 1, 2])
def test_a_torn_write_costs_its_own_record_alone(made, released):
    path, ident = made
    mine = Ring(path, ident, 0)
    for number in (1, 2, 3):
        mine.append(data_of(number, 1200))
    mine.release(released)
    before = path.read_bytes()
    mine.append(data_of(4, 1200))
    mine.close()
    after = path.read_bytes()
    changed = [at for at in range(0, SMALL, SECTOR) if before[at : at + SECTOR] != after[at : at + SECTOR]]
    assert len(changed) == 3
    for kept in range(2 ** len(changed) - 1):
        torn = bytearray(before)
        for place, at in enumerate(changed):
            if kept >> place & 1:
                torn[at : at + SECTOR] = after[at : at + SECTOR]
        path.write_bytes(torn)
        assert reopened(path, ident, released) == {n: data_of(n, 1200) for n in (1, 2, 3) if n > released}


def test_a_flipped_bit_anywhere_costs_one_record_at_most(made):
    path, ident = made
    mine = Ring(path, ident, 0)
    for number in range(1, 9):
        mine.append(data_of(number))
    mine.close()
    content, whole = path.read_bytes(), reopened(path, ident)
    chance = random.Random(3)
    for _ in range(300):
        flipped = bytearray(content)
        at = chance.randrange(len(content))
        flipped[at] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        found = reopened(path, ident)
        assert len(found) >= len(whole) - 1
        assert found.items() <= whole.items()


def test_records_of_another_ring_are_not_seen(made):
    path, ident = made
    mine = Ring(path, ident, 0)
    mine.append(b"theirs")
    mine.close()
    assert reopened(path, bytes(16)) == {}


def test_a_full_ring_takes_nothing_and_what_is_too_large_never_fits(made):
    path, ident = made
    mine = Ring(path, ident, 0)
    with pytest.raises(RingFullError):
        mine.append(bytes(MAX_RECORD_BYTES))
    for number in range(1, SMALL // SECTOR + 1):
        mine.append(data_of(number))
    content = path.read_bytes()
    with pytest.raises(RingFullError):
        mine.append(b"")
    assert path.read_bytes() == content
    mine.release(1)
    mine.append(b"")
    mine.close()


def test_the_number_of_a_failed_write_is_not_given_out_again(made, monkeypatch):
    path, ident = made
    mine = Ring(path, ident, 0)
    with monkeypatch.context() as patch:
        patch.setattr(ring.os, "pwritev", failing())
        with pytest.raises(StorageError, match="Input/output"):
            mine.append(b"one")
    assert mine.append(b"two") == 2
    mine.close()
    assert reopened(path, ident) == {2: b"two"}


@pytest.mark.parametrize("refused", [1, 2])
def test_a_file_system_without_direct_writes_is_written_all_the_same(made, monkeypatch, refused):
    path, ident = made
    monkeypatch.setattr(ring, "_WAYS", [(flag, sector) for flag, sector in ring._WAYS[refused:]])
    mine = Ring(path, ident, 0)
    mine.append(b"one")
    mine.append(data_of(2, 5000 if refused == 2 else 2000))
    mine.close()
    assert list(reopened(path, ident)) == [1, 2]


# -- the store over it --------------------------------------------------------------------------------------------


def failing(*, after_writing=False):
    real = os.pwritev

    def pwritev(*arguments):
        if after_writing:
            real(*arguments)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    return pwritev


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
    assert bench.store.append("readings", readings(50, 1)).last == 51


def test_what_was_declared_is_not_what_went_another_way(bench):
    take(bench, 0, 10)
    bench.store.append("readings", readings(10, 9000))  # a block at once
    bench.store.commit()
    for at in range(9010, 9040, 10):
        take(bench, at, 10)
    garble(bench, 1)
    bench.crash()
    bench.pass_time(1.1)
    (gap,) = [row for row in bench.store.rows("events", 0, T0 * 2) if row["kind"] == "gap"]
    assert (gap["first"], gap["last"]) == (9011, 9020)
    assert held(bench.store) == [*range(9010), *range(9020, 9040)]


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
    assert sorted((head.first, head.last) for head in offered) in ([(1, 30)], [(1, 10), (11, 20), (21, 30)])


def test_a_database_that_has_lost_its_ring_is_set_aside(bench):
    take(bench, 0, 10)
    bench.store.close()
    bench.path.with_name("store.db-ring").unlink()
    store = bench.start()
    assert bench.identity.epoch > 1
    (event,) = store.rows("events", 0, T0 * 2)
    assert "lost its journal" in event["text"]


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
        bench.store.keep("note", bytes(100_000))
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
