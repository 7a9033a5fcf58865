"""The plant clock: real, or scaled from an anchor that outlives restarts."""

from __future__ import annotations

import math

import pytest

from agent.contract.errors import ConfigError
from agent.sources.clock import PlantClock, SystemPlantClock


def test_runs_at_its_rate_from_the_anchor():
    real = [1_000_000]
    clock = PlantClock(5_000_000, 1_000_000, 3600, real_ms=lambda: real[0])
    assert clock.now_ms() == 5_000_000
    real[0] += 2_000
    assert clock.now_ms() == 5_000_000 + 7_200_000


def test_a_restarted_clock_with_the_same_anchor_tells_the_same_time():
    real = [1_007_777]
    clocks = [PlantClock(0, 1_000_000, 123.4, real_ms=lambda: real[0]) for _ in range(2)]
    clocks[0].now_ms()
    real[0] += 55
    assert clocks[0].now_ms() == clocks[1].now_ms()


def test_never_goes_back_when_the_real_clock_is_set_back():
    real = [2_000_000]
    clock = PlantClock(0, 1_000_000, 10, real_ms=lambda: real[0])
    before = clock.now_ms()
    real[0] = 1_500_000
    assert clock.now_ms() == before
    real[0] = 2_000_001
    assert clock.now_ms() == before + 10


def test_stands_at_its_start_before_the_anchor():
    assert PlantClock(77, 1_000_000, 10, real_ms=lambda: 0).now_ms() == 77


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf, 2e6])
def test_refuses_a_rate_that_is_none(rate):
    with pytest.raises(ConfigError, match="rate"):
        PlantClock(0, 0, rate, real_ms=lambda: 0)


def test_in_production_it_is_the_real_time():
    assert SystemPlantClock(lambda: 42).now_ms() == 42
