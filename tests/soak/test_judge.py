"""The judge of the fault campaigns finds what it is to find: faults are planted in what a centre holds."""

import pytest

from tests.soak import rows
from tests.soak.judge import Held, Told, judge, subtract, union

SEED = 3
KEY, EVENTS = (7, "readings"), (7, "events")


def kept():
    """A device that told 30 readings, 25 of them durable, and 5 events; its centre holds the durable ones."""
    told = Told()
    for first, number in ((1, 100), (11, 110), (21, 500)):
        told.take({"ticket": [7, "readings", first, first + 9, number]})
    told.take({"ticket": [7, "events", 1, 5, 900]})
    told.take({"epoch": 7, "durable": {"readings": 25, "events": 5}})
    told.take({"epoch": 7, "durable": {"readings": 20}})
    numbers = [*range(100, 120), *range(500, 505)]
    return told, Held(
        {
            KEY: {seq: rows.reading(SEED, number) for seq, number in enumerate(numbers, start=1)},
            EVENTS: {seq: rows.record(SEED, "events", 899 + seq) for seq in range(1, 6)},
        }
    )


def counts(told, held):
    return {name: count for name, count in judge(told, held, SEED).counts().items() if count}


def test_a_kept_promise_is_clean():
    told, held = kept()
    assert judge(told, held, SEED).is_clean
    assert counts(told, held) == {}


def test_rows_beyond_what_was_durable_may_be_there_or_not():
    told, held = kept()
    held.rows[KEY][26] = rows.reading(SEED, 505)
    assert counts(told, held) == {}


def test_a_lost_durable_row_is_found():
    told, held = kept()
    del held.rows[KEY][25]
    assert counts(told, held) == {"acknowledged_lost": 1, "unreported_gaps": 1}
    assert "25..25: durable rows are lost" in judge(told, held, SEED).findings[0]


def test_a_whole_stream_that_never_came_is_found():
    told, held = kept()
    del held.rows[EVENTS]
    assert counts(told, held) == {"acknowledged_lost": 5, "unreported_gaps": 1}


def test_a_declared_loss_is_no_fault():
    told, held = kept()
    del held.rows[KEY][4], held.rows[KEY][5]
    held.gaps[KEY] = [(5, 5), (4, 4)]
    assert judge(told, held, SEED).is_clean
    assert counts(told, held) == {"declared": 2}


def test_a_loss_that_is_declared_beside_its_place_is_found():
    told, held = kept()
    del held.rows[KEY][4], held.rows[KEY][5]
    held.gaps[KEY] = [(5, 6)]
    assert counts(told, held) == {"acknowledged_lost": 1, "unreported_gaps": 1, "declared": 1}


def test_a_gap_over_numbers_never_given_out_is_found():
    told, held = kept()
    held.gaps[KEY] = [(26, 4_000)]
    assert counts(told, held) == {"false_gaps": 1}


def test_an_undeclared_hole_is_found_where_no_ticket_was():
    told, held = kept()
    held.rows[9, "events"] = {3: {"time_ms": rows.T0, "kind": "gap"}}
    assert counts(told, held) == {"unreported_gaps": 1}


def test_a_row_that_is_there_twice_is_found():
    told, held = kept()
    held.rows[8, "readings"] = {1: held.rows[KEY][20]}
    assert counts(told, held) == {"duplicates_at_centre": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        rows.reading(SEED, 103)._replace(value=1.5),
        rows.reading(SEED, 103)._replace(channel="oven_kw"),
        rows.reading(SEED, 103)._replace(quality=3),
    ],
)
def test_a_wrong_value_is_found(wrong):
    told, held = kept()
    held.rows[KEY][4] = wrong
    assert counts(told, held) == {"wrong_values": 1}


def test_a_wrong_time_is_found():
    told, held = kept()
    right = held.rows[KEY][4]
    held.rows[KEY][4] = right._replace(time_ms=right.time_ms + 1)
    assert judge(told, held, SEED).wrong_values


def test_a_wrong_row_of_another_stream_is_found():
    told, held = kept()
    held.rows[EVENTS][2] = {**held.rows[EVENTS][2], "text": "x"}
    assert counts(told, held) == {"wrong_values": 1}


def test_two_right_rows_in_each_others_places_are_found():
    told, held = kept()
    mine = held.rows[KEY]
    mine[1], mine[2] = mine[2], mine[1]
    assert counts(told, held) == {"wrong_values": 2}


def test_a_refused_message_is_a_fault():
    told, held = kept()
    held.refused.append("came again with other content")
    assert counts(told, held) == {"refused": 1}


def test_events_that_the_store_made_itself_are_no_fault():
    told, held = kept()
    held.rows[EVENTS][6] = {"time_ms": 5, "kind": "gap", "stream": "readings"}
    assert counts(told, held) == {}


def test_ranges_are_joined_and_cut():
    assert union([(5, 6), (1, 2), (3, 3), (5, 9)]) == [(1, 3), (5, 9)]
    assert subtract((1, 20), [(2, 3), (7, 30)]) == [(1, 1), (4, 6)]
    assert subtract((2, 3), [(1, 5)]) == []
