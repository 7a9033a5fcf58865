"""The centre's keys are changed while devices go on sending what was sealed to the old ones."""

from pathlib import Path

import pytest

from agent.contract.errors import ConfigError, RejectedError
from agent.contract.topics import DeviceTopics
from agent.contract.trust import KeyState, KeyUse
from tests.support.centre import DAY_MS, NOW_MS, Centre
from trainer.fleet.keys import OnlineKeys
from trainer.fleet.rotation import change, list_keys, rotate

TOPIC = DeviceTopics("press-1").up("readings")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_batch_under_a_draining_key_is_accepted_under_a_revoked_one_refused(centre: Centre) -> None:
    device, folder = centre.device(), centre.folder / "keys" / "online"
    old = centre.online.trust.recipient().id
    backlog = [device.seal(device.readings(10)) for _ in range(2)]
    lost = device.readings(10)

    new = rotate(folder, KeyUse.SEAL, centre.clock.ms)
    change(folder, old, KeyState.DRAINING, centre.clock.ms)
    keys = centre.reopened()
    assert keys.trust.recipient().id == new.id != old
    for batch in backlog:
        (answer,) = centre.ingest.handle(TOPIC, batch)
    assert device.mark(answer.payload).high == 20

    late = device.seal(lost)
    change(folder, old, KeyState.REVOKED, centre.clock.ms)
    device.trust = centre.reopened().trust
    before = centre.dump("rejection")
    assert centre.ingest.handle(TOPIC, late) == []
    assert centre.dump("rejection") == before
    (answer,) = centre.ingest.handle(TOPIC, device.seal(lost))  # sealed anew, to the key that counts
    assert device.mark(answer.payload).high == 30


def test_every_key_of_the_centre_is_rotated_while_a_backlog_drains(centre: Centre) -> None:
    device, folder = centre.device(), centre.folder / "keys" / "online"
    old = {use: next(key.id for key in centre.online.trust.keys if key.use is use) for use in KeyUse}
    (early,) = centre.ingest.handle(TOPIC, device.seal(device.readings(10)))
    backlog = [device.seal(device.readings(10)) for _ in range(3)]

    for use in KeyUse:
        rotate(folder, use, centre.clock.ms)
    learnt = centre.reopened().trust
    (answer,) = centre.ingest.handle(TOPIC, backlog[0])
    with pytest.raises(RejectedError, match="not trusted"):
        device.read_ack(answer.payload)  # what the fortnight before a new key signs is for
    device.trust = learnt
    assert device.mark(answer.payload).high == 20

    for use in KeyUse:
        change(folder, old[use], KeyState.DRAINING, centre.clock.ms)
    device.trust = centre.reopened().trust
    (answer,) = centre.ingest.handle(TOPIC, backlog[1])
    assert device.mark(answer.payload).high == 30
    assert device.mark(early.payload).high == 10  # signed before, on its way for long

    for use in KeyUse:
        change(folder, old[use], KeyState.REVOKED, centre.clock.ms)
    device.trust = centre.reopened().trust
    assert centre.ingest.handle(TOPIC, backlog[2]) == []
    with pytest.raises(RejectedError, match="not trusted"):
        device.read_ack(early.payload)
    assert {use: len(device.trust.verifiers(use)) for use in KeyUse} == dict.fromkeys(KeyUse, 1)


@pytest.mark.parametrize("use", [KeyUse.ACK, KeyUse.ASSIGN])
def test_a_key_signs_only_when_devices_have_had_time_to_learn_it(tmp_path: Path, use: KeyUse) -> None:
    old = OnlineKeys.create(tmp_path, "works", NOW_MS)
    new = rotate(tmp_path, use, NOW_MS + 14 * DAY_MS)
    for days, signer in ((0, getattr(old, use).id), (13, getattr(old, use).id), (14, new.id)):
        keys = OnlineKeys.open(tmp_path, NOW_MS + days * DAY_MS)
        assert getattr(keys, use).id == signer
        assert set(keys.trust.verifiers(use)) == {getattr(old, use).id, new.id}
    with pytest.raises(ConfigError, match=f"only {use} key in use"):
        change(tmp_path, getattr(old, use).id, KeyState.DRAINING, NOW_MS + 13 * DAY_MS)
    change(tmp_path, getattr(old, use).id, KeyState.DRAINING, NOW_MS + 14 * DAY_MS)
    assert getattr(OnlineKeys.open(tmp_path, NOW_MS), use).id == new.id  # whatever the clock says, one signs


def test_what_would_leave_no_key_or_bring_one_back_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    keys = OnlineKeys.create(tmp_path, "works", NOW_MS)
    old = keys.ack.id
    rotate(tmp_path, KeyUse.ACK, NOW_MS)
    change(tmp_path, old, KeyState.REVOKED, NOW_MS)
    (new,) = (key.id for key in list_keys(tmp_path) if key.use == "ack" and key.state == "active")
    before = files(tmp_path)
    for key, state, match in (
        (new, KeyState.REVOKED, "only ack key in use"),
        (keys.assign.id, KeyState.DRAINING, "only assign key in use"),
        (old, KeyState.DRAINING, "for good"),
        ("0" * 16, KeyState.REVOKED, "unknown here"),
    ):
        with pytest.raises(ConfigError, match=match):
            change(tmp_path, key, state, NOW_MS)
    assert files(tmp_path) == before


def test_there_are_never_more_keys_than_a_device_takes(tmp_path: Path) -> None:
    OnlineKeys.create(tmp_path, "works", NOW_MS)
    for _ in range(29):
        rotate(tmp_path, KeyUse.ASSIGN, NOW_MS)
    with pytest.raises(ConfigError, match="32 keys"):
        rotate(tmp_path, KeyUse.ASSIGN, NOW_MS)
    assert len(OnlineKeys.open(tmp_path).trust.keys) == 32
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.glob("*-*.json"))


@pytest.mark.parametrize("copy", ["ack-1-old.json", "ack-1.json.json", "ack-one.json", "ack-1 (copy).json"])
def test_a_file_that_is_not_named_like_a_key_is_none(centre: Centre, copy: str) -> None:
    folder = centre.folder / "keys" / "online"
    old = centre.online.ack.id
    (folder / copy).write_bytes((folder / "ack-1.json").read_bytes())
    (folder / copy).chmod(0o600)
    assert rotate(folder, KeyUse.ACK, centre.clock.ms).file == "ack-2.json"
    assert change(folder, old, KeyState.REVOKED, centre.clock.ms).file == "ack-1.json"
    assert {key.id: key.state for key in centre.reopened().trust.keys}[old] is KeyState.REVOKED


@pytest.mark.parametrize("copy", ["ack-01.json", "ack-7.json"])
def test_a_copy_that_would_outlive_its_revocation_is_refused(centre: Centre, copy: str) -> None:
    folder = centre.folder / "keys" / "online"
    old = centre.online.ack.id
    rotate(folder, KeyUse.ACK, centre.clock.ms)
    (folder / copy).write_bytes((folder / "ack-1.json").read_bytes())
    (folder / copy).chmod(0o600)
    with pytest.raises(ConfigError, match=r"ack-[0-9]+\.json: holds the same key as ack-[0-9]+\.json"):
        change(folder, old, KeyState.REVOKED, centre.clock.ms)
    (folder / copy).unlink()
    change(folder, old, KeyState.REVOKED, centre.clock.ms)
    assert [key.state for key in list_keys(folder) if key.id == old] == ["revoked"]
