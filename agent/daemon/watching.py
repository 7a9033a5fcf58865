"""What the rules are given to judge by: gathered from what passes through the daemon, and from the store after a start.

Decides what is remembered and for how long; what it means is for the rules and for `planning.peakwatch`. One record in
the store, written once an hour, holds what the store's rows do not tell: how long each channel usually stands still,
and how well the model forecast.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Protocol

from agent.alerts.observations import Demand, Latest, MonthCost, NightTrend, Observations, Skill, WatchedSlot
from agent.alerts.standstill import Standstills
from agent.config import Config
from agent.contract import jsonform
from agent.contract.channels import Quality, Reading
from agent.contract.errors import RejectedError
from agent.contract.jsonform import MAX_TIME_MS, Fields
from agent.contract.rows import Forecast, ForecastSource
from agent.contract.slots import Slot
from agent.contract.tariff.tariff import Tariff
from agent.contract.zones import parse_zone, to_local
from agent.daemon.forecasting import Made
from agent.daemon.history import History
from agent.daemon.peaks import Peaks, demand_terms
from agent.inference.skill import SkillWatch
from agent.planning.billing.forward import Earlier
from agent.sources.base import Source

_NOTE = "watching"
_MAX_BYTES = 1 << 20
_KEEP_EVERY_MS = 3_600_000
_DAY_MS = 86_400_000
_SETTLED_MS = 3 * _DAY_MS  # a month's first days set one peak after the other, and tell nothing of its cost
_SETTLED_SHARE = 0.75  # of the load before: a month that began with holidays has its peaks still to come
_log = logging.getLogger(__name__)


class Stored(Protocol):
    """What this module needs of the store."""

    def readings(self, channel: str, start_ms: int, end_ms: int) -> Sequence[Reading]:
        """Return the readings of one channel in [start_ms, end_ms), by time."""
        ...

    def rows(self, stream: str, start_ms: int, end_ms: int) -> Sequence[Mapping[str, Any]]:
        """Return the rows of a stream in [start_ms, end_ms)."""
        ...

    def last_time_ms(self, stream: str, channel: str | None = None) -> int | None:
        """Return the newest time of a stream, or of one channel of the readings."""
        ...

    def note(self, name: str) -> bytes | None:
        """Return a small learnt thing."""
        ...

    def keep(self, name: str, data: bytes) -> None:
        """Keep it with the rows that are appended next."""
        ...


class Ahead(Protocol):
    """What this module needs where PV or battery is measured."""

    def at_meter(self, forecast: Forecast) -> Forecast:
        """Return what a forecast of the gross load lets expect at the meter."""
        ...


class Watching:
    """Gathers observations.

    Invariants:
        - a turn costs no reading of the store;
        - after a restart slots, bands and the running interval are what they were; debounce begins anew.
    """

    def __init__(
        self,
        store: Stored,
        config: Config,
        history: History,
        tariff: Tariff | None,
        now_ms: int,
        ahead: Ahead | None = None,
    ) -> None:
        """Begin with what the store holds.

        Args:
            store: the readings of the running interval, the newest forecasts, and the record.
            config: channels, zone, and which alerts are wanted.
            history: the slots, kept up to date by the daemon.
            tariff: says which demand is billed.
            now_ms: plant clock.
            ahead: tells forecasts as those of the meter; None where they are.
        """
        self._store, self._config, self._history, self._ahead = store, config, history, ahead
        self._zone = parse_zone(config.plant.zone)
        self._latest: dict[str, Latest] = {}
        self._standstills = Standstills(config.channels)
        self._skill = SkillWatch(config.plant.slot_s)
        self._kept_ms = now_ms
        among = [limit.among for limit in config.alerts.limit] + [self._bands]
        self._span_ms = max(_DAY_MS, max(among) * config.plant.slot_s * 1000)  # of the slots at hand
        self._slots: tuple[WatchedSlot, ...] = ()
        self._nights: tuple[int, NightTrend | None] = (0, None)
        self._before: tuple[int, float] = (0, 0.0)  # a month's start, and the highest load of the weeks before it
        self._month: MonthCost | None = None
        self._resume(now_ms)
        recent = self._recent_forecasts()
        self._slots = tuple(_watched(slot, recent) for slot in self._last_slots())
        channel = config.channels[config.plant.power_channel]
        self.peaks = Peaks(store, channel, history, partial(demand_terms, config, tariff), now_ms)
        self._newest = recent[-1] if recent else None
        self.replanned()

    # -- what passes ----------------------------------------------------------------------------------------------

    def saw(self, readings: Sequence[Reading]) -> None:
        """Take note of readings that were stored."""
        for name, time_ms, value, quality in readings:
            if quality < Quality.SUSPECT:
                self._latest[name] = Latest(time_ms, value)
        self._standstills.saw(readings)
        self.peaks.saw(readings)

    def closed(self, slots: Sequence[Slot]) -> None:
        """Take note of slots that are over, after the history has them."""
        known = [self._newest] if self._newest is not None else []
        newest = [_watched(slot, known) for slot in slots]
        since_ms = slots[-1].end_ms - self._span_ms
        self._slots = tuple(slot for slot in (*self._slots, *newest) if slot.start_ms >= since_ms)
        for slot in slots:
            self._skill.learn(slot.start_ms, slot.known_gross_kw)
        self.peaks.recount()

    def issued(self, made: Made) -> None:
        """Take note of a forecast."""
        self._newest = made.published
        self.replanned()
        if made.raw.source is ForecastSource.ACTIVE:
            start_ms, power_kw = self._history.power_kw(made.raw.origin_ms)
            if self._skill.issued(made.raw, start_ms, power_kw):
                for slot in self._history.between(made.raw.origin_ms, MAX_TIME_MS):
                    self._skill.learn(slot.start_ms, slot.known_gross_kw)
                self._keep(made.raw.origin_ms)

    def replanned(self) -> None:
        """Take what is expected at the meter from the newest forecast, and from the plan as it is now."""
        self.peaks.forecast = self._newest
        if self._ahead is not None and self._newest is not None:
            self.peaks.forecast = self._ahead.at_meter(self._newest)

    def costed(self, rows: Sequence[Mapping[str, Any]], earlier: Earlier, now_ms: int) -> None:
        """Take note of rows of the `costs` stream, and of the demand of earlier months that they rest on."""
        self.peaks.take_earlier(earlier, now_ms)
        newest = {row["scope"]: row for row in rows}
        month, whole = newest.get("month"), newest.get("month_end")
        if month is not None:
            at_end = None if whole is None else Decimal(whole["amount"])
            self._month = MonthCost(month["currency"], Decimal(month["amount"]), at_end)

    def clock_was_set(self, now_ms: int) -> None:
        """Go on by another clock: the history has been made anew."""
        self._standstills.forget_times()
        self._latest.clear()
        self._skill.forget_after(now_ms)
        self.peaks.begin(now_ms)
        self.history_was_made_anew()

    def history_was_made_anew(self) -> None:
        """Take the slots as they are now."""
        known = {slot.start_ms: slot for slot in self._slots}
        self._slots = tuple(known.get(slot.start_ms, _watched(slot, [])) for slot in self._last_slots())
        self._nights = (0, None)
        self._before = (0, 0.0)
        self.peaks.recount()

    # -- what is known --------------------------------------------------------------------------------------------

    def covered_ms(self, sources: Sequence[Source]) -> dict[str, int]:
        """Return up to when the readings of each channel reach; a channel without one is absent."""
        channels = [channel for source in sources for channel in source.channels]
        last_ms = {channel: self._store.last_time_ms("readings", channel.name) for channel in channels}
        return {
            channel.name: time_ms + channel.interval_s * 1000
            for channel, time_ms in last_ms.items()
            if time_ms is not None
        }

    def observe(
        self,
        now_ms: int,
        *,
        since_ms: int,
        forecast: Forecast | None,
        covered_ms: Mapping[str, int],
        model: str | None,
        storage_error: str,
    ) -> Observations:
        """Return what is known now, and keep the record when it is due.

        Args:
            now_ms: plant clock.
            since_ms: when watching began.
            forecast: the newest of this run.
            covered_ms: up to when each channel's readings reach.
            model: label of the active model.
            storage_error: why the disk cannot be written.
        """
        if abs(now_ms - self._kept_ms) >= _KEEP_EVERY_MS:
            self._keep(now_ms)
        rivalry = self._skill.rivalry(model)
        return Observations(
            now_ms=now_ms,
            forecast=forecast,
            last_reading_ms=covered_ms,
            since_ms=since_ms,
            storage_error=storage_error,
            latest=self._latest,
            standstill=self._standstills.known(),
            slots=self._slots,
            demand=self._demand(now_ms),
            nights=self._trend(now_ms),
            month=self._month,
            skill=None if rivalry is None else Skill(rivalry.model, rivalry.days, rivalry.loss_kw, rivalry.naive_kw),
        )

    def _demand(self, now_ms: int) -> Demand | None:
        """The demand that is furthest above its target, as far as it is measured: a forecast alone raises no alarm."""
        found = []
        for terms, outlook in self.peaks.outlooks(now_ms):
            target_kw = outlook.target_kw
            if target_kw is not None and terms.target_kw is None and not terms.free_kw:
                target_kw = target_kw if self._is_settled(terms.month(now_ms)[0], now_ms, target_kw) else None
            predicted_kw = outlook.predicted_kw if outlook.rest_by == "last minutes" else None
            found.append(
                Demand(
                    outlook.start_ms,
                    outlook.end_ms,
                    target_kw,
                    predicted_kw,
                    outlook.rest_kw,
                    outlook.allowable_kw if target_kw is not None else None,
                )
            )
        return max(found, key=_excess_kw, default=None)

    def _is_settled(self, month_ms: int, now_ms: int, peak_kw: float) -> bool:
        """Whether the month's peak so far is one that the plant could keep."""
        if month_ms != self._before[0]:
            slots = self._history.between(0, month_ms)
            known = (kw for slot in slots if (kw := slot.known_kw) is not None)
            self._before = month_ms, max(known, default=0.0)
        return now_ms - month_ms >= _SETTLED_MS and peak_kw >= _SETTLED_SHARE * self._before[1]

    def _trend(self, now_ms: int) -> NightTrend | None:
        """The trend of the nights, looked at once a local day, when a night is over."""
        wanted = self._config.alerts.base_load
        if wanted is None:
            return None
        from agent.alerts.nights import nightly_minima, trend  # noqa: PLC0415 - loaded only where it is asked for

        local = to_local(now_ms, self._zone)
        day = local.toordinal() - (local.hour < wanted.to_hour + 1)
        if day != self._nights[0]:
            slots = self._history.between(0, MAX_TIME_MS)
            nights = nightly_minima(slots, self._zone, wanted.from_hour, wanted.to_hour)
            self._nights = day, trend([night for night in nights if night[0] <= day])
        return self._nights[1]

    # -- the record -----------------------------------------------------------------------------------------------

    def _keep(self, now_ms: int) -> None:
        self._kept_ms = now_ms
        record = {"schema": 1, "standstills": self._standstills.to_json(), "skill": self._skill.to_json()}
        self._store.keep(_NOTE, jsonform.dumps(record))

    def _resume(self, now_ms: int) -> None:
        try:
            data = self._store.note(_NOTE)
            if data is None:
                return
            fields = Fields(jsonform.loads(data, where=_NOTE, max_bytes=_MAX_BYTES), _NOTE)
            self._standstills.resume(fields.raw("standstills"), f"{_NOTE}.standstills", now_ms)
            self._skill.resume(fields.raw("skill"), f"{_NOTE}.skill")
        except RejectedError as exc:
            _log.warning("what was known of meters and of the model's skill is lost, it begins anew: %s", exc)
        for slot in self._history.between(0, MAX_TIME_MS):
            self._skill.learn(slot.start_ms, slot.known_gross_kw)

    def _last_slots(self) -> list[Slot]:
        end_ms = self._history.end_ms or 0
        return self._history.between(end_ms - self._span_ms, end_ms)

    def _recent_forecasts(self) -> list[Forecast]:
        """The forecasts of the last hours that were published, the oldest first."""
        last_ms = self._store.last_time_ms("forecasts")
        if last_ms is None:
            return []
        reach_ms = self._config.forecast.every_minutes * 60_000 + self._bands * self._config.plant.slot_s * 1000
        rows = self._store.rows("forecasts", last_ms - reach_ms, last_ms + 1)
        try:
            return [Forecast.from_row(row) for row in rows if row["source"] != ForecastSource.CANDIDATE]
        except RejectedError as exc:  # of a later version
            _log.warning("the last forecasts are not used: %s", exc)
            return []

    @property
    def _bands(self) -> int:
        """How many slots need their band."""
        return self._config.alerts.abnormal.among if self._config.alerts.abnormal is not None else 0


def _watched(slot: Slot, forecasts: Sequence[Forecast]) -> WatchedSlot:
    """Put a slot beside the band, as it was at the meter, of the newest forecast that was made before it began."""
    low_kw = high_kw = None
    own_kw = slot.own_kw
    for forecast in reversed(forecasts):
        step = (slot.start_ms - forecast.origin_ms) // (forecast.slot_s * 1000)
        if own_kw is not None and 0 <= step < len(forecast.power_kw) and forecast.slot_s == slot.length_s:
            low_kw, high_kw = float(forecast.power_kw[step, 0]) - own_kw, float(forecast.power_kw[step, -1]) - own_kw
            break
    return WatchedSlot(slot.start_ms, slot.known_kw, low_kw, high_kw, slot.flags)


def _excess_kw(demand: Demand) -> float:
    if demand.predicted_kw is None or demand.target_kw is None:
        return -MAX_TIME_MS
    return demand.predicted_kw - demand.target_kw
