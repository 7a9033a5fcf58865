"""The plant clock: real, or scaled from an anchor that outlives restarts."""

from __future__ import annotations

import itertools
import math

import pytest

from agent.contract.errors import ConfigError
from agent.sources.clock import PlantClock, SteadyClock


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


class Machine:
    """A machine with a real clock that can be set."""

    def __init__(self) -> None:
        self.since_start_ms = 5_000
        self.real_ms = 1_770_000_000_000

    def pass_ms(self, milliseconds: int) -> None:
        self.since_start_ms += milliseconds
        self.real_ms += milliseconds

    def clock(self) -> SteadyClock:
        return SteadyClock(lambda: self.real_ms, lambda: self.since_start_ms)


def test_in_production_it_is_the_real_time():
    machine = Machine()
    clock = machine.clock()
    machine.pass_ms(1234)
    assert clock.now_ms() == machine.real_ms
    assert clock.drift_ms() == 0


@pytest.mark.parametrize("set_ms", [-3_600_000, 60_001, 10 * 365 * 86_400_000])
def test_a_clock_that_is_set_moves_the_plant_clock_only_when_that_is_adopted(set_ms):
    machine = Machine()
    clock = machine.clock()
    machine.real_ms += set_ms
    machine.pass_ms(1000)
    assert clock.drift_ms() == set_ms
    clock.adopt(clock.offset_ms + set_ms)
    assert clock.now_ms() == machine.real_ms


@pytest.mark.parametrize("set_ms", [-60_000, -40, 40, 60_000])
def test_a_small_difference_is_made_up_without_a_step(set_ms):
    machine = Machine()
    clock = machine.clock()
    machine.real_ms += set_ms
    times = []
    for _ in range(700):
        machine.pass_ms(1000)
        times.append(clock.now_ms())
    passed = [after - before for before, after in itertools.pairwise(times)]
    assert min(passed) >= 900
    assert max(passed) <= 1100
    assert times[-1] == machine.real_ms
