"""The first plan after a start: it knows what earlier months still count for."""

from __future__ import annotations

from pathlib import Path

from agent.config import load
from agent.daemon.build import build
from agent.daemon.realtime import real_ms
from tests.support.billing import at, steady
from tests.support.costplants import CostPlant

RATCHET = """
[[period]]
name = "flat"
price_per_kwh = 0.20
[[demand]]
name = "demand"
price_per_kw = 10.00
interval_minutes = 60
ratchet = {share = 0.5, months = 3}
"""
NEEDS = """
[clock]
plant_start = 2026-11-16T00:00:00Z
anchor_real_ms = {anchor_ms}
[battery]
capacity_kwh = 40
charge_kw = 20
discharge_kw = 20
"""


def test_demand_that_a_ratchet_bills_anyway_is_paid_for_in_the_first_plan(tmp_path: Path) -> None:
    plant = CostPlant(tmp_path, RATCHET)
    plant.store(
        [*steady(at(2026, 8, 1), at(2026, 9, 1), 200.0, 3600), *steady(at(2026, 9, 1), at(2026, 11, 16), 60.0, 3600)]
    )
    plant.config.write_text(plant.config.read_text() + NEEDS.format(anchor_ms=real_ms()))
    daemon = build(load(plant.config))
    daemon.start()
    for _ in range(4):  # an earlier month is read a turn
        daemon.turn()
    planning = daemon.rooms.planning
    assert planning is not None
    assert planning._task is not None
    (charge,) = planning._task.problem.demand
    daemon.close()
    assert charge.free_kw == 100.0
