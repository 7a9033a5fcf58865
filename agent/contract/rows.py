"""Rows of the streams that people and charts read: the JSON forms of forecasts, costs, alerts, events and health.

Slots have their own module; readings are columns. Every row has `time_ms` (plant clock). Receivers keep unknown fields.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.contract.features import Floats
from agent.contract.jsonform import Fields

_NOTE_LENGTH = 512
_MAX_KW = 1e12


class ForecastSource(enum.StrEnum):
    """Which rung of the ladder a forecast came from; everything but ACTIVE is a fallback and flagged as one."""

    ACTIVE = "active"
    PREVIOUS = "previous"
    NAIVE = "naive"
    CANDIDATE = "candidate"  # shadow run, never used for cost or alerts


@dataclass(frozen=True)
class Forecast:
    """Quantiles of mean power ahead.

    Attributes:
        origin_ms: start of the first slot forecast.
        slot_s: slot length.
        quantiles: levels, ascending.
        power_kw: [steps, levels].
        peak_kw: [days, levels] of the greatest mean slot power in each 24 h from the origin on. The peak of a day has
            quantiles of its own: the highest slot of the median falls short of it, since slots do not peak together.
        source: the rung it came from.
        model: `name@version`, or `seasonal-naive`.
        note: why it is a fallback; empty for the active model.
        repaired_share: share of the last 7 days of history that had to be filled.
        calibrated: whether on-line calibration has moved the quantiles. Only the calibrated ones are in a row: the raw
            ones follow from the slots before the origin and the model, both of which the centre has.
    """

    origin_ms: int
    slot_s: int
    quantiles: tuple[float, ...]
    power_kw: Floats
    peak_kw: Floats
    source: ForecastSource
    model: str
    note: str = ""
    repaired_share: float = 0.0
    calibrated: bool = False

    def level(self, quantile: float) -> Floats:
        """Return [steps] of one quantile level."""
        column: Floats = self.power_kw[:, self.quantiles.index(quantile)]
        return column

    def starts_ms(self) -> list[int]:
        """Start of each slot."""
        return [self.origin_ms + step * self.slot_s * 1000 for step in range(len(self.power_kw))]

    def to_row(self, time_ms: int) -> dict[str, Any]:
        """The row of the `forecasts` stream, made at `time_ms`."""
        return {
            "time_ms": time_ms,
            "origin_ms": self.origin_ms,
            "slot_s": self.slot_s,
            "quantiles": list(self.quantiles),
            "power_kw": rounded(self.power_kw),
            "peak_kw": rounded(self.peak_kw),
            "source": str(self.source),
            "model": self.model,
            "note": self.note[:_NOTE_LENGTH],
            "repaired_share": round(self.repaired_share, 4),
            "calibrated": self.calibrated,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any], where: str = "forecast") -> Forecast:
        """Parse the form of `to_row`.

        Raises:
            RejectedError: when malformed.
        """
        fields = Fields(dict(row), where)
        levels = tuple(_number(fields, "quantiles", level) for level in fields.items("quantiles", 32))
        if list(levels) != sorted(set(levels)) or not all(0 < level < 1 for level in levels):
            fields.fail("quantiles", "are not ascending levels between 0 and 1")
        slot_s = fields.integer("slot_s", 1, 86_400)
        power_kw = _table(fields, "power_kw", 7 * 288, len(levels))
        peak_kw = _table(fields, "peak_kw", 7, len(levels))
        if len(peak_kw) != -(-len(power_kw) * slot_s // 86_400):
            fields.fail("peak_kw", "does not have one entry for each 24 h of the forecast")
        source = fields.text("source", max_length=16)
        if source not in set(ForecastSource):
            fields.fail("source", f"{source!r} is unknown here")
        return cls(
            origin_ms=fields.instant("origin_ms"),
            slot_s=slot_s,
            quantiles=levels,
            power_kw=power_kw,
            peak_kw=peak_kw,
            source=ForecastSource(source),
            model=fields.text("model", max_length=80),
            note=fields.text("note", max_length=_NOTE_LENGTH),
            repaired_share=fields.number("repaired_share", 0, 1),
            calibrated=fields.flag("calibrated"),
        )


def rounded(table: Floats) -> list[list[float]]:
    """A table of a forecast as its row has it: six digits of each number."""
    return [[float(f"{value:.6g}") for value in row] for row in table]


def _table(fields: Fields, name: str, most: int, levels: int) -> Floats:
    rows = fields.items(name, most)
    if not rows or not levels or not all(isinstance(row, list) and len(row) == levels for row in rows):
        fields.fail(name, "does not have one number for each time and level")
    return np.array([[_number(fields, name, value) for value in row] for row in rows], dtype=np.float64)


def _number(fields: Fields, name: str, value: object) -> float:
    """Return a finite number out of a list; JSON integers may have hundreds of digits."""
    if not isinstance(value, float | int) or isinstance(value, bool) or not abs(value) <= _MAX_KW:
        fields.fail(name, "holds something that is not a number in range")
    return float(value)


def cost_row(time_ms: int, scope: str, currency: str, amount: str, low: str, high: str, **more: Any) -> dict[str, Any]:
    """A row of the `costs` stream. `scope` is `today`, `month`, `month_end` or `next_24h`; money is text."""
    return {
        "time_ms": time_ms,
        "scope": scope,
        "currency": currency,
        "amount": amount,
        "low": low,
        "high": high,
        **more,
    }


def alert_row(time_ms: int, rule: str, state: str, severity: str, text: str, **more: Any) -> dict[str, Any]:
    """A row of the `alerts` stream. `state` is `raised`, `cleared` or `acknowledged`; `id` links them."""
    return {"time_ms": time_ms, "rule": rule, "state": state, "severity": severity, "text": text, **more}


def event_row(time_ms: int, kind: str, text: str, **more: Any) -> dict[str, Any]:
    """A row of the `events` stream; `kind` is `boot`, `model`, `gap`, `source`, `clock`, ..."""
    return {"time_ms": time_ms, "kind": kind, "text": text, **more}


def gap_row(time_ms: int, stream: str, epoch: int, first: int, last: int, reason: str) -> dict[str, Any]:
    """The event that declares rows lost, durable before they are given up."""
    return event_row(
        time_ms,
        "gap",
        f"rows {first}..{last} of {stream} were given up: {reason}",
        stream=stream,
        epoch=epoch,
        first=first,
        last=last,
        reason=reason,
    )
