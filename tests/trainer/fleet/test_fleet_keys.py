"""Keys on disk: who may read them, what becomes of damage, and that they never show themselves."""

import json
from pathlib import Path

import pytest

from agent.contract.errors import ConfigError
from agent.contract.trust import KeyState, KeyUse
from trainer.fleet.keys import OfflineKeys, OnlineKeys


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def privates(folder: Path) -> list[str]:
    return [json.loads(path.read_bytes())["private"] for path in folder.glob("*-*.json")]


def test_keys_are_private_files_in_private_folders(tmp_path: Path) -> None:
    OfflineKeys.create(tmp_path / "off", 1)
    OnlineKeys.create(tmp_path / "on", "works", 1)
    assert sorted(content(tmp_path / "off")) == ["root-1.json", "root-2.json", "root-3.json", "targets-1.json"]
    for folder in (tmp_path / "off", tmp_path / "on"):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.glob("*-*.json"))


def test_opening_gives_the_same_keys_and_creating_again_changes_none(tmp_path: Path) -> None:
    made = OnlineKeys.create(tmp_path, "works", 1)
    before = content(tmp_path)
    again = OnlineKeys.create(tmp_path, "other name", 2)
    assert content(tmp_path) == before
    assert (again.fleet, again.trust, again.ack.id) == ("works", made.trust, made.ack.id)
    assert again.snapshot[0].public_key == made.snapshot[0].public_key


def test_an_interrupted_creation_is_gone_on_with(tmp_path: Path) -> None:
    made = OfflineKeys.create(tmp_path, 1)
    (tmp_path / "root-2.json").unlink()
    again = OfflineKeys.create(tmp_path, 2)
    same = [new.public_key == old.public_key for new, old in zip(again.root, made.root, strict=True)]
    assert same == [True, False, True]


def test_the_public_side_names_every_use(tmp_path: Path) -> None:
    keys = OnlineKeys.create(tmp_path, "works", 7)
    assert {key.use for key in keys.trust.keys} == set(KeyUse)
    assert keys.trust.recipient().id in keys.seal
    assert keys.trust.verifiers(KeyUse.ACK) == {keys.ack.id: keys.ack.public}
    assert keys.trust.verifiers(KeyUse.ASSIGN) == {keys.assign.id: keys.assign.public}


def test_a_draining_key_still_opens_and_a_revoked_one_does_not(tmp_path: Path) -> None:
    old = OnlineKeys.create(tmp_path, "works", 1)
    (tmp_path / "seal-1.json").rename(tmp_path / "seal-0.json")
    new = OnlineKeys.create(tmp_path, "works", 5)
    assert new.trust.recipient().id != old.trust.recipient().id
    path = tmp_path / "seal-0.json"
    for state, opens in ((KeyState.DRAINING, True), (KeyState.REVOKED, False)):
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"state": str(state)}))
        keys = OnlineKeys.open(tmp_path)
        assert (old.trust.recipient().id in keys.seal) is opens
        assert state in {key.state for key in keys.trust.keys}


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    OnlineKeys.create(tmp_path, "works", 1)
    (tmp_path / "ack-1.json").chmod(0o640)
    with pytest.raises(ConfigError, match=r"read by others.*chmod 600"):
        OnlineKeys.open(tmp_path)


def test_missing_keys_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="edgewatt-trainer init"):
        OnlineKeys.open(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="--offline-keys"):
        OfflineKeys.open(tmp_path / "nothing")
    OnlineKeys.create(tmp_path, "works", 1)
    (tmp_path / "assign-1.json").unlink()
    with pytest.raises(ConfigError, match="no active assign key"):
        OnlineKeys.open(tmp_path)


@pytest.mark.parametrize(
    "change", [{"private": "zz" * 32}, {"private": "ab"}, {"private": 5}, {"use": "assign"}, {"state": "lost"}, None]
)
def test_a_damaged_key_file_is_named_and_its_secret_is_not(tmp_path: Path, change: dict[str, object] | None) -> None:
    OnlineKeys.create(tmp_path, "works", 1)
    path = tmp_path / "ack-1.json"
    secret = json.loads(path.read_bytes())["private"]
    path.write_text("{" + secret if change is None else json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(ConfigError) as error:
        OnlineKeys.open(tmp_path)
    assert "ack-1.json" in str(error.value)
    assert secret not in str(error.value)


def test_keys_do_not_show_themselves(tmp_path: Path) -> None:
    shown = repr(OnlineKeys.create(tmp_path / "on", "works", 1)) + repr(OfflineKeys.create(tmp_path / "off", 1))
    for private in (*privates(tmp_path / "on"), *privates(tmp_path / "off")):
        assert private not in shown
        assert repr(bytes.fromhex(private)) not in shown
