"""How a training run is configured; every field ends in the model card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from agent.contract.errors import ConfigError
from agent.contract.featurespec import Scaling
from agent.contract.jsonform import Fields
from trainer.learning.networks import STUDENT, TEACHER, Shape

_UPDATES_A_DAY = 3

Progress = Callable[[str, int, int], None]
"""Called with a stage, and how many of how many steps of it are done."""

# What an option may be: (lowest, highest), of whole numbers where both are. Wide: they keep out slips of the pen and
# what cannot be trained at all, not what is unwise.
_BOUNDS: dict[str, tuple[float, float]] = {
    "horizon_hours": (1, 168),
    "validation_days": (7, 366),
    "teachers": (1, 9),
    "teacher_updates": (1, 100_000),
    "base_updates": (1, 100_000),
    "boosting_rounds": (1, 10_000),
    "adapt_updates": (1, 100_000),
    "adapt_rate": (1e-6, 1.0),
    "student_updates": (1, 1_000_000),
    "made_years": (0, 50),
    "made_share": (0.0, 1.0),
    "teacher_made_share": (0.0, 1.0),
    "batch": (1, 4096),
    "peak_rate": (1e-6, 1.0),
    "weight_decay": (0.0, 1.0),
    "truth_share": (0.0, 1.0),
    "seed": (0, 2**31 - 1),
}
_SHAPE_BOUNDS: dict[str, tuple[float, float]] = {
    "context": (1, 2048),
    "context_channels": (1, 64),
    "channels": (1, 1024),
    "blocks": (0, 8),
    "dropout": (0.0, 0.9),
    "noise": (0.0, 2.0),
    "level_noise": (0.0, 2.0),
}
_STATED: dict[str, tuple[float, float]] = {"package_power_w": (1e-3, 1e6), "grid_g_per_kwh": (0.0, 1e5)}  # or unknown


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
        made_years: years made of the plant's own days: teachers learn from them, too, and label them for the student.
        made_share: of the student's windows that come from made years.
        teacher_made_share: of the windows of the teacher's networks and trees.
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
    student_updates: int = 6000
    made_years: int = 4
    made_share: float = 0.6
    teacher_made_share: float = 0.5
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
        stated = {key: bounds for key, bounds in _STATED.items() if getattr(self, key) is not None}
        for key, (low, high) in (_BOUNDS | stated).items():
            value = getattr(self, key)
            if not low <= value <= high:  # NaN, too: it would end the run when its figures are written
                raise ConfigError(f"{value} is outside {low}..{high}", where=f"--{key.replace('_', '-')}")

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

    @classmethod
    def from_json(cls, value: object, *, where: str, like: Options | None = None) -> Options:
        """Read what `to_json` gave, or a part of it.

        Args:
            value: an object of JSON.
            where: what complaints name, with the key.
            like: has what the object does not say; the defaults where it is not given.

        Raises:
            ConfigError: when a key is unknown, or its value of the wrong type or out of range.
        """
        like = like or cls()
        given = Fields(value, where, ConfigError)
        _refuse_unknown(given, asdict(like))
        found = _numbers(given, _BOUNDS)
        found |= _numbers(given, {key: bounds for key, bounds in _STATED.items() if _is_stated(given, key)})
        found |= {key: None for key in _STATED if key in given and not _is_stated(given, key)}
        if "scaling" in given:
            choices = "|".join(Scaling)
            found["scaling"] = Scaling(given.text("scaling", pattern=choices))
        for key, shape in (("teacher", like.teacher), ("student", like.student)):
            if key in given:
                inner = given.child(key)
                _refuse_unknown(inner, asdict(shape))
                found[key] = replace(shape, **_numbers(inner, _SHAPE_BOUNDS))
        return replace(like, **found)


def _refuse_unknown(given: Fields, known: Mapping[str, Any]) -> None:
    for key in given.as_dict():
        if key not in known:
            raise ConfigError("is no option", where=f"{given.where}.{key}", todo=f"Use {', '.join(known)}")


def _is_stated(given: Fields, key: str) -> bool:
    return key in given and given.raw(key) is not None


def _numbers(given: Fields, bounds: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, (low, high) in bounds.items():
        if key not in given:
            continue
        if isinstance(low, int) and isinstance(high, int):
            found[key] = given.integer(key, low, high)
        else:
            found[key] = given.number(key, low, high)
    return found
