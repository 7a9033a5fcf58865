"""What a backtest is given: files and instants, read, cut and checked before anything is trained. Imports no network.

The cut is the first thing that happens to a series, and training is handed nothing else: what the rest of a backtest
calls `learnt` and `pool` ends before `train_end`. Of later rows only history up to each origin is used, as on a device,
and the truth, to judge by. Known ahead are the calendar (holidays) and, where asked for, temperature.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Floats, Ints
from agent.contract.featurespec import MIN_HISTORY_DAYS
from agent.contract.zones import check_zone
from trainer.backtest.forecast_files import read_origins
from trainer.backtest.frames import Frame
from trainer.dataset.cleaning import clean_snapshot
from trainer.dataset.series import read_series
from trainer.dataset.snapshot import Snapshot
from trainer.learning import holdout

HORIZON_HOURS = 24
HISTORY_DAYS = 36  # what the daemon keeps in memory and hands to a forecast
MOST, LEAST_SPREAD = 1e9, 1e-4  # what a feature spec can say; features divide by 1e-3 at least


@dataclass(frozen=True)
class Source:
    """A plant's file and how to read it.

    Attributes:
        csv: columns `timestamp` and `load` (kW, or another unit: forecasts come in the same), `holiday` where it is.
        frame: zone or offset of its times.
        zone: of the plant, for calendar features.
        holidays: country or part of it, or dates; empty for none.
    """

    csv: Path
    frame: str
    zone: str
    holidays: str = ""


@dataclass(frozen=True)
class Request:
    """A backtest to be made.

    Attributes:
        source: the plant to forecast.
        train_end: time in the frame of `source`; what is not over by then is not learnt from.
        origins: CSV file with a column `origin`, in the same frame.
        out: file of forecasts to write.
        temperature_column: of `source`; its values at the forecast slots stand for a weather forecast.
        pool: other plants to learn from.
    """

    source: Source
    train_end: str
    origins: Path
    out: Path
    temperature_column: str | None = None
    pool: tuple[Source, ...] = ()


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything read and checked.

    Attributes:
        plant: the whole series: history of the origins, and the truth.
        learnt, pool: what training may see; all of it is over by `train_end_ms`.
        origins_ms: as in the file, in its order.
        origins: [N] slot index in `plant` of each.
        remarks: what the caller should know, in words.
    """

    request: Request
    frame: Frame
    plant: Snapshot
    learnt: Snapshot
    pool: tuple[Snapshot, ...]
    train_end_ms: int
    origins_ms: tuple[int, ...]
    origins: Ints
    remarks: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name for the model."""
        return self.learnt.plant


def parse_pool(text: str, plant: Source) -> Source:
    """Read `FILE[@FRAME[@ZONE[@HOLIDAYS]]]`.

    A file alone is read as the plant's own. With a frame, zone and holidays are those given here: the zone is the
    frame where none is given, and there are no holidays. A file whose name has an `@` is found by its whole name.
    """
    if "@" not in text or Path(text).exists():
        return replace(plant, csv=Path(text))
    parts = text.split("@")
    if len(parts) > 4 or not parts[0] or not parts[1]:
        raise ConfigError(
            f"{text!r} is not FILE[@FRAME[@ZONE[@HOLIDAYS]]]", where="--pool", todo="As b.csv@UTC@Asia/Seoul"
        )
    name, frame, zone, holidays = (*parts, "", "")[:4]
    return Source(Path(name), frame, zone or frame, holidays)


def prepare(request: Request) -> Prepared:
    """Read and check everything.

    Raises:
        ConfigError: when a file, zone, time or column is wrong; an origin is off the slot grid, has less than 15 days
            before it or lies beyond the data; or there is too little load before `train_end`, it never changes, or
            its unit makes it too large or too small.
    """
    source = request.source
    frame = Frame(source.frame)
    check_zone(source.zone, "--timezone")
    train_end_ms = frame.instant(request.train_end, "--train-end")
    _check_out(request)
    plant = _read(source, request.temperature_column)
    origins_ms = read_origins(request.origins, frame)
    origins = _slots(request, plant, frame, origins_ms)
    learnt, remarks = _cleaned(cut(plant, train_end_ms, "--train-end"), str(source.csv))
    holdout.split(learnt, HORIZON_HOURS, holdout.WEEK)  # refuses what cannot be trained on
    _check_size(learnt.power_kw, str(source.csv))
    pool, about = _pool(request, train_end_ms)
    remarks += about
    early = sum(origin_ms < train_end_ms for origin_ms in origins_ms)
    if early:
        remarks.append(f"{early} of {len(origins_ms)} origins lie before --train-end: their figures flatter the model")
    return Prepared(request, frame, plant, learnt, pool, train_end_ms, tuple(origins_ms), origins, tuple(remarks))


def cut(snapshot: Snapshot, until_ms: int, where: str) -> Snapshot:
    """Return the slots that are over by an instant; first and last are known ones.

    Raises:
        ConfigError: when none is.
    """
    slots = max(0, min(len(snapshot.power_kw), (until_ms - snapshot.start_ms) // (snapshot.slot_s * 1000)))
    known = np.flatnonzero(np.isfinite(snapshot.power_kw[:slots]))
    if len(known) == 0:
        raise ConfigError(f"there is no load of {snapshot.plant} before it", where=where, todo="Give a later time")
    return _part(snapshot, int(known[0]), int(known[-1]) + 1)


def device_history(plant: Snapshot, origin: int) -> tuple[int, Floats]:
    """Return start and power of what a device holds at an origin; a copy, so that nothing later can be reached."""
    first = max(0, origin - HISTORY_DAYS * plant.per_day)
    return plant.start_ms + first * plant.slot_s * 1000, plant.power_kw[first:origin].copy()


def known_ahead(plant: Snapshot, origin: int, horizon: int) -> dict[str, Floats]:
    """Return the covariates over `device_history` and `horizon` slots beyond it: they stand for a forecast of them."""
    first = max(0, origin - HISTORY_DAYS * plant.per_day)
    return {name: values[first : origin + horizon].copy() for name, values in plant.covariates.items()}


def _cleaned(snapshot: Snapshot, where: str) -> tuple[Snapshot, list[str]]:
    """Leave out the meter's errors, as `train` does; say so where there are any."""
    clean, found = clean_snapshot(snapshot)
    known = np.flatnonzero(np.isfinite(clean.power_kw))
    if not found.removed or len(known) == 0:
        return snapshot, []
    return _part(clean, int(known[0]), int(known[-1]) + 1), [f"{where}: {found.summary()}"]


def _part(snapshot: Snapshot, first: int, end: int) -> Snapshot:
    """Return slots [first, end), copied: nothing of the others can be reached through them."""
    return replace(
        snapshot,
        start_ms=snapshot.start_ms + first * snapshot.slot_s * 1000,
        power_kw=snapshot.power_kw[first:end].copy(),
        covariates={name: values[first:end].copy() for name, values in snapshot.covariates.items()},
    )


def _read(source: Source, temperature_column: str | None) -> Snapshot:
    whole = read_series(
        source.csv,
        timestamps_in=source.frame,
        zone=source.zone,
        holidays=source.holidays or None,
        temperature_column=temperature_column,
    )
    if whole.start_ms % 60_000:
        raise ConfigError("rows do not begin at whole minutes", where=str(source.csv), todo="Round the times")
    first = int(np.flatnonzero(np.isfinite(whole.power_kw))[0])
    return _part(whole, first, len(whole.power_kw))


def _pool(request: Request, train_end_ms: int) -> tuple[tuple[Snapshot, ...], list[str]]:
    """Read the other plants and cut each at the same instant; one that has nothing before it is left out."""
    kept: list[Snapshot] = []
    remarks: list[str] = []
    for source in request.pool:
        Frame(source.frame, "--pool")
        check_zone(source.zone, "--pool")
        other = _read(source, None)
        try:
            part, about = _cleaned(cut(other, train_end_ms, "--pool"), f"--pool {source.csv}")
            kept.append(part)
            remarks += about
        except ConfigError:
            remarks.append(f"--pool {source.csv} is left out: it has no load before --train-end")
    return tuple(kept), remarks


def _slots(request: Request, plant: Snapshot, frame: Frame, origins_ms: list[int]) -> Ints:
    slot_ms, where = plant.slot_s * 1000, str(request.origins)
    for origin_ms in origins_ms:
        stamp = frame.stamp(origin_ms)
        if (origin_ms - plant.start_ms) % slot_ms:
            raise ConfigError(
                f"origin {stamp} is off the grid of {plant.slot_s // 60} min slots",
                where=where,
                todo="Give the start of a slot",
            )
        days = (origin_ms - plant.start_ms) / 86_400_000
        if days < MIN_HISTORY_DAYS:
            raise ConfigError(
                f"origin {stamp} has {max(0.0, days):.4g} days of load before it where a forecast needs "
                f"{MIN_HISTORY_DAYS}",
                where=where,
                todo=f"Give origins from {frame.stamp(plant.start_ms + MIN_HISTORY_DAYS * 86_400_000)} on",
            )
        if origin_ms > plant.end_ms:
            raise ConfigError(
                f"origin {stamp} lies beyond the end of the load, {frame.stamp(plant.end_ms)}",
                where=where,
                todo="Give origins up to the end of the file",
            )
    origins = (np.array(origins_ms, dtype=np.int64) - plant.start_ms) // slot_ms
    for origin_ms, origin in zip(origins_ms, origins.tolist(), strict=True):
        power_kw = device_history(plant, origin)[1]
        known = np.flatnonzero(np.isfinite(power_kw))
        if len(known) == 0 or len(power_kw) - known[0] < plant.per_day:  # less than even naive needs
            raise ConfigError(
                f"origin {frame.stamp(origin_ms)} has less than a day of load in the {HISTORY_DAYS} days before it",
                where=where,
                todo="Leave this origin out, or fill the gap",
            )
    return origins


def _check_size(power_kw: Floats, where: str) -> None:
    """A load in another unit than kW is as good, as long as the features can tell its numbers apart."""
    highest, spread = float(np.nanmax(np.abs(power_kw))), float(np.nanstd(power_kw))
    if highest > MOST:
        raise ConfigError(
            f"column 'load' reaches {highest:.3g}, beyond {MOST:g}",
            where=where,
            todo="Give it in a larger unit, such as kW instead of W, or MW instead of kW",
        )
    if spread < LEAST_SPREAD:
        raise ConfigError(
            f"column 'load' spreads by {spread:.3g} only, where {LEAST_SPREAD:g} are needed",
            where=where,
            todo="Give it in a smaller unit, such as kW instead of GW",
        )


def _check_out(request: Request) -> None:
    """Minutes of training must not end in a path that cannot be written, or in the loss of what was read."""
    out = request.out
    if not out.parent.is_dir():
        raise ConfigError(
            "is in a folder that does not exist", where=str(out), todo="Make the folder, or correct --out"
        )
    if out.is_dir():
        raise ConfigError("is a folder", where=str(out), todo="Give --out the path of a file")
    if out.exists() and not out.is_file():
        raise ConfigError("is there and is not a file", where=str(out), todo="Give --out the path of a file")
    if not os.access(out.parent, os.W_OK):
        raise ConfigError("is in a folder that cannot be written", where=str(out), todo="Mend the rights")
    pool = [("--pool", source.csv) for source in request.pool]
    for option, path in [("--csv", request.source.csv), ("--origins", request.origins), *pool]:
        if out.exists() and path.exists() and out.samefile(path):
            raise ConfigError(f"is the file of {option}", where=f"--out {out}", todo="Give --out a path of its own")
