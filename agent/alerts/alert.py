"""An alert from raising to clearing, and the rows of the `alerts` stream that tell of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.contract.rows import alert_row

RAISED, ACKNOWLEDGED, SHELVED, UNSHELVED, CLEARED = "raised", "acknowledged", "shelved", "unshelved", "cleared"


@dataclass(frozen=True)
class Alert:
    """An open alert.

    Attributes:
        id: names it in every row and in commands.
        text: as of the latest update, which may say more than the row that raised it.
        acknowledged_ms: when somebody took notice; None until then.
        flapping: whether it stands for a rule that was raised too often.
    """

    id: str
    rule: str
    severity: str
    text: str
    raised_ms: int
    acknowledged_ms: int | None = None
    flapping: bool = False

    def row(self, now_ms: int, state: str, text: str, details: Mapping[str, Any]) -> dict[str, Any]:
        """Return the row that tells of a new state."""
        more = {**details, "id": self.id, "raised_ms": self.raised_ms}
        if self.flapping:
            more["flapping"] = True
        return alert_row(now_ms, self.rule, state, self.severity, text, **more)

    def to_json(self) -> dict[str, Any]:
        """The form in which it is told."""
        return {
            "id": self.id,
            "rule": self.rule,
            "severity": self.severity,
            "text": self.text,
            "raised_ms": self.raised_ms,
            "acknowledged_ms": self.acknowledged_ms,
        }


def as_they_stand(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for each alert: the last one, with the state in which the alert is.

    An alert that came back from the shelf, or was told again, is acknowledged if it was so before, else raised; a shelf
    says nothing of one that is over. `acknowledged_ms` and `until_ms` of the shelf stay in the row while they hold.

    Args:
        rows: of the `alerts` stream, in time order.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        before = found.get(row["id"], {})
        state = row["state"]
        if before.get("state") == CLEARED and state in {SHELVED, UNSHELVED}:
            continue
        known_ms = row["time_ms"] if state == ACKNOWLEDGED else row.get("acknowledged_ms")
        taken_ms = before.get("acknowledged_ms") if known_ms is None else known_ms
        now = {**row, "raised_ms": before.get("raised_ms", row.get("raised_ms", row["time_ms"]))}
        now.pop("acknowledged_ms", None)
        if taken_ms is not None:
            now["acknowledged_ms"] = taken_ms
        if state in {RAISED, ACKNOWLEDGED} and before.get("state") == SHELVED:
            now |= {"state": SHELVED, "until_ms": before["until_ms"]}
        elif state in {RAISED, UNSHELVED}:
            now["state"] = RAISED if taken_ms is None else ACKNOWLEDGED
        found[row["id"]] = now
    return list(found.values())
