"""What is expected at the meter where PV or battery is measured: the gross forecast, less PV and battery as planned.

Decides which plan counts and what is remembered; the shift itself is `planning.atmeter`'s, the PV forecast
`planning.pv`'s. A plant without these channels does not load this: its forecast is of the meter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from agent.config import Config
from agent.contract.errors import RejectedError, StorageError
from agent.contract.features import Floats
from agent.contract.rows import Forecast
from agent.daemon.history import History
from agent.daemon.plannote import read_plan_note
from agent.planning.atmeter import at_meter
from agent.planning.pv import PvAhead, forecast_pv

_log = logging.getLogger(__name__)


class MeterAhead:
    """Tells forecasts of the gross load as forecasts of the meter.

    Invariants:
        - the battery is taken to do what the newest plan says, and nothing where that says nothing;
        - the same forecast and plan give the same answer, which is worked out once.
    """

    def __init__(self, config: Config, history: History, note: Callable[[str], bytes | None]) -> None:
        """Begin with the plan that the store has.

        Args:
            config: which of PV and battery is measured.
            history: what PV gave.
            note: reads what the store keeps under a name.
        """
        self._has_pv, self._has_battery = (channel is not None for channel in config.own_channels)
        self._history, self._note = history, note
        self._pv: tuple[Forecast, PvAhead] | None = None
        self._last: tuple[Forecast, Forecast] | None = None
        self._planned: tuple[int, int, Floats] | None = None  # start, step, kW given by the battery or held back of PV
        self.replanned()

    def replanned(self) -> None:
        """Go by the plan that the store has by now."""
        self._planned, self._last = _planned(self._note, pv=self._has_pv, battery=self._has_battery), None

    def pv(self, forecast: Forecast) -> PvAhead | None:
        """Return what PV will give in the steps of a forecast, as far as was known at its origin; None without PV."""
        if not self._has_pv:
            return None
        if self._pv is None or self._pv[0] is not forecast:
            known_kw = self._history.pv_kw(forecast.origin_ms)
            self._pv = forecast, forecast_pv(known_kw, forecast.slot_s, len(forecast.power_kw))
        return self._pv[1]

    def at_meter(self, forecast: Forecast) -> Forecast:
        """Return what a forecast of the gross load lets expect at the meter."""
        if self._last is None or self._last[0] is not forecast:
            pv = self.pv(forecast)
            own_kw = self._planned_kw(forecast) + (0.0 if pv is None else pv.power_kw)
            self._last = forecast, at_meter(forecast, own_kw)
        return self._last[1]

    def _planned_kw(self, forecast: Forecast) -> Floats:
        own_kw = np.zeros(len(forecast.power_kw))
        if self._planned is not None and self._planned[1] == forecast.slot_s:
            start_ms, step_s, planned_kw = self._planned
            first = (forecast.origin_ms - start_ms) // (step_s * 1000)
            part = planned_kw[first : first + len(own_kw)] if first >= 0 else planned_kw[:0]
            own_kw[: len(part)] = part
        return own_kw


def _planned(note: Callable[[str], bytes | None], *, pv: bool, battery: bool) -> tuple[int, int, Floats] | None:
    """Return what the newest plan lets the battery give, less what it holds back of PV; None without a plan."""
    try:
        value = read_plan_note(note)
        if value is None:
            return None
        given, taken, held = (_powers(value["plan"], name) for name in ("discharge_kw", "charge_kw", "curtail_kw"))
        own_kw = (given - taken) * battery - held * pv
        return int(value["problem"]["start_ms"]), int(value["problem"]["step_s"]), own_kw
    except (RejectedError, StorageError, KeyError, TypeError, ValueError) as exc:
        _log.warning("the last plan cannot be read: the battery is taken to stand still: %s", exc)
        return None


def _powers(plan: Mapping[str, Any], name: str) -> Floats:
    """Return a power a step.

    Raises:
        ValueError: when they are not numbers in a row.
    """
    powers: Floats = np.array(plan[name], dtype=np.float64)
    if powers.ndim != 1 or not np.isfinite(powers).all():
        raise ValueError(f"{name} is not a number for each step")
    return powers
