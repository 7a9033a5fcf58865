"""`edgewatt-trainer buffer import`: takes in what a device without a network has written to a medium."""

from __future__ import annotations

from pathlib import Path

import click

from agent.contract.errors import RejectedError
from converter.cli_support import emit, json_option, remark
from trainer.cli.home import Home, now_ms, pass_home

_MAX_BYTES = 2**42  # of any medium: it is read piece by piece
_TODO = "Take the file that `edgewatt buffer export` has written"


@click.group()
def buffer() -> None:
    """Take in what devices without a network have exported.

    \b
    Example:
      edgewatt-trainer buffer import press-1.ewx --out press-1.ewy
    """


@buffer.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The answer to carry back.")
@json_option
@pass_home
def import_export(home: Home, file: Path, out: Path, *, as_json: bool) -> None:
    """Store what FILE holds, as if it had come over the network, and write the answer for the device.

    Taken in twice it changes nothing. Of a file that is cut, what stands before the cut is stored and answered.

    \b
    Example:
      edgewatt-trainer buffer import press-1.ewx --out press-1.ewy
    """
    from agent.contract.durable import write_durable
    from agent.contract.export import ANSWERS_MAGIC, answers_to_bytes
    from agent.contract.givenfiles import EXPORT, check_replaceable, given_file
    from trainer.fleet.carried import take_in
    from trainer.fleet.ingest import Ingest
    from trainer.fleet.keys import OnlineKeys
    from trainer.fleet.pieces import Pieces
    from trainer.fleet.registry import Registry

    check_replaceable(out, ANSWERS_MAGIC)
    keys, engine = OnlineKeys.open(home.online_keys), home.database()
    ingest = Ingest(engine, keys, Pieces(home.repository), now_ms)
    with given_file(file, _MAX_BYTES, wanted=EXPORT, todo=_TODO) as source:
        taken = take_in(source, ingest, Registry(engine, now_ms), keys, progress=remark)
    if taken.answers:
        write_durable(out, answers_to_bytes(taken.answers))
    answer = {
        "device": taken.device,
        "envelopes": taken.envelopes,
        "refused": taken.refused,
        "answers": len(taken.answers),
        "complete": not taken.problem,
    }
    lines = [f"{taken.device}: {taken.envelopes} envelopes taken in, {taken.refused} refused"]
    if taken.answers:
        lines.append(f"{out}: carry it back and run `edgewatt buffer import` there")
    emit(answer, as_json, lines)
    if taken.problem:
        raise RejectedError(taken.problem, where=str(file), todo="What was good is stored; export the rest again")


commands = (buffer,)
