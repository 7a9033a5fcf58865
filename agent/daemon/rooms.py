"""The rooms at work together: what the daemon composes, and makes anew once its store could be opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.alerts.board import AlertBoard
from agent.control import Control
from agent.daemon.calibrating import Calibrating
from agent.daemon.clockwatch import ClockRoom
from agent.daemon.exchange import Exchange
from agent.daemon.forecasting import Costs, Forecasting
from agent.daemon.history import History
from agent.daemon.models import Models
from agent.daemon.notify import Notifier
from agent.daemon.slots import SlotCloser
from agent.daemon.slotweeks import SlotWeeks
from agent.daemon.watching import Watching
from agent.sources.base import Source
from agent.sources.clock import Clock
from agent.store.store import Store

if TYPE_CHECKING:
    from agent.contract.rows import Forecast
    from agent.daemon.meterahead import MeterAhead
    from agent.daemon.planning import Planning


@dataclass(frozen=True)
class Rooms:
    """All of them. `exchange` is None until enrolled, `costs` without a tariff.

    `planning` is None where there is nothing to plan, `ahead` where the forecast is of the meter itself.
    """

    clock: Clock
    time: ClockRoom
    store: Store
    sources: Sequence[Source]
    closer: SlotCloser
    history: History
    calibrating: Calibrating
    forecasting: Forecasting
    costs: Costs | None
    slot_weeks: SlotWeeks
    board: AlertBoard
    watching: Watching
    models: Models
    exchange: Exchange | None
    control: Control
    notifier: Notifier
    planning: Planning | None = None
    ahead: MeterAhead | None = None

    def expected(self) -> Forecast | None:
        """The newest forecast, as one of the meter; None before the first."""
        latest = self.forecasting.latest
        return latest if latest is None or self.ahead is None else self.ahead.at_meter(latest)
