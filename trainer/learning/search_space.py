"""Which options a search varies, and how far. Knows nothing of how values are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.learning.options import Options

SCALING = "scaling"
_NUMBERS = {  # lowest, highest, whether drawn by powers
    "teacher.dropout": (0.0, 0.5, False),
    "teacher.noise": (0.02, 0.3, False),
    "teacher.level_noise": (0.0, 0.4, False),
    "made_share": (0.2, 0.8, False),
    "truth_share": (0.0, 0.6, False),
    "peak_rate": (1e-3, 1e-2, True),
    "weight_decay": (1e-3, 1e-1, True),
}
_COUNTS = ("teacher_updates", "student_updates", "boosting_rounds", "batch")  # from half of the default to twice


@dataclass(frozen=True)
class Range:
    """Where the values of an option lie.

    Attributes:
        name: of the option; one of `Options.teacher` is written `teacher.dropout`.
        low, high: both may be drawn; whole numbers where both are.
        by_powers: whether twice is as far from once as four times is from twice.
    """

    name: str
    low: float
    high: float
    by_powers: bool


def ranges(default: Options) -> list[Range]:
    """Return the ranges of all numbers that are searched; wider where the default lies outside."""
    of = values(default)
    found = []
    for name, (low, high, by_powers) in _NUMBERS.items():
        lowest = min(low, of[name])
        found.append(Range(name, lowest, max(high, of[name]), by_powers and lowest > 0))
    return [*found, *(Range(name, max(1, of[name] // 2), 2 * of[name], True) for name in _COUNTS)]


def values(of: Options) -> dict[str, Any]:
    """Return the values of the options that are searched, by name."""
    flat = of.to_json()
    inner = {f"teacher.{name}": value for name, value in flat["teacher"].items()}
    return {name: (flat | inner)[name] for name in (SCALING, *_NUMBERS, *_COUNTS)}


def with_values(of: Options, changed: Mapping[str, Any]) -> Options:
    """Return options with other values.

    Raises:
        ConfigError: when one is no option's, or out of range.
    """
    nested: dict[str, Any] = {}
    for name, value in changed.items():
        outer, _, inner = name.rpartition(".")
        (nested.setdefault(outer, {}) if outer else nested)[inner] = value
    return Options.from_json(nested, where="options", like=of)
