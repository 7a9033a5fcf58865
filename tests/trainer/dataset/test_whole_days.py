"""Local days as half-hours, whatever the slots, the zone and the clocks do."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.slots import SLOT_LENGTHS_S
from agent.contract.zones import parse_zone
from tests.support.livedplants import lived_plant
from trainer.dataset.days import level_kw, whole_days
from trainer.dataset.snapshot import Snapshot


def ordinal(text):
    return dt.date.fromisoformat(text).toordinal()


def by_local_clock(zone, slot_s, start, days):
    """A plant whose load is the local time of day in hours, at the middle of each slot."""
    begin = round(dt.datetime.combine(start, dt.time(), parse_zone(zone)).timestamp())
    times = begin + np.arange(days * 86_400 // slot_s) * slot_s + slot_s / 2
    local = [dt.datetime.fromtimestamp(time, parse_zone(zone)) for time in times]
    return Snapshot("p", zone, slot_s, (), begin * 1000, np.array([at.hour + at.minute / 60 for at in local]))


@pytest.mark.parametrize("slot_s", SLOT_LENGTHS_S)
def test_every_slot_length_gives_the_same_half_hours(slot_s):
    days = whole_days(by_local_clock("Europe/Berlin", slot_s, dt.date(2022, 5, 2), 4))
    assert days.power_kw.shape == (4, 48)
    assert np.abs(days.power_kw - (np.arange(48) / 2 + 0.25)).max() <= 0.26
    assert np.allclose(days.hourly_kw, np.arange(24) + 0.5, atol=0.05)


@pytest.mark.parametrize("zone", ["+05:45", "+05:30", "Australia/Lord_Howe", "America/St_Johns", "UTC"])
def test_days_begin_at_local_midnight_in_zones_off_the_hour(zone):
    days = whole_days(by_local_clock(zone, 900, dt.date(2022, 7, 4), 3))
    assert list(days.ordinal) == [ordinal("2022-07-04") + day for day in range(3)]
    assert np.abs(days.power_kw - (np.arange(48) / 2 + 0.25)).max() < 0.01


def test_hour_that_the_clocks_skip_is_bridged_and_the_repeated_one_averaged():
    spring = whole_days(by_local_clock("Europe/Berlin", 900, dt.date(2022, 3, 25), 5))
    assert ordinal("2022-03-27") in spring.ordinal
    assert np.allclose(spring.power_kw, np.arange(48) / 2 + 0.25, atol=0.01)
    snapshot = by_local_clock("Europe/Berlin", 900, dt.date(2022, 10, 29), 4)
    load = snapshot.power_kw.copy()
    second_pass = 96 + 12  # 03:00 summer time is 02:00 again
    load[second_pass : second_pass + 4] += 10
    autumn = whole_days(replace(snapshot, power_kw=load))
    at = list(autumn.ordinal).index(ordinal("2022-10-30"))
    assert np.allclose(autumn.power_kw[at, 4:6], [7.25, 7.75], atol=0.01)
    assert np.allclose(autumn.power_kw[at, 6:], np.arange(6, 48) / 2 + 0.25, atol=0.01)


def test_days_that_are_cut_or_have_a_gap_are_left_out():
    snapshot = by_local_clock("Europe/Berlin", 900, dt.date(2022, 5, 2), 4)
    load = snapshot.power_kw.copy()
    load[96 + 40] = np.nan  # half of its half-hour is known
    load[2 * 96 + 40 : 2 * 96 + 42] = np.nan
    cut = Snapshot("p", snapshot.zone, 900, (), snapshot.start_ms + 1_800_000, load[2:])
    assert list(whole_days(cut).ordinal) == [ordinal("2022-05-03"), ordinal("2022-05-05")]


def test_nothing_known_gives_no_day():
    snapshot = lived_plant(3)
    days = whole_days(replace(snapshot, power_kw=np.full_like(snapshot.power_kw, np.nan)))
    assert days.power_kw.shape == (0, 48)
    assert len(days) == 0
    assert len(days.kind) == 0


def test_kind_of_day_follows_weekday_and_holidays():
    days = whole_days(lived_plant(120))
    kinds = {
        dt.date.fromordinal(int(day)).isoformat(): int(kind) for day, kind in zip(days.ordinal, days.kind, strict=True)
    }
    assert [kinds[f"2022-04-{day}"] for day in (14, 15, 16, 17, 18, 19)] == [0, 2, 1, 2, 2, 0]
    assert list(days.weekday[:7]) == list(range(7))
    assert (days.month[0], days.month[-1]) == (1, 5)


@settings(max_examples=25, deadline=None)
@given(
    slot_s=st.sampled_from(SLOT_LENGTHS_S),
    zone=st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo", "-03:00"]),
    start=st.dates(dt.date(2015, 1, 1), dt.date(2024, 1, 1)),
    holes=st.lists(st.integers(0, 40 * 24 - 1), max_size=8),
)
def test_constant_load_stays_constant_and_whole_days_are_real_days(slot_s, zone, start, holes):
    begin = round(dt.datetime.combine(start, dt.time(), dt.UTC).timestamp() * 1000)
    load = np.full(40 * 86_400 // slot_s, 7.5)
    for hole in holes:
        load[hole * 3600 // slot_s] = np.nan
    days = whole_days(Snapshot("p", zone, slot_s, (), begin, load))
    assert (np.abs(days.power_kw - 7.5) < 1e-9).all()
    assert (np.diff(days.ordinal) > 0).all()
    assert len(days) >= 40 - 2 - len(holes)


def test_level_is_the_mean_of_four_weeks_around_and_does_not_follow_the_week():
    day = np.arange(60)
    ordinals = day + 738_000
    weekly = np.where(day % 7 < 5, 10.0, 1.0)
    level = level_kw(ordinals, weekly)
    assert np.ptp(level[14:-14]) < 1e-9
    assert np.allclose(level_kw(ordinals, day * 1.0)[20:40], day[20:40] - 0.5)
