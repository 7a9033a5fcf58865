"""The fuzz campaign in small: no parser crashes, and one that would is found."""

import random
import signal

import pytest

from agent.contract.errors import RejectedError
from tests.soak.fuzz_targets import Target, targets
from tests.soak.soak_fuzz import attack

_INPUTS = 150


@pytest.mark.parametrize("name", sorted(targets()))
def test_no_hostile_input_crashes_a_parser(name):
    noise, target = random.Random(name), targets()[name]
    for _ in range(_INPUTS):
        data = target.make(noise)
        assert attack(target, data) in {"taken", "refused"}, data[:200]


def test_half_of_the_targets_reach_behind_the_first_check():
    table = targets()
    behind = [name for name, target in table.items() if target.behind]
    assert {"ack_signed", "block_body", "bundle_hashed", "envelope_blocks", "enrol_request_sealed"} <= set(behind)
    noise = random.Random(1)
    assert any(attack(table[name], table[name].make(noise)) == "taken" for name in behind for _ in range(50))


@pytest.mark.parametrize("error", [ValueError("planted"), RecursionError(), MemoryError(), AssertionError()])
def test_an_exception_other_than_a_refusal_is_a_crash(error):
    def parse(_):
        raise error

    assert type(error).__name__ in attack(Target(lambda _: b"", parse), b"")


def test_an_input_that_takes_too_long_is_a_crash(monkeypatch):
    monkeypatch.setattr("tests.soak.soak_fuzz.HANG_S", 1)

    def hung(*_):
        raise RuntimeError("hung")

    before = signal.signal(signal.SIGALRM, hung)

    def parse(_):
        while True:
            signal.pause()

    try:
        assert "hung" in attack(Target(lambda _: b"", parse), b"")
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_refusal_of_another_kind_is_a_crash():
    def parse(_):
        raise RejectedError("not the kind that this parser promises")

    assert "RejectedError" in attack(Target(lambda _: b"", parse, refuses=(KeyError,)), b"")
