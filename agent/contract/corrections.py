"""Corrections of a clock: the event that says by how much the times of rows were wrong. Rows stay as they were stamped.

An epoch of a store has one clock. A correction names epochs, and how much is to be added to the times of their rows:
absolute, so that the one written last counts, however often and in whatever order they come. What was *stamped* is
moved; what was *derived* from wrong times does not count, and has been made anew under a later epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from agent.contract.channels import CHANNEL_NAME
from agent.contract.jsonform import MAX_TIME_MS, Fields
from agent.contract.rows import event_row

KIND = "clock"
EXACT_MS = 60_000  # a clock that is kept by the network, or the centre's word on its way, is not further off
DERIVED = ("slots", "forecasts", "costs")
MAX_EPOCHS = 256
_MAX_CHANNELS = 1024


class Correction(NamedTuple):
    """What is to be made of the rows of one epoch.

    Attributes:
        epoch: whose rows.
        shift_ms: to be added to times that were stamped; 0 where they were right.
        slots_from_ms: slots of this epoch that start from here on do not count, unless `shift_ms` is 0.
    """

    epoch: int
    shift_ms: int
    slots_from_ms: int = 0

    def counts(self, stream: str, time_ms: int) -> bool:
        """Whether a row of this epoch says anything."""
        if self.shift_ms == 0 or stream not in DERIVED:
            return True
        return stream == "slots" and time_ms < self.slots_from_ms


def moved(row: Mapping[str, Any], shift_ms: int) -> dict[str, Any]:
    """Return a stamped row as its clock is known to have been; an alert also says when it was raised."""
    stamps = {name: row[name] + shift_ms for name in ("time_ms", "raised_ms") if isinstance(row.get(name), int)}
    return {**row, **stamps}


def correction_row(
    time_ms: int, text: str, corrections: Sequence[Correction], own_times: Sequence[str]
) -> dict[str, Any]:
    """The event that corrects readings of all channels but those that have `own_times`, as from a file."""
    return event_row(time_ms, KIND, text, corrections=[list(one) for one in corrections], own_times=sorted(own_times))


def read_correction(row: Mapping[str, Any]) -> tuple[list[Correction], tuple[str, ...]]:
    """Parse `correction_row`: the corrections, one an epoch, and the channels that they are not for, each once.

    Raises:
        RejectedError: when a field is missing or out of range.
    """
    fields = Fields(dict(row), "clock event")
    found: dict[int, Correction] = {}
    for entry in fields.items("corrections", MAX_EPOCHS):
        if not isinstance(entry, list) or len(entry) != len(Correction._fields):
            fields.fail("corrections", "does not have three numbers for each epoch")
        one = Fields(dict(zip(Correction._fields, entry, strict=True)), fields.where)
        epoch = one.integer("epoch", 1)
        shift_ms = one.integer("shift_ms", -MAX_TIME_MS, MAX_TIME_MS)
        found[epoch] = Correction(epoch, shift_ms, one.integer("slots_from_ms", 0, MAX_TIME_MS))
    names = fields.items("own_times", _MAX_CHANNELS)
    parsed = [Fields({"channel": name}, fields.where).text("channel", pattern=CHANNEL_NAME) for name in names]
    return list(found.values()), tuple(sorted(set(parsed)))
