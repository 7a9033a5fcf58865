"""A limit with room between where it is passed and where all is well again."""

from __future__ import annotations

import math
from dataclasses import dataclass

from agent.contract.errors import ConfigError

_CLEAR_SHARE = 0.02


@dataclass(frozen=True)
class Limit:
    """A value that must not be passed, and one that must be reached again: between the two nothing changes.

    Attributes:
        value: the limit.
        is_upper: whether values above it are wrong, or those below.
        clear: where it is well again; 2 % inside the limit where None.
    """

    value: float
    is_upper: bool
    clear: float | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ConfigError(f"{self.value} is no limit", where="alerts.limit")
        inside = self.value - self.well if self.is_upper else self.well - self.value
        if not inside > 0:
            side = "below" if self.is_upper else "above"
            raise ConfigError(f"clear must lie {side} the limit of {self.value:.6g}", where="alerts.limit")

    @property
    def well(self) -> float:
        """Where it is well again."""
        if self.clear is not None:
            return self.clear
        inside = _CLEAR_SHARE * abs(self.value)
        return self.value - inside if self.is_upper else self.value + inside

    def is_passed(self, value: float) -> bool:
        """Whether a value is wrong."""
        return value > self.value if self.is_upper else value < self.value

    def is_well(self, value: float) -> bool:
        """Whether a value is well again."""
        return value < self.well if self.is_upper else value > self.well

    def __str__(self) -> str:
        return f"{'above' if self.is_upper else 'below'} {self.value:.6g}"
