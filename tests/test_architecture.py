"""The walls of the house: import-linter holds them, and is seen to hold them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINTER = Path(sys.executable).with_name("lint-imports")
SIBLINGS = ("alerts", "inference", "planning", "sources", "sync", "update")


def lint(folder: Path) -> tuple[int, str]:
    done = subprocess.run([LINTER, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the source tree whose walls may be broken."""
    for package in ("agent", "trainer", "converter"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_walls_stand():
    code, text = lint(ROOT)
    assert code == 0, text


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("agent/contract/errors.py", "import agent.store", "Inside the agent"),
        ("agent/store/__init__.py", "import agent.sync", "Inside the agent"),
        ("agent/sync/__init__.py", "import agent.update", "Inside the agent"),
        ("agent/planning/__init__.py", "import agent.config", "Inside the agent"),
        ("agent/contract/errors.py", "import agent.daemon", "Inside the agent"),
        ("agent/inference/__init__.py", "import trainer", "trainer -> converter -> agent"),
        ("agent/contract/errors.py", "import converter", "trainer -> converter -> agent"),
        ("converter/__init__.py", "import trainer.fleet", "trainer -> converter -> agent"),
        ("agent/inference/__init__.py", "import tensorflow", "The device carries no TensorFlow"),
        ("agent/contract/slots.py", "import pandas", "The device carries no TensorFlow"),
        ("agent/contract/features.py", "import lightgbm", "The device carries no TensorFlow"),
        ("converter/__init__.py", "import lightgbm", "The converter needs no library of learning"),
        ("trainer/fleet/__init__.py", "import agent.store", "The centre uses of the agent only"),
        ("converter/__init__.py", "import agent.daemon", "The centre uses of the agent only"),
        ("agent/update/__init__.py", "import paho", "Each vendor library"),
        ("trainer/learning/training.py", "import optuna", "Each vendor library"),
    ],
)
def test_a_broken_wall_is_seen(copy, module, line, broken):
    path = copy / module
    path.write_text(path.read_text() + f"\n{line}  # noqa\n")
    code, text = lint(copy)
    assert code != 0, f"{line} in {module} went unnoticed"
    assert any(broken in shown and "BROKEN" in shown for shown in text.splitlines()), text


def test_every_pair_of_rooms_is_kept_apart(copy):
    """One look for all: each room imports each other one, and every single one of these is named."""
    for room in SIBLINGS:
        path = copy / "agent" / room / "__init__.py"
        path.write_text(
            path.read_text() + "".join(f"\nimport agent.{other}" for other in SIBLINGS if other != room) + "\n"
        )
    code, text = lint(copy)
    assert code != 0
    for room in SIBLINGS:
        for other in SIBLINGS:
            assert room == other or f"agent.{room} -> agent.{other}" in text, f"{room} -> {other} went unnoticed"


def test_the_top_of_the_agent_package_is_free_of_code():
    assert (ROOT / "agent" / "__init__.py").read_text().strip() == ""
