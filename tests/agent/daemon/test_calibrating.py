"""On-line calibration at work: published forecasts, records in a real store, kills at any moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.contract.rows import Forecast
from agent.contract.slots import Slot
from agent.daemon.calibrating import MOST_TRACKED, Calibrating, read_coverage
from agent.daemon.forecasting import Forecasting, Made
from agent.daemon.history import History
from agent.inference.calibration import Calibration
from agent.inference.ladder import Ladder
from tests.support.stores import T0, Bench

SLOT_S, SLOT_MS, PER_DAY, DAY_MS = 3600, 3_600_000, 24, 86_400_000
RECORD = "calibration/seasonal-naive/24x3600s"


def slot(number: int, *, known: bool = True) -> Slot:
    """A plant whose errors trebled on day 12: what naive learnt of its own errors is far too narrow for days."""
    draw = np.random.default_rng([7, number]).normal(0, 5 if number < 12 * PER_DAY else 15)
    power_kw = float(round(100 + 40 * np.sin(2 * np.pi * number / PER_DAY) + draw, 3))
    return Slot(T0 + number * SLOT_MS, SLOT_S, round(power_kw * 1000), power_kw if known else None, 1.0 if known else 0)


class Device:
    """The daemon's way from slots to forecasts, on a real store."""

    def __init__(self, folder: Path, *, initial: dict[str, object] | None = None) -> None:
        self.bench = Bench(folder)
        self.initial = initial or {}
        self.told: list[str] = []
        self.made: dict[int, Made] = {}
        self.begin()

    def begin(self) -> None:
        store = self.bench.store
        history = History(SLOT_S, (Slot.from_row(row) for row in store.rows("slots", 0, 2**53)))
        origins = [row["origin_ms"] for row in store.rows("forecasts", 0, 2**53)]
        self.history = history
        self.calibrating = Calibrating(store, history, initial=lambda _: self.initial, tell=self.told.append)
        self.forecasting = Forecasting(
            Ladder(SLOT_S, PER_DAY),
            history,
            self.calibrating,
            every_minutes=60,
            last_origin_ms=max(origins, default=None),
        )

    def kill(self) -> None:
        self.bench.crash()
        self.begin()

    def close_slot(self, number: int, *, known: bool = True) -> None:
        made = slot(number, known=known)
        self.bench.store.append("slots", [made.to_row()])
        self.history.add(made)
        self.calibrating.learn(made)

    def forecast(self, *, durable: bool = True) -> None:
        origin_ms = self.forecasting.due_origin_ms()
        made = self.forecasting.make(origin_ms) if origin_ms is not None else None
        if made is not None and origin_ms is not None and durable:
            self.bench.store.append("forecasts", [made.published.to_row(origin_ms)])
            self.made[origin_ms] = made

    def live(self, numbers: range) -> None:
        for number in numbers:
            self.close_slot(number)
            self.forecast()

    def rows(self) -> list[dict]:
        return self.bench.store.rows("forecasts", 0, 2**53)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path)
    yield device
    device.bench.store.close()


def width(forecast: Forecast) -> float:
    return float((forecast.power_kw[:, 2] - forecast.power_kw[:, 0]).mean())


def test_what_is_published_follows_the_plant_and_says_so(device: Device) -> None:
    device.live(range(15 * PER_DAY))
    first, last = device.made[min(device.made)], device.made[max(device.made)]
    assert not first.published.calibrated
    assert np.array_equal(first.published.power_kw, first.raw.power_kw)
    assert last.published.calibrated
    assert not last.raw.calibrated
    assert width(last.published) > 1.2 * width(last.raw)
    assert device.forecasting.latest is last.published
    row = device.rows()[-1]
    assert row["calibrated"] is True
    assert np.allclose(row["power_kw"], last.published.power_kw, rtol=1e-5)
    assert device.told == []


def test_kills_at_any_moment_lose_nothing_and_count_nothing_twice(tmp_path: Path) -> None:
    straight, killed = Device(tmp_path / "one"), Device(tmp_path / "two")
    for number in range(6 * PER_DAY):
        straight.close_slot(number)
        straight.forecast()
        killed.close_slot(number)
        if number % 11 == 3:
            killed.kill()  # the slot is closed, nothing is forecast yet
        if number % 24 == 7:
            killed.forecast(durable=False)
            killed.kill()  # made, perhaps followed, and not on disk
        killed.forecast()
        if number % 13 == 5:
            killed.kill()  # right after the forecast
    one, two = straight.rows(), killed.rows()
    assert [row["origin_ms"] for row in one] == [row["origin_ms"] for row in two]
    assert np.allclose([row["power_kw"] for row in one], [row["power_kw"] for row in two], rtol=1e-4)
    assert np.allclose([row["peak_kw"] for row in one], [row["peak_kw"] for row in two], rtol=1e-4)
    told = [read_coverage(device.bench.store.note, rows[-1]) for device, rows in ((straight, one), (killed, two))]
    assert told[0] == told[1]
    assert told[0]["coverage_slots"] == 5 * PER_DAY
    assert killed.told == []
    for made in (straight, killed):
        made.bench.store.close()


def test_coverage_is_that_of_the_published_band(device: Device) -> None:
    device.live(range(10 * PER_DAY + 1))
    told = read_coverage(device.bench.store.note, device.rows()[-1])
    within = []
    first = min(device.made)
    for day in range(9):
        published = device.made[first + day * DAY_MS].published
        truth = [slot((published.origin_ms - T0) // SLOT_MS + step).power_kw or 0.0 for step in range(PER_DAY)]
        low, high = published.power_kw[:, 0], published.power_kw[:, 2]
        within += [low[step] <= truth[step] <= high[step] for step in range(PER_DAY)]
    assert told["coverage_slots"] == len(within)
    assert told["coverage_28d"] == pytest.approx(np.mean(within), abs=0.01)


def test_before_the_first_day_is_over_there_is_no_coverage(device: Device) -> None:
    device.live(range(PER_DAY + 5))
    assert read_coverage(device.bench.store.note, device.rows()[-1]) == {"coverage_28d": None, "coverage_slots": 0}


@pytest.mark.parametrize("harm", [b"{", b"{}", b'{"schema": 2}', b"[" * 100])
def test_a_record_that_cannot_be_read_is_told_and_begun_anew(device: Device, harm: bytes) -> None:
    device.live(range(4 * PER_DAY))
    device.bench.store.keep(RECORD, harm)
    device.bench.store.commit()
    assert read_coverage(device.bench.store.note, device.rows()[-1])["coverage_28d"] is None
    device.kill()
    device.live(range(4 * PER_DAY, 4 * PER_DAY + 2))
    assert len(device.told) == 1
    assert "seasonal-naive is lost, it begins anew" in device.told[0]
    again = device.made[max(device.made) - SLOT_MS]
    assert np.array_equal(again.published.power_kw, again.raw.power_kw)
    device.live(range(4 * PER_DAY + 2, 7 * PER_DAY))
    assert device.made[max(device.made)].published.calibrated
    assert len(device.told) == 1


def test_a_damaged_note_is_told_too(device: Device) -> None:
    device.live(range(3 * PER_DAY))
    device.bench.execute("UPDATE note SET data = zeroblob(300)")
    device.kill()
    device.live(range(3 * PER_DAY, 3 * PER_DAY + 1))
    assert "damaged" in device.told[0]
    assert len(device.rows()) == len(device.made)


def test_another_model_begins_with_what_its_bundle_brings(tmp_path: Path) -> None:
    wide = np.tile([99.0, 100.0, 101.0], (20, PER_DAY, 1))
    learnt = Calibration.from_scores(wide, wide[..., 1] + np.resize([-9.0, 9.0], (20, PER_DAY)), SLOT_S)
    device = Device(tmp_path, initial={"slots": learnt.to_json()})
    device.live(range(PER_DAY))
    first = device.made[min(device.made)]
    assert first.published.calibrated
    assert width(first.published) > 1.5 * width(first.raw)
    device.bench.store.close()


def test_a_candidate_learns_in_its_trial_and_is_calibrated_from_its_first_day(device: Device) -> None:
    for number in range(14 * PER_DAY):
        device.close_slot(number)
        origin_ms = device.forecasting.due_origin_ms()
        made = device.forecasting.make(origin_ms) if origin_ms is not None else None
        if made is not None and origin_ms is not None:
            candidate = Forecast(**{**vars(made.raw), "model": "plant@2"})
            device.calibrating.shadow(candidate)
            device.bench.store.append("forecasts", [made.published.to_row(origin_ms)])
    told = read_coverage(device.bench.store.note, candidate.to_row(0))
    assert told == {"coverage_28d": None, "coverage_slots": 0}  # nobody saw its band
    device.kill()
    issued = device.calibrating.publish(candidate)
    assert issued.calibrated
    assert width(issued) > 1.05 * width(candidate)


def test_a_day_without_readings_teaches_nothing_and_ends_no_calibration(device: Device) -> None:
    device.live(range(9 * PER_DAY))
    before = device.calibrating._trackers[RECORD].slots.days
    for number in range(9 * PER_DAY, 10 * PER_DAY):
        device.close_slot(number, known=False)
        device.forecast()
    assert device.calibrating._trackers[RECORD].slots.days == before
    assert device.made[max(device.made)].published.calibrated
    device.live(range(10 * PER_DAY, 12 * PER_DAY))
    assert device.calibrating._trackers[RECORD].slots.days > before + 1


def test_models_that_are_gone_leave_memory_and_come_back_from_disk(device: Device) -> None:
    device.live(range(4 * PER_DAY))
    made = device.made[max(device.made)]
    for version in range(MOST_TRACKED):
        device.calibrating.shadow(Forecast(**{**vars(made.raw), "model": f"plant@{version}"}))
    assert RECORD not in device.calibrating._trackers
    device.live(range(4 * PER_DAY, 4 * PER_DAY + 2))
    assert device.made[max(device.made)].published.calibrated
    assert device.told == []


def test_slots_that_were_closed_beyond_the_origin_are_scored_too(device: Device) -> None:
    """Forecasts each six hours, made late: the history has gone on since their origin."""
    device.forecasting = Forecasting(
        Ladder(SLOT_S, PER_DAY), device.history, device.calibrating, every_minutes=360, last_origin_ms=None
    )
    for number in range(5 * PER_DAY + 4):
        device.close_slot(number)
        if number % 6 == 3:
            device.forecast()
    told = read_coverage(device.bench.store.note, device.rows()[-1])
    assert told["coverage_slots"] == 4 * PER_DAY
