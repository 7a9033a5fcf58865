"""The range of a bill holds what it may come to, whatever the missing slots, prices and months were."""

from __future__ import annotations

import random
from decimal import Decimal

import numpy as np
import pytest

from agent.contract.tariff.series import PriceSeries
from agent.planning.billing.bill import bill
from tests.support.billing import at, by_line, empty, slots, steady, tariff

HOUR_MS = 3_600_000
MARCH = at(2026, 3, 1), at(2026, 4, 1)
FLAT = '[[energy]]\nname = "grid"\nprice = 0.1\n'
BOTH_SIGNS = """
[[period]]
name = "day"
price_per_kwh = 1
from = "06:00"
to = "18:00"
[[period]]
name = "night"
price_per_kwh = -1
"""
SPOT = '[[energy]]\nname = "spot"\nseries = "x.csv"\nseries_minutes = 60\nmarkup = 0.01\n'


def without(load, *starts_ms):
    return [empty(slot) if slot.start_ms in starts_ms else slot for slot in load]


def prices(start_ms, values):
    """A series by the hour."""
    starts_ms = start_ms + HOUR_MS * np.arange(len(values), dtype=np.int64)
    return {"x.csv": PriceSeries(starts_ms, np.array(values, dtype=np.int64) * 10**8, 3600)}


def test_missing_slots_at_prices_of_both_signs_may_each_have_been_dear_or_cheap():
    day = at(2026, 3, 2)
    load = slots(day, [1000] * 24, 3600)
    found = bill(tariff(BOTH_SIGNS), without(load, day + 3 * HOUR_MS, day + 12 * HOUR_MS))
    assert (found.low, found.total, found.high) == (Decimal("-1.00"), Decimal("0.00"), Decimal("1.00"))


def test_missing_slots_at_dynamic_prices_of_both_signs_may_each_have_been_dear_or_cheap():
    day = at(2026, 3, 2)
    load = without(slots(day, [1000] * 4, 3600), day, day + HOUR_MS)
    found = bill(tariff(SPOT), load, series=prices(day, [5, -5, 0, 0]))
    assert (found.low, found.total, found.high) == (Decimal("-4.97"), Decimal("0.02"), Decimal("5.03"))


def test_a_missing_slot_without_a_price_is_open_in_both():
    day = at(2026, 3, 2)
    load = without(slots(day, [1000] * 4, 3600), day + 2 * HOUR_MS)
    found = bill(tariff(SPOT), load, series=prices(day, [5, -5]))  # of four hours two have no price, one no energy
    assert (found.low, found.total, found.high) == (Decimal("-9.96"), Decimal("0.02"), Decimal("10.04"))


def test_a_missing_slot_may_have_been_idle_where_feeding_in_costs():
    day = at(2026, 3, 2)
    load = without(slots(day, [-1000, 1000, 1000], 3600), day + 2 * HOUR_MS)
    found = bill(tariff("export_price_per_kwh = -0.5\n" + FLAT), load)
    assert (found.low, found.total) == (Decimal("0.60"), Decimal("0.60"))
    assert found.high >= Decimal("1.10")


def test_missing_slots_may_have_had_the_energy_that_makes_the_rest_cheaper():
    """A kWh more has 0.4 kvarh free, and reaches the hours for which the demand's price is lower."""
    body = """
[[meter]]
name = "kvarh"
carrier = "reactive"
unit = "kvarh"
[[energy]]
name = "reactive"
meter = "kvarh"
price = 1
free_share = {of = "main", share = 0.4}
[[demand]]
name = "demand"
price_per_kw = 10
interval_minutes = 60
capacity_kva = 1
reduced = {from_kwh_per_kva = 4, share = 0.5}
"""
    day = at(2026, 3, 1)
    span = day, at(2026, 4, 1)
    load = [*slots(day, [1000] * 5, 3600), *steady(day + 5 * HOUR_MS, span[1], 0, 3600)]
    kvarh = {"kvarh": steady(*span, 1, 3600)}
    truth = bill(tariff(body), load, span_ms=span, meters=kvarh).total
    seen = without(load, day, day + HOUR_MS)
    found = bill(tariff(body), seen, span_ms=span, meters=kvarh, power_range_kw=(0, 100))
    assert found.low <= truth < found.total


def test_a_power_factor_of_missing_kilowatt_hours_is_a_range():
    body = """
[[meter]]
name = "kvarh"
carrier = "reactive"
unit = "kvarh"
[[energy]]
name = "grid"
price = 1
[power_factor]
reactive = "kvarh"
of = "all"
table = [[0.9, 0], [0.0, 100]]
"""
    day = at(2026, 3, 2)
    load, kvarh = slots(day, [1000] * 4, 3600), {"kvarh": slots(day, [1000, 0, 0, 0], 3600)}
    found = bill(tariff(body), without(load, day + 2 * HOUR_MS, day + 3 * HOUR_MS), meters=kvarh)
    assert found.low <= bill(tariff(body), load, meters=kvarh).total == Decimal("4.00")
    assert found.total == Decimal("4.00")  # 2 kWh, and as much again as a penalty
    assert found.high == Decimal("8.00")


@pytest.mark.parametrize(
    ("zone", "length_s", "minutes", "energies", "kw"),
    [
        ("Europe/Berlin", 600, 15, [1000, 2000, 0] * 2, ("4", "8", "12")),  # the 2 kWh may be of the first 15 min
        ("Asia/Kolkata", 3600, 60, [1000, 0, 1000], ("0.5", "0.5", "1")),  # hours of UTC are two halves of local ones
    ],
)
def test_slots_that_lie_in_two_demand_intervals_are_a_range(zone, length_s, minutes, energies, kw):
    rule = f'[[demand]]\nname = "demand"\nprice_per_kw = 1\ninterval_minutes = {minutes}\n'
    start = at(2026, 3, 2, zone=zone)
    first = start - start % (length_s * 1000)
    found = bill(tariff(rule, zone=zone), slots(first, energies, length_s))
    assert (found.low, found.total, found.high) == tuple(Decimal(one).quantize(Decimal("0.01")) for one in kw)
    assert "do not show the demand" in found.notes[0]


@pytest.mark.parametrize("length_s", [300, 900, 1800])
def test_slots_that_lie_in_one_demand_interval_each_show_it_exactly(length_s):
    rule = '[[demand]]\nname = "demand"\nprice_per_kw = 1\ninterval_minutes = 30\n'
    start = at(2026, 3, 2, zone="Asia/Kolkata")
    found = bill(tariff(rule, zone="Asia/Kolkata"), steady(start, start + 3 * HOUR_MS, 7, length_s))
    assert found.low == found.total == found.high == Decimal("7.00")


def test_a_ratchet_on_months_whose_slots_do_not_show_the_demand_is_a_range():
    rule = FLAT + '[[demand]]\nname = "d"\nprice_per_kw = 10\nratchet = {share = 0.8, months = 1}\n'
    load = [*steady(at(2026, 2, 1), MARCH[0], 5, 3600), *steady(*MARCH, 0, 3600)]
    found = bill(tariff(rule), load, span_ms=MARCH)
    assert (found.low, found.total, found.high) == (Decimal("40.00"), Decimal("40.00"), Decimal("160.00"))


def test_slots_that_are_missing_earlier_in_the_year_leave_its_tier_open():
    rule = '[[energy]]\nname = "levy"\ntiers = [{up_to = 3000, price = 1}, {price = 0.1}]\ntiers_per = "year"\n'
    load = steady(at(2026, 1, 1), MARCH[1], 2, 3600)
    lost = range(at(2026, 2, 1), at(2026, 2, 20), HOUR_MS)
    truth = bill(tariff(rule), load, span_ms=MARCH)
    found = bill(tariff(rule), without(load, *lost), span_ms=MARCH)
    assert by_line(truth)["levy.tier-1"] == ("168", "168.00")  # 2832 kWh in January and February
    assert found.low == truth.total < found.total == found.high
    assert found.notes == ("levy: slots of the year so far are missing",)


def test_a_fee_of_a_tier_by_the_year_looks_back_to_its_beginning():
    rule = FLAT + '[[fee]]\nname = "levy"\ntiers = [{up_to = 3000, price = 1}, {price = 0.1}]\ntiers_per = "year"\n'
    found = bill(tariff(rule), steady(at(2026, 1, 1), MARCH[1], 2, 3600), span_ms=MARCH)
    assert by_line(found)["levy.tier-1"] == ("168", "168.00")
    assert (found.low, found.notes) == (found.high, ())


def test_charges_whose_second_meter_has_no_slots_are_left_out_where_that_is_allowed():
    rule = '[[meter]]\nname = "b"\n[[energy]]\nname = "beyond"\nprice = 1\nfree_share = {of = "b", share = 1}\n'
    found = bill(tariff(FLAT + rule), slots(at(2026, 3, 2), [1000] * 4), partial=True)
    assert by_line(found) == {"grid": ("4", "0.40")}
    assert found.notes == ("beyond: left out, there are no slots of meter b",)


def test_the_range_holds_the_truth_at_any_prices():
    rng = random.Random(5)
    for _ in range(30):
        day, night, fed, percent = (f"{rng.uniform(-1, 1):.2f}" for _ in range(4))
        calendar = BOTH_SIGNS.replace("= -1\n", f"= {night}\n").replace("= 1\n", f"= {day}\n")
        body = f"export_price_per_kwh = {fed}\n{calendar}"
        body += '[[demand]]\nname = "demand"\nprice_per_kw = 0.3\n[[fee]]\nname = "vat"\nof = "all"\n'
        rules = tariff(f"{body}percent = {percent}\n")
        load = slots(at(2026, 3, 2, 3), [rng.randrange(-2000, 5000) for _ in range(24)])
        seen = without(load, *rng.sample([slot.start_ms for slot in load], 12))
        powers = [slot.energy_wh / 250 for slot in load]
        found = bill(rules, seen, power_range_kw=(min(powers), max(powers)))
        slack = Decimal("0.04")  # rounding of up to five lines
        assert found.low - slack <= bill(rules, load).total <= found.high + slack
        assert found.low <= found.total <= found.high
