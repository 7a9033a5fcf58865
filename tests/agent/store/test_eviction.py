"""What leaves a store that is above its size, and in which order."""

from __future__ import annotations

import random

from agent.contract.acknowledgement import Mark
from agent.store import retention
from tests.support.stores import T0, Bench, alert, readings


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
