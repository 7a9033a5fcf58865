"""`edgewatt enroll`: introduces this device to its centre, once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.cli.output import Payload, emit, json_option
from agent.cli.session import Session, pass_session
from agent.contract.errors import ConfigError

if TYPE_CHECKING:
    from agent.contract.enrolment import Enrolment
    from agent.store.identity import Identity

_FILE = click.Path(path_type=Path)
_TODO_FILE = "Ask the centre for a new one: edgewatt-trainer device add NAME --out FILE"
_TODO_ANSWER = "Take the answer that edgewatt-trainer device accept has written"


@click.command()
@click.argument("file", type=_FILE)
@click.option("--request-out", type=_FILE, help="Write the request here, to be carried to the centre.")
@click.option("--response", type=_FILE, help="Take the centre's answer from this file.")
@click.option("--timeout", "timeout_s", default=60.0, show_default=True, help="Seconds to wait for the centre.")
@json_option
@pass_session
def enroll(
    session: Session, file: Path, request_out: Path | None, response: Path | None, timeout_s: float, as_json: bool
) -> None:
    """Introduce this device to the centre with FILE, which the centre's `device add` wrote.

    Makes the device's keys and asks the centre over MQTT. A plant without a network carries two files instead:
    --request-out now, and --response when the answer has come. The agent must not be running.

    \b
    Example:
      edgewatt --config agent.toml enroll press-shop-1.enrolment
    """
    if request_out is not None and response is not None:
        raise click.UsageError("--request-out and --response are two steps; give one of them.")
    enrolment = _read_enrolment(file, session.config.device.id)
    with _identity(session) as identity:
        done = _exchange(enrolment, identity, request_out, response, timeout_s)
    answer = {"device": enrolment.device, "enrolled": done, "fleet": enrolment.trust.fleet}
    emit(answer, as_json, lambda result: _human(result, request_out))


def _exchange(
    enrolment: Enrolment, identity: Identity, request_out: Path | None, response: Path | None, timeout_s: float
) -> bool:
    """Go one step; return whether the device is enrolled now."""
    from agent.contract.durable import write_durable
    from agent.contract.givenfiles import ANSWER, check_replaceable, given_file
    from agent.contract.signed import MAX_BYTES as MAX_ANSWER_BYTES
    from agent.store.identity import CLOCK_FLOOR, ClientTls
    from agent.sync import enrol

    key = identity.key_for_enrolment()
    tls = identity.tls_key_for_enrolment() if enrolment.broker.ca_pem else None
    if request_out is not None:
        check_replaceable(request_out, b"EWR1")
        write_durable(request_out, enrol.request_file(enrolment, key, tls, now_ms=time.time_ns() // 1_000_000))
        return False
    if response is not None:
        with given_file(response, MAX_ANSWER_BYTES, wanted=ANSWER, todo=_TODO_ANSWER) as file:
            answer = enrol.response_file(enrolment, key, file.read(), tls)
    else:
        answer = enrol.enrol_over_mqtt(enrolment, key, timeout_s, tls=tls)
    identity.raise_floor(CLOCK_FLOOR, answer.issued_at_ms)  # a board without a battery clock may start in 1970
    certified = ClientTls(tls, answer.certificate) if tls is not None and answer.certificate else None
    identity.enrol(enrolment, key, certified)
    return True


def _read_enrolment(file: Path, device: str) -> Enrolment:
    from agent.cli.enrolmentfile import check_parts
    from agent.contract.enrolment import MAX_ENROLMENT_BYTES, Enrolment
    from agent.contract.givenfiles import ENROLMENT, given_file

    with given_file(file, MAX_ENROLMENT_BYTES, wanted=ENROLMENT, todo=_TODO_FILE) as source:
        enrolment = Enrolment.from_bytes(source.read())
        check_parts(enrolment)
    if enrolment.device != device:
        raise ConfigError(
            f"is for device {enrolment.device}, but device.id is {device}",
            where=str(file),
            todo="Take the file of this device, or mend device.id",
        )
    return enrolment


@contextmanager
def _identity(session: Session) -> Iterator[Identity]:
    from agent.daemon.paths import StatePaths
    from agent.store.identity import Identity

    paths = StatePaths(session.config.device.state_dir)
    with paths.owned():
        yield Identity.open_without_key(paths.identity)


def _human(result: Payload, request_out: Path | None) -> str:
    if result["enrolled"]:
        return f"{result['device']} is enrolled with {result['fleet']}. Start the agent: edgewatt run"
    return f"Carry {request_out} to the centre; then: edgewatt enroll FILE --response ANSWER"
