"""Column integers: every int64, one form each."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract import varints
from agent.contract.errors import RejectedError

int64 = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(int64, max_size=50))
def test_round_trip_of_any_int64(values):
    data = varints.encode(np.array(values, dtype=np.int64))
    assert varints.decode(data, len(values), "x").tolist() == values


def test_bytes_are_pinned():
    assert (
        varints.encode(np.array([0, -1, 1, 63, -64, 64, 300, -(2**63)])).hex()
        == "0001027e7f8001d804ffffffffffffffffff01"
    )
    assert varints.encode(np.array([], dtype=np.int64)) == b""


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"\x01", 0),
        (b"", 1),
        (b"\x01\x01", 1),
        (b"\x80", 1),  # ends within a value
        (b"\x01\x80", 1),
        (b"\x80\x00", 1),  # longer than need be
        (b"\xff" * 9 + b"\x02", 1),  # 65 bits
        (b"\xff" * 10 + b"\x01", 1),
    ],
)
def test_refuses_other_counts_and_forms(data, count):
    with pytest.raises(RejectedError):
        varints.decode(data, count, "x")


@given(st.binary(max_size=40), st.integers(0, 45))
def test_any_bytes_are_refused_or_the_one_form_of_their_values(data, count):
    try:
        values = varints.decode(data, count, "x")
    except RejectedError:
        return
    assert varints.encode(values) == data
