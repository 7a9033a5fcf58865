"""A forecast drawn in the terminal: the band as a tint of single braille dots, the median as a line."""

from __future__ import annotations

import datetime as dt

import numpy as np
from numpy.typing import NDArray

from agent.contract.amounts import amount
from agent.contract.features import Floats
from agent.contract.rows import Forecast
from agent.contract.zones import to_local

# Dot of a braille cell by (column, row); the cell is 2 dots wide and 4 high.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
AXIS = 10


def draw_fan(
    forecast: Forecast, zone: dt.tzinfo, *, width: int = 76, height: int = 14, ascii_only: bool = False
) -> str:
    """Return lines of at most `width` characters: load in kW over local time.

    Args:
        forecast: with quantiles ascending; the outermost two make the band, the middle one the line.
        zone: of the time axis.
        width: whole width, axis included.
        height: lines of the drawing, without the time axis.
        ascii_only: for terminals without braille: `*` is the median, `:` the band.
    """
    columns = max(8, width - AXIS)
    lines = draw_band(*forecast.power_kw.T[:3], unit="kW", width=width, height=height, ascii_only=ascii_only)
    length_ms = len(forecast.power_kw) * forecast.slot_s * 1000
    return "\n".join([*lines, time_axis(forecast.origin_ms, length_ms, zone, columns)])


def draw_band(
    low: Floats, middle: Floats, high: Floats, *, unit: str, width: int, height: int = 14, ascii_only: bool = False
) -> list[str]:
    """Return `height` lines: three step functions [steps] over equal steps, labelled in `unit`; no axis below.

    The line may leave the band.
    """
    columns = max(8, width - AXIS)
    low, middle, high = (_stretch(values, 2 * columns) for values in (low, middle, high))
    floor, step = _scale(float(min(low.min(), middle.min())), float(max(high.max(), middle.max())), height)
    cells = np.zeros((height, columns), dtype=np.int64)
    line = np.zeros((height, columns), dtype=bool)
    rows = 4 * height

    def dot(value: float) -> int:
        return min(rows - 1, max(0, round((value - floor) / (step * height) * (rows - 1))))

    def put(x: int, y: int, *, median: bool) -> None:
        row = height - 1 - y // 4
        cells[row, x // 2] |= _DOTS[x % 2][3 - y % 4]
        line[row, x // 2] |= median

    previous = dot(float(middle[0]))
    for x in range(2 * columns):
        for y in range(dot(float(low[x])), dot(float(high[x])) + 1):
            if x % 2 == 0 and y % 2 == 0:
                put(x, y, median=False)
        here = dot(float(middle[x]))
        for y in range(min(previous, here), max(previous, here) + 1):
            put(x, y, median=True)
        previous = here
    lines = []
    for row in range(height):
        value = floor + (height - row) * step if row % 4 == 0 else None
        label = "" if value is None else f"{amount(value, 4)} {unit}"
        drawn = _ascii(cells[row], line[row]) if ascii_only else _braille(cells[row])
        lines.append(f"{label:>{AXIS - 1}} {drawn}".rstrip())
    return lines


def _stretch(values: Floats, width: int) -> Floats:
    """Step function [steps] sampled at `width` points."""
    stretched: Floats = values[np.arange(width) * len(values) // width]
    return stretched


def _scale(low: float, high: float, height: int) -> tuple[float, float]:
    """Return the lower edge and kW per line, both round numbers."""
    wanted = max(high - low, abs(high) * 0.02, 1e-3) / height
    power = 10.0 ** np.floor(np.log10(wanted))
    for factor in (1, 2, 2.5, 4, 5, 8, 10, 20, 25):
        step = float(power * factor)
        floor = float(np.floor(low / step) * step)
        if floor + step * height >= high:
            return floor, step
    return low, wanted


def _braille(cells: NDArray[np.int64]) -> str:
    return "".join(chr(0x2800 + int(cell)) if cell else " " for cell in cells)


def _ascii(cells: NDArray[np.int64], line: NDArray[np.bool_]) -> str:
    return "".join("*" if median else ":" if cell else " " for cell, median in zip(cells, line, strict=True))


def time_axis(start_ms: int, length_ms: int, zone: dt.tzinfo, columns: int) -> str:
    """Local hours below the columns where they begin; the axis of the drawing takes `AXIS` more on the left."""
    text = [" "] * columns
    hours = length_ms / 3_600_000
    every = next((count for count in (1, 2, 3, 6, 12, 24) if columns * count / hours >= 8), 48)
    busy_until = -1
    for hour in range(int(hours) + 2):
        moment_ms = start_ms - start_ms % 3_600_000 + hour * 3_600_000
        column = round((moment_ms - start_ms) / length_ms * columns)
        moment = to_local(moment_ms, zone)
        label = f"{moment:%H:%M}" if every < 24 else f"{moment:%d %b}"
        wanted = moment.hour % every == 0 if every <= 24 else moment.hour == 0 and moment.toordinal() % 2 == 0
        if column <= busy_until or not wanted or column + len(label) > columns:
            continue
        text[column : column + len(label)] = label
        busy_until = column + len(label)
    return " " * AXIS + "".join(text).rstrip()
