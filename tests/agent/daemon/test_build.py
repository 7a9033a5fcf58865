"""What the builder makes real: the replay clock that outlives restarts, and the state folder that one process holds."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from agent.config import ClockConfig
from agent.contract.errors import ConfigError, StorageError, UnavailableError
from agent.daemon.build import make_clock
from agent.daemon.paths import StatePaths
from agent.daemon.realtime import real_ms

START = dt.datetime(2014, 10, 1, tzinfo=dt.UTC)


def test_a_replay_goes_on_with_the_same_plant_time_after_a_restart(tmp_path: Path) -> None:
    config = ClockConfig(plant_start=START, rate=1000.0)
    first = make_clock(config, tmp_path / "clock.json").now_ms()
    second = make_clock(config, tmp_path / "clock.json").now_ms()
    assert config.plant_start_ms <= first <= second


def test_a_given_anchor_is_used_and_nothing_is_kept(tmp_path: Path) -> None:
    config = ClockConfig(plant_start=START, rate=2.0, anchor_real_ms=real_ms() - 10_000)
    assert make_clock(config, tmp_path / "clock.json").now_ms() >= config.plant_start_ms + 20_000
    assert not (tmp_path / "clock.json").exists()


def test_without_a_replay_plant_time_is_real_time(tmp_path: Path) -> None:
    before = real_ms()
    assert before <= make_clock(None, tmp_path / "clock.json").now_ms() <= real_ms()


def test_another_rate_for_a_begun_replay_is_refused_and_the_anchor_stays(tmp_path: Path) -> None:
    make_clock(ClockConfig(plant_start=START, rate=1000.0), tmp_path / "clock.json")
    kept = (tmp_path / "clock.json").read_bytes()
    with pytest.raises(ConfigError, match="another plant_start or rate"):
        make_clock(ClockConfig(plant_start=START, rate=10.0), tmp_path / "clock.json")
    assert (tmp_path / "clock.json").read_bytes() == kept


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff", b'{"plant_start_ms": 1, "rate": "x", "anchor_real_ms": 2}'])
def test_a_damaged_anchor_is_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "clock.json").write_bytes(damage)
    with pytest.raises(StorageError, match="new state_dir"):
        make_clock(ClockConfig(plant_start=START), tmp_path / "clock.json")


def test_one_process_holds_the_state_folder(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path / "state")
    with paths.owned(), pytest.raises(UnavailableError, match="another edgewatt process"), paths.owned():
        pass
    with paths.owned():
        pass
