"""The keys of the update repository are replaced under devices that were enrolled before; their own client judges."""

import hashlib
import shutil
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Targets

from agent.contract.assignment import Item, ItemKind
from agent.contract.errors import ConfigError, RejectedError, StorageError
from agent.update.fetch import FolderFetcher
from agent.update.repository import Repository as Client
from tests.support.bundles import TINY, with_version
from tests.support.centre import Centre
from tests.support.small_centre import MemoryFloors
from tests.support.writes import writing
from trainer.fleet import keys as keys_module
from trainer.fleet import repository as repository_module
from trainer.fleet.keys import OfflineKeys, OnlineKeys, Role
from trainer.fleet.roots import Succession, succeed


class Device:
    """The update client of one device, enrolled with the root of that moment."""

    def __init__(self, centre: Centre, folder: Path) -> None:
        self.centre, self.floors = centre, MemoryFloors()
        self.client = Client(
            folder,
            centre.repository.root(),
            FolderFetcher(centre.folder / "repository"),
            self.floors,
            now_ms=lambda: centre.clock.ms,
        )

    def fetch(self, version: int) -> None:
        """Fetch a model as the centre assigns it."""
        snapshot, published = self.centre.repository.targets()
        target = published[f"models/tiny-plant-{version}.ewb"]
        data = self.client.fetch(Item(ItemKind.MODEL, target.path, target.length, target.sha256), snapshot).data
        self.client.keep_floors()
        assert hashlib.sha256(data).hexdigest() == target.sha256


@pytest.fixture
def current(current: Centre) -> Centre:
    """It has published a model."""
    publish(current, 1)
    return current


def rotate(centre: Centre, role: Role) -> Succession:
    folder = centre.folder
    return succeed(
        centre.repository, role, offline=folder / "offline", online=folder / "keys" / "online", now_ms=centre.clock.ms
    )


def publish(centre: Centre, version: int) -> None:
    bundle = TINY.read_bytes() if version == 1 else with_version(TINY.read_bytes(), version)
    centre.repository.publish(bundle, OfflineKeys.open(centre.folder / "offline"))


def metadata(centre: Centre, name: str) -> Path:
    return centre.folder / "repository" / "metadata" / name


@pytest.mark.parametrize("role", list(Role))
def test_a_device_enrolled_before_takes_what_is_signed_after_even_if_it_slept_through_two(
    current: Centre, tmp_path: Path, role: Role
) -> None:
    awake, asleep = Device(current, tmp_path / "awake"), Device(current, tmp_path / "asleep")
    for device in (awake, asleep):
        device.fetch(1)
    for version in (2, 3):
        assert rotate(current, role).version == version
        awake.fetch(1)  # at once: there is no moment in which nothing fits
        publish(current, version)
        awake.fetch(version)
    asleep.fetch(3)
    Device(current, tmp_path / "new").fetch(3)


@pytest.mark.parametrize("role", list(Role))
def test_the_old_keys_of_a_role_vouch_for_nothing_any_more(current: Centre, tmp_path: Path, role: Role) -> None:
    shutil.copytree(current.folder / "offline", tmp_path / "stolen-offline")
    shutil.copytree(current.folder / "keys" / "online", tmp_path / "stolen-online")
    device = Device(current, tmp_path / "device")
    device.fetch(1)
    rotate(current, role)
    device.fetch(1)
    thief = {
        Role.ROOT: OfflineKeys.open(tmp_path / "stolen-offline").root,
        Role.TARGETS: OfflineKeys.open(tmp_path / "stolen-offline").targets,
        Role.SNAPSHOT: OnlineKeys.open(tmp_path / "stolen-online").snapshot,
        Role.TIMESTAMP: OnlineKeys.open(tmp_path / "stolen-online").timestamp,
    }[role]
    forge(current, role, thief)
    with pytest.raises(RejectedError, match="not genuine"):
        device.fetch(1)


def forge(centre: Centre, role: Role, thief: tuple[CryptoSigner, ...]) -> None:
    """Write the next metadata of a role with stolen keys; what leads there is signed by those that count."""
    publish(centre, 2)
    if role is Role.ROOT:
        forged = Metadata[Root].from_file(str(metadata(centre, "2.root.json")))
    else:
        newest = max(metadata(centre, "").glob(f"*{role}.json"), key=lambda path: path.stat().st_mtime_ns)
        forged = Metadata.from_file(str(newest))
    forged.signatures.clear()
    forged.signed.version += role is Role.ROOT
    for signer in thief:
        forged.sign(signer, append=True)
    forged.to_file(str(metadata(centre, "3.root.json") if role is Role.ROOT else newest))


@pytest.mark.parametrize("role", [Role.ROOT, Role.TIMESTAMP])
def test_a_crash_at_any_write_is_gone_on_from_and_devices_see_no_torn_repository(
    current: Centre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: Role
) -> None:
    device, crashes = Device(current, tmp_path / "device"), 0
    for crashes in range(40):
        before, write = len(current.repository.roots()), writing(crashes)
        with monkeypatch.context() as patch:
            for module in (keys_module, repository_module):
                patch.setattr(module, "write_durable", write)
            try:
                rotate(current, role)
                break
            except StorageError:
                device.fetch(1)
        rotate(current, role)
        assert len(current.repository.roots()) == before + 1  # not one more for the second attempt
        device.fetch(1)
    assert crashes == {Role.ROOT: 3 + 3 + 1 + 3, Role.TIMESTAMP: 1 + 1 + 3 + 1 + 1}[role]
    publish(current, 2)
    device.fetch(2)


def test_without_enough_root_keys_nothing_is_changed(current: Centre) -> None:
    offline = current.folder / "offline"
    for number in (1, 2):
        (offline / f"root-{number}.json").unlink()
    before = {path: path.read_bytes() for path in current.folder.rglob("*.json")}
    with pytest.raises(ConfigError, match="1 of the root keys that devices trust, 2 are needed"):
        rotate(current, Role.TARGETS)
    assert {path: path.read_bytes() for path in current.folder.rglob("*.json")} == before


def test_a_lost_root_key_that_turns_up_again_is_not_taken_back(current: Centre, tmp_path: Path) -> None:
    offline = current.folder / "offline"
    shutil.move(offline / "root-3.json", tmp_path / "root-3.json")
    assert rotate(current, Role.ROOT).files == ("root-4.json", "root-5.json", "root-6.json")
    shutil.move(tmp_path / "root-3.json", offline / "root-3.json")
    assert rotate(current, Role.ROOT).files == ("root-7.json", "root-8.json", "root-9.json")


def test_a_process_that_holds_replaced_keys_writes_nothing_with_them(current: Centre, tmp_path: Path) -> None:
    late = repository_module.Repository(current.folder / "repository", current.online, lambda: current.clock.ms)
    rotate(current, Role.TIMESTAMP)
    current.clock.ms += 3 * 86_400_000
    before = metadata(current, "timestamp.json").read_bytes()
    with pytest.raises(ConfigError, match="timestamp keys that root version 2 names"):
        late.refresh()
    assert metadata(current, "timestamp.json").read_bytes() == before
    late.use(OnlineKeys.open(current.folder / "keys" / "online"))
    assert late.refresh()


def test_new_devices_begin_with_the_newest_root(current: Centre) -> None:
    rotate(current, Role.ROOT)
    root = Metadata[Root].from_bytes(current.repository.root()).signed
    assert root.version == 2
    assert Metadata[Targets].from_file(str(metadata(current, "2.targets.json"))).signed.version == 2
