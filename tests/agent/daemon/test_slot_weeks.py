"""Slots of weeks that are over, kept in columns: the same slots as the blocks give, from fewer reads."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.contract.slots import Slot, latest_rows
from agent.daemon.slotweeks import KEEP_WEEKS, NOTE, WEEK_MS, SlotWeeks, slots_between
from agent.store.clocks import EpochClock
from agent.store.pieces import BLOCK
from agent.store.schema import transaction
from tests.support.set_clocks import Device
from tests.support.stores import Bench

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
BEGIN_MS = 2923 * WEEK_MS - 2 * DAY_MS  # the first week is not whole
WEEKS = 5
END_MS = BEGIN_MS + WEEKS * WEEK_MS


def _slot(start_ms: int) -> Slot:
    """Any slot: of odd numbers, some partial, some empty."""
    drawn = random.Random(start_ms)
    if drawn.random() < 0.1:
        return Slot(start_ms, 3600, 0, None, 0.0, ("empty",))
    power_kw = drawn.uniform(-20, 400)
    flags = drawn.choice([(), ("partial", "suspect"), ("reset",)])
    pv_kw = drawn.choice([None, 0.0, drawn.uniform(0, 90)])
    share = round(drawn.random(), 4)
    return Slot(start_ms, 3600, round(power_kw * 1000), power_kw, share, flags, pv_kw, None if pv_kw is None else -1.5)


def _fill(bench: Bench, start_ms: int, end_ms: int) -> None:
    """A block a day."""
    for day_ms in range(start_ms, end_ms, DAY_MS):
        starts = range(day_ms, min(end_ms, day_ms + DAY_MS), HOUR_MS)
        bench.store.append("slots", [_slot(at_ms).to_row() for at_ms in starts])
        bench.pass_time(61)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store with five weeks of hours."""
    folder = tmp_path_factory.mktemp("filled")
    bench = Bench(folder)
    bench.now_ms = END_MS
    _fill(bench, BEGIN_MS, END_MS)
    bench.store.close()
    return folder


@pytest.fixture
def bench(filled: Path, tmp_path: Path) -> Iterator[Bench]:
    shutil.copytree(filled, tmp_path / "device")
    bench = Bench(tmp_path / "device")
    bench.now_ms = END_MS
    yield bench
    bench.store.close()


def _look_after(bench: Bench, end_ms: int = END_MS) -> None:
    weeks = SlotWeeks(bench.store)
    for _ in range(2 * KEEP_WEEKS):
        weeks.turn(end_ms)
    bench.store.commit()


def _of_the_blocks(bench: Bench, start_ms: int = 0, end_ms: int = 2 * END_MS) -> list[Slot]:
    return [Slot.from_row(dict(row)) for row in latest_rows(bench.store.rows("slots", start_ms, end_ms))]


def _rows_read(bench: Bench, monkeypatch: pytest.MonkeyPatch, start_ms: int = 0, end_ms: int = 2 * END_MS) -> int:
    """How many rows the slots of a span are read from; they are those that the blocks give."""
    read, rows = 0, bench.store.rows

    def counted(*arguments: Any) -> list[dict[str, Any]]:
        nonlocal read
        found = rows(*arguments)
        read += len(found)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(bench.store, "rows", counted)
        found = slots_between(bench.store, start_ms, end_ms)
    assert found == _of_the_blocks(bench, start_ms, end_ms)
    return read


def test_weeks_that_are_over_are_read_from_the_copy_alone(bench, monkeypatch):
    assert _rows_read(bench, monkeypatch) == WEEKS * 168
    _look_after(bench)
    assert _rows_read(bench, monkeypatch) == 5 * 24  # from the last Thursday on


def test_any_span_is_read_as_from_the_blocks(bench, monkeypatch):
    _look_after(bench)
    drawn = random.Random(7)
    for _ in range(40):
        start_ms = drawn.randrange(BEGIN_MS - WEEK_MS, END_MS)
        _rows_read(bench, monkeypatch, start_ms, start_ms + drawn.randrange(4 * WEEK_MS))


def test_a_week_is_kept_a_day_after_its_end(bench, monkeypatch):
    week_ms = END_MS // WEEK_MS * WEEK_MS
    _look_after(bench, week_ms + DAY_MS - HOUR_MS)
    assert _rows_read(bench, monkeypatch) == (5 + 7) * 24
    _look_after(bench, week_ms + DAY_MS)
    assert _rows_read(bench, monkeypatch) == 5 * 24


def test_after_a_restart_nothing_is_made_again(bench, monkeypatch):
    _look_after(bench)
    bench.restart()
    monkeypatch.setattr(bench.store, "keep", lambda *_: pytest.fail("was made again"))
    _look_after(bench)
    assert _rows_read(bench, monkeypatch) == 5 * 24


def test_a_kill_before_the_copy_is_whole_leaves_the_blocks(bench, monkeypatch):
    weeks = SlotWeeks(bench.store)
    for _ in range(3):
        weeks.turn(END_MS)
    bench.crash()
    assert _rows_read(bench, monkeypatch) == WEEKS * 168
    _look_after(bench)
    assert _rows_read(bench, monkeypatch) == 5 * 24


def test_a_turn_reads_one_week_and_a_day_is_looked_at_once(bench, monkeypatch):
    weeks, spans = SlotWeeks(bench.store), list[int]()
    rows = bench.store.rows
    monkeypatch.setattr(bench.store, "rows", lambda *span: spans.append(span[2] - span[1]) or rows(*span))
    counts = []
    for _ in range(20):
        weeks.turn(END_MS)
        counts.append(len(spans))
    assert counts[:6] == [0, 1, 2, 3, 4, 5]
    assert counts[-1] == WEEKS
    assert set(spans) == {WEEK_MS}
    monkeypatch.setattr(bench.store, "fingerprints", lambda *_: pytest.fail("was looked at again"))
    weeks.turn(END_MS + HOUR_MS)


def test_a_slot_that_is_made_anew_counts_and_the_next_day_it_is_in_the_copy(bench, monkeypatch):
    _look_after(bench)
    at_ms = BEGIN_MS + 10 * DAY_MS
    bench.store.append("slots", [Slot(at_ms, 3600, 999, 0.999, 1.0).to_row()])
    assert _rows_read(bench, monkeypatch) == 5 * 24 + 169  # not packed yet
    bench.pass_time(61)
    assert _rows_read(bench, monkeypatch) == 5 * 24 + 169
    _look_after(bench)
    assert _rows_read(bench, monkeypatch) == 5 * 24
    assert 999 in [slot.energy_wh for slot in slots_between(bench.store, at_ms - WEEK_MS, at_ms + WEEK_MS)]


def test_a_block_that_goes_and_comes_back_makes_its_week_anew(bench, monkeypatch):
    shelves = bench.store._journal.shelves
    piece = shelves.pieces(BLOCK, "WHERE stream = 'slots' ORDER BY id LIMIT 1 OFFSET 12", [])[0]
    block = shelves.open(piece)
    _look_after(bench)
    with transaction(shelves.db, bench.path):
        shelves.remove([piece], acknowledged=False)
    assert _rows_read(bench, monkeypatch) == 5 * 24 + 144
    _look_after(bench)
    assert _rows_read(bench, monkeypatch) == 5 * 24
    with transaction(shelves.db, bench.path):  # as salvage does
        shelves.put_block(block)
    assert _rows_read(bench, monkeypatch) == 5 * 24 + 168
    _look_after(bench)
    assert _rows_read(bench, monkeypatch) == 5 * 24


def test_a_clock_that_is_corrected_makes_them_anew(bench, monkeypatch):
    _fill(bench, END_MS, END_MS + WEEK_MS)  # under another epoch than the weeks before
    _look_after(bench, END_MS + WEEK_MS)
    before = _of_the_blocks(bench)
    shelves = bench.store._journal.shelves
    with transaction(shelves.db, bench.path):
        shelves.clocks.put(1, EpochClock(shift_ms=HOUR_MS, slots_from_ms=BEGIN_MS + WEEK_MS))
    assert _rows_read(bench, monkeypatch) == len(_of_the_blocks(bench)) < len(before)
    _look_after(bench, END_MS + WEEK_MS)
    assert _rows_read(bench, monkeypatch) == 5 * 24


def test_a_clock_that_was_wrong_only_while_the_copy_was_made_leaves_no_week_of_that_time(bench, monkeypatch):
    weeks, shelves = SlotWeeks(bench.store), bench.store._journal.shelves
    weeks.turn(END_MS)
    for shift_ms in (HOUR_MS, 0):
        with transaction(shelves.db, bench.path):
            shelves.clocks.put(1, EpochClock(shift_ms=shift_ms, slots_from_ms=BEGIN_MS + WEEK_MS))
        for _ in range(WEEKS):
            weeks.turn(END_MS)
    assert len(_of_the_blocks(bench)) == WEEKS * 168
    _rows_read(bench, monkeypatch)


def test_a_slot_that_waits_for_the_disk_counts(bench, monkeypatch):
    _look_after(bench)
    db = bench.store._journal.shelves.db
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    at_ms, number = BEGIN_MS + 10 * DAY_MS, 0
    while not bench.store.stats().pending_rows:
        number += 1
        bench.store.append("slots", [Slot(at_ms, 3600, number, 0.5, 1.0, ("suspect",) * 16).to_row()] * 20)
    (slot,) = slots_between(bench.store, at_ms, at_ms + 1)
    assert slot.energy_wh == number
    assert slot in slots_between(bench.store, BEGIN_MS, END_MS)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"schema":2,"weeks":[]}\n',
        b'{"columns":["start_ms","length_s"],"schema":1,"weeks":[{"number":2923,"fingerprint":"","size":4}]}\nbody',
        None,
    ],
    ids=["empty", "another thing", "a later version", "slots of another version", "other bytes"],
)
def test_a_damaged_copy_costs_time_only_and_is_made_again(bench, monkeypatch, data):
    _look_after(bench)
    if data is None:
        bench.execute("UPDATE note SET data = x'00'")
    else:
        bench.store.keep(NOTE, data)
    assert _rows_read(bench, monkeypatch) == WEEKS * 168
    _look_after(bench)
    assert _rows_read(bench, monkeypatch) == 5 * 24


def test_bodies_that_are_cut_short_cost_time_only(bench, monkeypatch):
    _look_after(bench)
    bench.store.keep(NOTE, bench.store.note(NOTE)[:-100])
    assert _rows_read(bench, monkeypatch) == 5 * 24 + 168


def test_weeks_that_the_store_let_go_go_from_the_copy(bench):
    _look_after(bench)
    size = len(bench.store.note(NOTE))
    shelves = bench.store._journal.shelves
    old = shelves.pieces(BLOCK, "WHERE stream = 'slots' AND end_ms < ?", [BEGIN_MS + 3 * WEEK_MS])
    with transaction(shelves.db, bench.path):
        shelves.remove(old, acknowledged=False)
    assert slots_between(bench.store, 0, 2 * END_MS) == _of_the_blocks(bench)
    _fill(bench, END_MS, END_MS + WEEK_MS)
    _look_after(bench, END_MS + WEEK_MS)
    assert len(bench.store.note(NOTE)) < size * 0.8


def test_a_running_agent_keeps_them(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch)
    store, begin_ms = device.daemon.rooms.store, device.true_ms - 3 * WEEK_MS
    store.append("slots", [_slot(begin_ms + hour * HOUR_MS).to_row() for hour in range(2 * 168)])
    store._journal.pack(("slots",))
    device.pass_minutes(15)
    assert store.note(NOTE) is not None
    assert device.daemon.troubles.open == {}
    device.daemon.close()
