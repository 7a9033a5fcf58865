"""`edgewatt-trainer profiles`: the kinds of day that plants have, and which plants are alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Floats
from converter.cli_support import emit, json_option, remark
from trainer.cli.held import held_plants
from trainer.cli.home import Home, pass_home

if TYPE_CHECKING:  # the room is imported when the command runs
    from trainer.dataset.plants import Neighbour, PlantProfile
    from trainer.dataset.profiles import DayTypes
    from trainer.dataset.snapshot import Snapshot

_BLOCKS = "▁▂▃▄▅▆▇█"
_MOST_NEIGHBOURS = 5
_MOST_DATES = 20


@click.command()
@click.option("--plant", help="Only this plant's day types, and its nearest plants; all plants where it is not given.")
@json_option
@pass_home
def profiles(home: Home, plant: str | None, *, as_json: bool) -> None:
    """Show the day types of plants, drawn from local midnight to midnight, and which plants are alike.

    The nearest plant is the one to transfer a model from. Distances compare shape, rhythm and variability, not size.

    \b
    Example:
      edgewatt-trainer profiles --plant works
    """
    snapshots = _held(home, plant)
    if plant is None:
        _show_all(snapshots, as_json=as_json)
    else:
        _show_one(plant, snapshots, as_json=as_json)


def _show_one(plant: str, snapshots: Sequence[Snapshot], *, as_json: bool) -> None:
    from trainer.dataset.plants import nearest
    from trainer.dataset.profiles import day_types

    types = day_types(next(one for one in snapshots if one.plant == plant))
    described = _describe(snapshots)
    target = next(one for one in described if one.plant == plant)
    neighbours = nearest(target, [one for one in described if one is not target])
    emit(
        {**_types_json(plant, types), "features": target.traits, "nearest": _nearest_json(neighbours)},
        as_json,
        [*_types_text(plant, types), *_traits_text(target), *_nearest_text(neighbours)],
    )


def _show_all(snapshots: Sequence[Snapshot], *, as_json: bool) -> None:
    from trainer.dataset.plants import cluster_plants, nearest
    from trainer.dataset.profiles import day_types

    described = _describe(snapshots)
    groups = cluster_plants(described)
    every = {one.plant: nearest(one, [other for other in described if other is not one]) for one in described}
    found = {one.plant: day_types(one) for one in snapshots if one.plant in every}
    plants = [{**_types_json(name, types), "nearest": _nearest_json(every[name])} for name, types in found.items()]
    lines = [line for name, types in found.items() for line in (*_types_text(name, types), "")]
    emit({"plants": plants, "groups": groups}, as_json, [*lines, *_groups_text(groups, every)])


def _held(home: Home, plant: str | None) -> list[Snapshot]:
    """All plants of the centre, cleaned as training cleans them."""
    from trainer.dataset.cleaning import clean_snapshot

    held = held_plants(home)
    if plant is not None and plant not in {one.plant for one in held}:
        held_plants(home, (plant,))  # says what is wrong with it
    return [clean_snapshot(one)[0] for one in held]


def _describe(snapshots: Sequence[Snapshot]) -> list[PlantProfile]:
    """Profiles of the plants that have enough whole days; the others are named on stderr."""
    from trainer.dataset.plants import plant_profile

    result = []
    for snapshot in snapshots:
        try:
            result.append(plant_profile(snapshot))
        except ConfigError as exc:
            remark(f"left out: {exc}")
    return result


def curve(power_kw: Floats, low_kw: float, high_kw: float) -> str:
    """Return one block character a value, from `low_kw` to `high_kw`."""
    size = max(high_kw - low_kw, 1e-9)
    place = np.clip((power_kw - low_kw) / size * len(_BLOCKS), 0, len(_BLOCKS) - 1).astype(int)
    return "".join(_BLOCKS[index] for index in place)


def _types_json(plant: str, types: DayTypes) -> dict[str, Any]:
    return {
        "plant": plant,
        "days": len(types.days),
        "components_90": types.components,
        "silhouette": types.silhouette,
        "unusual_days": [day.isoformat() for day in types.unusual],
        "day_types": [
            {
                "name": one.name,
                "days": one.days,
                "share": one.share,
                "working_days": one.by_kind[0],
                "saturdays": one.by_kind[1],
                "sundays_and_holidays": one.by_kind[2],
                "mean_kw": one.mean_kw.tolist(),
                "low_kw": one.low_kw.tolist(),
                "high_kw": one.high_kw.tolist(),
            }
            for one in types.types
        ],
    }


def _types_text(plant: str, types: DayTypes) -> list[str]:
    low_kw = min(0.0, *(float(one.mean_kw.min()) for one in types.types))
    high_kw = max(float(one.mean_kw.max()) for one in types.types)
    held = "component holds" if types.components == 1 else "components hold"
    head = f"{plant}: {len(types.days)} whole days, {_count(len(types.types), 'day type')}"
    text = [f"{head} (silhouette {types.silhouette:.2f}), {types.components} {held} 90 % of what differs"]
    for one in types.types:
        working, saturday, sunday = one.by_kind
        kinds = f"[working {working}, Saturday {saturday}, Sunday or holiday {sunday}]"
        low, high = _kw(float(one.mean_kw.min())), _kw(float(one.mean_kw.max()))
        mean = _kw(float(one.mean_kw.mean()))
        text += [
            f"  {one.name}: {_count(one.days, 'day')} ({one.share:.0%}), mean {mean} kW  {kinds}",
            f"    {curve(one.mean_kw, low_kw, high_kw)}  {low} to {high} kW",
        ]
    if types.unusual:
        dates = [day.isoformat() for day in types.unusual[:_MOST_DATES]]
        more = len(types.unusual) - len(dates)
        text.append(f"  like no type: {', '.join(dates)}{f' and {more} more' if more else ''}")
    return text


def _nearest_json(neighbours: Sequence[Neighbour]) -> list[dict[str, Any]]:
    """A plant that nothing can be compared with has no distance: JSON knows no infinity."""
    return [{"plant": one.plant, "distance": one.distance if np.isfinite(one.distance) else None} for one in neighbours]


def _traits_text(profile: PlantProfile) -> list[str]:
    found = (f"{name.replace('_', ' ')} {value:.2f}" for name, value in profile.traits.items() if value is not None)
    return [f"  {', '.join(found)}"]


def _nearest_text(neighbours: Sequence[Neighbour]) -> list[str]:
    if not neighbours:
        return ["  no other plant to compare with"]
    return [f"  nearest: {', '.join(f'{one.plant} ({one.distance:.2f})' for one in neighbours[:_MOST_NEIGHBOURS])}"]


def _groups_text(groups: Sequence[Sequence[str]], every: dict[str, list[Neighbour]]) -> list[str]:
    text = []
    for number, names in enumerate(groups, 1):
        text.append(f"group {number}")
        for name in names:
            closest = every[name][0] if every[name] else None
            text.append(f"  {name}" + (f", nearest {closest.plant} ({closest.distance:.2f})" if closest else ""))
    return text


def _kw(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


commands: list[click.Command] = [profiles]
