"""A plant's meters for benchmarks: twenty channels a second, at the resolution of real meters, with their noise."""

import json
import random

from agent.contract.channels import Channel, Kind, Reading
from tests.support.configs import device

CHANNELS = 20
START_MS = 1_767_225_600_000
_CYCLE_S = 3600
_SOURCE = """
[[source]]
kind = "simulator"
channels = {names}
sample_s = 1
"""
# name, unit, decimals, level, a second's step, noise beside it
_METERS = (
    ("power", "kW", 1, 120.0, 0.4, 0.2),
    ("voltage", "V", 1, 231.0, 0.05, 0.2),
    ("factor", "1", 3, 0.95, 0.0005, 0.001),
    ("energy", "kWh", 2, 1000.0, 0.02, 0.0),
)


def channels():
    """The channels, by name: power 0.1 kW, voltage 0.1 V, power factor 0.001, energy counters 0.01 kWh."""
    found = {}
    for number in range(CHANNELS):
        name, unit, decimals, *_ = _METERS[number % len(_METERS)]
        kind = Kind.COUNTER if name == "energy" else Kind.GAUGE
        found[f"{name}_{number}"] = Channel(f"{name}_{number}", unit, decimals, kind)
    return found


def configuration(*, zone, slot_minutes):
    """An agent's configuration with these channels, simulated; more tables may follow."""
    text = "\n".join(
        f'[[channel]]\nname = "{channel.name}"\nunit = "{channel.unit}"\ndecimals = {channel.decimals}\n'
        f'kind = "{channel.kind}"'
        for channel in channels().values()
    )
    return (
        device("power_0", zone=zone, slot_minutes=slot_minutes) + text + _SOURCE.format(names=json.dumps([*channels()]))
    )


class Meters:
    """What the meters say, second by second; counters rise, the others wander about, an hour of noise comes again."""

    def __init__(self, seed=1):
        self._names = list(channels())
        chance = random.Random(seed)
        walks = [self._walk(number, chance) for number in range(CHANNELS)]
        self._rows = list(zip(*walks, strict=True))
        self._rise = [walk[-1] - walk[0] if walk == sorted(walk) else 0.0 for walk in walks]

    @staticmethod
    def _walk(number, chance):
        _, _, decimals, level, step, noise = _METERS[number % len(_METERS)]
        values, at = [], level
        for _ in range(_CYCLE_S):
            # A counter only rises; the others are pulled back to their level, slowly.
            at += abs(chance.gauss(0, step)) if not noise else chance.gauss(0, step) - (at - level) * 0.001
            values.append(round(at + chance.gauss(0, noise), decimals))
        return values

    def second(self, number):
        """The twenty readings of a second, counted from 0."""
        lap, place = divmod(number, _CYCLE_S)
        time_ms = START_MS + number * 1000
        row = self._rows[place]
        if lap:
            row = [value + lap * rise for value, rise in zip(row, self._rise, strict=True)]
        return [Reading(name, time_ms, value) for name, value in zip(self._names, row, strict=True)]
