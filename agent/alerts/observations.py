"""What rules judge by: everything that the daemon knows now, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from agent.contract.rows import Forecast


class Latest(NamedTuple):
    """The newest value of a channel that its source did not doubt."""

    time_ms: int
    value: float


class Standstill(NamedTuple):
    """For how long a channel has given one value.

    Attributes:
        since_ms: first reading with this value.
        through_ms: the last one.
        usual_s: longer than that is not usual for it; None while too little is known.
    """

    value: float
    since_ms: int
    through_ms: int
    usual_s: float | None


class WatchedSlot(NamedTuple):
    """A slot that is over, and the band in which it was expected.

    Attributes:
        power_kw: mean power at the meter; None where unknown.
        low_kw, high_kw: the band of the forecast that counted when it began, less what PV and battery gave; None where
            there was none.
        flags: as in the slot.
    """

    start_ms: int
    power_kw: float | None
    low_kw: float | None
    high_kw: float | None
    flags: tuple[str, ...] = ()


class Demand(NamedTuple):
    """How the running billing interval stands; see `planning.peakwatch`.

    Attributes:
        target_kw: what its mean must not exceed; None where there is no limit (yet, or now).
        predicted_kw: mean that it is heading for; None while nothing is known.
        rest_kw: load that is expected for what is left of it.
        allowable_kw: load that would end it at the target; None without one.
    """

    start_ms: int
    end_ms: int
    target_kw: float | None
    predicted_kw: float | None
    rest_kw: float | None
    allowable_kw: float | None


class NightTrend(NamedTuple):
    """How the load that never stops has moved.

    Attributes:
        nights: how many are known.
        level_kw: where it was in the first two weeks of them.
        rise_kw: how far it rose from the first week to the last.
        z: how sure that is, in standard deviations of chance.
    """

    nights: int
    level_kw: float
    rise_kw: float
    z: float


class MonthCost(NamedTuple):
    """What the billing month has cost, and what it will have: None where that cannot be told yet."""

    currency: str
    so_far: Decimal
    at_end: Decimal | None


class Skill(NamedTuple):
    """How well the model in use forecast lately, beside seasonal naive: mean pinball losses over the same slots."""

    model: str
    days: int
    loss_kw: float
    naive_kw: float


@dataclass(frozen=True)
class Observations:
    """What the daemon knows now.

    Attributes:
        now_ms: plant clock.
        forecast: the latest one; None before the first.
        last_reading_ms: up to when each channel's readings reach; a channel without one is absent.
        since_ms: when watching began (plant clock at the start of the daemon). Silence before it was the device's own.
        storage_error: why the disk cannot be written; empty where it can.
        latest: newest value by channel.
        standstill: by channel, of those that have spoken.
        slots: the newest ones, in time order.
        demand: None while nothing is known of the running interval.
        nights, month, skill: None while too little is known.
    """

    now_ms: int
    forecast: Forecast | None
    last_reading_ms: Mapping[str, int]
    since_ms: int
    storage_error: str = ""
    latest: Mapping[str, Latest] = field(default_factory=dict)
    standstill: Mapping[str, Standstill] = field(default_factory=dict)
    slots: Sequence[WatchedSlot] = ()
    demand: Demand | None = None
    nights: NightTrend | None = None
    month: MonthCost | None = None
    skill: Skill | None = None
