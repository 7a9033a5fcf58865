"""What a regression sees: energy and variables by day or by week, and what was left out and why. Pure."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Floats, Ints
from agent.planning.performance.days import DailyEnergy
from agent.planning.performance.variables import WORKING_DAY, Variables

DAY, WEEK = "day", "week"
LENGTHS = {DAY: 1, WEEK: 7}
ENERGY, BROKEN_WEEK = "energy", "broken week"


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """N days, or N weeks from Monday to Sunday, that are known in full.

    Attributes:
        by: `day` or `week`.
        ordinals: [N] the first day of each, ascending.
        energy_kwh: [N].
        variables: [N, L] by name, a value for each of the L days.
        left_out: days that are not in it, by reason: `energy`, the name of a variable, `broken week`.
    """

    by: str
    ordinals: Ints
    energy_kwh: Floats
    variables: Mapping[str, Floats]
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.ordinals)

    @property
    def length(self) -> int:
        """Days in one observation."""
        return LENGTHS[self.by]

    @property
    def gaps(self) -> Ints:
        """[N] distance from the observation before, 1 where they follow each other; 1 for the first."""
        return np.diff(self.ordinals, prepend=self.ordinals[:1] - self.length) // self.length

    def total(self, name: str) -> Floats:
        """[N] sum of a variable over the days of each observation."""
        return np.asarray(self.variables[name].sum(axis=1), dtype=np.float64)

    def sha256(self) -> str:
        """Of all numbers in it: the same data give the same hash."""
        digest = hashlib.sha256(self.by.encode())
        for name, values in [("days", self.ordinals), (ENERGY, self.energy_kwh), *sorted(self.variables.items())]:
            digest.update(name.encode() + np.ascontiguousarray(values).astype(">f8").tobytes())
        return digest.hexdigest()


def observe(energy: DailyEnergy, variables: Variables | None, names: Sequence[str], by: str) -> Observations:
    """Join energy and variables. Working days are Monday to Friday where no variable says otherwise.

    Args:
        energy: of the days asked for.
        variables: from a file, or None.
        names: variables without which a day is left out; the working day is always there.
        by: `day` or `week`.

    Raises:
        ConfigError: when a variable is in no file.
    """
    first, last = energy.first, energy.last
    ordinals = np.arange(first.toordinal(), last.toordinal() + 1)
    known = np.isfinite(energy.energy_kwh)
    left_out = {ENERGY: int((~known).sum())}
    columns: dict[str, Floats] = {WORKING_DAY: ((ordinals + 6) % 7 < 5).astype(np.float64)}
    for name in names:
        if variables is not None and name in variables.values:
            columns[name] = variables.between(name, first, last)
        elif name != WORKING_DAY:
            raise ConfigError(
                f"there are no values of {name!r}", where="variables", todo="Give the file with them by --variables"
            )
        lost = known & ~np.isfinite(columns[name])
        left_out[name] = int(lost.sum())
        known = known & ~lost
    if by == DAY:
        starts = np.flatnonzero(known)
    else:
        mondays = np.flatnonzero((ordinals % 7 == 1)[: max(0, len(ordinals) - 6)])
        starts = mondays[[bool(known[at : at + 7].all()) for at in mondays]] if len(mondays) else mondays
        left_out[BROKEN_WEEK] = int(known.sum()) - 7 * len(starts)
    places = starts[:, None] + np.arange(LENGTHS[by])
    return Observations(
        by=by,
        ordinals=ordinals[starts],
        energy_kwh=np.asarray(energy.energy_kwh[places].sum(axis=1)),
        variables={name: column[places] for name, column in columns.items()},
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def date_of(ordinal: int) -> dt.date:
    """The day with an ordinal."""
    return dt.date.fromordinal(int(ordinal))


def ranges(observations: Observations) -> dict[str, tuple[float, float]]:
    """Return the least and greatest daily mean of each variable but the working day."""
    return {
        name: (float(values.mean(axis=1).min()), float(values.mean(axis=1).max()))
        for name, values in observations.variables.items()
        if name != WORKING_DAY
    }
