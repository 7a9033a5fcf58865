"""What a rule is, and what it says: ON, OFF, or HOLD, in words and numbers."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.alerts.observations import Observations


class Verdict(enum.Enum):
    """What a rule makes of an observation."""

    ON = "on"
    OFF = "off"
    HOLD = "hold"


@dataclass(frozen=True)
class Finding:
    """A verdict in words.

    Attributes:
        text: for people; complete without the rest.
        details: numbers for the row, with units in their names.
    """

    verdict: Verdict
    text: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


HOLD = Finding(Verdict.HOLD)


class Rule(Protocol):
    """One kind of alert; at most one of it is open. Keeps no state and reads no clock."""

    @property
    def name(self) -> str:
        """Identifies the rule across restarts."""
        ...

    @property
    def severity(self) -> str:
        """`warning` or `critical`."""
        ...

    @property
    def raise_after_s(self) -> float:
        """How long it must be ON without a break before its alert is raised."""
        ...

    @property
    def clear_after_s(self) -> float:
        """How long it must be OFF without a break before its alert is cleared."""
        ...

    def judge(self, observations: Observations) -> Finding:
        """Judge what is known now."""
        ...


def span(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} days"
