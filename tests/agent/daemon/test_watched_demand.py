"""Which demand the rules are given: of the month, of the tariff's charges, and when it is a target."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from pathlib import Path

import pytest

from agent.config import parse
from agent.contract.tariff.tariff import Tariff
from agent.daemon.alerting import make_rules
from tests.support.set_clocks import MINUTE_MS
from tests.support.stores import T0
from tests.support.watched import CONFIG, DAY_MS, HOUR_MS, Plant, config

TARIFF = """
name = "two demands"
zone = "Europe/Berlin"
currency = "EUR"
billing_day = 5
[[period]]
name = "energy-price"
price_per_kwh = 0.2
[[demand]]
name = "day"
interval_minutes = 15
price_per_kw = 10
weekdays = ["mon", "tue", "wed", "thu", "fri"]
from = "08:00"
to = "20:00"
[[demand]]
name = "any"
interval_minutes = 60
price_per_kw = 3
free_kw = 130
[[fee]]
name = "vat"
percent = 20
of = "all"
"""


def test_a_forecast_alone_is_no_demand_to_be_alarmed_by(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.close(0, 100.0)
    plant.forecast(1, 900.0)
    demand = plant.observe(T0 + 20 * MINUTE_MS).demand
    assert demand is not None
    assert (demand.rest_kw, demand.predicted_kw) == (900.0, None)


def test_without_a_target_the_peak_so_far_is_one_only_after_the_months_first_days(tmp_path: Path) -> None:
    settings = config()
    settings = dataclasses.replace(settings, peak=dataclasses.replace(settings.peak, target_kw=None))
    plant = Plant(tmp_path, settings)
    plant.close(0, 100.0)
    plant.now_ms = T0 + 2 * DAY_MS
    plant.read(5, 300.0)
    early = plant.observe().demand
    plant.now_ms = T0 + 4 * DAY_MS
    plant.read(5, 300.0)
    late = plant.observe().demand
    assert early is not None
    assert late is not None
    assert (early.target_kw, late.target_kw) == (None, 100.0)


def test_after_holidays_at_a_months_begin_its_peak_so_far_is_no_target_yet(tmp_path: Path) -> None:
    settings = config()
    settings = dataclasses.replace(settings, peak=dataclasses.replace(settings.peak, target_kw=None))
    plant = Plant(tmp_path, settings)
    for number, kw in ((-96, 800.0), (0, 50.0)):
        plant.close(number, kw)
    plant.now_ms = T0 + 4 * DAY_MS
    plant.read(5, 300.0)
    first = plant.observe().demand
    plant.close(380, 700.0)
    usual = plant.observe().demand
    assert first is not None
    assert usual is not None
    assert (first.target_kw, usual.target_kw) == (None, 700.0)


def test_the_tariffs_demand_charges_are_watched_each_in_its_window_and_at_its_price(tmp_path: Path) -> None:
    settings = config()
    settings = dataclasses.replace(settings, peak=dataclasses.replace(settings.peak, target_kw=None))
    plant = Plant(tmp_path, settings, Tariff.from_toml(TARIFF))
    for number in range(4 * 96):  # from Thursday, 1 January 2026, one o'clock in Berlin
        hour, day = (number // 4 + 1) % 24, (number // 4 + 1) // 24
        plant.close(number, 100.0 + hour + (50 if day >= 2 else 0))
    plant.now_ms = T0 + 4 * DAY_MS - 3 * HOUR_MS // 2
    plant.read(1, 90.0)
    day, any_ = plant.watching.peaks.told(plant.now_ms)
    assert [(told["name"], told["interval_s"], told["per_kw"]) for told in (day, any_)] == [
        ("day", 900, pytest.approx(12.0)),
        ("any", 3600, pytest.approx(3.6)),
    ]
    assert (day["currency"], any_["free_kw"]) == ("EUR", 130.0)
    assert (day["month_peak"]["kw"], day["month_peak"]["known"]) == (119.0, 2 * 48)  # the weekend does not count
    assert day["month_peak"]["start_ms"] == T0 + 18 * HOUR_MS
    assert any_["month_peak"]["kw"] == 173.0
    assert (day["interval"]["counts"], day["interval"]["target_kw"]) == (False, None)
    assert any_["interval"]["target_kw"] == 173.0
    plant.now_ms = T0 + 4 * DAY_MS  # another billing month: one hour of it is over
    plant.read(1, 90.0)
    day, any_ = plant.watching.peaks.told(plant.now_ms)
    assert (day["month_peak"]["kw"], any_["month_peak"]["kw"], any_["month_peak"]["known"]) == (None, 150.0, 1)


def test_the_demand_is_watched_in_the_month_in_which_the_tariff_begins(tmp_path: Path) -> None:
    tariff = Tariff.from_toml(TARIFF.replace("zone = ", "valid_from = 2026-01-02\nzone = "))
    plant = Plant(tmp_path, tariff=tariff)  # of the billing month from 5 December on only its last three days
    for number in range(2 * 96):  # from Thursday, 1 January, one o'clock
        plant.close(number, 500.0 if number < 92 else 100.0)
    plant.now_ms = T0 + 2 * DAY_MS
    plant.read(1, 90.0)
    day, any_ = plant.watching.peaks.told(plant.now_ms)
    assert (day["name"], day["per_kw"]) == ("day", pytest.approx(12.0 * 3 / 31))
    assert (day["month_peak"]["kw"], any_["month_peak"]["kw"]) == (100.0, 100.0)


def test_a_ratchet_and_a_price_by_the_year_count_the_demand_of_earlier_months(tmp_path: Path) -> None:
    tariff = TARIFF.replace("billing_day = 5\n", "").replace("free_kw = 130", "ratchet = {share = 0.5, months = 2}")
    tariff = tariff.replace(
        'name = "day"', 'name = "day"\nper = "year"\nearlier_kw = {"2025-12" = 900, "2026-01" = 160}'
    )
    settings = config()
    settings = dataclasses.replace(settings, peak=dataclasses.replace(settings.peak, target_kw=None))
    plant = Plant(tmp_path, settings, Tariff.from_toml(tariff))
    plant.now_ms = T0 + 40 * DAY_MS + 9 * HOUR_MS  # a Tuesday of February, ten o'clock
    plant.read(3, 90.0)
    earlier = {"day": {"2026-01": Decimal(170)}, "any": {"2025-12": Decimal(500), "2025-11": Decimal(1000)}}
    plant.watching.costed([], earlier, plant.now_ms)
    day, any_ = plant.watching.peaks.told(plant.now_ms)
    assert (day["free_kw"], any_["free_kw"]) == (170.0, 250.0)
    assert (day["interval"]["target_kw"], any_["interval"]["target_kw"]) == (170.0, 250.0)
    assert day["interval"]["energy_kwh"] == pytest.approx(90 * 3 / 60)


def test_a_tariff_with_demand_charges_asks_for_the_alarm_of_the_moment() -> None:
    least = parse(CONFIG.partition("[alerts")[0], folder=Path("/"))
    assert "peak-now" in {rule.name for rule in make_rules(least, Tariff.from_toml(TARIFF))}
