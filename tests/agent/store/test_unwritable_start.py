"""A store that begins on a disk which takes nothing: it takes rows into memory, and opens by itself when it can."""

from __future__ import annotations

import pytest

from agent.contract.errors import StorageError
from tests.support.disks import Disk, small_disk
from tests.support.stores import T0, Bench, alert, readings


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", size_kib=6144) as disk:
        yield disk


def spoil(disk: Disk, how: str) -> None:
    disk.fill() if how == "full" else disk.read_only()


def mend(disk: Disk, how: str) -> None:
    disk.make_room() if how == "full" else disk.read_only(yes=False)


@pytest.mark.parametrize("how", ["full", "read-only"])
@pytest.mark.parametrize("lived", [True, False], ids=["lived", "new"])
def test_rows_wait_in_memory_and_are_durable_once_the_disk_takes_them(disk, how, lived):
    before = []
    if lived:
        bench = Bench(disk.folder)
        bench.store.append("readings", readings(0, 5))
        bench.store.append("alerts", [alert(0)])
        bench.store.close()
        before = readings(0, 5)
        spoil(disk, how)
        store = bench.start()
    else:
        spoil(disk, how)
        bench = Bench(disk.folder)
        store = bench.store
    assert not store.is_open
    store.append("readings", readings(5, 3))
    store.append("alerts", [alert(1)])
    for _ in range(5):
        bench.pass_time(1.0)
    stats = store.stats()
    assert (stats.pending_rows, stats.storage_error != "") == (4, True)
    assert ("read-only" in stats.storage_error.lower()) == (how == "read-only")
    assert store.durable_through()["alerts"] == 0
    assert store.unacknowledged(10**6) == []
    assert store.readings("load_kw", 0, T0 * 2) == readings(5, 3)  # what is in memory, and no more
    assert store.last_time_ms("alerts") == T0 + 1000
    with pytest.raises(StorageError):
        store.repair()
    mend(disk, how)
    for _ in range(5):
        bench.pass_time(1.0)
    assert store.is_open
    assert (store.stats().storage_error, store.stats().pending_rows) == ("", 0)
    assert store.readings("load_kw", 0, T0 * 2) == before + readings(5, 3)
    epoch = bench.identity.epoch
    again = bench.crash()
    assert bench.identity.epoch > epoch
    assert again.readings("load_kw", 0, T0 * 2) == before + readings(5, 3)
    assert len(again.rows("alerts", 0, T0 * 2)) == 1 + len(before[:1])
    assert again.rows("events", 0, T0 * 2) == []


def test_what_memory_dropped_before_the_disk_took_anything_is_declared(disk):
    disk.fill()
    bench = Bench(disk.folder, ring_readings=10)
    for first in range(0, 40, 4):
        bench.store.append("readings", readings(first, 4))
    disk.make_room()
    for _ in range(5):
        bench.pass_time(1.0)
    kept = bench.store.readings("load_kw", 0, T0 * 2)
    assert 5 <= len(kept) <= 10
    (gap,) = bench.store.rows("events", 0, T0 * 2)
    assert (gap["stream"], gap["first"], gap["last"]) == ("readings", 1, 40 - len(kept))
    assert bench.store.durable_through()["readings"] == 40


def test_a_damaged_store_on_a_disk_without_room_is_set_aside_when_there_is(disk):
    bench = Bench(disk.folder)
    bench.store.append("alerts", [alert(0)])
    bench.store.close()
    bench.path.write_bytes(b"no database" + bytes(5000))
    disk.read_only()
    store = bench.start()
    store.append("alerts", [alert(1)])
    for _ in range(5):
        bench.pass_time(1.0)
    assert not store.is_open
    disk.read_only(yes=False)
    for _ in range(5):
        bench.pass_time(1.0)
    assert store.is_open
    assert len(store.stats().set_aside) == 1
    assert T0 + 1000 in [row["time_ms"] for row in store.rows("alerts", 0, T0 * 2)]
