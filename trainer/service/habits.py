"""Day types in the report: the plants at which devices stand, from the load that the centre learns from.

Decides which plants are shown and what is said of them; what a day type is, is `trainer/dataset/profiles.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Engine

from agent.contract.errors import ConfigError
from trainer.dataset.cleaning import clean_snapshot
from trainer.dataset.profiles import DayType, DayTypes, day_types
from trainer.dataset.snapshot import take
from trainer.service import figures, queries

MAX_PLANTS = 20  # each takes a moment to look at


@dataclass(frozen=True)
class PlantPart:
    """One plant's part of the page, ready for the template.

    Attributes:
        zone: of the plant's midnight.
        days: whole days that were looked at.
        types: the commonest first.
        unusual: dates of the days that are like no type, ISO form.
        figure: mean and band of each type; None with `missing` where there is too little load.
        missing: what to do about it.
    """

    plant: str
    zone: str
    days: int
    types: Sequence[DayType]
    unusual: Sequence[str]
    figure: figures.Figure | None
    missing: str = ""


def plant_parts(engine: Engine, devices: Sequence[str]) -> list[PlantPart]:
    """Look at the plants of the given devices, at most `MAX_PLANTS`; a device without a plant has no part here.

    Raises:
        StorageError: when the database cannot be read.
    """
    return [_part(engine, plant, zone) for plant, zone in queries.device_plants(engine, devices)[:MAX_PLANTS]]


def _part(engine: Engine, plant: str, zone: str) -> PlantPart:
    try:
        types: DayTypes = day_types(clean_snapshot(take(engine, plant))[0])
    except ConfigError as exc:  # too little load is no fault of the report
        return PlantPart(plant, zone, 0, (), (), None, str(exc))
    figure = figures.day_types_figure(types.types, zone)
    return PlantPart(plant, zone, len(types.days), types.types, [day.isoformat() for day in types.unusual], figure)
