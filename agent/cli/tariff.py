"""`edgewatt tariff`: is a tariff right, and what does it say? Needs neither agent nor network."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.output import Payload, emit, facts, json_option, table

if TYPE_CHECKING:
    from agent.contract.tariff.calendar import TimeOfUse, When
    from agent.contract.tariff.model import Demand, Energy, Fixed
    from agent.contract.tariff.version import Version


@click.group()
def tariff() -> None:
    """Check a tariff.

    \b
    Example:
      edgewatt tariff check tariff.toml
    """


@tariff.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def check(file: Path, as_json: bool) -> None:
    """Check FILE, a tariff or a folder with its versions, and say what it charges and when.

    Names everything that is wrong, each with its path in the file.

    \b
    Example:
      edgewatt tariff check tariff.toml
    """
    from agent.contract.tariff.tariff import Tariff

    found = Tariff.load(file)
    answer: dict[str, Any] = {
        "ok": True,
        "file": str(file),
        "name": found.name,
        "zone": found.zone_name,
        "currency": found.currency,
        "billing_day": found.billing_day,
        "versions": [_version(version) for version in found.versions],
    }
    emit(answer, as_json, _human)


def _version(version: Version) -> dict[str, Any]:
    calendar = version.calendar
    return {
        "name": version.name,
        "valid_from": None if version.valid_from is None else version.valid_from.isoformat(),
        "holidays": _holidays(calendar.holidays.entries),
        "week": list(_weeks(version.periods)) if version.periods is not None else [],
        "charges": [
            *(row for energy in version.energies for row in _energy(version, energy)),
            *(_fixed(fixed) for fixed in version.fixed),
            *(_demand(demand) for demand in version.demands),
            *_power_factor(version),
            *_fees(version),
        ],
    }


def _holidays(entries: tuple[str | dt.date, ...]) -> dict[str, Any]:
    dates = [entry for entry in entries if isinstance(entry, dt.date)]
    return {"dates": len(dates), "last": max(dates).isoformat() if dates else None, "rules": len(entries) - len(dates)}


def _weeks(periods: TimeOfUse) -> Iterator[dict[str, Any]]:
    """Yield the periods of each kind of day, alike months and weekdays together."""
    from agent.contract.tariff.calendar import WEEKDAYS

    by_month: dict[tuple[int, frozenset[str]], list[tuple[int, ...]]] = {}
    for day in periods.calendar.kinds():
        by_month.setdefault((day.month, day.seasons), []).append(tuple(periods.row(day).tolist()))
    alike: dict[tuple[tuple[int, ...], ...], list[tuple[int, frozenset[str]]]] = {}
    for when, week in by_month.items():
        alike.setdefault(tuple(week), []).append(when)
    for rows, months in alike.items():
        days: dict[tuple[int, ...], list[str]] = {}
        for weekday, row in zip(WEEKDAYS, rows, strict=False):  # without holidays of their own there are seven
            days.setdefault(row, []).append(weekday)
        for row, weekdays in days.items():
            yield {
                "months": sorted({month for month, _ in months}),
                "seasons": sorted({name for _, seasons in months for name in seasons}),
                "weekdays": weekdays,
                "periods": _pieces(row, periods),
            }


def _pieces(row: tuple[int, ...], periods: TimeOfUse) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for step, index in enumerate(row):
        name, minute = periods.names[index], step * periods.step_min
        if not found or found[-1]["period"] != name:
            found.append({"from": f"{minute // 60:02}:{minute % 60:02}", "period": name})
    return found


def _energy(version: Version, energy: Energy) -> Iterator[dict[str, Any]]:
    """Yield a row for each line that the charge may have on a bill."""
    from agent.contract.tariff.model import ENERGY, Dynamic, Tiered, Timed

    of = f"{energy.meter}, fed in" if energy.export else energy.meter
    if energy.free is not None:
        of += f" above {energy.free.share} of {energy.free.of}"
    of += _limits(energy.when)
    unit, pricing = f"per {version.meter(energy.meter).billed_unit}", energy.pricing
    if isinstance(pricing, Timed):
        prefix = "" if energy.name == ENERGY else f"{energy.name}."
        for name, price in pricing.prices.items():
            yield _charge(f"{prefix}{name}", of, unit, str(price))
    elif isinstance(pricing, Tiered):
        for number, tier in enumerate(pricing.tiers, start=1):
            room = "the rest" if tier.up_to is None else f"up to {tier.up_to}"
            yield _charge(f"{energy.name}.tier-{number}", f"{of}, {room} of the {pricing.per}", unit, str(tier.price))
    elif isinstance(pricing, Dynamic):
        count = len(pricing.series.latest().prices)
        more = f" + {pricing.markup_percent} %" if pricing.markup_percent else ""
        made_of = f"{pricing.series.name} ({count} prices) x {pricing.scale}{more} + {pricing.markup}"
        yield _charge(energy.name, of, unit, made_of)
    else:
        yield _charge(energy.name, of, unit, str(pricing.price))


def _fixed(fixed: Fixed) -> dict[str, Any]:
    of = f"{fixed.quantity} {fixed.unit}".strip() if fixed.unit or fixed.quantity != 1 else "time"
    return _charge(fixed.name, f"{of}{_limits(fixed.when)}", f"per {fixed.per}", str(fixed.price))


def _demand(demand: Demand) -> dict[str, Any]:
    if demand.by_capacity:
        return _charge(demand.name, f"{demand.capacity_kva} kVA", "per kVA and month", str(demand.price_per_kva))
    of = f"highest {demand.interval_s // 60} min of the {demand.per}"
    if demand.meter != "main":
        of += f" of {demand.meter}"
    for value, words in (
        (demand.free_kw, f"above {demand.free_kw} kW"),
        (demand.least_kw, f"at least {demand.least_kw} kW"),
        (demand.excess_from_kw, f"beyond {demand.excess_from_kw} kW at {demand.excess_price_per_kw}"),
    ):
        of += f", {words}" if value else ""
    if demand.ratchet is not None:
        of += f", at least {demand.ratchet.share} of the last {demand.ratchet.months} months' highest"
    return _charge(demand.name, f"{of}{_limits(demand.when)}", f"per kW and {demand.per}", str(demand.price_per_kw))


def _power_factor(version: Version) -> Iterator[dict[str, Any]]:
    rule = version.power_factor
    if rule is not None:
        rows = ", ".join(f"{percent} % from {at_least}" for at_least, percent in rule.table)
        yield _charge("power-factor", _named(rule.of), "percent", rows)


def _fees(version: Version) -> Iterator[dict[str, Any]]:
    for fee in version.fees:
        if fee.energy is not None:
            yield from _energy(version, fee.energy)
        else:
            yield _charge(fee.name, _named(fee.of), "percent", f"{fee.percent} %")


def _named(of: frozenset[str] | None) -> str:
    return "all above" if of is None else ", ".join(sorted(of))


def _limits(when: When) -> str:
    from agent.contract.tariff.calendar import ALWAYS, WEEKDAYS

    words = []
    if when.seasons is not None:
        words.append(", ".join(sorted(when.seasons)))
    if when.months is not None:
        words.append(f"months {', '.join(map(str, sorted(when.months)))}")
    if when.periods is not None:
        words.append(", ".join(sorted(when.periods)))
    if when.weekdays is not None:
        words.append(", ".join(WEEKDAYS[day] for day in sorted(when.weekdays)))
    if when.windows != ALWAYS.windows:
        words.append(", ".join(f"{a // 60:02}:{a % 60:02}-{b // 60:02}:{b % 60:02}" for a, b in when.windows))
    return f" ({'; '.join(words)})" if words else ""


def _charge(name: str, of: str, unit: str, price: str) -> dict[str, Any]:
    return {"charge": name, "of": of, "unit": unit, "price": price}


def _human(answer: Payload) -> str:
    day = answer["billing_day"]
    parts = [
        f"{answer['file']} is right.",
        facts(
            [
                ("tariff", answer["name"]),
                ("zone", answer["zone"]),
                ("currency", answer["currency"]),
                ("billing month", "the calendar's" if day == 1 else f"from day {day}"),
            ]
        ),
    ]
    for version in answer["versions"]:
        since = "Ever since" if version["valid_from"] is None else f"From {version['valid_from']}"
        days = version["holidays"]
        last = f" (the last {days['last']})" if days["last"] else ""
        holidays = f"{days['dates']} dates{last}, {days['rules']} yearly rules"
        parts.append(f"{since}: {version['name']}. Holidays: {holidays}.")
        if version["week"]:
            parts.append(table(["when", "days", "periods"], [_week_row(row) for row in version["week"]]))
        rows = [[one["charge"], one["of"], one["unit"], one["price"]] for one in version["charges"]]
        parts.append(table(["charge", "of", "unit", "price"], rows))
    return "\n\n".join(parts)


def _week_row(row: dict[str, Any]) -> list[str]:
    months = "all year" if len(row["months"]) == 12 else f"months {', '.join(map(str, row['months']))}"
    if row["seasons"]:
        months += f" ({', '.join(row['seasons'])})"
    pieces = ", ".join(f"{piece['from']} {piece['period']}" for piece in row["periods"])
    days = row["weekdays"]
    return [months, f"{days[0]}-{days[-1]}" if len(days) > 2 and _in_row(days) else ", ".join(days), pieces]


def _in_row(days: list[str]) -> bool:
    from agent.contract.tariff.calendar import WEEKDAYS

    first = WEEKDAYS.index(days[0])
    return tuple(days) == WEEKDAYS[first : first + len(days)]
