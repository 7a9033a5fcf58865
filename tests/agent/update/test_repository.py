"""Attacks on the update repository; each must be seen, and leave floors and believed data as they were."""

import datetime as dt
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadError, DownloadHTTPError

from agent.contract.assignment import Item, ItemKind
from agent.contract.errors import EdgewattError, RejectedError, UnavailableError
from agent.contract.messages import NOT_FOUND, OK, REFUSED, RepoData, RepoGet
from agent.update.fetch import FolderFetcher, MqttFetcher, Partials, RepositoryFetcher
from agent.update.repository import Repository
from tests.support.small_centre import MemoryFloors
from tests.support.tuf_repository import TufRepository

NOW = dt.datetime.now(dt.UTC)
MODEL = "models/press-1.ewb"
DATA = bytes(range(256)) * 800  # four pieces


class Side:
    """The device's side of one repository; `restart` forgets everything in memory."""

    def __init__(self, tmp_path: Path, repo: TufRepository, fetcher: RepositoryFetcher | None = None):
        self.folder, self.repo, self.floors = tmp_path / "device", repo, MemoryFloors()
        self.now = NOW
        self.partials = Partials(tmp_path / "partials")
        self.fetcher = fetcher or FolderFetcher(repo.folder)
        self.client = self.restart()

    def restart(self) -> Repository:
        self.client = Repository(
            self.folder,
            self.repo.root_bytes,
            self.fetcher,
            self.floors,
            now_ms=lambda: int(self.now.timestamp() * 1000),
            partials=self.partials,
        )
        return self.client

    def fetch(self, item: Item | None = None, least: int = 0) -> bytes:
        try:
            return self.client.fetch(item or self.repo.item(MODEL), least).data
        finally:
            self.client.keep_floors()

    def refuses(self, error: type[EdgewattError], match: str, item: Item | None = None, least: int = 0) -> None:
        before = dict(self.floors.values)
        with pytest.raises(error, match=match):
            self.fetch(item, least)
        assert self.floors.values == before
        targets = self.folder / "targets"
        assert not targets.exists() or list(targets.iterdir()) == []


@pytest.fixture
def repo(tmp_path: Path) -> TufRepository:
    made = TufRepository(tmp_path / "repo", now=NOW)
    made.publish({MODEL: DATA})
    return made


@pytest.fixture
def side(tmp_path: Path, repo: TufRepository) -> Side:
    return Side(tmp_path, repo)


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


class Pieces:
    """The centre's answers to `repo/get`, given in another thread as they are over MQTT; a test can bend them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.asked: list[RepoGet] = []
        self.fetcher: MqttFetcher | None = None
        self.bend = lambda request, answer: [answer]
        self.connected = True

    def send(self, topic: str, payload: bytes) -> bool:
        assert topic == "ew/v1/press-1/repo/get"
        if not self.connected:
            return False
        request = RepoGet.from_bytes(payload)
        self.asked.append(request)
        thread = threading.Thread(target=self._answer, args=(request,))
        thread.start()
        thread.join(0)
        return True

    def _answer(self, request: RepoGet) -> None:
        path = self.folder / request.path
        if path.exists():
            data = path.read_bytes()
            piece = data[request.offset : request.offset + request.length]
            answer = RepoData(request.id, OK, len(data), request.offset, piece)
        else:
            answer = RepoData(request.id, NOT_FOUND, 0, 0, b"")
        for each in self.bend(request, answer):
            self.fetcher.deliver(each.to_bytes())


@pytest.fixture
def pieces(tmp_path: Path, repo: TufRepository) -> Iterator[Pieces]:
    made = Pieces(repo.folder)
    made.fetcher = MqttFetcher(made.send, "press-1", Partials(tmp_path / "partials"), answer_s=0.3, attempts=2)
    yield made
    made.fetcher.close()


@pytest.fixture
def wired(tmp_path: Path, repo: TufRepository, pieces: Pieces) -> Side:
    return Side(tmp_path, repo, pieces.fetcher)


def test_fetches_in_pieces_over_messages(wired: Side, pieces: Pieces):
    assert wired.fetch() == DATA
    targets = [request.offset for request in pieces.asked if request.path.startswith("targets/")]
    assert targets == [0, 65_536, 131_072, 196_608]


def test_resumes_a_download_that_broke_off_also_after_a_restart(wired: Side, pieces: Pieces):
    pieces.bend = lambda request, answer: [] if request.offset >= 131_072 else [answer]
    with pytest.raises(UnavailableError, match="no answer"):
        wired.fetch()
    pieces.asked.clear()
    pieces.bend = lambda request, answer: [answer]
    wired.restart()
    assert wired.fetch() == DATA
    assert [request.offset for request in pieces.asked if request.path.startswith("targets/")] == [131_072, 196_608]


def test_does_not_resume_a_download_that_was_wrong(wired: Side, pieces: Pieces):
    def spoil(request: RepoGet, answer: RepoData) -> list[RepoData]:
        if request.path.startswith("targets/"):
            return [RepoData(answer.id, OK, answer.total, answer.offset, bytes(len(answer.data)))]
        return [answer]

    pieces.bend = spoil
    with pytest.raises(RejectedError, match="not genuine"):
        wired.fetch()
    pieces.bend = lambda request, answer: [answer]
    assert wired.fetch() == DATA


def test_asks_again_for_a_piece_that_was_lost(wired: Side, pieces: Pieces):
    lost: set[tuple[str, int]] = set()

    def lose_once(request: RepoGet, answer: RepoData) -> list[RepoData]:
        key = (request.path, request.offset)
        if key in lost or request.offset != 65_536:
            return [answer]
        lost.add(key)
        return []

    pieces.bend = lose_once
    assert wired.fetch() == DATA
    assert len(lost) == 1


def test_ignores_pieces_that_were_not_asked_for(wired: Side, pieces: Pieces):
    def noise(request: RepoGet, answer: RepoData) -> list[RepoData]:
        stranger = RepoData("ab" * 8, OK, 10**6, answer.offset, b"evil")
        return [stranger, answer, RepoData(answer.id, OK, 10**6, answer.offset, b"twice")]

    pieces.bend = noise
    assert wired.fetch() == DATA


@pytest.mark.parametrize(
    "bend",
    [
        lambda request, answer: [RepoData(answer.id, OK, 10**12, answer.offset + 1, answer.data)],
        lambda request, answer: [RepoData(answer.id, OK, answer.total or 1, answer.offset, b"")],
        lambda request, answer: [RepoData(answer.id, OK, 1, answer.offset, answer.data)],
    ],
)
def test_breaks_off_when_an_answer_does_not_fit(wired: Side, pieces: Pieces, bend):
    pieces.bend = bend
    wired.refuses(UnavailableError, "another piece")


def test_stops_a_centre_that_sends_for_ever(wired: Side, pieces: Pieces):
    def endless(request: RepoGet, answer: RepoData) -> list[RepoData]:
        if answer.status != OK:
            return [answer]
        return [RepoData(answer.id, OK, 10**12, request.offset, bytes(65_536))]

    pieces.bend = endless
    wired.refuses(RejectedError, "more than it may")
    assert len(pieces.asked) < 20


def test_tells_apart_refused_not_connected_and_closed(wired: Side, pieces: Pieces):
    pieces.bend = lambda request, answer: [RepoData(answer.id, REFUSED, 0, 0, b"")]
    wired.refuses(UnavailableError, "refuses")
    pieces.connected = False
    wired.refuses(UnavailableError, "no connection")
    pieces.connected = True
    pieces.fetcher.close()
    wired.refuses(UnavailableError, "closed")


def test_rejects_a_malformed_piece(pieces: Pieces):
    with pytest.raises(RejectedError):
        pieces.fetcher.deliver(b"\0\1x")


def test_keeps_one_begun_download_at_most(tmp_path: Path):
    partials = Partials(tmp_path / "p")
    assert partials.held("aa") == b""
    partials.append("aa", b"1")
    partials.append("aa", b"2")
    assert partials.held("aa") == b"12"
    assert partials.held("bb") == b""
    assert partials.held("aa") == b""
    partials.drop("aa")
