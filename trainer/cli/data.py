"""`edgewatt-trainer import` and `quality`: load curves into the central database, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import click

from agent.contract.errors import ConfigError
from converter.cli_support import emit, json_option, remark
from trainer.cli.home import Home, pass_home

_UNITS = ("W", "kW", "MW", "GW", "Wh", "kWh", "MWh", "GWh")
_SHOWN_NOTES = 10


@click.command("import")
@click.option(
    "--csv",
    "--file",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    help="The file, CSV or Parquet.",
)
@click.option("--plant", required=True, help="Name of the plant; made when it is new.")
@click.option(
    "--timestamps-in", "frame", required=True, metavar="ZONE", help="Zone of the file's times, as +10:00 or UTC."
)
@click.option("--timezone", "zone", metavar="ZONE", help="The plant's zone; that of the times where it is not given.")
@click.option("--timestamp-column", default="timestamp", show_default=True, help="Column of the times.")
@click.option("--value-column", default="load", show_default=True, help="Column of the load.")
@click.option(
    "--unit",
    type=click.Choice(_UNITS),
    default="kW",
    show_default=True,
    help="Of the load; with an h it is the energy of each row.",
)
@click.option("--counter", is_flag=True, help="The load is a register that runs on; --unit says of which energy.")
@click.option("--rollover", type=float, metavar="N", help="Where the register starts again at zero, in its unit.")
@click.option(
    "--covariate",
    "covariates",
    multiple=True,
    metavar="NAME=COLUMN",
    help="Known beside the load, as temperature_c=temp; may be given again.",
)
@click.option("--pv-column", help="What own PV gives, in unit and kind of the load.")
@click.option("--slot-minutes", type=int, help="Slot length; the file's own interval where it is not given.")
@click.option("--holidays", help="Country or part of it as AU-VIC, dates, `column`, or `column+AU-VIC` for both.")
@click.option("--holiday-column", default="holiday", show_default=True, help="1 on holidays, 0 on other days.")
@click.option("--repair", is_flag=True, help="Leave out rows whose time is at fault instead of refusing the file.")
@click.option("--replace", is_flag=True, help="Let the file win where it contradicts what is held.")
@json_option
@pass_home
def import_(
    home: Home,
    path: Path,
    plant: str,
    frame: str,
    zone: str | None,
    timestamp_column: str,
    value_column: str,
    unit: str,
    rollover: float | None,
    covariates: tuple[str, ...],
    pv_column: str | None,
    slot_minutes: int | None,
    holidays: str | None,
    holiday_column: str,
    *,
    counter: bool,
    repair: bool,
    replace: bool,
    as_json: bool,
) -> None:
    """Import a load curve: all of the file or nothing of it. Importing it again changes nothing.

    Each row is the mean power (or the energy) from its time on, or the register at its time. Gaps are allowed and
    reported; the report of what looks wrong with the meter goes to stderr.

    \b
    Example:
      edgewatt-trainer import --csv load.csv --plant works --timestamps-in +01:00 --timezone Europe/Berlin
      edgewatt-trainer import --file meter.parquet --plant works --timestamps-in UTC --unit kWh --counter
    """
    from trainer.dataset.importing import COLUMN, Request, keep, read_file
    from trainer.dataset.reading import Source

    by_column = holidays is not None and holidays.strip().startswith(COLUMN)
    source = Source(
        path=path,
        frame=frame,
        timestamp_column=timestamp_column,
        value_column=value_column,
        unit=unit,
        counter=counter,
        rollover=rollover,
        slot_s=None if slot_minutes is None else slot_minutes * 60,
        covariates=_covariates(covariates),
        pv_column=pv_column,
        holiday_column=holiday_column if by_column else None,
        repair=repair,
    )
    request = Request(source, plant, frame if zone is None else zone, holidays, replace)
    found = read_file(request)  # first: with a wrong file and a mistyped --home no centre is made
    engine = home.database(make=True)
    try:
        result = keep(engine, request, found)
    finally:
        engine.dispose()
    for line in (*result.notes[:_SHOWN_NOTES], *result.quality.lines()):
        remark(line)
    beside = "".join(f", {name} in {slots}" for name, slots in result.covariates.items())
    emit(
        result.to_json(),
        as_json,
        [
            f"{result.plant}: slots of {result.slot_s // 60} min, {result.holidays} holidays",
            f"{result.added} added, {result.changed} changed, {result.unchanged} held already{beside}",
        ],
    )


@click.command()
@click.option("--plant", required=True, help="An imported plant.")
@json_option
@pass_home
def quality(home: Home, plant: str, *, as_json: bool) -> None:
    """Tell what is wrong with a plant's load: what, how much of it, where first, and what training leaves out.

    \b
    Example:
      edgewatt-trainer quality --plant works
    """
    from trainer.dataset.quality import assess
    from trainer.dataset.snapshot import flags_of, take

    engine = home.database()
    try:
        snapshot, flags = take(engine, plant), flags_of(engine, plant)
    finally:
        engine.dispose()
    found = assess(snapshot.start_ms, snapshot.slot_s, snapshot.zone, snapshot.power_kw, flags)
    payload = {"plant": plant, "slot_s": snapshot.slot_s, "snapshot_sha256": snapshot.sha256, **found.to_json()}
    emit(payload, as_json, found.lines())


def _covariates(given: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, equals, column = text.partition("=")
        if not equals or not column or name in found:
            problem = "is given twice" if name in found else "names no column"
            raise ConfigError(f"{text!r} {problem}", where="--covariate", todo="Write it as temperature_c=COLUMN")
        found[name] = column
    return found


commands: list[click.Command] = [import_, quality]
