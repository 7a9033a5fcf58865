"""Which alerts are open: raised, acknowledged, shelved, cleared, and taken up again after a restart.

Decides when a rule's verdict becomes a row of the `alerts` stream; what is worth an alarm is the rules' decision. It
keeps no file: its memory is the stream itself. One thread at a time.

Invariants:
- a rule has at most one open alert;
- rows of one alert come as raised, at most one acknowledged, any number of shelved and unshelved, then cleared; all
  carry the same id; while it is open it is told as raised again every two weeks, since old rows leave the store;
- while a rule says HOLD nothing happens; a raise needs `raise_after_s` of ON, a clear `clear_after_s` of OFF without a
  break;
- while a rule is shelved it raises nothing; when its time is over, what is open comes back by a row of its own;
- of one rule at most `most_per_hour` alerts are raised within an hour, and one more that says so;
- an open alert of a rule that is no longer configured is cleared at the next update.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.alerts.alert import ACKNOWLEDGED, CLEARED, RAISED, SHELVED, UNSHELVED, Alert
from agent.alerts.finding import Finding, Rule, Verdict
from agent.alerts.observations import Observations
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.jsonform import Fields

MOST_PER_HOUR = 6
MOST_SHELF_S = 30 * 86_400
_HOUR_MS = 3_600_000
_TOLD_AGAIN_MS = 14 * 86_400_000
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shelf:
    """A rule that is not to be heard of for a while.

    Attributes:
        alert: the one that was open then; it may be over by now.
        until_ms: when it comes back by itself.
    """

    alert: Alert
    until_ms: int


class AlertBoard:
    """The open alerts of one device.

    Every method that returns rows has already moved on: the caller appends them to the `alerts` stream, which is
    committed at once.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        rows: Iterable[Mapping[str, Any]] = (),
        *,
        most_per_hour: int = MOST_PER_HOUR,
    ) -> None:
        """Take up what `rows` of the `alerts` stream, oldest first, leave open.

        Args:
            rules: with names of their own.
            rows: as stored; unreadable ones are passed over and logged.
            most_per_hour: alerts of one rule; the next one says that it flaps, and stays open until an hour was calm.

        Raises:
            ConfigError: when two rules have one name.
        """
        self._rules = {rule.name: rule for rule in rules}
        if len(self._rules) != len(rules):
            raise ConfigError("two alert rules have the same name", where="alerts")
        self._most_per_hour = most_per_hour
        self._open: dict[str, Alert] = {}  # by id, in order of raising
        self._shelves: dict[str, Shelf] = {}  # by rule, as all that follow
        self._wrong_since_ms: dict[str, int] = {}
        self._calm_since_ms: dict[str, int] = {}
        self._latest_id: dict[str, str] = {}
        self._told_ms: dict[str, int] = {}  # by id: when it was last told as raised
        self._raised_ms: dict[str, list[int]] = {}  # of the last hour
        for row in rows:
            self._restore(row)

    def update(self, observations: Observations) -> list[dict[str, Any]]:
        """Judge every rule; return the rows to append."""
        now_ms = observations.now_ms
        rows = [self._clear(alert, now_ms, why, {}) for alert, why in self._orphans()]
        for rule, shelf in list(self._shelves.items()):
            if now_ms >= shelf.until_ms:
                rows += self._unshelve(rule, now_ms, written=shelf.alert.id in self._open)
        for rule_ in self._rules.values():
            rows += self._judge(rule_, now_ms, rule_.judge(observations))
        for alert in self._open.values():
            if now_ms - self._told_ms[alert.id] >= _TOLD_AGAIN_MS:
                rows.append(alert.row(now_ms, RAISED, alert.text, {"acknowledged_ms": alert.acknowledged_ms}))
                self._told_ms[alert.id] = now_ms
        return rows

    def stepped(self, step_ms: int) -> None:
        """Go on when the plant clock was set: a calm is as long as it was, an alert as old, a shelf as long."""
        for alert in self._open.values():
            taken_ms = None if alert.acknowledged_ms is None else alert.acknowledged_ms + step_ms
            self._open[alert.id] = replace(alert, raised_ms=alert.raised_ms + step_ms, acknowledged_ms=taken_ms)
        for since_ms in (self._wrong_since_ms, self._calm_since_ms, self._told_ms):
            since_ms.update({name: time_ms + step_ms for name, time_ms in since_ms.items()})
        self._shelves = {
            rule: replace(shelf, until_ms=shelf.until_ms + step_ms) for rule, shelf in self._shelves.items()
        }
        self._raised_ms = {
            rule: [time_ms + step_ms for time_ms in times_ms] for rule, times_ms in self._raised_ms.items()
        }

    def acknowledge(self, alert_id: str, now_ms: int) -> list[dict[str, Any]]:
        """Note that somebody took notice; return the rows to append (none when it was noted before).

        Raises:
            ConfigError: when no open alert has this id.
        """
        alert = self._find(alert_id)
        if alert.acknowledged_ms is not None:
            return []
        self._open[alert_id] = replace(alert, acknowledged_ms=now_ms)
        return [alert.row(now_ms, ACKNOWLEDGED, alert.text, {})]

    def shelve(self, alert_id: str, until_ms: int, now_ms: int) -> list[dict[str, Any]]:
        """Hear nothing of an open alert's rule until `until_ms`; return the rows to append.

        Raises:
            ConfigError: when no open alert has this id, or the time is over already.
        """
        alert = self._find(alert_id)
        if until_ms <= now_ms:
            raise ConfigError("ends before it begins", where="alerts shelve", todo="Give a time ahead")
        self._shelves[alert.rule] = Shelf(alert, until_ms)
        return [alert.row(now_ms, SHELVED, alert.text, {"until_ms": until_ms})]

    def unshelve(self, name: str, now_ms: int) -> list[dict[str, Any]]:
        """Hear of a rule again, by its name or the id of the alert that was shelved; return the rows to append.

        Raises:
            ConfigError: when nothing of this name is shelved.
        """
        for rule, shelf in self._shelves.items():
            if name in {rule, shelf.alert.id}:
                return self._unshelve(rule, now_ms, written=True)
        known = ", ".join(self._shelves) or "nothing"
        raise ConfigError(f"{name!r} is not shelved", where="alerts unshelve", todo=f"Shelved: {known}")

    def open(self) -> list[Alert]:
        """Return the open alerts, the oldest first; shelved ones too."""
        return list(self._open.values())

    def shelves(self) -> dict[str, Shelf]:
        """Return what is shelved, by rule."""
        return dict(self._shelves)

    # -- from verdict to row --------------------------------------------------------------------------------------

    def _judge(self, rule: Rule, now_ms: int, finding: Finding) -> list[dict[str, Any]]:
        alert = self._of(rule.name)
        lasted_ms = _lasted_ms(self._wrong_since_ms, rule.name, now_ms, lasts=finding.verdict is Verdict.ON)
        calm_ms = _lasted_ms(self._calm_since_ms, rule.name, now_ms, lasts=finding.verdict is Verdict.OFF)
        if finding.verdict is Verdict.ON and alert is not None:
            self._open[alert.id] = replace(alert, text=self._text(alert.flapping, finding))
        elif finding.verdict is Verdict.ON and lasted_ms >= rule.raise_after_s * 1000:
            return [] if rule.name in self._shelves else [self._raise(rule, now_ms, finding)]
        elif finding.verdict is Verdict.OFF and alert is not None:
            wanted_ms = max(rule.clear_after_s * 1000, _HOUR_MS if alert.flapping else 0)
            if calm_ms >= wanted_ms:
                return [self._clear(alert, now_ms, finding.text, finding.details)]
        return []

    def _raise(self, rule: Rule, now_ms: int, finding: Finding) -> dict[str, Any]:
        recent = [time_ms for time_ms in self._raised_ms.get(rule.name, ()) if 0 <= now_ms - time_ms < _HOUR_MS]
        self._raised_ms[rule.name] = [*recent, now_ms]
        flapping = len(recent) >= self._most_per_hour
        text = self._text(flapping, finding)
        alert = Alert(self._new_id(rule.name, now_ms), rule.name, rule.severity, text, now_ms, flapping=flapping)
        self._open[alert.id] = alert
        self._latest_id[rule.name] = alert.id
        self._told_ms[alert.id] = now_ms
        return alert.row(now_ms, RAISED, text, finding.details)

    def _text(self, flapping: bool, finding: Finding) -> str:
        if not flapping:
            return finding.text
        return (
            f"raised {self._most_per_hour} times within an hour: it comes and goes, and stays open until it has been "
            f"calm for an hour. Last: {finding.text}"
        )

    def _clear(self, alert: Alert, now_ms: int, text: str, details: Mapping[str, Any]) -> dict[str, Any]:
        del self._open[alert.id], self._told_ms[alert.id]
        self._calm_since_ms.pop(alert.rule, None)
        return alert.row(now_ms, CLEARED, text, details)

    def _unshelve(self, rule: str, now_ms: int, *, written: bool) -> list[dict[str, Any]]:
        shelf = self._shelves.pop(rule)
        alert = self._open.get(shelf.alert.id, shelf.alert)
        return [alert.row(now_ms, UNSHELVED, alert.text, {})] if written else []

    def _new_id(self, rule: str, now_ms: int) -> str:
        """Rule and time to the second; a number behind it where the rule was raised before in that second."""
        base = f"{rule}-{dt.datetime.fromtimestamp(now_ms // 1000, dt.UTC):%Y%m%d-%H%M%S}"
        latest = self._latest_id.get(rule, "")
        if latest == base:
            return f"{base}-2"
        if latest.startswith(f"{base}-"):
            return f"{base}-{int(latest.rsplit('-', 1)[1]) + 1}"
        return base

    # -- finding --------------------------------------------------------------------------------------------------

    def _find(self, alert_id: str) -> Alert:
        alert = self._open.get(alert_id)
        if alert is None:
            known = ", ".join(self._open) or "none"
            raise ConfigError(f"no open alert has the id {alert_id!r}", where="alerts", todo=f"Open alerts: {known}")
        return alert

    def _of(self, rule: str) -> Alert | None:
        return next((alert for alert in self._open.values() if alert.rule == rule), None)

    def _orphans(self) -> list[tuple[Alert, str]]:
        """Open alerts that no rule keeps: the rule is gone, or a later alert of the rule is open too."""
        latest = {alert.rule: alert.id for alert in self._open.values()}
        found: list[tuple[Alert, str]] = []
        for alert in self._open.values():
            if alert.rule not in self._rules:
                found.append((alert, "this rule is no longer configured"))
            elif latest[alert.rule] != alert.id:
                found.append((alert, "a later alert of the same rule took its place"))
        return found

    # -- after a restart ------------------------------------------------------------------------------------------

    def _restore(self, row: Mapping[str, Any]) -> None:
        try:
            fields = Fields(dict(row), "alerts")
            alert_id, state = fields.text("id", max_length=200), fields.text("state", max_length=16)
            time_ms = fields.integer("time_ms")
            if state == RAISED:
                self._restore_raised(fields, alert_id, time_ms)
            elif state == ACKNOWLEDGED and alert_id in self._open:
                self._open[alert_id] = replace(self._open[alert_id], acknowledged_ms=time_ms)
            elif state == SHELVED:
                alert = self._open.get(alert_id) or _alert_of(fields, alert_id, fields.integer("raised_ms"))
                # A clock that was years ahead then, and has been set since, must not silence a rule for years.
                until_ms = min(fields.integer("until_ms"), time_ms + MOST_SHELF_S * 1000)
                self._shelves[alert.rule] = Shelf(alert, until_ms)
            elif state == UNSHELVED:
                self._shelves.pop(fields.text("rule", max_length=150), None)
            elif state == CLEARED:
                self._open.pop(alert_id, None)
                self._told_ms.pop(alert_id, None)
        except RejectedError as exc:
            _LOG.warning("an alert row is passed over: %s", exc)

    def _restore_raised(self, fields: Fields, alert_id: str, time_ms: int) -> None:
        told_again = "acknowledged_ms" in fields
        raised_ms, taken_ms = time_ms, None
        if told_again:
            raised_ms = fields.integer("raised_ms")
            taken_ms = None if fields.raw("acknowledged_ms") is None else fields.integer("acknowledged_ms")
        alert = replace(_alert_of(fields, alert_id, raised_ms), acknowledged_ms=taken_ms)
        self._open[alert.id] = alert
        self._latest_id[alert.rule] = alert.id
        self._told_ms[alert.id] = time_ms
        if told_again:
            return
        times_ms = self._raised_ms.setdefault(alert.rule, [])
        times_ms.append(alert.raised_ms)
        del times_ms[: -self._most_per_hour - 1]


def _alert_of(fields: Fields, alert_id: str, raised_ms: int) -> Alert:
    return Alert(
        alert_id,
        fields.text("rule", max_length=150),
        fields.text("severity", max_length=16),
        fields.text("text", max_length=2000),
        raised_ms,
        flapping="flapping" in fields and fields.flag("flapping"),
    )


def _lasted_ms(since_ms: dict[str, int], rule: str, now_ms: int, *, lasts: bool) -> int:
    """Return how long something has lasted without a break; a clock that was set back starts it anew."""
    if not lasts:
        since_ms.pop(rule, None)
        return 0
    since_ms[rule] = min(since_ms.get(rule, now_ms), now_ms)
    return now_ms - since_ms[rule]
