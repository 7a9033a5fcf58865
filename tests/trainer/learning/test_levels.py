"""Levels: what load of a window is compared with, from model inputs alone."""

from dataclasses import replace

import numpy as np
import pytest

from agent.contract.featurespec import Scaling
from tests.support.livedplants import lived_plant
from trainer.learning import holdout, windows
from trainer.learning.levels import Level, at_level, center_and_scale


@pytest.fixture(scope="module", params=list(Scaling))
def plant(request):
    of = lived_plant(60, 3600, growth=0.5)
    part = holdout.split(of, 24, 28)
    spec = windows.make_spec(of, 24, request.param, part)
    return spec, windows.training_windows(spec, of, part, seed=1)


def at(level, plant):
    spec, of = plant
    center, scale = center_and_scale(spec, of.inputs, level)
    return (of.inputs.recent - center[:, None]) / scale[:, None], center, scale


@pytest.mark.parametrize("level", [Level.TRAILING, Level.PLANT])
def test_a_level_is_the_same_however_windows_are_standardised(plant, level):
    spec, of = plant
    week, center, scale = at(level, plant)
    other = replace(spec, scaling=Scaling.GLOBAL if spec.scaling is Scaling.TRAILING else Scaling.TRAILING)
    again = windows.make(other, lived_plant(60, 3600, growth=0.5), of.origins)
    assert np.allclose(week, at(level, (other, again))[0], atol=1e-3)
    truth = (of.target[:, :24] - center[:, None]) / scale[:, None]
    if level is Level.PLANT:
        assert np.allclose(truth, (of.truth_kw - spec.center_kw) / spec.scale_kw, atol=1e-4)


def test_the_last_week_is_without_its_mean_in_the_plants_units(plant):
    week, _, scale = at(Level.LAST_WEEK, plant)
    assert np.allclose(week.mean(axis=1), 0, atol=1e-5)
    assert np.array_equal(scale, at(Level.PLANT, plant)[2])


def test_the_own_week_has_no_mean_and_unit_spread(plant):
    week, _, _ = at(Level.OWN_WEEK, plant)
    assert np.allclose(week.mean(axis=1), 0, atol=1e-5)
    assert np.allclose(week.std(axis=1), 1, atol=1e-4)


def test_a_flat_week_has_a_scale():
    of = lived_plant(60, 3600)
    part = holdout.split(of, 24, 28)
    spec = windows.make_spec(of, 24, Scaling.TRAILING, part)
    learnt = windows.training_windows(spec, of, part, seed=1)
    learnt.inputs.recent[:] = 0.5
    for level in Level:
        _, scale = center_and_scale(spec, learnt.inputs, level)
        assert (scale > 0).all(), level


def test_inputs_at_a_level_are_those_of_the_same_load_and_go_back_to_it(plant):
    spec, of = plant
    for level in Level:
        seen, center, scale = at_level(spec, of.inputs, level)
        back = seen.recent * scale[:, None] + center[:, None]
        inside = np.abs(seen.recent) < 6
        assert inside.mean() > 0.99
        assert np.allclose(back[inside], of.inputs.recent[inside], atol=1e-4)
        load, rest = seen.steps[:, :, : spec.load_columns], seen.steps[:, :, spec.load_columns :]
        inside = np.abs(load) < 6
        back = load * scale[:, None, None] + center[:, None, None]
        assert np.allclose(back[inside], of.inputs.steps[:, :, : spec.load_columns][inside], atol=1e-4)
        assert np.array_equal(rest, of.inputs.steps[:, :, spec.load_columns :])
        assert np.abs(seen.recent).max() <= 6


def test_inputs_that_are_moved_leave_the_given_ones_alone(plant):
    spec, of = plant
    before = of.inputs.recent.copy(), of.inputs.steps.copy()
    at_level(spec, of.inputs, Level.OWN_WEEK)
    assert np.array_equal(before[0], of.inputs.recent)
    assert np.array_equal(before[1], of.inputs.steps)
