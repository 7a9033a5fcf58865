"""What a plan may move: the battery and the loads; and the demand charge that it is to keep low.

Decides which of them are possible at all. Times are counted in steps from the start of the problem.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_MAX_POWER_KW = 1e7


def frozen(values: Any, dtype: Any = np.float64) -> Any:
    """Return a read-only copy as an array."""
    array = np.array(values, dtype=dtype)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """A battery; powers are at its AC terminals, states of charge are shares of the capacity.

    Attributes:
        efficiency_charge: stored energy per energy taken in, (0, 1].
        efficiency_discharge: energy given out per stored energy, (0, 1].
        initial_soc: now; where it lies outside min_soc to max_soc, that range is wider by as much.
        final_soc: state of charge at the end, at least; None: at least the initial one.
        wear_per_kwh: money per kWh given out.
    """

    capacity_kwh: float
    charge_kw: float
    discharge_kw: float
    efficiency_charge: float = 0.95
    efficiency_discharge: float = 0.95
    min_soc: float = 0.0
    max_soc: float = 1.0
    initial_soc: float = 0.5
    final_soc: float | None = None
    wear_per_kwh: float = 0.0

    @property
    def end_soc(self) -> float:
        """State of charge that the end must have at least."""
        return min(max(self.initial_soc, self.min_soc), self.max_soc) if self.final_soc is None else self.final_soc

    @property
    def range_kwh(self) -> tuple[float, float]:
        """Least and greatest energy stored on the way."""
        low, high = min(self.min_soc, self.initial_soc), max(self.max_soc, self.initial_soc)
        return low * self.capacity_kwh, high * self.capacity_kwh

    def complaints(self) -> Iterator[str]:
        """Say what makes it impossible."""
        for name in ("capacity_kwh", "charge_kw", "discharge_kw"):
            if not 0 < getattr(self, name) <= _MAX_POWER_KW:
                yield f"battery.{name} is {getattr(self, name)}: it must be above 0"
        for name in ("efficiency_charge", "efficiency_discharge"):
            if not 0 < getattr(self, name) <= 1:
                yield f"battery.{name} is {getattr(self, name)}: it must be above 0 and at most 1"
        if not 0 <= self.min_soc <= self.max_soc <= 1:
            yield f"battery: 0 <= min_soc <= max_soc <= 1 does not hold for {self.min_soc} and {self.max_soc}"
        elif not self.min_soc <= self.end_soc <= self.max_soc:
            yield f"battery.final_soc is {self.end_soc}: it lies outside {self.min_soc} to {self.max_soc}"
        if not 0 <= self.initial_soc <= 1:
            yield f"battery.initial_soc is {self.initial_soc}: it must be 0 to 1"
        if not 0 <= self.wear_per_kwh < math.inf:
            yield f"battery.wear_per_kwh is {self.wear_per_kwh}: it must not be negative"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferrable:
    """A load of constant power that must run for a number of steps within a window.

    Attributes:
        steps: how many steps it must (still) run.
        earliest: first step at which it may run.
        latest: step before which it must be done; None: the end of the problem.
        breakable: whether it may pause.
        min_on: steps that a run lasts at least (breakable).
        min_off: steps that a pause between two runs lasts at least (breakable).
        usual: step at which it would start if nobody planned; None: `earliest`.
        on_before: steps that it has been on without a pause when the problem starts; 0: it is off. What cannot be
            broken and is on goes on at once.
        off_before: steps that it has been off after an earlier run; None: long enough.
    """

    name: str
    power_kw: float
    steps: int
    earliest: int = 0
    latest: int | None = None
    breakable: bool = False
    min_on: int = 1
    min_off: int = 1
    usual: int | None = None
    on_before: int = 0
    off_before: int | None = None

    def end(self, horizon: int) -> int:
        """Return the step before which it must be done."""
        return horizon if self.latest is None else self.latest

    def complaints(self, horizon: int) -> Iterator[str]:
        """Say what makes it impossible within `horizon` steps."""
        where = f"load {self.name!r}"
        if not 0 < self.power_kw <= _MAX_POWER_KW:
            yield f"{where}: power_kw is {self.power_kw}: it must be above 0"
        if self.steps < 1 or self.min_on < 1 or self.min_off < 1:
            yield f"{where}: steps, min_on and min_off must be at least 1"
        elif self.breakable and self.min_on > self.steps + self.on_before:
            yield f"{where}: min_on of {self.min_on} steps is longer than the {self.steps} steps that it runs"
        yield from _window(where, self.earliest, self.end(horizon), self.usual, self.steps, horizon)
        if self.on_before < 0 or (self.off_before is not None and (self.off_before < 0 or self.on_before)):
            yield f"{where}: on_before and off_before must not be negative, and only one of them is given"
        if self.on_before and self.earliest > 0:
            yield f"{where}: it is on already, so earliest must be 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A piece of a sequence that runs as a whole: the power of each of its steps, and the pause before it in steps."""

    profile_kw: tuple[float, ...]
    min_gap: int = 0
    max_gap: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """Stages that run in order within a window; one stage alone is a profile run as a whole.

    Attributes:
        earliest, latest, usual: as of `Deferrable`; if nobody planned, the pauses are the shortest.
        running: the first stage (what is left of it) goes on at once.
        start_by: last step at which the first stage may start, or None: as the window allows.
    """

    name: str
    stages: tuple[Stage, ...]
    earliest: int = 0
    latest: int | None = None
    usual: int | None = None
    running: bool = False
    start_by: int | None = None

    def end(self, horizon: int) -> int:
        """Return the step before which it must be done."""
        return horizon if self.latest is None else self.latest

    @property
    def steps(self) -> int:
        """Fewest steps from its first to its last."""
        gaps = sum(stage.min_gap for stage in self.stages[1:])
        return gaps + sum(len(stage.profile_kw) for stage in self.stages)

    def complaints(self, horizon: int) -> Iterator[str]:
        """Say what makes it impossible within `horizon` steps."""
        where = f"load {self.name!r}"
        if not self.stages:
            yield f"{where}: it has no stages"
        for index, stage in enumerate(self.stages):
            powers = stage.profile_kw
            if not powers or not all(0 <= power <= _MAX_POWER_KW for power in powers):
                yield f"{where}: stage {index + 1} has no steps, or a power that is negative or no number"
            if not 0 <= stage.min_gap <= stage.max_gap:
                yield f"{where}: stage {index + 1}: 0 <= min_gap <= max_gap does not hold"
        yield from _window(where, self.earliest, self.end(horizon), self.usual, self.steps, horizon)
        if self.start_by is not None and self.start_by < self.earliest:
            yield f"{where}: start_by lies before earliest"
        if self.running and self.earliest > 0:
            yield f"{where}: it is running already, so earliest must be 0"


Load = Deferrable | Sequence


def _window(where: str, earliest: int, end: int, usual: int | None, steps: int, horizon: int) -> Iterator[str]:
    if not 0 <= earliest < end <= horizon:
        yield f"{where}: its window [{earliest}, {end}) does not lie in the {horizon} steps of the plan"
    elif end - earliest < steps:
        yield f"{where}: its window of {end - earliest} steps is shorter than the {steps} steps that it runs"
    elif usual is not None and not earliest <= usual <= end - steps:
        yield f"{where}: it would usually start at step {usual}, outside its window of {earliest} to {end - steps}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DemandCharge:
    """A charge on the highest mean power of a billing interval; intervals follow the wall clock.

    Attributes:
        per_kw: money per kW of the highest mean in what is left of the billing month.
        counts: bool, one a step: whether it lies in the charge's window.
        free_kw: what is paid for anyway (contracted, or the floor of a ratchet).
        peak_so_far_kw: highest mean that the month has seen.
        so_far_kwh: energy imported in the interval that has begun before the problem starts.
        month: label of the billing month; of one charge there are as many as months in view.
    """

    name: str
    per_kw: float
    interval_s: int
    counts: npt.NDArray[np.bool_]
    free_kw: float = 0.0
    peak_so_far_kw: float = 0.0
    so_far_kwh: float = 0.0
    month: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", frozen(self.counts, bool))

    @property
    def title(self) -> str:
        """Name and month."""
        return f"{self.name} {self.month}".rstrip()

    @property
    def floor_kw(self) -> float:
        """Peak that costs nothing more."""
        return max(self.free_kw, self.peak_so_far_kw, 0.0)

    def complaints(self, horizon: int, step_s: int) -> Iterator[str]:
        """Say what makes it senseless."""
        where = f"demand {self.name!r}"
        if not 0 <= self.per_kw < math.inf:
            yield f"{where}: per_kw is {self.per_kw}: it must not be negative"
        if self.interval_s < 1 or (self.interval_s % step_s and step_s % self.interval_s):
            yield f"{where}: an interval of {self.interval_s} s and a step of {step_s} s do not divide each other"
        if self.counts.shape != (horizon,):
            yield f"{where}: counts has shape {self.counts.shape} where ({horizon},) is needed"
        if not all(math.isfinite(value) for value in (self.free_kw, self.peak_so_far_kw, self.so_far_kwh)):
            yield f"{where}: free_kw, peak_so_far_kw and so_far_kwh must be numbers"

    def intervals(self, clock_ms: int, step_s: int) -> npt.NDArray[np.int64]:
        """Return of each step the number of its interval, from 0; a step longer than an interval is one alone.

        Args:
            clock_ms: start of the first step by the wall clock; see `zones.clock_ms`.
            step_s: length of a step.
        """
        horizon = len(self.counts)
        if step_s >= self.interval_s:
            return np.arange(horizon)
        at_s = clock_ms // 1000 + step_s * np.arange(horizon)
        number: npt.NDArray[np.int64] = at_s // self.interval_s - at_s[0] // self.interval_s
        return number
