"""Notes on a disk that is full: rows go first, and none waits for a note that has no room."""

from __future__ import annotations

import random

import pytest

from agent.contract.acknowledgement import Mark
from agent.contract.channels import Reading
from agent.contract.slots import Slot
from tests.support.disks import Disk, small_disk
from tests.support.stores import T0, Bench, alert, readings

LARGE = bytes(range(256)) * 4000


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", size_kib=6144) as disk:
        yield disk


@pytest.fixture
def bench(disk: Disk) -> Bench:
    bench = Bench(disk.folder)
    bench.store.keep("learnt", b"before")
    bench.store.append("alerts", [alert(0)])
    return bench


def test_a_note_without_room_keeps_no_row_from_the_disk_and_the_one_before_stays(disk, bench):
    disk.fill(leave_kib=256)
    bench.store.keep("learnt", LARGE)
    bench.store.append("alerts", [alert(1)])
    bench.store.append("readings", readings(0, 5))
    bench.pass_time(1.1)
    stats = bench.store.stats()
    assert stats.pending_rows == 0
    assert "full" in stats.storage_error
    assert bench.store.note("learnt") == LARGE  # whoever asks the agent gets the newest
    disk.make_room()
    store = bench.crash()
    assert store.note("learnt") == b"before"
    assert store.rows("alerts", 0, T0 * 2) == [alert(0), alert(1)]
    assert store.readings("load_kw", 0, T0 * 2) == readings(0, 5)


def test_readings_stay_durable_in_their_ring_while_a_note_waits(disk, bench):
    disk.fill()
    bench.store.keep("learnt", LARGE)
    for first in range(0, 50, 5):
        bench.store.append("readings", readings(first, 5))
        bench.pass_time(1.1)
        assert bench.store.durable_through()["readings"] == first + 5
    assert "full" in bench.store.stats().storage_error
    disk.make_room()
    store = bench.crash()
    assert store.readings("load_kw", 0, T0 * 2) == readings(0, 50)


def test_it_comes_to_the_disk_when_there_is_room(disk, bench):
    disk.fill(leave_kib=256)
    bench.store.keep("learnt", LARGE)
    bench.store.append("alerts", [alert(1)])
    disk.make_room()
    for _ in range(62):
        bench.pass_time(1.1)
    assert bench.store.stats().storage_error == ""
    assert bench.crash().note("learnt") == LARGE


def test_a_note_that_follows_is_tried_with_it_and_closing_tries_once_more(disk, bench):
    disk.fill(leave_kib=256)
    bench.store.keep("learnt", LARGE)
    bench.store.append("alerts", [alert(1)])
    bench.store.keep("another", b"small")
    bench.store.append("alerts", [alert(2)])
    disk.make_room()
    store = bench.restart()
    assert (store.note("learnt"), store.note("another")) == (LARGE, b"small")
    assert len(store.rows("alerts", 0, T0 * 2)) == 3


def test_what_the_centre_holds_makes_room_for_it(bench):
    drawn, db = random.Random(5), bench.store._journal.shelves.db
    noise = [Reading("load_kw", T0 + 1000 * at, drawn.randrange(10**6) / 10) for at in range(60_000)]
    bench.store.append("readings", noise)
    bench.store.commit()
    bench.store.apply_marks([Mark(bench.identity.epoch, "readings", len(noise), ())])
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    bench.store.keep("learnt", bytes(100_000))
    bench.store.append("alerts", [alert(1)])
    assert "full" in bench.store.stats().storage_error
    for _ in range(3):
        bench.pass_time(61)
    assert bench.store.stats().storage_error == ""
    assert bench.crash().note("learnt") == bytes(100_000)


def _held_by_the_centre(bench: Bench, days: int = 3) -> list[dict]:
    for day in range(days):
        starts = [T0 + (24 * day + hour) * 3_600_000 for hour in range(24)]
        bench.store.append("slots", [Slot(start_ms, 3600, 1000, 1.0, 1.0).to_row() for start_ms in starts])
        bench.pass_time(61)
    bench.store.apply_marks([Mark(bench.identity.epoch, "slots", 24 * days, ())])
    return bench.store.rows("slots", 0, 2 * T0)


def test_slots_that_the_centre_has_do_not_leave_for_a_note(disk, bench):
    slots = _held_by_the_centre(bench)
    disk.fill(leave_kib=256)
    bench.store.keep("learnt", LARGE)
    for _ in range(3):
        bench.store.append("alerts", [alert(1)])
        bench.pass_time(61)
    assert "full" in bench.store.stats().storage_error
    assert bench.store.rows("slots", 0, 2 * T0) == slots


def test_rows_go_on_in_the_log_and_nothing_leaves_while_the_database_has_pages_to_spare(disk, bench):
    slots = _held_by_the_centre(bench)
    db = bench.store._journal.shelves.db
    db.execute("CREATE TABLE ballast (data BLOB)")
    db.execute("INSERT INTO ballast VALUES (zeroblob(500000))")
    db.execute("DROP TABLE ballast")
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    bench.store.append("alerts", [alert(1)])
    disk.fill()
    for number in range(400):
        bench.store.append("alerts", [alert(number)])
        bench.pass_time(1.1)
    assert bench.store.stats().pending_rows <= 2
    assert bench.store.rows("slots", 0, 2 * T0) == slots


def test_that_a_note_waits_is_told_until_it_is_on_the_disk_whatever_the_window(disk):
    bench = Bench(disk.folder, commit_window_s=10.0)
    disk.fill(leave_kib=512)
    bench.store.keep("learnt", LARGE)
    bench.store.commit()
    for second in range(200):
        bench.store.append("readings", readings(second, 1))
        bench.pass_time(1.0)
        assert "full" in bench.store.stats().storage_error
    disk.make_room()
    for second in range(200, 280):
        bench.store.append("readings", readings(second, 1))
        bench.pass_time(1.0)
    assert bench.store.stats().storage_error == ""
