"""A tariff file that is right: what holds when."""

from __future__ import annotations

import datetime as dt
import itertools
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.errors import ConfigError
from agent.contract.tariff.holidays import Holidays
from agent.contract.tariff.tariff import Tariff
from tests.support.simpletariff import SIMPLE

FOLDER = Path(__file__).parents[4] / "firmware-configs" / "tariffs"
MELBOURNE = ZoneInfo("Australia/Melbourne")


def at(*args, zone=MELBOURNE, fold=0) -> int:
    return round(dt.datetime(*args, tzinfo=zone, fold=fold).timestamp() * 1000)


@pytest.fixture(scope="module")
def victoria() -> Tariff:
    return Tariff.load(FOLDER / "victoria-large-business.toml")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.name)
def test_every_tariff_that_ships_loads(path):
    tariff = Tariff.load(path)
    assert tariff.versions
    text = path.read_text().lower()
    assert "https://" in text or "illustrative" in text, "say where the rates come from"


@pytest.mark.parametrize(
    ("when", "period"),
    [
        ((2014, 10, 15, 6, 59), "off-peak"),
        ((2014, 10, 15, 7, 0), "peak"),
        ((2014, 10, 15, 22, 59), "peak"),
        ((2014, 10, 15, 23, 0), "off-peak"),
        ((2014, 10, 18, 12, 0), "off-peak"),  # Saturday
        ((2014, 12, 3, 14, 59), "peak"),
        ((2014, 12, 3, 15, 0), "summer-peak"),
        ((2014, 12, 3, 21, 0), "peak"),
        ((2014, 12, 25, 16, 0), "off-peak"),  # a Thursday, but Christmas
        ((2014, 11, 4, 16, 0), "off-peak"),  # Melbourne Cup
    ],
)
def test_the_worked_example_places_moments(victoria, when, period):
    assert victoria.period_at(at(*when)) == period


def test_prices_are_the_decimals_of_the_file(victoria):
    (version,) = victoria.versions
    assert {name: str(price) for name, price in version.energies[0].pricing.prices.items()} == {
        "summer-peak": "0.2480",
        "peak": "0.1865",
        "off-peak": "0.1120",
    }
    assert version.fixed_per_day == Decimal("12.50")


def test_pieces_follow_local_time_over_both_changes_of_the_clocks(victoria):
    # Sunday 5 October 2014 has 23 hours, Sunday 6 April 2014 has 25, Monday the usual boundaries.
    for day, hours in ((dt.date(2014, 10, 5), 23), (dt.date(2014, 4, 6), 25)):
        start, end = victoria.day_bounds_ms(at(day.year, day.month, day.day, 12))
        assert end - start == hours * 3_600_000
        assert [name for name, _, _ in victoria.pieces(start, end)] == ["off-peak"]
        after = victoria.pieces(end, end + 86_400_000)
        assert [name for name, _, _ in after] == ["off-peak", "peak", "off-peak"]
        assert after[1][1] == at(day.year, day.month, day.day + 1, 7)
        assert after[1][2] == at(day.year, day.month, day.day + 1, 23)


def test_the_doubled_hour_has_the_price_of_its_wall_clock_both_times():
    tariff = Tariff.from_toml(
        SIMPLE.replace('from = "06:00"', 'from = "02:30"').replace('["mon", "tue", "wed", "thu", "fri"]', '["sun"]')
    )
    berlin = ZoneInfo("Europe/Berlin")
    first = at(2026, 10, 25, 2, 30, zone=berlin, fold=0)
    again = at(2026, 10, 25, 2, 30, zone=berlin, fold=1)
    assert again - first == 3_600_000
    names = [tariff.period_at(first + minutes * 60_000) for minutes in (-1, 0, 29, 30, 59, 60)]
    assert names == ["rest", "day", "day", "rest", "rest", "day"]


@given(
    start=st.integers(at(2013, 12, 1) // 60_000, at(2015, 1, 31) // 60_000),
    minutes=st.integers(1, 3 * 1440),
)
def test_pieces_cover_a_span_without_gap_and_each_has_one_period(victoria, start, minutes):
    start_ms, end_ms = start * 60_000, (start + minutes) * 60_000
    pieces = list(victoria.pieces(start_ms, end_ms))
    assert pieces[0][1] == start_ms
    assert pieces[-1][2] == end_ms
    for (before, _, end), (after, begin, _) in itertools.pairwise(pieces):
        assert end == begin
        assert before != after
    for period, begin, end in pieces:
        assert begin < end
        assert victoria.period_at(begin) == period
        assert victoria.period_at(end - 1) == period


def test_a_zone_of_a_quarter_hour_and_odd_minutes_are_exact():
    kathmandu = dt.timezone(dt.timedelta(hours=5, minutes=45))
    tariff = Tariff.from_toml(SIMPLE.replace('"Europe/Berlin"', '"+05:45"').replace('"06:00"', '"06:07"'))
    start = at(2026, 3, 2, 6, 0, zone=kathmandu)  # a Monday
    assert [(name, (b - start) // 60_000) for name, _, b in tariff.pieces(start, start + 900_000)] == [
        ("rest", 7),
        ("day", 15),
    ]


def test_month_and_day_starts_are_local(victoria):
    noon = at(2014, 10, 20, 12)
    assert victoria.month_start_ms(noon) == at(2014, 10, 1)
    assert victoria.day_bounds_ms(noon) == (at(2014, 10, 20), at(2014, 10, 21))


def test_days_may_be_a_billing_month_of_their_own(victoria):
    first, end = dt.date(2014, 1, 31), dt.date(2014, 3, 3)
    tariff = victoria.with_period(first, end)
    month = tariff.month_at(at(2014, 2, 15))
    assert (month.first, month.end, month.days, month.label) == (first, end, 31, "2014-01")
    assert tariff.month_at(at(2014, 3, 3)).first == dt.date(2014, 3, 1)
    assert [one.first.month for one in tariff.months_before(month, 11)] == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert tariff.year_start(month).first == dt.date(2014, 1, 1)


def test_windows_of_a_day_seasons_and_kinds_of_days_place_moments():
    tariff = Tariff.from_toml(
        """
name = "china"
zone = "Asia/Shanghai"
currency = "CNY"
holidays = ["10-01"]
holidays_as = "hol"
[seasons]
summer = ["07-01..08-31"]
winter = ["12-01..01-31"]
[[period]]
name = "sharp"
price_per_kwh = 4
seasons = ["summer"]
hours = ["11:00-12:00", "20:00-22:00"]
[[period]]
name = "sharp"
price_per_kwh = 4
seasons = ["winter"]
hours = ["18:00-20:00"]
[[period]]
name = "deep"
price_per_kwh = 1
months = [10]
weekdays = ["hol"]
from = "09:00"
to = "15:00"
[[period]]
name = "flat"
price_per_kwh = 2
"""
    )
    shanghai = ZoneInfo("Asia/Shanghai")
    for when, name in (
        ((2026, 7, 1, 11), "sharp"),
        ((2026, 7, 1, 12), "flat"),
        ((2026, 8, 31, 21, 59), "sharp"),
        ((2026, 9, 1, 21), "flat"),
        ((2026, 12, 1, 18), "sharp"),
        ((2027, 1, 31, 19, 59), "sharp"),
        ((2026, 10, 1, 9), "deep"),
        ((2027, 10, 1, 14, 59), "deep"),
        ((2026, 10, 2, 9), "flat"),
    ):
        assert tariff.period_at(at(*when, zone=shanghai)) == name, when


class TestVersions:
    OLD = SIMPLE.replace("zone = ", "valid_from = 2025-01-01\nzone = ")
    NEW = SIMPLE.replace("zone = ", "valid_from = 2026-07-01\nzone = ").replace("0.30", "0.33")

    def write(self, folder, **texts):
        for name, text in texts.items():
            (folder / f"{name}.toml").write_text(text)
        return folder

    def test_a_folder_holds_the_versions_of_a_tariff(self, tmp_path):
        tariff = Tariff.load(self.write(tmp_path, b=self.OLD, a=self.NEW))
        assert [version.valid_from for version in tariff.versions] == [dt.date(2025, 1, 1), dt.date(2026, 7, 1)]
        assert tariff.version_on(dt.date(2026, 6, 30)) is tariff.versions[0]
        assert tariff.version_on(dt.date(2026, 7, 1)) is tariff.versions[1]
        with pytest.raises(ConfigError, match="no prices before 2025-01-01"):
            tariff.version_on(dt.date(2024, 12, 31))

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (OLD, "begin on one day"),
            (NEW.replace("EUR", "CHF"), "differ in currency"),
            (NEW.replace("Europe/Berlin", "Europe/Zurich"), "differ in zone"),
            (NEW.replace("valid_from", "billing_day = 3\nvalid_from"), "differ in billing_day"),
        ],
    )
    def test_versions_that_do_not_fit_together_are_refused(self, tmp_path, other, message):
        with pytest.raises(ConfigError, match=message):
            Tariff.load(self.write(tmp_path, a=self.OLD, b=other))

    def test_an_empty_folder_is_refused(self, tmp_path):
        with pytest.raises(ConfigError, match="has 0 tariff files"):
            Tariff.load(tmp_path)


class TestHolidays:
    @pytest.mark.parametrize(
        ("entry", "dates"),
        [
            ("2026-05-14", [(2026, 5, 14)]),
            (dt.date(2026, 5, 14), [(2026, 5, 14)]),
            ("12-25", [(2025, 12, 25), (2031, 12, 25)]),
            ("02-29", [(2028, 2, 29)]),
            ("4th thu of 11", [(2025, 11, 27), (2026, 11, 26)]),
            ("last mon of 5", [(2025, 5, 26), (2026, 5, 25)]),
            ("easter", [(1981, 4, 19), (2000, 4, 23), (2024, 3, 31), (2025, 4, 20), (2026, 4, 5), (2038, 4, 25)]),
            ("easter+1", [(2026, 4, 6)]),
            ("easter-2", [(2026, 4, 3)]),
        ],
    )
    def test_a_rule_names_its_dates_and_no_others(self, entry, dates):
        holidays = Holidays((entry,))
        for year in {year for year, _, _ in dates}:
            days = [dt.date(year, 1, 1) + dt.timedelta(days=index) for index in range(365)]
            assert [day for day in days if day in holidays] == [dt.date(*date) for date in dates if date[0] == year]

    @pytest.mark.parametrize(
        "entry", ["13-01", "02-30", "6th mon of 5", "first mon of 5", "easter+x", "", "2026-02-29"]
    )
    def test_what_is_no_rule_is_refused(self, entry):
        with pytest.raises(ValueError, match=r".*"):
            Holidays((entry,))
