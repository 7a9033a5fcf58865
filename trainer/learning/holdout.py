"""Which weeks of a plant's data nothing learns from: they decide what members weigh, and judge what was learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.contract.errors import ConfigError
from agent.contract.featurespec import MIN_HISTORY_DAYS
from trainer.dataset.snapshot import Snapshot

Bools = NDArray[np.bool_]

TRAIN_DAYS = 6  # the least that is learnt from, for a day ahead; each further day of horizon takes four more
WEEK = 7  # days of a held-out stretch; longer horizons need longer ones
_KNOWN_SHARE = 0.8  # of a stretch and the week before it


@dataclass(frozen=True)
class Split:
    """Which targets are held out: weeks [first, end) of slots, spread evenly over the data; all others are learnt."""

    held_out: tuple[tuple[int, int], ...]
    end: int

    def mark(self) -> Bools:
        """Return [end] whether a slot is held out."""
        held = np.zeros(self.end, dtype=bool)
        for low, high in self.held_out:
            held[low:high] = True
        return held


def split(snapshot: Snapshot, horizon_hours: int, validation_days: int) -> Split:
    """Hold out weeks: `validation_days` in all, or a tenth of what can be forecast where the data is short.

    Spread over the data rather than its last weeks: those tell most of the weeks to come, and every season is judged.
    Where the load of one is not known, it is the nearest whose load is.

    Raises:
        ConfigError: when there is too little history, with what is needed, or the load never changes.
    """
    known = snapshot.power_kw[np.isfinite(snapshot.power_kw)]
    days = len(snapshot.power_kw) // snapshot.per_day
    block = WEEK + -(-horizon_hours // 24) - 1
    least = TRAIN_DAYS + 4 * (block - WEEK)  # on each side of the held-out week the horizon takes some
    needed = MIN_HISTORY_DAYS + least + block
    where = f"plant {snapshot.plant}"
    if days < needed:
        raise ConfigError(
            f"has {days} days of load where training needs at least {needed} "
            f"({MIN_HISTORY_DAYS} of history, {least} to learn from, "
            f"{block} to judge by); a year is better",
            where=where,
            todo=f"Import {needed - days} more days; until then devices forecast by seasonal naive",
        )
    if len(known) == 0:
        raise ConfigError("no load is known", where=where, todo="Check the meter and the column of the file")
    if float(known.std()) <= 1e-6 * float(np.abs(known).max()):  # in any unit
        raise ConfigError(
            f"the load is constant ({known[0]:.6g} kW): there is nothing to learn",
            where=where,
            todo="Check the meter and the column of the file",
        )
    usable = days - MIN_HISTORY_DAYS
    count = max(1, min(validation_days, usable // 10) // block)
    middle = np.floor(MIN_HISTORY_DAYS + (np.arange(count) + 0.5) * usable / count - block / 2).astype(int)
    # As far as it may move: it stays apart from the other weeks, and from those of `split_again`.
    slack = max(0, int(usable / count / 2 - 1.5 * block))
    starts = [_known_nearby(snapshot, int(start), block, slack) for start in middle]
    return Split(_stretches(snapshot, starts, block), len(snapshot.power_kw))


def _known_nearby(snapshot: Snapshot, start: int, block: int, slack: int) -> int:
    """Return the day nearest to `start` from which on `block` days are known, and the week before; `start` if none."""
    for start_day in sorted(range(start - slack, start + slack + 1), key=lambda day: (abs(day - start), day)):
        first, end = ((start_day + days) * snapshot.per_day for days in (-WEEK, block))
        if np.isfinite(snapshot.power_kw[first:end]).mean() >= _KNOWN_SHARE:
            return start_day
    return start


def _stretches(snapshot: Snapshot, starts: Sequence[int], block: int) -> tuple[tuple[int, int], ...]:
    return tuple((start * snapshot.per_day, (start + block) * snapshot.per_day) for start in starts)


def split_again(snapshot: Snapshot, horizon_hours: int, part: Split) -> Split:
    """Hold out as many weeks as `part` does, others: between these, and the last one of the data.

    For judging what was chosen by the weeks of `part`.

    Raises:
        ConfigError: when there is too little history for both.
    """
    block = (part.held_out[0][1] - part.held_out[0][0]) // snapshot.per_day
    days = len(snapshot.power_kw) // snapshot.per_day
    # Two stretches are judged by and three are left to learn from, of which the horizon takes some.
    needed = MIN_HISTORY_DAYS + 5 * (block + -(-horizon_hours // 24))
    if days < needed:
        raise ConfigError(
            f"has {days} days of load where a choice needs at least {needed}, since it is judged by weeks of its own",
            where=f"plant {snapshot.plant}",
            todo=f"Import {needed - days} more days; until then train with the defaults",
        )
    count = len(part.held_out)
    usable = days - MIN_HISTORY_DAYS
    starts = np.floor(MIN_HISTORY_DAYS + np.arange(1, count + 1) * usable / count - block / 2).astype(int)
    starts[-1] = days - block
    return Split(_stretches(snapshot, starts.tolist(), block), part.end)
