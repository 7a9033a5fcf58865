"""Invoices as tables: how numbers are written, what is read, and what is refused with its line."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given as generated
from hypothesis import settings
from hypothesis import strategies as st

from agent.contract.errors import ConfigError
from agent.planning.invoices.given import MAX_BYTES, Given, read_given
from agent.planning.invoices.numbers import mark_of, parse


def read(text: str, **options) -> Given:
    return read_given(text.encode(), "bill.csv", **options)


@pytest.mark.parametrize(
    ("text", "mark", "value"),
    [
        ("1234.5", "point", "1234.5"),
        ("1,234,567.89", "point", "1234567.89"),
        ("1.234.567,89", "comma", "1234567.89"),
        ("1 234,5", "comma", "1234.5"),
        ("1\u00a0234,5", "comma", "1234.5"),
        ("1'234.50", "point", "1234.50"),
        ("1\u2019234.50", "point", "1234.50"),
        ("-12,5", "comma", "-12.5"),
        ("\u221212,5", "comma", "-12.5"),
        ("12.50-", "point", "-12.50"),
        ("007", "point", "7"),
        ("1,2,3", "point", None),
        ("1,23.4", "point", None),
        ("1,234'567", "point", None),
        ("0.123", "comma", None),
        ("-5-", "point", None),
        ("1e3", "point", None),
        ("nan", "point", None),
        ("٣", "point", None),
        ("", "point", None),
        ("9" * 16, "point", None),
    ],
)
def test_numbers_are_read_as_they_are_written(text: str, mark: str, value: str | None) -> None:
    assert parse(text, mark) == (None if value is None else Decimal(value))


@settings(max_examples=50)
@generated(st.decimals(-(10**9), 10**9, places=3, allow_nan=False), st.sampled_from(["point", "comma"]), st.booleans())
def test_a_number_comes_back_however_it_is_grouped(value: Decimal, mark: str, grouped: bool) -> None:
    text = f"{value:,f}" if grouped else f"{value:f}"
    if mark == "comma":
        text = text.translate(str.maketrans(",.", ".,"))
    assert parse(text, mark) == value


def test_the_way_of_writing_is_told_by_any_cell_that_leaves_no_doubt() -> None:
    assert mark_of([("1,234", "a"), ("0,5", "b")]) == "comma"
    assert mark_of([("1,234", "a"), ("0.5", "b")]) == "point"
    assert mark_of([("12", "a")]) == "point"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([("5", "line 2"), ("1,234", "line 3")], "line 3: '1,234' may be 1234 or 1.234. Say which with --decimal"),
        ([("0,5", "line 2"), ("0.5", "line 3")], "line 2: '0,5' has a decimal comma, and '0.5' (line 3) a decimal"),
        ([("5", "line 2"), ("5 EUR", "line 3")], "line 3: '5 EUR' is not a number"),
    ],
)
def test_a_way_of_writing_is_never_guessed(cells: list[tuple[str, str]], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        mark_of(cells)
    assert expected in str(error.value)


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_an_invoice_as_office_programs_save_it(coding: str) -> None:
    text = (
        "Name;Quantity;Unit;Price;Amount\r\nGrundgebühr;1;month;62,00;62,00\r\n\r\nArbeit;1.234,5;kWh;0,20;246,90\r\n"
    )
    found = read_given(text.encode(coding), "bill.csv")
    assert [(line.name, line.quantity, line.amount) for line in found.lines] == [
        ("Grundgebühr", Decimal(1), Decimal("62.00")),
        ("Arbeit", Decimal("1234.5"), Decimal("246.90")),
    ]
    assert [note.partition(" ")[0] for note in found.notes] == (["is"] if coding == "cp1252" else [])


def test_empty_lines_above_the_header_hide_nothing() -> None:
    assert read_given(b"\n\nname;amount\nday;1,50\n", "bill.csv").total == Decimal("1.50")


def test_units_and_prices_become_ours() -> None:
    found = read(
        "name\tquantity\tunit\tprice\tamount\n"
        "energy\t2.5\tMWh\t200\t500.00\n"
        "cents\t1000\tkWh\t20.5\t205.00\n"
        "vat\t705.00\tEUR\t19 %\t133.95\n"
        "vat-2\t705.00\tEUR\t19\t133.95\n"
        "basic\t-\t\t\t60\n"
        "total\t\t\t\t1032.90\n"
    )
    assert [(line.quantity, line.unit, line.price) for line in found.lines] == [
        (Decimal(2500), "kWh", Decimal("0.2")),
        (Decimal(1000), "kWh", Decimal("0.205")),
        (Decimal("705.00"), "EUR", Decimal("0.19")),
        (Decimal("705.00"), "EUR", Decimal("0.19")),
        (None, "", None),
    ]
    assert found.stated == found.total == Decimal("1032.90")
    assert found.notes == ()


def test_what_does_not_add_up_in_it_is_noted() -> None:
    found = read("name,quantity,price,amount\nenergy,10,2.00,30.00\ntotal,,,31.00\n")
    assert found.notes == (
        "energy: 10 x 2.00 is not 30.00",
        "their lines add up to 30.00, not to their total of 31.00",
    )


def test_a_share_of_the_month_is_part_of_the_price() -> None:
    found = read("name,quantity,price,share,amount\ndemand,100,9.30,14/31,420.00\n")
    assert found.lines[0].share == Fraction(14, 31)
    assert found.notes == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "bill.csv: has no line"),
        ("name,amount\n", "bill.csv: has no line"),
        ("name\nx\n", "line 1: column 'amount' is missing"),
        ("name,amount,amount\nx,1,2\n", "line 1: column 'amount' stands twice"),
        ("name,amount,quantiy\nx,1,2\n", "line 1: column 'quantiy' is unknown"),
        ("name,amount\nx,1,5\n", "line 2: has 3 cells where the header has 2"),
        ("name,amount\n,1\n", "line 2: has no name"),
        ("name,amount\nx,\n", "line 2: has no amount"),
        ("name,amount\nx,1\nTotal,1\ntotal,1\n", "line 4: is a second total"),
        ('name,amount\n"x,1\n', "is not CSV"),
        ("name,amount\nx\x1b[2J,1\n", "line 2: has a character that cannot be shown"),
        ("name,amount\nx\u202ey,1\n", "line 2: has a character that cannot be shown"),
        ("name,amount\nx\0,1\n", "bill.csv: is not text"),
        (f"name,amount\n{'x' * 201},1\n", "line 2: has a cell longer than 200"),
        ("name,amount\n" + "x,1\n" * 1001, "has more than 1000 lines"),
        ("name,amount\n" + "x" * MAX_BYTES + ",1\n", "bill.csv: is larger than 1 MiB"),
        ("name,amount,share\nx,1,0/31\n", "line 2: 0/31 is not a share"),
        ("name,amount,share\nx,1,1/0\n", "line 2: '1/0' is not a share"),
        ("name,amount\nx,=1+1\n", "line 2: '=1+1' is not a number"),
    ],
)
def test_what_is_no_invoice_is_refused_with_its_line(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(text)
    assert expected in str(error.value)


def test_the_way_of_writing_can_be_told() -> None:
    text = "name;amount\nx;1,234\n"
    assert read(text, mark="comma").total == Decimal("1.234")
    assert read(text, mark="point").total == Decimal(1234)
    with pytest.raises(ConfigError, match=r"line 2: '0.5' is not a number with a decimal comma"):
        read("name;amount\nx;0.5\n", mark="comma")


@settings(max_examples=100)
@generated(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for text in (data, b"name,quantity,price,amount\n" + data):
        where = "bill.csv"
        with contextlib.suppress(ConfigError):
            where = read_given(text, "bill.csv").lines[0].place
        assert where.startswith("bill.csv")
