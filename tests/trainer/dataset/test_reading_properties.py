"""What holds for any file: energy is kept, times ascend, damage is an error, CSV and Parquet agree."""

import contextlib
import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.errors import ConfigError
from agent.contract.loadcsv import Columns
from trainer.dataset.counters import count_into_slots
from trainer.dataset.flags import Flag
from trainer.dataset.reading import Source, read_curve
from trainer.dataset.repairing import Faults, repaired
from trainer.dataset.series import read_series
from trainer.dataset.slotting import make_grid

SLOT_MS = 900_000
START = dt.datetime(2014, 1, 1)  # noqa: DTZ001 - a wall clock in UTC


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 600), st.floats(0, 1000)), min_size=2, max_size=200))
def test_the_energy_of_a_register_is_kept(steps):
    """Readings at any times within a slot of each other: what falls into known slots never exceeds what was counted."""
    times = np.cumsum([1_400_000_000_000, *(seconds * 1000 for seconds, _ in steps)])
    register = np.cumsum([500.0, *(kwh for _, kwh in steps)])
    table = Columns(times, np.arange(len(times)), {})
    grid = make_grid(table, 900, 900, "f", aligned=True, exact=False)
    counted = count_into_slots(times, register, None, grid, "f")
    assert len(counted.power) == grid.count
    assert not counted.resets.any()
    inner = counted.power[1:-1]  # slots that readings cover from end to end
    assert np.isfinite(inner).all()
    assert (inner >= 0).all()
    edges = grid.start_ms + np.arange(1, grid.count) * SLOT_MS
    if len(edges) > 1:
        total = np.interp(edges[[0, -1]], times, register)
        assert inner.sum() / 4 == pytest.approx(total[1] - total[0], rel=1e-6, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=60))
def test_repaired_rows_ascend_and_every_row_is_kept_or_noted(minutes):
    times = np.array(minutes, dtype=np.int64) * 60_000
    table = Columns(times, np.arange(1, len(times) + 1), {"load": np.arange(float(len(times)))})
    faults = Faults()
    try:
        kept = repaired(table, faults, "f")
    except ConfigError:  # too many faults
        return
    assert (np.diff(kept.times_ms) > 0).all()
    assert len(kept.times_ms) + len(faults.noted) == len(times)
    doubled = [line for flag, line, _ in faults.noted if flag is Flag.DUPLICATE]
    assert set(times[np.array(doubled, dtype=int) - 1].tolist()) <= set(kept.times_ms.tolist())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage")
    stamps = [START + step * dt.timedelta(minutes=30) for step in range(200)]
    pq.write_table(
        pa.table({"timestamp": stamps, "load": np.arange(200.0), "temp": [str(step) for step in range(200)]}),
        folder / "whole.parquet",
    )
    return folder


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_parquet_file_is_a_config_error_or_a_snapshot(files, data):
    content = bytearray((files / "whole.parquet").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = files / "damaged.parquet"
    path.write_bytes(content)
    with contextlib.suppress(ConfigError):
        snapshot = read_series(path, timestamps_in="UTC", zone="UTC", temperature_column="temp")
        assert np.isfinite(snapshot.power_kw).any()


@settings(max_examples=40, deadline=None)
@given(
    zone=st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "America/New_York", "UTC", "+05:30"]),
    day=st.sampled_from([dt.date(2014, 3, 9), dt.date(2014, 3, 30), dt.date(2014, 10, 5), dt.date(2014, 10, 26)]),
    lost=st.sets(st.integers(0, 191), max_size=20),
)
def test_csv_and_parquet_agree_over_changes_of_the_clocks(files, zone, day, lost):
    """Both give the same curve, or the same refusal, whatever rows are missing around a change."""
    stamps = [
        dt.datetime.combine(day, dt.time()) + dt.timedelta(minutes=30 * step)
        for step in range(-96, 96)
        if step + 96 not in lost
    ]
    values = np.arange(float(len(stamps)))
    csv, parquet = files / "a.csv", files / "a.parquet"
    rows = "".join(f"{stamp:%Y-%m-%d %H:%M:%S},{value}\n" for stamp, value in zip(stamps, values, strict=True))
    csv.write_text("timestamp,load\n" + rows)
    pq.write_table(pa.table({"timestamp": stamps, "load": values}), parquet)
    results = []
    for path in (csv, parquet):
        try:
            curve = read_curve(Source(path, zone))
            results.append((curve.grid.start_ms, curve.power_kw.tobytes()))
        except ConfigError as exc:
            results.append((exc.what, exc.todo))
    assert results[0] == results[1]
