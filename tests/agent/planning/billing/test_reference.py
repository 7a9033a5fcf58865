"""The engine against a slow reference that walks minute by minute along the wall clock, around changes of the clocks."""

from __future__ import annotations

import datetime as dt
import random
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from agent.planning.billing.bill import bill
from tests.support.billing import slots, tariff

# Days on which or after which the clocks change, none within two days of a month's end. Lord Howe moves by half an hour.
PLACES = {
    "Europe/Berlin": ((2026, 3, 23), (2026, 10, 21)),
    "America/Los_Angeles": ((2026, 3, 4), (2026, 11, 1)),
    "Australia/Lord_Howe": ((2026, 4, 1), (2026, 10, 1)),
    "Asia/Kathmandu": ((2026, 4, 1),),
}
MINUTE_MS = 60_000


def rules(zone, begin, end, interval):
    return tariff(
        f"""
[[period]]
name = "day"
price_per_kwh = 0.3
weekdays = ["mon", "tue", "wed", "thu", "fri", "sun"]
from = "{begin // 60:02}:{begin % 60:02}"
to = "{end // 60:02}:{end % 60:02}"
[[period]]
name = "rest"
price_per_kwh = 0.1
[[demand]]
name = "demand"
price_per_kw = 10
interval_minutes = {interval}
periods = ["day"]
""",
        zone=zone,
    )


@pytest.mark.parametrize("seed", range(12))
def test_energy_by_period_and_demand_are_those_of_a_walk_along_the_wall_clock(seed):
    rng = random.Random(seed)
    zone = sorted(PLACES)[seed % len(PLACES)]
    first = dt.date(*rng.choice(PLACES[zone])) + dt.timedelta(days=rng.randrange(6))
    start_ms = round(dt.datetime.combine(first, dt.time(), ZoneInfo(zone)).timestamp() * 1000)
    length_s, interval = rng.choice([300, 600, 900]), rng.choice([15, 30, 60])
    energies = [rng.randrange(-2000, 90_000) for _ in range(50 * 3600 // length_s)]
    begin = rng.randrange(1431)
    end = rng.randrange(begin + 1, 1441)
    aligned = start_ms - start_ms % (length_s * 1000)
    load = slots(aligned, energies, length_s)
    end_ms = load[-1].end_ms
    energy = {"day": Fraction(0), "rest": Fraction(0)}
    intervals: list[list] = []  # [key, offset, counts, minutes, Wh]
    for at_ms in range(start_ms, end_ms, MINUTE_MS):
        local = dt.datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone))
        minute = local.hour * 60 + local.minute
        is_day = local.weekday() != 5 and begin <= minute < end
        share = Fraction(max(0, energies[(at_ms - aligned) // (length_s * 1000)]) * 60, length_s)
        energy["day" if is_day else "rest"] += share
        key = local.toordinal(), minute // interval, local.utcoffset()
        if not intervals or intervals[-1][0] != key:
            intervals.append([key, is_day, 0, Fraction(0)])
        intervals[-1][2] += 1
        intervals[-1][3] += share
    last = dt.datetime.fromtimestamp(end_ms / 1000, ZoneInfo(zone))
    if (last.hour * 60 + last.minute) % interval:
        intervals.pop()  # not over yet
    kw = max((wh * 60 / minutes / 1000 for _, counts, minutes, wh in intervals if counts), default=Fraction(0))
    found = {
        line.period: line for line in bill(rules(zone, begin, end, interval), load, span_ms=(start_ms, end_ms)).lines
    }
    for name, exact in energy.items():
        assert abs(found[name].energy_wh - exact) <= 1
    assert abs(Fraction(found["demand"].quantity) - kw) <= Fraction(1, 2000)
