"""Trials of a search that diverge, are hopeless, or are cut short by the time or by Ctrl-C."""

import pytest

from agent.contract.errors import ConfigError, UnavailableError
from tests.support.livedplants import lived_plant
from tests.support.searches import OPTIONS
from trainer.learning import search as searching
from trainer.learning.search import State, search

REAL_LEARN = searching.training.learn


@pytest.fixture(scope="module")
def plant():
    return lived_plant(60, 3600)


def diverging(patch, *, once):
    """From now on the first network of the first trial, or of all trials, diverges."""
    real, calls = searching.ensemble.fit_networks, []

    def fit_networks(*arguments):
        calls.append(1)
        if not once or len(calls) == 1:
            raise UnavailableError("training diverged")
        return real(*arguments)

    patch.setattr(searching.ensemble, "fit_networks", fit_networks)


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
