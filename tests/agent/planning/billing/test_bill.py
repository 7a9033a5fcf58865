from __future__ import annotations

import dataclasses
import json
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.rows import Forecast, ForecastSource
from agent.contract.tariff.tariff import Tariff
from agent.planning.billing.bill import bill
from tests.support.billing import QUARTER_MS, at, empty, slots
from tests.support.forecasts import peaks_of

TEXT = """
name = "test"
zone = "Europe/Berlin"
currency = "EUR"
fixed_per_day = 2.40
export_price_per_kwh = 0.05
[[period]]
name = "day"
price_per_kwh = 0.3105
from = "06:10"
to = "22:00"
weekdays = ["mon", "tue", "wed", "thu", "fri"]
[[period]]
name = "rest"
price_per_kwh = 0.2
"""
TARIFF = Tariff.from_toml(TEXT)
UNFIXED = Tariff.from_toml(TEXT.replace("fixed_per_day = 2.40", ""))


def forecast(origin_ms, low, median, high, slot_s=900):
    power_kw = np.stack([np.asarray(low, float), np.asarray(median, float), np.asarray(high, float)], axis=1)
    return Forecast(
        origin_ms, slot_s, (0.1, 0.5, 0.9), power_kw, peaks_of(power_kw, slot_s), ForecastSource.ACTIVE, "m@1"
    )


def amounts(result):
    return {line.period: (line.energy_wh, str(line.amount)) for line in result.lines}


def test_a_working_day_by_hand():
    # Monday: 15 h 50 min at 0.3105 and 8 h 10 min at 0.2, 4 kW all day.
    result = bill(TARIFF, slots(at(2026, 3, 2), [1000] * 96))
    assert amounts(result) == {
        "day": (63_333, "19.66"),  # 63.333 kWh x 0.3105 = 19.6649
        "rest": (32_667, "6.53"),  # 32.667 kWh x 0.2 = 6.5334
        "fixed": (0, "2.40"),
    }
    assert result.total == result.low == result.high == Decimal("28.59")
    assert (result.known_slots, result.forecast_slots, result.missing_slots) == (96, 0, 0)
    assert result.energy_wh == 96_000


@pytest.mark.parametrize(("day", "quarters"), [((2026, 3, 29), 92), ((2026, 3, 30), 96), ((2026, 10, 25), 100)])
def test_a_day_of_any_length_has_one_fixed_charge_and_all_its_energy(day, quarters):
    start_ms, end_ms = TARIFF.day_bounds_ms(at(*day, 12))
    assert (end_ms - start_ms) // QUARTER_MS == quarters
    result = bill(TARIFF, slots(start_ms, [250] * quarters))
    assert result.energy_wh == 250 * quarters
    fixed = result.lines[-1]
    assert (fixed.period, fixed.days, fixed.amount) == ("fixed", Decimal("1.0000"), Decimal("2.40"))


def test_amounts_are_rounded_half_to_even():
    # 0.2 x 25 Wh = 0.005 -> 0.00; 0.2 x 75 Wh = 0.015 -> 0.02
    sunday = at(2026, 3, 1)
    assert bill(UNFIXED, slots(sunday, [25])).total == Decimal("0.00")
    assert bill(UNFIXED, slots(sunday, [75])).total == Decimal("0.02")


def test_a_slot_over_a_boundary_is_shared_by_time():
    # 06:00..06:15 on a Monday, boundary at 06:10
    result = bill(UNFIXED, slots(at(2026, 3, 2, 6), [900]))
    assert amounts(result) == {"day": (300, "0.09"), "rest": (600, "0.12")}


def test_export_is_paid_at_its_own_price_and_not_netted_against_other_slots():
    result = bill(UNFIXED, slots(at(2026, 3, 1), [1000, -2000]))
    assert amounts(result) == {"day": (0, "0.00"), "rest": (1000, "0.20"), "export": (-2000, "-0.10")}
    assert result.total == Decimal("0.10")
    assert result.energy_wh == -1000


def test_a_span_cuts_slots_in_proportion():
    start = at(2026, 3, 1)
    result = bill(UNFIXED, slots(start, [3600], 3600), span_ms=(start + 900_000, start + 1_800_000))
    assert result.energy_wh == 900


def test_missing_slots_are_a_range_and_no_guess():
    day = slots(at(2026, 3, 1), [1000, 2000, 500, 1000])
    holed = [day[0], day[1], empty(day[2])]  # one empty, one absent
    result = bill(UNFIXED, holed, span_ms=(day[0].start_ms, day[3].end_ms))
    assert result.missing_slots == 2
    assert result.total == result.low == Decimal("0.60")  # what is known; the plant may have stood still
    assert result.high == Decimal("1.40")  # both at the highest load seen, 8 kW


def test_a_hole_between_slots_is_missing():
    day = slots(at(2026, 3, 1), [1000] * 4)
    assert bill(UNFIXED, [day[0], day[3]]).missing_slots == 2


def test_a_slot_of_which_less_than_half_was_read_counts_as_missing():
    whole, half, less = slots(at(2026, 3, 1), [1000] * 3)
    half = dataclasses.replace(half, completeness=0.5)
    less = dataclasses.replace(less, completeness=0.49)
    result = bill(UNFIXED, [whole, half, less])
    assert (result.known_slots, result.missing_slots, result.energy_wh) == (2, 1, 2000)


def test_an_exporting_plant_may_have_exported_while_missing():
    day = slots(at(2026, 3, 1), [1000, -4000, 0])
    result = bill(UNFIXED, [*day[:2], empty(day[2])])
    assert (result.low, result.total, result.high) == (Decimal("-0.20"), Decimal("0.00"), Decimal("0.20"))


def test_power_range_may_be_given():
    start = at(2026, 3, 1)
    nothing = [empty(slot) for slot in slots(start, [0] * 4)]
    result = bill(UNFIXED, nothing, power_range_kw=(1.0, 20.0))
    assert (result.total, result.low, result.high) == (Decimal("0.00"), Decimal("0.00"), Decimal("4.00"))


def test_of_two_slots_with_one_start_the_later_counts():
    first, second = slots(at(2026, 3, 1), [1000])[0], slots(at(2026, 3, 1), [3000])[0]
    assert bill(UNFIXED, [first, second]).energy_wh == 3000


def test_without_any_known_slot_there_is_no_bill():
    with pytest.raises(UnavailableError, match="no slot is known"):
        bill(TARIFF, [empty(slot) for slot in slots(at(2026, 3, 1), [0] * 4)])
    with pytest.raises(UnavailableError, match="neither a slot nor a forecast"):
        bill(TARIFF, [])


def test_rejects_slots_that_do_not_fit_together():
    start = at(2026, 3, 1)
    for other in (slots(start + 3_600_000, [1], 1800), slots(start + 60_000, [1])):
        with pytest.raises(ConfigError, match="differ in length or lie off their grid"):
            bill(TARIFF, [*slots(start, [1]), *other])
    with pytest.raises(ConfigError, match="is empty"):
        bill(TARIFF, slots(start, [1]), span_ms=(start, start))


def test_forecast_cost_comes_from_the_median_and_its_range_from_the_outer_quantiles():
    result = bill(UNFIXED, (), forecast=forecast(at(2026, 3, 1), [2, 2], [4, 4], [8, 6]))
    assert (result.low, result.total, result.high) == (Decimal("0.20"), Decimal("0.40"), Decimal("0.70"))
    assert (result.known_slots, result.forecast_slots, result.missing_slots) == (0, 2, 0)


def test_forecast_of_part_of_its_span_and_not_beyond():
    origin = at(2026, 3, 1)
    whole = forecast(origin, [1] * 8, [2] * 8, [3] * 8)
    assert bill(UNFIXED, (), forecast=whole, span_ms=(origin, origin + 4 * QUARTER_MS)).energy_wh == 2000
    with pytest.raises(UnavailableError):
        bill(UNFIXED, (), forecast=whole, span_ms=(origin, origin + 9 * QUARTER_MS))


def test_a_bill_is_json_with_its_invoices():
    found = bill(TARIFF, slots(at(2026, 3, 31, 12), [1000] * 96))
    answer = json.loads(json.dumps(found.to_json()))
    assert [one["month"] for one in answer["invoices"]] == ["2026-03", "2026-04"]
    assert sum(Decimal(one["amount"]) for one in answer["invoices"]) == Decimal(answer["amount"]) == found.total
    assert sum(Decimal(line["amount"]) for line in answer["lines"]) == found.total
    assert (answer["currency"], answer["energy_wh"], answer["notes"]) == ("EUR", 96_000, [])


def test_a_negative_price_turns_the_range_round():
    tariff = Tariff.from_toml(TEXT.replace("0.2\n", "-0.2\n").replace("fixed_per_day = 2.40", ""))
    result = bill(tariff, (), forecast=forecast(at(2026, 3, 1), [2], [4], [8]))
    assert (result.low, result.total, result.high) == (Decimal("-0.40"), Decimal("-0.20"), Decimal("-0.10"))


def test_measured_slots_come_before_forecast_ones():
    start = at(2026, 3, 1)
    result = bill(
        UNFIXED,
        slots(start, [1000] * 2),
        span_ms=(start, start + 4 * QUARTER_MS),
        forecast=forecast(start, [0] * 4, [8] * 4, [9] * 4),
    )
    assert (result.known_slots, result.forecast_slots) == (2, 2)
    assert result.energy_wh == 2000 + 4000


STARTS = st.integers(at(2025, 12, 1) // 3_600_000, at(2026, 12, 31) // 3_600_000).map(lambda hour: hour * 3_600_000)
ENERGIES = st.lists(st.integers(-50_000, 10_000_000), min_size=1, max_size=130)


@settings(max_examples=60)
@given(start=STARTS, energies=ENERGIES)
def test_lines_add_up_to_the_total_and_to_the_energy(start, energies):
    result = bill(TARIFF, slots(start, energies))
    assert result.total == sum(line.amount for line in result.lines)
    assert result.energy_wh == sum(energies)
    for line in result.lines[:-1]:
        exact = Fraction(line.price) * line.energy_wh / 1000
        assert line.amount == (Decimal(exact.numerator) / exact.denominator).quantize(Decimal("0.01"), ROUND_HALF_EVEN)
    assert result.low == result.total == result.high


@settings(max_examples=60)
@given(
    start=STARTS, hours=st.lists(st.integers(0, 1_000_000), min_size=1, max_size=60), parts=st.sampled_from([2, 4, 12])
)
def test_splitting_slots_changes_nothing(start, hours, parts):
    # Energies that split into whole Wh, so that both descriptions are the same energy.
    whole = bill(TARIFF, slots(start, [energy * 12 for energy in hours], 3600))
    fine = [energy * 12 // parts for energy in hours for _ in range(parts)]
    assert bill(TARIFF, slots(start, fine, 3600 // parts)).lines == whole.lines


@settings(max_examples=40)
@given(start=STARTS, energies=ENERGIES, data=st.data())
def test_billing_a_span_in_two_parts_differs_by_rounding_only(start, energies, data):
    cut = data.draw(st.integers(0, len(energies)))
    whole = bill(TARIFF, slots(start, energies))
    cut_ms = start + cut * QUARTER_MS
    parts = [bill(TARIFF, part) for part in (slots(start, energies[:cut]), slots(cut_ms, energies[cut:])) if part]
    assert sum(part.energy_wh for part in parts) == whole.energy_wh
    # At most 0.005 a line and bill, and at most 1 Wh moved between lines a bill.
    assert abs(sum(part.total for part in parts) - whole.total) <= Decimal("0.005") * 4 * 3 + Decimal("0.002")


@settings(max_examples=40)
@given(start=STARTS, energies=ENERGIES, missing=st.sets(st.integers(0, 129)))
def test_the_range_holds_the_truth_when_slots_go_missing(start, energies, missing):
    every = slots(start, energies)
    seen = [empty(slot) if index in missing else slot for index, slot in enumerate(every)]
    known = [slot.power_kw for slot in every]
    truth = bill(TARIFF, every).total
    result = bill(TARIFF, seen, power_range_kw=(min(known), max(known)))
    slack = Decimal("0.03")  # rounding of up to four lines
    assert result.low - slack <= truth <= result.high + slack
    assert result.low <= result.total <= result.high


@given(
    start=STARTS,
    base=st.lists(st.floats(-500, 5000), min_size=1, max_size=60),
    below=st.floats(0, 300),
    above=st.floats(0, 300),
)
def test_forecast_range_is_ordered(start, base, below, above):
    median = np.array(base)
    result = bill(TARIFF, (), forecast=forecast(start, median - below, median, median + above))
    assert result.low <= result.total <= result.high
