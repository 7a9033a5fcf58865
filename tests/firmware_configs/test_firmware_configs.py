"""Everything in firmware-configs is loaded here, so that no example there can lie."""

import dataclasses
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from agent.alertsconfig import (
    AbnormalConfig,
    AlertsConfig,
    BaseLoadConfig,
    LimitConfig,
    PeakConfig,
    PowerFactorConfig,
)
from agent.config import (
    CarbonConfig,
    ClockConfig,
    Config,
    CsvConfig,
    DeviceConfig,
    PlantConfig,
    SimulatorConfig,
    TariffConfig,
    load,
)
from agent.contract.channels import Channel
from agent.contract.errors import ConfigError
from agent.planconfig import BatteryConfig, LoadConfig, PvConfig, SiteConfig
from tests.support.unit import UNIT, unit_environment, unit_preparation

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "firmware-configs"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BOARDS = sorted((CONFIGS / "boards").glob("*.toml"))

KEYS = {
    "": {
        "schema",
        "name",
        "arch",
        "system",
        "python",
        "runtime",
        "requirements",
        "packages",
        "memory",
        "serial",
        "edge_tpu",
        "notes",
    },
    "memory": {"board_mib", "agent_max_mib"},
    "serial": {"devices", "group"},
    "edge_tpu": {"supported"},
    "notes": {"storage", "clock"},
}


def directives(path: Path) -> dict[str, list[str]]:
    """`section.key` -> values of a systemd file; a key may stand several times."""
    found: dict[str, list[str]] = {}
    section = ""
    for raw in path.read_text().splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = match[1]
            continue
        key, separator, value = line.partition("=")
        assert separator, f"{path.name}: {line!r} is not key=value"
        found.setdefault(f"{section}.{key}", []).append(value)
    return found


class TestBoards:
    def test_the_promised_boards_are_there(self):
        assert {path.stem for path in BOARDS} == {"raspberry-pi-4", "coral-dev-board", "generic-arm64", "x86-64"}

    @pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
    def test_has_every_key_and_no_other(self, path):
        board = tomllib.loads(path.read_text())
        assert set(board) == KEYS[""]
        for section in KEYS.keys() - {""}:
            assert set(board[section]) == KEYS[section], section
        assert board["schema"] == 1
        assert all(re.fullmatch(r"/dev/\w+", device) for device in board["serial"]["devices"])

    @pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
    def test_names_a_runtime_that_the_agent_has_and_the_project_installs(self, path):
        board = tomllib.loads(path.read_text())
        assert (ROOT / "agent" / "inference" / f"{board['runtime']}.py").exists()
        environment = {"platform_machine": board["arch"], "python_version": "3.11"}
        installed = {}
        for text in PROJECT["dependencies"]:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate(environment):
                installed[requirement.name] = requirement.specifier
        for text in board["requirements"]:
            requirement = Requirement(text)
            assert installed[requirement.name] == requirement.specifier, text

    @pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
    def test_takes_the_python_that_the_project_takes(self, path):
        board = tomllib.loads(path.read_text())
        assert SpecifierSet(board["python"]) == SpecifierSet(PROJECT["requires-python"])

    @pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
    def test_allows_the_memory_that_the_unit_allows_and_less_than_the_board_has(self, path):
        memory = tomllib.loads(path.read_text())["memory"]
        assert directives(UNIT)["Service.MemoryMax"] == [f"{memory['agent_max_mib']}M"]
        assert memory["agent_max_mib"] < memory["board_mib"]


class TestUnit:
    def test_runs_the_command_that_the_package_installs(self):
        assert "edgewatt" in PROJECT["scripts"]
        assert directives(UNIT)["Service.ExecStart"] == [
            "/opt/edgewatt/bin/edgewatt --config /etc/edgewatt/agent.toml run"
        ]

    def test_is_watched_and_comes_back_but_not_with_a_wrong_configuration(self):
        unit = directives(UNIT)
        assert unit["Service.Type"] == ["notify"]
        assert int(unit["Service.WatchdogSec"][0]) >= 30
        assert unit["Service.Restart"] == ["always"]
        assert unit["Service.RestartPreventExitStatus"] == [str(ConfigError.exit_code)]
        assert unit["Unit.StartLimitIntervalSec"] == ["0"]

    def test_waits_for_no_network(self):
        assert "network-online" not in UNIT.read_text()

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("User", "edgewatt"),
            ("NoNewPrivileges", "yes"),
            ("CapabilityBoundingSet", ""),
            ("ProtectSystem", "strict"),
            ("ProtectHome", "yes"),
            ("PrivateTmp", "yes"),
            ("PrivateDevices", "yes"),
            ("RestrictNamespaces", "yes"),
            ("MemoryDenyWriteExecute", "yes"),
            ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"),
        ],
    )
    def test_is_confined(self, key, value):
        assert directives(UNIT)[f"Service.{key}"] == [value]

    def test_makes_the_folders_that_the_agent_uses_by_default(self):
        config = load(CONFIGS / "agent.toml")
        unit = directives(UNIT)
        assert config.device.state_dir == Path("/var/lib") / unit["Service.StateDirectory"][0]
        assert config.device.socket.parent == Path("/run") / unit["Service.RuntimeDirectory"][0]

    def test_its_user_is_made(self):
        users = (CONFIGS / "systemd" / "edgewatt.sysusers.conf").read_text()
        assert re.search(r'^u edgewatt - "[^"]+" /var/lib/edgewatt -$', users, re.MULTILINE)

    def test_what_it_prepares_is_what_the_agent_runs_by(self, tmp_path):
        environment = {**unit_environment(), "PYTHONPATH": str(CONFIGS.parent), "PYTHONPYCACHEPREFIX": str(tmp_path)}
        subprocess.run([sys.executable, *unit_preparation()], env=environment, check=True)
        compiled = {path.name for path in tmp_path.rglob("*.opt-2.pyc")}
        assert {
            f"loop.{sys.implementation.cache_tag}.opt-2.pyc",
            f"client.{sys.implementation.cache_tag}.opt-2.pyc",
        } <= compiled

    def test_the_serial_drop_in_opens_what_boards_name(self):
        drop_in = directives(UNIT.parent / "edgewatt.service.d" / "serial.conf")
        allowed = [value.removeprefix("char-").split()[0] for value in drop_in["Service.DeviceAllow"]]
        for path in BOARDS:
            serial = tomllib.loads(path.read_text())["serial"]
            assert serial["group"] in drop_in["Service.SupplementaryGroups"]
            for device in serial["devices"]:
                assert any(device.startswith(f"/dev/{name}") for name in allowed), device

    def test_systemd_itself_finds_no_fault(self, tmp_path):
        program = shutil.which("systemd-analyze")
        if program is None:  # a container or another init: the tests above parse the file all the same
            return
        # The program is not installed under /opt here, and systemd checks that it is there.
        unit = tmp_path / UNIT.name
        unit.write_text(re.sub(r"/opt/edgewatt/bin/\w+", sys.executable, UNIT.read_text()))
        shutil.copytree(UNIT.parent / "edgewatt.service.d", tmp_path / "edgewatt.service.d")
        done = subprocess.run([program, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
        complaints = [line for line in done.stderr.splitlines() if "edgewatt" in line]
        assert complaints == []


def test_the_example_configuration_is_right():
    config = load(CONFIGS / "agent.toml")
    assert config.plant.power_channel in config.channels


SECTIONS = {
    "channel": Channel,
    "source simulator": SimulatorConfig,
    "source csv": CsvConfig,
    **{
        field.name: type(field.default)
        for field in dataclasses.fields(Config)
        if dataclasses.is_dataclass(field.default)
    },
    "device": DeviceConfig,
    "plant": PlantConfig,
    "tariff": TariffConfig,
    "carbon": CarbonConfig,
    "clock": ClockConfig,
    "alerts": AlertsConfig,
    "alerts.limit": LimitConfig,
    "alerts.abnormal": AbnormalConfig,
    "alerts.base_load": BaseLoadConfig,
    "alerts.power_factor": PowerFactorConfig,
    "peak": PeakConfig,
    "site": SiteConfig,
    "battery": BatteryConfig,
    "pv": PvConfig,
    "load": LoadConfig,
}


def shown() -> list[tuple[str, str, object, bool]]:
    """Section, key, value, and whether it is a comment, of each line of the example."""
    found, section = [], ""
    for line in (CONFIGS / "agent.toml").read_text().splitlines():
        text = line.removeprefix("# ")
        if match := re.match(r"\[+([\w.]+)\]+\s*(#.*)?$", text):
            section = match[1]
        elif re.match(r"\w+ = ", text):
            ((key, value),) = tomllib.loads(text).items()
            if key == "kind" and section.startswith("source"):
                section = f"source {value}"
            else:
                found.append((section, key, value, text != line))
    return found


def test_what_the_example_shows_as_a_comment_is_the_default():
    wrong, compared = [], 0
    for section, key, value, comment in shown():
        field = next(field for field in dataclasses.fields(SECTIONS[section]) if field.name == key)
        if comment and field.default not in (None, dataclasses.MISSING):
            compared += 1
            value = tuple(value) if isinstance(value, list) else value  # noqa: PLW2901 - as the configuration has it
            if value != field.default or type(value) is not type(field.default):
                wrong.append(f"[{section}] {key} = {value}, but {field.default}")
    assert wrong == []
    assert compared > 20


def test_the_example_shows_every_key():
    text = (CONFIGS / "agent.toml").read_text()
    keys = {(section, key) for section, key, _, _ in shown()}
    missing = [
        f"[{section}] {field.name}"
        for section, kind in SECTIONS.items()
        for field in dataclasses.fields(kind)
        if (section, field.name) not in keys and not re.search(rf"#.*\b{field.name}\b", text)
    ]
    assert missing == []


def test_every_readme_names_the_files_beside_it():
    for readme in CONFIGS.rglob("README.md"):
        text = readme.read_text()
        for path in readme.parent.iterdir():
            if path.name != "README.md" and not path.name.startswith("."):
                assert path.name in text or path.suffix == ".toml", f"{readme}: {path.name}"
