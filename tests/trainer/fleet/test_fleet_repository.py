"""The update repository as devices see it, through python-tuf's own client; crashes and tampering included."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadHTTPError, ExpiredMetadataError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.ngclient import FetcherInterface, Updater

from agent.contract.errors import ConfigError, RejectedError, StorageError
from agent.contract.trust import FleetTrust
from tests.support.bundles import TINY, not_better_than_naive, with_manifest, with_version, with_wrong_golden
from tests.support.centre import DAY_MS, Centre
from tests.support.writes import writing
from trainer.fleet import repository as module
from trainer.fleet.keys import OfflineKeys
from trainer.fleet.repository import FLEET_TRUST, Repository

TINY_PATH = "models/tiny-plant-1.ewb"


class FolderFetcher(FetcherInterface):
    """Carries the repository's files to python-tuf's client."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._folder / url.removeprefix("repo:/")
        if not path.exists():
            raise DownloadHTTPError("not there", 404)
        yield path.read_bytes()


def client(centre: Centre, folder: Path, name: str) -> Updater:
    """A device that has seen nothing but the first root."""
    home = folder / name
    (home / "metadata").mkdir(parents=True)
    (home / "targets").mkdir()
    updater = Updater(
        metadata_dir=str(home / "metadata"),
        metadata_base_url="repo:/metadata/",
        target_dir=str(home / "targets"),
        target_base_url="repo:/targets/",
        fetcher=FolderFetcher(centre.folder / "repository"),
        bootstrap=centre.repository.root(),
    )
    updater.refresh()
    return updater


def fetch(updater: Updater, path: str) -> bytes | None:
    info = updater.get_targetinfo(path)
    return None if info is None else Path(updater.download_target(info)).read_bytes()


def files(centre: Centre) -> dict[str, bytes]:
    folder = centre.folder / "repository"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_device_gets_the_fleets_keys_and_a_published_model(current: Centre, tmp_path: Path) -> None:
    published = current.repository.publish(TINY.read_bytes(), current.offline)
    assert (published.target.path, published.snapshot_version, published.new) == (TINY_PATH, 2, True)
    updater = client(current, tmp_path, "device")
    assert fetch(updater, TINY_PATH) == TINY.read_bytes()
    trust = fetch(updater, FLEET_TRUST)
    assert trust is not None
    assert FleetTrust.from_json(json.loads(trust)) == current.online.trust
    version, targets = current.repository.targets()
    assert version == 2
    assert targets[TINY_PATH].sha256 == hashlib.sha256(TINY.read_bytes()).hexdigest()


def test_publishing_the_same_bytes_again_changes_nothing(centre: Centre) -> None:
    centre.repository.publish(TINY.read_bytes(), centre.offline)
    before = files(centre)
    again = centre.repository.publish(TINY.read_bytes(), centre.offline)
    assert (again.new, again.snapshot_version) == (False, 2)
    assert files(centre) == before


def test_other_bytes_under_a_published_name_and_version_are_refused(centre: Centre) -> None:
    centre.repository.publish(TINY.read_bytes(), centre.offline)
    before = files(centre)
    with pytest.raises(RejectedError, match="higher version"):
        centre.repository.publish(with_wrong_golden(TINY.read_bytes()), centre.offline)
    assert files(centre) == before


def test_a_bundle_that_devices_would_refuse_is_refused(centre: Centre) -> None:
    before = files(centre)
    good = TINY.read_bytes()
    for bad in (not_better_than_naive(good), good[:-10], b"", good[:500] + b"x" + good[501:]):
        with pytest.raises(RejectedError):
            centre.repository.publish(bad, centre.offline)
    assert files(centre) == before


def test_a_formally_valid_model_with_wrong_golden_outputs_is_published(centre: Centre) -> None:
    bad = with_wrong_golden(TINY.read_bytes(), version=2)
    assert centre.repository.publish(bad, centre.offline).target.path == "models/tiny-plant-2.ewb"


def test_a_version_too_long_for_a_target_path_is_refused(centre: Centre) -> None:
    bundle = with_manifest(TINY.read_bytes(), name="a" * 48, version=10**15)
    with pytest.raises(RejectedError, match="shorter name"):
        centre.repository.publish(bundle, centre.offline)


def test_roles_and_lifetimes_are_as_designed(centre: Centre) -> None:
    root = Metadata[Root].from_bytes(centre.repository.root())
    assert {name: (len(role.keyids), role.threshold) for name, role in root.signed.roles.items()} == {
        "root": (3, 2),
        "targets": (1, 1),
        "snapshot": (1, 1),
        "timestamp": (1, 1),
    }
    assert root.signed.consistent_snapshot
    root.verify_delegate("root", root)
    days = {}
    for name in ("1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json"):
        signed = json.loads((centre.folder / "repository" / "metadata" / name).read_bytes())["signed"]
        days[name] = signed["expires"]
    assert days == {
        "1.root.json": "2028-11-17T11:06:40Z",
        "1.targets.json": "2028-11-17T11:06:40Z",
        "1.snapshot.json": "2027-02-16T11:06:40Z",
        "timestamp.json": "2026-12-18T11:06:40Z",
    }


def test_the_timestamp_is_signed_anew_daily_and_the_snapshot_monthly(centre: Centre) -> None:
    def versions() -> tuple[int, int]:
        timestamp = json.loads((centre.folder / "repository" / "metadata" / "timestamp.json").read_bytes())["signed"]
        return timestamp["version"], timestamp["meta"]["snapshot.json"]["version"]

    assert not centre.repository.refresh()
    centre.clock.ms += DAY_MS
    assert centre.repository.refresh()
    assert not centre.repository.refresh()
    assert versions() == (2, 1)
    centre.clock.ms += 30 * DAY_MS
    assert centre.repository.refresh()
    assert versions() == (3, 2)
    assert centre.repository.offline_days_left() == {"targets": 730 - 31, "root": 730 - 31}


def test_a_repository_that_nobody_refreshed_installs_nothing(current: Centre, tmp_path: Path) -> None:
    current.clock.ms -= 31 * DAY_MS
    for path in (current.folder / "repository" / "metadata").iterdir():
        path.unlink()
    current.repository.create(current.offline)
    with pytest.raises(ExpiredMetadataError):
        client(current, tmp_path, "device")
    current.clock.ms += 31 * DAY_MS
    current.repository.refresh()
    client(current, tmp_path, "device-2")


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_write_leaves_what_devices_saw_before(
    current: Centre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    current.repository.publish(TINY.read_bytes(), current.offline)
    second = with_version(TINY.read_bytes(), 2)
    crashes = 0
    while True:
        with monkeypatch.context() as patch:
            patch.setattr(module, "write_durable", writing(crashes, lambda _: KeyboardInterrupt(), after=after))
            try:
                current.repository.publish(second, current.offline)
                break
            except KeyboardInterrupt:
                pass
        updater = client(current, tmp_path, f"device-{crashes}")
        assert fetch(updater, TINY_PATH) == TINY.read_bytes()
        assert fetch(updater, "models/tiny-plant-2.ewb") in {None, second}
        if current.repository.targets()[1].keys() >= {"models/tiny-plant-2.ewb"}:
            break  # the timestamp was written: the crash came after the publication
        crashes += 1
    assert crashes == (3 if after else 4)  # target, targets, snapshot, timestamp
    assert fetch(client(current, tmp_path, "last"), "models/tiny-plant-2.ewb") == second


def test_a_crash_while_the_repository_is_made_is_gone_on_from(
    current: Centre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for crashes in range(5):
        for path in (current.folder / "repository" / "metadata").iterdir():
            path.unlink()
        with monkeypatch.context() as patch:
            patch.setattr(module, "write_durable", writing(crashes))
            with pytest.raises(StorageError):
                current.repository.create(current.offline)
        assert current.repository.create(current.offline)
        assert not current.repository.create(current.offline)
        assert fetch(client(current, tmp_path, f"device-{crashes}"), FLEET_TRUST) is not None


def test_targets_that_the_offline_key_did_not_sign_are_not_built_upon(centre: Centre) -> None:
    path = centre.folder / "repository" / "metadata" / "1.targets.json"
    metadata = Metadata[Targets].from_file(str(path))
    metadata.signed.targets["models/evil-1.ewb"] = metadata.signed.targets[FLEET_TRUST]
    metadata.sign(centre.online.snapshot[0])  # all that a thief of the on-line keys can do
    path.write_bytes(metadata.to_bytes())
    before = files(centre)
    with pytest.raises(RejectedError, match="not signed by this off-line key"):
        centre.repository.publish(TINY.read_bytes(), centre.offline)
    assert files(centre) == before


def test_keys_of_another_centre_cannot_publish(centre: Centre, tmp_path: Path) -> None:
    before = files(centre)
    with pytest.raises(RejectedError, match="not signed by this off-line key"):
        centre.repository.publish(TINY.read_bytes(), OfflineKeys.create(tmp_path / "stranger", 0))
    assert files(centre) == before


def test_damaged_metadata_is_said_to_be_damaged(centre: Centre) -> None:
    path = centre.folder / "repository" / "metadata" / "1.snapshot.json"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StorageError, match="is damaged"):
        centre.repository.targets()
    path.write_bytes((path.parent / "1.targets.json").read_bytes())
    with pytest.raises(StorageError, match="is not snapshot"):
        centre.repository.targets()


def test_no_repository_is_one_clear_error(centre: Centre, tmp_path: Path) -> None:
    nothing = Repository(tmp_path / "nothing", centre.online, centre.clock.now)
    for call in (
        nothing.root,
        nothing.targets,
        nothing.refresh,
        lambda: nothing.publish(TINY.read_bytes(), centre.offline),
    ):
        with pytest.raises(ConfigError, match="edgewatt-trainer init"):
            call()
    assert not (tmp_path / "nothing").exists()


def test_publishing_and_refreshing_at_once_lose_nothing(current: Centre, tmp_path: Path) -> None:
    bundles = [with_version(TINY.read_bytes(), version) for version in range(2, 8)]

    def publish(chosen: list[bytes]) -> None:
        for bundle in chosen:
            Repository(current.folder / "repository", current.online, current.clock.now).publish(
                bundle, current.offline
            )

    def refresh() -> None:
        late = Repository(current.folder / "repository", current.online, lambda: current.clock.ms + 2 * DAY_MS)
        for _ in range(10):
            late.refresh()

    with ThreadPoolExecutor() as pool:
        work = [pool.submit(publish, bundles[:3]), pool.submit(publish, bundles[3:]), pool.submit(refresh)]
    for done in work:
        done.result()
    updater = client(current, tmp_path, "device")
    assert all(fetch(updater, f"models/tiny-plant-{version}.ewb") for version in range(2, 8))
