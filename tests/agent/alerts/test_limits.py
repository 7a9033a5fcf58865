"""Limits on channels, on the load by slots, on the power factor: where they begin, where they end, what stays between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.alerts.board import AlertBoard
from agent.alerts.finding import Verdict
from agent.alerts.hysteresis import Limit
from agent.alerts.observations import Latest, Observations, WatchedSlot
from agent.alerts.rules.limit import ChannelLimit, LoadLimit, PowerFactorLow
from agent.contract.errors import ConfigError

NOW = 1_413_331_200_000
MIN_MS = 60_000


def reads(age_s=0, now_ms=NOW, **values):
    latest = {name: Latest(now_ms - age_s * 1000, value) for name, value in values.items()}
    return Observations(now_ms, None, {}, NOW, latest=latest)


def loads(*powers):
    return Observations(NOW, None, {}, NOW, slots=[WatchedSlot(NOW + n, kw, None, None) for n, kw in enumerate(powers)])


@pytest.mark.parametrize(
    ("limit", "value", "verdict"),
    [
        (Limit(400, is_upper=True), 400.1, Verdict.ON),
        (Limit(400, is_upper=True), 400, Verdict.HOLD),
        (Limit(400, is_upper=True), 392, Verdict.HOLD),
        (Limit(400, is_upper=True), 391.9, Verdict.OFF),
        (Limit(380, is_upper=False, clear=385), 379.9, Verdict.ON),
        (Limit(380, is_upper=False, clear=385), 385, Verdict.HOLD),
        (Limit(380, is_upper=False, clear=385), 385.1, Verdict.OFF),
        (Limit(-10, is_upper=False), -10.1, Verdict.ON),
        (Limit(-10, is_upper=False), -9.9, Verdict.HOLD),
        (Limit(-10, is_upper=False), -9.7, Verdict.OFF),
    ],
)
def test_between_the_limit_and_where_it_is_well_again_nothing_changes(limit, value, verdict):
    assert ChannelLimit("u", "voltage", "V", limit).judge(reads(voltage=value)).verdict is verdict


def test_a_channel_beyond_its_limit_is_told_with_its_value_unit_and_time():
    rule = ChannelLimit("u", "voltage", "V", Limit(380, is_upper=False), raise_after_s=300)
    finding = rule.judge(reads(voltage=371.5))
    assert finding.text == "channel voltage is 371.5 V, below 380 V for 5 min"
    assert finding.details == {"channel": "voltage", "value": 371.5, "unit": "V", "limit": 380}


def test_a_value_that_is_old_or_not_there_says_nothing():
    rule = ChannelLimit("u", "voltage", "V", Limit(380, is_upper=False), fresh_s=60)
    assert rule.judge(reads(voltage=1.0, age_s=61)).verdict is Verdict.HOLD
    assert rule.judge(reads(other=1.0)).verdict is Verdict.HOLD


@pytest.mark.parametrize(("value", "clear"), [(0, None), (100, 100), (100, 101), (float("nan"), None)])
def test_rejects_a_limit_without_room_to_be_well_again(value, clear):
    with pytest.raises(ConfigError, match="limit"):
        Limit(value, is_upper=True, clear=clear)


@given(st.lists(st.floats(95, 100), max_size=50), st.booleans(), st.booleans())
def test_a_value_between_its_two_limits_never_changes_anything(values, is_upper, already_open):
    limit = Limit(100, is_upper=True, clear=95) if is_upper else Limit(95, is_upper=False, clear=100)
    board = AlertBoard([ChannelLimit("u", "x", "V", limit)])
    board.update(reads(x=(101 if is_upper else 94) if already_open else (94 if is_upper else 101)))
    assert [row for value in values for row in board.update(reads(x=value))] == []
    assert len(board.open()) == already_open


@given(st.lists(st.floats(50, 150), min_size=1, max_size=60))
def test_a_limit_is_told_once_for_each_time_it_is_passed(values):
    board = AlertBoard([ChannelLimit("u", "x", "V", Limit(100, is_upper=True, clear=90))], most_per_hour=60)
    rows = [
        row
        for minute, value in enumerate(values)
        for row in board.update(reads(x=value, now_ms=NOW + minute * 60 * MIN_MS))
    ]
    expected, wrong = [], False
    for value in values:
        if (value > 100 and not wrong) or (value < 90 and wrong):
            wrong = not wrong
            expected.append("raised" if wrong else "cleared")
    assert [row["state"] for row in rows] == expected


def test_the_load_is_counted_in_slots_and_unknown_ones_count_for_nothing():
    rule = LoadLimit("high", Limit(100, is_upper=True, clear=90), least=2, among=3)
    assert rule.judge(loads(120, 80, 80, 120)).verdict is Verdict.HOLD
    assert rule.judge(loads(120, None, 130)).verdict is Verdict.ON
    assert rule.judge(loads(120, 130, 80)).text == "the load was above 100 kW in 2 of the last 3 slots: 130 kW"
    assert rule.judge(loads(120, 120, 80, 80, None)).verdict is Verdict.OFF
    assert rule.judge(loads(None, None, None)).verdict is Verdict.HOLD
    assert rule.judge(loads()).verdict is Verdict.HOLD


def test_the_power_factor_follows_from_active_and_reactive_power():
    rule = PowerFactorLow(Limit(0.9, is_upper=False), active="power", reactive="kvar")
    finding = rule.judge(reads(power=400.0, kvar=300.0))
    assert finding.verdict is Verdict.ON
    assert finding.details["power_factor"] == 0.8
    assert "0.800, below 0.9, for 15 min" in finding.text
    assert rule.judge(reads(power=-400.0, kvar=-100.0)).verdict is Verdict.OFF
    assert rule.judge(reads(power=400.0, kvar=190.0)).verdict is Verdict.HOLD  # 0.903
    assert rule.judge(reads(power=400.0)).verdict is Verdict.HOLD


def test_the_power_factor_of_no_load_is_not_judged():
    rule = PowerFactorLow(Limit(0.9, is_upper=False), active="power", channel="pf", from_kw=20)
    assert rule.judge(reads(power=20.0, pf=0.3)).verdict is Verdict.HOLD
    assert rule.judge(reads(power=21.0, pf=0.3)).verdict is Verdict.ON
    assert rule.judge(reads(power=21.0, pf=-0.97)).verdict is Verdict.OFF
    nothing = PowerFactorLow(Limit(0.9, is_upper=False), active="power", reactive="kvar")
    assert nothing.judge(reads(power=0.0, kvar=0.0)).verdict is Verdict.HOLD
