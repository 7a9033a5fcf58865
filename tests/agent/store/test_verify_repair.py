"""What a technician can ask of a store: is all of it whole, and bring back what can be read."""

import pytest

from agent.store.reader import Reader
from tests.support.stores import T0, Bench, alert, readings


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    for at in range(6):
        bench.store.append("readings", readings(at * 100, 100))
        bench.store.append("alerts", [alert(at)])
        bench.pass_time(61)
        bench.pass_time(61)
    yield bench
    bench.store.close()


def verify(bench):
    reader = Reader.open(bench.path, bench.identity.storage_key)
    try:
        return reader.verify()
    finally:
        reader.close()


def test_a_whole_store_is_found_whole_beside_its_writer(bench):
    bench.store.append("readings", readings(600, 50))
    bench.store.commit()
    found = verify(bench)
    assert (found.damaged, found.contradiction) == ((), "")
    assert found.blocks == bench.execute("SELECT count(*) FROM block")[0][0] >= 12


def test_each_block_that_does_not_open_is_named(bench):
    for first in (101, 301):
        bench.execute(f"UPDATE block SET data = zeroblob(length(data)) WHERE stream = 'readings' AND first = {first}")
    found = verify(bench)
    assert len(found.damaged) == 2
    assert all("of readings" in text for text in found.damaged)
    assert "rows 101..200" in found.damaged[0]


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE block SET first = first + 1 WHERE stream = 'readings' AND first = 101",
        "UPDATE stream_state SET rows = rows + 1 WHERE stream = 'readings'",
        "UPDATE block SET epoch = epoch + 1 WHERE stream = 'alerts' AND first = 3",
    ],
)
def test_a_row_or_a_counter_that_contradicts_its_block_is_found(bench, harm):
    bench.execute(harm)
    assert verify(bench).contradiction


def test_a_repair_brings_every_block_back_while_sampling_goes_on(bench):
    before = bench.store.readings("load_kw", 0, T0 * 2)
    assert bench.store.repair()
    (name,) = bench.store.stats().set_aside
    bench.store.append("readings", readings(600, 10))
    for _ in range(400):
        bench.pass_time(1.1)
        if not bench.store.stats().set_aside:
            break
    assert not list(bench.folder.glob(f"{name}*"))  # all of it came back
    assert bench.store.readings("load_kw", 0, T0 * 2) == [*before, *readings(600, 10)]
    assert bench.store.rows("alerts", 0, T0 * 2) == [alert(at) for at in range(6)]
    assert [row for row in bench.store.rows("events", 0, T0 * 2) if row["kind"] == "gap"] == []
    assert verify(bench).damaged == ()
