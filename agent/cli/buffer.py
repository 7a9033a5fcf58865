"""`edgewatt buffer`: what is stored on this device, and what still waits for the centre."""

from __future__ import annotations

import click

from agent.cli.output import Payload, emit, facts, json_option, local, size, span, table
from agent.cli.session import Session, pass_session
from agent.control import Operation


@click.group()
def buffer() -> None:
    """Look into the store.

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


def _human(answer: Payload) -> str:
    streams = table(["stream", "rows"], list(answer["rows"].items()))
    totals = facts(
        [
            ("on disk", f"{size(answer['bytes_on_disk'])} of {size(answer['max_bytes'])}"),
            ("waiting", f"{answer['backlog_rows']} rows, {size(answer['backlog_bytes'])}"),
            ("oldest waiting", span(answer["oldest_age_ms"])),
            ("given up", f"{answer['evicted_rows']} rows"),
            ("damaged", f"{answer['quarantined']} blocks set aside"),
            ("looked over", local(answer["scrubbed_ms"], answer["zone"])),
            *[(one["name"], _salvaged(one)) for one in answer["salvage"]],
        ]
    )
    return f"{streams}\n\n{totals}"


def _salvaged(state: Payload) -> str:
    searched = 100 * state["at"] // max(1, state["bytes"])
    done = "salvaged" if state["phase"] == "done" else f"being salvaged ({state['phase']}, {searched} % searched)"
    return f"{done}: {state['blocks']} blocks, {state['rows']} rows back, {state['damaged']} blocks damaged"
