"""Daily wishes in local time become loads in steps, on days of 23, 24 and 25 hours."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from agent.planning.schedule.daily import Daily, DailyStage, occurrences
from agent.planning.schedule.parts import Deferrable, Sequence

BERLIN = ZoneInfo("Europe/Berlin")
MILL = Daily(name="mill", stages=(DailyStage(power_kw=30, minutes=120),), from_min=360, to_min=1320, usual_min=480)


def _at(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp() * 1000)


@pytest.mark.parametrize(
    ("day", "steps", "earliest", "latest"),
    [("2026-01-15", 96, 24, 88), ("2026-03-29", 92, 20, 84), ("2026-10-25", 100, 28, 92)],
)
def test_a_window_is_wall_clock_time_also_on_days_of_23_and_25_hours(day, steps, earliest, latest) -> None:
    (run,) = occurrences(MILL, BERLIN, _at(f"{day}T00:00"), 900, steps)
    assert isinstance(run.load, Deferrable)
    assert (run.load.earliest, run.load.latest, run.load.steps) == (earliest, latest, 8)
    assert run.usual == run.load.usual == earliest + 8
    assert run.name == f"mill {day}"


def test_a_run_is_planned_once_the_end_of_its_window_is_in_view() -> None:
    today, tomorrow = occurrences(MILL, BERLIN, _at("2026-01-15T14:00"), 900, 96)
    assert today.has_begun
    assert today.load is not None
    assert (today.load.earliest, today.load.latest, today.usual) == (0, 32, -24)
    assert tomorrow.load is None
    assert not tomorrow.has_begun


def test_a_window_over_midnight_ends_on_the_next_day() -> None:
    night = Daily(name="n", stages=(DailyStage(power_kw=5, minutes=60),), from_min=22 * 60, to_min=6 * 60)
    assert night.window_min == 480
    (run,) = occurrences(night, BERLIN, _at("2026-01-15T12:00"), 900, 96)
    assert run.load is not None
    assert (run.load.earliest, run.load.latest) == (40, 72)


def test_a_load_rests_on_other_weekdays() -> None:
    weekend = Daily(name="n", stages=MILL.stages, weekdays=frozenset({5, 6}))
    assert not list(occurrences(weekend, BERLIN, _at("2026-01-15T00:00"), 900, 96))  # a Thursday


def test_what_no_longer_fits_into_the_rest_of_its_window_is_not_planned() -> None:
    (run, _) = occurrences(MILL, BERLIN, _at("2026-01-15T21:00"), 900, 96)
    assert run.load is None


def test_minutes_are_rounded_up_to_steps_and_stages_keep_their_pauses() -> None:
    stages = (
        DailyStage(power_kw=4, minutes=20),
        DailyStage(power_kw=9, minutes=10, min_pause_minutes=15, max_pause_minutes=50),
    )
    (run,) = occurrences(Daily(name="n", stages=stages), BERLIN, _at("2026-01-15T00:00"), 900, 96)
    assert isinstance(run.load, Sequence)
    assert [stage.profile_kw for stage in run.load.stages] == [(4, 4), (9,)]
    assert (run.load.stages[1].min_gap, run.load.stages[1].max_gap) == (1, 3)
    assert run.unbroken_kw.tolist() == [4, 4, 0, 9]
