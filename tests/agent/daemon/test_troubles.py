"""One room's failure reaches nobody else, and is told once."""

from __future__ import annotations

import logging

import pytest

from agent.contract.errors import RejectedError, StorageError
from agent.daemon.troubles import Troubles


def failing(error: Exception) -> None:
    raise error


def test_tells_the_beginning_the_change_and_the_end_of_a_failure() -> None:
    told: list[tuple[str, str]] = []
    troubles = Troubles(lambda room, text: told.append((room, text)))
    for _ in range(3):
        assert not troubles.run("sync", lambda: failing(StorageError("disk full", where="x", todo="Free space")))
    assert not troubles.run("sync", lambda: failing(StorageError("disk gone")))
    assert troubles.open == {"sync": "disk gone"}
    for _ in range(2):
        assert troubles.run("sync", lambda: None)
    assert told == [
        ("sync", "x: disk full. Free space"),
        ("sync", "disk gone"),
        ("sync", "well again after: disk gone"),
    ]
    assert troubles.open == {}


def test_a_defect_is_kept_in_and_logged_whole_once(caplog: pytest.LogCaptureFixture) -> None:
    troubles = Troubles(lambda *_: None)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert not troubles.run("update", lambda: failing(ZeroDivisionError("oops")))
    assert troubles.open == {"update": "internal error: ZeroDivisionError: oops"}
    assert sum(record.exc_info is not None for record in caplog.records) == 1


def test_rooms_are_kept_apart() -> None:
    troubles = Troubles(lambda *_: None)
    troubles.run("a", lambda: failing(ValueError("x")))
    troubles.run("b", lambda: None)
    assert set(troubles.open) == {"a"}


def test_a_refused_message_is_told_but_leaves_nothing_wrong() -> None:
    told: list[tuple[str, str]] = []
    now_s = [0.0]
    troubles = Troubles(lambda room, text: told.append((room, text)), monotonic=lambda: now_s[0])

    def refuse() -> None:
        failing(RejectedError("has a signature that does not fit", where="assign"))

    for _ in range(1000):  # whoever can reach the broker can send as many as he likes
        assert not troubles.run("assignments", refuse, passing=(RejectedError,))
    assert troubles.open == {}
    assert troubles.passed == {"assignments": 1000}
    assert told == [("assignments", "assign: has a signature that does not fit")]
    now_s[0] = 601.0
    troubles.run("assignments", refuse, passing=(RejectedError,))
    assert len(told) == 2


def test_a_refused_message_does_not_end_a_trouble() -> None:
    troubles = Troubles(lambda *_: None)
    troubles.run("assignments", lambda: failing(StorageError("disk full")), passing=(RejectedError,))
    troubles.run("assignments", lambda: failing(RejectedError("junk")), passing=(RejectedError,))
    assert troubles.open == {"assignments": "disk full"}
