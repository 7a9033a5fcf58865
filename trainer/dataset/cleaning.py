"""Which values of a load curve are the meter's error and not load: found, flagged, and unknown from then on.

Pure. A wrong value is never replaced by a guess here: it becomes NaN, so that nothing is learnt from it, and gaps are
repaired where inputs are made, as devices repair them. Every rule spares what industrial load does in earnest: steps,
rare peaks, standstills of days at one value, zero at night. What is doubtful is load.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from agent.contract.features import Floats, Ints
from trainer.dataset.flags import Flag
from trainer.dataset.snapshot import Snapshot

Mask = NDArray[np.bool_]


_BEYOND = 5.0  # times the 99 % quantile: nine real plants reach 1.05 to 1.35
_MOST_SPIKES = 0.005  # of all slots; more is load
_BRIEF = 2  # slots
_USUAL_EVENTS, _USUAL_SPREAD = 4, 0.3  # as many peaks, as much alike: a machine
_SENTINEL = re.compile(r"9{3,}|3276[78]|6553[56]|214748364[78]|429496729[56]")
_CATCH_UP = 2.0
_DROPOUT_S, _MOST_DROPOUTS = 6 * 3600, 0.01
_NEVER_IDLE = 0.2  # of the median: the least load of such a plant
_FROZEN_S, _MOST_EQUAL = 12 * 3600, 0.3
_UNUSUAL = 3  # times the longest repetition that is shorter than that
_AT_REST = 0.25  # quantile of load up to which a constant is a standstill
_MOST_COPIES = 0.1  # more is a plant, or a profile, that repeats itself
_DAY_S = 86_400


@dataclass(frozen=True, eq=False)
class Cleaned:
    """A load curve without its wrong values.

    Attributes:
        power_kw: [T], NaN where unknown or wrong.
        flags: flag -> [T] marks; `GAP` marks what was unknown before.
    """

    power_kw: Floats
    flags: Mapping[Flag, Mask]

    @property
    def removed(self) -> int:
        """How many values were taken as wrong."""
        return sum(int(marks.sum()) for flag, marks in self.flags.items() if flag is not Flag.GAP)

    def summary(self) -> str:
        """One line for a technician."""
        parts = [
            f"{flag} {int(marks.sum())}" for flag, marks in self.flags.items() if flag is not Flag.GAP and marks.any()
        ]
        return f"{self.removed} of {len(self.power_kw)} slots are the meter's errors and left out: {', '.join(parts)}"


def clean(power_kw: Floats, per_day: int) -> Cleaned:
    """Find wrong values of consecutive slots [T], NaN where unknown; `per_day` of them make a day."""
    result = power_kw.copy()
    flags: dict[Flag, Mask] = {Flag.GAP: ~np.isfinite(power_kw)}
    slot_s = _DAY_S // per_day
    rules: tuple[tuple[Flag, Callable[[Floats], Mask]], ...] = (
        (Flag.SPIKE, _spikes),
        (Flag.DROPOUT, partial(_dropouts, longest=_DROPOUT_S // slot_s)),
        (Flag.SPIKE, partial(_catch_ups, per_day=per_day)),
        (Flag.FROZEN, partial(_frozen, least=_FROZEN_S // slot_s)),
        (Flag.COPY, partial(_copies, per_day=per_day)),
    )
    for flag, rule in rules:
        if np.isfinite(result).sum() < 2 * per_day:  # too little to say what is usual
            break
        marks = rule(result) & np.isfinite(result)
        flags[flag] = flags.get(flag, np.zeros(len(marks), dtype=np.bool_)) | marks
        result[marks] = np.nan
    return Cleaned(result, flags)


def clean_snapshot(snapshot: Snapshot) -> tuple[Snapshot, Cleaned]:
    """Return what a training run may learn from, and what was taken out of it."""
    cleaned = clean(snapshot.power_kw, snapshot.per_day)
    return replace(snapshot, power_kw=cleaned.power_kw), cleaned


def runs(marks: Mask) -> Ints:
    """Return [R, 2]: begin and end (exclusive) of each run of marked slots."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marks.astype(np.int8), [0]])))
    return edges.reshape(-1, 2)


def _spikes(power_kw: Floats) -> Mask:
    """Mark what lies far beyond all other load, is brief or the same number throughout, and rare."""
    size = np.abs(power_kw)
    known = np.isfinite(size)
    marks = known & _sentinels(power_kw)
    usual = size[known & ~marks]
    level = float(np.quantile(usual, 0.99)) if len(usual) else 0.0
    if level <= 0:
        return marks
    marks &= size > _BEYOND * level
    beyond = known & ~marks & (size > _BEYOND * level)
    if not 0 < beyond.sum() <= _MOST_SPIKES * known.sum():
        return marks
    found = [power_kw[low:high] for low, high in runs(beyond)]
    peaks = np.array([np.abs(values).max() for values in found])
    if len(peaks) >= _USUAL_EVENTS and 0 < np.std(peaks) < _USUAL_SPREAD * peaks.mean():
        return marks
    for (low, high), values in zip(runs(beyond), found, strict=True):
        marks[low:high] = len(values) <= _BRIEF or bool((values == values[0]).all())
    return marks


def _sentinels(power_kw: Floats) -> Mask:
    """Mark the numbers that devices send for "no value": nines, and the ends of 16 and 32 bits."""
    values, counts = np.unique(power_kw[np.isfinite(power_kw)], return_counts=True)
    often = values[counts >= 2]
    digits = [f"{abs(value):.12g}".replace(".", "").strip("0") for value in often]
    sent = [value for value, text in zip(often, digits, strict=True) if _SENTINEL.fullmatch(text)]
    marks: Mask = np.isin(power_kw, sent)
    return marks


def _dropouts(power_kw: Floats, longest: int) -> Mask:
    marks: Mask = power_kw == 0
    others = np.abs(power_kw[np.isfinite(power_kw) & ~marks])
    if not 0 < marks.sum() <= _MOST_DROPOUTS * len(power_kw) or len(others) == 0:
        return np.zeros_like(marks)
    if np.quantile(others, 0.005) < _NEVER_IDLE * np.median(others):
        return np.zeros_like(marks)
    for low, high in runs(marks):
        marks[low:high] = high - low <= longest
    return marks


def _catch_ups(power_kw: Floats, per_day: int) -> Mask:
    """Mark the slot after a gap that holds the gap's energy beside its own."""
    marks = np.zeros(len(power_kw), dtype=np.bool_)
    size = np.abs(power_kw)
    level = _CATCH_UP * float(np.nanquantile(size, 0.99))
    for low, high in runs(~np.isfinite(power_kw)):
        if high == len(power_kw) or size[high] <= level:
            continue
        around = np.concatenate([size[max(0, low - per_day) : low], size[high + 1 : high + 1 + per_day]])
        usual = float(np.nanmax(around)) if np.isfinite(around).any() else np.inf
        marks[high] = _CATCH_UP * usual < size[high] <= 1.5 * (high - low + 1) * usual
    return marks


def _frozen(power_kw: Floats, least: int) -> Mask:
    """Mark long repetitions of one value above the load of standstills, in a plant whose load mostly moves."""
    same = np.concatenate([[False], power_kw[1:] == power_kw[:-1]])
    marks = np.zeros(len(power_kw), dtype=np.bool_)
    lengths = [int(high - low) + 1 for low, high in runs(same)]
    usual = max((length for length in lengths if length < least), default=0)
    least = max(least, _UNUSUAL * usual)
    long = [(int(low), int(high)) for low, high in runs(same) if high - low + 1 >= least]
    rest = np.isfinite(power_kw)
    for low, high in long:
        rest[low:high] = False
    if not long or same[rest].mean() > _MOST_EQUAL:
        return marks
    standstill = float(np.quantile(power_kw[rest], _AT_REST))
    for low, high in long:
        marks[low:high] = power_kw[low] > max(standstill, 0.0)  # the first of them was read
    return marks


def _copies(power_kw: Floats, per_day: int) -> Mask:
    """Mark days that repeat an earlier day, or the day a week before, though their load moves."""
    marks = np.zeros(len(power_kw), dtype=np.bool_)
    for lag in (per_day, 7 * per_day):
        same = np.zeros(len(power_kw), dtype=np.bool_)
        same[lag:] = power_kw[lag:] == power_kw[:-lag]
        for low, high in runs(same):
            if high - low >= per_day and len(np.unique(power_kw[low:high])) > per_day // 4:
                marks[low:high] = True
    return marks if marks.mean() <= _MOST_COPIES else np.zeros_like(marks)
