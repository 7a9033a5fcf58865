"""Bills in words: lines, totals with their range, and notes, from the JSON forms."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from agent.cli.output import table
from agent.contract.zones import parse_zone, to_local

HEAD = ("line", "quantity", "unit", "price", "amount")
_RIGHT = (1, 3, 4)


def lines_table(lines: Iterable[Mapping[str, Any]], currency: str) -> str:
    """The lines of a bill."""
    return table(HEAD, [cells(line, currency) for line in lines], to_right=_RIGHT)


def cells(line: Mapping[str, Any], currency: str) -> tuple[str, str, str, str, str]:
    """Name, quantity, unit, price and amount of a line, as people read them."""
    quantity, unit = measure(line)
    price = line["price"]
    if price is not None and unit == currency:
        price = f"{plain(100 * Decimal(price))} %"
    share = f" x {line['share']}" if "share" in line else ""
    return line["period"], quantity, unit, "-" if price is None else f"{price}{share}", line["amount"]


def measure(line: Mapping[str, Any]) -> tuple[str, str]:
    """Quantity and unit of a line."""
    if "energy_wh" in line:
        return f"{Decimal(line['energy_wh']).scaleb(-3)}", "kWh"
    if "days" in line:
        return line["days"], "d"
    return line["quantity"], line["unit"]


def plain(value: Decimal) -> str:
    """A number without zeros at its end and without an exponent."""
    return f"{value.normalize() + 0:f}"


def amount(row: Mapping[str, Any], currency: str, kind: str = "amount") -> str:
    """A sum, and its range where it has one."""
    span = "" if row["low"] == row["high"] else f" ({row['low']} to {row['high']})"
    return f"{row[kind]} {currency}{span}"


def emitted(row: Mapping[str, Any], label: str = "emissions") -> list[tuple[str, object]]:
    """What the energy of a row emits, where its factors are known."""
    if "kg_co2e" not in row:
        return []
    low, high = row["kg_co2e_low"], row["kg_co2e_high"]
    span = "" if low == high else f" ({low} to {high})"
    market = f"; {row['kg_co2e_market']} by market" if "kg_co2e_market" in row else ""
    return [(label, f"{row['kg_co2e']} kg CO2e{span}{market}")]


def days(start_ms: int, end_ms: int, zone: str) -> str:
    """The local days of a span, and times where it does not begin or end at midnight."""
    info = parse_zone(zone)
    first, end = to_local(start_ms, info), to_local(end_ms, info)
    last = f"{end:%Y-%m-%d %H:%M}" if end.time() != dt.time() else f"{to_local(end_ms - 1, info):%Y-%m-%d}"
    begin = f"{first:%Y-%m-%d %H:%M}" if first.time() != dt.time() else f"{first:%Y-%m-%d}"
    return begin if begin == last else f"{begin} to {last}"


def remarks(notes: Sequence[str]) -> list[str]:
    """What a reader of a bill must know, as a paragraph."""
    return ["\n".join(f"- {note}" for note in notes)] if notes else []


def gaps(row: Mapping[str, Any]) -> list[str]:
    """How many slots of a bill are missing, where some are."""
    missing = row["missing_slots"]
    slots = missing + row["known_slots"] + row.get("forecast_slots", 0)
    return [f"{missing} of {slots} slots are missing: the range holds what they may have cost"] if missing else []
