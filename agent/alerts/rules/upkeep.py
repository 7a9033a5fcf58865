"""The device itself: its disk and its model."""

from __future__ import annotations

from dataclasses import dataclass

from agent.alerts.finding import HOLD, Finding, Verdict
from agent.alerts.observations import Observations
from agent.contract.amounts import in_kw


@dataclass(frozen=True)
class StoreFailing:
    """The disk cannot be written. ON while that is so; cleared once it has been well for a minute."""

    name: str = "store-failing"
    severity: str = "critical"
    raise_after_s: float = 0.0
    clear_after_s: float = 60.0

    def judge(self, observations: Observations) -> Finding:
        """Say what the store says."""
        error = observations.storage_error
        if not error:
            return Finding(Verdict.OFF, "the disk is written again")
        text = f"readings are kept in memory only, and the oldest are lost when that is full: {error}"
        return Finding(Verdict.ON, text, {"storage_error": error})


@dataclass(frozen=True)
class ModelDrift:
    """The active model forecasts worse than seasonal naive. ON above `ratio` of its loss, OFF below 95 % of that.

    Attributes:
        ratio: of the model's loss to that of naive, over the last days.
        least_days: fewer tell nothing.
    """

    ratio: float = 1.0
    least_days: int = 7
    name: str = "model-drift"
    severity: str = "warning"
    raise_after_s: float = 0.0
    clear_after_s: float = 0.0

    def judge(self, observations: Observations) -> Finding:
        """Compare the two losses."""
        skill = observations.skill
        if skill is None:
            return Finding(Verdict.OFF, "no model is in use")
        if skill.days < self.least_days or skill.naive_kw <= 0:
            return HOLD
        share = skill.loss_kw / skill.naive_kw
        told = (
            f"{skill.model} had a loss of {in_kw(skill.loss_kw)} over the last {skill.days} days, seasonal naive "
            f"{in_kw(skill.naive_kw)}"
        )
        details = {
            "model": skill.model,
            "days": skill.days,
            "loss_kw": float(f"{skill.loss_kw:.6g}"),
            "naive_loss_kw": float(f"{skill.naive_kw:.6g}"),
        }
        if share > self.ratio:
            return Finding(Verdict.ON, f"{told}: the plant has changed; let the centre train a new model", details)
        if share < 0.95 * self.ratio:
            return Finding(Verdict.OFF, told, details)
        return HOLD
