"""The month at its end, and what is likely beyond the prices that the market has told."""

from __future__ import annotations

import dataclasses
import datetime as dt
from decimal import Decimal

from agent.contract.tariff.tariff import Tariff
from agent.planning.costs import CostWatch
from tests.support.costrows import HOUR_MS, at, by_scope, forecast, hours


def test_the_month_at_its_end_is_measured_then_forecast_then_like_earlier_days():
    now = at(2014, 10, 15, 10)
    before = hours(at(2014, 9, 15), now, kw=4.0)
    # Of Saturdays one was at 6 kW.
    saturday = range(at(2014, 10, 11), at(2014, 10, 12), HOUR_MS)
    slots = [
        dataclasses.replace(slot, energy_wh=6000, power_kw=6.0) if slot.start_ms in saturday else slot
        for slot in before
    ]
    row = by_scope(now, slots, forecast(now))["month_end"]
    assert (row["start_ms"], row["end_ms"]) == (at(2014, 10, 1), at(2014, 11, 1))
    assert (row["known_slots"], row["forecast_slots"], row["profiled_slots"]) == (345, 398, 374)
    # 345 h at 4 kW, a day of them at 6; 24 h at 8 (4 to 16); 374 h at 4, of which two Saturdays may be at 6.
    assert (row["amount"], row["low"], row["high"]) == ("779.00", "755.00", "851.00")
    assert "lines" not in row


def test_the_month_at_its_end_lacks_nothing_where_midnight_lies_within_a_slot():
    text = 'name = "flat"\nzone = "Asia/Kolkata"\ncurrency = "INR"\n[[energy]]\nname = "flat"\nprice = 0.25\n'
    first, now = (round(dt.datetime(2026, 4, day, tzinfo=dt.UTC).timestamp() * 1000) for day in (1, 10))
    rows = CostWatch(Tariff.from_toml(text)).rows(now, hours(first - 24 * HOUR_MS, now), None)
    end = next(row for row in rows if row["scope"] == "month_end")
    assert (end["missing_slots"], end["amount"], end["low"], end["high"]) == (0, "720.00", "720.00", "720.00")


def test_the_month_at_its_end_needs_a_day_that_is_known():
    now = at(2014, 10, 15, 10)
    assert "month_end" not in by_scope(now, hours(now - 23 * HOUR_MS, now), forecast(now))
    assert "month_end" in by_scope(now, hours(now - 24 * HOUR_MS, now), None)


def test_prices_of_a_fee_beyond_the_market_are_like_the_days_before_too(tmp_path):
    day = dt.date(2014, 10, 1)
    starts = [at(day.year, day.month, day.day) + hour * HOUR_MS for hour in range(24 * 4)]
    lines = [f"{dt.datetime.fromtimestamp(start / 1000, dt.UTC).isoformat()},0.5" for start in starts]
    (tmp_path / "x.csv").write_text("start,price\n" + "\n".join(lines) + "\n")
    text = 'name = "new"\nzone = "Australia/Melbourne"\ncurrency = "AUD"\n[[energy]]\nname = "flat"\nprice = 0\n'
    fee = '[[fee]]\nname = "levy"\nseries = "x.csv"\nseries_minutes = 60\nmissing_between = [0.4, 0.6]\n'
    (tmp_path / "tariff.toml").write_text(text + fee)
    now = at(2014, 10, 4)
    rows = CostWatch(Tariff.load(tmp_path / "tariff.toml")).rows(now, hours(at(2014, 10, 1), now), None)
    end = next(row for row in rows if row["scope"] == "month_end")
    assert Decimal(end["amount"]) == Decimal("1486.00")  # 743 hours of 4 kW


def test_prices_beyond_the_market_are_like_the_days_before_at_the_end_of_the_month(tmp_path):
    (tmp_path / "tariff.toml").write_text("""
name = "spot"
zone = "Australia/Melbourne"
currency = "AUD"
[[energy]]
name = "spot"
series = "market.csv"
series_minutes = 60
missing_between = [0, 1]
""")
    hours_of = range(at(2014, 10, 30), at(2014, 10, 31), HOUR_MS)
    rows = [f"{dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).isoformat()},0.5" for at_ms in hours_of]
    (tmp_path / "market.csv").write_text("\n".join(["start,price", *rows]))
    watch = CostWatch(Tariff.load(tmp_path / "tariff.toml"))
    now = at(2014, 10, 31)
    slots = hours(at(2014, 10, 30), now)
    (row,) = [row for row in watch.rows(now, slots, forecast(now)) if row["scope"] == "month_end"]
    # 96 kWh at 0.5, and 24 h at 8 kW (4 to 16) at 0.5, or at 0 to 1
    assert (row["amount"], row["low"], row["high"]) == ("144.00", "48.00", "432.00")
    assert row["notes"] == ["spot: 1440 min have no price in market.csv"]


def test_at_midnight_nothing_is_told_of_the_new_day_yet():
    tariff = Tariff.from_toml("""
name = "demand"
zone = "Australia/Melbourne"
currency = "AUD"
[[period]]
name = "flat"
price_per_kwh = 0.25
[[demand]]
name = "demand"
price_per_kw = 1
interval_minutes = 60
""")
    start, now = at(2014, 10, 1), at(2014, 10, 15)
    rows = CostWatch(tariff).rows(now, hours(start, now), None)
    assert [row["scope"] for row in rows] == ["month", "month_end"]
