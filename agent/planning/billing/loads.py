"""What a meter counted, slot by slot: known, forecast, or missing and then within limits.

Decides what a slot may have been; what it costs is `settle`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.slots import Slot

MISSING, KNOWN, FORECAST = 0, 1, 2
LOW, MIDDLE, HIGH = 0, 1, 2  # rows of `Load.energy`
Ints = NDArray[np.int64]


class Ahead(Protocol):
    """What a bill needs of a forecast; see `rows.Forecast`."""

    @property
    def origin_ms(self) -> int:
        """Start of the first slot."""
        ...

    @property
    def slot_s(self) -> int:
        """Slot length."""
        ...

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Levels, ascending, the median among them."""
        ...

    @property
    def power_kw(self) -> NDArray[np.float64]:
        """Mean power, [steps, levels]."""
        ...


@dataclass(frozen=True, slots=True)
class Load:
    """Slots of one length without a gap, from `start_ms` on.

    Attributes:
        length_ms: of a slot.
        energy: [3, N] whole Wh (or thousandths of the meter's unit): least, as billed, most. The same three for a slot
            that is known; for a missing one the middle is 0.
        state: [N] MISSING, KNOWN or FORECAST.
        limits: least and greatest energy of a slot that is missing.
    """

    start_ms: int
    length_ms: int
    energy: Ints
    state: NDArray[np.int8]
    limits: tuple[int, int] = (0, 0)

    @property
    def end_ms(self) -> int:
        """End of the last slot."""
        return self.start_ms + len(self.state) * self.length_ms

    @property
    def most(self) -> int:
        """The greatest energy of any slot."""
        return int(self.energy.max(initial=0))

    def states(self, start_ms: int, end_ms: int) -> NDArray[np.int8]:
        """The states of all slots that [start_ms, end_ms) touches."""
        first = max(0, (start_ms - self.start_ms) // self.length_ms)
        return self.state[first : max(first, -((self.start_ms - end_ms) // self.length_ms))]


def make_load(
    slots: Iterable[Slot],
    *,
    span_ms: tuple[int, int] | None = None,
    since_ms: int = 0,
    forecast: Ahead | None = None,
    power_range_kw: tuple[float, float] | None = None,
) -> tuple[Load, tuple[int, int]]:
    """Lay slots, and a forecast where there is none, on one grid; return them and the span to bill.

    Args:
        slots: of one length, in any order; of two with one start the later counts. One counts as known when at least
            half of it is covered by readings (`Slot.known_kw`), as for forecasts.
        span_ms: what is to be billed; None: all slots, or without any the forecast.
        since_ms: earlier slots are not of interest.
        forecast: for the slots of the span that are not known.
        power_range_kw: lowest and highest mean power of missing slots; None: as in the known ones. An idle plant is
            always possible.

    Raises:
        ConfigError: when slots (or slots and forecast) differ in length or lie off their grid, or the span is empty.
        UnavailableError: when there is nothing from which to tell, or nothing from which to tell what is missing.
    """
    by_start = {slot.start_ms: slot for slot in slots}
    length_ms = _length_ms(by_start.values(), forecast)
    start_ms, end_ms = span_ms or _span(by_start, length_ms, forecast)
    if end_ms <= start_ms:
        raise ConfigError(f"the span {start_ms}..{end_ms} is empty", where="bill")
    known = [slot for slot in by_start.values() if slot.known_kw is not None]
    starts = np.fromiter((slot.start_ms for slot in known), np.int64, len(known))
    values = np.fromiter((slot.energy_wh for slot in known), np.int64, len(known))
    inside = (starts > since_ms - length_ms) & (starts < end_ms)
    base_ms = int(min(starts[inside].min(initial=start_ms), start_ms)) // length_ms * length_ms
    count = -((base_ms - end_ms) // length_ms)
    energy, state = np.zeros((3, count), dtype=np.int64), np.zeros(count, dtype=np.int8)
    if forecast is not None:
        _add_forecast(energy, state, forecast, base_ms)
    index = (starts[inside] - base_ms) // length_ms
    energy[:, index], state[index] = values[inside], KNOWN
    missing = state == MISSING
    limits = _limits(values, power_range_kw, length_ms, needed=bool(missing.any()))
    # Those before the span, too: what a year has used so far tells its tier.
    energy[LOW, missing], energy[HIGH, missing] = limits
    return Load(base_ms, length_ms, energy, state, limits), (start_ms, end_ms)


def _add_forecast(energy: Ints, state: NDArray[np.int8], forecast: Ahead, base_ms: int) -> None:
    """Whole Wh of each forecast slot at the lowest quantile, the median and the highest."""
    columns = [0, forecast.quantiles.index(0.5), -1]
    table = np.rint(forecast.power_kw[:, columns] * (forecast.slot_s / 3.6)).astype(np.int64).T
    first = (forecast.origin_ms - base_ms) // (forecast.slot_s * 1000)
    begin, end = max(0, first), min(len(state), first + table.shape[1])
    if begin < end:
        energy[:, begin:end], state[begin:end] = table[:, begin - first : end - first], FORECAST


def _length_ms(slots: Iterable[Slot], forecast: Ahead | None) -> int:
    lengths = {(slot.length_s, slot.start_ms % (slot.length_s * 1000)) for slot in slots}
    if forecast is not None:
        lengths.add((forecast.slot_s, forecast.origin_ms % (forecast.slot_s * 1000)))
    if not lengths:
        raise UnavailableError("there is neither a slot nor a forecast to bill", where="bill", todo="Wait for data")
    if len(lengths) > 1 or next(iter(lengths))[1]:
        raise ConfigError(
            "slots differ in length or lie off their grid", where="bill", todo="Bill one length at a time"
        )
    return next(iter(lengths))[0] * 1000


def _span(slots: Mapping[int, Slot], length_ms: int, forecast: Ahead | None) -> tuple[int, int]:
    if slots:
        return min(slots), max(slots) + length_ms
    assert forecast is not None  # noqa: S101 - _length_ms has refused neither
    return forecast.origin_ms, forecast.origin_ms + len(forecast.power_kw) * length_ms


def _limits(
    known: Ints, power_range_kw: tuple[float, float] | None, length_ms: int, *, needed: bool
) -> tuple[int, int]:
    """Least and greatest energy (Wh) of a missing slot; an idle plant is always possible."""
    if power_range_kw is not None:
        energies = [round(power_kw * length_ms / 3600) for power_kw in power_range_kw]
        return min(0, *energies), max(0, *energies)
    if needed and not len(known):
        raise UnavailableError(
            "no slot is known, so nothing can be said of those that are missing",
            where="bill",
            todo="Wait for the first readings",
        )
    return int(known.min(initial=0)), int(known.max(initial=0))
