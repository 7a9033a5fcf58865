"""What the daemon says of a plant clock that went back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from agent.config import parse
from agent.daemon.build import build

HOUR_MS = 3_600_000
START_MS = 1_767_222_000_000
CONFIG = """
[device]
id = "d"
state_dir = "state"
socket = "s"
[plant]
zone = "UTC"
power_channel = "power"
[[channel]]
name = "power"
unit = "kW"
[[source]]
kind = "simulator"
channels = ["power"]
sample_s = 60
"""


class SetClock:
    def __init__(self) -> None:
        self.time_ms = START_MS

    def now_ms(self) -> int:
        return self.time_ms


def test_a_clock_that_went_back_is_told_until_time_has_caught_up(tmp_path: Path) -> None:
    daemon = build(parse(CONFIG, folder=tmp_path))
    clock = SetClock()
    daemon.rooms = replace(daemon.rooms, clock=clock)
    try:
        for _ in range(5):
            daemon.turn()
            clock.time_ms += HOUR_MS
        assert "clock" not in daemon.troubles.open
        ahead_ms = daemon.rooms.closer.next_ms
        clock.time_ms = START_MS - 30 * 24 * HOUR_MS
        daemon.turn()
        assert "plant time is 2025-12-0" in daemon.troubles.open["clock"]
        events = daemon.rooms.store.rows("events", 0, 2**52)
        assert [row["room"] for row in events if row["kind"] == "trouble"] == ["clock"]
        daemon.turn()
        assert len(daemon.rooms.store.rows("events", 0, 2**52)) == len(events)
        assert daemon.rooms.closer.next_ms == ahead_ms
        clock.time_ms = START_MS + 6 * HOUR_MS
        daemon.turn()
        assert "clock" not in daemon.troubles.open
    finally:
        daemon.close()
