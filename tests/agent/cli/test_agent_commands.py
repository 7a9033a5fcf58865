"""The command line: help with examples, exit codes, one clear line for every error, JSON alone on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from agent.cli import cost
from agent.cli.main import edgewatt, run_command
from agent.contract import errors
from agent.contract.enrolment import Enrolment, EnrolmentResponse, open_request
from agent.contract.keys import key_id
from agent.contract.trust import Broker
from agent.store.identity import CLOCK_FLOOR, CREDENTIAL, Identity
from tests.support.agent_process import TARIFF
from tests.support.small_centre import SmallCentre

ROOT = Path(__file__).parents[3]
ROOT_METADATA = (ROOT / "tests" / "agent" / "cli" / "cases" / "root.json").read_text()
EXAMPLE = ROOT / "firmware-configs" / "agent.toml"


def commands(
    group: click.Group = edgewatt, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A device that has never run."""
    text = EXAMPLE.read_text().replace("/var/lib/edgewatt", "state").replace("/run/edgewatt/agent.sock", "agent.sock")
    path = tmp_path / "agent.toml"
    path.write_text(text.replace("tariffs/victoria-large-business.toml", str(TARIFF)))
    return path


def failed(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    assert run_command([*arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda value: "-".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_but_run_speaks_json(path: tuple[str, ...], command: click.Command) -> None:
    if not isinstance(command, click.Group) and path != ("run",):
        assert any("--json" in parameter.opts for parameter in command.params)


def test_help_names_the_exit_code_of_every_kind_of_error() -> None:
    text = edgewatt.help or ""
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.EdgewattError)
    ]
    assert len({kind.exit_code for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert f"{kind.exit_code} " in text


def test_the_example_configuration_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["config", "check", str(EXAMPLE), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema"] == 1
    assert answer["ok"] is True
    assert answer["device"] == "press-shop-1"


def test_config_check_tells_everything_that_is_wrong(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    config.write_text(config.read_text().replace("slot_minutes = 15", "slot_minutes = 16\ncolour = 3"))
    error = failed(capsys, 78, "config", "check", str(config))
    assert "plant.colour: is unknown" in error
    config.write_text(config.read_text().replace("colour = 3", ""))
    assert "plant.slot_minutes: 16" in failed(capsys, 78, "--config", str(config), "config", "check")


def test_config_check_looks_into_tariff_and_data_files_too(
    capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path
) -> None:
    (tmp_path / "load.csv").write_text("time,load_kw\n2026-01-01T00:00,5\n2026-01-01T00:15,five\n")
    (tmp_path / "tariff.toml").write_text("name = 3\n")
    source = (
        'kind = "csv"\npath = "load.csv"\nchannel = "power"\nzone = "UTC"\n'
        'timestamp_column = "time"\nvalue_column = "load_kw"'
    )
    text = config.read_text().replace(str(TARIFF), "tariff.toml")
    before, _, rest = text.partition('kind = "simulator"')
    config.write_text(before + source + rest.partition("seed = 1")[2])
    error = failed(capsys, 78, "config", "check", str(config))
    assert "2 problems" in error
    assert "load.csv line 3" in error
    assert "tariff.toml" in error


def test_config_check_looks_into_every_version_of_a_tariff_and_at_the_demand_that_slots_can_tell(
    capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "versions"
    folder.mkdir()
    config.write_text(config.read_text().replace(str(TARIFF), str(folder)))
    text = TARIFF.read_text()
    (folder / "2014.toml").write_text("valid_from = 2014-01-01\n" + text)
    later = "valid_from = 2015-01-01\n" + text + '[[demand]]\nname = "demand"\nprice_per_kw = 9\n'
    (folder / "2015.toml").write_text(later.replace('currency = "AUD"', 'currency = "EUR"'))
    assert "differ in currency" in failed(capsys, 78, "config", "check", str(config))
    (folder / "2015.toml").write_text(later)
    assert run_command(["config", "check", str(config)]) == 0
    capsys.readouterr()
    config.write_text(config.read_text().replace("slot_minutes = 15", "slot_minutes = 10"))
    error = failed(capsys, 78, "config", "check", str(config))
    assert "10 min do not divide the 15 min over which 'demand' is billed" in error


def test_config_check_looks_into_the_emission_factors_too(
    capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path
) -> None:
    (tmp_path / "factors.toml").write_text('name = "mine"\nzone = "UTC"\n')
    config.write_text(config.read_text() + '\n[carbon]\nfile = "factors.toml"\n')
    assert "factors.toml: factor: is missing" in failed(capsys, 78, "config", "check", str(config))


def test_without_configuration_the_error_says_how_to_give_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "--config" in failed(capsys, 78, "--config", str(tmp_path / "none.toml"), "status")


def test_configuration_comes_from_the_environment_too(
    capsys: pytest.CaptureFixture[str], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWATT_CONFIG", str(config))
    assert run_command(["config", "check"]) == 0
    assert "press-shop-1" in capsys.readouterr().out


def test_with_neither_daemon_nor_store_a_command_says_what_to_start(
    capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path
) -> None:
    for command in (["status"], ["cost"], ["forecast"], ["alerts", "list"], ["buffer", "status"]):
        assert "edgewatt run" in failed(capsys, 74, "--config", str(config), *command)
    assert not (tmp_path / "state").exists()
    assert "edgewatt run" in failed(capsys, 75, "--config", str(config), "model", "rollback")


@pytest.mark.parametrize(
    "arguments", [["fly"], ["alerts", "ack"], ["forecast", "--bundle", "x.ewb"], ["status", "--jsn"]]
)
def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    failed(capsys, 2, *arguments)


def test_the_cost_of_today_is_told_so_far_and_as_a_whole_day() -> None:
    row = {"time_ms": 1_412_085_600_000, "scope": "today", "currency": "AUD", "so_far": "12.00"}
    text = cost._human({"zone": "UTC", "costs": [{**row, "amount": "30.00", "low": "28.00", "high": "33.00"}]})
    assert [line.split()[:4] for line in text.splitlines()[1:3]] == [
        ["today", "so", "far", "12.00"],
        ["today,", "whole", "day", "30.00"],
    ]
    assert "28.00 to 33.00" in text


def test_an_enrolment_file_of_another_device_or_none_is_refused(
    capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.enrolment").write_text("{}")
    failed(capsys, 65, "--config", str(config), "enroll", str(tmp_path / "bad.enrolment"))
    failed(capsys, 78, "--config", str(config), "enroll", str(tmp_path / "none.enrolment"))
    assert not (tmp_path / "state").exists()


def test_a_device_without_a_network_is_enrolled_by_two_carried_files(
    capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path
) -> None:
    centre = SmallCentre("press-shop-1")
    enrolment = Enrolment("press-shop-1", "t" * 32, 2**42, Broker("b", 1883), centre.trust(), ROOT_METADATA)
    (tmp_path / "enrolment").write_bytes(enrolment.to_bytes())
    enroll = ["--config", str(config), "enroll", str(tmp_path / "enrolment")]
    assert run_command([*enroll, "--request-out", str(tmp_path / "request")]) == 0
    assert "--response" in capsys.readouterr().out
    request = open_request((tmp_path / "request").read_bytes(), {centre.seal_key.id: centre.seal_key})
    for accepted in (False, True):
        answer = EnrolmentResponse("press-shop-1", key_id(request.public), accepted, "", centre.now_ms)
        (tmp_path / "answer").write_bytes(answer.to_bytes(centre.ack_key))
        assert run_command([*enroll, "--response", str(tmp_path / "answer")]) == (0 if accepted else 65)
        identity = Identity.open_without_key(tmp_path / "state" / "identity")
        assert (identity.enrolment is not None) is accepted
        assert identity.floor(CLOCK_FLOOR) == (centre.now_ms if accepted else 0)
    assert identity.signing_key is not None
    assert identity.signing_key.public == request.public


def test_enrolling_by_hand_leaves_the_storage_key_to_the_agent(
    capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path
) -> None:
    """Where it is a credential of the service, whoever types the command does not have it: before and after a start."""
    centre, folder, credentials = SmallCentre("press-shop-1"), tmp_path / "state" / "identity", tmp_path / "credentials"
    credentials.mkdir()
    (credentials / CREDENTIAL).write_bytes(bytes(range(32)))
    enrolment = Enrolment("press-shop-1", "t" * 32, 2**42, Broker("b", 1883), centre.trust(), ROOT_METADATA)
    (tmp_path / "enrolment").write_bytes(enrolment.to_bytes())
    enroll = ["--config", str(config), "enroll", str(tmp_path / "enrolment")]
    for _ in range(2):
        assert run_command([*enroll, "--request-out", str(tmp_path / "request")]) == 0, capsys.readouterr().err
        identity = Identity.open(folder, credentials=credentials)
        identity.begin_boot()
        assert (identity.storage_key, identity.key_source) == (bytes(range(32)), "credential")


@pytest.mark.parametrize("command", [["verify"], ["export", "out.ewx"], ["status"]], ids=lambda words: words[0])
def test_where_there_is_no_store_nothing_is_made(
    capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path, command: list[str]
) -> None:
    err = failed(
        capsys, 74, "--config", str(config), "buffer", command[0], *(str(tmp_path / file) for file in command[1:])
    )
    assert "no store" in err
    assert "device.state_dir" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.toml"]


def test_runs_as_a_process_of_its_own_with_clean_streams() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent.cli.main", "config", "check", str(EXAMPLE), "--json"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["schema"] == 1


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (OSError(28, "No space left on device"), 74, "No space left on device"),
        (PermissionError(13, "Permission denied", "/x/y"), 74, "/x/y"),
        (ConnectionResetError(104, "Connection reset by peer"), 75, "Connection reset"),
        (KeyError("colour"), 70, "internal error, KeyError"),
    ],
)
def test_what_nobody_expected_is_one_line_with_an_exit_code_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, raised: Exception, code: int, words: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("agent.config.load", fail)
    error = failed(capsys, code, "status")
    assert words in error
    assert error.count("\n") == 1


def test_an_answer_that_cannot_be_written_is_a_failure(config: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "agent.cli.main", "config", "check", str(config)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            check=False,
        )
    assert done.returncode == 74
    assert done.stderr.startswith("edgewatt: output: cannot be used")
    assert done.stderr.count("\n") == 1


def test_a_command_loads_neither_the_other_commands_nor_what_they_need():
    code = (
        "import sys; from agent.cli.main import run_command; run_command(['status', '--help']); "
        "print([name for name in ('numpy', 'agent.cli.assess', 'agent.planning') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
