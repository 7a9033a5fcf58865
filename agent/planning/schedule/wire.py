"""Problem and plan, and what guards its peak, as JSON: for the pipe to the process that solves, and for what is kept.

Decides the form. Whatever comes in is checked again by the types themselves; infinite limits are null.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from agent.contract.errors import ConfigError, RejectedError
from agent.contract.jsonform import Fields
from agent.planning.schedule.guard import Guard
from agent.planning.schedule.parts import Battery, Deferrable, DemandCharge, Load, Sequence, Stage
from agent.planning.schedule.problem import SOURCES, Plan, Problem, plan_of
from agent.planning.schedule.prospect import Aims, Prospect

MAX_BYTES = 8 << 20
_LABEL = 32
_DECISIONS = ("charge_kw", "discharge_kw", "curtail_kw")


def problem_to_json(problem: Problem) -> dict[str, Any]:
    """Return the problem as JSON values."""
    value: dict[str, Any] = _plain(problem)
    value["loads"] = [{"kind": type(load).__name__.lower(), **_plain(load)} for load in problem.loads]
    return value


def problem_from_json(value: dict[str, Any]) -> Problem:
    """Return the problem.

    Raises:
        RejectedError: when it is none.
    """
    try:
        given = dict(value)
        for name in ("site_limit_kw", "export_limit_kw"):
            given[name] = [math.inf if entry is None else entry for entry in given[name]]
        given["demand"] = tuple(DemandCharge(**entry) for entry in given["demand"])
        given["battery"] = None if given["battery"] is None else Battery(**given["battery"])
        given["loads"] = tuple(_load(entry) for entry in given["loads"])
        return Problem(**given)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ConfigError) as exc:
        raise RejectedError(f"is no problem of a schedule ({exc})", where="schedule") from exc


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON values, rounded to a milliwatt."""
    value = {entry.name: getattr(plan, entry.name) for entry in dataclasses.fields(plan)}
    return {
        name: _plain(np.round(entry, 6) if isinstance(entry, np.ndarray) else entry) for name, entry in value.items()
    }


def plan_from_json(problem: Problem, value: dict[str, Any]) -> Plan:
    """Return the plan of a problem: its decisions are taken, all that follows from them is worked out again.

    Raises:
        RejectedError: when it is none, or not one of this problem.
    """
    try:
        decisions = [np.array(value[name], dtype=np.float64) for name in ("loads_kw", *_DECISIONS)]
        wanted = (len(problem.loads), problem.steps) if problem.loads else (0,)
        if [array.shape for array in decisions] != [wanted, *[(problem.steps,)] * len(_DECISIONS)]:
            raise RejectedError("is a plan of other steps or loads", where="schedule")
        if value["source"] not in SOURCES:
            raise RejectedError(f"is made by {value['source']!r}", where="schedule")
        plan = plan_of(problem, *decisions, source=value["source"])
        gap = None if value["gap"] is None else float(value["gap"])
        notes = tuple(str(note) for note in value["notes"])
        plan = dataclasses.replace(plan, objective=float(value["objective"]), gap=gap, notes=notes)
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        raise RejectedError(f"is no plan of this problem ({exc})", where="schedule") from exc
    if not np.isfinite(plan.grid_kw).all():
        raise RejectedError("is a plan with powers that are no numbers", where="schedule")
    return plan


def aims_to_json(aims: Aims) -> dict[str, Any]:
    """Return the aims as JSON values."""
    return {**_plain(aims), "peaks_kw": dict(aims.peaks_kw)}


def aims_from_json(value: Any) -> Aims:
    """Return the aims.

    Raises:
        RejectedError: when they are none.
    """
    fields = Fields(value, "aims")
    peaks = fields.child("peaks_kw")
    return Aims(
        peaks_kw={name: peaks.number(name) for name in value["peaks_kw"]},
        insured_kw=fields.number("insured_kw", low=0),
        day=fields.text("day", max_length=_LABEL),
        month=fields.text("month", max_length=_LABEL),
    )


def guard_to_json(guard: Guard) -> dict[str, Any]:
    """Return the guard as JSON values, rounded to a watt."""
    arrays = {entry.name: getattr(guard, entry.name) for entry in dataclasses.fields(guard)}
    return {name: _plain(np.round(array, 3)) for name, array in arrays.items()}


def guard_from_json(problem: Problem, value: Any) -> Guard:
    """Return the guard of a problem.

    Raises:
        RejectedError: when it is none.
    """
    try:
        arrays = {
            entry.name: np.array([math.inf if one is None else one for one in value[entry.name]], dtype=np.float64)
            for entry in dataclasses.fields(Guard)
        }
    except (KeyError, TypeError, ValueError) as exc:
        raise RejectedError(f"is no guard ({exc})", where="schedule") from exc
    if any(array.shape != (problem.steps,) or np.isnan(array).any() for array in arrays.values()):
        raise RejectedError("is a guard of other steps", where="schedule")
    stored = arrays["wanted_kwh"], arrays["reserve_kwh"]
    if not all(np.isfinite(array).all() and (array >= 0).all() for array in stored):
        raise RejectedError("is a guard that keeps what cannot be stored", where="schedule")
    return Guard(**arrays)


def prospect_to_json(prospect: Prospect) -> dict[str, Any]:
    """Return the prospect as JSON values, powers rounded to a watt."""
    ways = {name: np.round(getattr(prospect, name), 3).tolist() for name in ("paths_kw", "days_kw")}
    aims = None if prospect.aims is None else aims_to_json(prospect.aims)
    return {**ways, "day": prospect.day, "month": prospect.month, "days_left": prospect.days_left, "aims": aims}


def prospect_from_json(value: dict[str, Any]) -> Prospect:
    """Return the prospect, as the process that solves gets it from its parent."""
    return Prospect(**{**value, "aims": None if value["aims"] is None else aims_from_json(value["aims"])})


def _load(value: dict[str, Any]) -> Load:
    given = dict(value)
    if given.pop("kind") == "deferrable":
        return Deferrable(**given)
    stages = tuple(Stage(**{**entry, "profile_kw": tuple(entry["profile_kw"])}) for entry in given.pop("stages"))
    return Sequence(stages=stages, **given)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return [_plain(entry) for entry in value.tolist()]
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
