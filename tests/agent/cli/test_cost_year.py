"""`edgewatt cost` late in a year, under tariffs that look back: few blocks are opened, and the bill is the same."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from agent.cli.main import run_command
from agent.contract.slots import Slot
from agent.contract.tariff.tariff import Tariff
from agent.daemon.forecasting import Costs
from agent.daemon.history import History
from agent.daemon.slotweeks import SlotWeeks
from agent.planning.costs import CostWatch
from agent.store.shelves import Shelves
from tests.support.billing import at
from tests.support.costplants import HEAD, NIGHT_AND_DAY, CostPlant
from tests.support.stores import Bench

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
BEGIN_MS, END_MS = at(2025, 11, 1), at(2026, 11, 26, 14)
_DEMAND = "price_per_kw = 10.00\n"
RATCHET = NIGHT_AND_DAY.replace(_DEMAND, _DEMAND + "ratchet = {share = 0.9, months = 11}\n")
TIERS = "tiers = [{up_to = 300000, price = 0.30}, {price = 0.20}]"
TARIFFS = {
    "ordinary": NIGHT_AND_DAY,
    "ratchet": RATCHET,
    "yearly demand": NIGHT_AND_DAY.replace(_DEMAND, _DEMAND + 'per = "year"\n'),
    "yearly tiers": f'[[energy]]\nname = "power"\n{TIERS}\ntiers_per = "year"\n',
}


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CostPlant]:
    """A year and more of hours, a block for four days, and a copy of the weeks; the agent holds the store open."""
    plant = CostPlant(tmp_path_factory.mktemp("plant"), NIGHT_AND_DAY)
    (plant.folder / "state").mkdir()
    bench = Bench(plant.folder / "state")
    bench.now_ms = END_MS
    for begin_ms in range(BEGIN_MS, END_MS, 4 * DAY_MS):
        starts = range(begin_ms, min(END_MS, begin_ms + 4 * DAY_MS), HOUR_MS)
        bench.store.append("slots", [_slot(start_ms).to_row() for start_ms in starts])
        bench.pass_time(61)
    weeks = SlotWeeks(bench.store)
    for _ in range(70):
        weeks.turn(END_MS)
    bench.store.commit()
    yield plant
    bench.store.close()


def _slot(start_ms: int) -> Slot:
    hour = (start_ms - BEGIN_MS) // HOUR_MS
    if hour % 1000 == 77:
        return Slot(start_ms, 3600, 0, None, 0.0, ("empty",))
    power_kw = 60 + 25 * math.sin(hour / 7.3) + 20 * math.sin(hour / 1200)
    return Slot(start_ms, 3600, round(power_kw * 1000), power_kw, 1.0)


def _answer(
    plant: CostPlant, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[dict[str, Any], int]:
    """What a command says, and how many blocks it opens for that."""
    opened, open_piece = 0, Shelves.open

    def counted(*arguments: Any) -> Any:
        nonlocal opened
        opened += 1
        return open_piece(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Shelves, "open", counted)
        code = run_command(plant.command("cost", *words, "--json"))
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return json.loads(out), opened


@pytest.mark.parametrize(
    ("name", "command", "most"),
    [("ordinary", "month", 9), ("ratchet", "month", 90), ("yearly demand", "today", 80), ("yearly tiers", "month", 80)],
)
def test_few_blocks_are_opened_and_the_bill_is_that_of_all_blocks(plant, capsys, monkeypatch, name, command, most):
    (plant.folder / "tariff" / "0.toml").write_text(HEAD + TARIFFS[name])
    found, opened = _answer(plant, capsys, monkeypatch, command)
    assert opened <= 4  # at most eight days are not in the copy
    monkeypatch.setattr("agent.daemon.slotweeks.NOTE", "none")
    of_blocks, all_opened = _answer(plant, capsys, monkeypatch, command)
    assert found == of_blocks
    assert all_opened >= most
    assert len(found[command]["lines"]) > 1


@pytest.mark.parametrize("name", TARIFFS)
def test_the_agent_with_the_last_weeks_at_hand_tells_what_the_command_tells(plant, capsys, monkeypatch, name):
    (plant.folder / "tariff" / "0.toml").write_text(HEAD + TARIFFS[name])
    slots = [_slot(start_ms) for start_ms in range(BEGIN_MS, END_MS, HOUR_MS)]

    def stored(start_ms: int, end_ms: int) -> list[Slot]:
        return [slot for slot in slots if start_ms <= slot.start_ms < end_ms]

    agent = Costs(CostWatch(Tariff.load(plant.folder / "tariff")), History(3600, slots), stored)
    rows = {row["scope"]: row for row in agent.rows(END_MS, None)}
    found, _ = _answer(plant, capsys, monkeypatch, "month")
    assert (found["month"], found["month_end"]) == (rows["month"], rows["month_end"])
    assert _answer(plant, capsys, monkeypatch, "today")[0]["today"] == rows["today"]


def test_a_year_under_two_tariffs_opens_few_blocks(plant, capsys, monkeypatch, tmp_path):
    (plant.folder / "tariff" / "0.toml").write_text(HEAD + NIGHT_AND_DAY)
    (tmp_path / "other.toml").write_text(HEAD + RATCHET)
    found, opened = _answer(plant, capsys, monkeypatch, "compare", str(tmp_path / "other.toml"))
    assert opened <= 4
    monkeypatch.setattr("agent.daemon.slotweeks.NOTE", "none")
    assert _answer(plant, capsys, monkeypatch, "compare", str(tmp_path / "other.toml"))[0] == found
