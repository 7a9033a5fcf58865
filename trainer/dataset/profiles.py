"""Day types: the few kinds of day that a plant has, found in its load and named by what the calendar says of them.

Days are compared by shape in units of the level around them, so that growth and season do not make types of their own,
while a Sunday at half of Monday's level stays another day. Clusters of a handful of days are no type: their days are
set aside as unusual (a failed meter, a works holiday, a storm).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.contract.errors import ConfigError
from agent.contract.features import Floats, Ints
from trainer.dataset.days import Days, level_kw, whole_days
from trainer.dataset.snapshot import Snapshot

MIN_DAYS = 14
MOST_TYPES = 8
VARIANCE = 0.9
UNUSUAL = -1
KINDS = ("working day", "Saturday", "Sunday and holiday")
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MIN_SILHOUETTE = 0.25  # below it clusters are slices of one cloud
_MIN_TYPE_SHARE = 0.01
_MIN_TYPE_DAYS = 3
_MOST_UNUSUAL_SHARE = 0.05
_CLEAR = 0.4  # of the way from chance to certainty: enough to name a type by its kind of day
_HOLDS = 0.75  # of a type's days: enough to name it by a few weekdays or months
_COMBINED = {(0, 1): "working day and Saturday", (1, 2): "weekend and holiday", (0, 1, 2): "most days"}


@dataclass(frozen=True, eq=False)
class DayType:
    """One kind of day.

    Attributes:
        name: in words; unique in its plant.
        days, share: how many days are of it.
        by_kind: of them working days, Saturdays, and Sundays or holidays.
        mean_kw, low_kw, high_kw: [48] mean, and the band that holds four days of five, at each half-hour.
    """

    name: str
    days: int
    share: float
    by_kind: tuple[int, int, int]
    mean_kw: Floats
    low_kw: Floats
    high_kw: Floats


@dataclass(frozen=True, eq=False)
class DayTypes:
    """The kinds of day of one plant, the commonest first.

    Attributes:
        days: what was looked at.
        labels: [D] position in `types`, `UNUSUAL` for days that are like no type.
        silhouette: how well types are parted, up to 1; 0 where there is one type only.
        components: dimensions that hold `VARIANCE` of what differs between days.
    """

    days: Days
    labels: Ints
    types: tuple[DayType, ...]
    silhouette: float
    components: int

    @property
    def unusual(self) -> list[dt.date]:
        """The days that are like no type."""
        return [dt.date.fromordinal(int(day)) for day in self.days.ordinal[self.labels == UNUSUAL]]


def day_types(snapshot: Snapshot, seed: int = 1) -> DayTypes:
    """Find the day types of a plant; the same snapshot and seed give the same types.

    Raises:
        ConfigError: when there are fewer than `MIN_DAYS` whole days.
    """
    days = enough_days(snapshot)
    found, silhouette, components = _without_handfuls(days, seed)
    order = np.argsort(-np.bincount(found[found >= 0]), kind="stable")
    labels = np.where(found < 0, UNUSUAL, np.argsort(order)[found])
    names = _names(days, labels)
    types = tuple(_describe(days, labels == index, name) for index, name in enumerate(names))
    return DayTypes(days, labels, types, silhouette, components)


def enough_days(snapshot: Snapshot) -> Days:
    """Return the whole days of a snapshot.

    Raises:
        ConfigError: when there are fewer than `MIN_DAYS`.
    """
    days = whole_days(snapshot)
    if len(days) < MIN_DAYS:
        raise ConfigError(
            f"has {len(days)} whole days where a profile needs {MIN_DAYS}",
            where=f"plant {snapshot.plant}",
            todo="Import more load",
        )
    return days


def reduce(shapes: Floats) -> Floats:
    """Return [N, C] coordinates along the fewest principal components that hold `VARIANCE` of [N, F] shapes.

    C is 0 where all shapes are the same.
    """
    if float(shapes.std(axis=0).max()) < 1e-9:
        return np.empty((len(shapes), 0))
    from sklearn.decomposition import PCA  # noqa: PLC0415 - seconds to import, which only those pay who look at days

    reduced: Floats = PCA(VARIANCE, svd_solver="full").fit_transform(shapes)
    return reduced


def _without_handfuls(days: Days, seed: int) -> tuple[Ints, float, int]:
    """Cluster days; clusters of a handful are taken out (`UNUSUAL`) and the others looked at anew.

    Returns:
        [D] clusters, their silhouette, and the components that days were compared by.
    """
    count = len(days)
    least = max(_MIN_TYPE_DAYS, _MIN_TYPE_SHARE * count)
    kept = np.arange(count)
    while True:
        reduced = reduce(_shapes(days, kept))
        labels, silhouette = _clusters(reduced, seed)
        sizes = np.bincount(labels)
        handful = sizes < least
        lost = count - len(kept) + int(sizes[handful].sum())
        if not handful.any() or lost > _MOST_UNUSUAL_SHARE * count:
            result = np.full(count, UNUSUAL, dtype=np.int64)
            result[kept] = labels
            return result, silhouette, reduced.shape[1]
        kept = kept[~handful[labels]]


def _shapes(days: Days, kept: Ints) -> Floats:
    """Some of the days in units of the level around them, of which the others are no part."""
    power_kw = days.power_kw[kept]
    day_kw = np.abs(power_kw).mean(axis=1)
    level = np.maximum(level_kw(days.ordinal[kept], day_kw), 1e-9 * max(float(day_kw.max()), 1.0))
    shapes: Floats = power_kw / level[:, None]
    return shapes


def _clusters(points: Floats, seed: int) -> tuple[Ints, float]:
    """Cluster by k-means, with the number of clusters whose silhouette is best; one where none is good."""
    best = np.zeros(len(points), dtype=np.int64), 0.0
    distinct = len(np.unique(points.round(9), axis=0)) if points.shape[1] else 1
    if distinct < 2:
        return best
    # As above; threads would make the sums, and so the types, differ from run to run.
    from sklearn.cluster import KMeans  # noqa: PLC0415
    from sklearn.metrics import silhouette_score  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    with threadpool_limits(1):
        for clusters in range(2, min(MOST_TYPES, distinct, len(points) - 1) + 1):
            labels = KMeans(clusters, n_init=4, random_state=seed).fit_predict(points)
            silhouette = float(silhouette_score(points, labels))
            if silhouette > max(best[1], _MIN_SILHOUETTE):
                best = labels.astype(np.int64), silhouette
    return best


def _describe(days: Days, mine: NDArray[np.bool_], name: str) -> DayType:
    power_kw = days.power_kw[mine]
    low, high = np.quantile(power_kw, (0.1, 0.9), axis=0)
    working, saturday, sunday = (int(count) for count in np.bincount(days.kind[mine], minlength=3))
    return DayType(
        name, len(power_kw), len(power_kw) / len(days), (working, saturday, sunday), power_kw.mean(axis=0), low, high
    )


def _names(days: Days, labels: Ints) -> list[str]:
    """Name each type by the kinds of day that are at home in it, where it is clearly theirs; else by what it holds."""
    types, usual = int(labels.max()) + 1, labels >= 0
    if types == 1:
        return ["every day"]
    table = np.array([np.bincount(days.kind[labels == index], minlength=3) for index in range(types)])
    total = table.sum(axis=0)
    home = np.where(total > 0, table.argmax(axis=0), -1)
    names = []
    for index in range(types):
        kinds = tuple(int(kind) for kind in np.flatnonzero(home == index))
        chance = total[list(kinds)].sum() / usual.sum()
        share = table[index, list(kinds)].sum() / table[index].sum()
        if kinds and (chance == 1 or (share - chance) / (1 - chance) >= _CLEAR):
            names.append(_COMBINED.get(kinds) or " and ".join(KINDS[kind] for kind in kinds))
        else:
            names.append(f"type {index + 1} ({_what_it_holds(days, labels == index)})")
    return names


def _what_it_holds(days: Days, mine: NDArray[np.bool_]) -> str:
    for values, words, most in ((days.weekday, WEEKDAYS, 3), (days.month - 1, MONTHS, 5)):
        counts = np.bincount(values[mine], minlength=len(words))
        commonest = np.argsort(-counts, kind="stable")
        needed = int(np.searchsorted(np.cumsum(counts[commonest]), _HOLDS * mine.sum())) + 1
        if needed <= most:
            return ", ".join(words[place] for place in sorted(commonest[:needed]))
    return "all year"
