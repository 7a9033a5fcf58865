"""Commands of devices: register them, let them in, list them, shut them out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.contract.errors import UnavailableError
from converter.cli_support import emit, json_option, remark
from trainer.cli.broker import ADDRESS, broker_address, broker_certificates, control_of, revoke_device, secured_broker
from trainer.cli.home import Home, now_ms, pass_home

if TYPE_CHECKING:
    from trainer.fleet.securedbroker import SecuredBroker

_HOUR_MS = 3_600_000
_ENROLMENT_BEGIN, _ANSWER_BEGIN = b'{"broker":', b"EWS1"
_TODO_REQUEST = "Take the file that `edgewatt enroll --request-out` has written"
_FILE = click.Path(path_type=Path)
_OUT = click.Path(dir_okay=False, path_type=Path)


@click.group()
def device() -> None:
    """Register, enrol and list devices.

    \b
    Example:
      edgewatt-trainer device list
    """


@device.command("add")
@click.argument("name")
@click.option("--broker", metavar=ADDRESS, help="Where the device finds the broker; else that of `broker init`.")
@click.option("--out", required=True, type=_OUT, help="The enrolment file to write; it holds a secret.")
@click.option("--ca", type=_FILE, help="Certificate authority of the broker (PEM); none for a broker without TLS.")
@click.option("--plant", help="The plant where the device stands.")
@click.option("--valid-hours", type=click.IntRange(1, 24 * 90), default=24 * 7, show_default=True, help="Of the file.")
@click.option("--replace", is_flag=True, help="The device has a key: a new device takes its place.")
@pass_home
def add_device(
    home: Home,
    name: str,
    broker: str | None,
    out: Path,
    ca: Path | None,
    plant: str | None,
    valid_hours: int,
    *,
    replace: bool,
) -> None:
    """Register a device and write the file with which it enrols itself, once.

    With a broker that `broker init` has prepared, the device is let in there, too, and will get a certificate.

    \b
    Example:
      edgewatt-trainer device add press-1 --broker mqtt.example.net:8883 --ca ca.pem --out press-1.json
      edgewatt-trainer device add press-1 --out press-1.json
    """
    from agent.contract.durable import new_file
    from agent.contract.enrolment import Enrolment
    from agent.contract.givenfiles import check_replaceable
    from agent.contract.trust import Broker
    from trainer.fleet import trusted
    from trainer.fleet.certificates import Authority
    from trainer.fleet.registry import Registry

    check_replaceable(out, _ENROLMENT_BEGIN)
    secured = None if broker else secured_broker(home)
    if secured is not None:
        address = secured.for_devices(Authority.open(home.authority))
    else:
        address = Broker(*broker_address(broker), broker_certificates(ca) if ca else "")
    keys, repository = home.fleet()
    root = repository.root().decode()
    engine = home.database()
    adding = Registry(engine, now_ms).adding(name, plant=plant, valid_ms=valid_hours * _HOUR_MS, replace=replace)
    # What was handed out before counts until the new file is there: the file is left first, then the register.
    with adding as (token, expires_ms), new_file(out, mode=0o600) as file:
        trusted.hand_out(engine, keys.trust)
        file.write(Enrolment(name, token, expires_ms, address, keys.trust, root).to_bytes())
        file.flush()
        if secured is not None:
            _let_in(secured, name, token, out)
    remark(f"{out}: carry it to the device and run `edgewatt enroll` there; it holds a secret")


def _let_in(secured: SecuredBroker, name: str, token: str, out: Path) -> None:
    """Let a device in at the broker: the last step that can fail, since there the token takes the older one's place."""
    try:
        with control_of(secured) as control:
            control.let_in(name, token)
    except UnavailableError as exc:
        todo = f"{exc.todo}. {out} was not written; one made before counts until the broker hears of a newer one"
        raise UnavailableError(exc.what, where=exc.where, todo=todo) from exc


@device.command("list")
@json_option
@pass_home
def list_devices(home: Home, *, as_json: bool) -> None:
    """Show the registered devices.

    \b
    Example:
      edgewatt-trainer device list --json
    """
    import dataclasses

    from agent.contract.zones import utc_iso
    from trainer.fleet.registry import Registry

    home.fleet()  # says where there is no centre, rather than making an empty database
    devices = Registry(home.database(), now_ms).devices()
    lines = []
    for item in devices:
        without_key = "not enrolled" if item.last_seen_ms is None else "revoked"
        state = (item.status or "never seen") if item.key else without_key
        seen = utc_iso(item.last_seen_ms) if item.last_seen_ms is not None else "-"
        lines.append(f"{item.name:<33}{state:<14}{seen:<22}{item.plant or ''}".rstrip())
    emit({"devices": [dataclasses.asdict(item) for item in devices]}, as_json, lines)


@device.command("accept")
@click.argument("request", type=_FILE)
@click.option("--out", required=True, type=_OUT, help="The answer to carry back to the device.")
@pass_home
def accept_device(home: Home, request: Path, out: Path) -> None:
    """Judge the enrolment request of a plant without a network, and write the answer to carry back.

    \b
    Example:
      edgewatt-trainer device accept request.bin --out response.bin
    """
    from agent.contract.durable import write_durable
    from agent.contract.enrolment import MAX_REQUEST_BYTES
    from agent.contract.errors import RejectedError
    from agent.contract.givenfiles import REQUEST, check_replaceable, given_file
    from trainer.fleet.certificates import Authority
    from trainer.fleet.keys import OnlineKeys
    from trainer.fleet.registry import Registry

    check_replaceable(out, _ANSWER_BEGIN)
    keys = OnlineKeys.open(home.online_keys)
    authority = Authority.open(home.authority) if secured_broker(home) is not None else None
    registry = Registry(home.database(), now_ms, authority)
    with given_file(request, MAX_REQUEST_BYTES, wanted=REQUEST, todo=_TODO_REQUEST) as file:
        response, message = registry.judge(file.read(), topic_device=None, seal=keys.seal, ack=keys.ack)
    write_durable(out, message)
    if not response.accepted:
        raise RejectedError(
            response.reason, where=f"device {response.device}", todo=f"The answer in {out} says so, too"
        )
    remark(f"{out}: {response.device} is enrolled; carry the answer back to it")


@device.command("revoke", help=revoke_device.__doc__)
@click.argument("name")
@pass_home
def _revoke(home: Home, name: str) -> None:
    revoke_device(home, name)


commands: list[click.Command] = [device]
