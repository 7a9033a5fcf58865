"""What the centre makes of a clock that was set: the same as the device, whatever the order in which things come."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import sqlalchemy as sa

from agent.contract.blocks import Block, encode_rows
from agent.contract.corrections import Correction, correction_row
from agent.contract.topics import DeviceTopics
from tests.support.centre import Centre
from tests.support.set_clocks import HOUR_MS, NOON_MS, YEAR_MS, Device
from trainer.fleet import database as db
from trainer.fleet import times
from trainer.service.picture import read_slots
from trainer.service.queries import device_rows


def blocks_of(device: Device) -> list[Block]:
    device.daemon.rooms.store._journal.pack(("readings", "alerts", "events", "slots", "health", "forecasts", "costs"))
    return [stored.block for stored in device.daemon.rooms.store.unacknowledged(10**9)]


def corrected(centre: Centre) -> list[tuple[int, float]]:
    with db.read(centre.engine) as connection:
        (number,) = connection.execute(sa.select(db.device.c.number)).scalars()
        table = times.readings(connection, number)
        rows = connection.execute(sa.select(table.c.time_ms, table.c.value).order_by(table.c.time_ms))
        return [(time_ms, value) for time_ms, value in rows]


def test_the_centres_readings_and_slots_are_the_devices(
    any_centre: Centre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(tmp_path, monkeypatch, error_ms=-NOON_MS + 20_000)
    for error_ms in (device.error_ms, 0, 10 * YEAR_MS, 2 * HOUR_MS, 0):
        device.error_ms = error_ms
        device.pass_minutes(12)
    device.catch_up()
    blocks = blocks_of(device)
    random.Random(1).shuffle(blocks)
    field = any_centre.device()
    for block in blocks:
        any_centre.ingest.handle(DeviceTopics(field.name).up("readings"), field.seal(block))
    assert corrected(any_centre) == [(reading.time_ms, reading.value) for reading in device.meter.truth]
    rows = device_rows(any_centre.engine, field.name, 7, device.true_ms)
    slots, unreadable = read_slots(rows.slots)
    assert (slots, unreadable) == (device.perfect_slots(), 0)
    assert rows.counts.duplicated == 0
    assert all(NOON_MS - HOUR_MS < row["time_ms"] <= device.true_ms for row in rows.events)
    device.daemon.close()


def test_readings_with_times_of_their_own_are_not_moved(any_centre: Centre) -> None:
    device = any_centre.device()
    block = device.readings(10)
    event = correction_row(NOON_MS, "set", [Correction(block.header.epoch, 5000)], ["power", "power"])
    told = encode_rows("events", [event], epoch=block.header.epoch + 1, boot=1, first=1)
    for one in (block, told):
        any_centre.ingest.handle(DeviceTopics(device.name).up("readings"), device.seal(one))
    with db.read(any_centre.engine) as connection:
        raw = connection.execute(sa.select(db.reading.c.time_ms).order_by(db.reading.c.time_ms)).scalars().all()
    assert [time_ms for time_ms, _ in corrected(any_centre)] == raw


def test_an_older_correction_that_comes_later_changes_nothing(any_centre: Centre) -> None:

    device = any_centre.device()
    block = device.readings(3)
    epoch = block.header.epoch
    told = [
        encode_rows(
            "events",
            [correction_row(NOON_MS, "set", [Correction(epoch, 1000 * at)], [])],
            epoch=epoch + at,
            boot=1,
            first=1,
        )
        for at in (2, 1)
    ]
    for one in (block, *told):
        any_centre.ingest.handle(DeviceTopics(device.name).up("readings"), device.seal(one))
    with db.read(any_centre.engine) as connection:
        raw = connection.execute(sa.select(db.reading.c.time_ms).order_by(db.reading.c.time_ms)).scalars().all()
    assert [time_ms for time_ms, _ in corrected(any_centre)] == [time_ms + 2000 for time_ms in raw]
