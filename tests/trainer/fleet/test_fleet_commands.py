"""The fleet's commands as an operator types them."""

import json
from functools import partial
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from agent.contract.assignment import Assignment
from agent.contract.enrolment import Enrolment, EnrolmentResponse, seal_request
from agent.contract.errors import ConfigError, EdgewattError, RejectedError, UnavailableError
from agent.contract.keys import SigningKey
from agent.contract.trust import KeyUse
from tests.support.broker import HOST, free_port
from tests.support.bundles import TINY, not_better_than_naive, with_version
from trainer.cli.home import Home
from trainer.cli.main import trainer
from trainer.fleet import brokercontrol
from trainer.fleet import database as db
from trainer.fleet.assignments import Assignments
from trainer.fleet.certificates import Authority
from trainer.fleet.keys import OnlineKeys


def run(home: Path, *arguments: str | Path) -> str:
    """Standard output of a command; its error is raised."""
    result = CliRunner().invoke(
        trainer, ["--home", str(home), *map(str, arguments)], catch_exceptions=False, standalone_mode=False
    )
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "centre"
    run(folder, "init", "--fleet", "works")
    return folder


def add(home: Path, name: str, *more: str) -> Enrolment:
    run(home, "device", "add", name, "--broker", "mqtt.example.net:8883", "--out", home / "enrol.json", *more)
    return Enrolment.from_bytes((home / "enrol.json").read_bytes())


def everything(folder: Path) -> dict[str, object]:
    """Every file, and of the database every row: its files change by being read."""
    files: dict[str, object] = {
        str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and "centre.db" not in path.name
    }
    engine = db.open_database(Home.of(folder).database_url)
    with db.read(engine) as connection:
        rows = {table.name: connection.execute(table.select()).all() for table in db.metadata.sorted_tables}
    engine.dispose()
    return files | rows


def test_init_makes_a_centre_once(home: Path) -> None:
    before = everything(home)
    with pytest.raises(ConfigError, match="a centre already"):
        run(home, "init")
    assert everything(home) == before


def test_offline_keys_can_lie_elsewhere_and_only_publishing_needs_them(tmp_path: Path) -> None:
    home, stick = tmp_path / "centre", tmp_path / "stick"
    run(home, "--offline-keys", stick, "init")
    assert not (home / "keys" / "offline").exists()
    away = stick.rename(tmp_path / "in the drawer")
    add(home, "press-1")
    with pytest.raises(ConfigError, match="--offline-keys"):
        run(home, "publish", TINY)
    run(home, "--offline-keys", away, "publish", TINY)


def test_an_enrolment_file_is_private_and_complete(home: Path) -> None:
    (home / "ca.pem").write_text(Authority.create(home / "authority", "works", 1_795_000_000_000).pem)
    enrolment = add(home, "press-1", "--ca", str(home / "ca.pem"), "--plant", "north")
    assert (home / "enrol.json").stat().st_mode & 0o777 == 0o600
    assert (enrolment.device, enrolment.broker.host, enrolment.broker.port) == ("press-1", "mqtt.example.net", 8883)
    assert enrolment.broker.ca_pem.startswith("-----BEGIN")
    assert enrolment.trust.fleet == "works"
    assert json.loads(enrolment.tuf_root)["signed"]["_type"] == "root"
    (device,) = json.loads(run(home, "device", "list", "--json"))["devices"]
    assert (device["name"], device["plant"], device["key"], device["status"]) == ("press-1", "north", None, None)
    assert "not enrolled" in run(home, "device", "list")


def test_a_file_that_cannot_be_written_leaves_the_one_before_valid(home: Path) -> None:
    add(home, "press-1")
    before = everything(home)
    with pytest.raises(EdgewattError, match="cannot be written"):
        run(home, "device", "add", "press-1", "--broker", "b:1", "--out", home / "nowhere" / "enrol.json")
    assert everything(home) == before


def test_a_broker_that_is_away_leaves_the_file_before_valid(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brokercontrol, "BrokerControl", partial(brokercontrol.BrokerControl, within_s=0.1))
    run(home, "broker", "init", "--name", HOST, "--files", tmp_path / "broker", "--port", str(free_port()))
    enrolment, key = add(home, "press-1", "--plant", "north"), SigningKey.generate()
    before = everything(home)
    for name in ("press-1", "press-2"):
        with pytest.raises(UnavailableError, match=r"cannot be reached.+was not written; one made before counts"):
            run(home, "device", "add", name, "--plant", "south", "--out", home / "new.json")
    assert everything(home) == before
    (home / "request").write_bytes(seal_request(enrolment, key, created_ms=1))
    run(home, "device", "accept", home / "request", "--out", home / "response")


def test_a_plant_without_a_network_is_enrolled_by_files(home: Path) -> None:
    enrolment, key = add(home, "press-1"), SigningKey.generate()
    (home / "request").write_bytes(seal_request(enrolment, key, created_ms=1))
    run(home, "device", "accept", home / "request", "--out", home / "response")
    verifiers = enrolment.trust.verifiers(KeyUse.ACK)
    answer = EnrolmentResponse.from_bytes((home / "response").read_bytes(), verifiers, device="press-1", key=key.id)
    assert answer.accepted
    other = SigningKey.generate()
    (home / "request").write_bytes(seal_request(enrolment, other, created_ms=1))
    with pytest.raises(RejectedError, match="has been used"):
        run(home, "device", "accept", home / "request", "--out", home / "response")
    answer = EnrolmentResponse.from_bytes((home / "response").read_bytes(), verifiers, device="press-1", key=other.id)
    assert not answer.accepted
    (home / "request").write_bytes(b"nonsense")
    with pytest.raises(RejectedError):
        run(home, "device", "accept", home / "request", "--out", home / "none")
    assert not (home / "none").exists()


def test_publish_and_assign(home: Path) -> None:
    add(home, "press-1")
    (home / "two.ewb").write_bytes(with_version(TINY.read_bytes(), 2))
    made = json.loads(run(home, "publish", TINY, home / "two.ewb", "--json"))
    assert [item["path"] for item in made["targets"]] == ["models/tiny-plant-1.ewb", "models/tiny-plant-2.ewb"]
    assert (made["schema"], made["snapshot_version"]) == (1, 3)
    assert "was published already" in run(home, "publish", TINY)
    done = json.loads(run(home, "assign", "press-1", "models/tiny-plant-2.ewb", "--json"))
    assert (done["counter"], done["items"]) == (1, ["models/tiny-plant-2.ewb"])
    run(home, "assign", "press-1", "models/tiny-plant-1.ewb", "--allow-downgrade")
    assert Assignments(Home.of(home).database(), lambda: 0).newest() == {"press-1": 2}


def test_a_device_is_revoked_where_the_broker_asks_for_no_certificates(home: Path) -> None:
    enrolment, key = add(home, "press-1"), SigningKey.generate()
    (home / "request").write_bytes(seal_request(enrolment, key, created_ms=1))
    run(home, "device", "accept", home / "request", "--out", home / "response")
    run(home, "device", "revoke", "press-1")
    (device,) = json.loads(run(home, "device", "list", "--json"))["devices"]
    assert device["key"] is None
    add(home, "press-1")  # in good hands again


def test_keys_are_rotated_and_devices_are_told(home: Path) -> None:
    for name in ("press-1", "press-2"):
        enrolment, key = add(home, name), SigningKey.generate()
        if name == "press-1":
            (home / "request").write_bytes(seal_request(enrolment, key, created_ms=1))
            run(home, "device", "accept", home / "request", "--out", home / "response")
    for use in ("seal", "ack", "assign"):
        run(home, "keys", "rotate", use, "--in-days", "0")
    old = [
        key["id"] for key in json.loads(run(home, "keys", "list", "--json"))["keys"] if key["file"].endswith("-1.json")
    ]
    for key_id in old:
        run(home, "keys", "drain", key_id, "--force")
    run(home, "keys", "revoke", old[0], "--force")
    listed = [(key["use"], key["state"]) for key in json.loads(run(home, "keys", "list", "--json"))["keys"]]
    assert listed == [
        *(("seal", "revoked"), ("seal", "active")),
        *(("ack", "draining"), ("ack", "active")),
        *(("assign", "draining"), ("assign", "active")),
    ]
    assert old[0] in run(home, "keys", "list")
    told = json.loads(run(home, "trust", "publish", "--json"))
    assert (told["new"], told["assigned"]) == (True, ["press-1"])  # the other is not enrolled yet
    (file,) = (home / "repository" / "targets" / "trust").glob(f"{told['sha256']}.fleet.json")
    assert json.loads(file.read_bytes()) == OnlineKeys.open(home / "keys" / "online").trust.to_json()
    message = Assignments(Home.of(home).database(), lambda: 0).message("press-1", 1)
    trust = OnlineKeys.open(home / "keys" / "online").trust
    made = Assignment.from_bytes(message, trust.verifiers(KeyUse.ASSIGN), device="press-1")
    assert [(item.path, item.sha256) for item in made.items] == [("trust/fleet.json", told["sha256"])]
    assert json.loads(run(home, "trust", "publish", "--json"))["new"] is False
    with pytest.raises(ConfigError, match="only seal key in use"):
        run(home, "keys", "drain", OnlineKeys.open(home / "keys" / "online").trust.recipient().id)


def test_the_repositorys_keys_are_replaced_by_command(home: Path) -> None:
    run(home, "keys", "rotate", "root")
    run(home, "keys", "rotate", "snapshot")
    root = json.loads((home / "repository" / "metadata" / "3.root.json").read_bytes())["signed"]
    assert root["version"] == 3
    enrolment = add(home, "press-1")
    assert json.loads(enrolment.tuf_root)["signed"] == root
    with pytest.raises(click.UsageError, match="at once"):
        run(home, "keys", "rotate", "targets", "--in-days", "3")


def test_a_broker_with_certificates_is_prepared_and_prepared_again(home: Path, tmp_path: Path) -> None:
    files = tmp_path / "broker"
    init = ("broker", "init", "--name", "mqtt.example.net", "--name", "10.0.0.5", "--files", files)
    run(home, *init)
    assert sorted(path.name for path in files.iterdir()) == ["ca.pem", "crl.pem", "server.key", "server.pem"]
    assert (files / "server.key").stat().st_mode & 0o777 == 0o600
    private = {path.name for path in (home / "keys" / "authority").iterdir() if path.stat().st_mode & 0o077 == 0}
    assert private == {"authority.key", "centre.command.key", "centre.ingest-1.key", "centre.ingest-2.key"}
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    run(home, *init, "--port", "9883")
    after = {path.name: path.read_bytes() for path in files.iterdir()}
    assert [name for name in sorted(after) if after[name] == before[name]] == ["ca.pem"]
    (home / "broker.json").write_text("{}")
    add(home, "press-1")
    with pytest.raises(ConfigError, match=r"broker\.json"):
        run(home, "device", "revoke", "press-1")


def test_without_a_broker_to_name_it_must_be_given(home: Path) -> None:
    for command in (("device", "add", "press-1", "--out", home / "x"), ("ingest",)):
        with pytest.raises(ConfigError, match="--broker"):
            run(home, *command)
    assert json.loads(run(home, "device", "list", "--json"))["devices"] == []


def test_bad_input_is_one_clear_error_and_changes_nothing(home: Path) -> None:
    add(home, "press-1")
    (home / "bad.ewb").write_bytes(not_better_than_naive(TINY.read_bytes()))
    before = everything(home)
    cases: list[tuple[type[EdgewattError], str, tuple[str | Path, ...]]] = [
        (RejectedError, "naive", ("publish", home / "bad.ewb")),
        (ConfigError, "not registered", ("assign", "press-9", "trust/fleet.json")),
        (ConfigError, "not published", ("assign", "press-1", "models/none-1.ewb")),
        (ConfigError, "each kind of target once", ("assign", "press-1", "trust/fleet.json", "trust/fleet.json")),
        (ConfigError, "no target that a device runs", ("assign", "press-1", "../keys")),
        (ConfigError, "HOST:PORT", ("device", "add", "press-2", "--broker", "nowhere", "--out", home / "x")),
        (ConfigError, "HOST:PORT", ("device", "add", "press-2", "--broker", "a b:1", "--out", home / "x")),
        (ConfigError, "device id", ("device", "add", "Press", "--broker", "a:1", "--out", home / "x")),
        (ConfigError, "edgewatt-trainer init", ("--home", home / "none", "device", "list")),
        (ConfigError, "not supported", ("--database", "mysql://x", "device", "list")),
        (ConfigError, "not a database URL", ("--database", "x", "device", "list")),
        (ConfigError, "not a database URL", ("--database", "postgresql://u:p@h:port/x", "device", "list")),
    ]
    for error, words, arguments in cases:
        with pytest.raises(error, match=words):
            run(home, *arguments)
    assert everything(home) == before
    assert not (home / "none").exists()
