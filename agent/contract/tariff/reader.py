"""TOML to a version of a tariff, with every complaint at once. The forms of charges are `readcharges`'."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

from agent.contract.errors import ConfigError
from agent.contract.tariff.calendar import HOLIDAY, WEEKDAYS, Calendar, DayRange, Period, TimeOfUse
from agent.contract.tariff.holidays import Holidays
from agent.contract.tariff.model import ENERGY, EXPORT, FIXED, MAIN, Energy, Fixed, Flat, Meter, Rounding, Timed
from agent.contract.tariff.readcharges import ChargeReader
from agent.contract.tariff.section import Section, read_sections
from agent.contract.tariff.version import RESERVED, Version
from agent.contract.zones import parse_zone

_CARRIERS = ("electricity", "reactive", "gas", "heat", "water", "steam")
_UNITS = ("kWh", "kvarh", "MJ", "GJ", "m3", "t")
_RANGE = re.compile(r"(\d\d)-(\d\d)\.\.(\d\d)-(\d\d)")


def read_version(text: str, where: str, folder: Path | None, *, series_later: bool = False) -> Version:
    """Parse the text of a tariff file.

    Args:
        text: TOML.
        where: what complaints call it.
        folder: where price series lie; None: they are given with each bill.
        series_later: do not look into price series yet.

    Raises:
        ConfigError: with everything that is wrong in it.
    """
    return read_sections(text, where, lambda top: _Reader(top, folder, series_later=series_later).version())


class _Reader:
    """Reads one file."""

    def __init__(self, top: Section, folder: Path | None, *, series_later: bool) -> None:
        self._top = top
        self._folder = folder
        self._series_later = series_later

    def version(self) -> Version:
        top = self._top
        name, currency = top.text("name"), top.text("currency")
        if currency and not re.fullmatch(r"[A-Z]{3}", currency):
            top.complain("currency", f"{currency!r} is not three capital letters such as AUD")
        zone_name = top.text("zone") or "UTC"
        try:
            parse_zone(zone_name)
        except ConfigError as exc:
            top.complain("zone", str(exc))
            zone_name = "UTC"
        calendar = self._calendar()
        periods, plain = self._periods(calendar)
        meters = (Meter(MAIN), *(self._meter(entry) for entry in top.children("meter")))
        unnamed = [EXPORT, *(energy.name for energy in plain), *([FIXED] if "fixed_per_day" in top else [])]
        charges = ChargeReader(top, calendar, periods, meters, unnamed, self._folder, series_later=self._series_later)
        energies = [*plain, *charges.energies()]
        plain_export = top.price("export_price_per_kwh", Decimal(0))
        if "export_price_per_kwh" in top or not any(energy.export and energy.meter == MAIN for energy in energies):
            energies.append(Energy(EXPORT, Flat(plain_export), export=True))
        fixed = [Fixed(FIXED, top.price("fixed_per_day"), "day")] if "fixed_per_day" in top else []
        fixed += charges.fixed()
        version = Version(
            name=name,
            zone_name=zone_name,
            currency=currency,
            calendar=calendar,
            periods=periods,
            valid_from=top.day("valid_from"),
            billing_day=top.whole("billing_day", 1, 28, 1),
            rounding=Rounding(
                top.number("round_to", Decimal("0.01"), low=Decimal("0.0001"), high=Decimal(1000)),
                top.choice("round_half", ("even", "up"), "even") == "up",
            ),
            meters=meters,
            energies=tuple(energies),
            fixed=tuple(fixed),
            demands=charges.demands(),
            power_factor=charges.power_factor(),
            fees=charges.fees(),
        )
        top.end()
        self._check_names(version)
        return version

    def _calendar(self) -> Calendar:
        seasons: dict[str, list[DayRange]] = {}
        for name, ranges in self._top.table("seasons").items():
            texts = ranges if isinstance(ranges, list) else [ranges]
            found = [_day_range(text) for text in texts]
            if not found or None in found:
                self._top.complain(f"seasons.{name}", 'is not a list of days of the year such as ["06-01..09-30"]')
            seasons[name] = [entry for entry in found if entry is not None]
        as_weekday = self._top.choice("holidays_as", WEEKDAYS, "sun")
        return Calendar(self._holidays(), WEEKDAYS.index(as_weekday), seasons)

    def _holidays(self) -> Holidays:
        given = self._top.raw("holidays")
        right: list[str | dt.date] = []
        if given is not None and not isinstance(given, list):
            self._top.complain("holidays", 'is not a list of dates such as "2026-12-25"')
            given = None
        for index, entry in enumerate(given or []):
            try:
                # A date with a time is not a day.
                if type(entry) is not dt.date and not isinstance(entry, str):
                    raise ValueError  # noqa: TRY301 - one complaint for all that is no holiday
                Holidays((entry,))
                right.append(entry)
            except ValueError:
                self._top.complain(
                    f"holidays[{index}]",
                    f'{entry!r} is not a date such as 2026-12-25, nor "12-25", "last mon of 5" or "easter+1"',
                )
        return Holidays(tuple(right))

    def _periods(self, calendar: Calendar) -> tuple[TimeOfUse | None, list[Energy]]:
        """Return the common calendar, and the charge `energy` where its periods have prices."""
        top, seasons = self._top, tuple(calendar.seasons)
        if "period" not in top:
            if not any(key in top for key in ("energy", "fixed", "demand", "fee")):
                top.complain("period", "is missing: write one [[period]] or more, or another charge")
            return None, []
        entries, prices = [], dict[str, Decimal]()
        priced = unpriced = False
        for entry in top.children("period"):
            name = entry.name(reserved=RESERVED)
            entries.append(Period(name, entry.when(seasons)))
            if "price_per_kwh" in entry:
                priced = True
                price = entry.price("price_per_kwh")
                if prices.setdefault(name, price) != price:
                    entry.complain("price_per_kwh", f"{name!r} has another price further up")
            elif priced or "energy" not in top:
                entry.price("price_per_kwh")  # says that it is missing
            else:
                unpriced = True
            entry.end()
        if priced and unpriced:
            top.complain("period", "price_per_kwh is given for some periods only")
        if any(HOLIDAY in (entry.when.weekdays or ()) for entry in entries) and calendar.holidays_as != HOLIDAY:
            top.complain("holidays_as", 'is not "hol", but a period names "hol"')
        periods = TimeOfUse(calendar, tuple(entries))
        if not entries:
            return None, []
        for problem in periods.problems():
            top.complain("period", problem)
        return periods, [Energy(ENERGY, Timed(periods, prices))] if priced else []

    def _meter(self, entry: Section) -> Meter:
        unit = entry.choice("unit", _UNITS, "kWh")
        heat = entry.number("kwh_per_unit", low=Decimal("0.001")) if "kwh_per_unit" in entry else None
        meter = Meter(
            entry.name(reserved=(MAIN,)), entry.choice("carrier", _CARRIERS, "electricity"), unit, kwh_per_unit=heat
        )
        entry.end()
        return meter

    def _check_names(self, version: Version) -> None:
        """A line must be told by its name alone."""
        names = Counter(
            [charge.name for charges in (version.energies, version.fixed, version.demands) for charge in charges]
            + [fee.name for fee in version.fees]
            + [meter.name for meter in version.meters if meter.name == ENERGY]
        )
        if any(energy.name == ENERGY for energy in version.energies) and version.periods is not None:
            names.update(set(version.periods.names))
        for name, count in names.items():
            if count > 1 and name:
                self._top.complain(name, "is the name of more than one charge, or of a charge and a period")
        meters = Counter(meter.name for meter in version.meters)
        for name, count in meters.items():
            if count > 1:
                self._top.complain("meter", f"{name!r} is given twice")


def _day_range(text: object) -> DayRange | None:
    match = _RANGE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    days = (int(match[1]), int(match[2])), (int(match[3]), int(match[4]))
    try:
        for month, day in days:
            dt.date(2024, month, day)
    except ValueError:
        return None
    return days
