"""A year of the plant's load, billed by its own tariff, and the three published formulas for that load.

Decides what the load of a year is from its mean day; prices and sums are the bill's.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass

from agent.contract.errors import ConfigError
from agent.contract.slots import Slot
from agent.contract.tariff.tariff import Tariff
from agent.contract.zones import to_local
from agent.planning.assess.case import BilledLoad, Published
from agent.planning.assess.formulas import (
    energy_saving_cost_j_per_kwh,
    predicted_electricity_kwh,
    renewable_use_kwh,
)
from agent.planning.billing.bill import Bill, bill

_SLOT_S = 900  # every zone of today is a whole number of quarter-hours from UTC
_SATURDAY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledYear:
    """What a load costs by a tariff; `imported_kwh` is what the grid delivered, as far as it is known."""

    tariff: Tariff
    bill: Bill
    imported_kwh: float

    @property
    def mean_price_per_kwh(self) -> float | None:
        """All that is paid, for each kWh imported; None without import."""
        return float(self.bill.total) / self.imported_kwh if self.imported_kwh > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedValues:
    """The published formulas, in their published units."""

    predicted_kwh: float
    renewable_kwh: float
    saving_cost_j_per_kwh: float


def year_of_slots(load: BilledLoad, zone: dt.tzinfo) -> list[Slot]:
    """Return the slots of the calendar year, in the zone, of a plant whose every day is the mean day."""
    start_ms, end_ms = (
        round(dt.datetime(year, 1, 1, tzinfo=zone).timestamp() * 1000) for year in (load.year, load.year + 1)
    )
    weekend_kw = load.weekend_kw or load.workday_kw
    slots = []
    for at_ms in range(start_ms, end_ms, _SLOT_S * 1000):
        local = to_local(at_ms, zone)
        power_kw = (weekend_kw if local.weekday() >= _SATURDAY else load.workday_kw)[local.hour]
        slots.append(Slot(at_ms, _SLOT_S, round(power_kw * _SLOT_S / 3.6), power_kw, 1.0))
    return slots


def bill_load(load: BilledLoad, currency: str, slots: Sequence[Slot] | None = None) -> BilledYear:
    """Bill a year of the mean day, or the slots that were measured, by the tariff that the file names.

    Charges of meters that the assessment knows nothing of (gas, water) are left out; the bill's notes name them.

    Raises:
        ConfigError: when the tariff cannot be read, or is in another currency.
        UnavailableError: when no slot is known.
    """
    tariff = Tariff.load(load.tariff)
    if tariff.currency != currency:
        raise ConfigError(
            f"is in {tariff.currency}, and the assessment in {currency}",
            where=str(load.tariff),
            todo="Give [bill] a tariff in the currency of the assessment",
        )
    main = year_of_slots(load, tariff.zone) if slots is None else slots
    meters = {} if load.power_factor is None else _reactive(tariff, main, load.power_factor)
    imported_wh = sum(max(0, slot.energy_wh) for slot in main)
    made = bill(tariff, main, meters=meters, partial=True)
    return BilledYear(tariff=tariff, bill=made, imported_kwh=imported_wh / 1000)


def _reactive(tariff: Tariff, slots: Sequence[Slot], power_factor: float) -> dict[str, list[Slot]]:
    """Slots of the tariff's reactive meters, in varh, for a constant power factor."""
    share = math.sqrt(1 / power_factor**2 - 1)
    reactive = [dataclasses.replace(slot, energy_wh=round(max(0, slot.energy_wh) * share)) for slot in slots]
    meters = {meter.name for version in tariff.versions for meter in version.meters if meter.carrier == "reactive"}
    return dict.fromkeys(meters, reactive)


def published_values(given: Published, use_kwh: float) -> PublishedValues:
    """Return the three published formulas for a year's electricity use, all of it carried by the grid.

    Raises:
        ConfigError: when an input is outside its domain; named by its key.
    """
    try:
        predicted_kwh = predicted_electricity_kwh(
            use_kwh=use_kwh,
            battery_capacity_kwh=given.battery_capacity_kwh,
            insolation_kwh_per_m2_day=given.insolation_kwh_per_m2_day,
            reduction_h_per_kwh=given.reduction_h_per_kwh,
        )
        return PublishedValues(
            predicted_kwh=predicted_kwh,
            renewable_kwh=renewable_use_kwh(
                resources=given.resource,
                unused_share=given.unused_share,
                predicted_kwh=predicted_kwh,
                non_renewable_kwh=given.non_renewable_kwh,
            ),
            saving_cost_j_per_kwh=energy_saving_cost_j_per_kwh(
                predicted_kwh=predicted_kwh,
                stop_time_h=given.stop_time_h,
                grid_kwh=use_kwh,
                heat_pump_kw_per_year=given.heat_pump_kw_per_year,
                heat_pump_years=given.heat_pump_years,
                other_j_per_kwh=given.other_j_per_kwh,
            ),
        )
    except ConfigError as exc:
        raise ConfigError(exc.what, where=f"published.{exc.where}", todo=exc.todo) from exc
