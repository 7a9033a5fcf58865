"""`edgewatt plan`: what battery and loads should do, and why."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

import click

from agent.cli.output import Payload, emit, facts, json_option, local, table
from agent.cli.session import Session, pass_session
from agent.contract.amounts import amount
from agent.contract.planners import planner_told
from agent.contract.zones import parse_zone, to_local
from agent.control import Operation

_DAY_S = 86_400
_DUST_KWH = 0.01
_DUST_GAP = 5e-5
_UNCHARGED = ", though no demand is charged now"


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
    rows = list(_rows(answer))
    parts.append(table(list(rows[0]), [list(row.values()) for row in rows]))
    return "\n\n".join(parts)


def _explain(answer: Payload) -> str:
    currency, actions = answer["currency"], answer["actions"]
    if not actions:
        why = ": nothing else would save money" if answer["source"] == "highs" else ""  # the others do not try all
        return f"{_head(answer)}\n\nThe plan is to do nothing{why}."
    rows = [[_money(action["saving"]), action["text"]] for action in actions]
    rows.append([_money(answer["saving"]), "together"])
    prices = f" (at prices in {currency}/kWh)" if any(" at " in action["text"] for action in actions) else ""
    return f"{_head(answer)}\n\n{table([f'saves {currency}', f'action{prices}'], rows, to_right=(0,))}"


def _head(answer: Payload) -> str:
    currency, zone = answer["currency"], str(answer["zone"])
    lines: list[tuple[str, object]] = [
        ("plan", f"{local(answer['start_ms'], zone)} to {local(answer['end_ms'], zone)}, advice only"),
        ("cost", _money(answer["cost"], currency) + _demand(answer)),
        ("doing nothing", _money(answer["cost_of_nothing"], currency)),
        *_left(answer),
        ("saves", _saves(answer["saving"], currency)),
        ("made by", planner_told(answer["source"]) + _near(answer["gap"])),
    ]
    if answer.get("is_over", False):
        lines.append(("over", "this plan has ended, and none was made since: `edgewatt status` may tell why"))
    lines += _now(answer)
    lines += [("note", note) for note in answer["notes"]]
    return facts(lines)


def _now(answer: Payload) -> Iterator[tuple[str, object]]:
    """Yield which limit holds, and what the battery is to do now."""
    now, problem = answer.get("now"), answer["problem"]
    if now is None:
        return
    yield "limit", _limit(now, problem)
    battery = problem["battery"]
    least_kwh = min(battery["min_soc"], battery["initial_soc"]) * battery["capacity_kwh"]
    if now["reserve_kwh"] > max(now["stored_kwh"], least_kwh + _DUST_KWH):
        limited = " except to keep the limit" if now["keep_below_kw"] is not None else ""
        yield "reserve", f"at this price nothing is given{limited}"
    elif now["reserve_kwh"] > least_kwh + _DUST_KWH:
        yield "reserve", f"at this price keep {_amount(now['reserve_kwh'])} kWh stored for later"
    power, load_kw = now["battery_kw"], now["load_kw"]
    does = f"{'gives' if power > 0 else 'takes'} {_amount(abs(power))} kW" if power else "rests"
    at = to_local(now["time_ms"], parse_zone(str(answer["zone"])))
    load = f"{_amount(load_kw)} kW of load" if load_kw >= 0 else f"{_amount(-load_kw)} kW of PV left over"
    yield "now", f"battery {does}, at {at:%H:%M} with {load}, {_amount(now['stored_kwh'])} kWh stored"
    for text in now["assumed"]:
        yield "assumed", text


def _limit(now: Payload, problem: Payload) -> str:
    """Below what the meter is to be kept, and why: a charge on demand, the site's limit."""
    below_kw = now["keep_below_kw"]
    step = (now["time_ms"] - problem["start_ms"]) // (problem["step_s"] * 1000)
    charged = [charge for charge in problem["demand"] if charge["counts"][step] and charge["per_kw"]]
    if below_kw is None:
        return "none: no demand is charged now"
    site_kw = problem["site_limit_kw"][step]
    free = {charge["name"]: max(charge["free_kw"], charge["peak_so_far_kw"], 0.0) for charge in charged}
    if not free or (site_kw is not None and below_kw >= round(site_kw, 3)):
        return f"keep the meter below the site's limit of {_amount(below_kw)} kW{_UNCHARGED * (not free)}"
    name = min(free, key=free.__getitem__)
    if not below_kw:
        return f"every kW at the meter adds to the charge {name!r} now"
    until = " until the interval ends" if below_kw < round(free[name], 3) else ""  # it has drawn more so far
    return f"keep the meter below {_amount(below_kw)} kW{until}: anything above adds to the charge {name!r}"


def _left(answer: Payload) -> Iterator[tuple[str, object]]:
    """Yield what more or less is stored at the end than with doing nothing; earlier versions kept nothing of it."""
    if kwh := answer.get("left_kwh", 0.0):
        worth = _money(abs(answer["left_over"]), answer["currency"])
        yield (
            "left stored",
            f"{_amount(abs(kwh))} kWh {'more' if kwh > 0 else 'less'} than doing nothing, worth {worth}",
        )


def _saves(saving: float, currency: str) -> str:
    if saving < 0:
        return f"nothing: it costs {_money(-saving, currency)} more than doing nothing"
    return _money(saving, currency)


def _near(gap: float | None) -> str:
    """How much dearer than the cheapest plan it may be, where that is proven."""
    if gap is None:
        return ""
    return f"; no plan costs over {gap:.2%} less" if gap >= _DUST_GAP else "; no plan costs less"


def _demand(answer: Payload) -> str:
    """Which part of the cost is for a peak: it is paid for the month, not for the hours of the plan."""
    cost = answer.get("demand_cost", 0.0)
    return f", of which {cost:.2f} for a peak above what is paid for so far" if cost > 0 else ""


def _money(value: float, currency: str = "") -> str:
    return f"{round(value, 2) + 0.0:.2f} {currency}".rstrip()


def _amount(value: float) -> str:
    return amount(round(value, 3) + 0.0)


def _rows(answer: Payload) -> Iterator[dict[str, object]]:
    """Yield a row an hour, or a step where that is longer; without what this plant does not have."""
    problem, made = answer["problem"], answer["plan"]
    zone = parse_zone(str(answer["zone"]))
    step_s, steps = problem["step_s"], len(problem["load_kw"])
    first = answer["start_ms"]
    size = max(3600 // step_s, 1)
    has_pv, has_battery, has_loads = any(problem["pv_kw"]), problem["battery"] is not None, bool(problem["loads"])
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
        pv_kw = _mean(problem["pv_kw"][begin:end]) - _mean(made["curtail_kw"][begin:end])
        row: dict[str, object] = {
            "from": f"{to_local(first + begin * step_s * 1000, zone):{form}}",
            "to": f"{to_local(first + end * step_s * 1000, zone):%H:%M}",
            f"{answer['currency']}/kWh": f"{_mean(problem['import_per_kwh'][begin:end]):.3f}",
            "load kW": round(_mean(problem["load_kw"][begin:end]), 1),
        }
        row |= {"PV kW": round(pv_kw, 1)} if has_pv else {}
        if has_battery:
            row |= {"battery kW": round(_mean(gives), 1) + 0.0, "stored kWh": round(made["stored_kwh"][end - 1], 1)}
        row["grid kW"] = round(_mean(made["grid_kw"][begin:end]), 1) + 0.0
        yield row | ({"runs": ", ".join(runs) or "-"} if has_loads else {})
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
