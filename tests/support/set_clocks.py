"""A device whose clock is wrong and is set: the real daemon over clocks and a meter that the test moves."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import agent.daemon.build
from agent.config import parse
from agent.contract.channels import Channel, Reading
from agent.contract.slots import Slot
from agent.daemon.loop import Daemon
from agent.daemon.slots import SlotCloser
from agent.daemon.views import stored_slots
from agent.sources.base import SourceStats

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
YEAR_MS = 31_556_952_000
NOON_MS = 1_780_315_200_000  # 1 June 2026, 12:00 UTC
TO_1970 = -NOON_MS + 20_000  # the clock counts from 1 January 1970, 00:00:20
SLOT_S = 300
CONFIG = """
[device]
id = "d"
state_dir = "state"
socket = "s"
[plant]
zone = "UTC"
power_channel = "{channel}"
slot_minutes = 5
[store]
commit_window_s = {window}
[[channel]]
name = "power"
unit = "kW"
decimals = 3
[[channel]]
name = "energy"
unit = "kWh"
kind = "counter"
decimals = 3
rollover = 1000.0
[[source]]
kind = "simulator"
channels = ["power", "energy"]
sample_s = 60
"""


class Meter:
    """A meter that is read at every turn: what it says is a function of the true time."""

    def __init__(self, channel: Channel, true_ms: Callable[[], int], value: Callable[[int], float]) -> None:
        self.channels = [channel]
        self.exhausted = False
        self.has_own_times = False
        self.steps: list[int] = []
        self.truth: list[Reading] = []
        self._true_ms, self._value = true_ms, value

    def resume(self, last_time_ms: Mapping[str, int]) -> None:
        pass

    def stepped(self, step_ms: int) -> None:
        self.steps.append(step_ms)

    def poll(self, now_ms: int) -> list[Reading]:
        ago_ms = self.channels[0].interval_s * 1000  # a mean is told when its interval is over
        true_ms = self._true_ms() - ago_ms
        reading = Reading(self.channels[0].name, now_ms - ago_ms, round(self._value(true_ms), 3))
        self.truth.append(reading._replace(time_ms=true_ms))
        return [reading]

    def stats(self) -> SourceStats:
        return SourceStats()


class Device:
    """One device; `error_ms` is how far its real clock is wrong. Time passes only in `pass_minutes`."""

    def __init__(
        self,
        folder: Path,
        monkeypatch,
        *,
        channel: str = "power",
        error_ms: int = 0,
        window: float = 0.0,
        text: str = CONFIG,
        beside: Mapping[str, Callable[[int], float]] | None = None,
    ):
        """Begin; `beside` are more channels of the configuration `text`, by what they say at a time."""
        self.folder, self.error_ms = folder, error_ms
        self.true_ms, self.started_ms, self.machine = NOON_MS, NOON_MS - 20_000, "machine-1"
        monkeypatch.setattr(agent.daemon.build, "real_ms", lambda: self.true_ms + self.error_ms)
        monkeypatch.setattr(agent.daemon.build, "boottime_ms", lambda: self.true_ms - self.started_ms)
        monkeypatch.setattr(agent.daemon.build, "machine_start", lambda: self.machine)
        self.config = parse(text.format(channel=channel, window=window), folder=folder)
        kwh = lambda at_ms: (995.0 + (at_ms - NOON_MS) / HOUR_MS * 12) % 1000.0  # noqa: E731 - rolls over at once
        kw = lambda at_ms: 50.0 + at_ms // MINUTE_MS % 37  # noqa: E731
        self.meter = Meter(self.config.channels[channel], lambda: self.true_ms, kwh if channel == "energy" else kw)
        others = (beside or {}).items()
        self.beside = {name: Meter(self.config.channels[name], lambda: self.true_ms, value) for name, value in others}
        # A crash here ends a process, not the power: no fsync is needed for what these tests are about.
        pwritev = os.pwritev
        monkeypatch.setattr(os, "pwritev", lambda file, data, at, *_: pwritev(file, data, at))
        self.daemon: Daemon
        self.start()

    def start(self) -> Daemon:
        self.daemon = agent.daemon.build.build(self.config)
        self.daemon.rooms.sources[:] = [self.meter, *self.beside.values()]  # type: ignore[index]
        if self.daemon.rooms.store.is_open:
            conn = self.daemon.rooms.store._journal.shelves.db.conn
            sqlite3.Connection.execute(conn, "PRAGMA synchronous = OFF")
        return self.daemon

    def restart(self, *, off_ms: int = 0, machine: str | None = None) -> Daemon:
        """End and start again, the machine too where it is named; nothing is measured meanwhile."""
        self.daemon.close()
        self.pass_ms(off_ms)
        if machine is not None:
            self.machine, self.started_ms = machine, self.true_ms - 20_000
        return self.start()

    def crash(self) -> Daemon:
        """What SIGKILL leaves: what was in memory is gone."""
        store = self.daemon.rooms.store
        store.append = lambda *_: None
        store.commit = lambda: True
        self.daemon.close()
        return self.start()

    def pass_ms(self, milliseconds: int) -> None:
        self.true_ms += milliseconds

    def pass_minutes(self, minutes: int) -> None:
        for _ in range(minutes):
            self.pass_ms(MINUTE_MS)
            self.daemon.turn()

    def catch_up(self) -> None:
        """Turns without time passing, until nothing changes any more."""
        before = None
        while before != self.daemon.rooms.closer.next_ms:
            before = self.daemon.rooms.closer.next_ms
            self.daemon._close_slots(self.daemon.rooms.clock.now_ms())

    def readings(self) -> list[Reading]:
        return self.daemon.rooms.store.readings(self.meter.channels[0].name, 0, 2**52)

    def slots(self) -> list[Slot]:
        return stored_slots(self.daemon.rooms.store, 3650)

    def perfect_slots(self) -> list[Slot]:
        """What a device whose clock is always right makes of the same readings."""
        return slots_of(self.meter.channels[0], self.meter.truth, self.true_ms)


def slots_of(channel: Channel, readings: Sequence[Reading], now_ms: int) -> list[Slot]:
    """The slots of readings at their true times."""

    def between(_: str, start_ms: int, end_ms: int) -> list[Reading]:
        return [reading for reading in readings if start_ms <= reading.time_ms < end_ms]

    closer = SlotCloser(channel, SLOT_S, grace_s=60, readings=between)
    closer.saw(readings)
    found: list[Slot] = []
    while slots := closer.due(now_ms):
        closer.closed(slots)
        found += slots
    return [Slot.from_row(slot.to_row()) for slot in found]


def check(device: Device) -> None:
    """All that was read stands once, at its true time, and slots are as with a perfect clock."""
    device.catch_up()
    assert device.readings() == device.meter.truth
    assert device.slots() == device.perfect_slots()
