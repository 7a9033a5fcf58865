"""Features over days: clocks that change, holidays, the latest day of the same kind."""

import dataclasses
import datetime as dt

import numpy as np
import pytest

from agent.contract.features import compute
from agent.contract.featurespec import FeatureSpec, Scaling
from agent.contract.zones import parse_zone
from tests.support.featuredata import MONDAY_MS, PER_DAY, SPEC, column, history, in_kw


class TestClocks:
    def local_hours(self, zone: str, start: str, days: int) -> tuple[int, np.ndarray]:
        """Power that equals the local hour of the day, so that a right lag has the hour of its target."""
        start_ms = round(dt.datetime.fromisoformat(start).timestamp() * 1000)
        info = parse_zone(zone)
        times = [dt.datetime.fromtimestamp(start_ms / 1000 + 1800 * slot, info) for slot in range(days * PER_DAY)]
        return start_ms, np.array([time.hour + time.minute / 60 for time in times])

    @pytest.mark.parametrize(
        ("zone", "start"),
        [
            ("Europe/Berlin", "2026-03-11T00:00+00:00"),  # forward on 29 March, the 19th day
            ("Europe/Berlin", "2026-10-07T00:00+00:00"),  # back on 25 October
            ("Australia/Melbourne", "2026-03-18T00:00+00:00"),
            ("Australia/Lord_Howe", "2026-03-18T00:00+00:00"),
        ],
    )
    def test_lags_show_the_same_local_time_across_a_change(self, zone, start):
        spec = FeatureSpec(slot_s=1800, horizon=48, zone=zone, scaling=Scaling.GLOBAL, center_kw=12, scale_kw=12)
        start_ms, power = self.local_hours(zone, start, 24)
        for origin in range(16 * PER_DAY, 23 * PER_DAY, 24):
            inputs = compute(spec, start_ms, power, np.array([origin]))
            truth = power[origin : origin + 48]
            for day in (2, 3, 7, 14):
                wrong = np.abs(in_kw(spec, inputs, f"lag_{day}d")[0] - truth) > 1e-3
                # The hour that a clock skips or repeats has no single counterpart on other days.
                assert wrong.sum() <= 2, (origin, day)

    def test_half_an_hour_is_no_step_of_hourly_slots(self):
        spec = FeatureSpec(slot_s=3600, horizon=24, zone="Australia/Lord_Howe", scaling=Scaling.GLOBAL, scale_kw=1000.0)
        start_ms = round(dt.datetime(2026, 3, 18, tzinfo=dt.UTC).timestamp() * 1000)
        for origin in (18 * 24, 20 * 24):
            inputs = compute(spec, start_ms, np.arange(24.0 * 24), np.array([origin]))
            assert in_kw(spec, inputs, "lag_7d")[0] == pytest.approx(origin + np.arange(24) - 7 * 24, abs=1e-3)

    def test_holidays_are_local_dates(self):
        spec = dataclasses.replace(SPEC, zone="Australia/Melbourne", holidays=("2026-01-26",))
        start_ms = round(dt.datetime(2026, 1, 10, 13, tzinfo=dt.UTC).timestamp() * 1000)  # 11 January, local midnight
        inputs = compute(spec, start_ms, history(15), np.array([15 * PER_DAY]))
        assert column(spec, inputs, "holiday")[0].tolist() == [1] * 48  # a Monday
        assert column(spec, inputs, "weekday_0")[0].tolist() == [0] * 48  # a holiday counts as a Sunday
        assert column(spec, inputs, "weekday_6")[0].tolist() == [1] * 48
        assert column(spec, inputs, "working")[0].tolist() == [0] * 48
        assert column(spec, inputs, "working_lag_1d")[0].tolist() == [0] * 48  # Sunday
        assert column(spec, inputs, "working_lag_7d")[0].tolist() == [1] * 48
        assert column(spec, inputs, "working_next_day")[0].tolist() == [1] * 48
        without = compute(dataclasses.replace(spec, holidays=()), start_ms, history(15), np.array([15 * PER_DAY]))
        assert column(spec, without, "working")[0].tolist() == [1] * 48
        assert column(spec, without, "weekday_0")[0].tolist() == [1] * 48

    @pytest.mark.parametrize(
        ("holiday", "ahead", "behind"),
        [("2026-01-26", 0, 0), ("2026-01-25", 0, 1), ("2026-01-19", 0, 7), ("2026-01-27", 1, 0)],
    )
    def test_holidays_around_the_target_are_told(self, holiday, ahead, behind):
        spec = dataclasses.replace(SPEC, holidays=(holiday,))
        start_ms = round(dt.datetime(2026, 1, 11, tzinfo=dt.UTC).timestamp() * 1000)
        inputs = compute(spec, start_ms, history(15), np.array([15 * PER_DAY]))  # of Monday, 26 January
        for name, wanted in (
            ("holiday", not ahead and not behind),
            ("holiday_next_day", ahead == 1),
            ("holiday_lag_1d", behind == 1),
            ("holiday_lag_7d", behind == 7),
        ):
            assert column(spec, inputs, name)[0].tolist() == [wanted] * 48, name


class TestSameKind:
    """`lag_same_kind` on load that is the number of its day; 2026-01-05 is a Monday, day 0."""

    def days_back(self, holidays: tuple[int, ...], day: int, *, slot: int = 0, horizon: int = 48) -> np.ndarray:
        dates = tuple(str(dt.date(2026, 1, 5) + dt.timedelta(days=holiday)) for holiday in holidays)
        spec = dataclasses.replace(
            SPEC, horizon=horizon, holidays=dates, scaling=Scaling.GLOBAL, center_kw=20.0, scale_kw=10.0
        )
        power = np.repeat(np.arange(60.0), PER_DAY)
        inputs = compute(spec, MONDAY_MS, power, np.array([day * PER_DAY + slot]))
        targets = (day * PER_DAY + slot + np.arange(horizon)) // PER_DAY
        back: np.ndarray = targets - in_kw(spec, inputs, "lag_same_kind")[0]
        return back

    def test_is_the_same_weekday_of_the_week_before(self):
        for day in range(28, 35):
            assert self.days_back((), day) == pytest.approx([7] * 48, abs=1e-3)

    def test_skips_a_holiday_of_that_weekday(self):
        assert self.days_back((21,), 28) == pytest.approx([14] * 48, abs=1e-3)
        assert self.days_back((21, 14), 28) == pytest.approx([21] * 48, abs=1e-3)

    def test_of_a_holiday_is_the_latest_sunday_or_holiday(self):
        assert self.days_back((30,), 30) == pytest.approx([3] * 48, abs=1e-3)  # a Wednesday
        assert self.days_back((29, 30), 30) == pytest.approx([1] * 48, abs=1e-3)
        assert self.days_back((33,), 34) == pytest.approx([1] * 48, abs=1e-3)  # a Sunday after a holiday

    def test_is_a_week_back_where_no_day_is_alike(self):
        assert self.days_back((0, 7, 14), 21) == pytest.approx([7] * 48, abs=1e-3)

    def test_looks_at_no_slot_that_is_not_over(self):
        back = self.days_back((30, 31), 30, slot=20, horizon=72)  # in the first of two holidays
        assert back[:28] == pytest.approx([3] * 28, abs=1e-3)
        assert back[28:48] == pytest.approx([1] * 20, abs=1e-3)  # as early in the second as is over of the first
        assert back[48:] == pytest.approx([4] * 24, abs=1e-3)
