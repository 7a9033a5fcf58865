"""Tiers, dynamic prices, fixed charges, power factor, fees, other meters, and versions that follow each other."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.tariff.series import PriceSeries
from agent.planning.billing.bill import bill
from tests.support.billing import QUARTER_MS, at, by_line, empty, slots, steady, tariff

MARCH = at(2026, 3, 1), at(2026, 4, 1)  # 31 days, 743 hours
FLAT = '[[period]]\nname = "flat"\nprice_per_kwh = 0.10\n'


def march(kw=100.0):
    return steady(*MARCH, kw)


def prices(start_ms, values, length_s=3600):
    starts = start_ms + np.arange(len(values), dtype=np.int64) * length_s * 1000
    return PriceSeries(starts, np.array([round(value * 10**8) for value in values], dtype=np.int64), length_s)


class TestTiers:
    BODY = '[[energy]]\nname = "block"\ntiers = [{up_to = 1000, price = 0.30}, {up_to = 5000, price = 0.20}, {price = 0.10}]\n'

    @pytest.mark.parametrize(
        ("kwh", "amounts"),
        [
            (400, ["120.00", "0.00", "0.00"]),
            (1000, ["300.00", "0.00", "0.00"]),
            (3000, ["300.00", "400.00", "0.00"]),
            (7000, ["300.00", "800.00", "200.00"]),
        ],
    )
    def test_each_takes_what_the_one_before_leaves(self, kwh, amounts):
        found = bill(tariff(self.BODY), slots(MARCH[0], [kwh * 1000]))
        assert [str(line.amount) for line in found.lines] == amounts

    def test_each_billing_month_begins_anew(self):
        load = [*slots(MARCH[0], [1_000_000]), *slots(MARCH[1], [1_000_000])]
        found = bill(tariff(self.BODY), load, power_range_kw=(0, 0))
        assert [str(line.amount) for line in found.lines][:2] == ["600.00", "0.00"]

    def test_those_of_a_year_go_on_and_what_is_not_known_of_it_is_a_range(self):
        rules = tariff(self.BODY + 'tiers_per = "year"\n')
        load = [*slots(at(2026, 1, 1), [900_000]), *slots(MARCH[0], [200_000])]
        found = bill(rules, load, span_ms=(MARCH[0], MARCH[0] + QUARTER_MS))
        assert [str(line.amount) for line in found.lines] == ["30.00", "20.00", "0.00"]
        unknown = bill(rules, load[1:])
        assert (unknown.total, unknown.low, unknown.high) == (Decimal("60.00"), Decimal("20.00"), Decimal("60.00"))
        told = bill(tariff(self.BODY + 'tiers_per = "year"\nearlier_kwh = 900\n'), load[1:])
        assert (told.low, told.total, told.high) == (Decimal("50.00"),) * 3


class TestDynamic:
    BODY = '[[energy]]\nname = "spot"\nseries = "market.csv"\nseries_minutes = 60\nscale = 0.001\nmarkup = 0.01\nmarkup_percent = 10\n'

    def test_each_slot_has_the_price_of_its_hour_and_the_mark_up(self):
        series = prices(MARCH[0], [100, -50])
        load = slots(MARCH[0], [1000] * 8)
        (line,) = bill(tariff(self.BODY), load, series={"market.csv": series}).lines
        # 4 kWh x (0.11 + 0.01) + 4 kWh x (-0.055 + 0.01)
        assert (line.quantity, line.price, line.amount) == (Decimal(8), None, Decimal("0.30"))

    def test_prices_missing_for_some_slots_are_a_range_between_the_limits(self):
        load = slots(MARCH[0], [10_000] * 12)
        series = {"market.csv": prices(MARCH[0], [100, 200])}
        found = bill(tariff(self.BODY), load, series=series)
        assert by_line(found) == {"spot": ("80", "14.00"), "spot.unpriced": ("40", "0.00")}
        # What has no price adds nothing to the lines, at most 40 kWh at 0.23.
        assert (found.low, found.total, found.high) == (Decimal("14.00"), Decimal("14.00"), Decimal("23.20"))
        assert found.notes == ("spot: 60 min have no price in market.csv",)
        wide = bill(tariff(self.BODY + "missing_between = [-0.5, 4.0]\n"), load, series=series)
        assert (wide.low, wide.high) == (Decimal("-7.60"), Decimal("190.40"))

    def test_negative_prices_make_a_credit(self):
        found = bill(tariff(self.BODY), slots(MARCH[0], [10_000] * 4), series={"market.csv": prices(MARCH[0], [-100])})
        assert found.total == Decimal("-4.00")
        assert found.low == found.high == found.total

    def test_without_any_price_there_is_no_bill(self):
        with pytest.raises(UnavailableError, match=r"no price of market\.csv is known"):
            bill(tariff(self.BODY), slots(MARCH[0], [1000]))


class TestFixed:
    @pytest.mark.parametrize(
        ("per", "span", "amount"),
        [
            ("day", MARCH, "31.00"),
            ("month", MARCH, "1.00"),
            ("year", MARCH, "0.08"),  # 31/365
            ("month", (at(2026, 3, 1), at(2026, 3, 11)), "0.32"),  # 10/31
            ("month", (at(2026, 3, 29), at(2026, 3, 30)), "0.03"),  # a day of 23 hours is a day
        ],
    )
    def test_time_is_counted_in_local_days(self, per, span, amount):
        body = FLAT.replace("0.10", "0") + f'[[fixed]]\nname = "meter"\nprice = 1\nper = "{per}"\n'
        assert by_line(bill(tariff(body), march(), span_ms=span))["meter"][1] == amount

    def test_a_quantity_multiplies_it(self):
        body = FLAT + '[[fixed]]\nname = "transformer"\nprice = 3.10\nquantity = 630\nunit = "kVA"\n'
        assert by_line(bill(tariff(body), march()))["transformer"] == ("630", "1953.00")


class TestPowerFactor:
    BODY = (
        FLAT
        + '[[meter]]\nname = "reactive"\ncarrier = "reactive"\nunit = "kvarh"\n'
        + '[power_factor]\nreactive = "reactive"\nof = ["energy"]\n'
        + "table = [[0.95, -1], [0.9, 0], [0.8, 5], [0, 10]]\n"
    )

    @pytest.mark.parametrize(("kvar", "percent"), [(0, "-0.01"), (45, "0"), (75, "0.05"), (76, "0.05"), (80, "0.1")])
    def test_the_row_that_the_rounded_factor_reaches_counts(self, kvar, percent):
        found = bill(tariff(self.BODY), march(), meters={"reactive": march(kvar)})
        line = found.lines[-1]
        assert (line.period, line.quantity, line.price.normalize()) == (
            "power-factor",
            Decimal("7430.00"),
            Decimal(percent).normalize(),
        )
        assert found.low == found.high == found.total

    def test_without_reactive_energy_it_is_the_range_of_the_table(self):
        found = bill(tariff(self.BODY), march())
        assert (found.total, found.low, found.high) == (Decimal("7430.00"), Decimal("7355.70"), Decimal("8173.00"))

    def test_a_missing_slot_of_it_is_a_range_as_far_as_it_can_change_the_row(self):
        reactive = march(45)
        reactive[7] = empty(reactive[7])
        found = bill(tariff(self.BODY), march(), meters={"reactive": reactive})
        assert found.low == found.high == found.total
        assert found.notes == ("power-factor: slots of reactive are missing",)

    def test_nothing_used_is_no_factor(self):
        found = bill(tariff(self.BODY), march(0), meters={"reactive": march(0)})
        assert found.total == 0


class TestFees:
    def test_they_stand_in_order_and_compound(self):
        body = FLAT + (
            '[[fee]]\nname = "levy"\nprice = 0.02\n'
            '[[fee]]\nname = "surcharge"\npercent = 10\nof = ["energy"]\n'
            '[[fee]]\nname = "vat"\npercent = 20\nof = "all"\n'
        )
        found = bill(tariff(body), slots(MARCH[0], [1_000_000]))
        assert by_line(found) == {
            "flat": ("1000", "100.00"),
            "levy": ("1000", "20.00"),
            "surcharge": ("100", "10.00"),
            "vat": ("130", "26.00"),
        }

    def test_a_percentage_is_of_rounded_amounts(self):
        body = FLAT.replace("0.10", "0.125") + '[[fee]]\nname = "vat"\npercent = 50\nof = "all"\n'
        found = bill(tariff(body), slots(MARCH[0], [1000]))  # 0.125 -> 0.12, half of it 0.06
        assert [str(line.amount) for line in found.lines] == ["0.12", "0.06"]
        up = bill(tariff(body.replace("[[period]]", 'round_half = "up"\n[[period]]')), slots(MARCH[0], [1000]))
        assert [str(line.amount) for line in up.lines] == ["0.13", "0.07"]


class TestMeters:
    BODY = FLAT + (
        '[[meter]]\nname = "gas"\ncarrier = "gas"\nunit = "m3"\nkwh_per_unit = 10.5\n'
        '[[meter]]\nname = "steam"\ncarrier = "steam"\nunit = "t"\n'
        '[[energy]]\nname = "gas"\nmeter = "gas"\nprice = 0.05\n'
        '[[energy]]\nname = "steam"\nmeter = "steam"\nprice = 30\n'
    )

    def test_gas_is_billed_by_its_heat_and_steam_by_its_mass(self):
        found = bill(
            tariff(self.BODY),
            slots(MARCH[0], [1000, 1000]),
            meters={"gas": slots(MARCH[0], [100_000], 1800), "steam": slots(MARCH[0], [500, 250])},
        )
        assert by_line(found) == {"flat": ("2", "0.20"), "gas": ("1050", "52.50"), "steam": ("0.75", "22.50")}

    def test_a_meter_without_slots_is_refused_or_left_out_and_said(self):
        load = slots(MARCH[0], [1000])
        with pytest.raises(ConfigError, match="no slots of meter 'gas' were given"):
            bill(tariff(self.BODY), load)
        found = bill(tariff(self.BODY), load, partial=True)
        assert found.total == Decimal("0.10")
        assert found.notes[0] == "gas: left out, there are no slots of meter gas"

    def test_a_free_share_is_not_billed(self):
        body = FLAT + (
            '[[meter]]\nname = "reactive"\ncarrier = "reactive"\nunit = "kvarh"\n'
            '[[energy]]\nname = "excess"\nmeter = "reactive"\nprice = 0.01\nfree_share = {of = "main", share = 0.4}\n'
        )
        for kvar, kvarh in ((50, "7430"), (30, "0")):
            found = by_line(bill(tariff(body), march(), meters={"reactive": march(kvar)}))
            assert found["excess"][0] == kvarh

    def test_time_of_day_prices_for_what_is_fed_in(self):
        body = FLAT + (
            '[[energy]]\nname = "feed-in"\ndirection = "export"\n'
            '[[energy.period]]\nname = "noon"\nprice = 0.02\nfrom = "12:00"\nto = "13:00"\n'
            '[[energy.period]]\nname = "rest"\nprice = 0.06\n'
        )
        found = bill(tariff(body), slots(at(2026, 3, 2, 11), [-1000] * 8))
        assert by_line(found) == {
            "flat": ("0", "0.00"),
            "feed-in.noon": ("-4", "-0.08"),
            "feed-in.rest": ("-4", "-0.24"),
        }


class TestVersions:
    OLD = FLAT + '[[demand]]\nname = "demand"\nprice_per_kw = 31\n'
    NEW = "valid_from = 2026-03-11\n" + OLD.replace("0.10", "0.20").replace("= 31", "= 62")

    def test_mid_month_tariff_change(self):
        found = bill(tariff(self.OLD, self.NEW), march())
        old, new = found.invoices
        assert (old.start_ms, old.end_ms, new.end_ms) == (MARCH[0], at(2026, 3, 11), MARCH[1])
        assert [(line.period, str(line.amount)) for line in old.lines] == [("flat", "2400.00"), ("demand", "1000.00")]
        # 21 days, one of 23 hours: 503 h x 100 kW x 0.20; 100 kW x 62 x 21/31
        assert [(line.period, str(line.amount)) for line in new.lines] == [("flat", "10060.00"), ("demand", "4200.00")]
        assert found.total == Decimal("17660.00")

    def test_a_change_to_the_same_prices_changes_nothing_under_a_steady_load(self):
        whole = bill(tariff(self.OLD), march())
        changed = bill(tariff(self.OLD, "valid_from = 2026-03-11\n" + self.OLD), march())
        assert changed.total == whole.total

    def test_days_before_the_first_version_cannot_be_billed(self):
        with pytest.raises(ConfigError, match="there are no prices before 2026-03-11, so 2026-03-01 cannot be billed"):
            bill(tariff(self.NEW), march())

    def test_a_billing_month_may_begin_on_any_day(self):
        body = "billing_day = 15\n" + FLAT + '[[demand]]\nname = "demand"\nprice_per_kw = 1\n'
        found = bill(tariff(body), steady(at(2026, 3, 1), at(2026, 5, 1), 10.0))
        assert [invoice.label for invoice in found.invoices] == ["2026-02", "2026-03", "2026-04"]
        assert found.invoices[1].start_ms == at(2026, 3, 15)
