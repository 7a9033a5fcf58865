"""Slots and tariffs for tests of bills."""

from __future__ import annotations

import dataclasses
import datetime as dt
from zoneinfo import ZoneInfo

from agent.contract.slots import FLAG_EMPTY, Slot
from agent.contract.tariff.tariff import Tariff

QUARTER_MS = 900_000
HEAD = 'name = "test"\nzone = "{zone}"\ncurrency = "EUR"\n'


def tariff(body: str, *later: str, zone: str = "Europe/Berlin") -> Tariff:
    """A tariff of `body`, and later versions of it."""
    first, *others = (HEAD.format(zone=zone) + text for text in (body, *later))
    return Tariff.from_toml(first, "tariff", *others)


def at(*args: int, zone: str = "Europe/Berlin", fold: int = 0) -> int:
    """Epoch ms of a local time."""
    return round(dt.datetime(*args, tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)


def slots(start_ms: int, energies_wh: list[int], length_s: int = 900) -> list[Slot]:
    """Known slots one after the other."""
    return [
        Slot(start_ms + index * length_s * 1000, length_s, energy, energy * 3.6 / length_s, 1.0)
        for index, energy in enumerate(energies_wh)
    ]


def steady(start_ms: int, end_ms: int, kw: float, length_s: int = 900) -> list[Slot]:
    """Slots of one mean power from start to end."""
    return slots(start_ms, [round(kw * length_s / 3.6)] * ((end_ms - start_ms) // (length_s * 1000)), length_s)


def with_peak(load: list[Slot], start_ms: int, kw: float) -> list[Slot]:
    """The same with another power in the slot that begins at an instant."""
    return [
        dataclasses.replace(slot, energy_wh=round(kw * slot.length_s / 3.6), power_kw=kw)
        if slot.start_ms == start_ms
        else slot
        for slot in load
    ]


def empty(slot: Slot) -> Slot:
    """A slot of which nothing was read."""
    return dataclasses.replace(slot, energy_wh=0, power_kw=None, completeness=0.0, flags=(FLAG_EMPTY,))


def by_line(bill) -> dict[str, tuple[str, str]]:
    """Quantity and amount of each line."""
    return {line.period: (f"{line.quantity.normalize():f}", str(line.amount)) for line in bill.lines}
