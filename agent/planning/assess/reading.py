"""Reading an assessment file: one TOML file into a `Case`, with everything that is wrong in it said at once.

Decides how a measure changes the plant: its tables take the place of the plant's, key by key. A fuel is replaced
whole, since half of one fuel and half of another is none, and so is a table that the plant does not have.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.configform import Complaints, read_table
from agent.contract.errors import ConfigError
from agent.contract.givenfiles import check_file
from agent.planning.assess.case import Case, Measure, MeasureHead, World, laws_of, streams_of
from agent.planning.assess.distributions import Distribution
from agent.planning.assess.plant import Plant
from agent.planning.assess.sampling import check_correlations

MAX_FILE_BYTES = 1 << 20
MAX_MEASURES = 6
_SECTIONS = tuple(each.name for each in dataclasses.fields(Plant))
_HEAD = tuple(each.name for each in dataclasses.fields(MeasureHead))
_WHOLE = {"fuel"}
_Table = dict[str, Any]


def load(path: Path) -> Case:
    """Read an assessment file.

    Raises:
        ConfigError: when it cannot be read, or with everything that is wrong in it.
    """
    check_file(path, MAX_FILE_BYTES, todo="Is this an assessment?")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(
            f"cannot be read ({exc})", where=str(path), todo="Give a text file of TOML in UTF-8, with its rights"
        ) from exc
    return parse(text, folder=path.parent.absolute(), where=str(path))


def parse(text: str, *, folder: Path, where: str = "assessment") -> Case:
    """Parse the text of an assessment file that lies in `folder`; firmware-configs/assess has worked examples.

    Raises:
        ConfigError: with everything that is wrong in it.
    """
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ConfigError(
            f"is not valid TOML ({exc})", where=where, todo="firmware-configs/assess has examples"
        ) from exc
    if not table:
        raise ConfigError("is empty", where=where, todo="firmware-configs/assess has examples")
    complaints = Complaints(where)
    case = _case(table, folder, complaints)
    complaints.raise_if_any()
    assert case is not None  # noqa: S101 - `_case` returns None only with a complaint
    for place, what in _contradictions(case):
        complaints.add(place, what)
    complaints.raise_if_any()
    return case


def _case(table: _Table, folder: Path, complaints: Complaints) -> Case | None:
    sections = {name: table[name] for name in _SECTIONS if name in table}
    rest = {name: value for name, value in table.items() if name not in {*_SECTIONS, "measure"}}
    world = read_table(World, rest, folder, complaints)
    plain = Complaints("")
    plant = read_table(Plant, sections, folder, plain)
    for problem in plain.problems:
        complaints.add("", problem)
    given = table.get("measure")
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_MEASURES:
        complaints.add("measure", f"is missing: write 1 to {MAX_MEASURES} [[measure]] tables")
        return None
    measures = [
        _measure(entry, f"measure[{index}]", sections, plain.problems, folder, complaints)
        for index, entry in enumerate(given)
    ]
    known = tuple(measure for measure in measures if measure is not None)
    if world is None or plant is None or len(known) < len(given):
        return None
    return Case(world=world, plant=plant, measures=known)


def _measure(
    table: object, place: str, base: _Table, told: list[str], folder: Path, complaints: Complaints
) -> Measure | None:
    if not isinstance(table, dict):
        complaints.add(place, "is not a table")
        return None
    before = len(complaints.problems)
    for key in table:
        if key not in {*_HEAD, *_SECTIONS}:
            complaints.add(f"{place}.{key}", f"is unknown; possible here: {', '.join(sorted((*_HEAD, *_SECTIONS)))}")
    head_table = {key: value for key, value in table.items() if key in _HEAD}
    head = read_table(MeasureHead, head_table, folder, complaints, place)
    changed = {key: _changed(key, base.get(key), value) for key, value in table.items() if key in _SECTIONS}
    found = Complaints("")
    plant = read_table(Plant, {**base, **changed}, folder, found)
    for problem in found.problems:
        if problem not in told:  # what is wrong with the plant as it is has been said
            complaints.add("", f"{place}.{problem}")
    if head is None or plant is None or len(complaints.problems) > before:
        return None
    return Measure(head=head, plant=plant)


def _changed(name: str, before: object, change: object) -> object:
    if name in _WHOLE or not isinstance(before, dict) or not isinstance(change, dict):
        return change
    return {**before, **change}


def _contradictions(case: Case) -> Iterator[tuple[str, str]]:
    """Yield what no table alone can see: (path, problem)."""
    names = [measure.head.name for measure in case.measures]
    if len(set(names)) < len(names):
        yield "measure", "has one name twice"
    if case.world.published is not None and case.world.bill is None:
        yield "published", "needs [bill]: the formulas take the plant's electricity use from it"
    laws: list[dict[str, Distribution]] = []
    for plant in (case.plant, *(measure.plant for measure in case.measures)):
        streams = streams_of(case, plant)
        laws.append({streams[name]: law for name, law in laws_of(case, plant).items()})
    for what in check_correlations(case.world.correlation, laws):
        yield "correlation", what
