"""`edgewatt alerts`: what needs a person, and who has seen it."""

from __future__ import annotations

import click

from agent.cli.output import Payload, emit, json_option, local, table
from agent.cli.session import Session, pass_session
from agent.control import Operation


@click.group()
def alerts() -> None:
    """List alerts, or say that you have seen one.

    \b
    Example:
      edgewatt alerts list
    """


@alerts.command("list")
@click.option("--all", "closed_too", is_flag=True, help="Also those that are over (last 30 days).")
@json_option
@pass_session
def list_alerts(session: Session, closed_too: bool, as_json: bool) -> None:
    """List open alerts.

    \b
    Example:
      edgewatt alerts list --all
    """
    answer = session.read(Operation.ALERTS_LIST, lambda view: view.alerts(closed_too=closed_too), closed_too=closed_too)
    emit(answer, as_json, _human)


@alerts.command()
@click.argument("alert_id")
@json_option
@pass_session
def ack(session: Session, alert_id: str, as_json: bool) -> None:
    """Say that somebody has seen the alert ALERT_ID and takes care. Needs the running agent.

    \b
    Example:
      edgewatt alerts ack peak-ahead-20260115-063000
    """
    answer = session.ask(Operation.ALERTS_ACK, id=alert_id)
    emit(answer, as_json, lambda done: f"{done['id']} is acknowledged.")


def _human(answer: Payload) -> str:
    rows = [
        [row["id"], row["severity"], row["state"], local(row["raised_ms"], str(answer["zone"])), row["text"]]
        for row in answer["alerts"]
    ]
    return table(["id", "severity", "state", "since", "what"], rows) if rows else "No open alerts."
