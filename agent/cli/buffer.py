"""`edgewatt buffer`: what is stored on this device, and what still waits for the centre."""

from __future__ import annotations

import click

from agent.cli.carry import export, import_answers
from agent.cli.output import Payload, emit, facts, json_option, local, remark, size, table, way_out
from agent.cli.session import Session, pass_session
from agent.control import Operation

_REMARK_EVERY = 20_000


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


@buffer.command("verify")
@json_option
@pass_session
def buffer_verify(session: Session, as_json: bool) -> None:
    """Look at every stored block; the agent may be running, and does so by itself, slowly.

    Ends with 65 where something is damaged.

    \b
    Example:
      edgewatt buffer verify
    """
    import dataclasses

    from agent.contract.errors import RejectedError
    from agent.daemon.offline import open_offline_store
    from agent.daemon.paths import StatePaths

    told = _REMARK_EVERY

    def progress(blocks: int) -> None:
        nonlocal told
        if blocks >= told:
            told += _REMARK_EVERY
            remark(f"{blocks} blocks looked at")

    with open_offline_store(session.config) as (reader, _):
        found = reader.verify(progress)
    emit(dataclasses.asdict(found), as_json, _verified)
    if found.damaged or found.contradiction:
        raise RejectedError(
            found.contradiction or f"{len(found.damaged)} blocks are damaged",
            where=str(StatePaths(session.config.device.state_dir).store),
            todo="A running agent sees to it when it comes to that block; `edgewatt buffer repair` does at once",
        )


@buffer.command("repair")
@json_option
@pass_session
def buffer_repair(session: Session, as_json: bool) -> None:
    """Set the store aside, begin a new one, and bring back what can be read; the agent must be running.

    Sampling goes on meanwhile. What cannot be read is declared to the centre. `buffer status` shows how far it is.

    \b
    Example:
      edgewatt buffer repair
    """
    emit(session.ask(Operation.BUFFER_REPAIR), as_json, _repaired)


buffer.add_command(export)
buffer.add_command(import_answers)


def _verified(answer: Payload) -> str:
    if answer["contradiction"]:
        return f"the file {answer['contradiction']}"
    return "\n".join([f"{answer['blocks']} blocks, {len(answer['damaged'])} damaged", *answer["damaged"][:20]])


def _repaired(answer: Payload) -> str:
    if not answer["began"]:
        return f"not begun yet: {answer['storage_error']}; the agent goes on trying"
    return f"{', '.join(answer['set_aside'])}: what can be read there comes back; see `edgewatt buffer status`"


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
