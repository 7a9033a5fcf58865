"""Numbers, times and verdicts in the words of the page: English, UTC or a named zone, units beside numbers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from agent.contract.zones import to_local


class HeadlineLike(Protocol):
    """The part of a headline that a verdict needs."""

    @property
    def device(self) -> str:
        """Name."""

    @property
    def readings_held(self) -> int:
        """Rows."""

    @property
    def readings_missing(self) -> int:
        """Rows."""

    @property
    def readings_duplicated(self) -> int:
        """Rows."""

    @property
    def open_alerts(self) -> int:
        """Alerts that nothing has cleared."""


@dataclass(frozen=True)
class Verdict:
    """One sentence on the whole fleet, and whether somebody should look."""

    good: bool
    text: str


def verdict(headlines: Sequence[HeadlineLike], rejected: int) -> Verdict:
    """Say in one or two sentences whether all data arrived and what is open."""
    if not headlines:
        return Verdict(good=False, text="No device is registered yet. Add one with: edgewatt-trainer device add")
    silent = [line.device for line in headlines if not line.readings_held]
    missing = sum(line.readings_missing for line in headlines)
    duplicated = sum(line.readings_duplicated for line in headlines)
    alerts = sum(line.open_alerts for line in headlines)
    said = []
    if silent:
        said.append(f"No readings yet from {', '.join(silent)}.")
    if missing or duplicated:
        said.append(f"{missing:,} {_many(missing, 'reading')} missing, {duplicated:,} duplicated.")
    elif len(silent) < len(headlines):
        said.append("Every reading that was announced has arrived, once.")
    said.append(f"{alerts} {_many(alerts, 'alert')} open." if alerts else "No alert is open.")
    if rejected:
        said.append(f"{rejected:,} {_many(rejected, 'message')} refused by the centre.")
    return Verdict(good=not (silent or missing or duplicated or alerts or rejected), text=" ".join(said))


def _many(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"


def count(value: int) -> str:
    """`12,345`."""
    return f"{value:,}"


def number(value: float | None, digits: int = 3) -> str:
    """Some digits of a number, `—` where it is not known."""
    if value is None:
        return "—"
    return f"{value:,.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"


def money(value: Decimal | str | float | None) -> str:
    """Two decimals."""
    return "—" if value is None else f"{Decimal(value):,.2f}"


def quantity(value: Decimal) -> str:
    """Whole units where there are many, else up to three decimals."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.3f}".rstrip("0").rstrip(".")


def percent(share: float | None) -> str:
    """Whole percents."""
    return "—" if share is None else f"{100 * share:.0f} %"


def size(size_bytes: int) -> str:
    """Bytes in a unit that suits them."""
    for unit, factor in (("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:,.1f} {unit}"
    return f"{size_bytes} B"


def local(time_ms: int | None, zone: dt.tzinfo) -> str:
    """`Mon 1 Dec 2014 13:30`, in the zone that the page names beside it."""
    if time_ms is None:
        return "—"
    time = to_local(time_ms, zone)
    return f"{time:%a} {time.day} {time:%b %Y %H:%M}"


def utc(time_ms: int) -> str:
    """`2026-11-22 01:00:00`."""
    return f"{to_local(time_ms, dt.UTC):%Y-%m-%d %H:%M:%S}"


def iso(text: str | None) -> str:
    """An ISO time with a space where the T was."""
    return "—" if text is None else text.replace("T", " ").removesuffix("Z")


FILTERS: dict[str, Callable[..., Any]] = {
    "count": count,
    "number": number,
    "money": money,
    "quantity": quantity,
    "percent": percent,
    "size": size,
    "local": local,
    "utc": utc,
    "iso": iso,
}
