"""How a training run is configured; every field ends in the model card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from agent.contract.errors import ConfigError
from agent.contract.featurespec import Scaling
from trainer.learning.networks import STUDENT, TEACHER, Shape

_UPDATES_A_DAY = 3

Progress = Callable[[str, int, int], None]
"""Called with a stage, and how many of how many steps of it are done."""


@dataclass(frozen=True)
class Options:
    """Everything but the data that decides what a training run gives.

    Attributes:
        horizon_hours: length of a forecast.
        validation_days: held out, in weeks spread over the data; less where there is little data.
        scaling: how load is standardised.
        teachers: networks in the teacher's ensemble.
        teacher_updates: gradient steps of each; fewer where there is little data (`updates_for`). A fixed number:
            stopping early on a short tail ruins networks.
        base_updates: gradient steps of a base for each plant in it, up to four.
        boosting_rounds: trees of the median; outer quantiles have fewer.
        adapt_updates: gradient steps of each of the teacher's networks where it starts from a base.
        adapt_rate: highest learning rate then.
        student_updates: gradient steps of the student.
        made_years: years made of the plant's own days, which the teacher labels for the student.
        made_share: of the student's windows that come from made years.
        batch: windows in a step.
        peak_rate: highest learning rate; it rises for a twentieth of the steps, then falls along a cosine.
        truth_share: weight of the measured load in the student's loss; the rest is the teacher's quantiles.
        seed: of everything random.
        package_power_w: stated mean power of the machine, used where the processor does not tell its energy.
        grid_g_per_kwh: emissions of the grid's electricity; None leaves CO2 unknown.
    """

    horizon_hours: int = 24
    validation_days: int = 28
    scaling: Scaling = Scaling.TRAILING
    teachers: int = 4
    teacher_updates: int = 1200
    base_updates: int = 900
    boosting_rounds: int = 220
    adapt_updates: int = 300
    adapt_rate: float = 1e-3
    student_updates: int = 4000
    made_years: int = 4
    made_share: float = 0.6
    batch: int = 64
    peak_rate: float = 4e-3
    weight_decay: float = 1e-2
    truth_share: float = 0.2
    seed: int = 1
    teacher: Shape = TEACHER
    student: Shape = STUDENT
    package_power_w: float | None = None
    grid_g_per_kwh: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.horizon_hours <= 168:
            raise ConfigError(f"a horizon of {self.horizon_hours} h is outside 1..168", where="--horizon-hours")
        if not 1 <= self.teachers <= 9:
            raise ConfigError(f"{self.teachers} teachers are outside 1..9", where="--teachers")
        if not 0 <= self.seed < 2**31:
            raise ConfigError(f"seed {self.seed} is outside 0..2**31", where="--seed")

    def quick(self) -> Options:
        """The same with small networks and few steps: seconds instead of minutes, for tests and first looks."""
        small = Shape(context=16, context_channels=2, channels=16)
        return replace(
            self,
            teachers=1,
            teacher_updates=150,
            base_updates=150,
            adapt_updates=60,
            student_updates=200,
            boosting_rounds=60,
            made_years=1,
            batch=32,
            teacher=small,
            student=small,
        )

    def updates_for(self, days: int) -> int:
        """Return the gradient steps of a teacher's network that learns from so many days."""
        return max(self.teacher_updates // 4, min(self.teacher_updates, _UPDATES_A_DAY * days))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the model card."""
        return {**asdict(self), "scaling": str(self.scaling)}
