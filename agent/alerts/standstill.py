"""For how long a channel gives one value, and for how long it may: what its own past weeks showed.

Decides when a standstill is not usual; no I/O, no clock. One thread at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.alerts.observations import Standstill
from agent.contract.channels import Channel, Quality, Reading
from agent.contract.errors import RejectedError
from agent.contract.jsonform import MAX_TIME_MS, Fields

_DAY_MS = 86_400_000
_DAYS = 28  # what a channel did before says nothing of today
_LEAST_DAYS = 7  # a week has a weekend
_TIMES = 3.0
_LEAST_S = 1800.0
_LEAST_READINGS = 5
_SILENT_S = 900.0  # after a longer silence nobody knows whether it stood still
_RECORD_S = 7200.0  # what passes at most from a record that is kept once an hour to the first reading of a new start
_MOST_CHANNELS = 1000
_NEVER_MS = 0


@dataclass
class _Past:
    value: float
    since_ms: int
    through_ms: int
    days: dict[int, float] = field(default_factory=dict)  # day number -> longest standstill that ended in it, seconds
    resumed: bool = False  # nothing was seen since the record was kept, which may be an hour ago


class Standstills:
    """Watches the values of several channels.

    The longest standstill of each day is remembered for four weeks; three times the longest of them is usual, and half
    an hour, or five readings, always is. One that was longer than usual counts as usual: so a defect teaches little,
    and a plant that has begun to rest longer is learnt within some turns. Nothing is usual before a week is known.

    Invariants:
        - memory is bounded: one value and four weeks of days a channel;
        - `to_json` and `from_json` give the same judgements;
        - readings that do not go on in time are left out.
    """

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        """Watch these channels; readings of others are left out."""
        self._channels = channels
        self._past: dict[str, _Past] = {}

    def saw(self, readings: Iterable[Reading]) -> None:
        """Learn from readings, in the order of their times."""
        for name, time_ms, value, quality in readings:
            if quality >= Quality.SUSPECT or name not in self._channels:
                continue
            past = self._past.get(name)
            if past is None:
                self._past[name] = _Past(value, time_ms, time_ms)
            elif time_ms > past.through_ms:
                self._step(name, past, time_ms, value)

    def forget_times(self) -> None:
        """Go on when the clock was set: what a channel does now begins anew, what it did before is known."""
        for past in self._past.values():
            past.since_ms = past.through_ms = _NEVER_MS

    def known(self) -> dict[str, Standstill]:
        """Return what each channel that has spoken does."""
        return {
            name: Standstill(past.value, past.since_ms, past.through_ms, self._usual_s(name, past))
            for name, past in self._past.items()
            if past.through_ms != _NEVER_MS
        }

    def to_json(self) -> dict[str, Any]:
        """The record."""
        return {
            name: {
                "value": past.value,
                "since_ms": past.since_ms,
                "through_ms": past.through_ms,
                "days": [[day, round(longest_s, 3)] for day, longest_s in past.days.items()],
            }
            for name, past in self._past.items()
        }

    def resume(self, value: object, where: str, now_ms: int) -> None:
        """Go on from `to_json`; where it knows of a time after now, the clock was wrong then.

        Raises:
            RejectedError: when malformed; nothing has changed then.
        """
        fields = Fields(value, where)
        names = [name for name in fields.as_dict() if name in self._channels]
        if len(names) > _MOST_CHANNELS:
            raise RejectedError(f"has more than {_MOST_CHANNELS} channels", where=where)
        self._past = {name: _past_of(fields.child(name)) for name in names}
        if any(past.through_ms > now_ms for past in self._past.values()):
            self.forget_times()

    def _step(self, name: str, past: _Past, time_ms: int, value: float) -> None:
        silent_s = max(_RECORD_S if past.resumed else _SILENT_S, _LEAST_READINGS * self._channels[name].interval_s)
        past.resumed = False
        if time_ms - past.through_ms > silent_s * 1000:
            past.value, past.since_ms = value, time_ms
        elif value != past.value:
            self._learn(name, past)
            past.value, past.since_ms = value, time_ms
        past.through_ms = time_ms

    def _learn(self, name: str, past: _Past) -> None:
        stood_s, usual_s = (past.through_ms - past.since_ms) / 1000, self._usual_s(name, past)
        if usual_s is not None:
            stood_s = min(stood_s, usual_s)
        day = past.through_ms // _DAY_MS
        past.days[day] = max(stood_s, past.days.get(day, 0.0))
        if len(past.days) > _DAYS:
            del past.days[min(past.days)]

    def _usual_s(self, name: str, past: _Past) -> float | None:
        if len(past.days) < _LEAST_DAYS:
            return None
        always_s = max(_LEAST_S, _LEAST_READINGS * self._channels[name].interval_s)
        return max(always_s, _TIMES * max(past.days.values()))


def _past_of(fields: Fields) -> _Past:
    days: dict[int, float] = {}
    for entry in fields.items("days", _DAYS):
        if not (isinstance(entry, list) and len(entry) == 2 and type(entry[0]) is int):
            fields.fail("days", "is not a list of day and seconds")
        longest = Fields({"days": entry[1]}, fields.where).number("days", 0, MAX_TIME_MS)
        days[entry[0]] = longest
    return _Past(
        fields.number("value", -math.inf, math.inf),
        fields.instant("since_ms"),
        fields.instant("through_ms"),
        days,
        resumed=True,
    )
