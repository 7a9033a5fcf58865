"""A utility's invoice as a table: bytes to lines, with limits and complaints that name the line. Pure.

Columns, in any order: `name` and `amount`, and where there are some `quantity`, `unit`, `price`, `share` (of the
month), `ours` (which of our lines it is) and `invoice` (not looked at). So `edgewatt cost bill --csv` can be read.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from agent.contract.errors import ConfigError
from agent.planning.invoices.numbers import Cell, Mark, mark_of, parse

MAX_BYTES = 1 << 20
MAX_LINES = 1000
MAX_CELL = 200
_COLUMNS = ("name", "quantity", "unit", "price", "amount", "share", "ours", "invoice")
_NUMBERS = ("quantity", "price", "amount")
_TOTAL = "total"
_NOTHING = ("-", "\u2013", "\u2014")
_UNITS = {  # theirs -> ours and how many of it
    "wh": ("kWh", Decimal("0.001")),
    "kwh": ("kWh", Decimal(1)),
    "mwh": ("kWh", Decimal(1000)),
    "gwh": ("kWh", Decimal(10**6)),
    "kw": ("kW", Decimal(1)),
    "mw": ("kW", Decimal(1000)),
    "kva": ("kVA", Decimal(1)),
    "mva": ("kVA", Decimal(1000)),
    "kvarh": ("kvarh", Decimal(1)),
    "mvarh": ("kvarh", Decimal(1000)),
    **dict.fromkeys(("d", "day", "days"), ("d", Decimal(1))),
    **dict.fromkeys(("month", "months"), ("month", Decimal(1))),
    **dict.fromkeys(("year", "years"), ("year", Decimal(1))),
}
_CENT = Decimal("0.02")
_LOOSE = Decimal("0.0005")  # of an amount: a printed price is rounded, too


@dataclass(frozen=True, slots=True)
class GivenLine:
    """One line of theirs, in our units.

    Attributes:
        place: file and line, for errors.
        quantity, price: None where not stated.
        share: of the month.
        ours: the line of ours that the table says it is; empty where it says nothing.
    """

    place: str
    name: str
    quantity: Decimal | None
    unit: str
    price: Decimal | None
    share: Fraction
    amount: Decimal
    ours: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """Their invoice.

    Attributes:
        stated: the total that it states, where a line named `total` does.
        notes: what was noticed while reading.
    """

    lines: tuple[GivenLine, ...]
    stated: Decimal | None
    notes: tuple[str, ...]

    @property
    def total(self) -> Decimal:
        """Sum of the lines."""
        return sum((line.amount for line in self.lines), Decimal(0))


def read_given(data: bytes, where: str, mark: Mark | None = None) -> Given:
    """Read a table; its cells are parted by commas, semicolons or tabs.

    Args:
        data: UTF-8 or UTF-16 with its mark, else Windows-1252.
        where: the file's name, for errors.
        mark: decimal point or comma; None: as the numbers show.

    Raises:
        ConfigError: with the line, when it is no such table, a number cannot be read, or could be read in two ways.
    """
    notes: list[str] = []
    rows = list(_rows(_text(data, where, notes), where))
    if not rows:
        raise ConfigError("has no line", where=where, todo=f"Its header is {','.join(_COLUMNS[:5])}")
    cells: list[Cell] = [
        (row[column].removesuffix("%").strip(), place)
        for place, row in rows
        for column in _NUMBERS
        if row.get(column, "")
    ]
    if mark is None:
        mark = mark_of(cells)
    elif wrong := next((cell for cell in cells if parse(cell[0], mark) is None), None):
        raise ConfigError(f"{wrong[0][:40]!r} is not a number with a decimal {mark}", where=wrong[1])
    lines, stated = [], None
    for place, row in rows:
        line = _line(place, row, mark, notes)
        if line.name.casefold() != _TOTAL:
            lines.append(line)
        elif stated is None:
            stated = line.amount
        else:
            raise ConfigError("is a second total", where=place, todo="Give one invoice at a time")
    summed = sum((line.amount for line in lines), Decimal(0))
    if stated is not None and stated != summed:
        notes.append(f"their lines add up to {summed}, not to their total of {stated}")
    return Given(tuple(lines), stated, tuple(notes))


def _text(data: bytes, where: str, notes: list[str]) -> str:
    if len(data) > MAX_BYTES:
        raise ConfigError(f"is larger than {MAX_BYTES >> 20} MiB", where=where, todo="Give one invoice at a time")
    coding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(coding)
    except UnicodeDecodeError as exc:
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            raise ConfigError("is not text", where=where, todo="Save it as CSV in UTF-8") from exc
        notes.append("is not UTF-8 and was read as Windows-1252: look whether the names are right")
    if "\0" in text:
        raise ConfigError("is not text", where=where, todo="Save it as CSV in UTF-8")
    return text


def _rows(text: str, where: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield where each line stands, and its cells by column."""
    lines = text.splitlines(keepends=True)
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    count = 0
    try:
        for row in reader:
            place = f"{where} line {reader.line_num}"
            cells = [_cell(cell, place) for cell in row]
            if not any(cells):
                continue
            if header is None:
                header = _header(cells, place)
                continue
            if len(cells) != len(header):
                raise ConfigError(
                    f"has {len(cells)} cells where the header has {len(header)}",
                    where=place,
                    todo=f"Put a cell that holds {delimiter!r} in quotes",
                )
            if (count := count + 1) > MAX_LINES:
                raise ConfigError(f"has more than {MAX_LINES} lines", where=where, todo="Give one invoice at a time")
            yield place, dict(zip(header, cells, strict=True))
    except csv.Error as exc:
        raise ConfigError(f"is not CSV ({exc})", where=f"{where} line {reader.line_num}") from exc


def _header(cells: list[str], place: str) -> list[str]:
    names = [cell.casefold() for cell in cells]
    unknown = [name for name in names if name not in _COLUMNS]
    twice = {name for name in names if names.count(name) > 1}
    missing = {"name", "amount"} - {*names}
    todo = f"The columns are {', '.join(_COLUMNS)}; name and amount are needed"
    if unknown:
        raise ConfigError(f"column {unknown[0]!r} is unknown", where=place, todo=todo)
    if twice or missing:
        which, what = (min(twice), "stands twice") if twice else (min(missing), "is missing")
        raise ConfigError(f"column {which!r} {what}", where=place, todo=todo)
    return names


def _cell(text: str, place: str) -> str:
    text = re.sub(r"[\s\u00a0]+", " ", text).strip()
    if len(text) > MAX_CELL:
        raise ConfigError(f"has a cell longer than {MAX_CELL} characters", where=place, todo="Shorten it")
    if any(unicodedata.category(character).startswith("C") for character in text):
        raise ConfigError("has a character that cannot be shown", where=place, todo="Write the cell anew")
    return "" if text in _NOTHING else text


def _line(place: str, row: Mapping[str, str], mark: Mark, notes: list[str]) -> GivenLine:
    name = row["name"]
    if not name:
        raise ConfigError("has no name", where=place, todo="Name the line")
    amount = parse(row["amount"], mark)
    if amount is None:
        raise ConfigError("has no amount", where=place, todo="Write what the line costs, 0 where it is nothing")
    quantity = parse(row.get("quantity", "").removesuffix("%"), mark)
    price = parse(row.get("price", "").removesuffix("%"), mark)
    unit, factor = _UNITS.get(row.get("unit", "").casefold(), (row.get("unit", ""), Decimal(1)))
    quantity = None if quantity is None else quantity * factor
    share = _share(row.get("share", ""), place)
    if price is not None and row["price"].endswith("%"):
        price /= 100
    elif price is not None:
        price = _price(price, factor, quantity, share, amount)
        if quantity is not None and not _fits(price, quantity, share, amount):
            notes.append(f"{name}: {quantity} x {price} is not {amount}")
    return GivenLine(place, name, quantity, unit, price, share, amount, row.get("ours", ""))


def _price(price: Decimal, factor: Decimal, quantity: Decimal | None, share: Fraction, amount: Decimal) -> Decimal:
    """Return the price of one of our units: it may be printed for theirs or ours, and in hundredths."""
    printed = price / factor
    if quantity is None:
        return printed
    candidates = (printed, printed / 100, price, price / 100)
    return next((one for one in candidates if _fits(one, quantity, share, amount)), printed)


def _fits(price: Decimal, quantity: Decimal, share: Fraction, amount: Decimal) -> bool:
    """Whether quantity x price is an amount; a charge by the month may be for part of it without saying so."""
    product = Fraction(quantity) * Fraction(price)
    return comes_to(product, amount) or comes_to(product * share, amount)


def _share(text: str, place: str) -> Fraction:
    if not text:
        return Fraction(1)
    found = re.fullmatch(r"(\d{1,6})(?:/(\d{1,6}))?", text, re.ASCII)
    if found is None or not int(found[2] or 1):
        raise ConfigError(f"{text[:40]!r} is not a share such as 14/31", where=place)
    share = Fraction(int(found[1]), int(found[2] or 1))
    if not 0 < share <= 1:
        raise ConfigError(f"{text} is not a share such as 14/31", where=place)
    return share


def comes_to(product: Fraction, amount: Decimal) -> bool:
    """Whether a product is an amount, given that both were rounded."""
    return abs(product - Fraction(amount)) <= Fraction(max(_CENT, abs(amount) * _LOOSE))
