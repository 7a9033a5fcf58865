"""A search: the default first, never worse than it, the same again, and judged by weeks that no trial has seen."""

from dataclasses import replace

import numpy as np
import pytest

from agent.contract.errors import ConfigError
from agent.contract.featurespec import Scaling
from tests.support.livedplants import lived_plant
from tests.support.searches import OPTIONS
from trainer.learning import holdout, search_space, windows
from trainer.learning import search as searching
from trainer.learning.options import Options
from trainer.learning.search import search
from trainer.learning.search_weeks import JUDGED, UNSEEN, Weeks

REAL_MADE = searching.lessons.made_windows


@pytest.fixture(scope="module")
def plant():
    return lived_plant(60, 3600)


@pytest.fixture(scope="module")
def searched(plant):
    told, steps, learnt = [], [], []

    def spied(spec, snapshot, part, windows_learnt, options):
        learnt.append((spec, part, windows_learnt.origins))
        return REAL_MADE(spec, snapshot, part, windows_learnt, options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching.lessons, "made_windows", spied)
        found = search(plant, OPTIONS, trials=3, told=told.append, progress=lambda *step: steps.append(step))
    return found, told, steps, learnt


class TestChoice:
    def test_the_default_is_the_first_trial(self, searched):
        found, _, _, _ = searched
        assert found.trials[0].number == 1
        assert found.trials[0].values == search_space.values(OPTIONS)
        assert found.trials[0].pinball_kw == found.judged_kw["default"]

    def test_the_choice_is_the_best_trial_and_so_no_worse_than_the_default(self, searched):
        found, told, _, _ = searched
        assert tuple(told) == found.trials
        losses = [trial.pinball_kw for trial in found.trials]
        assert found.judged_kw["chosen"] == min(losses) <= found.judged_kw["default"]
        chosen = found.trials[found.chosen - 1]
        assert chosen.pinball_kw == min(losses)
        assert search_space.values(found.options) == chosen.values

    def test_trials_differ_by_what_is_searched_alone(self, searched):
        found, _, _, _ = searched
        assert len({str(trial.values) for trial in found.trials}) == 3
        assert search_space.with_values(found.options, search_space.values(OPTIONS)) == OPTIONS

    def test_choice_and_default_are_judged_by_other_weeks_too(self, searched):
        found, _, _, _ = searched
        assert set(found.unseen_kw) == {"naive", "default", "chosen"}
        assert found.unseen_kw["naive"] != found.judged_kw["naive"]
        assert found.unseen_kw["default"] != found.judged_kw["default"]
        assert found.holds == (found.unseen_kw["chosen"] <= found.unseen_kw["default"])

    def test_the_same_seed_gives_the_same_search(self, searched, plant):
        found, _, _, _ = searched
        assert search(plant, OPTIONS, trials=2).trials == found.trials[:2]

    def test_every_trial_is_told_to_its_end(self, searched):
        _, _, steps, _ = searched
        last = {stage: (done, total) for stage, done, total in steps}
        assert list(last) == ["trial 1", "trial 2", "trial 3"]
        assert all(done == total for done, total in last.values())


class TestWeeks:
    def test_nothing_learns_from_the_weeks_that_judge(self, searched, plant):
        _, _, _, learnt = searched
        assert len(learnt) == 3
        judged = holdout.split(plant, 24, OPTIONS.validation_days)
        unseen = holdout.split_again(plant, 24, judged)
        assert not (judged.mark() & unseen.mark()).any()
        for spec, part, origins in learnt:  # made years are made of what `part` leaves
            assert np.array_equal(part.mark(), judged.mark() | unseen.mark())
            targets = origins[:, None] + np.arange(spec.horizon)
            assert not part.mark()[targets].any()

    def test_trials_are_judged_by_the_weeks_that_a_training_holds_out(self, plant):
        weeks = Weeks(plant, OPTIONS)
        data = weeks.data(Scaling.TRAILING)
        part = holdout.split(plant, 24, OPTIONS.validation_days)
        own = windows.held_out_windows(data.spec, plant, part)
        assert np.array_equal(data.weeks[JUDGED].origins, own.origins)
        assert not np.isin(data.weeks[UNSEEN].origins, own.origins).any()
        assert weeks.data(Scaling.GLOBAL).spec.scaling is Scaling.GLOBAL

    def test_both_kinds_of_weeks_need_their_data(self):
        with pytest.raises(ConfigError, match=r"54 days .* at least 55"):
            Weeks(lived_plant(54, 3600), OPTIONS)
        with pytest.raises(ConfigError, match="where training needs at least"):
            Weeks(lived_plant(20, 3600), OPTIONS)


class TestSpace:
    @pytest.mark.parametrize("default", [Options(), Options().quick()])
    def test_the_default_lies_in_every_range(self, default):
        values = search_space.values(default)
        ranges = {one.name: one for one in search_space.ranges(default)}
        assert set(values) == {search_space.SCALING, *ranges}
        assert all(one.low <= values[name] <= one.high for name, one in ranges.items())
        assert search_space.with_values(default, values) == default

    def test_a_default_beyond_a_range_widens_it(self):
        ranges = {one.name: one for one in search_space.ranges(replace(Options(), peak_rate=0.05, weight_decay=0.0))}
        assert ranges["peak_rate"].high == 0.05
        assert ranges["peak_rate"].by_powers
        assert ranges["weight_decay"].low == 0.0
        assert not ranges["weight_decay"].by_powers

    @pytest.mark.parametrize("default", [Options(), Options().quick()])
    def test_both_ends_of_every_range_are_options(self, default):
        for one in search_space.ranges(default):
            for value in (one.low, one.high):
                changed = search_space.with_values(default, {one.name: value})
                assert search_space.values(changed)[one.name] == value
