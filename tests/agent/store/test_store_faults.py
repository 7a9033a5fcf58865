"""A disk that is full, failing, damaged or killed in the middle: what was promised holds."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from agent.contract.acknowledgement import Mark
from agent.contract.blocks import decode_readings, decode_rows
from agent.contract.errors import ConfigError, StorageError
from agent.store import journal, retention, ring, schema
from agent.store.store import Store
from tests.support.damage import breaking, scribble
from tests.support.stores import T0, Bench, alert, readings

ROOT = Path(__file__).resolve().parents[3]


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


# -- eviction -----------------------------------------------------------------------------------------------------


def fill(bench: Bench, blocks: int) -> None:
    for at in range(blocks):
        bench.store.append("readings", random_readings(at))
        bench.store.append("slots", [alert(at)])
        bench.store.append("alerts", [alert(at)])
        bench.store.commit()


def random_readings(at: int):
    chance = random.Random(at)
    return [row._replace(value=chance.random() * 1e6) for row in readings(at * 9000, 9000)]


def test_above_its_size_acknowledged_raw_leaves_first_without_a_gap(tmp_path):
    bench = Bench(tmp_path, max_bytes=500_000)
    fill(bench, 20)
    bench.store.apply_marks([Mark(1, "readings", 9000 * 15)])
    bench.pass_time(61)
    assert retention.used_bytes(bench.store._journal.shelves) <= 500_000
    assert bench.store.stats().evicted_rows == 0
    assert len(bench.store.readings("load_kw", T0 + 15 * 9_000_000, T0 * 2)) == 5 * 9000
    bench.store.close()


def test_acknowledged_raw_that_is_old_when_it_comes_stays_until_it_is_no_longer_needed(tmp_path):
    bench = Bench(tmp_path)
    bench.now_ms = T0 + 365 * 86_400_000  # a file of last year is replayed
    bench.store.keep_readings_from(T0 + 9_000_000)
    for at in range(3):
        bench.store.append("readings", random_readings(at))
        bench.store.commit()
    bench.store.apply_marks([Mark(1, "readings", 27_000)])
    bench.pass_time(61)
    held = bench.store.readings("load_kw", 0, T0 * 2)
    assert [row.time_ms for row in held] == [T0 + at * 1000 for at in range(9000, 27_000)]
    bench.store.keep_readings_from(None)
    bench.pass_time(61)
    assert bench.store.readings("load_kw", 0, T0 * 2) == []
    assert bench.store.stats().evicted_rows == 0
    bench.store.close()


def test_unacknowledged_raw_leaves_oldest_first_after_a_durable_gap_and_alarms_and_slots_stay(tmp_path):
    bench = Bench(tmp_path, max_bytes=300_000)
    fill(bench, 20)
    bench.pass_time(61)
    stats = bench.store.stats()
    gaps = [row for row in bench.store.rows("events", 0, T0 * 2) if row["kind"] == "gap"]
    assert stats.evicted_rows == sum(gap["last"] - gap["first"] + 1 for gap in gaps) > 0
    assert gaps[0]["first"] == 1
    assert {(gap["stream"], gap["epoch"], gap["reason"]) for gap in gaps} == {("readings", 1, "the store is full")}
    offered = {
        (stored.block.header.stream, seq)
        for stored in bench.store.unacknowledged(10**9)
        for seq in range(stored.block.header.first, stored.block.header.last + 1)
    }
    lost = {("readings", seq) for gap in gaps for seq in range(gap["first"], gap["last"] + 1)}
    assert not lost & offered
    assert lost | {place for place in offered if place[0] == "readings"} == {("readings", n) for n in range(1, 180_001)}
    assert len(bench.store.rows("slots", 0, T0 * 2)) == len(bench.store.rows("alerts", 0, T0 * 2)) == 20
    assert bench.crash().stats().evicted_rows == stats.evicted_rows
    bench.store.close()


def test_only_what_must_stay_may_exceed_the_size(tmp_path):
    bench = Bench(tmp_path, max_bytes=1)
    fill(bench, 3)
    bench.pass_time(61)
    bench.pass_time(61)
    assert bench.store.stats().rows["readings"] == 0
    assert len(bench.store.rows("slots", 0, T0 * 2)) == len(bench.store.rows("alerts", 0, T0 * 2)) == 3
    bench.store.close()


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


# -- failing at every step ----------------------------------------------------------------------------------------


def acknowledge(store, marks) -> None:
    with contextlib.suppress(StorageError):  # the centre says it again, some time
        store.apply_marks(marks)


def scenario(bench: Bench) -> None:
    """Every kind of change there is."""
    store = bench.store
    for at in range(3):
        store.append("readings", readings(at * 60, 60 if at == 1 else 10))
        store.append("alerts", [alert(at)])
        bench.pass_time(1.1)
    bench.pass_time(61)
    store.unacknowledged(10**6)
    acknowledge(store, [Mark(1, "readings", 10), Mark(1, "alerts", 1)])
    store.append("slots", [alert(9)])
    bench.now_ms += 8 * 86_400_000
    bench.pass_time(61)
    acknowledge(store, [Mark(1, "slots", 1)])
    store.append("alerts", [alert(3)])
    bench.pass_time(1.1)


def test_whichever_statement_fails_nothing_is_lost_or_doubled(tmp_path, monkeypatch):
    """Fails statement 1, 2, 3, ... of a scenario until it passes without a failure; looks at the store after each."""
    connection = breaking(lambda: sqlite3.OperationalError("disk I/O error"))
    monkeypatch.setattr(schema, "connect", lambda path, read_only=False: sqlite3.connect(path, factory=connection))
    monkeypatch.setattr(journal, "DIRECT_ROWS", 50)
    for step in itertools.count(1):
        connection.left = step
        folder = tmp_path / str(step)
        try:
            bench = Bench(folder)
        except StorageError:
            bench = Bench(folder)
        scenario(bench)
        passed = connection.left is not None
        connection.left = None
        bench.pass_time(2)
        bench.pass_time(62)
        assert bench.store.stats().storage_error == ""
        check(bench)
        bench.crash()
        check(bench)
        bench.store.close()
        if passed:
            break
    assert step > 100


def check(bench: Bench) -> None:
    """Every row of the scenario is there once; numbers of an epoch are used once; counters are true."""
    assert bench.execute("PRAGMA integrity_check") == [("ok",)]
    times = [row.time_ms for row in bench.store.readings("load_kw", 0, T0 * 2)]
    acknowledged_and_aged = [T0 + at * 1000 for at in range(10)]
    expected = [T0 + at * 1000 for at in (*range(10), *range(60, 130))]
    assert times in (expected, [time_ms for time_ms in expected if time_ms not in acknowledged_and_aged])
    assert [row["text"] for row in bench.store.rows("alerts", 0, T0 * 2)] == [f"alert {at}" for at in range(4)]
    places = bench.execute("SELECT stream, epoch, first, last FROM block")
    places += [(one.stream, one.epoch, one.first, one.last) for one in bench.journal()]
    numbers = [(stream, epoch, seq) for stream, epoch, first, last in places for seq in range(first, last + 1)]
    assert len(numbers) == len(set(numbers))
    for stream, epoch in {number[:2] for number in numbers if number[1] > 1}:
        mine = sorted(number[2] for number in numbers if number[:2] == (stream, epoch))
        assert mine == list(range(1, len(mine) + 1))
    stats = bench.store.stats()
    stored = {stream: sum(1 for number in numbers if number[0] == stream) for stream in stats.rows}
    assert stats.rows == stored


# -- killed -------------------------------------------------------------------------------------------------------

CHILD = """
import json, sys, time
from pathlib import Path
from agent.store.store import Store
from agent.store.identity import Identity
from tests.support.stores import CHANNELS, T0, alert, readings

folder = Path(sys.argv[1])
identity = Identity.open(folder / "identity")
identity.begin_boot()
store = Store(folder / "store.db", identity, CHANNELS, now_ms=lambda: T0, monotonic=time.monotonic,
              commit_window_s=0.01, pack_after_s=0.05)
last = store.last_time_ms("readings", "load_kw")
number = 0 if last is None else (last - T0) // 1000 + 1
alarms = len(store.rows("alerts", 0, T0 * 2))
while True:
    store.append("readings", readings(number, 20))
    number += 20
    if number % 200 == 0:
        alarms += 1
        store.append("alerts", [alert(alarms)])
        store.unacknowledged(1000)
    store.tick()
    print(json.dumps([identity.epoch, store.durable_through()]), flush=True)
"""


def test_after_sigkill_every_durable_row_is_there_once_and_sampling_goes_on_without_a_hole(tmp_path):
    """Real processes, killed at moments nobody chose; the parent keeps the promises that they printed."""
    chance = random.Random(4)
    promised: dict[int, dict[str, int]] = {}
    for _ in range(6):
        child = subprocess.Popen([sys.executable, "-c", CHILD, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(chance.randrange(1, 120)):
            epoch, through = json.loads(child.stdout.readline())
            promised[epoch] = through
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().splitlines()
        child.stdout.close()
        child.wait()
        for line in rest:
            with contextlib.suppress(ValueError):  # a line cut by the kill
                epoch, through = json.loads(line)
                promised[epoch] = through
    bench = Bench(tmp_path)
    found = bench.store.readings("load_kw", 0, T0 * 2)
    alarms = bench.store.rows("alerts", 0, T0 * 2)
    assert bench.identity.boot == 7
    assert len(promised) == 6
    assert len(found) >= sum(through["readings"] for through in promised.values()) > 0
    assert len(alarms) >= sum(through["alerts"] for through in promised.values()) > 0
    assert found == readings(0, len(found))
    assert alarms == [alert(at) for at in range(1, len(alarms) + 1)]
    bench.pass_time(61)
    bench.pass_time(61)
    numbered = {}
    for stored in bench.store.unacknowledged(10**9):
        head = stored.block.header
        rows = decode_readings(stored.block)[1] if head.stream == "readings" else decode_rows(stored.block)
        for seq, row in enumerate(rows, start=head.first):
            assert (head.epoch, head.stream, seq) not in numbered
            numbered[head.epoch, head.stream, seq] = row
    offered = [row for (_, stream, _), row in sorted(numbered.items()) if stream == "readings"]
    assert offered == found
    for epoch, through in promised.items():
        assert all((epoch, stream, seq) in numbered for stream, last in through.items() for seq in range(1, last + 1))
    bench.store.close()


def test_a_store_that_was_set_aside_is_told_in_the_log_too(bench, caplog):
    bench.store.close()
    bench.path.write_bytes(b"this is no database" * 1000)
    (name,) = bench.start().stats().set_aside
    assert f"it was set aside as {name} and a new one was begun" in caplog.text
