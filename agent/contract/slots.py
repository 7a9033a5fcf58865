"""Slots: energy and mean power on a fixed UTC grid, built from readings.

Decides what a slot is worth given the readings in and around it; when a slot is closed is the daemon's decision.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.contract.channels import Channel, Kind, Quality, Reading
from agent.contract.errors import ConfigError
from agent.contract.jsonform import Fields

SLOT_LENGTHS_S = (300, 600, 900, 1800, 3600)
DEMAND_INTERVALS_S = (900, 1800, 3600)  # over which demand is billed
FLAG_PARTIAL = "partial"  # readings cover less than the whole slot; energy is scaled up from what they cover
FLAG_EMPTY = "empty"  # no reading covers any of it; power is unknown, energy is 0 and must not be billed
FLAG_SUSPECT = "suspect"  # a reading of it was flagged by the source
FLAG_RESET = "reset"  # a counter went back and was taken as started anew
FLAG_GROSS_UNKNOWN = "gross-unknown"  # PV or battery should be known and is not: nor is the gross load
FLAG_PV_DARK = "pv-dark"  # PV did not tell, and is taken as 0: it is night
_JITTER = 0.1  # of its value: a counter that goes back by less has not begun anew
HOLD_S = 60.0  # how long a momentary reading of a gauge stands for the load
MIN_COMPLETENESS = 0.5  # below this a slot counts as missing


@dataclass(frozen=True, slots=True)
class Slot:
    """Energy of one plant meter over [start_ms, start_ms + length_s), and what PV and battery gave meanwhile.

    The meter is what is billed; gross load is what the plant consumes, and what forecasts are made of.

    Attributes:
        energy_wh: whole watt-hours; the unit in which bills are computed.
        power_kw: mean power; None where nothing is known.
        completeness: share of the slot that readings cover, 0 to 1.
        pv_kw: mean power produced, not below 0; None where the plant has no such channel, or it did not tell.
        battery_kw: mean power given out, below 0 while it charges; None likewise.
    """

    start_ms: int
    length_s: int
    energy_wh: int
    power_kw: float | None
    completeness: float
    flags: tuple[str, ...] = ()
    pv_kw: float | None = None
    battery_kw: float | None = None

    @property
    def end_ms(self) -> int:
        """The instant at which the slot is over."""
        return self.start_ms + self.length_s * 1000

    @property
    def known_kw(self) -> float | None:
        """Mean power as bills, demand and alerts go by it: None where less than half was measured."""
        return self.power_kw if self.completeness >= MIN_COMPLETENESS else None

    @property
    def own_kw(self) -> float | None:
        """What PV and battery gave; None where one of them should be known and is not."""
        return None if FLAG_GROSS_UNKNOWN in self.flags else (self.pv_kw or 0.0) + (self.battery_kw or 0.0)

    @property
    def gross_kw(self) -> float | None:
        """Mean gross load: the meter and what PV and battery gave; None where one of them is unknown."""
        own_kw = self.own_kw
        return None if self.power_kw is None or own_kw is None else self.power_kw + own_kw

    @property
    def known_gross_kw(self) -> float | None:
        """Gross load as forecasts are made from it and judged by it: None where less than half was measured."""
        return self.gross_kw if self.completeness >= MIN_COMPLETENESS else None

    @property
    def known_net_kw(self) -> float | None:
        """What a battery meets, gross load less PV, as its peaks are guarded by it: None likewise."""
        gross_kw = self.known_gross_kw
        return None if gross_kw is None else gross_kw - (self.pv_kw or 0.0)

    def to_row(self) -> dict[str, Any]:
        """The row of the `slots` stream; without PV or battery their fields are absent."""
        own = {"pv_kw": self.pv_kw, "battery_kw": self.battery_kw}
        return {
            "time_ms": self.start_ms,
            "length_s": self.length_s,
            "energy_wh": self.energy_wh,
            "power_kw": self.power_kw,
            "completeness": round(self.completeness, 4),
            "flags": list(self.flags),
            **{name: value for name, value in own.items() if value is not None},
        }

    @classmethod
    def from_row(cls, row: dict[str, Any], where: str = "slot") -> Slot:
        """Parse the form of `to_row`.

        Raises:
            RejectedError: when a field is missing or out of range.
        """
        fields = Fields(row, where)
        return cls(
            start_ms=fields.instant("time_ms"),
            length_s=fields.integer("length_s", 1, 86_400),
            energy_wh=fields.integer("energy_wh", -(2**53)),
            power_kw=None if fields.raw("power_kw") is None else fields.number("power_kw"),
            completeness=fields.number("completeness", 0, 1),
            flags=_flags(fields),
            pv_kw=fields.number("pv_kw") if "pv_kw" in fields else None,
            battery_kw=fields.number("battery_kw") if "battery_kw" in fields else None,
        )


def latest_rows(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the slot rows that count, by start: of several with one start the one that was written last.

    Args:
        rows: of the `slots` stream, in the order of writing where they have one start.
    """
    found = {row["time_ms"]: row for row in rows}
    return [found[start_ms] for start_ms in sorted(found)]


def _flags(fields: Fields) -> tuple[str, ...]:
    """Return the flags, those of later versions too."""
    flags = fields.items("flags", 16)
    if not all(isinstance(flag, str) and len(flag) <= 32 for flag in flags):
        fields.fail("flags", "holds something that is not a short text")
    return tuple(flags)


def check_slot_length(length_s: int) -> int:
    """Return `length_s` when it is one of the lengths in use.

    Raises:
        ConfigError: otherwise.
    """
    if length_s not in SLOT_LENGTHS_S:
        minutes = ", ".join(str(length // 60) for length in SLOT_LENGTHS_S)
        raise ConfigError(f"a slot of {length_s} s is not supported", todo=f"Use one of {minutes} minutes")
    return length_s


def floor_slot(time_ms: int, length_s: int) -> int:
    """Return the start of the slot that holds `time_ms`. Slots are aligned in UTC."""
    return time_ms - time_ms % (length_s * 1000)


def build_slot(
    start_ms: int, length_s: int, channel: Channel, readings: Sequence[Reading], *, hold_s: float = HOLD_S
) -> Slot:
    """Build one slot from the readings of its power or energy channel.

    Gauges (kW) are integrated: a reading with an `interval_s` holds for that interval, a momentary one until the
    next reading and at most `hold_s`. Counters (kWh) are differenced between neighbouring readings and shared out
    in proportion to time. A step back is a rollover where the channel has one and that explains it by less than half
    of the register; by less than a tenth of the value it is jitter and counts nothing; else a reset that restarts at
    zero. Readings after which the counter is back where it was are left out: no meter counts that much at once.

    Args:
        start_ms: start of the slot.
        length_s: its length.
        channel: the channel of all `readings`; its unit is kW for a gauge, kWh for a counter.
        readings: in time order; for counters and held gauges with the last one before the slot and the first after.
        hold_s: how long a momentary gauge reading stands for the load.
    """
    end_ms = start_ms + length_s * 1000
    if channel.kind is Kind.COUNTER:
        covered_ms, kwh, flags = _integrate_counter(start_ms, end_ms, channel, readings)
    else:
        covered_ms, kwh, flags = _integrate_gauge(start_ms, end_ms, channel, readings, hold_s)
    if covered_ms <= 0:
        return Slot(start_ms, length_s, 0, None, 0.0, (FLAG_EMPTY,))
    power_kw = kwh * 3_600_000 / covered_ms
    completeness = min(1.0, covered_ms / (length_s * 1000))
    if completeness < 1.0:
        flags.add(FLAG_PARTIAL)
    energy_wh = round(power_kw * length_s / 3.6)
    return Slot(start_ms, length_s, energy_wh, power_kw, completeness, tuple(sorted(flags)))


def _integrate_gauge(
    start_ms: int, end_ms: int, channel: Channel, readings: Sequence[Reading], hold_s: float
) -> tuple[float, float, set[str]]:
    covered_ms, kwh = 0.0, 0.0
    flags: set[str] = set()
    for index, reading in enumerate(readings):
        until = reading.time_ms + (channel.interval_s or hold_s) * 1000
        if index + 1 < len(readings):
            until = min(until, readings[index + 1].time_ms)
        span = min(until, end_ms) - max(reading.time_ms, start_ms)
        if span <= 0:
            continue
        covered_ms += span
        kwh += reading.value * span / 3_600_000
        if reading.quality >= Quality.SUSPECT:
            flags.add(FLAG_SUSPECT)
    return covered_ms, kwh, flags


def _integrate_counter(
    start_ms: int, end_ms: int, channel: Channel, readings: Sequence[Reading]
) -> tuple[float, float, set[str]]:
    covered_ms, kwh = 0.0, 0.0
    flags: set[str] = set()
    kept = _without_dips(readings)
    if any(start_ms <= reading.time_ms < end_ms for reading in set(readings) - set(kept)):
        flags.add(FLAG_SUSPECT)
    for before, after in itertools.pairwise(kept):
        whole = after.time_ms - before.time_ms
        span = min(after.time_ms, end_ms) - max(before.time_ms, start_ms)
        if whole <= 0 or span <= 0:
            continue
        step, flag = counter_step(before.value, after.value, channel.rollover)
        flags |= {flag} if flag else set()
        covered_ms += span
        kwh += step * span / whole
        if max(before.quality, after.quality) >= Quality.SUSPECT:
            flags.add(FLAG_SUSPECT)
    return covered_ms, kwh, flags


def counter_step(before: float, after: float, rollover: float | None) -> tuple[float, str]:
    """Return what a counter counted between two readings, and the flag that this asks for; see `build_slot`."""
    step = after - before
    if step >= 0:
        return step, ""
    if rollover is not None and 0 <= step + rollover <= rollover / 2:
        return step + rollover, ""
    if -step < _JITTER * before:
        return 0.0, FLAG_SUSPECT
    return max(0.0, after), FLAG_RESET  # the meter was replaced or restarted: it counted from zero


def is_back(before: float, low: float, last: float, value: float) -> bool:
    """Whether a counter that fell from `before` to `low` never did so: from `last` it is back at once."""
    return value >= before and value - last >= (1 - _JITTER) * (before - low)


def _without_dips(readings: Sequence[Reading]) -> list[Reading]:
    kept: list[Reading] = []
    for index, reading in enumerate(readings):
        if not (kept and reading.value < kept[-1].value and _rises_again(kept[-1].value, readings[index:])):
            kept.append(reading)
    return kept


def _rises_again(before: float, readings: Sequence[Reading]) -> bool:
    for last, reading in itertools.pairwise(readings):
        if reading.value >= before:
            return is_back(before, readings[0].value, last.value, reading.value)
    return False
