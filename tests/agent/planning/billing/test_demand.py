"""Demand charges: windows, intervals, ratchets, contracts, capacity, the year; and what is not known of them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from fractions import Fraction

import pytest

from agent.contract.channels import Channel, Reading
from agent.daemon.slots import SlotCloser
from agent.daemon.views import stored_slots
from agent.planning.billing.bill import bill
from agent.planning.billing.forward import Forward, Peak
from tests.support.billing import QUARTER_MS, at, by_line, empty, slots, steady, tariff, with_peak
from tests.support.stores import T0, Bench

FREE = '[[period]]\nname = "flat"\nprice_per_kwh = 0\n'
DEMAND = FREE + '[[demand]]\nname = "demand"\nprice_per_kw = 10\n'
MARCH = at(2026, 3, 1), at(2026, 4, 1)


def march(kw=100.0, length_s=900):
    return steady(*MARCH, kw, length_s)


def test_the_highest_quarter_of_the_month_is_billed():
    load = with_peak(march(), at(2026, 3, 10, 9, 15), 250.5)
    assert by_line(bill(tariff(DEMAND), load))["demand"] == ("250.5", "2505.00")


@pytest.mark.parametrize(("minutes", "kw"), [(15, 500), (30, 300), (60, 200)])
def test_the_interval_is_a_mean(minutes, kw):
    load = with_peak(march(), at(2026, 3, 10, 9, 15), 500.0)
    found = bill(tariff(DEMAND + f"interval_minutes = {minutes}"), load)
    assert by_line(found)["demand"] == (str(kw), f"{kw * 10}.00")


def test_an_hour_is_one_of_the_local_clock():
    # In Kathmandu (+05:45) the local hour begins at a quarter past of UTC.
    zone = "Asia/Kathmandu"
    load = steady(at(2026, 3, 1, zone=zone), at(2026, 4, 1, zone=zone), 0)
    for minute in (0, 15, 30, 45):
        load = with_peak(load, at(2026, 3, 10, 9, minute, zone=zone), 400.0)
    assert by_line(bill(tariff(DEMAND + "interval_minutes = 60", zone=zone), load))["demand"][0] == "400"


@pytest.mark.parametrize(
    ("window", "kw"),
    [
        ("", 400),
        ('from = "08:00"\nto = "20:00"', 300),
        ('hours = ["08:00-09:15", "09:30-20:00"]', 200),
        ('weekdays = ["sat", "sun"]', 100),
        ("months = [3]", 400),
        ('periods = ["peak"]', 200),
    ],
)
def test_an_interval_counts_where_it_begins_within_the_window(window, kw):
    periods = '[[period]]\nname = "peak"\nprice_per_kwh = 0\nfrom = "10:00"\nto = "12:00"\n'
    body = periods + DEMAND + window
    load = with_peak(march(), at(2026, 3, 10, 3), 400.0)
    load = with_peak(with_peak(load, at(2026, 3, 10, 9, 15), 300.0), at(2026, 3, 11, 11), 200.0)
    assert by_line(bill(tariff(body), load))["demand"][0] == str(kw)


def test_several_demand_charges_stand_on_one_bill():
    more = '[[demand]]\nname = "night"\nprice_per_kw = 1\nto = "06:00"\n'
    load = with_peak(march(), at(2026, 3, 10, 9), 300.0)
    found = by_line(bill(tariff(DEMAND + more), load))
    assert (found["demand"], found["night"]) == (("300", "3000.00"), ("100", "100.00"))


def test_a_season_of_part_of_the_month_counts_by_its_days_and_its_own_highest():
    seasons = '[seasons]\nlow = ["03-01..03-10"]\nhigh = ["03-11..03-31"]\n'
    body = DEMAND + 'seasons = ["low"]\n[[demand]]\nname = "high"\nprice_per_kw = 20\nseasons = ["high"]\n' + seasons
    load = with_peak(march(), at(2026, 3, 20, 12), 300.0)
    found = by_line(bill(tariff(body), load))
    assert found["demand"] == ("100", "322.58")  # 100 x 10 x 10/31
    assert found["high"] == ("300", "4064.52")  # 300 x 20 x 21/31


def test_ratchet_over_twelve_months():
    body = DEMAND + "interval_minutes = 60\nratchet = {share = 0.8, months = 11}"
    year = steady(at(2025, 1, 1), at(2026, 3, 1), 100.0, 3600)
    year = with_peak(year, at(2025, 2, 10, 12), 1000.0)
    months = [(2025, month) for month in range(2, 13)] + [(2026, 1), (2026, 2)]
    billed = []
    for number, month in months:
        span = at(number, month, 1), at(number + month // 12, month % 12 + 1, 1)
        found = bill(tariff(body), year, span_ms=span)
        billed.append(by_line(found)["demand"][0])
    # February sets it, it binds for eleven months, and in February of the next year it is over.
    assert billed == ["1000", *["800"] * 11, "100"]


def test_a_ratchet_over_months_that_are_not_known_is_a_range_and_invoices_may_tell_them():
    body = DEMAND + "ratchet = {share = 0.5, months = 1}"
    load = [*with_peak(march(), MARCH[0], 300.0)[:96], *march(10.0)[96:]]
    april = steady(at(2026, 4, 1), at(2026, 5, 1), 10.0)
    span = at(2026, 4, 1), at(2026, 5, 1)
    unknown = bill(tariff(body), april, span_ms=span, power_range_kw=(0, 100))
    assert unknown.total == unknown.low == Decimal("100.00")
    assert "not wholly known" in unknown.notes[0]
    known = bill(tariff(body), [*load, *april], span_ms=span)
    assert (known.low, known.total, known.high) == (Decimal("1500.00"),) * 3
    told = bill(tariff(body + '\nearlier_kw = {"2026-03" = 300}'), april, span_ms=span)
    assert (told.low, told.total, told.high) == (Decimal("1500.00"),) * 3
    given = bill(
        tariff(body),
        april,
        span_ms=span,
        forward=Forward({(None, "demand"): {"2026-03": Peak(Fraction(300), is_sure=True, from_ms=MARCH[0])}}),
    )
    assert given.total == Decimal("1500.00")


@pytest.mark.parametrize(
    ("kw", "lines"),
    [
        (500, {"demand": ("600", "6000.00")}),  # the contract is owed
        (620, {"demand": ("600", "6000.00")}),  # within the tolerance
        (700, {"demand": ("600", "6000.00"), "demand.excess": ("70", "1400.00")}),
    ],
)
def test_a_contract_is_owed_and_what_exceeds_it_costs_more(kw, lines):
    body = DEMAND + "contracted_kw = 600\nminimum_share = 1\nexcess_from_share = 1.05\nexcess_price_per_kw = 20\n"
    found = by_line(bill(tariff(body), march(kw)))
    assert {name: line for name, line in found.items() if name.startswith("demand")} == lines


def test_the_choice_of_basis_is_one_word():
    body = DEMAND + 'basis = "{}"\ncapacity_kva = 1000\nprice_per_kva = 3\n'
    assert by_line(bill(tariff(body.format("capacity")), march()))["demand"] == ("1000", "3000.00")
    assert by_line(bill(tariff(body.format("demand")), march()))["demand"] == ("100", "1000.00")


def test_a_well_used_transformer_lowers_the_price():
    body = DEMAND + "capacity_kva = 200\nreduced = {from_kwh_per_kva = 371.5, share = 0.9}\n"
    # March has 743 hours: 100 kW are 74,300 kWh, 371.5 for each kVA.
    assert by_line(bill(tariff(body), march()))["demand"] == ("100", "900.00")
    assert by_line(bill(tariff(body), with_peak(march(), MARCH[0], 99.0)))["demand"] == ("100", "1000.00")


def test_the_first_kilowatts_may_be_free_and_the_rest_rounded():
    body = DEMAND + "free_kw = 50\nround_kw = 1\n"
    assert by_line(bill(tariff(body), with_peak(march(), MARCH[0], 120.6)))["demand"] == ("71", "710.00")


def test_a_new_peak_of_the_year_is_charged_for_the_months_before_too():
    body = FREE + '[[demand]]\nname = "capacity"\nprice_per_kw = 365\nper = "year"\n'
    body += "interval_minutes = 60\n"
    year = steady(at(2026, 1, 1), at(2027, 1, 1), 100.0, 3600)
    year = with_peak(year, at(2026, 3, 15, 12), 200.0)
    months = [
        bill(tariff(body), year, span_ms=(at(2026, month, 1), at(2026 + month // 12, month % 12 + 1, 1)))
        for month in range(1, 13)
    ]
    assert [by_line(month)["capacity"][1] for month in months[:4]] == [
        "3100.00",  # 100 kW x 31 days
        "2800.00",
        "12100.00",  # 200 kW x 31 days, and 100 kW more for the 59 days before
        "6000.00",
    ]
    assert sum(month.total for month in months) == 200 * 365
    assert bill(tariff(body), year).total == 200 * 365


def test_slots_longer_than_the_interval_give_a_range():
    found = bill(tariff(DEMAND), march(length_s=1800))
    assert (found.total, found.low, found.high) == (Decimal("1000.00"), Decimal("1000.00"), Decimal("2000.00"))
    assert "which may be higher" in found.notes[0]


def test_missing_slots_may_have_been_the_peak():
    load = with_peak(march(), MARCH[0], 300.0)
    load[500] = empty(load[500])
    found = bill(tariff(DEMAND), load, power_range_kw=(0.0, 350.0))
    assert (found.low, found.total, found.high) == (Decimal("3000.00"), Decimal("3000.00"), Decimal("3500.00"))


def test_the_demand_of_a_gas_meter_is_in_kilowatts_of_its_heat():
    gas = '[[meter]]\nname = "gas"\ncarrier = "gas"\nunit = "m3"\nkwh_per_unit = 10.5\n'
    capacity = '[[demand]]\nname = "capacity"\nprice_per_kw = 2\nmeter = "gas"\ninterval_minutes = 60\n'
    start = at(2026, 3, 2)
    cubic_metres = slots(start, [5000, 8000], 3600)  # litres
    result = bill(tariff(gas + capacity), slots(start, [0, 0], 3600), meters={"gas": cubic_metres})
    assert by_line(result) == {"capacity": ("84", "168.00")}


def test_zero_and_negative_load_have_no_demand():
    assert by_line(bill(tariff(DEMAND), march(0.0)))["demand"] == ("0", "0.00")
    assert by_line(bill(tariff(DEMAND), march(-50.0)))["demand"] == ("0", "0.00")


@pytest.mark.parametrize(
    ("zone", "day", "quarters"),
    [
        ("Europe/Berlin", (2026, 3, 29), 92),
        ("Europe/Berlin", (2026, 10, 25), 100),
        ("America/Los_Angeles", (2026, 3, 8), 92),
        ("America/Los_Angeles", (2026, 11, 1), 100),
        ("Australia/Melbourne", (2026, 10, 4), 92),
        ("Australia/Melbourne", (2026, 4, 5), 100),
    ],
)
def test_days_of_92_and_100_slots_in_three_zones(zone, day, quarters):
    rules = tariff(
        """
fixed_per_day = 1.50
[[period]]
name = "day"
price_per_kwh = 0.30
from = "06:00"
to = "22:00"
[[period]]
name = "night"
price_per_kwh = 0.20
[[demand]]
name = "demand"
price_per_kw = 10
interval_minutes = 60
""",
        zone=zone,
    )
    start_ms = at(*day, zone=zone)
    load = slots(start_ms, [2500] * quarters)
    date = dt.date(*day)
    end_ms = at(*(date + dt.timedelta(days=1)).timetuple()[:3], zone=zone)
    assert (end_ms - start_ms) // QUARTER_MS == quarters
    found = by_line(bill(rules, load))
    night = quarters - 64
    assert found["day"] == ("160", "48.00")
    assert found["night"] == (str(night * 5 // 2), f"{Decimal(night) / 2:.2f}")
    assert found["fixed"] == ("1", "1.50")
    assert found["demand"] == ("10", "100.00")
    # Both passings of a doubled hour are hours of their own.
    doubled = with_peak(load, start_ms + 10 * QUARTER_MS, 50.0)
    assert by_line(bill(rules, doubled))["demand"][0] == "20"


def test_restart_in_the_middle_of_a_demand_interval(tmp_path):
    """The device is killed ten minutes into an hour; the bill from its store is that of one that ran through."""
    channel = Channel("load_kw", "kW", decimals=1, interval_s=60)
    values = [(T0 + minute * 60_000, 100.0 + 7 * (minute % 60)) for minute in range(75)]

    def run(folder, kills):
        bench = Bench(folder)

        def closer():
            return SlotCloser(
                channel,
                300,
                grace_s=60,
                readings=bench.store.readings,
                last_slot_ms=bench.store.last_time_ms("slots"),
                first_reading_ms=bench.store.first_time_ms("load_kw"),
                last_reading_ms=bench.store.last_time_ms("readings", "load_kw"),
            )

        closing = closer()
        for minute, (time_ms, value) in enumerate(values):
            reading = Reading("load_kw", time_ms, value)
            bench.now_ms = time_ms + 60_000
            bench.store.append("readings", [reading])
            closing.saw([reading])
            due = closing.due(bench.now_ms)
            bench.store.append("slots", [slot.to_row() for slot in due])
            bench.store.commit()
            closing.closed(due)
            if minute in kills:
                bench.crash()
                closing = closer()
        return stored_slots(bench.store, 1)

    whole = run(tmp_path / "whole", kills=())
    killed = run(tmp_path / "killed", kills=(10, 43, 62))
    rules = tariff(DEMAND + "interval_minutes = 60", zone="UTC")
    assert killed == whole
    assert bill(rules, killed).lines == bill(rules, whole).lines
    assert Decimal(by_line(bill(rules, whole))["demand"][0]) > 250
