"""A running register of energy -> mean power of slots. Pure; the rules of rollover are `agent.contract.slots`'s.

Unlike a device, which bills what it has, this counts nothing where a counter went back: the energy of that step is
unknown, and nothing is to be learnt from a guess.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Floats, Ints
from agent.contract.slots import MIN_COMPLETENESS
from trainer.dataset.cleaning import Mask
from trainer.dataset.slotting import Grid

_HOUR_MS = 3_600_000
_MOST_RESETS = 0.01  # of the steps: more, and it is no counter


@dataclass(frozen=True, eq=False)
class Counted:
    """What a register says about consecutive slots.

    Attributes:
        power: [T] in the register's unit per hour, NaN where unknown.
        resets: [T] slots in which the register went back.
        rollovers: [T] slots in which it passed its end.
    """

    power: Floats
    resets: Mask
    rollovers: Mask


def count_into_slots(times_ms: Ints, register: Floats, rollover: float | None, grid: Grid, where: str) -> Counted:
    """Share out the steps of a register to slots, in proportion to time.

    A step longer than a slot says nothing of the slots that it spans; a slot of which less than half is known is not.

    Args:
        times_ms: [N] ascending; they need not lie on a grid.
        register: [N], NaN where unknown.
        rollover: the value at which the register starts again at zero; None when it has none.
        grid: the slots, from that of the first time on.
        where: the file's name.

    Raises:
        ConfigError: when the register stands beyond its rollover, or goes back too often to be one.
    """
    known = np.isfinite(register)
    times, values = times_ms[known].astype(np.float64), register[known]
    if rollover is not None and len(values) and values.max() > rollover:
        raise ConfigError(
            f"the register reaches {values.max():g}, beyond its rollover at {rollover:g}",
            where=where,
            todo="Correct --rollover: the first value that the register cannot show",
        )
    steps, lengths = np.diff(values), np.diff(times)
    back = steps < 0
    rolled = np.zeros_like(back)
    if rollover is not None:
        rolled = back & (steps + rollover <= rollover / 2)
        steps = np.where(rolled, steps + rollover, steps)
    reset = back & ~rolled
    if reset.sum() > max(3, _MOST_RESETS * len(steps)):
        raise ConfigError(
            f"the register goes back {int(reset.sum())} times in {len(values)} readings: it is no counter",
            where=where,
            todo="Leave out --counter, or give --rollover",
        )
    useful = ~reset & (lengths <= max(grid.slot_s * 1000, 1.5 * grid.interval_ms))
    edges = grid.start_ms + np.arange(grid.count + 1, dtype=np.float64) * grid.slot_s * 1000
    energy = _between(edges, times, np.where(useful, steps, 0.0))
    covered_ms = _between(edges, times, np.where(useful, lengths, 0.0))
    enough = covered_ms >= MIN_COMPLETENESS * grid.slot_s * 1000
    power = np.where(enough, energy * _HOUR_MS / np.maximum(covered_ms, 1.0), np.nan)
    marks = [_between(edges, times, np.where(which, lengths, 0.0)) > 0 for which in (reset, rolled)]
    return Counted(power, marks[0], marks[1])


def _between(edges: Floats, times: Floats, amounts: Floats) -> Floats:
    """How much of amounts that accrue evenly from time to time falls between neighbouring edges."""
    if len(times) < 2:
        return np.zeros(len(edges) - 1)
    total: Floats = np.diff(np.interp(edges, times, np.concatenate([[0.0], np.cumsum(amounts)])))
    return total
