"""What the report says of money: the month's bill line by line, its end, its peak, and the plan."""

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from agent.contract.rows import cost_row, event_row
from agent.contract.tariff.tariff import Tariff
from agent.planning.costs import CostWatch
from tests.support import fleetdata
from tests.trainer.service.test_report_page import EVIL, page_of
from trainer.service import costs, figures

START, DAY = fleetdata.START_MS, 86_400_000
ZONE = ZoneInfo(fleetdata.ZONE)
TARIFF = (
    fleetdata.TARIFF
    + """
[[demand]]
name = "peak-demand"
price_per_kw = 10
interval_minutes = 30
[[fee]]
name = "vat"
percent = 10
of = "all"
"""
)


@pytest.fixture
def empty(tmp_path):
    engine = fleetdata.empty(tmp_path)
    yield engine
    engine.dispose()


def stated(days):
    """Cost rows of the device's own watch under a tariff with demand and tax, at each midnight."""
    watch = CostWatch(Tariff.from_toml(TARIFF, "test"))
    slots = [fleetdata.slot(START + step * fleetdata.SLOT_MS, 1.0) for step in range(48 * days)]
    return slots, [
        row for day in range(1, days + 1) for row in watch.rows(START + day * DAY - 1, slots[: 48 * day], None)
    ]


def plan_event(time_ms, saving, source="highs", **more):
    return event_row(
        time_ms,
        "plan",
        f"the plan saves {saving:.2f} AUD against doing nothing",
        start_ms=time_ms,
        end_ms=time_ms + DAY,
        cost=1000.0 - saving,
        cost_of_nothing=1000.0,
        saving=saving,
        currency="AUD",
        source=source,
        gap=None,
        **more,
    )


def test_bill_of_the_month_stands_line_by_line_with_its_peak_and_its_end(empty):
    slots, rows = stated(5)
    writer = fleetdata.DeviceWriter(empty, "plant")
    writer.rows("slots", [slot.to_row() for slot in slots])
    writer.rows("costs", rows)
    report, page = page_of(empty)
    month = [row for row in rows if row["scope"] == "month"][-1]
    end = [row for row in rows if row["scope"] == "month_end"][-1]
    cells = {row[0]: row[1:] for row in page.rows if len(row) == 4}
    peak_kw = max(slot.energy_wh for slot in slots) / 500
    for line in month["lines"]:
        assert cells[line["period"]][2] == f"{Decimal(line['amount']):,.2f}"
    assert cells["peak-demand"][0] == f"{peak_kw:,.3f}".rstrip("0").rstrip(".") + " kW"
    assert cells["together"][2] == f"{Decimal(month['amount']):,.2f}"
    assert f"costs {Decimal(cells['peak-demand'][2].replace(',', '')):,.2f} AUD" in page.body
    assert f"between {Decimal(end['low']):,.2f} and {Decimal(end['high']):,.2f}" in page.body
    line = report.to_json()["devices"][0]
    assert (line["month_cost"], line["month_end_low"], line["plan_saving"]) == (month["amount"], end["low"], None)


def test_days_are_stacked_by_kind_of_charge_where_demand_is_billed():
    slots, rows = stated(3)
    days, _, bad = costs.read_costs(rows, ZONE, slots[0].start_ms, slots[-1].end_ms)
    assert bad == 0
    traces = figures.cost_figure(days, fleetdata.ZONE)["data"]
    assert [trace["name"] for trace in traces] == ["energy", "fixed", "demand", "other"]
    for index, day in enumerate(days):
        assert sum(trace["y"][index] for trace in traces) == pytest.approx(float(day.amount), abs=0.01)
    demand = traces[2]["y"]
    assert demand[0] > 0  # the first day sets a peak; a later one costs only what it adds to it
    assert sum(demand) == pytest.approx(10 * max(slot.energy_wh for slot in slots) / 500, abs=0.05)


def test_days_without_demand_are_stacked_by_period():
    lines = tuple(costs.BillLine(name, "energy", None, "kWh", "", Decimal(2)) for name in ("peak", "off-peak"))
    assert costs.parts([day_of(lines)]) == [{"peak": Decimal(2), "off-peak": Decimal(2)}]


def day_of(lines):
    return costs.DayCost(dt.date(2014, 11, 10), "AUD", Decimal(4), Decimal(4), Decimal(4), lines)


def test_the_range_of_another_month_s_end_is_not_shown():
    def row(scope, start_ms):
        return cost_row(start_ms + DAY, scope, "AUD", "5.00", "4.00", "6.00", start_ms=start_ms, end_ms=start_ms + DAY)

    bill, bad = costs.read_bill([row("month_end", START), row("month", START + 30 * DAY)])
    assert (bill.start_ms, bill.end, bill.lines, bad) == (START + 30 * DAY, None, (), 0)
    bill, _ = costs.read_bill([row("month", START), row("month_end", START)])
    assert bill.end == (Decimal("5.00"), Decimal("4.00"), Decimal("6.00"))


def test_a_bill_that_cannot_be_read_leaves_the_one_before_and_is_counted():
    good = cost_row(START, "month", "AUD", "5.00", "5.00", "5.00", start_ms=START, end_ms=START + DAY)
    bad = [{**good, "lines": [{"period": 7, "amount": "1"}]}, {**good, "amount": "much"}, {"time_ms": START}]
    bill, unreadable = costs.read_bill([good, *bad])
    assert (bill.amount, unreadable) == (Decimal("5.00"), 2)
    assert costs.read_costs([good, *bad], ZONE, None, None)[2] == 1  # the one that names no scope


def test_the_newest_plan_says_what_it_saves_and_who_made_it(empty):
    writer = fleetdata.DeviceWriter(empty, "plant")
    odd = {**plan_event(START + 2 * DAY, 1.0), "saving": "much"}
    writer.rows("events", [plan_event(START, 300.0), plan_event(START + DAY, 123.45, "rules"), odd])
    report, page = page_of(empty)
    assert "Saves 123.45 AUD" in page.body
    assert "rules, not the optimiser" in page.body
    assert report.headlines[0].plan_saving == 123.45


def test_a_plan_that_costs_more_is_told_so_with_what_it_leaves_stored_whoever_made_it(empty):
    writer = fleetdata.DeviceWriter(empty, "plant")
    writer.rows("events", [plan_event(START, -2.5, "oracle", left_over=4.25)])
    report, page = page_of(empty)
    body = " ".join(page.body.split())
    assert "Costs 2.50 AUD more than doing nothing" in body
    assert "4.25 AUD more than doing nothing leaves" in body
    assert "oracle," in body
    assert report.headlines[0].plan_saving == -2.5


def test_devices_without_tariff_or_plan_have_a_report_that_says_so(empty):
    writer = fleetdata.DeviceWriter(empty, "plain")
    writer.rows("slots", [fleetdata.slot(START + step * fleetdata.SLOT_MS, 1.0).to_row() for step in range(96)])
    report, page = page_of(empty)
    assert "No bill yet" in page.body
    assert "No plan: this device has sent none" in page.body
    line = report.headlines[0]
    assert (line.month_cost, line.month_end_high, line.plan_saving, line.unreadable_rows) == (None, None, None, 0)


def test_hostile_texts_of_bill_and_plan_stay_text(empty):
    writer = fleetdata.DeviceWriter(empty, "plant")
    line = {"period": EVIL, "quantity": "1", "unit": EVIL, "price": EVIL, "amount": "1.00"}
    month = {"start_ms": START, "end_ms": START + DAY, "lines": [line], "notes": [EVIL]}
    writer.rows("costs", [cost_row(START, "month", EVIL[:8], "1.00", "1.00", "1.00", **month)])
    writer.rows("events", [{**plan_event(START, 1.0, EVIL[:20]), "text": EVIL, "currency": EVIL[:8]}])
    _, page = page_of(empty)
    assert len(page.scripts) == 2
    assert not {"img", "b"} & {tag for tag, _ in page.tags}
    assert not [name for _, name, _ in page.attributes() if name.startswith("on")]
    assert page.body.count(" ".join(EVIL.split())) == 2  # the note and the plan's words; names are cut
