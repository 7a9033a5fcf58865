"""The report on rows that came the real way: blocks of a device, stored by the centre's own intake."""

import itertools

from agent.contract.blocks import encode_readings, encode_rows
from agent.contract.channels import Channel, Kind, Reading
from agent.contract.envelope import EnvelopeHeader
from agent.contract.rows import event_row, gap_row
from tests.support import fleetdata
from trainer.fleet.intake import Intake
from trainer.service.report import Options, build_report

POWER = Channel(name="power", unit="kW", decimals=1, kind=Kind.GAUGE, interval_s=1800)


def readings(first, count):
    times = [fleetdata.START_MS + (first + step) * fleetdata.SLOT_MS for step in range(count)]
    return encode_readings(
        [Reading("power", time, 100.0) for time in times], {"power": POWER}, epoch=1, boot=1, first=first
    )


def test_held_missing_sent_again_and_given_up_are_what_intake_stored(tmp_path):
    engine = fleetdata.empty(tmp_path)
    fleetdata.DeviceWriter(engine, "plant-north", last_seen_ms=None)
    clock = itertools.count(fleetdata.NOW_MS - 60_000, 1000)
    intake = Intake(engine, lambda: next(clock))
    header = EnvelopeHeader("plant-north", "00" * 8, "11" * 8, 0, ())
    slots = [fleetdata.slot(fleetdata.START_MS + step * fleetdata.SLOT_MS, 1.0).to_row() for step in range(48)]
    gap = gap_row(fleetdata.START_MS, "readings", 1, 31, 35, "the disk is full")
    boot = event_row(fleetdata.START_MS, "boot", "agent started", zone="Australia/Melbourne")
    intake.store(header, [readings(1, 30)], 900)
    intake.store(header, [readings(1, 30)], 900)
    intake.store(header, [encode_rows("events", [boot, gap], epoch=1, boot=1, first=1)], 300)
    intake.store(header, [readings(36, 10), encode_rows("slots", slots, epoch=1, boot=1, first=1)], 1500)

    report = build_report(engine, Options(), now_ms=fleetdata.NOW_MS)
    engine.dispose()
    (line,) = report.headlines
    assert (line.readings_held, line.readings_missing, line.readings_duplicated) == (40, 5, 0)
    assert line.zone == "Australia/Melbourne"
    assert line.newest_data == "2014-11-11T00:00+11:00"
    assert line.last_seen == "2026-11-22T00:59:03Z"
    assert "4 envelopes, 3.6 kB, 120 rows, of which 30 were sent again" in report.html
    assert "rows 31..35 of readings were given up: the disk is full" in report.html
