"""Slots of a span, and those of weeks that are over kept in columns: a year is read at once, not block by block.

A device writes a slot a block: a year of quarter-hours is 35,000 blocks, each to be found, opened and parsed. What is
kept is a copy in one note of the store, never truer than the blocks: a week counts under the fingerprint of the blocks
that it was made from. Where that is another by now (a clock was corrected, rows went or came back), or the note is
damaged or gone, the blocks are read.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from agent.contract import deflate, jsonform
from agent.contract.errors import RejectedError
from agent.contract.jsonform import Fields
from agent.contract.slots import Slot, latest_rows

NOTE = "slot-weeks"
WEEK_MS = 7 * 86_400_000
KEEP_WEEKS = 58  # as far back as the store keeps slots that the centre has
_DAY_MS = 86_400_000
_STREAM = "slots"
_HEAD_BYTES, _BODY_BYTES = 1 << 16, 1 << 22
_COLUMNS = [field.name for field in dataclasses.fields(Slot)]
_WHERE = "note slot-weeks"
_log = logging.getLogger(__name__)


class Stored(Protocol):
    """What this module needs of a store to read."""

    def rows(self, stream: str, start_ms: int, end_ms: int) -> Sequence[Mapping[str, Any]]:
        """Return the rows of a stream in [start_ms, end_ms)."""
        ...

    def fingerprints(self, stream: str, width_ms: int, since_ms: int) -> dict[int, str]:
        """Return what is another whenever the rows of a span may be, by number of the span."""
        ...

    def note(self, name: str) -> bytes | None:
        """Return what was kept under a name."""
        ...


class Keeping(Stored, Protocol):
    """What it needs besides to keep."""

    def keep(self, name: str, data: bytes) -> None:
        """Keep a note."""
        ...


class _Week(NamedTuple):
    """The slots of one week that count, as they are kept."""

    fingerprint: str
    body: bytes


def slots_between(store: Stored, start_ms: int, end_ms: int) -> list[Slot]:
    """Return the slots that a store has of [start_ms, end_ms) and that count, by start.

    Raises:
        StorageError: when the disk cannot be read.
    """
    found: list[Slot] = []
    at_ms = start_ms
    for begin_ms, slots in _kept_between(store, start_ms, end_ms):
        found += _from_rows(store, at_ms, begin_ms)
        found += [slot for slot in slots if start_ms <= slot.start_ms < end_ms]
        at_ms = begin_ms + WEEK_MS
    return found + _from_rows(store, at_ms, end_ms)


class SlotWeeks:
    """Keeps the note: looked after once a day, then a week a turn as long as one is missing.

    Invariant: what is kept of a week are the slots that the store gave under its fingerprint.
    """

    def __init__(self, store: Keeping) -> None:
        """Look after it from the next turn on."""
        self._store = store
        self._day = -1
        self._weeks: dict[int, _Week] = {}
        self._wanted: list[int] = []

    def turn(self, end_ms: int | None) -> None:
        """Do what is due.

        Args:
            end_ms: end of the newest slot; None where there is none. A week is kept a day after its end.

        Raises:
            StorageError: when the disk cannot be read; the next day tries again.
        """
        if self._wanted:
            number = self._wanted.pop()
            # Of this turn: rows that were others meanwhile may be by now what they were when it was looked.
            fingerprint = self._store.fingerprints(_STREAM, WEEK_MS, number * WEEK_MS).get(number)
            if fingerprint is not None:
                slots = _from_rows(self._store, number * WEEK_MS, (number + 1) * WEEK_MS)
                self._weeks[number] = _Week(fingerprint, _to_body(slots))
            if not self._wanted:
                self._store.keep(NOTE, _to_note(self._weeks))
                self._weeks = {}
        elif end_ms is not None and end_ms // _DAY_MS != self._day:
            self._day = end_ms // _DAY_MS
            self._look(end_ms)

    def _look(self, end_ms: int) -> None:
        last = (end_ms - _DAY_MS) // WEEK_MS - 1
        first = last - KEEP_WEEKS + 1
        prints = self._store.fingerprints(_STREAM, WEEK_MS, first * WEEK_MS)
        known = _read(self._store)
        weeks = {number: week for number, week in known.items() if week.fingerprint == prints.get(number)}
        self._wanted = [number for number in prints if first <= number <= last and number not in weeks]
        self._weeks = weeks if self._wanted else {}


def _kept_between(store: Stored, start_ms: int, end_ms: int) -> Iterator[tuple[int, list[Slot]]]:
    """Yield the weeks that are kept and still true: when each begins, and its slots."""
    if end_ms - start_ms < WEEK_MS or not (weeks := _read(store)):
        return
    prints = store.fingerprints(_STREAM, WEEK_MS, start_ms // WEEK_MS * WEEK_MS)
    for number in sorted(weeks):
        begin_ms = number * WEEK_MS
        if begin_ms < end_ms and begin_ms + WEEK_MS > start_ms and weeks[number].fingerprint == prints.get(number):
            try:
                yield begin_ms, _from_body(weeks[number].body)
            except RejectedError as exc:
                _log.warning("%s; the blocks are read instead", exc)


def _from_rows(store: Stored, start_ms: int, end_ms: int) -> list[Slot]:
    if start_ms >= end_ms:
        return []
    return [Slot.from_row(dict(row)) for row in latest_rows(store.rows(_STREAM, start_ms, end_ms))]


def _read(store: Stored) -> dict[int, _Week]:
    """Return what is kept, by number of the week; nothing where it cannot be read."""
    try:
        data = store.note(NOTE)
        return {} if data is None else _from_note(data)
    except RejectedError as exc:
        _log.warning("%s; the blocks are read instead", exc)
        return {}


def _to_note(weeks: Mapping[int, _Week]) -> bytes:
    """A line of JSON that says what follows, then the bodies."""
    numbers = sorted(weeks)
    told = [
        {"number": number, "fingerprint": weeks[number].fingerprint, "size": len(weeks[number].body)}
        for number in numbers
    ]
    head = jsonform.dumps({"schema": 1, "columns": _COLUMNS, "weeks": told})
    return b"".join([head, b"\n", *(weeks[number].body for number in numbers)])


def _from_note(data: bytes) -> dict[int, _Week]:
    head, _, bodies = data.partition(b"\n")
    fields = Fields(jsonform.loads(head, where=_WHERE, max_bytes=_HEAD_BYTES), _WHERE)
    if fields.integer("schema") != 1 or fields.raw("columns") != _COLUMNS:
        return {}  # of a version in which a slot is something else
    weeks, at = dict[int, _Week](), 0
    for week in fields.children("weeks", 2 * KEEP_WEEKS):
        size = week.integer("size")
        weeks[week.integer("number")] = _Week(week.text("fingerprint"), bodies[at : at + size])
        at += size
    return weeks


def _to_body(slots: Sequence[Slot]) -> bytes:
    """Columns, compressed: the same slots come back to the last bit."""
    columns: dict[str, list[Any]] = {name: [getattr(slot, name) for slot in slots] for name in _COLUMNS}
    columns["start_ms"] = [after - before for before, after in itertools.pairwise([0, *columns["start_ms"]])]
    kinds = list(dict.fromkeys(columns["flags"]))
    columns["flags"] = [kinds.index(flags) for flags in columns["flags"]]
    return deflate.compress([jsonform.dumps({**columns, "kinds": kinds})], noise=False)


def _from_body(body: bytes) -> list[Slot]:
    columns = jsonform.loads(deflate.decompress(body, _BODY_BYTES, _WHERE), where=_WHERE, max_bytes=_BODY_BYTES)
    try:
        kinds = [tuple(flags) for flags in columns["kinds"]]
        columns["flags"] = [kinds[kind] for kind in columns["flags"]]
        columns["start_ms"] = itertools.accumulate(columns["start_ms"])
        return [Slot(*values) for values in zip(*(columns[name] for name in _COLUMNS), strict=True)]
    except (KeyError, TypeError, ValueError, IndexError) as exc:
        raise RejectedError(f"does not hold what is wanted ({exc})", where=_WHERE) from exc
