"""The forecasts of four weeks that a guarded plan rests on: those from the same local time of day, and no other read."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.contract.rows import Forecast, ForecastSource
from agent.contract.zones import parse_zone
from agent.daemon.mediansbefore import MediansBefore, Rows
from tests.support.stores import Bench

BERLIN = parse_zone("Europe/Berlin")
ORIGIN = dt.datetime(2026, 1, 15, tzinfo=dt.UTC)
ORIGIN_MS, SLOT_MS = round(ORIGIN.timestamp() * 1000), 1_800_000


def medians_before(store: Rows, forecast: Forecast, zone: dt.tzinfo) -> dict[int, np.ndarray]:
    before = MediansBefore(store, forecast, zone)
    while not before.read(1.0):
        pass
    return before.found


def _made_at(origin: dt.datetime) -> Forecast:
    levels = np.tile([70.0, 80.0, 95.0], (48, 1))
    origin_ms = round(origin.timestamp() * 1000)
    return Forecast(origin_ms, 1800, (0.1, 0.5, 0.9), levels, levels[:1], ForecastSource.ACTIVE, "m@1")


def test_forecasts_of_the_same_hour_are_found_and_candidates_are_not(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for back, source, shift in ((3, "active", 0), (2, "candidate", 0), (1, "active", SLOT_MS), (1, "naive", 0)):
        levels = np.full((48, 3), [70.0, 80.0 + back, 95.0])
        origin_ms = ORIGIN_MS - back * 86_400_000 + shift
        made = Forecast(origin_ms, 1800, (0.1, 0.5, 0.9), levels, levels[:1], ForecastSource(source), "m@1")
        bench.store.append("forecasts", [made.to_row(origin_ms + 5000)])
    found = medians_before(bench.store, _made_at(ORIGIN), dt.UTC)
    assert {back: median[0] for back, median in found.items()} == {1: 81.0, 3: 83.0}
    bench.store.close()


class Looked:
    """Has one forecast each hour of the weeks before, made `late_ms` after its origin; knows what was asked for."""

    def __init__(self, late_ms: int = 60_000) -> None:
        self.late_ms, self.given = late_ms, 0

    def rows(self, stream: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
        hours = range(-(-(start_ms - self.late_ms) // 3_600_000), -(-(end_ms - self.late_ms) // 3_600_000))
        self.given += len(hours)
        levels = np.full((48, 3), [70.0, 80.0, 95.0])
        return [
            Forecast(
                hour * 3_600_000, 1800, (0.1, 0.5, 0.9), levels + hour, levels[:1], ForecastSource.NAIVE, "n"
            ).to_row(hour * 3_600_000 + self.late_ms)
            for hour in hours
        ]


def test_of_four_weeks_of_forecasts_no_other_than_the_28_that_are_wanted_are_read() -> None:
    store = Looked()
    assert len(medians_before(store, _made_at(ORIGIN), dt.UTC)) == 28
    assert store.given == 28


def test_a_forecast_that_was_made_late_is_found_all_the_same() -> None:
    assert len(medians_before(Looked(late_ms=5_400_000), _made_at(ORIGIN), dt.UTC)) == 28


@pytest.mark.parametrize(("date", "first", "hours"), [((2026, 4, 2), 5, 1), ((2026, 10, 27), 3, -1)])
def test_over_a_change_of_the_clocks_the_forecasts_before_are_of_the_same_local_time(
    date: tuple[int, int, int], first: int, hours: int
) -> None:
    made = _made_at(dt.datetime(*date, 7, tzinfo=BERLIN))
    found = medians_before(Looked(), made, BERLIN)
    shifts = {back: median[0] - 80 + 24 * back - made.origin_ms // 3_600_000 for back, median in found.items()}
    assert shifts == {back: hours if back >= first else 0 for back in range(1, 29)}


def test_in_the_hour_that_was_skipped_what_the_clock_showed_then_is_looked_for() -> None:
    sought: list[int] = []

    class Asked(Looked):
        def rows(self, stream: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
            sought.append(start_ms)
            return []

    medians_before(Asked(), _made_at(dt.datetime(2026, 3, 30, 2, 30, tzinfo=BERLIN)), BERLIN)
    assert sought[0] == round(dt.datetime(2026, 3, 29, 1, 30, tzinfo=dt.UTC).timestamp() * 1000)


def test_they_are_read_a_day_at_a_time_where_there_is_no_time_for_more() -> None:
    store = Looked()
    before = MediansBefore(store, _made_at(ORIGIN), dt.UTC)
    for day in range(1, 28):
        assert not before.read(0.0)
        assert (store.given, sorted(before.found)) == (day, list(range(1, day + 1)))
    assert before.read(0.0)
    assert before.found.keys() == medians_before(Looked(), _made_at(ORIGIN), dt.UTC).keys()
