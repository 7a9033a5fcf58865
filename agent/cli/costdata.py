"""What the commands about costs read: the tariff, and slots from the store, beside the agent or without it.

They bill for themselves: a year of slots would hold up the agent's turn.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from agent.cli.output import local, remark
from agent.contract.errors import ConfigError, RejectedError, StorageError, UnavailableError
from agent.contract.zones import to_local

if TYPE_CHECKING:
    from agent.cli.session import Session
    from agent.config import Config
    from agent.contract.rows import Forecast
    from agent.contract.slots import Slot
    from agent.contract.tariff.tariff import Tariff
    from agent.daemon.views import View
    from agent.planning.billing.forward import Forward
    from agent.planning.carbon.factors import Factors
    from agent.store.reader import Reader

Span = tuple[int, int]
_DAY_MS = 86_400_000
_WEEK_MS = 7 * _DAY_MS
_SHORTEST, _LONGEST = 25, 36  # days from one reading of a meter to the next


class _Date(click.DateTime):
    """A date of this century or the last; others have no local time, or no tariff."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:
        date: dt.datetime = super().convert(value, param, ctx)
        if not 1970 <= date.year < 2200:
            self.fail(f"{value!r} is not between 1970 and 2199.", param, ctx)
        return date


month_option = click.option("--month", type=_Date(["%Y-%m"]), help="Billing month, by where it begins.")
from_option = click.option("--from", "first", type=_Date(["%Y-%m-%d"]), help="First local day.")
to_option = click.option("--to", "last", type=_Date(["%Y-%m-%d"]), help="Last local day, which counts too.")


class Plant:
    """A plant as its store tells it.

    Attributes:
        now_ms: end of the newest slot.
    """

    def __init__(self, store: Reader, view: View, config: Config) -> None:
        self._store, self._view, self._config = store, view, config
        newest_ms = store.last_time_ms("slots")
        if newest_ms is None:
            raise UnavailableError(
                "there is no closed slot yet", where=config.device.id, todo="Wait for the first; edgewatt status"
            )
        self.now_ms = newest_ms + config.plant.slot_s * 1000

    @property
    def slot_s(self) -> int:
        """Length of its slots."""
        return self._config.plant.slot_s

    @property
    def head(self) -> dict[str, str]:
        """What every answer begins with."""
        return {"device": self._config.device.id, "zone": self.tariff.zone_name, "tariff": self.tariff.name}

    @cached_property
    def tariff(self) -> Tariff:
        """The plant's tariff.

        Raises:
            ConfigError: when there is none, or with what is wrong in it.
        """
        from agent.contract.tariff.tariff import Tariff

        if self._config.tariff is None:
            raise ConfigError("there is no tariff", where="configuration", todo="Add [tariff] file")
        return Tariff.load(self._config.tariff.file)

    @cached_property
    def factors(self) -> Factors | None:
        """The emission factors, where there are some.

        Raises:
            ConfigError: with what is wrong in them.
        """
        if self._config.carbon is None:
            return None
        from agent.planning.carbon.reader import read_factors

        return read_factors(self._config.carbon.file)

    def emissions(self, slots: Sequence[Slot], span: Span) -> dict[str, Any]:
        """Return what the energy of a span emitted, as rows of `costs` have it; {} where nothing tells."""
        if self.factors is None:
            return {}
        from agent.planning.carbon.emissions import emissions
        from agent.planning.carbon.factors import ELECTRICITY

        try:
            return emissions(self.factors, {ELECTRICITY: slots}, span_ms=span).to_json()
        except UnavailableError:
            return {}

    def slots(self, start_ms: int, end_ms: int) -> list[Slot]:
        """Return the slots that start in [start_ms, end_ms)."""
        from agent.daemon.slotweeks import slots_between

        length_s = self._config.plant.slot_s
        return [slot for slot in slots_between(self._store, start_ms, end_ms) if slot.length_s == length_s]

    def slots_for(self, span: Span, *tariffs: Tariff) -> list[Slot]:
        """Return the slots that bills of a span rest on.

        With the months that they look back to, and the week before, by which one sees whether the device was there.
        """
        from agent.planning.billing.bill import since_ms

        since = min(since_ms(tariff, span) for tariff in tariffs)
        return self.slots(min(since, span[0] - _WEEK_MS), span[1])

    @property
    def lately(self) -> list[Slot]:
        """The slots that the agent has at hand."""
        return [slot for slot in self._past[self._since(self._at_hand_ms) :] if slot.length_s == self.slot_s]

    @cached_property
    def forward(self) -> Forward:
        """What earlier months count for in that of the newest slot."""
        from agent.planning.billing.earlier import read_forward

        def read(start_ms: int, end_ms: int) -> list[Slot]:
            return self._past[self._since(start_ms) : self._since(end_ms)]

        return read_forward(self.tariff, self.now_ms, read)

    @cached_property
    def _past(self) -> list[Slot]:
        """All of any length that costs of today and this month rest on, read at once."""
        from agent.daemon.slotweeks import slots_between
        from agent.planning.billing.earlier import REACH_MS, months_that_count

        starts_ms = [month.start_ms - REACH_MS for month in months_that_count(self.tariff, self.now_ms)]
        return slots_between(self._store, min([self._at_hand_ms, *starts_ms]), self.now_ms)

    @property
    def _at_hand_ms(self) -> int:
        from agent.daemon.history import KEEP_DAYS

        return self.now_ms - KEEP_DAYS * _DAY_MS

    def _since(self, start_ms: int) -> int:
        """Return the index of the first slot from a time on."""
        return bisect_left(self._past, start_ms, key=lambda slot: slot.start_ms)

    def forecast(self) -> Forecast | None:
        """Return the newest forecast that counts, as one of the meter."""
        found = self._view.expected()
        is_of_use = found is not None and found.slot_s == self._config.plant.slot_s  # else of a time before a change
        return found if is_of_use else None

    def planned(self, forecast: Forecast | None) -> Forecast | None:
        """Return a forecast as it is where the plan that was made for it is followed; None where there is none."""
        from agent.daemon.plannote import read_plan_note

        try:
            value = read_plan_note(self._store.note)
            if value is None or forecast is None or value["start_ms"] != forecast.origin_ms:
                return None
            from agent.planning.atmeter import as_planned
            from agent.planning.schedule.wire import plan_from_json, problem_from_json

            problem = problem_from_json(value["problem"])
            plan = plan_from_json(problem, value["plan"])
        except (RejectedError, KeyError) as exc:
            remark(f"the plan cannot be read ({exc}): nothing is said of costs with it")
            return None
        is_of_it = problem.step_s == forecast.slot_s and problem.steps == len(forecast.power_kw)
        return as_planned(forecast, plan.grid_kw) if is_of_it else None


@contextlib.contextmanager
def open_plant(session: Session) -> Iterator[Plant]:
    """Open the store for reading, whether the agent runs or not.

    Raises:
        StorageError: when there is no store, or this user cannot open it.
        UnavailableError: when there is nothing in it to bill.
    """
    from agent.daemon.offline import open_offline_store
    from agent.daemon.paths import StatePaths, credentials
    from agent.daemon.views import View

    identity = StatePaths(session.config.device.state_dir).identity
    try:
        opened = contextlib.ExitStack()
        reader, found = opened.enter_context(open_offline_store(session.config))
    except StorageError as exc:
        if identity.exists() and credentials() is None and not (identity / "storage.key").exists():
            raise StorageError(
                exc.what,
                where=exc.where,
                todo=f"{exc.todo}. Where the agent has it, `edgewatt cost` asks the agent for its newest costs",
            ) from exc
        raise
    with opened:
        yield Plant(reader, View(reader, session.config, found.enrolment), session.config)
        if reader.damaged:
            remark(f"{len(reader.damaged)} blocks are damaged and were left out: see edgewatt buffer verify")


def month_span(tariff: Tariff, month: dt.datetime) -> Span:
    """Return [start, end) of the billing month that begins in a month."""
    start_ms, _ = tariff.date_bounds_ms(month.date().replace(day=tariff.billing_day))
    return start_ms, tariff.month_at(start_ms).end_ms


def days_span(tariff: Tariff, first: dt.datetime, last: dt.datetime) -> Span:
    """Return [start, end) of local days, both of them included."""
    if last < first:
        raise click.UsageError(f"--to {last:%Y-%m-%d} is before --from {first:%Y-%m-%d}.")
    return tariff.date_bounds_ms(first.date())[0], tariff.date_bounds_ms(last.date())[1]


def as_one_invoice(tariff: Tariff, span: Span) -> tuple[Tariff, list[str]]:
    """Take days that are about a month, across two billing months, as one of its own; say so in words.

    Many meters are not read on one day every month, and nobody pays for the month's demand twice.
    """
    zone = tariff.zone
    first, end = (to_local(at_ms, zone).date() for at_ms in span)
    if not _SHORTEST <= (end - first).days <= _LONGEST or tariff.month_at(span[0]) == tariff.month_at(span[1] - 1):
        return tariff, []
    words = f"{first} to {end - dt.timedelta(days=1)} is taken as one billing month: demand and the like count once"
    return tariff.with_period(first, end), [words]


def months_seen(tariff: Tariff, slots: Sequence[Slot], now_ms: int) -> Span:
    """Return the last twelve billing months that are over and were seen from their begin, else all that was seen.

    A month that was seen in part has all of its demand: tariffs with much of it would look dearer than they are.
    """
    first_ms = min((slot.start_ms for slot in slots), default=now_ms)
    start_ms, end_ms = year_span(tariff, now_ms)[0], tariff.month_start_ms(now_ms)
    begins = [max(month.start_ms, tariff.begin_ms) for month in tariff.months(start_ms, end_ms)]
    seen = [begin_ms for begin_ms in begins if first_ms <= begin_ms < end_ms]
    return (seen[0], end_ms) if seen else (max(start_ms, tariff.begin_ms), now_ms)


def year_span(tariff: Tariff, now_ms: int) -> Span:
    """Return the twelve billing months before this one, and what there is of this."""
    return tariff.months_before(tariff.month_at(now_ms), 12)[0].start_ms, now_ms


def known_span(tariff: Tariff, slots: list[Slot], span: Span, now_ms: int) -> tuple[Span, list[str]]:
    """Cut a span to what the device has seen of it; return it with what was cut off, in words.

    Raises:
        UnavailableError: when it has seen nothing of it.
    """
    first_ms = min((slot.start_ms for slot in slots), default=now_ms)
    start_ms, end_ms = max(span[0], first_ms), min(span[1], now_ms)
    if start_ms >= end_ms:
        raise UnavailableError(
            f"no slot is known from {local(span[0], tariff.zone_name)} to {local(span[1], tariff.zone_name)}",
            where="bill",
            todo="Take other days",
        )
    notes = []
    if start_ms > span[0]:
        notes.append(f"nothing is known before {local(start_ms, tariff.zone_name)}: billed from then on")
    if end_ms < span[1]:
        notes.append(f"measured to {local(end_ms, tariff.zone_name)}: billed so far")
    return (start_ms, end_ms), notes
