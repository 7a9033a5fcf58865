"""How well the model in use forecasts, beside seasonal naive: scored once a slot, over restarts, model by model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from agent.contract.errors import RejectedError
from agent.contract.featurespec import QUANTILES
from agent.contract.rows import Forecast, ForecastSource
from agent.inference.naive import forecast_naive
from agent.inference.scoring import pinball
from agent.inference.skill import DAYS, SkillWatch

SLOT_S, SLOT_MS, PER_DAY = 3600, 3_600_000, 24
RNG = np.random.default_rng(11)
LOAD = 100 + 40 * np.sin(2 * np.pi * np.arange(40 * PER_DAY) / PER_DAY) + RNG.normal(0, 10, 40 * PER_DAY)


def model(day: int, *, off: float, label: str = "m@1", source: ForecastSource = ForecastSource.ACTIVE) -> Forecast:
    """A forecast of two days from a day's start on that is off by so much."""
    truth = LOAD[day * PER_DAY : (day + 2) * PER_DAY]
    table = np.stack([truth + off - 5, truth + off, truth + off + 5], axis=1)
    return Forecast(day * PER_DAY * SLOT_MS, SLOT_S, QUANTILES, table, table[[0, PER_DAY]], source, label)


def day_of(watch: SkillWatch, day: int, *, off: float = 1.0, label: str = "m@1", known: int = PER_DAY) -> bool:
    followed = watch.issued(model(day, off=off, label=label), 0, LOAD[: day * PER_DAY])
    for step in range(PER_DAY):
        number = day * PER_DAY + step
        watch.learn(number * SLOT_MS, float(LOAD[number]) if step < known else None)
    return followed


def test_losses_are_the_pinball_losses_of_both_over_the_same_slots() -> None:
    watch = SkillWatch(SLOT_S)
    for day in (20, 21):
        assert day_of(watch, day, off=float(day))
    mine, naive = [], []
    for day in (20, 21):
        truth = LOAD[day * PER_DAY : (day + 1) * PER_DAY]
        mine.append(pinball(model(day, off=float(day)).power_kw[:PER_DAY], truth, QUANTILES))
        made = forecast_naive(0, LOAD[: day * PER_DAY], SLOT_S, PER_DAY)
        naive.append(pinball(made.power_kw, truth, QUANTILES))
    found = watch.rivalry("m@1")
    assert found is not None
    assert found.days == 2
    assert found.loss_kw == pytest.approx(np.mean(mine), rel=1e-4)
    assert found.naive_kw == pytest.approx(np.mean(naive), rel=1e-4)


def test_within_a_followed_day_no_other_forecast_is_scored_and_no_slot_twice() -> None:
    watch = SkillWatch(SLOT_S)
    watch.issued(model(20, off=1.0), 0, LOAD[: 20 * PER_DAY])
    assert not watch.issued(model(20, off=50.0), 0, LOAD[: 20 * PER_DAY])
    for _ in range(2):
        for number in range(20 * PER_DAY, 21 * PER_DAY):
            watch.learn(number * SLOT_MS, float(LOAD[number]))
    once = SkillWatch(SLOT_S)
    day_of(once, 20)
    assert watch.rivalry("m@1") == once.rivalry("m@1")


def test_only_the_last_fourteen_days_count_and_a_day_half_unknown_does_not() -> None:
    watch = SkillWatch(SLOT_S)
    day_of(watch, 15, off=1000.0)
    for day in range(16, 16 + DAYS):
        day_of(watch, day)
    found = watch.rivalry("m@1")
    assert found is not None
    assert (found.days, found.loss_kw < 10) == (DAYS, True)
    day_of(watch, 31, off=1000.0, known=PER_DAY // 2 - 1)
    assert watch.rivalry("m@1") == found


def test_another_model_begins_anew_and_fallbacks_are_not_scored() -> None:
    watch = SkillWatch(SLOT_S)
    day_of(watch, 20)
    assert not watch.issued(model(21, off=1.0, source=ForecastSource.NAIVE, label="naive"), 0, LOAD[: 21 * PER_DAY])
    assert watch.rivalry("m@2") is None
    day_of(watch, 21, label="m@2")
    assert watch.rivalry("m@1") is None
    found = watch.rivalry("m@2")
    assert found is not None
    assert found.days == 1


def test_after_a_restart_the_record_and_the_slots_since_give_the_same() -> None:
    watch = SkillWatch(SLOT_S)
    day_of(watch, 20)
    watch.issued(model(21, off=3.0), 0, LOAD[: 21 * PER_DAY])
    for number in range(21 * PER_DAY, 21 * PER_DAY + 9):
        watch.learn(number * SLOT_MS, float(LOAD[number]))
    again = SkillWatch(SLOT_S)
    again.resume(json.loads(json.dumps(watch.to_json())), "record")
    for number in range(20 * PER_DAY, 22 * PER_DAY):  # all that the store has
        again.learn(number * SLOT_MS, float(LOAD[number]))
    for number in range(21 * PER_DAY + 9, 22 * PER_DAY):
        watch.learn(number * SLOT_MS, float(LOAD[number]))
    found = again.rivalry("m@1")
    assert found == watch.rivalry("m@1")
    assert found is not None
    assert found.days == 2


def test_a_clock_that_was_set_lets_go_of_what_was_followed() -> None:
    watch = SkillWatch(SLOT_S)
    day_of(watch, 20)
    watch.issued(model(21, off=3.0), 0, LOAD[: 21 * PER_DAY])
    watch.forget_after(21 * PER_DAY * SLOT_MS + 1)
    for number in range(21 * PER_DAY, 22 * PER_DAY):
        watch.learn(number * SLOT_MS, float(LOAD[number]))
    found = watch.rivalry("m@1")
    assert found is not None
    assert found.days == 1


@pytest.mark.parametrize(
    "harm", [{"days": [[1]]}, {"model": 3}, {"followed": {"origin_ms": 0}}, {"days": [["x", 1]]}, {"followed": 1}]
)
def test_rejects_a_damaged_record_and_stays_as_it_was(harm: dict[str, object]) -> None:
    watch = SkillWatch(SLOT_S)
    day_of(watch, 20)
    before = watch.rivalry("m@1")
    with pytest.raises(RejectedError):
        watch.resume({**watch.to_json(), **harm}, "record")
    assert watch.rivalry("m@1") == before
