"""The shadow run: a candidate forecasts beside the active model and naive, and the plant decides.

Scores the same forecasts of the same slots for all of them, as the truth comes in. Decides accept or refuse; installs
nothing and runs no model: forecasts and the loss function come from outside. Not thread-safe.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.contract.amounts import amount, in_kw
from agent.contract.errors import ConfigError
from agent.contract.features import Floats
from agent.contract.featurespec import DAY_S
from agent.contract.jsonform import Fields
from agent.contract.rows import Forecast

Loss = Callable[[Floats, Floats, Sequence[float]], float]

MARGIN = 0.05  # relative; below it a difference over some days is chance
MIN_COVERAGE = 0.5  # share of the slots of the trial whose truth must be known
_ORIGIN_SPACING_S = 3600  # forecasts made closer together than that tell the same


class Rival(enum.StrEnum):
    """With whom the candidate is compared."""

    ACTIVE = "active"
    NAIVE = "naive"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the trial found. `loss_kw` gives for each rival the mean losses of the candidate and of the rival."""

    accepted: bool
    reason: str
    loss_kw: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class _Round:
    """Forecasts of one origin; all have the candidate's shape."""

    origin_ms: int
    slot_ms: int
    quantiles: tuple[float, ...]
    candidate_kw: Floats
    rivals_kw: Mapping[Rival, Floats]

    @property
    def end_ms(self) -> int:
        return self.origin_ms + self.slot_ms * len(self.candidate_kw)

    def step(self, start_ms: int) -> int | None:
        step, rest = divmod(start_ms - self.origin_ms, self.slot_ms)
        return step if rest == 0 and 0 <= step < len(self.candidate_kw) else None


@dataclass(slots=True)
class _Duel:
    """Sums of losses over the pairs that candidate and rival have in common."""

    candidate: float = 0.0
    rival: float = 0.0
    pairs: int = 0


class Shadow:
    """One candidate's trial over `min_days` of plant time.

    Invariants:
        - candidate and rival are compared over exactly the same (origin, slot) pairs.
        - a slot whose truth is unknown is scored for nobody.
        - memory is bounded by the horizon: a round is dropped when its last slot is over.
    """

    def __init__(self, label: str, *, min_days: float, loss: Loss, margin: float = MARGIN) -> None:
        """Begin a trial.

        Args:
            label: `name@version` of the candidate.
            min_days: plant time that the scored slots must span; 0 accepts at once.
            loss: (power_kw [1, Q], truth [1], quantiles [Q]) -> mean loss in kW.
            margin: how much worse, relatively, still counts as not worse.

        Raises:
            ConfigError: when a number is negative.
        """
        if min_days < 0 or margin < 0:
            raise ConfigError("the days of a trial and its margin must not be negative")
        self.label = label
        self._min_days, self._loss, self._margin = min_days, loss, margin
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what was scored."""
        self._rounds: list[_Round] = []
        self._duels = {rival: _Duel() for rival in Rival}
        self._first_ms: int | None = None
        self._last_ms = 0
        self._slots = 0
        self._slot_ms = 0

    @property
    def days(self) -> float:
        """Plant days that the scored slots span."""
        return 0.0 if self._first_ms is None else (self._last_ms - self._first_ms) / (DAY_S * 1000)

    def add_forecasts(self, candidate: Forecast, active: Forecast | None, naive: Forecast | None) -> None:
        """Note forecasts of one origin; `active` and `naive` are None where there are none.

        Forecasts with another origin, slot length or quantiles than the candidate's are taken as missing.
        """
        last = self._rounds[-1].origin_ms if self._rounds else None
        if last is not None and candidate.origin_ms < last + _ORIGIN_SPACING_S * 1000:
            return
        rivals_kw = {
            rival: forecast.power_kw
            for rival, forecast in ((Rival.ACTIVE, active), (Rival.NAIVE, naive))
            if forecast is not None and _comparable(candidate, forecast)
        }
        if rivals_kw:
            self._slot_ms = candidate.slot_s * 1000
            self._rounds.append(
                _Round(candidate.origin_ms, self._slot_ms, candidate.quantiles, candidate.power_kw, rivals_kw)
            )

    def add_truth(self, start_ms: int, power_kw: float | None) -> None:
        """Score one slot, in time order; None where its power is unknown."""
        scored = False
        for round_ in self._rounds:
            step = round_.step(start_ms)
            if step is None:
                continue
            if self._first_ms is None:
                self._first_ms = start_ms
            self._last_ms = max(self._last_ms, start_ms + round_.slot_ms)
            if power_kw is None:
                continue
            scored = True
            truth = np.array([power_kw], dtype=np.float64)
            mine = self._loss(round_.candidate_kw[step : step + 1], truth, round_.quantiles)
            for rival, forecast in round_.rivals_kw.items():
                duel = self._duels[rival]
                duel.candidate += mine
                duel.rival += self._loss(forecast[step : step + 1], truth, round_.quantiles)
                duel.pairs += 1
        self._slots += scored
        self._rounds = [round_ for round_ in self._rounds if round_.end_ms > start_ms + round_.slot_ms]

    def verdict(self) -> Verdict | None:
        """Return the finding once `min_days` are over and enough of their slots are known, else None."""
        if self._min_days == 0:
            return Verdict(accepted=True, reason="no trial is asked for", loss_kw={})
        if self._first_ms is None or self.days < self._min_days:
            return None
        if self._slots < MIN_COVERAGE * (self._last_ms - self._first_ms) / self._slot_ms:
            return None
        found = {str(rival): _means(duel) for rival, duel in self._duels.items() if duel.pairs}
        for rival, (mine, theirs) in found.items():
            if mine > theirs * (1 + self._margin):
                reason = f"over {self.days:.1f} plant days its loss was {in_kw(mine)}, that of {rival} {in_kw(theirs)}"
                return Verdict(accepted=False, reason=reason, loss_kw=found)
        told = ", ".join(f"{rival} {in_kw(theirs)} to its {amount(mine, 4)}" for rival, (mine, theirs) in found.items())
        return Verdict(accepted=True, reason=f"not worse over {self.days:.1f} plant days: {told}", loss_kw=found)

    def to_json(self) -> dict[str, Any]:
        """The score so far; forecasts that wait for their truth are not in it and are made anew."""
        return {
            "schema": 1,
            "label": self.label,
            "first_ms": self._first_ms,
            "last_ms": self._last_ms,
            "slots": self._slots,
            "slot_ms": self._slot_ms,
            "duels": {str(rival): [duel.candidate, duel.rival, duel.pairs] for rival, duel in self._duels.items()},
        }

    def resume(self, value: object) -> None:
        """Go on from `to_json` of the same candidate's trial.

        Raises:
            RejectedError: when it is malformed or another candidate's; the trial is then as it was.
        """
        fields = Fields(value, "trial")
        if fields.text("label") != self.label:
            fields.fail("label", f"is not {self.label}")
        duels = fields.child("duels")
        parsed = {rival: _duel(duels, rival) for rival in Rival}
        first_ms = None if fields.raw("first_ms") is None else fields.integer("first_ms")
        last_ms, slots, slot_ms = (fields.integer(name) for name in ("last_ms", "slots", "slot_ms"))
        self._duels, self._first_ms = parsed, first_ms
        self._last_ms, self._slots, self._slot_ms = last_ms, slots, slot_ms


def _comparable(one: Forecast, other: Forecast) -> bool:
    return (one.origin_ms, one.slot_s, one.quantiles) == (
        other.origin_ms,
        other.slot_s,
        other.quantiles,
    ) and one.power_kw.shape == other.power_kw.shape


def _means(duel: _Duel) -> tuple[float, float]:
    return duel.candidate / duel.pairs, duel.rival / duel.pairs


def _duel(fields: Fields, rival: Rival) -> _Duel:
    entry = fields.items(rival, 3)
    if len(entry) != 3 or not all(isinstance(n, int | float) and not isinstance(n, bool) for n in entry):
        fields.fail(rival, "is not [candidate, rival, pairs]")
    return _Duel(float(entry[0]), float(entry[1]), int(entry[2]))
