"""`edgewatt performance` on a disk without room: the record is the old one or the new one, and nothing is left beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli.main import run_command
from agent.contract.slots import Slot
from tests.support.configs import device, simulated
from tests.support.disks import Disk, small_disk
from tests.support.stores import T0, Bench

CONFIG = device(slot_minutes=60) + simulated(power="kW")
HOURS = 24 * 70  # from 1 January 2026 on
JANUARY = ["--from", "2026-01-01", "--to", "2026-02-15"]
ADDED = ["--from", "2026-03-01", "--kwh-per-day", "100", "--reason", "second oven"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "state", size_kib=6144) as disk:
        yield disk


@pytest.fixture
def state(disk: Disk, tmp_path: Path) -> Iterator[Path]:
    """The state folder of a device with ten weeks of slots, whose agent runs."""
    (tmp_path / "agent.toml").write_text(CONFIG)
    bench = Bench(disk.folder)
    loads = [(hour, 40 + hour % 24 + hour * 7 % 11) for hour in range(HOURS)]
    bench.store.append("slots", [Slot(T0 + 3_600_000 * at, 3600, kw * 1000, kw, 1.0).to_row() for at, kw in loads])
    yield disk.folder
    bench.store.close()


def run(capsys: pytest.CaptureFixture[str], state: Path, *arguments: str, code: int = 0) -> str:
    assert run_command(["--config", str(state.parent / "agent.toml"), "performance", *arguments]) == code
    out, err = capsys.readouterr()
    return out if code == 0 else err


def names(state: Path) -> list[str]:
    """What lies in the state folder, but for the store and what fills the disk."""
    return sorted(path.name for path in state.iterdir() if not path.name.startswith(("store.db", "identity", "filler")))


def test_a_first_baseline_without_room_is_refused_in_words_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], disk: Disk, state: Path
) -> None:
    disk.fill()
    told = run(capsys, state, "baseline", *JANUARY, code=74)
    assert "performance.json: cannot be written (No space left on device)" in told
    assert "Free space" in told
    assert names(state) == []
    assert "no baseline yet" in run(capsys, state, "show", code=75)
    disk.make_room()
    run(capsys, state, "baseline", *JANUARY)
    assert names(state) == ["performance.json"]


@pytest.mark.parametrize("words", [["baseline", *JANUARY[:-1], "2026-02-10", "--replace"], ["adjust", *ADDED]])
def test_a_record_that_cannot_be_replaced_stays_whole_and_in_use(
    capsys: pytest.CaptureFixture[str], disk: Disk, state: Path, words: list[str]
) -> None:
    run(capsys, state, "baseline", *JANUARY)
    kept = (state / "performance.json").read_bytes()
    shown = json.loads(run(capsys, state, "show", "--json"))
    disk.fill()
    assert "performance.json: cannot be written" in run(capsys, state, *words, code=74)
    assert (state / "performance.json").read_bytes() == kept
    assert names(state) == ["performance.json"]
    assert json.loads(run(capsys, state, "show", "--json")) == shown
    disk.make_room()
    run(capsys, state, *words)
    assert (state / "performance.json").read_bytes() != kept
    assert names(state) == ["performance.json"]


def test_what_a_power_cut_left_makes_room_for_the_next_record(
    capsys: pytest.CaptureFixture[str], disk: Disk, state: Path
) -> None:
    run(capsys, state, "baseline", *JANUARY)
    (state / ".performance.json.0123abcd.tmp").write_bytes(bytes(32_768))
    disk.fill()
    run(capsys, state, "adjust", *ADDED)
    assert names(state) == ["performance.json"]
    assert "second oven" in run(capsys, state, "show")
