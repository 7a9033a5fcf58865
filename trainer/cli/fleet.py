"""Commands of the fleet: make a centre, publish models and assign them, take in what devices send."""

from __future__ import annotations

import time
from pathlib import Path

import click

from agent.contract.errors import ConfigError
from converter.cli_support import emit, json_option, remark
from trainer.cli.broker import ADDRESS, broker_address, broker_certificates, chores_at, link_to, secured_broker
from trainer.cli.home import Home, now_ms, pass_home

_TODO_BUNDLE = "Take the file that `edgewatt-converter bundle` has written"
_FILE = click.Path(path_type=Path)


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
    offline = OfflineKeys.create(home.offline_keys, now_ms())
    online = OnlineKeys.create(home.online_keys, fleet or f"fleet-{secrets.token_hex(4)}", now_ms())
    Repository(home.repository, online, now_ms).create(offline)
    remark(f"made the centre of {online.fleet} in {home.folder}")
    remark(f"off-line keys are in {home.offline_keys}: keep a copy, and take them off this machine")


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

    _, repository = home.fleet()
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

    keys, repository = home.fleet()
    version, published = repository.targets()
    made = Assignments(home.database(), now_ms).assign(
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
@click.option("--broker", metavar=ADDRESS, help="The broker to serve; else that of `broker init`.")
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
    keys, repository = home.fleet()
    if secured is not None:
        link = link_to(secured, INGEST[number - 1], SUBSCRIPTIONS, SHARED)
    else:
        ca_pem = broker_certificates(ca) if ca else ""
        link = BrokerLink(*broker_address(broker), ca_pem=ca_pem, subscriptions=SUBSCRIPTIONS, shared=SHARED)
    engine = home.database()
    stopping = threading.Event()
    for caught in (signal.SIGTERM, signal.SIGINT):
        signal.signal(caught, lambda *_: stopping.set())
    handler = Ingest(engine, keys, Pieces(home.repository), now_ms, authority)

    def take_keys() -> None:
        newest = OnlineKeys.open(home.online_keys)
        handler.use(newest)
        repository.use(newest)

    chores = [Chore(5.0, take_keys)]
    if secured is not None and authority is not None:
        chores += chores_at(secured, engine, authority, link)
    service = Service(engine, link, handler, repository, now_ms=now_ms, monotonic=time.monotonic, chores=chores)
    try:
        service.run(stopping.is_set)
    finally:
        link.close()
        engine.dispose()


commands: list[click.Command] = [init, publish, assign, ingest]
