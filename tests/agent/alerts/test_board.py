from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.alerts.board import AlertBoard
from agent.alerts.observations import Observations
from agent.alerts.rules.meter import DataMissing
from agent.alerts.rules.peak import PeakAhead
from agent.contract.errors import ConfigError
from agent.contract.rows import Forecast, ForecastSource
from tests.support.forecasts import peaks_of

NOW = 1_413_331_200_000
MIN_MS = 60_000
PEAK = PeakAhead(500)
SILENCE = DataMissing("power", 900)


def peak(kw, now_ms=NOW):
    """What is observed at `now_ms` when the forecast's upper level peaks at `kw` from NOW on for days."""
    table = np.tile([kw - 60.0, kw - 30.0, kw], (999, 1))
    made = Forecast(NOW, 3600, (0.1, 0.5, 0.9), table, peaks_of(table, 3600), ForecastSource.ACTIVE, "m@1")
    return Observations(now_ms, made, {}, NOW)


def spoke(minute, now_ms):
    return Observations(now_ms, None, {"power": NOW + minute * MIN_MS}, NOW)


def states(rows):
    return [(row["rule"], row["state"]) for row in rows]


def test_an_alert_is_raised_once_and_cleared_once():
    board = AlertBoard([PEAK])
    rows = [
        row
        for minute, kw in enumerate([400, 520, 530, 480, 520, 470, 460])
        for row in board.update(peak(kw, NOW + minute * MIN_MS))
    ]
    assert states(rows) == [("peak-ahead", "raised"), ("peak-ahead", "cleared")]
    assert rows[0]["id"] == rows[1]["id"] == "peak-ahead-20141015-000100"
    assert [row["time_ms"] for row in rows] == [NOW + MIN_MS, NOW + 5 * MIN_MS]
    assert rows[1]["raised_ms"] == NOW + MIN_MS
    assert board.open() == []
    json.dumps(rows)


def test_raised_row_carries_text_severity_and_numbers():
    (row,) = AlertBoard([PEAK]).update(peak(520))
    assert row["severity"] == "warning"
    assert row["text"].startswith("load may reach 520 kW")
    assert (row["peak_kw"], row["over_kw"], row["source"]) == (520.0, 20.0, "active")


def test_open_alert_tells_the_latest():
    board = AlertBoard([PEAK])
    board.update(peak(520))
    board.update(peak(590, NOW + MIN_MS))
    (alert,) = board.open()
    assert "590 kW" in alert.text
    assert alert.raised_ms == NOW
    assert alert.to_json()["acknowledged_ms"] is None


def test_data_alert_clears_only_after_readings_came_for_a_while():
    board = AlertBoard([SILENCE])
    assert states(board.update(spoke(0, NOW + 16 * MIN_MS))) == [("data-missing:power", "raised")]
    rows = [row for minute in range(17, 48) for row in board.update(spoke(minute, NOW + minute * MIN_MS))]
    assert states(rows) == [("data-missing:power", "cleared")]
    assert rows[0]["time_ms"] == NOW + 47 * MIN_MS


def test_a_meter_that_speaks_now_and_then_keeps_its_one_alert():
    board = AlertBoard([SILENCE])
    rows = []
    for minute in range(600):
        rows += board.update(spoke(minute - minute % 20, NOW + minute * MIN_MS))  # every 20 minutes
    assert states(rows) == [("data-missing:power", "raised")]


def test_a_clock_set_back_does_not_clear_early():
    board = AlertBoard([SILENCE])
    board.update(spoke(0, NOW + 60 * MIN_MS))
    assert board.update(spoke(61, NOW + 61 * MIN_MS)) == []
    assert board.update(spoke(40, NOW + 40 * MIN_MS)) == []
    assert board.update(spoke(69, NOW + 69 * MIN_MS)) == []
    assert states(board.update(spoke(70, NOW + 70 * MIN_MS))) == [("data-missing:power", "cleared")]


def test_a_clock_that_is_set_moves_what_is_open_with_it():
    board = AlertBoard([PEAK])
    board.update(peak(600))
    alert = board.open()[0]
    board.acknowledge(alert.id, NOW + 5)
    board.stepped(1000)
    assert (board.open()[0].raised_ms, board.open()[0].acknowledged_ms) == (NOW + 1000, NOW + 1005)
    assert board.update(peak(400, NOW + 2000))[0]["raised_ms"] == NOW + 1000


def test_rules_do_not_disturb_one_another():
    board = AlertBoard([PEAK, SILENCE])
    assert states(board.update(peak(520, NOW + 16 * MIN_MS))) == [
        ("peak-ahead", "raised"),
        ("data-missing:power", "raised"),
    ]
    assert [alert.severity for alert in board.open()] == ["warning", "critical"]


def test_acknowledge_notes_it_once():
    board = AlertBoard([PEAK])
    alert_id = board.update(peak(520))[0]["id"]
    (row,) = board.acknowledge(alert_id, NOW + 5)
    assert (row["state"], row["id"], row["time_ms"], row["raised_ms"]) == ("acknowledged", alert_id, NOW + 5, NOW)
    assert board.acknowledge(alert_id, NOW + 9) == []
    assert board.open()[0].acknowledged_ms == NOW + 5
    assert states(board.update(peak(520, NOW + MIN_MS))) == []
    assert states(board.update(peak(400, NOW + 2 * MIN_MS))) == [("peak-ahead", "cleared")]


def test_acknowledging_what_is_not_open_names_what_is_and_changes_nothing():
    board = AlertBoard([PEAK])
    alert_id = board.update(peak(520))[0]["id"]
    before = board.open()
    with pytest.raises(ConfigError, match=f"no open alert has the id 'nonsense'.*{alert_id}"):
        board.acknowledge("nonsense", NOW)
    assert board.open() == before


def test_two_alerts_of_one_rule_in_one_second_have_ids_of_their_own():
    board = AlertBoard([PEAK])
    ids = []
    for millisecond in range(3):
        ids += [row["id"] for row in board.update(peak(520, NOW + 2 * millisecond))]
        board.update(peak(400, NOW + 2 * millisecond + 1))
    assert len(set(ids)) == 3


def test_a_restart_takes_up_open_and_acknowledged_alerts_and_raises_nothing_again():
    board = AlertBoard([PEAK, SILENCE])
    rows = board.update(peak(520, NOW + 16 * MIN_MS))
    rows += board.acknowledge(rows[0]["id"], NOW + 17 * MIN_MS)
    again = AlertBoard([PEAK, SILENCE], json.loads(json.dumps(rows)))
    assert again.open() == board.open()
    assert again.update(peak(520, NOW + 18 * MIN_MS)) == []


def test_a_restart_forgets_what_was_cleared_and_gives_new_ids():
    board = AlertBoard([PEAK])
    rows = board.update(peak(520)) + board.update(peak(400))
    again = AlertBoard([PEAK], rows)
    assert again.open() == []
    assert again.update(peak(520))[0]["id"] != rows[0]["id"]


def test_an_alert_of_a_rule_that_is_gone_is_cleared():
    rows = AlertBoard([PEAK]).update(peak(520))
    board = AlertBoard([SILENCE], rows)
    (row,) = board.update(spoke(0, NOW + MIN_MS))
    assert (row["state"], row["id"], row["text"]) == ("cleared", rows[0]["id"], "this rule is no longer configured")
    assert board.open() == []


def test_of_two_open_alerts_of_one_rule_the_later_stays():
    rows = AlertBoard([PEAK]).update(peak(520)) + AlertBoard([PEAK]).update(peak(520, NOW + MIN_MS))
    board = AlertBoard([PEAK], rows)
    (row,) = board.update(peak(520, NOW + 2 * MIN_MS))
    assert (row["state"], row["id"]) == ("cleared", rows[0]["id"])
    assert [alert.id for alert in board.open()] == [rows[1]["id"]]


def test_unreadable_rows_are_passed_over_and_logged(caplog):
    good = AlertBoard([PEAK]).update(peak(520))
    bad = [{}, {"id": 3, "state": "raised", "time_ms": 1}, {"id": "x", "state": "raised", "time_ms": -5}]
    with caplog.at_level(logging.WARNING):
        board = AlertBoard([PEAK], [*bad, *good, {"id": "y", "state": "cleared", "time_ms": 5}])
    assert len(board.open()) == 1
    assert len(caplog.records) == 3


def test_rejects_two_rules_with_one_name():
    with pytest.raises(ConfigError, match="same name"):
        AlertBoard([PEAK, PeakAhead(900)])


@given(st.lists(st.floats(475, 500), min_size=1, max_size=60), st.booleans())
def test_never_flaps_between_its_limits(values, already_open):
    board = AlertBoard([PEAK])
    board.update(peak(520 if already_open else 400))
    rows = [row for minute, kw in enumerate(values, 1) for row in board.update(peak(kw, NOW + minute * MIN_MS))]
    assert rows == []
    assert len(board.open()) == already_open


@given(
    st.lists(
        st.tuples(st.floats(300, 700), st.integers(0, 40), st.sampled_from(["", "", "", "ack", "restart"])), max_size=60
    )
)
def test_rows_of_any_history_alternate_and_restore_to_the_same_board(history):
    rules = [PEAK, SILENCE]
    board, rows, last = AlertBoard(rules), [], 0
    for minute, (kw, silent, act) in enumerate(history):
        last = max(last, minute - silent)
        now_ms = NOW + minute * MIN_MS
        rows += board.update(Observations(now_ms, peak(kw).forecast, {"power": NOW + last * MIN_MS}, NOW))
        for alert in board.open() if act == "ack" else ():
            rows += board.acknowledge(alert.id, now_ms)
        if act == "restart":
            board = AlertBoard(rules, rows)
    by_id = {}
    for row in rows:
        by_id.setdefault(row["id"], []).append(row["state"])
    assert all(
        tuple(states)
        in {("raised",), ("raised", "acknowledged"), ("raised", "cleared"), ("raised", "acknowledged", "cleared")}
        for states in by_id.values()
    )
    for rule in ("peak-ahead", "data-missing:power"):
        turns = [row["state"] for row in rows if row["rule"] == rule and row["state"] != "acknowledged"]
        assert turns == ["raised", "cleared"] * (len(turns) // 2) + ["raised"] * (len(turns) % 2)
    restored = {alert.id: alert.acknowledged_ms for alert in AlertBoard(rules, rows).open()}
    assert restored == {alert.id: alert.acknowledged_ms for alert in board.open()}
