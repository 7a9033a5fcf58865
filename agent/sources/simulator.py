"""A plant that is not there: meters over a load pattern, with the faults that real meters have.

For trying out an installation, for the example configuration and for tests. The same seed and instant give the same
reading whenever they are polled. It is live like a meter: what nobody polled for longer than a day is gone.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.contract.channels import Channel, Kind, Quality, Reading
from agent.contract.corrections import EXACT_MS
from agent.contract.errors import ConfigError
from agent.contract.zones import parse_zone
from agent.sources.base import SourceStats
from agent.sources.load_pattern import LoadPattern, normal, uniform

CATCH_UP_MS = 86_400_000
_STEP_MS = 900_000  # energy is summed in quarter-hours
_FAULT_MS = 600_000  # a chance fault lasts ten minutes of its hour
_HOUR_MS = 3_600_000


class FaultKind(enum.StrEnum):
    """What can be wrong with a meter."""

    DROPOUT = "dropout"  # no readings
    FROZEN = "frozen"  # the value at the start of the fault, again and again
    SPIKE = "spike"  # ten times the value
    RESET = "reset"  # a counter begins at zero again at the start of the fault


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of every meter over [start_ms, end_ms)."""

    kind: FaultKind
    start_ms: int
    end_ms: int


class PlantSimulator:
    """A source whose channels are told apart by unit: kW load, kWh its counter, V, A, Hz, `1` power factor, degC.

    A channel with `interval_s` gives means over it; any other is sampled every `sample_s`.

    Args:
        channels: what is measured.
        seed: everything that chance decides.
        zone: where the plant is, for working hours.
        sample_s: seconds between samples.
        pattern: the load.
        faults: faults at given times.
        fault_rate: share of hours in which chance adds a drop-out, a frozen value or a spike of ten minutes.
        counter_start_ms: when the counters stood at zero.

    Raises:
        ConfigError: when a channel has a unit that is not simulated, or a number is out of range.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        *,
        seed: int,
        zone: str,
        sample_s: int = 1,
        pattern: LoadPattern | None = None,
        faults: Sequence[Fault] = (),
        fault_rate: float = 0.0,
        counter_start_ms: int = 1_767_225_600_000,
    ) -> None:
        for channel in channels:
            if (channel.unit == "kWh") != (channel.kind is Kind.COUNTER) or channel.unit not in _UNITS:
                raise ConfigError(
                    f"channel {channel.name}: a {channel.kind} in {channel.unit} is not simulated",
                    todo=f"Use a gauge in {', '.join(unit for unit in _UNITS if unit != 'kWh')}, or a counter in kWh",
                )
        if sample_s < 1 or not 0 <= fault_rate <= 1:
            raise ConfigError("simulator: sample_s is at least 1, fault_rate from 0 to 1")
        self._channels = tuple(channels)
        self._seed, self._zone = seed, parse_zone(zone)
        self._sample_ms = sample_s * 1000
        self._pattern = pattern or LoadPattern()
        self._faults, self._fault_rate = tuple(faults), fault_rate
        self._energy_start = counter_start_ms // _STEP_MS
        self._energy_kwh = [0.0]  # at the end of each quarter-hour since then
        self._given: dict[str, int] = {}
        self._polled = False
        self._sampled = self._skipped = 0

    @property
    def channels(self) -> Sequence[Channel]:
        """What it measures."""
        return self._channels

    @property
    def exhausted(self) -> bool:
        """Never."""
        return False

    @property
    def has_own_times(self) -> bool:
        """Read by the clock, as a meter is."""
        return False

    def stepped(self, step_ms: int) -> None:
        """Go on at the same interval."""
        self._given = {name: time_ms + step_ms for name, time_ms in self._given.items()}

    def resume(self, last_time_ms: Mapping[str, int]) -> None:
        """Give nothing again that is stored."""
        self._given = {channel.name: last_time_ms.get(channel.name, -1) for channel in self._channels}

    def poll(self, now_ms: int) -> list[Reading]:
        """Return the samples since the last poll (at first the latest one), at most a day of them, by time."""
        readings: list[Reading] = []
        for channel in self._channels:
            grid = channel.interval_s * 1000 or self._sample_ms
            latest = (now_ms - channel.interval_s * 1000) // grid * grid
            oldest = latest - CATCH_UP_MS if self._polled else latest
            given = self._given.get(channel.name, -1)
            if not self._polled and given - latest > EXACT_MS:
                given = latest  # stored by a clock that was ahead: a meter is read all the same
            first = max(oldest, (given // grid + 1) * grid)
            for time_ms in range(first, latest + 1, grid):
                reading = self.read(channel, time_ms)
                if reading is None:
                    self._skipped += 1
                else:
                    readings.append(reading)
            self._given[channel.name] = max(latest, given)
        self._polled = True
        self._sampled += len(readings)
        return sorted(readings, key=lambda reading: reading.time_ms)

    def stats(self) -> SourceStats:
        """Return counters; `skipped` are drop-outs."""
        return SourceStats(sampled=self._sampled, skipped=self._skipped)

    def read(self, channel: Channel, time_ms: int) -> Reading | None:
        """Return what the meter says of an instant; None during a drop-out."""
        value_ms = time_ms
        factor = 1.0
        for fault in (*self._faults, *self._chance_faults(channel, time_ms)):
            if fault.start_ms <= time_ms < fault.end_ms:
                if fault.kind is FaultKind.DROPOUT:
                    return None
                if fault.kind is FaultKind.FROZEN:
                    value_ms = min(value_ms, fault.start_ms)
                elif fault.kind is FaultKind.SPIKE and channel.kind is Kind.GAUGE:
                    factor = 10.0
        value = self._value(channel, value_ms + channel.interval_s * 500) * factor
        return Reading(channel.name, time_ms, round(value, channel.decimals), int(Quality.GOOD))

    def _chance_faults(self, channel: Channel, time_ms: int) -> tuple[Fault, ...]:
        hour = time_ms // _HOUR_MS
        if not self._fault_rate or uniform(self._seed, f"fault/{channel.name}", hour) >= self._fault_rate:
            return ()
        kinds = (FaultKind.DROPOUT, FaultKind.FROZEN, FaultKind.SPIKE)
        kind = kinds[int(uniform(self._seed, f"kind/{channel.name}", hour) * len(kinds))]
        return (Fault(kind, hour * _HOUR_MS, hour * _HOUR_MS + _FAULT_MS),)

    def _value(self, channel: Channel, time_ms: int) -> float:
        noise = normal(self._seed, channel.name, time_ms)
        load_kw = self._pattern.power_kw(time_ms, self._zone, self._seed) if channel.unit in {"kW", "A", "1"} else 0.0
        match channel.unit:
            case "kW":
                return load_kw
            case "kWh":
                return self._counter_kwh(channel, time_ms)
            case "V":
                return 230.0 + 1.2 * noise
            case "A":
                return load_kw / (0.4 * 3**0.5 * 0.93)
            case "Hz":
                return 50.0 + 0.015 * noise
            case "1":
                return min(1.0, 0.88 + 0.08 * load_kw / (load_kw + 200.0) + 0.004 * noise)
            case _:
                return 18.0 + 6.0 * normal(self._seed, "weather", time_ms // 86_400_000) / 2 + 0.1 * noise

    def _counter_kwh(self, channel: Channel, time_ms: int) -> float:
        starts = [fault.start_ms for fault in self._faults if fault.kind is FaultKind.RESET]
        since = max((start for start in starts if start <= time_ms), default=None)
        kwh = self._energy_until(time_ms) - (self._energy_until(since) if since is not None else 0.0)
        return kwh % channel.rollover if channel.rollover else kwh

    def _energy_until(self, time_ms: int) -> float:
        """Return the integral of the load since the counters' start; without noise: a counter never steps back."""
        steps, within = divmod(time_ms - self._energy_start * _STEP_MS, _STEP_MS)
        if steps < 0:
            return 0.0
        while len(self._energy_kwh) <= steps + 1:
            middle = (self._energy_start + len(self._energy_kwh) - 1) * _STEP_MS + _STEP_MS // 2
            kwh = self._pattern.expected_kw(middle, self._zone) * _STEP_MS / _HOUR_MS
            self._energy_kwh.append(self._energy_kwh[-1] + kwh)
        before, after = self._energy_kwh[steps], self._energy_kwh[steps + 1]
        return before + (after - before) * within / _STEP_MS


_UNITS = ("kW", "kWh", "V", "A", "Hz", "1", "degC")
