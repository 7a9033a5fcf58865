"""`edgewatt buffer`: what is stored on this device, and what still waits for the centre."""

from __future__ import annotations

import click

from agent.cli.carry import export, import_answers
from agent.cli.output import Payload, emit, facts, json_option, local, size, table, way_out
from agent.cli.session import Session, pass_session
from agent.control import Operation


@click.group()
def buffer() -> None:
    """Look into the store, carry what waits to the centre.

    \b
    Example:
      edgewatt buffer status
    """


@buffer.command("status")
@json_option
@pass_session
def buffer_status(session: Session, as_json: bool) -> None:
    """Show how much is stored and how much waits for the centre.

    \b
    Example:
      edgewatt buffer status --json
    """
    emit(session.read(Operation.BUFFER_STATUS, lambda view: view.buffer()), as_json, _human)


buffer.add_command(export)
buffer.add_command(import_answers)


def _human(answer: Payload) -> str:
    streams = table(["stream", "rows"], list(answer["rows"].items()))
    totals = facts(
        [
            ("on disk", f"{size(answer['bytes_on_disk'])} of {size(answer['max_bytes'])}"),
            ("written today", size(answer["written_today_bytes"])),
            ("the day before", size(answer["written_yesterday_bytes"])),
            *way_out(answer),
            ("looked over", local(answer["scrubbed_ms"], answer["zone"])),
            *[(one["name"], _salvaged(one)) for one in answer["salvage"]],
        ]
    )
    return f"{streams}\n\n{totals}"


def _salvaged(state: Payload) -> str:
    searched = 100 * state["at"] // max(1, state["bytes"])
    done = "salvaged" if state["phase"] == "done" else f"being salvaged ({state['phase']}, {searched} % searched)"
    return f"{done}: {state['blocks']} blocks, {state['rows']} rows back, {state['damaged']} blocks damaged"
