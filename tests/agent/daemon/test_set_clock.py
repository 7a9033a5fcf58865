"""A clock that is wrong and is set: every reading stands at its true time afterwards, and every slot counts once."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.contract.acknowledgement import Mark
from agent.contract.blocks import Block
from agent.contract.errors import StorageError
from agent.store.clocks import ClockTable
from agent.store.epochs import Epochs
from agent.store.identity import Identity
from agent.store.journal import Journal
from agent.store.reader import Reader
from agent.store.shelves import Shelves
from agent.store.store import Store
from agent.store.tables import ChannelTimes
from tests.support.set_clocks import HOUR_MS, MINUTE_MS, NOON_MS, TO_1970, YEAR_MS, Device, check
from tests.support.stores import failing


def test_a_device_that_starts_in_1970_has_every_reading_at_its_true_time_afterwards(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch, error_ms=TO_1970)
    device.pass_minutes(22)
    assert device.readings()[-1].time_ms < 2 * HOUR_MS
    assert device.slots() == []
    assert "cannot be" in device.daemon.troubles.open["clock"]
    device.error_ms = 0
    device.pass_minutes(13)
    assert "clock" not in device.daemon.troubles.open
    check(device)
    device.restart(off_ms=7 * MINUTE_MS)
    device.pass_minutes(9)
    check(device)
    device.daemon.close()


def test_slots_go_on_after_two_starts_in_1970(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch)
    device.pass_minutes(31)
    device.error_ms = TO_1970
    device.restart(off_ms=2 * HOUR_MS, machine="machine-2")
    device.pass_minutes(12)
    device.restart()
    device.pass_minutes(12)
    device.error_ms = 0
    device.pass_minutes(12)
    check(device)
    device.daemon.close()


@pytest.mark.parametrize("ending", ["restart", "crash"])
@pytest.mark.parametrize("error_ms", [TO_1970, 3 * HOUR_MS])
def test_a_clock_that_is_set_before_a_new_run_has_read_anything_corrects_the_run_before(
    tmp_path, monkeypatch, ending, error_ms
):
    device = Device(tmp_path, monkeypatch, error_ms=error_ms)
    device.pass_minutes(20)
    device.error_ms = 0
    getattr(device, ending)()
    device.pass_minutes(15)
    check(device)
    device.daemon.close()


def test_what_a_machine_stamped_that_never_had_the_time_stays_and_makes_no_slots(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch, error_ms=TO_1970)
    device.pass_minutes(12)
    device.error_ms = 0
    device.restart(machine="machine-2")
    lost = len(device.meter.truth)
    device.pass_minutes(12)
    assert [reading.time_ms < YEAR_MS for reading in device.readings()] == [True] * lost + [False] * 12
    assert min(slot.start_ms for slot in device.slots()) > NOON_MS
    device.daemon.close()


def test_a_clock_that_is_set_back_an_hour_twice_drops_and_doubles_nothing(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch, error_ms=2 * HOUR_MS)
    for error_ms in (2 * HOUR_MS, HOUR_MS, 0):
        device.error_ms = error_ms
        device.pass_minutes(23)
    assert device.meter.steps == [-HOUR_MS, -HOUR_MS]
    check(device)
    rows = device.daemon.rooms.store.rows("events", 0, 2**52)
    assert [row["kind"] for row in rows].count("clock") == 2
    assert [row["time_ms"] for row in rows] == sorted(row["time_ms"] for row in rows)
    assert all(NOON_MS - MINUTE_MS <= row["time_ms"] <= device.true_ms for row in rows)
    device.daemon.close()


def test_a_clock_that_is_ten_years_ahead_and_set_back_leaves_nothing_there(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch)
    device.pass_minutes(40)
    device.error_ms = 10 * YEAR_MS
    device.pass_minutes(40)
    assert device.readings()[0].time_ms > NOON_MS + 9 * YEAR_MS  # the whole start of the machine is corrected
    device.error_ms = 0
    device.pass_minutes(11)
    check(device)
    store = device.daemon.rooms.store
    for stream in ("readings", "slots", "events", "health"):
        assert (store.last_time_ms(stream) or 0) <= device.true_ms, stream
    device.restart()
    device.pass_minutes(11)
    check(device)
    device.daemon.close()


@pytest.mark.parametrize(
    ("error_ms", "clock_is_right_before"),
    [(-3 * HOUR_MS, True), (-3 * HOUR_MS, False), (5 * HOUR_MS, True), (40 * 24 * HOUR_MS, False)],
)
def test_a_counter_over_a_step_gives_the_energy_of_a_perfect_clock(
    tmp_path, monkeypatch, error_ms, clock_is_right_before
):
    device = Device(tmp_path, monkeypatch, channel="energy", error_ms=0 if clock_is_right_before else error_ms)
    device.pass_minutes(17)  # and it has rolled over by then
    device.error_ms = error_ms
    device.pass_minutes(16)
    device.error_ms = 0
    device.pass_minutes(24)
    check(device)
    whole = [slot for slot in device.slots() if slot.completeness == 1.0]
    assert {slot.energy_wh for slot in whole} == {1000}
    assert len(whole) >= 9
    device.daemon.close()


@pytest.mark.parametrize(
    ("at_ms", "error_ms"),
    [
        (1_774_746_000_000, -HOUR_MS),  # 29 March 2026, 01:00 UTC: clocks go forward in Europe
        (1_792_890_000_000, HOUR_MS),  # 25 October 2026, 01:00 UTC: and back
        (1_835_395_200_000, 24 * HOUR_MS),  # 29 February 2028, 00:00 UTC
    ],
)
def test_a_step_at_a_change_of_the_clock_or_on_a_leap_day_is_as_any_other(tmp_path, monkeypatch, at_ms, error_ms):
    device = Device(tmp_path, monkeypatch)
    device.restart(off_ms=at_ms - NOON_MS - 10 * MINUTE_MS, machine="machine-2")
    device.pass_minutes(8)
    device.error_ms = error_ms
    device.pass_minutes(9)
    device.error_ms = 0
    device.pass_minutes(9)
    check(device)
    device.daemon.close()


class Fault:
    """Fails once at a named step of a correction, before it or after it."""

    def __init__(self, owner: type, name: str, monkeypatch, *, after: bool) -> None:
        real = getattr(owner, name)
        self.met = False

        def failing(*arguments, **more):
            if after:
                real(*arguments, **more)
            if not self.met:
                self.met = True
                raise StorageError("fails, as was asked for")
            return None if after else real(*arguments, **more)

        monkeypatch.setattr(owner, name, failing)


@pytest.mark.parametrize(("after", "killed"), [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Journal, "pack"),
        (Identity, "new_epoch"),
        (ClockTable, "put"),
        (ChannelTimes, "put"),
        (Epochs, "begin"),
    ],
)
def test_a_correction_that_is_cut_off_at_any_step_loses_and_doubles_nothing(
    tmp_path, monkeypatch, owner, name, after, killed
):
    device = Device(tmp_path, monkeypatch, error_ms=3 * HOUR_MS)
    device.pass_minutes(12)
    with monkeypatch.context() as patch:
        fault = Fault(owner, name, patch, after=after)
        device.error_ms = 0
        device.pass_ms(MINUTE_MS)
        device.daemon.rooms.time.turn()
        assert fault.met
    if killed:
        device.crash()
    device.daemon.rooms.store._guard.due_at = 0.0  # it is time to try again
    device.pass_minutes(8)
    check(device)
    device.restart()
    device.pass_minutes(3)
    check(device)
    device.daemon.close()


def test_a_disk_that_cannot_be_written_puts_the_correction_off(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch, error_ms=3 * HOUR_MS)
    device.pass_minutes(7)
    store = device.daemon.rooms.store
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", failing())
        patch.setattr(Shelves, "put_journal", _full)
        device.error_ms = 0
        device.pass_minutes(7)
        assert store.stats().pending_rows
        assert device.meter.steps == []
    store._guard.due_at = 0.0  # the disk is well again, and it is time to try
    device.pass_minutes(7)
    assert device.meter.steps == [-3 * HOUR_MS]
    check(device)
    device.daemon.close()


def test_while_the_disk_fails_a_correction_is_tried_no_more_often_than_other_writing(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch, error_ms=3 * HOUR_MS)
    device.pass_minutes(7)
    store = device.daemon.rooms.store
    store._monotonic = store._guard._monotonic = lambda: 2.0**40  # no second passes
    tries = []
    monkeypatch.setattr(Journal, "pack", lambda *_: tries.append(1) or _full())
    device.error_ms = 0
    device.pass_minutes(7)
    assert len(tries) == 1
    device.daemon.close()


def test_a_step_after_which_the_store_cannot_be_read_is_taken_up_when_it_can(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch, error_ms=3 * HOUR_MS)
    device.pass_minutes(23)
    with monkeypatch.context() as patch:
        patch.setattr(Reader, "rows", _full)
        device.error_ms = 0
        device.pass_minutes(8)
        assert device.meter.steps == [-3 * HOUR_MS]
        assert "disk is full" in device.daemon.troubles.open["time"]
        assert "clock" not in device.daemon.troubles.open
    device.pass_minutes(7)
    assert "time" not in device.daemon.troubles.open
    check(device)
    device.daemon.close()


def test_slots_whose_readings_are_gone_stay_as_they_are(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch, error_ms=-2 * HOUR_MS)
    device.pass_minutes(62)
    store = device.daemon.rooms.store
    journal = store._journal
    journal.pack(("readings",))
    pieces = journal.shelves.pieces("block", "WHERE stream = ?", ["readings"])
    assert pieces
    with journal.transaction():
        journal.shelves.remove(pieces, acknowledged=False)
    device.pass_minutes(30)
    before = [slot for slot in device.slots() if slot.completeness]
    device.error_ms = 0
    device.pass_minutes(2)
    device.catch_up()
    after = [slot for slot in device.slots() if slot.completeness]
    assert len(before) == len(after) == 18
    assert after[:12] == before[:12]
    device.daemon.close()


def _full(*_):
    raise StorageError("the disk is full")


ERRORS = st.sampled_from([0, 0, -2 * HOUR_MS, -7 * MINUTE_MS, 11 * MINUTE_MS, 3 * HOUR_MS, YEAR_MS, TO_1970])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    channel=st.sampled_from(["power", "energy"]),
    parts=st.lists(st.tuples(ERRORS, st.integers(1, 12), st.sampled_from(["", "", "crash", "restart"])), max_size=6),
)
def test_whatever_the_steps_a_clock_that_is_right_in_the_end_gives_the_slots_of_a_perfect_one(
    tmp_path_factory, monkeypatch, channel, parts
):
    with monkeypatch.context() as patch:
        device = Device(tmp_path_factory.mktemp("device"), patch, channel=channel)
        for error_ms, minutes, ending in parts:
            device.error_ms = error_ms
            device.pass_minutes(minutes)
            if ending == "crash":
                device.crash()
            elif ending:
                device.restart(off_ms=6 * MINUTE_MS)
        device.error_ms = 0
        device.pass_minutes(13)  # steps that come one upon the other wait
        check(device)
        device.daemon.close()


def test_corrections_come_back_with_a_store_that_was_damaged(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch, error_ms=TO_1970)
    device.pass_minutes(7)
    device.error_ms = 0
    device.pass_minutes(7)
    device.daemon.close()
    path = tmp_path / "state" / "store.db"
    with path.open("r+b") as file:
        file.seek(100)
        file.write(bytes(40))
    device.start()
    store = device.daemon.rooms.store
    while store._journal.salvage.is_due:
        store._mending.step(2**24, 0)
    device.pass_minutes(2)
    assert device.readings() == device.meter.truth
    device.daemon.close()


def test_a_repair_after_a_step_keeps_the_correction(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch, error_ms=2 * HOUR_MS)
    device.pass_minutes(7)
    device.error_ms = 0
    device.pass_minutes(7)
    store = device.daemon.rooms.store
    assert store.repair()
    while store._journal.salvage.is_due:
        store._mending.step(2**24, 0)
    device.pass_minutes(2)
    assert device.readings() == device.meter.truth
    device.error_ms = 5 * HOUR_MS
    device.pass_minutes(2)
    device.error_ms = 0
    device.pass_minutes(11)
    assert device.readings() == device.meter.truth
    device.daemon.close()


def test_what_was_stamped_in_1970_does_not_leave_for_its_age(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch, error_ms=TO_1970)
    device.pass_minutes(7)
    device.error_ms = 0
    device.pass_minutes(7)
    store = device.daemon.rooms.store
    marks = [Mark(block.header.epoch, block.header.stream, block.header.last) for block in blocks_of(store)]
    assert store.apply_marks(marks) == len(marks)
    store.keep_readings_from(None)
    store._retain()
    assert device.readings() == device.meter.truth
    device.pass_ms(8 * 24 * HOUR_MS)
    store._retain()
    assert device.readings() == []
    device.daemon.close()


def test_thinned_values_stand_at_their_true_times(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch, error_ms=2 * HOUR_MS)
    device.pass_minutes(7)
    device.error_ms = 0
    device.pass_minutes(7)
    store = device.daemon.rooms.store
    marks = [Mark(block.header.epoch, block.header.stream, block.header.last) for block in blocks_of(store)]
    store.apply_marks(marks)
    assert store._custody._thin()
    assert device.readings() == device.meter.truth
    device.daemon.close()


def blocks_of(store: Store) -> list[Block]:
    store._journal.pack(("readings",))
    return [found.block for found in store.unacknowledged(10**9)]
