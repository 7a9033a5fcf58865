"""How commands speak: one JSON object on stdout, or short tables for people; all remarks go to stderr."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import click

from agent.contract.zones import parse_zone, to_local

Payload = Mapping[str, Any]

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")


def emit(payload: Payload, as_json: bool, human: Callable[[Payload], str]) -> None:
    """Print an answer in the form that was asked for."""
    text = json.dumps({"schema": 1, **payload}, ensure_ascii=False, allow_nan=False) if as_json else human(payload)
    # The name of a file may be bytes that are no text.
    click.echo(text.encode("utf-8", "replace").decode("utf-8"))


def remark(text: str) -> None:
    """Say something that is not the answer."""
    click.echo(text, err=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]], *, to_right: Collection[int] = ()) -> str:
    """Columns as wide as need be; numbers to the right, and so the columns `to_right`, whatever they hold."""
    cells = [[*map(str, head)], *([*map(str, row)] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    right = [
        column in to_right
        or (bool(rows) and all(isinstance(row[column], int | float) or row[column] == "-" for row in rows))
        for column in range(len(head))
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines)


def facts(pairs: Sequence[tuple[str, object]]) -> str:
    """One line a fact."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in pairs)


def local(time_ms: int | None, zone: str) -> str:
    """Local plant time with its zone; `-` for none."""
    if time_ms is None:
        return "-"
    info = parse_zone(zone)
    moment = to_local(time_ms, info)
    name = zone if isinstance(info, dt.timezone) else moment.strftime("%Z")
    return f"{moment:%Y-%m-%d %H:%M} {name}"


def span(milliseconds: float | None) -> str:
    """A length of time in words as short as they can be."""
    if milliseconds is None:
        return "-"
    seconds = milliseconds / 1000
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def way_out(buffer: Payload) -> list[tuple[str, object]]:
    """What a technician asks of the backlog: how much, how old, how long yet, what was lost, by which line."""
    drain_s, link, clock = buffer["drain_s"], buffer["link"], buffer["clock"]
    left = "" if drain_s is None else f", gone in about {span(1000 * drain_s)}"
    pairs: list[tuple[str, object]] = [
        ("waiting", f"{buffer['backlog_rows']} rows, {size(buffer['backlog_bytes'])}{left}"),
        ("oldest", span(buffer["oldest_age_ms"])),
        ("given up", f"{buffer['evicted_rows']} rows, before the centre had them"),
        ("damaged", f"{buffer['quarantined']} blocks, {len(buffer['set_aside'])} files set aside"),
    ]
    if buffer["storage_error"]:
        pairs.append(("disk", buffer["storage_error"]))
        pairs.append(("in memory", f"{buffer['pending_rows']} rows, which are lost if the power fails"))
    if link is not None:
        with_what = f" for {span(link['since_ms'])}, MQTT {link['protocol']}" if link["protocol"] else ""
        pairs.append(("centre", link["state"] + with_what))
    if clock is not None:
        ahead_ms = clock["ahead_ms"]
        beside = "the centre was not heard yet" if ahead_ms is None else f"{ahead_ms / 1000:+.1f} s to the centre's"
        pairs.append(("clock", f"{clock['quality']}, {beside}"))
    return pairs


def band_held(share: float | None, slots: int) -> str:
    """What an 80 % band held."""
    if share is None:
        return "not scored yet, the first day is not over"
    return f"held {share:.0%} of {slots:,} slots of the last 28 days"


def size(count: float) -> str:
    """Bytes in a readable unit."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
