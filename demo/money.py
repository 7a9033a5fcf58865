"""What energy costs and what planning is worth in the demonstration, from the rows that reached the centre."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from demo.plants import ZONE

Row = Mapping[str, Any]
_DEMAND_UNITS = ("kW", "kVA")


def month(costs: Sequence[Row]) -> dict[str, Any]:
    """Return the newest bill of the month so far and the range of its end.

    Args:
        costs: rows of the stream `costs`, in the order of their making.
    """
    bill = _newest(costs, "month")
    end = _newest(costs, "month_end")
    lines = [_line(line) for line in bill["lines"]]
    demand = [line for line in lines if line["unit"] in _DEMAND_UNITS]
    return {
        "month_from": _local(bill["start_ms"]),
        "month_until": _local(bill["end_ms"]),
        "month_cost": float(bill["amount"]),
        "month_lines": lines,
        "month_peak_kw": max((line["quantity"] for line in demand), default=0.0),
        "month_peak_cost": float(sum((Decimal(str(line["amount"])) for line in demand), Decimal())),
        "month_end_low": float(end["low"]),
        "month_end_high": float(end["high"]),
    }


def advice(events: Sequence[Row]) -> dict[str, Any]:
    """Return the newest plan, and how many were made by rules; nothing where none was made."""
    plans = [row for row in events if row.get("kind") == "plan"]
    if not plans:
        return {}
    newest, sources = plans[-1], Counter(row["source"] for row in plans)
    return {
        "plan_cost_next_day": newest["cost"],
        "plan_cost_next_day_without": newest["cost_of_nothing"],
        "plan_left_over_next_day": newest.get("left_over", 0.0),
        "plan_saving_next_day": newest["saving"],
        "plan_saving_most": max(row["saving"] for row in plans),
        "plan_source": newest["source"],
        "plans_made": len(plans),
        "plans_by_rules": sources["rules"],
    }


def alerts(rows: Sequence[Row]) -> dict[str, Any]:
    """Return how often alerts of each rule were raised, and how many are open."""
    raised: Counter[str] = Counter(row["rule"] for row in rows if row["state"] == "raised")
    last = {row.get("id", row["rule"]): row["state"] for row in rows if row["state"] not in {"shelved", "unshelved"}}
    return {
        "alerts_raised": sum(raised.values()),
        "alerts_by_rule": dict(sorted(raised.items())),
        "alerts_open": sum(state != "cleared" for state in last.values()),
    }


def adds_up(bill: Mapping[str, Any]) -> bool:
    """Whether the lines of a bill of the summary sum to its total, to the cent."""
    total = sum((Decimal(str(line["amount"])) for line in bill["month_lines"]), Decimal())
    return total == Decimal(str(bill["month_cost"]))


def _newest(costs: Sequence[Row], scope: str) -> Row:
    return next(row for row in reversed(costs) if row["scope"] == scope)


def _line(line: Row) -> dict[str, Any]:
    if "energy_wh" in line:
        quantity, unit = line["energy_wh"] / 1000, "kWh"
    elif "days" in line:
        quantity, unit = float(line["days"]), "d"
    else:
        quantity, unit = float(line["quantity"]), line["unit"]
    return {"line": line["period"], "quantity": quantity, "unit": unit, "amount": float(line["amount"])}


def _local(time_ms: int) -> str:
    return dt.datetime.fromtimestamp(time_ms / 1000, ZoneInfo(ZONE)).isoformat(timespec="minutes")
