"""Emissions by hand and by property: exact lines, ranges for what is missing, ledgers kept apart."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.rows import Forecast, ForecastSource
from agent.planning.carbon.emissions import UNFACTORED, emissions
from agent.planning.carbon.factors import Factors, Ledger
from agent.planning.carbon.reader import parse_factors
from tests.support import billing
from tests.support.billing import at, empty
from tests.support.forecasts import peaks_of

HOUR_MS = 3_600_000
TEXT = """
name = "test"
zone = "Europe/Berlin"
[[factor]]
name = "grid-2025"
ledger = "scope-2-location"
kg_per_unit = 0.4
from = 2025-01-01
to = 2025-12-31
[[factor]]
name = "grid-2026"
ledger = "scope-2-location"
kg_per_unit = 0.3335
from = 2026-01-01
to = 2026-12-31
[[factor]]
name = "contract"
ledger = "scope-2-market"
kg_per_unit = 0.05
[[factor]]
name = "winter"
ledger = "marginal"
kg_per_unit = 0.7
months = [1, 2, 12]
[[factor]]
name = "natural-gas"
carrier = "gas"
unit = "m3"
ledger = "scope-1"
kg_per_unit = 2.04542
"""
FACTORS = parse_factors(TEXT)
slots = partial(billing.slots, length_s=3600)


def of(loads, start_ms, hours, factors: Factors = FACTORS, **more):
    return emissions(factors, loads, span_ms=(start_ms, start_ms + hours * HOUR_MS), **more)


def shown(found):
    return {(str(line.ledger), line.name): (str(line.quantity), str(line.kg)) for line in found.lines}


def test_a_new_year_by_hand():
    start = at(2025, 12, 31, 22)
    found = of({"electricity": slots(start, [1000, 2000, 4000, 501])}, start, 4)
    assert shown(found) == {
        ("scope-2-location", "grid-2025"): ("3.000", "1.200"),
        ("scope-2-location", "grid-2026"): ("4.501", "1.501"),  # 4.501 x 0.3335 = 1.5010835
        ("scope-2-market", "contract"): ("7.501", "0.375"),  # 0.37505
        ("marginal", "winter"): ("7.501", "5.251"),  # 5.2507
    }
    assert (found.total.kg, found.total.low, found.total.high) == (Decimal("2.701"),) * 3
    assert found.market_total.kg == Decimal("0.375")
    assert (found.known_slots, found.forecast_slots, found.missing_slots) == (4, 0, 0)


def test_fuel_burnt_is_scope_1_and_stands_in_both_totals():
    start = at(2026, 3, 2)
    found = of({"electricity": slots(start, [1000]), "gas": slots(start, [12_345])}, start, 1)
    assert shown(found)["scope-1", "natural-gas"] == ("12.345", "25.251")  # 12.345 m3 x 2.04542 = 25.2507
    assert found.total.kg == Decimal("25.251") + Decimal("0.334")  # 0.3335, half to even
    assert found.market_total.kg == Decimal("25.251") + Decimal("0.050")


def test_emissions_are_rounded_half_to_even():
    start = at(2026, 3, 2)
    kg = [of({"electricity": slots(start, [wh])}, start, 1).ledgers[Ledger.MARKET].kg for wh in (10, 30, 50)]
    assert [str(value) for value in kg] == ["0.000", "0.002", "0.002"]  # 0.0005, 0.0015, 0.0025


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 3, 30), 24), ((2026, 10, 25), 25)])
def test_a_day_of_any_length_has_all_its_emissions(day, hours):
    start = at(*day)
    end = at(day[0], day[1], day[2] + 1)
    found = emissions(FACTORS, {"electricity": slots(start, [1000] * hours)}, span_ms=(start, end))
    assert found.ledgers[Ledger.MARKET].kg == Decimal("0.050") * hours


def test_a_slot_over_the_midnight_of_a_new_factor_is_shared_by_time():
    factors = parse_factors(TEXT.replace("Europe/Berlin", "Asia/Kathmandu"))
    start = at(2025, 12, 31, 23, 45, zone="Asia/Kathmandu")
    assert start % HOUR_MS == 0
    found = of({"electricity": slots(start, [4000])}, start, 1, factors)  # 15 minutes of the old year
    assert shown(found)["scope-2-location", "grid-2025"] == ("1.000", "0.400")
    assert shown(found)["scope-2-location", "grid-2026"] == ("3.000", "1.000")  # 1.0005


def test_a_time_without_a_factor_is_a_line_of_nothing_and_a_range():
    start = at(2026, 12, 31, 23)
    found = of({"electricity": slots(start, [1000, 1000])}, start, 2)
    assert shown(found)["scope-2-location", UNFACTORED] == ("1.000", "0.000")
    location = found.ledgers[Ledger.LOCATION]
    # The known hour, and of the other nothing up to the greatest factor of the file: 0.4.
    assert (location.low, location.kg, location.high) == (Decimal("0.334"), Decimal("0.334"), Decimal("0.734"))
    assert found.ledgers[Ledger.MARKET].high == Decimal("0.100")


def test_a_missing_slot_may_have_emitted_nothing_up_to_the_highest_seen():
    start = at(2026, 3, 2)
    day = slots(start, [1000, 5000, 2000])
    found = of({"electricity": [day[0], day[1], empty(day[2])]}, start, 3)
    market = found.ledgers[Ledger.MARKET]
    assert (market.low, market.kg, market.high) == (Decimal("0.300"), Decimal("0.300"), Decimal("0.550"))
    assert found.missing_slots == 1
    given_range = of({"electricity": [day[0], day[1]]}, start, 3, power_range_kw=(0.0, 20.0))
    assert given_range.ledgers[Ledger.MARKET].high == Decimal("1.300")


def test_what_is_exported_emits_nothing_and_takes_nothing_off():
    start = at(2026, 3, 2)
    found = of({"electricity": slots(start, [1000, -9000])}, start, 2)
    assert shown(found)["scope-2-market", "contract"] == ("1.000", "0.050")


def test_a_forecast_has_its_range_and_never_stands_in_for_what_was_measured():
    start = at(2026, 3, 2)
    power_kw = np.array([[2.0, 4.0, 8.0], [-2.0, 4.0, 8.0], [2.0, 4.0, 8.0]])
    ahead = Forecast(start, 3600, (0.1, 0.5, 0.9), power_kw, peaks_of(power_kw, 3600), ForecastSource.ACTIVE, "m@1")
    found = of({"electricity": slots(start, [1000])}, start, 3, forecast=ahead)
    market = found.ledgers[Ledger.MARKET]
    assert (market.low, market.kg, market.high) == (Decimal("0.150"), Decimal("0.450"), Decimal("0.850"))
    assert (found.known_slots, found.forecast_slots, found.missing_slots) == (1, 2, 0)
    assert of({}, start, 3, forecast=ahead).total.kg == Decimal("4.002")  # 12 kWh x 0.3335


def test_what_cannot_be_told_is_refused():
    start = at(2026, 3, 2)
    with pytest.raises(UnavailableError, match="no slot is known"):
        of({"electricity": [empty(slots(start, [0])[0])]}, start, 1)
    with pytest.raises(UnavailableError, match="no factor of what is measured"):
        of({"steam": slots(start, [1000])}, start, 1)
    with pytest.raises(ConfigError, match="differ in length"):
        of({"electricity": [*slots(start, [1]), *slots(start + HOUR_MS, [1], length_s=900)]}, start, 1)
    with pytest.raises(ConfigError, match="is empty"):
        of({"electricity": slots(start, [1])}, start, 0)


def test_an_hourly_series_comes_before_the_year_that_fills_its_holes(tmp_path):
    rows = "2026-03-01T23:00Z,500\n2026-03-02T01:00Z,100.5\n"
    (tmp_path / "hours.csv").write_text(f"start,kg_per_unit\n{rows}")
    series = '[[factor]]\nname = "hours"\nledger = "scope-2-location"\nseries = "hours.csv"\nscale = 0.001\n'
    head, _, rest = TEXT.partition("[[factor]]")
    factors = parse_factors(f"{head}{series}[[factor]]{rest}", folder=tmp_path)
    start = at(2026, 3, 2)
    found = of({"electricity": slots(start, [1000] * 3)}, start, 3, factors)
    # 0.5 at 00:00, a hole at 01:00, 0.1005 at 02:00: half to even of 0.6005.
    assert shown(found)["scope-2-location", "hours"] == ("2.000", "0.600")
    assert shown(found)["scope-2-location", "grid-2026"] == ("1.000", "0.334")
    assert found.lines[0].to_json()["kg_per_unit"] == "0.30025"
    array = factors.kg_per_unit("electricity", Ledger.LOCATION, start, 3600, 3)
    assert array.tolist() == pytest.approx([0.5, 0.3335, 0.1005])
    assert np.isnan(factors.kg_per_unit("electricity", Ledger.LOCATION, at(2027, 3, 1), 3600, 1)).all()


def test_lines_are_json():
    start = at(2026, 3, 2)
    found = of({"electricity": slots(start, [1000])}, start, 1)
    row = json.loads(json.dumps([line.to_json() for line in found.lines]))[0]
    assert row == {
        "ledger": "scope-2-location",
        "carrier": "electricity",
        "factor": "grid-2026",
        "quantity": "1.000",
        "unit": "kWh",
        "kg_per_unit": "0.3335",
        "kg": "0.334",
    }


STARTS = st.integers(at(2025, 12, 25) // HOUR_MS, at(2026, 1, 5) // HOUR_MS).map(lambda hour: hour * HOUR_MS)
ENERGIES = st.lists(st.integers(-50_000, 10_000_000), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(start=STARTS, energies=ENERGIES)
def test_lines_add_up_to_every_total_and_to_the_energy(start, energies):
    found = of({"electricity": slots(start, energies)}, start, len(energies))
    imported = Decimal(sum(max(0, energy) for energy in energies)).scaleb(-3)
    for ledger, amount in found.ledgers.items():
        mine = [line for line in found.lines if line.ledger == ledger]
        assert sum((line.kg for line in mine), Decimal(0)) == amount.kg
        assert sum((line.quantity for line in mine), Decimal(0)) == imported
        assert amount.low <= amount.kg <= amount.high


@settings(max_examples=60, deadline=None)
@given(
    start=STARTS, hours=st.lists(st.integers(0, 1_000_000), min_size=1, max_size=48), parts=st.sampled_from([2, 4, 12])
)
def test_splitting_slots_changes_nothing(start, hours, parts):
    whole = of({"electricity": slots(start, [energy * 12 for energy in hours])}, start, len(hours))
    fine = [energy * 12 // parts for energy in hours for _ in range(parts)]
    split = of({"electricity": slots(start, fine, length_s=3600 // parts)}, start, len(hours))
    assert split.lines == whole.lines
    assert split.ledgers == whole.ledgers


@settings(max_examples=40, deadline=None)
@given(start=STARTS, energies=ENERGIES, gone=st.sets(st.integers(0, 59)))
def test_the_range_holds_the_truth_when_slots_go_empty(start, energies, gone):
    every = slots(start, energies)
    seen = [empty(slot) if place in gone else slot for place, slot in enumerate(every)]
    limits = (min(slot.power_kw for slot in every), max(slot.power_kw for slot in every))
    truth = of({"electricity": every}, start, len(every)).total.kg
    found = of({"electricity": seen}, start, len(every), power_range_kw=limits).total
    slack = Decimal("0.003")  # rounding of a few lines
    assert found.low - slack <= truth <= found.high + slack
