"""Which epochs are corrected by how much when the clock was set, and from where on their slots do not count."""

from __future__ import annotations

import pytest

from agent.contract.corrections import read_correction
from agent.contract.errors import StorageError
from agent.store.clocks import Clocks, EpochClock, Stamping
from agent.store.shelves import Shelves
from tests.support.stores import T0, Bench, readings

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class Machine:
    """One start of a machine whose clock is set; time since the start is told by the test."""

    def __init__(self) -> None:
        self.clocks, self.epoch, self.offset_ms = Clocks(), 1, T0
        self.clocks.begin(1, Stamping("machine-1", T0, 0))

    def set_ms(self, step_ms: int, *, first_since_start_ms: int) -> None:
        """Set it, while the readings from so long after the start on are still there."""
        self.epoch += 1
        self.clocks.begin(self.epoch, Stamping("machine-1", self.offset_ms, 0))
        first_ms = self.offset_ms + first_since_start_ms
        self.offset_ms += step_ms
        found = self.clocks.corrected(self.epoch, self.offset_ms, first_ms, slots=True)
        self.clocks.known |= self.clocks.after(found, (), self.epoch, self.offset_ms)

    def slots_from_ms(self, epoch: int) -> int:
        clock = self.clocks.known[epoch]
        assert clock.shift_ms
        return clock.slots_from_ms


def test_slots_that_were_made_anew_once_never_count_again():
    machine = Machine()
    machine.set_ms(HOUR_MS, first_since_start_ms=10 * DAY_MS)
    before_ms = machine.slots_from_ms(1)
    machine.set_ms(HOUR_MS, first_since_start_ms=15 * DAY_MS)
    assert machine.slots_from_ms(1) == before_ms
    assert machine.slots_from_ms(2) > before_ms + 4 * DAY_MS


def test_slots_that_stood_in_for_those_of_a_clock_that_was_right_do_not_count_beside_them():
    machine = Machine()
    machine.set_ms(HOUR_MS, first_since_start_ms=10 * DAY_MS)
    before_ms = machine.slots_from_ms(1)
    machine.set_ms(-HOUR_MS, first_since_start_ms=12 * DAY_MS)
    assert machine.clocks.known[1].shift_ms == 0
    assert machine.slots_from_ms(2) == before_ms


def test_every_epoch_of_a_start_of_the_machine_is_corrected_however_many(tmp_path):
    bench = Bench(tmp_path, stamping=lambda: Stamping("machine-1", T0, 1000))
    bench.store.append("readings", readings(0, 10))
    clocks = bench.store._journal.clocks
    old = range(1001, 1601)
    bench.identity.new_epoch(above=1600)
    clocks.known |= {epoch: EpochClock("machine-1", T0) for epoch in old}
    clocks.known |= {1700: EpochClock("machine-2", T0), 1701: EpochClock("machine-1", T0 + HOUR_MS)}
    clocks.known[bench.identity.epoch] = EpochClock("machine-1", T0)
    assert bench.store.begin_epoch(T0 + HOUR_MS, T0 + 2 * HOUR_MS, "set", own_times=(), slots_first_ms=T0)
    told = [one for row in bench.store.rows("events", 0, 2**52) for one in read_correction(row)[0]]
    shifts = {one.epoch: one.shift_ms for one in told}
    assert len(shifts) == len(told)
    assert {shifts[epoch] for epoch in old} == {HOUR_MS}
    assert not {1700, 1701} & shifts.keys()  # another machine's, and one that is right already
    assert set(old) <= bench.store._journal.shelves.clocks.corrected().keys()
    bench.store.close()


class SlewedBench(Bench):
    """A store whose clock goes a little faster or slower."""

    def __init__(self, folder) -> None:
        self.offset_ms = T0
        super().__init__(folder, stamping=lambda: Stamping("machine-1", self.offset_ms, 1000))


def test_readings_stay_durable_on_a_full_disk_after_the_clock_went_faster(tmp_path, monkeypatch):
    bench = SlewedBench(tmp_path)
    bench.store.append("readings", readings(0, 10))
    bench.pass_time(70)
    bench.offset_ms += 7000

    def full(*_):
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Shelves, "put_block", full)
        patch.setattr(Shelves, "put_journal", full)
        bench.store.append("readings", readings(10, 10))
        bench.pass_time(70)  # and the pack fails
        ticket = bench.store.append("readings", readings(20, 10))
        bench.pass_time(2)
        assert bench.store.durable_through()["readings"] == ticket.last
    bench.crash()
    assert len(bench.store.readings("load_kw", 0, 2**52)) == 30
    bench.store.close()


@pytest.mark.parametrize("slewed_ms", [-3000, 2, 5999])
def test_a_run_goes_on_by_the_clock_of_the_run_before_to_the_millisecond(tmp_path, slewed_ms):
    bench = SlewedBench(tmp_path)
    bench.store.append("readings", readings(0, 10))
    bench.offset_ms += slewed_ms
    now_ms = bench.offset_ms
    bench.store.close()
    bench.offset_ms += 50_000  # the real clock
    assert bench.start().offset_ms == now_ms
    bench.store.close()


def corrected_bench(folder, *, ahead_ms: int) -> Bench:
    """A store with one epoch that was stamped ahead and is corrected, and 30 corrected ones without rows."""
    bench = Bench(folder, stamping=lambda: Stamping("machine-1", T0 + ahead_ms, 0))
    rows = [row._replace(time_ms=row.time_ms + ahead_ms) for row in readings(0, 10)]
    bench.store.append("readings", rows)
    bench.now_ms = T0 + 20_000
    table = bench.store._journal.shelves.clocks
    with bench.store._journal.transaction():
        for epoch in range(1001, 1031):
            table.put(epoch, EpochClock("machine-2", shift_ms=epoch * HOUR_MS))
    assert bench.store.begin_epoch(T0, bench.now_ms, "set", own_times=(), slots_first_ms=None)
    return bench


def test_channels_that_bring_their_times_keep_them_when_the_clock_is_set(tmp_path):
    offset_ms = T0
    bench = Bench(tmp_path, stamping=lambda: Stamping("machine-1", offset_ms, 0))
    bench.store.append("readings", readings(0, 10))
    bench.store.append("readings", readings(0, 10, "oven_kw"))
    assert bench.store.begin_epoch(T0 + HOUR_MS, T0 + HOUR_MS, "set", own_times=["oven_kw"], slots_first_ms=None)
    offset_ms = T0 + HOUR_MS
    for _ in range(2):
        assert bench.store.readings("oven_kw", 0, 2**52) == readings(0, 10, "oven_kw")
        moved = [row._replace(time_ms=row.time_ms + HOUR_MS) for row in readings(0, 10)]
        assert bench.store.readings("load_kw", 0, 2**52) == moved
        assert bench.store.last_time_ms("readings", "oven_kw") == T0 + 9000
        assert bench.store.last_time_ms("readings", "load_kw") == T0 + 9000 + HOUR_MS
        assert bench.store.first_time_ms("oven_kw") == T0
        bench.crash()
    bench.store.close()


def test_what_was_stamped_ahead_waits_with_the_backlog(tmp_path):
    bench = corrected_bench(tmp_path, ahead_ms=DAY_MS)
    found = bench.store.unacknowledged(10**6)
    assert [one.backlog for one in found if one.block.header.stream == "readings"] == [True]
    assert not [
        one for one in bench.store.unacknowledged(10**6, backlog=False) if one.block.header.stream == "readings"
    ]
    bench.store.close()


def test_corrected_epochs_without_rows_cost_no_query(tmp_path, monkeypatch):
    bench = corrected_bench(tmp_path, ahead_ms=DAY_MS)
    asked = []
    pieces = Shelves.pieces
    monkeypatch.setattr(Shelves, "pieces", lambda *its: asked.append(its[2]) or pieces(*its))
    assert bench.store.readings("load_kw", 0, 2**52) == readings(0, 10)
    assert bench.store.first_time_ms("load_kw") == T0
    assert len(asked) == 2 * (1 + 2)  # the journal once, and the blocks for each of two clocks
    asked.clear()
    bench.store._custody.retain()
    assert len(asked) < 30
    bench.store.close()


def test_corrected_epochs_of_another_start_are_forgotten_with_their_last_row(tmp_path):
    bench = corrected_bench(tmp_path, ahead_ms=DAY_MS)
    epoch = bench.identity.epoch - 1
    bench.options["stamping"] = lambda: Stamping("machine-3", T0, 0)
    bench.restart()
    assert bench.store._journal.shelves.clocks.corrected().keys() == {epoch}
    assert bench.store.readings("load_kw", 0, 2**52) == readings(0, 10)
    bench.store.close()


def test_clocks_are_read_anew_after_a_change_and_after_one_that_was_undone_and_else_not(tmp_path, monkeypatch):
    bench = Bench(tmp_path)
    table, one, other = bench.store._journal.shelves.clocks, EpochClock("machine", 1), EpochClock("machine", 2)
    with bench.store._journal.transaction():
        table.put(7, one)
    assert table.all() == {7: one}

    def undone() -> None:
        with bench.store._journal.transaction():
            table.put(7, other)
            assert table.all() == {7: other}
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        undone()
    assert table.all() == {7: one}
    with bench.store._journal.transaction():
        table.forget([7])
        table.put(8, EpochClock("machine", 1, shift_ms=5))
    assert table.all().keys() == table.corrected().keys() == {8}
    monkeypatch.setattr(table, "_parse", None)
    monkeypatch.setattr(table, "_parsed", None)
    assert table.corrected().keys() == {8}
    bench.store.close()
