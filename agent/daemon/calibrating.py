"""On-line calibration at work: a record for each model in use, in the store, and every forecast passed through it.

Decides when a record is read, brought up to date and kept; what is learnt is `inference.tracking`'s decision.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from agent.contract import jsonform
from agent.contract.errors import RejectedError, StorageError
from agent.contract.jsonform import MAX_TIME_MS
from agent.contract.rows import Forecast
from agent.contract.slots import Slot
from agent.daemon.history import History
from agent.inference.tracking import Tracker

MOST_TRACKED = 4  # active, previous, candidate, naive
_MAX_BYTES = 256 * 1024
_AHEAD_MS = 86_400_000
_log = logging.getLogger(__name__)


class Notes(Protocol):
    """What this module needs of the store."""

    def note(self, name: str) -> bytes | None:
        """Return what was kept under a name."""
        ...

    def keep(self, name: str, data: bytes) -> None:
        """Keep it with the rows that are appended next."""
        ...


class Calibrating:
    """Calibrates what the ladder says, and lets each model learn from what came.

    Invariants:
        - a record on disk and the slots since give what was in memory: a kill loses nothing and counts nothing twice;
        - a record is kept before the row of the forecast that it follows, in the same transaction;
        - whatever is wrong with a record, there is a forecast.
    """

    def __init__(
        self,
        store: Notes,
        history: History,
        *,
        initial: Callable[[str], Mapping[str, Any]],
        tell: Callable[[str], None],
    ) -> None:
        """Begin; a record is read when its model first forecasts.

        Args:
            store: keeps the records.
            history: the slots since a record was kept.
            initial: the `calibration` that a model's bundle brings, by the model's label; checked when it was loaded.
            tell: hears, in words, of a record that was lost.
        """
        self._store = store
        self._history = history
        self._initial = initial
        self._tell = tell
        self._trackers: dict[str, Tracker] = {}

    def publish(self, raw: Forecast) -> Forecast:
        """Return the forecast as the plant's people get it."""
        return self._issue(raw, published=True)

    def shadow(self, raw: Forecast) -> None:
        """Let a candidate learn: should it be installed, its band is calibrated from its first day."""
        self._issue(raw, published=False)

    def learn(self, slot: Slot) -> None:
        """Learn from a slot that is over, and newer than all before."""
        for tracker in self._trackers.values():
            if slot.length_s == tracker.slot_s:
                tracker.learn(slot.start_ms, slot.known_gross_kw)

    def forget_after(self, now_ms: int) -> None:
        """Go on under a clock that was set: no slot made anew teaches twice."""
        for tracker in self._trackers.values():
            tracker.forget_after(now_ms)

    def _issue(self, raw: Forecast, *, published: bool) -> Forecast:
        name = _name(raw.model, raw.slot_s, len(raw.power_kw))
        tracker = self._tracker(name, raw)
        if tracker is None:
            return raw
        issued, followed = tracker.issue(raw, published=published)
        if followed:
            self._store.keep(name, jsonform.dumps(tracker.to_json()))
            self._catch_up(tracker)  # slots that were closed beyond the origin before the forecast was made
        return issued

    def _tracker(self, name: str, raw: Forecast) -> Tracker | None:
        tracker = self._trackers.pop(name, None)
        if tracker is None:
            try:
                tracker = self._read(name, raw)
            except StorageError as exc:
                _log.warning("forecasts are not calibrated while the store cannot be read: %s", exc)
                return None
        self._trackers[name] = tracker  # the one used last is the last to go
        while len(self._trackers) > MOST_TRACKED:
            del self._trackers[next(iter(self._trackers))]
        return tracker

    def _read(self, name: str, raw: Forecast) -> Tracker:
        try:
            tracker = _parsed(self._store.note(name), name, raw.slot_s)
        except RejectedError as exc:
            self._tell(f"what on-line calibration had learnt of {raw.model} is lost, it begins anew: {exc}")
            tracker = None
        if tracker is None:
            return Tracker(raw.slot_s, self._initial(raw.model))
        if tracker.through_ms > raw.origin_ms + _AHEAD_MS:  # of a clock that has been set since
            tracker.forget_after(raw.origin_ms)
        self._catch_up(tracker)
        return tracker

    def _catch_up(self, tracker: Tracker) -> None:
        for slot in self._history.between(0, MAX_TIME_MS):
            tracker.learn(slot.start_ms, slot.known_gross_kw)


def read_coverage(note: Callable[[str], bytes | None], newest: Mapping[str, Any]) -> dict[str, Any]:
    """Return how much of the last 28 days the published band held, for the model of a row of the `forecasts` stream.

    Args:
        note: reads what a store keeps under a name.
        newest: the row of the newest forecast.

    Returns:
        `coverage_28d`, None before the first day is over, and `coverage_slots`, of how many slots it is a share. A day
        of slots is in it when the forecast that was scored with them is over.
    """
    name = _name(newest["model"], newest["slot_s"], len(newest["power_kw"]))
    share, slots = None, 0
    try:
        tracker = _parsed(note(name), name, newest["slot_s"])
    except RejectedError as exc:
        _log.warning("%s", exc)
    else:
        if tracker is not None:
            share, slots = tracker.coverage(newest["origin_ms"])
    return {"coverage_28d": None if share is None else round(share, 4), "coverage_slots": slots}


def _parsed(data: bytes | None, name: str, slot_s: int) -> Tracker | None:
    if data is None:
        return None
    return Tracker.from_json(jsonform.loads(data, where=name, max_bytes=_MAX_BYTES), slot_s, name)


def _name(model: str, slot_s: int, horizon: int) -> str:
    return f"calibration/{model}/{horizon}x{slot_s}s"
