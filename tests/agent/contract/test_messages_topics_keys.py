"""Unsigned messages, topics, keys and errors."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract import errors, messages, topics
from agent.contract.errors import ConfigError, EdgewattError, RejectedError
from agent.contract.keys import SealingKey, SealTo, SigningKey, key_id, verify_key
from agent.contract.messages import RepoData, RepoGet, Status
from agent.contract.topics import DeviceTopics
from tests.support.nasty import mutations

GET = RepoGet("0a1b", "targets/models/victoria-1.ewb", 65_536, 4096)
DATA = RepoData("0a1b", "ok", 70_000, 65_536, b"\x00\xffbytes")
STATUS = Status("online", 1_764_000_000_000, "0.1.0", 7)


def test_bytes_are_pinned():
    assert GET.to_bytes() == b'{"id":"0a1b","length":4096,"offset":65536,"path":"targets/models/victoria-1.ewb"}'
    head = b'{"id":"0a1b","offset":65536,"status":"ok","total":70000}'
    assert DATA.to_bytes() == struct.pack(">H", len(head)) + head + b"\x00\xffbytes"
    assert STATUS.to_bytes() == b'{"boot":7,"schema":1,"state":"online","time_ms":1764000000000,"version":"0.1.0"}'


@pytest.mark.parametrize("value", [GET, DATA, STATUS])
def test_round_trip(value):
    assert type(value).from_bytes(value.to_bytes()) == value


@pytest.mark.parametrize("value", [GET, STATUS])
def test_every_field_is_checked(value):
    for what, changed in mutations(json.loads(value.to_bytes())):
        try:
            read = type(value).from_bytes(json.dumps(changed).encode())
        except RejectedError:
            continue
        assert type(value).from_bytes(read.to_bytes()) == read, what


def test_every_field_of_a_piece_is_checked():
    for what, changed in mutations({"id": "0a", "status": "ok", "total": 9, "offset": 0}):
        head = json.dumps(changed).encode()
        if len(head) > 65_535:
            continue
        try:
            read = RepoData.from_bytes(struct.pack(">H", len(head)) + head + b"x")
        except RejectedError:
            continue
        assert RepoData.from_bytes(read.to_bytes()) == read, what


@pytest.mark.parametrize(
    "answer",
    [
        RepoData("0a", "ok", 5, 3, b"xyz"),  # beyond the end
        RepoData("0a", "not-found", 0, 0, b"x"),
        RepoData("0a", "refused", 5, 0, b"x"),
        RepoData("0a", "other", 0, 0, b""),
        RepoData("0a", "ok", 2**20, 0, b"x" * (messages.MAX_PIECE_BYTES + 1)),
    ],
)
def test_pieces_that_contradict_themselves_are_refused(answer):
    with pytest.raises(RejectedError):
        RepoData.from_bytes(answer.to_bytes())


@pytest.mark.parametrize(
    "path",
    [
        "",
        "metadata",
        "metadata/",
        "/metadata/x",
        "metadata/../x",
        "metadata/.x",
        "metadata//x",
        "keys/x",
        "targets/a\\b",
        "targets/a/b/c/d/e/f",
        "targets/a\n",
        "targets/%2e%2e",
        "targets/" + "x" * 200,
    ],
)
def test_paths_outside_the_repository_are_refused(path):
    with pytest.raises(RejectedError, match="path"):
        RepoGet.from_bytes(RepoGet("0a", path, 0, 1).to_bytes())


@given(st.binary(max_size=80))
def test_any_bytes_are_refused(data):
    for form in (RepoGet, RepoData, Status):
        with pytest.raises(RejectedError):
            form.from_bytes(data)


class TestTopics:
    def test_spelling_is_pinned(self):
        own = DeviceTopics("plant-1")
        assert [own.up("batch"), own.status, own.repo_get, own.repo_data, own.ack, own.assign] == [
            "ew/v1/plant-1/up/batch",
            "ew/v1/plant-1/status",
            "ew/v1/plant-1/repo/get",
            "ew/v1/plant-1/repo/data",
            "ew/v1/plant-1/ack",
            "ew/v1/plant-1/assign",
        ]
        assert (own.enrol_request, own.enrol_response) == (
            "ew/v1/plant-1/enrol/request",
            "ew/v1/plant-1/enrol/response",
        )
        assert topics.STREAMS == ("readings", "slots", "forecasts", "costs", "alerts", "events", "health")
        assert (topics.UP, topics.STATUS, topics.REPO_GET, topics.ENROL_REQUEST) == (
            "ew/v1/+/up/+",
            "ew/v1/+/status",
            "ew/v1/+/repo/get",
            "ew/v1/+/enrol/request",
        )

    def test_the_device_is_found_in_its_topics(self):
        own = DeviceTopics("plant-1")
        for topic in (own.up("readings"), own.status, own.repo_get, own.enrol_request):
            assert topics.device_of(topic) == "plant-1"

    @pytest.mark.parametrize(
        "topic",
        [
            "",
            "ew/v1",
            "ew/v1/plant",
            "ew/v1//up",
            "ew/v2/plant/up",
            "ew/v1/Plant/up",
            "ew/v1/+/up/x",
            "$SYS/x",
            "ew/v1/p\n/up",
            "ew/v1/" + "x" * 33 + "/up",
            "xew/v1/p/up",
        ],
    )
    def test_other_topics_are_refused(self, topic):
        with pytest.raises(RejectedError):
            topics.device_of(topic)

    @pytest.mark.parametrize("device", ["", "Plant", "a/b", "a+", "#", "a\n", "x" * 33, "ü", "a.b"])
    def test_device_ids_that_could_leave_their_topics_are_refused(self, device):
        with pytest.raises(ConfigError):
            topics.check_device_id(device)
        assert topics.check_device_id("plant-01") == "plant-01"


class TestKeys:
    def test_private_keys_are_never_shown(self, golden):
        for key in (
            SigningKey(bytes.fromhex(golden["signing_private"])),
            SealingKey(bytes.fromhex(golden["sealing_private"])),
        ):
            assert key.private.hex()[:16] not in repr(key) + str(key) + f"{key}"
            assert key.id in repr(key)

    def test_names_are_half_of_a_hash(self):
        assert key_id(b"") == "e3b0c44298fc1c14"

    @pytest.mark.parametrize("length", [0, 31, 33])
    def test_public_keys_of_another_length_are_refused(self, length):
        with pytest.raises(RejectedError):
            verify_key(bytes(length))

    @pytest.mark.parametrize("public", [b"", bytes(1215), bytes(1217), b"\xff" * 1216])
    def test_bytes_that_are_no_sealing_key_are_refused(self, public):
        with pytest.raises(RejectedError):
            SealTo(public)

    def test_a_key_that_hides_nothing_is_refused(self):
        with pytest.raises(RejectedError, match="weak"):
            SealTo(bytes(1216)).seal(b"x", b"")

    def test_sealing_is_never_the_same(self):
        key = SealingKey.generate()
        to = SealTo(key.public)
        one, two = to.seal(b"x", b"i"), to.seal(b"x", b"i")
        assert one != two
        assert key.open(one, b"i") == key.open(two, b"i") == b"x"


def test_every_error_has_the_exit_code_of_its_branch():
    codes = {cls.__name__: cls.exit_code for cls in (EdgewattError, *EdgewattError.__subclasses__())}
    assert codes == {
        "EdgewattError": 70,
        "ConfigError": 78,
        "UnavailableError": 75,
        "RejectedError": 65,
        "StorageError": 74,
    }


def test_an_error_says_where_what_and_what_to_do():
    text = str(errors.ConfigError("is not a number", where="agent.toml line 3", todo="Write 1.5"))
    assert text == "agent.toml line 3: is not a number. Write 1.5"
    assert str(errors.ConfigError("is wrong")) == "is wrong"
