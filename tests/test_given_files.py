"""Whatever file a person gives to whichever command: one line with its name and what to do, and nothing half done."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.cli.main import run_command as run_agent
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.exits import run_command
from converter.cli import converter
from tests.support.bundles import TINY
from trainer.cli.main import trainer
from trainer.learning import options_file
from trainer.learning.options import Options

CONFIGS = Path(__file__).resolve().parents[1] / "firmware-configs"


def _folder(path: Path) -> None:
    path.mkdir()


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10 * 2**30)


GARBAGE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "random": lambda path: path.write_bytes(bytes(range(256)) * 8),
    "folder": _folder,
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "sparse": _sparse,
}
COMMANDS = {
    "enroll": "edgewatt --config agent.toml enroll FILE",
    "enroll-response": "edgewatt --config agent.toml enroll good.enrolment --response FILE",
    "buffer-import": "edgewatt --config agent.toml buffer import FILE",
    "config": "edgewatt --config FILE status",
    "config-check": "edgewatt config check FILE",
    "assess": "edgewatt assess FILE",
    "cost-compare": "edgewatt --config agent.toml cost compare FILE",
    "cost-reconcile": "edgewatt --config agent.toml cost reconcile FILE",
    "forecast-bundle": "edgewatt forecast --bundle FILE --history load.csv",
    "forecast-history": f"edgewatt forecast --bundle {TINY} --history FILE",
    "accept": "edgewatt-trainer --home centre device accept FILE --out out",
    "add-ca": "edgewatt-trainer --home centre device add press-9 --broker b:1 --ca FILE --out out",
    "ingest-ca": "edgewatt-trainer --home centre ingest --broker b:1 --ca FILE",
    "publish": "edgewatt-trainer --home centre publish FILE",
    "centre-import": "edgewatt-trainer --home centre buffer import FILE --out out",
    "data-import": "edgewatt-trainer --home centre import --csv FILE --plant p --timestamps-in UTC",
    "report": "edgewatt-trainer --home centre report --bundle FILE --out out",
    "inspect": "edgewatt-converter inspect FILE",
}


def run(line: str) -> int:
    program, *words = line.split()
    if program == "edgewatt":
        return run_agent(words)
    return run_command(trainer if program == "edgewatt-trainer" else converter, words, program)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A centre, a device's configuration, and one good file of each kind."""
    folder, here = tmp_path_factory.mktemp("given"), Path.cwd()
    os.chdir(folder)
    try:
        text = (
            (CONFIGS / "agent.toml")
            .read_text()
            .replace("/var/lib/edgewatt", "state")
            .replace("press-shop-1", "press-1")
        )
        text = text.replace("tariffs/", f"{CONFIGS}/tariffs/").replace("/run/edgewatt/agent.sock", "agent.sock")
        (folder / "agent.toml").write_text(text)
        (folder / "load.csv").write_text("timestamp,load\n2024-01-01 00:00,1\n2024-01-01 00:15,2\n")
        assert run("edgewatt-trainer --home centre init") == 0
        assert run("edgewatt-trainer --home centre device add press-1 --broker b:1 --out good.enrolment") == 0
        for _ in range(2):  # the second time the counters get their copy
            assert run("edgewatt --config agent.toml enroll good.enrolment --request-out request") == 0
    finally:
        os.chdir(here)
    return folder


def everything(folder: Path) -> dict[str, int]:
    """Every file and its size, but the database's: they change by being read."""
    return {
        str(path): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("centre.db")
    }


@pytest.mark.parametrize("garbage", list(GARBAGE))
@pytest.mark.parametrize("command", list(COMMANDS))
def test_garbage_in_place_of_a_file_is_one_line_that_names_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, garbage: str
) -> None:
    if garbage == "empty" and command.startswith(("config", "cost-compare")):
        garbage = "random"  # an empty configuration or tariff lacks many things, and all of them are said
    monkeypatch.chdir(place)
    given = place / f"given-{command}-{garbage}"
    before = everything(place)
    GARBAGE[garbage](given)
    try:
        code = run(COMMANDS[command].replace("FILE", given.name))
    finally:
        if given.is_dir() and not given.is_symlink():
            given.rmdir()
        else:
            given.unlink(missing_ok=True)
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert given.name in line
    assert "internal error" not in line
    assert line.count(". ") >= 1, "what to do is missing"
    assert code in {ConfigError.exit_code, RejectedError.exit_code}
    assert said.out == ""
    assert everything(place) == before


@pytest.mark.parametrize(
    "command", ["enroll", "buffer-import", "accept", "publish", "centre-import", "inspect", "add-ca"]
)
def test_a_file_of_another_kind_is_named_for_what_it_is(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.chdir(place)
    other, kind = ("bundle", TINY) if command == "enroll" else ("enrolment file", Path("good.enrolment"))
    assert run(COMMANDS[command].replace("FILE", str(kind))) == RejectedError.exit_code
    said = capsys.readouterr().err
    assert f"{other}, not " in said
    assert str(kind) in said


@pytest.mark.parametrize("garbage", list(GARBAGE))
def test_garbage_in_place_of_options_is_refused_before_anything_is_trained(tmp_path: Path, garbage: str) -> None:
    given = tmp_path / "given.json"
    GARBAGE[garbage](given)
    with pytest.raises(ConfigError, match=r"given\.json: .+\. "):
        options_file.read(given, like=Options())
