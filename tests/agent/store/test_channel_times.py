"""The latest time of each channel, by which a replay resumes: sealed where it is noted, and told by the blocks else."""

import sqlite3

import pytest

from agent.store.reader import Reader
from agent.store.schema import MIGRATIONS
from tests.support.stores import T0, Bench, readings

LATEST = {"load_kw": T0 + 299_000, "pump_kw": T0 + 99_000}


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    for at in range(0, 300, 100):
        made.store.append("readings", readings(at, 100))
        if not at:
            made.store.append("readings", readings(0, 100, "pump_kw"))
        made.pass_time(70)
    yield made
    made.store.close()


def times(bench):
    found = {name: bench.store.last_time_ms("readings", name) for name in ("load_kw", "pump_kw", "oven_kw")}
    return {name: time_ms for name, time_ms in found.items() if time_ms is not None}


@pytest.mark.parametrize(
    "harm",
    [
        "SET last_ms = last_ms + 256",
        "SET last_ms = last_ms - 65536",
        "SET seal = zeroblob(16)",
        "SET seal = x''",
        "SET tag = randomblob(16)",
    ],
)
def test_a_time_with_a_flipped_byte_is_dropped_and_the_blocks_tell_it(bench, harm):
    bench.store.close()
    bench.execute(f"UPDATE channel_time {harm}")
    bench.start()
    assert times(bench) == LATEST
    bench.store.append("readings", readings(300, 1))  # notes them anew
    bench.pass_time(70)
    bench.store.close()
    bench.execute("UPDATE block SET stream = 'health'")  # so that no block tells them
    reader = Reader.open(bench.path, bench.identity.storage_key)
    try:
        assert reader.channel_times(list(LATEST)) == {**LATEST, "load_kw": T0 + 300_000}
    finally:
        reader.close()
        bench.execute("UPDATE block SET stream = 'readings'")
        bench.start()


def test_a_time_in_the_place_of_another_channels_is_dropped(bench):
    bench.store.close()
    tags = bench.execute("SELECT tag FROM channel_time ORDER BY last_ms")
    other = sqlite3.connect(bench.path)
    with other:
        newer = other.execute("SELECT last_ms, seal FROM channel_time WHERE tag = ?", tags[1]).fetchone()
        other.execute("UPDATE channel_time SET last_ms = ?, seal = ? WHERE tag = ?", [*newer, *tags[0]])
    other.close()
    bench.start()
    assert times(bench) == LATEST


def test_the_store_of_a_version_without_seals_is_brought_up_and_its_blocks_tell_the_times(bench):
    bench.store.close()
    bench.execute("DROP TABLE channel_time")
    bench.execute(f"PRAGMA user_version = {len(MIGRATIONS) - 1}")
    reader = Reader.open(bench.path, bench.identity.storage_key)
    assert reader.channel_times(list(LATEST)) == LATEST
    reader.close()
    bench.start()
    assert times(bench) == LATEST


def test_a_channel_that_ended_long_before_a_version_without_seals_is_still_known(bench):
    bench.store.close()
    tag = bench.execute("SELECT hex(tag) FROM channel_time ORDER BY last_ms")[0][0]
    bench.execute("DROP TABLE channel_time")
    bench.execute(f"INSERT INTO channel_state VALUES (x'{tag}', {LATEST['pump_kw']})")
    bench.execute(f"PRAGMA user_version = {len(MIGRATIONS) - 1}")
    bench.execute("UPDATE block SET stream = 'health'")  # so that no block tells it
    reader = Reader.open(bench.path, bench.identity.storage_key)
    assert reader.channel_times(["pump_kw"]) == {"pump_kw": LATEST["pump_kw"]}
    reader.close()
    bench.execute("UPDATE block SET stream = 'readings'")
    bench.start()
    assert times(bench) == LATEST
    bench.store.append("readings", readings(300, 1, "pump_kw"))
    bench.pass_time(70)
    assert not bench.execute("SELECT * FROM channel_state")
