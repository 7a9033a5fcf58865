"""The picture of a reporting period, as SVG: measured and expected energy above, CUSUM of savings below."""

from __future__ import annotations

import datetime as dt
import html
import math
from collections.abc import Callable, Sequence

from agent.cli.output import Payload

_WIDTH, _LEFT, _RIGHT = 860, 80, 20
_TOPS, _PANEL = (58, 308), 200
_TICKS = 4
_GREY, _BLUE, _ORANGE, _TINT = "#666", "#1f5fa8", "#d9730d", "#d7e3f2"
_FONT = 'font-family="sans-serif" font-size="12" role="img"'
Place = Callable[[float], float]


def draw_picture(answer: Payload) -> str:
    """Return the SVG text of an answer of `edgewatt performance show`."""
    series = answer["cusum"]
    days = [dt.date.fromisoformat(entry["day"]).toordinal() for entry in series]
    first, last = days[0], max(days[-1], days[0] + 1)

    def across(day: float) -> float:
        return _LEFT + (day - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    savings, period = answer["savings"], answer["period"]
    title = (
        f"{answer['device']}: {savings['kwh']:,.0f} kWh saved, {savings['confidence']:.0%} interval "
        f"{savings['low_kwh']:,.0f} to {savings['high_kwh']:,.0f}, {period['first']} to {period['last']}"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} 560" {_FONT}>',
        f"<title>{html.escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="560" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="14">{html.escape(title)}</text>',
    ]
    measured = [entry["measured_kwh"] for entry in series]
    expected = [entry["expected_kwh"] for entry in series]
    up = _scale([*measured, *expected], _TOPS[0], parts, f"kWh a {answer['baseline']['by']}")
    parts += [
        _line(days, expected, across, up, _ORANGE, "expected by the baseline"),
        _line(days, measured, across, up, _BLUE, "measured"),
    ]
    cusum = [entry["cusum_kwh"] for entry in series]
    band = [entry["band_kwh"] for entry in series]
    up = _scale([*cusum, *band, *(-half for half in band), 0.0], _TOPS[1], parts, "CUSUM of savings, kWh")
    edge = [
        *(f"{across(day):.1f},{up(half):.1f}" for day, half in zip(days, band, strict=True)),
        *(f"{across(day):.1f},{up(-half):.1f}" for day, half in zip(reversed(days), reversed(band), strict=True)),
    ]
    parts += [
        f'<polygon points="{" ".join(edge)}" fill="{_TINT}"><title>what chance alone may do</title></polygon>',
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{up(0):.1f}" y2="{up(0):.1f}" stroke="{_GREY}"/>',
        _line(days, cusum, across, up, _BLUE, "cumulative savings"),
        *_dates(first, last, across),
        f'<text x="{_LEFT}" y="42" fill="{_BLUE}">measured</text>',
        f'<text x="{_LEFT + 70}" y="42" fill="{_ORANGE}">expected by the baseline</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _scale(values: Sequence[float], top: int, parts: list[str], label: str) -> Place:
    """Draw a panel's grid; return where a value stands."""
    low, high = min(values), max(values)
    wanted = max(high - low, abs(high) * 0.02, 1e-6) / _TICKS
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= wanted * 0.999)
    floor, ceiling = math.floor(low / step) * step, math.ceil(high / step) * step
    ceiling = max(ceiling, floor + step)

    def up(value: float) -> float:
        return top + _PANEL * (ceiling - value) / (ceiling - floor)

    for number in range(round((ceiling - floor) / step) + 1):
        value = floor + number * step
        parts += [
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{up(value):.1f}" y2="{up(value):.1f}" stroke="#ddd"/>',
            f'<text x="{_LEFT - 6}" y="{up(value) + 4:.1f}" text-anchor="end" fill="{_GREY}">{value:,.6g}</text>',
        ]
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{top - 6}" text-anchor="end" fill="{_GREY}">{label}</text>')
    return up


def _line(days: Sequence[int], values: Sequence[float], across: Place, up: Place, colour: str, name: str) -> str:
    points = " ".join(f"{across(day):.1f},{up(value):.1f}" for day, value in zip(days, values, strict=True))
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"><title>{name}</title></polyline>'
    )


def _dates(first: int, last: int, across: Place) -> list[str]:
    """Five days below the lower panel."""
    found = []
    for number in range(5):
        day = first + (last - first) * number // 4
        anchor = ("start", "middle", "middle", "middle", "end")[number]
        found.append(
            f'<text x="{across(day):.1f}" y="{_TOPS[1] + _PANEL + 20}" text-anchor="{anchor}" fill="{_GREY}">'
            f"{dt.date.fromordinal(day)}</text>"
        )
    return found
