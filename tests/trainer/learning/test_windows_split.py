"""Which forecasts are learnt from, which are held out, how often each is drawn, and how much data that takes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.featurespec import Covariate, Scaling
from tests.support.bundles import START_MS, plant_history
from trainer.dataset.snapshot import Snapshot
from trainer.learning import holdout, windows

PER_DAY = 48


def snapshot(days=80, zone="+10:00", power=None, **covariates):
    power = plant_history(days) if power is None else power
    return Snapshot("works", zone, 1800, (), START_MS, power, covariates=covariates)


def parts(of, validation_days=28, horizon_hours=24):
    part = holdout.split(of, horizon_hours, validation_days)
    return part, windows.make_spec(of, horizon_hours, Scaling.TRAILING, part)


class TestSplit:
    @settings(max_examples=40)
    @given(st.integers(28, 900), st.integers(7, 84))
    def test_whole_weeks_are_held_out_evenly_and_most_is_learnt(self, days, validation_days):
        part = holdout.split(snapshot(power=np.arange(days * PER_DAY, dtype=float)), 24, validation_days)
        ends = np.array([(15 * PER_DAY, 15 * PER_DAY), *part.held_out, (part.end, part.end)])
        between = (ends[1:, 0] - ends[:-1, 1]) / PER_DAY
        assert [end - first for first, end in part.held_out] == [7 * PER_DAY] * len(part.held_out)
        assert between.min() >= 3  # also before the first and after the last
        assert between[1:-1].size == 0 or np.ptp(between[1:-1]) <= 1
        assert part.mark().sum() == 7 * PER_DAY * len(part.held_out) <= max(validation_days, 7) * PER_DAY
        assert part.mark().sum() <= max(7 * PER_DAY, 0.1 * len(part.mark()))

    @settings(max_examples=40)
    @given(st.integers(130, 900), st.integers(7, 84), st.sampled_from([24, 48, 168]))
    def test_a_second_split_holds_out_as_many_other_weeks_and_the_last_one(self, days, validation_days, horizon_hours):
        of = snapshot(power=np.arange(days * PER_DAY, dtype=float))
        part = holdout.split(of, horizon_hours, validation_days)
        again = holdout.split_again(of, horizon_hours, part)
        assert again.mark().sum() == part.mark().sum()
        assert not (again.mark() & part.mark()).any()
        assert again.held_out[-1][1] == again.end == part.end
        assert again.held_out[0][0] >= 15 * PER_DAY

    @pytest.mark.parametrize(("horizon_hours", "days"), [(24, 55), (48, 65), (168, 115)])
    def test_the_least_history_of_a_second_split_has_enough_to_learn_from(self, horizon_hours, days):
        of = snapshot(days)
        part, spec = parts(of, horizon_hours=horizon_hours)
        again = holdout.split_again(of, horizon_hours, part)
        both = holdout.Split((*part.held_out, *again.held_out), part.end)
        assert len(windows.training_windows(spec, of, both, seed=1)) >= 300
        assert len(windows.held_out_windows(spec, of, again)) >= 6
        with pytest.raises(ConfigError, match=f"at least {days}"):
            holdout.split_again(snapshot(days - 1), horizon_hours, holdout.split(snapshot(days - 1), horizon_hours, 28))

    def test_weeks_are_longer_where_the_horizon_is(self):
        part = holdout.split(snapshot(400), 72, 28)
        assert [end - first for first, end in part.held_out] == [9 * PER_DAY] * 3

    def test_says_how_much_history_is_needed(self):
        with pytest.raises(ConfigError, match=r"25 days .* at least 28") as caught:
            holdout.split(snapshot(25), 24, 28)
        assert "Import 3 more days" in caught.value.todo

    @pytest.mark.parametrize(("horizon_hours", "days"), [(24, 28), (48, 33), (168, 58)])
    def test_the_least_history_has_windows_to_learn_from_and_days_to_judge_by(self, horizon_hours, days):
        of = snapshot(days)
        part, spec = parts(of, horizon_hours=horizon_hours)
        assert len(windows.training_windows(spec, of, part, seed=1)) >= 48
        assert len(windows.held_out_windows(spec, of, part)) == 7
        with pytest.raises(ConfigError, match=f"at least {days}"):
            holdout.split(snapshot(days - 1), horizon_hours, 28)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(60, 700), st.integers(0, 10), st.integers(3, 30))
    def test_a_week_whose_load_is_not_known_is_not_held_out_where_another_is_near(self, days, at, gap_days):
        of = snapshot(power=np.arange(days * PER_DAY, dtype=float))
        nominal = holdout.split(of, 24, 28)
        again = holdout.split_again(of, 24, nominal)
        first = nominal.held_out[at % len(nominal.held_out)][0]
        room = (days - 15) // len(nominal.held_out) // 2 - 11  # as far as a week may move
        gap_days = min(gap_days, room - 8)
        if gap_days > 0:
            of.power_kw[first : first + gap_days * PER_DAY] = np.nan
        moved = holdout.split(of, 24, 28)
        known = np.isfinite(of.power_kw[: moved.end])
        assert all(known[low:high].mean() > 0.6 for low, high in moved.held_out)
        assert moved.mark().sum() == nominal.mark().sum()
        assert not (moved.mark() & again.mark()).any()
        assert all(low >= 15 * PER_DAY for low, _ in moved.held_out)

    def test_a_load_that_is_not_known_at_all_is_refused(self):
        with pytest.raises(ConfigError, match="no load is known"):
            holdout.split(snapshot(power=np.full(80 * PER_DAY, np.nan)), 24, 28)

    def test_refuses_a_constant_load(self):
        with pytest.raises(ConfigError, match="constant"):
            holdout.split(snapshot(power=np.full(80 * PER_DAY, 7.5)), 24, 28)


class TestNothingHeldOutIsLearnt:
    def test_no_learnt_target_lies_in_a_held_out_week_and_all_judged_ones_do(self):
        of = snapshot(200)
        part, spec = parts(of)
        held = part.mark()
        learnt, judged = windows.training_windows(spec, of, part, seed=1), windows.held_out_windows(spec, of, part)
        rows = np.arange(spec.horizon)
        assert len(part.held_out) == 2
        assert not held[learnt.origins[:, None] + rows].any()
        assert held[judged.origins[:, None] + rows].all()
        assert len(judged) == 14
        assert np.allclose(learnt.truth_kw[0], of.power_kw[learnt.origins[0] :][:PER_DAY])

    @pytest.mark.parametrize(("days", "windows_there_are"), [(200, 2 * 289), (400, 4 * 289)])
    def test_runtimes_are_compared_on_held_out_windows_from_every_slot_of_the_day(self, days, windows_there_are):
        of = snapshot(power=np.arange(days * PER_DAY, dtype=float))
        part, spec = parts(of)
        found = windows.parity_windows(spec, of, part)
        assert len(found) == len(np.unique(found.origins)) == windows_there_are
        assert part.mark()[found.origins[:, None] + np.arange(spec.horizon)].all()
        assert set(found.origins % PER_DAY) == set(range(PER_DAY))

    def test_more_windows_than_a_comparison_needs_are_thinned_out_over_all_weeks_and_hours(self, monkeypatch):
        monkeypatch.setattr(windows, "MOST_PARITY", 500)
        of = snapshot(power=np.arange(400 * PER_DAY, dtype=float))
        part, spec = parts(of)
        found = windows.parity_windows(spec, of, part)
        assert len(found) == 500
        assert set(found.origins % PER_DAY) == set(range(PER_DAY))
        assert all(((found.origins >= first) & (found.origins < end)).sum() > 120 for first, end in part.held_out)

    def test_levels_come_from_what_is_learnt_alone(self):
        of = snapshot(200, temperature_c=np.random.default_rng(1).normal(15, 4, 200 * PER_DAY))
        part, spec = parts(of)
        held, load, warmth = part.mark(), of.power_kw.copy(), of.covariates["temperature_c"].copy()
        load[held] *= 5
        warmth[held] += 40
        assert windows.make_spec(snapshot(power=load, temperature_c=warmth), 24, Scaling.TRAILING, part) == spec
        assert spec.center_kw == pytest.approx(of.power_kw[~held].mean())
        assert spec.covariates == (Covariate("temperature_c", spec.covariates[0].center, spec.covariates[0].scale),)
        assert (spec.covariates[0].center, spec.covariates[0].scale) == pytest.approx((15, 4), abs=0.2)


class TestSpec:
    def test_the_time_of_the_year_is_a_feature_from_two_years_on(self):
        for days, seasonal in ((730, False), (731, True)):
            of = snapshot(power=np.arange(days * PER_DAY, dtype=float))
            assert parts(of)[1].seasonal is seasonal

    def test_a_covariate_that_never_changes_or_is_never_known_is_no_feature(self):
        nothing, flat = np.full(80 * PER_DAY, np.nan), np.full(80 * PER_DAY, 20.0)
        odd = np.full(80 * PER_DAY, 0.1)  # whose mean and spread are not exact
        assert parts(snapshot(nothing=nothing, flat=flat, odd=odd))[1].covariates == ()

    def test_known_covariates_reach_the_windows(self):
        warmth = np.random.default_rng(1).normal(15, 4, 80 * PER_DAY)
        warmth[60 * PER_DAY :] = np.nan
        of = snapshot(temperature_c=warmth)
        part, spec = parts(of)
        learnt = windows.training_windows(spec, of, part, seed=1)
        known = learnt.inputs.steps[:, :, spec.step_names.index("temperature_c_known")]
        assert np.array_equal(known, learnt.origins[:, None] + np.arange(spec.horizon) < 60 * PER_DAY)


class TestWhichWindows:
    @pytest.mark.parametrize(("zone", "phase"), [("+10:00", 0), ("Asia/Kolkata", 1), ("Australia/Adelaide", 1)])
    def test_forecasts_are_learnt_from_every_full_local_hour(self, zone, phase):
        of = snapshot(zone=zone)
        part, spec = parts(of)
        learnt = windows.training_windows(spec, of, part, seed=1)
        assert set(learnt.origins % 2) == {phase}
        assert set(np.diff(learnt.origins)[np.diff(learnt.origins) < 7 * PER_DAY]) == {2}

    def test_judged_forecasts_begin_at_the_plants_midnight(self):
        of = snapshot(zone="Australia/Melbourne")  # an hour off the file's frame in January
        part, spec = parts(of)
        first = windows.daily_windows(spec, of, spec.min_history, spec.min_history + 200)
        assert set(first.origins % PER_DAY) == {46}
        assert windows.at_midnight(spec, first.inputs).all()
        assert set(np.diff(windows.held_out_windows(spec, of, part).origins)) == {PER_DAY}

    def test_windows_without_known_targets_are_left_out(self):
        of = snapshot()
        of.power_kw[25 * PER_DAY : 28 * PER_DAY] = np.nan
        part, spec = parts(of)
        learnt = windows.training_windows(spec, of, part, seed=1)
        assert (np.isfinite(learnt.truth_kw).mean(axis=1) >= 0.5).all()
        assert not np.isin(learnt.origins, np.arange(26 * PER_DAY, 27 * PER_DAY)).any()
        assert np.isfinite(learnt.inputs.recent).all()
        # 3 of 7 days filled: the device would not forecast either.
        assert not np.isin(learnt.origins, np.arange(28 * PER_DAY, 31 * PER_DAY)).any()

    @pytest.mark.parametrize("gap", [2, 3, 4, 60])
    def test_no_window_knows_what_came_after_it_through_a_repaired_gap(self, gap):
        of = snapshot()
        of.power_kw[40 * PER_DAY + 3 : 40 * PER_DAY + 3 + gap] = np.nan
        part, spec = parts(of)
        learnt = windows.training_windows(spec, of, part, seed=1)
        other = of.power_kw.copy()
        other[40 * PER_DAY + 3 + gap :] *= 3
        for origin in learnt.origins[learnt.origins <= 40 * PER_DAY + 3 + gap]:
            again = windows.make(spec, snapshot(power=other), np.array([origin]))
            row = np.flatnonzero(learnt.origins == origin)
            assert np.array_equal(again.inputs.recent, learnt.inputs.recent[row]), origin
            assert np.array_equal(again.inputs.steps, learnt.inputs.steps[row]), origin

    def test_a_series_that_is_mostly_gap_cannot_be_learnt_from(self):
        of = snapshot()
        of.power_kw[16 * PER_DAY : 79 * PER_DAY] = np.nan
        part, spec = parts(of)
        with pytest.raises(ConfigError, match="free enough of gaps"):
            windows.training_windows(spec, of, part, seed=1)
        with pytest.raises(UnavailableError, match="no whole day"):
            windows.held_out_windows(spec, of, part)

    def test_more_windows_than_memory_holds_are_thinned_out_evenly_by_the_seed(self):
        of = snapshot()
        part, spec = parts(of)
        whole, few, same, other = (
            windows.training_windows(spec, of, part, seed=seed, max_bytes=most).origins
            for seed, most in ((1, 2**30), (1, 2**20), (1, 2**20), (2, 2**20))
        )
        assert 48 <= len(few) < len(whole) / 4
        assert np.isin(few, whole).all()
        assert np.array_equal(few, same)
        assert not np.array_equal(few, other)
        assert few.mean() == pytest.approx(whole.mean(), rel=0.1)


class TestOdds:
    def test_midnights_have_their_share_and_larger_loads_count_for_more(self):
        of = snapshot()
        part, spec = parts(of)
        learnt = windows.training_windows(spec, of, part, seed=1)
        odds, midnight = windows.odds(spec, learnt), windows.at_midnight(spec, learnt.inputs)
        assert odds.sum() == pytest.approx(1)
        assert odds[midnight].sum() == pytest.approx(windows.MIDNIGHT_SHARE)
        assert midnight.mean() == pytest.approx(1 / 24, rel=0.1)
        for some in (midnight, ~midnight):
            assert np.allclose(
                odds[some] / odds[some].sum(), learnt.inputs.scale_kw[some] / learnt.inputs.scale_kw[some].sum()
            )

    @pytest.mark.parametrize("keep_midnights", [True, False])
    def test_odds_add_up_where_all_or_none_begin_at_midnight(self, keep_midnights):
        of = snapshot()
        part, spec = parts(of)
        learnt = windows.training_windows(spec, of, part, seed=1)
        rows = windows.at_midnight(spec, learnt.inputs) == keep_midnights
        some = windows.make(spec, of, learnt.origins[rows])
        assert windows.odds(spec, some).sum() == pytest.approx(1)

    def test_joined_windows_are_the_windows_one_after_the_other(self):
        of = snapshot()
        _, spec = parts(of)
        one = windows.make(spec, of, np.array([800, 900]))
        other = windows.make(spec, replace(of, power_kw=of.power_kw * 2), np.array([850]))
        both = windows.join([one, other])
        assert (len(both), both.origins.tolist()) == (3, [800, 900, 850])
        assert np.array_equal(both.inputs.steps[2], other.inputs.steps[0])
        assert np.array_equal(both.truth_kw[:2], one.truth_kw)
        assert both.inputs.scale_kw[2] == other.inputs.scale_kw[0]
