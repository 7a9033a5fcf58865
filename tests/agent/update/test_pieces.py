"""The repository in pieces over messages: asked for again, resumed, and never more or other than was asked for."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.contract.errors import RejectedError, UnavailableError
from agent.contract.messages import NOT_FOUND, OK, REFUSED, RepoData, RepoGet
from agent.update.fetch import MqttFetcher, Partials
from tests.support.tuf_repository import TufRepository
from tests.support.update_side import DATA, Side


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
