"""Prices that change from one market interval to the next, read from a CSV file that may grow.

Decides what price holds at an instant and that some have none; mark-ups are `model.Dynamic`'s. Not pure: a series
looks whether its file has changed.
"""

from __future__ import annotations

import csv
import datetime as dt
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.contract.errors import ConfigError
from agent.contract.givenfiles import check_file

MAX_BYTES = 32 << 20
DECIMALS = 8
_HEADER = ["start", "price"]
_TODO = "Write lines such as 2026-01-31T13:00:00Z,84.51 under the header start,price"
_MAX_PRICE = Decimal(1_000_000)
_DAY_MS = 86_400_000
_LOOK_BACK_DAYS = 7
Ints = NDArray[np.int64]


class PriceSeries:
    """Prices of intervals of one length.

    Attributes:
        starts_ms: [N] rising.
        prices: [N] in steps of 10^-8.
        length_ms: how long each holds.
    """

    def __init__(self, starts_ms: Ints, prices: Ints, length_s: int) -> None:
        """Join what was read or computed."""
        self.starts_ms = starts_ms
        self.prices = prices
        self.length_ms = length_s * 1000

    def at(self, times_ms: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Return the price in 10^-8 at each instant, and whether there is one."""
        if not len(self.starts_ms):
            return np.zeros(len(times_ms), dtype=np.int64), np.zeros(len(times_ms), dtype=np.bool_)
        index = np.searchsorted(self.starts_ms, times_ms, side="right") - 1
        known = (index >= 0) & (times_ms - self.starts_ms[index] < self.length_ms)
        return np.where(known, self.prices[index], 0), known

    def likely(self, times_ms: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Return the price at each instant, and whether it is known.

        One that is not is that of the same time on the latest of the seven days before that has one, or else the mean.
        """
        prices, known = self.at(times_ms)
        if known.all():
            return prices, known
        found = np.full(len(times_ms), int(self.prices.mean()) if len(self.prices) else 0, dtype=np.int64)
        for back in range(_LOOK_BACK_DAYS, 0, -1):
            older, there = self.at(times_ms - back * _DAY_MS)
            found[there] = older[there]
        return np.where(known, prices, found), known

    def until(self, end_ms: int) -> PriceSeries:
        """Return the series with likely prices up to an instant, for what lies ahead of the market."""
        if not len(self.starts_ms):
            return self
        starts_ms = np.arange(int(self.starts_ms[0]), end_ms, self.length_ms, dtype=np.int64)
        prices, known = self.likely(starts_ms)
        # Each day ahead is like the one before it, the first like the last that is known.
        for index in np.flatnonzero(~known):
            day = index - _DAY_MS // self.length_ms
            if day >= 0:
                prices[index] = prices[day]
        return PriceSeries(starts_ms, prices, self.length_ms // 1000)

    @property
    def limits(self) -> tuple[Decimal, Decimal] | None:
        """The least and the greatest price; None of an empty series."""
        if not len(self.prices):
            return None
        return _decimal(int(self.prices.min())), _decimal(int(self.prices.max()))

    @classmethod
    def from_csv(cls, text: str, where: str, length_s: int) -> PriceSeries:
        """Parse `start,price` lines; a start is ISO with `Z` or an offset, on the grid of `length_s` in UTC.

        Raises:
            ConfigError: with the first line that is wrong.
        """
        rows = csv.reader(text.splitlines())
        if [name.strip() for name in next(rows, [])] != _HEADER:
            raise ConfigError("does not begin with the header start,price", where=where, todo=_TODO)
        found: dict[int, int] = {}
        for number, row in enumerate(rows, start=2):
            if not row:
                continue
            try:
                start, price = row
                moment, value = dt.datetime.fromisoformat(start.strip()), Decimal(price.strip())
            except (ValueError, InvalidOperation) as exc:
                raise ConfigError(f"line {number} is not a start and a price", where=where, todo=_TODO) from exc
            if moment.tzinfo is None:
                raise ConfigError(f"line {number}: {start} does not say its offset from UTC", where=where, todo=_TODO)
            if not value.is_finite() or abs(value) > _MAX_PRICE:
                raise ConfigError(f"line {number}: {price} is not a price", where=where, todo=_TODO)
            start_ms = round(moment.timestamp() * 1000)
            if start_ms % (length_s * 1000):
                raise ConfigError(
                    f"line {number}: {start} is not the start of {length_s // 60} minutes", where=where, todo=_TODO
                )
            if start_ms in found:
                raise ConfigError(f"line {number}: {start} has a price further up", where=where, todo="Leave one")
            found[start_ms] = round(value.scaleb(DECIMALS))
        starts = sorted(found)
        return cls(
            np.array(starts, dtype=np.int64), np.array([found[start] for start in starts], dtype=np.int64), length_s
        )


class SeriesFile:
    """A series in a file, read again when the file has changed; one that is broken meanwhile leaves the last in force.

    Attributes:
        name: as in the tariff.
        length_s: of its intervals.
    """

    def __init__(self, name: str, path: Path | None, length_s: int) -> None:
        """Name the file; without a path the series is empty until the caller of a bill gives it."""
        self.name = name
        self.length_s = length_s
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._series = PriceSeries(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), length_s)

    def read(self) -> PriceSeries:
        """Return what is in the file now.

        Raises:
            ConfigError: when it is not there or broken.
        """
        if self._path is None:
            return self._series
        check_file(self._path, MAX_BYTES, todo="Leave out old prices")
        found = self._path.stat()
        seen = found.st_mtime_ns, found.st_size
        if seen != self._seen:
            try:
                text = self._path.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as exc:
                raise ConfigError(f"cannot be read ({exc})", where=str(self._path), todo=_TODO) from exc
            self._series, self._seen = PriceSeries.from_csv(text, str(self._path), self.length_s), seen
        return self._series

    def latest(self) -> PriceSeries:
        """Return the last that could be read."""
        try:
            return self.read()
        except ConfigError:
            return self._series


def _decimal(steps: int) -> Decimal:
    return Decimal(steps).scaleb(-DECIMALS)
