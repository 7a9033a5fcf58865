"""`edgewatt buffer export|import`: the way to the centre and back on a medium, for plants without a network."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.cli.output import Payload, emit, json_option, remark, size
from agent.cli.session import Session, pass_session
from agent.contract.errors import ConfigError, RejectedError
from agent.control import Operation

if TYPE_CHECKING:
    from agent.store.identity import Enrolled

_FILE = click.Path(path_type=Path)
_TODO = "Take the file that edgewatt-trainer buffer import has written"
_REMARK_EVERY = 64 * 2**20


@click.command("export")
@click.argument("file", type=_FILE)
@json_option
@pass_session
def export(session: Session, file: Path, as_json: bool) -> None:
    """Write all that waits for the centre to FILE, sealed and signed; the agent may be running.

    Carry FILE to the centre (`edgewatt-trainer buffer import`) and its answer back (`edgewatt buffer import`). Until
    the answer is taken in, everything stays here.

    \b
    Example:
      edgewatt buffer export /media/stick/press-shop-1.ewx
    """
    from agent.contract.durable import new_file
    from agent.contract.export import EXPORT_MAGIC
    from agent.contract.givenfiles import check_replaceable
    from agent.daemon.offline import open_offline_store
    from agent.sync.acks import last_seen
    from agent.sync.export import write_export

    check_replaceable(file, EXPORT_MAGIC)
    told = _REMARK_EVERY
    left_out: list[str] = []

    def progress(written: int) -> None:
        nonlocal told
        if written >= told:
            told += _REMARK_EVERY
            remark(f"{size(written)} written")

    with open_offline_store(session.config) as (reader, identity):
        enrolled, key = _enrolled(identity.enrolment), identity.signing_key
        if key is None:
            raise ConfigError("has no key yet", where=enrolled.device, todo="Enrol the device anew")
        with new_file(file) as target:
            written = write_export(
                reader.waiting(),
                target,
                device=enrolled.device,
                signing_key=key,
                trust=enrolled.trust,
                now_ms=time.time_ns() // 1_000_000,
                seen=last_seen(identity),
                progress=progress,
                left_out=left_out.append,
            )
    answer = {
        "device": enrolled.device,
        "file": str(file),
        "envelopes": written.envelopes,
        "bytes": written.size,
        "damaged_blocks": len(reader.damaged) + len(left_out),
    }
    emit(answer, as_json, _exported)


@click.command("import")
@click.argument("file", type=_FILE)
@json_option
@pass_session
def import_answers(session: Session, file: Path, as_json: bool) -> None:
    """Take in FILE, the centre's answer to an export; the agent must be running.

    What the centre acknowledges there is safe and may leave this device when space is needed.

    \b
    Example:
      edgewatt buffer import /media/stick/press-shop-1.ewy
    """
    from agent.contract.export import MAX_ANSWERS_BYTES, read_answers
    from agent.contract.givenfiles import ANSWERS, given_file

    verdicts = {"accepted": 0, "replayed": 0, "rejected": 0}
    blocks, reason = 0, ""
    with given_file(file, MAX_ANSWERS_BYTES, wanted=ANSWERS, todo=_TODO) as source:
        for data in read_answers(source):
            answer = session.ask(Operation.BUFFER_IMPORT, acknowledgement=base64.b64encode(data).decode("ascii"))
            verdicts[answer["verdict"]] += 1
            blocks += answer["blocks"]
            reason = answer["reason"] or reason
    emit({**verdicts, "blocks": blocks, "reason": reason}, as_json, _imported)
    if verdicts["rejected"]:
        raise RejectedError(reason, where=str(file), todo="Take the answer that the centre wrote for this device")


def _enrolled(enrolled: Enrolled | None) -> Enrolled:
    if enrolled is None:
        raise ConfigError("the device knows no centre to seal for", todo="Run edgewatt enroll FILE")
    return enrolled


def _exported(answer: Payload) -> str:
    lines = [f"{answer['file']}: {size(answer['bytes'])} in {answer['envelopes']} envelopes"]
    if answer["damaged_blocks"]:
        lines.append(f"{answer['damaged_blocks']} blocks are damaged and were left out")
    return "\n".join([*lines, f"Carry it to the centre: edgewatt-trainer buffer import {Path(answer['file']).name}"])


def _imported(answer: Payload) -> str:
    if answer["accepted"]:
        return f"{answer['blocks']} blocks are safe at the centre now"
    return f"nothing new: {answer['reason']}" if answer["reason"] else "the file holds no acknowledgement"
