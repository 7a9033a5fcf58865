"""Rows that people and charts read."""

import json

import numpy as np
import pytest

from agent.contract import blocks
from agent.contract.errors import RejectedError
from agent.contract.rows import Forecast, ForecastSource, alert_row, cost_row, event_row, gap_row
from tests.support.nasty import mutations

T = 1_764_000_000_000
FORECAST = Forecast(
    T,
    1800,
    (0.1, 0.5, 0.9),
    np.array([[1.0, 2.0, 3.0], [1.5, 2.5, 3.25]]),
    np.array([[1.75, 2.75, 3.5]]),
    ForecastSource.PREVIOUS,
    "plant@3",
    "active is missing",
    0.25,
    calibrated=True,
)
ROW = {
    "time_ms": T,
    "origin_ms": T,
    "slot_s": 1800,
    "quantiles": [0.1, 0.5, 0.9],
    "power_kw": [[1.0, 2.0, 3.0], [1.5, 2.5, 3.25]],
    "peak_kw": [[1.75, 2.75, 3.5]],
    "source": "previous",
    "model": "plant@3",
    "note": "active is missing",
    "repaired_share": 0.25,
    "calibrated": True,
}


def same(one: Forecast, two: Forecast) -> bool:
    return one.to_row(0) == two.to_row(0)


def test_forecast_form_is_pinned():
    assert FORECAST.to_row(T) == ROW
    assert same(Forecast.from_row(json.loads(json.dumps(ROW))), FORECAST)
    assert FORECAST.level(0.9).tolist() == [3.0, 3.25]
    assert FORECAST.starts_ms() == [T, T + 1_800_000]


def test_every_field_of_a_forecast_is_checked():
    for what, changed in mutations(ROW):
        try:
            read = Forecast.from_row(changed)
        except RejectedError:
            continue
        assert same(Forecast.from_row(read.to_row(0)), read), what
        assert np.isfinite(read.power_kw).all(), what
        assert read.power_kw.shape[1] == read.peak_kw.shape[1] == len(read.quantiles), what
        assert len(read.peak_kw) == -(-len(read.power_kw) * read.slot_s // 86_400), what


@pytest.mark.parametrize(
    "change",
    [
        {"quantiles": [0.5, 0.1, 0.9]},
        {"quantiles": [0.1, 0.1, 0.9]},
        {"quantiles": [0.0, 0.5, 0.9]},
        {"quantiles": ["0.1", "0.5", "0.9"]},
        {"power_kw": []},
        {"power_kw": [[1.0, 2.0]]},
        {"power_kw": [["1", "2", "3"]]},
        {"power_kw": [[1.0, 2.0, True]]},
        {"power_kw": [[1.0, 2.0, 10**400]]},
        {"power_kw": [[1.0, 2.0, float("nan")]]},
        {"peak_kw": []},
        {"peak_kw": [[1.0, 2.0]]},
        {"peak_kw": [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]},  # two days of an hour's forecast
        {"peak_kw": [[1.0, 2.0, float("inf")]]},
        {"calibrated": 1},
    ],
)
def test_tables_that_are_no_numbers_of_their_shape_are_refused(change):
    with pytest.raises(RejectedError):
        Forecast.from_row({**ROW, **change})


def test_a_long_note_is_cut_rather_than_refused_by_its_reader():
    long = Forecast(
        T, 1800, (0.5,), np.ones((1, 1)), np.ones((1, 1)), ForecastSource.NAIVE, "seasonal-naive", "x" * 2000
    )
    assert len(Forecast.from_row(long.to_row(T)).note) == 512


@pytest.mark.parametrize(
    ("row", "pinned"),
    [
        (
            cost_row(T, "today", "AUD", "12.34", "12.00", "13.00", missing_slots=2),
            '{"time_ms": 1764000000000, "scope": "today", "currency": "AUD", "amount": "12.34", "low": "12.00", "high": "13.00", "missing_slots": 2}',
        ),
        (
            alert_row(T, "peak-ahead", "raised", "warning", "Peak", id="a1"),
            '{"time_ms": 1764000000000, "rule": "peak-ahead", "state": "raised", "severity": "warning", "text": "Peak", "id": "a1"}',
        ),
        (event_row(T, "boot", "Started"), '{"time_ms": 1764000000000, "kind": "boot", "text": "Started"}'),
        (
            gap_row(T, "readings", 3, 5, 9, "the disk was full"),
            '{"time_ms": 1764000000000, "kind": "gap", "text": "rows 5..9 of readings were given up: the disk was full", "stream": "readings", "epoch": 3, "first": 5, "last": 9, "reason": "the disk was full"}',
        ),
    ],
)
def test_forms_are_pinned_and_travel_in_blocks(row, pinned):
    assert json.dumps(row) == pinned
    block = blocks.encode_rows("events", [row], epoch=1, boot=1, first=1)
    assert blocks.decode_rows(block) == [row]
