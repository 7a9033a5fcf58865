"""When a clock that was set is believed: not below the centre's word, and not against it."""

from __future__ import annotations

import itertools

import pytest

from agent.contract.corrections import Correction
from agent.daemon.clockwatch import EARLIEST_MS, ClockWatch
from agent.sources.clock import SteadyClock
from agent.store.clocks import Clocks, Stamping

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOW_MS = 1_780_315_200_000


class Setting:
    """A device with a real clock, a floor, and a centre that may have been heard."""

    def __init__(self, real_ms: int = NOW_MS, floor_ms: int = 0) -> None:
        self.real_ms, self.boot_ms, self.floor_ms = real_ms, 0, floor_ms
        self.heard: tuple[int, int] | None = None
        self.clock = SteadyClock(lambda: self.real_ms, lambda: self.boot_ms)
        self.clocks, self.epoch = Clocks(), 1
        self.clocks.begin(1, Stamping("machine-1", self.clock.offset_ms, 0))
        self.watch = ClockWatch(
            self.clock,
            floor_ms=lambda: self.floor_ms,
            heard=lambda: self.heard,
            epochs=lambda: self.clocks.of_start(self.epoch),
        )

    def pass_ms(self, milliseconds: int) -> None:
        self.real_ms += milliseconds
        self.boot_ms += milliseconds

    def follow(self) -> list[Correction]:
        """Adopt a step where there is one; what the event about it says."""
        step_ms = self.watch.step_ms()
        if not step_ms:
            return []
        offset_ms = self.clock.offset_ms + step_ms
        self.epoch += 1
        self.clocks.begin(self.epoch, Stamping("machine-1", self.clock.offset_ms, 0))
        found = self.clocks.corrected(self.epoch, offset_ms, None, slots=False)
        self.clocks.known |= self.clocks.after(found, (), self.epoch, offset_ms)
        self.clock.adopt(offset_ms)
        self.watch.stepped()
        return found

    def hear(self, ahead_ms: int = 20) -> None:
        self.pass_ms(1)
        self.heard = self.real_ms, ahead_ms
        self.watch.step_ms()


@pytest.mark.parametrize("step_ms", [-HOUR_MS, 61_000, 10 * 365 * DAY_MS])
def test_a_clock_that_nobody_confirmed_is_believed_when_it_is_set(step_ms):
    device = Setting()
    device.real_ms += step_ms
    assert device.watch.step_ms() == step_ms


@pytest.mark.parametrize("set_to_ms", [0, EARLIEST_MS - 1, NOW_MS - DAY_MS - 60_001])
def test_a_time_before_the_centres_word_is_not_believed(set_to_ms):
    device = Setting(floor_ms=NOW_MS - DAY_MS)
    device.real_ms = set_to_ms
    assert device.watch.step_ms() == 0
    assert device.watch.is_known
    assert "was set back" in device.watch.complaint()


def test_a_device_a_little_behind_its_centre_is_not_without_the_time():
    device = Setting(floor_ms=NOW_MS + 59_000)
    assert device.watch.is_known
    assert device.watch.complaint() == ""


def test_a_start_without_the_time_is_told_and_over_when_it_comes():
    device = Setting(real_ms=20_000)
    assert (device.watch.is_known, device.watch.quality) == (False, "unset")
    assert "cannot be" in device.watch.complaint()
    device.real_ms = NOW_MS
    device.clock.adopt(device.clock.offset_ms + device.watch.step_ms())
    assert (device.watch.is_known, device.watch.quality) == (True, "unknown")
    assert device.watch.complaint() == ""


def test_what_the_centre_confirmed_holds_until_the_centre_says_otherwise():
    device = Setting()
    device.hear()
    assert device.watch.quality == "bounded"
    device.real_ms += HOUR_MS
    assert device.watch.step_ms() == 0
    assert "ahead by 0 h 59 min" in device.watch.complaint() or "ahead by 1 h 0 min" in device.watch.complaint()
    device.hear(ahead_ms=HOUR_MS)
    assert device.watch.step_ms() == 0  # the centre's clock is where the plant clock is
    device.hear()
    assert device.watch.step_ms() == HOUR_MS  # it is where the real clock is


def test_a_confirmation_holds_for_thirty_days():
    device = Setting()
    device.hear()
    device.pass_ms(29 * DAY_MS)
    device.real_ms -= HOUR_MS
    assert device.watch.step_ms() == 0
    device.pass_ms(DAY_MS + 1)
    assert device.watch.step_ms() == -HOUR_MS
    device.clock.adopt(device.clock.offset_ms - HOUR_MS)
    device.watch.stepped()
    device.real_ms += HOUR_MS
    assert device.watch.step_ms() == HOUR_MS  # it is over, and does not come back with the hour


def test_a_clock_that_two_services_set_in_turn_is_followed_every_ten_minutes():
    device = Setting()
    steps = []
    for minute in range(60):
        device.real_ms += HOUR_MS if minute % 2 else -HOUR_MS
        device.pass_ms(60_000)
        if step_ms := device.watch.step_ms():
            device.clock.adopt(device.clock.offset_ms + step_ms)
            device.watch.stepped()
            steps.append(minute)
    assert steps[:2] == [0, 1]
    assert all(after - before >= 10 for before, after in itertools.pairwise(steps[1:]))
    assert len(steps) >= 6


def test_a_clock_that_is_set_every_ten_minutes_for_weeks_tells_no_more_than_a_correction_a_minute():
    device, told = Setting(), []
    weeks = 3
    for minutes in range(0, weeks * 7 * 1440, 10):
        device.real_ms += HOUR_MS if minutes % 20 else -HOUR_MS
        device.pass_ms(600_000)
        told += device.follow()
    assert device.epoch > 100
    assert len(told) <= weeks * 7 * 1440


def test_a_third_step_an_hour_after_the_first_is_followed_at_once():
    device = Setting()
    for minutes in (0, 50, 11):
        device.pass_ms(minutes * 60_000)
        device.real_ms += HOUR_MS
        assert device.watch.step_ms() == HOUR_MS
        device.clock.adopt(device.clock.offset_ms + HOUR_MS)
        device.watch.stepped()


def test_a_replay_has_nothing_to_watch():
    watch = ClockWatch(None, floor_ms=lambda: NOW_MS, heard=lambda: None)
    assert (watch.step_ms(), watch.is_known, watch.complaint()) == (0, True, "")
