"""Gradient boosting: ordered quantiles of slots, the same from the same seed, the same after a save."""

from functools import partial

import numpy as np
import pytest

from agent.contract.featurespec import QUANTILES
from agent.inference.scoring import pinball
from tests.support.livedplants import lived_plant, windows_of
from trainer.learning import windows
from trainer.learning.boosting import Boosting

fit = partial(Boosting.fit, rounds=60)  # a quarter of what a training takes: enough to tell by


@pytest.fixture(scope="module")
def plant():
    return windows_of(lived_plant(60, 3600))


@pytest.fixture(scope="module")
def fitted(plant):
    spec, learnt, _ = plant
    return fit(spec, learnt.inputs, learnt.target, seed=1)


def test_quantiles_of_slots_are_ordered_and_daily_peaks_are_left_to_others(plant, fitted):
    spec, _, held_out = plant
    told = fitted.predict(held_out.inputs)
    assert told.shape == (len(held_out), spec.output_size, 3)
    assert np.isnan(told[:, 24:]).all()
    assert np.all(np.diff(told[:, :24], axis=-1) >= 0)


def test_beats_a_constant_on_a_week_that_it_has_not_seen(plant, fitted):
    _, learnt, held_out = plant
    constant = np.tile(np.nanquantile(learnt.target[:, :24], QUANTILES), (len(held_out), 24, 1))
    truth = held_out.target[:, :24].astype(float)
    assert pinball(fitted.predict(held_out.inputs)[:, :24], truth, QUANTILES) < 0.7 * pinball(
        constant, truth, QUANTILES
    )


def test_the_same_seed_gives_the_same_trees_and_another_seed_others(plant, fitted):
    spec, learnt, _ = plant
    same, other = (fit(spec, learnt.inputs, learnt.target, seed=seed) for seed in (1, 2))
    assert same.texts() == fitted.texts()
    assert other.texts() != fitted.texts()


def test_what_was_saved_and_read_says_the_same(plant, fitted):
    spec, _, held_out = plant
    back = Boosting.of(spec, fitted.texts(), None)
    assert np.array_equal(back.predict(held_out.inputs), fitted.predict(held_out.inputs), equal_nan=True)


def test_unknown_slots_teach_nothing(plant):
    spec, learnt, held_out = plant
    target = learnt.target.copy()
    target[100:] = np.nan
    few = windows.Windows(*(getattr(learnt, name) for name in ("origins", "inputs")), target, learnt.truth_kw)
    weird = target.copy()
    weird[:, 24:] = 1e6  # daily peaks are no business of the trees
    one, other = (fit(spec, few.inputs, of, seed=1).predict(held_out.inputs) for of in (target, weird))
    assert np.array_equal(one, other, equal_nan=True)
    assert np.isfinite(one[:, :24]).all()


def test_windows_answer_alike_alone_and_together(plant, fitted):
    _, learnt, _ = plant
    together = fitted.predict(learnt.inputs)
    inputs = learnt.inputs
    alone = fitted.predict(
        type(inputs)(inputs.recent[7:8], inputs.steps[7:8], inputs.center_kw[7:8], inputs.scale_kw[7:8])
    )
    assert np.array_equal(together[7:8], alone, equal_nan=True)


class Knows:
    """A guide that says of any window what a plain mean of its features does."""

    def predict(self, inputs):
        median = inputs.steps[:, :, :3].mean(axis=2)
        return np.repeat(np.pad(median, ((0, 0), (0, 1)))[:, :, None], 3, axis=2)


def test_trees_learn_what_a_guide_knows(plant, fitted):
    spec, learnt, held_out = plant
    target = learnt.target.copy()
    target[:, :24] = Knows().predict(learnt.inputs)[:, :24, 1] ** 2
    truth = Knows().predict(held_out.inputs)[:, :24, 1].astype(float) ** 2
    guided, alone = (
        Boosting.fit(spec, learnt.inputs, target, seed=1, guide=guide, guided=told)
        for guide, told in ((Knows(), Knows().predict(learnt.inputs)[..., 1]), (None, None))
    )
    losses = [pinball(one.predict(held_out.inputs)[:, :24], truth, QUANTILES) for one in (guided, alone)]
    assert losses[0] < 0.8 * losses[1]


def test_windows_of_which_the_guide_says_nothing_are_learnt_from_all_the_same(plant):
    spec, learnt, held_out = plant
    told = np.full_like(learnt.target, np.nan)
    member = fit(spec, learnt.inputs, learnt.target, seed=1, guide=Knows(), guided=told)
    assert np.isfinite(member.predict(held_out.inputs)[:, :24]).all()


def test_windows_without_a_share_teach_nothing(plant):
    spec, learnt, held_out = plant
    share = np.where(np.arange(len(learnt)) < 200, 1.0, 0.0)
    target = learnt.target.copy()
    target[200:] = 1e3
    told = fit(spec, learnt.inputs, target, seed=1, share=share).predict(held_out.inputs)
    assert np.nanmax(np.abs(told)) < 100
