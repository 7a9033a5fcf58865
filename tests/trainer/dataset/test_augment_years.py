"""Made years: like the plant's own in all that matters, and never the same."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from agent.contract.errors import ConfigError
from tests.support.livedplants import lived_plant
from trainer.dataset.augment import DayBootstrap, Jitter
from trainer.dataset.days import whole_days
from trainer.dataset.plants import plant_profile
from trainer.dataset.profiles import day_types


def made_load(snapshot, seed):
    return DayBootstrap(snapshot).year(np.random.default_rng(seed)).power_kw


@pytest.fixture(scope="module")
def works():
    return lived_plant(growth=0.5)


@pytest.fixture(scope="module")
def bootstrap(works):
    return DayBootstrap(works)


@pytest.fixture(scope="module")
def years(bootstrap):
    return [bootstrap.year(np.random.default_rng(seed)) for seed in range(4)]


def test_mean_profile_of_each_day_type_is_the_plants_within_a_few_per_cent(works, years):
    found = day_types(works)
    made = [whole_days(year).power_kw for year in years]
    for index, one in enumerate(found.types):
        mean = np.mean([power[found.labels == index].mean(axis=0) for power in made], axis=0)
        assert np.abs(mean - one.mean_kw).max() < 0.05 * one.mean_kw.max(), one.name


def test_habits_are_kept(works, years):
    habits, made = plant_profile(works).traits, plant_profile(years[0]).traits
    for name in habits:
        assert made[name] == pytest.approx(habits[name], abs=0.08), name
    found = [one.name for one in day_types(years[0]).types]
    assert found == [one.name for one in day_types(works).types]


def test_growth_stays_where_it_was(works, years):
    for year in years:
        months = np.mean(year.power_kw.reshape(-1, 50 * 96), axis=1) / np.mean(
            works.power_kw.reshape(-1, 50 * 96), axis=1
        )
        assert np.abs(months - 1).max() < 0.1


def test_the_same_seed_gives_the_same_year_and_another_seed_another(works, bootstrap, years):
    assert np.array_equal(made_load(works, 0), years[0].power_kw)
    assert bootstrap.year(np.random.default_rng(0)).sha256 == years[0].sha256
    assert years[1].sha256 != years[0].sha256
    assert (years[0].power_kw != works.power_kw).mean() > 0.99


def test_nothing_is_negative_and_midnight_is_no_cliff(works, years):
    usual = np.abs(np.diff(works.power_kw)).reshape(-1)[95::96]
    for year in years:
        assert year.power_kw.min() >= 0
        assert np.abs(np.diff(year.power_kw))[95::96].mean() < 1.5 * usual.mean()


class TestMadeHolidays:
    def year(self, of, *, share=0.1, seed=8):
        return DayBootstrap(of).year(np.random.default_rng(seed), Jitter(holidays=share))

    def test_are_told_beside_those_of_the_plant(self, works):
        made = self.year(replace(works, holidays=("2022-04-06",))).holidays
        assert "2022-04-06" in made
        assert 0.05 < (len(made) - 1) / (len(works.power_kw) / works.per_day) < 0.15
        assert list(made) == sorted(set(made))

    def test_are_like_sundays_where_the_plant_has_shown_no_holiday(self, works):
        year = self.year(replace(works, holidays=()))
        days = {str(dt.date.fromordinal(int(day))): load for day, load in zip(*self.loads(year), strict=True)}
        sundays = np.mean([load for day, load in days.items() if dt.date.fromisoformat(day).weekday() == 6])
        others = [load for day, load in days.items() if dt.date.fromisoformat(day).weekday() < 5]
        holidays = [load for day, load in days.items() if day in year.holidays]
        assert np.mean(holidays) == pytest.approx(sundays, rel=0.15)
        assert np.mean(holidays) < 0.8 * np.mean(others)

    def test_are_like_the_holidays_of_the_plant_where_there_are_some(self, works):
        holidays = tuple(str(dt.date(2022, 1, 11) + dt.timedelta(days=14 * number)) for number in range(5))
        power = works.power_kw.copy()
        ordinal, _ = self.loads(works)
        for day in holidays:  # the plant's holidays are its busiest days
            first = (dt.date.fromisoformat(day).toordinal() - int(ordinal[0])) * works.per_day
            power[first : first + works.per_day] = 400.0
        year = self.year(replace(works, power_kw=power, holidays=holidays))
        made = [load for day, load in zip(*self.loads(year), strict=True) if self.date(day) in year.holidays]
        assert len(made) > len(holidays)
        assert np.mean(made) > 300

    def test_none_are_made_unless_asked_for(self, works, years):
        assert {year.holidays for year in years} == {works.holidays}

    def date(self, ordinal):
        return str(dt.date.fromordinal(int(ordinal)))

    def loads(self, of):
        whole = whole_days(of)
        return whole.ordinal, whole.power_kw.mean(axis=1)


def test_gaps_stay_and_no_others_come(works):
    load = works.power_kw.copy()
    load[1000:1100] = np.nan
    load[5000] = np.nan
    made = made_load(replace(works, power_kw=load), 1)
    assert np.array_equal(np.isnan(made), np.isnan(load))


@pytest.mark.parametrize(
    ("zone", "slot_s"), [("Europe/Berlin", 3600), ("Asia/Kolkata", 3600), ("Australia/Lord_Howe", 900)]
)
def test_days_of_23_and_25_hours_are_filled(zone, slot_s):
    snapshot = lived_plant(300, slot_s, zone=zone)
    made = made_load(snapshot, 2)
    assert made.shape == snapshot.power_kw.shape
    assert np.isfinite(made).all()


def test_covariates_come_from_the_days_that_the_load_came_from(works):
    tied = replace(works, covariates={"temperature_c": works.power_kw.copy()})
    still = Jitter(level=0.0, amplitude=0.0, shift_s=0)
    year = DayBootstrap(tied).year(np.random.default_rng(3), still)
    noon = slice(48, None, 96)
    ratio = year.power_kw[noon] / year.covariates["temperature_c"][noon]
    assert np.abs(ratio - 1).max() < 0.4  # the level of the season only
    assert np.abs(ratio - 1).mean() < 0.05
    assert not np.array_equal(year.covariates["temperature_c"], works.power_kw)


def test_history_may_begin_and_end_within_a_day(works):
    cut = replace(works, start_ms=works.start_ms + 7 * 900_000, power_kw=works.power_kw[7:-5])
    made = made_load(cut, 7)
    assert np.isfinite(made).all()
    assert plant_profile(replace(cut, power_kw=made)).traits["weekly_autocorrelation"] > 0.9


def test_feed_in_stays_feed_in(works):
    made = made_load(replace(works, power_kw=works.power_kw - 60), 4)
    assert (made < 0).mean() == pytest.approx((works.power_kw < 60).mean(), abs=0.05)
    assert made.min() > 1.5 * (works.power_kw.min() - 60)


def test_rare_day_stays_in_its_place(works):
    load = works.power_kw.copy()
    load[30 * 96 : 31 * 96] = 0.0  # a Wednesday on which the grid failed
    load[100 * 96 : 101 * 96] = 500.0
    made = made_load(replace(works, power_kw=load), 5).reshape(-1, 96)
    assert made[30, 20:76].max() < 1
    assert made[100, 20:76].min() > 350


def test_plant_at_rest_stays_at_rest():
    rest = lived_plant(30)
    made = made_load(replace(rest, power_kw=np.zeros_like(rest.power_kw)), 6)
    assert (made == 0).all()


def test_too_little_history_is_refused():
    with pytest.raises(ConfigError, match="13 whole days"):
        DayBootstrap(lived_plant(13))
    holed = lived_plant(30)
    load = holed.power_kw.copy()
    load[50::96] = np.nan  # the days are whole in half-hours, none in its slots
    with pytest.raises(ConfigError, match="no day is known in each of its slots"):
        DayBootstrap(replace(holed, power_kw=load))
