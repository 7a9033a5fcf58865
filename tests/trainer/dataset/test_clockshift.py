"""A file of local times that was read as standard time is noticed; a plant that is read rightly is not."""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from trainer.dataset.clockshift import day_moves
from trainer.dataset.quality import assess

START_MS = round(dt.datetime(2014, 1, 1, tzinfo=dt.UTC).timestamp() * 1000)


def plant(zone, slot_s, days=360, width=3.0):
    """A year of a plant that works from eight to five by the clocks of `zone`, with noise."""
    moments = START_MS // 1000 + np.arange(days * 86_400 // slot_s) * slot_s
    offset = [dt.datetime.fromtimestamp(int(moment), ZoneInfo(zone)).utcoffset().total_seconds() for moment in moments]
    hour = (moments + np.array(offset)) % 86_400 / 3600
    noise = np.random.default_rng(3).normal(0, 8, len(moments))
    return 80 + 120 * np.exp(-(((hour - 12.5) / width) ** 4)) + noise


@pytest.mark.parametrize("slot_s", [900, 1800, 3600])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Melbourne"])
def test_a_plant_that_works_by_its_clocks_stays(zone, slot_s):
    assert not day_moves(START_MS, slot_s, zone, plant(zone, slot_s))


@pytest.mark.parametrize("slot_s", [900, 1800, 3600])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Melbourne"])
def test_local_times_read_as_standard_time_move_the_day(zone, slot_s):
    assert day_moves(START_MS, slot_s, zone, plant("Etc/GMT-1", slot_s))


@pytest.mark.parametrize("zone", ["UTC", "+01:00", "Asia/Seoul"])
def test_where_clocks_stay_nothing_moves(zone):
    assert not day_moves(START_MS, 1800, zone, plant("UTC", 1800))


def test_one_change_of_the_clocks_is_not_enough():
    assert not day_moves(START_MS, 1800, "Europe/Berlin", plant("UTC", 1800, days=120))


def test_a_load_without_a_profile_and_one_full_of_gaps_are_not_judged():
    flat = np.random.default_rng(3).normal(100, 5, 360 * 48)
    assert not day_moves(START_MS, 1800, "Europe/Berlin", flat)
    gaps = plant("UTC", 1800)
    gaps[np.arange(len(gaps)) % 48 == 20] = np.nan
    assert not day_moves(START_MS, 1800, "Europe/Berlin", gaps)


def test_the_report_asks_about_the_frame():
    quality = assess(START_MS, 1800, "Europe/Berlin", plant("UTC", 1800))
    assert quality.day_moves
    assert any("--timestamps-in" in line for line in quality.lines())
