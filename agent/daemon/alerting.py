"""Which rules watch this plant, and the board that they speak to: what `[alerts]` asks for, made real.

Rules that must be asked for are loaded only then.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from agent.alerts.board import AlertBoard
from agent.alerts.finding import Rule
from agent.alerts.hysteresis import Limit
from agent.alerts.rules.meter import CounterReset, DataMissing, FrozenMeter
from agent.alerts.rules.peak import PeakAhead, PeakNow
from agent.alerts.rules.upkeep import ModelDrift, StoreFailing
from agent.alertsconfig import LimitConfig, PowerFactorConfig
from agent.config import Config
from agent.contract.channels import Kind
from agent.contract.tariff.tariff import Tariff
from agent.contract.zones import parse_zone
from agent.daemon.views import stored_alerts
from agent.store.store import Store

_NIGHT_S = 20 * 3600  # an inverter that sleeps as long as it is dark is not missing


def make_board(config: Config, tariff: Tariff | None, store: Store) -> AlertBoard:
    """Make the board, with what the store says is open."""
    return AlertBoard(list(make_rules(config, tariff)), stored_alerts(store), most_per_hour=config.alerts.most_per_hour)


def make_rules(config: Config, tariff: Tariff | None) -> Iterator[Rule]:
    """Yield the rules that are wanted."""
    zone = parse_zone(config.plant.zone)
    alerts = config.alerts
    for channel in config.channel:
        # What a channel says of an interval comes when that is over: silence begins after it.
        silent_s = alerts.data_missing_s + channel.interval_s
        yield DataMissing(channel.name, silent_s + _NIGHT_S * (channel is config.own_channels[0]), zone=zone)
        if alerts.frozen_meter:
            needs_load = channel.kind is Kind.COUNTER and channel.name != config.plant.power_channel
            yield FrozenMeter(channel.name, needs_load=needs_load, zone=zone)
    yield StoreFailing()
    if alerts.counter_reset and config.channels[config.plant.power_channel].kind is Kind.COUNTER:
        yield CounterReset(zone=zone)
    if alerts.model_drift:
        yield ModelDrift()
    if alerts.peak_kw is not None:
        yield PeakAhead(alerts.peak_kw, quantile=alerts.quantile, clear_below_kw=alerts.clear_below_kw, zone=zone)
    billed = tariff is not None and any(version.demands for version in tariff.versions)
    if billed or config.peak.target_kw is not None or config.peak.price_per_kw is not None:
        yield PeakNow(zone=zone)
    if alerts.abnormal is not None:
        from agent.alerts.rules.load import AbnormalLoad  # noqa: PLC0415 - see above

        yield AbnormalLoad(alerts.abnormal.slots, alerts.abnormal.among, alerts.abnormal.margin)
    if alerts.base_load is not None:
        from agent.alerts.rules.load import BaseLoadCreep  # noqa: PLC0415 - see above

        yield BaseLoadCreep(alerts.base_load.rise)
    if alerts.month_budget is not None:
        from agent.alerts.rules.cost import CostBudget  # noqa: PLC0415 - see above

        yield CostBudget(Decimal(str(alerts.month_budget)))
    if alerts.power_factor is not None:
        yield _power_factor(config, alerts.power_factor)
    for limit in alerts.limit:
        yield _limit(config, limit)


def _limit(config: Config, wanted: LimitConfig) -> Rule:
    from agent.alerts.rules.limit import ChannelLimit, LoadLimit  # noqa: PLC0415 - see above

    if wanted.channel is None:
        return LoadLimit(wanted.name, wanted.limit, wanted.slots, wanted.among, severity=wanted.severity)
    channel = config.channels[wanted.channel]
    return ChannelLimit(
        wanted.name,
        channel.name,
        channel.unit,
        wanted.limit,
        fresh_s=config.alerts.data_missing_s + channel.interval_s,
        severity=wanted.severity,
        raise_after_s=wanted.for_minutes * 60,
    )


def _power_factor(config: Config, wanted: PowerFactorConfig) -> Rule:
    from agent.alerts.rules.limit import PowerFactorLow  # noqa: PLC0415 - see above

    power = config.channels[config.plant.power_channel]
    names = [name for name in (wanted.channel, wanted.reactive_channel, power.name) if name is not None]
    return PowerFactorLow(
        Limit(wanted.below, is_upper=False),
        channel=wanted.channel or "",
        active=power.name if power.kind is Kind.GAUGE else "",
        reactive=wanted.reactive_channel or "",
        from_kw=wanted.from_kw,
        fresh_s=config.alerts.data_missing_s + max(config.channels[name].interval_s for name in names),
        raise_after_s=wanted.for_minutes * 60,
    )
