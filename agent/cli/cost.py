"""`edgewatt cost`: what the plant's energy costs: the agent's newest figures, and today and the month line by line."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from agent.cli.costbill import bill, compare, invoice_answer, invoices_text
from agent.cli.costdata import Plant, month_option, open_plant
from agent.cli.costreconcile import reconcile
from agent.cli.costwords import amount, days, emitted, gaps, lines_table, remarks
from agent.cli.output import Payload, emit, facts, json_option, local, table
from agent.cli.session import Session, pass_session
from agent.control import Operation

if TYPE_CHECKING:
    from agent.contract.rows import Forecast

_SCOPES = {
    "today": "today, whole day",
    "month": "month so far",
    "month_end": "month at its end",
    "next_24h": "next 24 h",
}


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def cost(context: click.Context, as_json: bool) -> None:
    """Show the energy cost of today, of the month so far, of its end, and of the next 24 hours.

    What rests on a forecast, or on slots that are missing, comes with its range.

    \b
    Example:
      edgewatt cost
    """
    if context.invoked_subcommand is None:
        session = context.find_object(Session)
        assert session is not None  # noqa: S101 - the root group has made it
        emit(session.read(Operation.COST, lambda view: view.cost()), as_json, _human)
    elif as_json:
        raise click.UsageError(f"Write --json behind {context.invoked_subcommand}.")


@cost.command()
@json_option
@pass_session
def today(session: Session, as_json: bool) -> None:
    """Show what today costs, line by line: measured so far, then the newest forecast.

    Where demand is charged by the month, a day costs what it adds to the month's bill. The forecast knows nothing of
    loads that a plan moves: beside it stands what the day costs where the plan is followed.

    \b
    Example:
      edgewatt cost today
    """
    with open_plant(session) as plant:
        forecast = plant.forecast()
        rows, planned = _rows(plant, forecast), _planned(plant, forecast)
        found = {"today": rows.get("today"), "today_planned": planned.get("today")}
        emit({**plant.head, "until_ms": plant.now_ms, **found}, as_json, _today)


@cost.command()
@month_option
@json_option
@pass_session
def month(session: Session, month: dt.datetime | None, as_json: bool) -> None:
    """Show the bill of this month so far, line by line, and what it comes to at its end.

    The rest of the month is the forecast, and beyond it what days of the same weekday were like lately; beside it
    stands what it comes to where the plan for battery and loads is followed. Of an earlier --month the whole bill is
    shown.

    \b
    Example:
      edgewatt cost month
    """
    with open_plant(session) as plant:
        current = plant.tariff.month_at(plant.now_ms - 1)
        forecast = plant.forecast()
        rows = _rows(plant, forecast) if month is None or f"{month:%Y-%m}" == current.label else {}
        if "month" not in rows:  # another month, or one that has just ended
            chosen = month or dt.datetime.combine(current.first, dt.time())
            emit(invoice_answer(plant, chosen, None, None), as_json, invoices_text)
            return
        found = {
            "month": rows["month"],
            "month_end": rows.get("month_end"),
            "month_end_planned": _planned(plant, forecast).get("month_end"),
        }
        emit({**plant.head, "until_ms": plant.now_ms, **found}, as_json, _month)


cost.add_command(bill)
cost.add_command(compare)
cost.add_command(reconcile)


def _rows(plant: Plant, forecast: Forecast | None) -> dict[str, dict[str, Any]]:
    """Return the costs by scope, by the same slots and earlier months as the agent computes them."""
    from agent.planning.costs import CostWatch

    rows = CostWatch(plant.tariff, plant.forward, plant.factors).rows(plant.now_ms, plant.lately, forecast)
    return {row["scope"]: row for row in rows}


def _planned(plant: Plant, forecast: Forecast | None) -> dict[str, dict[str, Any]]:
    """Return the same where the plan is followed; nothing where there is none for this forecast."""
    planned = plant.planned(forecast)
    return {} if planned is None else _rows(plant, planned)


def _beside(planned: Mapping[str, Any] | None, row: Mapping[str, Any]) -> list[tuple[str, object]]:
    """What a plan makes of a sum, where there is one."""
    if planned is None:
        return []
    saved = Decimal(row["amount"]) - Decimal(planned["amount"])
    word = "more" if saved < 0 else "less"
    return [("with the plan", f"{amount(planned, row['currency'])}: {abs(saved)} {word}")]


def _today(answer: Payload) -> str:
    row, zone = answer["today"], str(answer["zone"])
    if row is None:
        return f"Nothing is known of today ({local(answer['until_ms'], zone)}) yet."
    currency = row["currency"]
    ahead = f", then forecast by {row['model']}" if "model" in row else ""
    title = f"{days(row['start_ms'], row['end_ms'], zone)}, measured to {local(answer['until_ms'], zone)}{ahead}"
    whole = ("whole day" if ahead else "total", amount(row, currency))
    sums = facts(
        [("so far", f"{row['so_far']} {currency}"), whole, *_beside(answer["today_planned"], row), *emitted(row)]
    )
    return "\n\n".join(
        [title, lines_table(row["lines"], currency), sums, *remarks([*gaps(row), *row.get("notes", [])])]
    )


def _month(answer: Payload) -> str:
    row, end, zone = answer["month"], answer["month_end"], str(answer["zone"])
    currency = row["currency"]
    title = f"{days(row['start_ms'], row['end_ms'], zone)} by {answer['tariff']}"
    sums: list[tuple[str, object]] = [("so far", amount(row, currency)), *emitted(row)]
    if end is not None:
        sums += [("month at its end", amount(end, currency)), *_beside(answer["month_end_planned"], end)]
        sums += emitted(end, "its emissions")
    notes = [*gaps(row), *row.get("notes", [])]
    if end is not None and end["forecast_slots"]:
        profiled, ahead = end["profiled_slots"], end["forecast_slots"]
        notes.append(
            f"its end: {ahead - profiled} slots by the forecast, {profiled} like earlier days of the same weekday"
        )
    return "\n\n".join([title, lines_table(row["lines"], currency), facts(sums), *remarks(notes)])


def _human(answer: Payload) -> str:
    rows = answer["costs"]
    if not rows:
        return "No costs yet: a tariff ([tariff] file) and a closed slot are needed."
    lines: list[list[str]] = []
    for row in rows:
        if "so_far" in row:
            lines.append(["today so far", f"{row['so_far']} {row['currency']}", "-"])
        span = "-" if row["low"] == row["high"] else f"{row['low']} to {row['high']}"
        lines.append([_SCOPES.get(row["scope"], row["scope"]), f"{row['amount']} {row['currency']}", span])
    computed = local(max(row["time_ms"] for row in rows), str(answer["zone"]))
    return f"{table(['period', 'cost', 'range'], lines)}\n\nComputed {computed}."
