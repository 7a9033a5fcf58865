"""Which forecast is scored with which truth: one model's forecasts as issued, followed slot by slot.

Decides what the on-line calibration of one model learns from; how it learns is `calibration`'s decision, where the
record is kept the caller's. No I/O, no clock. Not for concurrent use.

The rule: a forecast that is issued while none is followed is followed for its first 24 h (or its horizon, where that
is shorter); the next one that begins at or after its end takes over. So every slot is scored at most once, however
often forecasts are made, and at all leads in turn when there is a pause. Leads beyond a day take what the first day
taught.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.contract.features import Floats
from agent.contract.featurespec import DAY_S
from agent.contract.jsonform import Fields
from agent.contract.rows import Forecast
from agent.inference.calibration import Calibration, states

COVERAGE_DAYS = 28
_DAY_MS = DAY_S * 1000
_LEVELS = 3
_MAX_KW = 1e12


@dataclass(frozen=True)
class _Followed:
    """A forecast that waits for its truth, in the digits in which it was published.

    Attributes:
        origin_ms: start of its first slot.
        raw_kw, issued_kw: [n, 3] of the slots that are scored.
        raw_peak_kw, issued_peak_kw: [1, 3] of the peak of these slots.
        published: whether the plant's people saw it; a candidate's forecasts teach, but are not shown as coverage.
        highest_kw: the greatest truth so far.
        known: slots whose truth was known so far.
    """

    origin_ms: int
    raw_kw: Floats
    issued_kw: Floats
    raw_peak_kw: Floats
    issued_peak_kw: Floats
    published: bool
    highest_kw: float = -math.inf
    known: int = 0


class Tracker:
    """What one model's forecasts of one slot length and horizon have taught.

    Invariants:
        - a slot is learnt from at most once, also when it is given again, in another order, or after a restart;
        - what is learnt after `to_json` and `from_json` is what would have been learnt without;
        - memory is bounded: one forecast of at most a day, and 28 days of counts.

    Attributes:
        slot_s: slot length.
        slots, peaks: the calibration of slots and of daily peaks.
    """

    def __init__(self, slot_s: int, initial: Mapping[str, Any] | None = None) -> None:
        """Begin with the states that the model's bundle brings, or with nothing learnt.

        Raises:
            RejectedError: when what the bundle brings is malformed.
        """
        self.slot_s = slot_s
        self.slots, self.peaks = states(initial or {}, slot_s)
        self._slot_ms = slot_s * 1000
        self._per_day = DAY_S // slot_s
        self._followed: _Followed | None = None
        self._through_ms = 0
        self._counts: dict[int, tuple[int, int]] = {}  # day number -> slots known, slots within the band

    def issue(self, forecast: Forecast, *, published: bool = True) -> tuple[Forecast, bool]:
        """Return the calibrated forecast, and whether it is followed from now on: the record is to be kept then.

        Args:
            forecast: raw, of this tracker's slot length.
            published: False for a shadow run, whose forecast is shown to nobody.
        """
        issued = dataclasses.replace(
            forecast,
            power_kw=self.slots.apply(forecast.power_kw, self.slot_s, forecast.origin_ms),
            peak_kw=self.peaks.apply(forecast.peak_kw, DAY_S, forecast.origin_ms),
            calibrated=self.slots.teaches,
        )
        if self._followed is not None and forecast.origin_ms < self._end_ms(self._followed):
            return issued, False
        self._followed = _Followed(
            origin_ms=forecast.origin_ms,
            raw_kw=_digits(forecast.power_kw[: self._per_day]),
            issued_kw=_digits(issued.power_kw[: self._per_day]),
            raw_peak_kw=_digits(forecast.peak_kw[:1]),
            issued_peak_kw=_digits(issued.peak_kw[:1]),
            published=published,
        )
        self._through_ms = max(self._through_ms, forecast.origin_ms)
        return issued, True

    def learn(self, start_ms: int, power_kw: float | None) -> None:
        """Learn from one slot that is over; None where its power is unknown. Slots learnt before are left out."""
        followed = self._followed
        if followed is None or start_ms < self._through_ms:
            return
        self._through_ms = start_ms + self._slot_ms
        step, rest = divmod(start_ms - followed.origin_ms, self._slot_ms)
        if step >= len(followed.raw_kw):
            self._followed = None  # its last slots were never closed: a gap in plant time
            return
        if rest == 0 and power_kw is not None and math.isfinite(power_kw):
            followed = self._score(followed, step, power_kw)
        if self._through_ms >= self._end_ms(followed):
            self._score_peak(followed)
            self._followed = None
        else:
            self._followed = followed

    def forget_after(self, now_ms: int) -> None:
        """Go on under a clock that was set: what was followed is let go, and slots before now have taught already."""
        if self._through_ms > now_ms:
            self._counts = {day: count for day, count in self._counts.items() if day <= now_ms // _DAY_MS}
        self._followed, self._through_ms = None, now_ms

    @property
    def through_ms(self) -> int:
        """Up to when slots have been learnt from."""
        return self._through_ms

    def coverage(self, until_ms: int) -> tuple[float | None, int]:
        """Return the share of slots within the published band and their number, of the 28 days before `until_ms`."""
        day = until_ms // _DAY_MS
        recent = [count for number, count in self._counts.items() if day - COVERAGE_DAYS < number <= day]
        known, within = (sum(column) for column in zip((0, 0), *recent, strict=True))
        return (within / known if known else None), known

    def to_json(self) -> dict[str, Any]:
        """The record: states, counts, and the forecast that is followed."""
        followed = self._followed
        return {
            "schema": 1,
            "slots": self.slots.to_json(),
            "peaks": self.peaks.to_json(),
            "through_ms": self._through_ms,
            "counts": [[day, *count] for day, count in self._counts.items()],
            "followed": None if followed is None else _followed_json(followed),
        }

    @classmethod
    def from_json(cls, value: object, slot_s: int, where: str = "calibration") -> Tracker:
        """Go on from `to_json`.

        Raises:
            RejectedError: when malformed, or of another slot length.
        """
        fields = Fields(value, where)
        if fields.integer("schema") != 1:
            fields.fail("schema", "was written by a newer version")
        tracker = cls(slot_s)
        tracker.slots = Calibration.from_json(fields.raw("slots"), slot_s, f"{where}.slots")
        tracker.peaks = Calibration.from_json(fields.raw("peaks"), DAY_S, f"{where}.peaks")
        tracker._through_ms = fields.instant("through_ms")
        for entry in fields.items("counts", COVERAGE_DAYS + 1):
            if not (isinstance(entry, list) and len(entry) == 3 and all(type(number) is int for number in entry)):
                fields.fail("counts", "is not a list of day, slots known, slots within")
            day, known, within = entry
            if not 0 <= within <= known <= tracker._per_day:
                fields.fail("counts", f"has {within} of {known} slots on day {day}")
            tracker._counts[day] = (known, within)
        if fields.raw("followed") is not None:
            tracker._followed = _followed_of(fields.child("followed"), tracker._per_day)
        return tracker

    def _end_ms(self, followed: _Followed) -> int:
        return followed.origin_ms + len(followed.raw_kw) * self._slot_ms

    def _score(self, followed: _Followed, step: int, power_kw: float) -> _Followed:
        truth = np.array([power_kw])
        self.slots = self.slots.update(
            followed.raw_kw, followed.issued_kw, truth, self.slot_s, followed.origin_ms, first=step
        )
        if followed.published:
            low, _, high = followed.issued_kw[step]
            day = (followed.origin_ms + step * self._slot_ms) // _DAY_MS
            known, within = self._counts.pop(day, (0, 0))
            if known < self._per_day:  # a clock that was set back makes hours of a day twice
                known, within = known + 1, within + int(low <= power_kw <= high)
            self._counts[day] = known, within
            while len(self._counts) > COVERAGE_DAYS + 1:
                del self._counts[min(self._counts)]
        return dataclasses.replace(followed, highest_kw=max(followed.highest_kw, power_kw), known=followed.known + 1)

    def _score_peak(self, followed: _Followed) -> None:
        """Learn from the peak, where every slot of it is known: a gap may hide the highest."""
        if followed.known == len(followed.raw_kw):
            self.peaks = self.peaks.update(
                followed.raw_peak_kw,
                followed.issued_peak_kw,
                np.array([followed.highest_kw]),
                DAY_S,
                followed.origin_ms,
            )


def _digits(table: Floats) -> Floats:
    """As in a row of the `forecasts` stream, so that a record read back says exactly what was published."""
    return np.array([[float(f"{value:.6g}") for value in row] for row in table])


def _followed_json(followed: _Followed) -> dict[str, Any]:
    return {
        "origin_ms": followed.origin_ms,
        "raw_kw": followed.raw_kw.tolist(),
        "issued_kw": followed.issued_kw.tolist(),
        "raw_peak_kw": followed.raw_peak_kw.tolist(),
        "issued_peak_kw": followed.issued_peak_kw.tolist(),
        "published": followed.published,
        "highest_kw": followed.highest_kw if followed.known else None,
        "known": followed.known,
    }


def _followed_of(fields: Fields, per_day: int) -> _Followed:
    raw_kw, issued_kw = _table(fields, "raw_kw", per_day), _table(fields, "issued_kw", per_day)
    if len(raw_kw) != len(issued_kw):
        fields.fail("issued_kw", "does not have the slots of raw_kw")
    known = fields.integer("known", 0, len(raw_kw))
    return _Followed(
        origin_ms=fields.instant("origin_ms"),
        raw_kw=raw_kw,
        issued_kw=issued_kw,
        raw_peak_kw=_table(fields, "raw_peak_kw", 1),
        issued_peak_kw=_table(fields, "issued_peak_kw", 1),
        published=fields.flag("published"),
        highest_kw=fields.number("highest_kw", -_MAX_KW, _MAX_KW) if known else -math.inf,
        known=known,
    )


def _table(fields: Fields, name: str, most: int) -> Floats:
    rows = fields.items(name, most)
    if not rows or not all(isinstance(row, list) and len(row) == _LEVELS for row in rows):
        fields.fail(name, "does not have three numbers a slot")
    numbers = [Fields({name: number}, fields.where) for row in rows for number in row]
    table: Floats = np.array([number.number(name, -_MAX_KW, _MAX_KW) for number in numbers]).reshape(-1, _LEVELS)
    return table
