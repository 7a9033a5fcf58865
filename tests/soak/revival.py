"""Starts the real device on a folder that power cut or damage left, in this process, and judges what comes of it."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine

from agent.contract.errors import EdgewattError, StorageError
from tests.soak import rows
from tests.soak.campaigns import Findings
from tests.soak.child import MOST_BYTES, Device
from tests.soak.judge import Told, judge
from tests.soak.observer import NUMBERS, DirectLine, Watched, handled, held
from trainer.fleet.ingest import Ingest

STEPS = 24  # with new rows, so that numbers are given out again where they were forgotten
LIMIT_S = 60.0


class HangsError(Exception):
    """A device did not come to an end."""


def revive(
    watched: Watched, state: Path, told: Told, centre: tuple[Engine, Ingest], found: Findings, where: str
) -> None:
    """Let a device go on in `state`, which `told` so far to `centre`, bring all it has there, and judge."""
    engine, ingest = centre
    told, begin, starts = told.copy(), time.monotonic(), []
    plan = replace(watched.plan, folder=str(state), number=(watched.runs + 1) * NUMBERS, steps=STEPS, drain=True)

    def take(message: dict[str, Any]) -> None:
        told.take(message)
        if "durable" in message and told.tickets[-1:] and told.tickets[-1].number >= plan.number and not starts:
            starts.append(time.monotonic() - begin)
        if message.get("left"):
            found.failures.append(f"{where}: {message['left']} rows never left the device: {device.uplink.stats()}")
            found.counts["stuck"] += 1

    logging.disable(logging.CRITICAL)
    try:
        with _limited(LIMIT_S):
            device = Device(plan, DirectLine(partial(handled, watched.centre, ingest)), take)
            try:
                for _ in range(2):  # what a failing read has found is mended before the second time
                    device.run()
                    wrong, unreadable = _shown(device)
            finally:
                device.store.close()
        found.counts["wrong_values"] += wrong
        if wrong:
            found.failures.append(f"{where}: {wrong} rows that the device itself shows are wrong")
        if unreadable:
            found.counts["unreadable"] += 1
            found.failures.append(f"{where}: reading goes on failing: {unreadable}")
        found.started(starts[0] if starts else LIMIT_S, where)
        found.judged(judge(told, held(engine), watched.seed), where)
    except EdgewattError as exc:
        found.counts["stopped"] += 1
        found.failures.append(f"{where}: the agent does not start or ends: {exc}")
    except HangsError:
        found.counts["hung"] += 1
        found.failures.append(f"{where}: did not come to an end in {LIMIT_S:.0f} s")
    except Exception as exc:  # noqa: BLE001 - any other is a crash of the agent, which is what this looks for
        found.counts["crashed"] += 1
        found.failures.append(f"{where}: crashed with {type(exc).__name__}: {exc}")
    finally:
        logging.disable(logging.NOTSET)
        engine.dispose()


def _shown(device: Device) -> tuple[int, str]:
    """Read all that the device shows; return how many of its rows were never taken in, and why it failed, if it did."""
    end_ms, seed, wrong, failed = 2 * rows.T0, device.plan.seed, 0, ""
    thinned = device.plan.max_bytes < MOST_BYTES  # to one reading a minute, which was never taken in as it is
    for name in rows.NAMES:
        try:
            for row in device.store.readings(name, 0, end_ms):
                wrong += not thinned and row != rows.reading(seed, rows.number_of("readings", row) or 0)
        except StorageError as exc:
            failed = str(exc)
    for stream in rows.OTHER_STREAMS:
        try:
            for row in device.store.rows(stream, 0, end_ms):
                number = rows.number_of(stream, row)
                wrong += number is not None and row != rows.record(seed, stream, number)
        except StorageError as exc:
            failed = str(exc)
    return wrong, failed


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def end(*_: object) -> None:
        raise HangsError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
