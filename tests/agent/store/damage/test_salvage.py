"""Salvage: damage costs only the damaged blocks; the others come back under their own numbers, beside the sampling."""

from __future__ import annotations

import os
import random
import secrets
import shutil

import pytest

from agent.contract.acknowledgement import Mark
from agent.contract.blocks import encode_readings, encode_rows, seal_block
from agent.store import schema
from agent.store.damage import salvage
from tests.support.damage import COUNTS, PAGE, PARTS, fill, gaps, noisy, numbered, placed, scribble, spoil_start
from tests.support.damage import salvage as salvage_all
from tests.support.stores import CHANNELS, T0, Bench, alert


def last_of(rows):
    """The greatest number of each stream and epoch."""
    last = {}
    for stream, epoch, seq in rows:
        last[stream, epoch] = max(seq, last.get((stream, epoch), 0))
    return last


# -- what comes back ----------------------------------------------------------------------------------------------


def harm_page(bench, blocks):
    page = min(next(block for block in blocks if block.first > 1000 and len(block.pages) == 1).pages)
    scribble(bench.path, page * PAGE, secrets.token_bytes(PAGE))
    spoil_start(bench)
    return {page}


def harm_header(bench, _blocks):
    spoil_start(bench)
    return set()


def harm_schema(bench, _blocks):
    scribble(bench.path, 100, b"\xff" * 3000)
    return set()


def harm_end(bench, blocks):
    pages = bench.path.stat().st_size // PAGE
    ends = sorted(max(block.pages) for block in blocks)
    cut = ends[len(ends) // 2]
    os.truncate(bench.path, cut * PAGE + 1000)
    spoil_start(bench)
    return set(range(cut, pages))


def harm_pointers(bench, _blocks):
    """Of the pages of every table; that shows when a block is looked at."""
    content = bench.path.read_bytes()
    for at in range(PAGE, len(content), PAGE):
        if content[at] == 13:
            scribble(bench.path, at + 3, secrets.token_bytes(20))
    return set()


def harm_chain(bench, blocks):
    """In the middle of a block that lies in many pages."""
    block = max(blocks, key=lambda block: len(block.pages))
    page = sorted(block.pages)[3]
    scribble(bench.path, page * PAGE + 2000, b"garbage")
    spoil_start(bench)
    return {page}


def harm_link(bench, blocks):
    """Where a page of a block leads to the next one."""
    block = max(blocks, key=lambda block: len(block.pages))
    content = bench.path.read_bytes()
    page = next(page for page in block.pages if 1 < int.from_bytes(content[page * PAGE :][:4]) < 10_000)
    scribble(bench.path, page * PAGE, b"\xff")
    spoil_start(bench)
    return {page}


@pytest.mark.parametrize("harm", [harm_page, harm_header, harm_schema, harm_end, harm_pointers, harm_chain, harm_link])
def test_salvage_brings_back_every_block_but_the_damaged_ones_under_their_own_numbers(bench, harm):
    fill(bench, *COUNTS)
    before = numbered(bench)
    bench.store.close()
    blocks = placed(bench)
    bench.path.with_name("store.db-ring").unlink()  # it would help out
    pages = harm(bench, blocks)
    hit = [block for block in blocks if block.pages & pages]
    lost = {(block.stream, block.epoch, seq) for block in hit for seq in range(block.first, block.last + 1)}
    bench.start()
    for _ in range(10):
        bench.pass_time(1)
    event = salvage_all(bench)
    after = numbered(bench)
    assert after == {place: row for place, row in before.items() if place not in lost}
    assert bool(hit) == bool(pages)
    last = last_of(after)
    below = {place for place in lost if place[2] < last.get(place[:2], 0)}
    assert below <= gaps(bench) <= lost
    assert event["rows"] >= len(after)
    assert event["lost_rows"] >= len(gaps(bench))
    assert bench.execute("PRAGMA integrity_check") == [("ok",)]
    assert bool(bench.store.stats().set_aside) == bool(event["damaged"])
    assert event["blocks"] > 5
    stats = bench.store.stats()
    assert sum(stats.rows[stream] for stream in ("readings", "alerts", "slots")) == len(after)


def test_whichever_bit_flips_a_start_goes_on_no_row_is_wrong_and_what_is_lost_is_declared(tmp_path):
    """In the head of the file, in its first page, in any page: every second time in the one before."""
    bench = Bench(tmp_path / "whole")
    fill(bench, 300, 40)
    before = numbered(bench)
    bench.store.close()
    content = bench.path.read_bytes()
    used = [at for at, byte in enumerate(content) if byte or at < 100]
    chance = random.Random(5)
    for number in range(48):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", folder)
        at = chance.choice([at for at in used if at < (100, PAGE, len(content))[number % 3]])
        scribble(folder / "store.db", at, bytes([content[at] ^ (1 << chance.randrange(8))]))
        bench = Bench(folder)
        for _ in range(5):
            bench.pass_time(1)
        salvage_all(bench, must=False)
        after = numbered(bench)
        assert after.items() <= before.items(), at
        assert set(before) - set(after) == gaps(bench), at
        assert set(before) == set(after) or at >= PAGE
        bench.store.close()
        shutil.rmtree(folder)


@pytest.mark.parametrize("kept", ["-wal", "-ring"])
def test_of_a_database_that_is_gone_what_the_log_and_the_ring_hold_comes_back(bench, kept):
    fill(bench, 300)
    bench.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    fill(bench, 400, 9000)
    fill(bench, 20, pack=False)
    copies = {part: bench.path.with_name(bench.path.name + part).read_bytes() for part in PARTS}
    bench.store.close()
    for part in PARTS:
        bench.path.with_name(bench.path.name + part).unlink(missing_ok=True)
    bench.path.with_name(bench.path.name + kept).write_bytes(copies[kept])
    bench.start()
    assert bench.store.last_time_ms("readings", "load_kw") >= T0 + 9_699_000
    salvage_all(bench)
    back = {seq for stream, epoch, seq in numbered(bench) if (stream, epoch) == ("readings", 1)}
    assert back >= (set(range(301, 9701)) if kept == "-wal" else set(range(9701, 9721)))
    assert {place for place in gaps(bench) if place[0] == "readings"} == {
        ("readings", 1, seq) for seq in range(1, 9721) if seq not in back
    }


def test_a_ring_that_is_not_the_databases_own_is_salvaged_and_nothing_older_declared(bench):
    fill(bench, 9000)
    bench.store.apply_marks([Mark(1, "readings", 9000)])
    bench.now_ms += 30 * 86_400_000
    bench.pass_time(61)  # they leave
    assert bench.store.stats().rows["readings"] == 0
    fill(bench, 20, pack=False)
    bench.store.close()
    scribble(bench.path.with_name("store.db-ring"), 5, b"?")
    bench.start()
    assert len(bench.store.stats().set_aside) == 1
    salvage_all(bench)
    back = {seq for stream, epoch, seq in numbered(bench) if (stream, epoch) == ("readings", 1)}
    assert back == set(range(9001, 9021))
    assert gaps(bench) == set()
    assert bench.store.stats().set_aside == ()


def test_rows_of_a_store_that_was_destroyed_while_running_are_declared_to_the_last_number(bench):
    fill(bench, *COUNTS)
    before = set(numbered(bench))
    bench.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    bench.store._journal.shelves.db.execute("PRAGMA cache_size = 0")
    scribble(bench.path, 0, secrets.token_bytes(bench.path.stat().st_size))
    bench.store.append("alerts", [alert(1)])
    assert bench.identity.epoch == 2
    event = salvage_all(bench)
    back = set(numbered(bench)) - {("alerts", 2, 1)}
    assert back | gaps(bench) == before
    assert not back & gaps(bench)
    assert {place for place in before if place[0] != "readings"} <= gaps(bench)  # readings lie in the ring, too
    assert event["lost_rows"] >= len(gaps(bench))


@pytest.mark.parametrize("starts", [0, 1])
def test_rows_of_a_store_of_which_nothing_is_left_are_declared_to_the_last_number(bench, starts):
    """The ring tells how far every stream went, also under epochs before; its readings come back."""
    fill(bench, *COUNTS)
    for _ in range(starts):
        bench.restart()
        fill(bench, 100)
    before = set(numbered(bench))
    bench.store.close()
    scribble(bench.path, 0, secrets.token_bytes(bench.path.stat().st_size))
    bench.start()
    salvage_all(bench)
    back = set(numbered(bench))
    assert back | gaps(bench) == before
    assert not back & gaps(bench)
    assert {place for place in before if place[0] == "slots"} <= gaps(bench)


def test_a_last_block_that_does_not_open_still_tells_how_far_its_stream_went(bench):
    fill(bench, *COUNTS)
    before = numbered(bench)
    bench.store.close()
    last = max((block for block in placed(bench) if block.stream == "readings"), key=lambda block: block.first)
    content = bench.path.read_bytes()
    scribble(bench.path, content.find(last.data) + 300, b"garbage")
    bench.path.with_name("store.db-ring").unlink()
    spoil_start(bench)
    bench.start()
    event = salvage_all(bench)
    lost = {("readings", 1, seq) for seq in range(last.first, last.last + 1)}
    assert gaps(bench) == lost == set(before) - set(numbered(bench))
    assert (event["damaged"], event["lost_rows"]) == (1, len(lost))


def test_what_was_not_durable_goes_on_under_new_numbers_alone(bench):
    """A record of the ring whose write failed is whole all the same; its readings are in memory."""
    fill(bench, 300)
    rows = noisy(300, 10)
    failed = encode_readings(rows, CHANNELS, epoch=1, boot=1, first=301)
    bench.store._journal.shelves.ring._ring.append(seal_block(failed, bench.identity.storage_key))
    bench.store.append("readings", rows)
    bench.store._opening.give_up()
    bench.store._guard._lost = schema.DamagedError("is damaged")
    bench.pass_time(2)
    salvage_all(bench)
    bench.pass_time(61)
    bench.pass_time(61)
    places = set(numbered(bench))
    assert {place for place in places if place[0] == "readings"} == {
        *(("readings", 1, seq) for seq in range(1, 301)),
        *(("readings", 2, seq) for seq in range(1, 11)),
    }


def test_what_a_failed_transaction_left_in_the_log_does_not_take_the_place_of_what_was_committed(bench):
    """It lies behind the last commit, is longer, and has the same number: an event that never came to be."""
    bench.store.append("alerts", [alert(1)])
    bench.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    bench.store.append("alerts", [alert(2)])
    log = bench.path.with_name("store.db-wal")
    left = encode_rows("alerts", [alert(7), alert(8), alert(9)], epoch=1, boot=1, first=2)
    content = log.read_bytes()
    frame = content[32:56] + seal_block(left, bench.identity.storage_key).ljust(PAGE, b"\0")
    bench.store._journal.shelves.close()
    bench.store._guard.unlock()
    log.write_bytes(content + frame)
    spoil_start(bench)
    bench.start()
    salvage_all(bench)
    assert {place: row for place, row in numbered(bench).items() if place[2] < 3} == {
        ("alerts", 1, 1): alert(1),
        ("alerts", 1, 2): alert(2),
    }


def test_what_a_mark_covers_comes_back_acknowledged(bench):
    fill(bench, *COUNTS)
    bench.store.close()
    spoil_start(bench)
    bench.start()
    bench.store.append("readings", noisy(0, 1))
    bench.store.apply_marks([Mark(1, "readings", 1840), Mark(1, "alerts", 2)])
    salvage_all(bench)
    places = set(numbered(bench))
    assert {seq for stream, epoch, seq in places if (stream, epoch) == ("readings", 1)} == set(range(1841, 12_741))
    assert bench.store.stats().rows["readings"] >= 12_740


def test_a_store_under_another_key_salvages_nothing_and_says_so(bench):
    fill(bench, *COUNTS)
    bench.store.close()
    bench.use_another_key()
    bench.start()
    (name,) = bench.store.stats().set_aside
    event = salvage_all(bench)
    assert (event["blocks"], event["rows"], event["set_aside"]) == (0, 0, name)
    assert event["damaged"] > 10
    assert "none opens under this device's storage key" in event["text"]
    assert numbered(bench) == {}
    assert gaps(bench) == set()
    assert bench.store.stats().set_aside == (name,)


def test_a_store_that_is_damaged_while_it_salvages_another_loses_nothing_of_either(bench):
    fill(bench, *COUNTS)
    before = numbered(bench)
    bench.store.close()
    spoil_start(bench)
    bench.start()
    while not any(state.blocks for state in bench.store.stats().salvage):
        bench.pass_time(1)
    bench.store.append("readings", noisy(50_000, 500))
    bench.pass_time(61)
    bench.pass_time(61)
    bench.store.close()
    spoil_start(bench)
    bench.start()
    assert len(bench.store.stats().set_aside) == 2
    salvage_all(bench)
    after = numbered(bench)
    assert {place: row for place, row in after.items() if place[1] == 1} == before
    assert len({place for place in after if place[1] > 1}) == 500
    assert gaps(bench) == set()
    assert bench.store.stats().set_aside == ()


def test_rows_that_are_held_in_part_are_taken_in_part(bench):
    """Blocks that overlap: a row is there once, whichever block brings it."""
    for first, last in ((11, 400), (1, 200), (150, 600), (1000, 1000)):
        block = encode_readings(noisy(first, last - first + 1), CHANNELS, epoch=1, boot=1, first=first)
        sealed = seal_block(block, bench.identity.storage_key)
        bench.path.with_name(f"store.db.damaged-{first}-ring").write_bytes(sealed)
    bench.restart()
    salvage_all(bench)
    rows = numbered(bench)
    assert set(rows) == {("readings", 1, seq) for seq in (*range(1, 601), 1000)}
    assert gaps(bench) == {("readings", 1, seq) for seq in range(601, 1000)}


def test_what_left_because_the_centre_has_it_is_not_declared_where_a_mark_tells_so(bench):
    fill(bench, *COUNTS)
    bench.store.apply_marks([Mark(1, "readings", 1840)])
    bench.now_ms += 30 * 86_400_000
    bench.pass_time(61)  # they leave
    bench.execute("VACUUM")  # for good
    bench.store.close()
    bench.path.with_name("store.db-ring").unlink()
    spoil_start(bench)
    bench.start()
    bench.store.append("readings", noisy(0, 1))
    bench.store.apply_marks([Mark(1, "readings", 1800)])
    salvage_all(bench)
    assert gaps(bench) == {("readings", 1, seq) for seq in range(1801, 1841)}


# -- sources that are played ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
def test_a_replay_resumes_where_it_was_after_the_store_was_lost(bench, packed):
    store = bench.store
    store.append("readings", noisy(0, 9000) + noisy(5000, 10, "oven_kw"))
    store.append("readings", noisy(9000, 50, "pump_kw"))
    store.commit()
    if packed:
        bench.pass_time(61)
        bench.pass_time(61)
        store.append("readings", noisy(9000, 300))
        store.commit()
        bench.pass_time(61)
    last = {name: store.last_time_ms("readings", name) for name in CHANNELS}
    assert None not in last.values()
    bench.store.close()
    spoil_start(bench)
    bench.start()
    for _ in range(3):
        assert {name: bench.store.last_time_ms("readings", name) for name in CHANNELS} == last
        bench.crash()
    salvage_all(bench)
    bench.restart()
    assert {name: bench.store.last_time_ms("readings", name) for name in CHANNELS} == last


def test_the_latest_times_that_a_first_look_misses_come_back_with_the_blocks(bench, monkeypatch):
    monkeypatch.setattr(salvage, "LOOK_BYTES", 0)
    fill(bench, *COUNTS)
    last = bench.store.last_time_ms("readings", "load_kw")
    bench.store.close()
    spoil_start(bench)
    bench.start()
    assert bench.store.last_time_ms("readings", "load_kw") is None
    salvage_all(bench)
    assert bench.store.last_time_ms("readings", "load_kw") == last
