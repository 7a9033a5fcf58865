"""Invoices worked by hand after published tariffs, compared line by line to the cent.

A case is a folder: load.toml (what the meters and the market showed), expected.json (the invoice) and working.md (the pencil
work). The figures come from the published rules, not from this program.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.contract.tariff.tariff import Tariff
from agent.planning.billing.bill import bill
from tests.support import drawn

INVOICES = Path(__file__).parent / "invoices"
TARIFFS = Path(__file__).parents[4] / "firmware-configs" / "tariffs"
CASES = sorted(folder.name for folder in INVOICES.iterdir())


@pytest.mark.parametrize("case", CASES)
def test_invoice_worked_by_hand(case, tmp_path):
    load = tomllib.loads((INVOICES / case / "load.toml").read_text(encoding="utf-8"), parse_float=Decimal)
    expected = json.loads((INVOICES / case / "expected.json").read_text(encoding="utf-8"))
    tariff = _tariff(load, tmp_path)
    span = drawn.bounds_ms(load, tariff.zone)
    meters = {name: drawn.slots(series, tariff.zone, *span) for name, series in load["meter"].items()}
    found = bill(tariff, meters.pop("main"), span_ms=span, meters=meters)
    lines = [_shown(line) for invoice in found.invoices for line in invoice.lines]
    assert lines == [_expected(line) for invoice in expected["invoices"] for line in invoice]
    assert (found.total, found.low, found.high) == tuple(Decimal(expected[key]) for key in ("total", "low", "high"))


@pytest.mark.parametrize("path", sorted(TARIFFS.glob("*.toml")), ids=lambda path: path.stem)
def test_each_worked_example_of_a_tariff_has_no_complaints(path):
    assert Tariff.load(path).name


def test_each_worked_example_of_a_tariff_has_an_invoice():
    used = {tomllib.loads((INVOICES / case / "load.toml").read_text(encoding="utf-8"))["tariff"] for case in CASES}
    assert used == {path.stem for path in TARIFFS.glob("*.toml")}


def _tariff(load: dict, folder: Path) -> Tariff:
    """The worked example with the changes of the case, its later version, and the prices of the case."""
    text = (TARIFFS / f"{load['tariff']}.toml").read_text(encoding="utf-8")
    for change in load.get("change", ()):
        assert text.count(change["of"]) == 1, f"{change['of']!r} is not once in the tariff"
        if "since" in change:  # a version of its own
            (folder / "earlier.toml").write_text(text, encoding="utf-8")
            text = re.sub("^valid_from = .*$", f"valid_from = {change['since']}", text, flags=re.MULTILINE)
        text = text.replace(change["of"], change["to"])
    (folder / "tariff.toml").write_text(text, encoding="utf-8")
    if "price" in load:
        zone = ZoneInfo(tomllib.loads(text)["zone"])
        _write_prices(drawn.quarters(load["price"], zone, *drawn.bounds_ms(load, zone)), folder / "day-ahead.csv")
    return Tariff.load(folder)


def _write_prices(prices: dict[int, Decimal | None], path: Path) -> None:
    """Hours, in currency per MWh."""
    hours = {at: price for at, price in prices.items() if at % 3_600_000 == 0 and price is not None}
    lines = (
        f"{dt.datetime.fromtimestamp(at / 1000, dt.UTC).isoformat()},{price * 1000}" for at, price in hours.items()
    )
    path.write_text("\n".join(("start,price", *lines)) + "\n", encoding="utf-8")


def _text(line: str, quantity: Decimal, price: Decimal | None, share: str, amount: Decimal) -> str:
    shown = "its own" if price is None else f"{price.normalize():f}"
    return f"{line}: {quantity.normalize():f} x {shown} x {share} = {amount}"


def _shown(line) -> str:
    return _text(line.period, line.quantity, line.price, str(line.share), line.amount)


def _expected(line: dict) -> str:
    price = Decimal(line["price"]) if "price" in line else None
    return _text(line["line"], Decimal(line["quantity"]), price, line.get("share", "1"), Decimal(line["amount"]))
