"""How well the model in use forecasts lately, beside seasonal naive over the same slots.

Decides which slots are scored: a forecast is followed for its first 24 h, then the next one, as on-line calibration
does it; the loss is the mean pinball loss (`scoring`). No I/O, no clock. Not for concurrent use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from agent.contract.errors import UnavailableError
from agent.contract.features import Floats
from agent.contract.featurespec import DAY_S
from agent.contract.jsonform import Fields
from agent.contract.rows import Forecast, ForecastSource, rounded
from agent.inference.naive import forecast_naive
from agent.inference.scoring import pinball

DAYS = 14
_LEAST_SHARE = 0.5  # of a day's slots must be known for the day to count
_MAX_KW = 1e12


class Rivalry(NamedTuple):
    """Mean losses of the model and of seasonal naive over the days that counted."""

    model: str
    days: int
    loss_kw: float
    naive_kw: float


@dataclass
class _Followed:
    origin_ms: int
    tables: Floats  # [2, n, levels]: the model's, naive's
    quantiles: tuple[float, ...]
    sums: list[float]  # of losses: the model's, naive's
    known: int = 0


class SkillWatch:
    """Scores the active model's forecasts of the last fourteen days.

    Invariants:
        - a slot is scored at most once, also when it is given again;
        - what is known after `to_json` and `from_json` and the slots since is what would have been known without;
        - another model begins anew.
    """

    def __init__(self, slot_s: int) -> None:
        """Begin with nothing known."""
        self._slot_ms = slot_s * 1000
        self._begin("")

    def _begin(self, model: str) -> None:
        self._model = model
        self._days: list[tuple[float, float]] = []
        self._followed: _Followed | None = None
        self._through_ms = 0

    def issued(self, raw: Forecast, start_ms: int, power_kw: Floats) -> bool:
        """Take note of a raw forecast; return whether it is followed from now on: the record is to be kept then.

        Args:
            raw: as the ladder gave it; what is not the active model's is left out.
            start_ms: start of the history that it was made from.
            power_kw: [T] that history, from which naive forecasts, too.
        """
        if raw.source is not ForecastSource.ACTIVE or raw.slot_s * 1000 != self._slot_ms:
            return False
        if raw.model != self._model:
            self._begin(raw.model)
        if self._followed is not None:
            if raw.origin_ms < self._followed.origin_ms + len(self._followed.tables[0]) * self._slot_ms:
                return False
            self._close()
        steps = min(len(raw.power_kw), DAY_S * 1000 // self._slot_ms)
        try:
            naive = forecast_naive(start_ms, power_kw, raw.slot_s, steps)
        except UnavailableError:
            return False
        if naive.quantiles != raw.quantiles:
            return False
        # As in rows: a record that is read back says exactly what was scored.
        tables = np.array([rounded(raw.power_kw[:steps]), rounded(naive.power_kw)])
        self._followed = _Followed(raw.origin_ms, tables, raw.quantiles, [0.0, 0.0])
        self._through_ms = raw.origin_ms
        return True

    def learn(self, start_ms: int, power_kw: float | None) -> None:
        """Score one slot that is over, in time order; None where its power is unknown."""
        followed = self._followed
        if followed is None or start_ms < self._through_ms:
            return
        self._through_ms = start_ms + self._slot_ms
        step = (start_ms - followed.origin_ms) // self._slot_ms
        if step < len(followed.tables[0]) and power_kw is not None:
            truth = np.array([power_kw])
            for rival, table in enumerate(followed.tables):
                followed.sums[rival] += pinball(table[step : step + 1], truth, followed.quantiles)
            followed.known += 1
        if step >= len(followed.tables[0]) - 1:
            self._close()

    def forget_after(self, now_ms: int) -> None:
        """Go on under a clock that was set: what was followed is let go."""
        self._followed, self._through_ms = None, now_ms

    def rivalry(self, model: str | None) -> Rivalry | None:
        """Return what is known of `model`; None where it is not the one that was scored."""
        if model is None or model != self._model:
            return None
        days = len(self._days)
        loss_kw, naive_kw = (sum(column) / max(1, days) for column in zip((0.0, 0.0), *self._days, strict=True))
        return Rivalry(model, days, loss_kw, naive_kw)

    def to_json(self) -> dict[str, Any]:
        """The record, to be kept when a forecast begins to be followed."""
        followed = self._followed
        return {
            "model": self._model,
            "days": [list(day) for day in self._days],
            "followed": None
            if followed is None
            else {
                "origin_ms": followed.origin_ms,
                "quantiles": list(followed.quantiles),
                "tables": followed.tables.tolist(),
            },
        }

    def resume(self, value: object, where: str) -> None:
        """Go on from `to_json`; the slots since the followed forecast's origin are to be given again.

        Raises:
            RejectedError: when malformed; nothing has changed then.
        """
        fields = Fields(value, where)
        days = [_numbers(fields, "days", pair, 2) for pair in fields.items("days", DAYS)]
        followed = None if fields.raw("followed") is None else self._followed_of(fields.child("followed"))
        self._begin(fields.text("model", max_length=80))
        self._days = [(pair[0], pair[1]) for pair in days]
        self._followed = followed
        self._through_ms = followed.origin_ms if followed is not None else 0

    def _followed_of(self, fields: Fields) -> _Followed:
        levels = fields.items("quantiles", 32)
        quantiles = tuple(_numbers(fields, "quantiles", levels, len(levels)))
        steps = DAY_S * 1000 // self._slot_ms
        tables = fields.items("tables", 2)
        if len(tables) != 2 or not all(isinstance(table, list) and 0 < len(table) <= steps for table in tables):
            fields.fail("tables", "are not two forecasts of a day")
        parsed = [[_numbers(fields, "tables", row, len(quantiles)) for row in table] for table in tables]
        if len(parsed[0]) != len(parsed[1]):
            fields.fail("tables", "differ in length")
        return _Followed(fields.instant("origin_ms"), np.array(parsed), quantiles, [0.0, 0.0])

    def _close(self) -> None:
        followed = self._followed
        self._followed = None
        if followed is not None and followed.known >= _LEAST_SHARE * len(followed.tables[0]):
            self._days.append((followed.sums[0] / followed.known, followed.sums[1] / followed.known))
            del self._days[:-DAYS]


def _numbers(fields: Fields, name: str, value: object, count: int) -> list[float]:
    if not isinstance(value, list) or len(value) != count:
        fields.fail(name, f"does not have {count} numbers where they are due")
    return [Fields({name: number}, fields.where).number(name, -_MAX_KW, _MAX_KW) for number in value]
