"""What energy costs and when: a tariff, with the versions of it that followed each other.

Decides which version holds and where days and billing months begin; sums are `agent.planning.billing`'s. Local time
exists here: an instant is placed by the plant's zone, so that a day may have 92, 96 or 100 quarter-hours.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.givenfiles import check_file
from agent.contract.tariff.model import Dynamic
from agent.contract.tariff.reader import read_version
from agent.contract.tariff.version import Version
from agent.contract.zones import local_day_bounds_ms, parse_zone, to_local

MAX_FILE_BYTES = 1 << 18
_MAX_VERSIONS = 64
_LAST_DAY = 28  # that every month has
_STEP_MIN = 15  # no zone has changed its clocks within one
_TODO = "Check [tariff] file"


class Month(NamedTuple):
    """A billing month: [start_ms, end_ms), its local days, and the label of the month in which it begins."""

    label: str
    start_ms: int
    end_ms: int
    first: dt.date
    end: dt.date

    @property
    def days(self) -> int:
        """How many local days it has."""
        return (self.end - self.first).days


class Tariff:
    """A tariff.

    Attributes:
        versions: in the order of their days.
        zone, zone_name: in which its times are meant.
        name, currency, billing_day: of the latest version; all agree but for the name.

        period: a billing month of its own, whatever the billing day; None where there is none. See `with_period`.

    Invariants:
        versions agree on zone, currency, billing day and rounding; each begins on a day of its own.
    """

    def __init__(self, versions: Sequence[Version], where: str = "tariff") -> None:
        """Join versions that are valid one by one.

        Raises:
            ConfigError: when they do not fit together.
        """
        self.versions = tuple(sorted(versions, key=lambda version: version.valid_from or dt.date.min))
        first, latest = self.versions[0], self.versions[-1]
        for before, after in itertools.pairwise(self.versions):
            if before.valid_from == after.valid_from:
                raise ConfigError(
                    f"{before.name!r} and {after.name!r} begin on one day ({after.valid_from or 'ever'})",
                    where=where,
                    todo="Give each version its valid_from",
                )
            for key in ("zone_name", "currency", "billing_day", "rounding"):
                if getattr(before, key) != getattr(after, key):
                    raise ConfigError(
                        f"the versions from {before.valid_from or 'ever'} and {after.valid_from} differ in "
                        f"{key.removesuffix('_name')}",
                        where=where,
                        todo="Give them the same",
                    )
        self.name = latest.name
        self.currency = first.currency
        self.billing_day = first.billing_day
        self.zone_name = first.zone_name
        self.zone = parse_zone(self.zone_name)
        # A month is billed again and again: its days are looked up once.
        self._bounds_ms = lru_cache(maxsize=1024)(lambda date: local_day_bounds_ms(date, self.zone))
        self.period: Month | None = None

    @classmethod
    def load(cls, path: Path, *, series_later: bool = False) -> Tariff:
        """Read a tariff file, or a folder of them, each a version with its `valid_from`.

        Args:
            path: of the file or folder.
            series_later: do not look into price series yet: `series_trouble` says what is wrong in them.

        Raises:
            ConfigError: when it cannot be read, or with everything that is wrong in the first file that is wrong.
        """
        if not path.is_dir():
            return cls([_read(path, series_later=series_later)], str(path))
        files = sorted(path.glob("*.toml"))
        if not 1 <= len(files) <= _MAX_VERSIONS:
            raise ConfigError(f"has {len(files)} tariff files", where=str(path), todo=f"Give 1 to {_MAX_VERSIONS}")
        return cls([_read(file, series_later=series_later) for file in files], str(path))

    @classmethod
    def from_toml(cls, text: str, where: str = "tariff", *later: str) -> Tariff:
        """Parse the text of a tariff file, and of later versions; firmware-configs/tariffs has worked examples.

        Price series of dynamic charges are not read: they are given with each bill.

        Raises:
            ConfigError: with everything that is wrong in it.
        """
        return cls([read_version(one, where, None) for one in (text, *later)], where)

    def series_trouble(self) -> str:
        """Return what is wrong in the price series at present, in words; empty where nothing is."""
        charges = [energy for version in self.versions for energy in version.by_unit]
        found = dict.fromkeys(one.pricing.series.trouble() for one in charges if isinstance(one.pricing, Dynamic))
        return "; ".join(text for text in found if text)

    def as_if_ever(self) -> Tariff:
        """Return it with its first version for all days before, too: what an offer would have cost."""
        return self.with_versions([dataclasses.replace(self.versions[0], valid_from=None), *self.versions[1:]])

    def with_versions(self, versions: Sequence[Version]) -> Tariff:
        """Return it with others in the place of its versions."""
        found = Tariff(versions)
        found.period = self.period
        return found

    def with_period(self, first: dt.date, end: dt.date) -> Tariff:
        """Return it with local days [first, end) as one billing month: meters are not read on one day every month."""
        found = Tariff(self.versions)
        found.period = found._days(first, end)
        return found

    @property
    def begin_ms(self) -> int:
        """From when on there are prices; 0 where there always were."""
        first = self.versions[0].valid_from
        return 0 if first is None else self.date_bounds_ms(first)[0]

    @property
    def settles_by_month(self) -> bool:
        """Whether the cost of a day depends on the rest of its billing month."""
        return any(version.settles_by_month for version in self.versions)

    def version_on(self, date: dt.date) -> Version:
        """Return the version that holds on a local day.

        Raises:
            ConfigError: for days before the first.
        """
        for version in reversed(self.versions):
            if version.valid_from is None or version.valid_from <= date:
                return version
        raise ConfigError(
            f"there are no prices before {self.versions[0].valid_from}, so {date} cannot be billed",
            where="tariff",
            todo="Add the version that held then",
        )

    def version_at(self, time_ms: int) -> Version:
        """Return the version that holds at an instant; see `version_on`."""
        return self.version_on(to_local(time_ms, self.zone).date())

    def period_at(self, time_ms: int) -> str:
        """Return the name of the period of the common calendar that an instant belongs to; empty where none is."""
        periods = self.version_at(time_ms).periods
        if periods is None:
            return ""
        local = to_local(time_ms, self.zone)
        row = periods.row(periods.calendar.day(local.date().toordinal()))
        name: str = periods.names[row[(local.hour * 60 + local.minute) // periods.step_min]]
        return name

    def pieces(self, start_ms: int, end_ms: int) -> list[tuple[str, int, int]]:
        """Split [start_ms, end_ms) where another period begins; return (name, start_ms, end_ms) in order."""
        found: list[tuple[str, int, int]] = []
        at = start_ms
        while at < end_ms:
            version = self.version_at(at)
            step_min = np.gcd(_STEP_MIN, version.periods.step_min if version.periods is not None else _STEP_MIN)
            step_ms = int(step_min) * 60_000
            until = min(end_ms, at - at % step_ms + step_ms)
            name = self.period_at(at)
            begin = found.pop()[1] if found and found[-1][0] == name else at
            found.append((name, begin, until))
            at = until
        return found

    def day_bounds_ms(self, time_ms: int) -> tuple[int, int]:
        """Return [start, end) of the local day that holds an instant."""
        return self.date_bounds_ms(to_local(time_ms, self.zone).date())

    def date_bounds_ms(self, date: dt.date) -> tuple[int, int]:
        """Return [start, end) of a local day."""
        bounds: tuple[int, int] = self._bounds_ms(date)
        return bounds

    def month_at(self, time_ms: int) -> Month:
        """Return the billing month that holds an instant."""
        if self.period is not None and self.period.start_ms <= time_ms < self.period.end_ms:
            return self.period
        date = to_local(time_ms, self.zone).date()
        first = date.replace(day=self.billing_day)
        return self._month(first if first <= date else _months_on(first, -1))

    def month_start_ms(self, time_ms: int) -> int:
        """Return the start of the billing month that holds an instant."""
        return self.month_at(time_ms).start_ms

    def months(self, start_ms: int, end_ms: int) -> Iterator[Month]:
        """Yield the billing months that [start_ms, end_ms) touches."""
        at = start_ms
        while at < end_ms:
            month = self.month_at(at)
            yield month
            at = month.end_ms

    def months_before(self, month: Month, count: int) -> list[Month]:
        """Return the last `count` billing months before one, oldest first."""
        return [self._month(_months_on(month.first, back)) for back in range(-count, 0)]

    def year_start(self, month: Month) -> Month:
        """Return the first billing month of the calendar year in which one begins."""
        return self._month(dt.date(month.first.year, 1, self.billing_day))

    def _month(self, first: dt.date) -> Month:
        return self._days(first, _months_on(first, 1))

    def _days(self, first: dt.date, end: dt.date) -> Month:
        return Month(f"{first:%Y-%m}", self.date_bounds_ms(first)[0], self.date_bounds_ms(end)[0], first, end)


def _months_on(first: dt.date, count: int) -> dt.date:
    index = first.year * 12 + first.month - 1 + count
    return dt.date(index // 12, index % 12 + 1, min(first.day, _LAST_DAY))


def _read(path: Path, *, series_later: bool) -> Version:
    check_file(path, MAX_FILE_BYTES, todo=_TODO)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot be read ({exc})", where=str(path), todo=_TODO) from exc
    return read_version(text, str(path), path.parent, series_later=series_later)
