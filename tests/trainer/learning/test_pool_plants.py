"""Plants of different slots, zones and sizes come together in one pool."""

import numpy as np
import pytest

from agent.contract.errors import ConfigError
from agent.contract.featurespec import Covariate, FeatureSpec
from tests.support.livedplants import lived_plant
from trainer.learning import holdout, pool, teacher, windows
from trainer.learning.options import Options

LIKE = FeatureSpec(3600, 24, "UTC")


def gathered(*plants, like=LIKE):
    return pool.gather(plants, like, validation_days=7, seed=1)


def test_longer_slots_are_means_on_their_own_grid():
    of = lived_plant(30, 900)
    late = of.since(of.start_ms + 1800 * 1000)  # half past the hour
    longer = pool.at_slot(late, 3600)
    assert longer.start_ms == of.start_ms + 3600 * 1000
    assert np.allclose(longer.power_kw[0], of.power_kw[4:8].mean())
    assert len(longer.power_kw) == 30 * 24 - 1


def test_a_missing_part_makes_a_longer_slot_unknown():
    of = lived_plant(30, 900)
    of.power_kw[5] = np.nan
    assert np.flatnonzero(np.isnan(pool.at_slot(of, 3600).power_kw)).tolist() == [1]


def test_longer_slots_are_not_made_shorter():
    with pytest.raises(ConfigError, match="slots of 60 min"):
        pool.at_slot(lived_plant(30, 3600), 900)


def test_plants_that_do_not_fit_are_left_out_with_the_reason():
    found = gathered(lived_plant(60, 1800, plant="mill"), lived_plant(20, 3600, plant="young"))
    assert [one.plant for one in found.plants] == ["mill"]
    assert "at least 28" in found.left_out["young"]
    found = gathered(lived_plant(60, 3600, plant="mill"), like=FeatureSpec(1800, 48, "UTC"))
    assert found.plants == ()
    assert "slots of 60 min" in found.left_out["mill"]


def test_each_plant_keeps_its_zone_and_is_drawn_as_often_as_any_other():
    found = gathered(
        lived_plant(90, 3600, plant="mill"), lived_plant(40, 3600, plant="shop", zone="Asia/Seoul", level_kw=9000.0)
    )
    assert [one.spec.zone for one in found.plants] == ["Europe/Berlin", "Asia/Seoul"]
    odds = pool.balanced_odds(found.plants)
    count = len(found.plants[0].learnt)
    assert odds.sum() == pytest.approx(1.0)
    assert odds[:count].sum() == pytest.approx(0.5)


def test_the_columns_are_those_of_the_plant_that_asks():
    like = FeatureSpec(3600, 24, "UTC", seasonal=True, covariates=(Covariate("temperature_c", 10.0, 5.0),))
    (found,) = gathered(lived_plant(60, 3600), like=like).plants
    assert found.spec.step_names == like.step_names
    assert not found.learnt.inputs.steps[:, :, like.step_names.index("temperature_c_known")].any()


def test_a_thinned_draw_keeps_windows_whole():
    (found,) = gathered(lived_plant(60, 3600)).plants
    few = pool.thinned(found.learnt, 10, seed=1)
    assert len(few) == 10
    rows = np.searchsorted(found.learnt.origins, few.origins)
    assert np.array_equal(few.target, found.learnt.target[rows], equal_nan=True)
    assert np.array_equal(few.inputs.steps, found.learnt.inputs.steps[rows])
    assert pool.thinned(found.learnt, len(found.learnt), seed=1) is found.learnt


def test_four_weeks_are_enough_and_less_is_not():
    of = lived_plant(28, 3600)
    part = holdout.split(of, 24, 28)
    spec = windows.make_spec(of, 24, windows.Scaling.TRAILING, part)
    learnt = windows.training_windows(spec, of, part, seed=1)
    assert len(learnt) >= 96
    assert len(windows.held_out_windows(spec, of, part)) == 7
    with pytest.raises(ConfigError, match="27 days of load where training needs at least 28"):
        holdout.split(lived_plant(27, 3600), 24, 28)


def test_a_week_ahead_needs_more_days_so_that_whole_weeks_are_learnt():
    of = lived_plant(58, 3600)
    part = holdout.split(of, 168, 28)
    spec = windows.make_spec(of, 168, windows.Scaling.TRAILING, part)
    assert len(windows.training_windows(spec, of, part, seed=1)) >= 96
    with pytest.raises(ConfigError, match="at least 58"):
        holdout.split(lived_plant(57, 3600), 168, 28)


def test_a_plant_whose_held_out_week_cannot_be_judged_does_not_stop_the_others():
    gappy = lived_plant(33, 3600, plant="gappy")
    part = holdout.split(gappy, 24, 7)
    gappy.power_kw[: part.end][part.mark()] = np.nan
    found = gathered(lived_plant(60, 3600, plant="mill"), gappy)
    assert [one.plant for one in found.plants] == ["mill"]
    assert "no whole day" in found.left_out["gappy"]


@pytest.mark.parametrize("days", [30, 45, 58])
def test_trees_see_others_in_many_windows_none_of_which_outweighs_the_plants_own(days):
    found = gathered(lived_plant(250, 900, plant="mill"), lived_plant(days, 900), like=FeatureSpec(900, 96, "UTC"))
    other, own = found.plants
    shares = teacher._shares(own.spec, own.learnt, (), [other], Options())
    others, mine = shares[: len(other.learnt)], shares[len(other.learnt) :]
    assert others.sum() == pytest.approx(1 - teacher.OWN_SHARE_OF_STEPS)
    assert (others > 0).sum() >= 0.6 * len(own.learnt)
    assert others.max() < 2 * mine.max()
