"""The charges of a tariff file: energy in all its forms, fixed, demand, power factor, taxes and fees."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from agent.contract.errors import ConfigError
from agent.contract.tariff.calendar import HOLIDAY, Calendar, Period, TimeOfUse, When, ever_holds
from agent.contract.tariff.model import (
    ENERGY,
    EXPORT,
    FIXED,
    MAIN,
    POWER_FACTOR,
    Demand,
    Dynamic,
    Energy,
    Fee,
    Fixed,
    Flat,
    FreeShare,
    Meter,
    PowerFactor,
    Pricing,
    Ratchet,
    Reduced,
    Tier,
    Tiered,
    Timed,
)
from agent.contract.tariff.section import Complaints, Section
from agent.contract.tariff.series import price_file

_RESERVED = (ENERGY, EXPORT, FIXED, POWER_FACTOR, "all")
_FORMS = ("price", "prices", "tiers", "series", "period")
_ZERO, _ONE = Decimal(0), Decimal(1)
_LABEL = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


class ChargeReader:
    """Reads the charges of one file; names of charges gather, so that fees can name what stands above them."""

    def __init__(
        self,
        top: Section,
        calendar: Calendar,
        periods: TimeOfUse | None,
        meters: Sequence[Meter],
        unnamed: Sequence[str],
        folder: Path | None,
        *,
        series_later: bool,
    ) -> None:
        self._top = top
        self._calendar = calendar
        self._periods = periods
        self._meters = {meter.name: meter for meter in meters}
        self._folder = folder
        self._series_later = series_later
        self._seasons = tuple(calendar.seasons)
        self._names = sorted(unnamed)  # only what there is: a tax on nothing would be no tax

    def energies(self) -> list[Energy]:
        """Read [[energy]]."""
        return [self._energy(entry, self._named(entry)) for entry in self._top.children("energy")]

    def fixed(self) -> list[Fixed]:
        """Read [[fixed]]."""
        found = []
        for entry in self._top.children("fixed"):
            unit = entry.text("unit") if "unit" in entry else ""
            found.append(
                Fixed(
                    self._named(entry),
                    entry.number("price"),
                    entry.choice("per", ("day", "month", "year"), "month"),
                    entry.amount("quantity", _ONE),
                    unit,
                    entry.days_in_force(self._seasons),
                )
            )
            entry.end()
        return found

    def demands(self) -> tuple[Demand, ...]:
        """Read [[demand]]."""
        return tuple(self._demand(entry) for entry in self._top.children("demand"))

    def power_factor(self) -> PowerFactor | None:
        """Read [power_factor]."""
        entry = self._top.child("power_factor")
        if entry is None:
            return None
        table = entry.pairs("table")
        starts = [at_least for at_least, _ in table]
        if table and (starts != sorted(set(starts), reverse=True) or starts[-1] != 0 or starts[0] > 1):
            entry.complain("table", "does not fall from at most 1 to 0: the last row is [0.0, percent]")
        found = PowerFactor(
            of=self._of(entry),
            table=tuple(table),
            reactive=self._meter(entry, "reactive", None),
            meter=self._meter(entry, "meter", MAIN),
            round_to=entry.number("round_to", Decimal("0.01"), low=Decimal("0.0001"), high=_ONE),
        )
        if found.reactive in self._meters and self._meters[found.reactive].unit != "kvarh":
            entry.complain("reactive", "is not a meter in kvarh")
        entry.end()
        self._names.append(POWER_FACTOR)
        return found

    def fees(self) -> tuple[Fee, ...]:
        """Read [[fee]]."""
        found = []
        for entry in self._top.children("fee"):
            above = list(self._names)
            name = self._named(entry)
            if "percent" in entry:
                percent = entry.number("percent", low=Decimal(-100), high=Decimal(1000))
                found.append(Fee(name, percent, self._of(entry, above)))
                entry.end()
            else:
                found.append(Fee(name, energy=self._energy(entry, name)))
        return tuple(found)

    def _energy(self, entry: Section, name: str) -> Energy:
        energy = Energy(
            name,
            self._pricing(entry),
            self._meter(entry, "meter", MAIN),
            entry.choice("direction", ("import", "export"), "import") == "export",
            entry.days_in_force(self._seasons),
            self._free(entry),
        )
        if energy.free is not None and not isinstance(energy.pricing, Flat):
            entry.complain("free_share", "needs one `price`")
        entry.end()
        return energy

    def _free(self, entry: Section) -> FreeShare | None:
        section = entry.child("free_share")
        if section is None:
            return None
        free = FreeShare(self._meter(section, "of", None), section.number("share", low=_ZERO, high=Decimal(10)))
        section.end()
        return free

    def _pricing(self, entry: Section) -> Pricing:
        given = [form for form in _FORMS if form in entry]
        if len(given) != 1:
            entry.complain("price", f"needs exactly one of {', '.join(_FORMS)}, and has {', '.join(given) or 'none'}")
            return Flat(_ZERO)
        if given == ["tiers"]:
            return self._tiers(entry)
        if given == ["series"]:
            return self._series(entry)
        if given == ["prices"]:
            return self._common(entry)
        if given == ["period"]:
            return self._own(entry)
        return Flat(entry.price("price"))

    def _common(self, entry: Section) -> Pricing:
        prices, names = entry.table("prices"), self._periods.names if self._periods is not None else ()
        section = entry.child("prices")
        if section is None or self._periods is None:
            entry.complain("prices", "names periods, but the file has no [[period]]")
            return Flat(_ZERO)
        if missing := [name for name in names if name not in prices]:
            entry.complain("prices", f"has no price for {', '.join(missing)}")
        read = {name: section.price(name) for name in names if name in prices}
        section.end()
        return Timed(self._periods, read)

    def _own(self, entry: Section) -> Pricing:
        periods, prices = [], dict[str, Decimal]()
        for one in entry.children("period", "[[energy.period]]"):
            name, price = one.name(), one.price("price")
            if prices.setdefault(name, price) != price:
                one.complain("price", f"{name!r} has another price further up")
            periods.append(Period(name, self._when(one)))
            one.end()
        found = TimeOfUse(self._calendar, tuple(periods))
        for problem in found.problems() if periods else ():
            entry.complain("period", problem)
        return Timed(found, prices)

    def _tiers(self, entry: Section) -> Pricing:
        tiers, before = [], _ZERO
        entries = list(entry.children("tiers", "[{up_to = 1000, price = 0.1}, {price = 0.09}]"))
        for index, one in enumerate(entries):
            up_to = None
            if index < len(entries) - 1:
                up_to = one.amount("up_to")
                if up_to <= before:
                    one.complain("up_to", f"is not above {before}")
                before = up_to
            elif "up_to" in one:
                one.complain("up_to", "stands in the last tier, which takes the rest")
            tiers.append(Tier(up_to, one.price("price")))
            one.end()
        per = entry.choice("tiers_per", ("month", "year"), "month")
        earlier = entry.amount("earlier_kwh") if "earlier_kwh" in entry else None
        if earlier is not None and per == "month":
            entry.complain("earlier_kwh", 'needs tiers_per = "year"')
        return Tiered(tuple(tiers), per, earlier)

    def _series(self, entry: Section) -> Pricing:
        name, minutes = entry.text("series"), entry.choice("series_minutes", (60, 30, 15))
        path = None if self._folder is None or not name else self._folder / name
        if name and (Path(name).name != name or name.startswith(".")):
            entry.complain("series", f"{name!r} is not the name of a file beside the tariff")
            path = None
        file = price_file(name, path, 60 * minutes)
        try:
            if not self._series_later:
                file.read()
        except ConfigError as exc:
            entry.complain("series", str(exc))
        between: tuple[Decimal, Decimal] | None = None
        if "missing_between" in entry:
            found = entry.raw("missing_between")
            pair = Section({"pair": [found]}, entry.path, Complaints("")).pairs("pair")
            if not pair or pair[0][0] > pair[0][1]:
                entry.complain("missing_between", "is not a pair of numbers such as [-0.5, 4.0]")
            else:
                between = pair[0]
        return Dynamic(
            file,
            entry.number("scale", _ONE, low=Decimal("0.00001"), high=Decimal(1000)),
            entry.price("markup", _ZERO),
            entry.number("markup_percent", _ZERO, low=Decimal(-100), high=Decimal(1000)),
            between,
        )

    def _demand(self, entry: Section) -> Demand:
        ratchet, reduced = entry.child("ratchet"), entry.child("reduced")
        contracted = entry.amount("contracted_kw") if "contracted_kw" in entry else None
        excess = entry.number("excess_price_per_kw") if "excess_price_per_kw" in entry else None
        by_capacity = entry.choice("basis", ("demand", "capacity"), "demand") == "capacity"
        if contracted is None:
            for key in ("minimum_share", "excess_from_share", "excess_price_per_kw"):
                if key in entry:
                    entry.complain(key, "needs contracted_kw")
        if (by_capacity or reduced is not None) and "capacity_kva" not in entry:
            entry.complain("capacity_kva", "is missing")
        if by_capacity and "price_per_kva" not in entry:
            entry.complain("price_per_kva", "is missing")
        found = Demand(
            name=self._named(entry),
            price_per_kw=entry.number("price_per_kw", _ZERO if by_capacity else None),
            interval_s=60 * entry.choice("interval_minutes", (15, 30, 60), 15),
            per=entry.choice("per", ("month", "year"), "month"),
            meter=self._meter(entry, "meter", MAIN),
            when=self._window(entry),
            free_kw=entry.amount("free_kw", _ZERO),
            round_kw=entry.number("round_kw", Decimal("0.001"), low=Decimal("0.000001"), high=Decimal(1000)),
            ratchet=_ratchet(ratchet),
            earlier_kw=_earlier(entry),
            contracted_kw=contracted,
            minimum_share=entry.number("minimum_share", _ZERO, low=_ZERO, high=_ONE),
            excess_from_share=entry.number("excess_from_share", _ONE, low=_ZERO, high=Decimal(10)),
            excess_price_per_kw=excess,
            by_capacity=by_capacity,
            capacity_kva=entry.amount("capacity_kva", _ZERO),
            price_per_kva=entry.number("price_per_kva", _ZERO),
            reduced=_reduced(reduced),
        )
        if found.per == "year":
            for key in ("ratchet", "contracted_kw", "reduced"):
                if key in entry:
                    entry.complain(key, 'cannot stand beside per = "year"')
            if by_capacity:
                entry.complain("per", 'is "month" where the capacity is billed; [[fixed]] can be by the year')
        if found.reduced is not None and not found.capacity_kva:
            entry.complain("capacity_kva", "is 0")
        meter = self._meters[found.meter]
        if meter.billed_unit not in ("kWh", "kvarh"):
            entry.complain("meter", f"{meter.name!r} is in {meter.unit}, which is no power: give it kwh_per_unit")
        if not ever_holds(found.when, self._calendar, self._periods):
            entry.complain("name", f"{found.name!r} never counts: its limits exclude each other")
        entry.end()
        return found

    def _window(self, entry: Section) -> When:
        return self._when(entry, self._periods.names if self._periods is not None else ())

    def _when(self, entry: Section, periods: Sequence[str] | None = None) -> When:
        found = entry.when(self._seasons, periods)
        if HOLIDAY in (found.weekdays or ()) and self._calendar.holidays_as != HOLIDAY:
            entry.complain("weekdays", 'names "hol", but holidays_as is not "hol"')
        return found

    def _named(self, entry: Section) -> str:
        name = entry.name(reserved=_RESERVED)
        self._names.append(name)
        return name

    def _meter(self, entry: Section, key: str, default: str | None) -> str:
        return str(entry.choice(key, tuple(self._meters), default))

    def _of(self, entry: Section, above: Sequence[str] | None = None) -> frozenset[str] | None:
        if entry.raw("of") == "all":
            return None
        found = entry.some("of", tuple(self._names if above is None else above))
        if found is None and "of" not in entry:
            entry.complain("of", 'is missing: name the charges, or "all"')
        return found or frozenset()


def _ratchet(entry: Section | None) -> Ratchet | None:
    if entry is None:
        return None
    found = Ratchet(entry.number("share", low=_ZERO, high=_ONE), entry.whole("months", 1, 36))
    entry.end()
    return found


def _reduced(entry: Section | None) -> Reduced | None:
    if entry is None:
        return None
    found = Reduced(entry.amount("from_kwh_per_kva"), entry.number("share", low=_ZERO, high=_ONE))
    entry.end()
    return found


def _earlier(entry: Section) -> tuple[tuple[str, Decimal], ...]:
    given: dict[str, Any] = entry.table("earlier_kw")
    section = entry.child("earlier_kw")
    if section is None:
        return ()
    for label in given:
        if not _LABEL.fullmatch(label):
            section.complain(label, "is not a month such as 2025-11")
    return tuple((label, section.number(label, low=_ZERO)) for label in given)
