"""`edgewatt cost`: what the plant's energy costs today, this month, and in the next 24 hours."""

from __future__ import annotations

import click

from agent.cli.output import Payload, emit, json_option, local, table
from agent.cli.session import Session, pass_session
from agent.control import Operation

_SCOPES = {
    "today": "today, whole day",
    "month": "month so far",
    "month_end": "month at its end",
    "next_24h": "next 24 h",
}


@click.command()
@json_option
@pass_session
def cost(session: Session, as_json: bool) -> None:
    """Show the energy cost of today, of the month so far, and of the next 24 hours.

    What rests on a forecast, or on slots that are missing, comes with its range.

    \b
    Example:
      edgewatt cost
    """
    emit(session.read(Operation.COST, lambda view: view.cost()), as_json, _human)


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
