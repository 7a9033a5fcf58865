"""A battery at a plant, replayed over measured load: planned each hour, followed in each interval, billed at the end.

Decides nothing of how a battery is run: plans, what they aim at and what happens between them are the device's own,
`agent.planning.schedule`. The load of an interval is known while it lasts, as it is to a controller that looks every
few seconds. Before the replay begins the battery is not there; the first month's bill holds the peak of those days, too.
Demand is that of single steps: tariffs that bill the mean of longer intervals are refused.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from agent.contract.slots import Slot
from agent.contract.zones import clock_ms
from agent.planning.billing.bill import bill
from agent.planning.billing.marginal import marginal_prices
from agent.planning.schedule import problem as problems
from agent.planning.schedule.aims import guarded_plan
from agent.planning.schedule.optimum import solve
from agent.planning.schedule.parts import Battery, DemandCharge
from agent.planning.schedule.policy import follow
from agent.planning.schedule.problem import Problem
from agent.planning.schedule.prospect import HISTORY_DAYS, PAST_DAYS, prospect
from agent.planning.schedule.rules import rule_plan

STEP_S = 900
PER_HOUR = 3600 // STEP_S
DAY = 24 * PER_HOUR
WEEK = 7 * DAY
_ROUND_TRIP = 0.9


@dataclass(frozen=True, eq=False)
class Plant:
    """A measured load and what it is billed by.

    Attributes:
        first: step at which the battery begins.
    """

    name: str
    start_ms: int
    load_kw: np.ndarray
    first: int
    tariff: object

    @property
    def hours(self):
        """First step of each hour that is replayed."""
        return np.arange(self.first, len(self.load_kw) // PER_HOUR * PER_HOUR, PER_HOUR)

    def time_ms(self, step):
        return self.start_ms + int(step) * STEP_S * 1000


def battery_for(load_kw):
    """A quarter of the highest load in power, two hours of that in energy, 90 % there and back."""
    power = 0.25 * float(np.max(load_kw))
    efficiency = _ROUND_TRIP**0.5
    return Battery(
        capacity_kwh=2 * power,
        charge_kw=power,
        discharge_kw=power,
        efficiency_charge=efficiency,
        efficiency_discharge=efficiency,
        final_soc=0.0,
    )


def naive(plant):
    """The same hours a week ago, as a forecast from each hour: [hours, DAY]."""
    steps = plant.hours[:, None] + np.arange(DAY) - WEEK
    return plant.load_kw[steps]


def truth(plant):
    """What came: [hours, DAY]; beyond the end of the load, its last week again."""
    more = np.concatenate([plant.load_kw, plant.load_kw[-WEEK:]])
    return more[plant.hours[:, None] + np.arange(DAY)]


class Replay:
    """A battery's way through the load of a plant under its tariff."""

    def __init__(self, plant, battery):
        self.plant, self.battery = plant, battery
        self.steps = len(plant.load_kw) - plant.first + DAY
        self.prices = marginal_prices(plant.tariff, plant.time_ms(plant.first), STEP_S, self.steps)
        if wrong := [term.name for term in self.prices.demand if term.interval_s != STEP_S]:
            raise SystemExit(
                f"{plant.tariff.name}: {wrong[0]} is not billed by intervals of {STEP_S // 60} min, the step"
            )
        self.before = self._peaks_before()

    def run(self, medians, *, perfect=False):
        """Return the import of each step from the first on, planned on `medians` [hours, DAY]."""
        plant, battery = self.plant, self.battery
        peaks, stored = dict(self.before), battery.initial_soc * battery.capacity_kwh
        grid = np.zeros(len(plant.load_kw) - plant.first)
        aims = None
        for number, step in enumerate(plant.hours.tolist()):
            median = np.maximum(medians[number], 0)
            ahead = self._prospect(medians, number, median, aims)
            if perfect:
                ahead = dataclasses.replace(ahead, paths_kw=median[None], days_kw=median[None])
            made = guarded_plan(self._problem(step, median, stored, peaks), ahead, solve)
            aims = made.aims
            for offset in range(PER_HOUR):
                at = step + offset
                load = float(plant.load_kw[at])
                power = follow(made.policy, offset, load, stored, STEP_S / 3600)
                stored += self._flow(power) * STEP_S / 3600
                grid[at - plant.first] = load - power
            self._raise(peaks, grid, step - plant.first, PER_HOUR)
        return grid

    def by_rules(self, medians):
        """Return the import of each step where each hour's plan by rules is carried out as it stands."""
        battery, step_h = self.battery, STEP_S / 3600
        peaks, stored = dict(self.before), battery.initial_soc * battery.capacity_kwh
        grid = np.zeros(len(self.plant.load_kw) - self.plant.first)
        for number, step in enumerate(self.plant.hours.tolist()):
            plan = rule_plan(self._problem(step, np.maximum(medians[number], 0), stored, peaks))
            for offset in range(PER_HOUR):
                load = float(self.plant.load_kw[step + offset])
                most = min(load, stored * battery.efficiency_discharge / step_h)
                least = (stored - battery.capacity_kwh) / (battery.efficiency_charge * step_h)
                power = float(np.clip(plan.discharge_kw[offset] - plan.charge_kw[offset], least, most))
                stored += self._flow(power) * step_h
                grid[step + offset - self.plant.first] = load - power
            self._raise(peaks, grid, step - self.plant.first, PER_HOUR)
        return grid

    def best(self):
        """Return the import under the cheapest way of all, with the whole load known from the start."""
        plant, limit = self.plant, problems.MAX_STEPS
        problems.MAX_STEPS = 100_000  # a plan of months is of no use but here
        try:
            steps = len(plant.load_kw) - plant.first
            whole = self._problem(plant.first, plant.load_kw[plant.first :], self.battery.capacity_kwh / 2, self.before)
            return solve(whole, gap=1e-6, limit_s=600).grid_kw[:steps]
        finally:
            problems.MAX_STEPS = limit

    def slots(self, grid_kw=None):
        """Return the slots of the bill and its span, from the begin of the first month on."""
        plant = self.plant
        load = plant.load_kw.copy()
        if grid_kw is not None:
            load[plant.first :] = grid_kw
        begin = self._begin()
        slots = [
            Slot(plant.time_ms(begin + number), STEP_S, round(power * STEP_S / 3.6), power, 1.0)
            for number, power in enumerate(load[begin:].tolist())
        ]
        return slots, (plant.time_ms(begin), plant.time_ms(len(load)))

    def bill(self, slots, span_ms):
        """Bill slots; charges of meters that the plant does not have are left out."""
        return bill(self.plant.tariff, slots, span_ms=span_ms, partial=True)

    def cost(self, grid_kw=None):
        """Return the bill; without a battery where no grid is given."""
        return self.bill(*self.slots(grid_kw))

    def _begin(self):
        month = self.plant.tariff.month_at(self.plant.time_ms(self.plant.first))
        return max(round((month.start_ms - self.plant.start_ms) / (STEP_S * 1000)), 0)

    def _problem(self, step, median, stored, peaks):
        begin = step - self.plant.first
        span = slice(begin, begin + len(median))
        charges = tuple(
            DemandCharge(
                name=term.name,
                month=term.label,
                per_kw=term.per_kw,
                interval_s=term.interval_s,
                counts=term.counts[span],
                free_kw=term.free_kw,
                peak_so_far_kw=peaks.get((term.name, term.label), 0.0),
            )
            for term in self.prices.demand
            if term.counts[span].any()
        )
        soc = min(max(stored / self.battery.capacity_kwh, 0.0), 1.0)
        return Problem(
            start_ms=self.plant.time_ms(step),
            step_s=STEP_S,
            load_kw=median,
            import_per_kwh=self.prices.import_per_kwh[span],
            export_per_kwh=self.prices.export_per_kwh[span],
            export_limit_kw=0.0,
            demand=charges,
            battery=dataclasses.replace(self.battery, initial_soc=soc),
        )

    def _prospect(self, medians, number, median, aims):
        """What the device would know at this hour; before the first one there were no forecasts."""
        plant, step = self.plant, int(self.plant.hours[number])
        origins = {back: self._hour_before(number, back) for back in range(1, HISTORY_DAYS + 1)}
        found = prospect(
            plant.tariff,
            plant.time_ms(step),
            median,
            plant.load_kw[max(step - PAST_DAYS * DAY, 0) : step],
            {back: medians[origin] for back, origin in origins.items() if origin >= 0},
            step_s=STEP_S,
            aims=aims,
        )
        if found is None:
            raise SystemExit(f"{plant.name}: the replay needs a week of load before it, and forecasts of a whole day")
        return found

    def _hour_before(self, number, back):
        """Which replayed hour began at the same local time so many days before; below 0: none did."""
        zone, now_ms = self.plant.tariff.zone, self.plant.time_ms(self.plant.hours[number])
        same_ms = now_ms - back * 86_400_000
        moved_ms = (clock_ms(now_ms, zone) - now_ms) - (clock_ms(same_ms, zone) - same_ms)
        return number - 24 * back + moved_ms // 3_600_000

    def _flow(self, power):
        battery = self.battery
        return -power / battery.efficiency_discharge if power > 0 else -power * battery.efficiency_charge

    def _raise(self, peaks, grid, begin, count):
        span = slice(begin, begin + count)
        for term in self.prices.demand:
            if (counts := term.counts[span]).any():
                key = term.name, term.label
                peaks[key] = max(peaks.get(key, 0.0), float(grid[span][counts].max()))

    def _peaks_before(self):
        plant = self.plant
        start = self._begin()
        if start >= plant.first:
            return {}
        terms = marginal_prices(plant.tariff, plant.time_ms(start), STEP_S, plant.first - start).demand
        load = plant.load_kw[start : plant.first]
        return {(t.name, t.label): float(load[t.counts].max()) for t in terms if t.counts.any()}
