"""Commands that change the centre's own keys, and tell devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from agent.contract.errors import StorageError, UnavailableError
from agent.contract.trust import KeyState, KeyUse
from converter.cli_support import emit, json_option, remark
from trainer.cli.home import Home, now_ms, pass_home

if TYPE_CHECKING:
    from trainer.fleet.rotation import KeyInfo

_DAY_MS = 86_400_000
_TELL = "tell devices: `edgewatt-trainer trust publish`"
_IN_DAYS = 14
_ROLES = ("root", "targets", "snapshot", "timestamp")  # of the update repository, which is loaded where it is needed
_SHOWN = 20  # names in a complaint; --json has them all
_force_option = click.option("--force", is_flag=True, help="Although devices need it still; they are cut off.")


@click.group()
def keys() -> None:
    """Change the centre's keys while devices go on sending.

    A new key is made with `rotate` and told to devices with `trust publish`; the old one is drained, and revoked when
    no device needs it any more. `keys list` shows how many know a key.

    \b
    Example:
      edgewatt-trainer keys list
    """


@keys.command("list")
@json_option
@pass_home
def list_command(home: Home, *, as_json: bool) -> None:
    """Show the keys that devices know of, their states, and which devices are not known to hold them.

    \b
    Example:
      edgewatt-trainer keys list --json
    """
    import dataclasses

    from agent.contract.zones import utc_iso
    from trainer.fleet import trusted
    from trainer.fleet.keys import OnlineKeys
    from trainer.fleet.rotation import list_keys

    OnlineKeys.open(home.online_keys)
    engine = home.database()
    try:
        devices = trusted.holders(engine)
    finally:
        engine.dispose()
    found: list[dict[str, Any]] = []
    lines = []
    for key in list_keys(home.online_keys):
        lacking = [item.name for item in devices if item.trust is None or not item.trust.knows(key.id)]
        found.append({**dataclasses.asdict(key), "devices": len(devices), "not_held_by": lacking})
        held = f"held by {len(devices) - len(lacking)} of {len(devices)} devices"
        lines.append(f"{key.id}  {key.use:<8}{key.state:<10}since {utc_iso(key.not_before_ms)}  {held}")
    emit({"keys": found}, as_json, lines)


@keys.command("rotate")
@click.argument("use", type=click.Choice([*(use.value for use in KeyUse), *_ROLES]))
@click.option("--in-days", type=click.IntRange(0, 365), help="Until it signs, for ack and assign.  [default: 14]")
@pass_home
def rotate_command(home: Home, use: str, in_days: int | None) -> None:
    """Make a new key for USE.

    seal opens envelopes, ack signs acknowledgements, assign assignments. The centre signs with it only when --in-days
    have passed: by then every device must have the new trust. Devices seal to a new seal key as soon as they know it.

    root, targets, snapshot and timestamp sign the update repository. New keys take the place of the old ones at once,
    by a new version of root, which devices follow by themselves. Needs two of the off-line root keys; keep copies of
    the new ones.

    \b
    Example:
      edgewatt-trainer keys rotate ack
      edgewatt-trainer --offline-keys /media/stick/keys keys rotate root
    """
    from trainer.fleet import roots, rotation
    from trainer.fleet.keys import OnlineKeys, Role
    from trainer.fleet.repository import Repository

    online, folder = OnlineKeys.open(home.online_keys), home.online_keys
    if use not in _ROLES:
        wait_ms = 0 if use == KeyUse.SEAL else (_IN_DAYS if in_days is None else in_days) * _DAY_MS
        _say(rotation.rotate(folder, KeyUse(use), now_ms() + wait_ms))
        return
    if in_days is not None:
        raise click.UsageError(f"--in-days is not for {use}: its new key counts at once.")
    repository = Repository(home.repository, online, now_ms)
    done = roots.succeed(repository, Role(use), offline=home.offline_keys, online=folder, now_ms=now_ms())
    if done.files:
        remark(f"root is at version {done.version}; of {use} count {', '.join(done.files)}: keep a copy of them")
    else:
        remark(f"finished what was interrupted: root is at version {done.version}, its {use} keys count alone now")


@keys.command("drain")
@click.argument("key", metavar="ID")
@_force_option
@pass_home
def drain_command(home: Home, key: str, *, force: bool) -> None:
    """Use a key no more, and accept still what was made with it: batches in backlogs, answers on their way.

    Refused while a device is not known to hold the key that takes its place.

    \b
    Example:
      edgewatt-trainer keys drain 0123456789abcdef
    """
    _change(home, key, KeyState.DRAINING, force=force)


@keys.command("revoke")
@click.argument("key", metavar="ID")
@_force_option
@pass_home
def revoke_command(home: Home, key: str, *, force: bool) -> None:
    """Refuse a key, for good.

    Refused while a device is not known to hold the key that takes its place: it would take no word of the centre any
    more, or send what nobody opens.

    \b
    Example:
      edgewatt-trainer keys revoke 0123456789abcdef
    """
    _change(home, key, KeyState.REVOKED, force=force)


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
    from trainer.fleet import trusted
    from trainer.fleet.assignments import Assignments
    from trainer.fleet.keys import OfflineKeys, OnlineKeys
    from trainer.fleet.registry import Registry
    from trainer.fleet.repository import FLEET_TRUST, Repository

    online = OnlineKeys.open(home.online_keys)
    repository = Repository(home.repository, online, now_ms)
    done = repository.publish_trust(OfflineKeys.open(home.offline_keys))
    version, published = repository.targets()
    engine = home.database()
    try:
        trusted.hand_out(engine, online.trust)
        names = [item.name for item in Registry(engine, now_ms).devices() if item.key]
        assignments = Assignments(engine, now_ms)
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


def _change(home: Home, key: str, state: KeyState, *, force: bool) -> None:
    from trainer.fleet import rotation
    from trainer.fleet.keys import OnlineKeys

    OnlineKeys.open(home.online_keys)
    rotation.check_change(home.online_keys, key, state, now_ms())
    _check_devices(home, key, state, force=force)
    _say(rotation.change(home.online_keys, key, state, now_ms()))


def _check_devices(home: Home, key: str, state: KeyState, *, force: bool) -> None:
    """Refuse to take from devices what they need; by force, name them."""
    from trainer.fleet import trusted
    from trainer.fleet.rotation import can_do_without

    try:
        engine = home.database()
        try:
            names = trusted.without(engine, can_do_without(home.online_keys, key, state, now_ms()))
        finally:
            engine.dispose()
    except StorageError as exc:
        if not force:
            raise
        remark(f"which devices need it is not known: {exc}")
        return
    if not names:
        return
    what = f"these devices are not known to hold the key that takes its place: {_listed(names)}"
    if not force:
        raise UnavailableError(
            what,
            where=f"key {key}",
            todo="Give them time after `trust publish`, and revoke those that are gone (`device revoke NAME`); with "
            "--force they are cut off until `device add NAME --replace`",
        )
    remark(f"{what}; enrol them anew if they do not come back: `edgewatt-trainer device add NAME --replace`")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _say(key: KeyInfo) -> None:
    remark(f"{key.use} key {key.id} is {key.state} ({key.file}); {_TELL}")


commands: list[click.Command] = [keys, trust]
