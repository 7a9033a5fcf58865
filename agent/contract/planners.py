"""What makes a plan, and how that is told to people: it is made by ..."""

from __future__ import annotations

PLANNERS = {
    "highs": "the optimiser",
    "rules": "rules, not the optimiser",
    "policy": "weighing what stored energy is worth",
}


def planner_told(source: str) -> str:
    """Return a plan's source in words; one that a later version writes as it stands."""
    return PLANNERS.get(source, source)
