"""What energy costs by days and by months, line by line, and what planning saves.

Decides which row of a device counts and how its lines read. Rows come from devices: one that does not parse is counted
and left out.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from agent.contract.errors import RejectedError
from agent.contract.jsonform import Fields
from agent.contract.planners import planner_told
from agent.contract.zones import local_day_bounds_ms, to_local
from trainer.service.picture import MAX_TIME_MS, short

_MAX_LINES = 64
_MONEY_LIMIT = Decimal(10) ** 12
_DEMAND = ("kW", "kVA")
_FIXED = ("d", "month", "year")


@dataclass(frozen=True)
class BillLine:
    """One line of a bill.

    Attributes:
        kind: energy, demand, fixed, or other (taxes, adjustments).
        quantity: in `unit`; None where the row does not say.
        price: as the device wrote it; empty where steps have prices of their own.
    """

    name: str
    kind: str
    quantity: Decimal | None
    unit: str
    price: str
    amount: Decimal


@dataclass(frozen=True)
class DayCost:
    """The last cost that the device stated for one local day.

    Attributes:
        low, high: the range that missing slots, and the forecast of a day that still runs, leave open.
        lines: empty where the row does not say.
        whole: whether that day was seen from end to end.
    """

    date: dt.date
    currency: str
    amount: Decimal
    low: Decimal
    high: Decimal
    lines: tuple[BillLine, ...] = ()
    whole: bool = True


@dataclass(frozen=True)
class CostAhead:
    """The newest `next_24h` row."""

    time_ms: int
    currency: str
    amount: Decimal
    low: Decimal
    high: Decimal


@dataclass(frozen=True)
class MonthBill:
    """The newest bill of a month so far.

    Attributes:
        low, high: the range that missing slots leave open.
        end: likely amount and range of the whole month; None where the device states none of this month.
    """

    start_ms: int
    end_ms: int
    currency: str
    amount: Decimal
    low: Decimal
    high: Decimal
    lines: tuple[BillLine, ...]
    notes: tuple[str, ...] = ()
    end: tuple[Decimal, Decimal, Decimal] | None = None

    @property
    def peaks(self) -> list[BillLine]:
        """What was billed for demand."""
        return [line for line in self.lines if line.kind == "demand" and line.quantity]


@dataclass(frozen=True)
class Advice:
    """The newest plan, as its event tells of it; money in `currency`.

    Attributes:
        left_over: what more is stored at the end than with doing nothing is worth; below 0 where it is less.
        saving: `cost_of_nothing` less `cost`, with `left_over`; below 0 where the plan costs more.
    """

    time_ms: int
    start_ms: int
    end_ms: int
    currency: str
    cost: float
    cost_of_nothing: float
    left_over: float
    saving: float
    by: str
    text: str


def read_costs(
    rows: Iterable[Mapping[str, Any]], zone: dt.tzinfo, first_ms: int | None, last_ms: int | None
) -> tuple[list[DayCost], CostAhead | None, int]:
    """Return the last stated cost of each local day, the newest cost ahead, and how many rows did not parse.

    Args:
        rows: `costs` rows in the order in which they were made.
        zone: of the plant.
        first_ms: start of the first slot held.
        last_ms: end of the last slot held; days not wholly between the two are not whole.
    """
    days: dict[dt.date, DayCost] = {}
    ahead: CostAhead | None = None
    unreadable = 0
    for row in rows:
        try:
            fields = Fields(dict(row), "cost")
            time_ms, scope = fields.integer("time_ms", 0, MAX_TIME_MS), fields.text("scope")
            if scope not in {"today", "next_24h"}:
                continue
            currency, amount = short(fields.text("currency"), 8), _money(fields, "amount")
            low, high = _money(fields, "low"), _money(fields, "high")
            if scope == "next_24h":
                ahead = CostAhead(time_ms, currency, amount, low, high)
                continue
            about_ms = fields.integer("start_ms", 0, MAX_TIME_MS) if "start_ms" in fields else time_ms
            date = to_local(about_ms, zone).date()
            whole = _whole(date, zone, first_ms, last_ms)
            days[date] = DayCost(date, currency, amount, low, high, _lines(fields, currency), whole)
        except RejectedError:
            unreadable += 1
    return [days[date] for date in sorted(days)], ahead, unreadable


def _whole(date: dt.date, zone: dt.tzinfo, first_ms: int | None, last_ms: int | None) -> bool:
    start, end = local_day_bounds_ms(date, zone)
    return first_ms is not None and last_ms is not None and first_ms <= start and last_ms >= end


def parts(days: Sequence[DayCost]) -> list[dict[str, Decimal]]:
    """Return of each day its amounts by period of the tariff, or by kind of charge where demand is billed.

    A peak must not hide among the colours of seven periods.
    """
    by_kind = any(line.kind == "demand" for day in days for line in day.lines)
    result = []
    for day in days:
        found: dict[str, Decimal] = {}
        for line in day.lines:
            name = line.kind if by_kind else line.name
            found[name] = found.get(name, Decimal()) + line.amount
        result.append(found)
    return result


def mean_cost_a_day(days: Sequence[DayCost]) -> tuple[Decimal, str, int] | None:
    """Return mean cost of the whole days in the newest currency, that currency and the number of days, or None."""
    whole = [day for day in days if day.whole and day.currency == days[-1].currency]
    if not whole:
        return None
    return sum((day.amount for day in whole), Decimal()) / len(whole), whole[-1].currency, len(whole)


def read_bill(rows: Iterable[Mapping[str, Any]]) -> tuple[MonthBill | None, int]:
    """Return the newest bill of a month with the range of its end, and how many such rows did not parse.

    Args:
        rows: of the stream `costs`, in the order in which they were made.
    """
    bill: MonthBill | None = None
    ends: dict[int, tuple[Decimal, Decimal, Decimal]] = {}
    unreadable = 0
    for row in rows:
        try:
            fields = Fields(dict(row), "cost")
            if fields.raw("scope") == "month":
                bill = _bill(fields)
            elif fields.raw("scope") == "month_end":
                start_ms = fields.integer("start_ms", 0, MAX_TIME_MS)
                ends[start_ms] = (_money(fields, "amount"), _money(fields, "low"), _money(fields, "high"))
        except RejectedError:
            unreadable += "scope" in row  # without one, `read_costs` has counted it
    return None if bill is None else replace(bill, end=ends.get(bill.start_ms)), unreadable


def read_advice(events: Iterable[Mapping[str, Any]]) -> Advice | None:
    """Return the newest plan that parses."""
    newest = None
    for row in events:
        if row.get("kind") != "plan":
            continue
        try:
            newest = _advice(Fields(dict(row), "plan"))
        except RejectedError:
            continue
    return newest


def _lines(fields: Fields, currency: str) -> tuple[BillLine, ...]:
    if "lines" not in fields:
        return ()
    return tuple(_line(line, currency) for line in fields.children("lines", _MAX_LINES))


def _line(line: Fields, currency: str) -> BillLine:
    quantity, unit = None, "kWh"
    if "energy_wh" in line:
        quantity = Decimal(line.integer("energy_wh", -(10**15), 10**15)) / 1000  # what was fed in is negative
    elif "days" in line:
        quantity, unit = _money(line, "days"), "d"
    elif "unit" in line:
        quantity, unit = _money(line, "quantity"), short(line.text("unit"), 12)
    price = line.raw("price") if "price" in line else None
    return BillLine(
        name=short(line.text("period"), 40),
        kind=_kind(unit, currency),
        quantity=quantity,
        unit=unit,
        price="" if price is None else short(price, 16),
        amount=_money(line, "amount"),
    )


def _kind(unit: str, currency: str) -> str:
    if unit in _DEMAND:
        return "demand"
    if unit in _FIXED:
        return "fixed"
    return "other" if unit == currency else "energy"


def _bill(fields: Fields) -> MonthBill:
    currency = short(fields.text("currency"), 8)
    notes = fields.items("notes", _MAX_LINES) if "notes" in fields else []
    return MonthBill(
        start_ms=fields.integer("start_ms", 0, MAX_TIME_MS),
        end_ms=fields.integer("end_ms", 0, MAX_TIME_MS),
        currency=currency,
        amount=_money(fields, "amount"),
        low=_money(fields, "low"),
        high=_money(fields, "high"),
        lines=_lines(fields, currency),
        notes=tuple(short(note) for note in notes),
    )


def _advice(fields: Fields) -> Advice:
    return Advice(
        time_ms=fields.integer("time_ms", 0, MAX_TIME_MS),
        start_ms=fields.integer("start_ms", 0, MAX_TIME_MS),
        end_ms=fields.integer("end_ms", 0, MAX_TIME_MS),
        currency=short(fields.text("currency"), 8),
        cost=fields.number("cost", -1e12, 1e12),
        cost_of_nothing=fields.number("cost_of_nothing", -1e12, 1e12),
        left_over=fields.number("left_over", -1e12, 1e12) if "left_over" in fields else 0.0,
        saving=fields.number("saving", -1e12, 1e12),
        by=planner_told(short(fields.text("source"), 20)),
        text=short(fields.text("text", max_length=65_536)),
    )


def _money(fields: Fields, name: str) -> Decimal:
    try:
        amount = Decimal(fields.text(name, max_length=32))
    except InvalidOperation:
        fields.fail(name, "is not decimal text")
    if not amount.is_finite() or abs(amount) > _MONEY_LIMIT:
        fields.fail(name, "is out of range")
    return amount
