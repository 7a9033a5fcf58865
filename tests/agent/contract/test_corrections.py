"""The event that corrects the times of epochs: read as it was written, refused where it is malformed."""

import pytest

from agent.contract.blocks import encode_rows
from agent.contract.corrections import MAX_EPOCHS, Correction, correction_row, read_correction
from agent.contract.errors import RejectedError

ROW = correction_row(5, "set", [Correction(3, -7, 9), Correction(4, 0, 0)], ["grid"])


def test_what_is_written_is_read():
    assert read_correction(ROW) == ([Correction(3, -7, 9), Correction(4, 0, 0)], ("grid",))


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
