"""The rows of a campaign: a pure function of seed, stream and number, so that whoever finds one can tell if it is right.

A number is used once over all runs of a device. It stands in each row: as the time of a reading, as a field elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.contract.channels import Channel, Reading

T0 = 1_767_225_600_000
STEP_MS = 50
NAMES = ("load_kw", "pump_kw", "oven_kw")
CHANNELS = {name: Channel(name, "kW", decimals=1) for name in NAMES}
OTHER_STREAMS = ("alerts", "events", "slots", "forecasts", "costs", "health")
_TEST = "test"  # kind of these rows; the store's own events have other kinds


def time_ms(number: int) -> int:
    """Plant time of a row."""
    return T0 + number * STEP_MS


def reading(seed: int, number: int) -> Reading:
    """The reading of that number."""
    noise = _noise(seed, number)
    return Reading(NAMES[number % len(NAMES)], time_ms(number), noise % 20_011 / 10, noise // 7 % 3)


def record(seed: int, stream: str, number: int) -> dict[str, Any]:
    """The row of that number of any other stream."""
    noise = f"{_noise(seed, number):016x}"
    return {"time_ms": time_ms(number), "kind": _TEST, "stream": stream, "n": number, "text": noise * (1 + number % 40)}


def row(seed: int, stream: str, number: int) -> Reading | dict[str, Any]:
    """The row of that number, of any stream."""
    return reading(seed, number) if stream == "readings" else record(seed, stream, number)


def number_of(stream: str, found: Any) -> int | None:
    """The number that a row claims; None of a row that a program made for itself, such as a gap event."""
    if stream == "readings":
        number, rest = divmod(found[1] - T0, STEP_MS)
        return number if not rest else -1
    if isinstance(found, Mapping) and found.get("kind") == _TEST:
        number = found.get("n")
        return number if isinstance(number, int) else -1
    return None


def _noise(seed: int, number: int) -> int:
    mixed = ((number + 1) * 0x9E3779B97F4A7C15 + (seed + 1) * 0xBF58476D1CE4E5B9) % 2**64
    mixed = (mixed ^ mixed >> 30) * 0x94D049BB133111EB % 2**64
    return mixed ^ mixed >> 31
