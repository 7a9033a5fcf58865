"""The file in the state folder that holds the baseline and its adjustments: old or new after a power cut. Not pure."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.contract.durable import write_durable
from agent.contract.errors import ConfigError, RejectedError, StorageError, UnavailableError
from agent.contract.jsonform import Fields, dumps, loads
from agent.planning.performance.baseline import Baseline

MAX_BYTES = 1 << 18
MAX_ADJUSTMENTS = 200
MAX_REASON = 200
_MAX_KWH = 1e9
_TODO = "Fit it anew: edgewatt performance baseline --replace"


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A change of a static factor, dated: from then on the plant is another than the baseline's.

    Attributes:
        first: from this day on.
        last: up to this day; None for ever.
        kwh_per_day: what is added to the expected energy of a day; 0 where a change is only put on record.
        reason: what changed.
    """

    first: dt.date
    last: dt.date | None
    kwh_per_day: float
    reason: str

    def __post_init__(self) -> None:
        if self.last is not None and self.last < self.first:
            raise ConfigError(f"{self.last} lies before {self.first}", where="adjustment", todo="Correct the days")
        if not abs(self.kwh_per_day) <= _MAX_KWH:
            raise ConfigError(f"{self.kwh_per_day} kWh a day is beyond reason", where="adjustment")
        if not 1 <= len(self.reason) <= MAX_REASON or not self.reason.isprintable():
            raise ConfigError(
                "the reason is empty, too long, or cannot be printed",
                where="adjustment",
                todo="Say in a few words what changed",
            )

    def to_json(self) -> dict[str, Any]:
        """The form in the file."""
        last = None if self.last is None else self.last.isoformat()
        return {
            "first": self.first.isoformat(),
            "last": last,
            "kwh_per_day": self.kwh_per_day,
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Adjustment:
        """Parse the form of `to_json`.

        Raises:
            RejectedError: when a field is missing or out of range.
        """
        try:
            return cls(
                dt.date.fromisoformat(fields.text("first")),
                None if fields.raw("last") is None else dt.date.fromisoformat(fields.text("last")),
                fields.number("kwh_per_day"),
                fields.text("reason", max_length=MAX_REASON),
            )
        except (ValueError, ConfigError) as exc:
            raise RejectedError(str(exc), where=fields.where) from exc


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A baseline and what has been adjusted since."""

    baseline: Baseline
    adjustments: tuple[Adjustment, ...] = ()

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read the file.

        Raises:
            UnavailableError: when there is no baseline yet.
            RejectedError: when the file is damaged.
            StorageError: when it cannot be read.
        """
        try:
            data = path.read_bytes()
        except FileNotFoundError as exc:
            raise UnavailableError(
                "there is no baseline yet", where=str(path), todo="Fit one: edgewatt performance baseline"
            ) from exc
        except OSError as exc:
            raise StorageError(f"cannot be read ({exc.strerror})", where=str(path), todo="Mend the rights") from exc
        try:
            fields = Fields(loads(data, where="baseline", max_bytes=MAX_BYTES), "record")
            if fields.integer("schema") != 1:
                fields.fail("schema", "is of a later version")
            return cls(
                Baseline.from_json(fields.child("baseline")),
                tuple(Adjustment.from_json(entry) for entry in fields.children("adjustments", MAX_ADJUSTMENTS)),
            )
        except RejectedError as exc:
            raise RejectedError(
                f"is damaged or of another version ({exc.where}: {exc.what})", where=str(path), todo=_TODO
            ) from exc

    def save(self, path: Path) -> None:
        """Replace the file.

        Raises:
            StorageError: when it cannot be written; the old one is then whole.
        """
        _remove_left_over(path)
        content = {
            "schema": 1,
            "baseline": self.baseline.to_json(),
            "adjustments": [entry.to_json() for entry in self.adjustments],
        }
        write_durable(path, dumps(content))

    def adjusted(self, adjustment: Adjustment) -> Record:
        """Return it with one adjustment more.

        Raises:
            ConfigError: when it begins within the baseline's period, or there are too many.
        """
        if adjustment.first <= self.baseline.last and (adjustment.last or self.baseline.last) >= self.baseline.first:
            raise ConfigError(
                f"{adjustment.first} lies within the baseline's period, {self.baseline.first} to {self.baseline.last}",
                where="adjustment",
                todo="Adjust what comes after it, or fit the baseline to another period",
            )
        if len(self.adjustments) >= MAX_ADJUSTMENTS:
            raise ConfigError(f"there are {MAX_ADJUSTMENTS} already", where="adjustment", todo="Fit a new baseline")
        return dataclasses.replace(self, adjustments=(*self.adjustments, adjustment))

    def without(self, number: int) -> Record:
        """Return it without adjustment `number`, from 1.

        Raises:
            ConfigError: when there is none of that number.
        """
        if not 1 <= number <= len(self.adjustments):
            raise ConfigError(f"there is no adjustment {number}", where="adjustment", todo="`show` numbers them")
        kept = self.adjustments[: number - 1] + self.adjustments[number:]
        return dataclasses.replace(self, adjustments=kept)


def _remove_left_over(path: Path) -> None:
    """Remove what a write that was cut off has left; nobody else writes files of this name."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        with contextlib.suppress(OSError):
            left.unlink()
