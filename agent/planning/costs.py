"""What energy costs today, this month so far and at its end, and in the next 24 hours, as rows of the `costs` stream.

Decides which span is billed from which data; prices are the tariff's, sums `billing`'s.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agent.contract.errors import UnavailableError
from agent.contract.rows import Forecast, cost_row
from agent.contract.slots import Slot, floor_slot
from agent.contract.tariff.model import Dynamic
from agent.contract.tariff.series import PriceSeries
from agent.contract.tariff.tariff import Tariff
from agent.planning.billing.bill import Bill, bill
from agent.planning.billing.forward import Forward
from agent.planning.billing.loads import Ahead
from agent.planning.billing.projection import project

if TYPE_CHECKING:
    from agent.planning.carbon.factors import Factors

LATELY_MS = 36 * 86_400_000  # what days are like is told from as many as the agent remembers
_DAY_MS = 86_400_000
_Rested = tuple[dict[str, Any], Ahead | None]  # a row, and what it rests on of the time ahead


class CostWatch:
    """Costs under one tariff. It may be called as often as wanted.

    Scopes (all in the tariff's zone):
        `today`: the whole local day; measured slots, then the forecast for what is left of it. `so_far` in the row is
            the part up to now.
        `month`: from the first day of the billing month to the last slot measured.
        `month_end`: the whole billing month: measured, forecast, and then like earlier days of the same weekday; a
            range, without lines. Told once a day is known. Dynamic prices beyond the market's are those of the days
            before in the amount, and open in the range.
        `next_24h`: from the current slot on, forecast only; `end_ms` shows where a shorter forecast ends.

    Where a tariff settles by the month (demand, tiers, percentages), a day costs what it adds to the month's bill: a
    new peak costs on the day on which it is set.

    Nothing is billed before the first slot that is given: a plant that was connected in mid-month owes nothing for the
    days before, as far as the device knows (`start_ms` in the row says from when); nor before the first version of the
    tariff. What is missing after it widens the range.

    Attributes:
        forward: what the months before the slots that are given still count for; with it the month and its days are
            billed as from all slots, and those of the last weeks are enough.
        factors: with them a row says what its energy emits (`kg_co2e` with its range, `emissions`).
    """

    def __init__(self, tariff: Tariff, forward: Forward | None = None, factors: Factors | None = None) -> None:
        """Watch costs under `tariff`."""
        self.tariff = tariff
        self.forward = forward or Forward()
        self.factors = factors

    def rows(self, now_ms: int, slots: Sequence[Slot], forecast: Forecast | None) -> list[dict[str, Any]]:
        """Return the rows that can be told; a scope of which nothing is known has none.

        Args:
            now_ms: plant clock.
            slots: closed slots from the start of the billing month on; of one length. The last 36 days tell what days
                are like. The end of the last one is where measuring ends and
                forecasting begins: slots that stayed empty belong to them.
            forecast: the latest one, or None.

        Raises:
            ConfigError: when slots and forecast differ in length or lie off their grid.
        """
        rows: list[_Rested] = []
        past = [slot for slot in slots if slot.end_ms <= now_ms]
        month_ms = self.tariff.month_start_ms(now_ms)
        if any(slot.end_ms > month_ms for slot in past):
            until_ms = max(slot.end_ms for slot in past)
            rows += self._today(now_ms, until_ms, past, _from(forecast, until_ms))
            month = self._bill(month_ms, until_ms, past, None)
            if month is not None:
                rows.append((_row(now_ms, "month", month), None))
            rows += self._month_end(now_ms, until_ms, past, forecast)
        if forecast is not None:
            start_ms = max(floor_slot(now_ms, forecast.slot_s), forecast.origin_ms)
            span = start_ms, min(start_ms + _DAY_MS, _end_ms(forecast))
            if span[0] < span[1]:
                ahead = self._added(*span, past, _from(forecast, start_ms))
                if ahead is not None:
                    rows.append((_row(now_ms, "next_24h", ahead, forecast), _from(forecast, start_ms)))
        return [row | self._emitted(row, past, ahead) for row, ahead in rows]

    def _today(self, now_ms: int, until_ms: int, past: Sequence[Slot], forecast: Forecast | None) -> list[_Rested]:
        start_ms, end_ms = self.tariff.day_bounds_ms(now_ms)
        so_far = self._added(start_ms, until_ms, past, None)
        spent = "0.00" if so_far is None else str(so_far.total)
        if forecast is None:
            return [] if so_far is None else [(_row(now_ms, "today", so_far, so_far=spent), None)]
        whole = self._added(start_ms, min(end_ms, _end_ms(forecast)), past, forecast)
        return [] if whole is None else [(_row(now_ms, "today", whole, forecast, so_far=spent), forecast)]

    def _month_end(self, now_ms: int, until_ms: int, past: Sequence[Slot], forecast: Forecast | None) -> list[_Rested]:
        month = self.tariff.month_at(now_ms)
        lately = [slot for slot in past if slot.start_ms >= until_ms - LATELY_MS]
        ahead = project(self.tariff, lately, _from(forecast, until_ms), until_ms, month.end_ms)
        whole = None if ahead is None else self._bill(month.start_ms, month.end_ms, past, ahead)
        if ahead is None or whole is None:
            return []
        if series := self._likely_prices(month.end_ms):
            likely = self._bill(month.start_ms, month.end_ms, past, ahead, series)
            if likely is not None:
                whole = dataclasses.replace(whole, totals=(likely.total, *likely.totals, *whole.totals))
        row = _row(now_ms, "month_end", whole, profiled_slots=ahead.profiled, forecast_slots=whole.forecast_slots)
        del row["lines"]  # they would be most of the row, and say little beside a range
        return [(row, ahead)]

    def _emitted(self, row: dict[str, Any], past: Sequence[Slot], ahead: Ahead | None) -> dict[str, Any]:
        """Return what the energy of a row emits: its span, its slots, and what it rests on of the time ahead."""
        if self.factors is None:
            return {}
        from agent.planning.carbon.emissions import emissions  # noqa: PLC0415 - loaded only where there are factors
        from agent.planning.carbon.factors import ELECTRICITY  # noqa: PLC0415 - likewise

        try:
            found = emissions(
                self.factors,
                {ELECTRICITY: past},
                span_ms=(row["start_ms"], row["end_ms"]),
                forecast=ahead,
                power_range_kw=_power_range_kw(past),
            )
        except UnavailableError:
            return {}
        return found.to_json()

    def _likely_prices(self, end_ms: int) -> dict[str, PriceSeries]:
        """Return the series of dynamic charges with what is likely beyond them: markets end tomorrow, months do not."""
        pricings = [energy.pricing for version in self.tariff.versions for energy in version.by_unit]
        series = [pricing.series for pricing in pricings if isinstance(pricing, Dynamic)]
        return {one.name: one.latest().until(end_ms) for one in series}

    def _added(self, start_ms: int, end_ms: int, past: Sequence[Slot], forecast: Forecast | None) -> Bill | None:
        """Return what a span adds to the bill of the month in which it begins; None where the span is empty."""
        if start_ms >= end_ms:
            return None
        since_ms = self.tariff.month_start_ms(start_ms) if self.tariff.settles_by_month else start_ms
        whole = self._bill(since_ms, end_ms, past, forecast)
        before = self._bill(since_ms, start_ms, past, forecast) if since_ms < start_ms else None
        return whole if whole is None or before is None else whole.after(before)

    def _bill(
        self,
        start_ms: int,
        end_ms: int,
        past: Sequence[Slot],
        forecast: Ahead | None,
        series: Mapping[str, PriceSeries] | None = None,
    ) -> Bill | None:
        known_from_ms = min((slot.start_ms for slot in past), default=None)
        if known_from_ms is None:
            if forecast is None:
                return None
            known_from_ms = forecast.origin_ms
        start_ms = max(start_ms, known_from_ms, self.tariff.begin_ms)
        if start_ms >= end_ms:
            return None
        try:
            return bill(
                self.tariff,
                past,
                span_ms=(start_ms, end_ms),
                forecast=forecast,
                power_range_kw=_power_range_kw(past),
                forward=self.forward,
                series=series,
                partial=True,
            )
        except UnavailableError:
            return None


def _power_range_kw(past: Sequence[Slot]) -> tuple[float, float] | None:
    powers = [slot.power_kw for slot in past if slot.power_kw is not None]
    return (min(powers), max(powers)) if powers else None


def _from(forecast: Forecast | None, start_ms: int) -> Forecast | None:
    """Leave out the steps before `start_ms`: slots that are over are measured or missing, not forecast."""
    if forecast is None or _end_ms(forecast) <= start_ms:
        return None
    passed = max(0, -(-(start_ms - forecast.origin_ms) // (forecast.slot_s * 1000)))
    return dataclasses.replace(
        forecast,
        origin_ms=forecast.origin_ms + passed * forecast.slot_s * 1000,
        power_kw=forecast.power_kw[passed:],
    )


def _end_ms(forecast: Forecast) -> int:
    return forecast.origin_ms + len(forecast.power_kw) * forecast.slot_s * 1000


def _row(now_ms: int, scope: str, bill: Bill, forecast: Forecast | None = None, **more: Any) -> dict[str, Any]:
    """Make the row; a cost that rests on a forecast names the rung it came from."""
    if forecast is not None:
        more |= {"source": str(forecast.source), "model": forecast.model, "forecast_slots": bill.forecast_slots}
    return cost_row(
        now_ms,
        scope,
        bill.currency,
        str(bill.total),
        str(bill.low),
        str(bill.high),
        start_ms=bill.start_ms,
        end_ms=bill.end_ms,
        energy_wh=bill.energy_wh,
        lines=[line.to_json() for line in bill.lines],
        known_slots=bill.known_slots,
        missing_slots=bill.missing_slots,
        **({"notes": list(bill.notes)} if bill.notes else {}),
        **more,
    )
