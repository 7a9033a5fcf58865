"""The load of an imagined plant as a pure function of time and seed: what the simulator's meters measure.

Base load, a working day that rises and falls, shifts, a weekend, a slow drift of the weather and short noise. The same
seed and instant give the same value on every machine, whenever and however often they are asked for.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

from agent.contract.errors import ConfigError
from agent.contract.zones import to_local

_MASK = 2**64 - 1
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Shift:
    """Machines that run on some weekdays (0 is Monday) between two local hours; `to_h` may be 24."""

    from_h: float
    to_h: float
    power_kw: float
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4)

    def __post_init__(self) -> None:
        if not 0 <= self.from_h < self.to_h <= 24 or not set(self.weekdays) <= set(range(7)):
            raise ConfigError(
                f"shift {self.from_h:g}-{self.to_h:g} is not within a day",
                todo="Split a night shift at midnight; weekdays are 0 (Monday) to 6",
            )


@dataclass(frozen=True, slots=True)
class LoadPattern:
    """The plant's expected load and how much it strays.

    Attributes:
        base_kw: load that never stops.
        day_kw: height of the working day's bell above it, at its peak in the afternoon.
        weekend_share: what of `day_kw` remains on Saturday and Sunday.
        shifts: machines on top.
        season_share: how much higher the load is in January than on average.
        noise_share: standard deviation of short noise, of the load.
        drift_share: standard deviation of the drift over hours, of the load.
    """

    base_kw: float = 120.0
    day_kw: float = 220.0
    weekend_share: float = 0.35
    shifts: tuple[Shift, ...] = (Shift(6, 14, 60.0), Shift(14, 22, 45.0))
    season_share: float = 0.08
    noise_share: float = 0.02
    drift_share: float = 0.04

    def expected_kw(self, time_ms: int, zone: dt.tzinfo) -> float:
        """Return the load without chance."""
        local = to_local(time_ms, zone)
        hour = local.hour + local.minute / 60 + local.second / 3600
        weekday = local.weekday()
        bell = math.exp(-(((hour - 14.0) / 4.5) ** 2))
        load = self.base_kw + self.day_kw * bell * (self.weekend_share if weekday >= 5 else 1.0)
        load += sum(
            shift.power_kw for shift in self.shifts if weekday in shift.weekdays and shift.from_h <= hour < shift.to_h
        )
        season = math.cos(2 * math.pi * (local.timetuple().tm_yday - 15) / 365.25)
        return load * (1 + self.season_share * season)

    def power_kw(self, time_ms: int, zone: dt.tzinfo, seed: int) -> float:
        """Return the load with drift and noise; never below zero."""
        knot, within = divmod(time_ms, 3 * _HOUR_MS)
        share = within / (3 * _HOUR_MS)
        smooth = share * share * (3 - 2 * share)
        drift = (1 - smooth) * normal(seed, "drift", knot) + smooth * normal(seed, "drift", knot + 1)
        chance = self.drift_share * drift + self.noise_share * normal(seed, "noise", time_ms)
        return max(0.0, self.expected_kw(time_ms, zone) * (1 + chance))


def uniform(seed: int, name: str, index: int) -> float:
    """Return a number in [0, 1) that depends on nothing but the arguments."""
    state = (seed * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03) & _MASK
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & _MASK
    for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):  # splitmix64's finaliser
        state = ((state ^ (state >> 30)) * factor) & _MASK
    return ((state ^ (state >> 31)) >> 11) / 2**53


def normal(seed: int, name: str, index: int) -> float:
    """Return a nearly normal number, mean 0, standard deviation 1, within +-3.5: a sum of four uniform ones."""
    total = sum(uniform(seed, f"{name}/{part}", index) for part in range(4))
    return (total - 2.0) * math.sqrt(3.0)
