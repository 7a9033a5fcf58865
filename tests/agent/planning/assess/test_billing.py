import dataclasses
import datetime as dt
from decimal import Decimal

import pytest

from agent.contract.errors import ConfigError
from agent.contract.zones import parse_zone
from agent.planning.assess.billing import bill_load, published_values, year_of_slots
from agent.planning.assess.case import BilledLoad, Published

FLAT = """
name = "flat"
zone = "Europe/Berlin"
currency = "EUR"
fixed_per_day = 1.00
[[period]]
name = "day"
price_per_kwh = 0.30
from = "06:00"
to = "18:00"
[[period]]
name = "night"
price_per_kwh = 0.10
"""
PUBLISHED = {
    "battery_capacity_kwh": 1000.0,
    "insolation_kwh_per_m2_day": 1.0,
    "reduction_h_per_kwh": 0.0,
    "unused_share": 0.5,
    "non_renewable_kwh": 10.0,
    "stop_time_h": 2.0,
}


@pytest.fixture
def load(tmp_path):
    (tmp_path / "tariff.toml").write_text(FLAT)
    day = tuple(100.0 if 6 <= hour < 18 else 10.0 for hour in range(24))
    return BilledLoad(tariff=tmp_path / "tariff.toml", year=2026, workday_kw=day)


def test_a_year_of_the_mean_day_is_billed_by_the_plants_own_tariff(load):
    made = bill_load(load, "EUR")
    # 365 days of 12 h x 100 kW by day; nights of 12 h x 10 kW: the day of 23 hours and that of 25 cancel.
    amounts = {line.period: line.amount for line in made.bill.lines}
    assert amounts == {
        "day": Decimal("131400.00"),  # 438,000 kWh x 0.30
        "night": Decimal("4380.00"),  # 43,800 kWh x 0.10
        "fixed": Decimal("365.00"),
    }
    assert made.bill.total == sum(amounts.values())
    assert made.imported_kwh == pytest.approx(481_800)
    assert made.mean_price_per_kwh == pytest.approx(136_145 / 481_800)
    assert made.bill.low == made.bill.high == made.bill.total


def test_weekends_have_a_day_of_their_own_and_days_are_local(load):
    load = BilledLoad(tariff=load.tariff, year=2026, workday_kw=load.workday_kw, weekend_kw=(0.0,) * 24)
    slots = {slot.start_ms: slot for slot in year_of_slots(load, parse_zone("Europe/Berlin"))}
    at = lambda *when: round(dt.datetime(*when, tzinfo=parse_zone("Europe/Berlin")).timestamp() * 1000)  # noqa: E731
    assert slots[at(2026, 1, 3, 12)].energy_wh == 0  # a Saturday
    assert slots[at(2026, 1, 5, 6)].energy_wh == 25_000
    assert slots[at(2026, 7, 6, 6)].energy_wh == 25_000  # in summer too
    assert slots[at(2026, 7, 6, 5)].energy_wh == 2500
    assert min(slots) == at(2026, 1, 1)
    assert max(slots) == at(2027, 1, 1) - 900_000


def test_slots_that_were_measured_are_billed_in_place_of_the_mean_day(load):
    slots = year_of_slots(load, parse_zone("Europe/Berlin"))[:96]
    made = bill_load(load, "EUR", slots)
    assert made.bill.total == Decimal("360.00") + Decimal("12.00") + Decimal("1.00")


REACTIVE = """
[[meter]]
name = "reactive"
carrier = "reactive"
unit = "kvarh"
[[meter]]
name = "gas"
carrier = "gas"
unit = "m3"
[[energy]]
name = "reactive"
meter = "reactive"
price = 0.01
[[energy]]
name = "gas"
meter = "gas"
price = 0.5
"""


def test_reactive_energy_follows_from_the_power_factor_and_what_is_not_known_is_said(load):
    load.tariff.write_text(FLAT + REACTIVE)
    slots = year_of_slots(load, parse_zone("Europe/Berlin"))[:96]
    made = bill_load(dataclasses.replace(load, power_factor=0.8), "EUR", slots)
    # 0.6 / 0.8 = 0.75 kvarh a kWh: of 1320 kWh 990, at 0.01.
    assert {line.period: line.amount for line in made.bill.lines}["reactive"] == Decimal("9.90")
    (note,) = made.bill.notes
    assert "gas" in note


def test_a_tariff_in_another_currency_is_refused(load):
    with pytest.raises(ConfigError, match="is in EUR, and the assessment in AUD"):
        bill_load(load, "AUD")


def test_the_published_formulas_take_the_energy_that_is_billed():
    # 2000 / 1000 x (1 - 1/e) = 1.264241; no resource: 10; 1.264241 / 2 + 2000 = 2000.632121
    made = published_values(Published(**PUBLISHED), 2000.0)
    assert made.predicted_kwh == pytest.approx(1.264241, abs=1e-6)
    assert made.renewable_kwh == 10.0
    assert made.saving_cost_j_per_kwh == pytest.approx(2000.632121, abs=1e-6)


@pytest.mark.parametrize(("name", "bad"), [("battery_capacity_kwh", 0.0), ("unused_share", 1.0), ("stop_time_h", -1.0)])
def test_a_domain_error_names_the_key_of_the_file(name, bad):
    with pytest.raises(ConfigError, match=f"^published.{name}: "):
        published_values(Published(**{**PUBLISHED, name: bad}), 2000.0)
