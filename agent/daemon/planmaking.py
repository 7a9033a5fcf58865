"""Makes what only a plant with something to plan needs; its modules are loaded only there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agent.config import Config
from agent.contract.tariff.tariff import Tariff
from agent.contract.zones import parse_zone
from agent.daemon.forecasting import Costs
from agent.daemon.history import History
from agent.store.store import Store

if TYPE_CHECKING:
    from agent.daemon.meterahead import MeterAhead
    from agent.daemon.planning import Planning
    from agent.planning.carbon.factors import Factors


def make_planning(
    config: Config,
    store: Store,
    history: History,
    tariff: Tariff | None,
    costs: Costs | None,
    factors: Factors | None,
    ahead: MeterAhead | None,
) -> Planning | None:
    """Make the planning; None where there is nothing to plan, or no price to plan by."""
    if tariff is None or costs is None or (config.battery is None and not config.load):
        return None
    from agent.daemon.planning import Planning  # noqa: PLC0415 - see above
    from agent.daemon.setpoint import read_soc  # noqa: PLC0415 - likewise
    from agent.planning.advice import Wishes  # noqa: PLC0415 - likewise

    site, battery, pv = config.site, config.battery, config.pv

    def wishes(now_ms: int) -> Wishes:
        channel = None if battery is None else battery.soc_channel
        soc = read_soc(store, channel, now_ms)
        return Wishes(
            site_limit_kw=math.inf if site.import_limit_kw is None else site.import_limit_kw,
            export_limit_kw=math.inf if site.export_limit_kw is None else site.export_limit_kw,
            margin_quantile=site.margin_quantile,
            battery=None if battery is None else battery.battery(soc),
            soc_unknown="" if battery is None or soc is not None else _why_unknown(channel),
            loads=tuple(load.daily() for load in config.load),
            curtailable=pv is not None and pv.curtailable,
            carbon_price_per_kg=site.carbon_price_per_kg,
            zone=parse_zone(config.plant.zone),
        )

    return Planning(
        store,
        history,
        tariff,
        wishes,
        pv=None if ahead is None else ahead.pv,
        demand_before=lambda: costs.earlier,
        used_kwh=lambda: costs.used_kwh,
        factors=factors,
        gap=site.gap,
        limit_s=site.limit_s,
    )


def _why_unknown(channel: str | None) -> str:
    return "battery.soc_channel is not set" if channel is None else f"{channel} told nothing for an hour"
