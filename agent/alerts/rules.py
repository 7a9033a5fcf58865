"""What is worth an alarm: pure judgements on what the daemon has just observed.

A rule says ON, OFF, or HOLD (between its two limits, or nothing to judge by); when that raises or clears an alert is
the board's decision. Rules keep no state and read no clock.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.featurespec import DAY_S
from agent.contract.rows import Forecast, ForecastSource
from agent.contract.zones import to_local

_DEFAULT_CLEAR_SHARE = 0.95


class Verdict(enum.Enum):
    """What a rule makes of an observation."""

    ON = "on"
    OFF = "off"
    HOLD = "hold"


@dataclass(frozen=True)
class Finding:
    """A verdict in words.

    Attributes:
        text: for people; complete without the rest.
        details: numbers for the row, with units in their names.
    """

    verdict: Verdict
    text: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Observations:
    """What the daemon knows now.

    Attributes:
        forecast: the latest one; None before the first.
        last_reading_ms: up to when each channel's readings reach; a channel without one is absent.
        since_ms: when watching began (plant clock at the start of the daemon). Silence before it was the device's own.
        storage_error: why the disk cannot be written; empty where it can.
    """

    forecast: Forecast | None
    last_reading_ms: Mapping[str, int]
    since_ms: int
    storage_error: str = ""


class Rule(Protocol):
    """One kind of alert; at most one of it is open."""

    @property
    def name(self) -> str:
        """Identifies the rule across restarts."""
        ...

    @property
    def severity(self) -> str:
        """`warning` or `critical`."""
        ...

    @property
    def clear_after_s(self) -> float:
        """How long it must be OFF without a break before its alert is cleared."""
        ...

    def judge(self, now_ms: int, observations: Observations) -> Finding:
        """Judge what is known at `now_ms` (plant clock)."""
        ...


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
    clear_after_s: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.threshold_kw) and self.threshold_kw > 0):
            raise ConfigError(f"a peak of {self.threshold_kw} kW cannot be watched", where="alerts.peak_kw")
        if not self._clear_below() < self.threshold_kw:
            raise ConfigError("must be below alerts.peak_kw", where="alerts.clear_below_kw")

    def judge(self, now_ms: int, observations: Observations) -> Finding:
        """Compare the highest of the peaks that are not over yet with the limits."""
        forecast = observations.forecast
        if forecast is None or self.quantile not in forecast.quantiles:
            return Finding(Verdict.HOLD)
        first = max(0, (now_ms - forecast.origin_ms) // (forecast.slot_s * 1000))
        ahead = max(self._peaks(forecast, first), default=None)
        if ahead is None:
            return Finding(Verdict.OFF, "the hours that were forecast are over")
        peak_kw, step = ahead
        at_ms = forecast.starts_ms()[step]
        if peak_kw > self.threshold_kw:
            return Finding(Verdict.ON, self._text(forecast, peak_kw, at_ms), self._details(forecast, peak_kw, at_ms))
        if peak_kw < self._clear_below():
            text = f"no peak ahead: at most {peak_kw:.6g} kW of {self.threshold_kw:.6g} kW expected"
            return Finding(Verdict.OFF, text, self._details(forecast, peak_kw, at_ms))
        return Finding(Verdict.HOLD)

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
            f"load may reach {peak_kw:.4g} kW on {when}, {over_kw:.3g} kW ({over_kw / self.threshold_kw:.1%}) over the "
            f"limit of {self.threshold_kw:.6g} kW"
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
class DataMissing:
    """A channel is silent. ON after `after_s` without a reading; cleared when readings have come for a while again.

    Attributes:
        channel: which one.
        after_s: silence that is worth an alarm.
        zone: of the times in its text.
    """

    channel: str
    after_s: float
    zone: dt.tzinfo = dt.UTC
    severity: str = "critical"

    def __post_init__(self) -> None:
        if not self.after_s > 0:
            raise ConfigError("must be above 0", where="alerts.data_missing_s")

    @property
    def name(self) -> str:
        """One rule a channel."""
        return f"data-missing:{self.channel}"

    @property
    def clear_after_s(self) -> float:
        """Twice the silence that is borne: one reading keeps a channel OFF for `after_s`, and is no meter back."""
        return 2 * self.after_s

    def judge(self, now_ms: int, observations: Observations) -> Finding:
        """Compare the silence with the limit. After a start each channel has `after_s` to speak up: HOLD until then."""
        last_ms = observations.last_reading_ms.get(self.channel)
        spoke = last_ms is not None and last_ms >= observations.since_ms
        silent_s = (now_ms - (observations.since_ms if last_ms is None else last_ms)) / 1000
        details = {"channel": self.channel, "silent_s": round(silent_s), "last_reading_ms": last_ms}
        if spoke and silent_s <= self.after_s:
            return Finding(Verdict.OFF, f"channel {self.channel} is read again", details)
        if now_ms - observations.since_ms <= self.after_s * 1000:
            return Finding(Verdict.HOLD)
        last = "" if last_ms is None else f", last at {to_local(last_ms, self.zone):%a %d %b %H:%M}"
        text = f"no reading of channel {self.channel} for {_span(silent_s)}{last}; check the meter and its connection"
        return Finding(Verdict.ON, text, details)


@dataclass(frozen=True)
class StoreFailing:
    """The disk cannot be written. ON while that is so; cleared once it has been well for a minute."""

    name: str = "store-failing"
    severity: str = "critical"
    clear_after_s: float = 60.0

    def judge(self, now_ms: int, observations: Observations) -> Finding:  # noqa: ARG002 - as every rule
        """Say what the store says."""
        error = observations.storage_error
        if not error:
            return Finding(Verdict.OFF, "the disk is written again")
        text = f"readings are kept in memory only, and the oldest are lost when that is full: {error}"
        return Finding(Verdict.ON, text, {"storage_error": error})


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} days"
