"""A damaged identity: each file comes back from its copy, and where both are gone it is said what to do."""

from __future__ import annotations

import shutil

import pytest

from agent.contract.errors import StorageError
from agent.contract.keys import SigningKey
from agent.store.identity import ClientTls, Identity
from tests.support.identities import enrolment


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "identity"


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
