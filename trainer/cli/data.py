"""`edgewatt-trainer import`: load curves into the central database."""

from __future__ import annotations

from pathlib import Path

import click

from converter.cli_support import emit, json_option, remark
from trainer.cli.home import Home, pass_home


@click.command("import")
@click.option("--csv", "csv_path", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file.")
@click.option("--plant", required=True, help="Name of the plant; made when it is new.")
@click.option(
    "--timestamps-in", "frame", required=True, metavar="ZONE", help="Zone of the file's times, as +10:00 or UTC."
)
@click.option("--timezone", "zone", metavar="ZONE", help="The plant's zone; that of the times where it is not given.")
@click.option("--timestamp-column", default="timestamp", show_default=True, help="Column of the times.")
@click.option("--value-column", default="load", show_default=True, help="Column of the load.")
@click.option(
    "--unit", type=click.Choice(["W", "kW", "MW", "GW"]), default="kW", show_default=True, help="Of the load."
)
@click.option("--slot-minutes", type=int, help="Slot length; the file's own interval where it is not given.")
@click.option("--holidays", help="Country or part of it as AU-VIC, or dates as 2026-12-25,2026-12-26.")
@click.option("--replace", is_flag=True, help="Let the file win where it contradicts what is held.")
@json_option
@pass_home
def import_(
    home: Home,
    csv_path: Path,
    plant: str,
    frame: str,
    zone: str | None,
    timestamp_column: str,
    value_column: str,
    unit: str,
    slot_minutes: int | None,
    holidays: str | None,
    *,
    replace: bool,
    as_json: bool,
) -> None:
    """Import a load curve: all of the file or nothing of it. Importing it again changes nothing.

    Each row is the mean power from its time on. Gaps are allowed and reported; the report of what looks wrong with
    the meter goes to stderr.

    \b
    Example:
      edgewatt-trainer import --csv load.csv --plant works --timestamps-in +01:00 --timezone Europe/Berlin
    """
    from dataclasses import asdict

    from trainer.dataset.importing import Request, import_csv

    request = Request(
        csv=csv_path,
        plant=plant,
        frame=frame,
        zone=zone or frame,
        timestamp_column=timestamp_column,
        value_column=value_column,
        unit=unit,
        slot_s=None if slot_minutes is None else slot_minutes * 60,
        holidays=holidays,
        replace=replace,
    )
    engine = home.database(make=True)
    try:
        result = import_csv(engine, request)
    finally:
        engine.dispose()
    for line in result.quality.lines():
        remark(line)
    emit(
        asdict(result),
        as_json,
        [
            f"{result.plant}: slots of {result.slot_s // 60} min, {result.holidays} holidays",
            f"{result.added} added, {result.changed} changed, {result.unchanged} held already",
        ],
    )


commands: list[click.Command] = [import_]
