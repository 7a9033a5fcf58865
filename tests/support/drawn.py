"""Series drawn with a pencil: a base, and exceptions by wall clock, on quarter-hours.

[meter.main]              # kW; other meters: units of the meter an hour
base = 200
[[meter.main.when]]             # of several that hold the last one counts
days = ["mon", "tue"]     # and dates, from, to: each may be left out
from = "08:00"
to = "18:00"
is = 300                  # or "missing"
"""

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

from agent.contract.slots import FLAG_EMPTY, Slot

QUARTER_MS = 900_000
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def bounds_ms(drawn: dict, zone: ZoneInfo) -> tuple[int, int]:
    """The instants at which the dates `from` and `to` begin."""
    days = (dt.datetime.combine(drawn[key], dt.time(), zone) for key in ("from", "to"))
    start, end = (round(day.timestamp() * 1000) for day in days)
    return start, end


def quarters(series: dict, zone: ZoneInfo, start_ms: int, end_ms: int) -> dict[int, Decimal | None]:
    """The value of each quarter-hour by its start; None where it is missing."""
    return {
        at: _value(series, dt.datetime.fromtimestamp(at / 1000, zone)) for at in range(start_ms, end_ms, QUARTER_MS)
    }


def slots(series: dict, zone: ZoneInfo, start_ms: int, end_ms: int) -> list[Slot]:
    """Slots of a meter: thousandths of its unit (Wh of kWh)."""
    return [
        Slot(at, 900, 0, None, 0.0, (FLAG_EMPTY,)) if kw is None else Slot(at, 900, int(kw * 250), float(kw), 1.0)
        for at, kw in quarters(series, zone, start_ms, end_ms).items()
    ]


def _value(series: dict, local: dt.datetime) -> Decimal | None:
    held = [rule["is"] for rule in series.get("when", ()) if _holds(rule, local)]
    value = held[-1] if held else series["base"]
    return None if value == "missing" else Decimal(value)


def _holds(rule: dict, local: dt.datetime) -> bool:
    clock = f"{local:%H:%M}"
    return (
        DAYS[local.weekday()] in rule.get("days", DAYS)
        and local.date() in rule.get("dates", (local.date(),))
        and rule.get("from", "00:00") <= clock < rule.get("to", "24:00")
    )
