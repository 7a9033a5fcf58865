"""Charts as SVG without a library: axes, outlines of distributions, bands. Knows nothing of a plant."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
COLOURS = ("#767676", "#1b6ca8", "#c8553d", "#3a7d44", "#7d4f9e", "#b7791f", "#0f766e")
_BINS = 36
_INK, _FAINT = "#222222", "#dddddd"


@dataclass(frozen=True, slots=True)
class Axes:
    """A panel of a drawing: its place in pixels, and the ranges that it shows.

    Attributes:
        left, top, width, height: of the inner box.
        across, up: (low, high) of the values to the right and upwards.
        parts: elements drawn so far.
    """

    left: float
    top: float
    width: float
    height: float
    across: tuple[float, float]
    up: tuple[float, float]
    parts: list[str] = field(default_factory=list)

    def frame(self, title: str, unit: str, *, upward: bool, label: Callable[[float], str] | None = None) -> None:
        """Draw title, base line, and ticks to the right; with `upward` lines and numbers of the upward values too.

        `label` says what a tick to the right is called, where it is more than a number.
        """
        bottom = self.top + self.height
        self.parts.append(text(self.left, self.top - 14, title, weight="bold"))
        self.parts.append(text(self.left + self.width, bottom + 34, unit, anchor="end"))
        for value in ticks(*self.across, 6):
            x = self._x(value)
            self.parts.append(_line([(x, bottom), (x, bottom + 5)], _INK, 1))
            self.parts.append(text(x, bottom + 18, (label or short)(value), anchor="middle"))
        for value in ticks(*self.up, 5) if upward else ():
            y = self._y(value)
            ends = [(self.left, y), (self.left + self.width, y)]
            self.parts.append(_line(ends, _INK if value == 0 else _FAINT, 1))
            self.parts.append(text(self.left - 8, y + 4, short(value), anchor="end"))
        self.parts.append(_line([(self.left, bottom), (self.left + self.width, bottom)], _INK, 1))

    def outline(self, edges: Floats, heights: Floats, colour: str) -> None:
        """Draw a histogram [N] over its edges [N + 1] as one filled shape."""
        points = [(edges[0], 0.0)]
        for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True):
            points += [(left, height), (right, height)]
        points.append((edges[-1], 0.0))
        self._shape(points, colour, 0.14, stroke=True)

    def band(self, xs: Sequence[float], low: Floats, middle: Floats, high: Floats, colour: str) -> None:
        """Draw the space between two curves as a tint, and the middle one as a line, as far as they are in the box."""
        box = f'x="{self.left}" y="{self.top}" width="{self.width}" height="{self.height}"'
        view = f"{self.left} {self.top} {self.width} {self.height}"
        self.parts.append(f'<svg {box} viewBox="{view}">')  # cuts off what is outside
        forth = list(zip(xs, high, strict=True))
        back = list(zip(reversed(xs), low[::-1], strict=True))
        self._shape([*forth, *back], colour, 0.16, stroke=False)
        self.parts.append(_line([self._place(*point) for point in zip(xs, middle, strict=True)], colour, 2.2))
        self.parts.append("</svg>")

    def _shape(self, points: Sequence[tuple[float, float]], colour: str, opacity: float, *, stroke: bool) -> None:
        edge = f'stroke="{colour}" stroke-width="1.4"' if stroke else 'stroke="none"'
        path = _path([self._place(*point) for point in points])
        self.parts.append(f'<path d="{path}Z" fill="{colour}" fill-opacity="{opacity}" {edge}/>')

    def _place(self, across: float, up: float) -> tuple[float, float]:
        return self._x(across), self._y(up)

    def _x(self, value: float) -> float:
        low, high = self.across
        return self.left + (value - low) / (high - low) * self.width

    def _y(self, value: float) -> float:
        low, high = self.up
        return self.top + self.height - (value - low) / (high - low) * self.height


def document(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    """Return a whole SVG file."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' font-family="sans-serif" font-size="12" fill="{_INK}" role="img">'
    )
    page = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", page, *parts, "</svg>", ""])


def text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal", size: int = 12) -> str:
    """Return a line of text whose base line begins, is centred, or ends at a point."""
    style = f'text-anchor="{anchor}" font-weight="{weight}" font-size="{size}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def key(x: float, y: float, words: str, colour: str) -> list[str]:
    """Return an entry of a legend."""
    return [f'<rect x="{x:.1f}" y="{y - 10:.1f}" width="12" height="12" fill="{colour}"/>', text(x + 18, y, words)]


def histograms(samples: Sequence[Floats]) -> tuple[Floats, list[Floats]]:
    """Return common edges [N + 1], and the share of each sample's values between them; the farthest 1 % is left out."""
    low = min(float(np.quantile(sample, 0.005)) for sample in samples)
    high = max(float(np.quantile(sample, 0.995)) for sample in samples)
    low, high = roomy(low, high)
    edges = np.linspace(low, high, _BINS + 1)
    return edges, [np.histogram(sample, edges)[0] / len(sample) for sample in samples]


def roomy(low: float, high: float) -> tuple[float, float]:
    """Return a range that is never empty, whatever is shown in it."""
    if high - low > 1e-9 * max(abs(low), abs(high), 1e-300):
        return low, high
    half = max(abs(low) * 0.05, 1.0)
    return low - half, high + half


def ticks(low: float, high: float, count: int) -> list[float]:
    """Return about `count` round numbers within a range."""
    wanted = (high - low) / count
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= wanted)
    first = math.ceil(low / step)
    return [step * place for place in range(first, math.floor(high / step) + 1)]


def short(value: float) -> str:
    """Return a number in few characters: 1.2M, 350k, 0.4."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.3g}"


def _line(points: Sequence[tuple[float, float]], colour: str, width: float) -> str:
    return f'<path d="{_path(points)}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
