"""What the store tells by itself: the answers that the daemon gives and that the commands read while it is down.

Read only. Live facts (connection, memory, troubles) are added by whoever is alive.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from agent.alerts.alert import CLEARED, SHELVED, as_they_stand
from agent.config import Config
from agent.contract.channels import Reading
from agent.contract.errors import RejectedError, UnavailableError
from agent.contract.rows import Forecast, ForecastSource
from agent.contract.slots import Slot
from agent.contract.tariff.tariff import Tariff
from agent.daemon.calibrating import read_coverage
from agent.daemon.history import KEEP_DAYS, History
from agent.daemon.peaks import Peaks, demand_terms
from agent.daemon.plannote import read_plan_note
from agent.daemon.slotweeks import slots_between
from agent.planning.billing.earlier import read_forward
from agent.store.identity import Enrolled
from agent.store.stats import StoreStats

if TYPE_CHECKING:
    from agent.daemon.meterahead import MeterAhead

ALERT_DAYS = 30
_DAY_MS = 86_400_000
_MAX_ALERTS = 1000
_OF_A_PLAN = (
    *("start_ms", "end_ms", "cost", "cost_of_nothing", "saving", "currency", "source", "gap"),
    *("notes", "actions", "problem", "plan"),
)
Answer = dict[str, Any]


class Readable(Protocol):
    """What a view needs of a store, live or read-only."""

    def readings(self, channel: str, start_ms: int, end_ms: int) -> Sequence[Reading]:
        """Return the readings of one channel in [start_ms, end_ms), by time."""
        ...

    def rows(self, stream: str, start_ms: int, end_ms: int) -> Sequence[Mapping[str, Any]]:
        """Return the rows of a stream in [start_ms, end_ms)."""
        ...

    def last_time_ms(self, stream: str, channel: str | None = None) -> int | None:
        """Return the newest time of a stream, or of one channel of the readings."""
        ...

    def fingerprints(self, stream: str, width_ms: int, since_ms: int) -> dict[int, str]:
        """Return what is another whenever the rows of a span may be, by number of the span."""
        ...

    def note(self, name: str) -> bytes | None:
        """Return a small learnt thing."""
        ...

    def stats(self) -> StoreStats:
        """Return the counters."""
        ...


class View:
    """Answers from one store."""

    def __init__(self, store: Readable, config: Config, enrolled: Enrolled | None) -> None:
        self._store = store
        self._config = config
        self._enrolled = enrolled

    @property
    def is_enrolled(self) -> bool:
        """Whether the device has a centre."""
        return self._enrolled is not None

    def status(self) -> Answer:
        """How the device was when the newest row was written."""
        slots = self.history(days=2)
        newest_ms = self._store.last_time_ms("readings", self._config.plant.power_channel)
        health = self._latest("health") or {}
        buffer = self.buffer()
        return {
            **self.head(),
            "state": "offline",
            "exhausted": bool(health.get("exhausted", False)),
            "plant_time_ms": max(
                (time_ms for time_ms in (newest_ms, slots.end_ms) if time_ms is not None), default=None
            ),
            "last_reading_ms": newest_ms,
            "slot_end_ms": slots.end_ms,
            "power_kw": slots.last.power_kw if slots.last else None,
            **({"gross_kw": slots.last.gross_kw if slots.last else None} if self._config.is_gross else {}),
            "completeness_24h": slots.completeness(),
            "alerts_open": sum(row["state"] != SHELVED for row in self.alerts()["alerts"]),
            "backlog_rows": buffer["backlog_rows"],
            "buffer": buffer,
            "model": self.model(),
            "certificate": self._certificate(),
        }

    def _certificate(self) -> Answer | None:
        """When the device's certificate for the broker ends, where it has one that can be read."""
        if self._enrolled is None or self._enrolled.tls is None:
            return None
        from agent.contract.certificates import check_certificate  # noqa: PLC0415 - X.509 is loaded only where needed
        from agent.sync.renew import told  # noqa: PLC0415 - likewise

        tls = self._enrolled.tls
        try:
            return told(check_certificate(tls.chain, tls.key, self._enrolled.device))
        except RejectedError:
            return None

    def forecast(self) -> Answer:
        """The newest forecast that counts.

        Raises:
            UnavailableError: when there is none yet.
        """
        row = self.newest_forecast()
        if row is None:
            raise UnavailableError(
                "there is no forecast yet",
                where=self._config.device.id,
                todo="A first one needs a day of readings; `edgewatt status` shows them",
            )
        fallback = row["source"] != ForecastSource.ACTIVE
        gross = {"gross": True} if self._config.is_gross else {}
        return {**self.head(), "fallback": fallback, **gross, **row, **read_coverage(self._store.note, row)}

    def newest_forecast(self) -> Mapping[str, Any] | None:
        """The row of the newest forecast that is not a shadow run's."""
        last_ms = self._store.last_time_ms("forecasts")
        if last_ms is None:
            return None
        for days in (1, 30):
            rows = self._store.rows("forecasts", last_ms - days * _DAY_MS, last_ms + 1)
            counted = [row for row in rows if row["source"] != ForecastSource.CANDIDATE]
            if counted:
                return counted[-1]
        return None

    def cost(self) -> Answer:
        """The newest costs, one row a scope."""
        last_ms = self._store.last_time_ms("costs")
        rows = [] if last_ms is None else self._store.rows("costs", last_ms - _DAY_MS, last_ms + 1)
        newest = {row["scope"]: dict(row) for row in rows}
        return {**self.head(), "costs": list(newest.values())}

    def plan(self, now_ms: int | None = None) -> Answer:
        """The newest plan, the problem that it answers, whether it `is_over`, and what the battery is to do `now`.

        Args:
            now_ms: plant clock; as of the newest reading where nobody knows it.

        Raises:
            UnavailableError: when there is none yet.
            RejectedError: when it is damaged.
        """
        value = read_plan_note(self._store.note)
        if value is None:
            raise UnavailableError("there is no plan yet", where=self._config.device.id, todo=self._till_a_plan())
        if missing := [name for name in _OF_A_PLAN if name not in value]:
            raise RejectedError(
                f"the plan that is kept has no {missing[0]!r}",
                where=self._config.device.id,
                todo="A whole one comes with the next forecast",
            )
        from agent.daemon.setpoint import setpoint  # noqa: PLC0415 - loaded only where something is planned

        if now_ms is None:
            channel = self._config.channels[self._config.plant.power_channel]
            now_ms = (self._store.last_time_ms("readings", channel.name) or 0) + channel.interval_s * 1000
        now = setpoint(self._store, self._config, value, now_ms)
        own = {"settled", "to_go"}  # of planning itself: the latter is up to a megabyte
        told = {name: entry for name, entry in value.items() if name not in own}
        return {**self.head(), **told, "is_over": now_ms >= value["end_ms"], "now": now}

    def _till_a_plan(self) -> str:
        """What a plan waits for."""
        if self._config.battery is None and not self._config.load:
            return "There is nothing to plan: give [battery] or [[load]], and [tariff] for the prices"
        return "A first one comes with the first forecast; `edgewatt forecast` shows whether there is one"

    def alerts(self, *, closed_too: bool = False) -> Answer:
        """Alerts by id, the newest first: open ones, or all of the last 30 days."""
        found = as_they_stand(stored_alerts(self._store))
        kept = [row for row in found if closed_too or row["state"] != CLEARED]
        kept.sort(key=lambda row: int(row["raised_ms"]), reverse=True)
        return {**self.head(), "alerts": kept[:_MAX_ALERTS]}

    def peak(self) -> Answer:
        """The demand of the running interval and of the month, as of the newest reading; nothing before the first.

        Raises:
            UnavailableError: when there is no reading yet.
        """
        channel = self._config.channels[self._config.plant.power_channel]
        newest_ms = self._store.last_time_ms("readings", channel.name)
        if newest_ms is None:
            raise UnavailableError("there is no reading of the load yet", where=self._config.device.id)
        now_ms = newest_ms + channel.interval_s * 1000
        tariff = None if self._config.tariff is None else Tariff.load(self._config.tariff.file)
        earlier = {}
        if tariff is not None and tariff.begin_ms <= now_ms:
            forward = read_forward(tariff, now_ms, partial(slots_between, self._store))
            earlier = forward.earlier(tariff.version_at(now_ms))
        terms_at = partial(demand_terms, self._config, tariff)
        peaks = Peaks(self._store, channel, self.history(KEEP_DAYS), terms_at, now_ms, earlier)
        peaks.forecast = self.expected()
        return {**self.head(), "time_ms": now_ms, "demands": peaks.told(now_ms)}

    def buffer(self) -> Answer:
        """What is stored and what waits; how the line and the clock are, only a running agent knows."""
        stats = self._store.stats()
        oldest_ms = stats.oldest_unacknowledged_ms
        newest_ms = self._store.last_time_ms("readings")
        return {
            **self.head(),
            "epoch": stats.epoch,
            "rows": dict(stats.rows),
            "pending_rows": stats.pending_rows,
            "backlog_rows": stats.backlog_rows,
            "backlog_blocks": stats.backlog_blocks,
            "backlog_bytes": stats.backlog_bytes,
            "oldest_unacknowledged_ms": oldest_ms,
            "oldest_age_ms": None if oldest_ms is None or newest_ms is None else max(0, newest_ms - oldest_ms),
            "bytes_on_disk": stats.bytes_on_disk,
            "max_bytes": self._config.store.max_mib * 2**20,
            "evicted_rows": stats.evicted_rows,
            "quarantined": stats.quarantined,
            "storage_error": stats.storage_error,
            "kept_bytes": stats.kept_bytes,
            "reserved_bytes": self._config.store.reserved_bytes,
            "written_today_bytes": stats.written_today_bytes,
            "written_yesterday_bytes": stats.written_yesterday_bytes,
            "set_aside": list(stats.set_aside),
            "salvage": [dataclasses.asdict(state) for state in stats.salvage],
            "scrubbed_ms": stats.scrubbed_ms or None,
            "drain_s": None,
            "link": None,
            "clock": None,
        }

    def sync(self) -> Answer:
        """Whether there is a centre, and what waits for it."""
        buffer = self.buffer()
        enrolled = self._enrolled
        return {
            **self.head(),
            "enrolled": enrolled is not None,
            "fleet": enrolled.trust.fleet if enrolled else None,
            "broker": broker_of(self._config, enrolled) if enrolled else None,
            "backlog_rows": buffer["backlog_rows"],
            "oldest_age_ms": buffer["oldest_age_ms"],
        }

    def model(self) -> Answer:
        """Which models there are, by the last health row and the last event about a model."""
        health = self._latest("health") or {}
        newest = self.newest_forecast() or {}
        last_ms = self._store.last_time_ms("events")
        events = [] if last_ms is None else self._store.rows("events", last_ms - 60 * _DAY_MS, last_ms + 1)
        last_event = next((row["text"] for row in reversed(events) if row["kind"] == "model"), None)
        return {
            **self.head(),
            "active": health.get("active"),
            "previous": health.get("previous"),
            "candidate": health.get("candidate"),
            "trial_days": health.get("trial_days", 0.0),
            "trial_days_wanted": self._config.update.shadow_days,
            "forecast_by": newest.get("model"),
            "fallback": newest.get("source", ForecastSource.ACTIVE) != ForecastSource.ACTIVE,
            "note": newest.get("note", ""),
            **(read_coverage(self._store.note, newest) if newest else {"coverage_28d": None, "coverage_slots": 0}),
            "last_event": last_event,
        }

    def ahead(self, history: History | None = None) -> MeterAhead | None:
        """What tells a forecast as one of the meter; None where neither PV nor battery is measured: it is one."""
        if not self._config.is_gross:
            return None
        from agent.daemon.meterahead import MeterAhead  # noqa: PLC0415 - loaded only where it is needed

        return MeterAhead(self._config, history or self.history(KEEP_DAYS), self._store.note)

    def expected(self) -> Forecast | None:
        """The newest forecast that counts, as one of the meter."""
        row = self.newest_forecast()
        if row is None:
            return None
        forecast, ahead = Forecast.from_row(row), self.ahead()
        return forecast if ahead is None else ahead.at_meter(forecast)

    def history(self, days: int) -> History:
        """The slots of the last days."""
        return History(self._config.plant.slot_s, stored_slots(self._store, days))

    def _latest(self, stream: str) -> Mapping[str, Any] | None:
        last_ms = self._store.last_time_ms(stream)
        rows = [] if last_ms is None else self._store.rows(stream, last_ms, last_ms + 1)
        return rows[-1] if rows else None

    def head(self) -> Answer:
        """What every answer begins with."""
        return {"device": self._config.device.id, "zone": self._config.plant.zone}


def stored_slots(store: Readable, days: int) -> list[Slot]:
    """Return the slots of the last days that a store has and that count."""
    last_ms = store.last_time_ms("slots")
    return [] if last_ms is None else slots_between(store, last_ms - days * _DAY_MS, last_ms + 1)


def stored_alerts(store: Readable) -> list[Mapping[str, Any]]:
    """Return the rows of the alerts of the last 30 days that a store has, the oldest first."""
    last_ms = store.last_time_ms("alerts")
    return [] if last_ms is None else list(store.rows("alerts", last_ms - ALERT_DAYS * _DAY_MS, last_ms + 1))


def broker_of(config: Config, enrolled: Enrolled) -> str:
    """Return host:port of the broker that is used."""
    return f"{config.sync.host or enrolled.broker.host}:{config.sync.port or enrolled.broker.port}"
