from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from agent.contract.errors import ConfigError
from agent.contract.rows import Forecast, ForecastSource
from agent.contract.slots import FLAG_EMPTY, Slot
from agent.contract.tariff.tariff import Tariff
from agent.daemon.forecasting import Costs
from agent.daemon.history import History
from agent.planning.carbon.reader import parse_factors
from agent.planning.costs import CostWatch
from tests.support.forecasts import peaks_of

ZONE = ZoneInfo("Australia/Melbourne")
TARIFF = Tariff.from_toml("""
name = "flat"
zone = "Australia/Melbourne"
currency = "AUD"
[[period]]
name = "flat"
price_per_kwh = 0.25
""")
HOUR_MS = 3_600_000


def at(*args) -> int:
    return round(dt.datetime(*args, tzinfo=ZONE).timestamp() * 1000)


def hours(start_ms, end_ms, kw=4.0):
    return [Slot(start, 3600, round(kw * 1000), kw, 1.0) for start in range(start_ms, end_ms, HOUR_MS)]


def forecast(origin_ms, steps=24, kw=8.0, source=ForecastSource.ACTIVE, slot_s=3600):
    power_kw = np.tile([kw / 2, kw, kw * 2], (steps, 1))
    return Forecast(origin_ms, slot_s, (0.1, 0.5, 0.9), power_kw, peaks_of(power_kw, slot_s), source, "m@1")


def by_scope(now_ms, slots, ahead):
    rows = CostWatch(TARIFF).rows(now_ms, slots, ahead)
    assert len({row["scope"] for row in rows}) == len(rows)
    json.dumps(rows)  # rows are JSON, money is text
    for row in rows:
        assert row["time_ms"] == now_ms
        assert Decimal(row["low"]) <= Decimal(row["amount"]) <= Decimal(row["high"])
        if row["scope"] != "month_end":
            assert sum(Decimal(line["amount"]) for line in row["lines"]) == Decimal(row["amount"])
    return {row["scope"]: row for row in rows}


def test_today_is_measured_so_far_and_forecast_for_the_rest():
    now = at(2014, 10, 15, 10)
    rows = by_scope(now, hours(at(2014, 10, 1), now), forecast(now))
    assert rows["today"]["so_far"] == "10.00"
    assert rows["today"]["amount"] == "38.00"  # 10 h x 1.00 and 14 h x 2.00
    assert (rows["today"]["low"], rows["today"]["high"]) == ("24.00", "66.00")
    assert (rows["today"]["start_ms"], rows["today"]["end_ms"]) == (at(2014, 10, 15), at(2014, 10, 16))
    assert (rows["today"]["known_slots"], rows["today"]["forecast_slots"]) == (10, 14)


def test_month_is_measured_only():
    now = at(2014, 10, 15, 10)
    # October's first Sunday has 23 hours: 14 days and 10 hours less one hour.
    month = by_scope(now, hours(at(2014, 9, 20), now), forecast(now))["month"]
    assert month["amount"] == month["low"] == month["high"] == "345.00"
    assert (month["start_ms"], month["end_ms"], month["known_slots"]) == (at(2014, 10, 1), now, 345)


def test_next_24h_is_forecast_only_and_flags_a_fallback():
    now = at(2014, 10, 15, 10)
    ahead = by_scope(now, hours(at(2014, 10, 1), now), forecast(now, source=ForecastSource.NAIVE))["next_24h"]
    assert (ahead["amount"], ahead["low"], ahead["high"]) == ("48.00", "24.00", "96.00")
    assert (ahead["source"], ahead["model"], ahead["known_slots"]) == ("naive", "m@1", 0)


def test_an_older_forecast_is_used_from_now_on():
    now = at(2014, 10, 15, 10)
    rows = by_scope(now, hours(at(2014, 10, 15), now), forecast(now - 3 * HOUR_MS))
    assert rows["next_24h"]["end_ms"] == now + 21 * HOUR_MS
    assert rows["next_24h"]["amount"] == "42.00"
    assert rows["today"]["amount"] == "38.00"


def test_a_forecast_never_stands_in_for_slots_that_are_over():
    now = at(2014, 10, 15, 10)
    slots = hours(at(2014, 10, 15), now)
    slots[8] = dataclasses.replace(slots[8], energy_wh=0, power_kw=None, completeness=0.0, flags=(FLAG_EMPTY,))
    today = by_scope(now, slots, forecast(now - 3 * HOUR_MS))["today"]
    assert (today["so_far"], today["missing_slots"], today["forecast_slots"]) == ("9.00", 1, 14)
    assert today["amount"] == "37.00"
    assert today["high"] == "66.00"


def test_a_longer_horizon_is_cut_at_24_hours():
    now = at(2014, 10, 15, 10)
    assert by_scope(now, hours(at(2014, 10, 15), now), forecast(now, steps=48))["next_24h"]["amount"] == "48.00"


def test_without_a_forecast_today_is_what_was_measured():
    now = at(2014, 10, 15, 10)
    rows = by_scope(now, hours(at(2014, 10, 15), now), None)
    assert set(rows) == {"today", "month"}
    assert rows["today"]["amount"] == rows["today"]["so_far"] == "10.00"
    assert "source" not in rows["today"]


def test_without_slots_only_the_next_hours_can_be_told():
    now = at(2014, 10, 15, 10)
    assert set(by_scope(now, [], forecast(now))) == {"next_24h"}
    assert by_scope(now, [], None) == {}


def test_nothing_is_owed_for_days_before_the_plant_was_connected():
    now = at(2014, 10, 15, 10)
    month = by_scope(now, hours(at(2014, 10, 14), now), None)["month"]
    assert (month["amount"], month["missing_slots"], month["start_ms"]) == ("34.00", 0, at(2014, 10, 14))


def test_nothing_is_billed_before_the_tariff_begins():
    text = 'name = "new"\nzone = "Australia/Melbourne"\ncurrency = "AUD"\nvalid_from = 2014-10-14\n'
    watch = CostWatch(Tariff.from_toml(text + '[[energy]]\nname = "flat"\nprice = 0.25\n'))
    now = at(2014, 10, 15, 10)
    rows = {row["scope"]: row for row in watch.rows(now, hours(at(2014, 10, 1), now), forecast(now))}
    assert (rows["month"]["amount"], rows["month"]["start_ms"]) == ("34.00", at(2014, 10, 14))
    assert set(rows) == {"today", "month", "month_end", "next_24h"}


def test_at_midnight_the_new_day_is_all_forecast():
    now = at(2014, 10, 16)
    today = by_scope(now, hours(at(2014, 10, 15), now), forecast(now))["today"]
    assert (today["so_far"], today["amount"], today["known_slots"], today["forecast_slots"]) == ("0.00", "48.00", 0, 24)


@pytest.mark.parametrize(("day", "count"), [((2014, 10, 5), 23), ((2014, 10, 6), 24), ((2014, 4, 6), 25)])
def test_a_day_on_which_the_clocks_change_has_its_own_length(day, count):
    now = at(*day)
    today = by_scope(now, hours(now - 24 * HOUR_MS, now), forecast(now, steps=30))["today"]
    assert today["forecast_slots"] == count
    assert Decimal(today["amount"]) == 2 * count


def test_slots_that_stayed_empty_from_the_start_tell_nothing():
    now = at(2014, 10, 15, 2)
    slots = [
        dataclasses.replace(slot, energy_wh=0, power_kw=None, completeness=0.0) for slot in hours(at(2014, 10, 15), now)
    ]
    assert set(by_scope(now, slots, forecast(now))) == {"next_24h"}


def test_a_slot_that_is_not_over_yet_is_left_out():
    now = at(2014, 10, 15, 10) + HOUR_MS // 2
    rows = by_scope(now, hours(at(2014, 10, 15), at(2014, 10, 15, 11)), None)
    assert rows["today"]["amount"] == "10.00"


def test_rejects_a_forecast_of_another_slot_length():
    now = at(2014, 10, 15, 10)
    with pytest.raises(ConfigError, match="differ in length"):
        CostWatch(TARIFF).rows(now, hours(at(2014, 10, 15), now), forecast(now, slot_s=900))


DEMAND = Tariff.from_toml("""
name = "demand"
zone = "Australia/Melbourne"
currency = "AUD"
[[period]]
name = "flat"
price_per_kwh = 0.25
[[demand]]
name = "demand"
price_per_kw = 10
interval_minutes = 60
ratchet = {share = 0.5, months = 1}
[[fee]]
name = "gst"
percent = 10
of = "all"
""")
EARLIER = {"demand": {"2014-09": Decimal(1)}}


def costs(now_ms, slots, ahead=None, earlier=EARLIER):
    rows = CostWatch(DEMAND, earlier).rows(now_ms, slots, ahead)
    return {row["scope"]: row for row in rows}


def lines(row):
    return {line["period"]: line["amount"] for line in row["lines"]}


def test_a_new_peak_costs_on_the_day_on_which_it_is_set():
    now = at(2014, 10, 15, 10)
    slots = hours(at(2014, 10, 1), now)
    plain = costs(now, slots)["today"]
    assert lines(plain) == {"flat": "10.00", "demand": "0.00", "gst": "1.00"}
    slots[-3] = dataclasses.replace(slots[-3], energy_wh=6000, power_kw=6.0)
    peak = costs(now, slots)["today"]
    assert lines(peak) == {"flat": "10.50", "demand": "20.00", "gst": "3.05"}
    assert peak["amount"] == peak["so_far"] == "33.55"
    assert lines(costs(now, slots)["month"])["demand"] == "60.00"


def test_a_peak_that_is_forecast_costs_in_the_hours_ahead():
    now = at(2014, 10, 15, 10)
    rows = costs(now, hours(at(2014, 10, 1), now), forecast(now))
    # 4 kW so far; 8 kW ahead, at least 4 and at most 16
    assert lines(rows["next_24h"]) == {"flat": "48.00", "demand": "40.00", "gst": "8.80"}
    assert (rows["next_24h"]["low"], rows["next_24h"]["high"]) == ("26.40", "237.60")


def test_the_days_of_a_month_add_up_to_its_bill():
    load = hours(at(2014, 10, 1), at(2014, 11, 1))
    load = [dataclasses.replace(slot, energy_wh=4000 + 37 * index % 997) for index, slot in enumerate(load)]
    watch, marks = CostWatch(DEMAND, EARLIER), [at(2014, 10, day) for day in range(1, 32)] + [at(2014, 11, 1)]
    days = [watch._added(begin, end, load, None).total for begin, end in itertools.pairwise(marks)]
    assert sum(days) == watch._bill(marks[0], marks[-1], load, None).total
    assert len(set(days)) > 20


def test_a_ratchet_rests_on_the_month_before():
    now = at(2014, 10, 15, 10)
    month = costs(now, hours(at(2014, 10, 1), now), earlier={"demand": {"2014-09": Decimal(20)}})["month"]
    assert lines(month)["demand"] == "100.00"
    assert month["low"] == month["high"] == month["amount"]
    unknown = costs(now, hours(at(2014, 10, 1), now), earlier={})["month"]
    assert "not wholly known" in unknown["notes"][0]


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


def test_the_agent_reads_the_demand_of_earlier_months_once_a_month():
    asked = []

    def stored(start_ms, end_ms):
        asked.append((start_ms, end_ms))
        return hours(start_ms, end_ms, kw=20.0)

    history = History(3600, hours(at(2014, 10, 1), at(2014, 10, 15)))
    rooms = Costs(CostWatch(DEMAND), history, stored)
    for hour in (10, 11):
        rows = {row["scope"]: row for row in rooms.rows(at(2014, 10, 15, hour), None)}
        assert lines(rows["month"])["demand"] == "100.00"
    assert asked == [(at(2014, 9, 1), at(2014, 10, 1))]


@pytest.mark.parametrize("kw", [(20.0, 4.0), (4.0, 20.0)], ids=["before it", "after it"])
def test_an_earlier_month_in_which_the_slot_length_was_changed_has_the_higher_demand_of_its_parts(kw):
    start_ms, changed_ms, end_ms = at(2014, 9, 1), at(2014, 9, 12), at(2014, 10, 1)
    after = [Slot(start, 900, round(kw[1] * 250), kw[1], 1.0) for start in range(changed_ms, end_ms, HOUR_MS // 4)]
    stored = [*hours(start_ms, changed_ms, kw=kw[0]), *after]
    history = History(900, [Slot(at(2014, 10, 1), 900, 1000, 4.0, 1.0)])
    rooms = Costs(
        CostWatch(DEMAND), history, lambda *span: [one for one in stored if span[0] <= one.start_ms < span[1]]
    )
    rows = {row["scope"]: row for row in rooms.rows(at(2014, 10, 1, 1), None)}
    assert lines(rows["month"])["demand"] == "100.00"


CARBON = parse_factors("""
name = "test"
zone = "Australia/Melbourne"
[[factor]]
ledger = "scope-2-location"
kg_per_unit = 0.5
[[factor]]
ledger = "scope-2-market"
kg_per_unit = 0.1
""")


def test_beside_every_cost_stands_what_its_energy_emits():
    now = at(2014, 10, 15, 10)
    slots = hours(at(2014, 10, 15), now)
    slots[8] = dataclasses.replace(slots[8], energy_wh=0, power_kw=None, completeness=0.0, flags=(FLAG_EMPTY,))
    rows = {row["scope"]: row for row in CostWatch(TARIFF, factors=CARBON).rows(now, slots, forecast(now))}
    json.dumps(list(rows.values()))
    # 9 hours of 4 kWh are known, one is missing, 14 hours of 8 kWh (4 to 16) are ahead; half a kilogram each.
    assert {scope: (row["kg_co2e_low"], row["kg_co2e"], row["kg_co2e_high"]) for scope, row in rows.items()} == {
        "today": ("46.000", "74.000", "132.000"),
        "month": ("18.000", "18.000", "20.000"),
        "next_24h": ("48.000", "96.000", "192.000"),
    }
    assert rows["next_24h"]["kg_co2e_market"] == "19.200"
    assert [line["ledger"] for line in rows["month"]["emissions"]] == ["scope-2-location", "scope-2-market"]


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


def test_without_factors_nothing_is_said_of_emissions():
    now = at(2014, 10, 15, 10)
    assert not any("kg_co2e" in row for row in CostWatch(TARIFF).rows(now, hours(at(2014, 10, 15), now), None))


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
