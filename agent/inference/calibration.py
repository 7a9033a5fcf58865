"""On-line calibration: an 80 % band that holds four slots of five while the plant changes, in about forty numbers.

Decides how truth that came in moves the quantiles of later forecasts. Quantile tracking: each of the three quantiles
is moved by an offset that grows while too many truths lie beyond it and shrinks while too few do (a gradient step on
the pinball loss, as in Gibbs and Candes, "Adaptive conformal inference under distribution shift", 2021, and
Angelopoulos et al., "Conformal PID control", 2023). Only counts enter, so no wild value can move it far.

The offset of a slot is the sum of what its time of day has learnt (blocks of two hours, in a straight line between
their middles), what all slots have learnt (fast: it holds the coverage), and a part in proportion to how wide the model
itself says this slot's band is. Offsets are counted in the model's own mean band, corrected by its usual error, so
that they mean the same on a workshop and on a city. Which forecast is scored with which truth is `tracking`'s
decision. Pure functions of immutable values: safe everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from agent.contract.errors import ConfigError
from agent.contract.features import Floats
from agent.contract.featurespec import DAY_S, QUANTILES
from agent.contract.jsonform import Fields

MAX_BLOCKS = 12  # of a day, of two hours: shorter ones learn slower than they gain
# Steps of a whole day of slots that all lie beyond (1) or all within (0) a quantile, in mean bands. Chosen once, for
# all plants together, on the parts of nine plants' series that no judgement uses; see the README.
_RATE_BLOCK = 0.4
_RATE_ALL = 0.8
_RATE_WIDTH = 0.2
_RATE_MEDIAN = 0.05  # a slow correction of bias: a fast one costs more than it mends
_FORGET = 0.03  # a day, of what is not learnt by all slots: what the plant no longer shows fades
_ERROR_DAYS = 28.0  # memory of the usual error
_WILDEST = 10.0  # times the usual error: beyond it an error counts as that
_NARROWEST = 0.25  # of the usual error: a narrower mean band tells nothing of itself
_MAX_OFFSET = 50.0  # mean bands; a state beyond is damaged
_MAX_ERROR_KW, _MAX_DAYS, _MAX_ERROR_BANDS = 1e9, 1e6, 1e3  # likewise
_BEYOND = np.array([QUANTILES[0], 1 - QUANTILES[1], 1 - QUANTILES[2]])  # shares of truth that belong there
_LEAST_SPREAD = 0.2  # of the relative widths: flat bands must not make large steps


@dataclass(frozen=True)
class Calibration:
    """What a plant has taught about one model's band.

    Invariants:
        - calibrated quantiles are ordered;
        - without truth nothing changes, and `Calibration.fresh(...)` changes no forecast;
        - learning slot by slot or all at once gives the same.

    Attributes:
        offsets: [3, B + 2] in mean bands, rows low, median, high (outwards for the band, upwards for the median);
            columns the B blocks of a day in UTC, all slots, relative width.
        error_kw: the model's usual absolute error; 0 before the first truth.
        days: slots learnt from, in days of slots.
        error_bands: the usual error in mean bands, as held-out days showed it: what counts before the first truth.
    """

    offsets: Floats
    error_kw: float = 0.0
    days: float = 0.0
    error_bands: float = 0.0

    @classmethod
    def fresh(cls, slot_s: int) -> Calibration:
        """Begin with nothing learnt, for slots of `slot_s` (24 h for daily peaks)."""
        blocks = min(MAX_BLOCKS, max(1, DAY_S // slot_s))
        return cls(np.zeros((3, blocks + 2)))

    @classmethod
    def from_scores(
        cls, power_kw: ArrayLike, truth_kw: ArrayLike, slot_s: int, start_ms: int | Sequence[int] = 0
    ) -> Calibration:
        """Begin with what held-out days teach; the first forecasts in the field are then calibrated, too.

        Args:
            power_kw: [D, H, 3] raw forecasts of days, in time order, that the model never learnt from.
            truth_kw: [D, H] what came; NaN where unknown.
            slot_s: slot length.
            start_ms: start of the first slot of all days, since only its time of day matters, or of each.

        Raises:
            ConfigError: when the shapes do not fit.
        """
        state = replay(power_kw, truth_kw, slot_s, start_ms=start_ms)[1]
        band_kw = float(np.mean([_band_kw(_quantiles(day), slot_s) for day in np.asarray(power_kw)]))
        bands = state.error_kw / band_kw if band_kw > 0 else 0.0
        return replace(state, error_bands=min(bands, _MAX_ERROR_BANDS))

    def apply(self, power_kw: ArrayLike, slot_s: int, start_ms: int = 0) -> Floats:
        """Return the calibrated quantiles [H, 3] of a raw forecast [H, 3] whose first slot starts at `start_ms`.

        Raises:
            ConfigError: when the forecast does not have the three quantiles.
        """
        raw = _quantiles(power_kw)
        basis = _basis(raw, self.offsets.shape[1] - 2, slot_s, start_ms)
        unit_kw = _scale_kw(raw, slot_s, self.error_kw, self.error_bands)
        return _moved(raw, (basis * self.offsets[:, None, :]).sum(axis=-1) * unit_kw)

    def update(
        self,
        power_kw: ArrayLike,
        issued_kw: ArrayLike,
        truth_kw: ArrayLike,
        slot_s: int,
        start_ms: int = 0,
        *,
        first: int = 0,
    ) -> Calibration:
        """Learn from the truth of a forecast, or of some of its slots; each slot is to be given once.

        Args:
            power_kw: [H, 3] the whole raw forecast.
            issued_kw: [H, 3] what `apply` had made of it when it was issued. Scored is what was said: scoring the raw
                forecast under today's offsets would let a day's own first half mend its second, and cover too little.
            truth_kw: [n] mean power of the slots `first` .. `first + n - 1`; NaN where unknown.
            slot_s: slot length.
            start_ms: start of the first slot of the forecast.
            first: the slot with which the truth begins.

        Raises:
            ConfigError: when the shapes do not fit.
        """
        raw, issued, truth = _quantiles(power_kw), _quantiles(issued_kw), np.asarray(truth_kw, dtype=np.float64)
        if truth.ndim != 1 or len(issued) != len(raw) or not 0 <= first <= len(raw) - len(truth):
            raise ConfigError(
                f"truth of shape {truth.shape} from slot {first} and an issued forecast of {len(issued)} slots do not "
                f"fit {len(raw)} slots"
            )
        known = first + np.flatnonzero(np.isfinite(truth))
        if not len(known):
            return self
        truth = truth[known - first]
        day = slot_s / DAY_S
        blocks = self.offsets.shape[1] - 2
        basis = _basis(raw, blocks, slot_s, start_ms)
        said = issued[known]
        beyond = np.stack([truth < said[:, 0], truth > said[:, 1], truth > said[:, 2]]) - _BEYOND[:, None]
        moves = _rates(basis, blocks)[:, None, :] * basis[:, known] * beyond[..., None] * day
        keep = np.full(blocks + 2, 1 - _FORGET)
        keep[blocks] = 1.0  # what holds the coverage must not leak: the leak would stay as an error
        fade = keep ** (day * np.arange(len(known), -1, -1.0)[:, None])  # of the state, then of each step
        offsets = fade[0] * self.offsets + (moves * fade[1:]).sum(axis=1)
        return Calibration(
            np.clip(offsets, -_MAX_OFFSET, _MAX_OFFSET),
            _usual_error(self.error_kw, np.abs(truth - raw[known, 1]), day, round(self.days / day)),
            self.days + day * len(known),
            self.error_bands,
        )

    @property
    def teaches(self) -> bool:
        """Whether it moves forecasts at all."""
        return self.days > 0 or bool(self.offsets.any())

    def to_json(self) -> dict[str, Any]:
        """The form in the store and in a bundle's `calibration`."""
        return {
            "schema": 1,
            "offsets": [[round(float(value), 6) for value in row] for row in self.offsets],
            "error_kw": float(f"{self.error_kw:.9g}"),
            "days": round(self.days, 4),
            "error_bands": float(f"{self.error_bands:.6g}"),
        }

    @classmethod
    def from_json(cls, value: object, slot_s: int, where: str = "calibration") -> Calibration:
        """Parse the form of `to_json`, for slots of `slot_s`.

        Raises:
            RejectedError: when malformed, or made for another number of blocks.
        """
        fields = Fields(value, where)
        if fields.integer("schema") != 1:
            fields.fail("schema", "is newer than this version reads: update the agent")
        shape = cls.fresh(slot_s).offsets.shape
        rows = fields.items("offsets", shape[0])
        if len(rows) != shape[0] or not all(isinstance(row, list) and len(row) == shape[1] for row in rows):
            fields.fail("offsets", f"is not {shape[0]} rows of {shape[1]} numbers")
        numbers = [Fields({"offsets": number}, where) for row in rows for number in row]
        offsets = np.array([number.number("offsets", -_MAX_OFFSET, _MAX_OFFSET) for number in numbers])
        return cls(
            offsets.reshape(shape),
            fields.number("error_kw", 0, _MAX_ERROR_KW),
            fields.number("days", 0, _MAX_DAYS),
            fields.number("error_bands", 0, _MAX_ERROR_BANDS) if "error_bands" in fields else 0.0,
        )


def replay(
    power_kw: ArrayLike,
    truth_kw: ArrayLike,
    slot_s: int,
    *,
    start_ms: int | Sequence[int] = 0,
    begin: Calibration | None = None,
) -> tuple[Floats, Calibration]:
    """Calibrate forecasts of days in time order as a device would have: each knows only what was true before it.

    Args:
        power_kw: [D, H, 3] raw forecasts, one a day, in time order. With H beyond a day the truth of a day is learnt
            from the forecast made at its begin; longer leads use what that taught.
        truth_kw: [D, H] mean power of the slots forecast; NaN where unknown.
        slot_s: slot length.
        start_ms: start of the first slot of all days, since only its time of day matters, or of each.
        begin: state before the first forecast; None begins fresh.

    Returns:
        The calibrated forecasts [D, H, 3], and the state after the last truth.

    Raises:
        ConfigError: when the shapes do not fit.
    """
    raw, truth = np.asarray(power_kw, dtype=np.float64), np.asarray(truth_kw, dtype=np.float64)
    if raw.ndim != 3 or raw.shape[2] != len(QUANTILES) or truth.shape != raw.shape[:2]:
        raise ConfigError(f"forecasts {raw.shape} and truths {truth.shape} are not [D, H, 3] and [D, H]")
    state = Calibration.fresh(slot_s) if begin is None else begin
    known = max(1, DAY_S // slot_s)
    calibrated = np.empty_like(raw)
    starts = [start_ms] * len(raw) if isinstance(start_ms, int) else start_ms
    for day, (forecast, came, begins) in enumerate(zip(raw, truth, starts, strict=True)):
        calibrated[day] = state.apply(forecast, slot_s, begins)
        state = state.update(forecast, calibrated[day], came[:known], slot_s, begins)
    return calibrated, state


def states(value: Mapping[str, Any], slot_s: int, where: str = "calibration") -> tuple[Calibration, Calibration]:
    """Return the initial states of slots and of daily peaks that a bundle brings; fresh ones where it brings none.

    The usual error in kW is left to be learnt anew: a model may run at a plant of another size than the one it learnt
    from, and an error of that plant's kilowatts would blow up the band. What it is in mean bands goes along.

    Raises:
        RejectedError: when what it brings is malformed.
    """
    found = [
        replace(Calibration.from_json(value[name], length_s, f"{where}.{name}"), error_kw=0.0, days=0.0)
        if name in value
        else Calibration.fresh(length_s)
        for name, length_s in (("slots", slot_s), ("peaks", DAY_S))
    ]
    return found[0], found[1]


def _quantiles(power_kw: ArrayLike) -> Floats:
    raw = np.asarray(power_kw, dtype=np.float64)
    if raw.ndim != 2 or raw.shape[1] != len(QUANTILES) or not len(raw):
        raise ConfigError(f"a forecast of shape {raw.shape} is not [H, 3]")
    return raw


def _scale_kw(raw: Floats, slot_s: int, error_kw: float, error_bands: float) -> float:
    """The unit of the offsets: between the mean band and the usual error, so that a wrong band is left quickly."""
    band_kw = _band_kw(raw, slot_s)
    error_kw = error_kw or error_bands * band_kw
    if error_kw == 0:
        return band_kw
    return math.sqrt(error_kw * max(band_kw, _NARROWEST * error_kw))


def _band_kw(raw: Floats, slot_s: int) -> float:
    """The mean half width of the first day: the day that is scored, whatever the horizon."""
    day = raw[: max(1, DAY_S // slot_s)]
    return max(float((day[:, 2] - day[:, 0]).mean()) / 2, 0.0)


def _usual_error(usual_kw: float, errors_kw: Floats, day: float, before: int) -> float:
    """Let the usual error follow new errors [n], each worth `day` days: the mean while there are few, then slower."""
    memory = 1 - 0.5 ** (day / _ERROR_DAYS)
    for count, error_kw in enumerate(errors_kw.tolist(), start=before + 1):
        counted_kw = error_kw if usual_kw == 0 else min(error_kw, _WILDEST * usual_kw)
        usual_kw += max(memory, 1 / count) * (counted_kw - usual_kw)
    return usual_kw


def _basis(raw: Floats, blocks: int, slot_s: int, start_ms: int) -> Floats:
    """Return [3, H, blocks + 2]: how much of each offset a slot's low, median and high quantile gets."""
    count = len(raw)
    basis = np.zeros((3, count, blocks + 2))
    middle_s = (start_ms / 1000 + (np.arange(count) + 0.5) * slot_s) % DAY_S
    place = middle_s * blocks / DAY_S - 0.5
    left = np.floor(place).astype(np.int64)
    share = place - left
    slots = np.arange(count)
    basis[:, slots, left % blocks] += 1 - share
    basis[:, slots, (left + 1) % blocks] += share
    band_kw = _band_kw(raw, slot_s)
    if band_kw > 0:
        basis[0, :, blocks + 1] = (raw[:, 1] - raw[:, 0]) / band_kw - 1
        basis[2, :, blocks + 1] = (raw[:, 2] - raw[:, 1]) / band_kw - 1
    basis[0, :, blocks] = basis[2, :, blocks] = 1.0
    return basis


def _rates(basis: Floats, blocks: int) -> Floats:
    """Return [3, blocks + 2]: the step of each offset for a day of slots."""
    rates = np.full((3, blocks + 2), _RATE_BLOCK * blocks)  # a block sees only its share of a day
    rates[1] = _RATE_MEDIAN * blocks
    rates[:, blocks] = _RATE_ALL
    spread = (basis[:, :, blocks + 1] ** 2).mean(axis=1)
    rates[:, blocks + 1] = _RATE_WIDTH / np.maximum(_LEAST_SPREAD, spread)
    return rates


def _moved(raw: Floats, offset_kw: Floats) -> Floats:
    """Return the quantiles [..., 3] of `raw` [..., 3], moved by [3] or [3, H]; the band never crosses the median."""
    low, shift, high = offset_kw
    median = raw[..., 1] + shift
    quantiles: Floats = np.stack(
        [np.minimum(raw[..., 0] + shift - low, median), median, np.maximum(raw[..., 2] + shift + high, median)], axis=-1
    )
    return quantiles
