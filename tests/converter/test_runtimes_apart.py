"""What is made of two runtimes that do not give quite the same."""

import pytest

from agent.contract.errors import RejectedError
from converter.verification import RuntimeResult, _compare

LITERT = RuntimeResult("ai-edge-litert 2", 0.1, 4000, 10.0, 0.0, 0.0, 0.0)


def other(*, max_steps=2.0, above_one=0.0005, pinball_kw=10.0):
    return RuntimeResult("tflite-runtime 2.14.0", 0.2, 3000, pinball_kw, max_steps, 0.01, above_one)


def test_rounding_of_a_step_or_two_now_and_then_is_no_remark():
    assert _compare(LITERT, other()) == ""
    assert _compare(LITERT, other(max_steps=3.0, above_one=0.001, pinball_kw=10.009)) == ""


@pytest.mark.parametrize("apart", [{"max_steps": 4.0}, {"above_one": 0.0011}])
def test_more_than_intended_is_told(apart):
    assert "3 and 0.1% are intended" in _compare(LITERT, other(**apart))


@pytest.mark.parametrize(
    "apart", [{"max_steps": 5.0}, {"pinball_kw": 10.02}, {"pinball_kw": 9.98}, {"pinball_kw": float("nan")}]
)
def test_what_boards_would_forecast_otherwise_is_refused(apart):
    with pytest.raises(RejectedError, match="Do not ship this model"):
        _compare(LITERT, other(**apart))
