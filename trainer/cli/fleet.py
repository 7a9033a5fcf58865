"""Commands of the fleet: make a centre, let devices in, publish models and assign them, take in what devices send."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from agent.contract.errors import ConfigError, UnavailableError
from converter.cli_support import emit, json_option, remark
from trainer.cli.broker import chores_at, control_of, link_to, revoke_device, secured_broker
from trainer.cli.home import Home, pass_home

if TYPE_CHECKING:
    from trainer.fleet.keys import OnlineKeys
    from trainer.fleet.repository import Repository
    from trainer.fleet.securedbroker import SecuredBroker

_HOUR_MS = 3_600_000
_ENROLMENT_BEGIN, _ANSWER_BEGIN = b'{"broker":', b"EWS1"
_ADDRESS = "HOST:PORT"
_TODO_REQUEST = "Take the file that `edgewatt enroll --request-out` has written"
_TODO_BUNDLE = "Take the file that `edgewatt-converter bundle` has written"
_FILE = click.Path(path_type=Path)
_OUT = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--fleet", default=None, help="Name of the fleet in devices' trust; a random one if not given.")
@pass_home
def init(home: Home, fleet: str | None) -> None:
    """Make a new centre: keys, update repository, database.

    The off-line keys (root, targets) decide what devices may install. Give --offline-keys the folder of a medium that
    you can take away, and keep a copy of it. Run again after an interruption, it goes on where it stopped.

    \b
    Example:
      edgewatt-trainer --home centre --offline-keys /media/stick/keys init
    """
    import secrets

    from trainer.fleet.keys import OfflineKeys, OnlineKeys
    from trainer.fleet.repository import Repository

    if (home.repository / "metadata" / "timestamp.json").exists():
        raise ConfigError("there is a centre already", where=str(home.folder), todo="Give another --home")
    home.database(make=True).dispose()
    offline = OfflineKeys.create(home.offline_keys, _now_ms())
    online = OnlineKeys.create(home.online_keys, fleet or f"fleet-{secrets.token_hex(4)}", _now_ms())
    Repository(home.repository, online, _now_ms).create(offline)
    remark(f"made the centre of {online.fleet} in {home.folder}")
    remark(f"off-line keys are in {home.offline_keys}: keep a copy, and take them off this machine")


@click.group()
def device() -> None:
    """Register, enrol and list devices.

    \b
    Example:
      edgewatt-trainer device list
    """


@device.command("add")
@click.argument("name")
@click.option("--broker", metavar=_ADDRESS, help="Where the device finds the broker; else that of `broker init`.")
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
        address = Broker(*_address(broker or _missing()), _certificate(ca) if ca else "")
    keys, repository = _open(home)
    root = repository.root().decode()
    engine = home.database()
    adding = Registry(engine, _now_ms).adding(name, plant=plant, valid_ms=valid_hours * _HOUR_MS, replace=replace)
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

    _open(home)  # says where there is no centre, rather than making an empty database
    devices = Registry(home.database(), _now_ms).devices()
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
    registry = Registry(home.database(), _now_ms, authority)
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


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=_FILE, metavar="BUNDLE...")
@json_option
@pass_home
def publish(home: Home, bundles: tuple[Path, ...], *, as_json: bool) -> None:
    """Publish models (.ewb) in the update repository. Needs the off-line targets key.

    Publishing gives a model to nobody; `assign` does that.

    \b
    Example:
      edgewatt-trainer --offline-keys /media/stick/keys publish plant-3.ewb
    """
    from agent.contract.bundle import MAX_BYTES as MAX_BUNDLE_BYTES
    from agent.contract.errors import RejectedError
    from agent.contract.givenfiles import BUNDLE, read_file
    from trainer.fleet.keys import OfflineKeys

    _, repository = _open(home)
    offline = OfflineKeys.open(home.offline_keys)
    done = []
    for path in bundles:
        try:
            data = read_file(path, MAX_BUNDLE_BYTES, wanted=BUNDLE, todo=_TODO_BUNDLE)
            done.append(repository.publish(data, offline))
        except RejectedError as exc:
            what = str(exc) if str(path) in str(exc) else f"{path}: {exc}"
            raise RejectedError(what, todo="Those named before it are published") from exc
    targets = [
        {"path": item.target.path, "length": item.target.length, "sha256": item.target.sha256, "new": item.new}
        for item in done
    ]
    emit(
        {"snapshot_version": done[-1].snapshot_version, "targets": targets},
        as_json,
        [f"{item.target.path} {'published' if item.new else 'was published already'}" for item in done],
    )


@click.command()
@click.argument("name")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("--valid-days", type=click.IntRange(1, 365), default=30, show_default=True, help="To begin installing.")
@click.option("--allow-downgrade", is_flag=True, help="Allow a lower model version than the device runs.")
@json_option
@pass_home
def assign(
    home: Home, name: str, targets: tuple[str, ...], valid_days: int, *, allow_downgrade: bool, as_json: bool
) -> None:
    """Say which published targets a device shall run; `ingest` tells it within a second.

    \b
    Example:
      edgewatt-trainer assign press-1 models/plant-3.ewb
    """
    from trainer.fleet.assignments import Assignments

    keys, repository = _open(home)
    version, published = repository.targets()
    made = Assignments(home.database(), _now_ms).assign(
        name,
        targets,
        targets=published,
        snapshot_version=version,
        key=keys.assign,
        valid_days=valid_days,
        allow_downgrade=allow_downgrade,
    )
    items = [item.path for item in made.items]
    emit(
        {"device": name, "counter": made.counter, "items": items},
        as_json,
        [f"{name}: assignment {made.counter}: {', '.join(items)}"],
    )


@click.command()
@click.option("--broker", metavar=_ADDRESS, help="The broker to serve; else that of `broker init`.")
@click.option("--ca", type=_FILE, help="Certificate authority of the broker (PEM); none for a broker without TLS.")
@click.option("--as", "number", type=click.IntRange(1, 2), default=1, help="Which of two processes that share it.")
@click.option("--verbose", is_flag=True, help="Log every envelope.")
@pass_home
def ingest(home: Home, broker: str | None, ca: Path | None, number: int, *, verbose: bool) -> None:
    """Take in what devices send, acknowledge it, and serve updates to them, until stopped (SIGTERM, Ctrl-C).

    \b
    Example:
      edgewatt-trainer ingest --broker localhost:1883
      edgewatt-trainer ingest
    """
    import logging
    import signal
    import threading

    from trainer.fleet.certificates import Authority
    from trainer.fleet.ingest import Ingest
    from trainer.fleet.keys import OnlineKeys
    from trainer.fleet.mqtt import BrokerLink
    from trainer.fleet.pieces import Pieces
    from trainer.fleet.securedbroker import INGEST
    from trainer.fleet.service import SHARED, SUBSCRIPTIONS, Chore, Service

    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    secured = None if broker else secured_broker(home)
    authority = Authority.open(home.authority) if secured is not None else None
    keys, repository = _open(home)
    if secured is not None:
        link = link_to(secured, INGEST[number - 1], SUBSCRIPTIONS, SHARED)
    else:
        ca_pem = _certificate(ca) if ca else ""
        link = BrokerLink(*_address(broker or _missing()), ca_pem=ca_pem, subscriptions=SUBSCRIPTIONS, shared=SHARED)
    engine = home.database()
    stopping = threading.Event()
    for caught in (signal.SIGTERM, signal.SIGINT):
        signal.signal(caught, lambda *_: stopping.set())
    handler = Ingest(engine, keys, Pieces(home.repository), _now_ms, authority)

    def take_keys() -> None:
        newest = OnlineKeys.open(home.online_keys)
        handler.use(newest)
        repository.use(newest)

    chores = [Chore(5.0, take_keys)]
    if secured is not None and authority is not None:
        chores += chores_at(secured, engine, authority, link)
    service = Service(engine, link, handler, repository, now_ms=_now_ms, monotonic=time.monotonic, chores=chores)
    try:
        service.run(stopping.is_set)
    finally:
        link.close()
        engine.dispose()


def _open(home: Home) -> tuple[OnlineKeys, Repository]:
    from trainer.fleet.keys import OnlineKeys
    from trainer.fleet.repository import Repository

    keys = OnlineKeys.open(home.online_keys)
    return keys, Repository(home.repository, keys, _now_ms)


def _certificate(path: Path) -> str:
    """Return certificates in PEM form."""
    import ssl

    from agent.contract.errors import RejectedError
    from agent.contract.givenfiles import CERTIFICATE, given_file

    with given_file(path, 2**14, wanted=CERTIFICATE, todo="Give the certificate of the broker's authority") as file:
        try:
            text = file.read().decode("ascii")
            ssl.create_default_context(cadata=text)
        except (ValueError, ssl.SSLError) as exc:
            raise RejectedError("holds none in PEM form") from exc
    return text


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not re.fullmatch(r"[A-Za-z0-9._:-]+", host) or not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise ConfigError(f"{text!r} is not {_ADDRESS}", where="--broker", todo="Example: localhost:1883")
    return host, int(port)


def _missing() -> NoReturn:
    raise ConfigError(
        "is missing", where="--broker", todo=f"Give {_ADDRESS}, or prepare a broker with `edgewatt-trainer broker init`"
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


commands: list[click.Command] = [init, device, publish, assign, ingest]
