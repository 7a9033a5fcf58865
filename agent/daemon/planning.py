"""A plan for battery and loads whenever a forecast is made; advice only, nothing is switched.

Decides when a plan is made and what is kept of it. It is solved in a child process beside the loop, which never waits
for it; a forecast that comes meanwhile is planned next, and of several only the newest. Where a battery meets a demand
charge it follows a policy, and what is aimed at is kept with the plan.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from agent.contract import jsonform
from agent.contract.errors import RejectedError
from agent.contract.rows import Forecast, event_row
from agent.contract.tariff.tariff import Tariff
from agent.daemon.history import History
from agent.daemon.mediansbefore import MEDIAN, MediansBefore
from agent.daemon.plannote import NOTE, moved_plan, read_plan_note
from agent.planning.advice import Advised, Task, Wishes, next_task
from agent.planning.billing.forward import Earlier
from agent.planning.carbon.factors import Factors, Ledger
from agent.planning.pv import PvAhead
from agent.planning.schedule.aims import aims_told
from agent.planning.schedule.child import COMMAND, Made, Making
from agent.planning.schedule.explain import explain, outcome
from agent.planning.schedule.prospect import PAST_DAYS, Aims, Prospect, prospect
from agent.planning.schedule.wire import (
    aims_from_json,
    aims_to_json,
    plan_from_json,
    plan_to_json,
    policy_to_json,
    problem_from_json,
    problem_to_json,
)

_DAY_S = 86_400
_READ_S = 0.02  # of a turn
_DAMAGED = (RejectedError, ArithmeticError, AttributeError, KeyError, TypeError, ValueError)  # of a note
_log = logging.getLogger(__name__)


class Kept(Protocol):
    """What this module needs of the store."""

    def note(self, name: str) -> bytes | None:
        """Return what was kept under a name."""
        ...

    def keep(self, name: str, data: bytes) -> None:
        """Keep it with the rows that are appended next."""
        ...

    def rows(self, stream: str, start_ms: int, end_ms: int) -> Sequence[Mapping[str, Any]]:
        """Return the rows of a stream in [start_ms, end_ms)."""
        ...


class _Asked(NamedTuple):
    """A plan that is to be made, and the forecasts before that it is to know, where it is to guard a peak."""

    forecast: Forecast
    task: Task
    before: MediansBefore | None


class Planning:
    """Makes plans, one at a time.

    Invariants:
        - a turn never waits for the solver;
        - a plan is kept before its event, in the same transaction;
        - what was advised before, and what is aimed at this month, is known over restarts.
    """

    def __init__(
        self,
        store: Kept,
        history: History,
        tariff: Tariff,
        wishes: Callable[[int], Wishes],
        *,
        pv: Callable[[Forecast], PvAhead | None] | None = None,
        demand_before: Callable[[], Earlier] = dict,
        used_kwh: Callable[[], Mapping[str, float]] = dict,
        factors: Factors | None = None,
        gap: float = 1e-3,
        limit_s: float = 10.0,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """Begin.

        Args:
            store: keeps the plan; has the forecasts of the weeks before.
            history: slots of the month so far, and of the weeks before.
            tariff: prices.
            wishes: battery and loads as they are at a time.
            pv: tells what PV will give in the steps of a forecast; None where there is none.
            demand_before: demand of earlier months that still counts.
            used_kwh: what charges with tiers by the year counted in earlier months.
            factors: of emissions, where known.
            gap: a plan may cost this share more than the cheapest.
            limit_s: real time for one plan.
            command: of the child process.
        """
        self._store = store
        self._history = history
        self._tariff = tariff
        self._wishes = wishes
        self._pv = pv
        self._demand_before = demand_before
        self._used_kwh = used_kwh
        self._factors = factors
        self._gap = gap
        self._limit_s = limit_s
        self._command = command
        self._due: Forecast | None = None
        self._asked: _Asked | None = None
        self._task: Task | None = None
        self._making: Making | None = None
        self._advised: Advised | None = None
        self._aims: Aims | None = None
        self._is_read = False
        self._failure: Exception | None = None

    def begin(self, forecast: Forecast) -> None:
        """Ask for the plan of a forecast."""
        self._due = forecast

    def resume(self, newest: Mapping[str, Any], now_ms: int) -> None:
        """Ask for the plan of the newest stored forecast, where the run before ended without it.

        Args:
            newest: its row.
            now_ms: plant clock.
        """
        with contextlib.suppress(*_DAMAGED):  # of such a note `_read` tells
            forecast, value = Forecast.from_row(newest), read_plan_note(self._store.note)
            end_ms = forecast.origin_ms + len(forecast.power_kw) * forecast.slot_s * 1000
            if now_ms < end_ms and (value is None or value["start_ms"] < forecast.origin_ms):
                self._due = forecast

    def turn(self, now_ms: int) -> list[dict[str, Any]]:
        """Start what is due, take what is ready; return events.

        Raises:
            Exception: whatever kept a plan from being made, above all a ConfigError when wishes or tariff make no
                problem; at every turn, until the next one is in the making.
        """
        rows = []
        try:
            if self._making is not None and self._task is not None:
                making, task = self._making, self._task
                self._making = self._task = None  # first: a plan that cannot be made or kept is not for ever
                if (made := making.poll()) is None:
                    self._making, self._task = making, task
                else:
                    rows.append(self._take(now_ms, task, made))
            if self._making is None:
                self._go_on()
        except Exception as exc:
            self._failure = exc
            if not rows:
                raise
        if self._failure is not None and not rows:
            raise self._failure.with_traceback(None)  # it would grow by each turn
        return rows

    def _go_on(self) -> None:
        """Ask for what is due, and begin to make it when all is known."""
        asked, self._asked = self._asked, None
        if asked is None and self._due is not None:
            forecast, self._due = self._due, None
            asked = self._ask(forecast)
        if asked is not None and asked.before is not None and not asked.before.read(_READ_S):
            self._asked = asked
        elif asked is not None:
            ahead, problem = self._prospect(asked), asked.task.problem
            self._making = Making(problem, ahead, gap=self._gap, limit_s=self._limit_s, command=self._command)
            self._task, self._failure = asked.task, None

    def clock_was_set(self, step_ms: int) -> None:
        """Let go of what is in the making; the last plan stands where it was meant to, if the same clock stamped it.

        Whether it did, the store knows: the event of the plan has been moved then.

        Raises:
            StorageError: when the disk cannot be read.
        """
        self.close()
        self._due = self._asked = self._task = self._making = self._failure = None
        with contextlib.suppress(*_DAMAGED):  # of such a note `_read` tells
            value = read_plan_note(self._store.note)
            if value is None:
                return
            told_ms = value["made_ms"] + step_ms
            told = self._store.rows("events", told_ms, told_ms + 1)
            if any(row["kind"] == "plan" and row["start_ms"] == value["start_ms"] for row in told):
                self._store.keep(NOTE, jsonform.dumps(moved_plan(value, step_ms)))
                self._is_read = False

    def close(self) -> None:
        """End the child, if there is one."""
        if self._making is not None:
            self._making.close()

    def _next(self, forecast: Forecast) -> Task:
        if not self._is_read:
            self._advised, self._aims = _read(self._store)
            self._is_read = True
        origin_ms, steps = forecast.origin_ms, len(forecast.power_kw)
        kg = None
        if self._factors is not None:
            mean, at_margin = (
                self._factors.kg_per_unit("electricity", ledger, origin_ms, forecast.slot_s, steps)
                for ledger in (Ledger.LOCATION, Ledger.MARGINAL)
            )
            kg = np.where(np.isnan(at_margin), mean, at_margin)  # what one kWh less saves, where that is known
        return next_task(
            self._tariff,
            forecast,
            self._history.between(0, origin_ms),
            self._wishes(origin_ms),
            pv=None if self._pv is None else self._pv(forecast),
            earlier=self._advised,
            demand_before=self._demand_before(),
            used_kwh=self._used_kwh(),
            carbon_kg_per_kwh=kg,
        )

    def _ask(self, forecast: Forecast) -> _Asked:
        task, before = self._next(forecast), None
        if task.problem.battery is not None and any(charge.per_kw for charge in task.problem.demand):
            pv_kw = None if self._pv is None else self._history.pv_kw(forecast.origin_ms)
            before = MediansBefore(self._store, forecast, self._tariff.zone, pv_kw)
        return _Asked(forecast, task, before)

    def _prospect(self, asked: _Asked) -> Prospect | None:
        """Return what the battery's policy rests on; None where no peak is to be guarded, or too little is known."""
        if asked.before is None:
            return None
        forecast = asked.forecast
        past_kw = self._history.net_kw(forecast.origin_ms)
        return prospect(
            self._tariff,
            forecast.origin_ms,
            forecast.level(MEDIAN) - asked.task.problem.pv_kw,
            past_kw[-PAST_DAYS * _DAY_S // forecast.slot_s :],
            asked.before.found,
            step_s=forecast.slot_s,
            aims=self._aims,
        )

    def _take(self, now_ms: int, task: Task, made: Made) -> dict[str, Any]:
        """Keep a plan, and tell of it."""
        problem, plan = made.problem, made.plan
        # Demand up to the aim is not paid for yet; whether its margin counts is the plan's own question.
        actual = dataclasses.replace(task.problem, margin_on_demand=problem.margin_on_demand)
        told = explain(actual, plan, made.aims or Aims())
        notes = (*task.notes, *told.notes, *task.assumed)
        aims = () if made.aims is None else tuple(aims_told(task.problem, self._aims, made.aims))
        self._aims = made.aims or self._aims
        money = {
            "cost": _rounded(told.cost),
            "cost_of_nothing": _rounded(told.cost_of_nothing),
            "left_over": _rounded(told.left_over),
            "saving": _rounded(told.saving),
            "currency": problem.currency,
            "source": plan.source,
            "gap": None if plan.gap is None else round(plan.gap, 6),
        }
        span = {"start_ms": problem.start_ms, "end_ms": problem.time_ms(problem.steps)}
        value = {
            "made_ms": now_ms,
            **span,
            **money,
            "demand_cost": _rounded(told.demand_cost),
            "left_kwh": _rounded(told.left_kwh, 3),
            "notes": [*notes, *aims],
            "actions": [
                {"what": action.what, "text": action.text, "saving": _rounded(action.saving, 4)}
                for action in told.actions
            ],
            "solver": {"wall_s": round(made.wall_s, 3), "cpu_s": round(made.cpu_s, 3), "peak_kib": made.peak_kib},
            "problem": problem_to_json(problem),
            "plan": plan_to_json(plan),
            "settled": list(task.settled),
            "to_go": None if made.policy is None else policy_to_json(made.policy),
            "aims": None if self._aims is None else aims_to_json(self._aims),
        }
        self._store.keep(NOTE, jsonform.dumps(value))
        self._advised = Advised(problem, plan, task.settled)
        text = f"the plan {outcome(told.saving, problem.currency)}"
        if plan.source == "rules" and plan.notes:
            text += f"; it is one by rules: {plan.notes[0]}"
        elif notes:
            text += f"; {notes[0]}"
        text = "; ".join([text, *aims[:1]])
        return event_row(now_ms, "plan", text, **span, **money)


def _rounded(value: float, digits: int = 2) -> float:
    """Return a number as it is told: 0 has no sign."""
    return round(value, digits) + 0.0


def _read(store: Kept) -> tuple[Advised | None, Aims | None]:
    """Return what was advised and aimed at before the start; None where that cannot be known."""
    try:
        value = read_plan_note(store.note)
        if value is None:
            return None, None
        problem = problem_from_json(value["problem"])
        advised = Advised(problem, plan_from_json(problem, value["plan"]), tuple(map(str, value["settled"])))
        return advised, None if value.get("aims") is None else aims_from_json(value["aims"])
    except _DAMAGED as exc:
        _log.warning("the last plan cannot be read, planning begins anew: %s", exc)
        return None, None
