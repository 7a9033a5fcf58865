"""`edgewatt cost`: what the plant's energy costs: the agent's newest figures, and today and the month line by line."""

from __future__ import annotations

import datetime as dt
from typing import Any

import click

from agent.cli.costbill import bill, compare, invoice_answer, invoices_text
from agent.cli.costdata import Plant, month_option, open_plant
from agent.cli.costreconcile import reconcile
from agent.cli.costwords import amount, days, emitted, gaps, lines_table, remarks
from agent.cli.output import Payload, emit, facts, json_option, local, table
from agent.cli.session import Session, pass_session
from agent.control import Operation

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

    Where demand is charged by the month, a day costs what it adds to the month's bill.

    \b
    Example:
      edgewatt cost today
    """
    with open_plant(session) as plant:
        rows = _rows(plant)
        emit({**plant.head, "until_ms": plant.now_ms, "today": rows.get("today")}, as_json, _today)


@cost.command()
@month_option
@json_option
@pass_session
def month(session: Session, month: dt.datetime | None, as_json: bool) -> None:
    """Show the bill of this month so far, line by line, and what it comes to at its end.

    The rest of the month is the forecast, and beyond it what days of the same weekday were like lately. Of an earlier
    --month the whole bill is shown.

    \b
    Example:
      edgewatt cost month
    """
    with open_plant(session) as plant:
        current = plant.tariff.month_at(plant.now_ms - 1)
        rows = _rows(plant) if month is None or f"{month:%Y-%m}" == current.label else {}
        if "month" not in rows:  # another month, or one that has just ended
            chosen = month or dt.datetime.combine(current.first, dt.time())
            emit(invoice_answer(plant, chosen, None, None), as_json, invoices_text)
            return
        answer = {**plant.head, "until_ms": plant.now_ms, "month": rows["month"], "month_end": rows.get("month_end")}
        emit(answer, as_json, _month)


cost.add_command(bill)
cost.add_command(compare)
cost.add_command(reconcile)


def _rows(plant: Plant) -> dict[str, dict[str, Any]]:
    """Return the costs as the agent computes them, by scope, from all slots that count."""
    from agent.planning.billing.bill import since_ms as looks_back_ms
    from agent.planning.costs import LATELY_MS, CostWatch

    tariff, now_ms = plant.tariff, plant.now_ms
    since_ms = min(looks_back_ms(tariff, (tariff.month_start_ms(now_ms - 1), now_ms)), now_ms - LATELY_MS)
    slots = plant.slots(since_ms, now_ms)
    return {row["scope"]: row for row in CostWatch(tariff, factors=plant.factors).rows(now_ms, slots, plant.forecast())}


def _today(answer: Payload) -> str:
    row, zone = answer["today"], str(answer["zone"])
    if row is None:
        return f"Nothing is known of today ({local(answer['until_ms'], zone)}) yet."
    currency = row["currency"]
    ahead = f", then forecast by {row['model']}" if "model" in row else ""
    title = f"{days(row['start_ms'], row['end_ms'], zone)}, measured to {local(answer['until_ms'], zone)}{ahead}"
    whole = ("whole day" if ahead else "total", amount(row, currency))
    sums = facts([("so far", f"{row['so_far']} {currency}"), whole, *emitted(row)])
    return "\n\n".join(
        [title, lines_table(row["lines"], currency), sums, *remarks([*gaps(row), *row.get("notes", [])])]
    )


def _month(answer: Payload) -> str:
    row, end, zone = answer["month"], answer["month_end"], str(answer["zone"])
    currency = row["currency"]
    title = f"{days(row['start_ms'], row['end_ms'], zone)} by {answer['tariff']}"
    sums: list[tuple[str, object]] = [("so far", amount(row, currency)), *emitted(row)]
    if end is not None:
        sums += [("month at its end", amount(end, currency)), *emitted(end, "its emissions")]
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
