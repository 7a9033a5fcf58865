"""Identity: what never goes back, and what is never told."""

from __future__ import annotations

import contextlib
import errno
import itertools
import stat

import pytest

from agent.contract import durable
from agent.contract.errors import StorageError
from agent.contract.keys import SigningKey, TlsKey
from agent.store.identity import CREDENTIAL, ClientTls, Identity
from agent.store.kept import folder as module
from tests.support.identities import enrolment


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "identity"


def test_begins_at_zero_with_a_key_only_its_owner_can_read(folder):
    identity = Identity.open(folder)
    assert (identity.boot, identity.epoch, identity.floor("x")) == (0, 0, 0)
    assert (identity.signing_key, identity.enrolment) == (None, None)
    assert len(identity.storage_key) == 32
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("room", range(6))
def test_a_first_start_on_a_full_disk_that_is_killed_when_there_is_room_starts_again(folder, monkeypatch, room):
    left = 0

    def write(path, data, *, mode):
        nonlocal left
        left -= 1
        if left < 0:
            raise StorageError("is full", where=str(path)) from OSError(errno.ENOSPC, "full")
        durable.write_durable(path, data, mode=mode)

    monkeypatch.setattr(module, "write_durable", write)
    identity = Identity.open(folder)
    identity.begin_boot()
    left = room
    with contextlib.suppress(StorageError):
        identity.settle()
    monkeypatch.undo()
    assert Identity.open(folder).begin_boot() >= 1


def test_counters_floors_and_key_survive(folder):
    identity = Identity.open(folder)
    assert [identity.begin_boot(), identity.begin_boot()] == [1, 2]
    assert 0 < identity.epoch < identity.new_epoch()
    above = identity.epoch + 7
    epoch = identity.new_epoch(above)
    assert epoch > above
    identity.raise_floor("assignment", 5)
    again = Identity.open(folder)
    assert (again.boot, again.epoch, again.floor("assignment")) == (2, epoch, 5)
    assert again.storage_key == identity.storage_key


def test_a_key_that_the_system_keeps_is_in_no_file_here(folder, tmp_path):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    key = bytes(range(32))
    (credentials / CREDENTIAL).write_bytes(key)
    identity = Identity.open(folder, credentials=credentials)
    identity.begin_boot()
    assert (identity.storage_key, identity.key_source) == (key, "credential")
    assert all(key not in file.read_bytes() for file in folder.iterdir())
    assert Identity.open(folder, credentials=credentials).epoch == identity.epoch
    with pytest.raises(StorageError, match="only the agent has it"):
        Identity.open(folder)


def test_a_key_that_was_a_file_becomes_a_credential_and_no_other_is_taken(folder, tmp_path):
    key = Identity.open(folder).storage_key
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / CREDENTIAL).write_bytes(bytes(32))
    with pytest.raises(StorageError, match="another key than the credential"):
        Identity.open(folder, credentials=credentials)
    (credentials / CREDENTIAL).write_bytes(key[:31])
    with pytest.raises(StorageError):
        Identity.open(folder, credentials=credentials)
    (credentials / CREDENTIAL).write_bytes(key)
    assert Identity.open(folder, credentials=credentials).key_source == "credential"
    (folder / "storage.key").unlink()
    assert Identity.open(folder, credentials=credentials).storage_key == key
    assert not (folder / "storage.key.copy").exists()


def test_without_a_credential_the_key_is_a_file(folder, tmp_path):
    assert Identity.open(folder, credentials=tmp_path).key_source == "file"
    assert (folder / "storage.key").exists()


def test_enrolling_needs_no_storage_key_and_makes_none(folder):
    identity = Identity.open_without_key(folder)
    assert sorted(file.name for file in folder.iterdir()) == ["counters.json"]
    with pytest.raises(StorageError, match="only the agent has it"):
        _ = identity.storage_key
    Identity.open(folder).begin_boot()
    for name in ("storage.key", "storage.key.copy"):
        (folder / name).unlink()  # as where it became a credential
    Identity.open_without_key(folder).raise_floor("clock", 7)
    assert not (folder / "storage.key").exists()


def test_looking_makes_nothing(folder):
    with pytest.raises(StorageError, match=r"counters\.json"):
        Identity.read(folder)
    assert not folder.exists()
    Identity.open_without_key(folder)
    with pytest.raises(StorageError, match="only the agent has it"):
        Identity.read(folder)
    assert sorted(file.name for file in folder.iterdir()) == ["counters.json"]
    assert Identity.open(folder).storage_key == Identity.read(folder).storage_key


def test_two_lives_of_one_image_share_no_epoch(folder):
    Identity.open(folder).begin_boot()
    image = (folder / "counters.json").read_bytes()
    lives = []
    for _ in range(2):
        (folder / "counters.json").write_bytes(image)
        epochs = []
        for _ in range(20):
            identity = Identity.open(folder)
            assert identity.begin_boot() == identity.boot
            epochs += [identity.epoch, identity.new_epoch()]
        assert epochs == sorted(set(epochs))
        lives.append(set(epochs))
    assert not lives[0] & lives[1]


def test_a_floor_never_goes_back(folder):
    identity = Identity.open(folder)
    identity.raise_floor("clock", 10)
    identity.raise_floor("clock", 3)
    assert identity.floor("clock") == Identity.open(folder).floor("clock") == 10


def test_enrolment_is_kept_without_its_token(folder):
    identity, wanted = Identity.open(folder), enrolment()
    key = identity.key_for_enrolment()
    assert identity.key_for_enrolment().id == Identity.open(folder).key_for_enrolment().id == key.id
    identity.enrol(wanted, key)
    again = Identity.open(folder)
    assert again.signing_key.id == key.id
    assert (again.enrolment.device, again.enrolment.broker, again.enrolment.trust) == (
        wanted.device,
        wanted.broker,
        wanted.trust,
    )
    assert again.enrolment.tuf_root == b"{root}"
    assert not any(wanted.token.encode() in file.read_bytes() for file in folder.iterdir())
    assert not (folder / "pending.key").exists()


def test_a_certificate_is_kept_with_its_key_and_replaced(folder):
    identity = Identity.open(folder)
    key, tls = identity.key_for_enrolment(), identity.tls_key_for_enrolment()
    assert Identity.open(folder).tls_key_for_enrolment().pem == tls.pem  # an answer by file may take days
    identity.enrol(enrolment(), key, ClientTls(tls, "chain-1"))
    assert not any(file.name.startswith("pending") for file in folder.iterdir())
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    for chain in ("chain-1", "chain-2"):
        identity.set_certificate(ClientTls(tls, chain))
        again = Identity.open(folder).enrolment
        assert (again.tls.key.pem, again.tls.chain, again.device) == (tls.pem, chain, "plant-1")
    assert tls.pem[40:80] not in repr(again) + repr(identity)
    for name in ("enrolment.json", "enrolment.json.copy"):
        (folder / name).write_text((folder / name).read_text().replace("MIG", "XXX"))
    harmed = Identity.open(folder)
    assert "is damaged" in harmed.trouble
    assert tls.pem[60:80] not in harmed.trouble


def test_a_damaged_key_that_was_pending_is_made_anew(folder):
    identity = Identity.open(folder)
    first = identity.tls_key_for_enrolment()
    (folder / "pending-tls.pem").write_bytes(b"\xff" * 20)
    second = identity.tls_key_for_enrolment()
    assert first.pem != second.pem == identity.tls_key_for_enrolment().pem


def test_trust_is_replaced_and_needs_an_enrolment(folder):
    identity, newer = Identity.open(folder), enrolment().trust
    with pytest.raises(StorageError, match="not enrolled"):
        identity.set_trust(newer)
    with pytest.raises(StorageError, match="not enrolled"):
        identity.set_certificate(ClientTls(TlsKey.generate(), "chain"))
    identity.enrol(enrolment(), SigningKey.generate())
    identity.set_trust(newer)
    assert Identity.open(folder).enrolment.trust == newer


def test_repr_shows_no_key(folder):
    identity = Identity.open(folder)
    assert identity.storage_key.hex() not in repr(identity)


def test_whatever_write_fails_the_state_is_old_or_new(folder, monkeypatch):
    """Fails the 1st, 2nd, ... durable write before and after its rename; then everything works."""
    for step, late in itertools.product(range(1, 12), (False, True)):
        target = folder / f"{step}-{late}"
        calls = itertools.count(1)

        def write(path, data, *, mode=0o644, calls=calls, step=step, late=late):
            if next(calls) == step:
                if late:
                    durable.write_durable(path, data, mode=mode)
                raise StorageError("injected")
            durable.write_durable(path, data, mode=mode)

        monkeypatch.setattr(module, "write_durable", write)
        reached = (0, 0, 0)
        try:
            identity = Identity.open(target)
            identity.begin_boot()
            reached = (1, 0, 0)
            identity.new_epoch()
            reached = (1, 1, 0)
            identity.raise_floor("a", 9)
            reached = (1, 1, 9)
            identity.enrol(enrolment(), identity.key_for_enrolment())
        except StorageError:
            pass
        monkeypatch.undo()
        again = Identity.open(target)
        assert (again.boot, again.epoch, again.floor("a")) >= reached
        assert again.enrolment is None or again.signing_key is not None
        again.begin_boot()
        again.new_epoch()


def test_leftovers_of_an_interrupted_write_are_removed_at_boot(folder):
    identity = Identity.open(folder)
    (folder / ".counters.json.1234.tmp").write_bytes(b"half")
    Identity.open(folder)
    assert (folder / ".counters.json.1234.tmp").exists()  # may be another process's write in progress
    identity.begin_boot()
    assert not (folder / ".counters.json.1234.tmp").exists()
