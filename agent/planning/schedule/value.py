"""What stored energy is worth: the cost of the hours ahead, by what is stored at the start of each step.

Stochastic dynamic programming, backward in time over the ways that the load may come (Bertsekas, Dynamic Programming
and Optimal Control, vol. 1, ch. 1): J_t(s) = min over powers u of cost_t(load - u) + J_t+1(s'), where s' is what is
then stored. Decides what each way knows of its own future: half of it. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.planning.schedule.parts import Array, Battery
from agent.planning.schedule.problem import Problem

LEVELS = 49  # of stored energy, about: see `levels_kwh`
_FEWEST_CELLS, _MOST_CELLS = 32, 64  # between the levels
_UNEVEN = 1e-4  # of the range that is left out at its top, to have a cell more or less than wanted
_FULL_POWER = 10  # powers at least that are tried between rest and full
_MOST_POWERS = 60  # between rest and full, where charging is much weaker than discharging
_MOST_PARTS = 64  # of a level: a battery of days is known less finely, whatever its power
_FORESIGHT = 0.5  # 1: each way is known from now on, 0: nothing of it is known before it comes
_DAY_S = 86_400
_OVER_PER_KWH = 1e4  # x the dearest price: passing a site limit trips a breaker
_WISH = 2.0  # x the dearest price, a kWh that lacks of the final charge
_LEAST_PRICE = 1e-3  # a kWh, of limits and wishes where energy is free
_REST = 1e-5  # x the dearest price, a kWh moved: of two ways that cost the same, the one that moves less


class Rates:
    """What import and export cost an hour, in each step of a problem: energy, demand and limits.

    Demand is counted above its floor in each step by itself: where an interval has several, what one draws less does
    not make up for what another draws more. That errs on the side of caution.
    """

    def __init__(self, problem: Problem) -> None:
        """Look up what costs in each step."""
        self._buy = problem.energy_per_kwh
        self._sell = problem.export_per_kwh
        self._site_kw, self._export_kw = problem.site_limit_kw, problem.export_limit_kw
        # PV alone can be held back: what a battery gives is exported, whatever that costs.
        self._held_kw = problem.pv_kw if problem.curtailable else np.zeros(problem.steps)
        self._welcome_kw = np.where(problem.export_per_kwh < 0, 0.0, problem.export_limit_kw)
        self._over = _OVER_PER_KWH * max(float(np.abs(self._buy).max()), float(np.abs(self._sell).max()), _LEAST_PRICE)
        self._floors_kw = np.array([charge.floor_kw for charge in problem.demand])
        self._demand = [
            (number, charge.counts, charge.per_kw * 3600 / max(charge.interval_s, problem.step_s))
            for number, charge in enumerate(problem.demand)
            if charge.per_kw
        ]

    def per_h(self, step: int, grid_kw: Array, margin_kw: Array | float = 0.0, floors_kw: Array | None = None) -> Array:
        """Return the cost of an hour at these imports (below 0: exports).

        PV that may be held back is, where feeding in costs money or passes the limit.

        Args:
            step: of the problem.
            grid_kw: the imports.
            margin_kw: how far below it they are to keep the site limit.
            floors_kw: of each demand charge, the import that costs nothing more; None: as the charges say.
        """
        floors_kw = self._floors_kw if floors_kw is None else floors_kw
        grid_kw = grid_kw + np.clip(-grid_kw - self._welcome_kw[step], 0, self._held_kw[step])
        cost: Array = self._buy[step] * np.maximum(grid_kw, 0) + self._sell[step] * np.minimum(grid_kw, 0)
        cost += self._over * np.maximum(-grid_kw - self._export_kw[step], 0)
        cost += self._over * np.maximum(grid_kw + margin_kw - self._site_kw[step], 0)
        for number, counts, per_kwh in self._demand:
            if counts[step]:
                cost += per_kwh * np.maximum(grid_kw - floors_kw[number], 0)
        return cost

    def bends_kw(self, step: int, margin_kw: float = 0.0, floors_kw: Array | None = None) -> list[float]:
        """Return the imports at which the cost bends; see `per_h`."""
        floors_kw = self._floors_kw if floors_kw is None else floors_kw
        welcome_kw, held_kw = float(self._welcome_kw[step]), float(self._held_kw[step])
        limits = [
            float(self._site_kw[step]) - margin_kw,
            -float(self._export_kw[step]),
            -welcome_kw,
            -welcome_kw - held_kw,
        ]
        floors = (float(floors_kw[number]) for number, counts, _ in self._demand if counts[step])
        return [0.0, *floors, *filter(np.isfinite, limits)]


def moved_per_h(problem: Problem, battery: Battery, power_kw: Array) -> Array:
    """Return what an hour at these powers costs the battery itself (above 0 it gives)."""
    rest = _REST * float(np.abs(problem.energy_per_kwh).max())
    cost: Array = battery.wear_per_kwh * np.maximum(power_kw, 0) + rest * np.abs(power_kw)
    return cost


def levels_kwh(battery: Battery) -> Array:
    """Return the stored energies that are looked at, evenly apart; the final charge is one of them.

    There what the end costs bends: between two levels, the one is short of it and the other too dear. For that a small
    part of the range, less than a level, may be left out at its top. Where the final charge is the least that may be
    stored, or less than a level above it, the levels share the whole range.
    """
    low, high = battery.range_kwh
    wish = battery.end_soc * battery.capacity_kwh
    if wish - low <= (high - low) / _MOST_CELLS:
        return np.linspace(low, high, LEVELS)
    below = np.arange(1, _MOST_CELLS + 1)  # cells below the final charge
    size = (wish - low) / below
    above = np.floor((high - wish) / size + 1e-6)
    cells, unseen = below + above, (high - wish - above * size) / (high - low)
    fits = (cells >= _FEWEST_CELLS) & (cells <= _MOST_CELLS)
    best = int(np.argmin(np.where(fits, unseen + _UNEVEN * np.abs(cells - LEVELS + 1), np.inf)))
    levels: Array = low + size[best] * np.arange(cells[best] + 1)
    return levels


def cost_to_go(problem: Problem, ways_kw: Array, median_kw: Array | None = None) -> Array:
    """Return the cost from the start of each step on, and at the end, by what is stored: [steps + 1, levels].

    It is the mean over the ways, and known but for a constant. The end is worth what the same hour of the day before
    it is worth: the day after is taken to be like the last one ahead. What lacks of the battery's final charge costs
    more there than energy alone can bring before. The site limit is kept in every way as if the load came to the
    margin above its median at least: as a plan keeps it, and once, where a way lies higher by itself.

    Args:
        problem: with its battery; demand costs from its charges' floors on.
        ways_kw: [ways, steps] net load as it may come, loads included.
        median_kw: [steps] its median; None: the problem's, without loads.
    """
    battery = problem.battery
    assert battery is not None  # noqa: S101 - there is nothing to store in
    levels = levels_kwh(battery)
    price = problem.energy_per_kwh
    lacking = np.maximum(battery.end_soc * battery.capacity_kwh - levels, 0)
    wish = _WISH * lacking * max(float(price.max()), _LEAST_PRICE)
    moves = _Moves.of(problem, battery, levels)
    median_kw = problem.load_kw - problem.pv_kw if median_kw is None else median_kw
    margins_kw = np.maximum(median_kw + problem.margin_kw - ways_kw, 0.0)
    rates = Rates(problem)
    to_go = np.empty((problem.steps + 1, len(levels)))
    to_go[-1] = wish - levels * max(float(price.min()), 0.0)
    day = _DAY_S // problem.step_s
    if problem.steps >= day:
        _back(to_go, rates, moves, ways_kw, margins_kw, problem.steps - day)
        to_go[-1] = to_go[-1 - day] - to_go[-1 - day].min() + wish
    _back(to_go, rates, moves, ways_kw, margins_kw, 0)
    return to_go


@dataclass(frozen=True, slots=True, eq=False)
class _Moves:
    """Powers that are tried in a step: whole parts of a level from `-down` to `up`, the outermost at full power.

    Attributes:
        parts: to the level.
        ends: (row, row beside it, share of the outermost part that full power reaches), where that is not all of it.
        take_kw: what the battery takes of the site in each (below 0: gives).
        cost: of the battery itself.
    """

    step_h: float
    parts: int
    down: int
    up: int
    ends: tuple[tuple[int, int, float], ...]
    take_kw: Array
    cost: Array

    @classmethod
    def of(cls, problem: Problem, battery: Battery, levels: Array) -> _Moves:
        step_h = problem.step_h
        into = battery.charge_kw * battery.efficiency_charge * step_h
        out = battery.discharge_kw / battery.efficiency_discharge * step_h
        level_kwh = max(float(levels[1] - levels[0]), 1e-9)
        parts = int(np.ceil(min(_FULL_POWER / min(into, out), _MOST_POWERS / max(into, out)) * level_kwh))
        parts = min(parts, _MOST_PARTS)
        part_kwh = level_kwh / parts
        most = (len(levels) - 1) * parts
        full_up, full_down = (min(flow / part_kwh, most) for flow in (into, out))
        up, down = (max(int(np.ceil(full - 1e-9)), 1) for full in (full_up, full_down))
        shares = (0, 1, full_down - down + 1), (-1, -2, full_up - up + 1)
        moved = np.clip(np.arange(-down, up + 1), -full_down, full_up) * (part_kwh / step_h)
        take = np.where(moved > 0, moved / battery.efficiency_charge, moved * battery.efficiency_discharge)
        cost = moved_per_h(problem, battery, -take) * step_h
        return cls(step_h, parts, down, up, tuple(end for end in shares if end[2] < 1), take, cost)


def _back(to_go: Array, rates: Rates, moves: _Moves, ways_kw: Array, margins_kw: Array, first: int) -> None:
    """Fill the steps from the end to the first one; levels that a move would leave cost infinitely much."""
    ways, levels, parts = len(ways_kw), to_go.shape[1], moves.parts
    span = (levels - 1) * parts
    fine = np.full((ways, moves.down + span + 1 + moves.up), np.inf)
    row, item = fine.strides
    shape = (moves.down + moves.up + 1, ways, levels)
    after = np.lib.stride_tricks.as_strided(fine, shape, (item, row, item * parts), writeable=False)
    share = np.arange(parts) / parts
    tried = np.empty(shape)
    ahead = np.tile(to_go[-1], (ways, 1))
    for step in range(to_go.shape[0] - 2, first - 1, -1):
        grid_kw = ways_kw[:, step] + moves.take_kw[:, None]
        cost = moves.step_h * rates.per_h(step, grid_kw, margins_kw[:, step]) + moves.cost[:, None]
        known = _FORESIGHT * ahead + (1 - _FORESIGHT) * ahead.mean(axis=0)
        between = known[:, :-1, None] + np.diff(known)[:, :, None] * share
        fine[:, moves.down : moves.down + span] = between.reshape(ways, span)
        fine[:, moves.down + span] = known[:, -1]
        np.add(after, cost[:, :, None], out=tried)
        for outermost, beside, reached in moves.ends:
            tried[outermost] = (1 - reached) * after[beside] + reached * after[outermost] + cost[outermost, :, None]
        ahead = tried.min(axis=0)
        to_go[step] = ahead.mean(axis=0)
