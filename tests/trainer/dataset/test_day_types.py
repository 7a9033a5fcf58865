"""Day types of plants whose days are known, and plants side by side."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from agent.contract.errors import ConfigError
from tests.support.livedplants import lived_plant
from trainer.dataset.days import whole_days
from trainer.dataset.plants import FEATURES, cluster_plants, distance, nearest, plant_profile, spread
from trainer.dataset.profiles import UNUSUAL, day_types


@pytest.fixture(scope="module")
def works():
    return lived_plant()


@pytest.fixture(scope="module")
def found(works):
    return day_types(works)


def test_working_days_saturdays_and_sundays_are_found_and_named(found):
    by_kind = {one.name: one.by_kind for one in found.types}
    assert set(by_kind) == {"working day", "Saturday", "Sunday and holiday"}
    assert by_kind["working day"][1:] == by_kind["Saturday"][::2] == by_kind["Sunday and holiday"][:2] == (0, 0)
    assert sum(one.days for one in found.types) == len(found.days)
    assert sum(one.share for one in found.types) == pytest.approx(1)
    assert found.unusual == []
    assert found.silhouette > 0.5


def test_types_come_by_share_with_mean_and_band(works, found):
    assert [one.days for one in found.types] == sorted((one.days for one in found.types), reverse=True)
    for index, one in enumerate(found.types):
        mine = found.days.power_kw[found.labels == index]
        assert np.allclose(one.mean_kw, mine.mean(axis=0))
        assert (one.low_kw <= one.mean_kw).all()
        assert (one.mean_kw <= one.high_kw).all()
    assert found.types[0].mean_kw.max() == pytest.approx(100, rel=0.05)


def test_same_snapshot_and_seed_give_the_same_types(works, found):
    again = day_types(works)
    assert np.array_equal(again.labels, found.labels)
    assert [one.name for one in again.types] == [one.name for one in found.types]


def test_growth_makes_no_types_of_its_own():
    assert len(day_types(lived_plant(growth=1.0)).types) == 3


def test_weekend_without_difference_is_one_type():
    assert [one.name for one in day_types(lived_plant(saturday=0.0)).types] == ["working day", "weekend and holiday"]


def test_days_all_alike_are_one_type():
    alike = day_types(lived_plant(saturday=1.0, sunday=1.0))
    assert [(one.name, one.share) for one in alike.types] == [("every day", 1.0)]
    constant = lived_plant(30)
    for value in (0.0, 5.0, -5.0):
        same = day_types(replace(constant, power_kw=np.full_like(constant.power_kw, value)))
        assert [one.name for one in same.types] == ["every day"]
        assert (same.components, same.silhouette) == (0, 0.0)


def test_days_exactly_repeated_are_found():
    snapshot = lived_plant(70, noise=0.0)
    week = snapshot.power_kw[: 7 * 96]
    names = [one.name for one in day_types(replace(snapshot, holidays=(), power_kw=np.tile(week, 10))).types]
    assert "working day" in names


def test_season_is_named_by_its_months():
    snapshot = lived_plant(360, saturday=1.0, sunday=1.0, start=dt.date(2022, 1, 3), zone="UTC")
    load = snapshot.power_kw.reshape(-1, 96).copy()
    summer = slice(180, 240)  # July and August work at night
    load[summer] = np.roll(load[summer], 48, axis=1)
    names = [one.name for one in day_types(replace(snapshot, power_kw=load.ravel())).types]
    assert names == ["most days", "type 2 (Jul, Aug)"]


def test_a_handful_of_odd_days_is_set_aside_and_named(works):
    load = works.power_kw.copy()
    for day in (20, 90):
        load[day * 96 + 10 : day * 96 + 40] += 900
    found = day_types(replace(works, power_kw=load))
    assert [day.isoformat() for day in found.unusual] == ["2022-01-23", "2022-04-03"]
    assert (found.labels == UNUSUAL).sum() == 2
    assert len(found.types) == 3


def test_too_little_history_says_how_much_is_needed():
    with pytest.raises(ConfigError, match="13 whole days where a profile needs 14"):
        day_types(lived_plant(13))
    with pytest.raises(ConfigError, match="plant works"):
        plant_profile(lived_plant(5))


def test_feed_in_and_gaps_are_no_obstacle(works):
    load = works.power_kw - 60
    load[500:900] = np.nan
    found = day_types(replace(works, power_kw=load))
    assert found.types[0].name == "working day"
    assert found.types[0].mean_kw.min() < 0
    assert plant_profile(replace(works, power_kw=load)).traits["feed_in_share"] > 0.5


class TestPlants:
    def test_profile_does_not_depend_on_size_or_slots(self, works):
        target = plant_profile(works)
        assert target.values.shape == (len(FEATURES),)
        bigger = plant_profile(replace(works, power_kw=works.power_kw * 1000))
        assert np.allclose(target.values, bigger.values, equal_nan=True)
        hourly = replace(works, slot_s=3600, power_kw=works.power_kw.reshape(-1, 4).mean(axis=1))
        assert np.allclose(target.values, plant_profile(hourly).values, atol=0.01, equal_nan=True)

    def test_traits_mean_what_they_say(self, works):
        traits = plant_profile(works).traits
        assert traits["night_to_day"] == pytest.approx(0.2 / 0.87, abs=0.05)
        assert traits["weekly_autocorrelation"] > 0.95 > traits["daily_autocorrelation"]
        assert traits["feed_in_share"] == 0
        assert plant_profile(lived_plant(60)).traits["seasonal_swing"] is None
        assert plant_profile(lived_plant(growth=1.0)).traits["seasonal_swing"] > 0.4 > traits["seasonal_swing"]
        assert plant_profile(lived_plant(sunday=1.0, saturday=1.0)).traits["daily_autocorrelation"] > 0.9

    def test_nearest_is_the_plant_of_the_same_habits_whatever_its_size(self):
        target = plant_profile(lived_plant(28, seed=9, level_kw=3.0))
        others = [
            plant_profile(lived_plant(plant="night", hump_at=2.0)),
            plant_profile(lived_plant(plant="twin", level_kw=5000.0, slot_s=3600)),
            plant_profile(lived_plant(plant="always", saturday=1.0, sunday=1.0)),
        ]
        found = nearest(target, others)
        assert found[0].plant == "twin"
        assert [one.distance for one in found] == sorted(one.distance for one in found)
        assert nearest(target, []) == []
        assert nearest(target, others[:1])[0].plant == "night"

    def test_distance_is_a_distance(self, works):
        one, other = plant_profile(works), plant_profile(lived_plant(hump_at=2.0))
        assert distance(one, one) == 0
        assert distance(one, other) == distance(other, one) > 0
        assert (spread([one, one]) == 1).all()

    def test_plant_at_rest_is_like_none(self, works):
        rest = plant_profile(replace(works, plant="rest", power_kw=np.zeros_like(works.power_kw)))
        target = plant_profile(works)
        assert distance(rest, target) == float("inf")
        assert set(rest.traits.values()) == {None}
        assert [one.plant for one in nearest(target, [rest, target])] == ["works", "rest"]
        assert cluster_plants([rest, target, target, target])[-1] == ["rest"]

    def test_groups_hold_plants_that_are_alike(self):
        shops = [lived_plant(100, plant=f"shop-{n}", seed=n, saturday=1.0, hump_at=15) for n in range(3)]
        mills = [lived_plant(100, plant=f"mill-{n}", seed=n, saturday=0.0, hump_at=4) for n in range(4)]
        groups = cluster_plants([plant_profile(one) for one in (*shops, *mills)])
        assert groups == [[f"mill-{n}" for n in range(4)], [f"shop-{n}" for n in range(3)]]
        assert cluster_plants([]) == []
        assert cluster_plants([plant_profile(one) for one in shops[:2]]) == [["shop-0", "shop-1"]]


def test_hours_are_means_of_whole_days_only(works):
    assert whole_days(works).hourly_kw.shape == (250, 24)
