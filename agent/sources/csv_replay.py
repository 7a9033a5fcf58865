"""Replays a load-profile file on the plant clock, each row exactly once over any number of restarts.

Invariants: a row is given when its interval is over, never earlier; rows come in order; after `resume(t)` the first row
given is the first one later than t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.contract.channels import Channel, Kind, Quality, Reading
from agent.contract.errors import ConfigError
from agent.contract.loadcsv import LoadReport
from agent.sources.base import SourceStats
from agent.sources.csv_file import read_load_csv


class CsvReplay:
    """A source that plays one channel from a file.

    Args:
        path: the file.
        channel: what its values are; `interval_s` above 0 says that each row is the mean over that time from its stamp.
        zone: frame of the file's stamps.
        timestamp_column: header of the column of times.
        value_column: header of the column of values.
        scale: factor from the file's unit to the channel's (GW to kW: 1e6).
        start_ms, end_ms: rows with times in [start_ms, end_ms) are played.

    Raises:
        ConfigError: with file, line and what to do, when the file cannot be read or is refused, its rows are closer
            than `interval_s`, a value does not fit the channel, or no row lies in the range.
    """

    def __init__(
        self,
        path: Path,
        channel: Channel,
        *,
        zone: str,
        timestamp_column: str = "timestamp",
        value_column: str = "load",
        scale: float = 1.0,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> None:
        table = read_load_csv(
            path, zone=zone, timestamp_column=timestamp_column, value_column=value_column, scale=scale
        )
        self._channel = channel
        self._interval_ms = channel.interval_s * 1000
        self._check(path, table.times_ms, table.values, table.lines)
        low = 0 if start_ms is None else int(np.searchsorted(table.times_ms, start_ms))
        high = len(table.times_ms) if end_ms is None else int(np.searchsorted(table.times_ms, end_ms))
        if low >= high:
            raise ConfigError(
                "has no row in the range that is to be played", where=str(path), todo="Widen the range or the file"
            )
        self._times_ms, self._values = table.times_ms[low:high], table.values[low:high]
        self.report: LoadReport = table.report
        self._next = 0
        self._sampled = self._skipped = 0

    def _check(
        self, path: Path, times_ms: NDArray[np.int64], values: NDArray[np.float64], lines: NDArray[np.int64]
    ) -> None:
        close = np.flatnonzero(np.diff(times_ms) < self._interval_ms)
        if len(close):
            raise ConfigError(
                f"row begins before the {self._channel.interval_s} s of the row above it are over",
                where=f"{path} line {lines[close[0] + 1]}",
                todo="Correct interval_s of the channel, or the file",
            )
        limit = 2.0**53 / 10.0**self._channel.decimals
        large = np.flatnonzero(np.abs(values) >= limit)
        negative = np.flatnonzero(values < 0) if self._channel.kind is Kind.COUNTER else np.array([], dtype=np.int64)
        for found, what in ((large, "is too large"), (negative, "is negative on a counter")):
            if len(found):
                raise ConfigError(
                    f"value {values[found[0]]} {what}", where=f"{path} line {lines[found[0]]}", todo="Check the scale"
                )

    @property
    def channels(self) -> Sequence[Channel]:
        """The one channel."""
        return (self._channel,)

    @property
    def exhausted(self) -> bool:
        """Whether the last row was given."""
        return self._next >= len(self._times_ms)

    @property
    def has_own_times(self) -> bool:
        """Those of the file."""
        return True

    def stepped(self, step_ms: int) -> None:
        """Change nothing: a row is due when its own time is over."""

    @property
    def first_ms(self) -> int:
        """Time of the first row that is played."""
        return int(self._times_ms[0])

    def resume(self, last_time_ms: Mapping[str, int]) -> None:
        """Skip the rows up to the stored time of the channel."""
        last = last_time_ms.get(self._channel.name)
        if last is not None:
            self._next = max(self._next, int(np.searchsorted(self._times_ms, last, side="right")))

    def poll(self, now_ms: int) -> list[Reading]:
        """Return the rows whose interval is over by `now_ms`; a row without a value is skipped and counted."""
        until = max(self._next, int(np.searchsorted(self._times_ms, now_ms - self._interval_ms, side="right")))
        times, values = self._times_ms[self._next : until].tolist(), self._values[self._next : until].tolist()
        name = self._channel.name
        readings = [
            Reading(name, time_ms, value, int(Quality.GOOD))
            for time_ms, value in zip(times, values, strict=True)
            if not math.isnan(value)
        ]
        self._next = until
        self._sampled += len(readings)
        self._skipped += len(times) - len(readings)
        return readings

    def stats(self) -> SourceStats:
        """Return counters; `skipped` are rows without a value."""
        return SourceStats(sampled=self._sampled, skipped=self._skipped)
