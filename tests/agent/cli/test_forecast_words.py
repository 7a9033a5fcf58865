"""What `edgewatt forecast` says of a forecast's quality: fallback, filled gaps, what the band held."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agent.cli import forecast
from agent.contract.featurespec import QUANTILES
from agent.contract.rows import Forecast, ForecastSource

T0 = 1_764_547_200_000


def answer(*, repaired: float = 0.0, calibrated: bool = True, **more: Any) -> dict[str, Any]:
    power_kw = np.tile([90.0, 100.0, 110.0], (24, 1))
    made = Forecast(
        T0,
        3600,
        QUANTILES,
        power_kw,
        power_kw[:1],
        ForecastSource.PREVIOUS,
        "plant@3",
        "plant@4: gone",
        repaired,
        calibrated=calibrated,
    )
    return {"zone": "UTC", "fallback": True, **made.to_row(T0), **more}


def said(**more: Any) -> list[str]:
    return forecast._human(answer(**more)).split("\n\n")[0].splitlines()[1:]


def test_a_fallback_is_told_with_its_reason() -> None:
    assert said() == ["This is a fallback: plant@4: gone"]


def test_filled_gaps_are_told() -> None:
    assert said(repaired=0.035)[1] == "3.5% of the last 7 days were missing and have been filled"


@pytest.mark.parametrize(
    ("calibrated", "share", "slots", "words"),
    [
        (True, 0.8149, 2688, "80 % band, calibrated on this plant: held 81% of 2,688 slots of the last 28 days"),
        (False, None, 0, "80 % band, as the model gives it: not scored yet, the first day is not over"),
    ],
)
def test_what_the_band_held_is_told(calibrated: bool, share: float | None, slots: int, words: str) -> None:
    assert said(calibrated=calibrated, coverage_28d=share, coverage_slots=slots)[1] == words
