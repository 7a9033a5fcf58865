"""`edgewatt plan`: what battery and loads should do, and why."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

import click

from agent.cli.output import Payload, emit, facts, json_option, local, table
from agent.cli.session import Session, pass_session
from agent.contract.zones import parse_zone, to_local
from agent.control import Operation

_COLUMNS = ("from", "to", "price", "load kW", "PV kW", "battery kW", "stored kWh", "grid kW", "runs")
_DAY_S = 86_400
_SOURCES = {"highs": "the optimiser", "rules": "rules, not the optimiser", "policy": "what stored energy is worth"}


@click.group()
def plan() -> None:
    """Show the plan for battery and loads, and why it is so.

    A plan is advice: nothing is switched. It is made with each forecast.

    \b
    Example:
      edgewatt plan show --plot
    """


@plan.command()
@click.option("--plot", is_flag=True, help="Draw the power at the meter: planned as a line, without a plan as a tint.")
@json_option
@pass_session
def show(session: Session, plot: bool, as_json: bool) -> None:
    """Show what to do, hour by hour.

    The battery gives where its power is above 0, and takes below.

    \b
    Example:
      edgewatt plan show --plot
    """
    answer = session.read(Operation.PLAN, lambda view: view.plan())
    emit(answer, as_json, lambda payload: _show(payload, plot=plot))


@plan.command()
@json_option
@pass_session
def explain(session: Session, as_json: bool) -> None:
    """Say of each action what it saves against doing nothing.

    The savings add up. What a peak costs less is the work of all actions together.

    \b
    Example:
      edgewatt plan explain
    """
    emit(session.read(Operation.PLAN, lambda view: view.plan()), as_json, _explain)


def _show(answer: Payload, *, plot: bool) -> str:
    parts = [_head(answer)]
    if plot:
        parts.append(_drawing(answer))
    has_pv = any(answer["problem"]["pv_kw"])
    shown = [at for at, name in enumerate(_COLUMNS) if has_pv or name != "PV kW"]
    parts.append(table([_COLUMNS[at] for at in shown], [[row[at] for at in shown] for row in _rows(answer)]))
    return "\n\n".join(parts)


def _explain(answer: Payload) -> str:
    currency = answer["currency"]
    rows = [[action["text"], f"{action['saving']:.2f} {currency}"] for action in answer["actions"]]
    rows.append(["together", f"{answer['saving']:.2f} {currency}"])
    return f"{_head(answer)}\n\n{table(['action', 'saves'], rows)}"


def _head(answer: Payload) -> str:
    currency, zone, gap = answer["currency"], str(answer["zone"]), answer["gap"]
    lines: list[tuple[str, object]] = [
        ("plan", f"{local(answer['start_ms'], zone)} to {local(answer['end_ms'], zone)}, advice only"),
        ("cost", f"{answer['cost']:.2f} {currency}"),
        ("doing nothing", f"{answer['cost_of_nothing']:.2f} {currency}"),
        ("saves", f"{answer['saving']:.2f} {currency}"),
        ("made by", f"{_SOURCES[answer['source']]}{'' if gap is None else f', gap {gap:.2%}'}"),
    ]
    lines += _now(answer)
    lines += [("note", note) for note in answer["notes"]]
    return facts(lines)


def _now(answer: Payload) -> Iterator[tuple[str, object]]:
    """Yield which limit holds, and what the battery is to do now."""
    now = answer.get("now")
    if now is None:
        return
    below = now["keep_below_kw"]
    limit = "no demand is charged now" if below is None else f"keep the meter below {_amount(below)} kW"
    kept = f"; at this price keep {_amount(now['reserve_kwh'])} kWh for later" if now["reserve_kwh"] else ""
    yield "battery", limit + kept
    power = now["battery_kw"]
    does = f"{'gives' if power > 0 else 'takes'} {_amount(abs(power))} kW" if power else "rests"
    at = to_local(now["time_ms"], parse_zone(str(answer["zone"])))
    basis = f"{_amount(now['load_kw'])} kW of load, {_amount(now['stored_kwh'])} kWh stored"
    yield "now", f"battery {does}, at {at:%H:%M} with {basis}"
    for text in now["assumed"]:
        yield "assumed", text


def _amount(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _rows(answer: Payload) -> Iterator[list[object]]:
    """Yield a row an hour, or a step where that is longer."""
    problem, made = answer["problem"], answer["plan"]
    zone = parse_zone(str(answer["zone"]))
    step_s, steps = problem["step_s"], len(problem["load_kw"])
    first = answer["start_ms"]
    size = max(3600 // step_s, 1)
    form = "%H:%M" if steps * step_s <= _DAY_S else "%a %H:%M"
    begin = 0
    while begin < steps:
        # Rows end with the hour, wherever the plan begins.
        end = min(begin + size - (first // 1000 // step_s + begin) % size, steps)
        gives = [a - b for a, b in zip(made["discharge_kw"][begin:end], made["charge_kw"][begin:end], strict=True)]
        runs = [
            load["name"].split(" ")[0]
            for load, power in zip(problem["loads"], made["loads_kw"], strict=True)
            if any(power[begin:end])
        ]
        yield [
            f"{to_local(first + begin * step_s * 1000, zone):{form}}",
            f"{to_local(first + end * step_s * 1000, zone):%H:%M}",
            f"{_mean(problem['import_per_kwh'][begin:end]):.3f}",
            round(_mean(problem["load_kw"][begin:end]), 1),
            round(_mean(problem["pv_kw"][begin:end]) - _mean(made["curtail_kw"][begin:end]), 1),
            round(_mean(gives), 1) + 0.0,
            round(made["stored_kwh"][end - 1], 1),
            round(_mean(made["grid_kw"][begin:end]), 1),
            ", ".join(runs) or "-",
        ]
        begin = end


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _drawing(answer: Payload) -> str:
    """The meter with the plan as a line; the tint reaches from it to what it would be without one."""
    import numpy as np

    from agent.cli.plot import AXIS, draw_band, time_axis
    from agent.planning.schedule.pricing import grid_kw
    from agent.planning.schedule.rules import do_nothing
    from agent.planning.schedule.wire import problem_from_json

    problem = problem_from_json(dict(answer["problem"]))
    planned = np.array(answer["plan"]["grid_kw"])
    without = grid_kw(problem, do_nothing(problem))
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    low, high = np.minimum(planned, without), np.maximum(planned, without)
    lines = draw_band(low, planned, high, unit="kW", width=width, ascii_only=ascii_only)
    length_ms = problem.time_ms(problem.steps) - problem.start_ms
    axis = time_axis(problem.start_ms, length_ms, parse_zone(str(answer["zone"])), width - AXIS)
    return "\n".join([*lines, axis])
