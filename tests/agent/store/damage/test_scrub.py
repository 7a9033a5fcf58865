"""The scrub: damage shows while nobody reads. One bad block is set apart alone; a file that contradicts itself as a whole."""

from __future__ import annotations

import contextlib

import pytest

from agent.contract.acknowledgement import Mark
from agent.store import retention
from tests.support.damage import fill, gaps, numbered, salvage, scribble
from tests.support.stores import T0

COUNTS = (300, 1500, 40, 900, 700)


def look_over(bench, passes=3):
    """Let time pass until every block was looked at, or the store was set aside."""
    for _ in range(passes):
        bench.now_ms += 1000
        while bench.store.stats().scrubbed_ms != bench.now_ms and not bench.store.stats().set_aside:
            bench.pass_time(1)


def test_a_store_that_is_whole_stays_as_it_is(bench):
    fill(bench, *COUNTS)
    bench.store.apply_marks([Mark(1, "readings", 1800)])
    before = numbered(bench)
    look_over(bench)
    fill(bench, 200)
    bench.now_ms += 30 * 86_400_000
    bench.pass_time(61)  # what is acknowledged leaves in the middle of a pass
    look_over(bench)
    stats = bench.store.stats()
    assert (stats.set_aside, stats.quarantined, stats.scrubbed_ms) == ((), 0, bench.now_ms)
    assert before.items() <= numbered(bench).items()


@pytest.mark.parametrize("first", [1, 301, 2741])
def test_a_block_that_does_not_open_is_set_apart_and_declared_without_being_read(bench, first):
    fill(bench, *COUNTS)
    before = set(numbered(bench))
    ((last,),) = bench.execute(f"SELECT last FROM block WHERE stream = 'readings' AND first = {first}")
    bench.execute(f"UPDATE block SET data = zeroblob(length(data)) WHERE stream = 'readings' AND first = {first}")
    look_over(bench)
    lost = {("readings", 1, seq) for seq in range(first, last + 1)}
    assert gaps(bench) == lost == before - set(numbered(bench))
    assert (bench.store.stats().quarantined, bench.store.stats().set_aside) == (1, ())
    look_over(bench)
    assert bench.store.stats().quarantined == 1


def test_a_block_whose_row_is_damaged_too_is_declared_from_neighbour_to_neighbour(bench):
    fill(bench, *COUNTS)
    bench.execute("UPDATE block SET first = 1700, data = zeroblob(length(data)) WHERE first = 301")
    bench.execute("UPDATE stream_state SET rows = rows - 1399, waiting_rows = waiting_rows - 1399 WHERE rows > 1000")
    look_over(bench)
    assert gaps(bench) == {("readings", 1, seq) for seq in range(301, 1801)}
    assert bench.store.stats().set_aside == ()


def flip_flag(bench):
    """Of the block of rows 301 to 1800: acknowledged where it is not, in its row and not in the index."""
    bench.store.close()
    content = bench.path.read_bytes()
    ((data,),) = bench.execute("SELECT data FROM block WHERE stream = 'readings' AND first = 301")
    text = content.rfind(b"readings", 0, content.find(data[:64]))
    head = next(size for size in range(10, 20) if content[text - size] == size)
    flag = text - head + 9  # its type in the head of the row: 8 is nought, 9 is one
    assert content[flag] == 8
    scribble(bench.path, flag, b"\x09")
    bench.start()
    assert bench.execute("SELECT acknowledged FROM block WHERE stream = 'readings' AND first = 301") == [(1,)]


def flip_number(bench):
    """Of a block: another number in its row, by which it is not found where it stands."""
    bench.store.close()
    whole = bench.path.read_bytes()
    for number, stream, data in bench.execute("SELECT id, stream, data FROM block"):
        text = whole.rfind(stream.encode(), 0, whole.find(data[:64]))
        place = text - next(size for size in range(10, 20) if whole[text - size] == size) - 1
        assert whole[place] == number
        scribble(bench.path, place, bytes([number | 0x40]))
        if not bench.execute(f"SELECT 1 FROM block WHERE id = {number | 0x40}"):
            break
        bench.path.write_bytes(whole)
    else:
        pytest.fail("a search meets every row")
    bench.start()


def change(what):
    def harm(bench):
        bench.execute(what)

    return pytest.param(harm, id=what)


@pytest.mark.parametrize(
    "harm",
    [
        flip_flag,
        flip_number,
        change("UPDATE block SET first = first + 1 WHERE first = 301"),
        change("UPDATE block SET first = 200 WHERE first = 301"),
        change("UPDATE block SET last = last - 1 WHERE first = 301"),
        change("UPDATE block SET last = last + 1 WHERE first = 301"),
        change("UPDATE block SET epoch = 9 WHERE first = 301"),
        change("UPDATE block SET boot = 9 WHERE first = 301"),
        change("UPDATE block SET stream = 'health' WHERE first = 301"),
        change("UPDATE block SET start_ms = start_ms - 1 WHERE first = 301"),
        change("UPDATE block SET end_ms = end_ms + 1 WHERE first = 301"),
        change("UPDATE stream_state SET rows = rows + 1 WHERE stream = 'slots'"),
        change("UPDATE stream_state SET waiting_rows = waiting_rows + 1 WHERE stream = 'readings'"),
        change("UPDATE stream_state SET waiting_blocks = waiting_blocks - 1 WHERE stream = 'readings'"),
        change("UPDATE stream_state SET waiting_bytes = 0 WHERE stream = 'readings'"),
    ],
)
def test_a_store_that_contradicts_itself_is_set_aside_and_every_row_comes_back(bench, harm):
    fill(bench, *COUNTS)
    before = numbered(bench)
    harm(bench)
    look_over(bench)
    assert len(bench.store.stats().set_aside) == 1
    salvage(bench)
    assert numbered(bench) == before
    assert gaps(bench) == set()
    assert bench.store.stats().set_aside == ()
    look_over(bench)
    assert bench.store.stats().set_aside == ()


def test_a_row_that_is_gone_without_a_trace_is_missed_by_the_counters_and_declared(bench):
    fill(bench, *COUNTS)
    before = set(numbered(bench))
    bench.execute("DELETE FROM block WHERE stream = 'readings' AND first = 301")
    bench.execute("VACUUM")
    look_over(bench)
    assert len(bench.store.stats().set_aside) == 1
    bench.path.with_name(f"{bench.store.stats().set_aside[0]}-ring").unlink()  # it remembers
    salvage(bench)
    lost = {("readings", 1, seq) for seq in range(301, 1801)}
    assert before - set(numbered(bench)) == lost
    assert lost <= gaps(bench)


def test_what_opens_is_believed_over_its_row(bench):
    fill(bench, *COUNTS)
    before = numbered(bench)
    bench.execute("UPDATE block SET first = first + 5 WHERE stream = 'readings' AND first = 301")
    assert numbered(bench) == before
    assert gaps(bench) == set()
    bench.pass_time(1)
    assert len(bench.store.stats().set_aside) == 1


def test_counters_that_a_failed_transaction_did_not_change_are_not_held_against_the_store(bench):
    """The pass has followed changes that were rolled back."""
    for _ in range(20):
        fill(bench, 200)
    bench.store.apply_marks([Mark(1, "readings", 400)])
    journal = bench.store._journal
    look_over(bench)
    bench.pass_time(1)
    pieces, _ = retention.victims(journal.shelves)
    assert pieces[0].id <= journal.scrub._at
    with contextlib.suppress(RuntimeError), journal.transaction():
        journal.shelves.remove(pieces[:1], acknowledged=True)
        raise RuntimeError
    look_over(bench)
    assert (bench.store.stats().set_aside, bench.store.stats().quarantined) == ((), 0)


def test_looking_writes_nothing_and_takes_a_few_blocks_at_a_time(bench, monkeypatch):
    for _ in range(20):
        fill(bench, 200)
    bench.pass_time(1)
    shelves = bench.store._journal.shelves
    opened = []
    real = type(shelves).open
    monkeypatch.setattr(type(shelves), "open", lambda *a: opened.append(a) or real(*a))
    writes = shelves.db.conn.total_changes
    for _ in range(30):
        opened.clear()
        bench.pass_time(1)
        assert len(opened) <= 16
    assert shelves.db.conn.total_changes == writes
    assert bench.store.stats().scrubbed_ms == T0


def test_a_pass_goes_on_after_a_start(bench):
    for _ in range(20):
        fill(bench, 200)
    for _ in range(2):
        bench.pass_time(1)
    scrub = bench.store._journal.scrub
    assert scrub._at > 0
    fill(bench, 200)  # packing notes how far it is
    at = scrub._at
    bench.crash()
    assert 0 < bench.store._journal.scrub._at <= at
    look_over(bench)
    assert bench.store.stats().set_aside == ()
