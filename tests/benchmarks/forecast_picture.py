"""A week of forecast fans over the truth, as one SVG file, in plain Python."""

import csv
import datetime as dt
import html

WIDTH, HEIGHT = 1000, 380
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 52, 34
BAND, MEDIAN, TRUTH, INK, GRID = "#9ecae1", "#08519c", "#d94801", "#333333", "#dddddd"


def draw_week(series, forecasts, out):
    """Draw the first whole week, Monday to Sunday, of the test part: no week is chosen for its looks.

    Args:
        series: of `forecast_series`.
        forecasts: file of forecasts, one origin a day.
        out: SVG file.
    """
    fans = _fans(forecasts)
    monday = next(origin for origin in sorted(fans) if origin.weekday() == 0 and origin + dt.timedelta(6) in fans)
    end = monday + dt.timedelta(7)
    week = [fans[monday + dt.timedelta(day)] for day in range(7)]
    truth = _truth(series.path, monday, end)
    out.write_text(_svg(series, monday, week, truth))


def _svg(series, monday, week, truth):
    most = max(*(value for _, value in truth), *(row[3] for fan in week for row in fan))
    step = _round_step(most / 5)
    top = step * (int(most / step) + 1)
    low = min(0.0, *(row[1] for fan in week for row in fan))
    floor = step * (int(low / step) - (1 if low < 0 else 0))
    plot_width, plot_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(moment, value):
        x = LEFT + (moment - monday) / dt.timedelta(7) * plot_width
        return f"{x:.1f},{TOP + (top - value) / (top - floor) * plot_height:.1f}"

    title = f"{series.name}: one forecast a day, 24 h ahead, week of {monday:%Y-%m-%d}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" role="img">',
        f"<title>{html.escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="15" fill="{INK}">{html.escape(title)}</text>',
        *_legend(),
    ]
    value = floor
    while value <= top + step / 2:
        (x1, y), (x2, _) = (place(at, value).split(",") for at in (monday, monday + dt.timedelta(7)))
        parts.append(f'<line x1="{x1}" y1="{y}" x2="{x2}" y2="{y}" stroke="{GRID}"/>')
        label = f"{value:.4g}" + (f" {series.unit}" if value + step > top + step / 2 else "")
        parts.append(
            f'<text x="{LEFT - 6}" y="{float(y) + 4:.1f}" text-anchor="end" font-size="12" fill="{INK}">{label}</text>'
        )
        value += step
    for day in range(7):
        begin = monday + dt.timedelta(day)
        x = float(place(begin, floor).split(",")[0])
        parts.append(f'<line x1="{x}" y1="{TOP}" x2="{x}" y2="{HEIGHT - BOTTOM}" stroke="{GRID}"/>')
        middle = x + plot_width / 14
        parts.append(
            f'<text x="{middle:.1f}" y="{HEIGHT - 12}" text-anchor="middle" font-size="12" fill="{INK}">{begin:%a %d %b}</text>'
        )
    for fan in week:
        edge = [place(at, high) for at, _, _, high in fan] + [place(at, low) for at, low, _, _ in reversed(fan)]
        parts.append(f'<polygon points="{" ".join(edge)}" fill="{BAND}" fill-opacity="0.7"/>')
        parts.append(_line([place(at, middle) for at, _, middle, _ in fan], MEDIAN, 1.6))
    parts.append(_line([place(at, value) for at, value in truth], TRUTH, 1.2))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend():
    x, y = LEFT, 38
    return [
        f'<rect x="{x}" y="{y - 9}" width="22" height="10" fill="{BAND}" fill-opacity="0.7"/>',
        f'<text x="{x + 28}" y="{y}" font-size="12" fill="{INK}">80 % band</text>',
        _line([f"{x + 110},{y - 4}", f"{x + 132},{y - 4}"], MEDIAN, 2),
        f'<text x="{x + 138}" y="{y}" font-size="12" fill="{INK}">median of the int8 student</text>',
        _line([f"{x + 310},{y - 4}", f"{x + 332},{y - 4}"], TRUTH, 2),
        f'<text x="{x + 338}" y="{y}" font-size="12" fill="{INK}">measured</text>',
    ]


def _line(points, colour, width):
    return f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _round_step(wanted):
    """The round number next above: 1, 2 or 5 times a power of ten."""
    size = 1e-6
    while True:
        for factor in (1, 2, 5):
            if factor * size >= wanted:
                return factor * size
        size *= 10


def _fans(path):
    fans = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            values = [float(row[name]) for name in ("q0.1", "q0.5", "q0.9")]
            fans.setdefault(_time(row["origin"]), []).append((_time(row["timestamp"]), *values))
    return fans


def _truth(path, begin, end):
    with path.open() as file:
        rows = ((_time(row["timestamp"]), row["load"]) for row in csv.DictReader(file))
        return [(at, float(load)) for at, load in rows if begin <= at < end and load]


def _time(text):
    return dt.datetime.fromisoformat(text)
