"""The load against its band and its nights, meters that stand still, counters that began anew, money, the model."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from agent.alerts.finding import Verdict
from agent.alerts.nights import nightly_minima, trend
from agent.alerts.observations import Demand, MonthCost, NightTrend, Observations, Skill, Standstill, WatchedSlot
from agent.alerts.rules.cost import CostBudget
from agent.alerts.rules.load import AbnormalLoad, BaseLoadCreep
from agent.alerts.rules.meter import CounterReset, FrozenMeter
from agent.alerts.rules.peak import PeakNow
from agent.alerts.rules.upkeep import ModelDrift
from agent.alerts.standstill import Standstills
from agent.contract.channels import Channel, Quality, Reading
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.slots import Slot

NOW = 1_413_331_200_000
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
BERLIN = ZoneInfo("Europe/Berlin")


def seen(now_ms=NOW, **known):
    return Observations(now_ms, None, {}, NOW, **known)


def slots(*powers, low=90.0, high=110.0):
    return [WatchedSlot(NOW + n * 900_000, kw, low, high) for n, kw in enumerate(powers)]


# -- load ----------------------------------------------------------------------------------------------------------


def test_load_beyond_its_band_on_one_side_often_enough_is_abnormal():
    finding = AbnormalLoad(3, 4, 0).judge(seen(slots=slots(100, 115, 100, 120, 125)))
    assert finding.verdict is Verdict.ON
    assert finding.text == (
        "the load was above what was expected in 3 of the last 4 slots, by 10 kW on average; "
        "last 125 kW where 90 to 110 kW were expected"
    )
    assert finding.details["side"] == "above"
    assert AbnormalLoad(3, 4, 0).judge(seen(slots=slots(80, 70, 85, 100))).details["side"] == "below"


def test_load_must_be_beyond_its_band_by_the_margin():
    rule = AbnormalLoad(2, 2, 0.5)  # of a width of 20 kW
    assert rule.judge(seen(slots=slots(120, 120))).verdict is Verdict.OFF
    assert rule.judge(seen(slots=slots(120.1, 120.1))).verdict is Verdict.ON
    assert rule.judge(seen(slots=slots(80, 80))).verdict is Verdict.OFF
    assert rule.judge(seen(slots=slots(79.9, 79.9))).verdict is Verdict.ON


def test_load_on_both_sides_of_its_band_is_noise_not_a_change():
    assert AbnormalLoad(3, 4, 0).judge(seen(slots=slots(120, 80, 120, 80))).verdict is Verdict.HOLD


def test_abnormal_load_ends_when_at_most_half_as_many_slots_are_outside():
    rule = AbnormalLoad(4, 6, 0)
    assert rule.judge(seen(slots=slots(120, 120, 120, 100, 100, 100))).verdict is Verdict.HOLD
    assert rule.judge(seen(slots=slots(120, 120, 100, 100, 100, 100))).verdict is Verdict.OFF


def test_slots_without_band_or_load_are_not_judged():
    rule = AbnormalLoad(2, 3)
    assert rule.judge(seen(slots=slots(120, 120, 120, low=None, high=None))).verdict is Verdict.HOLD
    assert rule.judge(seen(slots=slots(None, 100, 100))).verdict is Verdict.HOLD
    with pytest.raises(ConfigError, match="3 of 2"):
        AbnormalLoad(3, 2)


# -- nights --------------------------------------------------------------------------------------------------------


def weeks(level, count=35):
    """A base load by night, with weekends of their own level and noise."""
    noise = np.random.default_rng(3).normal(0, 2, count)
    return [(735_000 + n, float(level(n) + 30 * (n % 7 >= 5) + noise[n])) for n in range(count)]


def creeps(nights):
    return BaseLoadCreep(0.1).judge(seen(nights=trend(nights))).verdict


def test_a_base_load_that_rises_over_the_weeks_is_told_and_a_steady_one_is_not():
    assert creeps(weeks(lambda n: 100 + n)) is Verdict.ON
    assert creeps(weeks(lambda _: 100)) is Verdict.OFF
    assert creeps(weeks(lambda n: 100 - n)) is Verdict.OFF


def test_the_rise_is_told_from_the_first_week_to_the_last():
    found = trend(weeks(lambda n: 100 + n))
    assert found is not None
    assert found.rise_kw == pytest.approx(28, abs=3)
    assert found.nights == 35
    assert found.z > 5


def test_single_nights_and_one_holiday_week_are_no_trend():
    def level(n):
        return 400 if n in {30, 33} else 40 if 7 <= n < 14 else 100

    assert creeps(weeks(level)) is not Verdict.ON


def test_a_small_or_uncertain_rise_is_not_told():
    assert BaseLoadCreep(0.1).judge(seen(nights=NightTrend(35, 100, 9, 4))).verdict is Verdict.HOLD
    assert BaseLoadCreep(0.1).judge(seen(nights=NightTrend(35, 100, 11, 2))).verdict is Verdict.HOLD
    assert BaseLoadCreep(0.1).judge(seen(nights=NightTrend(35, 100, 4, 4))).verdict is Verdict.OFF
    assert BaseLoadCreep(0.1).judge(seen(nights=NightTrend(35, 0, 4, 4))).verdict is Verdict.HOLD


def test_less_than_three_weeks_of_nights_tell_nothing():
    assert trend(weeks(lambda n: 100 + n, 20)) is None
    assert BaseLoadCreep().judge(seen()).verdict is Verdict.HOLD


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 6, 1), 24)])
def test_a_night_is_that_of_the_local_clock_also_when_it_changes(day, hours):
    start = round(dt.datetime(*day, tzinfo=BERLIN).timestamp() * 1000)
    inside = 5 - (24 - hours)  # hours from midnight to five o'clock
    powers = [50.0] * (4 * inside - 1) + [10.0, 1.0]  # the last slot before five, and the first after it
    made = [Slot(start + n * 900_000, 900, round(kw * 250), kw, 1.0) for n, kw in enumerate(powers)]
    assert nightly_minima(made, BERLIN) == [(dt.date(*day).toordinal(), 10.0)]


def test_a_night_of_which_much_is_missing_is_left_out():
    start = round(dt.datetime(2026, 6, 1, tzinfo=BERLIN).timestamp() * 1000)
    made = [Slot(start + n * 900_000, 900, 1, 5.0, 1.0 if n >= 5 else 0.4) for n in range(40)]
    assert nightly_minima(made, BERLIN) == []
    assert nightly_minima([], BERLIN) == []


# -- meters --------------------------------------------------------------------------------------------------------

CHANNEL = Channel("flow", "kW")


def feed(still, from_h, to_h, value_of, every_s=600):
    steps = range(int(from_h * 3600), int(to_h * 3600), every_s)
    still.saw([Reading("flow", NOW + s * 1000, value_of(s / 3600)) for s in steps])


def frozen(still):
    return FrozenMeter("flow").judge(seen(standstill=still.known())).verdict


def working_day(h):
    """Stands still for six hours of each night, and moves by day."""
    return 7.0 if h % 24 < 6 else h


def test_a_channel_that_stands_still_for_longer_than_its_nights_is_frozen():
    still = Standstills({"flow": CHANNEL})
    feed(still, 0, 8 * 24, working_day)
    assert frozen(still) is Verdict.OFF
    feed(still, 8 * 24, 8 * 24 + 17, lambda _: 99.0)
    assert frozen(still) is Verdict.OFF  # 17 h, where three times six are usual
    feed(still, 8 * 24 + 17, 8 * 24 + 19, lambda _: 99.0)
    finding = FrozenMeter("flow").judge(seen(standstill=still.known()))
    assert finding.verdict is Verdict.ON
    assert "has given 99 for 19 h" in finding.text
    feed(still, 8 * 24 + 19, 8 * 24 + 20, working_day)
    assert frozen(still) is Verdict.OFF


def test_a_channel_that_never_moved_or_is_new_is_not_judged():
    still = Standstills({"flow": CHANNEL})
    feed(still, 0, 30 * 24, lambda _: 0.0)
    assert frozen(still) is Verdict.HOLD
    still = Standstills({"flow": CHANNEL})
    feed(still, 0, 6 * 24, working_day)
    feed(still, 6 * 24, 8 * 24, lambda _: 99.0)
    assert frozen(still) is Verdict.HOLD


def test_a_freeze_teaches_no_more_than_what_was_usual():
    still = Standstills({"flow": CHANNEL})
    feed(still, 0, 8 * 24, lambda h: h)
    feed(still, 8 * 24, 9 * 24, lambda _: 99.0)
    feed(still, 9 * 24, 10 * 24, lambda h: h)
    assert still.known()["flow"].usual_s == 3 * 1800


def test_silence_doubtful_values_and_time_going_back_are_no_standstill():
    still = Standstills({"flow": CHANNEL})
    feed(still, 0, 8 * 24, lambda h: h)
    feed(still, 8 * 24, 8 * 24 + 0.2, lambda _: 5.0)
    feed(still, 9 * 24, 9 * 24 + 0.2, lambda _: 5.0)  # the same value, a day later
    still.saw([Reading("flow", NOW + 9 * DAY_MS + 700_000, 6.0, Quality.SUSPECT), Reading("flow", NOW, 7.0)])
    assert still.known()["flow"].since_ms == NOW + 9 * DAY_MS
    assert frozen(still) is Verdict.OFF


def test_what_was_learnt_survives_a_restart_and_a_wrong_clock():
    still = Standstills({"flow": CHANNEL})
    feed(still, 0, 8 * 24, working_day)
    record = json.loads(json.dumps(still.to_json()))
    again = Standstills({"flow": CHANNEL})
    again.resume(record, "record", NOW + 9 * DAY_MS)
    assert again.known() == still.known()
    feed(again, 8 * 24 + 1, 8 * 24 + 1.1, lambda _: working_day(8 * 24 - 1 / 6))  # still the same, an hour later
    assert again.known()["flow"].since_ms == still.known()["flow"].since_ms
    again.resume(record, "record", NOW)  # it knows of times to come
    assert again.known() == {}
    feed(again, 0, 19, lambda _: 99.0)
    assert frozen(again) is Verdict.ON
    with pytest.raises(RejectedError):
        again.resume({"flow": {"value": "x"}}, "record", NOW)
    assert frozen(again) is Verdict.ON


def test_an_energy_meter_that_stands_is_frozen_only_while_power_flows():
    rule = FrozenMeter("energy", needs_load=True)
    still = {"energy": Standstill(5.0, NOW, NOW + 7_200_000, 3600.0)}
    assert rule.judge(seen(standstill=still, slots=slots(80, 90))).verdict is Verdict.ON
    assert rule.judge(seen(standstill=still, slots=slots(80, 0))).verdict is Verdict.HOLD
    assert rule.judge(seen(standstill=still)).verdict is Verdict.HOLD


def test_a_counter_that_went_back_is_told_for_a_day():
    reset = WatchedSlot(NOW, 50.0, None, None, ("partial", "reset"))
    finding = CounterReset().judge(seen(now_ms=NOW + HOUR_MS, slots=[reset, *slots(100)]))
    assert finding.verdict is Verdict.ON
    assert "was the meter replaced?" in finding.text
    assert CounterReset().judge(seen(now_ms=NOW + DAY_MS + 1, slots=[reset])).verdict is Verdict.OFF
    assert CounterReset().judge(seen(slots=slots(100))).verdict is Verdict.OFF


# -- money, model, demand ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("so_far", "at_end", "verdict"),
    [
        ("101.00", None, Verdict.ON),
        ("50.00", "100.01", Verdict.ON),
        ("50.00", "98.00", Verdict.HOLD),
        ("50.00", "96.99", Verdict.OFF),
        ("50.00", None, Verdict.HOLD),
    ],
)
def test_a_budget_is_passed_by_what_is_spent_or_by_where_the_month_is_heading(so_far, at_end, verdict):
    month = MonthCost("EUR", Decimal(so_far), None if at_end is None else Decimal(at_end))
    assert CostBudget(Decimal(100)).judge(seen(month=month)).verdict is verdict


def test_a_budget_says_by_how_much_it_will_be_passed():
    finding = CostBudget(Decimal(100)).judge(seen(month=MonthCost("EUR", Decimal("50.10"), Decimal("110.25"))))
    assert finding.text == "the month is heading for 110.25 EUR, 10.25 over its budget; so far 50.10 EUR of 100 EUR"
    assert finding.details["at_end"] == "110.25"
    assert CostBudget(Decimal(100)).judge(seen()).verdict is Verdict.HOLD


@pytest.mark.parametrize(
    ("days", "loss", "verdict"),
    [(7, 10.1, Verdict.ON), (7, 10.0, Verdict.HOLD), (7, 9.4, Verdict.OFF), (6, 20.0, Verdict.HOLD)],
)
def test_a_model_that_is_worse_than_naive_for_a_week_has_drifted(days, loss, verdict):
    assert ModelDrift().judge(seen(skill=Skill("m@1", days, loss, 10.0))).verdict is verdict


def test_without_a_model_nothing_drifts():
    assert ModelDrift().judge(seen()).verdict is Verdict.OFF


def demand(**changed):
    known = {"start_ms": NOW, "end_ms": NOW + 900_000, "target_kw": 500.0, "predicted_kw": 512.0}
    return Demand(**{**known, "rest_kw": 520.0, "allowable_kw": 484.0, **changed})


def test_an_interval_heading_above_its_target_says_by_how_much_the_load_must_drop_until_when():
    finding = PeakNow(zone=BERLIN).judge(seen(demand=demand()))
    assert finding.verdict is Verdict.ON
    assert finding.text == (
        "the interval until 02:15 is heading for 512 kW, 12 kW over 500 kW: "
        "the load must drop by 36 kW, to 484 kW, until 02:15"
    )
    assert finding.details["drop_kw"] == 36.0


def test_an_interval_that_cannot_be_saved_says_so():
    finding = PeakNow(zone=BERLIN).judge(seen(demand=demand(allowable_kw=-10.0)))
    assert finding.text.endswith("no drop of the load can keep it below any more")


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"predicted_kw": 500.0}, Verdict.HOLD),
        ({"predicted_kw": 484.9}, Verdict.OFF),
        ({"predicted_kw": None}, Verdict.HOLD),
        ({"target_kw": None}, Verdict.OFF),
    ],
)
def test_an_interval_within_its_target_is_no_alarm(changed, verdict):
    assert PeakNow().judge(seen(demand=demand(**changed))).verdict is verdict
    assert PeakNow().judge(seen()).verdict is Verdict.HOLD
