"""A mixed-integer linear program as sparse arrays, and the builder that gathers it column by column, row by row.

Decides nothing of energy and knows no solver: minimise cost @ x + offset, lower <= x <= upper,
row_lower <= A x <= row_upper, with A stored by rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.planning.schedule.parts import Array

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Milp:
    """The program; row `r` has the entries `row_start[r]` to `row_start[r + 1]` of `column` and `value`."""

    cost: Array
    lower: Array
    upper: Array
    integer: npt.NDArray[np.bool_]
    row_lower: Array
    row_upper: Array
    row_start: npt.NDArray[np.int32]
    column: npt.NDArray[np.int32]
    value: Array
    offset: float


class Builder:
    """Gathers a `Milp`. Whatever is given as one number stands for all columns or rows of the call."""

    def __init__(self) -> None:
        self.offset = 0.0
        self._columns: list[tuple[Array, Array, Array, Array]] = []
        self._rows: list[tuple[Array, Array]] = []
        self._entries: list[tuple[Indices, Indices, Array]] = []
        self._column_count = 0
        self._row_count = 0

    def columns(
        self, count: int, *, cost: Any = 0.0, lower: Any = 0.0, upper: Any = np.inf, integer: bool = False
    ) -> Indices:
        """Add variables and return their numbers."""
        shape = (count,)
        parts = (cost, lower, upper, float(integer))
        first, second, third, fourth = (np.broadcast_to(np.asarray(part, dtype=np.float64), shape) for part in parts)
        self._columns.append((first, second, third, fourth))
        self._column_count += count
        return np.arange(self._column_count - count, self._column_count)

    def rows(self, count: int, *, lower: Any = -np.inf, upper: Any = np.inf) -> Indices:
        """Add empty rows and return their numbers."""
        low, high = (np.broadcast_to(np.asarray(part, dtype=np.float64), (count,)) for part in (lower, upper))
        self._rows.append((low, high))
        self._row_count += count
        return np.arange(self._row_count - count, self._row_count)

    def add(self, rows: Any, columns: Any, values: Any) -> None:
        """Put values at (rows, columns), broadcast against each other; a place given twice has the sum."""
        row, column, value = np.broadcast_arrays(rows, columns, np.asarray(values, dtype=np.float64))
        self._entries.append((row.ravel(), column.ravel(), value.ravel()))

    def build(self) -> Milp:
        """Return the program."""
        cost, lower, upper, integer = (np.concatenate(parts) for parts in zip(*self._columns, strict=True))
        row_lower, row_upper = (np.concatenate(parts) for parts in zip(*self._rows, strict=True))
        row, column, value = (np.concatenate(parts) for parts in zip(*self._entries, strict=True))
        place, inverse = np.unique(row * self._column_count + column, return_inverse=True)
        row, column = place // self._column_count, place % self._column_count
        return Milp(
            cost=cost,
            lower=lower,
            upper=upper,
            integer=integer > 0,
            row_lower=row_lower,
            row_upper=row_upper,
            row_start=np.searchsorted(row, np.arange(self._row_count + 1)).astype(np.int32),
            column=column.astype(np.int32),
            value=np.bincount(inverse, weights=value).astype(np.float64),
            offset=self.offset,
        )
