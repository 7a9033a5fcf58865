"""Kernel ridge regression: whole days in closed form, honest bands, an answer at every hour."""

import numpy as np
import pytest

from agent.contract.features import Inputs
from agent.contract.featurespec import QUANTILES, FeatureSpec, Scaling
from agent.inference.scoring import pinball
from tests.support.livedplants import lived_plant
from trainer.learning import holdout, kernel, windows
from trainer.learning.kernel import KernelRidge


def learnt_and_held_out(days):
    of = lived_plant(days, 3600)
    part = holdout.split(of, 24, 28)
    spec = windows.make_spec(of, 24, Scaling.TRAILING, part)
    return spec, windows.training_windows(spec, of, part, seed=1), windows.held_out_windows(spec, of, part)


@pytest.fixture(scope="module")
def plant():
    return learnt_and_held_out(120)


@pytest.fixture(scope="module")
def fitted(plant):
    spec, learnt, _ = plant
    return fit(spec, learnt)


def fit(spec, of, rows=slice(None), target=None):
    target = of.target[rows] if target is None else target
    return KernelRidge.fit(spec, some(of.inputs, rows), target, of.origins[rows])[0]


def some(inputs, rows):
    return Inputs(inputs.recent[rows], inputs.steps[rows], inputs.center_kw[rows], inputs.scale_kw[rows])


def test_beats_a_constant_by_far_on_weeks_that_it_has_not_seen(plant, fitted):
    spec, learnt, held_out = plant
    known = learnt.target[np.isfinite(learnt.target).all(axis=1)]
    constant = np.tile(np.quantile(known[:, :24], QUANTILES, axis=0).T, (len(held_out), 1, 1))
    told = fitted.predict(held_out.inputs)
    assert told.shape == (len(held_out), spec.output_size, 3)
    assert told.dtype == np.float32
    truth = held_out.target[:, :24].astype(float)
    assert pinball(told[:, :24], truth, QUANTILES) < 0.7 * pinball(constant, truth, QUANTILES)


def test_quantiles_are_ordered_and_the_band_holds_about_what_it_should(plant, fitted):
    _, _, held_out = plant
    low, middle, high = np.moveaxis(fitted.predict(held_out.inputs), -1, 0)
    assert np.all((low <= middle) & (middle <= high))
    inside = (low[:, :24] <= held_out.target[:, :24]) & (held_out.target[:, :24] <= high[:, :24])
    assert 0.6 < inside.mean() < 0.95


def test_what_a_block_left_out_would_be_told_is_what_refitting_without_it_says():
    random = np.random.default_rng(1)
    x, y = random.normal(size=(30, 12)), random.normal(size=(30, 5))
    blocks, penalties = np.arange(30) // 4, [0.1, 0.3]
    _, left_out = kernel._solve(x, y, blocks, penalties)
    centred, offset = x - x.mean(axis=0), y.mean(axis=0)
    for row in (0, 7, 29):
        rest = blocks != blocks[row]
        told = [
            of[row, rest] @ np.linalg.solve(of[np.ix_(rest, rest)] + penalty * np.eye(rest.sum()), (y - offset)[rest])
            for of, penalty in zip(kernel._kernels(centred, centred), penalties, strict=True)
        ]
        assert left_out[row] == pytest.approx(np.mean(told, axis=0) + offset)


def test_what_windows_would_be_told_is_no_better_than_what_unseen_weeks_are_told(plant):
    spec, learnt, held_out = plant
    member, told = KernelRidge.fit(spec, learnt.inputs, learnt.target, learnt.origins)
    left_out, unseen, seen = (
        np.nanmean(np.abs(median[:, :24] - of.target[:, :24]))
        for median, of in (
            (told, learnt),
            (member.predict(held_out.inputs)[..., 1], held_out),
            (member.predict(learnt.inputs)[..., 1], learnt),
        )
    )
    assert seen < 0.8 * left_out
    assert left_out > 0.8 * unseen


def test_the_same_windows_give_the_same_member(plant, fitted):
    spec, learnt, held_out = plant
    again = fit(spec, learnt)
    assert np.array_equal(again.predict(held_out.inputs), fitted.predict(held_out.inputs))


def test_what_was_saved_and_read_says_the_same(plant, fitted, tmp_path):
    spec, _, held_out = plant
    np.savez(tmp_path / "member.npz", **fitted.arrays())
    with np.load(tmp_path / "member.npz", allow_pickle=False) as arrays:
        back = KernelRidge.of(spec, dict(arrays))
    assert np.array_equal(back.predict(held_out.inputs), fitted.predict(held_out.inputs))


def test_windows_with_unknown_slots_teach_nothing(plant):
    spec, learnt, held_out = plant
    midnight = np.flatnonzero(windows.at_midnight(spec, learnt.inputs))
    target = learnt.target[midnight].copy()
    target[::5, 3] = np.nan
    rest = np.setdiff1d(np.arange(len(midnight)), np.arange(0, len(midnight), 5))
    with_gaps = fit(spec, learnt, midnight, target)
    without = fit(spec, learnt, midnight[rest])
    assert np.array_equal(with_gaps.predict(held_out.inputs), without.predict(held_out.inputs))


def test_an_hour_without_windows_is_answered_by_the_nearest_one(plant):
    spec, learnt, _ = plant
    hours = kernel.hour_of(spec, learnt.inputs)

    def median(at, *fitted_to):
        rows = np.flatnonzero(np.isin(hours, fitted_to))
        member = fit(spec, learnt, rows)
        return member.predict(some(learnt.inputs, np.flatnonzero(hours == at)))[..., 1]

    assert np.isfinite(median(5, 0)).all()
    assert np.array_equal(median(3, 0, 12), median(3, 0))
    assert np.array_equal(median(22, 0, 12), median(22, 0))  # around midnight
    assert not np.array_equal(median(9, 0, 12), median(9, 0))


def test_hours_are_local_ones_in_every_zone(plant):
    spec, learnt, held_out = plant
    assert set(kernel.hour_of(spec, held_out.inputs)) == {0}
    assert set(np.bincount(kernel.hour_of(spec, learnt.inputs)) >= 14) == {True}


def test_few_windows_are_told_to_be_too_few():
    spec, learnt, _ = learnt_and_held_out(28)
    assert not KernelRidge.can_fit(spec, learnt.inputs, learnt.target)
    spec, learnt, held_out = learnt_and_held_out(45)
    assert KernelRidge.can_fit(spec, learnt.inputs, learnt.target)
    assert not KernelRidge.can_fit(spec, learnt.inputs, np.full_like(learnt.target, np.nan))
    assert np.isfinite(fit(spec, learnt).predict(held_out.inputs)).all()


@pytest.mark.parametrize("bias", [-5.0, 5.0])
def test_residuals_that_all_lie_on_one_side_leave_the_median_inside_its_band(bias):
    spec = FeatureSpec(3600, 24, "UTC")
    hours = np.repeat(np.arange(24), 20)
    residuals = bias + np.random.default_rng(1).uniform(-1, 1, (len(hours), spec.output_size))
    spread = kernel._spreads(spec, hours, residuals)
    assert (spread >= 0).all()
    assert (spread[..., 0 if bias > 0 else 1] == 0).all()
    assert spread[..., 1 if bias > 0 else 0] == pytest.approx(abs(bias), abs=1.1)
