"""`edgewatt model`: which model forecasts, which one is on trial, and the way back."""

from __future__ import annotations

import click

from agent.cli.output import Payload, emit, facts, json_option
from agent.cli.session import Session, pass_session
from agent.control import Operation


@click.group()
def model() -> None:
    """Look at the models, or go back to the previous one.

    \b
    Example:
      edgewatt model status
    """


@model.command("status")
@json_option
@pass_session
def model_status(session: Session, as_json: bool) -> None:
    """Show the active, previous and candidate model.

    \b
    Example:
      edgewatt model status --json
    """
    emit(session.read(Operation.MODEL_STATUS, lambda view: view.model()), as_json, _human)


@model.command()
@click.option("--reason", default="a technician asked for it", show_default=True, help="Is reported to the centre.")
@json_option
@pass_session
def rollback(session: Session, reason: str, as_json: bool) -> None:
    """Go back to the previous model. Needs the running agent.

    \b
    Example:
      edgewatt model rollback --reason "forecasts are too low since Monday"
    """
    answer = session.ask(Operation.MODEL_ROLLBACK, reason=reason)
    emit(answer, as_json, lambda done: f"Active is now {done['active'] or 'seasonal naive'}.")


def _human(answer: Payload) -> str:
    candidate = answer["candidate"]
    trial = f" (on trial: {answer['trial_days']:.1f} of {answer['trial_days_wanted']:g} days)" if candidate else ""
    pairs: list[tuple[str, object]] = [
        ("active", answer["active"] or "none: seasonal naive forecasts"),
        ("previous", answer["previous"] or "-"),
        ("candidate", f"{candidate}{trial}" if candidate else "-"),
    ]
    if answer.get("update") == "waiting":  # only the living daemon knows
        pairs.append(("update", answer["update_note"] or "waits until the update repository can be reached"))
    if answer["last_event"]:
        pairs.append(("last change", answer["last_event"]))
    return facts(pairs)
