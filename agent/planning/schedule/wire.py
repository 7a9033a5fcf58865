"""Problem, plan and what its battery follows, as JSON: for the pipe to the process that solves, and for what is kept.

Decides the form. Whatever comes in is checked again by the types themselves; infinite limits are null.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from agent.contract.errors import ConfigError, RejectedError
from agent.contract.jsonform import Fields
from agent.contract.zones import parse_zone
from agent.planning.schedule.parts import Battery, Deferrable, DemandCharge, Load, Sequence, Stage
from agent.planning.schedule.policy import Policy
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
        parse_zone(_times(given).text("zone"))
        given.pop("reserve_kwh", None)  # in plans kept by earlier versions
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
        day=fields.text("day", max_length=_LABEL),
        month=fields.text("month", max_length=_LABEL),
    )


def policy_to_json(policy: Policy) -> list[list[float]]:
    """Return the policy as JSON values: the cost to go of each step less that of a full battery, to eight digits."""
    return [[float(f"{cost:.8g}") for cost in row] for row in (policy.to_go - policy.to_go[:, -1:]).tolist()]


def policy_from_json(problem: Problem, value: Any) -> Policy:
    """Return the policy of a problem.

    Raises:
        RejectedError: when it is none.
    """
    try:
        to_go = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as exc:
        raise RejectedError(f"is no cost to go ({exc})", where="schedule") from exc
    if to_go.shape[:1] != (problem.steps + 1,) or to_go.ndim != 2 or to_go.shape[1] < 2:
        raise RejectedError("is the cost to go of other steps", where="schedule")
    if not np.isfinite(to_go).all() or problem.battery is None:
        raise RejectedError("is no cost to go: it must be numbers, and there must be a battery", where="schedule")
    return Policy(problem, to_go)


def prospect_to_json(prospect: Prospect) -> dict[str, Any]:
    """Return the prospect as JSON values, powers rounded to a watt."""
    powers = ("median_kw", "paths_kw", "days_kw")
    ways = {name: np.round(getattr(prospect, name), 3).tolist() for name in powers}
    aims = None if prospect.aims is None else aims_to_json(prospect.aims)
    windows = {name: window.astype(int).tolist() for name, window in prospect.windows.items()}
    of = {"day": prospect.day, "month": prospect.month, "days_left": prospect.days_left}
    return {**ways, **of, "windows": windows, "aims": aims}


def prospect_from_json(value: dict[str, Any]) -> Prospect:
    """Return the prospect, as the process that solves gets it from its parent."""
    return Prospect(**{**value, "aims": None if value["aims"] is None else aims_from_json(value["aims"])})


def _times(value: dict[str, Any]) -> Fields:
    """Return the fields of a problem of which the instants are whole milliseconds."""
    fields = Fields(value, "schedule")
    fields.instant("start_ms")
    fields.integer("step_s", low=1)
    return fields


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
