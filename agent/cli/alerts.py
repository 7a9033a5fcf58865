"""`edgewatt alerts`: what needs a person, who has seen it, and what is not to be heard of for a while."""

from __future__ import annotations

import re

import click

from agent.cli.output import Payload, emit, json_option, local, table
from agent.cli.session import Session, pass_session
from agent.control import Operation

_UNITS_S = {"min": 60, "h": 3600, "d": 86_400}
_MOST_S = 30 * 86_400


def _seconds(context: click.Context, option: click.Parameter, value: str) -> int:
    """Read a length of time such as `30min`, `8h` or `2d`."""
    found = re.fullmatch(r"([1-9]\d{0,4})(min|h|d)", value)
    seconds = int(found[1]) * _UNITS_S[found[2]] if found else 0
    if not 0 < seconds <= _MOST_S:
        raise click.BadParameter(f"{value!r} is not a time such as 30min, 8h or 2d, of at most 30d.", context, option)
    return seconds


@click.group()
def alerts() -> None:
    """List alerts, say that you have seen one, or shelve one for a while.

    \b
    Example:
      edgewatt alerts list
    """


@alerts.command("list")
@click.option("--all", "closed_too", is_flag=True, help="Also those that are over (last 30 days).")
@json_option
@pass_session
def list_alerts(session: Session, closed_too: bool, as_json: bool) -> None:
    """List open alerts; those on the shelf stand below.

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


@alerts.command()
@click.argument("alert_id")
@click.option("--for", "for_s", callback=_seconds, required=True, help="How long: 30min, 8h, 2d; at most 30d.")
@json_option
@pass_session
def shelve(session: Session, alert_id: str, for_s: int, as_json: bool) -> None:
    """Hear nothing of the alert ALERT_ID, nor of others of its rule, for a while. It comes back by itself.

    Needs the running agent.

    \b
    Example:
      edgewatt alerts shelve data-missing:press-20260115-063000 --for 8h
    """
    answer = session.ask(Operation.ALERTS_SHELVE, id=alert_id, for_s=for_s)
    emit(answer, as_json, lambda done: f"{done['id']} is shelved until {local(done['until_ms'], str(done['zone']))}.")


@alerts.command()
@click.argument("name")
@json_option
@pass_session
def unshelve(session: Session, name: str, as_json: bool) -> None:
    """Hear again of what was shelved: NAME is the alert's id, or its rule. Needs the running agent.

    \b
    Example:
      edgewatt alerts unshelve data-missing:press
    """
    answer = session.ask(Operation.ALERTS_UNSHELVE, id=name)
    emit(answer, as_json, lambda done: f"{done['id']} is no longer shelved.")


def _human(answer: Payload) -> str:
    zone = str(answer["zone"])
    rows = [
        [row["id"], row["severity"], row["state"], local(row["raised_ms"], zone), row["text"]]
        for row in answer["alerts"]
        if row["state"] != "shelved"
    ]
    shelved = [
        [row["id"], row["severity"], local(row["until_ms"], zone), row["text"]]
        for row in answer["alerts"]
        if row["state"] == "shelved"
    ]
    told = table(["id", "severity", "state", "since", "what"], rows) if rows else "No open alerts."
    if shelved:
        told += "\n\nOn the shelf:\n" + table(["id", "severity", "until", "what"], shelved)
    return told
