"""Prices at the margin against differences of real bills, under the tariffs that are given as examples."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.tariff.tariff import Tariff
from agent.planning.billing.bill import bill
from agent.planning.billing.marginal import marginal_prices
from tests.agent.planning.billing.test_charges import FLAT, prices
from tests.support.billing import at, slots, steady, tariff, with_peak

TARIFFS = Path(__file__).parents[4] / "firmware-configs" / "tariffs"
FRIDAYS = {  # the first of four days
    "us-pge-b19-secondary": (2026, 3, 6),  # the clocks go forward
    "victoria-large-business": (2014, 12, 19),
    "se-sundsvall-day-ahead": (2024, 2, 9),
    "cn-hubei-two-part": (2026, 1, 16),
    "de-malchow-medium-voltage": (2026, 10, 23),  # the clocks go back
}
_BASE_WH, _HIGH_WH = 20_000, 160_000  # a quarter-hour; 640 kW lie above what a contract owes anyway
_ADDED_KWH = 50
_CENTS = 0.05  # each of some lines is rounded


class Days:
    """Four days of a steady load, the first high in every window, so that what is added later sets no peak."""

    def __init__(self, name: str) -> None:
        self.tariff = Tariff.load(TARIFFS / f"{name}.toml")
        friday = dt.date(*FRIDAYS[name])
        self.start_ms, self.high_end_ms = self.tariff.date_bounds_ms(friday)
        end_ms, _ = self.tariff.date_bounds_ms(friday + dt.timedelta(days=4))
        self.steps, self.high = (end_ms - self.start_ms) // 900_000, (self.high_end_ms - self.start_ms) // 900_000
        self.energies = np.full(self.steps, _BASE_WH)
        self.energies[: self.high] = _HIGH_WH
        hours = [day * 24 + hour for day in range(4) for hour in range(24)]
        self.series = {"day-ahead.csv": prices(self.start_ms, [100 + 7 * (hour % 13) for hour in hours])}
        self.marginal = marginal_prices(self.tariff, self.start_ms, 900, self.steps, series=self.series)
        self.plain = self.cost(self.energies)

    def cost(self, energies: np.ndarray) -> float:
        """What they cost, where the power factor adds nothing."""
        rule = self.tariff.versions[-1].power_factor
        # A factor of 0.90 is not adjusted, nor is it left by a change of a few kWh.
        reactive = slots(self.start_ms, (self.energies * (0 if rule is None else 0.484)).astype(int).tolist())
        load = slots(self.start_ms, energies.tolist())
        found = bill(self.tariff, load, meters={"reactive": reactive}, series=self.series)
        return float(found.total)


days_of = lru_cache(Days)


@pytest.mark.parametrize("name", FRIDAYS)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_one_more_kilowatt_hour_costs_its_price_at_the_margin(name, data):
    days = days_of(name)
    step = data.draw(st.sampled_from(np.flatnonzero(~days.marginal.guessed)[days.high :].tolist()))
    more = days.energies.copy()
    more[step] += _ADDED_KWH * 1000
    added = (days.cost(more) - days.plain) / _ADDED_KWH
    assert added == pytest.approx(days.marginal.import_per_kwh[step], abs=_CENTS / _ADDED_KWH)


@pytest.mark.parametrize("name", sorted(FRIDAYS.keys() - {"de-malchow-medium-voltage"}))  # owed by the year
def test_one_more_kilowatt_of_the_peak_costs_its_demand_charges_at_the_margin(name):
    days, added_kw = days_of(name), 40
    for hour in (3, 17, 19):
        more = days.energies.copy()
        more[hour * 4 : hour * 4 + 4] += added_kw * 250
        energy = float(days.marginal.import_per_kwh[hour * 4 : hour * 4 + 4].sum()) * added_kw / 4
        demand = sum(term.per_kw * added_kw for term in days.marginal.demand if term.counts[hour * 4])
        assert days.cost(more) - days.plain == pytest.approx(energy + demand, abs=_CENTS), hour


def test_a_kilowatt_of_the_years_peak_costs_its_price_at_the_margin_over_the_year_whenever_it_is_set():
    body = FLAT + '[[demand]]\nname = "peak"\nprice_per_kw = 120\nper = "year"\ninterval_minutes = 60\n'
    rules = tariff("valid_from = 2026-01-01\n" + body, "valid_from = 2026-03-15\n" + body)  # the same prices go on
    start_ms, end_ms = at(2026, 1, 1), at(2027, 1, 1)
    year = steady(start_ms, end_ms, 100, 3600)
    for date in ((2026, 1, 20), (2026, 3, 10), (2026, 12, 30)):
        low, high = (bill(rules, with_peak(year, at(*date, 12), kw)).total for kw in (200.0, 240.0))
        (term, *_) = marginal_prices(rules, at(*date), 3600, 24).demand
        assert float(high - low) == pytest.approx(40 * term.per_kw + 40 * 0.10, abs=_CENTS)
    known = {"peak": {"2025-12": Decimal(900), "2026-02": Decimal(180)}}
    for date, paid_kw in (((2026, 3, 1), 180), ((2026, 2, 1), 0), ((2026, 1, 1), 0)):
        (term, *_) = marginal_prices(rules, at(*date), 3600, 24, earlier=known).demand
        assert term.free_kw == paid_kw
