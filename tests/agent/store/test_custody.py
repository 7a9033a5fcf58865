"""How long rows stay: one value a minute before anything leaves, a reserve for alarms, an age, and the wear counted."""

import random

import pytest

from agent.contract.acknowledgement import Mark
from agent.contract.blocks import decode_readings, encode_readings
from agent.contract.channels import Channel, Kind, Quality, Reading
from agent.contract.slots import build_slot
from agent.store.identity import CLOCK_FLOOR
from agent.store.retention import DAY_MS, used_bytes
from agent.store.thinning import reduced
from tests.support.stores import CHANNELS, T0, Bench, alert

MINUTE_MS = 60_000
NOISE = [value / 10 for value in random.Random(7).choices(range(1000), k=40_009)]


def noisy(first, count, channel="load_kw"):
    """Readings, one a second, that do not compress to nothing."""
    return [Reading(channel, T0 + at * 1000, NOISE[at % len(NOISE)]) for at in range(first, first + count)]


def fill(bench, hours, *, channel="load_kw", start=0):
    """An hour of a reading a second to a block."""
    for hour in range(start, start + hours):
        bench.store.append("readings", noisy(hour * 3600, 3600, channel))
        bench.pass_time(61)
        bench.pass_time(61)


def gaps(bench):
    return [row for row in bench.store.rows("events", 0, T0 * 2) if row["kind"] == "gap"]


@pytest.fixture
def small(tmp_path):
    """A store that holds a few hours."""
    bench = Bench(tmp_path, max_bytes=200_000)
    yield bench
    bench.store.close()


def test_acknowledged_readings_become_one_value_a_minute_before_any_leaves(small):
    fill(small, 5)
    small.store.apply_marks([Mark(1, "readings", 5 * 3600)])
    fill(small, 14, start=5)
    thin = small.store.readings("load_kw", T0, T0 + 5 * 3_600_000)
    assert len(thin) == 300
    assert {row.quality for row in thin} == {Quality.ESTIMATED}
    assert [row.time_ms for row in thin] == [T0 + minute * MINUTE_MS for minute in range(300)]
    assert gaps(small) == []
    assert small.store.stats().evicted_rows == 0
    recent = small.store.readings("load_kw", T0 + 5 * 3_600_000, T0 + 19 * 3_600_000)
    assert recent == noisy(5 * 3600, 14 * 3600)
    assert small.restart().readings("load_kw", T0, T0 + 5 * 3_600_000) == thin


def test_thinned_readings_leave_before_any_that_the_centre_lacks(small):
    fill(small, 5)
    small.store.apply_marks([Mark(1, "readings", 5 * 3600)])
    fill(small, 50, start=5)
    assert small.store.stats().evicted_rows > 0
    assert small.execute("SELECT count(*) FROM thin") == [(0,)]
    assert gaps(small)[0]["first"] == 5 * 3600 + 1


def test_unacknowledged_readings_are_never_thinned(small):
    fill(small, 50)
    assert small.execute("SELECT count(*) FROM thin") == [(0,)]
    kept = small.store.readings("load_kw", 0, T0 * 2)
    assert kept == noisy(50 * 3600 - len(kept), len(kept))
    assert sum(gap["last"] - gap["first"] + 1 for gap in gaps(small)) == 50 * 3600 - len(kept)


def test_thinned_readings_are_sealed(small):
    fill(small, 5, channel="oven_kw")
    small.store.apply_marks([Mark(1, "readings", 5 * 3600)])
    fill(small, 14, start=5)
    ((data,),) = small.execute("SELECT data FROM thin LIMIT 1")
    assert b"oven" not in data
    assert b"EWK1" not in data
    assert b"EWA1" not in data


@pytest.mark.parametrize("kind", [Kind.GAUGE, Kind.COUNTER])
def test_a_slot_of_thinned_readings_has_the_same_energy(kind):
    channel = Channel("a", "kW" if kind is Kind.GAUGE else "kWh", decimals=2, kind=kind)
    values = {at: 100 + 30 * (at % 97) / 97 if kind is Kind.GAUGE else 50 + at / 36 for at in range(-60, 1000)}
    rows = [Reading("a", T0 + at * 1000, round(value, 2)) for at, value in values.items()]
    block = encode_readings(rows, {"a": channel}, epoch=1, boot=1, first=1)
    _, thin = decode_readings(reduced(block))
    whole, left = (build_slot(T0, 900, channel, found, hold_s=60) for found in (rows, thin))
    assert len(thin) == 18
    assert left.energy_wh == pytest.approx(whole.energy_wh, rel=0.01)
    assert left.completeness >= 0.99


def test_readings_at_least_a_minute_apart_are_thinned_to_themselves():
    rows = [Reading("load_kw", T0 + at * 900_000, float(at)) for at in range(96)]
    block = encode_readings(rows, CHANNELS, epoch=1, boot=1, first=1)
    assert decode_readings(reduced(block))[1] == rows


def test_the_reserve_is_not_filled_by_readings(tmp_path):
    bench = Bench(tmp_path, max_bytes=500_000, reserved_bytes=300_000)
    fill(bench, 50)
    assert bench.store.stats().evicted_rows > 0
    assert used_bytes(bench.store._journal.shelves) <= 200_000
    before = bench.store.stats().evicted_rows
    for at in range(150):
        bench.store.append("alerts", [alert(at) | {"text": "x" * 1000, "noise": str(hash(str(at))) * 20}])
    bench.pass_time(61)
    bench.pass_time(61)
    stats = bench.store.stats()
    assert stats.kept_bytes > 0
    assert stats.evicted_rows - before < 3600 * 10  # they had room
    assert len(bench.store.rows("alerts", 0, T0 * 2)) == 150
    bench.store.close()


def test_readings_that_wait_too_long_are_declared_and_leave(tmp_path):
    bench = Bench(tmp_path, keep_unacknowledged_days=2)
    fill(bench, 3)
    bench.now_ms = T0 + 3 * DAY_MS
    bench.pass_time(61)
    (gap,) = gaps(bench)
    assert (gap["stream"], gap["first"], gap["last"]) == ("readings", 1, 3 * 3600)
    assert "older than 2 days" in gap["text"]
    assert bench.store.readings("load_kw", 0, T0 * 2) == []
    assert bench.store.stats().evicted_rows == 3 * 3600
    bench.store.close()


@pytest.mark.parametrize("heard", [True, False])
def test_a_clock_that_is_years_ahead_of_the_centres_word_drops_nothing(tmp_path, heard):
    bench = Bench(tmp_path)
    if heard:
        bench.identity.raise_floor(CLOCK_FLOOR, T0 + 3_600_000)
    fill(bench, 1)
    bench.store.apply_marks([Mark(1, "readings", 3600)])
    bench.now_ms += 10 * 365 * DAY_MS
    for _ in range(3):
        bench.pass_time(61)
    assert len(bench.store.readings("load_kw", 0, T0 * 2)) == (3600 if heard else 0)
    bench.store.close()


def test_what_is_written_is_counted_by_the_day_over_a_restart(tmp_path):
    written = [5_000]
    bench = Bench(tmp_path, written_bytes=lambda: written[0])
    written[0] += 1_000
    fill(bench, 1)
    written[0] += 10
    assert bench.store.stats().written_today_bytes == 1_010
    bench.restart()
    assert bench.store.stats().written_today_bytes == 1_000  # what was not noted before the end is not known
    bench.now_ms += DAY_MS
    written[0] += 7
    fill(bench, 1, start=1)
    stats = bench.store.stats()
    assert (stats.written_today_bytes, stats.written_yesterday_bytes) == (7, 1_000)
    bench.now_ms += 20 * DAY_MS
    fill(bench, 1, start=2)
    assert len(bench.execute("SELECT name FROM counter WHERE name GLOB 'written/*'")) == 1
    bench.store.close()
