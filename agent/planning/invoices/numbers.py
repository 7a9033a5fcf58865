"""Numbers as people and their programs write them: with a decimal point or comma, with or without thousands.

Decides which of the two a table uses; a table that could be either is refused, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from agent.contract.errors import ConfigError

Mark = Literal["point", "comma"]
MARKS: tuple[Mark, Mark] = ("point", "comma")
_SIGNS = str.maketrans({"\u2212": "-", "\u2019": "'", "\u00a0": " ", "\u202f": " ", "\u2009": " "})
_FORMS = {
    mark: re.compile(
        rf"(?P<sign>[+-]?) ?(?P<whole>\d{{1,15}}|[1-9]\d{{0,2}}(?P<by>[{thousands}' ])\d{{3}}(?:(?P=by)\d{{3}}){{0,3}})"
        rf"(?:{decimal}(?P<part>\d{{1,12}}))?(?P<behind>-?)",
        re.ASCII,
    )
    for mark, decimal, thousands in (("point", r"\.", ","), ("comma", ",", "."))
}
Cell = tuple[str, str]  # what stands there, and where


def parse(text: str, mark: Mark) -> Decimal | None:
    """Return a number, None where it is none that is written so; a minus may stand behind it."""
    found = _FORMS[mark].fullmatch(text.translate(_SIGNS).strip())
    if found is None or (found["sign"] and found["behind"]):
        return None
    value = Decimal(re.sub(r"\D", "", found["whole"]) + (f".{found['part']}" if found["part"] else ""))
    return -value if "-" in (found["sign"], found["behind"]) else value


def mark_of(cells: Sequence[Cell]) -> Mark:
    """Return how all cells are written.

    Raises:
        ConfigError: when a cell is no number, two contradict each other, or all could be read in two ways.
    """
    fits = {mark: [parse(text, mark) is not None for text, _ in cells] for mark in MARKS}
    for place, (text, where) in enumerate(cells):
        if not any(fits[mark][place] for mark in MARKS):
            raise ConfigError(
                f"{text[:40]!r} is not a number", where=where, todo="Write digits alone, without a unit or a currency"
            )
    possible = [mark for mark in MARKS if all(fits[mark])]
    if not possible:
        here, there = (next(cell for cell, fit in zip(cells, fits[mark], strict=True) if not fit) for mark in MARKS)
        raise ConfigError(
            f"{here[0]!r} has a decimal comma, and {there[0]!r} ({there[1]}) a decimal point",
            where=here[1],
            todo="Write all numbers alike",
        )
    if len(possible) == 2:
        for text, where in cells:
            if parse(text, "point") != parse(text, "comma"):
                raise ConfigError(
                    f"{text!r} may be {parse(text, 'point')} or {parse(text, 'comma')}",
                    where=where,
                    todo="Say which with --decimal point or --decimal comma",
                )
    return possible[0]
