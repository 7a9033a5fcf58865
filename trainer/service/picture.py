"""What a device's rows mean to a reader: slots, alerts, model changes, arrivals; costs are `costs`'s.

Decides how rows become the figures of the report; reads no database and draws nothing. Rows come from devices: one
that does not parse is counted in `unreadable` and left out, and its text is never trusted here to be short or harmless.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.contract.errors import RejectedError
from agent.contract.jsonform import Fields
from agent.contract.slots import Slot

MAX_TEXT = 300
MAX_TIME_MS = 2**45  # the year 3084: later instants are a device's nonsense and have no calendar date
MAX_KW = 1e9  # far above any plant; sums of more could overflow
_GAP_FACTOR = 6  # an arrival gap is named when it is this many times the usual distance between envelopes
_MIN_GAP_S = 5.0
_MOST_GAPS = 20


@dataclass(frozen=True)
class Arrival:
    """One accepted envelope.

    Attributes:
        received_ms: real clock of the centre.
        size_bytes: as received.
        rows, new_rows: rows in it, and how many the centre did not hold yet.
    """

    received_ms: int
    size_bytes: int
    rows: int
    new_rows: int


@dataclass(frozen=True)
class AlertLine:
    """One alert from raising to clearing, plant clock."""

    rule: str
    severity: str
    text: str
    raised_ms: int
    acknowledged_ms: int | None = None
    cleared_ms: int | None = None

    @property
    def open(self) -> bool:
        """Whether nobody and nothing has cleared it yet."""
        return self.cleared_ms is None


@dataclass(frozen=True)
class ModelChange:
    """One step in the life of the device's models, plant clock."""

    time_ms: int
    action: str
    model: str
    reason: str


@dataclass(frozen=True)
class ArrivalBins:
    """Rows and envelopes by arrival time, real clock, and the gaps between arrivals that stand out."""

    width_s: int
    starts_ms: list[int]
    rows: list[int]
    envelopes: list[int]
    gaps_ms: list[tuple[int, int]]


def short(value: object, length: int = MAX_TEXT) -> str:
    """Text of a device, at most `length` characters and without control characters."""
    text = "".join(char if char.isprintable() else " " for char in str(value)[: 2 * length]).strip()
    return text if len(text) <= length else text[: length - 1] + "…"


def read_slots(rows: Iterable[Mapping[str, Any]]) -> tuple[list[Slot], int]:
    """Return the slots in time order, the last stated one of each start, and how many rows did not parse."""
    found: dict[int, Slot] = {}
    unreadable = 0
    for row in rows:
        try:
            slot = Slot.from_row(dict(row))
        except RejectedError:
            unreadable += 1
            continue
        if slot.start_ms <= MAX_TIME_MS and max(abs(slot.power_kw or 0.0), abs(slot.gross_kw or 0.0)) <= MAX_KW:
            found[slot.start_ms] = slot
        else:
            unreadable += 1
    return [found[start] for start in sorted(found)], unreadable


def read_alerts(rows: Iterable[Mapping[str, Any]]) -> tuple[list[AlertLine], int]:
    """Join the rows of each alert, newest first, and count the rows that did not parse."""
    done: list[AlertLine] = []
    live: dict[str, AlertLine] = {}
    unreadable = 0
    for row in rows:
        try:
            fields = Fields(dict(row), "alert")
            time_ms, state = fields.integer("time_ms", 0, MAX_TIME_MS), fields.text("state")
            rule, severity = short(fields.text("rule"), 60), short(fields.text("severity"), 20)
            text = short(fields.text("text", max_length=65_536))
            raised_ms = fields.integer("raised_ms", 0, MAX_TIME_MS) if "raised_ms" in fields else time_ms
        except RejectedError:
            unreadable += 1
            continue
        key = short(row.get("id", rule))
        line = live.get(key) or AlertLine(rule, severity, text, raised_ms)
        if state == "cleared":
            live.pop(key, None)
            done.append(AlertLine(rule, line.severity, line.text, line.raised_ms, line.acknowledged_ms, time_ms))
        elif state == "acknowledged":
            live[key] = AlertLine(rule, line.severity, line.text, line.raised_ms, time_ms)
        elif state in {"shelved", "unshelved"}:  # says nothing of an alert that is over
            live.update({key: line} if key in live else {})
        else:
            live[key] = AlertLine(rule, severity, text, line.raised_ms, line.acknowledged_ms)
    return sorted([*done, *live.values()], key=lambda line: line.raised_ms, reverse=True), unreadable


def read_model_changes(events: Iterable[Mapping[str, Any]]) -> list[ModelChange]:
    """Return what happened to models, and to updates before they became one, newest first."""
    found = []
    for row in events:
        time_ms, kind = row.get("time_ms"), row.get("kind")
        if kind not in {"model", "update"} or not isinstance(time_ms, int) or not 0 <= time_ms <= MAX_TIME_MS:
            continue
        model, version = short(row.get("model") or row.get("path") or "", 60), row.get("version")
        label = f"{model}@{version}" if isinstance(version, int) and version and "@" not in model else model
        reason = short(row.get("reason") or row.get("text") or "")
        found.append(ModelChange(time_ms, short(row.get("action") or kind, 20), label, reason))
    return sorted(found, key=lambda change: change.time_ms, reverse=True)


def bin_arrivals(arrivals: Sequence[Arrival], most_bins: int = 120) -> ArrivalBins | None:
    """Count new rows by arrival time; None when nothing has arrived.

    The width is an hour, or less where all arrivals lie within a few hours (a replay on a fast clock). A gap is named
    when it is long against the usual distance between envelopes.
    """
    if not arrivals:
        return None
    times = sorted(arrival.received_ms for arrival in arrivals)
    span_s = (times[-1] - times[0]) / 1000
    width_s = next((width for width in (1, 2, 5, 10, 30, 60, 300, 900, 3600) if span_s / width <= most_bins), 3600)
    first = times[0] // (width_s * 1000)
    count = times[-1] // (width_s * 1000) - first + 1
    rows, envelopes = [0] * count, [0] * count
    for arrival in arrivals:
        place = arrival.received_ms // (width_s * 1000) - first
        rows[place] += arrival.new_rows
        envelopes[place] += 1
    steps = [(before, after) for before, after in itertools.pairwise(times) if after > before]
    usual = statistics.median(after - before for before, after in steps) if steps else 0
    least = max(_GAP_FACTOR * usual, _MIN_GAP_S * 1000)
    starts = [(first + index) * width_s * 1000 for index in range(count)]
    gaps = sorted((step for step in steps if step[1] - step[0] >= least), key=lambda step: step[0] - step[1])
    return ArrivalBins(width_s, starts, rows, envelopes, sorted(gaps[:_MOST_GAPS]))
