"""`edgewatt sync`: is the centre being reached, and does it acknowledge?"""

from __future__ import annotations

import click

from agent.cli.output import Payload, emit, facts, json_option, size, span
from agent.cli.session import Session, pass_session
from agent.control import Operation


@click.group()
def sync() -> None:
    """Look at the connection to the centre.

    \b
    Example:
      edgewatt sync status
    """


@sync.command("status")
@json_option
@pass_session
def sync_status(session: Session, as_json: bool) -> None:
    """Show broker, connection, what was sent and what was acknowledged.

    \b
    Example:
      edgewatt sync status
    """
    emit(session.read(Operation.SYNC_STATUS, lambda view: view.sync()), as_json, _human)


def _human(answer: Payload) -> str:
    if not answer["enrolled"]:
        return "Not enrolled: `edgewatt enroll FILE` introduces this device to a centre. Data stays on the device."
    pairs: list[tuple[str, object]] = [
        ("centre", answer["fleet"]),
        ("broker", answer["broker"]),
        ("waiting", f"{answer['backlog_rows']} rows, oldest {span(answer['oldest_age_ms'])}"),
    ]
    if answer["live"]:
        acknowledged = answer["last_ack_age_ms"]
        pairs += [
            ("connected", "yes" if answer["connected"] else "no"),
            ("sent", f"{answer['sent_envelopes']} envelopes, {size(answer['sent_bytes'])} since the start"),
            ("in flight", answer["in_flight"]),
            ("acknowledged", f"{span(acknowledged)} ago" if acknowledged is not None else "not since the start"),
            ("refused", f"{answer['rejected']} messages that were not the centre's"),
            ("not taken in", f"{answer['dropped']} messages too large or too many at once since the start"),
        ]
    return facts(pairs)
