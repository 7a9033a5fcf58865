"""What holds of every bill, whatever the load: sums, splitting, time, and the price at the margin."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.planning.billing.bill import bill
from agent.planning.billing.marginal import marginal_prices
from tests.support.billing import QUARTER_MS, at, by_line, empty, slots, tariff

FULL = tariff("""
round_half = "up"
fixed_per_day = 2.40
export_price_per_kwh = 0.05
[seasons]
summer = ["04-01..09-30"]
winter = ["10-01..03-31"]
[[period]]
name = "peak"
price_per_kwh = 0.31
weekdays = ["mon", "tue", "wed", "thu", "fri"]
from = "06:10"
to = "22:00"
[[period]]
name = "rest"
price_per_kwh = 0.2
[[energy]]
name = "grid"
prices = {peak = 0.07, rest = 0.03}
[[energy]]
name = "block"
tiers = [{up_to = 500, price = 0.04}, {price = 0.02}]
[[energy]]
name = "summer-levy"
price = 0.011
seasons = ["summer"]
[[fixed]]
name = "metering"
price = 365
per = "year"
[[demand]]
name = "demand"
price_per_kw = 9.80
interval_minutes = 30
periods = ["peak"]
[[demand]]
name = "contract"
price_per_kw = 1.5
contracted_kw = 900
minimum_share = 0.4
excess_price_per_kw = 3
[[fee]]
name = "levy"
price = 0.0205
[[fee]]
name = "vat"
percent = 19
of = "all"
""")
FIRST = at(2025, 12, 1) // 3_600_000
STARTS = st.integers(FIRST, at(2026, 12, 20) // 3_600_000).map(lambda hour: hour * 3_600_000)
ENERGIES = st.lists(st.integers(-50_000, 2_000_000), min_size=1, max_size=130)
LOADS = st.lists(st.integers(0, 500_000), min_size=1, max_size=60)


@settings(max_examples=30)
@given(start=STARTS, energies=ENERGIES, missing=st.sets(st.integers(0, 129), max_size=5))
def test_lines_sum_to_the_total_and_invoices_to_the_bill(start, energies, missing):
    load = [empty(slot) if index in missing else slot for index, slot in enumerate(slots(start, energies))]
    found = bill(FULL, load, power_range_kw=(-200, 8000))
    for invoice in found.invoices:
        assert invoice.total == sum(line.amount for line in invoice.lines)
    assert found.total == sum(line.amount for line in found.lines) == sum(one.total for one in found.invoices)
    assert found.low <= found.total <= found.high
    assert found.energy_wh == sum(slot.energy_wh for slot in load)


@settings(max_examples=30)
@given(start=STARTS, halves=LOADS, parts=st.sampled_from([2, 3, 6]))
def test_splitting_and_merging_intervals_changes_nothing(start, halves, parts):
    # Energies that split into whole Wh, so that both descriptions are the same energy.
    length_s = 900 if parts == 3 else 1800
    merged = bill(FULL, slots(start, [energy * 6 for energy in halves], length_s))
    split = [energy * 6 // parts for energy in halves for _ in range(parts)]
    assert bill(FULL, slots(start, split, length_s // parts)).lines == merged.lines


@settings(max_examples=30)
@given(day=st.integers(0, 300), energies=ENERGIES)
def test_a_week_later_costs_the_same_under_the_same_calendar(day, energies):
    flat_year = tariff("""
[[period]]
name = "peak"
price_per_kwh = 0.31
weekdays = ["mon", "tue", "wed", "thu", "fri"]
from = "06:10"
to = "22:00"
[[period]]
name = "rest"
price_per_kwh = 0.2
[[demand]]
name = "demand"
price_per_kw = 9.80
periods = ["peak"]
""")
    date = dt.date(2026, 1, 1) + dt.timedelta(days=day)
    week = date + dt.timedelta(days=7)
    spans = [at(*one.timetuple()[:3]) for one in (date, date + dt.timedelta(days=2), week, week + dt.timedelta(days=2))]
    one, other = (
        bill(flat_year, slots(start, energies), span_ms=(start, end), power_range_kw=(0, 0))
        for start, end in (spans[:2], spans[2:])
    )
    # Neither lies over an end of a month or a change of the clocks.
    if spans[1] - spans[0] == spans[3] - spans[2] == 2 * 86_400_000 and len(one.invoices) == len(other.invoices) == 1:
        assert by_line(one) == by_line(other)


@settings(max_examples=30)
@given(start=STARTS, energies=LOADS, where=st.integers(0, 59), more=st.integers(1, 2_000_000))
def test_more_load_never_lowers_an_energy_line_at_positive_prices(start, energies, where, more):
    added = list(energies)
    added[where % len(added)] += more
    before, after = bill(FULL, slots(start, energies)), bill(FULL, slots(start, added))
    grown = {line.period: line for line in after.lines if line.unit == "kWh"}
    for line in before.lines:
        if line.unit == "kWh":
            # Between lines of one charge rounding may move one Wh.
            assert grown[line.period].quantity >= line.quantity - Decimal("0.001")
            assert grown[line.period].amount >= line.amount - Decimal("0.01")
    assert after.total >= before.total


@settings(max_examples=20)
@given(start=STARTS, energies=LOADS, cut=st.integers(0, 60))
def test_a_month_so_far_and_what_is_added_make_the_whole(start, energies, cut):
    load = slots(start, energies)
    whole = bill(FULL, load)
    cut_ms = start + min(cut, len(load)) * QUARTER_MS
    if whole.start_ms < cut_ms < whole.end_ms:
        so_far = bill(FULL, load, span_ms=(start, cut_ms))
        added = whole.after(so_far)
        assert added.total + so_far.total == whole.total
        assert sum(line.amount for line in added.lines) == added.total
        assert added.known_slots + so_far.known_slots == len(load)


@pytest.mark.parametrize("day", [(2026, 3, 29), (2026, 7, 6), (2026, 10, 25), (2026, 12, 31)])
def test_the_price_at_the_margin_is_what_one_more_kilowatt_hour_adds_to_the_bill(day):
    start_ms = at(*day)
    marginal = marginal_prices(FULL, start_ms, 900, 96)
    load = slots(start_ms, [10_000] * 96)
    plain = bill(FULL, load)
    energy = [line.charge for line in plain.lines if line.unit == "kWh"]
    rates = np.zeros(96)
    for step in (0, 9, 24, 25, 40, 87, 88, 92, 95):
        more = slots(start_ms, [10_000 + (1_000_000 if index == step else 0) for index in range(96)])
        found = bill(FULL, more)
        added = sum((after.amount for after in found.lines if after.charge in energy), Decimal(0)) - sum(
            (before.amount for before in plain.lines if before.charge in energy), Decimal(0)
        )
        rates[step] = float(added) / 1000 * 1.19
        tier = 0.02 * 1.19  # of the 1000 kWh more 840 to 500 fall into the second tier
        assert abs(rates[step] - marginal.import_per_kwh[step]) <= tier + 1e-6
    assert np.allclose(marginal.export_per_kwh, 0.05 * 1.19)


def test_demand_at_the_margin_is_what_one_more_kilowatt_adds_to_the_bill():
    start_ms, end_ms = at(2026, 6, 1), at(2026, 7, 1)
    steps = (end_ms - start_ms) // QUARTER_MS
    terms = {term.name: term for term in marginal_prices(FULL, start_ms, 900, steps).demand}
    assert set(terms) == {"demand", "contract", "contract.excess"}
    assert terms["contract"].free_kw == 360
    assert terms["contract.excess"].free_kw == 900

    def demand_cost(kw):
        energies = [50_000] * steps
        energies[96 + 48] = energies[96 + 49] = kw * 250  # half an hour of a Tuesday noon
        found = bill(FULL, slots(start_ms, energies))
        return float(sum((line.amount for line in found.lines if line.unit == "kW"), Decimal(0))) * 1.19

    for low, high, names in ((300, 350, ["demand"]), (400, 500, ["demand", "contract"])):
        expected = sum(terms[name].per_kw for name in names)
        assert abs((demand_cost(high) - demand_cost(low)) / (high - low) - expected) < 1e-3
    assert 0 < terms["demand"].counts.sum() < steps
    assert terms["contract"].counts.all()


def test_a_dynamic_price_that_is_not_known_yet_is_that_of_the_day_before_and_flagged():
    from tests.agent.planning.billing.test_charges import prices

    rules = tariff('[[energy]]\nname = "spot"\nseries = "market.csv"\nseries_minutes = 60\nmarkup = 0.01\n')
    start_ms = at(2026, 6, 1)
    series = prices(start_ms, [0.1 + hour / 100 for hour in range(24)])
    marginal = marginal_prices(rules, start_ms + 12 * 3_600_000, 3600, 24, series={"market.csv": series})
    assert list(marginal.guessed) == [False] * 12 + [True] * 12
    assert np.allclose(marginal.import_per_kwh, [0.11 + hour % 24 / 100 for hour in range(12, 36)])
