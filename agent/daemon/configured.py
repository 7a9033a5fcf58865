"""What the configuration names, read: sources, tariff, emission factors. For the daemon, and for `config check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.config import Config, CsvConfig, SimulatorConfig
from agent.contract.errors import ConfigError
from agent.contract.tariff.tariff import Tariff
from agent.sources.base import Source

if TYPE_CHECKING:
    from agent.planning.carbon.factors import Factors


def make_sources(config: Config) -> list[Source]:
    """Make the sources.

    Raises:
        ConfigError: with file and line, when a data file is wrong, or a channel is not simulated.
    """
    return [_make_source(config, source) for source in config.source]


def make_tariff(config: Config, *, series_later: bool = False) -> Tariff | None:
    """Read the tariff, where there is one; with `series_later` without looking into its price series.

    Raises:
        ConfigError: with everything that is wrong in its file, or when slots do not tell the demand that it bills.
    """
    if config.tariff is None:
        return None
    tariff, slot_s = Tariff.load(config.tariff.file, series_later=series_later), config.plant.slot_s
    for demand in (demand for version in tariff.versions for demand in version.demands):
        if demand.interval_s % slot_s and slot_s % demand.interval_s:
            raise ConfigError(
                f"{slot_s // 60} min do not divide the {demand.interval_s // 60} min over which {demand.name!r} is "
                "billed in the tariff",
                where="plant.slot_minutes",
                todo="Use 5 or 15",
            )
    return tariff


def make_factors(config: Config, *, series_later: bool = False) -> Factors | None:
    """Read the emission factors, where there are some; with `series_later` without looking into their series.

    Raises:
        ConfigError: with everything that is wrong in their file.
    """
    if config.carbon is None:
        return None
    from agent.planning.carbon.reader import read_factors  # noqa: PLC0415 - loaded only where it is needed

    return read_factors(config.carbon.file, series_later=series_later)


def _make_source(config: Config, source: CsvConfig | SimulatorConfig) -> Source:
    if isinstance(source, CsvConfig):
        from agent.sources.csv_replay import CsvReplay  # noqa: PLC0415 - a device loads only the sources that it has

        return CsvReplay(
            source.path,
            config.channels[source.channel],
            zone=source.zone,
            timestamp_column=source.timestamp_column,
            value_column=source.value_column,
            scale=source.scale,
        )
    from agent.sources.load_pattern import LoadPattern  # noqa: PLC0415 - as above
    from agent.sources.simulator import PlantSimulator  # noqa: PLC0415 - as above

    return PlantSimulator(
        [config.channels[name] for name in source.channels],
        seed=source.seed,
        zone=config.plant.zone,
        sample_s=source.sample_s,
        pattern=LoadPattern(base_kw=source.base_kw, day_kw=source.day_kw),
        fault_rate=source.fault_rate,
    )
