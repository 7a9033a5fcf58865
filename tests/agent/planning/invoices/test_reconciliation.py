"""An invoice against ours: what each difference is made of, what explains it, and that the parts add up."""

from __future__ import annotations

import csv
import dataclasses
import io
import random
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

import pytest
from hypothesis import given as generated
from hypothesis import settings
from hypothesis import strategies as st

from agent.contract.errors import ConfigError
from agent.contract.slots import Slot
from agent.contract.tariff.tariff import Tariff
from agent.planning.billing.bill import Bill, bill
from agent.planning.billing.lines import Line
from agent.planning.invoices.given import read_given
from agent.planning.invoices.reconciliation import Reconciliation, reconcile
from tests.support.billing import at, empty, slots, tariff, with_peak
from tests.support.costplants import NIGHT_AND_DAY

SPAN = at(2026, 10, 1), at(2026, 11, 1)
OURS = tariff(NIGHT_AND_DAY)
HOUR_MS = 3_600_000


def load() -> list[Slot]:
    """Hours from a day before October to a day after it, busy from 6 to 20 o'clock."""
    noise, start_ms = random.Random(3), at(2026, 9, 30)
    hours = range(start_ms, at(2026, 11, 3), HOUR_MS)
    busy = [60 if 6 <= (at_ms // HOUR_MS + 2) % 24 < 20 else 0 for at_ms in hours]
    return slots(start_ms, [round(1000 * (80 + 40 * noise.random() + more)) for more in busy], 3600)


LOAD = load()


def table(lines: Sequence[Line], change: Callable[[dict[str, str]], object] = lambda row: None) -> str:
    """An invoice of lines, each row of which may be changed or, by an answer of False, left out."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["name", "quantity", "unit", "price", "share", "amount"])
    writer.writeheader()
    for line in lines:
        row = {"name": line.period, "quantity": str(line.quantity), "unit": line.unit, "amount": str(line.amount)}
        row |= {"price": str(line.price), "share": "" if line.share == 1 else str(line.share)}
        if change(row) is not False:
            writer.writerow(row)
    return text.getvalue()


def theirs(their_load: Sequence[Slot] = LOAD, by: Tariff = OURS, span: tuple[int, int] = SPAN) -> Bill:
    return bill(by, their_load, span_ms=span)


def explained(
    text: str, our_load: Sequence[Slot] = LOAD, by: Tariff = OURS, told: Mapping[str, str] | None = None
) -> Reconciliation:
    found = reconcile(by, our_load, SPAN, read_given(text.encode(), "bill.csv"), told or {})
    assert found.difference == found.given.total - found.bill.total
    assert sum(found.causes.values()) == found.difference
    for one in found.differences:
        if one.pair.theirs is not None and one.pair.ours is not None:
            assert one.by_quantity + one.by_price + one.rest == one.amount
    return found


def test_an_invoice_like_ours_leaves_nothing_to_explain() -> None:
    found = explained(table(theirs().lines))
    assert found.causes == {}
    assert found.findings == ()


@pytest.mark.parametrize(("hours", "words"), [(1, "1 h ahead of ours"), (-1, "1 h behind ours")])
def test_a_clock_that_is_an_hour_off_is_found(hours: int, words: str) -> None:
    moved = [dataclasses.replace(slot, start_ms=slot.start_ms + hours * HOUR_MS) for slot in LOAD]
    found = explained(table(theirs(moved).lines))
    (finding,) = found.findings
    assert words in finding
    assert finding.endswith(", to the Wh")
    assert list(found.causes)[:2] == ["quantities of energy", "taxes and percentages of what differs above"]
    assert all(abs(amount) < 1 for amount in list(found.causes.values())[2:])


def test_a_clock_that_stays_in_winter_time_is_found_in_the_month_of_the_change() -> None:
    change_ms = at(2026, 10, 25, 2, fold=1)
    shown = [
        dataclasses.replace(slot, start_ms=slot.start_ms - HOUR_MS) if slot.start_ms < change_ms else slot
        for slot in LOAD
    ]
    found = explained(table(theirs(shown).lines))
    assert "a clock of theirs that does not change to summer time, to the Wh" in found.findings[0]


@pytest.mark.parametrize(
    ("span", "words"),
    [
        ((SPAN[0], at(2026, 10, 31)), "their invoice ending before 2026-10-31"),
        ((SPAN[0], at(2026, 11, 2)), "their invoice ending after 2026-11-01"),
        ((at(2026, 10, 2), SPAN[1]), "their invoice beginning after 2026-10-01"),
        ((at(2026, 9, 30), SPAN[1]), "their invoice beginning with 2026-09-30"),
    ],
)
def test_a_day_more_or_less_is_found(span: tuple[int, int], words: str) -> None:
    without_demand = tariff(NIGHT_AND_DAY.partition("[[demand]]")[0])  # which two months have twice
    found = explained(table(theirs(by=without_demand, span=span).lines), by=without_demand)
    (finding,) = found.findings
    assert words in finding
    assert finding.endswith(", to the Wh")


def test_one_ratio_in_all_lines_is_a_transformer() -> None:
    def scale(row: dict[str, str]) -> None:
        if row["unit"] == "kWh":
            row["quantity"] = str(round(Decimal(row["quantity"]) * Decimal("1.0200")))
            row["amount"] = str(round(Decimal(row["quantity"]) * Decimal(row["price"]), 2))

    (finding,) = explained(table(theirs().lines, scale)).findings
    assert "explained by one ratio of 1.02 in every line" in finding


def test_slots_that_we_miss_are_the_cause_where_a_possible_load_fills_them() -> None:
    gap = at(2026, 10, 6), at(2026, 10, 8)
    missing = [empty(slot) if gap[0] <= slot.start_ms < gap[1] else slot for slot in LOAD]
    found = explained(table(theirs().lines), missing)
    assert "explained by the 48 slots that are missing in ours, with a mean of 13" in found.findings[0]
    assert found.bill.low < found.given.total < found.bill.high


def test_what_nothing_explains_is_said() -> None:
    def change(row: dict[str, str]) -> None:
        if row["name"] == "night":
            row["quantity"], row["amount"] = "40000", "8000.00"

    (finding,) = explained(table(theirs().lines, change)).findings
    assert "no day more or less and no ratio explains" in finding


def test_whole_kilowatt_hours_are_no_difference_to_explain() -> None:
    def rounded(row: dict[str, str]) -> None:
        if row["unit"] == "kWh":
            row["quantity"] = str(round(Decimal(row["quantity"])))
            row["amount"] = str(round(Decimal(row["quantity"]) * Decimal(row["price"]), 2))

    found = explained(table(theirs().lines, rounded))
    assert found.findings == ()
    assert abs(found.difference) < 1


def test_a_price_of_another_version_is_named() -> None:
    both = tariff(
        NIGHT_AND_DAY, "valid_from = 2026-10-15\n" + NIGHT_AND_DAY.replace("= 0.30", "= 0.40"), zone="Europe/Berlin"
    )
    whole = explained(table(theirs().lines), by=both)  # one line of theirs for two of ours, compared as one

    def old(row: dict[str, str]) -> None:
        if row["price"] == "0.40":
            row["price"], row["amount"] = "0.30", str(round(Decimal(row["quantity"]) * Decimal("0.30"), 2))

    split = explained(table(theirs(by=both).lines, old), by=both)
    for found, ours in ((whole, "0.354409"), (split, "0.4")):
        cause = f"day: their price is 0.3, ours {ours}: that of the first version of the tariff (test)"
        assert cause in found.findings


@pytest.mark.parametrize(
    ("price", "words"),
    [("0.357", "ours with vat (19 %) in it"), ("0.3", ""), ("0.31", "day: their price is 0.31, ours 0.3")],
)
def test_a_price_that_differs_is_explained(price: str, words: str) -> None:
    def change(row: dict[str, str]) -> None:
        if row["name"] == "day":
            row["price"] = price
            row["amount"] = str(round(Decimal(row["quantity"]) * Decimal(price), 2))

    found = explained(table(theirs().lines, change))
    assert " ".join(found.findings).endswith(words)
    assert ("prices" in found.causes) is bool(words)


def test_a_price_of_fewer_decimals_is_ours_rounded() -> None:
    fine = tariff(NIGHT_AND_DAY.replace("0.30", "0.30123"))

    def change(row: dict[str, str]) -> None:
        if row["name"] == "day":
            row["price"] = "0.3012"
            row["amount"] = str(round(Decimal(row["quantity"]) * Decimal("0.3012"), 2))

    assert explained(table(theirs(by=fine).lines, change), by=fine).findings == (
        "day: their price is 0.3012, ours 0.30123: ours, rounded",
    )


def test_a_demand_of_another_interval_is_found() -> None:
    quarters = slots(SPAN[0], [20_000 + 30_000 * (at % 7 == 0) for at in range((SPAN[1] - SPAN[0]) // 900_000)])
    hourly = bill(OURS, quarters, span_ms=SPAN)
    by_quarter = tariff(NIGHT_AND_DAY.replace("interval_minutes = 60", "interval_minutes = 15"))
    found = explained(table(hourly.lines), quarters, by_quarter)
    (finding,) = found.findings
    assert finding == "demand: their demand is 110 kW, ours 200 kW: explained by demand measured over 60 min"
    assert found.causes["quantities of demand"] == Decimal("-900.00")


def test_a_demand_in_a_window_is_found_by_the_clock_that_explains_the_energies() -> None:
    windowed = tariff(NIGHT_AND_DAY.replace('name = "demand"\n', 'name = "demand"\nhours = ["08:00-12:00"]\n'))
    ours = with_peak(LOAD, at(2026, 10, 7, 11), 500)
    spiky = [dataclasses.replace(slot, start_ms=slot.start_ms + HOUR_MS) for slot in ours]
    found = explained(table(theirs(spiky, windowed).lines), ours, windowed)
    assert [finding.partition(": explained by ")[2][:42] for finding in found.findings] == [
        "a clock of theirs that is 1 h ahead of our"
    ] * 2


def test_lines_that_one_side_has_and_what_they_may_be() -> None:
    text = table(theirs().lines, lambda row: row["name"] != "fixed") + "Grundpreis,31,d,2.00,,62.00\nPenalty,,,,,5.00\n"
    found = explained(text)
    assert found.causes == {"lines that only they have": Decimal("67.00"), "lines that only we have": Decimal("-62.00")}
    assert found.findings == (
        "their 'Grundpreis' has the amount of our fixed; if it is that: --map 'Grundpreis=fixed'",
    )
    told = explained(text, told={"Grundpreis": "fixed"})
    assert told.causes == {"lines that only they have": Decimal("5.00")}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"day": "noon"}, "'noon' is no line of ours. Ours are day, night"),
        ({"noon": "day"}, "'noon' is no line of theirs"),
    ],
)
def test_what_is_told_must_be_there(told: dict[str, str], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        explained(table(theirs().lines), told=told)
    assert expected in str(error.value)


def test_several_lines_of_theirs_may_be_one_of_ours() -> None:
    day = next(line for line in theirs().lines if line.period == "day")
    text = table(theirs().lines, lambda row: row["name"] != "day")
    half = (day.quantity / 2).quantize(Decimal(1))
    for number, quantity in enumerate((half, day.quantity - half)):
        text += f"HT {number},{quantity},kWh,0.30,,{round(quantity * Decimal('0.30'), 2)}\n"
    found = explained(text, told={"HT 0": "day", "HT 1": "day"})
    assert found.differences[0].pair.theirs is not None
    assert found.differences[0].pair.theirs.names == ("HT 0", "HT 1")
    assert abs(found.difference) <= Decimal("0.01")


@settings(max_examples=40, deadline=None)
@generated(
    st.lists(
        st.tuples(
            st.sampled_from(["day", "night", "fixed", "demand", "vat", "other"]),
            st.one_of(st.none(), st.decimals(-1000, 100_000, places=3)),
            st.sampled_from(["kWh", "kW", "MWh", "", "EUR"]),
            st.one_of(st.none(), st.decimals(-2, 50, places=4)),
            st.decimals(-1000, 100_000, places=2),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_the_parts_of_any_difference_add_up(
    rows: list[tuple[str, Decimal | None, str, Decimal | None, Decimal]],
) -> None:
    text = "name;quantity;unit;price;amount\n"
    for name, quantity, unit, price, amount in rows:
        text += f"{name};{'' if quantity is None else quantity};{unit};{'' if price is None else price};{amount}\n"
    week = [slot for slot in LOAD if slot.end_ms <= at(2026, 10, 3)]
    found = reconcile(OURS, week, (SPAN[0], at(2026, 10, 3)), read_given(text.encode(), "b", "point"), {})
    assert sum(found.causes.values()) == found.difference == found.given.total - found.bill.total
