"""A device with a tariff and a store full of slots, for the commands about costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agent.contract.slots import Slot
from tests.support.configs import device, simulated
from tests.support.stores import Bench

HEAD = 'name = "night and day"\nzone = "Europe/Berlin"\ncurrency = "EUR"\n'
NIGHT_AND_DAY = """
fixed_per_day = 2.00
[[period]]
name = "day"
price_per_kwh = 0.30
from = "06:00"
to = "20:00"
[[period]]
name = "night"
price_per_kwh = 0.20
[[demand]]
name = "demand"
interval_minutes = 60
price_per_kw = 10.00
[[fee]]
name = "vat"
percent = 19
of = "all"
"""


class CostPlant:
    """A device that does not run.

    Attributes:
        folder: everything of it.
        config: its configuration.
    """

    def __init__(self, folder: Path, *versions: str, minutes: int = 60) -> None:
        self.folder = folder
        self.config = folder / "agent.toml"
        text = device(zone="Europe/Berlin", slot_minutes=minutes) + simulated(power="kW")
        self.config.write_text(f'{text}[tariff]\nfile = "tariff"\n')
        (folder / "tariff").mkdir()
        for number, body in enumerate(versions):
            (folder / "tariff" / f"{number}.toml").write_text(HEAD + body)

    def store(self, slots: Sequence[Slot]) -> None:
        """Add slots to the store."""
        (self.folder / "state").mkdir(exist_ok=True)
        bench = Bench(self.folder / "state")
        for begin in range(0, len(slots), 1000):
            bench.now_ms = slots[begin].end_ms
            bench.store.append("slots", [slot.to_row() for slot in slots[begin : begin + 1000]])
        bench.store.close()

    def command(self, *words: str) -> list[str]:
        """A command line for it."""
        return ["--config", str(self.config), *words]
