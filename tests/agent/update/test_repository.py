"""Attacks on the update repository; each must be seen, and leave floors and believed data as they were."""

import datetime as dt
import hashlib
import json
import shutil
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadError, DownloadHTTPError

from agent.contract.assignment import Item, ItemKind
from agent.contract.errors import RejectedError, UnavailableError
from agent.update.fetch import FolderFetcher
from tests.support.tuf_repository import TufRepository
from tests.support.update_side import DATA, MODEL, NOW, Side


def test_returns_what_repository_and_assignment_name(side: Side):
    assert side.fetch() == DATA
    assert {name.rsplit("/", 1)[-1]: version for name, version in side.floors.values.items()} == {
        "root": 1,
        "timestamp": 2,
        "snapshot": 2,
        "targets.json": 2,
    }
    assert side.fetch() == DATA
    side.restart()
    assert side.fetch() == DATA


@pytest.mark.parametrize("path", ["models/other.ewb", "trust/fleet.json"])
def test_installs_nothing_that_the_repository_does_not_have(side: Side, path: str):
    side.fetch()
    side.refuses(
        RejectedError, "does not have", Item(ItemKind.MODEL, path, len(DATA), hashlib.sha256(DATA).hexdigest())
    )


@pytest.mark.parametrize("change", [{"length": len(DATA) - 1}, {"sha256": "00" * 32}])
def test_repository_and_assignment_must_agree(side: Side, change):
    side.fetch()
    good = side.repo.item(MODEL)
    item = Item(good.kind, good.path, change.get("length", good.length), change.get("sha256", good.sha256))
    side.refuses(RejectedError, "another length or hash", item)


def test_rejects_a_target_that_was_changed(side: Side, repo: TufRepository):
    side.fetch()
    repo.target_file(MODEL).write_bytes(DATA[:-1] + b"x")
    side.refuses(RejectedError, "not genuine")


@pytest.mark.parametrize("size", [len(DATA) + 1, 40 * len(DATA)])
def test_stops_reading_a_target_that_does_not_end(side: Side, repo: TufRepository, size: int):
    side.fetch()
    repo.target_file(MODEL).write_bytes(bytes(size))
    side.refuses(RejectedError, "more than it may")


def test_rejects_a_target_that_is_cut_short(side: Side, repo: TufRepository):
    side.fetch()
    repo.target_file(MODEL).write_bytes(DATA[:100])
    side.refuses(RejectedError, "not genuine")


@pytest.mark.parametrize("name", ["timestamp.json", "3.snapshot.json", "3.targets.json", "2.root.json"])
def test_stops_reading_metadata_that_does_not_end(side: Side, repo: TufRepository, name: str):
    side.fetch()
    repo.publish()
    (repo.folder / "metadata" / name).write_bytes(b" " * 3_000_000)
    side.refuses(RejectedError, "more than it may")


@pytest.mark.parametrize("name", ["timestamp.json", "3.snapshot.json", "3.targets.json"])
def test_rejects_metadata_signed_by_nobody(side: Side, repo: TufRepository, name: str):
    side.fetch()
    repo.publish()
    path = repo.folder / "metadata" / name
    value = json.loads(path.read_text())
    value["signed"]["expires"] = "2099-01-01T00:00:00Z"
    path.write_text(json.dumps(value))
    side.refuses(RejectedError, "not genuine")


def test_rejects_a_rolled_back_repository(side: Side, repo: TufRepository, tmp_path: Path):
    old = repo.copy(tmp_path / "old")
    repo.publish()
    side.fetch()
    repo.replay(old)
    side.refuses(RejectedError, "not genuine")
    side.restart()
    side.refuses(RejectedError, "not genuine")


@pytest.mark.parametrize("damage", ["empty", "deleted", "garbage"])
def test_rejects_a_rolled_back_repository_also_after_the_local_files_are_lost(
    side: Side, repo: TufRepository, tmp_path: Path, damage: str
):
    old = repo.copy(tmp_path / "old")
    repo.publish()
    side.fetch()
    repo.replay(old)
    for path in (side.folder / "metadata").rglob("*.json"):
        if damage == "deleted":
            path.unlink()
        elif not path.is_symlink():
            path.write_bytes(b"" if damage == "empty" else b"{}")
    side.restart()
    side.refuses(RejectedError, "went back")
    shutil.rmtree(side.folder)
    side.restart()
    side.refuses(RejectedError, "went back")


def test_goes_on_after_the_local_files_are_emptied_by_a_power_cut(side: Side):
    side.fetch()
    for path in (side.folder / "metadata").rglob("*.json"):
        if not path.is_symlink():
            path.write_bytes(b"")
    side.restart()
    assert side.fetch() == DATA


def test_rejects_a_snapshot_put_together_from_two_versions(side: Side, repo: TufRepository, tmp_path: Path):
    """Mix and match: today's timestamp and snapshot with targets of yesterday under today's name."""
    side.fetch()
    old = (repo.folder / "metadata" / "2.targets.json").read_bytes()
    repo.publish({MODEL: b"newer"})
    (repo.folder / "metadata" / "3.targets.json").write_bytes(old)
    side.refuses(RejectedError, "not genuine")


def test_refuses_to_install_from_a_repository_that_is_frozen(side: Side):
    side.fetch()
    side.now = NOW + dt.timedelta(days=31)
    side.refuses(UnavailableError, "out of date")
    side.now = NOW + dt.timedelta(days=1)
    assert side.fetch() == DATA


def test_refuses_a_repository_that_was_out_of_date_by_the_systems_own_clock(tmp_path: Path):
    repo = TufRepository(tmp_path / "repo", now=NOW - dt.timedelta(days=40))
    repo.publish({MODEL: DATA})
    side = Side(tmp_path, repo)
    side.refuses(UnavailableError, "out of date")


def test_waits_while_the_clock_is_behind_its_floor(side: Side):
    side.floors.raise_floor("clock", int(NOW.timestamp() * 1000))
    side.now = dt.datetime(1970, 1, 1, 0, 1, tzinfo=dt.UTC)
    side.refuses(UnavailableError, "clock is behind")
    side.now = NOW
    assert side.fetch() == DATA


def test_rejects_a_snapshot_older_than_the_assignment_asks_for(side: Side):
    side.fetch()
    side.refuses(RejectedError, "asks for 3", least=3)
    assert side.fetch(least=2) == DATA


def test_follows_a_new_root_and_lets_versions_begin_anew_with_new_keys(side: Side, repo: TufRepository):
    side.fetch()
    repo.timestamp.version = 1000  # a thief of the online keys ran the versions up
    repo.snapshot.version = 1000
    repo.publish()
    side.fetch()
    repo.rotate("timestamp", "snapshot")
    repo.timestamp.version, repo.snapshot.version = 5, 5
    repo.publish()
    assert side.fetch() == DATA
    assert side.floors.floor("tuf/root") == 2


def test_rejects_a_repository_without_the_root_that_replaced_stolen_keys(
    side: Side, repo: TufRepository, tmp_path: Path
):
    old = repo.copy(tmp_path / "old")
    repo.rotate("timestamp", "snapshot")
    repo.publish()
    side.fetch()
    repo.replay(old)
    shutil.rmtree(side.folder)
    side.restart()
    side.refuses(RejectedError, "root.* went back|went back: root")


def test_an_empty_folder_is_no_repository_but_not_a_crash(tmp_path: Path, repo: TufRepository):
    empty = tmp_path / "usb"
    empty.mkdir()
    side = Side(tmp_path, repo, FolderFetcher(empty))
    side.refuses(UnavailableError, "no such file")


def test_a_folder_fetcher_reads_files_of_the_repository_only(tmp_path: Path):
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "usb" / "metadata").mkdir(parents=True)
    (tmp_path / "usb" / "metadata" / "folder").mkdir()
    fetcher = FolderFetcher(tmp_path / "usb")
    for url in ("metadata/../../secret", "/etc/passwd", "metadata/.hidden", "other/x"):
        with pytest.raises(DownloadError, match="not a path"):
            list(fetcher.fetch(url))
    for url in ("metadata/none.json", "metadata/folder", "metadata/folder/x"):
        with pytest.raises(DownloadHTTPError) as caught:
            list(fetcher.fetch(url))
        assert caught.value.status_code == 404
