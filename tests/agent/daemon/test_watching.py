"""What rules are given to judge by: cheaply at every turn, the same after a restart, true under a clock that was set."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.alerts.observations import MonthCost
from agent.alerts.rules.meter import DataMissing
from agent.config import parse
from agent.contract.channels import Reading
from agent.contract.slots import FLAG_GROSS_UNKNOWN, Slot
from agent.daemon.alerting import make_rules
from agent.daemon.history import History
from agent.daemon.watching import Watching
from tests.support.set_clocks import MINUTE_MS, NOON_MS, TO_1970, Device
from tests.support.stores import T0, Bench
from tests.support.watched import CONFIG, DAY_MS, HOUR_MS, SLOT_MS, Plant, config


def test_each_slot_stands_beside_the_band_of_the_forecast_that_was_there_before_it(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.close(0, 100.0)
    plant.forecast(1, 100.0)
    plant.close(1, 130.0)
    plant.close(2, None)
    plant.forecast(3, 200.0)
    plant.close(3, 195.0)
    seen = plant.observe().slots
    assert [(slot.power_kw, slot.low_kw, slot.high_kw) for slot in seen] == [
        (100.0, None, None),
        (130.0, 90.0, 110.0),
        (None, 90.0, 110.0),
        (195.0, 190.0, 210.0),
    ]
    plant.kill()
    assert plant.observe().slots == seen


def test_the_band_beside_a_slot_is_that_of_the_meter_and_there_is_none_where_the_gross_load_is_unknown(
    tmp_path: Path,
) -> None:
    plant = Plant(tmp_path)
    plant.close(0, 100.0)
    plant.forecast(1, 100.0)
    plant.close(1, 65.0, pv_kw=40.0, battery_kw=-10.0)
    plant.close(2, 65.0, (FLAG_GROSS_UNKNOWN,), battery_kw=-10.0)
    seen = plant.observe().slots
    assert [(slot.power_kw, slot.low_kw, slot.high_kw) for slot in seen[1:]] == [
        (65.0, 60.0, 80.0),
        (65.0, None, None),
    ]
    plant.kill()
    assert plant.observe().slots == seen


def test_only_the_slots_of_the_last_day_are_kept_at_hand(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    for number in range(100):
        plant.close(number, float(number), ("reset",) if number == 50 else ())
    seen = plant.observe().slots
    assert [slot.power_kw for slot in seen] == [float(number) for number in range(4, 100)]
    assert [slot.power_kw for slot in seen if slot.flags] == [50.0]
    plant.kill()
    assert plant.observe().slots == seen


def test_a_rule_that_looks_at_more_slots_than_a_day_has_is_given_them(tmp_path: Path) -> None:
    text = CONFIG.replace('"Europe/Berlin"', '"Europe/Berlin"\nslot_minutes = 60')
    hourly = parse(text.replace("[alerts.abnormal]", "[alerts.abnormal]\namong = 96"), folder=Path("/"))
    history = History(3600, [Slot(T0 + n * HOUR_MS, 3600, 100_000, 100.0, 1.0) for n in range(99)])
    watching = Watching(Bench(tmp_path, commit_window_s=0.0).store, hourly, history, None, T0)
    watching.history_was_made_anew()
    watching.closed(history.between(T0 + 98 * HOUR_MS, T0 + 99 * HOUR_MS))
    seen = watching.observe(T0, since_ms=T0, forecast=None, covered_ms={}, model=None, storage_error="").slots
    assert len({slot.start_ms for slot in seen}) == 96


def test_killed_in_the_middle_of_a_demand_interval_it_knows_what_it_knew(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.read(15, 90.0)
    plant.close(0, 90.0)
    plant.read(7, 120.0)
    plant.read(2, 180.0)
    before, told = plant.observe().demand, plant.watching.peaks.told(plant.now_ms)
    assert before is not None
    # Of the last five minutes three ran at 120 kW, two at 180 kW: 144 kW. 9 minutes at 133.3 kW are 20 kWh.
    assert before.rest_kw == pytest.approx(144.0, abs=1.0)
    assert before.predicted_kw == pytest.approx(4 * (20.0 + before.rest_kw / 10))
    assert before.target_kw == 150.0
    assert told[0]["month_peak"]["kw"] == 90.0
    plant.kill()
    assert plant.observe().demand == before
    assert plant.watching.peaks.told(plant.now_ms) == told


def test_a_turn_reads_nothing_from_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant = Plant(tmp_path)
    plant.read(20)
    plant.close(0, 100.0)
    plant.forecast(1)

    def refuse(*_: object) -> None:
        raise AssertionError("a turn has read the store")

    for name in ("readings", "rows", "note", "last_time_ms", "first_time_ms"):
        monkeypatch.setattr(plant.bench.store, name, refuse)
    for _ in range(3):
        plant.read(5)
        assert plant.observe().demand is not None
    plant.close(1, 100.0)
    assert plant.watching.peaks.told(plant.now_ms)


def test_standstills_and_skill_survive_a_kill_once_an_hour(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    for number in range(8 * 24 * 6):
        plant.watching.saw([Reading("pump_kw", T0 + number * HOUR_MS // 6, float(number // 6))])
        plant.observe(T0 + number * HOUR_MS // 6)
    known = plant.observe().standstill["pump_kw"]
    assert known.usual_s is not None
    plant.kill()
    again = plant.observe().standstill["pump_kw"]
    assert again.usual_s == known.usual_s
    assert again.since_ms <= known.since_ms
    assert plant.observe().skill is None


def test_the_models_skill_is_scored_beside_naive_and_survives_a_kill(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    for number in range(96 * 3 + 40):
        if number >= 96 and number % 4 == 0:
            plant.forecast(number, 120.0)
        plant.close(number, 100.0 + number % 96)
        if number == 96 * 2 + 50:
            plant.observe(T0 + number * SLOT_MS)
            plant.kill()
    found = plant.observe().skill
    assert found is not None
    assert (found.model, found.days) == ("m@1", 2)
    assert found.loss_kw > 5 * found.naive_kw


def test_the_months_cost_is_what_the_bill_says_so_far_and_at_its_end(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    today, month = (
        {"scope": scope, "currency": "EUR", "amount": amount}
        for scope, amount in (("today", "9.00"), ("month", "310.00"))
    )
    plant.watching.costed([today, month], {}, T0)
    assert plant.observe().month == MonthCost("EUR", Decimal("310.00"), None)
    plant.watching.costed([today, month, {**month, "scope": "month_end", "amount": "961.00"}], {}, T0)
    assert plant.observe().month == MonthCost("EUR", Decimal("310.00"), Decimal("961.00"))
    plant.watching.costed([today], {}, T0)  # nothing of the month: it stays as it was known
    assert plant.observe().month == MonthCost("EUR", Decimal("310.00"), Decimal("961.00"))


def test_the_nights_are_looked_at_once_a_day(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    for number in range(96 * 34):
        slot = Slot(T0 + number * SLOT_MS, 900, 1, 50.0 + number // 96 * 2, 1.0)
        plant.history.add(slot)
    first = plant.observe(T0 + 33 * DAY_MS + 12 * HOUR_MS).nights
    assert first is not None
    assert first.rise_kw == pytest.approx(2 * (first.nights - 7), rel=0.05)
    assert plant.observe(T0 + 33 * DAY_MS + 20 * HOUR_MS).nights is first
    assert plant.observe(T0 + 34 * DAY_MS + 12 * HOUR_MS).nights is not first


def test_a_record_of_a_wrong_clock_or_that_is_damaged_is_not_used(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.bench.store.keep("watching", b'{"schema":1,"standstills":3}')
    plant.bench.store.append("events", [{"time_ms": T0, "kind": "x", "text": "x"}])
    plant.kill()
    plant.read(2)
    assert set(plant.observe().standstill) == {"load_kw"}


def test_what_was_measured_under_a_wrong_clock_stands_in_its_own_interval(tmp_path: Path, monkeypatch: Any) -> None:
    device = Device(tmp_path, monkeypatch, error_ms=TO_1970)
    device.pass_minutes(7)
    device.error_ms = 0
    device.pass_minutes(6)
    (told,) = device.daemon.rooms.watching.peaks.told(device.daemon.rooms.clock.now_ms())
    assert told["interval"]["start_ms"] == NOON_MS
    minutes = [
        50.0 + (NOON_MS // MINUTE_MS + minute) % 37 for minute in range(1, 13)
    ]  # the first reading came after one
    assert told["interval"]["energy_kwh"] == pytest.approx(sum(minutes) / 60, rel=1e-5)
    device.crash()
    (again,) = device.daemon.rooms.watching.peaks.told(device.daemon.rooms.clock.now_ms())
    assert again["interval"] == told["interval"]
    device.daemon.close()


def test_an_alert_is_offered_to_the_line_in_the_turn_that_raised_it(tmp_path: Path, monkeypatch: Any) -> None:
    device = Device(tmp_path, monkeypatch)
    offered: list[list[str]] = []

    def turn(_: object) -> None:
        blocks = list(device.daemon.rooms.store.unacknowledged(2**20))
        offered.append([stored.block.header.stream for stored in blocks])

    line = SimpleNamespace(turn=turn, link=SimpleNamespace(connected=True, stop=lambda: None))
    device.daemon.rooms = dataclasses.replace(device.daemon.rooms, exchange=line)  # type: ignore[arg-type]
    device.daemon.troubles.note("disk", "full")
    device.pass_minutes(1)
    assert offered[0][0] == "alerts"
    device.daemon.close()


def test_an_inverter_that_sleeps_through_a_night_is_not_missing_and_one_that_is_gone_for_a_day_is() -> None:
    rules = {rule.name: rule for rule in make_rules(config('[pv]\npower_channel = "pump_kw"\n'), None)}
    pump, load = rules["data-missing:pump_kw"], rules["data-missing:load_kw"]
    assert isinstance(pump, DataMissing)
    assert isinstance(load, DataMissing)
    assert 18 * 3600 < pump.after_s < 24 * 3600
    assert load.after_s < 3600


def test_every_kind_of_rule_can_be_asked_for_and_the_least_configuration_has_the_safe_ones() -> None:
    least = {rule.name for rule in make_rules(parse(CONFIG.partition("[alerts")[0], folder=Path("/")), None)}
    assert least == {
        *(f"{kind}:{channel}" for kind in ("data-missing", "meter-frozen") for channel in ("load_kw", "pump_kw")),
        "store-failing",
        "model-drift",
    }
    more = """
[[alerts.limit]]
name = "high"
above = 140
slots = 2
among = 3
[[alerts.limit]]
name = "pump"
channel = "pump_kw"
below = 1
for_minutes = 5
[alerts.power_factor]
below = 0.9
reactive_channel = "pump_kw"
"""
    rules = {rule.name: rule for rule in make_rules(config(more), None)}
    assert set(rules) - least == {
        *("limit:high", "limit:pump", "power-factor", "load-abnormal", "base-load-creep", "peak-now"),
    }
    assert rules["limit:pump"].raise_after_s == 300
