"""Whether a plant's day moves when the clocks do: the sign of a file whose times were read in the wrong frame.

Pure. People work by the clock on the wall, so in local time the day of a plant stays where it is across a change of the
clocks. Where it moves by an hour, the file was written in local time and read as standard time, or the plant itself
keeps standard time. Which of the two, only a person can say.
"""

from __future__ import annotations

import numpy as np

from agent.contract.features import Floats, Ints
from agent.contract.featurespec import DAY_S
from agent.contract.slotcalendar import SlotCalendar

_DAYS = 14  # on either side of a change
_LEAST_DAYS = 5  # of them with load
_BETTER = 0.5  # of the squared difference: the moved profile must fit so much better
_MOVES = 0.05  # of the mean load: a profile flatter than that has no place of its own
_LEAST_CHANGES = 2


def day_moves(start_ms: int, slot_s: int, zone: str, power_kw: Floats) -> bool:
    """Return whether the profile of working days moves at most changes of the clocks, two at least.

    Args:
        start_ms: start of the first slot.
        slot_s: slot length.
        zone: the plant's zone.
        power_kw: [T] NaN where unknown.
    """
    if len(power_kw) < 2 * _DAYS * DAY_S // slot_s:
        return False
    calendar = SlotCalendar(zone, (), slot_s, start_ms, len(power_kw))
    steps = calendar.second_of_day[1:] - calendar.second_of_day[:-1] - slot_s
    moved_s = np.where(np.abs(steps) > DAY_S // 2, steps + np.where(steps < 0, DAY_S, -DAY_S), steps)
    verdicts = [
        _moves_at(int(at) + 1, int(moved_s[at]) // slot_s, calendar, power_kw) for at in np.flatnonzero(moved_s)
    ]
    known = [verdict for verdict in verdicts if verdict is not None]
    return len(known) >= _LEAST_CHANGES and sum(known) * 2 > len(known)


def _moves_at(change: int, moved: int, calendar: SlotCalendar, power_kw: Floats) -> bool | None:
    """Whether the day moved by as many slots as the clocks did; None where that cannot be said."""
    if moved == 0:
        return None
    day = calendar.ordinal[change]
    before = _profile(day - _DAYS, day - 1, calendar, power_kw)
    after = _profile(day + 1, day + _DAYS, calendar, power_kw)
    if before is None or after is None or min(np.std(before), np.std(after)) < _MOVES * np.abs(before).mean():
        return None
    before, after = before - before.mean(), after - after.mean()
    stays = float(np.square(after - before).sum())
    moves = float(np.square(after - np.roll(before, moved)).sum())
    return moves < _BETTER * stays


def _profile(first: Ints, last: Ints, calendar: SlotCalendar, power_kw: Floats) -> Floats | None:
    """Mean of each local time of day over the working days from first to last; None where there are too few."""
    inside = (calendar.ordinal >= first) & (calendar.ordinal <= last) & calendar.working(calendar.ordinal)
    inside &= np.isfinite(power_kw)
    times, at = np.unique(calendar.second_of_day[inside], return_inverse=True)
    count = np.bincount(at, minlength=len(times))
    if len(times) < 2 or len(times) != DAY_S // int(np.diff(times).min()) or count.min() < _LEAST_DAYS:
        return None
    mean: Floats = np.bincount(at, power_kw[inside], minlength=len(times)) / count
    return mean
