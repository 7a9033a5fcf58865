"""The benchmark of transfer: no model that has seen more than its four weeks, and figures over all pairs."""

import pytest

from agent.contract.errors import UnavailableError
from tests.benchmarks import bench_transfer

DAY_MS = 86_400_000


def record(first_day, last_day):
    return {"plant": "mill", "data_from_ms": first_day * DAY_MS, "data_to_ms": last_day * DAY_MS}


def pair(transfer, scratch, naive=10.0):
    losses = {
        "transfer": {"student_int8": transfer, "naive": naive},
        "scratch": {"student_int8": scratch, "naive": naive},
    }
    return {"ratio_int8": transfer / scratch, "ratio_teacher": transfer / scratch, "pinball": losses}


def test_four_weeks_before_the_test_part_may_be_learnt_from():
    bench_transfer.check_learnt(record(100, 128), 128 * DAY_MS)


@pytest.mark.parametrize("seen", [record(100, 129), record(99, 128), record(101, 129)])
def test_a_model_that_has_seen_more_is_refused(seen):
    with pytest.raises(UnavailableError, match="more than its four weeks"):
        bench_transfer.check_learnt(seen, 128 * DAY_MS)


def test_ratios_are_averaged_as_ratios():
    found = bench_transfer.summary([pair(4.0, 8.0), pair(8.0, 4.0)])
    assert found["geomean_ratio_transfer_vs_scratch_4w"] == pytest.approx(1.0)
    assert found["ratio_max"] == 2.0
    assert not found["enough_pairs"]
    assert bench_transfer.summary([pair(4.0, 8.0)] * 6)["enough_pairs"]
