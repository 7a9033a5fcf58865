"""The problem that a plan answers, and the plan: what crosses the border to the solver, and comes back.

Decides what a well-formed problem is. Powers are means over a step in kW; arrays are read-only, one value a step.
Gross load (`load_kw`), PV and battery are kept apart: grid = load + loads + charge - discharge - (PV - curtailed).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.planners import PLANNERS
from agent.contract.zones import clock_ms, parse_zone
from agent.planning.schedule.parts import Array, Battery, DemandCharge, Load, frozen

MAX_STEPS = 2880
MAX_LOADS = 50
SOURCES = tuple(PLANNERS)  # of plans
_ARRAYS = (
    "load_kw",
    "pv_kw",
    "import_per_kwh",
    "export_per_kwh",
    "carbon_kg_per_kwh",
    "margin_kw",
    "site_limit_kw",
    "export_limit_kw",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """All that a plan rests on. Where an array is wanted, one number stands for all steps.

    Attributes:
        start_ms: start of the first step.
        load_kw: inflexible gross load, the median of its forecast; it sets the number of steps.
        pv_kw: PV power available.
        import_per_kwh, export_per_kwh: money per kWh; export is what feeding in brings.
        demand: charges on peaks.
        site_limit_kw: greatest import; infinite: none.
        export_limit_kw: greatest export; infinite: none.
        margin_kw: how far a higher quantile of the load lies above the median: import plus margin must keep the site
            limit, and demand is charged on it.
        margin_on_demand: False where demand is charged without the margin, since the battery answers what deviates.
        carbon_kg_per_kwh, carbon_price_per_kg: of imported energy.
        curtailable: whether PV may be held back.
        zone: in which times are told to people, and whose clock billing intervals follow.
        currency: for people.
    """

    start_ms: int
    step_s: int
    load_kw: Array
    import_per_kwh: Array
    pv_kw: Array = field(default_factory=lambda: np.zeros(()))
    export_per_kwh: Array = field(default_factory=lambda: np.zeros(()))
    demand: tuple[DemandCharge, ...] = ()
    site_limit_kw: Array = field(default_factory=lambda: np.full((), math.inf))
    export_limit_kw: Array = field(default_factory=lambda: np.full((), math.inf))
    margin_kw: Array = field(default_factory=lambda: np.zeros(()))
    margin_on_demand: bool = True
    carbon_kg_per_kwh: Array = field(default_factory=lambda: np.zeros(()))
    carbon_price_per_kg: float = 0.0
    battery: Battery | None = None
    loads: tuple[Load, ...] = ()
    curtailable: bool = False
    zone: str = "UTC"
    currency: str = ""

    def __post_init__(self) -> None:
        """Check everything.

        Raises:
            ConfigError: with everything that is impossible.
        """
        steps = np.size(self.load_kw)
        if not 1 <= steps <= MAX_STEPS or np.ndim(self.load_kw) != 1:
            raise ConfigError(f"a plan has 1 to {MAX_STEPS} steps, not {steps}", where="schedule")
        complaints = []
        for name in _ARRAYS:
            try:
                value = np.broadcast_to(np.asarray(getattr(self, name), dtype=np.float64), (steps,))
            except (ValueError, TypeError):
                complaints.append(f"{name} is not one number, or {steps} of them")
                continue
            object.__setattr__(self, name, frozen(value))
        complaints += complaints or list(self._complaints())
        if complaints:
            raise ConfigError("; ".join(dict.fromkeys(complaints)), where="schedule")

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.load_kw)

    @property
    def step_h(self) -> float:
        """Length of a step in hours."""
        return self.step_s / 3600

    @property
    def demand_margin_kw(self) -> Array:
        """The margin that demand is charged with."""
        return self.margin_kw if self.margin_on_demand else np.zeros(self.steps)

    @property
    def energy_per_kwh(self) -> Array:
        """What a kWh imported costs, carbon included."""
        cost: Array = self.import_per_kwh + self.carbon_price_per_kg * self.carbon_kg_per_kwh
        return cost

    @property
    def clock_ms(self) -> int:
        """Start of the first step by the wall clock."""
        return clock_ms(self.start_ms, parse_zone(self.zone))

    def time_ms(self, step: int) -> int:
        """Return the start of a step; of `steps`, the end of the problem."""
        return self.start_ms + step * self.step_s * 1000

    def _complaints(self) -> Iterator[str]:
        for name in _ARRAYS:
            value = getattr(self, name)
            limit = name.endswith("limit_kw")
            if np.isnan(value).any() or (not limit and not np.isfinite(value).all()):
                yield f"{name}: step {int(np.argmin(np.isfinite(value)))} is not a number"
            elif name in ("margin_kw", "pv_kw", "site_limit_kw", "export_limit_kw") and (value < 0).any():
                yield f"{name}: step {int(np.argmax(value < 0))} is negative"
        if self.step_s < 1:
            yield f"step_s is {self.step_s}: it must be at least 1"
            return
        if not 0 <= self.carbon_price_per_kg < math.inf:
            yield f"carbon_price_per_kg is {self.carbon_price_per_kg}: it must not be negative"
        if self.battery is not None:
            yield from self.battery.complaints()
        for charge in self.demand:
            yield from charge.complaints(self.steps, self.step_s)
        for load in self.loads:
            yield from load.complaints(self.steps)
        names = [load.name for load in self.loads]
        if len(set(names)) < len(names) or len(names) > MAX_LOADS:
            yield f"loads: each needs a name of its own, and there are at most {MAX_LOADS}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """What to do in each step, in kW.

    Attributes:
        loads_kw: power of each load of the problem, in its order: shape (loads, steps).
        curtail_kw: PV held back.
        grid_kw: import; negative where energy is exported.
        stored_kwh: in the battery at the end of each step.
        source: one of `SOURCES`.
        objective: total of `price_plan`.
        gap: (objective - proven bound) / |objective|; None where nothing is proven.
        notes: for people: why it is a plan of rules, or which wishes it does not meet.
    """

    charge_kw: Array
    discharge_kw: Array
    loads_kw: Array
    curtail_kw: Array
    grid_kw: Array
    stored_kwh: Array
    source: str
    objective: float
    gap: float | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, entry.name, frozen(value))


def plan_of(
    problem: Problem,
    loads_kw: Array,
    charge_kw: Array | float = 0.0,
    discharge_kw: Array | float = 0.0,
    curtail_kw: Array | float = 0.0,
    *,
    source: str,
) -> Plan:
    """Make a plan of decisions: grid and stored energy follow from them; its objective is still NaN."""
    steps = problem.steps
    charge = np.broadcast_to(np.asarray(charge_kw, dtype=np.float64), (steps,))
    discharge = np.broadcast_to(np.asarray(discharge_kw, dtype=np.float64), (steps,))
    curtail = np.broadcast_to(np.asarray(curtail_kw, dtype=np.float64), (steps,))
    powers = np.asarray(loads_kw, dtype=np.float64).reshape(len(problem.loads), steps)
    stored = np.zeros(steps)
    if (battery := problem.battery) is not None:
        flow = battery.efficiency_charge * charge - discharge / battery.efficiency_discharge
        stored = battery.initial_soc * battery.capacity_kwh + problem.step_h * np.cumsum(flow)
    return Plan(
        charge_kw=charge,
        discharge_kw=discharge,
        loads_kw=powers,
        curtail_kw=curtail,
        grid_kw=problem.load_kw + powers.sum(axis=0) + charge - discharge - (problem.pv_kw - curtail),
        stored_kwh=stored,
        source=source,
        objective=math.nan,
    )
