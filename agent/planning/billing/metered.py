"""What another meter counted, from its readings to the slots that bills take: gas, heat, water, steam, reactive energy.

Decides how what lies between two readings is shared out (by time), and what is unknown. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.loadcsv import MAX_VALUE, Columns, scale_values
from agent.contract.slots import Slot

READING, AMOUNT = "reading", "amount"
_LEAST_ROWS = 2


class Metered(NamedTuple):
    """Slots of a meter, in thousandths of its unit, and how far its readings lie apart at most."""

    slots: list[Slot]
    widest_ms: int


def metered(
    columns: Columns, span_ms: tuple[int, int], slot_s: int, where: str, *, since_ms: int | None = None
) -> Metered:
    """Return the slots of a span, and of the time before it that counts, of which readings tell; others are missing.

    Args:
        columns: rows in order of time. `reading` is what the meter's register shows, `amount` what was used from a
            row's time to that of the next; the last row lasts as long as the one before it. Empty cells are unknown.
        span_ms: [start, end) of interest.
        slot_s: length of the slots.
        where: the file's name, for errors.
        since_ms: from when on slots count in a bill of the span; None: from its start.

    Raises:
        ConfigError: when there are fewer than two rows, a register goes back, or an amount is below 0 or too large.
    """
    by_register = READING in columns.values
    values, times = scale_values(columns, READING if by_register else AMOUNT, 1000, where), columns.times_ms
    if by_register:
        known = ~np.isnan(values)
        times, values, lines = times[known], values[known], columns.lines[known]
        falls = np.flatnonzero(np.diff(values) < 0) + 1
        told = "the register shows less than before", "Where the meter was exchanged give amounts, not readings"
    else:
        lines, falls = columns.lines, np.flatnonzero(values < 0)
        told = "an amount is below 0", "Correct the row"
    if len(falls):
        raise ConfigError(told[0], where=f"{where} {columns.place} {lines[falls[0]]}", todo=told[1])
    if len(times) < _LEAST_ROWS:
        raise ConfigError(
            "has fewer than two rows with a value", where=where, todo="Give the row before and after, too"
        )
    if not by_register:
        unknown = np.isnan(values)
        times = np.append(times, 2 * times[-1] - times[-2])
        gaps_ms = np.append(0, np.cumsum(np.where(unknown, np.diff(times), 0)))
        values = np.append(0.0, np.cumsum(np.where(unknown, 0.0, values)))
        if values[-1] >= MAX_VALUE:
            raise ConfigError("its amounts come to more than any meter shows", where=where, todo="Correct them")
    length_ms = slot_s * 1000
    begin_ms = span_ms[0] if since_ms is None else min(since_ms, span_ms[0])
    first = -(-max(begin_ms // length_ms * length_ms, int(times[0])) // length_ms) * length_ms
    edges = np.arange(first, min(span_ms[1] + length_ms, int(times[-1]) + 1), length_ms, dtype=np.int64)
    if len(edges) < _LEAST_ROWS:
        return Metered([], 0)
    counted = np.diff(np.rint(np.interp(edges, times, values)).astype(np.int64))
    is_known = np.ones(len(counted), dtype=np.bool_)
    if not by_register:
        is_known = np.diff(np.interp(edges, times, gaps_ms)) == 0
    near = (times[1:] > span_ms[0]) & (times[:-1] < edges[-1])
    slots = [
        Slot(start_ms, slot_s, thousandths, thousandths * 3.6 / slot_s, 1.0)
        for start_ms, thousandths, known in zip(edges[:-1].tolist(), counted.tolist(), is_known.tolist(), strict=True)
        if known
    ]
    return Metered(slots, int(np.diff(times)[near].max(initial=0)))
