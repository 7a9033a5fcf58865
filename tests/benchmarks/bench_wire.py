"""Bytes a reading on the wire: sealed blocks of 300 s against JSON lines, plain and zlib-compressed."""

import json
import random
import time
import zlib

from agent.contract import blocks, envelope
from agent.contract.channels import Channel, Reading
from agent.contract.keys import SealingKey, SealTo, SigningKey

SECONDS, CHANNELS = 300, 20


def run():
    """20 channels at 1 s at meter resolution with realistic noise; one envelope of 300 s."""
    kinds = [("power", "kW", 1, 120.0, 0.4), ("voltage", "V", 1, 231.0, 0.2), ("factor", "1", 3, 0.95, 0.001)]
    channels, levels = {}, {}
    for number in range(CHANNELS):
        name, unit, decimals, level, _ = kinds[number % 3]
        channels[f"{name}_{number}"] = Channel(f"{name}_{number}", unit, decimals)
        levels[f"{name}_{number}"] = level
    noise = random.Random(1)
    readings = []
    for second in range(SECONDS):
        for number, (name, channel) in enumerate(channels.items()):
            levels[name] += noise.gauss(0, kinds[number % 3][4])
            readings.append(Reading(name, 1_700_000_000_000 + second * 1000, round(levels[name], channel.decimals)))
    device, centre = SigningKey.generate(), SealingKey.generate()
    begin = time.perf_counter()
    block = blocks.encode_readings(readings, channels, epoch=1, boot=1, first=1)
    packed = time.perf_counter()
    sealed = envelope.seal(
        [block], device="d", signing_key=device, recipient=SealTo(centre.public), created_ms=1_700_000_300_000
    )
    done = time.perf_counter()
    lines = "\n".join(json.dumps({"c": r.channel, "t": r.time_ms, "v": r.value}) for r in readings).encode()
    count = len(readings)
    return {
        "readings": count,
        "sealed_bytes_per_reading": len(sealed) / count,
        "json_bytes_per_reading": len(lines) / count,
        "json_zlib_bytes_per_reading": len(zlib.compress(lines, 6)) / count,
        "ratio_to_json": len(sealed) / len(lines),
        "ratio_to_json_zlib": len(sealed) / len(zlib.compress(lines, 6)),
        "pack_us_per_reading": (packed - begin) / count * 1e6,
        "seal_cost_ratio": (done - begin) / (packed - begin),
    }
