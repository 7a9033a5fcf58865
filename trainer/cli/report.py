"""`edgewatt-trainer report`: what the centre holds, as one page for people who decide."""

from __future__ import annotations

from pathlib import Path

import click

from converter.cli_support import emit, remark
from trainer.cli.home import Home, pass_home


@click.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The HTML file to write.")
@click.option("--devices", default="", metavar="A,B", help="Only these devices; all where it is not given.")
@click.option(
    "--bundle",
    "bundles",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A model file (.ewb) whose card is shown; may be given several times.",
)
@click.option("--days", type=click.IntRange(1, 366), default=14, show_default=True, help="Days of data to show.")
@click.option("--zone", default="", help="Zone of local days, e.g. Europe/Berlin; else each device's own.")
@click.option("--title", default="Plant energy report", show_default=True, help="Heading of the page.")
@click.option("--json", "as_json", is_flag=True, help="Print the headline table as one JSON object.")
@pass_home
def report(
    home: Home, out: Path, devices: str, bundles: tuple[Path, ...], days: int, zone: str, title: str, *, as_json: bool
) -> None:
    """Write one self-contained HTML page: load and forecast, cost, alerts, sync and updates of each device.

    The page needs no network and no server.

    \b
    Example:
      edgewatt-trainer report --out report.html --bundle model.ewb
    """
    from agent.contract.durable import write_durable
    from converter.bundling import read
    from trainer.service.report import Options, build_report

    options = Options(
        devices=[name.strip() for name in devices.split(",") if name.strip()],
        bundles=[read(path) for path in bundles],
        days=days,
        zone=zone,
        title=title,
    )
    engine = home.database()
    try:
        made = build_report(engine, options)
    finally:
        engine.dispose()
    page, count = made.html.encode(), len(made.headlines)
    write_durable(out, page)
    if as_json:
        emit({**made.to_json(), "report": str(out), "report_bytes": len(page)}, as_json, ())
    else:
        remark(f"{out}: {count} {'device' if count == 1 else 'devices'}, {len(page) / 1e6:.1f} MB")


commands: list[click.Command] = [report]
