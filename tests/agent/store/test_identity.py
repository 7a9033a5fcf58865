"""Identity: what never goes back, and what is never told."""

from __future__ import annotations

import contextlib
import errno
import itertools
import shutil
import stat

import pytest

from agent.contract import durable
from agent.contract.enrolment import Enrolment
from agent.contract.errors import StorageError
from agent.contract.keys import SealingKey, SigningKey, TlsKey
from agent.contract.trust import Broker, FleetKey, FleetTrust, KeyState, KeyUse
from agent.store.identity import CREDENTIAL, ClientTls, Identity
from agent.store.kept import folder as module


def enrolment(device="plant-1") -> Enrolment:
    seal = FleetKey(KeyUse.SEAL, SealingKey.generate().public, 0, KeyState.ACTIVE)
    return Enrolment(device, "token-of-sixteen-and-more", 2**40, Broker("b", 1883), FleetTrust("f", (seal,)), "{root}")


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


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An identity with everything in it: enrolled, started twice, and about to be enrolled once more."""
    folder = tmp_path_factory.mktemp("lived") / "identity"
    identity = Identity.open(folder)
    key, tls = identity.key_for_enrolment(), identity.tls_key_for_enrolment()
    identity.enrol(enrolment(), key, ClientTls(tls, "chain"))
    identity.raise_floor("assignment", 5)
    for _ in range(2):
        identity.begin_boot()
    identity.key_for_enrolment()
    identity.tls_key_for_enrolment()
    return folder


@pytest.fixture
def lived(made, folder):
    shutil.copytree(made, folder)
    return Identity.read(folder)


FILES = [
    *(f"{name}{copy}" for name in ("counters.json", "enrolment.json", "storage.key") for copy in ("", ".copy")),
    "pending-tls.pem",
    "pending.key",
]


@pytest.mark.parametrize("name", FILES)
def test_whichever_byte_of_whichever_file_flips_the_device_starts_as_it_was(folder, lived, name):
    before = lived
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
    whole = (folder / name).read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 100)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 + at % 255
        (folder / name).write_bytes(damaged)
        looked = Identity.read(folder)
        assert (looked.storage_key, looked.trouble) == (before.storage_key, "")
        assert (looked.boot, looked.epoch, looked.floors()) == (before.boot, before.epoch, before.floors())
        assert looked.enrolment.trust == before.enrolment.trust
        assert looked.signing_key.id == before.signing_key.id
    identity = Identity.open(folder)
    assert [name in text for text in identity.mended] == ([True] if name in FILES[:5:2] else [])
    assert name.startswith("pending") or (folder / name).read_bytes() == whole
    assert Identity.open(folder).mended == []


@pytest.mark.parametrize("name", FILES[:6])
@pytest.mark.parametrize("content", [None, b"short"])
def test_whatever_becomes_of_one_file_it_comes_back_from_the_other(folder, lived, name, content):
    before = lived
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    identity = Identity.open(folder)
    assert (identity.storage_key, identity.floors()) == (before.storage_key, {"assignment": 5})
    assert identity.enrolment.device == "plant-1"
    assert (folder / name).read_bytes() not in (None, content)
    identity.begin_boot()
    assert identity.epoch > before.epoch


def test_a_copy_of_the_counters_from_the_start_before_is_not_behind_in_epochs_and_says_so(folder, made):
    shutil.copytree(made, folder)
    identity = Identity.open(folder)
    identity.raise_floor("assignment", 9)
    used = [identity.epoch, identity.new_epoch()]
    (folder / "counters.json").write_bytes(b"")
    again = Identity.open(folder)
    assert again.floor("assignment") == 5
    assert "may be as old as the start before" in again.mended[0]
    assert again.begin_boot() == identity.boot + 1
    assert again.epoch not in used


@pytest.mark.parametrize("content", [None, b'{"boot":1,"epoch":-1,"floors":{}}'])
def test_with_all_counters_lost_the_device_starts_with_its_key_and_awaits_an_enrolment(folder, lived, content):
    before = lived
    for name in FILES[:2]:
        (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    for _ in range(2):
        identity = Identity.open(folder)
        identity.begin_boot()
        assert identity.storage_key == before.storage_key
        assert (identity.enrolment, identity.signing_key) == (None, None)
        assert "edgewatt enroll FILE" in identity.trouble
        assert identity.epoch not in (0, before.epoch)
    by_hand = Identity.open_without_key(folder)
    by_hand.raise_floor("clock", 7)
    by_hand.enrol(enrolment(), by_hand.key_for_enrolment())
    again = Identity.open(folder)
    assert (again.enrolment.device, again.trouble, again.mended) == ("plant-1", "", [])
    assert (again.storage_key, again.floors()) == (before.storage_key, {"clock": 7})


def test_with_both_enrolments_damaged_the_device_starts_and_says_how_to_enrol_it(folder, made):
    shutil.copytree(made, folder)
    for name in FILES[2:4]:
        (folder / name).write_bytes(b"{}")
    identity = Identity.open(folder)
    assert identity.enrolment is None
    assert identity.trouble.startswith(str(folder / "enrolment.json"))
    assert "Run edgewatt enroll FILE" in identity.trouble
    identity.enrol(enrolment(), SigningKey.generate())
    assert (identity.trouble, Identity.open(folder).trouble) == ("", "")


@pytest.mark.parametrize(("content", "words"), [(b"short", "is damaged"), (None, "is missing")])
def test_a_key_that_is_gone_with_its_copy_is_named_and_nothing_is_replaced(folder, made, content, words):
    shutil.copytree(made, folder)
    for name in FILES[4:6]:
        (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(StorageError, match=rf"storage\.key: {words}"):
        Identity.open(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_what_an_older_version_wrote_is_taken_and_copied(folder):
    folder.mkdir()
    (folder / "counters.json").write_bytes(b'{"boot":3,"epoch":17,"floors":{"clock":5},"schema":1}')
    (folder / "storage.key").write_bytes(bytes(range(32)))
    identity = Identity.open(folder)
    assert (identity.boot, identity.epoch, identity.floor("clock"), identity.mended) == (3, 17, 5, [])
    identity.begin_boot()
    for name in ("counters.json", "storage.key"):
        (folder / name).unlink()
    assert (Identity.open(folder).boot, Identity.open(folder).storage_key) == (4, bytes(range(32)))


def test_a_damaged_signing_key_is_not_shown(folder):
    Identity.open(folder).enrol(enrolment(), key := SigningKey.generate())
    for name in FILES[2:4]:
        file = folder / name
        file.write_text(file.read_text().replace(key.private.hex(), key.private.hex()[:-1] + "X"))
    harmed = Identity.open(folder)
    assert "is damaged" in harmed.trouble
    assert key.private.hex()[:16] not in harmed.trouble


def test_a_key_that_was_not_made_yet_is_made(folder):
    """Power was cut between the first two files."""
    Identity.open(folder)
    for name in ("storage.key", "storage.key.copy"):
        (folder / name).unlink()
    assert len(Identity.open(folder).storage_key) == 32


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
