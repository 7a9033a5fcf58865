"""The models of the device at work: what the slots on disk name is loaded here and put on the ladder.

Decides which loaded model stands on which rung, and lets the candidate forecast beside the active model. Whether a
bundle may be installed and whether a candidate is good enough is update's decision.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from agent.contract.errors import ConfigError, EdgewattError, RejectedError, UnavailableError
from agent.contract.features import Floats
from agent.contract.rows import Forecast, ForecastSource
from agent.contract.slots import Slot
from agent.inference.forecaster import Model
from agent.inference.ladder import Ladder
from agent.inference.naive import forecast_naive
from agent.update.slots import ModelSlots, SlotRecord

if TYPE_CHECKING:
    from agent.update.updater import Updater

_log = logging.getLogger(__name__)


class Models:
    """Loads models and runs the candidate in the shadow of the active one.

    Invariants:
        - the ladder stands on what the slots name, except for what cannot be loaded;
        - an active model that this device cannot load is taken back, a candidate refused.
    """

    def __init__(
        self, slots: ModelSlots, ladder: Ladder, *, load: Callable[[bytes], Model], updater: Updater | None
    ) -> None:
        """Prepare; nothing is loaded before the first `turn`.

        Args:
            slots: the bundles on disk.
            ladder: gets the loaded models.
            load: makes a model of a bundle.
            updater: brings new candidates and judges them; None until the device is enrolled.
        """
        self._slots = slots
        self._ladder = ladder
        self._load = load
        self._updater = updater
        self._loaded: dict[str, Model] = {}
        self._candidate: Model | None = None
        self._seen: tuple[SlotRecord | None, ...] = ()

    def turn(self, now_ms: int) -> list[dict[str, Any]]:
        """Take the update's next step and load what it changed; return new rows of the `events` stream.

        Raises:
            UnavailableError: when no runtime is installed; seasonal naive forecasts then.
            StorageError: when the disk fails; the step is taken again at the next turn.
        """
        rows = self._updater.poll(now_ms) if self._updater is not None else []
        self.refresh()
        return rows

    def close(self) -> None:
        """Give up what is under way; the trial's score is kept.

        Raises:
            StorageError: when the disk fails.
        """
        if self._updater is not None:
            self._updater.close()

    def shadow(self, beside: Forecast, start_ms: int, power_kw: Floats) -> Forecast | None:
        """Let the candidate forecast from the same history as `beside`; None where it does not."""
        trial = self._updater.shadow if self._updater is not None else None
        if self._updater is None or trial is None or self._candidate is None:
            return None
        try:
            made = self._candidate.forecast(start_ms, power_kw, source=ForecastSource.CANDIDATE, note="shadow run")
        except UnavailableError as exc:
            _log.debug("the candidate cannot forecast: %s", exc)
            return None
        except EdgewattError as exc:
            self._updater.candidate_failed(f"it failed in its trial: {exc}")
            return None
        try:
            naive = forecast_naive(start_ms, power_kw, made.slot_s, len(made.power_kw))
        except UnavailableError:
            naive = None
        trial.add_forecasts(made, beside if beside.source is ForecastSource.ACTIVE else None, naive)
        return made

    def learn(self, slot: Slot) -> None:
        """Score the trial's forecasts of a slot that is over."""
        if self._updater is not None and self._updater.shadow is not None:
            self._updater.shadow.add_truth(slot.start_ms, slot.known_gross_kw)

    def clock_was_set(self) -> None:
        """Begin the trial anew: its forecasts and slots were of other times."""
        if self._updater is not None and self._updater.shadow is not None:
            self._updater.shadow.begin_anew()

    def refresh(self) -> None:
        """Load what the slots name and is not loaded, and put it on the ladder.

        Raises:
            UnavailableError: when no runtime is installed.
            StorageError: when the disk fails.
        """
        while self._seen != self._named():
            seen = self._named()
            active, previous, candidate = seen
            try:
                self._ladder.active = self._model(active)
            except RejectedError as exc:
                self._active_failed(str(exc))
                continue
            try:
                self._candidate = self._model(candidate)
            except RejectedError as exc:
                self._candidate_failed(str(exc))
                continue
            try:
                self._ladder.previous = self._model(previous)
            except RejectedError as exc:
                _log.warning("the previous model cannot be loaded: %s", exc)
                self._ladder.previous = None
            named = {record.sha256 for record in seen if record is not None}
            self._loaded = {sha256: model for sha256, model in self._loaded.items() if sha256 in named}
            self._seen = seen

    def roll_back(self, reason: str) -> None:
        """Go back to the previous model, or to naive where there is none.

        Raises:
            ConfigError: when no model is active.
            StorageError: when the disk fails; nothing has changed then.
        """
        if self._slots.active is None:
            raise ConfigError(
                "no model is active, seasonal naive forecasts", where="model", todo="Assign a model at the centre"
            )
        self._slots.roll_back(reason)
        self.refresh()

    def calibration(self, label: str) -> Mapping[str, Any]:
        """Return the initial calibration that the bundle of a loaded model brings; nothing where there is none."""
        found = (model.manifest.calibration for model in self._loaded.values() if model.label == label)
        return next(found, {})

    def labels(self) -> dict[str, Any]:
        """Return which model is where, as in health rows and in `edgewatt model status`."""
        active, previous, candidate = self._named()
        status = self._updater.status() if self._updater is not None else None
        return {
            "active": active.label if active else None,
            "previous": previous.label if previous else None,
            "candidate": candidate.label if candidate else None,
            "trial_days": round(status.trial_days, 2) if status else 0.0,
            "update": status.phase if status else "idle",
            "update_note": status.note if status else "",
        }

    def _named(self) -> tuple[SlotRecord | None, SlotRecord | None, SlotRecord | None]:
        return self._slots.active, self._slots.previous, self._slots.candidate

    def _model(self, record: SlotRecord | None) -> Model | None:
        if record is None:
            return None
        if record.sha256 not in self._loaded:
            self._loaded[record.sha256] = self._load(self._slots.read(record))
        return self._loaded[record.sha256]

    def _active_failed(self, reason: str) -> None:
        reason = f"this device cannot load it: {reason}"
        if self._updater is not None:
            self._updater.active_failed(reason)
        else:
            self._slots.roll_back(reason)

    def _candidate_failed(self, reason: str) -> None:
        reason = f"this device cannot load it: {reason}"
        if self._updater is not None:
            self._updater.candidate_failed(reason)
        else:
            self._slots.refuse_candidate(reason)
