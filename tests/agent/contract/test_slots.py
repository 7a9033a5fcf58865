"""Slots: the UTC grid, gauges, counters, and days of 92, 96 and 100 quarter-hours."""

import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.channels import Channel, Kind, Reading
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.slots import (
    FLAG_GROSS_UNKNOWN,
    SLOT_LENGTHS_S,
    Slot,
    build_slot,
    check_slot_length,
    floor_slot,
    latest_rows,
)
from agent.contract.zones import local_day_bounds_ms, parse_zone
from tests.support.nasty import mutations

T = 1_764_000_000_000
QUARTER = 900
POWER = Channel("load", "kW", 3)
MEAN = Channel("load", "kW", 3, interval_s=300)
METER = Channel("meter", "kWh", 3, Kind.COUNTER)
ROLLING = Channel("meter", "kWh", 3, Kind.COUNTER, rollover=1000.0)


class TestGrid:
    @given(st.integers(0, 2**46), st.sampled_from(SLOT_LENGTHS_S))
    def test_every_instant_lies_in_one_slot(self, time_ms, length_s):
        start = floor_slot(time_ms, length_s)
        assert start <= time_ms < start + length_s * 1000
        assert start % (length_s * 1000) == 0

    @pytest.mark.parametrize(
        ("zone", "date", "quarters"),
        [
            ("Europe/Berlin", "2026-03-29", 92),
            ("Europe/Berlin", "2026-03-30", 96),
            ("Europe/Berlin", "2026-10-25", 100),
            ("Australia/Melbourne", "2026-04-05", 100),
            ("Australia/Melbourne", "2026-10-04", 92),
            ("Australia/Lord_Howe", "2026-10-04", 94),  # half an hour
            ("+10:00", "2026-10-04", 96),
        ],
    )
    def test_a_local_day_has_92_to_100_quarter_hours(self, zone, date, quarters):
        start, end = local_day_bounds_ms(dt.date.fromisoformat(date), parse_zone(zone))
        slots = range(floor_slot(start, QUARTER), end, QUARTER * 1000)
        assert (len(slots), slots[0]) == (quarters, start)

    @given(
        st.dates(dt.date(1990, 1, 1), dt.date(2037, 12, 30)), st.sampled_from(["Europe/Berlin", "Australia/Melbourne"])
    )
    def test_neighbouring_days_touch(self, date, zone):
        one = local_day_bounds_ms(date, parse_zone(zone))
        two = local_day_bounds_ms(date + dt.timedelta(days=1), parse_zone(zone))
        assert one[1] == two[0]
        assert (one[1] - one[0]) / 900_000 in {92, 96, 100}

    def test_other_lengths_are_refused(self):
        assert [check_slot_length(length) for length in SLOT_LENGTHS_S] == list(SLOT_LENGTHS_S)
        for length in (0, -900, 60, 1200, 7200):
            with pytest.raises(ConfigError, match="Use one of 5, 10, 15, 30, 60 minutes"):
                check_slot_length(length)


def seconds(*pairs, quality=0):
    return [Reading("load", T + round(at * 1000), value, quality) for at, value in pairs]


class TestGauge:
    def test_steady_power_gives_its_energy(self):
        slot = build_slot(T, QUARTER, POWER, seconds(*((at, 40.0) for at in range(0, 900, 10))))
        assert (slot.energy_wh, slot.completeness, slot.flags) == (10_000, 1.0, ())
        assert slot.power_kw == pytest.approx(40.0)
        assert slot.end_ms == T + 900_000

    def test_a_reading_holds_until_the_next(self):
        slot = build_slot(T, QUARTER, POWER, seconds((0, 10.0), (300, 40.0)), hold_s=600)
        assert slot.power_kw == pytest.approx((10 * 300 + 40 * 600) / 900)

    def test_a_reading_before_the_slot_reaches_into_it_and_none_reaches_out(self):
        slot = build_slot(T, QUARTER, POWER, seconds((-30, 10.0), (0, 20.0), (890, 30.0)), hold_s=1000)
        assert slot.power_kw == pytest.approx((20 * 890 + 30 * 10) / 900)
        alone = build_slot(T, QUARTER, POWER, seconds((-30, 10.0)), hold_s=60)
        assert (alone.power_kw, alone.completeness) == (10.0, pytest.approx(30 / 900))

    def test_a_gap_is_scaled_up_and_flagged(self):
        slot = build_slot(T, QUARTER, POWER, seconds(*((at, 40.0) for at in range(0, 450, 10))), hold_s=10)
        assert (slot.energy_wh, slot.completeness, slot.flags) == (10_000, 0.5, ("partial",))

    def test_nothing_known_is_empty_and_not_zero_power(self):
        for readings in ([], seconds((-1000, 5.0)), seconds((900, 5.0))):
            assert build_slot(T, QUARTER, POWER, readings) == Slot(T, QUARTER, 0, None, 0.0, ("empty",))

    def test_means_over_an_interval_hold_for_it(self):
        slot = build_slot(T, QUARTER, MEAN, seconds((0, 10.0), (300, 20.0), (600, 60.0)))
        assert (slot.energy_wh, slot.power_kw, slot.completeness) == (7500, 30.0, 1.0)

    def test_suspect_readings_flag_the_slot(self):
        slot = build_slot(T, QUARTER, MEAN, seconds((0, 10.0)) + seconds((300, 10.0), quality=2) + seconds((600, 10.0)))
        assert slot.flags == ("suspect",)

    def test_two_readings_of_one_instant_count_once(self):
        slot = build_slot(T, QUARTER, POWER, seconds((0, 99.0), (0, 10.0)), hold_s=900)
        assert slot.power_kw == 10.0

    @given(st.lists(st.tuples(st.integers(-100, 1000), st.floats(-1000, 1000)), max_size=30), st.integers(1, 1000))
    def test_power_lies_within_the_readings_and_completeness_within_one(self, pairs, hold_s):
        pairs = sorted(pairs)
        slot = build_slot(T, QUARTER, POWER, seconds(*pairs), hold_s=hold_s)
        assert 0 <= slot.completeness <= 1
        if slot.power_kw is not None:
            values = [value for _, value in pairs]
            assert min(values) - 1e-6 <= slot.power_kw <= max(values) + 1e-6
            assert slot.energy_wh == pytest.approx(slot.power_kw * 250, abs=0.51)


class TestCounter:
    def test_difference_is_energy(self):
        slot = build_slot(T, QUARTER, METER, seconds((0, 100.0), (900, 110.0)))
        assert (slot.energy_wh, slot.power_kw, slot.completeness) == (10_000, 40.0, 1.0)

    def test_neighbours_are_shared_out_by_time(self):
        slot = build_slot(T, QUARTER, METER, seconds((-300, 100.0), (600, 109.0), (1200, 121.0)))
        assert slot.energy_wh == 6000 + 6000

    @given(
        st.lists(st.integers(1, 60), min_size=1, max_size=40), st.lists(st.integers(0, 5000), min_size=40, max_size=40)
    )
    def test_no_energy_is_lost_between_slots(self, gaps, steps):
        at, value, readings = 0, 0.0, [Reading("meter", T, 0.0)]
        for gap, step in zip(gaps, steps, strict=False):
            at, value = at + gap, value + step / 1000
            readings.append(Reading("meter", T + at * 60_000, value))
        slots = [build_slot(T + i * 900_000, QUARTER, METER, readings) for i in range(at * 60 // QUARTER + 1)]
        covered = sum(slot.power_kw * slot.completeness / 4 for slot in slots if slot.power_kw is not None)
        assert covered == pytest.approx(value, abs=1e-6)

    def test_a_rollover_continues(self):
        slot = build_slot(T, QUARTER, ROLLING, seconds((0, 998.0), (450, 3.0), (900, 8.0)))
        assert (slot.energy_wh, slot.flags) == (10_000, ())

    def test_a_reset_starts_at_zero_and_is_flagged(self):
        slot = build_slot(T, QUARTER, METER, seconds((0, 500.0), (450, 505.0), (900, 2.0)))
        assert (slot.energy_wh, slot.flags) == (7000, ("reset",))

    @pytest.mark.parametrize("channel", [METER, ROLLING])
    def test_a_counter_that_reads_zero_for_a_while_invents_no_energy(self, channel):
        readings = seconds((0, 700.0), (300, 701.0), (600, 0.0), (780, 0.0), (1200, 704.0), (1800, 706.0))
        first, second = (build_slot(start, QUARTER, channel, readings) for start in (T, T + QUARTER * 1000))
        assert (first.energy_wh, first.flags) == (3000, ("suspect",))
        assert (second.energy_wh, second.flags) == (3000, ())

    def test_a_counter_that_goes_back_a_little_has_not_begun_anew(self):
        slot = build_slot(T, QUARTER, METER, seconds((0, 500.0), (450, 499.9), (900, 499.95)))
        assert (slot.energy_wh, slot.flags) == (50, ("suspect",))

    def test_a_counter_that_began_anew_and_passes_its_old_value_was_a_reset(self):
        slot = build_slot(T, QUARTER, METER, seconds((0, 2.0), (300, 0.5), (600, 1.5), (900, 2.5)))
        assert (slot.energy_wh, slot.flags) == (2500, ("reset",))

    def test_a_replaced_meter_is_no_rollover_of_half_a_register(self):
        slot = build_slot(T, QUARTER, ROLLING, seconds((0, 400.0), (900, 2.0)))
        assert (slot.energy_wh, slot.flags) == (2000, ("reset",))

    def test_readings_that_do_not_move_in_time_are_ignored(self):
        slot = build_slot(T, QUARTER, METER, seconds((0, 1.0), (0, 5.0), (900, 6.0)))
        assert slot.energy_wh == 1000

    def test_one_reading_says_nothing(self):
        assert build_slot(T, QUARTER, METER, seconds((0, 1.0))).flags == ("empty",)


class TestRows:
    SLOT = Slot(T, QUARTER, 10_000, 40.0, 0.5, ("partial", "reset"))

    def test_form_is_pinned(self):
        row = {
            "time_ms": T,
            "length_s": 900,
            "energy_wh": 10_000,
            "power_kw": 40.0,
            "completeness": 0.5,
            "flags": ["partial", "reset"],
        }
        assert self.SLOT.to_row() == row
        assert Slot.from_row(row) == self.SLOT
        empty = Slot(T, QUARTER, 0, None, 0.0, ("empty",))
        assert Slot.from_row(json.loads(json.dumps(empty.to_row()))) == empty

    def test_every_field_is_checked(self):
        for what, changed in mutations(self.SLOT.to_row()):
            try:
                slot = Slot.from_row(changed)
            except RejectedError:
                continue
            assert Slot.from_row(slot.to_row()) == slot, what


class TestChannels:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"name": ""},
            {"name": "Load"},
            {"name": "1a"},
            {"name": "a\n"},
            {"name": "x" * 49},
            {"unit": ""},
            {"unit": "x" * 17},
            {"decimals": 7},
            {"decimals": -1},
            {"interval_s": -1},
            {"interval_s": 86_401},
            {"rollover": 10.0},
            {"kind": Kind.COUNTER, "rollover": 0.0},
            {"kind": Kind.COUNTER, "rollover": float("nan")},
        ],
    )
    def test_wrong_settings_are_refused(self, wrong):
        with pytest.raises(ConfigError, match="channel"):
            Channel(**{"name": "load", "unit": "kW", **wrong})


def test_of_slot_rows_with_one_start_the_one_written_last_counts():
    rows = [{"time_ms": start, "energy_wh": wh} for start, wh in ((900, 1), (0, 2), (900, 3), (1800, 4))]
    assert [(row["time_ms"], row["energy_wh"]) for row in latest_rows(rows)] == [(0, 2), (900, 3), (1800, 4)]


class TestGross:
    def test_a_slot_of_the_meter_alone_is_written_as_ever_and_is_the_gross_load(self):
        slot = build_slot(T, QUARTER, MEAN, seconds((0, 10.0), (300, 20.0), (600, 30.0)))
        assert set(slot.to_row()) == {"time_ms", "length_s", "energy_wh", "power_kw", "completeness", "flags"}
        assert (slot.gross_kw, slot.known_gross_kw) == (slot.power_kw, slot.power_kw)

    def test_gross_load_is_meter_pv_and_battery(self):
        slot = Slot(T, QUARTER, 2500, 10.0, 1.0, pv_kw=25.0, battery_kw=-5.0)
        assert slot.gross_kw == 30.0
        assert Slot.from_row(slot.to_row()) == slot

    def test_gross_load_is_unknown_where_a_part_is(self):
        slot = Slot(T, QUARTER, 2500, 10.0, 1.0, (FLAG_GROSS_UNKNOWN,), battery_kw=-5.0)
        assert (slot.gross_kw, slot.known_gross_kw) == (None, None)
        assert Slot.from_row(slot.to_row()) == slot
        assert Slot(T, QUARTER, 0, None, 0.0, pv_kw=25.0).gross_kw is None

    def test_a_slot_of_which_less_than_half_was_measured_tells_no_forecast_its_load(self):
        slot = Slot(T, QUARTER, 2500, 10.0, 0.4, pv_kw=25.0)
        assert (slot.gross_kw, slot.known_gross_kw) == (35.0, None)

    @pytest.mark.parametrize("name", ["pv_kw", "battery_kw"])
    @pytest.mark.parametrize("value", [None, "5", True, 1e400])
    def test_a_power_that_is_no_number_is_refused(self, name, value):
        row = Slot(T, QUARTER, 2500, 10.0, 1.0).to_row() | {name: value}
        with pytest.raises(RejectedError, match=name):
            Slot.from_row(row)
