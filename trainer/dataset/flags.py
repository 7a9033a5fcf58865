"""The names of what can be wrong with a slot: one list for reading, cleaning, the database and the report."""

from __future__ import annotations

from enum import StrEnum


class Flag(StrEnum):
    """What is wrong with a slot, or with the row of a file that it came from."""

    GAP = "gap"  # nothing is known
    SPIKE = "spike"  # far beyond all other load, or the energy of a gap booked on its last slot
    DROPOUT = "dropout"  # zero for a short while in a plant that never is at zero
    FROZEN = "frozen"  # the meter repeats itself, where the plant is not at rest
    COPY = "copy"  # a day or more is, value for value, that of a day or a week before: filled in by someone
    RESET = "reset"  # the counter went back: what was counted in the slot is unknown
    ROLLOVER = "rollover"  # the counter passed its end; the slot is right
    DUPLICATE = "duplicate"  # a row whose time stands twice; the first one counts
    CLOCK = "clock"  # a row whose time cannot be; left out
    VALUE = "value"  # a cell that is no number; unknown
    STANDSTILL = "standstill"  # one value for half a day or longer that is taken as load; only told
