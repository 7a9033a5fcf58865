"""What the battery is to do now: by what is measured, or by what is said to be assumed."""

from pathlib import Path
from typing import Any

import pytest

from agent.contract import jsonform
from agent.contract.channels import Channel, Kind, Quality, Reading
from agent.daemon.plannote import NOTE
from agent.daemon.setpoint import read_kw, read_soc, setpoint
from tests.support.guards import configured, keep_plan
from tests.support.kept import Kept
from tests.support.schedules import START_MS

QUARTER_MS = 900_000
NOW_MS = START_MS + 42 * QUARTER_MS + 300_000  # in the hour of 320 kW


class Metered(Kept):
    """Readings by channel, and what is kept under names."""

    def __init__(self, **readings: list[tuple[int, float]]) -> None:
        super().__init__()
        self.readings_of = readings

    def readings(self, channel: str, start_ms: int, end_ms: int) -> list[Reading]:
        known = [Reading(channel, *one) for one in self.readings_of.get(channel, [])]
        return [reading for reading in known if start_ms <= reading.time_ms < end_ms]


def _now(
    folder: Path,
    now_ms: int = NOW_MS,
    *,
    soc_channel: bool = True,
    power_channel: bool = False,
    **readings: list[tuple[int, float]],
) -> Any:
    store = Metered(**readings)
    keep_plan(store)
    note = jsonform.loads(store.notes[NOTE], where="note", max_bytes=1 << 20)
    return setpoint(store, configured(folder, soc_channel=soc_channel, power_channel=power_channel), note, now_ms)


def test_load_above_the_limit_is_shaved_by_what_is_measured(tmp_path: Path) -> None:
    measured = {"power": [(NOW_MS - 20_000, 334.0)], "charged": [(NOW_MS - 60_000, 70.0)]}
    now = _now(tmp_path, power_channel=True, own=[(NOW_MS, 0.0)], **measured)
    assert now["assumed"] == []
    assert (now["time_ms"], now["load_kw"], now["stored_kwh"]) == (NOW_MS, 334.0, 140.0)
    assert now["keep_below_kw"] == 280.0
    assert now["battery_kw"] == pytest.approx(54.0)


def test_room_below_the_limit_charges_for_the_peak_ahead(tmp_path: Path) -> None:
    early_ms = START_MS + 39 * QUARTER_MS
    now = _now(tmp_path, early_ms, power=[(early_ms, 250.0)], charged=[(early_ms - 60_000, 1.0)])
    assert now["reserve_kwh"] > 2
    assert now["battery_kw"] == pytest.approx(-30.0)


def test_what_the_running_interval_has_drawn_tells_how_much_its_rest_may_draw(tmp_path: Path) -> None:
    def now(before_kw: float) -> Any:
        """Five minutes of the quarter-hour at one power, then 334 kW."""
        power = [(NOW_MS - 1000 * back, before_kw if back else 334.0) for back in range(300, -1, -10)]
        charged = [(NOW_MS - 60_000, 70.0)]
        return _now(tmp_path, power_channel=True, own=[(NOW_MS, 0.0)], power=power, charged=charged)

    over = now(334.0)  # 280 kW were to be kept
    assert over["keep_below_kw"] == pytest.approx(253.0)
    assert over["battery_kw"] == pytest.approx(81.0)
    under = now(150.0)
    assert under["keep_below_kw"] == 280.0
    assert under["battery_kw"] == 0.0


def test_without_a_new_reading_the_forecast_and_the_plan_are_assumed_and_said(tmp_path: Path) -> None:
    now = _now(tmp_path, power=[(NOW_MS - 400_000, 334.0)], charged=[(NOW_MS - 4_000_000, 70.0)])
    assert now["load_kw"] == pytest.approx(320.0)
    assert 0 <= now["stored_kwh"] <= 200
    assert now["assumed"] == [
        "the load is as forecast: there is no reading of the last minutes",
        "as much is stored as planned: charged told nothing for an hour",
    ]
    bare = _now(tmp_path, soc_channel=False, power=[(NOW_MS, 320.0)])
    assert bare["assumed"] == [
        "the battery rests, and the meter shows the load alone: battery.power_channel is not set",
        "as much is stored as planned: battery.soc_channel is not set",
    ]


def test_a_plan_that_is_over_says_nothing_of_now(tmp_path: Path) -> None:
    assert _now(tmp_path, START_MS + 96 * QUARTER_MS) is None
    assert _now(tmp_path, START_MS - 1) is None


def test_what_the_battery_gives_already_is_part_of_the_load(tmp_path: Path) -> None:
    measured = {"power": [(NOW_MS, 290.0)], "charged": [(NOW_MS - 60_000, 70.0)]}
    now = _now(tmp_path, power_channel=True, own=[(NOW_MS, 44.0)], **measured)
    assert (now["load_kw"], now["assumed"]) == (334.0, [])
    assert _now(tmp_path, power_channel=True, **measured)["load_kw"] == pytest.approx(320.0)


def test_a_counter_tells_the_load_by_its_last_two_readings() -> None:
    counter = Channel("power", "kWh", kind=Kind.COUNTER)
    store = Metered(power=[(NOW_MS - 120_000, 90.0), (NOW_MS - 60_000, 95.0), (NOW_MS, 100.0)])
    assert read_kw(store, counter, NOW_MS) == pytest.approx(300.0)
    store.readings_of["power"][-1] = (NOW_MS, 3.0)
    assert read_kw(store, counter, NOW_MS) is None
    assert read_kw(Metered(power=[(NOW_MS, 100.0)]), counter, NOW_MS) is None


def test_a_counter_that_is_read_more_often_than_it_steps_tells_the_mean_of_a_minute() -> None:
    counter = Channel("power", "kWh", kind=Kind.COUNTER)
    store = Metered(power=[(NOW_MS - 1000 * back, 100.0 - back // 10) for back in range(120, -1, -1)])
    assert read_kw(store, counter, NOW_MS) == pytest.approx(360.0)
    store.readings_of["power"].append((NOW_MS, 100.0))  # one more at the same instant
    assert read_kw(store, counter, NOW_MS) == pytest.approx(360.0)
    assert read_kw(Metered(power=[(NOW_MS, 100.0), (NOW_MS, 100.0)]), counter, NOW_MS) is None


def test_a_mean_stands_until_the_next_one_is_due_and_what_is_suspect_does_not_count() -> None:
    profile = Channel("power", "kW", interval_s=900)
    assert read_kw(Metered(power=[(NOW_MS - 1_700_000, 250.0)]), profile, NOW_MS) == 250.0
    store = Metered(power=[(NOW_MS - 10_000, 250.0), (NOW_MS, 999.0, Quality.SUSPECT)])  # type: ignore[list-item]
    assert read_kw(store, Channel("power", "kW"), NOW_MS) == 250.0


def test_what_a_source_estimates_counts_as_it_does_in_slots() -> None:
    store = Metered(
        power=[(NOW_MS, 250.0, Quality.ESTIMATED)],  # type: ignore[list-item]
        charged=[(NOW_MS - 1, 70.0, Quality.ESTIMATED)],  # type: ignore[list-item]
    )
    assert read_kw(store, Channel("power", "kW"), NOW_MS) == 250.0
    assert read_soc(store, "charged", NOW_MS) == 0.7


def test_a_charge_that_is_read_with_the_load_counts(tmp_path: Path) -> None:
    now = _now(tmp_path, power=[(NOW_MS, 334.0)], charged=[(NOW_MS - 900_000, 90.0), (NOW_MS, 70.0)])
    assert now["stored_kwh"] == 140.0
