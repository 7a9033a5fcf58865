"""The event that corrects the times of epochs: read as it was written, refused where it is malformed."""

import pytest

from agent.contract.blocks import encode_rows
from agent.contract.corrections import MAX_EPOCHS, Correction, correction_row, moved, read_correction
from agent.contract.errors import RejectedError

ROW = correction_row(5, "set", [Correction(3, -7, 9), Correction(4, 0, 0)], ["grid"])


def test_what_is_written_is_read():
    assert read_correction(ROW) == ([Correction(3, -7, 9), Correction(4, 0, 0)], ("grid",))


def test_of_an_epoch_that_stands_twice_the_last_counts_and_a_channel_stands_once():
    row = {**ROW, "corrections": [[3, 1, 0], [4, 2, 0], [3, 5, 0]], "own_times": ["grid", "a", "grid"]}
    assert read_correction(row) == ([Correction(3, 5), Correction(4, 2)], ("a", "grid"))


def test_an_alert_moves_with_the_time_at_which_it_was_raised():
    assert moved({"time_ms": 5, "raised_ms": 3, "id": "x"}, 10) == {"time_ms": 15, "raised_ms": 13, "id": "x"}
    assert moved({"time_ms": 5, "raised_ms": "odd"}, 10) == {"time_ms": 15, "raised_ms": "odd"}


def test_the_largest_event_fits_into_a_row():
    corrections = [Correction(2**53 - at, -(2**47), 2**47) for at in range(MAX_EPOCHS)]
    encode_rows("events", [correction_row(5, "set", corrections, ["c" * 48] * 900)], epoch=1, boot=1, first=1)


@pytest.mark.parametrize(
    "change",
    [
        {"corrections": None},
        {"corrections": [[1, 2]]},
        {"corrections": [[0, 2, 3]]},
        {"corrections": [[1, 2.5, 3]]},
        {"corrections": [[1, 2**60, 3]]},
        {"corrections": [[1, 2, -3]]},
        {"corrections": [[1, 2, 3]] * (MAX_EPOCHS + 1)},
        {"own_times": [5]},
        {"own_times": ["Not a name"]},
    ],
)
def test_a_malformed_one_is_refused(change):
    with pytest.raises(RejectedError):
        read_correction({**ROW, **change})


def test_what_was_derived_under_a_wrong_clock_does_not_count_but_slots_before_it():
    wrong, right = Correction(1, 10, 500), Correction(1, 0, 500)
    assert [wrong.counts(stream, 499) for stream in ("slots", "forecasts", "events")] == [True, False, True]
    assert not wrong.counts("slots", 500)
    assert right.counts("slots", 500)
    assert right.counts("costs", 500)
