"""Which forecast is used: the active model, else the previous one, else seasonal naive; a note says why.

Each forecast is decided on its own, so the ladder climbs back by itself. Not for concurrent use.

Invariants:
- with a day of history there is always a forecast, whatever a model does;
- every forecast that is not the active model's carries a note;
- a forecast has the slot length and horizon that were asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from numpy.typing import ArrayLike

from agent.contract.errors import EdgewattError
from agent.contract.rows import Forecast, ForecastSource
from agent.inference.forecaster import Model
from agent.inference.naive import forecast_naive

_LOG = logging.getLogger(__name__)
_NOTE_LENGTH = 500  # `Forecast.from_row` reads at most 512 characters


class Ladder:
    """The fallback ladder.

    Attributes:
        active: the model in use; None until one is installed.
        previous: the one before it; None where there is none.
    """

    def __init__(self, slot_s: int, horizon: int) -> None:
        """Make a ladder without models; forecasts cover `horizon` slots of `slot_s`."""
        self.slot_s = slot_s
        self.horizon = horizon
        self.active: Model | None = None
        self.previous: Model | None = None
        self._used = ""

    def forecast(
        self, start_ms: int, power_kw: ArrayLike, covariates: Mapping[str, ArrayLike] | None = None
    ) -> Forecast:
        """Forecast the slots that follow the history [T] (NaN where unknown) that starts at `start_ms`.

        Covariates are for the models: see `Model.forecast`.

        Raises:
            UnavailableError: when there is less than a day of history.
        """
        reasons: list[str] = []
        rungs = ((ForecastSource.ACTIVE, self.active), (ForecastSource.PREVIOUS, self.previous))
        for source, model in rungs:
            if model is None:
                if source is ForecastSource.ACTIVE:
                    reasons.append("no model is installed")
                continue
            try:
                forecast = self._by_model(model, start_ms, power_kw, source, self._note(reasons), covariates)
            except EdgewattError as exc:
                reasons.append(f"{model.label}: {exc.what}")
            except Exception as exc:  # noqa: BLE001 - a defect in a model must not leave the plant without a forecast
                reasons.append(f"{model.label}: failed ({type(exc).__name__}: {exc})")
            else:
                self._say(forecast)
                return forecast
        forecast = forecast_naive(start_ms, power_kw, self.slot_s, self.horizon, self._note(reasons))
        self._say(forecast)
        return forecast

    def _by_model(
        self,
        model: Model,
        start_ms: int,
        power_kw: ArrayLike,
        source: ForecastSource,
        note: str,
        covariates: Mapping[str, ArrayLike] | None,
    ) -> Forecast:
        spec = model.spec
        if (spec.slot_s, spec.horizon) != (self.slot_s, self.horizon):
            raise EdgewattError(
                f"forecasts {spec.horizon} slots of {spec.slot_s} s where the plant asks for {self.horizon} of "
                f"{self.slot_s} s"
            )
        return model.forecast(start_ms, power_kw, source, note, covariates=covariates)

    @staticmethod
    def _note(reasons: list[str]) -> str:
        return "; ".join(reasons)[:_NOTE_LENGTH]

    def _say(self, forecast: Forecast) -> None:
        """Log one line when another rung is used, not one a forecast."""
        if forecast.model == self._used:
            return
        if forecast.note:
            _LOG.warning("forecasting with %s: %s", forecast.model, forecast.note)
        else:
            _LOG.info("forecasting with %s, the active model", forecast.model)
        self._used = forecast.model
