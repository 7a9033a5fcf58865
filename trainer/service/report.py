"""The report: one self-contained HTML page for those who decide, from what the central database holds.

Decides what is said of a device; what is said of a model is `modelcard.py`'s, the meaning of rows `picture.py`'s, the
drawing `figures.py`'s, the safety of the page `page.py`'s.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.engine import Engine

from agent.contract.bundle import Bundle
from agent.contract.errors import ConfigError
from agent.contract.rows import ForecastSource
from agent.contract.slots import Slot
from agent.contract.zones import local_day_bounds_ms, parse_zone, to_local, utc_iso
from trainer.service import costs, figures, habits, judged, modelcard, page, picture, queries, wording


@dataclass(frozen=True)
class Options:
    """What the reader asked for.

    Attributes:
        devices: names; empty for all.
        bundles: models whose cards are shown.
        days: window of charts, back from each device's newest slot.
        zone: of local days; empty for the zone that each device states, else its plant's, else the bundle's, else UTC.
        title: heading of the page.
    """

    devices: Sequence[str] = ()
    bundles: Sequence[Bundle] = ()
    days: int = 14
    zone: str = ""
    title: str = "Plant energy report"


@dataclass(frozen=True)
class Headline:
    """One line of the table at the top, also given by `--json`."""

    device: str
    zone: str
    readings_held: int
    readings_missing: int
    readings_duplicated: int
    last_seen: str | None
    newest_data: str | None
    model: str | None
    model_is_fallback: bool
    mean_cost_per_day: str | None
    cost_days: int
    currency: str | None
    open_alerts: int
    alerts_raised: int
    month_cost: str | None
    month_end_low: str | None
    month_end_high: str | None
    plan_saving: float | None
    pinball_kw: float | None
    pinball_naive_kw: float | None
    unreadable_rows: int


@dataclass(frozen=True)
class Report:
    """The page, and its headline table as plain values."""

    html: str
    headlines: tuple[Headline, ...]
    rejected_messages: int

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints, without where the page was written."""
        return {
            "schema": 1,
            "devices": [asdict(line) for line in self.headlines],
            "rejected_messages": self.rejected_messages,
        }


@dataclass(frozen=True)
class Section:
    """One device's part of the page, ready for the template."""

    headline: Headline
    zone: dt.tzinfo
    window: tuple[int, int] | None
    load: figures.Figure | None
    cost: figures.Figure | None
    sync: figures.Figure | None
    days: list[judged.DayAhead]
    inside: float | None
    compared_slots: int
    ahead: costs.CostAhead | None
    bill: costs.MonthBill | None
    advice: costs.Advice | None
    alerts: list[picture.AlertLine]
    changes: list[picture.ModelChange]
    gaps: list[str]
    starts: int
    arrivals: dict[str, Any]


def build_report(engine: Engine, options: Options, *, now_ms: int | None = None) -> Report:
    """Read the database and write the page.

    Args:
        engine: central database.
        options: what to show.
        now_ms: real clock; None for now.

    Raises:
        ConfigError: when a device asked for is not registered, or the zone is unknown.
        StorageError: when the database cannot be read.
    """
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    names = queries.device_names(engine, options.devices)
    sections = [section(queries.device_rows(engine, name, options.days, now), options) for name in names]
    rejected, newest = queries.rejections(engine, page.MAX_TABLE_ROWS)
    content = {
        "title": options.title,
        "made": utc_iso(now),
        "days": options.days,
        "sections": sections,
        "plants": habits.plant_parts(engine, names),
        "cards": [modelcard.model_card(bundle) for bundle in options.bundles],
        "rejected": rejected,
        "rejections": newest,
        "most": page.MAX_TABLE_ROWS,
        "verdict": wording.verdict([part.headline for part in sections], rejected),
    }
    return Report(page.render(content), tuple(part.headline for part in sections), rejected)


def section(rows: queries.DeviceRows, options: Options) -> Section:
    """Work out one device's part of the page."""
    told = _parse(rows, options)
    shown, days = told.shown, told.days
    known = sum(day.known for day in days)
    bins = picture.bin_arrivals(rows.arrivals)
    return Section(
        headline=_headline(rows, told),
        zone=told.zone,
        window=(shown[0].start_ms, shown[-1].end_ms) if shown else None,
        load=figures.load_figure(shown, days, told.zone, told.zone_name) if shown else None,
        cost=figures.cost_figure(told.day_costs, told.zone_name) if told.day_costs else None,
        sync=figures.arrivals_figure(bins) if bins else None,
        days=days,
        inside=sum(day.inside for day in days) / known if known else None,
        compared_slots=judged.mean_losses(days)[2],
        ahead=told.ahead,
        bill=told.bill,
        advice=told.advice,
        alerts=told.alerts,
        changes=told.changes,
        gaps=[picture.short(row.get("text", "")) for row in rows.events if row.get("kind") == "gap"],
        starts=sum(1 for row in rows.events if row.get("kind") == "boot"),
        arrivals=_arrival_facts(rows.arrivals, bins),
    )


@dataclass(frozen=True)
class _Told:
    """A device's rows, parsed; `shown` are the slots of the window."""

    zone_name: str
    zone: dt.tzinfo
    shown: list[Slot]
    days: list[judged.DayAhead]
    day_costs: list[costs.DayCost]
    ahead: costs.CostAhead | None
    bill: costs.MonthBill | None
    advice: costs.Advice | None
    alerts: list[picture.AlertLine]
    changes: list[picture.ModelChange]
    unreadable: int


def _parse(rows: queries.DeviceRows, options: Options) -> _Told:
    zone_name, zone = _zone(rows, options)
    slots, bad_slots = picture.read_slots(rows.slots)
    most_days = options.days + 2
    days, bad_forecasts = judged.read_day_aheads(rows.forecasts, slots, zone, most_days)
    first_ms, last_ms = (slots[0].start_ms, slots[-1].end_ms) if slots else (None, None)
    day_costs, ahead, bad_costs = costs.read_costs(rows.costs, zone, first_ms, last_ms)
    bill, bad_bills = costs.read_bill(rows.costs)
    alerts, bad_alerts = picture.read_alerts(rows.alerts)
    shown = _window(slots, rows, zone)
    if shown:  # rows of the day before were read too, so that the first day is whole
        first_day = to_local(shown[0].start_ms, zone).date()
        days = [day for day in days if day.date >= first_day]
        day_costs = [day for day in day_costs if day.date >= first_day]
    return _Told(
        zone_name=zone_name,
        zone=zone,
        shown=shown,
        days=days,
        day_costs=day_costs[-most_days:],
        ahead=ahead,
        bill=bill,
        advice=costs.read_advice(rows.events),
        alerts=sorted(alerts, key=lambda alert: not alert.open),  # what is open must not be lost below what is over
        changes=picture.read_model_changes(rows.events),
        unreadable=bad_slots + bad_forecasts + bad_costs + bad_bills + bad_alerts,
    )


def _headline(rows: queries.DeviceRows, told: _Told) -> Headline:
    own, naive, _ = judged.mean_losses(told.days)
    model, fallback = _model(told.days, told.changes)
    mean_cost = costs.mean_cost_a_day(told.day_costs)
    newest = to_local(told.shown[-1].end_ms, told.zone).isoformat(timespec="minutes") if told.shown else None
    return Headline(
        device=rows.device,
        zone=told.zone_name,
        readings_held=rows.counts.held,
        readings_missing=rows.counts.missing,
        readings_duplicated=rows.counts.duplicated,
        last_seen=None if rows.last_seen_ms is None else utc_iso(rows.last_seen_ms),
        newest_data=newest,
        model=model,
        model_is_fallback=fallback,
        mean_cost_per_day=f"{mean_cost[0]:.2f}" if mean_cost else None,
        cost_days=mean_cost[2] if mean_cost else 0,
        currency=told.day_costs[-1].currency if told.day_costs else None,
        open_alerts=sum(1 for alert in told.alerts if alert.open),
        alerts_raised=len(told.alerts),
        month_cost=str(told.bill.amount) if told.bill else None,
        month_end_low=str(told.bill.end[1]) if told.bill and told.bill.end else None,
        month_end_high=str(told.bill.end[2]) if told.bill and told.bill.end else None,
        plan_saving=told.advice.saving if told.advice else None,
        pinball_kw=own,
        pinball_naive_kw=naive,
        unreadable_rows=told.unreadable,
    )


def _zone(rows: queries.DeviceRows, options: Options) -> tuple[str, dt.tzinfo]:
    stated = [row["zone"] for row in rows.events if row.get("kind") == "boot" and isinstance(row.get("zone"), str)]
    if options.zone:
        return options.zone, parse_zone(options.zone)
    of_bundles = [bundle.manifest.feature_spec.zone for bundle in options.bundles]
    for name in filter(None, [*reversed(stated), rows.plant_zone, *of_bundles]):
        try:
            return picture.short(name, 60), parse_zone(name)
        except ConfigError:
            continue
    return "UTC", dt.UTC


def _window(slots: Sequence[Slot], rows: queries.DeviceRows, zone: dt.tzinfo) -> list[Slot]:
    """Slots of the window, from the local midnight before its start."""
    if not slots:
        return []
    start_ms, _ = local_day_bounds_ms(to_local(rows.start_ms, zone).date(), zone)
    return [slot for slot in slots if slot.start_ms >= start_ms]


def _model(days: Sequence[judged.DayAhead], changes: Sequence[picture.ModelChange]) -> tuple[str | None, bool]:
    """What made the newest forecast, or what was activated since; and whether that is a fallback."""
    activated = [change for change in changes if change.action == "activated"]
    if days and (not activated or activated[0].time_ms <= days[-1].forecast.origin_ms):
        forecast = days[-1].forecast
        return picture.short(forecast.model, 64), forecast.source is not ForecastSource.ACTIVE
    return (activated[0].model, False) if activated else (None, False)


def _arrival_facts(arrivals: Sequence[picture.Arrival], bins: picture.ArrivalBins | None) -> dict[str, Any]:
    rows = sum(arrival.rows for arrival in arrivals)
    new = sum(arrival.new_rows for arrival in arrivals)
    gaps = bins.gaps_ms if bins else []
    return {
        "envelopes": len(arrivals),
        "bytes": sum(arrival.size_bytes for arrival in arrivals),
        "rows": rows,
        "repeated": rows - new,
        "gaps": len(gaps),
        "longest": figures.duration(max((end - start) / 1000 for start, end in gaps)) if gaps else "",
    }
