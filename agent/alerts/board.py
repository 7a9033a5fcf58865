"""Which alerts are open: raised, acknowledged, cleared, and taken up again after a restart.

Decides when a rule's verdict becomes a row of the `alerts` stream; what is worth an alarm is the rules' decision. It
keeps no file: its memory is the stream itself. One thread at a time.

Invariants:
- a rule has at most one open alert;
- rows of one alert come as raised, at most one acknowledged, then cleared; all carry the same id;
- while a rule says HOLD nothing happens; a clear needs `clear_after_s` of OFF without a break;
- an open alert of a rule that is no longer configured is cleared at the next update.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.alerts.rules import Finding, Observations, Rule, Verdict
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.jsonform import Fields
from agent.contract.rows import alert_row

RAISED, ACKNOWLEDGED, CLEARED = "raised", "acknowledged", "cleared"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Alert:
    """An open alert.

    Attributes:
        id: names it in every row and in commands.
        text: as of the latest update, which may say more than the row that raised it.
        acknowledged_ms: when somebody took notice; None until then.
    """

    id: str
    rule: str
    severity: str
    text: str
    raised_ms: int
    acknowledged_ms: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The form in `edgewatt alerts --json`."""
        return {
            "id": self.id,
            "rule": self.rule,
            "severity": self.severity,
            "text": self.text,
            "raised_ms": self.raised_ms,
            "acknowledged_ms": self.acknowledged_ms,
        }


class AlertBoard:
    """The open alerts of one device.

    Every method that returns rows has already moved on: the caller appends them to the `alerts` stream, which is
    committed at once.
    """

    def __init__(self, rules: Sequence[Rule], rows: Iterable[Mapping[str, Any]] = ()) -> None:
        """Take up what `rows` of the `alerts` stream, oldest first, leave open.

        Args:
            rules: with names of their own.
            rows: as stored; unreadable ones are passed over and logged.

        Raises:
            ConfigError: when two rules have one name.
        """
        self._rules = {rule.name: rule for rule in rules}
        if len(self._rules) != len(rules):
            raise ConfigError("two alert rules have the same name", where="alerts")
        self._open: dict[str, Alert] = {}  # by id, in order of raising
        self._calm_since_ms: dict[str, int] = {}  # by rule
        self._latest_id: dict[str, str] = {}  # by rule
        for row in rows:
            self._restore(row)

    def update(self, now_ms: int, observations: Observations) -> list[dict[str, Any]]:
        """Judge every rule; return the rows to append."""
        rows = [self._clear(alert, now_ms, why, {}) for alert, why in self._orphans()]
        for rule in self._rules.values():
            finding = rule.judge(now_ms, observations)
            alert = self._of(rule.name)
            if finding.verdict is Verdict.ON and alert is None:
                rows.append(self._raise(rule, now_ms, finding))
            elif finding.verdict is Verdict.ON and alert is not None:
                self._open[alert.id] = replace(alert, text=finding.text)
            if finding.verdict is not Verdict.OFF or alert is None:
                self._calm_since_ms.pop(rule.name, None)
                continue
            # A clock that was set back starts the calm anew.
            calm_ms = min(self._calm_since_ms.setdefault(rule.name, now_ms), now_ms)
            self._calm_since_ms[rule.name] = calm_ms
            if now_ms - calm_ms >= rule.clear_after_s * 1000:
                rows.append(self._clear(alert, now_ms, finding.text, finding.details))
        return rows

    def stepped(self, step_ms: int) -> None:
        """Go on when the plant clock was set: a calm is as long as it was, an alert as old."""
        for alert in self._open.values():
            taken_ms = None if alert.acknowledged_ms is None else alert.acknowledged_ms + step_ms
            self._open[alert.id] = replace(alert, raised_ms=alert.raised_ms + step_ms, acknowledged_ms=taken_ms)
        self._calm_since_ms = {rule: since_ms + step_ms for rule, since_ms in self._calm_since_ms.items()}

    def acknowledge(self, alert_id: str, now_ms: int) -> list[dict[str, Any]]:
        """Note that somebody took notice; return the rows to append (none when it was noted before).

        Raises:
            ConfigError: when no open alert has this id.
        """
        alert = self._open.get(alert_id)
        if alert is None:
            known = ", ".join(self._open) or "none"
            raise ConfigError(f"no open alert has the id {alert_id!r}", where="alerts", todo=f"Open alerts: {known}")
        if alert.acknowledged_ms is not None:
            return []
        self._open[alert_id] = replace(alert, acknowledged_ms=now_ms)
        return [_row(alert, now_ms, ACKNOWLEDGED, alert.text, {})]

    def open(self) -> list[Alert]:
        """Return the open alerts, the oldest first."""
        return list(self._open.values())

    def _of(self, rule: str) -> Alert | None:
        return next((alert for alert in self._open.values() if alert.rule == rule), None)

    def _raise(self, rule: Rule, now_ms: int, finding: Finding) -> dict[str, Any]:
        alert = Alert(self._new_id(rule.name, now_ms), rule.name, rule.severity, finding.text, now_ms)
        self._open[alert.id] = alert
        self._latest_id[rule.name] = alert.id
        return _row(alert, now_ms, RAISED, alert.text, finding.details)

    def _clear(self, alert: Alert, now_ms: int, text: str, details: Mapping[str, Any]) -> dict[str, Any]:
        del self._open[alert.id]
        self._calm_since_ms.pop(alert.rule, None)
        return _row(alert, now_ms, CLEARED, text, details)

    def _new_id(self, rule: str, now_ms: int) -> str:
        """Rule and time to the second; a number behind it where the rule was raised before in that second."""
        base = f"{rule}-{dt.datetime.fromtimestamp(now_ms // 1000, dt.UTC):%Y%m%d-%H%M%S}"
        latest = self._latest_id.get(rule, "")
        if latest == base:
            return f"{base}-2"
        if latest.startswith(f"{base}-"):
            return f"{base}-{int(latest.rsplit('-', 1)[1]) + 1}"
        return base

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

    def _restore(self, row: Mapping[str, Any]) -> None:
        try:
            fields = Fields(dict(row), "alerts")
            alert_id, state = fields.text("id", max_length=200), fields.text("state", max_length=16)
            time_ms = fields.integer("time_ms")
            if state == RAISED:
                alert = Alert(
                    alert_id,
                    fields.text("rule", max_length=150),
                    fields.text("severity", max_length=16),
                    fields.text("text", max_length=2000),
                    time_ms,
                )
                self._open[alert_id] = alert
                self._latest_id[alert.rule] = alert_id
            elif state == ACKNOWLEDGED and alert_id in self._open:
                self._open[alert_id] = replace(self._open[alert_id], acknowledged_ms=time_ms)
            elif state == CLEARED:
                self._open.pop(alert_id, None)
        except RejectedError as exc:
            _LOG.warning("an alert row is passed over: %s", exc)


def _row(alert: Alert, now_ms: int, state: str, text: str, details: Mapping[str, Any]) -> dict[str, Any]:
    return alert_row(
        now_ms, alert.rule, state, alert.severity, text, **{**details, "id": alert.id, "raised_ms": alert.raised_ms}
    )
