"""Channels and readings: what a meter says, before anything is made of it."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import NamedTuple

from agent.contract.errors import ConfigError
from agent.contract.jsonform import Fields

CHANNEL_NAME = r"[a-z][a-z0-9_.]{0,47}"
MAX_STEPS = 2**53  # a value is a whole number of resolution steps, exact in a double


class Kind(enum.StrEnum):
    """How values of a channel relate over time."""

    GAUGE = "gauge"
    COUNTER = "counter"


class Quality(enum.IntEnum):
    """What is known about one reading."""

    GOOD = 0
    ESTIMATED = 1
    SUSPECT = 2


class Reading(NamedTuple):
    """One value of one channel. `time_ms` is UTC epoch milliseconds; the unit is the channel's."""

    channel: str
    time_ms: int
    value: float
    quality: int = Quality.GOOD


@dataclass(frozen=True, slots=True)
class Channel:
    """One measured quantity.

    Attributes:
        name: lower-case name, unique on the device.
        unit: `kW`, `kWh`, `V`, `degC`, ...
        decimals: the meter's resolution is 10 ** -decimals units.
        kind: gauge or counter.
        interval_s: 0 for a sample of the moment; otherwise each reading is the mean over the `interval_s` seconds
            that begin at its time (load-profile files, billing meters).
        rollover: counters only: the value at which the register wraps to zero.
    """

    name: str
    unit: str
    decimals: int = 3
    kind: Kind = Kind.GAUGE
    interval_s: int = 0
    rollover: float | None = None

    def __post_init__(self) -> None:
        if re.fullmatch(CHANNEL_NAME, self.name) is None:
            raise ConfigError(f"channel name {self.name!r} does not have the form {CHANNEL_NAME}")
        if not 0 <= self.decimals <= 6:
            raise ConfigError(f"channel {self.name}: decimals {self.decimals} is outside 0..6")
        if not 0 < len(self.unit) <= 16:
            raise ConfigError(f"channel {self.name}: unit must have 1 to 16 characters")
        if not 0 <= self.interval_s <= 86_400:
            raise ConfigError(f"channel {self.name}: interval_s {self.interval_s} is outside 0..86400")
        if self.rollover is not None and self.kind is not Kind.COUNTER:
            raise ConfigError(f"channel {self.name}: only a counter rolls over")
        if self.rollover is not None and not 0 < self.rollover < MAX_STEPS:
            raise ConfigError(f"channel {self.name}: rollover {self.rollover} is not a register's size")

    def to_json(self) -> dict[str, object]:
        """The form in a block's dictionary: all that is needed to read its values, nothing more."""
        return {"name": self.name, "unit": self.unit, "decimals": self.decimals, "kind": str(self.kind)}

    @classmethod
    def from_json(cls, fields: Fields) -> Channel:
        """Parse the form of `to_json`.

        Raises:
            RejectedError: when a field is missing or out of range.
        """
        kind = fields.text("kind", max_length=8)
        if kind not in set(Kind):
            fields.fail("kind", f"{kind!r} is not one of {', '.join(Kind)}")
        return cls(
            name=fields.text("name", pattern=CHANNEL_NAME),
            unit=fields.text("unit", max_length=16, pattern=".+"),
            decimals=fields.integer("decimals", 0, 6),
            kind=Kind(kind),
        )
