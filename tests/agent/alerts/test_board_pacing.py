"""When a verdict becomes an alert: debounce, shelves, and rules that come and go; all of it over restarts."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.alerts.alert import as_they_stand
from agent.alerts.board import AlertBoard
from agent.alerts.finding import Finding, Verdict
from agent.alerts.observations import Observations
from agent.contract.errors import ConfigError

NOW = 1_413_331_200_000
MIN_MS = 60_000
HOUR_MS = 60 * MIN_MS


@dataclass(frozen=True)
class Told:
    """Judges as it is told: what is observed of the disk is the verdict."""

    raise_after_s: float = 0.0
    clear_after_s: float = 0.0
    name: str = "told"
    severity: str = "warning"

    def judge(self, observations):
        return Finding(
            Verdict(observations.storage_error), f"it is {observations.storage_error} at {observations.now_ms}"
        )


def seen(verdict, now_ms):
    return Observations(now_ms, None, {}, NOW, storage_error=verdict)


def play(board, verdicts, *, from_min=0):
    """One verdict a minute; return the rows."""
    return [
        row
        for minute, verdict in enumerate(verdicts, from_min)
        for row in board.update(seen(verdict, NOW + minute * MIN_MS))
    ]


def states(rows):
    return [row["state"] for row in rows]


def test_an_alert_is_raised_only_after_the_rule_was_on_for_its_time_without_a_break():
    board = AlertBoard([Told(raise_after_s=300)])
    assert play(board, ["on"] * 5 + ["hold"] + ["on"] * 5 + ["off"] + ["on"] * 5) == []
    (row,) = play(board, ["on"], from_min=17)
    assert (row["state"], row["time_ms"]) == ("raised", NOW + 17 * MIN_MS)


@given(st.lists(st.sampled_from(["on", "on", "off", "hold"]), max_size=80), st.integers(1, 9), st.integers(1, 9))
def test_no_raise_without_its_time_on_and_no_clear_without_its_time_off(verdicts, raise_min, clear_min):
    board = AlertBoard([Told(raise_after_s=raise_min * 60, clear_after_s=clear_min * 60)], most_per_hour=60)
    rows = play(board, verdicts)
    for row in rows:
        minute = (row["time_ms"] - NOW) // MIN_MS
        verdict, length = ("on", raise_min) if row["state"] == "raised" else ("off", clear_min)
        assert verdicts[max(0, minute - length) : minute + 1] == [verdict] * (length + 1)
    assert states(rows) == [state for state, _ in zip(itertools.cycle(["raised", "cleared"]), rows, strict=False)]


def test_a_shelved_alert_comes_back_by_itself_by_a_row_of_its_own():
    board = AlertBoard([Told()])
    alert_id = play(board, ["on"])[0]["id"]
    (row,) = board.shelve(alert_id, NOW + 10 * MIN_MS, NOW + MIN_MS)
    assert (row["state"], row["id"], row["until_ms"]) == ("shelved", alert_id, NOW + 10 * MIN_MS)
    assert play(board, ["on"] * 8, from_min=2) == []
    assert set(board.shelves()) == {"told"}
    (row,) = play(board, ["on"], from_min=10)
    assert (row["state"], row["id"]) == ("unshelved", alert_id)
    assert board.shelves() == {}
    assert [alert.id for alert in board.open()] == [alert_id]


def test_a_shelved_rule_raises_nothing_and_is_raised_anew_when_it_is_still_on_afterwards():
    board = AlertBoard([Told()])
    alert_id = play(board, ["on"])[0]["id"]
    board.shelve(alert_id, NOW + 10 * MIN_MS, NOW)
    assert states(play(board, ["off", "on", "on", "off", "on"], from_min=1)) == ["cleared"]
    rows = play(board, ["on"], from_min=10)
    assert states(rows) == ["raised"]
    assert rows[0]["id"] != alert_id


def test_a_shelf_whose_time_is_over_while_nothing_is_wrong_leaves_no_row():
    board = AlertBoard([Told()])
    board.shelve(play(board, ["on"])[0]["id"], NOW + 10 * MIN_MS, NOW)
    play(board, ["off"], from_min=1)
    assert play(board, ["off"], from_min=11) == []
    assert board.shelves() == {}


def test_what_is_shelved_can_be_taken_back_by_its_id_or_its_rule():
    board = AlertBoard([Told()])
    alert_id = play(board, ["on"])[0]["id"]
    for name in (alert_id, "told"):
        board.shelve(alert_id, NOW + HOUR_MS, NOW)
        (row,) = board.unshelve(name, NOW + MIN_MS)
        assert (row["state"], row["id"]) == ("unshelved", alert_id)
    with pytest.raises(ConfigError, match=r"'told' is not shelved.*Shelved: nothing"):
        board.unshelve("told", NOW)


def test_only_an_open_alert_is_shelved_and_only_for_a_time_ahead():
    board = AlertBoard([Told()])
    alert_id = play(board, ["on"])[0]["id"]
    with pytest.raises(ConfigError, match="no open alert has the id 'x'"):
        board.shelve("x", NOW + HOUR_MS, NOW)
    with pytest.raises(ConfigError, match="ends before it begins"):
        board.shelve(alert_id, NOW, NOW)
    assert board.shelves() == {}


@pytest.mark.parametrize("cleared", [False, True])
def test_a_shelf_survives_a_restart_and_ends_at_its_time(cleared):
    board = AlertBoard([Told()])
    rows = play(board, ["on"])
    rows += board.shelve(rows[0]["id"], NOW + 10 * MIN_MS, NOW)
    rows += play(board, ["off" if cleared else "on"], from_min=1)
    again = AlertBoard([Told()], json.loads(json.dumps(rows)))
    assert again.shelves() == board.shelves()
    assert play(again, ["on"] * 8, from_min=2) == []
    assert states(play(again, ["on"], from_min=10)) == ["raised" if cleared else "unshelved"]


def test_a_shelf_that_was_taken_back_stays_so_over_a_restart():
    board = AlertBoard([Told()])
    rows = play(board, ["on"])
    rows += board.shelve(rows[0]["id"], NOW + HOUR_MS, NOW)
    rows += board.unshelve("told", NOW + MIN_MS)
    assert AlertBoard([Told()], rows).shelves() == {}


def test_a_clock_that_is_set_moves_a_shelf_with_it():
    board = AlertBoard([Told()])
    board.shelve(play(board, ["on"])[0]["id"], NOW + 10 * MIN_MS, NOW)
    board.stepped(HOUR_MS)
    assert play(board, ["on"], from_min=69) == []
    assert states(play(board, ["on"], from_min=70)) == ["unshelved"]


def test_a_rule_that_comes_and_goes_is_told_so_once_and_then_stays_open_until_an_hour_was_calm():
    board = AlertBoard([Told()], most_per_hour=3)
    rows = play(board, ["on", "off"] * 20)
    assert states(rows) == ["raised", "cleared"] * 3 + ["raised"]
    assert rows[-1]["text"].startswith("raised 3 times within an hour: it comes and goes")
    assert rows[-1]["flapping"] is True
    assert play(board, ["off"] * 59, from_min=40) == []
    (row,) = play(board, ["off"], from_min=99)
    assert (row["state"], row["id"]) == ("cleared", rows[-1]["id"])
    assert "comes and goes" not in play(board, ["on"], from_min=100)[0]["text"]


def test_an_alert_an_hour_is_no_flapping():
    board = AlertBoard([Told()], most_per_hour=1)
    rows = play(board, (["on"] + ["off"] * 59) * 5)
    assert states(rows) == ["raised", "cleared"] * 5
    assert not any("flapping" in row for row in rows)


@given(
    st.lists(st.tuples(st.sampled_from(["on", "off"]), st.integers(1, 25), st.booleans()), max_size=150),
    st.integers(1, 5),
)
def test_no_hour_has_more_alerts_than_allowed_and_one_also_over_restarts(history, most):
    board, rows, minute = AlertBoard([Told()], most_per_hour=most), [], 0
    for verdict, minutes, restart in history:
        minute += minutes
        rows += play(board, [verdict], from_min=minute)
        if restart:
            board = AlertBoard([Told()], rows, most_per_hour=most)
    raised = [row["time_ms"] for row in rows if row["state"] == "raised"]
    assert all(sum(0 <= at - other < HOUR_MS for other in raised) <= most + 1 for at in raised)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["on", "off", "hold"]), st.sampled_from(["", "", "ack", "shelve", "unshelve", "restart"])
        ),
        max_size=60,
    )
)
def test_any_history_restores_to_the_same_board_and_is_told_as_it_stands(history):
    board, rows = AlertBoard([Told()], most_per_hour=60), []
    for minute, (verdict, act) in enumerate(history):
        now_ms = NOW + minute * MIN_MS
        rows += board.update(seen(verdict, now_ms))
        if act == "restart":
            board = AlertBoard([Told()], rows, most_per_hour=60)
        if act == "unshelve" and board.shelves():
            rows += board.unshelve("told", now_ms)
        for alert in board.open():
            if act == "ack":
                rows += board.acknowledge(alert.id, now_ms)
            if act == "shelve":
                rows += board.shelve(alert.id, now_ms + 7 * MIN_MS, now_ms)
    restored = AlertBoard([Told()], rows, most_per_hour=60)
    now_ms = NOW + len(history) * MIN_MS
    ended = board.update(seen("hold", now_ms))  # shelves that are over by now
    assert restored.update(seen("hold", now_ms)) == ended
    rows += ended
    assert {alert.id for alert in restored.open()} == {alert.id for alert in board.open()}
    assert {rule: shelf.until_ms for rule, shelf in restored.shelves().items()} == {
        rule: shelf.until_ms for rule, shelf in board.shelves().items()
    }
    told = {row["id"]: row["state"] for row in as_they_stand(rows) if row["state"] != "cleared"}
    expected = {
        alert.id: "shelved" if board.shelves() else "acknowledged" if alert.acknowledged_ms else "raised"
        for alert in board.open()
    }
    assert told == expected


def test_an_alert_that_stays_open_for_months_is_known_after_a_restart_though_its_first_rows_are_gone():
    day_ms = 24 * HOUR_MS
    board = AlertBoard([Told()])
    (first,) = board.update(seen("on", NOW))
    rows = board.acknowledge(first["id"], NOW + HOUR_MS)
    for day in range(1, 62):
        rows += board.update(seen("on", NOW + day * day_ms))
    assert [row["time_ms"] - NOW for row in rows] == [HOUR_MS, *(days * day_ms for days in (14, 28, 42, 56))]
    kept = rows[-2:]
    (known,) = as_they_stand(kept)
    assert (known["state"], known["raised_ms"], known["acknowledged_ms"]) == ("acknowledged", NOW, NOW + HOUR_MS)
    again = AlertBoard([Told()], kept)
    assert again.open() == [replace(alert, text=kept[-1]["text"]) for alert in board.open()]
    assert again.update(seen("on", NOW + 62 * day_ms)) == []
    (last,) = again.update(seen("off", NOW + 63 * day_ms))
    assert (last["id"], last["state"], last["raised_ms"]) == (first["id"], "cleared", NOW)


def test_what_is_told_again_stays_on_its_shelf():
    board = AlertBoard([Told()])
    rows = board.update(seen("on", NOW))
    rows += board.shelve(rows[0]["id"], NOW + 20 * 24 * HOUR_MS, NOW)
    rows += board.update(seen("on", NOW + 14 * 24 * HOUR_MS))
    assert states(rows) == ["raised", "shelved", "raised"]
    (known,) = as_they_stand(rows)
    assert (known["state"], known["until_ms"]) == ("shelved", NOW + 20 * 24 * HOUR_MS)


def test_a_shelf_of_a_clock_that_was_years_ahead_ends_within_its_longest_time():
    board = AlertBoard([Told()])
    rows = board.update(seen("on", NOW))
    rows += board.shelve(rows[0]["id"], NOW + 3650 * 24 * HOUR_MS, NOW)  # its row was moved, its end was not
    again = AlertBoard([Told()], rows)
    assert states(again.update(seen("on", NOW + 30 * 24 * HOUR_MS))) == ["unshelved", "raised"]
