"""`edgewatt forecast`: the load ahead, from the running agent, its store, or a bundle and a file of history."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.output import Payload, band_held, emit, json_option, local, remark, table
from agent.cli.session import Session, pass_session
from agent.contract.errors import ConfigError
from agent.contract.featurespec import DAY_S
from agent.contract.rows import Forecast
from agent.contract.zones import parse_zone
from agent.control import Operation

if TYPE_CHECKING:
    from agent.contract.features import Floats

_FILE = click.Path(path_type=Path)
_LINES = 24


@click.command()
@click.option("--plot", is_flag=True, help="Draw the forecast: median as a line, the 80 % band as a tint.")
@click.option("--bundle", type=_FILE, help="Forecast with this model bundle (.ewb), without agent or configuration.")
@click.option("--history", type=_FILE, help="With --bundle: CSV file with the load so far.")
@click.option("--timestamps-in", "zone", default="UTC", show_default=True, help="Zone of the CSV file's times.")
@click.option("--timestamp-column", default="timestamp", show_default=True, help="Column of the intervals' starts.")
@click.option("--value-column", default="load", show_default=True, help="Column of the mean power.")
@click.option("--scale", default=1.0, show_default=True, help="Factor from the file's unit to kW.")
@json_option
@pass_session
def forecast(
    session: Session,
    plot: bool,
    bundle: Path | None,
    history: Path | None,
    zone: str,
    timestamp_column: str,
    value_column: str,
    scale: float,
    as_json: bool,
) -> None:
    """Show the newest forecast of the plant's load.

    With --bundle and --history the forecast is made here and now from files.

    \b
    Example:
      edgewatt forecast --plot
      edgewatt forecast --bundle model.ewb --history load.csv --timestamps-in +10:00
    """
    if (bundle is None) != (history is None):
        raise click.UsageError("--bundle and --history belong together.")
    if bundle is not None and history is not None:
        answer = _from_files(bundle, history, zone, timestamp_column, value_column, scale)
    else:
        answer = session.read(Operation.FORECAST, lambda view: view.forecast())
    emit(answer, as_json, _draw if plot else _human)


def _from_files(
    bundle: Path, history: Path, zone: str, timestamp_column: str, value_column: str, scale: float
) -> dict[str, Any]:
    from agent.contract.bundle import MAX_BYTES
    from agent.contract.givenfiles import BUNDLE, given_file
    from agent.inference.forecaster import Model
    from agent.sources.csv_file import read_load_csv

    with given_file(bundle, MAX_BYTES, wanted=BUNDLE, todo="Take the file that the centre has bundled") as file:
        model = Model.load(file.read())
    load = read_load_csv(history, zone=zone, timestamp_column=timestamp_column, value_column=value_column, scale=scale)
    remark(f"{history}: {load.report.summary()}")
    slot_s = model.spec.slot_s
    interval_s = load.report.interval_s
    if interval_s > slot_s:
        raise ConfigError(
            f"has a row every {interval_s:g} s where {model.label} needs slots of {slot_s} s",
            where=str(history),
            todo="Give a finer history, or a model of these slots",
        )
    start_ms, power_kw = _slots(load.times_ms, load.values, slot_s, whole=interval_s == slot_s)
    made = model.forecast(start_ms, power_kw)
    return {"live": False, "zone": zone, "fallback": False, **made.to_row(made.origin_ms)}


def _slots(times_ms: Any, values: Floats, slot_s: int, *, whole: bool) -> tuple[int, Floats]:
    """Return the start and the means [T] of the slots that the rows lie in; NaN where there is no value.

    Rows of a `whole` slot each keep their times: an hour of Nepal begins at a quarter past an hour of UTC.
    """
    import numpy as np

    slot_ms = slot_s * 1000
    phases, rows = np.unique(times_ms % slot_ms, return_counts=True)
    phase_ms = int(phases[int(np.argmax(rows))]) if whole else 0
    places = (times_ms - phase_ms) // slot_ms
    index = places - places[0]
    known = np.isfinite(values)
    count = np.bincount(index[known], minlength=int(index[-1]) + 1)
    total = np.bincount(index[known], weights=values[known], minlength=int(index[-1]) + 1)
    power_kw: Floats = np.full(len(count), np.nan)
    np.divide(total, count, out=power_kw, where=count > 0)
    return int(places[0]) * slot_ms + phase_ms, power_kw


def _title(made: Forecast, answer: Payload) -> str:
    zone = str(answer["zone"])
    end_ms = made.origin_ms + len(made.power_kw) * made.slot_s * 1000
    what = "Gross load (without PV and battery)" if answer.get("gross") else "Load"
    lines = [f"{what} from {local(made.origin_ms, zone)} to {local(end_ms, zone)}, by {made.model}"]
    if answer["fallback"]:
        lines.append(f"This is a fallback: {made.note}")
    if made.repaired_share > 0:
        lines.append(f"{made.repaired_share:.1%} of the last 7 days were missing and have been filled")
    if "coverage_28d" in answer:
        held = band_held(answer["coverage_28d"], answer["coverage_slots"])
        lines.append(f"80 % band, {'calibrated on this plant' if made.calibrated else 'as the model gives it'}: {held}")
    return "\n".join(lines)


def _human(answer: Payload) -> str:
    made = Forecast.from_row(answer)
    zone = str(answer["zone"])
    every = max(1, -(-len(made.power_kw) // _LINES))
    rows = [
        [local(start_ms, zone), *(round(float(value), 1) for value in step)]
        for start_ms, step in list(zip(made.starts_ms(), made.power_kw, strict=True))[::every]
    ]
    head = ["from", "low (kW)", "expected (kW)", "high (kW)"]
    energy_kwh = float(made.level(0.5).sum()) * made.slot_s / 3600
    ahead = f"Expected energy: {energy_kwh:,.0f} kWh.\n{_peaks(made, zone)}"
    return f"{_title(made, answer)}\n\n{table(head, rows)}\n\n{ahead}"


def _peaks(made: Forecast, zone: str) -> str:
    """One line for each 24 h: the highest mean power of a slot, its band, and when it is likeliest."""
    per_day = DAY_S // made.slot_s
    path = made.level(0.5)
    lines = []
    for day, (low, middle, high) in enumerate(made.peak_kw[:, [0, made.quantiles.index(0.5), -1]]):
        begin = day * per_day
        at_ms = made.starts_ms()[begin + int(path[begin : begin + per_day].argmax())]
        lines.append(f"Peak near {local(at_ms, zone)}: {middle:,.1f} kW ({low:,.1f} to {high:,.1f} kW).")
    return "\n".join(lines)


def _draw(answer: Payload) -> str:
    from agent.cli.plot import draw_fan

    made = Forecast.from_row(answer)
    width = min(120, shutil.get_terminal_size((80, 24)).columns)
    simple = not (sys.stdout.encoding or "").lower().startswith("utf")
    drawing = draw_fan(made, parse_zone(str(answer["zone"])), width=width, ascii_only=simple)
    return f"{_title(made, answer)}\n\n{drawing}\n\n{_peaks(made, str(answer['zone']))}"
