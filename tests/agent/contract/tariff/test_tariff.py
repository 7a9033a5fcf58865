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

FOLDER = Path(__file__).parents[4] / "firmware-configs" / "tariffs"
MELBOURNE = ZoneInfo("Australia/Melbourne")
SIMPLE = """
name = "simple"
zone = "Europe/Berlin"
currency = "EUR"
[[period]]
name = "day"
price_per_kwh = 0.30
from = "06:00"
to = "22:00"
weekdays = ["mon", "tue", "wed", "thu", "fri"]
[[period]]
name = "rest"
price_per_kwh = 0.20
"""


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


def test_all_complaints_come_at_once():
    text = """
name = "bad"
zone = "Mars/Olympus"
currency = "dollars"
fixd = 3
holidays = ["2014-13-01", 2014-12-25T00:00:00]
[[period]]
name = "Peak!"
price_per_kwh = "0.2"
weekdays = ["monday"]
from = "7:00"
months = [0, true]
colour = "red"
[[period]]
name = "export"
price_per_kwh = 1e9
from = "22:00"
to = "06:00"
"""
    with pytest.raises(ConfigError) as caught:
        Tariff.from_toml(text, "tariff.toml")
    message = str(caught.value)
    assert message.startswith("tariff.toml: ")
    for part in (
        "zone: time zone 'Mars/Olympus' is unknown",
        "currency: 'dollars'",
        "fixd: is unknown",
        "holidays[0]",
        "holidays[1]",
        "period[0].name: 'Peak!'",
        "period[0].price_per_kwh",
        "period[0].weekdays",
        "period[0].from: '7:00' is not a time",
        "period[0].months",
        "period[0].colour: is unknown",
        "period[1].name: 'export'",
        "period[1].price_per_kwh",
        "period[1].to: is not after `from`",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "period: is missing"),
        ("name = ", "is not valid TOML"),
        ("period = 3", "period: is not a list of tables"),
        (SIMPLE.replace("0.20", "nan"), r"period\[1\]\.price_per_kwh"),
        (SIMPLE.replace("0.20", "1e4000000"), r"period\[1\]\.price_per_kwh"),
        (SIMPLE.replace("0.20", "1e-4000000"), r"period\[1\]\.price_per_kwh"),
        (SIMPLE.replace("0.20", "0.123456789"), "more than 8 decimals"),
        ("valid_from = 0001-01-01" + SIMPLE, "valid_from: 0001-01-01 is not between 1970 and 2199"),
        (SIMPLE.replace('name = "rest"', 'name = "day"'), "'day' has another price further up"),
        (SIMPLE.replace('name = "rest"', 'name = "rest"\nfrom = "01:00"'), "none covers mon, .* sun 00:00-01:00; let"),
        (SIMPLE.replace('name = "rest"', 'name = "rest"\nmonths = [2]'), "none covers .*00:00-06:00 in months 1, 3, 4"),
        (
            SIMPLE + '[[period]]\nname = "never"\nprice_per_kwh = 1\n',
            "period: 'never' never holds: the periods before it cover all times",
        ),
    ],
)
def test_rejects_a_tariff_that_cannot_be_used(text, message):
    with pytest.raises(ConfigError, match=message):
        Tariff.from_toml(text)


def test_overlapping_periods_are_named_with_days_and_hours():
    text = SIMPLE.replace(
        'name = "rest"', 'name = "noon"\nfrom = "11:00"\nto = "13:00"\nmonths = [6, 7]\nweekdays = ["fri", "sat"]'
    )
    text += '[[period]]\nname = "rest"\nprice_per_kwh = 0.2\n'
    with pytest.raises(ConfigError) as caught:
        Tariff.from_toml(text)
    assert "period: 'day' and 'noon' overlap fri 11:00-13:00 in months 6, 7; let each time have one period" in str(
        caught.value
    )


def test_incomplete_periods_are_named_with_days_and_hours():
    text = SIMPLE.replace('name = "rest"', 'name = "rest"\nweekdays = ["sat"]')
    with pytest.raises(ConfigError) as caught:
        Tariff.from_toml(text)
    assert (
        "none covers mon, tue, wed, thu, fri 00:00-06:00; sun 00:00-24:00; mon, tue, wed, thu, fri 22:00-24:00"
        in str(caught.value)
    )


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


CHARGES = SIMPLE.replace("[[period]]", '[seasons]\nsummer = ["06-01..09-30"]\n[[period]]', 1)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('[[energy]]\nname = "a"\n', r"energy\[0\]\.price: needs exactly one of price, prices, .* and has none"),
        ('[[energy]]\nname = "a"\nprice = 1\ntiers = [{price = 1}]\n', "and has price, tiers"),
        ('[[energy]]\nname = "a"\nprices = {day = 1}\n', r"prices: has no price for rest"),
        (
            '[[energy]]\nname = "a"\nprices = {day = 1, rest = 2, night = 3}\n',
            r"energy\[0\]\.prices\.night: is unknown",
        ),
        (
            '[[energy]]\nname = "a"\ntiers = [{up_to = 5, price = 1}, {up_to = 4, price = 1}, {price = 1}]\n',
            "not above 5",
        ),
        ('[[energy]]\nname = "a"\ntiers = [{up_to = 5, price = 1}]\n', "the last tier, which takes the rest"),
        ('[[energy]]\nname = "a"\nprice = 1\nmeter = "gas"\n', r"energy\[0\]\.meter: is not one of main"),
        ('[[energy]]\nname = "a"\nprice = 1\nseasons = ["winter"]\n', r"seasons: is not a list of some of summer"),
        (
            '[[energy]]\nname = "day"\nprice = 1\n',
            "day: is the name of more than one charge, or of a charge and a period",
        ),
        ('[[energy]]\nname = "a"\nseries = "../x.csv"\nseries_minutes = 60\n', "is not the name of a file beside"),
        ('[[fixed]]\nname = "a"\nprice = 1\nper = "week"\n', r"fixed\[0\]\.per: is not one of day, month, year"),
        ('[[demand]]\nname = "a"\n', r"demand\[0\]\.price_per_kw: is missing"),
        ('[[demand]]\nname = "a"\nprice_per_kw = 1\ninterval_minutes = 5\n', "is not one of 15, 30, 60"),
        ('[[demand]]\nname = "a"\nprice_per_kw = 1\nminimum_share = 1\n', "minimum_share: needs contracted_kw"),
        ('[[demand]]\nname = "a"\nbasis = "capacity"\n', r"capacity_kva: is missing"),
        (
            '[[demand]]\nname = "a"\nprice_per_kw = 1\nperiods = ["noon"]\n',
            r"periods: is not a list of some of day, rest",
        ),
        (
            '[[demand]]\nname = "a"\nprice_per_kw = 1\nearlier_kw = {march = 3}\n',
            "march: is not a month such as 2025-11",
        ),
        (
            '[[demand]]\nname = "a"\nprice_per_kw = 1\nper = "year"\nratchet = {share = 1, months = 2}\n',
            "cannot stand beside",
        ),
        (
            '[power_factor]\nreactive = "main"\nof = ["energy"]\ntable = [[0.9, 0]]\n',
            "does not fall from at most 1 to 0",
        ),
        (
            '[[fee]]\nname = "a"\npercent = 1\nof = ["b"]\n[[fee]]\nname = "b"\nprice = 1\n',
            r"fee\[0\]\.of: is not a list of some",
        ),
        ('[[fee]]\nname = "a"\npercent = 1\n', r"fee\[0\]\.of: is missing"),
        (
            '[[fee]]\nname = "a"\npercent = 1\nof = ["fixed"]\n',
            r"fee\[0\]\.of: is not a list of some of energy, export$",
        ),
        (
            '[[demand]]\nname = "a"\nbasis = "capacity"\nper = "year"\ncapacity_kva = 1\nprice_per_kva = 1\n',
            r"demand\[0\]\.per: is .month. where the capacity is billed",
        ),
        (
            '[[demand]]\nname = "a"\nprice_per_kw = 1\nweekdays = ["mon", "hol"]\n',
            r'demand\[0\]\.weekdays: names "hol", but holidays_as is not',
        ),
        (
            '[[demand]]\nname = "a"\nprice_per_kw = 1\nperiods = ["day"]\nfrom = "22:00"\n',
            r"demand\[0\]\.name: 'a' never counts: its limits exclude each other",
        ),
        (
            '[[meter]]\nname = "gas"\nunit = "m3"\n[[demand]]\nname = "a"\nprice_per_kw = 1\nmeter = "gas"\n',
            r"demand\[0\]\.meter: 'gas' is in m3, which is no power",
        ),
        (
            '[power_factor]\nreactive = "main"\nof = ["energy"]\ntable = [[0.9, 0], [0.0, 1e4000000]]\n',
            r"power_factor\.table: .* of at most 10000",
        ),
        ('[[fixed]]\nname = "a"\nprice = 1\n' * 201, r"fixed: has more than 200 entries"),
        ('[[meter]]\nname = "main"\n', "meter.*taken"),
        ('[[meter]]\nname = "a"\nunit = "gallon"\n', "unit: is not one of kWh"),
    ],
)
def test_each_charge_says_what_is_wrong_in_it_and_where(more, message):
    with pytest.raises(ConfigError, match=message):
        Tariff.from_toml(CHARGES + more)


def test_a_price_of_ones_and_hundreds_is_written_out_whatever_the_file_writes():
    charge = '[[fixed]]\nname = "a"\nprice = 1.2e3\n'
    assert str(Tariff.from_toml(CHARGES + charge).versions[0].fixed[-1].price) == "1200"


def test_a_file_may_begin_with_the_mark_that_windows_writes(tmp_path):
    path = tmp_path / "tariff.toml"
    path.write_text(SIMPLE, encoding="utf-8-sig")
    assert Tariff.load(path).currency == "EUR"


def test_a_file_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.toml: cannot be read"):
        Tariff.load(tmp_path / "missing.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        Tariff.load(tmp_path / "binary.toml")
    (tmp_path / "huge.toml").write_bytes(b"#" * 300_000)
    with pytest.raises(ConfigError, match="is larger than"):
        Tariff.load(tmp_path / "huge.toml")
