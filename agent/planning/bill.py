"""What energy costs: exact bills from slots and from forecasts.

Decides sums and rounding; which span is billed when is `costs`' decision. Pure functions.

Rounding, stated once: energy is gathered per period in whole Wh x ms, without any rounding, so that splitting a slot
changes nothing; each line's energy is then a whole number of Wh (largest remainders, so that the lines add up to the
energy of the span); a line's amount is energy x price, rounded half-even to 0.01; the total is the sum of the lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.rows import Forecast
from agent.contract.slots import MIN_COMPLETENESS, Slot
from agent.planning.tariff import Piece, Tariff

EXPORT, FIXED = "export", "fixed"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a bill.

    Attributes:
        period: a period of the tariff, `export` (energy is negative), or `fixed` (charge per day).
        energy_wh: whole watt-hours; 0 for `fixed`.
        days: local days that `fixed` covers, to 4 decimals; 0 for the others.
        price: per kWh, or per day for `fixed`.
        amount: rounded half-even to 0.01.
    """

    period: str
    energy_wh: int
    days: Decimal
    price: Decimal
    amount: Decimal

    def to_json(self) -> dict[str, Any]:
        """The form in a row of the `costs` stream."""
        quantity = {"days": str(self.days)} if self.period == FIXED else {"energy_wh": self.energy_wh}
        return {"period": self.period, **quantity, "price": str(self.price), "amount": str(self.amount)}


@dataclass(frozen=True, slots=True)
class Bill:
    """The cost of [start_ms, end_ms).

    Attributes:
        lines: every period of the tariff, then `export` and `fixed` where they occur; for the known slots and the
            median of the forecast.
        total: sum of the lines.
        low, high: what the total is at least and at most, given missing slots and the forecast's outer quantiles;
            equal to `total` where nothing is missing or ahead.
        known_slots, forecast_slots, missing_slots: how many slots each rests on.
    """

    start_ms: int
    end_ms: int
    currency: str
    lines: tuple[Line, ...]
    total: Decimal
    low: Decimal
    high: Decimal
    known_slots: int
    forecast_slots: int
    missing_slots: int

    @property
    def energy_wh(self) -> int:
        """Net energy of all lines."""
        return sum(line.energy_wh for line in self.lines)


def bill(
    tariff: Tariff,
    slots: Iterable[Slot],
    *,
    span_ms: tuple[int, int] | None = None,
    forecast: Forecast | None = None,
    power_range_kw: tuple[float, float] | None = None,
) -> Bill:
    """Bill a span from what was measured and, where given, from a forecast of the rest.

    A slot counts as measured when at least half of it is covered by readings (`MIN_COMPLETENESS`), as for forecasts.
    A slot that is neither measured nor forecast is missing: it adds nothing to the lines, and the range says what it
    may have cost, from an idle plant (or its greatest export) to the highest mean power seen.

    Args:
        tariff: prices.
        slots: measured slots of one length, in any order; of two with one start the later counts.
        span_ms: [start, end) to bill; by default from the first slot to the end of the last, or the forecast's span
            where there are no slots. A slot that crosses an end of the span counts in proportion to time.
        forecast: for slots of the span that were not measured; see `bill_forecast` for its range.
        power_range_kw: lowest and highest mean power that missing slots may have had; by default of the given slots.

    Raises:
        ConfigError: when slots (or slots and forecast) differ in length or lie off their grid, or the span is empty.
        UnavailableError: when slots are missing and there is nothing from which to tell what they may have cost.
    """
    by_start = {slot.start_ms: slot for slot in slots}
    length_ms = _slot_length_ms(by_start.values(), forecast)
    start_ms, end_ms = span_ms or _span(by_start, length_ms, forecast)
    if end_ms <= start_ms:
        raise ConfigError(f"the span {start_ms}..{end_ms} is empty", where="bill")
    known = {at: slot.energy_wh for at, slot in by_start.items() if _is_known(slot)}
    ahead = _energies(forecast) if forecast is not None else {}
    limits = _limits(known.values(), power_range_kw, length_ms)
    measured, accounts = _Account(tariff), tuple(_Account(tariff) for _ in range(3))
    counts = dict.fromkeys(("known", "forecast", "missing"), 0)
    for at, parts in _shares(tariff.pieces(start_ms, end_ms), start_ms, length_ms):
        if at in known:
            counts["known"] += 1
            measured.add(known[at], parts)
            continue
        if at not in ahead and limits is None:
            raise UnavailableError(
                "no slot is known, so nothing can be said of its cost", where="bill", todo="Wait for the first readings"
            )
        counts["forecast" if at in ahead else "missing"] += 1
        energies = ahead[at] if limits is None or at in ahead else (limits[0], 0, limits[1])
        for account, energy_wh in zip(accounts, energies, strict=True):
            account.add(energy_wh, parts)
    fixed = _fixed_line(tariff, start_ms, end_ms)
    settled = [(*_lines(tariff, measured, account, length_ms), *fixed) for account in accounts]
    totals = [sum((line.amount for line in lines), Decimal(0)) for lines in settled]
    return Bill(
        start_ms=start_ms,
        end_ms=end_ms,
        currency=tariff.currency,
        lines=settled[1],
        total=totals[1],
        low=min(totals),  # with a negative price more energy costs less
        high=max(totals),
        known_slots=counts["known"],
        forecast_slots=counts["forecast"],
        missing_slots=counts["missing"],
    )


def bill_forecast(tariff: Tariff, forecast: Forecast, *, span_ms: tuple[int, int] | None = None) -> Bill:
    """Bill a forecast: the lines from its median, `low` and `high` from its lowest and highest quantile.

    The range is a comonotonic bound: the sum of the quantiles, which is the quantile of the sum if all slots of the
    span are low, or high, together. Errors of real slots partly cancel, so the true range of the cost is as a rule
    narrower.

    Raises:
        ConfigError: when the span is empty.
        UnavailableError: when the span reaches beyond the forecast.
    """
    return bill(tariff, (), span_ms=span_ms, forecast=forecast)


class _Account:
    """Energy by period, gathered exactly in Wh x ms of slots of one length."""

    def __init__(self, tariff: Tariff) -> None:
        self.imported = dict.fromkeys((period.name for period in tariff.periods), 0)
        self.exported = 0

    def add(self, energy_wh: int, parts: Iterable[tuple[str, int]]) -> None:
        """Add the parts (period, ms) of a slot of `energy_wh`."""
        for name, span_ms in parts:
            if energy_wh < 0:
                self.exported += energy_wh * span_ms
            else:
                self.imported[name] += energy_wh * span_ms


def _lines(tariff: Tariff, measured: _Account, rest: _Account, length_ms: int) -> tuple[Line, ...]:
    parts = {name: part + rest.imported[name] for name, part in measured.imported.items()}
    prices = {period.name: period.price_per_kwh for period in tariff.periods}
    if exported := measured.exported + rest.exported:
        parts[EXPORT] = exported
        prices[EXPORT] = tariff.export_price_per_kwh
    exact = {name: Fraction(part, length_ms) for name, part in parts.items()}
    return tuple(
        Line(name, energy_wh, Decimal(0), prices[name], _cents(Fraction(prices[name]) * energy_wh / 1000))
        for name, energy_wh in _whole(exact).items()
    )


def _shares(pieces: Sequence[Piece], start_ms: int, length_ms: int) -> Iterator[tuple[int, list[tuple[str, int]]]]:
    """Yield the start of each slot that the pieces touch, and its parts: (period, milliseconds)."""
    at, parts = start_ms - start_ms % length_ms, list[tuple[str, int]]()
    for period, begin, end in pieces:
        low = begin
        while low < end:
            high = min(end, at + length_ms)
            parts.append((period.name, high - low))
            if high == at + length_ms:
                yield at, parts
                at, parts = high, []
            low = high
    if parts:
        yield at, parts


def _whole(exact: Mapping[str, Fraction]) -> dict[str, int]:
    """Round to whole numbers that add up to the rounded sum: by largest remainder, the first of equals first."""
    floors = {name: value.__floor__() for name, value in exact.items()}
    left = round(sum(exact.values(), Fraction(0))) - sum(floors.values())
    by_remainder = sorted(exact, key=lambda name: floors[name] - exact[name])
    for name in by_remainder[:left]:
        floors[name] += 1
    return floors


def _cents(value: Fraction) -> Decimal:
    return Decimal(round(value * 100)).scaleb(-2)  # `round` of a Fraction is exact and half-even


def _fixed_line(tariff: Tariff, start_ms: int, end_ms: int) -> tuple[Line, ...]:
    if not tariff.fixed_per_day:
        return ()
    days, at = Fraction(0), start_ms
    while at < end_ms:
        begin, end = tariff.day_bounds_ms(at)
        days += Fraction(min(end, end_ms) - at, end - begin)
        at = end
    shown = Decimal(round(days * 10_000)).scaleb(-4)
    return (Line(FIXED, 0, shown, tariff.fixed_per_day, _cents(Fraction(tariff.fixed_per_day) * days)),)


def _is_known(slot: Slot) -> bool:
    return slot.power_kw is not None and slot.completeness >= MIN_COMPLETENESS


def _slot_length_ms(slots: Iterable[Slot], forecast: Forecast | None) -> int:
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


def _span(slots: Mapping[int, Slot], length_ms: int, forecast: Forecast | None) -> tuple[int, int]:
    if slots:
        return min(slots), max(slots) + length_ms
    assert forecast is not None  # noqa: S101 - _slot_length_ms has refused neither
    return forecast.origin_ms, forecast.origin_ms + len(forecast.power_kw) * length_ms


def _energies(forecast: Forecast) -> dict[int, tuple[int, int, int]]:
    """Whole Wh of each forecast slot at the lowest quantile, the median and the highest."""
    middle = forecast.quantiles.index(0.5)
    table = forecast.power_kw[:, [0, middle, -1]] * (forecast.slot_s / 3.6)
    return {
        start_ms: (round(float(low)), round(float(median)), round(float(high)))
        for start_ms, (low, median, high) in zip(forecast.starts_ms(), table, strict=True)
    }


def _limits(known: Iterable[int], power_range_kw: tuple[float, float] | None, length_ms: int) -> tuple[int, int] | None:
    """Least and greatest energy (Wh) of a missing slot; an idle plant is always possible."""
    energies: Sequence[int] = list(known)
    if power_range_kw is not None:
        energies = [round(power_kw * length_ms / 3600) for power_kw in power_range_kw]
    if not energies:
        return None
    return min(0, *energies), max(0, *energies)
