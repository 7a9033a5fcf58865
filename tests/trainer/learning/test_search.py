"""A search: the default first, never worse than it, the same again, and judged by weeks that no trial has seen."""

from dataclasses import replace

import numpy as np
import pytest

from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.featurespec import Scaling
from tests.support.livedplants import lived_plant
from trainer.learning import holdout, search_space, windows
from trainer.learning import search as searching
from trainer.learning.options import Options
from trainer.learning.search import State, search
from trainer.learning.search_weeks import JUDGED, UNSEEN, Weeks

OPTIONS = replace(Options().quick(), teacher_updates=12, student_updates=12, boosting_rounds=4)
REAL_MADE, REAL_LEARN = searching.lessons.made_windows, searching.training.learn


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


def diverging(patch, *, once):
    """From now on the first network of the first trial, or of all trials, diverges."""
    real, calls = searching.ensemble.fit_networks, []

    def fit_networks(*arguments):
        calls.append(1)
        if not once or len(calls) == 1:
            raise UnavailableError("training diverged")
        return real(*arguments)

    patch.setattr(searching.ensemble, "fit_networks", fit_networks)


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


class TestTrials:
    def test_a_diverging_trial_does_not_end_the_search_not_even_the_default(self, plant, monkeypatch):
        diverging(monkeypatch, once=True)
        found = search(plant, OPTIONS, trials=2)
        assert [trial.state for trial in found.trials] == [State.FAILED, State.DONE]
        assert found.counts() == {"failed": 1, "done": 1}
        assert found.trials[0].pinball_kw is None
        assert found.chosen == 2
        assert found.judged_kw["default"] is found.unseen_kw["default"] is None
        assert found.holds

    def test_says_so_when_all_trials_diverge(self, plant, monkeypatch):
        diverging(monkeypatch, once=False)
        with pytest.raises(UnavailableError, match="all of 4 trials") as caught:
            search(plant, OPTIONS, trials=4)
        assert "--seed" in caught.value.todo

    def test_a_hopeless_trial_is_given_up_before_its_teacher(self, plant, monkeypatch):
        monkeypatch.setattr(searching, "_UNPRUNED_TRIALS", 1)
        real, looks, taught = searching.ensemble.fit_networks, [], []

        def unlucky(spec, *rest):
            looks.append(spec)
            networks = real(spec, *rest)
            if len(looks) == 3:  # the look of trial 2: trial 1 fits networks twice
                for weights in networks.models[0][1].weights:
                    weights.assign(weights * 30)
            return networks

        def learn(*arguments, **named):
            taught.append(1)
            return REAL_LEARN(*arguments, **named)

        monkeypatch.setattr(searching.ensemble, "fit_networks", unlucky)
        monkeypatch.setattr(searching.training, "learn", learn)
        found = search(plant, OPTIONS, trials=2)
        assert [trial.state for trial in found.trials] == [State.DONE, State.PRUNED]
        assert len(looks) == 3
        assert len(taught) == 1
        assert found.chosen == 1

    def test_the_default_is_tried_to_its_end_however_short_the_time(self, plant):
        found = search(plant, OPTIONS, trials=5, minutes=1e-6)
        assert [trial.state for trial in found.trials] == [State.DONE]
        assert found.options == OPTIONS

    def test_the_trial_in_hand_is_stopped_when_the_time_is_up(self, plant, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(searching.time, "monotonic", lambda: now[0])

        def progress(stage, _done, _total):
            if stage == "trial 2":
                now[0] = 61.0

        found = search(plant, OPTIONS, trials=5, minutes=1, progress=progress)
        assert [trial.state for trial in found.trials] == [State.DONE, State.STOPPED]
        assert found.chosen == 1

    def test_ctrl_c_ends_the_search_with_the_best_so_far(self, plant):
        def interrupted(stage, _done, _total):
            if stage == "trial 2":
                raise KeyboardInterrupt

        told = []
        found = search(plant, OPTIONS, trials=5, progress=interrupted, told=told.append)
        assert [trial.state for trial in found.trials] == [State.DONE, State.STOPPED]
        assert tuple(told) == found.trials
        assert (found.chosen, found.options) == (1, OPTIONS)

    def test_ctrl_c_before_anything_was_made_is_ctrl_c(self, plant):
        def interrupted(*_step):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            search(plant, OPTIONS, trials=5, progress=interrupted)

    @pytest.mark.parametrize("wrong", [{"trials": 0}, {"trials": -1}])
    def test_refuses_no_trials(self, plant, wrong):
        with pytest.raises(ConfigError, match="--trials"):
            search(plant, OPTIONS, **wrong)

    @pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
    def test_refuses_no_time(self, plant, minutes):
        with pytest.raises(ConfigError, match="--minutes"):
            search(plant, OPTIONS, trials=1, minutes=minutes)


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
