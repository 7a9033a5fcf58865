"""A store that is gone with its ring while the device is off: the identity still tells how far it went."""

from __future__ import annotations

import errno

import pytest

from agent.contract.acknowledgement import Mark
from agent.store import ring
from agent.store.store import NOTE_EVERY_S
from tests.support.stores import T0, Bench, alert, readings


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, pack_after_s=1)


def remove(bench: Bench) -> None:
    for file in bench.folder.glob("store.db*"):
        file.unlink()


def gaps(bench: Bench) -> set[tuple]:
    rows = [row for row in bench.store.rows("events", 0, T0 * 2) if row["kind"] == "gap"]
    assert len(rows) == len({(row["stream"], row["epoch"], row["first"]) for row in rows})
    return {(row["stream"], row["epoch"], row["first"], row["last"]) for row in rows}


def test_all_rows_of_a_removed_store_are_declared_once(bench):
    bench.store.append("readings", readings(0, 30))
    bench.store.append("alerts", [alert(0)])
    bench.restart()
    bench.store.append("readings", readings(30, 12))
    bench.store.close()
    remove(bench)
    bench.start()
    lost = {("readings", 1, 1, 30), ("alerts", 1, 1, 1), ("readings", 2, 1, 12)}
    assert gaps(bench) == lost
    assert all("the store was removed or destroyed" in row["reason"] for row in bench.store.rows("events", 0, T0 * 2))
    for _ in range(2):
        bench.restart()
        assert gaps(bench) == lost


def test_after_a_kill_what_stood_there_an_hour_before_at_the_latest_is_declared(bench):
    bench.store.append("readings", readings(0, 30))
    bench.pass_time(NOTE_EVERY_S + 1)
    bench.store.append("readings", readings(30, 5))
    bench.store.commit()
    bench.store._journal.shelves.close()
    bench.store._guard.unlock()
    remove(bench)
    bench.start()
    assert gaps(bench) == {("readings", 1, 1, 30)}


@pytest.mark.parametrize("content", [b"", bytes(40_960), b"garbled" * 5000], ids=["emptied", "zeroed", "overwritten"])
def test_a_store_of_which_no_block_is_left_is_declared_as_a_removed_one_is(bench, content):
    bench.store.append("readings", readings(0, 30))
    bench.store.close()
    remove(bench)
    bench.path.write_bytes(content)
    bench.start()
    for _ in range(2):
        for _ in range(8):
            bench.pass_time(5)
        assert gaps(bench) == {("readings", 1, 1, 30)}
        bench.restart()


def test_what_was_set_aside_long_ago_does_not_keep_a_removed_store_from_being_declared(bench):
    bench.store.append("readings", readings(0, 30))
    bench.store.close()
    remove(bench)
    bench.path.with_name("store.db.damaged-1").write_bytes(b"garbled" * 5000)
    bench.start()
    for _ in range(2):
        bench.crash()
    for _ in range(8):
        bench.pass_time(5)
    assert gaps(bench) == {("readings", 1, 1, 30)}


def test_a_store_that_is_removed_under_a_running_agent_is_declared_to_the_last_number(tmp_path):
    bench = Bench(tmp_path)
    bench.store.append("readings", readings(0, 20))
    bench.restart()
    bench.store.append("readings", readings(20, 30))
    bench.store.append("alerts", [alert(0)])
    bench.pass_time(61)
    bench.store.append("readings", readings(50, 5))
    assert bench.store.commit()
    assert [piece.first for piece in bench.journal() if piece.stream == "readings"] == [31]
    remove(bench)
    bench.pass_time(5)
    lost = {("readings", 1, 1, 20), ("readings", 2, 1, 30), ("alerts", 2, 1, 1)}
    for _ in range(2):
        assert gaps(bench) == lost
        assert bench.store.readings("load_kw", 0, T0 * 2) == readings(50, 5)
        bench.restart()


@pytest.mark.parametrize("killed", [True, False])
def test_a_removed_store_is_declared_although_the_first_attempt_to_begin_another_fails(bench, monkeypatch, killed):
    bench.store.append("readings", readings(0, 30))
    bench.store.close()
    remove(bench)
    with monkeypatch.context() as disk:

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        disk.setattr(ring, "create", full)
        bench.start()
        assert not bench.store.is_open
        assert bench.path.exists()
    if killed:
        bench.store._guard.unlock()
        bench.start()
    bench.pass_time(5)
    assert gaps(bench) == {("readings", 1, 1, 30)}


def test_a_store_that_is_begun_for_the_first_time_declares_nothing(bench):
    assert gaps(bench) == set()
    bench.crash()
    assert gaps(bench) == set()


def test_an_epoch_that_was_acknowledged_and_let_go_does_not_pass_for_lost(tmp_path):
    bench = Bench(tmp_path, keep_acknowledged_days=0.0001, pack_after_s=1)
    bench.store.append("readings", readings(0, 5))
    bench.restart()
    bench.store.append("readings", readings(5, 5))
    bench.pass_time(2)
    assert bench.store.apply_marks([Mark(1, "readings", 5, ())]) == 1
    bench.now_ms += 10**9
    bench.pass_time(70)
    assert bench.store.stats().rows["readings"] == 5
    for _ in range(3):
        bench.restart()
        bench.pass_time(2)
        assert gaps(bench) == set()
