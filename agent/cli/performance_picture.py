"""The picture of a reporting period, as SVG: measured and expected energy above, CUSUM of savings below."""

from __future__ import annotations

import datetime as dt

import numpy as np

from agent.cli.output import Payload
from agent.cli.svg import COLOURS, Axes, document, key, roomy, text

_WIDTH, _HEIGHT = 900, 620
_LEFT, _INNER, _PANEL = 80, 780, 180
_EXPECTED, _MEASURED = COLOURS[2], COLOURS[1]


def draw_picture(answer: Payload) -> str:
    """Return the SVG text of an answer of `edgewatt performance show`."""
    series, by = answer["cusum"], answer["baseline"]["by"]
    days = [float(dt.date.fromisoformat(entry["day"]).toordinal()) for entry in series]
    across = roomy(days[0], days[-1])
    measured, expected, cusum, band = (
        np.array([entry[name] for entry in series])
        for name in ("measured_kwh", "expected_kwh", "cusum_kwh", "band_kwh")
    )
    above = _axes(90, across, [*measured, *expected], f"Energy, kWh a {by}")
    above.band(days, expected, expected, expected, _EXPECTED)
    above.band(days, measured, measured, measured, _MEASURED)
    below = _axes(370, across, [*cusum, *band, *-band], "CUSUM of savings, kWh; tinted what chance alone may do")
    below.band(days, -band, cusum, band, _MEASURED)
    savings, period = answer["savings"], answer["period"]
    title = (
        f"{answer['device']}, {period['first']} to {period['last']}: {savings['kwh']:,.0f} kWh saved, "
        f"{savings['confidence']:.0%} interval {savings['low_kwh']:,.0f} to {savings['high_kwh']:,.0f} kWh"
    )
    legend = [*key(_LEFT, 52, "measured", _MEASURED), *key(_LEFT + 110, 52, "expected by the baseline", _EXPECTED)]
    heading = text(_LEFT, 26, title, weight="bold", size=14)
    return document(_WIDTH, _HEIGHT, title, [heading, *legend, *above.parts, *below.parts])


def _axes(top: float, across: tuple[float, float], values: list[float], title: str) -> Axes:
    axes = Axes(_LEFT, top, _INNER, _PANEL, across, roomy(min(values), max(values)))
    axes.frame(title, "", upward=True, label=_day)
    return axes


def _day(ordinal: float) -> str:
    return dt.date.fromordinal(round(ordinal)).isoformat()
