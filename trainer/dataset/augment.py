"""Years that a plant might have had: real days of it in another order, so that a teacher has more to label.

Each day of the calendar gets a day that the plant lived through: of the same type, of the same kind in the calendar, of
about the same season, scaled to the level of its new place. Where it can, the next day is the one that really followed,
so that yesterday still tells of today. Blocks of ten days are a little higher, livelier and earlier than they were.
Some days may become holidays: a real year shows too few to learn what a holiday does on each day of the week.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Floats, Ints
from agent.contract.slotcalendar import SlotCalendar
from trainer.dataset.days import level_kw
from trainer.dataset.profiles import UNUSUAL, day_types
from trainer.dataset.snapshot import Snapshot

_FOLLOWS = 0.95  # chance that the day after is the one that really came after: weather lasts, and load with it
_BLOCK_DAYS = 10
_CHOICES = 24  # nearest in the season: of working days the five weeks around, of Sundays half a year
_BLEND_S = 2 * 3600  # each side of midnight
_NO_CHOICE = -1
_FEW = 3  # fewer days to choose from would only repeat them
_YEAR = 365.25


@dataclass(frozen=True)
class Jitter:
    """How far a made day may be from the one that it was made of.

    Attributes:
        level, amplitude: relative, one standard deviation, of the mean of a day and of what swings about it.
        shift_s: the most that a block is earlier or later; rounded down to slots.
        holidays: share of the days that become holidays, beside those of the plant.
    """

    level: float = 0.04
    amplitude: float = 0.06
    shift_s: int = 900
    holidays: float = 0.0


class DayBootstrap:
    """Makes years of one plant; looks at its days once.

    Invariants:
        The same snapshot and generator state give the same year.
        Slots without a value stay without one, and no others do, unless no day of the plant is whole in its slots.
        No slot is negative where none of the plant is.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        """Sort the days of `snapshot` by type.

        Raises:
            ConfigError: when there are fewer whole days than `profiles.MIN_DAYS`.
        """
        self._snapshot = snapshot
        per_day, count = snapshot.per_day, len(snapshot.power_kw)
        holidays = [dt.date.fromisoformat(day).toordinal() for day in snapshot.holidays]
        calendar = SlotCalendar(snapshot.zone, holidays, snapshot.slot_s, snapshot.start_ms, count)
        self._slot_of_day = calendar.second_of_day // snapshot.slot_s
        first = int(calendar.ordinal[0])
        self._day = calendar.ordinal - first
        ordinal = np.arange(first, int(calendar.ordinal[-1]) + 1)
        holiday = calendar.holiday(ordinal)
        kind = np.where(holiday, 2, np.maximum((ordinal + 6) % 7 - 4, 0))
        types = day_types(snapshot)
        label = np.full(len(ordinal), UNUSUAL)
        label[types.days.ordinal - first] = types.labels
        level = level_kw(types.days.ordinal, np.abs(types.days.power_kw).mean(axis=1))
        self._level = np.maximum(np.interp(ordinal, types.days.ordinal, level), 1e-9)
        # A day can be a source when it has 24 hours, all of them known; then its slots lie in a row from its first on.
        slots = np.bincount(self._day, minlength=len(ordinal))
        known = np.bincount(self._day, np.isfinite(snapshot.power_kw), len(ordinal))
        self._start = np.searchsorted(self._day, np.arange(len(ordinal)))
        self._usable = (slots == per_day) & (known == per_day)
        self._low_kw = np.minimum.reduceat(snapshot.power_kw, self._start)  # of the usable days; NaN for others
        if not self._usable.any():
            raise ConfigError("no day is known in each of its slots", where=f"plant {snapshot.plant}")
        self._candidates = [self._similar(day, kind, label) for day in range(len(ordinal))]
        # What a made holiday may look like: the plant's own holidays, or, where it has too few, its Sundays.
        free = np.flatnonzero(self._usable & holiday)
        self._free = free if len(free) >= _FEW else np.flatnonzero(self._usable & (kind == 2))
        self._ordinal, self._holiday = ordinal, holiday

    def year(self, rng: np.random.Generator, jitter: Jitter | None = None) -> Snapshot:
        """Return a made year: the plant's slots with other load and more holidays, and covariates of the source days.

        Args:
            rng: of everything random.
            jitter: how far days are changed; None for a little.
        """
        jitter = jitter or Jitter()
        snapshot, (source, made) = self._snapshot, self._with_holidays(self._order(rng), jitter.holidays, rng)
        most = jitter.shift_s // snapshot.slot_s
        shift = np.rint(self._blocks(rng) * most / 2).clip(-most, most).astype(np.int64)
        level = np.exp(jitter.level * self._blocks(rng)) * (self._level / self._level[source]).clip(0.5, 2.0)
        amplitude = np.exp(jitter.amplitude * self._blocks(rng))
        place = self._start[source][self._day] + self._slot_of_day  # where each slot comes from
        moved = (place + shift[self._day]).clip(0, len(place) - 1)
        moved = np.where(np.isfinite(snapshot.power_kw[moved]), moved, place)
        # A day swings about its lowest value, not its mean: base load stays, production varies, nothing turns negative.
        low_kw = self._low_kw[source]
        power_kw = snapshot.power_kw[moved] - low_kw[self._day]
        power_kw = (low_kw[self._day] + power_kw * amplitude[self._day]) * level[self._day]
        power_kw += self._steps_to_undo(power_kw, moved)
        floor_kw = np.pad(low_kw * level, 1, mode="edge")
        floor_kw = np.minimum(np.minimum(floor_kw[:-2], floor_kw[2:]), floor_kw[1:-1])
        power_kw = np.maximum(power_kw, floor_kw[self._day])
        power_kw[~np.isfinite(snapshot.power_kw)] = np.nan
        covariates = {name: values[moved] for name, values in snapshot.covariates.items()}
        more = (dt.date.fromordinal(int(day)).isoformat() for day in self._ordinal[made])
        holidays = tuple(sorted({*snapshot.holidays, *more}))
        return replace(snapshot, power_kw=power_kw, covariates=covariates, holidays=holidays)

    def _with_holidays(self, source: Ints, share: float, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Turn a share of the days into holidays; return the source of each day, and which days were turned."""
        if not share or not len(self._free):
            return source, np.empty(0, dtype=np.int64)
        made = np.flatnonzero((rng.random(len(source)) < share) & ~self._holiday)
        source = source.copy()
        for day in made.tolist():
            source[day] = rng.choice(self._free[self._nearest(day, self._free)])
        return source, made

    def _similar(self, day: int, kind: Ints, label: Ints) -> Ints:
        """Usable days that may stand for a day, the nearest in the season; a rare one that is usable is itself."""
        same = self._usable & (kind == kind[day])
        found = np.flatnonzero(same & (label == label[day]) & (label != UNUSUAL))
        found = found[found != day]
        if len(found) < _FEW and self._usable[day]:
            return np.array([day])
        if len(found) < _FEW:  # its load is not known: any day of its kind
            found = np.flatnonzero(same if same.any() else self._usable)
        return found[self._nearest(day, found)]

    @staticmethod
    def _nearest(day: int, found: Ints) -> Ints:
        """Which of the days found are nearest in the season."""
        apart = np.abs(found - day) % _YEAR
        return np.argsort(np.minimum(apart, _YEAR - apart), kind="stable")[:_CHOICES]

    def _order(self, rng: np.random.Generator) -> Ints:
        """Draw the source of each day: the follower of the last one where that is a choice, else any.

        The same weekday is taken where it can be: then the weekend of the source comes when that of the calendar does.
        """
        source = np.empty(len(self._candidates), dtype=np.int64)
        follower = _NO_CHOICE
        for day, choices in enumerate(self._candidates):
            if rng.random() >= _FOLLOWS or follower not in choices:
                same_weekday = choices[(choices - day) % 7 == 0]
                follower = int(rng.choice(same_weekday if len(same_weekday) >= _FEW else choices))
            source[day] = follower
            follower += 1
        return source

    def _blocks(self, rng: np.random.Generator) -> Floats:
        """Standard normal values a day, drawn every ten days and joined by lines."""
        days = len(self._candidates)
        knots = rng.normal(size=days // _BLOCK_DAYS + 2)
        return np.interp(np.arange(days) / _BLOCK_DAYS, np.arange(len(knots)), knots)

    def _steps_to_undo(self, power_kw: Floats, moved: Ints) -> Floats:
        """What takes away, over two hours on each side, the step at each midnight beyond the one that was there."""
        undo = np.zeros(len(power_kw))
        size = max(_BLEND_S // self._snapshot.slot_s, 1)
        ramp = (np.arange(size) + 0.5) / size / 2
        original = self._snapshot.power_kw
        for start in self._start[1:]:
            came = int(moved[start])
            real = original[came] - original[came - 1] if came else np.nan
            step = power_kw[start] - power_kw[start - 1] - (real if np.isfinite(real) else 0.0)
            before, after = min(size, start), min(size, len(power_kw) - start)
            undo[start - before : start] += step * ramp[size - before :]
            undo[start : start + after] -= step * ramp[::-1][:after]
        return undo
