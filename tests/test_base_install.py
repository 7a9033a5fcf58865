"""A device is not a developer's machine: the wheel without extras, in an environment of its own, in a folder of its own.

Dependencies come from where pip finds them, as on a device; with an index out of reach this test fails, as an installation would.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support import bundles

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "firmware-configs"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The built wheel."""
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--disable-pip-version-check",
        "--wheel-dir",
        out,
        ROOT,
    ]
    subprocess.run(command, check=True)
    (built,) = out.glob("edgewatt-*.whl")
    return built


@pytest.fixture(scope="session")
def device(wheel, tmp_path_factory) -> Path:
    """The `bin` of a new environment that holds the wheel without extras."""
    folder = tmp_path_factory.mktemp("device") / "venv"
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel], check=True)
    return folder / "bin"


def run(device: Path, folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """Run in a folder of its own, so that nothing of the source tree can be imported by accident."""
    environment = {"PATH": f"{device}:/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}
    for name in ("TZDIR", "LD_LIBRARY_PATH"):
        if name in os.environ:
            environment[name] = os.environ[name]
    return subprocess.run(
        [device / str(command[0]), *map(str, command[1:])],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_holds_the_three_packages_and_nothing_of_the_tests(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"agent", "trainer", "converter"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any("__pycache__" in name for name in names)


def test_help_is_shown(device, tmp_path):
    done = run(device, tmp_path, "edgewatt", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "forecast" in done.stdout


def test_the_example_configuration_is_right(device, tmp_path):
    shutil.copytree(CONFIGS, tmp_path / "configs")
    done = run(device, tmp_path, "edgewatt", "config", "check", tmp_path / "configs" / "agent.toml")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wrong_configuration_is_named_with_its_exit_code(device, tmp_path):
    wrong = tmp_path / "agent.toml"
    wrong.write_text((CONFIGS / "agent.toml").read_text().replace("slot_minutes", "slot_minute"))
    done = run(device, tmp_path, "edgewatt", "config", "check", wrong)
    assert done.returncode == 78
    assert "slot_minute" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    bundle = tmp_path / "model.ewb"
    bundle.write_bytes(bundles.tiny_bytes())
    return bundle, bundles.write_history_csv(tmp_path / "load.csv", days=20)


def test_a_bundle_and_a_file_give_a_forecast(device, tmp_path, files):
    bundle, history = files
    command = ("edgewatt", "forecast", "--bundle", bundle, "--history", history, "--timestamps-in", "+10:00")
    done = run(device, tmp_path, *command, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["schema"] == 1
    assert (answer["model"], answer["source"], answer["quantiles"]) == ("tiny-plant@1", "active", [0.1, 0.5, 0.9])
    assert answer["origin_ms"] == bundles.START_MS + 20 * 86_400_000
    # The same plant's next day, as it then came: the median is close, and most of it lies in the band.
    truth = bundles.plant_history(21)[-48:]
    low, median, high = zip(*answer["power_kw"], strict=True)
    assert sum(abs(a - b) for a, b in zip(median, truth, strict=True)) / 48 < 15
    assert sum(a <= b <= c for a, b, c in zip(low, truth, high, strict=True)) > 24
    assert run(device, tmp_path, *command).returncode == 0


def test_a_tampered_bundle_is_refused_with_its_exit_code(device, tmp_path, files):
    bundle, history = files
    data = bytearray(bundle.read_bytes())
    data[5000] ^= 1
    bundle.write_bytes(data)
    done = run(
        device, tmp_path, "edgewatt", "forecast", "--bundle", bundle, "--history", history, "--timestamps-in", "+10:00"
    )
    assert (done.returncode, done.stdout) == (65, "")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "module", ["tensorflow", "keras", "lightgbm", "pandas", "scipy", "sklearn", "sqlalchemy", "pyarrow", "tests"]
)
def test_what_belongs_to_the_centre_is_not_there(device, tmp_path, module):
    done = run(device, tmp_path, "python", "-c", f"import {module}")
    assert done.returncode == 1
    assert f"No module named '{module}'" in done.stderr


def test_every_part_of_the_agent_can_be_imported(device, tmp_path):
    """All modules but the adapter of the other runtime, and what solves with HiGHS, which says what to install."""
    code = (
        "import agent, importlib, pkgutil\n"
        "from agent.contract.errors import UnavailableError\n"
        "for found in pkgutil.walk_packages(agent.__path__, 'agent.'):\n"
        "    if found.name == 'agent.inference.tflite':\n"
        "        continue\n"
        "    try:\n"
        "        importlib.import_module(found.name)\n"
        "    except UnavailableError as exc:\n"
        "        assert \"pip install 'edgewatt[plan]'\" in str(exc), exc\n"
        "        print(found.name)\n"
    )
    done = run(device, tmp_path, "python", "-W", "error::SyntaxWarning", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"agent.planning.schedule.{name}" for name in ("highs", "optimum", "relax")]


def test_it_stays_small(device):
    """The base install takes less than 200 MB, Python and pip apart."""
    (packages,) = (device.parent / "lib").glob("python3.*/site-packages")
    size = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file() and "/pip/" not in str(path))
    assert size < 200e6
