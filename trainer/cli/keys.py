"""Commands that change the centre's own keys, and tell devices."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from agent.contract.trust import KeyState, KeyUse
from converter.cli_support import emit, json_option, remark
from trainer.cli.home import Home, pass_home

if TYPE_CHECKING:
    from trainer.fleet.rotation import KeyInfo

_DAY_MS = 86_400_000
_TELL = "tell devices: `edgewatt-trainer trust publish`"


@click.group()
def keys() -> None:
    """Change the centre's keys while devices go on sending.

    A new key is made with `rotate` and told to devices with `trust publish`; the old one is drained, and revoked when
    no device still sends under it.

    \b
    Example:
      edgewatt-trainer keys list
    """


@keys.command("list")
@json_option
@pass_home
def list_command(home: Home, *, as_json: bool) -> None:
    """Show the keys that devices know of, and their states.

    \b
    Example:
      edgewatt-trainer keys list --json
    """
    import dataclasses

    from agent.contract.zones import utc_iso
    from trainer.fleet.keys import OnlineKeys
    from trainer.fleet.rotation import list_keys

    OnlineKeys.open(home.online_keys)
    found = list_keys(home.online_keys)
    lines = [f"{key.id}  {key.use:<8}{key.state:<10}since {utc_iso(key.not_before_ms)}" for key in found]
    emit({"keys": [dataclasses.asdict(key) for key in found]}, as_json, lines)


@keys.command("rotate")
@click.argument("use", type=click.Choice([use.value for use in KeyUse]))
@click.option("--in-days", type=click.IntRange(0, 365), default=14, show_default=True, help="Until it signs.")
@pass_home
def rotate_command(home: Home, use: str, in_days: int) -> None:
    """Make a new key for USE: seal (opens envelopes), ack (signs acknowledgements) or assign (signs assignments).

    The centre signs with it only when --in-days have passed: by then every device must have the new trust. Devices seal
    to a new seal key as soon as they know it.

    \b
    Example:
      edgewatt-trainer keys rotate ack
    """
    from trainer.fleet.keys import OnlineKeys
    from trainer.fleet.rotation import rotate

    OnlineKeys.open(home.online_keys)
    wait_ms = 0 if use == KeyUse.SEAL else in_days * _DAY_MS
    _say(rotate(home.online_keys, KeyUse(use), _now_ms() + wait_ms))


@keys.command("drain")
@click.argument("key", metavar="ID")
@pass_home
def drain_command(home: Home, key: str) -> None:
    """Use a key no more, and accept still what was made with it: batches in backlogs, answers on their way.

    \b
    Example:
      edgewatt-trainer keys drain 0123456789abcdef
    """
    _change(home, key, KeyState.DRAINING)


@keys.command("revoke")
@click.argument("key", metavar="ID")
@pass_home
def revoke_command(home: Home, key: str) -> None:
    """Refuse a key, for good. A device that still seals to it sends again once it knows the new trust; nothing is lost.

    \b
    Example:
      edgewatt-trainer keys revoke 0123456789abcdef
    """
    _change(home, key, KeyState.REVOKED)


@click.group()
def trust() -> None:
    """Tell devices of the centre's keys.

    \b
    Example:
      edgewatt-trainer trust --help
    """


@trust.command("publish")
@json_option
@pass_home
def publish_trust(home: Home, *, as_json: bool) -> None:
    """Publish the centre's keys as they are now, and assign them to every enrolled device. Needs the off-line key.

    \b
    Example:
      edgewatt-trainer --offline-keys /media/stick/keys trust publish
    """
    from trainer.fleet.assignments import Assignments
    from trainer.fleet.keys import OfflineKeys, OnlineKeys
    from trainer.fleet.registry import Registry
    from trainer.fleet.repository import FLEET_TRUST, Repository

    online = OnlineKeys.open(home.online_keys)
    repository = Repository(home.repository, online, _now_ms)
    done = repository.publish_trust(OfflineKeys.open(home.offline_keys))
    version, published = repository.targets()
    engine = home.database()
    try:
        names = [item.name for item in Registry(engine, _now_ms).devices() if item.key]
        assignments = Assignments(engine, _now_ms)
        for name in names:
            assignments.assign(name, [FLEET_TRUST], targets=published, snapshot_version=version, key=online.assign)
    finally:
        engine.dispose()
    emit(
        {
            "path": FLEET_TRUST,
            "sha256": done.target.sha256,
            "new": done.new,
            "snapshot_version": version,
            "assigned": names,
        },
        as_json,
        [f"{FLEET_TRUST} is assigned to {len(names)} devices"],
    )


def _change(home: Home, key: str, state: KeyState) -> None:
    from trainer.fleet.keys import OnlineKeys
    from trainer.fleet.rotation import change

    OnlineKeys.open(home.online_keys)
    _say(change(home.online_keys, key, state, _now_ms()))


def _say(key: KeyInfo) -> None:
    remark(f"{key.use} key {key.id} is {key.state} ({key.file}); {_TELL}")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


commands: list[click.Command] = [keys, trust]
