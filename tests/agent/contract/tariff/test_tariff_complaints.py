"""A tariff file that is wrong: what is said of it, and where."""

from __future__ import annotations

import pytest

from agent.contract.errors import ConfigError
from agent.contract.tariff.tariff import Tariff
from tests.support.simpletariff import SIMPLE


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
