"""Rows of costs: which span each is of, and what it rests on."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal

import pytest

from agent.contract.errors import ConfigError
from agent.contract.rows import ForecastSource
from agent.contract.slots import FLAG_EMPTY
from agent.contract.tariff.tariff import Tariff
from agent.planning.carbon.reader import parse_factors
from agent.planning.costs import CostWatch
from tests.support.costrows import HOUR_MS, TARIFF, at, by_scope, forecast, hours


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


def test_without_factors_nothing_is_said_of_emissions():
    now = at(2014, 10, 15, 10)
    assert not any("kg_co2e" in row for row in CostWatch(TARIFF).rows(now, hours(at(2014, 10, 15), now), None))
