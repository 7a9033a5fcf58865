"""Times and amounts of a plan in words: local times of the plant, spans of steps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agent.contract.amounts import amount as plain
from agent.contract.zones import parse_zone, to_local
from agent.planning.schedule.problem import Problem

_MOST_SPANS = 3


def runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return [start, end) of each stretch of steps that hold."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], np.asarray(mask, dtype=int), [0])))).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def clock(problem: Problem, step: int) -> str:
    """Return the local time at which a step begins, such as 14:15; with the date where it is not the first day."""
    zone = parse_zone(problem.zone)
    local = to_local(problem.time_ms(step), zone)
    first = to_local(problem.start_ms, zone)
    text = local.strftime("%H:%M")
    return text if local.date() == first.date() else f"{text} on {local:%a %d %b}"


def amount(value: float) -> str:
    """Return kW or kWh to three digits, without a power of ten however large it is."""
    return plain(round(value, 3) + 0.0)


def peak_amount(value: float) -> str:
    """Return kW to four digits, likewise: of a peak the fourth is money."""
    return plain(round(value, 3) + 0.0, digits=4)


def price(value: float) -> str:
    """Return a price of a kWh."""
    return f"{round(value, 3) + 0.0:.3f}"


def spans(problem: Problem, mask: npt.NDArray[np.bool_]) -> str:
    """Return "from 14:15 to 15:00", for up to three stretches; a day that both times share is told once."""
    found = runs(mask)
    times = [(clock(problem, start), clock(problem, end)) for start, end in found[:_MOST_SPANS]]
    text = ", ".join(f"from {began[:5] if began[5:] == last[5:] else began} to {last}" for began, last in times)
    return text if len(found) <= _MOST_SPANS else f"{text} and {len(found) - _MOST_SPANS} more times"


def span(problem: Problem, start: int, end: int) -> str:
    """Return "02:00-04:00", or "22:00 to 04:00 on Fri 16 Jan"; the midnight at the end of a day is 24:00."""
    began, last = clock(problem, start), clock(problem, end)
    if last.startswith("00:00") and clock(problem, end - 1)[5:] == began[5:]:
        last = "24:00" + began[5:]
    return f"{began[:5]}-{last}" if began[5:] == last[5:] else f"{began} to {last}"


def duration(seconds: float) -> str:
    """Return "45 min" or "2 h 30 min"."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join(
        text for text in (f"{hours} h" if hours else "", f"{minutes} min" if minutes or not hours else "") if text
    )
