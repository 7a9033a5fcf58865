"""How day-ahead forecasts turned out: one a local day, laid end to end and scored on the load that followed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.contract.errors import RejectedError, UnavailableError
from agent.contract.features import Floats
from agent.contract.featurespec import DAY_S, MAX_HISTORY_DAYS
from agent.contract.jsonform import Fields
from agent.contract.rows import Forecast, ForecastSource
from agent.contract.slots import SLOT_LENGTHS_S, Slot
from agent.contract.zones import to_local
from agent.inference.naive import forecast_naive
from agent.inference.scoring import pinball
from trainer.service.picture import MAX_KW, MAX_TIME_MS


@dataclass(frozen=True)
class DayAhead:
    """The first forecast of one local day, cut at the next one's origin, and how it turned out.

    Attributes:
        forecast: steps that are shown.
        pinball_kw, naive_pinball_kw: mean loss over the slots whose load is known; None where it is not known, or
            where the centre holds too little history for the naive forecast.
        inside, known: slots whose load lay in the outer band, and slots whose load is known.
    """

    date: dt.date
    forecast: Forecast
    pinball_kw: float | None
    naive_pinball_kw: float | None
    inside: int
    known: int


def read_day_aheads(
    rows: Sequence[Mapping[str, Any]], slots: Sequence[Slot], zone: dt.tzinfo, most_days: int = 366
) -> tuple[list[DayAhead], int]:
    """Stitch the first forecast of each local day and score it on the load that followed.

    Shadow runs of candidates are left out. Each forecast is cut at the origin of the next day's; the newest keeps its
    whole horizon.

    Args:
        rows: `forecasts` rows in the order in which they were made.
        slots: all slots held, also from before the first forecast: the naive forecast is computed from them.
        zone: of the plant.
        most_days: only so many, the newest.

    Returns:
        The days in order, and how many rows did not parse.
    """
    firsts, unreadable = _first_of_each_day(rows, zone)
    firsts = firsts[-most_days:]
    load = _Load(slots)
    result = []
    for index, forecast in enumerate(firsts):
        end_ms = firsts[index + 1].origin_ms if index + 1 < len(firsts) else sys.maxsize
        shown = sum(1 for start in forecast.starts_ms() if start < end_ms)
        result.append(_score(forecast, shown, load, zone))
    return result, unreadable


def _first_of_each_day(rows: Sequence[Mapping[str, Any]], zone: dt.tzinfo) -> tuple[list[Forecast], int]:
    first: dict[dt.date, Forecast] = {}
    unreadable = 0
    for row in rows:
        if row.get("source") == ForecastSource.CANDIDATE:
            continue
        try:
            origin_ms = Fields(dict(row), "forecast").integer("origin_ms", 0, MAX_TIME_MS)
            day = to_local(origin_ms, zone).date()
            if day in first and first[day].origin_ms <= origin_ms:
                continue
            first[day] = _sane(Forecast.from_row(row))
        except RejectedError:
            unreadable += 1
    return sorted(first.values(), key=lambda forecast: forecast.origin_ms), unreadable


def _sane(forecast: Forecast) -> Forecast:
    """Refuse what parses and yet cannot be drawn or scored."""
    levels = forecast.quantiles
    if not levels or not len(forecast.power_kw) or not all(0 < level < 1 for level in levels):
        raise RejectedError("has no steps or no levels between 0 and 1", where="forecast")
    if forecast.slot_s not in SLOT_LENGTHS_S or np.abs(forecast.power_kw).max() > MAX_KW:
        raise RejectedError("has steps of an odd length or beyond any plant", where="forecast")
    return forecast


class _Load:
    """Known gross load by slot start, kW: what forecasts are of."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = slots
        self.known = {slot.start_ms: kw for slot in slots if (kw := slot.known_gross_kw) is not None}

    def at(self, starts_ms: Sequence[int]) -> Floats:
        """[len(starts_ms)] with NaN where nothing is known."""
        return np.array([self.known.get(start, np.nan) for start in starts_ms], dtype=np.float64)

    def naive(self, forecast: Forecast) -> Forecast | None:
        """The seasonal naive forecast for the same steps, from what was known at the origin."""
        step_ms = forecast.slot_s * 1000
        start_ms = max(
            min(self.known, default=forecast.origin_ms), forecast.origin_ms - MAX_HISTORY_DAYS * DAY_S * 1000
        )
        start_ms += (forecast.origin_ms - start_ms) % step_ms
        history = self.at(range(start_ms, forecast.origin_ms, step_ms))
        try:
            return forecast_naive(start_ms, history, forecast.slot_s, len(forecast.power_kw))
        except UnavailableError:
            return None


def _score(forecast: Forecast, shown: int, load: _Load, zone: dt.tzinfo) -> DayAhead:
    starts = forecast.starts_ms()[:shown]
    truth = load.at(starts)
    power = forecast.power_kw[:shown]
    known = int(np.isfinite(truth).sum())
    naive = load.naive(forecast) if known else None
    inside = int(((truth >= power.min(axis=1)) & (truth <= power.max(axis=1))).sum())
    return DayAhead(
        date=to_local(forecast.origin_ms, zone).date(),
        forecast=dataclasses.replace(forecast, power_kw=power),
        pinball_kw=pinball(power, truth, forecast.quantiles) if known else None,
        naive_pinball_kw=pinball(naive.power_kw[:shown], truth, naive.quantiles) if naive is not None else None,
        inside=inside,
        known=known,
    )


def mean_losses(days: Sequence[DayAhead]) -> tuple[float | None, float | None, int]:
    """Return realised pinball loss and the naive one in kW over the slots where both are known, and their number.

    Where no day has both, the first is over all known slots and the second is None.
    """
    both = [day for day in days if day.pinball_kw is not None and day.naive_pinball_kw is not None]
    used = both or [day for day in days if day.pinball_kw is not None]
    slots = sum(day.known for day in used)
    if not slots:
        return None, None, 0
    own = sum((day.pinball_kw or 0.0) * day.known for day in used) / slots
    naive = sum((day.naive_pinball_kw or 0.0) * day.known for day in used) / slots if both else None
    return own, naive, slots
