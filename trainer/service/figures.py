"""Figures of the report as plain plotly JSON (data and layout); needs no plotly to build, only plotly.js to draw.

Texts that come from devices pass `plain` first: plotly reads a little HTML in names and titles.
"""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from agent.contract.rows import ForecastSource
from agent.contract.slots import Slot
from agent.contract.zones import to_local
from trainer.dataset.days import DAY_STEPS
from trainer.dataset.profiles import DayType
from trainer.service.costs import DayCost, parts
from trainer.service.judged import DayAhead
from trainer.service.picture import ArrivalBins

Figure = dict[str, Any]

INK, MUTED, GRID = "#16202c", "#66758a", "#e6eaf0"
LOAD, FAN, FALLBACK, ARRIVED, OUTAGE = "#16202c", "#2f6fde", "#9a6b1f", "#2b8a6e", "#c2410c"
PERIODS = ("#2f6fde", "#e39a2d", "#2b8a6e", "#8a5cc7", "#c2410c", "#5f7186")
_TICKS = [  # by distance between ticks, ms: hours when few days are shown or after zooming in
    {"dtickrange": [None, 86_399_999], "value": "%H:%M<br>%a %-d %b"},
    {"dtickrange": [86_400_000, None], "value": "%a<br>%-d %b"},
]
_ROUNDING = Decimal("0.05")  # lines are rounded one by one: their sum may miss the amount by a few cents
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def plain(text: str) -> str:
    """Text that plotly shows as it stands."""
    return html.escape(text, quote=False)


def load_figure(slots: Sequence[Slot], days: Sequence[DayAhead], zone: dt.tzinfo, zone_name: str) -> Figure:
    """Mean gross load of each slot and the stitched day-ahead fan, kW over local time."""
    wall = _wall(zone)
    traces: list[Figure] = []
    named: set[str] = set()
    for day in days:
        fallback = day.forecast.source is not ForecastSource.ACTIVE
        traces += _fan(day, wall, "fallback forecast" if fallback else "forecast", named)
    x: list[str] = []
    y: list[float | None] = []
    for before, slot in zip([None, *slots], slots, strict=False):
        if before is not None and slot.start_ms > before.end_ms:
            x.append(wall(before.end_ms))
            y.append(None)  # a hole in the data is a hole in the line
        x.append(wall(slot.start_ms))
        y.append(None if slot.gross_kw is None else round(slot.gross_kw, 3))
    is_gross = any(slot.own_kw != 0.0 for slot in slots)
    load = {
        "name": "measured gross load" if is_gross else "measured load",
        "mode": "lines",
        "line": {"color": LOAD, "width": 1.1},
    }
    traces.append(_line(x, y, **load, hovertemplate="%{y:,.4~g} kW measured<extra></extra>"))
    layout = _layout("mean power, kW", f"local time, {plain(zone_name)}", height=400)
    layout["hovermode"] = "x unified"
    layout["yaxis"]["rangemode"] = "normal"  # from zero, the band of a steady plant would be a hair
    layout["xaxis"] |= {"tickangle": 0, "hoverformat": "%a %-d %b %H:%M", "tickformatstops": _TICKS}
    return {"data": traces, "layout": layout}


def _fan(day: DayAhead, wall: Callable[[int], str], name: str, named: set[str]) -> list[Figure]:
    """Outer band as a closed outline, then the median; one legend entry for each kind over all days."""
    forecast = day.forecast
    color = FALLBACK if name.startswith("fallback") else FAN
    order = np.argsort(forecast.quantiles)
    low, high = int(order[0]), int(order[-1])
    middle = int(np.argmin(np.abs(np.array(forecast.quantiles) - 0.5)))
    x = [wall(start) for start in forecast.starts_ms()]
    rounded = np.round(forecast.power_kw, 3)
    first, group = name not in named, {"legendgroup": name}
    named.add(name)
    band = f"{name}, {forecast.quantiles[low]:.0%} to {forecast.quantiles[high]:.0%}"
    edge = {"mode": "lines", "line": {"width": 0, "color": color}, "showlegend": False, **group}
    return [
        _line(x, rounded[:, low].tolist(), **edge, hoverinfo="skip"),
        _line(
            x,
            rounded[:, high].tolist(),
            **{**edge, "showlegend": first},
            name=band,
            fill="tonexty",
            fillcolor=_faded(color),
            customdata=rounded[:, [low, high]].tolist(),
            hovertemplate="%{customdata[0]:,.4~g} to %{customdata[1]:,.4~g} kW forecast band<extra></extra>",
        ),
        _line(
            x,
            rounded[:, middle].tolist(),
            name=f"{name}, median",
            mode="lines",
            line={"color": color, "width": 1.6},
            showlegend=first,
            **group,
            hovertemplate="%{y:,.4~g} kW forecast<extra></extra>",
        ),
    ]


def cost_figure(days: Sequence[DayCost], zone_name: str) -> Figure:
    """Cost of each local day, stacked by its parts where the device states its lines."""
    currency = plain(days[-1].currency)
    shown = [day for day in days if day.currency == days[-1].currency]
    x = [day.date.isoformat() for day in shown]
    split = parts(shown)
    names = list(dict.fromkeys(name for day in split for name, part in day.items() if part))
    traces = []
    for index, name in enumerate(names):
        amounts = [float(day.get(name, 0)) for day in split]
        traces.append(_bars(x, amounts, shown, plain(name), PERIODS[index % len(PERIODS)], currency))
    rest = [day.amount - sum(known.values(), Decimal()) for day, known in zip(shown, split, strict=True)]
    if any(abs(part) > _ROUNDING for part in rest):
        name, color = ("other", MUTED) if names else ("energy cost", PERIODS[0])
        traces.append(_bars(x, [float(part) for part in rest], shown, name, color, currency))
    layout = _layout(f"cost of the day, {currency}", f"local date, {plain(zone_name)}", height=280)
    layout |= {"barmode": "relative", "bargap": 0.35, "showlegend": bool(names)}
    layout["xaxis"] |= {"type": "category" if len(x) < 4 else "date", "tickformat": "%a<br>%-d %b"}
    return {"data": traces, "layout": layout}


def _bars(x: list[str], y: list[float], days: Sequence[DayCost], name: str, color: str, currency: str) -> Figure:
    return {
        "type": "bar",
        "name": name,
        "x": x,
        "y": [round(value, 2) for value in y],
        "marker": {"color": color, "opacity": [1.0 if day.whole else 0.45 for day in days]},
        "customdata": [_day_note(day) for day in days],
        "hovertemplate": f"%{{y:,.2f}} {_in_template(currency)}%{{customdata}}",
    }


def _day_note(day: DayCost) -> str:
    note = "" if day.whole else ", not a whole day of data"
    return note if day.low == day.high else f"{note}, day {day.amount:,.2f} ({day.low:,.2f} to {day.high:,.2f})"


def day_types_figure(types: Sequence[DayType], zone_name: str) -> Figure:
    """Mean day of each type, with the band that holds four days of five for the commonest, kW over the time of day."""
    x = [f"1970-01-01T{half_hour // 2:02}:{30 * (half_hour % 2):02}:00" for half_hour in range(DAY_STEPS)]
    edge = {"mode": "lines", "line": {"width": 0, "color": PERIODS[0]}, "showlegend": False, "hoverinfo": "skip"}
    first = types[0]
    band = {**edge, "showlegend": True, "name": f"{plain(first.name)}, four days of five"}
    traces = [
        _line(x, first.low_kw.round(3).tolist(), **edge),
        _line(x, first.high_kw.round(3).tolist(), **band, fill="tonexty", fillcolor=_faded(PERIODS[0])),
    ]
    for index, one in enumerate(types):
        line = {
            "color": PERIODS[index % len(PERIODS)],
            "width": 1.8,
            "dash": "solid" if index < len(PERIODS) else "dot",
        }
        note = f"%{{y:,.4~g}} kW {_in_template(plain(one.name))}<extra></extra>"
        mean = one.mean_kw.round(3).tolist()
        traces.append(_line(x, mean, name=plain(one.name), mode="lines", line=line, hovertemplate=note))
    layout = _layout("mean power, kW", f"time of day, {plain(zone_name)}", height=300)
    layout["hovermode"] = "x unified"
    layout["xaxis"] |= {"tickformat": "%H:%M", "hoverformat": "%H:%M", "tickangle": 0}
    return {"data": traces, "layout": layout}


def arrivals_figure(bins: ArrivalBins) -> Figure:
    """New rows by arrival time at the centre; gaps that stand out are shaded."""
    unit = _width(bins.width_s)
    bars = {
        "type": "bar",
        "name": "new rows",
        "x": [_utc(start + bins.width_s * 500) for start in bins.starts_ms],
        "y": bins.rows,
        "width": bins.width_s * 1000 * 0.9,
        "customdata": bins.envelopes,
        "marker": {"color": ARRIVED},
        "hovertemplate": "%{y:,} new rows in %{customdata} envelopes<extra></extra>",
    }
    layout = _layout(f"new rows a {unit}", "arrival at the centre, real clock, UTC", height=220)
    layout["showlegend"] = False
    layout["shapes"] = [
        {
            "type": "rect",
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "x0": _utc(start),
            "x1": _utc(end),
            "fillcolor": OUTAGE,
            "opacity": 0.10,
            "line": {"width": 0},
        }
        for start, end in bins.gaps_ms
    ]
    longest = sorted(bins.gaps_ms, key=lambda gap: gap[0] - gap[1])[:3]
    layout["annotations"] = [
        {
            "x": _utc((start + end) // 2),
            "y": 1,
            "yref": "paper",
            "yanchor": "bottom",
            "showarrow": False,
            "text": f"nothing for {duration((end - start) / 1000)}",
            "font": {"color": OUTAGE, "size": 11},
        }
        for start, end in longest
    ]
    return {"data": [bars], "layout": layout}


def duration(seconds: float) -> str:
    """A length of time in one unit that suits it."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _width(seconds: int) -> str:
    return {3600: "hour", 60: "minute", 1: "second"}.get(seconds, duration(seconds))


def _wall(zone: dt.tzinfo) -> Callable[[int], str]:
    return lambda time_ms: to_local(time_ms, zone).strftime("%Y-%m-%dT%H:%M:%S")


def _utc(time_ms: int) -> str:
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]


def _line(x: Sequence[str], y: Sequence[float | None], **more: Any) -> Figure:
    return {"type": "scatter", "x": list(x), "y": list(y), "connectgaps": False, **more}


def _in_template(text: str) -> str:
    """Text inside a hover template, where `%{` would start a variable."""
    return text.replace("%", "&#37;")


def _faded(color: str) -> str:
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.30)"


def _layout(y_title: str, x_title: str, *, height: int) -> Figure:
    axis = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "automargin": True, "tickfont": {"color": MUTED}}
    title = {"font": {"size": 12, "color": MUTED}, "standoff": 8}
    return {
        "height": height,
        "margin": {"l": 56, "r": 12, "t": 34, "b": 44},
        "font": {"family": _FONT, "size": 12, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 11}},
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": GRID, "font": {"family": _FONT, "size": 12, "color": INK}},
        "xaxis": {**axis, "title": {**title, "text": x_title}, "type": "date"},
        "yaxis": {**axis, "title": {**title, "text": y_title}, "rangemode": "tozero"},
    }
