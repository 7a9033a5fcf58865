"""Plants side by side: a vector of fixed length for each, whatever its slots, size and history; who is like whom.

Decides what makes plants alike. Everything is relative to the plant's own mean, from hourly means of whole local days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.contract.features import Floats
from trainer.dataset.days import Days, level_kw
from trainer.dataset.profiles import MOST_TYPES, enough_days
from trainer.dataset.snapshot import Snapshot

SHAPES = ("working_day", "saturday", "sunday")
TRAITS = (
    "night_to_day",
    "daily_autocorrelation",
    "weekly_autocorrelation",
    "day_to_day_variability",
    "seasonal_swing",
    "load_factor",
    "idle_share",
    "roughness",
    "feed_in_share",
)
FEATURES = (*(f"{shape}_{hour:02}" for shape in SHAPES for hour in range(24)), *TRAITS)
_SHAPE_SIZE = 24 * len(SHAPES)
# All the hours together say as much as all the traits together.
_WEIGHTS = np.array([1 / _SHAPE_SIZE] * _SHAPE_SIZE + [1 / len(TRAITS)] * len(TRAITS))
_NIGHT, _DAY = slice(0, 5), slice(9, 17)
_IDLE = 0.1  # of the peak
_MIN_SEASON_DAYS = 180
_MIN_SILHOUETTE = 0.1


@dataclass(frozen=True, eq=False)
class PlantProfile:
    """What a plant is like.

    Attributes:
        days: whole days that it was seen.
        values: [F] in the order of `FEATURES`; NaN where the history does not tell.
    """

    plant: str
    days: int
    values: Floats

    @property
    def traits(self) -> dict[str, float | None]:
        """The features that are not of the shape, by name; None where unknown."""
        found = zip(TRAITS, self.values[_SHAPE_SIZE:], strict=True)
        return {name: float(value) if np.isfinite(value) else None for name, value in found}


@dataclass(frozen=True)
class Neighbour:
    """A plant, and how far from the target it is: 1 is about the usual distance between the plants compared."""

    plant: str
    distance: float


def plant_profile(snapshot: Snapshot) -> PlantProfile:
    """Describe a plant.

    Raises:
        ConfigError: when there are fewer than `profiles.MIN_DAYS` whole days.
    """
    days = enough_days(snapshot)
    mean_kw = float(np.abs(days.power_kw).mean())
    if mean_kw == 0:  # a plant at rest: nothing can be a share of its load
        return PlantProfile(snapshot.plant, len(days), np.full(len(FEATURES), np.nan))
    hourly = days.hourly_kw / mean_kw
    shapes = [_mean_day(hourly[days.kind == kind]) for kind in range(len(SHAPES))]
    return PlantProfile(snapshot.plant, len(days), np.concatenate([*shapes, _traits(days, hourly, shapes)]))


def spread(profiles: Sequence[PlantProfile]) -> Floats:
    """Return [F] the scale of each feature over some plants: one for all hours, one a trait; 1 where they agree."""
    values = np.ma.masked_invalid(np.stack([profile.values for profile in profiles]))
    variance = values.var(axis=0).filled(0.0)
    variance[:_SHAPE_SIZE] = variance[:_SHAPE_SIZE].mean()
    return np.where(variance > 1e-12, np.sqrt(variance), 1.0)


def distance(first: PlantProfile, second: PlantProfile, scale: Floats | None = None) -> float:
    """Return how far apart two plants are, over the features that both have; infinite where they have none.

    Args:
        first: a plant.
        second: another.
        scale: [F] of each feature, see `spread`; 1 where it is not given.
    """
    apart = (first.values - second.values) / (1.0 if scale is None else scale)
    both = np.isfinite(apart)
    if not both.any():
        return float("inf")
    return float(np.sqrt((_WEIGHTS[both] * apart[both] ** 2).sum() / _WEIGHTS[both].sum()))


def nearest(target: PlantProfile, candidates: Sequence[PlantProfile]) -> list[Neighbour]:
    """Return the candidates by distance from the target, the most alike first; features scaled over all of them."""
    scale = spread([target, *candidates])
    found = [Neighbour(candidate.plant, distance(target, candidate, scale)) for candidate in candidates]
    return sorted(found, key=lambda neighbour: (neighbour.distance, neighbour.plant))


def cluster_plants(profiles: Sequence[PlantProfile]) -> list[list[str]]:
    """Group plants that are alike, the largest group first; fewer than three plants are one group.

    The number of groups is the one whose silhouette is best; one where none is good.
    """
    count = len(profiles)
    if count < 3:
        return [[profile.plant for profile in profiles]] if profiles else []
    # Imported here: seconds, which only those pay who compare plants.
    from sklearn.cluster import AgglomerativeClustering  # noqa: PLC0415
    from sklearn.metrics import silhouette_score  # noqa: PLC0415

    scale = spread(profiles)
    apart = np.array([[distance(one, other, scale) for other in profiles] for one in profiles])
    apart[~np.isfinite(apart)] = 2 * max(float(apart[np.isfinite(apart)].max(initial=0.0)), 1.0)
    np.fill_diagonal(apart, 0.0)
    best, labels = _MIN_SILHOUETTE, np.zeros(count, dtype=np.int64)
    for groups in range(2, min(MOST_TYPES, count - 1) + 1):
        found = AgglomerativeClustering(groups, metric="precomputed", linkage="average").fit_predict(apart)
        silhouette = float(silhouette_score(apart, found, metric="precomputed"))
        if silhouette > best:
            best, labels = silhouette, found
    members = [
        [profile.plant for profile, label in zip(profiles, labels, strict=True) if label == group]
        for group in np.unique(labels)
    ]
    return sorted(members, key=lambda names: (-len(names), names))


def _mean_day(hourly: Floats) -> Floats:
    return hourly.mean(axis=0) if len(hourly) else np.full(24, np.nan)


def _traits(days: Days, hourly: Floats, shapes: Sequence[Floats]) -> Floats:
    """Traits of [D, 24] hours in units of the plant's mean, in the order of `TRAITS`."""
    level = np.maximum(level_kw(days.ordinal, np.abs(hourly).mean(axis=1)), 1e-3)
    usual = np.stack(shapes)[days.kind]
    size = np.abs(hourly)
    working = hourly[days.kind == 0] if (days.kind == 0).any() else hourly
    day = float(working[:, _DAY].mean())
    season = np.nan
    if days.ordinal[-1] - days.ordinal[0] >= _MIN_SEASON_DAYS:
        low, high = np.quantile(level, (0.1, 0.9))
        season = float(high - low)
    return np.array(
        [
            np.clip(float(working[:, _NIGHT].mean()) / day, -3.0, 3.0) if day else np.nan,
            _autocorrelation(days, hourly, 1),
            _autocorrelation(days, hourly, 7),
            float(np.sqrt(((hourly / level[:, None] - usual) ** 2).mean())),
            season,
            float(size.mean() / np.quantile(size, 0.995)),
            float((size < _IDLE * np.quantile(size, 0.995)).mean()),
            float(np.abs(np.diff(hourly, axis=1)).mean()),
            float((hourly < 0).mean()),
        ]
    )


def _autocorrelation(days: Days, hourly: Floats, lag_days: int) -> float:
    """Correlation of each hour with the one so many days before."""
    _, later, earlier = np.intersect1d(days.ordinal, days.ordinal + lag_days, return_indices=True)
    first, second = hourly[later].ravel(), hourly[earlier].ravel()
    if len(first) < 2 or first.std() < 1e-9 or second.std() < 1e-9:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
