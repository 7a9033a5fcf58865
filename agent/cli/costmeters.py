"""Readings of the tariff's other meters, a file each, for a bill of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.contract.errors import ConfigError

if TYPE_CHECKING:
    from agent.contract.slots import Slot
    from agent.contract.tariff.tariff import Tariff

_MAX_BYTES = 16 << 20  # a year of minutes; to read it takes twelve times as much memory
_TIME = "time"
meter_option = click.option(
    "--meter",
    "meters",
    multiple=True,
    metavar="NAME=FILE.csv",
    help="Another meter of the tariff, with a time and its reading, or the amount used from then on; repeat.",
)


def read_meters(
    tariff: Tariff, given: Sequence[str], span: tuple[int, int], slot_s: int
) -> tuple[dict[str, list[Slot]], list[str]]:
    """Return the slots of the meters that were given, and what a reader of the bill must know of them.

    They reach back as far as the tariff does: for tiers by the year, ratchets and the year's demand. Times are local
    ones of the tariff's zone, or carry its offset.

    Raises:
        UsageError: when a meter is not the tariff's, or is given twice.
        ConfigError: with file and line, when a file is wrong.
    """
    from agent.contract.tariff.model import MAIN
    from agent.planning.billing.bill import since_ms

    known = dict.fromkeys(meter.name for version in tariff.versions for meter in version.meters if meter.name != MAIN)
    slots: dict[str, list[Slot]] = {}
    notes = []
    for text in given:
        name, sign, file = text.partition("=")
        if not sign or not file:
            raise click.UsageError(f"--meter {text!r} is not NAME=FILE.csv.")
        if name == MAIN:
            raise click.UsageError(f"--meter {name!r}: the device counts the main meter itself.")
        if name not in known:
            has = f"The tariff's are: {', '.join(known)}." if known else "The tariff has none but the main one."
            raise click.UsageError(f"--meter {name!r} is no meter of the tariff. {has}")
        if name in slots:
            raise click.UsageError(f"--meter {name!r} stands twice.")
        slots[name], widest_ms = _read(Path(file), tariff.zone_name, span, slot_s, since_ms(tariff, span))
        if not any(slot.end_ms > span[0] for slot in slots[name]):
            raise ConfigError(
                "tells nothing of these days", where=file, todo="Give readings from before and after them"
            )
        if widest_ms > slot_s * 1000:
            notes.append(
                f"{name}: readings are up to {_apart(widest_ms)} apart; what was used between two is spread evenly"
            )
    return slots, notes


def _read(path: Path, zone: str, span: tuple[int, int], slot_s: int, since_ms: int) -> tuple[list[Slot], int]:
    from agent.contract.givenfiles import check_file
    from agent.contract.loadcsv import csv_rows, read_rows
    from agent.planning.billing.metered import AMOUNT, READING, metered

    where = str(path)
    check_file(path, _MAX_BYTES, todo="Give one year at a time")
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"cannot be read ({exc.strerror})", where=where, todo="Check path and rights") from exc
    names, rows = csv_rows(data, where, _TIME, [], [READING, AMOUNT])
    if len(names) != 1:
        raise ConfigError(
            f"has {'both' if names else 'neither'} of the columns {READING} and {AMOUNT}",
            where=f"{where} line 1",
            todo=f"Give {_TIME},{READING} (what the register shows) or {_TIME},{AMOUNT} (what was used from then on)",
        )
    return metered(read_rows(rows, names, where=where, zone=zone), span, slot_s, where, since_ms=since_ms)


def _apart(ms: int) -> str:
    hours = ms / 3_600_000
    return f"{hours:g} h" if hours < 48 else f"{hours / 24:.0f} days"
