"""A small assessment whose every number can be followed by hand."""

from __future__ import annotations

from pathlib import Path

from agent.planning.assess.case import Case
from agent.planning.assess.reading import parse

ROOT = Path(__file__).resolve().parents[2]
TEXT = """
name = "small works"
currency = "EUR"
[weather]
heating_degree_days = 100
[finance]
discount_rate_percent = 10
[demand]
process_heat_kwh = 700
space_heat_kwh_per_degree_day = 3
electricity_kwh = 900
[fuel]
name = "coal"
unit = "t"
heat_of_combustion_kwh_per_unit = 5000
price_per_unit = 100
emission_kg_per_kwh = 0.34
[boiler]
stack_loss_percent = 12
radiation_loss_percent = 3
unburnt_loss_percent = 4
blowdown_loss_percent = 1
[electricity]
price_per_kwh = 0.2
average_kg_per_kwh = 0.5
marginal_kg_per_kwh = 0.8
[[measure]]
name = "better boiler"
investment = 10
life_years = 5
[measure.boiler]
stack_loss_percent = 7
"""


def case(text: str = TEXT, **changes: str) -> Case:
    """Parse the small assessment; each change puts a line in place of the first that begins with its key."""
    return parse(changed(text, **changes), folder=ROOT / "firmware-configs" / "assess")


def changed(text: str = TEXT, **changes: str) -> str:
    """Return the text with each value in place of the first that its key has."""
    lines = text.splitlines()
    for key, value in changes.items():
        place = next(place for place, line in enumerate(lines) if line.startswith(f"{key} = "))
        lines[place] = f"{key} = {value}"
    return "\n".join(lines)
