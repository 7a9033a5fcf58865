"""What is stored and what is acknowledged, the same on both databases."""

import json
import threading

import pytest
import sqlalchemy as sa

from agent.contract.acknowledgement import Acknowledgement
from agent.contract.blocks import encode_readings, encode_rows
from agent.contract.channels import Channel, Reading
from agent.contract.errors import StorageError
from agent.contract.messages import MAX_TO_DEVICE_BYTES
from agent.contract.rows import gap_row
from agent.contract.topics import DeviceTopics
from tests.support import central_queries as queries
from tests.support.centre import Centre
from tests.support.field_device import ENERGY, POWER, START_MS, FieldDevice
from trainer.fleet import database as db

BOOKKEEPING = ("device", "envelope", "rejection")  # what a replay or a refusal may change


def send(centre: Centre, device: FieldDevice, data: bytes) -> list[bytes]:
    return [out.payload for out in centre.ingest.handle(DeviceTopics(device.name).up("readings"), data)]


def send_one(centre: Centre, device: FieldDevice, data: bytes) -> bytes:
    (answer,) = send(centre, device, data)
    return answer


def reasons(centre: Centre) -> list[str]:
    with db.read(centre.engine) as connection:
        return list(connection.execute(sa.select(db.rejection.c.reason).order_by(db.rejection.c.number)).scalars())


def test_rows_of_every_stream_are_stored_and_acknowledged(any_centre: Centre) -> None:
    device = any_centre.device()
    slot = {"time_ms": START_MS, "length_s": 900, "energy_wh": 5, "power_kw": 0.02, "completeness": 1.0, "flags": []}
    more = {**slot, "time_ms": START_MS + 900_000, "added_by_a_newer_agent": {"ä": [1, None]}}
    data = device.seal(device.readings(200), device.readings(50, channel=ENERGY), device.rows("slots", [slot, more]))
    answer = send_one(any_centre, device, data)
    assert (device.mark(answer).high, device.mark(answer).missing) == (250, ())
    assert device.mark(answer, "slots").high == 2
    assert queries.readings_stored(any_centre.engine, "press-1") == 250
    assert queries.readings_stored(any_centre.engine, "press-1", channel="energy") == 50
    assert queries.readings(any_centre.engine, "press-1", "power")[:2] == [
        (START_MS + 1000, 0.5, 0),
        (START_MS + 2000, 1.0, 0),
    ]
    assert queries.rows(any_centre.engine, "press-1", "slots") == [slot, more]
    assert [item.energy_wh for item in queries.slots(any_centre.engine, "press-1")] == [5, 5]


def test_a_replay_changes_nothing_and_is_acknowledged_again(any_centre: Centre) -> None:
    device = any_centre.device()
    data = device.seal(device.readings(100), device.events("one", "two"))
    first = device.read_ack(send_one(any_centre, device, data))
    before = any_centre.dump(*BOOKKEEPING)
    second = device.read_ack(send_one(any_centre, device, data))
    assert any_centre.dump(*BOOKKEEPING) == before
    assert second.marks == first.marks
    assert second.counter == first.counter + 1
    assert second.nonce != first.nonce
    with db.read(any_centre.engine) as connection:
        new_rows = connection.execute(sa.select(db.envelope.c.new_rows).order_by(db.envelope.c.number)).scalars().all()
    assert new_rows == [102, 0]


def test_reordered_rows_are_stored_and_the_hole_is_named_until_it_is_filled(any_centre: Centre) -> None:
    device = any_centre.device()
    one, two, three = (device.seal(device.readings(10)) for _ in range(3))
    assert device.mark(send_one(any_centre, device, one)).high == 10
    mark = device.mark(send_one(any_centre, device, three))
    assert (mark.high, mark.missing) == (30, ((11, 20),))
    assert queries.readings_missing(any_centre.engine, "press-1") == 10
    mark = device.mark(send_one(any_centre, device, two))
    assert (mark.high, mark.missing) == (30, ())
    assert queries.readings_stored(any_centre.engine, "press-1") == 30


def test_rows_packed_anew_with_old_ones_among_them_are_stored_once(any_centre: Centre) -> None:
    device = any_centre.device()
    readings = [Reading("power", START_MS + seq * 1000, seq / 4) for seq in range(1, 41)]

    def block(first: int, last: int) -> bytes:
        chosen = readings[first - 1 : last]
        return device.seal(encode_readings(chosen, {"power": POWER}, epoch=1, boot=1, first=first))

    for first, last in ((5, 10), (20, 30), (1, 25), (1, 40)):
        send_one(any_centre, device, block(first, last))
    stored = queries.readings(any_centre.engine, "press-1", "power")
    assert stored == [(item.time_ms, item.value, 0) for item in readings]
    assert queries.readings_duplicated(any_centre.engine, "press-1") == 0


@pytest.mark.parametrize("stream", ["readings", "events"])
def test_the_same_identity_with_other_content_is_refused_and_never_acknowledged(
    any_centre: Centre, stream: str
) -> None:
    device = any_centre.device()
    clone = FieldDevice(device.name, device.trust, device.key)

    def make(who: FieldDevice, mine: int) -> bytes:
        if stream == "readings":
            return who.seal(who.readings(10, step=mine))
        return who.seal(who.events(*(f"{mine}-{row}" for row in range(10))))

    send_one(any_centre, device, make(device, 1))
    before = any_centre.dump("coverage", *BOOKKEEPING)
    other = make(clone, 2)
    assert send(any_centre, clone, other) == []
    assert send(any_centre, clone, other) == []
    assert any_centre.dump("coverage", *BOOKKEEPING) == before
    assert len(reasons(any_centre)) == 2
    assert "rows 1..10 came again with other content" in reasons(any_centre)[0]
    mark = device.mark(send_one(any_centre, device, make(device, 1)), stream)
    assert (mark.high, mark.missing) == (20, ((1, 10),))  # the clone must not take the mark for its own rows
    (state,) = queries.stream_states(any_centre.engine, "press-1")
    assert state.disputed == ((1, 10),)


def test_a_conflict_in_one_block_stores_nothing_of_its_envelope(any_centre: Centre) -> None:
    device = any_centre.device()
    clone = FieldDevice(device.name, device.trust, device.key)
    send_one(any_centre, device, device.seal(device.readings(10)))
    before = any_centre.dump("coverage", *BOOKKEEPING)
    assert send(any_centre, clone, clone.seal(clone.events("new"), clone.readings(10, step=7))) == []
    assert any_centre.dump("coverage", *BOOKKEEPING) == before


def test_a_changed_channel_definition_is_another_content(any_centre: Centre) -> None:
    device = any_centre.device()
    clone = FieldDevice(device.name, device.trust, device.key)
    send_one(any_centre, device, device.seal(device.readings(10)))
    assert send(any_centre, clone, clone.seal(clone.readings(10, channel=Channel("power", "W")))) == []


def test_rows_that_the_device_gave_up_count_as_safe_and_stay_named(any_centre: Centre) -> None:
    device = any_centre.device()
    _, lost, kept = device.readings(10), device.readings(10), device.readings(10)
    send_one(any_centre, device, device.seal(kept))
    gap = device.rows("events", [gap_row(START_MS, "readings", 1, 1, 20, "disk full")])
    answer = send_one(any_centre, device, device.seal(gap))
    mark = device.mark(answer)
    assert (mark.high, mark.missing, mark.gaps) == (30, (), ((1, 20),))
    assert queries.readings_missing(any_centre.engine, "press-1") == 0
    mark = device.mark(send_one(any_centre, device, device.seal(lost)))  # salvaged after all
    assert mark.gaps == ((1, 10),)
    assert queries.readings_stored(any_centre.engine, "press-1") == 20


def test_a_gap_never_covers_rows_that_are_held(any_centre: Centre) -> None:
    device = any_centre.device()
    send_one(any_centre, device, device.seal(device.readings(10)))
    gap = device.rows("events", [gap_row(START_MS, "readings", 1, 5, 15, "disk full")])
    mark = device.mark(send_one(any_centre, device, device.seal(gap)))
    assert (mark.high, mark.gaps) == (15, ((11, 15),))
    (state,) = [item for item in queries.stream_states(any_centre.engine, "press-1") if item.stream == "readings"]
    assert (state.rows, state.given_up) == (10, ((11, 15),))


@pytest.mark.parametrize(
    "wrong", [{"stream": "secrets"}, {"first": 0}, {"first": "1"}, {"last": 3}, {"epoch": 0}, {"epoch": None}]
)
def test_a_malformed_gap_is_an_event_like_any_other_and_gives_nothing_up(
    any_centre: Centre, wrong: dict[str, object]
) -> None:
    device = any_centre.device()
    gap = device.rows("events", [gap_row(START_MS, "readings", 1, 4, 9, "disk full") | wrong])
    answer = device.read_ack(send_one(any_centre, device, device.seal(gap)))
    assert [mark.stream for mark in answer.marks] == ["events"]
    assert queries.readings_missing(any_centre.engine, "press-1") == 0


def test_epochs_are_counted_apart(any_centre: Centre) -> None:
    device = any_centre.device()
    send_one(any_centre, device, device.seal(device.readings(10)))
    device.epoch, device.last = 2, {}
    mark = device.mark(send_one(any_centre, device, device.seal(device.readings(3))))
    assert (mark.epoch, mark.high) == (2, 3)
    assert queries.readings_stored(any_centre.engine, "press-1") == 13
    assert queries.readings_duplicated(any_centre.engine, "press-1") == 3  # the same instants again


def test_devices_are_kept_apart(any_centre: Centre) -> None:
    one, two = any_centre.device("press-1"), any_centre.device("press-2")
    send_one(any_centre, one, one.seal(one.readings(10)))
    send_one(any_centre, two, two.seal(two.readings(4)))
    assert [queries.readings_stored(any_centre.engine, name) for name in ("press-1", "press-2")] == [10, 4]


def test_an_acknowledgement_of_very_many_holes_still_fits_into_a_message(any_centre: Centre) -> None:
    device = any_centre.device()
    row = {"time_ms": START_MS}
    streams = ("slots", "costs", "alerts", "events", "health", "forecasts")
    blocks = [
        encode_rows(stream, [row], epoch=epoch, boot=1, first=2**52 + 2 * seq)
        for stream in streams
        for epoch in (1, 2)
        for seq in range(150)
    ]
    answer = send_one(any_centre, device, device.seal(*blocks))
    assert len(answer) <= MAX_TO_DEVICE_BYTES
    marks = device.read_ack(answer).marks
    assert len(marks) == 12
    for mark in marks:
        assert not mark.covers(mark.missing[-1][0], mark.missing[-1][1])
        assert mark.high < 2**52 + 2 * 150


def test_text_that_a_database_cannot_hold_is_refused_not_stumbled_over(any_centre: Centre) -> None:
    device = any_centre.device()
    before = any_centre.dump(*BOOKKEEPING)
    assert send(any_centre, device, device.seal(device.readings(3, channel=Channel("power", "k\x01W")))) == []
    assert any_centre.dump(*BOOKKEEPING) == before
    assert len(reasons(any_centre)) == 1


def test_workers_that_store_the_same_envelopes_at_once_store_each_row_once(any_centre: Centre) -> None:
    device = any_centre.device()
    envelopes = [device.seal(device.readings(25), device.events("x")) for _ in range(12)]
    answers: list[Acknowledgement] = []

    def work(order: list[bytes]) -> None:
        answers.extend(device.read_ack(send_one(any_centre, device, data)) for data in order)

    workers = [threading.Thread(target=work, args=(order,)) for order in (envelopes, envelopes[::-1])]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({answer.counter for answer in answers}) == 24
    assert queries.readings_stored(any_centre.engine, "press-1") == 300
    assert reasons(any_centre) == []
    last = max(answers, key=lambda answer: answer.counter)
    assert {(mark.stream, mark.high, mark.missing) for mark in last.marks} == {
        ("readings", 300, ()),
        ("events", 12, ()),
    }


def test_a_failing_database_stores_and_acknowledges_nothing(centre: Centre) -> None:
    device = centre.device()
    send_one(centre, device, device.seal(device.readings(10)))
    before = centre.dump()
    data = device.seal(device.readings(50_000))

    def fill_up(connection: object, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    sa.event.listen(centre.engine, "connect", fill_up)
    centre.engine.dispose()
    with pytest.raises(StorageError, match="full"):
        send(centre, device, data)
    sa.event.remove(centre.engine, "connect", fill_up)
    centre.engine.dispose()
    assert centre.dump() == before
    assert device.mark(send_one(centre, device, data)).high == 50_010


def test_what_is_acknowledged_is_what_the_tables_hold(any_centre: Centre) -> None:
    device = any_centre.device()
    send_one(any_centre, device, device.seal(device.readings(10), device.events("a")))
    with db.read(any_centre.engine) as connection:
        assert len(connection.execute(sa.select(db.reading)).all()) == 10
        body = connection.execute(sa.select(db.record.c.body)).scalar_one()
    assert json.loads(body)["text"] == "a"
