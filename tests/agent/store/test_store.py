"""The store: tickets, durability, packing, the outbox, queries, what it never tells."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from agent.contract.acknowledgement import Mark
from agent.contract.blocks import decode_readings, decode_rows
from agent.contract.channels import Reading
from agent.contract.errors import ConfigError, StorageError
from agent.contract.jsonform import MAX_TIME_MS
from agent.store import outbox, schema
from agent.store.reader import Reader
from agent.store.shelves import Shelves
from agent.store.store import Store
from tests.support.stores import CHANNELS, T0, Bench, alert, readings


def test_readings_wait_for_the_window_and_then_are_durable(bench):
    store = bench.store
    ticket = store.append("readings", readings(0, 5))
    assert ticket == ("readings", 1, 5)
    assert store.durable_through()["readings"] == 0
    bench.pass_time(0.5)
    assert store.durable_through()["readings"] == 0
    bench.pass_time(0.6)
    assert store.durable_through()["readings"] == 5


def test_the_window_ends_without_a_tick(bench):
    bench.store.append("readings", readings(0, 1))
    bench.clock_s += 1.1
    bench.store.append("readings", readings(1, 1))
    assert bench.store.durable_through()["readings"] == 2


def test_other_streams_are_durable_at_once_and_take_readings_along(bench):
    bench.store.append("readings", readings(0, 3))
    for stream in ("alerts", "events", "slots"):
        ticket = bench.store.append(stream, [alert(1)])
        assert bench.store.durable_through()[stream] == ticket.last
    assert bench.store.durable_through()["readings"] == 3


def test_a_window_of_zero_commits_every_call(tmp_path):
    bench = Bench(tmp_path, commit_window_s=0)
    bench.store.append("readings", readings(0, 3))
    assert bench.store.durable_through()["readings"] == 3


def test_what_was_not_durable_is_gone_after_a_crash_and_a_new_epoch_begins(bench):
    bench.store.append("readings", readings(0, 4))
    bench.store.commit()
    bench.store.append("readings", readings(4, 4))
    store = bench.crash()
    assert [row.time_ms for row in store.readings("load_kw", 0, T0 * 2)] == [T0 + 1000 * at for at in range(4)]
    assert store.last_time_ms("readings", "load_kw") == T0 + 3000
    assert store.durable_through()["readings"] == 0
    assert store.append("readings", readings(4, 1)) == ("readings", 2, 1)


def test_of_an_epoch_that_has_left_nothing_is_kept_but_how_far_it_went_and_the_channels_times(bench):
    bench.store.append("readings", readings(0, 10))
    bench.pass_time(61)
    bench.pass_time(61)
    assert bench.store.apply_marks([Mark(1, "readings", 10)]) == 1
    bench.now_ms += 30 * 86_400_000
    bench.pass_time(61)
    assert bench.execute("SELECT count(*) FROM block") == [(0,)]
    store = bench.crash()
    assert bench.execute("SELECT * FROM stream_state") == [("readings", 1, 10, 0, 0, 0, 0)]
    assert bench.execute("SELECT * FROM mark") == []
    assert store.last_time_ms("readings", "load_kw") == T0 + 9_000


@pytest.mark.parametrize(
    "bad",
    [
        Reading("unknown", T0, 1.0),
        Reading("load_kw", T0, math.nan),
        Reading("load_kw", T0, math.inf),
        Reading("load_kw", T0, 1e300),
        Reading("load_kw", -1, 1.0),
        Reading("load_kw", MAX_TIME_MS + 1, 1.0),
        Reading("load_kw", 2**60, 1.0),
        Reading("load_kw", T0, 1.0, 9),
    ],
)
def test_a_reading_that_cannot_be_stored_is_refused_and_nothing_of_its_call_taken_in(bench, bad):
    before = bench.store.stats()
    with pytest.raises(ConfigError):
        bench.store.append("readings", [*readings(0, 3), bad])
    assert bench.store.stats() == before
    assert bench.store.last_time_ms("readings", "load_kw") is None
    assert bench.store.append("readings", readings(0, 1)).last == 1


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"time_ms": "x"},
        {"time_ms": True},
        {"time_ms": -1},
        {"time_ms": MAX_TIME_MS + 1},
        {"time_ms": 1, "v": math.nan},
        {"time_ms": 1, "v": "x" * 70_000},
    ],
)
def test_a_row_that_cannot_be_stored_is_refused(bench, bad):
    before = bench.store.stats()
    with pytest.raises(ConfigError):
        bench.store.append("events", [alert(1), bad])
    assert bench.store.stats() == before


def test_the_latest_time_that_a_block_can_hold_is_stored(bench):
    bench.store.append("readings", [Reading("load_kw", MAX_TIME_MS, 1.0)])
    assert bench.store.commit()
    assert bench.store.last_time_ms("readings", "load_kw") == MAX_TIME_MS


def test_a_commit_waits_until_the_disk_has_it(tmp_path):
    db = schema.open_database(tmp_path / "store.db")
    full = 2
    assert db.execute("PRAGMA synchronous").fetchone() == (full,)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()


def test_largest_storable_values_come_back(bench):
    values = [8.9e14, -8.9e14, 0.1, -0.0]
    bench.store.append("readings", [Reading("load_kw", T0 + at, value) for at, value in enumerate(values)])
    bench.store.commit()
    assert [row.value for row in bench.store.readings("load_kw", T0, T0 + 10)] == values


def test_queries_see_memory_journal_and_blocks_alike(bench):
    store = bench.store
    store.append("readings", readings(0, 10))
    bench.pass_time(61)
    bench.pass_time(61)
    store.append("readings", readings(10, 10))
    store.append("readings", readings(0, 5, "pump_kw"))
    store.commit()
    store.append("readings", [Reading("load_kw", T0 + 20_000, 7.26)])
    found = store.readings("load_kw", T0 + 3000, T0 + 21_000)
    assert [row.time_ms for row in found] == [T0 + at * 1000 for at in range(3, 21)]
    assert found[-1].value == 7.3
    store.commit()
    assert store.readings("load_kw", T0 + 3000, T0 + 21_000) == found
    assert bench.execute("SELECT count(*) FROM block")[0][0] == 1
    assert [store.last_time_ms("readings", name) for name in CHANNELS] == [T0 + 20_000, T0 + 4000, None]
    assert store.last_time_ms("readings") == T0 + 20_000
    assert store.last_time_ms("slots") is None


def test_rows_come_back_by_time_with_unknown_fields(bench):
    rows = [alert(3) | {"new": [1, {"a": None}]}, alert(1), alert(2)]
    bench.store.append("slots", rows)
    assert bench.store.rows("slots", T0, T0 + 2500) == [rows[1], rows[2]]
    bench.pass_time(61)
    bench.pass_time(61)
    assert bench.store.rows("slots", 0, T0 * 2) == [rows[1], rows[2], rows[0]]


def test_packing_keeps_rows_and_numbers_and_makes_one_block_of_many_commits(bench):
    for at in range(0, 50, 5):
        bench.store.append("readings", readings(at, 5))
        bench.pass_time(1.1)
    assert len(bench.journal()) == 10
    bench.pass_time(60)
    assert bench.journal() == []
    (stored,) = bench.store.unacknowledged(10**6)
    assert (stored.block.header.first, stored.block.header.last, stored.block.header.boot) == (1, 50, 1)
    assert decode_readings(stored.block)[1] == readings(0, 50)


def test_packing_is_not_held_up_by_commits_in_every_turn(bench):
    for _ in range(200):
        bench.clock_s += 0.5
        bench.store.append("slots", [{"time_ms": T0}])
        bench.store.tick()
    assert bench.store.stats().backlog_blocks >= 1


def test_the_journal_of_an_earlier_start_is_packed_as_its_own(bench):
    bench.store.append("readings", readings(0, 5))
    bench.store.commit()
    bench.crash()
    bench.store.append("readings", readings(5, 5))
    bench.pass_time(1.1)
    bench.pass_time(61)
    headers = [stored.block.header for stored in bench.store.unacknowledged(10**6)]
    assert [(header.boot, header.first, header.last) for header in headers] == [(1, 1, 5), (2, 1, 5)]


def test_only_durable_rows_are_offered(bench):
    bench.store.append("readings", readings(0, 5))
    assert bench.store.unacknowledged(10**6) == []


def test_alarms_are_offered_at_once_and_first_then_the_oldest(bench):
    bench.store.append("readings", readings(0, 5))
    bench.pass_time(2)
    bench.pass_time(61)
    bench.store.append("slots", [alert(1)])
    bench.store.append("events", [alert(2)])
    bench.store.append("alerts", [alert(3)])
    assert [stored.block.header.stream for stored in bench.store.unacknowledged(10**6)] == [
        "alerts",
        "events",
        "readings",
    ]
    bench.pass_time(61)
    streams = [stored.block.header.stream for stored in bench.store.unacknowledged(10**6)]
    assert streams == ["alerts", "events", "readings", "slots"]


def test_what_is_new_is_offered_before_the_backlog_and_alone_when_only_that_is_wanted(bench):
    for at in range(6):
        bench.store.append("readings", readings(100 * at, 100))
        bench.pass_time(2)
        bench.pass_time(61)
        bench.now_ms = T0 + (at + 1) * 100_000
    bench.store.append("events", [alert(2)])  # old, but never held back
    offered = [
        (one.block.header.stream, one.block.header.first, one.backlog) for one in bench.store.unacknowledged(10**6)
    ]
    new = [("events", 1, False), ("readings", 401, False), ("readings", 501, False)]
    assert offered == [*new, *(("readings", first, True) for first in (1, 101, 201, 301))]
    few = bench.store.unacknowledged(10**6, backlog=False)
    assert [(one.block.header.stream, one.block.header.first, one.backlog) for one in few] == new
    bench.store.apply_marks([Mark(1, "readings", 600, missing=((501, 600),))])
    assert [one.block.header.first for one in bench.store.unacknowledged(10**6)] == [1, 501]


def test_the_outbox_keeps_to_its_limit_and_skips_what_is_on_its_way(bench, monkeypatch):
    monkeypatch.setattr(outbox, "_PAGE", 7)
    for at in range(40):
        bench.store.append("alerts", [alert(at)])
        bench.store.unacknowledged(1)
    (first,) = bench.store.unacknowledged(1)
    assert decode_rows(first.block) == [alert(0)]
    everything = bench.store.unacknowledged(10**9)
    assert [stored.block.header.first for stored in everything] == list(range(1, 41))
    some = bench.store.unacknowledged(2000)
    assert 2 <= len(some) < 20
    rest = bench.store.unacknowledged(10**9, skip={stored.id for stored in some})
    assert [stored.id for stored in some + rest] == [stored.id for stored in everything]


def test_marks_cover_whole_blocks_without_their_missing_ranges_once(bench):
    for at in range(4):
        bench.store.append("alerts", [alert(10 * at), alert(10 * at + 1)])
        bench.store.unacknowledged(1)
    assert bench.store.apply_marks([Mark(1, "alerts", 5, missing=((3, 3),))]) == 1  # 1..2; 3..4 has a hole; 5..6 half
    assert bench.store.apply_marks([Mark(1, "alerts", 5, missing=((3, 3),))]) == 0
    assert bench.store.apply_marks([Mark(1, "slots", 0), Mark(1, "alerts", 1)]) == 0
    assert bench.store.apply_marks([Mark(1, "alerts", 8), Mark(1, "alerts", 8)]) == 3
    assert bench.store.unacknowledged(10**6) == []
    assert bench.store.stats().backlog_rows == 0
    assert len(bench.store.rows("alerts", 0, T0 * 2)) == 8


def test_stats_are_true_without_counting(bench):
    bench.store.append("readings", readings(0, 100))
    bench.pass_time(61)
    bench.pass_time(61)
    bench.store.append("alerts", [alert(5)])
    bench.store.append("readings", readings(100, 7))
    stats = bench.store.stats()
    assert (stats.rows["readings"], stats.rows["alerts"], stats.pending_rows) == (100, 1, 7)
    assert (stats.backlog_rows, stats.backlog_blocks, stats.oldest_unacknowledged_ms) == (101, 1, T0)
    assert (stats.epoch, stats.boot, stats.evicted_rows, stats.quarantined) == (1, 1, 0, 0)
    assert (stats.storage_error, stats.set_aside) == ("", ())
    assert stats.bytes_on_disk == sum(
        file.stat().st_size
        for file in bench.folder.iterdir()
        if file.name.startswith("store.db") and file.suffix != ".lock"
    )


def test_no_value_or_name_is_readable_on_disk(bench):
    """A stolen file without its key shows streams, times and counts, nothing else."""
    bench.store.append("readings", readings(0, 500, "oven_kw"))
    bench.store.append("alerts", [{"time_ms": T0, "text": "SECRET-ALERT-TEXT", "rule": "peak-rule"}])
    bench.store.commit()
    opened = [bench.folder / name for name in ("store.db", "store.db-wal")]
    plain = b"".join(file.read_bytes() for file in opened)
    bench.pass_time(61)
    bench.pass_time(61)
    bench.execute("PRAGMA wal_checkpoint")
    plain += b"".join(file.read_bytes() for file in opened)
    for text in (b"oven_kw", b'"kW"', b"SECRET", b"ALERT", b"peak-rule", b"text"):
        assert text not in plain
    for stored in bench.store.unacknowledged(10**6):
        body = stored.block.body
        assert not any(body[at : at + 16] in plain for at in range(0, len(body) - 16, 16))


def test_another_process_cannot_write_the_same_store(bench):
    with pytest.raises(StorageError, match="in use by another agent"):
        Store(bench.path, bench.identity, CHANNELS, now_ms=lambda: T0, monotonic=lambda: 0.0)
    assert bench.store.append("alerts", [alert(1)]).last == 1


def test_reads_beside_a_writer_and_alone(bench):
    bench.store.append("readings", readings(0, 5))
    bench.store.append("alerts", [alert(1)])
    reader = Reader.open(bench.path, bench.identity.storage_key)
    bench.store.append("alerts", [alert(2)])
    bench.pass_time(61)
    assert reader.rows("alerts", 0, T0 * 2) == [alert(1), alert(2)]
    assert reader.last_time_ms("readings", "load_kw") == T0 + 4000
    bench.store.append("alerts", [alert(3)])
    assert reader.stats().rows["alerts"] == 3
    reader.close()
    bench.store.close()
    alone = Reader.open(bench.path, bench.identity.storage_key)
    assert len(alone.readings("load_kw", 0, T0 * 2)) == 5
    assert alone.last_time_ms("alerts") == T0 + 3000
    alone.close()
    bench.start()


def test_reading_changes_nothing(bench):
    reader = Reader.open(bench.path, bench.identity.storage_key)
    with pytest.raises(Exception, match="readonly"):
        reader._shelves.counters.add("x", 1)
    reader.close()


def test_a_store_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"none\.db: does not exist"):
        Reader.open(tmp_path / "none.db", bytes(32))
    assert not (tmp_path / "none.db").exists()


def test_a_large_commit_becomes_blocks_at_once(bench):
    ticket = bench.store.append("readings", readings(0, 70_000))
    assert bench.store.durable_through()["readings"] == ticket.last == 70_000
    assert bench.execute("SELECT first, last FROM block ORDER BY first") == [(1, 60_000), (60_001, 70_000)]
    bench.crash()
    assert bench.store.last_time_ms("readings", "load_kw") == T0 + 69_999_000


def test_slot_after_slot_is_read_from_one_block_that_is_opened_once(bench, monkeypatch):
    bench.store.append("readings", readings(0, 9000) + readings(0, 9000, "pump_kw"))
    bench.store.commit()
    opened = []
    real = Shelves.open
    monkeypatch.setattr(Shelves, "open", lambda *a: opened.append(a) or real(*a))
    for at in range(10):
        start_ms = T0 + at * 900_000
        assert bench.store.readings("load_kw", start_ms, start_ms + 900_000) == readings(at * 900, 900)
        assert bench.store.readings("pump_kw", start_ms, start_ms + 1000) == readings(at * 900, 1, "pump_kw")
    assert len(opened) == 2  # once for each channel


def test_the_first_time_of_a_channel_is_found_in_block_journal_and_memory(bench):
    assert bench.store.first_time_ms("load_kw") is None
    bench.store.append("readings", readings(5, 3))
    assert bench.store.first_time_ms("load_kw") == T0 + 5_000  # in memory
    bench.store.commit()
    assert bench.store.first_time_ms("load_kw") == T0 + 5_000
    bench.pass_time(61)
    bench.pass_time(61)
    bench.store.append("readings", readings(100, 3) + readings(1, 1, "pump_kw"))
    assert bench.store.first_time_ms("load_kw") == T0 + 5_000
    assert bench.store.first_time_ms("pump_kw") == T0 + 1_000
    assert bench.store.first_time_ms("oven_kw") is None


TRY_LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)
"""


def test_while_a_store_is_open_nobody_can_cut_the_index_that_it_has_mapped(bench):
    """SQLite's lock on it must survive whatever else reads the file here, or the agent dies of a bus error."""
    for _ in range(2):
        bench.store.append("alerts", [alert(1)])
        bench.store.stats()
        command = [sys.executable, "-c", TRY_LOCK, str(bench.path.with_name("store.db-shm"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "BlockingIOError" in done.stderr or "PermissionError" in done.stderr, done.stderr
        bench.crash()
