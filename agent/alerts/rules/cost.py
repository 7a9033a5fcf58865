"""The bill: a month that will cost more than was set aside for it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from agent.alerts.finding import HOLD, Finding, Verdict
from agent.alerts.observations import Observations
from agent.contract.errors import ConfigError

_CLEAR_SHARE = Decimal("0.97")


@dataclass(frozen=True)
class CostBudget:
    """The month's cost, or where it is heading, exceeds a budget. OFF below 97 % of it, in between HOLD.

    Attributes:
        budget: in the tariff's currency.
    """

    budget: Decimal
    name: str = "cost-budget"
    severity: str = "warning"
    raise_after_s: float = 0.0
    clear_after_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.budget > 0:
            raise ConfigError("must be above 0", where="alerts.month_budget")

    def judge(self, observations: Observations) -> Finding:
        """Compare what is spent, then what the month is heading for, with the budget."""
        month = observations.month
        if month is None:
            return HOLD
        details = {"so_far": str(month.so_far), "budget": str(self.budget), "currency": month.currency}
        if month.at_end is not None:
            details["at_end"] = str(month.at_end)
        spent = f"{month.so_far} {month.currency} of {self.budget} {month.currency}"
        if month.so_far > self.budget:
            return Finding(Verdict.ON, f"the month's budget is spent: {spent}", details)
        if month.at_end is None:
            return HOLD
        if month.at_end > self.budget:
            over = month.at_end - self.budget
            text = f"the month is heading for {month.at_end} {month.currency}, {over} over its budget; so far {spent}"
            return Finding(Verdict.ON, text, details)
        if month.at_end < _CLEAR_SHARE * self.budget:
            return Finding(Verdict.OFF, f"the month is heading for {month.at_end} {month.currency}", details)
        return HOLD
