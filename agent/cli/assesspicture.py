"""The picture of an assessment: cost and emissions as distributions, and the money of each measure over its life."""

from __future__ import annotations

import numpy as np

from agent.cli.svg import COLOURS, Axes, Floats, document, histograms, key, roomy, text
from agent.planning.assess.compare import QUANTILES, Outcome

_WIDTH, _HEIGHT = 960, 660
_DEEPEST = 1.2  # times the greatest investment: what loses more would press the others together


def draw(outcome: Outcome) -> str:
    """Return the picture as SVG: the plant as it is in grey, each measure in a colour of its own."""
    world = outcome.case.world
    names = ["as it is", *(each.measure.head.name for each in outcome.comparisons)]
    years = [outcome.baseline, *(each.year for each in outcome.comparisons)]
    parts = [text(60, 30, world.name, weight="bold", size=16)]
    for index, name in enumerate(names):
        parts += key(60 + 290 * (index % 3), 54 + 20 * (index // 3), name, COLOURS[index])
    parts += _spread(
        60, f"Cost of the first year, share of {outcome.runs:,} runs", world.currency, [y.cost for y in years]
    )
    emissions = [year.emissions_kg / 1000 for year in years]
    parts += _spread(520, "Emissions of the first year, scopes 1 and 2 (average)", "t CO2e", emissions)
    parts += _money(outcome)
    return document(_WIDTH, _HEIGHT, f"{world.name}: plant and measures compared", parts)


def _spread(left: float, title: str, unit: str, samples: list[Floats]) -> list[str]:
    edges, shares = histograms(samples)
    axes = Axes(left, 140, 390, 150, (float(edges[0]), float(edges[-1])), (0.0, max(float(s.max()) for s in shares)))
    for share, colour in zip(shares, COLOURS, strict=False):
        axes.outline(edges, share, colour)
    axes.frame(title, unit, upward=False)
    return axes.parts


def _money(outcome: Outcome) -> list[str]:
    curves = [np.quantile(each.value, QUANTILES, axis=0) for each in outcome.comparisons]
    longest = max(curve.shape[1] - 1 for curve in curves)
    lowest = min(float(curve.min()) for curve in curves)
    if (most := max(float(each.investment.max()) for each in outcome.comparisons)) > 0:
        lowest = max(lowest, -_DEEPEST * most)
    low, high = roomy(min(0.0, lowest), max(0.0, *(float(curve.max()) for curve in curves)))
    axes = Axes(90, 390, 820, 210, (0.0, float(longest)), (low, high))
    title = f"Payback: investment and discounted savings so far, {outcome.case.world.currency}: P50, and P10 to P90"
    axes.frame(title, "years", upward=True)
    for curve, colour in zip(curves, COLOURS[1:], strict=False):
        axes.band([float(year) for year in range(curve.shape[1])], curve[0], curve[1], curve[2], colour)
    return axes.parts
