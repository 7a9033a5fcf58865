"""How the configurations of tests begin: a device whose state lies beside its file, and one plant."""

from __future__ import annotations

import json


def device(power: str = "power", *, zone: str = "UTC", slot_minutes: int = 15) -> str:
    """A device `d1` at a plant whose load is measured by the channel `power`."""
    return f"""
[device]
id = "d1"
state_dir = "state"
socket = "agent.sock"
[plant]
zone = "{zone}"
slot_minutes = {slot_minutes}
power_channel = "{power}"
"""


def simulated(**units: str) -> str:
    """A channel for each name, in its unit, all given by one simulator."""
    text = "".join(f'[[channel]]\nname = "{name}"\nunit = "{unit}"\n' for name, unit in units.items())
    return f'{text}[[source]]\nkind = "simulator"\nchannels = {json.dumps([*units])}\n'
