"""What a day and a month cost where earlier months count: ratchets, the year's demand, tiers by the year."""

from __future__ import annotations

import dataclasses
import itertools
import math
from fractions import Fraction
from functools import partial

import pytest

from agent.contract.errors import StorageError
from agent.contract.slots import Slot
from agent.contract.tariff.tariff import Tariff
from agent.daemon.forecasting import Costs
from agent.daemon.history import History
from agent.planning.billing.bill import bill
from agent.planning.billing.forward import Forward, Peak
from agent.planning.costs import CostWatch
from tests.support.costrows import HOUR_MS, at, forecast, hours, lines

SOME_PRICE = '[[period]]\nname = "flat"\nprice_per_kwh = 0.25\n'
DEMAND = Tariff.from_toml("""
name = "demand"
zone = "Australia/Melbourne"
currency = "AUD"
[[period]]
name = "flat"
price_per_kwh = 0.25
[[demand]]
name = "demand"
price_per_kw = 10
interval_minutes = 60
ratchet = {share = 0.5, months = 1}
[[fee]]
name = "gst"
percent = 10
of = "all"
""")


def september(kw):
    return Forward({(None, "demand"): {"2014-09": Peak(Fraction(kw), is_sure=True, from_ms=at(2014, 9, 1))}})


def costs(now_ms, slots, ahead=None, forward=None):
    rows = CostWatch(DEMAND, forward or september(1)).rows(now_ms, slots, ahead)
    return {row["scope"]: row for row in rows}


def test_a_new_peak_costs_on_the_day_on_which_it_is_set():
    now = at(2014, 10, 15, 10)
    slots = hours(at(2014, 10, 1), now)
    plain = costs(now, slots)["today"]
    assert lines(plain) == {"flat": "10.00", "demand": "0.00", "gst": "1.00"}
    slots[-3] = dataclasses.replace(slots[-3], energy_wh=6000, power_kw=6.0)
    peak = costs(now, slots)["today"]
    assert lines(peak) == {"flat": "10.50", "demand": "20.00", "gst": "3.05"}
    assert peak["amount"] == peak["so_far"] == "33.55"
    assert lines(costs(now, slots)["month"])["demand"] == "60.00"


def test_a_peak_that_is_forecast_costs_in_the_hours_ahead():
    now = at(2014, 10, 15, 10)
    rows = costs(now, hours(at(2014, 10, 1), now), forecast(now))
    # 4 kW so far; 8 kW ahead, at least 4 and at most 16
    assert lines(rows["next_24h"]) == {"flat": "48.00", "demand": "40.00", "gst": "8.80"}
    assert (rows["next_24h"]["low"], rows["next_24h"]["high"]) == ("26.40", "237.60")


def test_the_days_of_a_month_add_up_to_its_bill():
    load = hours(at(2014, 10, 1), at(2014, 11, 1))
    load = [dataclasses.replace(slot, energy_wh=4000 + 37 * index % 997) for index, slot in enumerate(load)]
    watch, marks = CostWatch(DEMAND, september(1)), [at(2014, 10, day) for day in range(1, 32)] + [at(2014, 11, 1)]
    days = [watch._added(begin, end, load, None).total for begin, end in itertools.pairwise(marks)]
    assert sum(days) == watch._bill(marks[0], marks[-1], load, None).total
    assert len(set(days)) > 20


def test_a_ratchet_rests_on_the_month_before():
    now = at(2014, 10, 15, 10)
    month = costs(now, hours(at(2014, 10, 1), now), forward=september(20))["month"]
    assert lines(month)["demand"] == "100.00"
    assert month["low"] == month["high"] == month["amount"]
    unknown = costs(now, hours(at(2014, 10, 1), now), forward=Forward())["month"]
    assert "not wholly known" in unknown["notes"][0]


def test_the_agent_reads_the_demand_of_earlier_months_once_a_month():
    asked = []

    def stored(start_ms, end_ms):
        asked.append((start_ms, end_ms))
        return hours(start_ms, end_ms, kw=20.0)

    history = History(3600, hours(at(2014, 10, 1), at(2014, 10, 15)))
    rooms = Costs(CostWatch(DEMAND), history, stored)
    for hour in (10, 11):
        rows = {row["scope"]: row for row in rooms.rows(at(2014, 10, 15, hour), None)}
        assert lines(rows["month"])["demand"] == "100.00"
    assert asked == [(at(2014, 9, 1) - HOUR_MS, at(2014, 10, 1))]


@pytest.mark.parametrize("kw", [(20.0, 4.0), (4.0, 20.0)], ids=["before it", "after it"])
def test_an_earlier_month_in_which_the_slot_length_was_changed_has_the_higher_demand_of_its_parts(kw):
    start_ms, changed_ms, end_ms = at(2014, 9, 1), at(2014, 9, 12), at(2014, 10, 1)
    after = [Slot(start, 900, round(kw[1] * 250), kw[1], 1.0) for start in range(changed_ms, end_ms, HOUR_MS // 4)]
    stored = [*hours(start_ms, changed_ms, kw=kw[0]), *after]
    history = History(900, [Slot(at(2014, 10, 1), 900, 1000, 4.0, 1.0)])
    rooms = Costs(
        CostWatch(DEMAND), history, lambda *span: [one for one in stored if span[0] <= one.start_ms < span[1]]
    )
    rows = {row["scope"]: row for row in rooms.rows(at(2014, 10, 1, 1), None)}
    assert lines(rows["month"])["demand"] == "100.00"


YEAR = {
    "ratchet": '[[demand]]\nname = "demand"\nprice_per_kw = 10\nratchet = {share = 0.9, months = 11}\n',
    "yearly demand": '[[demand]]\nname = "demand"\nprice_per_kw = 120\nper = "year"\n',
    "windowed": '[[demand]]\nname = "demand"\nprice_per_kw = 120\nper = "year"\nweekdays = ["mon"]\nmonths = [4, 9, 10]\n',
    "both": '[[demand]]\nname = "demand"\nprice_per_kw = 120\nper = "year"\n'
    '[[demand]]\nname = "more"\nprice_per_kw = 3\nratchet = {share = 0.9, months = 11}\n',
    "yearly tiers": '[[energy]]\nname = "power"\n'
    'tiers = [{up_to = 25000, price = 0.3}, {price = 0.1}]\ntiers_per = "year"\n',
    "seasonal tiers": '[[fee]]\nname = "levy"\nmonths = [3, 4, 9, 10]\n'
    'tiers = [{up_to = 9000, price = 0.3}, {price = 0.1}]\ntiers_per = "year"\n',
    "told before": '[[energy]]\nname = "power"\ntiers_per = "year"\nearlier_kwh = 8000\n'
    "tiers = [{up_to = 25000, price = 0.3}, {price = 0.1}]\n",
}
NOW = at(2014, 10, 15, 10)


def year(begin_ms, now_ms, *, gaps=False):
    """Hours of ever another load, its highest long ago; with `gaps` a day and two months of it are missing."""
    gone = [range(at(2014, 3, 3), at(2014, 3, 4)), range(at(2014, 5, 1), at(2014, 7, 1))] if gaps else []
    starts = [start for start in range(begin_ms, now_ms, HOUR_MS) if not any(start in one for one in gone)]
    loads = [3 + math.sin(start / 3e7) + math.sin(start / 4e9) for start in starts]
    return [Slot(start, 3600, round(kw * 1000), kw, 1.0) for start, kw in zip(starts, loads, strict=True)]


def told_by_the_agent(tariff, slots, now_ms, ahead=None):
    """Rows of an agent that has the last weeks at hand, and reads earlier months one after the other."""
    costs = Costs(CostWatch(tariff), History(3600, slots), partial(_between, slots))
    return {row["scope"]: row for row in costs.rows(now_ms, ahead)}


def _between(slots, start_ms, end_ms):
    return [slot for slot in slots if start_ms <= slot.start_ms < end_ms]


def a_year_of(name, *later):
    head = f'name = "x"\nzone = "Australia/Melbourne"\ncurrency = "AUD"\n{SOME_PRICE}'
    return Tariff.from_toml(head + YEAR[name], "tariff", *(f"valid_from = {day}\n{head}{YEAR[name]}" for day in later))


@pytest.mark.parametrize("begin_ms", [at(2013, 6, 1), at(2014, 4, 11, 5)], ids=["long there", "since April"])
@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "gaps"])
@pytest.mark.parametrize("later", [(), ("2014-10-10",), ("2014-11-01",)], ids=["one", "two", "soon"])
@pytest.mark.parametrize("name", YEAR)
def test_the_agent_with_the_last_weeks_at_hand_bills_as_from_all_slots(name, later, gaps, begin_ms):
    tariff, slots = a_year_of(name, *later), year(begin_ms, NOW, gaps=gaps)
    found = told_by_the_agent(tariff, slots, NOW)
    month = bill(tariff, slots, span_ms=(at(2014, 10, 1), NOW))
    before = bill(tariff, slots, span_ms=(at(2014, 10, 1), at(2014, 10, 15)))
    assert found["month"]["lines"] == [line.to_json() for line in month.lines]
    assert found["today"]["lines"] == [line.to_json() for line in month.after(before).lines]
    assert found["month"].get("notes", []) == list(month.notes)
    if not gaps:  # else what is missing may have been as the highest of all slots, or of the last weeks
        assert (found["month"]["low"], found["month"]["high"]) == (str(month.low), str(month.high))


@pytest.mark.parametrize(("begin", "told"), [((2013, 6, 1), 0), ((2014, 4, 11, 5), 8000)])
def test_plans_know_what_tiers_by_the_year_have_counted(begin, told):
    tariff, slots = a_year_of("told before"), year(at(*begin), NOW)
    costs = Costs(CostWatch(tariff), History(3600, slots), partial(_between, slots))
    while not costs.gather(NOW):
        pass
    before = [slot.energy_wh for slot in slots if at(2014, 1, 1) <= slot.start_ms < at(2014, 10, 1)]
    assert costs.used_kwh == {"power": pytest.approx(told + sum(before) / 1000)}


def test_in_hours_that_reach_into_the_next_month_its_ratchet_rests_on_the_same_year():
    now = at(2014, 10, 31, 12)
    tariff, slots = a_year_of("ratchet"), year(at(2013, 6, 1), now)
    found = told_by_the_agent(tariff, slots, now, forecast(now, kw=0.1))["next_24h"]
    whole = bill(tariff, slots, span_ms=(at(2014, 10, 1), now + 24 * HOUR_MS), forecast=forecast(now, kw=0.1))
    before = bill(tariff, slots, span_ms=(at(2014, 10, 1), now))
    assert found["lines"] == [line.to_json() for line in whole.after(before).lines]
    assert found["notes"] == list(whole.notes)


def test_an_earlier_month_is_read_a_turn_and_a_new_month_reads_the_one_that_ended():
    slots, asked = year(at(2013, 6, 1), at(2014, 11, 2)), []

    def stored(start_ms, end_ms):
        asked.append(end_ms)
        return _between(slots, start_ms, end_ms)

    costs = Costs(CostWatch(a_year_of("both")), History(3600, slots), stored)
    turns = [costs.gather(NOW) for _ in range(12)]
    assert turns == [False] * 10 + [True] * 2
    assert len(set(asked)) == len(asked) == 11
    assert costs.gather(at(2014, 11, 1))
    assert asked[11:] == [at(2014, 11, 1)]
    costs.forget()  # the store was mended
    assert not costs.gather(at(2014, 11, 1))


def test_a_month_that_cannot_be_read_is_read_by_the_next_turn():
    slots, broken = year(at(2014, 1, 1), NOW), [True]

    def stored(start_ms, end_ms):
        if broken.pop():
            raise StorageError("the disk has gone")
        broken.append(False)
        return _between(slots, start_ms, end_ms)

    costs = Costs(CostWatch(a_year_of("yearly tiers")), History(3600, slots), stored)
    with pytest.raises(StorageError):
        costs.gather(NOW)
    broken.append(False)
    (row,) = [row for row in costs.rows(NOW, None) if row["scope"] == "month"]
    month = bill(a_year_of("yearly tiers"), slots, span_ms=(at(2014, 10, 1), NOW))
    assert row["amount"] == str(month.total)
