"""A file of emission factors: TOML to `Factors`, every complaint at once. Reads files."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from agent.contract.errors import ConfigError
from agent.contract.givenfiles import check_file
from agent.contract.series import DECIMALS, Form, Series, SeriesFile
from agent.contract.tariff.section import Section, read_sections
from agent.contract.zones import parse_zone
from agent.planning.carbon.factors import ALL_MONTHS, ELECTRICITY, FIRST_DAY, LAST_DAY, Factor, Factors, Ledger

MAX_FILE_BYTES = 1 << 18
MAX_FACTOR = Decimal(100_000)
UNITS = ("kWh", "m3", "t", "GJ", "l")
SERIES_MINUTES = (5, 10, 15, 30, 60)


def read_factors(path: Path, *, series_later: bool = False) -> Factors:
    """Read a file and the series that it names, which lie beside it; with `series_later` without looking into these.

    Raises:
        ConfigError: when one cannot be read, or with everything that is wrong in the file.
    """
    check_file(path, MAX_FILE_BYTES, todo="Check [carbon] file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot be read ({exc})", where=str(path), todo="Check [carbon] file") from exc
    return parse_factors(text, str(path), path.parent, series_later=series_later)


def parse_factors(text: str, where: str = "carbon", folder: Path = Path(), *, series_later: bool = False) -> Factors:
    """Parse the text of a file that lies in `folder`; firmware-configs/carbon has worked examples.

    Raises:
        ConfigError: with everything that is wrong in it.
    """
    return read_sections(text, where, lambda top: _Reader(top, folder, series_later=series_later).factors())


def factor_form(scale: Decimal = Decimal(1)) -> Form:
    """Return the form of a series of factors: in kg a unit, or `scale` kg a unit."""
    example = "2026-01-31T13:00Z,0.351"
    return Form("kg_per_unit", f"a factor of 0 to {MAX_FACTOR} kg", Decimal(0), MAX_FACTOR, example, scale)


class _Reader:
    """Reads one file."""

    def __init__(self, top: Section, folder: Path, *, series_later: bool) -> None:
        self._top = top
        self._folder = folder
        self._series_later = series_later

    def factors(self) -> Factors:
        top = self._top
        name, zone = top.text("name"), top.text("zone") or "UTC"
        try:
            parse_zone(zone)
        except ConfigError as exc:
            top.complain("zone", str(exc))
        if "factor" not in top:
            top.complain("factor", "is missing: write one [[factor]] or more")
        factors, units = [], dict[str, str]()
        for entry in top.children("factor"):
            factor = self._factor(entry)
            if units.setdefault(factor.carrier, factor.unit) != factor.unit:
                entry.complain("unit", f"{factor.carrier!r} has another unit further up")
            factors.append(factor)
        top.end()
        return Factors(name, zone, tuple(factors))

    def _factor(self, entry: Section) -> Factor:
        carrier = entry.name("carrier") if "carrier" in entry else ELECTRICITY
        if ("kg_per_unit" in entry) == ("series" in entry):
            entry.complain("kg_per_unit", "is wanted, or else series; and not both")
        first, last = entry.day("from") or FIRST_DAY, entry.day("to") or LAST_DAY
        if last < first:
            entry.complain("to", f"{last} lies before {first}")
        factor = Factor(
            name=entry.name() if "name" in entry else carrier,
            carrier=carrier,
            unit=entry.choice("unit", UNITS, "kWh"),
            ledger=Ledger(entry.choice("ledger", [str(ledger) for ledger in Ledger])),
            steps=self._steps(entry) if "kg_per_unit" in entry else 0,
            series=self._series(entry) if "series" in entry else None,
            first=first,
            last=last,
            months=entry.some("months", sorted(ALL_MONTHS)) or ALL_MONTHS,
            source=entry.text("source") if "source" in entry else "",
        )
        entry.end()
        return factor

    @staticmethod
    def _steps(entry: Section) -> int:
        return int(entry.number("kg_per_unit", low=Decimal(0), high=MAX_FACTOR).scaleb(DECIMALS))

    def _series(self, entry: Section) -> SeriesFile[Series]:
        name, minutes = entry.text("series"), entry.choice("series_minutes", SERIES_MINUTES, 60)
        form = factor_form(entry.number("scale", Decimal(1), low=Decimal("0.00000001"), high=MAX_FACTOR))
        if name and (Path(name).name != name or name.startswith(".")):
            entry.complain("series", f"{name!r} is not the name of a file beside this one")
            name = ""
        file = SeriesFile(name, self._folder / name if name else None, minutes * 60, form, Series)
        try:
            if not self._series_later:
                file.read()
        except ConfigError as exc:
            entry.complain("series", str(exc))
        return file
