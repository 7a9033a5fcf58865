"""Peaks: one that the forecast sees ahead, and one that the running billing interval is about to set."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.alerts.finding import HOLD, Finding, Verdict
from agent.alerts.observations import Demand, Observations
from agent.contract.amounts import in_kw
from agent.contract.errors import ConfigError
from agent.contract.featurespec import DAY_S
from agent.contract.rows import Forecast, ForecastSource
from agent.contract.zones import to_local

_DEFAULT_CLEAR_SHARE = 0.95


@dataclass(frozen=True)
class PeakAhead:
    """The forecast peak of a day exceeds a limit. ON above `threshold_kw`, OFF below `clear_below_kw`, in between HOLD.

    Attributes:
        threshold_kw: limit of mean power over a slot.
        quantile: which level of the forecast is compared; 0.9 warns early, 0.5 rarely in vain.
        clear_below_kw: by default 95 % of the threshold.
        zone: of the times in its text.
    """

    threshold_kw: float
    quantile: float = 0.9
    clear_below_kw: float | None = None
    zone: dt.tzinfo = dt.UTC
    name: str = "peak-ahead"
    severity: str = "warning"
    raise_after_s: float = 0.0
    clear_after_s: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.threshold_kw) and self.threshold_kw > 0):
            raise ConfigError(f"a peak of {self.threshold_kw} kW cannot be watched", where="alerts.peak_kw")
        if not self._clear_below() < self.threshold_kw:
            raise ConfigError("must be below alerts.peak_kw", where="alerts.clear_below_kw")

    def judge(self, observations: Observations) -> Finding:
        """Compare the highest of the peaks that are not over yet with the limits."""
        forecast = observations.forecast
        if forecast is None or self.quantile not in forecast.quantiles:
            return HOLD
        first = max(0, (observations.now_ms - forecast.origin_ms) // (forecast.slot_s * 1000))
        ahead = max(self._peaks(forecast, first), default=None)
        if ahead is None:
            return Finding(Verdict.OFF, "the hours that were forecast are over")
        peak_kw, step = ahead
        at_ms = forecast.starts_ms()[step]
        if peak_kw > self.threshold_kw:
            return Finding(Verdict.ON, self._text(forecast, peak_kw, at_ms), self._details(forecast, peak_kw, at_ms))
        if peak_kw < self._clear_below():
            text = f"no peak ahead: at most {in_kw(peak_kw, 6)} of {in_kw(self.threshold_kw, 6)} expected"
            return Finding(Verdict.OFF, text, self._details(forecast, peak_kw, at_ms))
        return HOLD

    def _peaks(self, forecast: Forecast, first: int) -> Iterator[tuple[float, int]]:
        """Yield the peak of each day from step `first` on, and the step at which it is most likely."""
        path = forecast.level(self.quantile)
        per_day = DAY_S // forecast.slot_s
        for day, peak_kw in enumerate(forecast.peak_kw[:, forecast.quantiles.index(self.quantile)]):
            begin, end = day * per_day, min((day + 1) * per_day, len(path))
            step = begin + int(np.argmax(path[begin:end]))
            if step >= first:
                yield float(peak_kw), step
            elif first < end:  # the day's highest hours are over: only the slots say what is left of it
                step = first + int(np.argmax(path[first:end]))
                yield float(path[step]), step

    def _clear_below(self) -> float:
        return self.threshold_kw * _DEFAULT_CLEAR_SHARE if self.clear_below_kw is None else self.clear_below_kw

    def _text(self, forecast: Forecast, peak_kw: float, at_ms: int) -> str:
        over_kw = peak_kw - self.threshold_kw
        when = f"{to_local(at_ms, self.zone):%a %d %b %H:%M}"
        text = (
            f"load may reach {in_kw(peak_kw)} on {when}, {in_kw(over_kw, 3)} ({over_kw / self.threshold_kw:.1%}) over "
            f"the limit of {in_kw(self.threshold_kw, 6)}"
        )
        if forecast.source is not ForecastSource.ACTIVE:
            text += f"; from a fallback forecast ({forecast.model})"
        return text

    def _details(self, forecast: Forecast, peak_kw: float, at_ms: int) -> dict[str, Any]:
        return {
            "peak_kw": float(f"{peak_kw:.6g}"),
            "peak_at_ms": at_ms,
            "over_kw": float(f"{peak_kw - self.threshold_kw:.6g}"),
            "threshold_kw": self.threshold_kw,
            "quantile": self.quantile,
            "source": str(forecast.source),
            "model": forecast.model,
        }


@dataclass(frozen=True)
class PeakNow:
    """The running billing interval is heading above its target. OFF below `clear_share` of it, in between HOLD.

    A new interval begins with what the load of the last minutes makes of it, so that an alert outlives the turn of an
    interval while the load stays, and ends when it has been calm for five minutes.

    Attributes:
        clear_share: of the target.
        zone: of the times in its text.
    """

    clear_share: float = 0.97
    zone: dt.tzinfo = dt.UTC
    name: str = "peak-now"
    severity: str = "critical"
    raise_after_s: float = 60.0
    clear_after_s: float = 300.0

    def judge(self, observations: Observations) -> Finding:
        """Compare the mean that the interval is heading for with its target."""
        demand = observations.demand
        if demand is None or demand.predicted_kw is None:
            return HOLD
        if demand.target_kw is None:
            return Finding(Verdict.OFF, "no demand is billed now")
        details = {
            "predicted_kw": float(f"{demand.predicted_kw:.6g}"),
            "target_kw": float(f"{demand.target_kw:.6g}"),
            "interval_end_ms": demand.end_ms,
        }
        if demand.predicted_kw > demand.target_kw:
            return Finding(Verdict.ON, *self._told(demand, demand.predicted_kw, demand.target_kw, details))
        if demand.predicted_kw < self.clear_share * demand.target_kw:
            text = f"the interval is heading for {in_kw(demand.predicted_kw)} of {in_kw(demand.target_kw, 6)}"
            return Finding(Verdict.OFF, text, details)
        return HOLD

    def _told(
        self, demand: Demand, predicted_kw: float, target_kw: float, details: dict[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        until = f"{to_local(demand.end_ms, self.zone):%H:%M}"
        text = (
            f"the interval until {until} is heading for {in_kw(predicted_kw)}, {in_kw(predicted_kw - target_kw, 3)} "
            f"over {in_kw(target_kw, 6)}"
        )
        if demand.allowable_kw is None or demand.rest_kw is None:
            return text, details
        if demand.allowable_kw < 0:
            return f"{text}; no drop of the load can keep it below any more", details
        drop_kw = demand.rest_kw - demand.allowable_kw
        details |= {"drop_kw": float(f"{drop_kw:.6g}"), "allowable_kw": float(f"{demand.allowable_kw:.6g}")}
        return (
            f"{text}: the load must drop by {in_kw(drop_kw, 3)}, to {in_kw(demand.allowable_kw)}, until {until}",
            details,
        )
