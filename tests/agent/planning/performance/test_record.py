"""The record of a baseline: old or new whatever happens, and refused where it is damaged."""

import datetime as dt
import os
import signal

import pytest

from agent.contract.errors import ConfigError, RejectedError, UnavailableError
from agent.planning.performance.baseline import fit_baseline
from agent.planning.performance.record import MAX_ADJUSTMENTS, Adjustment, Record
from tests.support.plantyears import FIRST, heated
from tests.support.writes import STEPS, instead_of

OVEN = Adjustment(dt.date(2026, 3, 1), None, 420.0, "second oven")


@pytest.fixture(scope="module")
def record():
    return Record(fit_baseline(heated(365), zone="UTC", first=FIRST, last=dt.date(2025, 12, 31)))


def test_a_record_comes_back_as_it_was(record, tmp_path):
    path = tmp_path / "performance.json"
    record.adjusted(OVEN).save(path)
    again = Record.load(path)
    assert again.baseline.to_json() == record.baseline.to_json()
    assert again.adjustments == (OVEN,)
    assert again.without(1).adjustments == ()
    with pytest.raises(ConfigError, match="no adjustment 2"):
        again.without(2)


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_of_the_write_leaves_the_old_record_or_the_new_one(record, tmp_path, step):
    path = tmp_path / "performance.json"
    record.save(path)
    pid = os.fork()
    if pid == 0:
        instead_of(step, pytest.MonkeyPatch(), killed)
        record.adjusted(OVEN).save(path)
        os._exit(1)  # the step was never reached
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert Record.load(path).adjustments == ((OVEN,) if step == "fsync folder" else ())
    record.adjusted(OVEN).save(path)
    assert Record.load(path).adjustments == (OVEN,)
    assert [entry.name for entry in tmp_path.iterdir()] == ["performance.json"]  # what the kill left is gone


def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_damaged_record_is_refused_with_what_to_do(record, tmp_path):
    path = tmp_path / "performance.json"
    record.save(path)
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole.replace(b'"schema":1', b'"schema":2'), b"\x00" * 100):
        path.write_bytes(content)
        with pytest.raises(RejectedError, match="baseline --replace"):
            Record.load(path)


def test_without_a_file_there_is_no_baseline_yet(tmp_path):
    with pytest.raises(UnavailableError, match="no baseline yet"):
        Record.load(tmp_path / "performance.json")


def test_the_baselines_own_period_is_not_adjusted(record):
    with pytest.raises(ConfigError, match="within the baseline's period"):
        record.adjusted(Adjustment(dt.date(2025, 12, 31), None, 1.0, "late"))
    assert record.adjusted(Adjustment(dt.date(2024, 1, 1), dt.date(2024, 12, 31), 1.0, "before")).adjustments


def test_adjustments_are_limited(record):
    for _ in range(MAX_ADJUSTMENTS):
        record = record.adjusted(OVEN)
    with pytest.raises(ConfigError, match="200 already"):
        record.adjusted(OVEN)


@pytest.mark.parametrize(
    ("last", "kwh", "reason"),
    [
        (dt.date(2026, 2, 1), 1.0, "ends before it begins"),
        (None, float("nan"), "no number"),
        (None, float("inf"), "no number"),
        (None, 1.0, ""),
        (None, 1.0, "two\nlines"),
        (None, 1.0, "x" * 201),
    ],
)
def test_an_adjustment_that_cannot_be_is_refused(last, kwh, reason):
    with pytest.raises(ConfigError):
        Adjustment(dt.date(2026, 3, 1), last, kwh, reason)
