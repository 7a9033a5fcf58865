"""Which forecasts are learnt from, which are held out, and how much data that takes."""

from dataclasses import replace

import numpy as np
import pytest

from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.featurespec import Scaling
from tests.support.bundles import START_MS, plant_history
from trainer.dataset.snapshot import Snapshot
from trainer.learning import windows


def snapshot(days=80, zone="+10:00", power=None):
    return Snapshot("works", zone, 1800, (), START_MS, plant_history(days) if power is None else power)


def parts(of, scaling=Scaling.TRAILING):
    part = windows.split(of, 24, 56)
    return part, windows.make_spec(of, 24, scaling, part)


def test_no_learnt_target_lies_in_the_held_out_days():
    of = snapshot()
    part, spec = parts(of)
    learnt = windows.training_windows(spec, of, part, batch=32, seed=1)
    judged = windows.daily_windows(spec, of, part.validation, part.end)
    assert learnt.origins.max() + spec.horizon <= part.validation <= judged.origins.min()
    assert judged.origins.max() + spec.horizon <= len(of.power_kw)
    assert np.allclose(learnt.truth_kw[0], of.power_kw[spec.min_history : spec.min_history + 48])


def test_global_level_comes_from_the_learnt_part_alone():
    of = snapshot()
    part, spec = parts(of, Scaling.GLOBAL)
    changed = of.power_kw.copy()
    changed[part.validation :] *= 5
    assert windows.make_spec(replace(of, power_kw=changed), 24, Scaling.GLOBAL, part) == spec


def test_judged_forecasts_begin_at_the_plants_midnight():
    of = snapshot(zone="Australia/Melbourne")  # an hour off the file's frame in January
    part, spec = parts(of)
    first = windows.daily_windows(spec, of, spec.min_history, spec.min_history + 200).origins
    assert set(first % 48) == {46}
    assert set(np.diff(windows.daily_windows(spec, of, part.validation, part.end).origins)) == {48}


def test_says_how_much_history_is_needed():
    with pytest.raises(ConfigError, match=r"30 days .* at least 51") as caught:
        windows.split(snapshot(30), 24, 56)
    assert "Import 21 more days" in caught.value.todo
    windows.split(snapshot(51), 24, 56)


def test_refuses_a_constant_load():
    with pytest.raises(ConfigError, match="constant"):
        windows.split(snapshot(power=np.full(80 * 48, 7.5)), 24, 56)


def test_windows_without_known_targets_are_left_out():
    of = snapshot()
    gap = slice(30 * 48, 33 * 48)
    of.power_kw[gap] = np.nan
    part, spec = parts(of)
    learnt = windows.training_windows(spec, of, part, batch=32, seed=1)
    assert (np.isfinite(learnt.truth_kw).mean(axis=1) >= 0.5).all()
    assert not np.isin(learnt.origins, np.arange(31 * 48, 32 * 48)).any()
    assert np.isfinite(learnt.inputs.recent).all()
    # 3 of 7 days filled: the device would not forecast either.
    assert not np.isin(learnt.origins, np.arange(33 * 48, 36 * 48)).any()


def test_a_series_that_is_mostly_gap_cannot_be_learnt_from():
    of = snapshot()
    of.power_kw[16 * 48 : 79 * 48] = np.nan
    part, spec = parts(of)
    with pytest.raises(ConfigError, match="free enough of gaps"):
        windows.training_windows(spec, of, part, batch=64, seed=1)
    with pytest.raises(UnavailableError, match="no whole day"):
        windows.daily_windows(spec, of, part.validation, part.end)
