"""The newest plan as the store keeps it: under which name, how large it may be, and what of it moves with the clock.

Loads nothing of the schedule: also a plant without anything to plan asks whether there is a plan.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from agent.contract import jsonform

NOTE = "plan"
_MAX_BYTES = 8 << 20
_DAY_MS = 86_400_000


def read_plan_note(note: Callable[[str], bytes | None]) -> dict[str, Any] | None:
    """Return the newest plan as JSON values, see `planning`; None before the first.

    Args:
        note: reads what the store keeps under a name.

    Raises:
        RejectedError: when it is damaged.
        StorageError: when the disk cannot be read.
    """
    data = note(NOTE)
    return None if data is None else jsonform.loads(data, where=f"note {NOTE}", max_bytes=_MAX_BYTES)


def moved_plan(value: dict[str, Any], step_ms: int) -> dict[str, Any]:
    """Return a plan as it is by a clock that was set; where that was wrong by days, its runs are those of other days.

    Raises:
        KeyError, TypeError, ValueError, AttributeError, OverflowError: when it is none.
    """
    days = dt.timedelta(days=round(step_ms / _DAY_MS))

    def dated(run: str) -> str:
        name, _, date = run.rpartition(" ")
        return f"{name} {dt.date.fromisoformat(date) + days}"

    problem = value["problem"]
    loads = [{**load, "name": dated(load["name"])} for load in problem["loads"]]
    times = {name: value[name] + step_ms for name in ("made_ms", "start_ms", "end_ms")}
    moved = {**problem, "start_ms": problem["start_ms"] + step_ms, "loads": loads}
    return {**value, **times, "problem": moved, "settled": [dated(run) for run in value["settled"]]}
