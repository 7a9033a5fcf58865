"""Device to centre: bytes a reading on the wire, an alarm's way, cost of sealing, what ingest takes in, a fleet's return.

`wire_bytes_per_reading` counts everything that a device publishes (readings, slots, forecasts, costs, health, alerts, events)
and everything that comes back, over two hours of plant time with the daemon's own rooms at its default cadence.
"""

import json
import os
import shutil
import statistics
import sys
import time
import zlib
from pathlib import Path

from agent.config import LoopConfig, StoreConfig
from agent.contract import deflate, envelope
from agent.contract.acknowledgement import Acknowledgement, Mark
from agent.contract.blocks import decode_readings, encode_readings
from agent.contract.keys import SealingKey, SealTo, SigningKey
from tests.benchmarks.fleet_parts import thousand_devices
from tests.benchmarks.meters import Meters, channels
from tests.benchmarks.plant_day import PlantDay
from tests.benchmarks.sync_parts import alarm_to_ack_s, ingest_rates
from tests.support.centre import make_centre

FOLDER = Path("build/bench/sync")
SECONDS = int(os.environ.get("BENCH_PLANT_S", "7200"))
_BLOCK_S = 300


def run():
    """Measure all parts."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    parts = {**_wire(), **_sealing(), **alarm_to_ack_s(FOLDER / "alarms"), **ingest_rates(FOLDER)}
    return {**parts, **thousand_devices(FOLDER / "fleet")}


def _wire():
    pack_s, health_s = StoreConfig().pack_after_s, LoopConfig().health_s
    found, plant = _plant("default", pack_after_s=pack_s, health_s=health_s)
    readings = [row for block in plant.sent_readings() for row in decode_readings(block)[1]]
    alone = sum(_alone(block) for block in plant.sent_readings()) / len(readings)
    plain, packed = _json(readings)
    steps = {
        "a block a minute, health each minute, zlib's default": {"pack_after_s": 60.0, "health_s": 60.0, "plain": True},
        "a block each 300 s": {"pack_after_s": 300.0, "health_s": 60.0, "plain": True},
        "and zlib told what the values are, each kind apart": {"pack_after_s": 300.0, "health_s": 60.0},
        "and health each 900 s": {"pack_after_s": 300.0, "health_s": 900.0},
    }
    return {
        "plant_s": SECONDS,
        "readings": len(readings),
        **found,
        "wire_bytes_per_reading_readings_only": alone,
        "json_bytes_per_reading": plain,
        "json_zlib_bytes_per_reading": packed,
        "wire_ratio_to_json": found["wire_bytes_per_reading"] / plain,
        "wire_ratio_to_json_zlib": found["wire_bytes_per_reading"] / packed,
        "wire_steps": {
            name: _plant(f"step-{number}", **options)[0]["wire_bytes_per_reading"]
            for number, (name, options) in enumerate(steps.items())
        },
    }


def _plant(name, *, plain=False, **options):
    print(f"  wire, {name} ...", file=sys.stderr, flush=True)
    folder = FOLDER / name
    folder.mkdir()
    centre = make_centre(folder, f"sqlite:///{folder / 'centre.db'}")
    compress = deflate.compress
    if plain:
        deflate.compress = lambda parts, **_: zlib.compress(b"".join(parts), 6)
    try:
        plant = PlantDay(folder, centre, **options)
        plant.run(SECONDS + 5)  # what was packed at the end is acknowledged
    finally:
        deflate.compress = compress
    stats = plant.store.stats()
    plant.close()
    centre.engine.dispose()
    arrived = sum(block.header.count for block in plant.sent_readings())
    up, down = sum(map(len, plant.up)), sum(map(len, plant.down))
    return {
        "wire_bytes_per_reading": (up + down) / arrived,
        "wire_up_bytes_per_reading": up / arrived,
        "wire_down_bytes_per_reading": down / arrived,
        "envelopes": len(plant.up),
        "rows_of_other_streams": sum(stats.rows.values()) - stats.rows["readings"],
    }, plant


def _alone(block):
    """Bytes of an envelope with this block alone, and of its acknowledgement."""
    key, centre = SigningKey.generate(), SealingKey.generate()
    sealed = envelope.seal(
        [block], device="press-1", signing_key=key, recipient=SealTo(centre.public), created_ms=block.header.end_ms
    )
    mark = Mark(block.header.epoch, "readings", block.header.last)
    answer = Acknowledgement("press-1", "0123456789abcdef", 1000, block.header.end_ms, "0123456789abcdef", (mark,))
    return len(sealed) + len(answer.to_bytes(key))


def _json(readings):
    """Bytes a reading as JSON lines, and those of each 300 s compressed together."""
    plain = packed = 0
    step = _BLOCK_S * len(channels())
    for at in range(0, len(readings), step):
        rows = readings[at : at + step]
        lines = "\n".join(json.dumps({"c": row.channel, "t": row.time_ms, "v": row.value}) for row in rows).encode()
        plain, packed = plain + len(lines), packed + len(zlib.compress(lines, 9))
    return plain / len(readings), packed / len(readings)


def _sealing():
    """What encryption and signature add to the packing of a block of 300 s, and what the packing takes."""
    meters, known = Meters(), channels()
    readings = [row for second in range(_BLOCK_S) for row in meters.second(second)]
    key, centre = SigningKey.generate(), SealTo(SealingKey.generate().public)
    packing, sealing = [], []
    for _ in range(20):
        begin = time.perf_counter()
        block = encode_readings(readings, known, epoch=1, boot=1, first=1)
        packed = time.perf_counter()
        envelope.seal([block], device="d", signing_key=key, recipient=centre, created_ms=1_700_000_300_000)
        packing.append(packed - begin)
        sealing.append(time.perf_counter() - packed)
    pack_s, seal_s = statistics.median(packing), statistics.median(sealing)
    return {"pack_us_per_reading": pack_s / len(readings) * 1e6, "seal_cost_ratio": (pack_s + seal_s) / pack_s}
