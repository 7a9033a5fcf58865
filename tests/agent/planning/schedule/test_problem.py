"""What cannot be is refused, with everything that is wrong at once."""

import math

import numpy as np
import pytest

from agent.contract.errors import ConfigError
from agent.planning.schedule.parts import Battery, Deferrable, Sequence, Stage
from tests.support.schedules import demand, problem

FINE = {"capacity_kwh": 10, "charge_kw": 5, "discharge_kw": 5}


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"efficiency_charge": 0}, "efficiency_charge is 0"),
        ({"efficiency_discharge": 1.1}, "efficiency_discharge is 1.1"),
        ({"min_soc": 0.9, "max_soc": 0.1}, "min_soc <= max_soc"),
        ({"final_soc": 0.95, "max_soc": 0.9}, "final_soc"),
        ({"initial_soc": 1.2}, "initial_soc"),
        ({"capacity_kwh": 0}, "capacity_kwh"),
        ({"charge_kw": math.nan}, "charge_kw"),
        ({"wear_per_kwh": -1}, "wear_per_kwh"),
    ],
)
def test_refuses_an_impossible_battery(wrong, word) -> None:
    with pytest.raises(ConfigError, match=word):
        problem(np.zeros(4), battery=Battery(**(FINE | wrong)))


@pytest.mark.parametrize(
    ("load", "word"),
    [
        (Deferrable(name="a", power_kw=5, steps=3, earliest=1, latest=3), "window of 2 steps is shorter than the 3"),
        (Deferrable(name="a", power_kw=5, steps=1, earliest=2, latest=9), "does not lie in the 4 steps"),
        (Deferrable(name="a", power_kw=-5, steps=1), "power_kw is -5"),
        (Deferrable(name="a", power_kw=5, steps=0), "must be at least 1"),
        (Deferrable(name="a", power_kw=5, steps=2, breakable=True, min_on=3), "min_on of 3"),
        (Deferrable(name="a", power_kw=5, steps=2, usual=3), "usually start at step 3"),
        (Sequence(name="a", stages=()), "no stages"),
        (Sequence(name="a", stages=(Stage(profile_kw=(1.0, math.nan)),)), "stage 1"),
        (Sequence(name="a", stages=(Stage(profile_kw=(1,)), Stage(profile_kw=(1,), min_gap=3, max_gap=2))), "stage 2"),
        (Sequence(name="a", stages=(Stage(profile_kw=(1,) * 5),)), "shorter than the 5"),
    ],
)
def test_refuses_an_impossible_load(load, word) -> None:
    with pytest.raises(ConfigError, match=word):
        problem(np.zeros(4), loads=(load,))


def test_tells_all_that_is_wrong_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        problem(
            [1.0, math.nan],
            pv_kw=[-1.0, 0.0],
            battery=Battery(**(FINE | {"efficiency_charge": 2.0, "min_soc": 2.0})),
            demand=(demand(3, interval_s=1000),),
            loads=(Deferrable(name="a", power_kw=1, steps=9),) * 2,
        )
    for word in (
        "load_kw: step 1",
        "pv_kw: step 0 is neg",
        "efficiency",
        "min_soc",
        "1000 s",
        "(3,)",
        "9 steps",
        "own",
    ):
        assert word in str(caught.value)


@pytest.mark.parametrize("prices", [[0.1, 0.2], [[0.1]], ["x"], [0.1, None, 0.1]])
def test_refuses_prices_that_do_not_cover_every_step(prices) -> None:
    with pytest.raises(ConfigError, match="import_per_kwh"):
        problem([1.0, 1.0, 1.0], import_per_kwh=prices)


def test_a_battery_that_starts_outside_its_range_need_only_end_inside() -> None:
    given = problem(np.zeros(4), battery=Battery(**FINE, min_soc=0.2, initial_soc=0.1))
    assert given.battery is not None
    assert given.battery.end_soc == 0.2
